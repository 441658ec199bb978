"""However batches are cut, repeated, reordered and sent at once: the ledger is as one by one."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from dobmi.cardlib.transaction_mac import TransactionMac
from dobmi.central.cards import PendingCredit
from dobmi.central.credit_orders import order_credit
from dobmi.central.credit_session import note_attempt, post_delivery
from dobmi.central.errors import ServerBusy, VouchersMissing
from dobmi.central.ingest import take_batch
from dobmi.central.schema import (
    CreditSource,
    Role,
    anomalies,
    batches_to_look_at,
    card_transactions,
    in_doubt,
    postings,
    quarantine,
    refunds,
    terminals,
    vouchers,
)
from dobmi.central.terminals import enrol, invite
from dobmi.money import Rupiah
from dobmi.sync.enrolment import encode_enrol_request
from dobmi.sync.voucher import Outcome
from support.central_client import RING
from support.databases import Kind, using
from support.traffic import ModelCard, ModelTill, World

TILLS = 3
CARDS = 2


@dataclass
class Pair:
    """Two servers that know the same cards and tills: one for one by one, one for any order."""

    ordered: World
    shuffled: World
    members: int = 0

    @property
    def both(self) -> tuple[World, World]:
        return self.ordered, self.shuffled

    def till(self, name: str, role: Role = Role.TILL) -> ModelTill:
        key = Ed25519PrivateKey.generate()
        public_key = key.public_key().public_bytes_raw()
        numbers = set()
        for world in self.both:
            invitation = invite(world.central, role, name, name)
            enrol(world.central, encode_enrol_request(invitation.code, public_key, key.sign))
            with world.central.database.read() as connection:
                numbers.add(connection.execute(select(func.max(terminals.c.id))).scalar_one())
        (number,) = numbers
        return ModelTill(number, key, name)

    def card(self, station: ModelTill) -> ModelCard:
        """With Rp 100.000 on it, at both servers."""
        self.members += 1
        cards = [world.make_cards(self.members, 1)[0] for world in self.both]
        card = cards[0]
        staged = card.stage_credit(1, Rupiah(100_000))
        counter, mac = card.commit(staged)
        for world in self.both:
            credit, _ = order_credit(
                world.central,
                card.uid,
                Rupiah(100_000),
                CreditSource.CASH,
                idempotency_key=f"order-{self.members:08}",
                station=station.terminal_id,
            )
            assert isinstance(credit, PendingCredit)
            note_attempt(world.central, credit, staged.evidence)
            post_delivery(world.central, credit, staged.evidence, TransactionMac(counter, mac))
        return card


@pytest.fixture(scope="module", params=list(Kind), ids=str)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    kind: Kind = request.param
    folders = [Path(tempfile.mkdtemp(prefix="dobmi-order-")) for _ in range(2)]
    with using(kind):
        ordered, shuffled = (World.create(folder, keys=RING, kind=kind) for folder in folders)
        made = Pair(ordered, shuffled)
        yield made
        for world in made.both:
            world.close()
    for folder in folders:
        shutil.rmtree(folder)


_EVENTS = st.lists(
    st.tuples(
        st.sampled_from(
            ["sell", "sell", "lose", "lose-unpaid", "void", "refund", "resolve", "decide"]
        ),
        st.integers(0, TILLS - 1),
        st.integers(0, CARDS - 1),
        st.integers(1, 3_000),
    ),
    min_size=1,
    max_size=14,
)


def play(
    events: Sequence[tuple[str, int, int, int]], tills: list[ModelTill], cards: list[ModelCard]
) -> None:
    """What the tills write; at last each card buys once more, which settles what it can."""
    doubts: list[tuple[ModelTill, ModelCard, int, tuple[int, bytes]]] = []
    sold: dict[int, list[tuple[int, ModelCard, int]]] = {}
    for what, number, of, amount in events:
        till, card = tills[number], cards[of]
        match what:
            case "lose" | "lose-unpaid":
                told = till.doubt(card, Rupiah(amount), committed=what == "lose")
                doubts.append((till, card, len(till.vouchers), told))
            case "void":
                till.void(card, Rupiah(amount))
            case "refund" if sold.get(number):
                sequence, buyer, paid = sold[number].pop()
                till.refund(buyer, sequence, Rupiah(min(amount, paid)))
            case "resolve" if doubts:
                shop, holder, sequence, (counter, mac) = doubts.pop(0)
                if counter and holder.counter == counter:
                    shop.resolve(holder, sequence, Outcome.PAID, counter, mac)
                else:
                    shop.resolve(holder, sequence, Outcome.PAID if counter else Outcome.NOT_PAID)
            case "decide" if doubts:
                shop, holder, sequence, (counter, _) = doubts[-1]
                if not any(mark == (shop.terminal_id, sequence) for mark in decided):
                    shop.decide(holder, sequence, Outcome.PAID if counter else Outcome.NOT_PAID)
                    decided.add((shop.terminal_id, sequence))
            case _:
                till.sell(card, Rupiah(amount))
                sold.setdefault(number, []).append((len(till.vouchers), card, amount))
    for card in cards:
        tills[0].sell(card, Rupiah(1))


decided: set[tuple[int, int]] = set()
"""There is one decision for a sale; tills are new in each example, so this only grows."""


def batches_of(till: ModelTill, cuts: Sequence[int]) -> list[bytes]:
    """The till's vouchers in batches of these sizes, the last of what is left."""
    made, first = [], 1
    for size in [*cuts, len(till.vouchers)]:
        last = min(first + size - 1, len(till.vouchers))
        if first <= last:
            made.append(till.batch(first, last))
        first = last + 1
    return made


