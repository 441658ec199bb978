"""Where every rupiah is: one query over the journal, and what stands out beside it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, func, select

from dobmi.cardlib.evidence import parse_sale_evidence
from dobmi.central.balances import Flow, flows, group_balances
from dobmi.central.database import whole_sum
from dobmi.central.doubts import the_card_can_tell
from dobmi.central.posting_rules import ISSUES, REDEEMS, Group, Kind
from dobmi.central.schema import (
    DoubtState,
    anomalies,
    card_transactions,
    cards,
    in_doubt,
    named_before,
    quarantine,
    rejected_batches,
    replacements,
    terminals,
    vouchers,
)
from dobmi.central.server import Central
from dobmi.central.verification import Reason, amount_of, kind_of, previous_of, uid_of
from dobmi.money import Rupiah
from dobmi.sync.voucher import VoucherKind, decode_voucher


@dataclass(frozen=True, slots=True, kw_only=True)
class Circulation:
    """In rupiah, as the ledger has it at this moment: two flows since the beginning, and stocks."""

    issued: Rupiah
    """Against cash and out of salaries: a flow."""
    redeemed: Rupiah
    """Paid out to outlets and merchants, and their fees: a flow."""
    in_wallets: Rupiah
    in_flight: Rupiah
    on_cards: Rupiah
    owed_to_outlets: Rupiah
    owed_to_merchants: Rupiah
    suspense: Rupiah
    on_cards_by_their_own_word: Rupiah
    """The balance after each card's newest transaction on record, which its MAC covers."""
    doubts_open: int
    doubts_open_sum: Rupiah
    quarantined: int
    anomalies: int
    rejected_batches: int

    @property
    def stocks(self) -> Mapping[str, Rupiah]:
        """Where what was issued and not redeemed is, by the names of the fields."""
        names = ("in_wallets", "in_flight", "on_cards", "owed_to_outlets", "owed_to_merchants")
        return {name: getattr(self, name) for name in (*names, "suspense")}

    @property
    def difference(self) -> Rupiah:
        """Issued less redeemed less all stocks: nought, or money was made or lost."""
        stocks = sum(stock.amount for stock in self.stocks.values())
        return self.issued - self.redeemed - Rupiah(stocks)

    @property
    def not_yet_reported(self) -> Rupiah:
        """On cards by the ledger, yet no longer by the cards' own word: sales still to come in."""
        return self.on_cards - self.on_cards_by_their_own_word


def circulation(central: Central) -> Circulation:
    newest = card_transactions.alias("newest")
    # A look-up a card, however many transactions there are.
    last_word = (
        select(newest.c.balance_after_rupiah)
        .where(newest.c.card_uid == cards.c.uid)
        .order_by(newest.c.counter.desc())
        .limit(1)
        .correlate(cards)
        .scalar_subquery()
    )
    # A lost card may say what it likes: its money is elsewhere.
    restored = select(replacements.c.card_uid).where(replacements.c.safe_at.is_not(None))
    with central.database.read() as connection:
        totals = flows(connection)
        balances = group_balances(totals)
        own_word = connection.execute(
            select(whole_sum(last_word)).where(cards.c.uid.not_in(restored))
        ).scalar_one()
        doubts, doubts_sum = connection.execute(
            select(func.count(), whole_sum(in_doubt.c.amount_rupiah)).where(
                in_doubt.c.state == DoubtState.OPEN
            )
        ).one()
        quarantined = connection.execute(select(func.count()).select_from(quarantine)).scalar_one()
        found = connection.execute(select(func.count()).select_from(anomalies)).scalar_one()
        rejected = connection.execute(
            select(func.count()).select_from(rejected_batches)
        ).scalar_one()
    return Circulation(
        issued=_of(totals, ISSUES),
        redeemed=_of(totals, REDEEMS),
        in_wallets=balances[Group.WALLET],
        in_flight=balances[Group.IN_FLIGHT],
        on_cards=balances[Group.CARD],
        owed_to_outlets=balances[Group.OUTLET],
        owed_to_merchants=balances[Group.MERCHANT],
        suspense=balances[Group.SUSPENSE],
        on_cards_by_their_own_word=Rupiah(own_word),
        doubts_open=doubts,
        doubts_open_sum=Rupiah(doubts_sum),
        quarantined=quarantined,
        anomalies=found,
        rejected_batches=rejected,
    )


