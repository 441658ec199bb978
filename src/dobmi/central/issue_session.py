"""Issuing a card: register it, make it a purse, read it back, and only then call it active.

Interrupted anywhere, the same card for the same member goes on; the serial number is allotted once. What
could not be issued to anybody is not registered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, select, update

from dobmi.cardlib.errors import DamagedCardData
from dobmi.cardlib.generations import BeginningWith
from dobmi.cardlib.originality import NXP_PUBLIC_KEYS
from dobmi.cardlib.personalise import Personalisation, examine, personalise
from dobmi.cardlib.purse import Purse
from dobmi.cardlib.purse_layout import CardKey, Holder
from dobmi.cardlib.readers.base import CardConnection
from dobmi.central.acts import Act, Actor, note_act
from dobmi.central.cards import card_row, refuse_second_card
from dobmi.central.conclusions import serve_member
from dobmi.central.credit_limits import card_limit
from dobmi.central.database import insert_rows, next_number
from dobmi.central.errors import (
    BadParameters,
    CardBegunForAnother,
    CardHasEnded,
    CardIsBlocked,
    CardOfAnotherMember,
    CardWasReplaced,
    MemberNameDiffers,
)
from dobmi.central.issuing import Chip, begin_line, end_line, hold_line, note_card
from dobmi.central.key_generations import card_custody
from dobmi.central.schema import CardState, cards, members
from dobmi.central.server import Central
from dobmi.sync.relay import BatchLine
from dobmi.wib import day_number, day_of, days_since_1970

NOBODY: Final = Actor("", None)


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
    *,
    line: BatchLine | None = None,
    actor: Actor = NOBODY,
) -> Issued:
    """Make the card in the field the purse of the member, valid for as long as the settings say.

    `line`: of an issuing batch; with the card it is issued, or neither. Nothing is registered of a
    card that could not be issued to anybody. Raises BadParameters, CardOfAnotherMember,
    MemberHasAnotherCard, MemberNameDiffers, CardIsBlocked, IssuingProblem and its kinds,
    NotOurCard and its kinds, AlreadyIssued, CardError. No money moves.
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
    examined = examine(connection, _originality_keys(central))
    with central.database.write() as database:
        if line is not None:
            begin_line(database, line, member_number, uid, station=actor.station, now=now)
        holder, resumed = _register(
            central, database, uid, draft, now=now, is_fresh=examined.is_fresh
        )
        if line is not None:
            note_card(database, line, uid)
        registered = card_row(database, uid)
    custody = card_custody(central)
    # The card may have got this key in an earlier attempt, and keeps it for life.
    pinned = central.keys.pinned(CardKey.TRANSACTION_MAC, registered.mac_key_version)
    generation = custody.card_key(CardKey.DEBIT, uid).version
    done = personalise(
        connection,
        BeginningWith(pinned, generation),
        holder,
        central.sign_holder,
        balance_max=card_limit(central.settings, registered),
        member_url=central.settings.member_url,
        examined=examined,
    )
    view = Purse(connection, custody, central.card_issuer_public_key).read()
    if view.holder != holder:
        raise DamagedCardData(what="holder")
    _activate(central, holder, uid, done, view.key_generation, line=line, actor=actor)
    return Issued(uid, holder, done.generation.value, resumed)


def _activate(
    central: Central,
    holder: Holder,
    uid: bytes,
    done: Personalisation,
    key_generation: int,
    *,
    line: BatchLine | None,
    actor: Actor,
) -> None:
    """The card was read back: it is the member's, its line is issued, and it is written who did it."""
    now = central.unix_seconds()
    with central.database.write() as database:
        if line is not None:
            hold_line(database, line)
        refuse_second_card(database, uid, holder.member_number)
        is_new = database.execute(
            update(cards)
            .where(cards.c.uid == uid, cards.c.issued_at.is_(None))
            .values(
                issued_at=now,
                key_version=key_generation,
            )
        ).rowcount
        database.execute(
            update(cards)
            .where(cards.c.uid == uid, cards.c.state == CardState.ISSUING)
            .values(state=CardState.ACTIVE.value)
        )
        row = card_row(database, uid)
        if line is not None and row.state == CardState.ACTIVE:
            chip = Chip(done.generation.value, done.originality, resumed=done.resumed)
            end_line(database, line, uid, actor, chip=chip, now=now)
        serve_member(database, holder.member_number, now, central.settings)
        if is_new:
            place = "" if line is None else f", issuing batch {line.batch} line {line.line}"
            note_act(
                database,
                actor,
                Act.ISSUE,
                subject=f"card {holder.card_serial}",
                detail=f"{uid.hex().upper()} to member {holder.member_number}{place}",
                now=now,
            )
    if row.state == CardState.BLOCKED:  # meanwhile
        raise CardIsBlocked(card=uid.hex(), reason=row.block_reason)


def _register(
    central: Central,
    database: Connection,
    uid: bytes,
    draft: Holder,
    *,
    now: int,
    is_fresh: bool,
) -> tuple[Holder, bool]:
    """The holder as it is to stand on the card, and whether the card was registered before.

    `is_fresh`: nothing of ours is on it.
    """
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
            # Begun for somebody else and pulled away before anything of theirs was on it.
            if row.state != CardState.ISSUING or not is_fresh:
                raise _of_another(database, uid, row)
            database.execute(update(cards).where(cards.c.uid == uid).values(member_number=member))
        if row.state == CardState.BLOCKED:
            raise CardIsBlocked(card=uid.hex(), reason=row.block_reason)
        if row.state == CardState.REPLACED:
            raise CardWasReplaced(card=uid.hex(), reason=row.block_reason)
        if row.state == CardState.RETIRED:
            raise CardHasEnded(card=uid.hex(), reason=row.block_reason)
        refuse_second_card(database, uid, member)
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
        "value_limit_rupiah": central.settings.balance_max_rupiah,
    }
    insert_rows(database, cards, [card])
    return holder, False


def _of_another(database: Connection, uid: bytes, row: Row[Any]) -> CardOfAnotherMember:
    name = database.execute(
        select(members.c.name).where(members.c.member_number == row.member_number)
    ).scalar_one()
    kind = CardOfAnotherMember if row.issued_at is not None else CardBegunForAnother
    return kind(card=uid.hex(), member=row.member_number, name=name)


def _originality_keys(central: Central) -> Mapping[str, bytes]:
    further = central.settings.originality_keys
    return {**NXP_PUBLIC_KEYS, **{name: bytes.fromhex(key) for name, key in further.items()}}
