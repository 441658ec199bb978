"""Generations of card keys over the fleet: begun, given to tills, brought onto cards, past, deleted.

    begun      the new masters are where the server's keys are; tills fetch them with their feed
    on cards   every till that may sell holds them: from now on cards are brought to them as they are
               tapped, and new cards are issued with them
    past       its time is up: a card that still has an older generation is taken nowhere but at a
               station, where people look at it and bring it to the newest
    deleted    no card that is in use has an older generation any more

A till that has not asked for its feed for longer than it may sell without one is not waited for: it
must ask before it sells again, and then it is given the keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, func, or_, select, update

from dobmi.cardlib.custody import ROLE_KEYS, KeyCustody, KeyRole
from dobmi.cardlib.generations import BeginningWith
from dobmi.cardlib.purse_layout import CardKey
from dobmi.central.acts import Act, Actor, note_act
from dobmi.central.balances import balances_of
from dobmi.central.database import Database, insert_rows, insert_unless_there
from dobmi.central.errors import (
    CardKeysPast,
    GenerationInUse,
    GenerationNotNewer,
    UnknownGeneration,
)
from dobmi.central.online_tills import is_online
from dobmi.central.posting_rules import Group
from dobmi.central.schema import (
    CardState,
    PairingDecision,
    Role,
    TerminalStatus,
    card_pins,
    card_transactions,
    cards,
    key_generations,
    pairings,
    staff_acts,
    terminals,
    till_keys,
)
from dobmi.central.server import Central
from dobmi.money import ZERO, Rupiah
from dobmi.sync.feed import KeysMin, SealedKeys, feed_keys_info
from dobmi.wib import local_time

TAPPED_DAYS = 30
DELETED_KEYS = (CardKey.APPLICATION, CardKey.DEBIT, CardKey.CREDIT, CardKey.PIN)
"""What a card gives up when it is brought to a new generation. It keeps the others for life."""
_SECONDS_PER_DAY = 24 * 3600
_SECONDS_PER_HOUR = 3600
_IN_USE = (CardState.ACTIVE.value, CardState.BLOCKED.value)
"""A blocked card may be let in again; one whose issuing was never finished has nothing on it."""


def begin_generation(
    central: Central,
    generation: int,
    *,
    older_until: int,
    actor: Actor,
    begun_by: str = "",
    minutes_hash: bytes | None = None,
) -> None:
    """The masters of `generation` are where the server's keys are: have it rolled over the fleet.

    Cards with older keys are taken until `older_until` (Unix seconds). Done again, as after an
    interruption, it changes nothing. Raises GenerationNotNewer.
    """
    now = central.unix_seconds()
    with central.database.write() as connection:
        rows = _rows(connection)
        if any(row.generation == generation for row in rows):
            return
        if rows and rows[-1].generation > generation:
            raise GenerationNotNewer(generation=generation, newest=rows[-1].generation)
        row = {
            "generation": generation,
            "begun_at": now,
            "begun_by": (begun_by or actor.name)[:200],
            "older_until": max(older_until, now),
            "minutes_hash": minutes_hash,
            "cards_from": None,
        }
        insert_rows(connection, key_generations, [row])
        _open_what_every_till_holds(central, connection, now)
        note_act(
            connection,
            actor,
            Act.KEYS,
            subject=f"generation {generation}",
            detail=f"begun; older ones are taken until {local_time(older_until)}",
            now=now,
        )


def put_on_cards(central: Central, generation: int, *, actor: Actor) -> None:
    """Bring cards to `generation` from now on, whichever tills do not hold it yet.

    Those cannot take a card that has it. Raises UnknownGeneration.
    """
    now = central.unix_seconds()
    with central.database.write() as connection:
        if all(row.generation != generation for row in _rows(connection)):
            raise UnknownGeneration(generation=generation)
        connection.execute(
            update(key_generations)
            .where(key_generations.c.generation <= generation)
            .where(key_generations.c.cards_from.is_(None))
            .values(cards_from=now)
        )
        note_act(
            connection,
            actor,
            Act.KEYS,
            subject=f"generation {generation}",
            detail="put on cards, whichever tills hold it",
            now=now,
        )


def note_deleted(database: Database, generation: int, actor: Actor, now: int) -> None:
    """Write down that the masters of a generation were deleted where the server's keys are."""
    with database.write() as connection:
        subject = f"generation {generation}"
        note_act(connection, actor, Act.KEYS, subject=subject, detail="deleted", now=now)


