"""Issuing a card: register it, make it a purse, read it back, and only then call it active.

Interrupted anywhere, the same card for the same member goes on; the serial number is allotted once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, select, update

from dobmi.cardlib.errors import DamagedCardData
from dobmi.cardlib.originality import NXP_PUBLIC_KEYS
from dobmi.cardlib.personalise import personalise
from dobmi.cardlib.purse import Purse
from dobmi.cardlib.purse_layout import CardKey, Holder
from dobmi.cardlib.readers.base import CardConnection
from dobmi.central.cards import card_row, refuse_second_card
from dobmi.central.conclusions import serve_member
from dobmi.central.database import insert_rows, next_number
from dobmi.central.errors import (
    BadParameters,
    CardIsBlocked,
    CardOfAnotherMember,
    CardWasReplaced,
    MemberNameDiffers,
)
from dobmi.central.schema import CardState, cards, members
from dobmi.central.server import Central
from dobmi.money import Rupiah
from dobmi.wib import day_number, day_of, days_since_1970


@dataclass(frozen=True, slots=True)
class Issued:
    """`generation` is the chip's; `resumed`: an earlier attempt with this card was taken up."""

    uid: bytes
    holder: Holder
    generation: str
    resumed: bool


def issue_card(
    central: Central,
    connection: CardConnection,
    member_number: int,
    name: str,
) -> Issued:
    """Make the card in the field the purse of the member, valid for as long as the settings say.

    Raises BadParameters, CardOfAnotherMember, MemberHasAnotherCard, MemberNameDiffers,
    CardIsBlocked, NotOurCard and its kinds, AlreadyIssued, CardError. No money moves.
    """
    uid = connection.uid
    now = central.unix_seconds()
    today = day_of(now)
    # To the month's first day, which every year has.
    expires = today.replace(year=today.year + central.settings.card_valid_years, day=1)
    draft = Holder(member_number=member_number, name=name, card_serial=1, expires=expires)
    try:
        draft.sign(uid, lambda _message: bytes(64))
    except ValueError as error:
        raise BadParameters(detail=str(error)) from error
    with central.database.write() as database:
        holder, resumed = _register(central, database, uid, draft, now)
        mac_key_version = card_row(database, uid).mac_key_version
    done = personalise(
        connection,
        # The card may have got this key in an earlier attempt, and keeps it for life.
        central.keys.pinned(CardKey.TRANSACTION_MAC, mac_key_version),
        holder,
        central.sign_holder,
        balance_max=Rupiah(central.settings.balance_max_rupiah),
        originality_keys=_originality_keys(central),
    )
    view = Purse(connection, central.keys, central.card_issuer_public_key).read()
    if view.holder != holder:
        raise DamagedCardData(what="holder")
    with central.database.write() as database:
        refuse_second_card(database, uid, member_number)
        database.execute(
            update(cards)
            .where(cards.c.uid == uid, cards.c.issued_at.is_(None))
            .values(
                issued_at=central.unix_seconds(),
                key_version=central.keys.card_key(CardKey.DEBIT, uid).version,
            )
        )
        database.execute(
            update(cards)
            .where(cards.c.uid == uid, cards.c.state == CardState.ISSUING)
            .values(state=CardState.ACTIVE.value)
        )
        row = card_row(database, uid)
        limit = Rupiah(central.settings.balance_max_rupiah)
        serve_member(database, member_number, now, balance_max=limit)
    if row.state == CardState.BLOCKED:
        raise CardIsBlocked(card=uid.hex(), reason=row.block_reason)
    return Issued(uid, holder, done.generation.value, resumed)


def _register(
    central: Central, database: Connection, uid: bytes, draft: Holder, now: int
) -> tuple[Holder, bool]:
    """The holder as it is to stand on the card, and whether the card was registered before."""
    member = draft.member_number
    known_name = database.execute(
        select(members.c.name).where(members.c.member_number == member)
    ).scalar_one_or_none()
    if known_name is None:
        insert_rows(database, members, [{"member_number": member, "name": draft.name}])
    elif known_name != draft.name:
        raise MemberNameDiffers(member=member, name=known_name)
    row = database.execute(select(cards).where(cards.c.uid == uid).with_for_update()).one_or_none()
    if row is not None:
        if row.member_number != member:
            raise CardOfAnotherMember(card=uid.hex(), member=row.member_number)
        if row.state == CardState.BLOCKED:
            raise CardIsBlocked(card=uid.hex(), reason=row.block_reason)
        if row.state == CardState.REPLACED:
            raise CardWasReplaced(card=uid.hex(), reason=row.block_reason)
        holder = Holder(
            member_number=member,
            name=draft.name,
            card_serial=row.serial,
            expires=day_number(row.expires_on_day),
        )
        return holder, True
    refuse_second_card(database, uid, member)
    holder = Holder(
        member_number=member,
        name=draft.name,
        card_serial=next_number(database, "card-serial"),
        expires=draft.expires,
    )
    card = {
        "uid": uid,
        "serial": holder.card_serial,
        "member_number": member,
        "state": CardState.ISSUING.value,
        "expires_on_day": days_since_1970(holder.expires),
        "mac_key_version": central.keys.card_key(CardKey.TRANSACTION_MAC, uid).version,
        "registered_at": now,
        "issued_at": None,
        "block_reason": "",
    }
    insert_rows(database, cards, [card])
    return holder, False


def _originality_keys(central: Central) -> Mapping[str, bytes]:
    further = central.settings.originality_keys
    return {**NXP_PUBLIC_KEYS, **{name: bytes.fromhex(key) for name, key in further.items()}}
