"""The day that is played and crashed: its steps, in their order, each with the name of its cases."""

from __future__ import annotations

from collections.abc import Callable

from dobmi.firmware_sim.faults import Moment
from dobmi.fleet.crash_actors import COMMIT
from dobmi.fleet.crash_world import World

CARDS = ("siti", "budi", "siti-baru")
_DEBIT, _CHANGE_KEY = 0xDC, 0xC4

BEFORE, AFTER = Moment.BEFORE.value, Moment.AFTER.value

Step = Callable[[World], None]
Steps = tuple[tuple[str, Step], ...]


def _block_and_feed(world: World) -> None:
    world.sync()
    world.block("budi", blocked=True)
    world.sync()
    world.refuse_blocked("budi")


def _unblock(world: World) -> None:
    world.block("budi", blocked=False)
    world.sync()
    world.sell("budi", 4_000)


def _second_card(world: World) -> None:
    world.issue("budi", 1002)
    world.top_up("budi", 60_000)


def _sell_twice(world: World) -> None:
    world.sell("budi", 3_000)
    world.sell("siti", 3_000)


FIRST_PART: Steps = (
    ("enrol-till", lambda world: world.enrol("till", "till")),
    ("enrol-station", lambda world: world.enrol("station", "station")),
    ("issue", lambda world: world.issue("siti", 1001)),
    ("top-up", lambda world: world.top_up("siti", 100_000)),
    ("second-card", _second_card),
    ("first-sync", lambda world: world.sync()),
    ("sell", lambda world: world.sell("siti", 12_500)),
    ("sell-torn-paid", lambda world: world.sell("siti", 5_000, (COMMIT, AFTER))),
    ("sell-torn-unpaid", lambda world: world.sell("siti", 6_000, (COMMIT, BEFORE))),
    ("sell-torn-early", lambda world: world.sell("siti", 7_000, (_DEBIT, AFTER))),
    ("walk-away-paid", lambda w: w.sell_and_walk_away("siti", 2_500, (COMMIT, AFTER))),
    ("walk-away-unpaid", lambda w: w.sell_and_walk_away("budi", 2_500, (COMMIT, BEFORE))),
    ("sync", lambda world: world.sync()),
    ("sell-after-doubts", _sell_twice),
    ("top-up-torn-paid", lambda world: world.top_up("siti", 20_000, (COMMIT, AFTER))),
    ("top-up-torn-unpaid", lambda world: world.top_up("siti", 30_000, (COMMIT, BEFORE))),
    ("block-and-feed", _block_and_feed),
    ("unblock", _unblock),
    ("close-shift", lambda world: world.close_shift()),
    ("last-sync", lambda world: world.sync()),
)
"""What power cuts are searched in, too (`power_cut`)."""


def _refund(world: World) -> None:
    """All of a sale of this shift."""
    world.sell("siti", 9_000)
    world.refund(9_000)
    world.sync()


def _refund_torn(world: World, amount: int, moment: str) -> None:
    """A part of a sale of the shift before; the credit that comes of it is torn."""
    world.copy_card("siti")
    world.refund(amount, of=0)
    world.sync()
    world.deliver("siti", (COMMIT, moment))


def _decide(world: World, amount: int, moment: str) -> None:
    world.walk_away_and_decide("budi", amount, (COMMIT, moment))
    world.sync()
    world.insist("office", "reconcile")


def _shut_out(world: World) -> None:
    world.sell("budi", 1_100)
    world.shut_out_and_let_in()


def _wrong_clock(world: World) -> None:
    world.sell_by_wrong_clock("siti", 2_200)
    world.sell("siti", 2_300)


def _lose(world: World) -> None:
    """With a sale in doubt on it, that the card would say was paid."""
    world.sell_and_walk_away("siti", 3_500, (COMMIT, AFTER))
    world.lose("siti", "siti-baru")


def _another_month(world: World) -> None:
    """The server's own periodic work settles what the office settled by hand before."""
    world.sell_and_walk_away("budi", 1_300, (COMMIT, BEFORE))
    world.sync()
    world.month_passes(by="periodic")
    world.sell("budi", 1_400)
    world.sync()


def _after_a_month(world: World) -> None:
    """The card answers for the doubt that was settled by rule; the rest of the lost card's money."""
    world.sell("budi", 1_200)
    world.deliver("siti-baru")
    world.sell("siti-baru", 1_300)
    world.sync()


SECOND_PART: Steps = (
    ("refund", _refund),
    ("refund-torn-paid", lambda world: _refund_torn(world, 1_000, AFTER)),
    ("refund-torn-unpaid", lambda world: _refund_torn(world, 1_500, BEFORE)),
    ("decide-paid", lambda world: _decide(world, 1_500, AFTER)),
    ("sell-after-decision", lambda world: world.sell("budi", 1_600)),
    ("decide-unpaid", lambda world: _decide(world, 1_800, BEFORE)),
    ("sell-after-denial", lambda world: world.sell("budi", 1_900)),
    ("shut-out", _shut_out),
    ("wrong-clock", _wrong_clock),
    ("old-copy", lambda world: world.deliver_to_old_copy("siti", 7_500)),
    ("garbled-credit", lambda world: world.deliver_garbled("budi", 8_500)),
    ("renew-keys", lambda world: world.renew_keys()),
    ("rekey", lambda world: world.rekey("siti")),
    ("rekey-torn", lambda world: world.rekey("budi", (_CHANGE_KEY, AFTER))),
    ("sell-with-new-keys", _sell_twice),
    ("restore-backup", lambda world: world.restore_backup("siti", 2_400)),
    ("lose", _lose),
    ("replace", lambda world: world.replace("siti", (_CHANGE_KEY, BEFORE))),
    ("claim", lambda world: world.walk_away_and_decide("budi", 1_700, (COMMIT, AFTER))),
    ("month", lambda world: world.month_passes()),
    ("after-a-month", _after_a_month),
    ("another-month", _another_month),
    ("payday", lambda world: world.payday("budi", 5_000)),
    ("pair", lambda world: world.pair()),
    ("outlet", lambda world: world.outlet("budi")),
    ("shift", lambda world: world.work_a_shift("budi")),
    ("orders", lambda world: world.serve_orders("budi")),
)

DAY = FIRST_PART + SECOND_PART
NOT_SEARCHED = frozenset({"second-card"})
"""Played, not searched: it is as `issue` and `top-up`."""