def _of(totals: Mapping[Flow, Rupiah], kinds: Collection[Kind]) -> Rupiah:
    return Rupiah(sum(total.amount for flow, total in totals.items() if flow.kind in kinds))


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """A voucher that was kept but not believed. `received_at`: Unix seconds."""

    terminal_id: int
    sequence: int
    kind: VoucherKind
    card_uid: bytes
    amount: Rupiah | None
    """What the till claims, where it claims one."""
    reason: Reason
    detail: str
    received_at: int


def quarantine_list(central: Central) -> list[Quarantined]:
    """Vouchers kept but not posted, oldest first."""
    statement = (
        select(quarantine, vouchers.c.encoded)
        .join(
            vouchers,
            (vouchers.c.terminal_id == quarantine.c.terminal_id)
            & (vouchers.c.sequence == quarantine.c.sequence),
        )
        .order_by(quarantine.c.received_at, quarantine.c.terminal_id, quarantine.c.sequence)
    )
    with central.database.read() as connection:
        rows = connection.execute(statement).all()
    found = []
    for row in rows:
        voucher = decode_voucher(bytes(row.encoded))
        found.append(
            Quarantined(
                terminal_id=row.terminal_id,
                sequence=row.sequence,
                kind=kind_of(voucher),
                card_uid=uid_of(voucher),
                amount=amount_of(voucher),
                reason=Reason(row.reason),
                detail=row.detail,
                received_at=row.received_at,
            )
        )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreportedSale:
    """A transaction that a card names and its till has not sent: it is late, or hides it."""

    terminal_id: int
    terminal_name: str
    sequence: int
    card_uid: bytes
    amount: Rupiah | None
    """By the card's balances around it; None while more than one transaction is missing there."""
    known_since: int
    """When the transaction took place in which the card named it."""


def unreported_sales(central: Central) -> list[UnreportedSale]:
    """Sales that cards name, beyond what their tills have sent; the longest known first.

    Each is a till that has not synced since, or that keeps a sale to itself. A card names the sale
    before each transaction, and before each of its sales in doubt.
    """
    later, earlier = card_transactions.alias("later"), card_transactions.alias("earlier")
    statement = (
        select(
            named_before.c.terminal_id,
            named_before.c.sequence,
            terminals.c.name,
            later.c.card_uid,
            later.c.counter,
            later.c.balance_before_rupiah,
            earlier.c.balance_after_rupiah,
            later.c.at,
        )
        .join_from(named_before, terminals, terminals.c.id == named_before.c.terminal_id)
        .join(
            later,
            (later.c.card_uid == named_before.c.card_uid)
            & (later.c.counter == named_before.c.counter),
        )
        .outerjoin(
            earlier,
            (earlier.c.card_uid == later.c.card_uid) & (earlier.c.counter == later.c.counter - 2),
        )
        .where(named_before.c.sequence > terminals.c.head_sequence)
        .order_by(later.c.at, later.c.card_uid, later.c.counter)
    )
    with central.database.read() as connection:
        rows = connection.execute(statement).all()
    found = []
    for row in rows:
        before = 0 if row.counter == 2 else row.balance_after_rupiah
        found.append(
            UnreportedSale(
                terminal_id=row.terminal_id,
                terminal_name=row.name,
                sequence=row.sequence,
                card_uid=bytes(row.card_uid),
                amount=None if before is None else Rupiah(before - row.balance_before_rupiah),
                known_since=row.at,
            )
        )
    named = {(sale.terminal_id, sale.sequence) for sale in found}
    found += [sale for sale in _named_by_doubts(central) if _id_of(sale) not in named]
    return sorted(found, key=lambda sale: sale.known_since)


