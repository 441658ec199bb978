"""What comes down to tills: the block list as a delta, and the limits of offline selling.

COSE_Sign1, content type `dobmi/feed/1`, by the central server. `version` only grows; a feed says
which version it goes on from, and a till takes it only if that is the one it has (or 0: whole).
What it says of sales in doubt, and of the vouchers the server has, is for one till alone, which it
names; so does what an outlet's tills work with (`sync/outlet.py`), which it has if the till asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from dobmi.money import ZERO, Rupiah
from dobmi.sync.cbor import CborValue, Fields, decode, encode, is_plain
from dobmi.sync.cose import Sign, parse_sign1, sign1
from dobmi.sync.errors import MalformedMessage, StaleFeed
from dobmi.sync.outlet import (
    Catalogue,
    MemberNotes,
    OutletOrders,
    OutletStaff,
    catalogue_from_cbor,
    catalogue_to_cbor,
    notes_from_cbor,
    notes_to_cbor,
    orders_from_cbor,
    orders_to_cbor,
    staff_from_cbor,
    staff_to_cbor,
)

CONTENT_TYPE = "dobmi/feed/1"
FEED_SIZE_MAX = 16 * 1024 * 1024
SETTLEMENTS_MAX = 500
RULE_LENGTH_MAX = 40
GENERATIONS_MAX = 255
SEALED_KEYS_LENGTH_MAX = 64 * 1024
_CARDS_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class KeysMin:
    """From that moment on a card must have keys of this generation or a newer one."""

    generation: int
    from_unix_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How far a till may go before it must sync. Amounts in rupiah, ages in seconds.

    `keys_min` is in the order of the generations. `cards_generation` is the one that cards are
    brought to when they are tapped, which every till holds by then; 0: the server does not say.
    A sale of more than `pin_above` needs the member's PIN; 0: none does.
    """

    sale_max: Rupiah = Rupiah(2_000_000)  # noqa: RUF009 - Rupiah is immutable
    unsent_vouchers_max: int = 5_000
    unsent_total_max: Rupiah = Rupiah(50_000_000)  # noqa: RUF009 - Rupiah is immutable
    sync_age_seconds_max: int = 14 * 24 * 3600
    pin_above: Rupiah = ZERO
    keys_min: tuple[KeysMin, ...] = ()
    cards_generation: int = 0

    def keys_min_generation(self, unix_seconds: int) -> int:
        """The oldest generation of card keys that is taken at that time; 0: any."""
        in_force = [one for one in self.keys_min if one.from_unix_seconds <= unix_seconds]
        return max((one.generation for one in in_force), default=0)


class SettledAs(IntEnum):
    """What the central server found of a sale in doubt, or ruled."""

    PAID = 1
    NOT_PAID = 2
    HELD = 3
    """Not certain: the money is in suspense, and the office looks into it."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """The till's in-doubt sale `sequence`, as the central server settled it, by the rule it names."""

    sequence: int
    outcome: SettledAs
    unix_seconds: int
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlements:
    """What the server settled of the doubts of till `terminal_id` at `since` (its time) or later.

    A sale that was settled more than once is there as it stands now.
    """

    terminal_id: int
    since: int
    settled: tuple[Settlement, ...] = ()


@dataclass(frozen=True, slots=True)
class ServersHead:
    """The server has the vouchers of till `terminal_id` up to number `sequence`, and no further."""

    terminal_id: int
    sequence: int


@dataclass(frozen=True, slots=True)
class SealedKeys:
    """The card keys of till `terminal_id`, `generation` the newest of them, sealed to its X25519 key.

    HPKE (cardlib's sealing) with `feed_keys_info` of the till; as in a pairing's answer.
    """

    terminal_id: int
    generation: int
    sealed: bytes


