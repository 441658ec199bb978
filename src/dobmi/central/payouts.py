"""A member who gave their card back is paid what is in their wallet, in cash at a station.

Above what one person may pay out, another must accept it (`approvals`).
"""

from __future__ import annotations

from sqlalchemy import Connection, select

from dobmi.central.acts import Actor
from dobmi.central.approvals import propose
from dobmi.central.errors import IdempotencyConflict
from dobmi.central.limits import limit_in_force
from dobmi.central.schema import ApprovalKind, cash_payouts
from dobmi.central.server import Central
from dobmi.central.wallet_cash import (
    CashOrder,
    Payout,
    lock_member,
    paid_today,
    pay,
    payout_of,
    wallet_of,
)
from dobmi.money import Rupiah


def pay_out(
    central: Central, member_number: int, amount: Rupiah, *, idempotency_key: str, actor: Actor
) -> Payout:
    """Pay it, or propose it if with what the member was paid today without a second person it is
    more than one may; the same key is the same payout.

    Raises UnknownMember, MemberHasAnotherCard, AmountNotAllowed (more than the wallet has),
    CashNotThere, OnlyStationsTakeCash, IdempotencyConflict; StaffNeeded for a large one without
    anybody logged in.
    """
    now = central.unix_seconds()
    assert actor.station is not None, "cash is paid somewhere"
    order = CashOrder(
        member_number=member_number,
        amount=amount,
        key=idempotency_key,
        station=actor.station,
        person=actor.name,
    )

    def do(connection: Connection) -> Payout:
        name = lock_member(connection, member_number)
        before = connection.execute(
            select(cash_payouts).where(cash_payouts.c.idempotency_key == idempotency_key)
        ).one_or_none()
        if before is not None:
            same = (before.member_number, before.amount_rupiah, before.station)
            if same != (member_number, amount.amount, order.station):
                raise IdempotencyConflict
            return payout_of(connection, before, name)
        alone_max = limit_in_force(connection, central.settings, "approve_payout_above_rupiah")
        if (paid_today(connection, member_number, now) + amount).amount <= alone_max:
            return payout_of(connection, pay(connection, order, now), name)
        facts: dict[str, str | int | bool] = {
            "member_number": member_number,
            "amount_rupiah": amount.amount,
            "order": idempotency_key,
            "station": order.station,
        }
        number = propose(connection, ApprovalKind.RETIREMENT, facts, actor, now)
        return Payout(
            member_number=member_number,
            member_name=name,
            amount=amount,
            receipt=None,
            approval=number,
            left=wallet_of(connection, member_number),
            at=now,
        )

    return central.database.write_again(do)