def send(world: World, batches: Sequence[bytes]) -> None:
    for batch in batches:
        for _ in range(300):
            with contextlib.suppress(ServerBusy, VouchersMissing):
                take_batch(world.central, batch)
                break
        else:
            raise AssertionError


def ledger(world: World, tills: Sequence[ModelTill], cards: Sequence[ModelCard]) -> dict[str, Any]:
    """All that stands of these tills and cards, without what tells of the order alone."""
    till_ids = [till.terminal_id for till in tills]
    uids = [card.uid for card in cards]
    found: dict[str, Any] = {}
    with world.central.database.read() as connection:

        def rows(*columns: Any, where: Any) -> list[tuple[Any, ...]]:
            return sorted(tuple(row) for row in connection.execute(select(*columns).where(where)))

        of = card_transactions.c
        found["transactions"] = rows(
            of.card_uid, of.counter, of.terminal_id, of.sequence, of.amount_rupiah,
            of.balance_before_rupiah, of.balance_after_rupiah, where=of.card_uid.in_(uids),
        )  # fmt: skip
        row = postings.c
        found["postings"] = rows(
            row.kind, row.debit_account, row.credit_account, row.amount_rupiah, row.card_uid,
            row.terminal_id, row.sequence, where=row.card_uid.in_(uids),
        )  # fmt: skip
        doubt = in_doubt.c
        found["doubts"] = rows(
            doubt.terminal_id, doubt.sequence, doubt.state, where=doubt.terminal_id.in_(till_ids)
        )
        given = refunds.c
        found["refunds"] = rows(
            given.terminal_id, given.sequence, given.amount_rupiah, given.state,
            where=given.terminal_id.in_(till_ids),
        )  # fmt: skip
        kept = quarantine.c
        found["quarantine"] = rows(
            kept.terminal_id, kept.sequence, kept.reason, where=kept.terminal_id.in_(till_ids)
        )
        found["vouchers"] = rows(
            vouchers.c.terminal_id, vouchers.c.sequence, vouchers.c.encoded,
            where=vouchers.c.terminal_id.in_(till_ids),
        )  # fmt: skip
        found["anomalies"] = rows(anomalies.c.kind, where=anomalies.c.card_uid.in_(uids))
        found["heads"] = rows(
            terminals.c.id, terminals.c.head_sequence, terminals.c.head_hash,
            where=terminals.c.id.in_(till_ids),
        )  # fmt: skip
        found["left"] = connection.execute(
            select(func.count()).select_from(batches_to_look_at)
        ).scalar_one()
    return found


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    events=_EVENTS,
    cuts=st.lists(st.lists(st.integers(1, 5), max_size=4), min_size=TILLS, max_size=TILLS),
    repeats=st.lists(st.integers(0, 20), max_size=5),
    order=st.randoms(use_true_random=False),
)
def test_any_interleaving_repetition_and_order_ends_in_the_same_ledger(
    pair: Pair,
    events: list[tuple[str, int, int, int]],
    cuts: list[list[int]],
    repeats: list[int],
    order: Any,
) -> None:
    station = pair.till("Loket", Role.STATION)
    tills = [pair.till(f"Toko {number}") for number in range(TILLS)]
    cards = [pair.card(station) for _ in range(CARDS)]
    play(events, tills, cards)
    for till in tills:
        send(
            pair.ordered,
            [till.batch(number, number) for number in range(1, len(till.vouchers) + 1)],
        )
    streams = [batches_of(till, cut) for till, cut in zip(tills, cuts, strict=True)]
    in_order = [list(stream) for stream in streams]
    for at in repeats:  # sent again at any time later
        stream = streams[at % TILLS]
        if stream:
            stream.insert(order.randint(1, len(stream)), stream[order.randrange(len(stream))])
    for stream, batches in zip(streams, in_order, strict=True):
        _come_after_what_they_need(stream, batches)
    order.shuffle(streams)
    if pair.shuffled.central.database.engine.dialect.name == "sqlite":
        while any(streams):
            stream = order.choice([stream for stream in streams if stream])
            send(pair.shuffled, [stream.pop(0)])
    else:
        with ThreadPoolExecutor(TILLS) as pool:
            list(pool.map(lambda stream: send(pair.shuffled, stream), streams))
    one, other = (ledger(world, tills, cards) for world in pair.both)
    assert one["left"] == 0
    assert other == one


def _come_after_what_they_need(stream: list[bytes], in_order: list[bytes]) -> None:
    """A repeated batch may have been put before its first sending: then the next one comes there."""
    first_time = iter(in_order)
    came: set[bytes] = set()
    for index, batch in enumerate(list(stream)):
        if batch not in came:
            came.add(batch)
            stream[index] = next(first_time)