def note_ceremony(
    database: Database, actor: Actor, *, minutes_hash: str, detail: str, now: int
) -> None:
    """Write down that a key ceremony was held whose minutes have that hash."""
    with database.write() as connection:
        note_act(connection, actor, Act.CEREMONY, subject=minutes_hash, detail=detail, now=now)


def ceremony_was_held(database: Database) -> bool:
    """Whether the audit trail has a key ceremony."""
    held = select(staff_acts.c.id).where(staff_acts.c.act == Act.CEREMONY.value).limit(1)
    with database.read() as connection:
        return connection.execute(held).first() is not None


def keys_limits(connection: Connection) -> tuple[tuple[KeysMin, ...], int]:
    """What the feed's limits say of generations: `keys_min` and `cards_generation`."""
    rows = _rows(connection)
    taken_from = tuple(KeysMin(row.generation, row.older_until) for row in rows)
    return taken_from, _on_cards(rows)


def card_custody(central: Central) -> KeyCustody:
    """The server's keys, beginning with the generation that cards are given now."""
    with central.database.read() as connection:
        on_cards = _on_cards(_rows(connection))
    return BeginningWith(central.keys, on_cards) if on_cards else central.keys


def require_card_keys(central: Central, connection: Connection, generation: int) -> None:
    """Raises CardKeysPast for a card whose keys, of that generation, are not taken any more."""
    now = central.unix_seconds()
    for row in reversed(_rows(connection)):
        if row.older_until <= now and generation < row.generation:
            raise CardKeysPast(generation=generation, needed=row.generation)


def note_till_keys(
    central: Central, connection: Connection, terminal_id: int, generation: int
) -> None:
    """The till said that it holds card keys up to `generation` (0: none), asking for its feed.

    If that was the last one waited for, cards are brought to the new generation from now on.
    """
    now = central.unix_seconds()
    row = {"terminal_id": terminal_id, "generation": generation, "at": now}
    insert_unless_there(connection, till_keys, [row])
    connection.execute(
        update(till_keys)
        .where(till_keys.c.terminal_id == terminal_id)
        .values(generation=generation, at=now)
    )
    _open_what_every_till_holds(central, connection, now)


