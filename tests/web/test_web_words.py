"""What a page's templates say of facts, the same on every page."""

from __future__ import annotations

from datetime import date

import pytest

from dobmi.web.rendering import short_date


@pytest.mark.parametrize("day", [date(2031, 11, 1), "2031-11-01"])
def test_a_day_is_written_as_people_here_write_it(day: str | date) -> None:
    assert short_date(day) == "01-11-2031"


def test_what_is_no_day_is_not_shown_as_one() -> None:
    with pytest.raises(ValueError, match="isoformat"):
        short_date("soon")
