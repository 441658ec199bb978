"""Every tear there is: each flow with each of its frames lost, and each way people go on from there.

The cases are not listed anywhere: a flow is run whole once and its frames are counted. What is
expected of a case follows from the card's own memory, not from where the tear was.
"""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import Any

from dobmi.errors import DoBMIError, MoneyMoved
from dobmi.firmware_sim.faults import Moment
from dobmi.fleet.oracles import Finding
from dobmi.fleet.tear_flows import FLOWS, Flow, Next, Then
from dobmi.fleet.tear_scene import Prepared, Scene, begun, prepare
from dobmi.fleet.world import Line, OracleFailed
from dobmi.i18n import N_, translation

_CASES_AT_ONCE = 8
_LOST = {Moment.BEFORE: "command-lost", Moment.AFTER: "answer-lost"}


class Ending(StrEnum):
    """How a case came to its end."""

    DONE_NEXT = N_("nothing had happened; done at the next tap")
    FOUND_DONE = N_("had happened; found so at the next tap")
    NOTHING = N_("nothing had happened, and nobody came again")
    ANOTHER_CARD = N_("another card took the torn one's place")
    WORKED_ON = N_("the card worked on as it was; done later")
    LISTED = N_("open and listed for people until the card came")


_ENDING_WITHOUT_IT = {
    "issue": Ending.ANOTHER_CARD,
    "replacement": Ending.ANOTHER_CARD,
    "rekey": Ending.WORKED_ON,
}
"""Where nobody comes again and nothing is left open."""


@dataclass(frozen=True, slots=True)
class Case:
    flow: str
    frame: int
    moment: Moment
    where: Next
    restarts: bool
    then: Then

    @property
    def name(self) -> str:
        machines = "restarts" if self.restarts else "survives"
        parts = [self.flow, f"frame-{self.frame}", _LOST[self.moment], self.where.value, machines]
        if self.flow == "sale" and self.where is not Next.NEVER:
            parts.append(self.then.value)
        return "/".join(parts)


@dataclass(frozen=True, slots=True)
class Length:
    """A flow's frames, and at which of them the card moves money."""

    frames: int
    commits: frozenset[int]


@dataclass(frozen=True, slots=True)
class Message:
    """What the tear's screen said, in Indonesian."""

    code: str
    text: str
    next_step: str
    money_moved: MoneyMoved


@dataclass(frozen=True, slots=True)
class Outcome:
    """`findings` are empty if all went as it must."""

    case: Case
    story: tuple[Line, ...]
    message: Message | None
    ending: Ending | None
    findings: tuple[Finding, ...]


@cache
def prepared(flow: str) -> Prepared:
    return prepare(FLOWS[flow].lead_up)


@cache
def length(flow: str) -> Length:
    """Run the flow once, whole. Raises OracleFailed."""
    with begun(prepared(flow)) as scene:
        error = FLOWS[flow].go(scene)
        scene.must(error is None, f"the whole flow failed: {error}")
        return Length(scene.frames, frozenset(scene.commits))


def cases(only: str = "") -> list[Case]:
    """All there are, or those with `only` in their names."""
    found = (case for flow in FLOWS for case in _cases_of(flow))
    return [case for case in found if only in case.name]


def _cases_of(flow: str) -> Iterator[Case]:
    for frame in range(length(flow).frames):
        for moment in Moment:
            for where in Next:
                for restarts in (False, True):
                    for then in FLOWS[flow].thens[where]:
                        yield Case(flow, frame, moment, where, restarts, then)


def _leave_alone(_: Scene) -> None:
    """No sabotage."""


def run_case(case: Case, tamper: Callable[[Scene], None] = _leave_alone) -> Outcome:
    """`tamper` is called with the scene before its first frame: for sabotage by tests."""
    message: Message | None = None
    ending: Ending | None = None
    findings: tuple[Finding, ...] = ()
    flow = FLOWS[case.flow]
    with begun(prepared(case.flow)) as scene:
        world = scene.world
        scene.frame, scene.moment = case.frame, case.moment
        try:
            tamper(scene)
            world.note(f"the card will be pulled away: {case.name}")
            error = flow.go(scene)
            scene.must(scene.is_torn and error is not None, "nobody noticed the tear")
            assert error is not None
            message = _message(error)
            _judge_message(scene, case, error, message)
            ending = _go_on(scene, case, flow, error)
        except OracleFailed as failure:
            findings = failure.findings
        except Exception as surprise:  # noqa: BLE001 - whatever it is, it is this case's
            text = f"{type(surprise).__name__}: {surprise}".splitlines()[0]
            world.note(f"SURPRISE {text}")
            findings = (Finding("no-surprise", text),)
        return Outcome(case, tuple(world.story), message, ending, findings)


