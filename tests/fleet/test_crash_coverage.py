"""The day that is crashed reaches every function that writes, or there is a reason why not."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import dobmi
from dobmi.cli.sim_crashes import point_of
from dobmi.fleet.disk_watch import preload_library

SOURCE = Path(dobmi.__file__).parent
NOT_PLAYED = {
    "cash_desk.count_cash": "one transaction, which posts nothing; not answered, it is counted again",
    "beside.look_at_posted": "on PostgreSQL; on SQLite the transaction that posts looks beside it",
    "database.create_tables": "at the server's start; its points are called server.start",
    "database.write_again": "each of its callers is played by its own name",
    "work_list._end_those_gone": "closes a finding of a sale unreported for days, which then came",
    "pin_session.change_card_pin": "torn at each frame in tests/central/test_card_pins.py",
    "pin_session.custody_with_pin": "likewise, before keys are renewed",
    "pin_session._count_try": "likewise; a crash after it has used a try up",
    "pin_session._take_try_back": "a crash before it has used a try up, of a card without a PIN",
    "ingest._make_sure": "writes a row's lock, on PostgreSQL, for a batch that comes again",
    "key_generations.begin_generation": "torn in tests/cli/test_ceremony.py; again, it is the same",
    "key_generations.put_on_cards": "one statement; again, it is the same",
    "key_generations.note_deleted": "after the keys are gone; again, it is noted then",
    "approvals.decide": "crashed at each of its steps in tests/central/test_approvals.py",
    "approvals.propose_at": "one transaction; the same again while it waits is the same proposal",
    "revocation._set": "one transaction; again, it is the same",
    "staff_login.set_password": "one transaction; the same again is the same password",
    "staff_login._proved": "notes a lock that holds already",
    "staff_login._count_try": "a crash after it has used a try up",
    "staff_login._open": "a session that nobody was told of ends by itself",
    "staff_login.log_out": "one transaction; again, it is the same",
    "visit._person": "notes that a session was used",
    "staff_login.prove_password": "forgets failures; a crash before it leaves them counted",
    "key_generations.note_ceremony": "torn in tests/cli/test_ceremony.py",
    "issuing.make_batch": "one transaction; again by the same key, it is the same list",
    "issuing.claim_line": "one transaction; not answered, the claim ends by itself",
    "issuing.release_claim": "likewise",
    "issuing.give_photo": "one row; again, it is the same",
    "issuing._set_state": "one transaction; again, it is the same",
    "payouts.pay_out": "one transaction; again by the same key, it is the same payment",
    "retire_session._begin": "torn at each frame in tests/central/test_card_life.py",
    "retire_session._return_credits": "likewise",
    "retire_session._empty": "likewise",
    "retire_session._note_attempt": "likewise",
    "retire_session._record": "likewise",
    "retire_session._wipe": "likewise",
    "card_keys.give_card_key": "counts a key that was asked for; lost, one more may be asked for",
    "card_link.read_tap": "uses up a reading of a card's address; nothing else comes of it",
}
"""By module and function, of dobmi.central: why the day has nothing of it."""
ON_DISK = {"fsync", "sync_folder", "save_key_file", "replace_key_file", "write_text", "write_bytes"}


@pytest.fixture(scope="module")
def played() -> dict[str, Any]:
    """The day's cases, and who wrote in it at the central database."""
    done = subprocess.run(
        [sys.executable, "-m", "dobmi.fleet.crash_search", "--list"],
        env=os.environ | {"LD_PRELOAD": str(preload_library())},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    found["points"] = {point_of(case) for case in found["cases"]}
    return found


def functions(package: str, does: Callable[[ast.AST], bool]) -> set[str]:
    """`module.function` of all in the package in whose own body a node `does` it."""
    found = set()
    for file in sorted((SOURCE / package).rglob("*.py")):
        for function in ast.walk(ast.parse(file.read_text())):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and any(
                does(node) for node in own_nodes(function)
            ):
                found.add(f"{file.stem}.{function.name}")
    return found


def own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    """Without those of functions that are defined in it."""
    for node in ast.iter_child_nodes(function):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield node
            yield from own_nodes(node)


def enters(method: str) -> Callable[[ast.AST], bool]:
    """Whether a node is `with something.method(...)`."""

    def does(node: ast.AST) -> bool:
        return isinstance(node, ast.withitem) and called(node.context_expr) == method

    return does


def called(node: ast.AST) -> str:
    """The last part of the name of what is called, if something is."""
    if not isinstance(node, ast.Call):
        return ""
    match node.func:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
        case _:
            return ""


def test_the_points_cover_every_durable_step_and_message(played: dict[str, Any]) -> None:
    points = played["points"]
    steps = {
        *(f"till.ledger.{step}" for step in ("record_intent", "append_voucher", "mark_shown")),
        *(f"till.ledger.{step}" for step in ("record_acknowledgement", "apply_feed")),
        *("till.ledger.store_identity", "till.shift.open_shift", "till.shift.close_shift"),
        *("till.sale_request.bind", "till.picking.hand_over", "server.till_records.take_records"),
        *("server.ingest.post", "server.credit_orders.order_credit", "server.cards.set_blocked"),
        *("server.credit_session.note_attempt", "server.credit_session.post_delivery"),
        *("server.terminals.enrol", "server.issue_session.issue_card", "office.terminals.invite"),
    }
    for step in steps:
        assert {f"{step}.before-commit", f"{step}.after-commit"} <= points
        database = "till.db-wal" if step.startswith("till") else "central.db-wal"
        assert {f"{step}.{m}-sync:{database}" for m in ("before", "after")} <= points
    for path in ("POST /v1/batches", "GET /v1/feed", "POST /v1/credits", "POST /v1/terminals"):
        assert {f"server.http.{path}.{m}-answer" for m in ("before", "after")} <= points
        assert f"server.http.{path}.after-request" in points
    exchanges = {"till.card.commit.before", "till.card.commit.after", "station.card.commit.before"}
    assert exchanges | {"station.relay.before-send", "server.relay.after-send"} <= points


def test_everybody_who_writes_at_the_central_server_does_so_in_the_day(
    played: dict[str, Any],
) -> None:
    writing = functions("central", enters("write"))
    writing |= functions("central", lambda node: called(node) == "write_again")
    assert {"ingest.post", "overdue.settle_overdue", "settlement_run.mark_paid"} <= writing
    assert writing - set(played["writers"]) == set(NOT_PLAYED)


NOT_PLAYED_AT_A_TILL = {
    "ledger.note_tap_credit": "for a receipt's lines; lost, the receipt is without them",
    "card_pin._count": "tests/terminal/test_card_pin.py cuts the power around it: a try is used up",
    "card_pin.failed": "likewise: the next start reports the try",
    "card_pin.forget_tries": "before it, what the card has proved counts as a try still",
    "card_pin.end_open_tries": "at the start; before it, the next start does it",
    "card_pin._take_back": "before it, a card without a PIN has used a try up",
    "ledger.forget_credit_waiting": "a hint; lost, the next balance look asks the server once more",
}
"""With what a crash there can do."""


def test_every_commit_of_a_tills_ledger_is_a_point(played: dict[str, Any]) -> None:
    writing = functions("terminal", enters("begin"))
    assert {"ledger.__init__", "ledger.record_intent", "ledger.record_clock_reset"} <= writing
    assert set(NOT_PLAYED_AT_A_TILL) <= writing
    for function in writing - set(NOT_PLAYED_AT_A_TILL):
        for moment in ("before", "after"):
            assert f"till.{function}.{moment}-commit" in played["points"]


def test_every_file_that_a_station_writes_is_a_point(played: dict[str, Any]) -> None:
    writing = functions("provisioning", lambda node: called(node) in ON_DISK)
    # No station's: tests/cli/test_ceremony.py tears a ceremony at each of its steps.
    writing -= {"ceremony_minutes.finish", "ceremony_minutes.write_whole"}
    writing -= {"staff_file.keep"}  # lost or half, nobody is logged in
    assert writing == {"enrolment.enrol_station"}
    steps = {"enrolment.enrol_station", "custody._write_beside", "custody.sync_folder"}
    for step in steps:
        assert any(point.startswith(f"station.{step}.before-sync:") for point in played["points"])


def test_a_till_writes_no_other_file_than_its_ledger_but_while_it_is_set_up(
    played: dict[str, Any],
) -> None:
    writing = functions("terminal", lambda node: called(node) in ON_DISK)
    assert (
        writing
        == {
            *("pairing.open_identity", "pairing.finish_pairing", "whole_file.replace_file"),
            "card_keys.take",  # in the file's place, whole or not; else it comes with the next feed again
        }
    )
    for file in ("kiosk.keys.new", "kiosk-till.keys.new"):
        assert f"kiosk.custody._write_beside.before-sync:{file}" in played["points"]
    assert "kiosk.whole_file.replace_file.before-sync:kiosk.keys.pairing.new" in played["points"]
    for file in ("kiosk.keys", "kiosk-till.keys"):
        assert f"kiosk.custody.save_key_file.after-link:{file}" in played["points"]
