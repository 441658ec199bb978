"""A batch is posted in one transaction and looked at in a second: none misses another's facts."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, func, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from dobmi.cardlib.custody import load_key_file, save_key_file
from dobmi.central import beside, ingest, periodic, verification
from dobmi.central.beside import look_at_posted, settle_beside
from dobmi.central.circulation import circulation
from dobmi.central.database import insert_rows, open_database
from dobmi.central.errors import ServerBusy, VouchersMissing
from dobmi.central.ingest import Care, Posting, check_batch, take_batch
from dobmi.central.schema import (
    anomalies,
    batches,
    batches_to_look_at,
    card_transactions,
    in_doubt,
    posting_keys,
    postings,
    vouchers,
)
from dobmi.central.server import Central
from dobmi.money import ZERO, Rupiah
from dobmi.settings import CentralSettings
from dobmi.sync.acknowledgement import verify_acknowledgement
from dobmi.sync.batch import parse_batch
from dobmi.sync.voucher import Outcome
from support.central_client import RING
from support.databases import Kind, using
from support.traffic import START, ModelCard, ModelTill, World


@pytest.fixture
def on_postgresql(tmp_path: Path) -> Iterator[World]:
    with using(Kind.POSTGRESQL):
        world = World.create(tmp_path, keys=RING, kind=Kind.POSTGRESQL)
        yield world
        world.close()


class Hand:
    """A batch whose transactions are begun and ended by hand."""

    def __init__(self, world: World, till: ModelTill) -> None:
        self._central = world.central
        self._till = till
        data = till.batch()
        batch = parse_batch(data)
        self._mac_key_of = world.central.mac_keys()
        judged, facts = check_batch(world.central, batch, till.public_key, self._mac_key_of)
        self._posting = Posting(
            world.central, batch, bytes(32), judged, facts, self._mac_key_of, START
        )
        self._stack = contextlib.ExitStack()
        self._connection: Connection | None = None

    def begin(self) -> None:
        self._connection = self._stack.enter_context(self._central.database.write())

    def post(self) -> None:
        assert self._connection is not None
        self._posted = self._posting.run(self._connection, Care.NONE)

    def look_as_before(self) -> None:
        """In the transaction that posts, as it was done once."""
        assert self._connection is not None
        last = self._posting.batch.head.last_sequence
        span = (self._till.terminal_id, 1, last)
        settle_beside(self._connection, span, self._posted.words, self._mac_key_of, START)

    def commit(self) -> None:
        self._stack.close()

    def look(self) -> None:
        assert self._posted.first_new is not None
        first = self._posted.first_new
        assert look_at_posted(
            self._central, self._till.terminal_id, first, self._mac_key_of, self._posted.words
        )


def a_doubt_and_what_decides_it(world: World) -> tuple[Hand, Hand]:
    """Two batches: a sale whose answer was lost, and the card's next sale, at another till."""
    card = world.card(4711)
    world.top_up(world.station(), card, Rupiah(100_000))
    one, other = world.till("Toko Satu"), world.till("Toko Dua")
    one.doubt(card, Rupiah(5_000), committed=True)
    other.sell(card, Rupiah(1_000))
    return Hand(world, one), Hand(world, other)


def state_of_the_doubt(world: World) -> str:
    with world.central.database.read() as connection:
        return str(connection.execute(select(in_doubt.c.state)).scalar_one())


def test_looking_in_the_transaction_that_posts_misses_what_the_other_batch_brings(
    on_postgresql: World,
) -> None:
    """The defect that the second transaction is there for."""
    first, second = a_doubt_and_what_decides_it(on_postgresql)
    for step in (Hand.begin, Hand.post, Hand.look_as_before, Hand.commit):
        for hand in (first, second):
            step(hand)
    assert state_of_the_doubt(on_postgresql) == "open"


