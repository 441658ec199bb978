"""Where every rupiah is: one query over the journal, and what stands out beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, func, select

from dobmi.central.database import whole_sum
from dobmi.central.posting_rules import ISSUED, Group, Kind, group_balances
from dobmi.central.schema import (
    DoubtState,
    VoucherStatus,
    anomalies,
    card_transactions,
    in_doubt,
    postings,
    rejected_batches,
    vouchers,
)
from dobmi.central.server import Central
from dobmi.money import ZERO, Rupiah


@dataclass(frozen=True, slots=True, kw_only=True)
class Circulation:
    """Stocks, in rupiah, as the ledger has them at this moment."""

    issued: Rupiah
    in_flight: Rupiah
    on_cards: Rupiah
    paid_to_outlets: Rupiah
    suspense: Rupiah
    on_cards_by_their_own_word: Rupiah
    """The balance after each card's newest transaction on record, which its MAC covers."""
    doubts_open: int
    doubts_open_sum: Rupiah
    quarantined: int
    anomalies: int
    rejected_batches: int

    @property
    def difference(self) -> Rupiah:
        """Issued less everything it became: nought, or money was made or lost."""
        return self.issued - (self.in_flight + self.on_cards + self.paid_to_outlets + self.suspense)

    @property
    def not_yet_reported(self) -> Rupiah:
        """On cards by the ledger, yet no longer by the cards' own word: sales still to come in."""
        return self.on_cards - self.on_cards_by_their_own_word


def circulation(central: Central) -> Circulation:
    newest = (
        select(card_transactions.c.card_uid, func.max(card_transactions.c.counter).label("counter"))
        .group_by(card_transactions.c.card_uid)
        .subquery()
    )
    with central.database.read() as connection:
        totals = {
            Kind(kind): Rupiah(total)
            for kind, total in connection.execute(
                select(postings.c.kind, whole_sum(postings.c.amount_rupiah)).group_by(
                    postings.c.kind
                )
            )
        }
        balances = group_balances(totals)
        own_word = connection.execute(
            select(whole_sum(card_transactions.c.balance_after_rupiah)).join(
                newest,
                (newest.c.card_uid == card_transactions.c.card_uid)
                & (newest.c.counter == card_transactions.c.counter),
            )
        ).scalar_one()
        doubts, doubts_sum = connection.execute(
            select(func.count(), whole_sum(in_doubt.c.amount_rupiah)).where(
                in_doubt.c.state == DoubtState.OPEN
            )
        ).one()
        quarantined = connection.execute(
            select(func.count())
            .select_from(vouchers)
            .where(vouchers.c.status == VoucherStatus.QUARANTINED)
        ).scalar_one()
        found = connection.execute(select(func.count()).select_from(anomalies)).scalar_one()
        rejected = connection.execute(
            select(func.count()).select_from(rejected_batches)
        ).scalar_one()
    return Circulation(
        issued=_issued(balances),
        in_flight=balances[Group.IN_FLIGHT],
        on_cards=balances[Group.CARD],
        paid_to_outlets=balances[Group.OUTLET],
        suspense=balances[Group.SUSPENSE],
        on_cards_by_their_own_word=Rupiah(own_word),
        doubts_open=doubts,
        doubts_open_sum=Rupiah(doubts_sum),
        quarantined=quarantined,
        anomalies=found,
        rejected_batches=rejected,
    )


def _issued(balances: Mapping[Group, Rupiah]) -> Rupiah:
    issued = ZERO
    for group in ISSUED:
        issued -= balances[group]
    return issued


def quarantine(central: Central) -> list[Row[Any]]:
    """Vouchers kept but not posted, oldest first: rows of `vouchers` without their bytes."""
    columns = [column for column in vouchers.c if column.name != "encoded"]
    with central.database.read() as connection:
        statement = select(*columns).where(vouchers.c.status == VoucherStatus.QUARANTINED)
        return list(connection.execute(statement.order_by(vouchers.c.received_at)))


def doubts(central: Central) -> list[Row[Any]]:
    """All sales that were ever in doubt, newest first, with what became of them."""
    with central.database.read() as connection:
        return list(connection.execute(select(in_doubt).order_by(in_doubt.c.at.desc())))


def anomaly_list(central: Central) -> list[Row[Any]]:
    """What no honest card and till would show, newest first."""
    with central.database.read() as connection:
        return list(connection.execute(select(anomalies).order_by(anomalies.c.id.desc())))
