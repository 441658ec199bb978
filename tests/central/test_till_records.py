"""Records that tills send beside their vouchers: kept once, whole and in order, or refused."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from httpx2 import Response
from sqlalchemy import select

from dobmi.central.circulation import circulation
from dobmi.central.member_orders import import_orders, order_list, parse_orders
from dobmi.central.schema import Role, TerminalStatus, member_order_states, till_records
from dobmi.central.terminals import set_terminal_status
from dobmi.central.till_records import shift_list, take_records
from dobmi.central.work_list import work_list
from dobmi.money import Rupiah
from dobmi.sync.records import (
    OrderRecord,
    OrderState,
    TillRecord,
    encode_record,
    encode_records,
    verify_records_taken,
)
from support.central_client import Office
from support.outlets import CLOSED_SHIFT as SHIFT
from support.traffic import START, ModelTill

TOKO = "Toko BMI"
PAID = OrderRecord(
    order=501, state=OrderState.PAID, sale=7, short=(("TLR", 2),), by="Siti", unix_seconds=START
)
HANDED = replace(PAID, state=OrderState.HANDED_OVER, sale=None, unix_seconds=START + 60)
ORDERS = """order,member,pick_up_on,item,name,quantity,price
501,4711,2026-11-30,BRS5,Beras 5 kg,2,75000
502,4711,2026-11-30,TLR,Telur,30,2500
"""


def message(till: ModelTill, first: int, *records: TillRecord) -> bytes:
    encoded = [encode_record(record) for record in records]
    return encode_records(till.terminal_id, first, encoded, till.public_key, till.key.sign)


def post(office: Office, content: bytes) -> Response:
    return office.client.post(
        "/v1/records", content=content, headers={"content-type": "application/cose"}
    )


def taken(office: Office, content: bytes) -> int:
    """Up to which record the server says it keeps them."""
    answer = post(office, content)
    assert answer.status_code == 200, answer.text
    found = verify_records_taken(answer.content, office.world.central.public_key)
    assert found.batch_hash == hashlib.sha256(content).digest()
    return found.up_to


def refused(office: Office, content: bytes, code: str, status: int) -> dict[str, object]:
    before = kept(office)
    answer = post(office, content)
    problem: dict[str, object] = answer.json()
    assert (problem["code"], answer.status_code) == (code, status), problem
    assert kept(office) == before
    return problem


def kept(office: Office) -> list[tuple[int, int]]:
    """Till and number of each record."""
    of = till_records.c
    with office.world.central.database.read() as connection:
        rows = connection.execute(
            select(of.terminal_id, of.number).order_by(of.terminal_id, of.number)
        )
        return [(row.terminal_id, row.number) for row in rows]


def open_orders(office: Office) -> list[int]:
    return [
        one.order.number for one in order_list(office.world.central.database, None, is_open=True)
    ]


@pytest.fixture
def till(office: Office) -> ModelTill:
    till = office.world.till()
    office.world.card(4711)
    import_orders(office.world.central.database, parse_orders(ORDERS), TOKO, START)
    return till


def test_they_are_kept_once_however_often_they_come(office: Office, till: ModelTill) -> None:
    first = message(till, 1, SHIFT, PAID)
    assert (taken(office, first), taken(office, first)) == (2, 2)
    assert taken(office, message(till, 2, PAID, HANDED)) == 3
    assert taken(office, message(till, 1, SHIFT)) == 3
    assert kept(office) == [(till.terminal_id, number) for number in (1, 2, 3)]
    with office.world.central.database.read() as connection:
        assert len(connection.execute(select(member_order_states)).all()) == 2


def test_a_gap_is_told_and_nothing_is_taken(office: Office, till: ModelTill) -> None:
    problem = refused(office, message(till, 3, SHIFT), "CENTRAL-RECORDS-MISSING", 409)
    assert problem["send_from"] == 1
    taken(office, message(till, 1, SHIFT))
    problem = refused(office, message(till, 3, PAID), "CENTRAL-RECORDS-MISSING", 409)
    assert problem["send_from"] == 2


def test_another_record_under_a_number_that_is_kept_is_refused(
    office: Office, till: ModelTill
) -> None:
    taken(office, message(till, 1, SHIFT))
    other = replace(SHIFT, counted=Rupiah(0))
    refused(office, message(till, 1, other, PAID), "CENTRAL-RECORD-DIFFERS", 409)
    assert taken(office, message(till, 1, SHIFT, PAID)) == 2


def test_only_a_till_that_sells_now_is_believed(office: Office, till: ModelTill) -> None:
    central = office.world.central
    forged = replace(till, key=office.world.till().key)
    refused(office, message(forged, 1, SHIFT), "SYNC-SIGNATURE", 401)
    station = office.world.till(role=Role.STATION, name="Loket")
    refused(office, message(station, 1, SHIFT), "CENTRAL-ROLE", 403)
    unknown = replace(till, terminal_id=999)
    refused(office, message(unknown, 1, SHIFT), "CENTRAL-UNKNOWN-TERMINAL", 401)
    set_terminal_status(central, till.terminal_id, TerminalStatus.BLOCKED)
    refused(office, message(till, 1, SHIFT), "CENTRAL-TERMINAL-BLOCKED", 403)
    refused(office, b"\xd2\x00", "SYNC-MALFORMED", 400)


def test_the_same_records_at_once_are_kept_once(office: Office, till: ModelTill) -> None:
    contents = [message(till, 1, SHIFT, PAID, HANDED), message(till, 1, SHIFT, PAID)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda one: take_records(office.world.central, one), contents * 3))
    public_key = office.world.central.public_key
    assert max(verify_records_taken(answer, public_key).up_to for answer in answers) == 3
    assert len(kept(office)) == 3


def test_an_order_is_marked_by_what_a_till_did_with_it(office: Office, till: ModelTill) -> None:
    database = office.world.central.database
    taken(office, message(till, 1, PAID))
    first, second = order_list(database, TOKO)
    assert (first.order.paid, first.is_open, second.order.paid) == (True, True, False)
    taken(office, message(till, 2, HANDED))
    cancelled = replace(PAID, order=502, state=OrderState.CANCELLED, sale=None)
    taken(office, message(till, 3, cancelled))
    assert open_orders(office) == []
    first, second = order_list(database, TOKO)
    steps = [(step.state, step.terminal_id, step.sale, step.by) for step in first.steps]
    assert steps == [
        (OrderState.PAID, till.terminal_id, 7, "Siti"),
        (OrderState.HANDED_OVER, till.terminal_id, None, "Siti"),
    ]
    assert [step.state for step in second.steps] == [OrderState.CANCELLED]
    assert order_list(database, TOKO, is_open=False) == [first, second]


def test_an_order_paid_twice_is_a_finding(office: Office, till: ModelTill) -> None:
    other = office.world.till()
    taken(office, message(till, 1, PAID))
    assert work_list(office.world.central) == []
    taken(office, message(other, 1, replace(PAID, sale=3)))
    (found,) = work_list(office.world.central)
    assert found.kind == "order-paid-twice"
    assert f"{till.terminal_id}/7, {other.terminal_id}/3" in found.detail


def test_a_till_marks_its_own_sellers_orders_alone(office: Office, till: ModelTill) -> None:
    assert till.seller == TOKO
    other = office.world.till(seller="Warung")
    taken(office, message(other, 1, replace(HANDED, order=501)))
    assert open_orders(office) == [501, 502]


def test_a_record_of_an_order_that_is_not_known_yet_is_kept_and_counts_when_it_comes(
    office: Office, till: ModelTill
) -> None:
    done = replace(HANDED, order=503)
    taken(office, message(till, 1, replace(PAID, order=503), done))
    late = ORDERS + "503,4711,2026-11-30,TLR,Telur,5,2500\n"
    import_orders(office.world.central.database, parse_orders(late), TOKO, START)
    assert open_orders(office) == [501, 502]


def test_shifts_are_listed_as_reported(office: Office, till: ModelTill) -> None:
    database = office.world.central.database
    other = office.world.till(seller="Warung", name="Kasir 2")
    taken(office, message(till, 1, SHIFT, PAID, replace(SHIFT, number=2)))
    taken(office, message(other, 1, SHIFT))
    of_toko = shift_list(database, seller=TOKO)
    assert [one.record.number for one in of_toko] == [2, 1]
    assert of_toko[1].record == SHIFT
    assert len(shift_list(database)) == 3
    assert len(shift_list(database, newest=1)) == 1
    (of_other,) = shift_list(database, terminal_id=other.terminal_id)
    assert (of_other.terminal, of_other.seller) == ("Kasir 2", "Warung")
    assert circulation(office.world.central).difference == Rupiah(0)
