"""Pairing tills by a short code: what the server answers them, and what the office decides.

sync/pairing.py has the protocol. Approving takes the till in as an invitation would and has its card
keys sealed to it, anew for each answer: neither the keys nor anything that holds them is kept here.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, func, select, update

from dobmi.cardlib.custody import ROLE_KEYS, KeyRole
from dobmi.cardlib.purse_layout import CardKey
from dobmi.central.acts import Act, Actor, note_act
from dobmi.central.database import insert_rows
from dobmi.central.errors import (
    KeyAlreadyEnrolled,
    PairingDecided,
    PairingExpired,
    PairingOpeningWrong,
    RoleLacking,
    TerminalBlocked,
    TooManyPairings,
    UnknownPairing,
    UnknownPairingCode,
)
from dobmi.central.online_tills import is_online, make_online
from dobmi.central.schema import (
    PairingDecision,
    Role,
    StaffRole,
    TerminalStatus,
    pairings,
    sellers,
    terminals,
)
from dobmi.central.server import Central
from dobmi.central.staff import anybody_has, find_person
from dobmi.central.terminals import encoded_enrolment, take_in
from dobmi.central.texts import NAME_LENGTH_MAX, require_text
from dobmi.sync.pairing import (
    NONCE_LENGTH,
    OPENING_TYPE,
    PairingAnswer,
    PairingCode,
    PairingOffer,
    PairingRequest,
    PairingState,
    commit,
    encode_pairing_answer,
    encode_pairing_offer,
    pairing_code,
    parse_code,
    parse_pairing_opening,
    request_id,
    sealing_info,
    verify_pairing_request,
)

TILL_MASTERS = tuple(key for key in CardKey if key in ROLE_KEYS[KeyRole.TILL])
"""The card keys a till is given: with none of them can money be made."""
DECIDES_PAIRINGS = (StaffRole.CUSTODIAN, StaffRole.APPROVER)
PAIRING_SECONDS = 15 * 60
"""How long a code can be approved."""
FETCH_SECONDS = 24 * 3600
"""How long after that an approved till may fetch what it was given, should its power fail."""
PAIRINGS_OPEN_MAX = 20
"""That may wait at once: each is one try, of one in 25^8, to get between a till and its server."""
_FORGET_SECONDS = 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingPairing:
    """A till that asks to be taken in, as the office sees it."""

    code: str
    name: str
    asked_at: int
    expires_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovedPairing:
    """`reply` are the four digits to be said to whoever stands at the till."""

    terminal_id: int
    name: str
    seller: str
    seller_is_new: bool
    reply: str


def offer_pairing(central: Central, body: bytes) -> bytes:
    """The encoded offer for a till's request; the same bytes get the same pairing again.

    Raises MalformedMessage, WrongSignature, TooManyPairings.
    """
    request = verify_pairing_request(body)
    require_text("name", request.name, NAME_LENGTH_MAX)
    id_, now = request_id(body), central.unix_seconds()
    with central.database.write() as connection:
        known = connection.execute(
            select(pairings.c.server_nonce, pairings.c.expires_at).where(
                pairings.c.request_id == id_
            )
        ).one_or_none()
        if known is None:
            _forget_old(connection, now)
            count = connection.execute(
                select(func.count()).where(_is_open(), pairings.c.expires_at >= now)
            ).scalar_one()
            if count >= PAIRINGS_OPEN_MAX:
                raise TooManyPairings(count=count)
            nonce, expires_at = secrets.token_bytes(NONCE_LENGTH), now + PAIRING_SECONDS
            row = {
                "request_id": id_,
                "public_key": request.public_key,
                "sealing_key": request.sealing_key,
                "name": request.name,
                "commitment": request.commitment,
                "server_nonce": nonce,
                "opening": None,
                "code": None,
                "asked_at": now,
                "expires_at": expires_at,
                "decision": PairingDecision.NONE.value,
                "decided_by": "",
                "decided_at": None,
                "terminal_id": None,
            }
            insert_rows(connection, pairings, [row])
        else:
            nonce, expires_at = known.server_nonce, known.expires_at
    offer = PairingOffer(
        request_id=id_,
        server_public_key=central.public_key,
        nonce=nonce,
        valid_seconds=max(expires_at - now, 0),
    )
    return encode_pairing_offer(offer, central.sign)


def answer_pairing(central: Central, body: bytes) -> bytes:
    """The encoded answer to a till's opening: waiting, refused, or all it needs.

    The first opening makes the code known here. Raises MalformedMessage, WrongSignature,
    UnknownPairing, PairingOpeningWrong, PairingExpired, TerminalBlocked.
    """
    opening, message = parse_pairing_opening(body)
    now = central.unix_seconds()
    row = _row_of(central, opening.request_id)
    message.verify(row.public_key, OPENING_TYPE)
    if commit(opening.nonce) != row.commitment:
        raise PairingOpeningWrong
    decision = PairingDecision(row.decision)
    if decision is PairingDecision.NONE:
        if now > row.expires_at:
            raise PairingExpired
        if row.opening is None:
            _open(central, row, opening.nonce)
        return _answer(central, row, PairingState.WAITING, row.expires_at - now)
    if decision is PairingDecision.REFUSED:
        return _answer(central, row, PairingState.REFUSED, 0)
    if now > row.decided_at + FETCH_SECONDS:
        raise PairingExpired
    return _approved_answer(central, row, row.decided_at + FETCH_SECONDS - now)


def waiting_pairings(central: Central) -> list[WaitingPairing]:
    """Those with a code that nobody has decided, oldest first."""
    statement = (
        select(pairings)
        .where(
            _is_open(),
            pairings.c.code.is_not(None),
            pairings.c.expires_at >= central.unix_seconds(),
        )
        .order_by(pairings.c.asked_at, pairings.c.request_id)
    )
    with central.database.read() as connection:
        return [
            WaitingPairing(
                code=row.code, name=row.name, asked_at=row.asked_at, expires_at=row.expires_at
            )
            for row in connection.execute(statement)
        ]


def approve_pairing(
    central: Central,
    code: str,
    *,
    seller: str,
    name: str = "",
    approved_by: str = "",
    online_only: bool = False,
    actor: Actor | None = None,
) -> ApprovedPairing:
    """Take in the till that shows `code`, for `seller`; `name` instead of the one it gave.

    `online_only`: it is given no masters, asks for each card's key, and sells with a network alone.
    Done again it says the same again. Raises MalformedMessage, BadParameters,
    UnknownPairingCode, PairingExpired, PairingDecided, KeyAlreadyEnrolled.
    """
    require_text("seller", seller, NAME_LENGTH_MAX)
    if name:
        require_text("name", name, NAME_LENGTH_MAX)
    now = central.unix_seconds()
    with central.database.write() as connection:
        by = _who_decides(connection, actor or Actor(approved_by, None))
        row = _row_with(connection, code)
        decision = PairingDecision(row.decision)
        if decision is PairingDecision.APPROVED:
            return _approved(central, connection, row, seller_is_new=False)
        if decision is PairingDecision.REFUSED:
            raise PairingDecided(code=row.code)
        if now > row.expires_at:
            raise PairingExpired
        enrolled = connection.execute(
            select(terminals.c.id).where(terminals.c.public_key == row.public_key)
        ).scalar_one_or_none()
        if enrolled is not None:
            raise KeyAlreadyEnrolled(terminal_id=enrolled)
        is_new = (
            connection.execute(select(sellers.c.id).where(sellers.c.name == seller)).first() is None
        )
        terminal_id = take_in(
            connection,
            role=Role.TILL,
            name=name or row.name,
            seller=seller,
            public_key=row.public_key,
            now=now,
        )
        if online_only:
            make_online(connection, terminal_id, now)
        connection.execute(
            update(pairings)
            .where(pairings.c.request_id == row.request_id)
            .values(
                decision=PairingDecision.APPROVED.value,
                decided_by=by.name[:NAME_LENGTH_MAX],
                decided_at=now,
                terminal_id=terminal_id,
            )
        )
        note_act(
            connection,
            by,
            Act.PAIRING_APPROVED,
            subject=f"terminal {terminal_id}",
            detail=f"{name or row.name}, {seller}",
            now=now,
        )
        decided = _row_with(connection, code)
        return _approved(central, connection, decided, seller_is_new=is_new)


def refuse_pairing(
    central: Central, code: str, *, refused_by: str = "", actor: Actor | None = None
) -> None:
    """Turn away the till that shows `code`. Done again it is harmless.

    Raises MalformedMessage, UnknownPairingCode, PairingDecided.
    """
    now = central.unix_seconds()
    with central.database.write() as connection:
        by = _who_decides(connection, actor or Actor(refused_by, None))
        row = _row_with(connection, code)
        if row.decision == PairingDecision.APPROVED:
            raise PairingDecided(code=row.code)
        if row.decision == PairingDecision.REFUSED:
            return
        connection.execute(
            update(pairings)
            .where(pairings.c.request_id == row.request_id, _is_open())
            .values(
                decision=PairingDecision.REFUSED.value,
                decided_by=by.name[:NAME_LENGTH_MAX],
                decided_at=now,
            )
        )
        note_act(
            connection,
            by,
            Act.PAIRING_REFUSED,
            subject=f"pairing {row.code}",
            detail=row.name,
            now=now,
        )


def _who_decides(connection: Connection, actor: Actor) -> Actor:
    """By the registered name, once anybody of the staff is registered.

    Raises RoleLacking.
    """
    if not anybody_has(connection, *StaffRole):
        return actor
    person = find_person(connection, actor.name)
    if person is None or person.roles.isdisjoint(DECIDES_PAIRINGS):
        needed = ", ".join(role.value for role in DECIDES_PAIRINGS)
        raise RoleLacking(name=actor.name or "-", role=needed)
    return Actor(person.name, actor.station)


def _is_open() -> ColumnElement[bool]:
    return pairings.c.decision == PairingDecision.NONE.value


def _forget_old(connection: Connection, now: int) -> None:
    """What was never approved, a day after it could be."""
    connection.execute(
        delete(pairings).where(
            pairings.c.terminal_id.is_(None), pairings.c.expires_at < now - _FORGET_SECONDS
        )
    )


def _row_of(central: Central, id_: bytes) -> Row[Any]:
    with central.database.read() as connection:
        row = connection.execute(select(pairings).where(pairings.c.request_id == id_)).one_or_none()
    if row is None:
        raise UnknownPairing
    return row


def _row_with(connection: Connection, code: str) -> Row[Any]:
    letters = parse_code(code)
    row = connection.execute(
        select(pairings).where(pairings.c.code == letters).with_for_update()
    ).one_or_none()
    if row is None:
        raise UnknownPairingCode(code=letters)
    return row


def _open(central: Central, row: Row[Any], nonce: bytes) -> None:
    code = _code_of(central, row, nonce).code
    with central.database.write() as connection:
        connection.execute(
            update(pairings)
            .where(pairings.c.request_id == row.request_id, pairings.c.opening.is_(None))
            .values(opening=nonce, code=code)
        )


def _code_of(central: Central, row: Row[Any], nonce: bytes) -> PairingCode:
    request = PairingRequest(
        public_key=row.public_key,
        sealing_key=row.sealing_key,
        name=row.name,
        commitment=row.commitment,
    )
    return pairing_code(request, central.public_key, row.server_nonce, nonce)


def _approved(
    central: Central, connection: Connection, row: Row[Any], *, seller_is_new: bool
) -> ApprovedPairing:
    terminal = connection.execute(
        select(terminals.c.name, sellers.c.name.label("seller"))
        .join(sellers)
        .where(terminals.c.id == row.terminal_id)
    ).one()
    return ApprovedPairing(
        terminal_id=row.terminal_id,
        name=terminal.name,
        seller=terminal.seller,
        seller_is_new=seller_is_new,
        reply=_code_of(central, row, row.opening).reply,
    )


def _approved_answer(central: Central, row: Row[Any], valid_seconds: int) -> bytes:
    with central.database.read() as connection:
        terminal = connection.execute(
            select(terminals.c.status, sellers.c.name.label("seller"))
            .join(sellers)
            .where(terminals.c.id == row.terminal_id)
        ).one()
        given = () if is_online(connection, row.terminal_id) else TILL_MASTERS
    if terminal.status != TerminalStatus.ACTIVE:
        raise TerminalBlocked(terminal_id=row.terminal_id)
    return _answer(
        central,
        row,
        PairingState.APPROVED,
        valid_seconds,
        enrolment=encoded_enrolment(central, row.terminal_id, row.public_key, terminal.seller),
        sealed_keys=central.keys.sealed_masters(
            given, row.sealing_key, sealing_info(row.request_id)
        ),
    )


def _answer(
    central: Central,
    row: Row[Any],
    state: PairingState,
    valid_seconds: int,
    *,
    enrolment: bytes = b"",
    sealed_keys: bytes = b"",
) -> bytes:
    answer = PairingAnswer(
        request_id=row.request_id,
        state=state,
        valid_seconds=valid_seconds,
        enrolment=enrolment,
        sealed_keys=sealed_keys,
    )
    return encode_pairing_answer(answer, central.public_key, central.sign)