STEPS = [(hand, step) for hand in (0, 1) for step in range(3)]
ORDERS = [
    order
    for order in itertools.permutations(STEPS)
    if all(
        order.index((hand, step)) < order.index((hand, step + 1))
        for hand, step in STEPS
        if step < 2
    )
]
"""Each posts, commits and looks; the two in any order of these steps."""


@pytest.mark.parametrize(
    "order", ORDERS, ids=lambda order: "".join("ab"[hand] for hand, _ in order)
)
def test_in_whatever_order_two_batches_go_the_doubt_is_settled(
    on_postgresql: World, order: tuple[tuple[int, int], ...]
) -> None:
    hands = a_doubt_and_what_decides_it(on_postgresql)
    for hand in hands:
        hand.begin()
    for which, step in order:
        (Hand.post, Hand.commit, Hand.look)[step](hands[which])
    assert state_of_the_doubt(on_postgresql) == "paid"
    assert circulation(on_postgresql.central).owed_to_outlets == Rupiah(6_000)
    assert circulation(on_postgresql.central).anomalies == 0


def busy_day(world: World, tills: int = 6, cards: int = 3) -> tuple[list[ModelTill], int]:
    """Sales, doubts, resolutions and refunds of a few cards that everybody sells to; rupiah sold."""
    station = world.station()
    holders = world.make_cards(100, cards)
    for holder in holders:
        world.top_up(station, holder, Rupiah(500_000))
    shops = [world.till(f"Toko {number}") for number in range(tills)]
    sold = 0
    for number in range(tills * 20):
        till, card = shops[number % tills], holders[number * 7 % cards]
        if number % 11 == 5:
            till.doubt(card, Rupiah(300), committed=number % 2 == 0)
            sold += 300 * (number % 2 == 0)
        elif number % 13 == 7:
            till.sell(card, Rupiah(200))
            till.refund(card, len(till.vouchers), Rupiah(50))
            sold += 150
        else:
            till.sell(card, Rupiah(100 + number))
            sold += 100 + number
    for card in holders:
        shops[0].sell(card, Rupiah(1))
        sold += 1
    return shops, sold


def send_all(central: Central, till: ModelTill, size: int = 7) -> list[bytes]:
    """As a till does: one after the other, each again until it is answered."""
    answers = []
    for first in range(1, len(till.vouchers) + 1, size):
        batch = till.batch(first, min(first + size - 1, len(till.vouchers)))
        for _ in range(200):
            with contextlib.suppress(ServerBusy, VouchersMissing):
                answers.append(take_batch(central, batch))
                break
        else:
            raise AssertionError
    return answers


def test_tills_that_report_at_once_lose_nothing_and_no_two_wait_for_each_other(
    on_postgresql: World,
) -> None:
    world = on_postgresql
    tills, sold = busy_day(world)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda till: send_all(world.central, till), tills))
    now = circulation(world.central)
    assert (now.difference, now.owed_to_outlets, now.doubts_open) == (ZERO, Rupiah(sold), 0)
    assert (now.quarantined, now.anomalies, now.suspense) == (0, 0, ZERO)
    with world.central.database.read() as connection:
        assert (
            connection.execute(select(func.count()).select_from(batches_to_look_at)).scalar() == 0
        )
        deadlocks = text(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        )
        assert connection.execute(deadlocks).scalar_one() == 0


def serve_in_process(
    url: str, keys: Path, batches_: list[list[bytes]], start: Any, answers: Any
) -> None:
    """Another server on the same database takes the same batches."""
    central = Central(open_database(url), load_key_file(keys, "x"), CentralSettings())
    start.wait()
    got = []
    for batch in itertools.chain(*itertools.zip_longest(*batches_)):
        if batch is None:
            continue
        for _ in range(300):
            with contextlib.suppress(ServerBusy, VouchersMissing):
                got.append(take_batch(central, batch))
                break
        else:
            got.append(b"never")
    central.database.close()
    answers.put(got)


