"""Every code that the server can answer with stands in the formats' description."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dobmi.cardlib.errors import CardError, CustodyUnavailable, KeysOutOfReach
from dobmi.central import errors
from dobmi.central.problems import status_of
from dobmi.central.verification import Reason
from dobmi.errors import DoBMIError
from dobmi.money import Rupiah
from dobmi.sync import errors as sync_errors

FORMATS = Path(__file__).parents[2] / "docs" / "formats"
OFFICE_ALONE = (
    errors.NotInitialised,
    errors.OtherSchema,
    errors.KeysMissing,
    errors.KeyFileExists,
    errors.ExportExists,
    errors.ClocksDiffer,
    errors.LedgerDoesNotAddUp,
    errors.DayNotAsSigned,
    errors.PeriodicWorkFailed,
    errors.BackupProblem,
    errors.CreditNotSettled,
    errors.BooksProblem,
    errors.FileRefused,
    errors.TillStaffProblem,
    errors.SettlementProblem,
    errors.DisputeImpossible,
    errors.WorkProblem,
    errors.PairingNotDecided,
    errors.KeyGenerationProblem,
    errors.KeysOfCeremony,
)
"""Said on the office's own screen, never over the network."""


def kinds_of(kind: type[DoBMIError]) -> Iterator[type[DoBMIError]]:
    for one in kind.__subclasses__():
        yield one
        yield from kinds_of(one)


def test_codes_of_the_servers_problems() -> None:
    page = (FORMATS / "http.md").read_text(encoding="utf-8")
    for kind in kinds_of(errors.CentralError):
        if not issubclass(kind, OFFICE_ALONE) and not kind.__subclasses__():
            assert f"`{kind.code}`" in page, kind


def test_codes_of_a_token_that_is_not_there() -> None:
    page = (FORMATS / "http.md").read_text(encoding="utf-8")
    for kind in kinds_of(CustodyUnavailable):
        if kind is not KeysOutOfReach:  # a till's own word
            assert f"`{kind.code}`" in page, kind


def test_a_payout_that_the_drawer_does_not_hold_is_refused_and_no_fault() -> None:
    error = errors.CashNotThere(amount=Rupiah(2), held=Rupiah(1), terminal_id=1)
    assert status_of(error) == 409
    assert f"`{error.code}`" in (FORMATS / "http.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("reason", Reason)
def test_reasons_of_quarantine(reason: Reason) -> None:
    assert f"| `{reason.value}` |" in (FORMATS / "http.md").read_text(encoding="utf-8")


def test_codes_with_which_a_card_session_fails() -> None:
    page = (FORMATS / "relay.md").read_text(encoding="utf-8")
    for kind in kinds_of(CardError):
        assert f"`{kind.code}`" in page, kind
    for kind in kinds_of(CustodyUnavailable):
        if kind is not KeysOutOfReach:  # a till's own word
            assert f"`{kind.code}`" in page, kind
    for other in (sync_errors.MalformedMessage, sync_errors.RelayInterrupted):
        assert f"`{other.code}`" in page
