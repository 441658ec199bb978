"""What the commands have in common."""

from __future__ import annotations

from dobmi.wib import local_time


def test_a_time_that_no_calendar_has_can_be_listed_all_the_same() -> None:
    """A voucher's time is the till's own word: it must not keep the office from its lists."""
    assert local_time(1_790_000_000) == "21-09-2026 21:13 WIB"
    assert local_time(2**63 - 1) == "9223372036854775807 s"
