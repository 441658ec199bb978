"""What must be true when the people of `crash_world` have finished, whoever died on the way."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, create_engine, func, select, text

from dobmi.central.cards import OWN_KEYS, statement_of
from dobmi.central.circulation import anomaly_list, circulation
from dobmi.central.dispute import dispute
from dobmi.central.schema import card_transactions, cards, pending_credits
from dobmi.central.schema import vouchers as central_vouchers
from dobmi.central.server import Central
from dobmi.errors import DoBMIError
from dobmi.fleet.crash_actors import Site
from dobmi.fleet.crash_counter import counter_violations
from dobmi.fleet.crash_kiosk import pairing_violations
from dobmi.fleet.crash_world import Books, card_balance
from dobmi.sync.voucher import (
    Outcome,
    RefundVoucher,
    ResolutionVoucher,
    SaleVoucher,
    follow_chain,
    genesis_hash,
    verify_voucher,
    voucher_hash,
)
from dobmi.terminal.ledger import Ledger

_DISPUTES_MAX = 5
"""Of the newest sales: a step adds fewer."""


def violations(site: Site, books: Books) -> list[str]:
    """Everything that is not as it must be once `World.finish` is through."""
    found: list[str] = []
    central = site.central()
    try:
        found += _central_violations(central, books)
        with central.database.read() as connection:
            found += pairing_violations(central, connection, site.data, books.paired)
        if books.uids:
            found += _money_violations(site, central, books)
        if books.paid or books.given_up:
            found += _chain_violations(site, central, books)
    finally:
        central.database.close()
    for database in sorted(site.data.glob("*.db")):
        found += _integrity(database)
    return found


def _central_violations(central: Central, books: Books) -> list[str]:
    found = []
    now = circulation(central)
    if now.difference.amount or now.suspense.amount:
        found.append(f"the ledger's sum is {now.difference}, in suspense {now.suspense}")
    if now.doubts_open or now.quarantined or now.rejected_batches != books.rejected:
        found.append(
            f"{now.doubts_open} doubts open, {now.quarantined} quarantined, "
            f"{now.rejected_batches} batches rejected"
        )
    found += [
        f"anomaly {row.kind}: {row.detail}"
        for row in anomaly_list(central)
        if row.kind not in books.anomalies
    ]
    with central.database.read() as connection:
        found += _credit_violations(connection, books)
        found += _card_violations(connection, books)
    return found


def _credit_violations(connection: Connection, books: Books) -> list[str]:
    """Every order and refund is one credit, on the card or, of a lost card, moved on."""
    found = []
    lost = {books.uids[card] for card in books.lost}
    credits_: dict[str, Row[Any]] = {
        row.idempotency_key: row for row in connection.execute(select(pending_credits))
    }
    for reference, row in credits_.items():
        ends = {"delivered", "assumed", "moved"} if row.card_uid in lost else {"delivered"}
        if row.state not in ends:
            found.append(f"the credit {reference} is {row.state}")
    for reference, (card, amount) in books.ordered.items():
        order = credits_.get(reference)
        if order is None or (order.card_uid, order.amount_rupiah) != (books.uids[card], amount):
            found.append(f"the order {reference} is not kept as it was given: {order}")
    own = {reference for reference in credits_ if reference.startswith(OWN_KEYS)}
    unknown = credits_.keys() - own - books.ordered.keys()
    found += [f"a credit that nobody ordered: {reference}" for reference in unknown]
    back = sorted(credits_[reference].amount_rupiah for reference in own if ":refund:" in reference)
    promised = sorted(amount for _, amount, *_ in books.refunded)
    if back != promised:
        found.append(f"promised back {promised}, credits of refunds {back}")
    return found


def _card_violations(connection: Connection, books: Books) -> list[str]:
    found = []
    registered = connection.execute(select(cards)).all()
    wanted = {(books.uids[card], member) for card, member in books.members.items()}
    got = {(bytes(row.uid), row.member_number) for row in registered}
    if got != wanted:
        found.append(f"cards registered: {got}, issued: {wanted}")
    for row in registered:
        name = next(card for card, uid in books.uids.items() if uid == row.uid)
        state = "blocked" if books.blocked.get(name) else "active"
        state = "replaced" if name in books.lost else state
        if row.state != state:
            found.append(f"card {name} is {row.state}, not {state}")
    return found


def _money_violations(site: Site, central: Central, books: Books) -> list[str]:
    """Each card: what it says, what the ledger says, what people were told, all alike."""
    found = []
    unsure_total = 0
    for card in books.in_use():
        own = books.cards_of(card)
        on_card = card_balance(site, card)
        in_ledger = sum(statement_of(central, books.uids[one]).balance.amount for one in own)
        ordered = sum(amount for name, amount in books.ordered.values() if name in own)
        ordered += sum(amount for name, amount, *_ in books.refunded if name in own)
        ordered += sum(amount for name, amount in books.salaries if name in own)
        shown = sum(amount for name, amount, *_ in books.paid if name in own)
        unsure = [amount for name, amount in books.given_up if name in own]
        possible = {ordered - shown}
        for amount in unsure:
            possible |= {balance - amount for balance in possible}
        unsure_total += ordered - shown - on_card
        if on_card != in_ledger or on_card not in possible:
            found.append(
                f"{card}: {on_card} on the card, {in_ledger} in the ledger, "
                f"topped up {ordered}, shown as paid {shown}, never shown {unsure}"
            )
    now = circulation(central)
    paid = sum(amount for _, amount, *_ in books.paid) + unsure_total
    paid -= sum(amount for _, amount, *_ in books.refunded)
    outlets = now.owed_to_outlets + now.redeemed
    if outlets.amount != paid or now.in_flight.amount or now.in_wallets.amount:
        found.append(
            f"the outlets have or had {outlets}, paid was {paid}; "
            f"in flight {now.in_flight}, in wallets {now.in_wallets}"
        )
    with central.database.read() as connection:
        gaps = connection.execute(
            select(card_transactions.c.card_uid)
            .group_by(card_transactions.c.card_uid)
            .having(func.count() != func.max(card_transactions.c.counter))
        ).all()
    found += [f"transactions of {bytes(row.card_uid).hex()} are missing" for row in gaps]
    return found


def _chain_violations(site: Site, central: Central, books: Books) -> list[str]:
    found = []
    with contextlib.closing(Ledger(site.data / "till.db")) as ledger:
        who = ledger.identity()
        encoded = ledger.vouchers_from(1, 100_000)
        state = ledger.sync_state()
        doubts = ledger.doubts()
        open_intent = ledger.open_intent()
        with central.database.read() as connection:
            found += counter_violations(central.database, connection, ledger)
    for one in encoded:
        verify_voucher(one, who.public_key)
    genesis = genesis_hash(who.terminal_id, who.public_key)
    chain = list(follow_chain(encoded, who.terminal_id, 1, genesis))
    hashes = {voucher.link.sequence: hash_ for voucher, hash_ in chain}
    with central.database.read() as connection:
        kept = {
            row.sequence: voucher_hash(bytes(row.encoded))
            for row in connection.execute(
                select(central_vouchers).where(central_vouchers.c.terminal_id == who.terminal_id)
            )
        }
    if kept != hashes:
        found.append(f"the server has vouchers {sorted(kept)}, the till {sorted(hashes)}")
    if doubts or open_intent is not None:
        found.append(f"still in doubt at the till: {len(doubts)}, open: {open_intent is not None}")
    sequence, hash_ = books.acknowledged
    if state.acknowledged_sequence < sequence or (sequence and hashes.get(sequence) != hash_):
        found.append(f"{sequence} was acknowledged, and is not any more")
    sold = {v.link.sequence for v, _ in chain if isinstance(v, SaleVoucher)}
    sales = set(sold)
    sales |= {
        v.resolves
        for v, _ in chain
        if isinstance(v, ResolutionVoucher) and v.outcome is Outcome.PAID
    }
    for sequence in sorted(sales)[-_DISPUTES_MAX:]:
        found += _dispute_violations(central, who.terminal_id, sequence, sequence in sold)
    shown = [sequence for _, _, sequence, _ in books.paid]
    if len(set(shown)) != len(shown):
        found.append(f"one sale was shown as paid for two: {shown}")
    if not set(shown) <= sales:
        found.append(f"shown as paid and missing: {sorted(set(shown) - sales)}")
    if not {hash_ for *_, hash_ in books.paid + books.refunded} <= set(hashes.values()):
        found.append("a receipt names a voucher that is not there")
    given = {v.link.sequence: v.amount.amount for v, _ in chain if isinstance(v, RefundVoucher)}
    promised = {sequence: amount for _, amount, sequence, _ in books.refunded}
    if given != promised or len(promised) != len(books.refunded):
        found.append(f"promised back {books.refunded}, in the chain {given}")
    return found


def _dispute_violations(
    central: Central, terminal_id: int, sequence: int, has_mac: bool
) -> list[str]:
    """What the office would say if the member swore not to have bought that."""
    try:
        shown = dispute(central, terminal_id, sequence)
    except DoBMIError as error:
        return [f"dispute of {sequence}: {error}"]
    if shown.is_proved or (shown.signature_verified and shown.chain_verified and not has_mac):
        return []
    return [f"dispute of {sequence}: not proved"]


def _integrity(database: Path) -> list[str]:
    engine = create_engine(f"sqlite:///{database}")
    with engine.connect() as connection:
        answers = list(connection.execute(text("PRAGMA integrity_check")).scalars())
        broken = connection.execute(text("PRAGMA foreign_key_check")).all()
    engine.dispose()
    return [] if answers == ["ok"] and not broken else [f"{database.name}: {answers} {broken}"]
