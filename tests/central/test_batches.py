"""What comes in a batch: taken once, whole and in order, or refused with its reason and kept."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Table, func, select
from sqlalchemy.exc import DatabaseError
from starlette.testclient import TestClient

from dobmi.central import ingest
from dobmi.central.acts import Actor
from dobmi.central.app import create_app
from dobmi.central.approvals import decide, propose_at
from dobmi.central.cards import set_blocked, statement_of
from dobmi.central.cash import bank_cash
from dobmi.central.database import insert_rows
from dobmi.central.days import close_days
from dobmi.central.errors import ServerBusy, VouchersMissing
from dobmi.central.fee_rules import decide_fee_rule, propose_fee_rule
from dobmi.central.fees import FeeRule
from dobmi.central.posting_rules import account_name
from dobmi.central.replacement import replace_card
from dobmi.central.restoring import mark_restored
from dobmi.central.salaries import Salary, convert_salaries
from dobmi.central.schema import (
    APPEND_ONLY,
    NOT_REPLACED,
    ONLY_CHANGES,
    STAYS,
    ApprovalKind,
    StaffRole,
    TerminalStatus,
    credit_settlements,
    member_order_lines,
    member_order_states,
    member_orders,
    photos,
    postings,
    sellers,
    till_records,
)
from dobmi.central.seller_accounts import BankAccount, decide_account, propose_account
from dobmi.central.settlement_run import propose_run
from dobmi.central.staff import add_staff
from dobmi.central.terminals import set_terminal_status
from dobmi.central.work_list import assign
from dobmi.money import Rupiah
from dobmi.sync.batch import BATCH_SIZE_MAX, encode_batch
from dobmi.sync.cbor import CborValue, decode, encode
from dobmi.sync.voucher import Outcome, genesis_hash, voucher_hash
from dobmi.wib import day_of, days_since_1970
from support.central_client import RING, Office
from support.databases import Kind
from support.issuing_rows import insert_issuing_rows
from support.traffic import START, ModelCard, ModelTill, World


@pytest.fixture
def till(office: Office) -> ModelTill:
    return office.world.till()


@pytest.fixture
def card(office: Office) -> ModelCard:
    """A card with Rp 100.000 on it."""
    card = office.world.card(4711)
    office.world.top_up(office.world.station(), card, Rupiah(100_000))
    return card


def test_sales_are_posted_from_card_to_outlet(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    till.sell(card, Rupiah(12_500))
    till.sell(card, Rupiah(7_500))
    ack = office.acknowledged(till.batch())
    assert (ack.terminal_id, ack.head_sequence, ack.quarantined) == (till.terminal_id, 2, ())
    assert ack.head_hash == voucher_hash(till.vouchers[-1])
    assert office.owed_to_outlets() == Rupiah(20_000)
    statement = statement_of(office.world.central, card.uid)
    assert statement.balance == card.balance == Rupiah(80_000)
    assert all(line.card_mac_verified for line in statement.transactions)


def test_a_replayed_batch_gets_the_original_answer_and_posts_nothing(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    till.sell(card, Rupiah(1_000))
    batch = till.batch()
    first = office.upload(batch)
    till.sell(card, Rupiah(2_000))
    office.acknowledged(till.batch())
    before = office.counts()
    again = office.upload(batch)
    assert again.content == first.content
    assert office.counts() == before


def test_vouchers_sent_again_in_another_batch_are_harmless(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    for _ in range(4):
        till.sell(card, Rupiah(1_000))
    office.acknowledged(till.batch(1, 3))
    ack = office.acknowledged(till.batch(2, 4))
    assert ack.head_sequence == 4
    assert office.owed_to_outlets() == Rupiah(4_000)
    assert office.acknowledged(till.batch(1, 2)).head_sequence == 2


def test_a_gap_is_refused_and_says_where_to_start(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    for _ in range(4):
        till.sell(card, Rupiah(1_000))
    office.acknowledged(till.batch(1, 1))
    problem = office.refused(till.batch(3, 4), "CENTRAL-GAP", 409)
    assert problem["send_from"] == 2


def test_a_station_sells_nothing(office: Office, card: ModelCard) -> None:
    station = office.world.station()
    station.sell(card, Rupiah(1_000))
    problem = office.refused(station.batch(), "CENTRAL-ROLE", 403)
    assert problem["advice"] == "Sell at a till."
    assert office.rejected() == [("CENTRAL-ROLE", station.batch(1))]


def test_vouchers_out_of_order_are_refused(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    for _ in range(3):
        till.sell(card, Rupiah(1_000))
    first, second, third = till.vouchers
    batch = encode_batch(
        till.terminal_id,
        1,
        genesis_hash(till.terminal_id, till.public_key),
        [first, third, second],
        public_key=till.public_key,
        sign=till.key.sign,
    )
    office.refused(batch, "SYNC-CHAIN", 422)


def test_a_fork_is_refused_and_reported(office: Office, till: ModelTill, card: ModelCard) -> None:
    twin = dataclasses.replace(till, vouchers=[])
    till.sell(card, Rupiah(1_000))
    office.acknowledged(till.batch())
    twin.sell(card, Rupiah(9_000))
    twin.sell(card, Rupiah(9_000))
    problem = office.refused(twin.batch(1, 2), "CENTRAL-FORK", 409)
    assert "number 1" in problem["detail"]
    office.refused(twin.batch(2, 2), "CENTRAL-FORK", 409)
    assert office.anomalies() == {"forked-chain"}


def test_a_fork_is_reported_also_when_strangers_have_filled_the_keep(
    office: Office, till: ModelTill, card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dobmi.central.rejected.SIGNED_ROWS_MAX", 0)
    twin = dataclasses.replace(till, vouchers=[])
    till.sell(card, Rupiah(1_000))
    office.acknowledged(till.batch())
    twin.sell(card, Rupiah(9_000))
    office.refused(twin.batch(), "CENTRAL-FORK", 409)
    assert office.rejected() == []
    assert office.anomalies() == {"forked-chain"}


def test_strangers_cannot_take_the_room_of_what_a_till_sends(
    office: Office, till: ModelTill, card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P6: neither with garbage nor with other vouchers under a head that the till signed."""
    monkeypatch.setattr("dobmi.central.rejected.OTHER_ROWS_MAX", 2)
    till.sell(card, Rupiah(1_000))
    head = decode(till.batch(1, 1), size_max=10_000)
    assert isinstance(head, list)
    office.acknowledged(till.batch(1, 1))
    for number in range(4):
        office.refused(b"garbage %d" % number, "SYNC-MALFORMED", 400)
        other: list[CborValue] = [till.vouchers[0], bytes([number])]
        office.refused(encode([head[0], other]), "SYNC-CHAIN", 422)
    twin = dataclasses.replace(till, vouchers=[])
    twin.sell(card, Rupiah(9_000))
    forked = twin.batch(1, 1)
    office.refused(forked, "CENTRAL-FORK", 409)
    kept = office.rejected()
    assert sorted(code for code, _ in kept) == [
        "CENTRAL-FORK",
        *["SYNC-CHAIN"] * 2,
        *["SYNC-MALFORMED"] * 2,
    ]
    assert ("CENTRAL-FORK", forked) in kept


