"""A failing run shrinks to the events that matter, and its story can be read."""

from __future__ import annotations

from dobmi.fleet.events import Purchase, plan
from dobmi.fleet.run import run_events, run_seed, shrink
from dobmi.fleet.story import tell, tell_events
from dobmi.fleet.world import World
from dobmi.money import Rupiah

LAST_PRICE = Rupiah(1)
"""Of what everybody buys when the faults have ended."""


def lose_ujangs_sale(world: World) -> None:
    """The planted bug: what Ujang pays at till 3 is forgotten by the cashier's own list."""
    ujang = world.cards[2].uid
    for shown in world.witness.shown:
        if (
            shown.amount > LAST_PRICE
            and shown.uid == ujang
            and shown.terminal_id == world.tills[2].terminal_id
        ):
            world.witness.charges.append(f"planted: sale {shown.sequence} of Ujang")


def test_a_planted_bug_shrinks_to_the_one_event_that_shows_it() -> None:
    seed = next(
        seed
        for seed in range(20)
        if any(
            isinstance(event, Purchase) and (event.till, event.card) == (2, 2)
            for event in plan(seed, 0.4)[3:]
        )
    )
    failed = run_seed(seed, 0.4, lose_ujangs_sale)
    assert failed.oracles == {"charged-once"}
    shrunk = shrink(plan(seed, 0.4), failed, lose_ujangs_sale)
    (event,) = shrunk.events
    assert isinstance(event, Purchase)
    assert (event.till, event.card, event.tears, event.strike) == (2, 2, (), None)
    assert shrunk.outcome.oracles == {"charged-once"}
    # What is told is what happens: run again, the story is the same.
    assert run_events(shrunk.events, lose_ujangs_sale).story == shrunk.outcome.story
    story = list(tell(shrunk.outcome.story))
    assert "Till 3: Ujang buys for" in story[0]
    assert "ORACLE charged-once: planted" in story[-1]
    assert "Purchase(till=2, card=2" in next(tell_events(shrunk.events))