def _go_on(scene: Scene, case: Case, flow: Flow, error: DoBMIError) -> Ending:
    had_moved = scene.has_moved
    if case.restarts:
        flow.restart(scene)
    flow.after(scene, case.where, case.then, error, restarted=case.restarts)
    scene.reconcile()
    if scene.explained(by_rule=False):
        scene.days_pass()
        scene.explained(by_rule=True)
        scene.world.note("the card comes after all")
        flow.finally_used(scene)
        scene.books_agree()
        return Ending.LISTED
    scene.books_agree()
    if case.where is not Next.NEVER:
        return Ending.FOUND_DONE if had_moved else Ending.DONE_NEXT
    return _ENDING_WITHOUT_IT.get(case.flow, Ending.NOTHING)


def _message(error: DoBMIError) -> Message:
    translate = translation("id").gettext
    return Message(error.code, error.explain(translate), error.advise(translate), error.money_moved)


def _judge_message(scene: Scene, case: Case, error: DoBMIError, message: Message) -> None:
    """People can act on it: it says what to do, in their language, and is true of the money."""
    translate = translation("id").gettext
    scene.must(bool(message.next_step.strip()), f"{error.code} says nothing to do")
    for text in (error.message, error.next_step):
        scene.must(translate(text) != text, f"{error.code} is not said in Indonesian: {text}")
    may_have_moved = case.frame in length(case.flow).commits
    wanted = MoneyMoved.UNKNOWN if may_have_moved else MoneyMoved.NO
    scene.must(
        error.money_moved is wanted, f"it says money moved: {error.money_moved}, not {wanted}"
    )
    scene.must(
        may_have_moved or not scene.has_moved, "money moved at another frame than when whole"
    )


@dataclass(slots=True)
class Figures:
    """What was run, and how it ended."""

    cases: Counter[str] = field(default_factory=Counter)
    endings: Counter[tuple[str, Ending]] = field(default_factory=Counter)
    messages: Counter[tuple[str, str, MoneyMoved]] = field(default_factory=Counter)
    failures: list[Outcome] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)

    def add(self, outcome: Outcome) -> None:
        flow = outcome.case.flow
        self.cases[flow] += 1
        if outcome.findings:
            self.failures.append(outcome)
        if outcome.ending is not None:
            self.endings[flow, outcome.ending] += 1
        if outcome.message is not None:
            message = outcome.message
            self.messages[message.code, message.next_step, message.money_moved] += 1

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.started

    def as_json(self) -> dict[str, Any]:
        return {
            "cases": sum(self.cases.values()),
            "seconds": round(self.seconds, 3),
            "flows": {
                flow: {
                    "frames": length(flow).frames,
                    "cases": count,
                    "endings": {
                        ending.name.lower(): self.endings[flow, ending]
                        for ending in Ending
                        if self.endings[flow, ending]
                    },
                }
                for flow, count in self.cases.items()
            },
            "messages": [
                {"code": code, "next_step": step, "money_moved": moved.value, "cases": count}
                for (code, step, moved), count in sorted(self.messages.items())
            ],
            "failures": [
                {
                    "case": outcome.case.name,
                    "findings": [
                        {"oracle": finding.oracle, "text": finding.text}
                        for finding in outcome.findings
                    ],
                }
                for outcome in self.failures
            ],
        }


def run(chosen: Sequence[Case], figures: Figures, *, jobs: int = 1) -> Iterator[Outcome]:
    """Each case, in order, `jobs` at a time, in processes of their own; `figures` are kept up."""
    if jobs == 1:
        for case in chosen:
            outcome = run_case(case)
            figures.add(outcome)
            yield outcome
        return
    # Not forked: the relay's threads and open databases would come along.
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as workers:
        try:
            for outcome in workers.map(run_case, chosen, chunksize=_CASES_AT_ONCE):
                figures.add(outcome)
                yield outcome
        finally:
            workers.shutdown(cancel_futures=True)
