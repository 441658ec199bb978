"""The feed for a till: the block list's changes, limits, waiting credits, its settled doubts, its outlet."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select

from dobmi.central.catalogue import catalogue_of
from dobmi.central.doubts import Rule
from dobmi.central.key_generations import keys_limits, sealed_for_till
from dobmi.central.limits import limit_in_force
from dobmi.central.member_notes import notes_since
from dobmi.central.member_orders import orders_of
from dobmi.central.outlets import version_of
from dobmi.central.pins import locked_cards
from dobmi.central.restoring import feed_version, known_feed_version
from dobmi.central.schema import (
    WAITING,
    DoubtState,
    OutletPart,
    Role,
    doubt_settlements,
    hotlist_changes,
    pending_credits,
    terminals,
)
from dobmi.central.server import Central
from dobmi.central.till_staff import staff_of
from dobmi.money import Rupiah
from dobmi.sync.feed import (
    SETTLEMENTS_MAX,
    Feed,
    Limits,
    Outlet,
    SealedKeys,
    ServersHead,
    SettledAs,
    Settlement,
    Settlements,
    encode_feed,
)

_SETTLED_OVERLAP_SECONDS = 7 * 24 * 3600
"""Again and again for so long: a clock put back, a commit that took its time, lose nothing."""
_TOLD_BY_THE_TILL = (Rule.TILL.value, Rule.DECIDED.value, Rule.CARD_MAC.value)
_SETTLED_AS = {
    DoubtState.PAID: SettledAs.PAID,
    DoubtState.NOT_PAID: SettledAs.NOT_PAID,
    DoubtState.SUSPENDED: SettledAs.HELD,
    DoubtState.DISPUTED: SettledAs.HELD,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OutletAsked:
    """Which versions of the outlet's parts a till says it holds; None: it does not ask for that.

    `keys`: the newest generation of card keys it holds, 0 for none.
    """

    terminal_id: int
    catalogue: int | None = None
    staff: int | None = None
    orders: int | None = None
    members: int | None = None
    keys: int | None = None
    pin: bool = False
    """It knows of PINs: of the limit above which one is needed, and of those that are locked."""


def make_feed(
    central: Central,
    since: int,
    settled: tuple[int, int] | None = None,
    head_of: int | None = None,
    outlet: OutletAsked | None = None,
) -> bytes:
    """The signed feed that goes on from version `since`; a whole one if that is not known here.

    `settled` is a till, and since when (Unix seconds) it wants its settled doubts, if it does;
    `head_of` a till that wants to know how far its vouchers are here; `outlet` what it holds of
    its outlet's parts.
    """
    asks_for_pins = outlet is not None and outlet.pin
    with central.database.read() as connection:
        version = feed_version(connection)
        if known_feed_version(connection, since) is not None:
            since = 0
        changes = connection.execute(
            select(hotlist_changes.c.card_uid, hotlist_changes.c.blocked)
            .where(hotlist_changes.c.version > since)
            .order_by(hotlist_changes.c.version)
        ).all()
        waiting = connection.execute(
            select(pending_credits.c.card_uid)
            .where(pending_credits.c.state.in_(WAITING))
            .distinct()
            .order_by(pending_credits.c.card_uid)
        ).scalars()
        last = {bytes(uid): blocked for uid, blocked in changes}
        feed = Feed(
            version=version,
            since=since,
            unix_seconds=central.unix_seconds(),
            limits=_limits(central, connection, with_pin=asks_for_pins),
            blocked=tuple(sorted(uid for uid, blocked in last.items() if blocked)),
            unblocked=tuple(
                sorted(uid for uid, blocked in last.items() if not blocked and since > 0)
            ),
            credits_waiting=tuple(bytes(uid) for uid in waiting),
            settlements=None if settled is None else _settlements(connection, *settled),
            servers_head=None if head_of is None else _head(connection, head_of),
            outlet=None if outlet is None else _outlet(connection, outlet),
            sealed_keys=None if outlet is None else _sealed_keys(central, connection, outlet),
            pins_locked=locked_cards(connection) if asks_for_pins else None,
        )
    return encode_feed(feed, central.public_key, central.sign)


def _settlements(connection: Connection, terminal_id: int, since: int) -> Settlements:
    """Of each doubt what it was settled as last, the latest 500 of them."""
    rows = connection.execute(
        select(doubt_settlements)
        .where(
            doubt_settlements.c.terminal_id == terminal_id,
            doubt_settlements.c.at >= since - _SETTLED_OVERLAP_SECONDS,
        )
        .order_by(doubt_settlements.c.id)
    )
    last = {row.sequence: row for row in rows}
    told = [
        Settlement(row.sequence, _SETTLED_AS[DoubtState(row.state)], row.at, row.rule)
        for row in sorted(last.values(), key=lambda row: row.id)
        if row.state != DoubtState.OPEN and row.rule not in _TOLD_BY_THE_TILL
    ]
    newest = sorted(told[-SETTLEMENTS_MAX:], key=lambda one: one.sequence)
    return Settlements(terminal_id=terminal_id, since=since, settled=tuple(newest))


def _head(connection: Connection, terminal_id: int) -> ServersHead:
    sequence = connection.execute(
        select(terminals.c.head_sequence).where(terminals.c.id == terminal_id)
    ).scalar_one()
    return ServersHead(terminal_id=terminal_id, sequence=sequence)


def _outlet(connection: Connection, asked: OutletAsked) -> Outlet | None:
    """What is not as the till says it has it. A station, which sells nothing, is told nothing."""
    terminal = connection.execute(
        select(terminals.c.role, terminals.c.seller_id).where(terminals.c.id == asked.terminal_id)
    ).one()
    if terminal.role != Role.TILL:
        return None
    seller_id = terminal.seller_id

    def is_new(part: OutletPart, held: int | None) -> bool:
        return held is not None and held != version_of(connection, seller_id, part)

    new_catalogue = is_new(OutletPart.CATALOGUE, asked.catalogue)
    new_staff = is_new(OutletPart.STAFF, asked.staff)
    new_orders = is_new(OutletPart.ORDERS, asked.orders)
    notes = None if asked.members is None else notes_since(connection, asked.members)
    outlet = Outlet(
        terminal_id=asked.terminal_id,
        catalogue=catalogue_of(connection, seller_id) if new_catalogue else None,
        staff=staff_of(connection, seller_id) if new_staff else None,
        orders=orders_of(connection, seller_id) if new_orders else None,
        members=None if notes is None or notes.version == asked.members else notes,
    )
    return None if outlet == Outlet(terminal_id=asked.terminal_id) else outlet


def _sealed_keys(central: Central, connection: Connection, asked: OutletAsked) -> SealedKeys | None:
    if asked.keys is None:
        return None
    return sealed_for_till(central, connection, asked.terminal_id, asked.keys)


def _limits(central: Central, connection: Connection, *, with_pin: bool) -> Limits:
    def limit(name: str) -> int:
        return limit_in_force(connection, central.settings, name)

    keys_min, cards_generation = keys_limits(connection)
    return Limits(
        sale_max=Rupiah(limit("sale_max_rupiah")),
        unsent_vouchers_max=limit("unsent_vouchers_max"),
        unsent_total_max=Rupiah(limit("unsent_total_max_rupiah")),
        sync_age_seconds_max=limit("sync_age_hours_max") * 3600,
        pin_above=Rupiah(limit("pin_above_rupiah") if with_pin else 0),
        keys_min=keys_min,
        cards_generation=cards_generation,
    )