def feed_keys_info(terminal_id: int) -> bytes:
    """What the card keys in a feed are sealed for: for this till, and in a feed."""
    return b"dobmi/feed-keys/1" + terminal_id.to_bytes(4, "big")


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The versions of the outlet's parts that a till holds, 0 for none: what is newer comes.

    `keys` is the newest generation of card keys, 0 for a till that holds none; None: not said.
    """

    catalogue: int = 0
    staff: int = 0
    orders: int = 0
    members: int = 0
    keys: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlet:
    """What till `terminal_id` works with. A part is None if the till has it, or did not ask."""

    terminal_id: int
    catalogue: Catalogue | None = None
    staff: OutletStaff | None = None
    orders: OutletOrders | None = None
    members: MemberNotes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """Blocked and unblocked card UIDs since version `since` (0: everything), and limits in force.

    `credits_waiting` are the UIDs with a pending credit: a hint, not a promise. `settlements`,
    `servers_head` and `outlet` are there if the till asked for them; `outlet` is None too if
    nothing of it is new, as is `sealed_keys`. `pins_locked` are all cards whose PIN no till tries;
    None if the till did not ask.
    """

    version: int
    since: int
    unix_seconds: int
    limits: Limits
    blocked: tuple[bytes, ...] = ()
    unblocked: tuple[bytes, ...] = ()
    credits_waiting: tuple[bytes, ...] = ()
    settlements: Settlements | None = None
    servers_head: ServersHead | None = None
    outlet: Outlet | None = None
    sealed_keys: SealedKeys | None = None
    pins_locked: tuple[bytes, ...] | None = None


def encode_feed(feed: Feed, public_key: bytes, sign: Sign) -> bytes:
    limits = feed.limits
    limits_fields: dict[int, CborValue] = {
        1: limits.sale_max.amount,
        2: limits.unsent_vouchers_max,
        3: limits.unsent_total_max.amount,
        4: limits.sync_age_seconds_max,
    }
    if limits.pin_above > ZERO:
        limits_fields[5] = limits.pin_above.amount
    if limits.keys_min:
        limits_fields[6] = [[one.generation, one.from_unix_seconds] for one in limits.keys_min]
    if limits.cards_generation:
        limits_fields[7] = limits.cards_generation
    fields: dict[int, CborValue] = {
        1: 1,
        2: feed.version,
        3: feed.since,
        4: feed.unix_seconds,
        5: list(feed.blocked),
        6: list(feed.unblocked),
        7: limits_fields,
        8: list(feed.credits_waiting),
    }
    if feed.settlements is not None:
        fields[9] = {
            1: feed.settlements.terminal_id,
            2: feed.settlements.since,
            3: [
                [one.sequence, one.outcome.value, one.unix_seconds, one.rule]
                for one in feed.settlements.settled
            ],
        }
    if feed.servers_head is not None:
        fields[10] = {1: feed.servers_head.terminal_id, 2: feed.servers_head.sequence}
    if feed.outlet is not None:
        fields.update(_outlet_to_cbor(feed.outlet))
    if feed.sealed_keys is not None:
        keys = feed.sealed_keys
        fields[16] = {1: keys.terminal_id, 2: keys.generation, 3: keys.sealed}
    if feed.pins_locked is not None:
        fields[17] = list(feed.pins_locked)
    return sign1(encode(fields), CONTENT_TYPE, public_key, sign)


def verify_feed(
    data: bytes,
    server_public_key: bytes,
    version_in_force: int,
    terminal_id: int | None = None,
    held: Held | None = None,
) -> Feed:
    """The feed, if the server signed it and it goes on from `version_in_force`.

    With `terminal_id`, what it says to one till must be said to that one; with `held`, no part of
    the outlet's may be older than that. Raises MalformedMessage, WrongSignature, StaleFeed.
    """
    message = parse_sign1(data, size_max=FEED_SIZE_MAX)
    payload = message.verify(server_public_key, CONTENT_TYPE)
    fields = Fields(decode(payload, size_max=FEED_SIZE_MAX), "feed")
    fields.exactly(1, 1)
    limits = fields.nested(7)
    feed = Feed(
        version=fields.uint(2),
        since=fields.uint(3),
        unix_seconds=fields.uint(4),
        blocked=_uids(fields.items(5, _CARDS_MAX)),
        unblocked=_uids(fields.items(6, _CARDS_MAX)),
        limits=Limits(
            sale_max=Rupiah(limits.uint(1)),
            unsent_vouchers_max=limits.uint(2),
            unsent_total_max=Rupiah(limits.uint(3)),
            sync_age_seconds_max=limits.uint(4),
            pin_above=Rupiah(limits.uint(5)) if limits.has(5) else ZERO,
            keys_min=_keys_min(limits.items(6, GENERATIONS_MAX)) if limits.has(6) else (),
            cards_generation=limits.uint(7, 8) if limits.has(7) else 0,
        ),
        credits_waiting=_uids(fields.items(8, _CARDS_MAX)),
        settlements=_settlements(fields.nested(9)) if fields.has(9) else None,
        servers_head=_servers_head(fields.nested(10)) if fields.has(10) else None,
        outlet=_outlet(fields),
        sealed_keys=_sealed_keys(fields.nested(16)) if fields.has(16) else None,
        pins_locked=_uids(fields.items(17, _CARDS_MAX)) if fields.has(17) else None,
    )
    limits.finish()
    fields.finish()
    if feed.version < version_in_force:
        raise StaleFeed(detail=f"version {feed.version} is older than {version_in_force}")
    if feed.since not in (0, version_in_force):
        raise StaleFeed(detail=f"it goes on from {feed.since}, not from {version_in_force}")
    for part in (feed.settlements, feed.servers_head, feed.outlet, feed.sealed_keys):
        if part is not None and terminal_id not in (None, part.terminal_id):
            raise MalformedMessage(detail="it speaks to another till")
    if feed.outlet is not None and held is not None:
        _check_goes_on(feed.outlet, held)
    return feed


def _check_goes_on(outlet: Outlet, held: Held) -> None:
    """Raises StaleFeed: a list of yesterday's, sent again, would bring back who was removed."""
    for name, part, in_force in (
        ("catalogue", outlet.catalogue, held.catalogue),
        ("staff", outlet.staff, held.staff),
        ("orders", outlet.orders, held.orders),
        ("members", outlet.members, held.members),
    ):
        if part is not None and part.version < in_force:
            raise StaleFeed(detail=f"{name} {part.version} is older than {in_force}")
    if outlet.members is not None and outlet.members.since not in (0, held.members):
        raise StaleFeed(
            detail=f"members go on from {outlet.members.since}, not from {held.members}"
        )


