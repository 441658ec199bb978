"""A failing run shrinks to the events that matter, and its story can be read."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial

import pytest
from click.testing import CliRunner

from dobmi.central import replacement
from dobmi.central.orders import balance_on_card
from dobmi.cli.main import root
from dobmi.fleet import report
from dobmi.fleet.events import (
    Chore,
    DaysPass,
    Decide,
    Deliver,
    Event,
    Issue,
    Look,
    Lose,
    OfficeWork,
    Purchase,
    Rekey,
    RenewKeys,
    ResetClock,
    SetClock,
    Sync,
    plan,
)
from dobmi.fleet.network import NetFault
from dobmi.fleet.run import Outcome, Shrunk, run_events, run_seed, shrink, shrinking
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
    runs = ((seed, run_seed(seed, 0.4, lose_ujangs_sale)) for seed in range(20))
    seed, failed = next((seed, run) for seed, run in runs if run.findings and run.steps > 3)
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


def test_what_the_office_did_is_told_in_words() -> None:
    chores = [OfficeWork(at_seconds=at, chore=chore) for at, chore in enumerate(Chore, start=1)]
    told = "\n".join(tell(run_events(chores).story))
    assert "the office: settle what is overdue: 0 not paid, Rp 0; 0 held, Rp 0" in told
    assert "Till 1 is active: done" in told
    assert "(" not in told


def test_a_bug_around_a_lost_card_shrinks_to_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug: what was spent with a lost card after it was restored, nobody pays for."""
    monkeypatch.setattr(
        replacement, "_cover", lambda connection, uid, _: balance_on_card(connection, uid)
    )
    spends = Purchase(at_seconds=1_200, till=2, card=0, amount=60_000)
    loses = Lose(at_seconds=1_800, card=0, faults=(NetFault.SLOW, NetFault.LOST_ANSWER))
    restores = [
        DaysPass(at_seconds=4_200, days=31),
        OfficeWork(at_seconds=4_800, chore=Chore.RESTORE_DUE),
    ]
    day: list[Event] = [
        Look(at_seconds=60, till=0, card=1),
        RenewKeys(at_seconds=120),
        Rekey(at_seconds=240, card=1),
        SetClock(at_seconds=300, who=1, offset_seconds=-90),
        Purchase(at_seconds=600, till=0, card=1, amount=2_500),
        spends,
        loses,
        Issue(at_seconds=2_400, card=0),
        ResetClock(at_seconds=2_700, till=1),
        Decide(at_seconds=3_000, till=1, doubts_ago=0, is_paid=True),
        Sync(at_seconds=3_600, till=0),
        *restores,
        Sync(at_seconds=5_400, till=2),
        Deliver(at_seconds=6_000, at=0, card=0),
    ]
    failed = run_events(day)
    assert failed.oracles == {"ledger-true"}
    shrunk = shrink(day, failed)
    assert spends in shrunk.events
    assert {type(event) for event in shrunk.events} <= {
        Purchase,
        Lose,
        Issue,
        DaysPass,
        OfficeWork,
        Sync,
    }
    assert all(event.faults == () for event in shrunk.events if isinstance(event, Lose))
    story = [*tell_events(shrunk.events), *tell(shrunk.outcome.story)]
    assert any("Siti has lost the card" in line for line in story)
    assert "ORACLE ledger-true" in story[-1]
    assert run_events(shrunk.events).story == shrunk.outcome.story


def test_failing_seeds_are_named_before_the_first_is_shrunk_and_ctrl_c_keeps_the_shortest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(report, "run_seed", partial(run_seed, tamper=lose_ujangs_sale))
    told: list[int] = []

    def impatient(events: Sequence[Event], failed: Outcome) -> Iterator[Shrunk]:
        for shortest in shrinking(events, failed, lose_ujangs_sale):
            told.append(len(shortest.events))
            yield shortest
            if len(told) > 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(report, "shrinking", impatient)
    command = ["--lang", "en", "sim", "fleet", "--seeds", "20", "--hours", "0.4"]
    result = CliRunner().invoke(root, command)
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit)
    named = result.stdout.index("breaks charged-once: planted: sale")
    assert named < result.stdout.index("Stopped.") < result.stdout.index(f"to {told[-1]} events")
    assert told[-1] < told[0]


def test_a_seed_is_the_same_story_in_another_process() -> None:
    """Nothing hangs on the order of a set, which each process draws anew."""
    command = [sys.executable, "-m", "dobmi", "--lang", "en", "sim", "fleet"]
    command += ["--seed", "3", "--hours", "0.7"]
    stories = [
        subprocess.run(
            command,
            capture_output=True,
            check=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": number},
        ).stdout
        for number in ("1", "2")
    ]
    # The table of figures below it says how long it took.
    told = [[line for line in story.splitlines() if line[:1].isdigit()] for story in stories]
    assert told[0] == told[1]
    assert len(told[0]) > 50