def test_two_servers_that_take_the_same_batches_post_them_once_with_one_answer(
    on_postgresql: World, tmp_path: Path
) -> None:
    world = on_postgresql
    tills, sold = busy_day(world, tills=3)
    keys = tmp_path / "keys"
    save_key_file(keys, RING, "x")
    sent = []
    for till in tills:
        firsts = range(1, len(till.vouchers) + 1, 5)
        sent.append([till.batch(n, min(n + 4, len(till.vouchers))) for n in firsts])
    url = world.central.database.engine.url.render_as_string(hide_password=False)
    spawn = multiprocessing.get_context("spawn")
    start, answers = spawn.Barrier(2), spawn.Queue()
    servers = [
        spawn.Process(target=serve_in_process, args=(url, keys, sent, start, answers))
        for _ in range(2)
    ]
    for server in servers:
        server.start()
    one, other = answers.get(timeout=60), answers.get(timeout=60)
    for server in servers:
        server.join(20)
    assert one == other
    heads = [verify_acknowledgement(data, world.central.public_key).head_sequence for data in one]
    assert len(heads) == sum(map(len, sent))
    now = circulation(world.central)
    assert (now.difference, now.owed_to_outlets, now.anomalies) == (ZERO, Rupiah(sold), 0)
    with world.central.database.read() as connection:
        count = select(func.count())
        assert connection.execute(count.select_from(batches)).scalar_one() == len(heads)
        assert connection.execute(count.select_from(vouchers)).scalar_one() == sum(
            len(till.vouchers) for till in tills
        )


class _CrashError(BaseException):
    """Nothing that anybody catches."""


def crash(*_: object) -> None:
    raise _CrashError


