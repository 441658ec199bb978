"""What may happen in the fleet: plain data, decided in full by the seed before anything runs.

An event names its card and its till by number, and brings its own faults. Taken out of the list, it
leaves the others as they are: that is what makes shrinking work.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from dobmi.firmware_sim.faults import Moment
from dobmi.fleet.disk import Effect, Place, Strike
from dobmi.fleet.network import NetFault, RelayFault

TILLS = 3
CARDS = 3
BLANK_CARDS = 2
SPARE_CARDS = 3
"""In the office's drawer, for members who lose theirs."""
GENERATIONS_MAX = 3
"""Of the cards' keys."""
STATION = -1
SERVER = -2
_EVENT_GAP_SECONDS = 120
FRAMES_OF_SALE = 9
FRAMES_OF_CREDIT = 12
FRAMES_OF_ISSUE = 31
FRAMES_OF_REKEY = 18
_AMOUNTS = (1_000, 1_000, 2_500, 2_500, 7_500, 60_000)
"""Few, so that a member often buys for the same amount again."""
_DAYS = 24 * 3600
_CLOCK_OFFSETS_SECONDS = (0, 0, 0, -40 * _DAYS, -7200, -90, 90, 7200, 200_000, 40 * _DAYS)


@dataclass(frozen=True, slots=True)
class Tear:
    """The card is pulled away at this frame of a tap, before or after it acted on it."""

    frame: int
    moment: Moment


class Which(StrEnum):
    """Which card of a member is tapped."""

    OWN = "own"
    """The one that the member has now."""
    LOST = "lost"
    """The one that was lost last, by whoever found it; none: nothing happens."""
    COPY = "copy"
    """The copy that somebody has made of one of the member's; none: nothing happens."""


class Chore(StrEnum):
    """What the office's server does now and then."""

    FINISH_BATCHES = "finish what a crash left of batches"
    RECONCILE = "reconcile"
    SETTLE_OVERDUE = "settle what is overdue"
    RESTORE_DUE = "restore what is safe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    at_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase(Event):
    """A member buys. `tears`: of the first, second… tap; the member taps at most `taps` times,
    then the cashier gives up, or (if not `is_given_up`) simply goes on with the next customer.
    """

    till: int
    card: int
    amount: int
    which: Which = Which.OWN
    tears: tuple[Tear | None, ...] = ()
    taps: int = 3
    is_given_up: bool = True
    strike: Strike | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Look(Event):
    """A member asks for the balance."""

    till: int
    card: int
    which: Which = Which.OWN
    tear: Tear | None = None
    strike: Strike | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund(Event):
    """The cashier gives back a sale, `sales_ago` of them ago, or half of it: whatever became of it."""

    till: int
    sales_ago: int
    is_half: bool = False
    strike: Strike | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sync(Event):
    till: int
    faults: tuple[NetFault, ...] = ()
    strike: Strike | None = None
    server_strike: Strike | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TopUp(Event):
    """The clerk takes money and orders a credit, `tries` times at most with one reference."""

    card: int
    amount: int
    faults: tuple[NetFault, ...] = ()
    tries: int = 3
    server_strike: Strike | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliver(Event):
    """A card is laid on the station (or a till) for its credits.

    `is_garbled`: a till, which knows the debit key, changes what passes (nobody knows why).
    """

    at: int
    card: int
    which: Which = Which.OWN
    is_garbled: bool = False
    tear: Tear | None = None
    relay_fault: tuple[RelayFault, int] | None = None
    server_strike: Strike | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue(Event):
    card: int
    tear: Tear | None = None
    relay_fault: tuple[RelayFault, int] | None = None
    server_strike: Strike | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lose(Event):
    """A member has lost the card and reports it, `tries` times at most, or reports again what the
    station has not heard; the next `Issue` of the member is of a card from the drawer.
    """

    card: int
    faults: tuple[NetFault, ...] = ()
    tries: int = 3
    server_strike: Strike | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewKeys(Event):
    """Another generation of the cards' keys, for the tills first; `left_out` gets them later."""

    left_out: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rekey(Event):
    """A card is brought to the newest generation of keys."""

    card: int
    tear: Tear | None = None
    relay_fault: tuple[RelayFault, int] | None = None
    server_strike: Strike | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decide(Event):
    """A supervisor closes one of the till's sales in doubt, as the paper in the drawer has it."""

    till: int
    doubts_ago: int
    is_paid: bool
    strike: Strike | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OfficeWork(Event):
    chore: Chore
    server_strike: Strike | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SettleCredit(Event):
    """The office says delivered of the card's credit in doubt that nothing proves."""

    card: int
    server_strike: Strike | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DaysPass(Event):
    """Nothing happens for so many days."""

    days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyCard(Event):
    """Somebody breaks the member's chip and makes a copy of it, as it is now."""

    card: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PutBack(Event):
    """The copy's state is put into the member's card: all it has paid since is undone."""

    card: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockTill(Event):
    """The office lets a till in no more, or again."""

    till: int
    is_blocked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Block(Event):
    card: int
    is_blocked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart(Event):
    """`effect` None: stopped in order. `has_no_clock`: it starts in the past."""

    till: int
    effect: Effect | None = None
    has_no_clock: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KillServer(Event):
    effect: Effect


