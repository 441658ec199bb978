"""Each oracle can fail, and only the one that is meant does: sabotage, planted after a step."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from dobmi.cardlib.purse import Purse
from dobmi.cardlib.purse_layout import ReaderId
from dobmi.fleet.events import STATION, Deliver, Event, Purchase, Sync, TopUp
from dobmi.fleet.run import Outcome, run_events
from dobmi.fleet.template import fleet_keys, till_signing
from dobmi.fleet.world import World
from dobmi.money import Rupiah
from dobmi.sync.voucher import (
    RefundVoucher,
    VoidReason,
    VoidVoucher,
    encode_voucher,
    verify_voucher,
)
from support.purses import InProcess

DAY: tuple[Event, ...] = (
    Purchase(at_seconds=10, till=0, card=0, amount=5_000),
    Purchase(at_seconds=20, till=1, card=1, amount=7_500),
    TopUp(at_seconds=30, card=2, amount=50_000),
    Deliver(at_seconds=40, at=STATION, card=2),
    Sync(at_seconds=50, till=0),
    Purchase(at_seconds=60, till=0, card=2, amount=2_500),
)
AFTER_SYNC = 4
AGAIN = (
    "INSERT INTO postings (id, kind, debit_account, credit_account, amount_rupiah, at, card_uid, "
    "terminal_id, sequence, explanation) SELECT id + 1000, kind, debit_account, credit_account, "
    "amount_rupiah, at, card_uid, terminal_id, sequence + 1000, explanation FROM postings"
)


def sabotaged(plant: Callable[[World], None], after_step: int) -> Outcome:
    steps = iter(range(len(DAY) + 1))

    def tamper(world: World) -> None:
        if next(steps) == after_step:
            plant(world)
            for process in world.tills:
                process.disk.changes += 1
            world.office.disk.changes += 1

    return run_events(DAY, tamper)


def by_hand(path: Path, *statements: tuple[str, tuple[object, ...]]) -> None:
    """Change a database past its own guards."""
    with closing(sqlite3.connect(path)) as database:
        guards = [
            row[0]
            for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        ]
        for guard in guards:
            database.execute(f'DROP TRIGGER "{guard}"')
        database.execute("PRAGMA ignore_check_constraints = ON")
        for statement, values in statements:
            database.execute(statement, values)
        database.commit()


def test_without_sabotage_nothing_is_found() -> None:
    assert run_events(DAY).findings == ()


def post_twice(world: World) -> None:
    by_hand(
        world.office.disk.path,
        (
            f"{AGAIN} WHERE kind = 'sale'",
            (),
        ),
    )


def post_one_side(world: World) -> None:
    """The debit goes to an account that is none of ours: debits are no longer the credits."""
    by_hand(
        world.office.disk.path, ("UPDATE postings SET debit_account = 99 WHERE kind = 'sale'", ())
    )


def issue_money(world: World) -> None:
    by_hand(
        world.office.disk.path,
        (
            f"{AGAIN} WHERE kind = 'top-up' LIMIT 1",
            (),
        ),
    )


def lose_a_voucher(world: World) -> None:
    by_hand(world.tills[1].disk.path, ("DELETE FROM vouchers", ()))


def fork_the_chain(world: World) -> None:
    """The unsent sale's place is taken by another voucher, well signed and well linked."""
    process = world.tills[1]
    signing = till_signing(1)
    public_key = signing.public_key("terminal")
    with closing(sqlite3.connect(process.disk.path)) as database:
        (encoded,) = database.execute("SELECT encoded FROM vouchers").fetchone()
    other = encode_voucher(
        VoidVoucher(
            link=verify_voucher(encoded, public_key).link,
            card_uid=world.cards[2].uid,
            amount=Rupiah(1),
            reason=VoidReason.CANCELLED,
        ),
        public_key,
        lambda message: signing.sign("terminal", message),
    )
    # Another sale that nobody was shown and no card made, so that only the chain can tell.
    world.witness.shown[:] = [
        one for one in world.witness.shown if one.terminal_id != process.terminal_id
    ]
    world.witness.truth.transactions[:] = [
        one
        for one in world.witness.truth.transactions
        if one.reader_id.terminal_id != process.terminal_id
    ]
    world.witness.truth.cards.pop(world.cards[1].uid)
    by_hand(
        process.disk.path,
        ("UPDATE vouchers SET encoded = ?, hash = ?", (other, hashlib.sha256(other).digest())),
    )