def sealed_for_till(
    central: Central, connection: Connection, terminal_id: int, held: int
) -> SealedKeys | None:
    """The till's card keys, sealed to the key it was paired with, if some are newer than `held`.

    None, too, for a till that holds no masters (0) and one that was taken in by an invitation: what
    it holds it was given as a file.
    """
    if held == 0 or is_online(connection, terminal_id):
        return None
    sealing_key = connection.execute(
        select(pairings.c.sealing_key)
        .where(pairings.c.terminal_id == terminal_id)
        .where(pairings.c.decision == PairingDecision.APPROVED.value)
    ).scalar_one_or_none()
    newest = max(central.keys.generations(CardKey.DEBIT), default=0)
    if sealing_key is None or newest <= held:
        return None
    sealed = central.keys.sealed_masters(
        ROLE_KEYS[KeyRole.TILL], bytes(sealing_key), feed_keys_info(terminal_id)
    )
    return SealedKeys(terminal_id=terminal_id, generation=newest, sealed=sealed)


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationCards:
    """The cards in use whose keys are of one generation.

    `on_them` is what the ledger says is on them (a stock); `tapped` were used in the last 30 days
    as far as it was reported. `taken_until` (Unix seconds): from then on only stations take them;
    None for the newest. `on_cards_from`: since when cards are brought to it; None: not yet, or it
    is the first. `begun_at` is None of the first.
    """

    generation: int
    begun_at: int | None
    on_cards_from: int | None
    taken_until: int | None
    cards: int
    on_them: Rupiah
    tapped: int

    def days_left(self, now: int) -> int | None:
        """Whole days, rounded up, that its cards are taken yet; 0: no more. None: for good."""
        if self.taken_until is None:
            return None
        return max(0, -((now - self.taken_until) // _SECONDS_PER_DAY))


@dataclass(frozen=True, slots=True, kw_only=True)
class TillGeneration:
    """Which generation a till said it holds; None: it never said. `is_waited_for`: cards are not
    brought to the newest before it does.
    """

    terminal_id: int
    name: str
    generation: int | None
    asked_at: int | None
    can_fetch: bool
    is_waited_for: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyReport:
    """How far the rolling of card keys is. `newest`: the newest that was begun; 1: there was none."""

    at: int
    newest: int
    on_cards: int
    generations: tuple[GenerationCards, ...]
    tills: tuple[TillGeneration, ...]


def key_report(central: Central) -> KeyReport:
    """Every generation that cards in use have or that was begun, and what each till holds."""
    now = central.unix_seconds()
    with central.database.read() as connection:
        rows = _rows(connection)
        begun = {row.generation: row for row in rows}
        newest = max(begun, default=1)
        numbers, money = _cards_by_generation(connection, now)
        waiting = set(_tills_waited_for(central, connection, now, newest)) if begun else set()
        fetching = set(
            connection.execute(
                select(pairings.c.terminal_id).where(pairings.c.terminal_id.is_not(None))
            ).scalars()
        )
        tills = connection.execute(
            select(terminals.c.id, terminals.c.name, till_keys.c.generation, till_keys.c.at)
            .outerjoin(till_keys)
            .where(terminals.c.role == Role.TILL.value)
            .where(terminals.c.status == TerminalStatus.ACTIVE.value)
            .order_by(terminals.c.id)
        ).all()
    return KeyReport(
        at=now,
        newest=newest,
        on_cards=_on_cards(rows) or newest,
        generations=tuple(
            GenerationCards(
                generation=number,
                begun_at=begun[number].begun_at if number in begun else None,
                on_cards_from=begun[number].cards_from if number in begun else None,
                taken_until=min(
                    (row.older_until for row in rows if row.generation > number), default=None
                ),
                cards=numbers[number][0] if number in numbers else 0,
                on_them=money.get(number, ZERO),
                tapped=numbers[number][1] if number in numbers else 0,
            )
            for number in sorted({1, *begun, *numbers})
        ),
        tills=tuple(
            TillGeneration(
                terminal_id=till.id,
                name=till.name,
                generation=till.generation,
                asked_at=till.at,
                can_fetch=till.id in fetching,
                is_waited_for=till.id in waiting,
            )
            for till in tills
        ),
    )


def report_as_json(report: KeyReport) -> dict[str, object]:
    """For programs: times in Unix seconds, money in rupiah."""
    return {
        "at": report.at,
        "newest": report.newest,
        "on_cards": report.on_cards,
        "generations": [
            {
                "generation": one.generation,
                "begun_at": one.begun_at,
                "on_cards_from": one.on_cards_from,
                "taken_until": one.taken_until,
                "days_left": one.days_left(report.at),
                "cards": one.cards,
                "on_them_rupiah": one.on_them.amount,
                "tapped": one.tapped,
            }
            for one in report.generations
        ],
        "tills": [asdict(till) for till in report.tills],
    }


def require_deletable(central: Central, generation: int) -> None:
    """Whether the masters of DELETED_KEYS of this generation are of no use any more.

    A PIN is kept sealed by its card's application key, and sealed anew when the card is rolled.
    Raises GenerationInUse while cards in use have it, or an older one; UnknownGeneration for the
    one that cards are given now, and newer ones.
    """
    with central.database.read() as connection:
        on_cards = _on_cards(_rows(connection))
        if not 1 <= generation < on_cards:
            raise UnknownGeneration(generation=generation)
        has_pin = card_pins.c.sealed.is_not(None) | card_pins.c.pending.is_not(None)
        pin_is_sealed = has_pin & (card_pins.c.key_version <= generation)
        count = connection.execute(
            select(func.count())
            .select_from(cards)
            .outerjoin(card_pins, card_pins.c.card_uid == cards.c.uid)
            .where(cards.c.state.in_(_IN_USE))
            .where(
                or_(cards.c.key_version <= generation, pin_is_sealed),
            )
        ).scalar_one()
    if count:
        raise GenerationInUse(generation=generation, count=count)


def _cards_by_generation(
    connection: Connection, now: int
) -> tuple[dict[int, tuple[int, int]], dict[int, Rupiah]]:
    """By generation: how many cards in use, how many of them tapped lately; what is on them."""
    newest = card_transactions.alias("newest")
    # A look-up a card, however many transactions there are.
    last_tap = (
        select(newest.c.at)
        .where(newest.c.card_uid == cards.c.uid)
        .order_by(newest.c.counter.desc())
        .limit(1)
        .correlate(cards)
        .scalar_subquery()
    )
    found = connection.execute(
        select(cards.c.serial, cards.c.key_version, last_tap.label("tapped_at")).where(
            cards.c.state.in_(_IN_USE)
        )
    )
    on_cards = balances_of(connection, Group.CARD)
    numbers: dict[int, tuple[int, int]] = {}
    money: dict[int, Rupiah] = {}
    for card in found:
        count, tapped = numbers.get(card.key_version, (0, 0))
        is_recent = (card.tapped_at or 0) >= now - TAPPED_DAYS * _SECONDS_PER_DAY
        numbers[card.key_version] = (count + 1, tapped + is_recent)
        money[card.key_version] = money.get(card.key_version, ZERO) + on_cards.get(
            card.serial, ZERO
        )
    return numbers, money


def _rows(connection: Connection) -> list[Row[Any]]:
    """In the order of the generations."""
    statement: Select[Any] = select(key_generations).order_by(key_generations.c.generation)
    return [*connection.execute(statement)]


def _on_cards(rows: Sequence[Row[Any]]) -> int:
    """The generation that cards are given; 0: no roll was ever begun, so the newest that is held."""
    found = 0
    for row in rows:
        if row.cards_from is None:
            return found or int(row.generation) - 1
        found = int(row.generation)
    return found


def _open_what_every_till_holds(central: Central, connection: Connection, now: int) -> None:
    for row in _rows(connection):
        if row.cards_from is not None:
            continue
        if _tills_waited_for(central, connection, now, row.generation):
            return
        connection.execute(
            update(key_generations)
            .where(key_generations.c.generation == row.generation)
            .where(key_generations.c.cards_from.is_(None))
            .values(cards_from=now)
        )


def _tills_waited_for(
    central: Central, connection: Connection, now: int, generation: int
) -> list[int]:
    """Tills that may sell and do not hold the generation: those heard of in the time without feed."""
    heard_since = now - central.settings.sync_age_hours_max * _SECONDS_PER_HOUR
    heard_at = func.coalesce(terminals.c.feed_at, terminals.c.enrolled_at)
    lacks = or_(
        till_keys.c.generation.is_(None),
        (till_keys.c.generation > 0) & (till_keys.c.generation < generation),
    )
    found = connection.execute(
        select(terminals.c.id)
        .outerjoin(till_keys)
        .where(terminals.c.role == Role.TILL.value)
        .where(terminals.c.status == TerminalStatus.ACTIVE.value)
        .where(heard_at >= heard_since, lacks)
        .order_by(terminals.c.id)
    )
    return [*found.scalars()]