@dataclass(frozen=True, slots=True, kw_only=True)
class SetClock(Event):
    """The clock of a till's machine, or the server's, is off by so much from now on."""

    who: int
    offset_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetClock(Event):
    """A supervisor has the till's machine set right, and the till go on from the server's time."""

    till: int
    faults: tuple[NetFault, ...] = ()
    strike: Strike | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage(Event):
    """No network at the till (or the station) for so long."""

    who: int
    seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup(Event):
    who: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore(Event):
    """The newest backup takes the place of the database."""

    who: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseShift(Event):
    till: int


def plan(seed: int, hours: float) -> list[Event]:
    """The events of `hours` virtual hours."""
    chance = random.Random(seed)  # noqa: S311 - a simulation must be repeatable
    at, events = 0, list[Event]()
    while True:
        at += 1 + int(chance.expovariate(1 / _EVENT_GAP_SECONDS))
        if at > hours * 3600:
            return events
        events.append(_event(chance, at))


def _event(chance: random.Random, at: int) -> Event:
    makers = list(_WEIGHTS)
    (make,) = chance.choices(makers, [_WEIGHTS[maker] for maker in makers])
    return make(chance, at)


def _card(chance: random.Random) -> int:
    """Mostly one that has a purse from the start."""
    return chance.randrange(CARDS if chance.random() < 0.9 else CARDS + BLANK_CARDS)


def _which(chance: random.Random) -> Which:
    return chance.choices(list(Which), (85, 7, 8))[0]


def _purchase(chance: random.Random, at: int) -> Event:
    tears = list[Tear | None]()
    while chance.random() < 0.35:
        # Most tears that matter are at the commit.
        frame = chance.choice((chance.randrange(FRAMES_OF_SALE), FRAMES_OF_SALE - 1))
        tears.append(Tear(frame, chance.choice(list(Moment))))
    return Purchase(
        at_seconds=at,
        till=chance.randrange(TILLS),
        card=_card(chance),
        amount=chance.choice(_AMOUNTS),
        which=_which(chance),
        tears=tuple(tears),
        taps=chance.choice((1, 1, 2, 3)),
        is_given_up=chance.random() < 0.7,
        strike=_strike(chance, 0.2, statements=45, commits=16),
    )


def _look(chance: random.Random, at: int) -> Event:
    return Look(
        at_seconds=at,
        till=chance.randrange(TILLS),
        card=_card(chance),
        which=_which(chance),
        tear=_tear(chance, 0.15, FRAMES_OF_SALE),
        strike=_strike(chance, 0.15, statements=25, commits=8),
    )


def _refund(chance: random.Random, at: int) -> Event:
    return Refund(
        at_seconds=at,
        till=chance.randrange(TILLS),
        sales_ago=chance.randrange(6),
        is_half=chance.random() < 0.5,
        strike=_strike(chance, 0.2, statements=20, commits=6),
    )


def _sync(chance: random.Random, at: int) -> Event:
    return Sync(
        at_seconds=at,
        till=chance.randrange(TILLS),
        faults=_net_faults(chance),
        strike=_strike(chance, 0.1, statements=30, commits=10),
        server_strike=_strike(chance, 0.15, statements=50, commits=6),
    )