def _outlet_to_cbor(outlet: Outlet) -> dict[int, CborValue]:
    fields: dict[int, CborValue] = {}
    if outlet.catalogue is not None:
        fields[11] = catalogue_to_cbor(outlet.catalogue)
    if outlet.staff is not None:
        fields[12] = staff_to_cbor(outlet.staff)
    if outlet.orders is not None:
        fields[13] = orders_to_cbor(outlet.orders)
    if outlet.members is not None:
        fields[14] = notes_to_cbor(outlet.members)
    fields[15] = outlet.terminal_id
    return fields


def _outlet(fields: Fields) -> Outlet | None:
    """Fields 11 to 15; field 15 is there if and only if one of the others is."""
    catalogue = catalogue_from_cbor(fields.nested(11)) if fields.has(11) else None
    staff = staff_from_cbor(fields.nested(12)) if fields.has(12) else None
    orders = orders_from_cbor(fields.nested(13)) if fields.has(13) else None
    members = notes_from_cbor(fields.nested(14)) if fields.has(14) else None
    if (catalogue, staff, orders, members) == (None, None, None, None):
        return None
    return Outlet(
        terminal_id=fields.uint(15, 32),
        catalogue=catalogue,
        staff=staff,
        orders=orders,
        members=members,
    )


def _keys_min(items: list[CborValue]) -> tuple[KeysMin, ...]:
    """Raises MalformedMessage."""
    found = tuple(_one_keys_min(item) for item in items)
    generations = [one.generation for one in found]
    if sorted(set(generations)) != generations:
        raise MalformedMessage(detail="key generations are not in their order")
    return found


def _one_keys_min(item: CborValue) -> KeysMin:
    match item:
        case [int(generation), int(from_unix_seconds)] if bool not in map(type, item):
            if 0 < generation <= GENERATIONS_MAX and 0 <= from_unix_seconds < 1 << 63:
                return KeysMin(generation, from_unix_seconds)
    raise MalformedMessage(detail="not a key generation and its time")


def _sealed_keys(fields: Fields) -> SealedKeys:
    found = SealedKeys(
        terminal_id=fields.uint(1, 32),
        generation=fields.uint(2, 8),
        sealed=fields.octets(3, 1, SEALED_KEYS_LENGTH_MAX),
    )
    fields.finish()
    return found


def _servers_head(fields: Fields) -> ServersHead:
    found = ServersHead(terminal_id=fields.uint(1, 32), sequence=fields.uint(2))
    fields.finish()
    return found


def _settlements(fields: Fields) -> Settlements:
    found = Settlements(
        terminal_id=fields.uint(1, 32),
        since=fields.uint(2),
        settled=tuple(_settlement(item) for item in fields.items(3, SETTLEMENTS_MAX)),
    )
    fields.finish()
    sequences = [one.sequence for one in found.settled]
    if sorted(set(sequences)) != sequences:
        raise MalformedMessage(detail="settlements are not in the order of their sales")
    return found


def _settlement(item: CborValue) -> Settlement:
    match item:
        case [int(sequence), int(outcome), int(unix_seconds), str(rule)]:
            if (
                bool not in map(type, item)
                and outcome in set(SettledAs)
                and 0 < sequence < 1 << 63
                and 0 <= unix_seconds < 1 << 63
                and 0 < len(rule) <= RULE_LENGTH_MAX
                and is_plain(rule)
            ):
                return Settlement(sequence, SettledAs(outcome), unix_seconds, rule)
    raise MalformedMessage(detail="not a settlement")


def _uids(items: list[CborValue]) -> tuple[bytes, ...]:
    uids = tuple(item for item in items if isinstance(item, bytes) and 4 <= len(item) <= 10)
    if len(uids) != len(items):
        raise MalformedMessage(detail="not a list of card UIDs")
    return uids
