"""A till's process on its machine: started, stopped, killed, its clock wrong, its disk restored."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from requests.adapters import BaseAdapter

from dobmi.cardlib.custody import KeyRing
from dobmi.firmware_sim.reader import SimulatedReader
from dobmi.fleet.disk import Disk, Effect, Image, Killed
from dobmi.sync.client import Patience
from dobmi.terminal.till import Till

_T = TypeVar("_T")


class Inline(Executor):
    """Does the work at once, where it is given: a till's writer without a second thread."""

    def submit(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        future: Future[_T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - as an executor does; a kill goes through
            future.set_exception(error)
        return future


def ready(till: Till) -> Till:
    """The till with an open shift, as its cashier keeps it."""
    shift = till.ledger.last_shift()
    if shift is None or not shift.is_open:
        till.open_shift()
    return till


@dataclass(slots=True)
class TillProcess:
    """`now` is the true time; the machine's own clock is `clock_offset_seconds` away from it."""

    name: str
    folder: Path
    terminal_id: int
    signing: KeyRing = field(repr=False)
    card_keys: KeyRing = field(repr=False)
    now: Callable[[], float]
    transport: BaseAdapter
    server: str
    patience: Patience
    clock_offset_seconds: float = 0
    reader: SimulatedReader = field(default_factory=SimulatedReader)
    disk: Disk = field(init=False)
    till: Till | None = None

    def __post_init__(self) -> None:
        self.disk = Disk(self.folder / f"till-{self.terminal_id}.db")

    def start(self) -> Till:
        """The running till. Raises Killed if it dies while it recovers."""
        if self.till is None:
            till = Till(
                database=self.disk.path,
                signing=self.signing,
                custody=self.card_keys,
                reader=self.reader,
                cashier="Siti",
                server=self.server,
                card_wait_seconds=0.0,
                patience=self.patience,
                system_time=self.system_time,
                monotonic=self.now,
                make_writer=Inline,
                transport=self.transport,
            )
            self.till = till.__enter__()
        return self.till

    def system_time(self) -> float:
        return self.now() + self.clock_offset_seconds

    def stop(self) -> None:
        """As at the end of the day."""
        till, self.till = self.till, None
        if till is not None:
            till.__exit__(None, None, None)

    def died(self) -> None:
        """After Killed: the operating system takes back what the process held."""
        self._drop()
        self.disk.put_back(self.disk.left_behind)

    def kill(self, effect: Effect) -> None:
        """Between two things that it did."""
        power = effect is Effect.POWER_CUT
        image = self.disk.cut_power() if power else self.disk.image()
        self._drop()
        self.disk.put_back(image)

    def restore(self, image: Image) -> None:
        """Somebody puts an older copy of the database in place."""
        self.stop()
        self.disk.put_back(image)

    def _drop(self) -> None:
        till, self.till = self.till, None
        if till is not None:
            death = Killed()
            till.__exit__(Killed, death, None)