def _top_up(chance: random.Random, at: int) -> Event:
    return TopUp(
        at_seconds=at,
        card=_card(chance),
        amount=chance.choice((10_000, 50_000, 200_000)),
        faults=_net_faults(chance),
        tries=chance.choice((1, 3)),
        server_strike=_strike(chance, 0.12, statements=20, commits=4),
    )


def _deliver(chance: random.Random, at: int) -> Event:
    return Deliver(
        at_seconds=at,
        at=chance.choice((STATION, STATION, *range(TILLS))),
        card=_card(chance),
        which=_which(chance),
        is_garbled=chance.random() < 0.12,
        tear=_tear(chance, 0.2, FRAMES_OF_CREDIT),
        relay_fault=_relay_fault(chance, 0.15, FRAMES_OF_CREDIT),
        server_strike=_strike(chance, 0.2, statements=40, commits=8),
    )


def _issue(chance: random.Random, at: int) -> Event:
    return Issue(
        at_seconds=at,
        card=chance.randrange(CARDS + BLANK_CARDS),
        tear=_tear(chance, 0.3, FRAMES_OF_ISSUE),
        relay_fault=_relay_fault(chance, 0.15, FRAMES_OF_ISSUE),
        server_strike=_strike(chance, 0.15, statements=20, commits=5),
    )


def _block(chance: random.Random, at: int) -> Event:
    return Block(at_seconds=at, card=chance.randrange(CARDS), is_blocked=chance.random() < 0.5)


def _restart(chance: random.Random, at: int) -> Event:
    effect = chance.choice((None, Effect.KILL, Effect.POWER_CUT))
    return Restart(
        at_seconds=at,
        till=chance.randrange(TILLS),
        effect=effect,
        has_no_clock=effect is not None and chance.random() < 0.3,
    )


def _kill_server(chance: random.Random, at: int) -> Event:
    return KillServer(at_seconds=at, effect=chance.choice((Effect.KILL, Effect.POWER_CUT)))


def _set_clock(chance: random.Random, at: int) -> Event:
    who = chance.choice((SERVER, *range(TILLS)))
    return SetClock(at_seconds=at, who=who, offset_seconds=chance.choice(_CLOCK_OFFSETS_SECONDS))


def _reset_clock(chance: random.Random, at: int) -> Event:
    return ResetClock(
        at_seconds=at,
        till=chance.randrange(TILLS),
        faults=_net_faults(chance),
        strike=_strike(chance, 0.15, statements=30, commits=10),
    )


def _lose(chance: random.Random, at: int) -> Event:
    return Lose(
        at_seconds=at,
        card=_card(chance),
        faults=_net_faults(chance),
        tries=chance.choice((1, 3)),
        server_strike=_strike(chance, 0.15, statements=30, commits=4),
    )


def _renew_keys(chance: random.Random, at: int) -> Event:
    return RenewKeys(at_seconds=at, left_out=chance.choice((None, None, *range(TILLS))))


def _rekey(chance: random.Random, at: int) -> Event:
    return Rekey(
        at_seconds=at,
        card=_card(chance),
        tear=_tear(chance, 0.4, FRAMES_OF_REKEY),
        relay_fault=_relay_fault(chance, 0.15, FRAMES_OF_REKEY),
        server_strike=_strike(chance, 0.1, statements=8, commits=2),
    )


def _decide(chance: random.Random, at: int) -> Event:
    return Decide(
        at_seconds=at,
        till=chance.randrange(TILLS),
        doubts_ago=chance.randrange(3),
        is_paid=chance.random() < 0.5,
        strike=_strike(chance, 0.15, statements=20, commits=5),
    )


def _office_work(chance: random.Random, at: int) -> Event:
    return OfficeWork(
        at_seconds=at,
        chore=chance.choice(list(Chore)),
        server_strike=_strike(chance, 0.2, statements=60, commits=6),
    )


def _settle_credit(chance: random.Random, at: int) -> Event:
    return SettleCredit(
        at_seconds=at,
        card=_card(chance),
        server_strike=_strike(chance, 0.15, statements=30, commits=2),
    )


