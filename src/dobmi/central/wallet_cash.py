"""Cash out of a member's wallet: what `payouts` asks for is paid here, at once or when it is accepted.

A member with a card in force is not paid: their wallet goes onto that card by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, select

from dobmi.central.acts import Act, Actor, note_act
from dobmi.central.balances import balance_of
from dobmi.central.booking import booking_time
from dobmi.central.carrying import Accepted, Carrier, Facts
from dobmi.central.database import insert_rows, next_number, whole_sum
from dobmi.central.errors import (
    AmountNotAllowed,
    BadProposal,
    CashNotThere,
    MemberHasAnotherCard,
    OnlyStationsTakeCash,
    UnknownMember,
)
from dobmi.central.journal import NO_CARD, Event, post_many
from dobmi.central.posting_rules import Group, Kind, account_number
from dobmi.central.schema import (
    CardState,
    Role,
    StaffRole,
    cards,
    cash_payouts,
    members,
    terminals,
)
from dobmi.central.server import Central
from dobmi.i18n import N_
from dobmi.money import ZERO, Rupiah
from dobmi.wib import day_of, midnight

_FACTS: Final = {"member_number", "amount_rupiah", "order", "station"}
KEY_LENGTH_MAX: Final = 80
_NUMBERS_END: Final = 1 << 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Payout:
    """Paid with the receipt `receipt`, or, where that is None, waiting for somebody to accept
    proposal `approval`. `left`: in the wallet.
    """

    member_number: int
    member_name: str
    amount: Rupiah
    receipt: int | None
    approval: int | None
    left: Rupiah
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CashOrder:
    member_number: int
    amount: Rupiah
    key: str
    station: int
    person: str
    approval: int | None = None


def lock_member(connection: Connection, member_number: int) -> str:
    """The member's name. Nobody pays from the wallet, or loads it onto a card, until this is done.

    The member's row for new cards of theirs, which refer to it, the cards' for those there are.
    """
    name: str | None = connection.execute(
        select(members.c.name).where(members.c.member_number == member_number).with_for_update()
    ).scalar_one_or_none()
    if name is None:
        raise UnknownMember(member=member_number)
    mine = select(cards.c.uid).where(cards.c.member_number == member_number)
    connection.execute(mine.order_by(cards.c.uid).with_for_update(key_share=True)).all()
    return name


def wallet_of(connection: Connection, member_number: int) -> Rupiah:
    return balance_of(connection, account_number(Group.WALLET, member_number))


def paid_today(connection: Connection, member_number: int, now: int) -> Rupiah:
    """What one person alone paid the member since midnight: a large payout in parts is a large one."""
    of = cash_payouts.c
    alone = select(whole_sum(of.amount_rupiah)).where(
        of.member_number == member_number, of.at >= midnight(day_of(now)), of.approval.is_(None)
    )
    return Rupiah(connection.execute(alone).scalar_one())


def require_payable(connection: Connection, order: CashOrder) -> None:
    role = connection.execute(
        select(terminals.c.role).where(terminals.c.id == order.station)
    ).scalar_one_or_none()
    if role is None:
        raise BadProposal(detail=N_("a large payout is asked for at a station"))
    if role != Role.STATION:
        raise OnlyStationsTakeCash(terminal_id=order.station, role=role)
    active = connection.execute(
        select(cards.c.uid, cards.c.serial).where(
            cards.c.member_number == order.member_number, cards.c.state == CardState.ACTIVE
        )
    ).first()
    if active is not None:
        raise MemberHasAnotherCard(
            member=order.member_number, serial=active.serial, card=bytes(active.uid).hex()
        )
    wallet = wallet_of(connection, order.member_number)
    if not ZERO < order.amount <= wallet:
        raise AmountNotAllowed(amount=order.amount, minimum=Rupiah(1), maximum=wallet)
    held = -balance_of(connection, account_number(Group.CASH, order.station))
    if order.amount > held:
        raise CashNotThere(amount=order.amount, held=held, terminal_id=order.station)


def pay(connection: Connection, order: CashOrder, now: int) -> Row[Any]:
    """Once the member is locked."""
    at = booking_time(connection, now)
    number = next_number(connection, "cash-payout")
    require_payable(connection, order)
    row = {
        "number": number,
        "member_number": order.member_number,
        "amount_rupiah": order.amount.amount,
        "station": order.station,
        "person": order.person,
        "idempotency_key": order.key,
        "approval": order.approval,
        "at": now,
    }
    insert_rows(connection, cash_payouts, [row])
    event = Event(
        kind=Kind.CASHED,
        amount=order.amount,
        debit=account_number(Group.WALLET, order.member_number),
        credit=account_number(Group.CASH, order.station),
        card_uid=NO_CARD,
        terminal_id=order.station,
        sequence=number,
        explanation=f"paid to member {order.member_number}, receipt {number}",
    )
    post_many(connection, [event], at)
    note_act(
        connection,
        Actor(order.person, order.station),
        Act.RETIRE,
        subject=f"member {order.member_number}",
        amount=order.amount,
        detail=f"paid in cash, receipt {number}",
        now=now,
    )
    return connection.execute(select(cash_payouts).where(cash_payouts.c.number == number)).one()


def payout_of(connection: Connection, row: Row[Any], name: str) -> Payout:
    return Payout(
        member_number=row.member_number,
        member_name=name,
        amount=Rupiah(row.amount_rupiah),
        receipt=row.number,
        approval=row.approval,
        left=wallet_of(connection, row.member_number),
        at=row.at,
    )


def _check(connection: Connection, facts: Facts) -> None:
    require_payable(connection, _read(facts))


def _read(facts: Facts) -> CashOrder:
    """Raises BadProposal."""
    if set(facts) != _FACTS:
        raise BadProposal(detail=N_("a large payout is asked for at a station"))
    member, amount, station = (
        facts[name] for name in ("member_number", "amount_rupiah", "station")
    )
    key = facts["order"]
    if (
        type(member) is not int
        or type(amount) is not int
        or type(station) is not int
        or not isinstance(key, str)
        or not 0 < member < _NUMBERS_END
        or not 0 < station < _NUMBERS_END
        or not 0 < len(key) <= KEY_LENGTH_MAX
    ):
        raise BadProposal(detail=N_("a large payout is asked for at a station"))
    return CashOrder(
        member_number=member,
        amount=Rupiah(amount),
        key=key,
        station=station,
        person="",
    )


def _carry_out(central: Central, connection: Connection, facts: Facts, of: Accepted) -> str:
    del central
    asked = _read(facts)
    lock_member(connection, asked.member_number)
    order = CashOrder(
        member_number=asked.member_number,
        amount=asked.amount,
        key=asked.key,
        station=asked.station,
        person=of.proposed_by,
        approval=of.number,
    )
    paid = pay(connection, order, of.now)
    return f"member {order.member_number}, receipt {paid.number}, {order.amount}"


CARRIER: Final = Carrier(proposers=(StaffRole.ISSUER,), check=_check, carry_out=_carry_out)
