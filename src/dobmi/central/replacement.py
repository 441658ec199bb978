"""A lost card is replaced: blocked for good, and what was on it comes to the member's new card.

The safe moment is computed: every till that is in use has asked for a feed that goes on from the
block, so it has refused the card since, and had sent what it sold to it before. A till that never
comes back cannot keep the member from the money for ever: after the set number of days it is
restored by rule. What such a till still brings is posted all the same (the ledger accepts reality);
what the old card's account then lacks is taken from suspense, at the cooperative's expense.

`follow_up` may be run at any time and changes nothing twice: it brings the postings to what the
facts on record ask for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, exists, func, select, update

from dobmi.cardlib.purse_layout import CENTRAL_TERMINAL_ID
from dobmi.central.acts import Act, Actor, note_act
from dobmi.central.database import insert_rows, next_number, whole_sum
from dobmi.central.errors import CardHasEnded, CardNotActive, UnknownCard
from dobmi.central.findings import anomaly_row, note_findings
from dobmi.central.journal import post
from dobmi.central.orders import append_credit, balance_on_card, card_in_force
from dobmi.central.posting_rules import Kind
from dobmi.central.schema import (
    CardState,
    CreditDelivery,
    CreditSource,
    DoubtState,
    RetirementState,
    Role,
    TerminalStatus,
    cards,
    hotlist_changes,
    in_doubt,
    pending_credits,
    postings,
    replacements,
    retirements,
    terminals,
)
from dobmi.central.server import Central
from dobmi.central.texts import REASON_LENGTH_MAX, require_text
from dobmi.money import ZERO, Rupiah

_SECONDS_PER_DAY = 24 * 3600
BY_TILLS = "every till has synced since the block"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replacement:
    """What is known of a card that was replaced. Times in Unix seconds.

    `safe_at` is None while the money waits: for the tills of `waits_for`, until `by_rule_at` at the
    latest. `restored` came to the member's cards; `held` waits for sales in doubt; `shortfall` was
    spent with the old card and restored all the same.
    """

    card_uid: bytes
    reason: str
    at: int
    feed_version: int
    waits_for: tuple[int, ...]
    by_rule_at: int
    safe_at: int | None
    safe_by: str
    new_card: bytes | None
    restored: Rupiah
    held: Rupiah
    left: Rupiah
    shortfall: Rupiah


def replace_card(
    central: Central,
    uid: bytes,
    reason: str,
    *,
    by_terminal: int | None,
    actor: Actor | None = None,
) -> None:
    """Block the card for good and have its money restored; again, it changes nothing.

    Its member can then be issued another one. Raises UnknownCard, CardNotActive (its issuing was
    never finished, so that nothing was ever on it), CardHasEnded (its money is off it already),
    BadParameters. A card that got lost while it was being ended is a lost one from then on.
    """
    require_text("reason", reason, REASON_LENGTH_MAX)
    now = central.unix_seconds()
    with central.database.write() as connection:
        card = connection.execute(
            select(cards).where(cards.c.uid == uid).with_for_update()
        ).one_or_none()
        if card is None:
            raise UnknownCard(card=uid.hex())
        if card.issued_at is None:
            raise CardNotActive(card=uid.hex())
        if card.state == CardState.REPLACED:
            return
        if card.state == CardState.RETIRED:
            _lose_the_rest(connection, card)
        version = _blocked_since(connection, uid) if card.state == CardState.BLOCKED else None
        if version is None:
            version = next_number(connection, "hotlist")
            change = {
                "version": version,
                "card_uid": uid,
                "blocked": True,
                "reason": reason,
                "by_terminal": by_terminal,
                "at": now,
            }
            insert_rows(connection, hotlist_changes, [change])
        connection.execute(
            update(cards)
            .where(cards.c.uid == uid)
            .values(state=CardState.REPLACED.value, block_reason=reason)
        )
        row = {
            "card_uid": uid,
            "reason": reason,
            "by_terminal": by_terminal,
            "at": now,
            "block_version": version,
            "safe_at": None,
            "safe_by": "",
        }
        insert_rows(connection, replacements, [row])
        follow_up(connection, uid, now)
        note_act(
            connection,
            actor or Actor("", by_terminal),
            Act.REPLACE,
            subject=f"card {card.serial}",
            detail=reason,
            now=now,
        )


def _lose_the_rest(connection: Connection, card: Row[Any]) -> None:
    """What was not known to be off the card is restored as of any lost card; the ledger decides."""
    taken = connection.execute(
        update(retirements)
        .where(
            retirements.c.card_uid == card.uid,
            retirements.c.state.in_((RetirementState.OPEN, RetirementState.IN_DOUBT)),
        )
        .values(state=RetirementState.LOST.value)
    )
    if not taken.rowcount:
        raise CardHasEnded(card=card.uid.hex(), reason=card.block_reason)


def restore_due(central: Central) -> int:
    """Restore what has become safe to restore, also by rule; how many cards that were.

    Each feed of a till asks for it: where nothing has become safe it is one look and no writing.
    """
    days = central.settings.restore_after_days
    overdue = central.unix_seconds() - days * _SECONDS_PER_DAY
    waits = exists().where(_is_behind(replacements.c.block_version))
    with central.database.read() as connection:
        uids = connection.execute(
            select(replacements.c.card_uid)
            .where(replacements.c.safe_at.is_(None))
            .where(~waits | (replacements.c.at <= overdue))
            .order_by(replacements.c.card_uid)
        ).scalars()
        due = [bytes(uid) for uid in uids]

    def restore(connection: Connection, uid: bytes) -> bool:
        return follow_up(connection, uid, central.unix_seconds(), restore_after_days=days)

    restored = 0
    for uid in due:
        restored += central.database.write_again(partial(restore, uid=uid))
    return restored


def follow_up(
    connection: Connection, uid: bytes, now: int, *, restore_after_days: int | None = None
) -> bool:
    """Bring the journal to what the replaced card's facts ask for; whether it became safe now.

    Harmless for a card that was not replaced. Without `restore_after_days` the rule is left out.
    """
    row = connection.execute(
        select(replacements).where(replacements.c.card_uid == uid).with_for_update()
    ).one_or_none()
    if row is None:
        return False
    becomes_safe = row.safe_at is None
    if becomes_safe:
        reason = _why_safe(connection, row, now, restore_after_days)
        if not reason:
            return False
        connection.execute(
            update(replacements)
            .where(replacements.c.card_uid == uid)
            .values(safe_at=now, safe_by=reason)
        )
    safe_by = reason if becomes_safe else row.safe_by
    _cover_gain(connection, uid, _assume_credits(connection, uid, now), now)
    target = card_in_force(connection, uid)
    if target is not None:
        _move_credits(connection, uid, target, now)
    bare = _cover(connection, uid, now)
    free = bare - _held(connection, uid)
    if target is not None and free > ZERO:
        _restore(connection, uid, target, free, now=now, safe_by=safe_by)
    return becomes_safe


def replacement_of(
    connection: Connection, uid: bytes, restore_after_days: int
) -> Replacement | None:
    """None for a card that was not replaced."""
    row = connection.execute(
        select(replacements).where(replacements.c.card_uid == uid)
    ).one_or_none()
    if row is None:
        return None
    covered = _covered(connection, uid)
    bare = balance_on_card(connection, uid) - covered
    return Replacement(
        card_uid=uid,
        reason=row.reason,
        at=row.at,
        feed_version=row.block_version,
        waits_for=() if row.safe_at is not None else _tills_behind(connection, row.block_version),
        by_rule_at=row.at + restore_after_days * _SECONDS_PER_DAY,
        safe_at=row.safe_at,
        safe_by=row.safe_by,
        new_card=card_in_force(connection, uid),
        restored=_sum(connection, uid, Kind.RESTORED) + _sum(connection, uid, Kind.MOVED),
        held=_held(connection, uid),
        left=max(bare, ZERO),
        shortfall=covered,
    )


def _why_safe(
    connection: Connection, row: Row[Any], now: int, restore_after_days: int | None
) -> str:
    if not _tills_behind(connection, row.block_version):
        return BY_TILLS
    if restore_after_days is not None and now >= row.at + restore_after_days * _SECONDS_PER_DAY:
        return f"by rule, {restore_after_days} days after it was replaced"
    return ""


def _tills_behind(connection: Connection, block_version: int) -> tuple[int, ...]:
    """Tills in use that have not said yet that they have the block."""
    return tuple(
        connection.execute(
            select(terminals.c.id).where(_is_behind(block_version)).order_by(terminals.c.id)
        ).scalars()
    )


def _is_behind(block_version: int | ColumnElement[int]) -> ColumnElement[bool]:
    """Of a terminal: a till in use that has not said that it has this block list."""
    return and_(
        terminals.c.role == Role.TILL,
        terminals.c.status == TerminalStatus.ACTIVE,
        terminals.c.feed_version < block_version,
    )


def _blocked_since(connection: Connection, uid: bytes) -> int | None:
    """The version of the block that is in force."""
    unblocked = select(func.coalesce(func.max(hotlist_changes.c.version), 0)).where(
        hotlist_changes.c.card_uid == uid, hotlist_changes.c.blocked.is_(False)
    )
    version: int | None = connection.execute(
        select(func.min(hotlist_changes.c.version)).where(
            hotlist_changes.c.card_uid == uid,
            hotlist_changes.c.blocked.is_(True),
            hotlist_changes.c.version > unblocked.scalar_subquery(),
        )
    ).scalar_one()
    return version


def _credits(connection: Connection, uid: bytes, state: CreditDelivery) -> list[Row[Any]]:
    return list(
        connection.execute(
            select(pending_credits)
            .where(pending_credits.c.card_uid == uid, pending_credits.c.state == state)
            .order_by(pending_credits.c.sequence)
        )
    )


def _set_state(connection: Connection, row: Row[Any], state: CreditDelivery) -> None:
    same = (pending_credits.c.card_uid == row.card_uid) & (
        pending_credits.c.sequence == row.sequence
    )
    connection.execute(update(pending_credits).where(same).values(state=state.value))


def _assume_credits(connection: Connection, uid: bytes, now: int) -> Rupiah:
    """A credit that may be on the lost card is taken as on it, and restored with the rest.

    Should the card's transactions prove it later, nothing more is posted. How much that is now.
    """
    assumed = ZERO
    for row in _credits(connection, uid, CreditDelivery.IN_DOUBT):
        post(
            connection,
            Kind.DELIVERED,
            Rupiah(row.amount_rupiah),
            card_uid=uid,
            terminal_id=CENTRAL_TERMINAL_ID,
            sequence=row.sequence,
            at=now,
            explanation="in doubt on a lost card: taken as on it, to be restored with the rest",
        )
        _set_state(connection, row, CreditDelivery.ASSUMED)
        assumed += Rupiah(row.amount_rupiah)
    return assumed


def _cover_gain(connection: Connection, uid: bytes, assumed: Rupiah, now: int) -> None:
    """What the card's own balances showed as gained is the assumed credit, up to its amount: it is
    on the account already, and is not restored a second time.
    """
    gained = _sum(connection, uid, Kind.UNEXPLAINED_GAIN)
    gained -= _sum(connection, uid, Kind.UNEXPLAINED_LOSS)
    covered = min(assumed, max(gained, ZERO))
    if not covered:
        return
    post(
        connection,
        Kind.UNEXPLAINED_LOSS,
        covered,
        card_uid=uid,
        terminal_id=CENTRAL_TERMINAL_ID,
        sequence=_count(connection, uid, Kind.UNEXPLAINED_LOSS, Kind.UNEXPLAINED_GAIN) + 1,
        at=now,
        explanation="gained before, and taken to be the credit that was in doubt on the lost card",
    )


def _move_credits(connection: Connection, uid: bytes, target: bytes, now: int) -> None:
    """Credits that were never sent to the lost card wait for the new one."""
    for row in _credits(connection, uid, CreditDelivery.PENDING):
        append_credit(
            connection,
            target,
            Rupiah(row.amount_rupiah),
            CreditSource(row.source),
            idempotency_key=f"dobmi:moved:{uid.hex()}/{row.sequence}",
            ordered_by=row.ordered_by,
            now=now,
        )
        post(
            connection,
            Kind.MOVED,
            Rupiah(row.amount_rupiah),
            card_uid=uid,
            to_card=target,
            terminal_id=CENTRAL_TERMINAL_ID,
            sequence=row.sequence,
            at=now,
            explanation=f"card {uid.hex().upper()} was replaced by {target.hex().upper()}",
        )
        _set_state(connection, row, CreditDelivery.MOVED)


def _held(connection: Connection, uid: bytes) -> Rupiah:
    """What sales in doubt may have taken from the card."""
    return Rupiah(
        connection.execute(
            select(whole_sum(in_doubt.c.amount_rupiah)).where(
                in_doubt.c.card_uid == uid, in_doubt.c.state == DoubtState.OPEN
            )
        ).scalar_one()
    )


def _cover(connection: Connection, uid: bytes, now: int) -> Rupiah:
    """Bring what suspense gave the card to what the card lacks; the balance without that."""
    covered = _covered(connection, uid)
    bare = balance_on_card(connection, uid) - covered
    more = max(-bare, ZERO) - covered
    if not more:
        return bare
    kind = Kind.SHORTFALL if more > ZERO else Kind.SHORTFALL_BACK
    number = _count(connection, uid, Kind.SHORTFALL, Kind.SHORTFALL_BACK) + 1
    post(
        connection,
        kind,
        max(more, -more),
        card_uid=uid,
        terminal_id=CENTRAL_TERMINAL_ID,
        sequence=number,
        at=now,
        explanation="spent with the lost card, restored before that was known: the cooperative's"
        if more > ZERO
        else "explained since: not the cooperative's expense",
    )
    if more > ZERO:
        finding = anomaly_row(
            "spent-after-restoring",
            f"{uid.hex()}/{number}",
            at=now,
            detail=f"{more} of the lost card, at the cooperative's expense",
            card_uid=uid,
            amount=more,
        )
        note_findings(connection, [finding])
    return bare


def _restore(
    connection: Connection, uid: bytes, target: bytes, amount: Rupiah, *, now: int, safe_by: str
) -> None:
    number = _count(connection, uid, Kind.RESTORED) + 1
    append_credit(
        connection,
        target,
        amount,
        CreditSource.RESTORED,
        idempotency_key=f"dobmi:restored:{uid.hex()}/{number}",
        ordered_by=None,
        now=now,
    )
    post(
        connection,
        Kind.RESTORED,
        amount,
        card_uid=uid,
        to_card=target,
        terminal_id=CENTRAL_TERMINAL_ID,
        sequence=number,
        at=now,
        explanation=f"balance of lost card {uid.hex().upper()} to {target.hex().upper()}: {safe_by}",
    )


def _covered(connection: Connection, uid: bytes) -> Rupiah:
    return _sum(connection, uid, Kind.SHORTFALL) - _sum(connection, uid, Kind.SHORTFALL_BACK)


def _sum(connection: Connection, uid: bytes, kind: Kind) -> Rupiah:
    return Rupiah(
        connection.execute(
            select(whole_sum(postings.c.amount_rupiah)).where(
                postings.c.card_uid == uid, postings.c.kind == kind
            )
        ).scalar_one()
    )


def _count(connection: Connection, uid: bytes, *kinds: Kind) -> int:
    return connection.execute(
        select(func.count())
        .select_from(postings)
        .where(postings.c.card_uid == uid, postings.c.kind.in_(kinds))
    ).scalar_one()
