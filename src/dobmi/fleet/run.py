"""A seed's run, and the shortest list of events that still fails."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from dobmi.fleet.acts import play
from dobmi.fleet.events import Event, plan, simpler
from dobmi.fleet.oracles import Finding
from dobmi.fleet.world import Line, OracleFailed, World, new_world

HOURS = 4.0
SHRINK_RUNS_MAX = 400

Tamper = Callable[[World], None]


def _leave_alone(_: World) -> None:
    """No sabotage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one list of events. `findings` are empty if all oracles held."""

    story: tuple[Line, ...]
    steps: int
    sales: int
    faults: Counter[str]
    findings: tuple[Finding, ...] = ()
    failed_at: int | None = None

    @property
    def oracles(self) -> frozenset[str]:
        return frozenset(finding.oracle for finding in self.findings)


@dataclass(slots=True)
class Figures:
    """What was run, and what it took."""

    seeds: int = 0
    steps: int = 0
    sales: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    started: float = field(default_factory=time.perf_counter)
    cpu_started: float = field(default_factory=time.process_time)
    failures: dict[int, Outcome] = field(default_factory=dict)

    def add(self, seed: int, outcome: Outcome) -> None:
        self.seeds += 1
        self.steps += outcome.steps
        self.sales += outcome.sales
        self.faults += outcome.faults
        if outcome.findings:
            self.failures[seed] = outcome

    def as_json(self) -> dict[str, Any]:
        seconds = time.perf_counter() - self.started
        cpu_seconds = time.process_time() - self.cpu_started
        return {
            "seeds": self.seeds,
            "steps": self.steps,
            "simulated_sales": self.sales,
            "faults_injected": sum(self.faults.values()),
            "faults_by_kind": dict(sorted(self.faults.items())),
            "seconds": round(seconds, 3),
            "cpu_seconds": round(cpu_seconds, 3),
            "seeds_per_minute": round(60 * self.seeds / seconds, 1),
            "seeds_per_cpu_minute": round(60 * self.seeds / cpu_seconds, 1),
            "simulated_sales_per_second": round(self.sales / seconds, 1),
            "failures": [
                {
                    "seed": seed,
                    "step": outcome.failed_at,
                    "findings": [
                        {"oracle": finding.oracle, "text": finding.text}
                        for finding in outcome.findings
                    ],
                }
                for seed, outcome in self.failures.items()
            ],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Shrunk:
    events: tuple[Event, ...]
    outcome: Outcome
    runs: int = field(compare=False)


def run_events(events: Sequence[Event], tamper: Tamper = _leave_alone) -> Outcome:
    with new_world(tamper) as world:
        findings: tuple[Finding, ...] = ()
        failed_at = None
        try:
            play(world, events)
        except OracleFailed as failure:
            findings, failed_at = failure.findings, failure.step
        return Outcome(
            story=tuple(world.story),
            steps=len(events) if failed_at is None else min(failed_at + 1, len(events)),
            sales=world.sales,
            faults=world.faults,
            findings=findings,
            failed_at=failed_at,
        )


def run_seed(seed: int, hours: float = HOURS, tamper: Tamper = _leave_alone) -> Outcome:
    return run_events(plan(seed, hours), tamper)


def shrink(
    events: Sequence[Event],
    failed: Outcome,
    tamper: Tamper = _leave_alone,
    *,
    runs_max: int = SHRINK_RUNS_MAX,
) -> Shrunk:
    """Take events out, and faults out of events, for as long as one of the same oracles fails."""
    *_, shortest = shrinking(events, failed, tamper, runs_max=runs_max)
    return shortest


def shrinking(
    events: Sequence[Event],
    failed: Outcome,
    tamper: Tamper = _leave_alone,
    *,
    runs_max: int = SHRINK_RUNS_MAX,
) -> Iterator[Shrunk]:
    """`shrink`, with the shortest so far at the beginning and after each run."""
    end = None if failed.failed_at is None else failed.failed_at + 1
    shortest = _Shortest(list(events)[:end], failed, failed.oracles, tamper, runs_max)
    yield shortest.shrunk()
    for step in (shortest.without_events, shortest.with_less_in_them):
        for _ in step():
            yield shortest.shrunk()


@dataclass(slots=True)
class _Shortest:
    """The shortest that fails so far; `oracles`: one of those must."""

    events: list[Event]
    outcome: Outcome
    oracles: frozenset[str]
    tamper: Tamper
    runs_max: int
    runs: int = 0

    def shrunk(self) -> Shrunk:
        return Shrunk(events=tuple(self.events), outcome=self.outcome, runs=self.runs)

    def without_events(self) -> Iterator[None]:
        """Halves, quarters, … single ones are left out."""
        size = max(1, len(self.events) // 2)
        while size:
            start = 0
            while start < len(self.events):
                if not self._still_fails(self.events[:start] + self.events[start + size :]):
                    start += size
                yield
            size //= 2

    def with_less_in_them(self) -> Iterator[None]:
        index = 0
        while index < len(self.events):
            for easier in simpler(self.events[index]):
                is_enough = self._still_fails(
                    [*self.events[:index], easier, *self.events[index + 1 :]]
                )
                yield
                if is_enough:
                    break
            else:
                index += 1

    def _still_fails(self, candidate: list[Event]) -> bool:
        if self.runs >= self.runs_max:
            return False
        self.runs += 1
        tried = run_events(candidate, self.tamper)
        if not tried.oracles & self.oracles:
            return False
        assert tried.failed_at is not None
        self.events, self.outcome = candidate[: tried.failed_at + 1], tried
        return True