@pytest.mark.parametrize("by", ["the till's retry", "the till's next batch", "the periodic work"])
def test_what_a_crash_between_the_two_leaves_is_looked_at(
    on_postgresql: World, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    world = on_postgresql
    card = world.card(4711)
    world.top_up(world.station(), card, Rupiah(100_000))
    till = world.till()
    till.doubt(card, Rupiah(5_000), committed=True)
    till.sell(card, Rupiah(1_000))
    batch = till.batch()
    with monkeypatch.context() as patch:
        patch.setattr(ingest, "look_at_posted", crash)
        with pytest.raises(_CrashError):
            take_batch(world.central, batch)
    assert state_of_the_doubt(world) == "open"
    if by == "the till's retry":
        take_batch(world.central, batch)
    elif by == "the till's next batch":
        till.sell(card, Rupiah(1_000))
        take_batch(world.central, till.batch())
    else:
        done = periodic.run_due(world.central, interval_seconds=60)
        assert done["look-at-batches"]
    assert state_of_the_doubt(world) == "paid"


def test_a_till_is_answered_though_nobody_can_look_at_its_batch_yet(
    on_postgresql: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: object) -> None:
        raise ServerBusy

    world = on_postgresql
    card = world.card(4711)
    world.top_up(world.station(), card, Rupiah(100_000))
    till = world.till()
    till.sell(card, Rupiah(1_000))
    monkeypatch.setattr(ingest, "look_at_posted", busy)
    take_batch(world.central, till.batch())
    assert circulation(world.central).owed_to_outlets == Rupiah(1_000)


def test_a_till_of_the_card_is_not_kept_waiting_by_who_holds_the_card(on_postgresql: World) -> None:
    """Sales that simply go on lock no card at all."""
    world = on_postgresql
    card = world.card(4711)
    world.top_up(world.station(), card, Rupiah(100_000))
    till = world.till()
    till.sell(card, Rupiah(1_000))
    with world.central.database.write() as holding:
        holding.execute(text("SELECT uid FROM cards FOR UPDATE"))
        holding.execute(text("SET LOCAL lock_timeout = 1000"))
        take_batch(world.central, till.batch())
    assert circulation(world.central).owed_to_outlets == Rupiah(1_000)


def test_a_lost_race_is_run_again_and_not_the_tills_trouble(
    on_postgresql: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = on_postgresql
    card = world.card(4711)
    world.top_up(world.station(), card, Rupiah(100_000))
    till = world.till()
    till.sell(card, Rupiah(1_000))
    lost = iter(range(3))
    run = Posting.run

    def deadlocked(self: Posting, connection: Connection, care: Care) -> Any:
        if next(lost, None) is not None:
            connection.execute(
                text("DO $$ BEGIN RAISE EXCEPTION 'planted' USING ERRCODE = '40P01'; END $$")
            )
        return run(self, connection, care)

    monkeypatch.setattr(Posting, "run", deadlocked)
    take_batch(world.central, till.batch())
    assert circulation(world.central).owed_to_outlets == Rupiah(1_000)


def test_a_voucher_that_breaks_the_program_goes_into_quarantine_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    till, card = world.till(), world.card(4711)
    world.top_up(world.station(), card, Rupiah(100_000))
    for amount in (1_000, 6_666, 2_000):
        till.sell(card, Rupiah(amount))

    def broken(batch: Any, read: Any, *rest: Any) -> Any:
        if any(item.amount_rupiah == 6_666 for item in read):
            raise KeyError("planted")
        return verification.judge_batch(batch, read, *rest)

    monkeypatch.setattr(ingest, "judge_batch", broken)
    ack = verify_acknowledgement(take_batch(world.central, till.batch()), world.central.public_key)
    assert ack.quarantined == ((2, "cannot-be-posted"),)
    monkeypatch.undo()
    now = circulation(world.central)
    assert (now.owed_to_outlets, now.quarantined, now.difference) == (Rupiah(3_000), 1, ZERO)


def test_a_row_that_the_database_refuses_goes_into_quarantine_alone(world: World) -> None:
    till, card = world.till(), world.card(4711)
    world.top_up(world.station(), card, Rupiah(100_000))
    for amount in (1_000, 6_666, 2_000):
        till.sell(card, Rupiah(amount))
    refusal = {
        "sqlite": (
            "CREATE TRIGGER planted BEFORE INSERT ON postings WHEN NEW.amount_rupiah = 6666 AND NEW.kind = 'sale' "
            "BEGIN SELECT RAISE(ABORT, 'planted'); END"
        ),
        "postgresql": "ALTER TABLE postings ADD CONSTRAINT planted CHECK (amount_rupiah <> 6666 OR kind <> 'sale')",
    }
    with world.central.database.engine.begin() as connection:
        connection.exec_driver_sql(refusal[connection.dialect.name])
    try:
        data = take_batch(world.central, till.batch())
    finally:
        undo = {
            "sqlite": "DROP TRIGGER planted",
            "postgresql": "ALTER TABLE postings DROP CONSTRAINT planted",
        }
        with world.central.database.engine.begin() as connection:
            connection.exec_driver_sql(undo[connection.dialect.name])
    ack = verify_acknowledgement(data, world.central.public_key)
    assert [sequence for sequence, _ in ack.quarantined] == [2]
    with world.central.database.read() as connection:
        sold = connection.execute(
            select(postings.c.amount_rupiah)
            .where(postings.c.kind == "sale")
            .order_by(postings.c.id)
        ).scalars()
        assert list(sold) == [1_000, 2_000]
        numbers = connection.execute(
            select(card_transactions.c.counter).order_by(card_transactions.c.counter)
        ).scalars()
        assert list(numbers) == [1, 2, 4]


def test_a_number_that_another_batch_takes_at_the_same_moment_is_a_copy_of_the_card(
    on_postgresql: World,
) -> None:
    """Both tills' batches are well-formed: the later one finds the number taken, and is kept."""
    world = on_postgresql
    card = world.card(4711)
    world.top_up(world.station(), card, Rupiah(100_000))
    copy = ModelCard(**{name: getattr(card, name) for name in card.__slots__})
    one, other = world.till("Toko Satu"), world.till("Toko Dua")
    one.sell(card, Rupiah(1_000))
    other.sell(copy, Rupiah(2_000))
    with ThreadPoolExecutor(1) as pool:
        hand = Hand(world, one)
        hand.begin()
        hand.post()
        waiting = pool.submit(take_batch, world.central, other.batch())
        with pytest.raises(TimeoutError):
            waiting.result(0.3)
        hand.commit()
        hand.look()
        ack = verify_acknowledgement(waiting.result(20), world.central.public_key)
    assert ack.quarantined == ((1, "duplicate-counter"),)
    with world.central.database.read() as connection:
        assert "duplicate-counter" in set(connection.execute(select(anomalies.c.kind)).scalars())


def test_a_card_that_cannot_be_settled_is_said_and_holds_up_no_till(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise LookupError("planted")

    till, card, other = world.till(), world.card(4711), world.card(4712)
    station = world.station()
    for holder in (card, other):
        world.top_up(station, holder, Rupiah(100_000))
    till.doubt(card, Rupiah(1_000), committed=True)
    till.sell(other, Rupiah(2_000))
    monkeypatch.setattr(beside, "settle_cards", broken)
    take_batch(world.central, till.batch())
    with world.central.database.read() as connection:
        kinds = connection.execute(select(anomalies.c.kind, anomalies.c.card_uid)).all()
    assert [(kind, bytes(uid)) for kind, uid in kinds] == [("card-not-settled", card.uid)]
    assert circulation(world.central).owed_to_outlets == Rupiah(2_000)


def test_a_word_that_cannot_be_taken_is_said_and_holds_up_no_till(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise TypeError("planted")

    till, card = world.till(), world.card(4711)
    world.top_up(world.station(), card, Rupiah(100_000))
    till.doubt(card, Rupiah(1_000), committed=False)
    till.resolve(card, len(till.vouchers), Outcome.NOT_PAID)
    monkeypatch.setattr(beside, "_take_word", broken)
    take_batch(world.central, till.batch())
    till.sell(card, Rupiah(2_000))
    take_batch(world.central, till.batch())
    assert findings_of(world) == [("card-not-settled", card.uid)]
    assert circulation(world.central).owed_to_outlets == Rupiah(2_000)


def test_a_number_that_is_taken_time_and_again_holds_up_no_till(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def twice(connection: Connection, *_: object, **__: object) -> None:
        row = connection.execute(select(posting_keys)).mappings().first()
        assert row is not None
        insert_rows(connection, posting_keys, [dict(row)])

    till, card = world.till(), world.card(4711)
    world.top_up(world.station(), card, Rupiah(100_000))
    till.doubt(card, Rupiah(1_000), committed=True)
    monkeypatch.setattr(beside, "settle_cards", twice)
    take_batch(world.central, till.batch())
    till.sell(card, Rupiah(2_000))
    take_batch(world.central, till.batch())
    assert findings_of(world) == [("card-not-settled", card.uid)]


def findings_of(world: World) -> list[tuple[str, bytes]]:
    with world.central.database.read() as connection:
        rows = connection.execute(select(anomalies.c.kind, anomalies.c.card_uid))
        return [(kind, bytes(uid)) for kind, uid in rows]


def test_a_sale_is_posted_once_by_its_transactions_uniqueness(world: World) -> None:
    till, card = world.till(), world.card(4711)
    world.top_up(world.station(), card, Rupiah(100_000))
    till.sell(card, Rupiah(1_000))
    take_batch(world.central, till.batch())
    with world.central.database.engine.connect() as connection:
        row = connection.execute(
            select(card_transactions).where(card_transactions.c.terminal_id == till.terminal_id)
        ).one()
        with pytest.raises(IntegrityError):
            connection.execute(
                card_transactions.insert(), {**row._mapping, "counter": row.counter + 1}
            )
        connection.rollback()
        with pytest.raises(DBAPIError, match="append only"):
            connection.execute(update(card_transactions).values(counter=1))
        connection.rollback()
