"""P1, P2: wherever a card is pulled away, and whatever people do then, the money is right and said."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import Connection

from dobmi.cardlib import purse, rekey
from dobmi.cardlib.errors import CardRemoved
from dobmi.cardlib.personalise import Personalisation, personalise
from dobmi.central import credit_session, issue_session, replacement
from dobmi.central.errors import CardOfAnotherMember
from dobmi.central.orders import append_credit
from dobmi.cli.main import root
from dobmi.errors import MoneyMoved
from dobmi.fleet.events import (
    FRAMES_OF_CREDIT,
    FRAMES_OF_ISSUE,
    FRAMES_OF_REKEY,
    FRAMES_OF_SALE,
)
from dobmi.fleet.oracles import Finding
from dobmi.fleet.tear_flows import FLOWS
from dobmi.fleet.tears import Case, Ending, Outcome, cases, length, run_case
from dobmi.money import Rupiah
from dobmi.sync.voucher import VoidReason
from dobmi.terminal import sale
from dobmi.terminal.chain import Chain
from dobmi.terminal.doubt import Verdict
from dobmi.terminal.ledger import IntentRow

COMMIT_OF_SALE = 8
COMMIT_OF_CREDIT = 11
_STRIDE = 17
"""Shares no factor with the ways on from a frame: each of them is met at some frame."""


@pytest.fixture(autouse=True, scope="module")
def _whole_flows() -> None:
    """Counted before anything is sabotaged."""
    cases()


def case(name: str) -> Case:
    (found,) = (one for one in cases(name) if one.name == name)
    return found


def story(outcome: Outcome) -> str:
    return "\n".join([outcome.case.name, *(line.text for line in outcome.story)])


def bounded() -> list[Case]:
    """Every case at a frame that moves money, and some of all others."""
    every = cases()
    return [
        one
        for number, one in enumerate(every)
        if one.frame in length(one.flow).commits or number % _STRIDE == 0
    ]


@pytest.mark.parametrize("flow", FLOWS)
def test_tears_at_the_commit_and_some_others_end_well(flow: str) -> None:
    for one in bounded():
        if one.flow == flow:
            outcome = run_case(one)
            assert not outcome.findings, story(outcome)


@pytest.mark.long
@pytest.mark.parametrize("flow", FLOWS)
def test_every_tear_ends_well(flow: str) -> None:
    for one in cases(f"{flow}/"):
        outcome = run_case(one)
        assert not outcome.findings, story(outcome)


def test_the_cases_are_every_frame_moment_place_and_machine() -> None:
    counts = Counter(one.flow for one in cases())
    ways = {flow: sum(map(len, FLOWS[flow].thens.values())) * 2 * 2 for flow in FLOWS}
    assert counts == {flow: length(flow).frames * ways[flow] for flow in FLOWS}
    assert len({one.name for one in cases()}) == sum(counts.values())
    assert length("sale").commits == {COMMIT_OF_SALE}
    assert length("credit").commits == length("refund").commits == {COMMIT_OF_CREDIT}
    assert not length("issue").commits
    assert not length("rekey").commits


def test_the_fleets_seeds_tear_at_the_same_frames() -> None:
    lengths = {
        "sale": FRAMES_OF_SALE,
        "credit": FRAMES_OF_CREDIT,
        "issue": FRAMES_OF_ISSUE,
        "rekey": FRAMES_OF_REKEY,
    }
    # A frame that came since is torn by the search of all tears; seeds keep their stories.
    for flow, frames in lengths.items():
        assert frames <= length(flow).frames <= frames + 1


def test_only_the_commits_tear_leaves_the_cashier_in_doubt() -> None:
    before = run_case(case("sale/frame-7/answer-lost/same/survives/again")).message
    at = run_case(case("sale/frame-8/command-lost/same/survives/again")).message
    assert before is not None
    assert at is not None
    assert (before.code, before.money_moved) == ("CARD-REMOVED", MoneyMoved.NO)
    assert (at.code, at.money_moved) == ("SALE-IN-DOUBT", MoneyMoved.UNKNOWN)


def test_a_card_that_never_comes_again_is_listed_then_settled_and_corrected_when_it_comes() -> None:
    outcome = run_case(case("sale/frame-8/answer-lost/never/restarts"))
    assert outcome.ending is Ending.LISTED
    assert not outcome.findings, story(outcome)


def findings(name: str) -> tuple[Finding, ...]:
    return run_case(case(name)).findings


def not_paid(*_: object) -> Verdict:
    return Verdict.NOT_PAID


def test_a_till_that_takes_a_lost_commit_for_no_sale_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def void(chain: Chain, intent: IntentRow) -> bytes:
        return chain.write_void(intent, VoidReason.CARD_REMOVED)

    monkeypatch.setattr(Chain, "write_in_doubt", void)
    for machines in ("survives", "restarts"):
        found = findings(f"sale/frame-8/answer-lost/never/{machines}")
        assert "card-follows-vouchers" in {one.oracle for one in found}
        assert not findings(f"sale/frame-7/answer-lost/never/{machines}")


def test_a_till_that_says_no_money_moved_when_it_may_have_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sale, "in_doubt", lambda _: CardRemoved())
    found = findings("sale/frame-8/command-lost/same/survives/again")
    assert [one.text for one in found] == ["it says money moved: no, not unknown"]


def test_a_till_that_charges_again_what_was_paid_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sale, "judge", not_paid)
    found = findings("sale/frame-8/answer-lost/same/restarts/again")
    assert [one.text for one in found] == ["already paid: False"]


def test_a_server_that_forgets_its_attempt_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credit_session, "note_attempt", lambda *_: True)
    found = findings("credit/frame-11/answer-lost/same/survives")
    assert {one.oracle for one in found} & {"credit-once", "what-people-expect"}, found


def test_a_server_that_says_nothing_moved_when_it_may_have_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Unsaid:
        UNKNOWN = MoneyMoved.NO

    monkeypatch.setattr(purse, "MoneyMoved", Unsaid)
    found = findings("credit/frame-11/answer-lost/same/survives")
    assert [one.text for one in found] == ["it says money moved: no, not unknown"]


def test_a_server_that_cannot_go_on_with_a_half_issued_card_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attempts = Counter[str]()

    def once_only(*args: Any, **more: Any) -> Personalisation:
        attempts["made"] += 1
        if attempts["made"] > 1:
            raise CardOfAnotherMember(card="", member=0, name="")
        return personalise(*args, **more)

    monkeypatch.setattr(issue_session, "personalise", once_only)
    (found,) = findings("issue/frame-20/command-lost/same/survives")
    assert found.text.startswith("issuing did not go on")


def test_a_server_that_restores_a_rupiah_too_much_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def generous(
        connection: Connection, uid: bytes, amount: Rupiah, *rest: Any, **more: Any
    ) -> int:
        return append_credit(connection, uid, amount + Rupiah(1), *rest, **more)

    monkeypatch.setattr(replacement, "append_credit", generous)
    (found,) = findings("replacement/frame-2/answer-lost/other/survives")
    assert found.text == "the card holds Rp 187.501, not Rp 187.500"


def test_keys_that_are_changed_in_another_order_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the debit key first a torn card is new to the tills and old to whoever credits it."""
    monkeypatch.setattr(rekey, "ORDER", rekey.ORDER[::-1])
    (found,) = findings("rekey/frame-8/answer-lost/never/survives")
    assert found.text.startswith("the card takes no credit")


def test_the_command_prints_its_cases_and_how_they_ended_as_json() -> None:
    only = "credit/frame-11/answer-lost"
    result = CliRunner().invoke(root, ["sim", "tears", "--only", only, "--json"])
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert figures["cases"] == 6
    assert figures["failures"] == []
    assert figures["flows"]["credit"]["endings"] == {"found_done": 4, "listed": 2}
    (message,) = figures["messages"]
    assert message["money_moved"] == "unknown"
    assert "kartu" in message["next_step"]


def test_the_command_tells_the_story_of_the_first_bad_case_and_exits_with_1(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sale, "judge", not_paid)
    only = "sale/frame-8/answer-lost/same/restarts/again"
    result = CliRunner().invoke(root, ["sim", "tears", "--only", only])
    assert result.exit_code == 1
    assert f"the card will be pulled away: {only}" in result.stdout
    assert "SIM-TEARS" in result.stderr


def test_a_name_that_no_case_has_is_refused() -> None:
    result = CliRunner().invoke(root, ["sim", "tears", "--only", "sale/frame-99/"])
    assert result.exit_code == 1
    assert "SIM-TEARS-NONE" in result.stderr