def break_the_chain(world: World) -> None:
    """A refund, well signed, that does not follow the voucher before it."""
    process = world.tills[1]
    signing = till_signing(1)
    public_key = signing.public_key("terminal")
    with closing(sqlite3.connect(process.disk.path)) as database:
        database.row_factory = sqlite3.Row
        row = dict(database.execute("SELECT * FROM vouchers").fetchone())
    link = replace(verify_voucher(row["encoded"], public_key).link, sequence=2)
    encoded = encode_voucher(
        RefundVoucher(
            link=link, refunds=1, card_uid=row["card_uid"], amount=Rupiah(1), reason="rusak"
        ),
        public_key,
        lambda message: signing.sign("terminal", message),
    )
    row |= {"sequence": 2, "encoded": encoded, "hash": hashlib.sha256(encoded).digest()}
    row |= {"previous_hash": bytes(32)}
    names, places = ", ".join(row), ", ".join("?" * len(row))
    insert = f"INSERT INTO vouchers ({names}) VALUES ({places})"  # noqa: S608 - the table's own names
    by_hand(process.disk.path, (insert, tuple(row.values())))


def credit_again(world: World) -> None:
    """What a delivery without the credit state would do after a lost answer."""
    card = world.cards[2]
    card.power_off()
    purse = Purse(InProcess(card), fleet_keys(), fleet_keys().public_key("card-issuer"))
    purse.begin_credit(2)
    purse.stage(purse.prepare_credit(Rupiah(50_000), 1_790_000_000, balance_max=Rupiah(2_000_000)))
    purse.commit()
    card.power_off()


def charge_in_secret(world: World) -> None:
    """A till that debits and keeps no intent."""
    card = world.cards[1]
    card.power_off()
    purse = Purse(InProcess(card), fleet_keys(), fleet_keys().public_key("card-issuer"))
    purse.begin_sale(ReaderId(terminal_id=world.tills[0].terminal_id, sequence=77))
    purse.stage(purse.prepare_debit(Rupiah(1_000), 1_790_000_000))
    purse.commit()
    card.power_off()


def charge_twice(world: World) -> None:
    """The same sale, committed a second time."""
    truth = world.witness.truth
    sale = next(one for one in truth.transactions if one.change < Rupiah(0))
    world.witness.truth.transactions.append(sale)
    world.witness.truth.cards.pop(sale.uid)


def drop_a_batch(world: World) -> None:
    by_hand(world.office.disk.path, ("DELETE FROM batches", ()))


def drop_an_acknowledged_voucher(world: World) -> None:
    by_hand(world.office.disk.path, ("DELETE FROM vouchers", ()))


def suspect_somebody(world: World) -> None:
    by_hand(
        world.office.disk.path,
        (
            "INSERT INTO anomalies (id, subject, kind, detail, at) VALUES (1, 'x', 'clone', '', 0)",
            (),
        ),
    )


@pytest.mark.parametrize(
    ("plant", "after_step", "oracle"),
    [
        (post_twice, AFTER_SYNC, "ledger-true"),
        (post_one_side, AFTER_SYNC, "ledger-true"),
        (issue_money, AFTER_SYNC, "money-conserved"),
        (lose_a_voucher, 1, "shown-paid-is-kept"),
        (fork_the_chain, 2, "chain-unbroken"),
        (break_the_chain, 1, "chain-unbroken"),
        (credit_again, 3, "credit-once"),
        (charge_in_secret, 0, "card-follows-vouchers"),
        (charge_twice, 0, "charged-once"),
        (drop_a_batch, AFTER_SYNC, "nothing-dropped"),
        (drop_an_acknowledged_voucher, AFTER_SYNC, "nothing-dropped"),
        (suspect_somebody, 2, "no-false-alarm"),
    ],
)
def test_sabotage_is_found_by_the_oracle_that_is_meant(
    plant: Callable[[World], None], after_step: int, oracle: str
) -> None:
    outcome = sabotaged(plant, after_step)
    assert outcome.oracles == {oracle}, outcome.findings
    assert outcome.failed_at == after_step


class Unreachable(set[str]):
    """Who has no network, for good."""

    def clear(self) -> None:
        """The faults end; this one does not."""


def test_books_that_do_not_agree_at_the_end_are_found() -> None:
    """A till that never reports its sale."""

    def silence(world: World) -> None:
        world.network.down = Unreachable({"Till 2"})

    outcome = run_events(DAY[:2], silence)
    assert outcome.oracles == {"books-agree", "all-work"}
    assert outcome.failed_at == 2
