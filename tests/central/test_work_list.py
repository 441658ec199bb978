"""The one list of what a person has to look at, as the office uses it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select, update
from sqlalchemy.exc import DBAPIError

import dobmi.central
from dobmi.central.errors import FindingClosed, FindingNotClosed, UnknownTerminal
from dobmi.central.findings import HAPPENS_AGAIN, anomaly_row, note_findings
from dobmi.central.periodic import run_due
from dobmi.central.rejected import keep_rejected
from dobmi.central.schema import WorkState, anomalies, anomaly_steps
from dobmi.central.staff import remove_staff
from dobmi.central.verification import Reason
from dobmi.central.work_kinds import MEANINGS
from dobmi.central.work_list import (
    Wanted,
    add_note,
    assign,
    close,
    explain,
    find_work,
    finding,
    reopen,
    work_list,
)
from dobmi.money import Rupiah
from support.databases import Kind
from support.reconciling import Desk, lost_sale
from support.traffic import START, ModelTill, World


@pytest.fixture
def desk(world: World, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk.at(world, monkeypatch)


def note(desk: Desk, kind: str, *, detail: str = "as found", amount: int = 500) -> None:
    row = anomaly_row(kind, "1/1", at=desk.now, detail=detail, amount=Rupiah(amount))
    with desk.central.database.write() as connection:
        note_findings(connection, [row])


def test_a_finding_goes_from_the_list_to_an_owner_to_its_end(desk: Desk) -> None:
    till, card = lost_sale(desk)
    listed = desk.ok("work", "list")
    assert "transaction-without-voucher" in listed
    assert "1 findings, about Rp 7.000." in listed
    (found,) = work_list(desk.central)
    number = str(found.number)
    assert (found.terminal_id, found.card_uid) == (till.terminal_id, card.uid)
    shown = desk.ok("work", "show", number)
    assert "A card shows a transaction that no till sent a voucher of" in shown
    assert "→ Read the card's life" in shown
    desk.now += 60
    assert "assigned, owner Ani" in desk.ok("work", "take", number, "--by", "Ani")
    assert "owner Budi" in desk.ok("work", "assign", number, "Budi", "--by", "Ani")
    desk.ok("work", "note", number, "phoned the outlet", "--by", "Budi")
    assert "explained" in desk.ok("work", "explain", number, "till was swapped", "--by", "Budi")
    assert desk.ok("work", "list", "--owner", "Budi", "--state", "explained").count("Rp 7.000") == 2
    desk.ok("work", "close", number, "written off, minutes of 14 January", "--by", "Budi")
    assert "0 findings" in desk.ok("work", "list")
    assert "1 findings" in desk.ok("work", "list", "--all")
    desk.refused("CENTRAL-WORK-CLOSED", "work", "take", number, "--by", "Ani")
    desk.ok("work", "reopen", number, "the till turned up", "--by", "Ani")
    desk.refused("CENTRAL-WORK-OPEN", "work", "reopen", number, "again", "--by", "Ani")
    history = desk.ok("work", "show", number)
    for part in (
        "assigned, Ani → Ani",
        "assigned, Ani → Budi",
        "phoned the outlet",
        "explained, Budi → Budi: till was swapped",
        "closed, Budi",
        "opened again, Ani",
    ):
        assert part in history  # fmt: skip
    desk.refused("CENTRAL-WORK-UNKNOWN", "work", "show", "999")
    desk.refused("CENTRAL-PARAMETERS", "work", "note", number, "  ", "--by", "Ani")


def test_every_kind_says_what_it_means_and_what_to_do(desk: Desk) -> None:
    said = desk.ok("work", "kinds")
    assert said.count("→ ") == len(MEANINGS)
    for kind, meaning in MEANINGS.items():
        assert f"{kind}: {meaning.what}" in said


def test_only_people_of_the_staff_have_findings_and_say_what_became_of_them(desk: Desk) -> None:
    note(desk, "balance-does-not-follow", amount=1_000)
    number = str(work_list(desk.central)[0].number)
    desk.refused("CENTRAL-STAFF", "work", "take", number, "--by", "Siapa")
    desk.refused("CENTRAL-STAFF", "work", "assign", number, "Siapa", "--by", "Ani")
    desk.refused("CENTRAL-STAFF", "work", "close", number, "sudah", "--by", "Siapa")
    assert "owner Ani" in desk.ok("work", "take", number, "--by", " ANI")
    remove_staff(desk.central.database, "Ani", desk.central.unix_seconds())
    desk.refused("CENTRAL-STAFF", "work", "note", number, "masih", "--by", "Ani")


def test_filters_narrow_the_list(desk: Desk) -> None:
    till, card = lost_sale(desk)
    serial = "1"
    for wanted in (
        ("--kind", "transaction-without-voucher"),
        ("--till", str(till.terminal_id)),
        ("--card", card.uid.hex()),
        ("--card", serial),
        ("--state", "open"),
    ):
        assert "1 findings" in desk.ok("work", "list", *wanted), wanted
    for other in (
        ("--kind", "forked-chain"),
        ("--till", "99"),
        ("--card", "04000000000000"),
        ("--state", "closed"),
        ("--owner", "Ani"),
        ("--older", "3"),
    ):
        assert "0 findings" in desk.ok("work", "list", *other), other
    desk.now += 4 * 86400
    assert "1 findings" in desk.ok("work", "list", "--older", "3")


def test_the_database_refuses_to_change_a_history(desk: Desk) -> None:
    lost_sale(desk)
    (found,) = work_list(desk.central)
    assign(desk.central, found.number, "Ani", by="Ani")
    for statement in (update(anomaly_steps).values(owner="Budi"), delete(anomaly_steps)):
        with (
            pytest.raises(DBAPIError, match="append only"),
            desk.central.database.engine.begin() as connection,
        ):
            connection.execute(statement)


def test_what_a_card_still_shows_does_not_come_back_once_it_is_closed(desk: Desk) -> None:
    till, card = lost_sale(desk)
    (found,) = work_list(desk.central)
    close(desk.central, found.number, by="Ani", note="written off")
    till.sell(card, Rupiah(100))
    desk.send(till)
    desk.ok("reconcile")
    assert work_list(desk.central) == []


def test_what_happens_again_after_closing_comes_back_to_its_owner(desk: Desk) -> None:
    note(desk, "other-seller")
    (found,) = work_list(desk.central)
    assign(desk.central, found.number, "Ani", by="Budi")
    note(desk, "other-seller")
    assert finding(desk.central, found.number)[0].state is WorkState.ASSIGNED
    close(desk.central, found.number, by="Ani", note="till corrected")
    desk.now += 60
    note(desk, "other-seller")
    again, steps = finding(desk.central, found.number)
    assert (again.state, again.owner, again.changed_at) == (WorkState.REOPENED, "Ani", desk.now)
    assert [step.done_by for step in steps] == ["Budi", "Ani", ""]


def test_the_same_thing_with_another_amount_comes_back_with_it(desk: Desk) -> None:
    kind = "balance-does-not-follow"
    note(desk, kind)
    (found,) = work_list(desk.central)
    close(desk.central, found.number, by="Ani", note="explained by the bank")
    note(desk, kind)
    assert work_list(desk.central) == []
    note(desk, kind, detail="more than that", amount=900)
    (again,) = work_list(desk.central)
    assert (again.state, again.amount) == (WorkState.REOPENED, Rupiah(900))
    assert again.detail == "more than that"
    close(desk.central, found.number, by="Ani", note="that too")
    note(desk, kind, detail="more than that", amount=900)
    note(desk, kind)
    assert work_list(desk.central) == [], "both were closed by a person who had seen them"


def test_a_sale_not_sent_is_listed_and_closes_itself_when_it_comes(desk: Desk) -> None:
    till, other, card = desk.world.till(), desk.world.till("Toko Dua"), desk.card()
    till.sell(card, Rupiah(7_000))
    other.sell(card, Rupiah(1_000))
    desk.send(other)
    assert "Looked: 1 found, 0 are no longer so." in desk.ok("work", "find")
    (found,) = work_list(desk.central)
    assert (found.kind, found.amount) == ("unreported-sale", Rupiah(7_000))
    assert found.terminal_id == till.terminal_id
    assign(desk.central, found.number, "Ani", by="Ani")
    assert find_work(desk.central) == {"found": 1, "ended": 0}
    desk.send(till)
    assert find_work(desk.central) == {"found": 0, "ended": 1}
    ended, steps = finding(desk.central, found.number)
    assert (ended.state, ended.owner, steps[-1].done_by) == (WorkState.CLOSED, "Ani", "")


def test_quarantine_refused_batches_and_clocks_are_on_the_same_list(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    till, card = desk.world.till(), desk.card()
    stranger = desk.card(99)
    stranger.uid = bytes.fromhex("04FFFFFFFFFFFF")
    till.sell(stranger, Rupiah(300))
    till.sell(card, Rupiah(400))
    desk.send(till)
    slow = desk.world.till("Toko Dua")
    staged = card.stage_sale(slow.next_reader_id, Rupiah(50), START - 9_000)
    counter, mac = card.commit(staged)
    link_of = ModelTill.link
    monkeypatch.setattr(ModelTill, "link", lambda till, _at=0: link_of(till, START - 9_000))
    slow.append_sale(card, staged, counter, mac)
    desk.send(slow)
    refused = UnknownTerminal(terminal_id=987_654)
    keep_rejected(desk.central, b"h" * 32, b"rubbish", refused, desk.now)
    assert all(run_due(desk.central, interval_seconds=3600).values())
    kinds = {found.kind for found in work_list(desk.central)}
    assert kinds == {"unknown-card", "clock-behind", "rejected-batch"}
    before = work_list(desk.central)
    find_work(desk.central)
    assert work_list(desk.central) == before, "looking again adds nothing"


def test_vouchers_that_went_missing_here_are_found(desk: Desk) -> None:
    till, card = desk.world.till(), desk.card()
    for _ in range(4):
        till.sell(card, Rupiah(10))
    desk.send(till)
    assert find_work(desk.central)["found"] == 0
    lose_voucher(desk, till.terminal_id, 3)
    find_work(desk.central)
    (found,) = work_list(desk.central)
    assert (found.kind, found.terminal_id) == ("missing-voucher", till.terminal_id)
    assert "1 of the vouchers 1 to 4 are not there" in found.detail
    assert "MISSING HERE: vouchers 3 to 3." in desk.ok("reconcile", "till", str(till.terminal_id))
    assert f"NOT COMPLETE: the chains of {till.terminal_id}." in desk.ok("reconcile", "tills")


def lose_voucher(desk: Desk, terminal_id: int, sequence: int) -> None:
    """Behind the program's back."""
    with desk.central.database.engine.begin() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("DROP TRIGGER vouchers_no_delete")
        else:
            connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        connection.exec_driver_sql(
            f"DELETE FROM vouchers WHERE terminal_id = {terminal_id} AND sequence = {sequence}"  # noqa: S608
        )