def _days_pass(chance: random.Random, at: int) -> Event:
    return DaysPass(at_seconds=at, days=chance.choice((1, 16, 31)))


def _copy_card(chance: random.Random, at: int) -> Event:
    return CopyCard(at_seconds=at, card=chance.randrange(CARDS))


def _put_back(chance: random.Random, at: int) -> Event:
    return PutBack(at_seconds=at, card=chance.randrange(CARDS))


def _block_till(chance: random.Random, at: int) -> Event:
    till, is_blocked = chance.randrange(TILLS), chance.random() < 0.5
    return BlockTill(at_seconds=at, till=till, is_blocked=is_blocked)


def _outage(chance: random.Random, at: int) -> Event:
    who = chance.choice((STATION, *range(TILLS)))
    return Outage(at_seconds=at, who=who, seconds=chance.choice((300, 1800, 7200)))


def _backup(chance: random.Random, at: int) -> Event:
    return Backup(at_seconds=at, who=chance.choice((SERVER, *range(TILLS))))


def _restore(chance: random.Random, at: int) -> Event:
    return Restore(at_seconds=at, who=chance.choice((SERVER, *range(TILLS))))


def _close_shift(chance: random.Random, at: int) -> Event:
    return CloseShift(at_seconds=at, till=chance.randrange(TILLS))


_WEIGHTS: dict[Callable[[random.Random, int], Event], float] = {
    _purchase: 50,
    _look: 10,
    _refund: 4,
    _sync: 14,
    _top_up: 6,
    _deliver: 8,
    _issue: 3,
    _block: 1.5,
    _restart: 6,
    _kill_server: 1,
    _set_clock: 2.5,
    _reset_clock: 1,
    _lose: 1.2,
    _renew_keys: 0.4,
    _rekey: 2,
    _decide: 3,
    _office_work: 3,
    _settle_credit: 1.5,
    _days_pass: 0.7,
    _copy_card: 0.25,
    _put_back: 0.4,
    _block_till: 1.2,
    _outage: 2,
    _backup: 4,
    _restore: 3,
    _close_shift: 1,
}


def _tear(chance: random.Random, likely: float, frames: int) -> Tear | None:
    if chance.random() >= likely:
        return None
    frame = chance.choice((chance.randrange(frames), frames - 1))
    return Tear(frame, chance.choice(list(Moment)))


def _relay_fault(
    chance: random.Random, likely: float, frames: int
) -> tuple[RelayFault, int] | None:
    if chance.random() >= likely:
        return None
    return chance.choice(list(RelayFault)), chance.randrange(frames + 1)


def _net_faults(chance: random.Random) -> tuple[NetFault, ...]:
    faults = list[NetFault]()
    while chance.random() < 0.3:
        faults.append(chance.choice(list(NetFault)))
    return tuple(faults)


def _strike(
    chance: random.Random, likely: float, *, statements: int, commits: int
) -> Strike | None:
    if chance.random() >= likely:
        return None
    place = chance.choice(list(Place))
    effects = list(Effect) if place is not Place.AFTER_COMMIT else [Effect.KILL, Effect.POWER_CUT]
    count = statements if place is Place.BEFORE_STATEMENT else commits
    return Strike(chance.choice(effects), place, chance.randrange(count))


def simpler(event: Event) -> list[Event]:
    """The event with less going wrong in it, the simplest first."""
    found = list[Event]()
    for name, nothing in _NOTHING.items():
        if getattr(event, name, nothing) != nothing:
            changes: dict[str, object] = {name: nothing}
            found.append(replace(event, **changes))  # type: ignore[arg-type] # a field of this event
    if isinstance(event, Purchase) and len(event.tears) > 1:
        found.append(replace(event, tears=event.tears[:-1]))
    if isinstance(event, Sync | TopUp | Lose | ResetClock) and len(event.faults) > 1:
        found.append(replace(event, faults=event.faults[:-1]))
    return found


_NOTHING: dict[str, object] = {
    "tears": (),
    "tear": None,
    "strike": None,
    "server_strike": None,
    "faults": (),
    "relay_fault": None,
    "has_no_clock": False,
    "is_garbled": False,
    "left_out": None,
}