def _id_of(sale: UnreportedSale) -> tuple[int, int]:
    return sale.terminal_id, sale.sequence


def _named_by_doubts(central: Central) -> list[UnreportedSale]:
    """What only a doubt's encrypted reader id names: beside it two transactions are missing."""
    before = card_transactions.alias("before")
    statement = (
        select(in_doubt.c.card_uid, in_doubt.c.counter, in_doubt.c.evidence, in_doubt.c.at)
        .add_columns(cards.c.mac_key_version)
        .join(cards, cards.c.uid == in_doubt.c.card_uid)
        .outerjoin(
            before,
            (before.c.card_uid == in_doubt.c.card_uid)
            & (before.c.counter == in_doubt.c.counter - 1),
        )
        .where(the_card_can_tell(), in_doubt.c.counter > 1)
        .where(before.c.counter.is_(None))
    )
    mac_key_of = central.mac_keys()
    found = []
    with central.database.read() as connection:
        tills = {row.id: row for row in connection.execute(select(terminals))}
        for row in connection.execute(statement):
            uid = bytes(row.card_uid)
            evidence = parse_sale_evidence(bytes(row.evidence))
            mac_key = mac_key_of(uid, row.mac_key_version)
            maker = previous_of(mac_key, uid, row.counter, evidence.encrypted_previous_reader_id)
            till = tills.get(maker.terminal_id) if maker is not None else None
            if maker is not None and till is not None and maker.sequence > till.head_sequence:
                found.append(
                    UnreportedSale(
                        terminal_id=maker.terminal_id,
                        terminal_name=till.name,
                        sequence=maker.sequence,
                        card_uid=uid,
                        amount=None,
                        known_since=row.at,
                    )
                )
    return found


CLOCK_BEHIND_SECONDS_MIN = 3600
"""What a clock may lag without being named; a Raspberry Pi that was off is behind for a while."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockBehind:
    """A sale that a card made after a transaction with a later time: its till's clock was behind.

    The time before may be the server's own (a credit) or another till's, whose clock may have been
    ahead instead.
    """

    terminal_id: int
    terminal_name: str
    sequence: int
    card_uid: bytes
    amount: Rupiah
    at: int
    after_terminal_id: int
    after: int

    @property
    def behind_seconds(self) -> int:
        return self.after - self.at


def clocks_behind(central: Central) -> list[ClockBehind]:
    """Sales that cards put later than their tills' clocks do, by an hour or more; worst first.

    A card numbers its transactions, so whatever a till's clock is set to, their order is known.
    """
    later, earlier = card_transactions.alias("later"), card_transactions.alias("earlier")
    statement = (
        select(
            later.c.terminal_id,
            later.c.sequence,
            terminals.c.name,
            later.c.card_uid,
            later.c.amount_rupiah,
            later.c.at,
            earlier.c.terminal_id.label("after_terminal_id"),
            earlier.c.at.label("after"),
        )
        .join(
            earlier,
            (earlier.c.card_uid == later.c.card_uid) & (earlier.c.counter == later.c.counter - 1),
        )
        .join(terminals, terminals.c.id == later.c.terminal_id)
        .where(later.c.at <= earlier.c.at - CLOCK_BEHIND_SECONDS_MIN)
        .order_by(later.c.at - earlier.c.at, later.c.terminal_id, later.c.sequence)
    )
    with central.database.read() as connection:
        rows = connection.execute(statement).all()
    return [
        ClockBehind(
            terminal_id=row.terminal_id,
            terminal_name=row.name,
            sequence=row.sequence,
            card_uid=bytes(row.card_uid),
            amount=Rupiah(row.amount_rupiah),
            at=row.at,
            after_terminal_id=row.after_terminal_id,
            after=row.after,
        )
        for row in rows
    ]


def anomaly_list(central: Central) -> list[Row[Any]]:
    """What no honest card and till would show, newest first."""
    with central.database.read() as connection:
        return list(connection.execute(select(anomalies).order_by(anomalies.c.id.desc())))