def test_every_kind_that_the_code_can_write_says_what_it_means() -> None:
    folder = Path(dobmi.central.__file__).parent
    written: set[str] = set()
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                if name in {"anomaly_row", "_anomaly", "_note"} and node.args:
                    written |= _strings(node.args[0])
            if isinstance(node, ast.Dict):
                keys = [key.value for key in node.keys if isinstance(key, ast.Constant)]
                if {"kind", "subject", "detail"} <= set(keys):
                    written |= _strings(node.values[keys.index("kind")])
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "kind":
                written |= _strings(node.value)
    assert len(written) > 12, "the code is looked through"
    assert {kind for kind in written if re.fullmatch(r"[a-z]+(-[a-z]+)+", kind)} <= set(MEANINGS)
    assert {reason.value for reason in Reason} <= set(MEANINGS)
    assert set(MEANINGS) >= HAPPENS_AGAIN
    for meaning in MEANINGS.values():
        assert meaning.what.endswith(".")
        assert meaning.next_step


def _strings(node: ast.expr) -> set[str]:
    return {
        part.value
        for part in ast.walk(node)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    }


ACTIONS = ["found", "changed", "take", "note", "explain", "close", "reopen"]


@settings(max_examples=25, deadline=None)
@given(actions=st.lists(st.sampled_from(ACTIONS), max_size=12))
def test_a_finding_is_never_lost_whatever_is_done_with_it(  # noqa: C901 - one arm an action
    tmp_path_factory: pytest.TempPathFactory, actions: list[str]
) -> None:
    """Closed only by a person's word or until it is found otherwise; the history only grows."""
    world = World.create(tmp_path_factory.mktemp("world"), kind=Kind.SQLITE)
    world.clerks("Ani")
    desk, amount, expected, history = Desk(world), 500, WorkState.OPEN, 0
    note(desk, "balance-does-not-follow")
    (found,) = work_list(world.central)
    number = found.number
    for action in actions:
        closed = expected is WorkState.CLOSED
        done, into = True, expected
        match action:
            case "found":
                note(desk, "balance-does-not-follow", amount=amount)
                done = False
            case "changed":
                done = expected in (WorkState.CLOSED, WorkState.EXPLAINED)
                if done:
                    amount, into = amount + 1, WorkState.REOPENED
                    note(desk, "balance-does-not-follow", amount=amount)
            case "note":
                add_note(world.central, number, by="Ani", note="seen")
            case "reopen" if not closed:
                with pytest.raises(FindingNotClosed):
                    reopen(world.central, number, by="Ani", note="again")
                done = False
            case "reopen":
                reopen(world.central, number, by="Ani", note="again")
                into = WorkState.REOPENED
            case _ if closed:
                with pytest.raises(FindingClosed):
                    assign(world.central, number, "Ani", by="Ani")
                done = False
            case "take":
                assign(world.central, number, "Ani", by="Ani")
                into = WorkState.ASSIGNED
            case "explain":
                explain(world.central, number, by="Ani", note="known")
                into = WorkState.EXPLAINED
            case "close":
                close(world.central, number, by="Ani", note="over")
                into = WorkState.CLOSED
        expected, history = into, history + done
        now, steps = finding(world.central, number)
        assert (now.state, len(steps), now.amount) == (expected, history, Rupiah(amount))
        assert [step.number for step in steps] == list(range(1, history + 1))
        listed = work_list(world.central, Wanted())
        assert bool(listed) is (expected is not WorkState.CLOSED)
    with world.central.database.read() as connection:
        assert len(connection.execute(select(anomalies)).all()) == 1
    world.close()
