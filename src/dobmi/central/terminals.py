"""Tills and stations: invitations, enrolment, and who signed a request."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, select, update

from dobmi.central.database import insert_rows, next_number
from dobmi.central.errors import (
    InvitationExpired,
    InvitationUsed,
    KeyAlreadyEnrolled,
    RequestReplayed,
    RoleNotAllowed,
    TerminalBlocked,
    UnknownInvitation,
    UnknownTerminal,
)
from dobmi.central.key_generations import note_till_keys
from dobmi.central.restoring import known_feed_version
from dobmi.central.schema import (
    Role,
    TerminalStatus,
    invitations,
    request_nonces,
    sellers,
    terminals,
    vouchers,
)
from dobmi.central.sellers import seller_or_new
from dobmi.central.server import Central
from dobmi.central.texts import NAME_LENGTH_MAX, require_text
from dobmi.sync.enrolment import (
    CODE_LENGTH,
    Enrolment,
    Invitation,
    encode_enrolment,
    verify_enrol_request,
)
from dobmi.sync.request_signature import CLOCK_DIFFERENCE_SECONDS_MAX, parse_request_signature
from dobmi.sync.voucher import genesis_hash

INVITATION_VALID_SECONDS = 24 * 3600


@dataclass(frozen=True, slots=True)
class Terminal:
    """A till or station as it is known here."""

    id: int
    name: str
    role: Role
    seller: str
    status: TerminalStatus
    head_sequence: int
    last_received_at: int | None
    """When its newest voucher came."""
    heard_at: int | None
    """When it last sent a voucher or asked for its feed."""


def invite(
    central: Central,
    role: Role,
    name: str,
    seller: str,
    *,
    valid_seconds: int = INVITATION_VALID_SECONDS,
) -> Invitation:
    """A new invitation; here only the hash of its code is kept. Raises BadParameters."""
    require_text("name", name, NAME_LENGTH_MAX)
    require_text("seller", seller, NAME_LENGTH_MAX)
    code = secrets.token_bytes(CODE_LENGTH)
    row = {
        "code_hash": hashlib.sha256(code).digest(),
        "role": role.value,
        "name": name,
        "seller": seller,
        "expires_at": central.unix_seconds() + valid_seconds,
        "used_by": None,
    }
    with central.database.write() as connection:
        insert_rows(connection, invitations, [row])
    return Invitation.make(code, central.public_key)


def enrol(central: Central, request: bytes) -> bytes:
    """The encoded enrolment of the key that `request` proves.

    The same key with the same invitation gets the same enrolment again. Raises MalformedMessage,
    WrongSignature, InvitationRefused and its kinds.
    """
    code, public_key = verify_enrol_request(request)
    code_hash = hashlib.sha256(code).digest()
    now = central.unix_seconds()
    with central.database.write() as connection:
        invitation = connection.execute(
            select(invitations).where(invitations.c.code_hash == code_hash).with_for_update()
        ).one_or_none()
        if invitation is None:
            raise UnknownInvitation
        terminal = connection.execute(
            select(terminals.c.id, sellers.c.name.label("seller"))
            .join(sellers)
            .where(terminals.c.public_key == public_key)
        ).one_or_none()
        if invitation.used_by is not None:
            if terminal is None or terminal.id != invitation.used_by:
                raise InvitationUsed(terminal_id=invitation.used_by)
            return encoded_enrolment(central, terminal.id, public_key, terminal.seller)
        if terminal is not None:
            raise KeyAlreadyEnrolled(terminal_id=terminal.id)
        if now > invitation.expires_at:
            raise InvitationExpired
        terminal_id = take_in(
            connection,
            role=Role(invitation.role),
            name=invitation.name,
            seller=invitation.seller,
            public_key=public_key,
            now=now,
        )
        connection.execute(
            update(invitations)
            .where(invitations.c.code_hash == code_hash)
            .values(used_by=terminal_id)
        )
    return encoded_enrolment(central, terminal_id, public_key, invitation.seller)


def take_in(
    connection: Connection, *, role: Role, name: str, seller: str, public_key: bytes, now: int
) -> int:
    """The number of a new terminal with that key; its seller is new if there was none so called."""
    terminal_id = next_number(connection, "terminal")
    row = {
        "id": terminal_id,
        "name": name,
        "role": role.value,
        "seller_id": seller_or_new(connection, seller),
        "public_key": public_key,
        "status": TerminalStatus.ACTIVE.value,
        "head_sequence": 0,
        "head_hash": genesis_hash(terminal_id, public_key),
        "enrolled_at": now,
    }
    insert_rows(connection, terminals, [row])
    return terminal_id


def encoded_enrolment(central: Central, terminal_id: int, public_key: bytes, seller: str) -> bytes:
    """What a terminal that was taken in is told, signed."""
    enrolment = Enrolment(
        terminal_id=terminal_id,
        terminal_public_key=public_key,
        server_public_key=central.public_key,
        card_issuer_public_key=central.card_issuer_public_key,
        issuer=central.settings.issuer,
        seller=seller,
    )
    return encode_enrolment(enrolment, central.sign)


def list_terminals(central: Central) -> list[Terminal]:
    """All terminals, by number, with when each was last heard of."""
    statement = (
        select(terminals, sellers.c.name.label("seller"), vouchers.c.received_at)
        .join(sellers)
        .outerjoin(
            vouchers,
            (vouchers.c.terminal_id == terminals.c.id)
            & (vouchers.c.sequence == terminals.c.head_sequence),
        )
        .order_by(terminals.c.id)
    )
    with central.database.read() as connection:
        return [
            Terminal(
                id=row.id,
                name=row.name,
                role=Role(row.role),
                seller=row.seller,
                status=TerminalStatus(row.status),
                head_sequence=row.head_sequence,
                last_received_at=row.received_at,
                heard_at=max(filter(None, (row.received_at, row.feed_at)), default=None),
            )
            for row in connection.execute(statement)
        ]


def role_of(central: Central, terminal_id: int) -> Role:
    """Raises UnknownTerminal."""
    with central.database.read() as connection:
        role = connection.execute(
            select(terminals.c.role).where(terminals.c.id == terminal_id)
        ).scalar_one_or_none()
    if role is None:
        raise UnknownTerminal(terminal_id=terminal_id)
    return Role(role)


def note_feed(
    central: Central,
    terminal_id: int,
    since: int,
    acknowledged: int | None = None,
    keys: int | None = None,
) -> None:
    """The terminal has the block list of version `since`, it says: what waits for it may go on.
    `keys` is the newest generation of card keys that a till says it holds.

    Not if vouchers up to `acknowledged` were taken from it and are lost here since (a backup was
    restored): it has something to tell yet. Less than before is kept, too: a till whose database
    was put back has lost the blocks since.
    """
    with central.database.write() as connection:
        connection.execute(
            update(terminals)
            .where(terminals.c.id == terminal_id)
            .values(feed_at=central.unix_seconds())
        )
        other = known_feed_version(connection, since)
        connection.execute(
            update(terminals)
            .where(terminals.c.id == terminal_id, terminals.c.head_sequence >= (acknowledged or 0))
            .values(feed_version=since if other is None else other)
        )
        if keys is not None:
            note_till_keys(central, connection, terminal_id, keys)


def set_terminal_status(central: Central, terminal_id: int, status: TerminalStatus) -> None:
    """Block a stolen terminal, or let it in again. Raises UnknownTerminal."""
    with central.database.write() as connection:
        changed = connection.execute(
            update(terminals).where(terminals.c.id == terminal_id).values(status=status.value)
        )
        if not changed.rowcount:
            raise UnknownTerminal(terminal_id=terminal_id)


def authorise(
    central: Central,
    header: str,
    method: str,
    path: str,
    body: bytes,
    *,
    roles: Sequence[Role],
    once: bool,
) -> int:
    """The id of the terminal that signed this very request, if its role may ask it.

    `once`: a request that changes something is served a single time. Raises MalformedMessage,
    WrongSignature, ClockOutOfStep, UnknownTerminal, TerminalBlocked, RoleNotAllowed,
    RequestReplayed.
    """
    claim = parse_request_signature(header)
    with central.database.read() as connection:
        terminal = connection.execute(
            select(terminals).where(terminals.c.id == claim.terminal_id)
        ).one_or_none()
    if terminal is None:
        raise UnknownTerminal(terminal_id=claim.terminal_id)
    now = central.unix_seconds()
    claim.verify(terminal.public_key, method, path, body, now)
    if terminal.status != TerminalStatus.ACTIVE:
        raise TerminalBlocked(terminal_id=terminal.id)
    if terminal.role not in roles:
        raise RoleNotAllowed(terminal_id=terminal.id, role=terminal.role)
    if once:
        _serve_once(central, terminal.id, claim.nonce, now)
    return claim.terminal_id


def _serve_once(central: Central, terminal_id: int, nonce: bytes, now: int) -> None:
    with central.database.write() as connection:
        connection.execute(
            delete(request_nonces).where(
                request_nonces.c.at < now - 2 * CLOCK_DIFFERENCE_SECONDS_MAX
            )
        )
        same = (request_nonces.c.terminal_id == terminal_id) & (request_nonces.c.nonce == nonce)
        if connection.execute(select(request_nonces.c.at).where(same)).first() is not None:
            raise RequestReplayed
        row = {"terminal_id": terminal_id, "nonce": nonce, "at": now}
        insert_rows(connection, request_nonces, [row])
