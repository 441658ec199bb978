"""Taking a terminal's right away, and the cards that it has seen: who has its disk may have their keys.

A blocked terminal is refused at every endpoint. Batches that it sends from then on are kept with the
reason, and posted if it is let in again and sends them again.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from sqlalchemy import Connection, select, update

from dobmi.central.acts import Act, Actor, note_act
from dobmi.central.csv_file import safe_cell
from dobmi.central.database import Database
from dobmi.central.errors import TerminalBlocked, UnknownTerminal
from dobmi.central.schema import (
    TerminalStatus,
    card_transactions,
    cards,
    in_doubt,
    issuing_lines,
    members,
    named_before,
    quarantine,
    refunds,
    rejected_batches,
    terminals,
    vouchers,
)
from dobmi.central.texts import REASON_LENGTH_MAX, require_text
from dobmi.central.verification import amount_of, uid_of
from dobmi.errors import DoBMIError
from dobmi.i18n import N_
from dobmi.money import ZERO, Rupiah
from dobmi.sync.batch import parse_batch
from dobmi.sync.voucher import SaleVoucher, Voucher, decode_voucher
from dobmi.wib import local_time

SALE: Final = N_("sold to")
DOUBT: Final = N_("sale in doubt")
REFUND: Final = N_("refunded")
QUARANTINED: Final = N_("in quarantine")
NAMED: Final = N_("named by the card")
REFUSED: Final = N_("in a refused batch")
ISSUED: Final = N_("issued")
_AT_ONCE: Final = 500


@dataclass(slots=True)
class SeenCard:
    """A card that a terminal had before it. `serial` None: no card that is known here.

    `total` is what the terminal says it took from it in sales; `how`: by what that is known, marked
    texts.
    """

    uid: bytes
    serial: int | None = None
    member_number: int | None = None
    member_name: str = ""
    state: str = ""
    first_at: int | None = None
    last_at: int | None = None
    sales: int = 0
    total: Rupiah = ZERO
    how: set[str] = field(default_factory=set)

    def note(self, how: str, at: int | None, amount: Rupiah | None = None) -> None:
        self.how.add(how)
        if at is not None:
            self.first_at = at if self.first_at is None else min(self.first_at, at)
            self.last_at = at if self.last_at is None else max(self.last_at, at)
        if amount is not None:
            self.sales += 1
            self.total += amount


def revoke(database: Database, terminal_id: int, reason: str, actor: Actor, now: int) -> None:
    """From now on nothing of it is taken and nothing told to it. Harmless again.

    Raises UnknownTerminal, BadParameters.
    """
    require_text("reason", reason, REASON_LENGTH_MAX)
    noted = Note(actor, Act.TERMINAL_BLOCKED, reason, now)
    _set(database, terminal_id, TerminalStatus.BLOCKED, noted)


def readmit(database: Database, terminal_id: int, reason: str, actor: Actor, now: int) -> None:
    """Let it in again, with the keys it had. Raises UnknownTerminal, BadParameters."""
    require_text("reason", reason, REASON_LENGTH_MAX)
    noted = Note(actor, Act.TERMINAL_UNBLOCKED, reason, now)
    _set(database, terminal_id, TerminalStatus.ACTIVE, noted)


class Note(NamedTuple):
    actor: Actor
    act: Act
    reason: str
    at: int


def _set(database: Database, terminal_id: int, status: TerminalStatus, noted: Note) -> None:
    def change(connection: Connection) -> None:
        mine = terminals.c.id == terminal_id
        row = connection.execute(
            select(terminals.c.status).where(mine).with_for_update()
        ).one_or_none()
        if row is None:
            raise UnknownTerminal(terminal_id=terminal_id)
        if row.status == status:
            return
        connection.execute(update(terminals).where(mine).values(status=status.value))
        actor, act, reason, now = noted
        subject = f"terminal {terminal_id}"
        note_act(connection, actor, act, subject=subject, detail=reason, now=now)

    database.write_again(change)


def cards_seen(database: Database, terminal_id: int) -> list[SeenCard]:
    """Every card that anything here says was before this terminal, latest first.

    Raises UnknownTerminal.
    """
    found: dict[bytes, SeenCard] = {}

    def seen(uid: bytes) -> SeenCard:
        return found.setdefault(bytes(uid), SeenCard(bytes(uid)))

    with database.read() as connection:
        known = select(terminals.c.id).where(terminals.c.id == terminal_id)
        if connection.execute(known).first() is None:
            raise UnknownTerminal(terminal_id=terminal_id)
        sold = card_transactions.c
        for row in connection.execute(
            select(sold.card_uid, sold.amount_rupiah, sold.at).where(
                sold.terminal_id == terminal_id
            )
        ):
            seen(row.card_uid).note(SALE, row.at, Rupiah(row.amount_rupiah))
        of = in_doubt.c
        for doubt in connection.execute(
            select(of.card_uid, of.at).where(of.terminal_id == terminal_id)
        ):
            seen(doubt.card_uid).note(DOUBT, doubt.at)
        named = named_before.c
        for uid in connection.execute(
            select(named.card_uid).where(named.terminal_id == terminal_id)
        ).scalars():
            seen(uid).note(NAMED, None)
        back = refunds.c
        for refund in connection.execute(
            select(back.card_uid, back.at).where(back.terminal_id == terminal_id)
        ):
            seen(refund.card_uid).note(REFUND, refund.at)
        made = issuing_lines.c
        for line in connection.execute(
            select(made.card_uid, made.issued_at).where(
                made.station == terminal_id, made.card_uid.is_not(None)
            )
        ):
            seen(line.card_uid).note(ISSUED, line.issued_at)
        for voucher in _quarantined(connection, terminal_id):
            seen(uid_of(voucher)).note(QUARANTINED, voucher.link.unix_seconds)
        for voucher in _refused(connection, terminal_id):
            amount = amount_of(voucher) if isinstance(voucher, SaleVoucher) else None
            seen(uid_of(voucher)).note(REFUSED, voucher.link.unix_seconds, amount)
        _name_them(connection, found)
    return sorted(found.values(), key=lambda card: (-(card.last_at or 0), card.uid))


def _quarantined(connection: Connection, terminal_id: int) -> Iterator[Voucher]:
    rows = connection.execute(
        select(vouchers.c.encoded)
        .join(
            quarantine,
            (quarantine.c.terminal_id == vouchers.c.terminal_id)
            & (quarantine.c.sequence == vouchers.c.sequence),
        )
        .where(vouchers.c.terminal_id == terminal_id)
    )
    yield from _decoded(bytes(row.encoded) for row in rows)


def _refused(connection: Connection, terminal_id: int) -> Iterator[Voucher]:
    """Of batches that it signed and that were refused because it is blocked."""
    public_key = connection.execute(
        select(terminals.c.public_key).where(terminals.c.id == terminal_id)
    ).scalar_one()
    rows = connection.execute(
        select(rejected_batches.c.content).where(
            rejected_batches.c.code == TerminalBlocked.code,
            rejected_batches.c.content.is_not(None),
        )
    )
    for row in rows:
        try:
            batch = parse_batch(bytes(row.content))
            if batch.head.terminal_id != terminal_id:
                continue
            batch.verify(bytes(public_key))
        except DoBMIError:
            continue  # nobody knows whose it is
        yield from _decoded(iter(batch.vouchers))


def _decoded(encoded: Iterator[bytes]) -> Iterator[Voucher]:
    for one in encoded:
        try:
            voucher = decode_voucher(one)
        except DoBMIError:
            continue  # it names no card that could be read
        yield voucher


def _name_them(connection: Connection, found: dict[bytes, SeenCard]) -> None:
    uids = sorted(found)
    for first in range(0, len(uids), _AT_ONCE):
        rows = connection.execute(
            select(
                cards.c.uid, cards.c.serial, cards.c.state, cards.c.member_number, members.c.name
            )
            .join(members, members.c.member_number == cards.c.member_number)
            .where(cards.c.uid.in_(uids[first : first + _AT_ONCE]))
        )
        for row in rows:
            card = found[bytes(row.uid)]
            card.serial, card.state = row.serial, row.state
            card.member_number, card.member_name = row.member_number, row.name


def cards_seen_csv(seen: list[SeenCard]) -> str:
    """RFC 4180 with a heading, times in WIB; no cell that a spreadsheet would take for a formula."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(
        ("card_uid", "card_serial", "state", "member_number", "member_name", "sales",
         "total_rupiah", "first_at", "last_at", "known_by")
    )  # fmt: skip
    for card in seen:
        writer.writerow(
            (
                card.uid.hex().upper(),
                "" if card.serial is None else card.serial,
                card.state,
                "" if card.member_number is None else card.member_number,
                safe_cell(card.member_name),
                card.sales,
                card.total.amount,
                "" if card.first_at is None else local_time(card.first_at),
                "" if card.last_at is None else local_time(card.last_at),
                "; ".join(sorted(card.how)),
            )
        )
    return out.getvalue()