def test_a_full_keep_holds_the_reason_and_size_alone_and_counts_each_batch_once(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dobmi.central.rejected.OTHER_BYTES_MAX", 10)
    for body in (b"12345", b"12345", b"12345", b"67890", b"x"):
        office.refused(body, "SYNC-MALFORMED", 400)
    assert office.rejected() == [
        ("SYNC-MALFORMED", b"12345"),
        ("SYNC-MALFORMED", b"67890"),
        ("SYNC-MALFORMED", None),
    ]


def test_an_unknown_terminal_is_refused_and_its_batch_kept(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    stranger = dataclasses.replace(till, terminal_id=77, vouchers=[])
    stranger.sell(card, Rupiah(1_000))
    batch = stranger.batch()
    office.refused(batch, "CENTRAL-UNKNOWN-TERMINAL", 401)
    office.refused(batch, "CENTRAL-UNKNOWN-TERMINAL", 401)
    assert office.rejected() == [("CENTRAL-UNKNOWN-TERMINAL", batch)]


def test_another_terminals_signature_is_refused(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    other = office.world.till()
    forged = dataclasses.replace(till, key=other.key, vouchers=[])
    forged.sell(card, Rupiah(1_000))
    office.refused(forged.batch(), "SYNC-SIGNATURE", 401)


def test_a_blocked_terminal_is_refused_but_what_it_sent_before_stands(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    till.sell(card, Rupiah(1_000))
    batch = till.batch()
    first = office.upload(batch).content
    set_terminal_status(office.world.central, till.terminal_id, TerminalStatus.BLOCKED)
    till.sell(card, Rupiah(1_000))
    office.refused(till.batch(), "CENTRAL-TERMINAL-BLOCKED", 403)
    assert office.upload(batch).content == first


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\x00",
        b"GET / HTTP/1.1",
        b"\x9f" * 5000,
        b"\xa1" * 3000,
        b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
        encode([b"", []]),
        encode([b"head", [b"voucher"]]),
        encode([b"head", ["voucher"]]),
    ],
    ids=lambda data: data[:6].hex() or "empty",
)
def test_garbage_is_refused_and_kept(office: Office, garbage: bytes) -> None:
    office.refused(garbage, "SYNC-MALFORMED", 400)
    assert office.rejected() == [("SYNC-MALFORMED", garbage)]


def test_a_body_beyond_the_limit_is_refused_before_it_is_read(office: Office) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(BATCH_SIZE_MAX // 65_536 + 2):
            yield bytes(65_536)

    announced = office.client.post(
        "/v1/batches",
        content=b"x",
        headers={"content-type": "application/cbor", "content-length": str(BATCH_SIZE_MAX + 1)},
    )
    streamed = office.client.post(
        "/v1/batches", content=endless(), headers={"content-type": "application/cbor"}
    )
    for answer in (announced, streamed):
        assert (answer.status_code, answer.json()["code"]) == (413, "CENTRAL-TOO-LARGE")
    assert office.rejected() == []


def test_another_media_type_is_refused(office: Office) -> None:
    answer = office.client.post("/v1/batches", content=b"x", headers={"content-type": "text/plain"})
    assert (answer.status_code, answer.json()["code"]) == (415, "CENTRAL-MEDIA-TYPE")


@pytest.fixture(scope="module", params=list(Kind), ids=str)
def sent(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Office, bytes]]:
    """A server that was never sent the good batch beside it."""
    world = World.create(tmp_path_factory.mktemp("changed"), keys=RING, kind=request.param)
    card = world.card(4711)
    world.top_up(world.station(), card, Rupiah(100_000))
    till = world.till()
    for _ in range(3):
        till.sell(card, Rupiah(1_000))
    till.doubt(card, Rupiah(500), committed=False)
    with TestClient(create_app(world.central)) as client:
        yield Office(world, client), till.batch()
    world.close()


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_batch_with_any_byte_changed_is_refused(
    sent: tuple[Office, bytes], data: st.DataObject
) -> None:
    office, batch = sent
    place = data.draw(st.integers(0, len(batch) - 1))
    changed = bytearray(batch)
    changed[place] ^= data.draw(st.integers(1, 255))
    before = office.counts()
    answer = office.upload(bytes(changed))
    assert 400 <= answer.status_code < 500
    assert answer.json()["code"]
    assert office.counts() == before


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_batch_cut_or_lengthened_anywhere_is_refused(
    sent: tuple[Office, bytes], data: st.DataObject
) -> None:
    office, batch = sent
    cut = batch[: data.draw(st.integers(0, len(batch) - 1))]
    longer = batch + data.draw(st.binary(min_size=1, max_size=8))
    for changed in (cut, longer):
        assert office.upload(changed).status_code == 400


def test_an_amount_other_than_the_card_vouched_for_is_quarantined(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    staged = card.stage_sale(till.next_reader_id, Rupiah(1_000))
    counter, mac = card.commit(staged)
    till.append_sale(card, staged, counter, mac, claimed=Rupiah(9_000))
    till.sell(card, Rupiah(500))
    ack = office.acknowledged(till.batch())
    assert ack.quarantined == ((1, "claim-differs"),)
    assert office.anomalies() >= {"claim-differs"}


def test_evidence_changed_after_the_cards_mac_is_quarantined(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    richer = dataclasses.replace(card, balance=Rupiah(900_000))
    staged = richer.stage_sale(till.next_reader_id, Rupiah(500_000))
    honest = card.stage_sale(till.next_reader_id, Rupiah(1_000))
    counter, mac = card.commit(honest)
    till.append_sale(card, staged, counter, mac)
    till.sell(card, Rupiah(2_000))
    ack = office.acknowledged(till.batch())
    assert ack.quarantined == ((1, "wrong-card-mac"),)
    # The card's next sale shows that Rp 1.000 left it there; nobody is paid for that.
    assert office.owed_to_outlets() == Rupiah(2_000)
    assert statement_of(office.world.central, card.uid).balance == card.balance
    assert "transaction-without-voucher" in office.anomalies()


def test_a_sale_replayed_under_another_terminal_is_quarantined(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    thief = office.world.till("Toko Lain")
    staged = card.stage_sale(till.next_reader_id, Rupiah(1_000))
    counter, mac = card.commit(staged)
    till.append_sale(card, staged, counter, mac)
    thief.append_sale(card, staged, counter, mac)
    office.acknowledged(till.batch())
    ack = office.acknowledged(thief.batch())
    assert ack.quarantined == ((1, "claim-differs"),)
    assert office.owed_to_outlets() == Rupiah(1_000)


def test_a_sale_replayed_later_in_the_same_chain_is_quarantined(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    staged = card.stage_sale(till.next_reader_id, Rupiah(1_000))
    counter, mac = card.commit(staged)
    till.append_sale(card, staged, counter, mac)
    till.append_sale(card, staged, counter, mac)
    ack = office.acknowledged(till.batch())
    assert ack.quarantined == ((2, "claim-differs"),)
    assert office.owed_to_outlets() == Rupiah(1_000)


@pytest.mark.parametrize("same_batch", [True, False])
def test_a_cloned_card_shows_by_two_transactions_of_one_number(
    office: Office, till: ModelTill, card: ModelCard, *, same_batch: bool
) -> None:
    clone = dataclasses.replace(card)
    till.sell(card, Rupiah(1_000))
    if not same_batch:
        office.acknowledged(till.batch())
    till.sell(clone, Rupiah(2_000))
    ack = office.acknowledged(till.batch())
    assert ack.quarantined == ((2, "duplicate-counter"),)
    assert office.anomalies() == {"duplicate-counter"}
    assert office.owed_to_outlets() == Rupiah(1_000)


def test_a_rolled_back_balance_is_posted_and_shows_as_an_anomaly(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    till.sell(card, Rupiah(10_000))
    card.balance += Rupiah(10_000)  # what no genuine card does
    till.sell(card, Rupiah(4_000))
    office.acknowledged(till.batch())
    assert office.anomalies() == {"balance-does-not-follow"}
    assert office.owed_to_outlets() == Rupiah(14_000)
    assert statement_of(office.world.central, card.uid).balance == card.balance


def test_a_card_never_issued_is_quarantined_and_does_not_stop_the_batch(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    unknown = dataclasses.replace(card, uid=bytes.fromhex("04A1B2C3D4E5F6"))
    till.sell(unknown, Rupiah(1_000))
    till.sell(card, Rupiah(2_000))
    ack = office.acknowledged(till.batch())
    assert ack.quarantined == ((1, "unknown-card"),)
    assert office.owed_to_outlets() == Rupiah(2_000)
    assert office.acknowledged(till.batch(1, 2)).quarantined == ack.quarantined


def test_evidence_that_is_no_purse_transaction_is_quarantined(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    staged = card.stage_sale(till.next_reader_id, Rupiah(1_000))
    counter, mac = card.commit(staged)
    garbled = dataclasses.replace(staged, evidence=b"\x00" * 256)
    till.append_sale(card, garbled, counter, mac)
    assert office.acknowledged(till.batch()).quarantined == ((1, "implausible-evidence"),)
    assert office.quarantined() == {1: "implausible-evidence"}


def test_a_sale_with_a_blocked_card_is_posted_and_reported(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    set_blocked(office.world.central, card.uid, "hilang", blocked=True, by_terminal=None)
    till.sell(card, Rupiah(1_000))
    assert office.acknowledged(till.batch()).quarantined == ()
    assert office.anomalies() == {"sale-with-blocked-card"}
    assert office.owed_to_outlets() == Rupiah(1_000)


def test_sales_go_to_the_registered_seller_whatever_the_voucher_says(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    till.seller = "Toko Gelap"
    till.sell(card, Rupiah(1_000))
    office.acknowledged(till.batch())
    assert office.anomalies() == {"other-seller"}
    with office.world.central.database.read() as connection:
        accounts = connection.execute(select(postings.c.credit_account)).scalars()
        names = {row.id: row.name for row in connection.execute(select(sellers))}
        assert "outlet Toko BMI" in {account_name(account, names) for account in accounts}


def test_a_crash_before_the_commit_leaves_nothing_and_the_till_sends_again(
    office: Office, till: ModelTill, card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    till.sell(card, Rupiah(1_000))
    batch = till.batch()
    before = office.counts()

    def crash(*_: object, **__: object) -> bytes:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ingest, "encode_acknowledgement", crash)
        with pytest.raises(KeyboardInterrupt):
            ingest.take_batch(office.world.central, batch)
    assert office.counts() == before
    office.acknowledged(batch)
    assert office.owed_to_outlets() == Rupiah(1_000)


def _one_of_everything(office: Office, till: ModelTill, card: ModelCard) -> None:
    """A row in each table whose rows neither change nor go, and in those whose rows stay."""
    set_blocked(office.world.central, card.uid, "hilang", blocked=True, by_terminal=None)
    without_account = office.world.till("Toko Tiga")
    without_account.sell(card, Rupiah(1_000))
    office.acknowledged(without_account.batch())
    office.world.till("Toko Dua").sell(card, Rupiah(1_000))  # named by the next, and not sent
    till.sell(card, Rupiah(1_000))
    till.doubt(card, Rupiah(1_000), committed=False)
    till.decide(card, 2, Outcome.NOT_PAID)
    till.resolve(card, 1, Outcome.NOT_PAID)
    till.refund(card, 1, Rupiah(100))
    assert office.acknowledged(till.batch()).quarantined == ((4, "resolves-nothing"),)
    office.refused(b"", "SYNC-MALFORMED", 400)
    replace_card(office.world.central, card.uid, "hilang", by_terminal=None)
    mark_restored(office.world.central)
    station = office.world.station()
    topped_up = office.world.card(4712)
    office.world.top_up(station, topped_up, Rupiah(5_000))
    bank_cash(office.world.central, station.terminal_id, Rupiah(1_000), "slip 1")
    convert_salaries(office.world.central, [Salary(1, "2027-01", 4712, Rupiah(1_000))])
    close_days(office.world.central, START + 2 * 24 * 3600)
    office.world.clerks("Ani", "Budi")
    assign(office.world.central, 1, "Ani", by="Budi")
    _propose_to_pay(office, till.seller)
    limit: dict[str, str | int | bool] = {"name": "sale_max_rupiah", "value": 1_000_000}
    central = office.world.central
    approval = propose_at(central, ApprovalKind.LIMITS, limit, Actor("Ani", None)).number
    decide(central, approval, True, Actor("Budi", None), START)
    settled = {
        "card_uid": card.uid,
        "sequence": 1,
        "counter": 1,
        "settled_by": "Ani",
        "reason": "diubah",
        "at": START,
    }
    order = {"seller_id": 1, "number": 1}
    of_outlets: dict[Table, dict[str, object]] = {
        member_orders: {
            **order, "member_number": 4711, "placed_at": START, "pick_up_day": 20_000, "note": "",
            "taken_at": START, "is_open": True,
        },
        member_order_lines: {
            **order, "line": 1, "item": "beras", "name": "Beras", "quantity": 1,
            "unit_price_rupiah": 1_000,
        },
        member_order_states: {
            **order, "terminal_id": till.terminal_id, "record_number": 1, "state": 2,
            "done_by": "Ani", "at": START,
        },
        till_records: {
            "terminal_id": till.terminal_id, "number": 1, "kind": "order", "encoded": b"x",
            "received_at": START,
        },
        photos: {"hash": bytes(32), "jpeg": b"x", "added_at": START},
    }  # fmt: skip
    with office.world.central.database.write() as connection:
        insert_rows(connection, credit_settlements, [settled])
        for table, row in of_outlets.items():
            insert_rows(connection, table, [row])
        insert_issuing_rows(
            connection,
            station=station.terminal_id,
            card_uid=topped_up.uid,
            member_number=4712,
            approval=approval,
        )


def _refused(office: Office, change: str, match: str = "append only") -> None:
    """By the database, whoever says it."""
    with (
        pytest.raises(DatabaseError, match=match),
        office.world.central.database.engine.begin() as connection,
    ):
        connection.exec_driver_sql(change)


def test_the_database_itself_refuses_to_change_what_was_posted(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    _one_of_everything(office, till, card)
    for table in APPEND_ONLY:
        name, column = table.name, table.c[0].name
        _refused(office, f"DELETE FROM {name}")  # noqa: S608 - the table's own names
        _refused(office, f"UPDATE {name} SET {column} = {column}")  # noqa: S608
    for table in STAYS:
        _refused(office, f"DELETE FROM {table.name}")  # noqa: S608
    for table, changeable in ONLY_CHANGES.items():
        name = table.name
        _refused(office, f"DELETE FROM {name}")  # noqa: S608
        for column in set(table.columns.keys()) - set(changeable):
            _refused(office, f"UPDATE {name} SET {column} = {column}")  # noqa: S608


def test_the_database_itself_refuses_to_put_another_row_in_a_rows_place(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    """SQLite's INSERT OR REPLACE deletes, and fires no trigger for DELETE."""
    _one_of_everything(office, till, card)
    is_sqlite = office.world.central.database.engine.dialect.name == "sqlite"
    for table in NOT_REPLACED:
        key = set(table.primary_key.columns.keys())
        names = ", ".join(table.columns.keys())
        same = f"INTO {table.name} ({names}) SELECT {names} FROM {table.name} WHERE true"  # noqa: S608
        other = next(column.name for column in table.columns if column.name not in key)
        again = f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {other} = excluded.{other}"
        if is_sqlite:
            _refused(office, f"INSERT OR REPLACE {same}", "append only|the day is closed")
        else:
            _refused(office, f"INSERT {same} {again}")


def test_a_posting_of_an_open_day_is_not_replaced_and_is_of_whole_rupiah(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    till.sell(card, Rupiah(1_000))
    office.acknowledged(till.batch())
    is_sqlite = office.world.central.database.engine.dialect.name == "sqlite"
    others = ", ".join(column.name for column in postings.columns if column.name != "amount_rupiah")
    into = f"INTO postings ({others}, amount_rupiah) SELECT {others}"
    less = f"{into}, amount_rupiah - 1 FROM postings WHERE kind = 'sale'"
    again = "ON CONFLICT (at, id, card_uid) DO UPDATE SET amount_rupiah = excluded.amount_rupiah"
    _refused(office, f"INSERT OR REPLACE {less}" if is_sqlite else f"INSERT {less} {again}")
    if is_sqlite:  # whose columns take anything
        new = others.replace(" id,", "")
        for amount in ("'seribu'", "1000.5", "x'01'"):
            from_sale = f"SELECT {new}, {amount} FROM postings WHERE kind = 'sale'"  # noqa: S608
            _refused(
                office, f"INSERT INTO postings ({new}, amount_rupiah) {from_sale}", "not a whole"
            )
    assert office.owed_to_outlets() == Rupiah(1_000)


def _propose_to_pay(office: Office, seller: str) -> None:
    """A settlement run of what was sold on the first day, one seller having a bank account."""
    database, now = office.world.central.database, START + 2 * 24 * 3600
    add_staff(database, "Ani", [StaffRole.PROPOSER], now)
    add_staff(database, "Budi", [StaffRole.APPROVER], now)
    rule = FeeRule(from_day=days_since_1970(day_of(now)), basis_points=100)
    fee = propose_fee_rule(database, None, rule, "Ani", now)
    decide_fee_rule(database, None, fee.number, "Budi", now, accepted=True)
    account = BankAccount(bank="Bank", bank_code="113", account="0012345678", holder="PT Toko")
    made = propose_account(database, seller, account, "Ani", now)
    decide_account(database, seller, made.number, "Budi", now, accepted=True)
    propose_run(database, day_of(START), "Ani", now, compared_with_bank=True)


def test_tills_that_report_at_once_lose_nothing(office: Office, card: ModelCard) -> None:
    station = office.world.station()
    second = office.world.card(4712)
    office.world.top_up(station, second, Rupiah(100_000))
    tills = [office.world.till(f"Toko {number}") for number in range(4)]
    for number in range(120):
        tills[number % 4].sell((card, second)[number // 3 % 2], Rupiah(100))
    batches = [till.batch(first, first + 9) for first in (1, 11, 21) for till in tills]

    def report(batch: bytes) -> bytes:
        for _ in range(50):  # busy, or the batch before it is still under way
            with contextlib.suppress(ServerBusy, VouchersMissing):
                return ingest.take_batch(office.world.central, batch)
            time.sleep(0.01)
        raise AssertionError

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(report, [*batches, *batches]))
    assert answers[:12] == answers[12:]
    assert office.owed_to_outlets() == Rupiah(12_000)
    for holder in (card, second):
        assert statement_of(office.world.central, holder.uid).balance == holder.balance
    assert office.anomalies() == set()


def test_one_look_at_the_ledger_sees_one_moment(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    """A report made of several queries: what is posted meanwhile is in all of them or in none."""
    count = select(func.count()).select_from(postings)
    with office.world.central.database.read() as connection:
        before = connection.execute(count).scalar_one()
        till.sell(card, Rupiah(1_000))
        office.acknowledged(till.batch())
        assert connection.execute(count).scalar_one() == before
