"""A simulated reader that another program lays cards on and takes them from: `sim:FOLDER/`.

Whoever opens the reader listens on a socket in FOLDER; `TrayHands` is the hand that moves the cards,
and `dobmi sim tap`, `lift`, `unplug` and `plug` are its commands. One JSON object a line each way:

    {"do": "tap", "card": "/…/card.json", "pull_at": 8, "moment": "after", "hold_seconds": 2}
    {"do": "lift"}        {"do": "look"}
    {"ok": true, "card": "/…/card.json", "signals": ["ready", "success"]}   {"ok": false, "why": …}

While FOLDER has a file `unplugged`, the reader is not there.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread, Timer
from typing import Any

from dobmi.cardlib.errors import ReaderUnavailable
from dobmi.cardlib.readers.base import Signal
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.card_file import CardFileError
from dobmi.firmware_sim.contactless import ContactlessCard
from dobmi.firmware_sim.faults import Moment, at_frame
from dobmi.firmware_sim.reader import SimulatedConnection, SimulatedReader
from dobmi.firmware_sim.timing import RadioTiming, TimedCard

_SOCKET = "reader.socket"
_LOCK = "reader.lock"
_UNPLUGGED = "unplugged"
_LINE_BYTES_MAX = 64 * 1024
_ANSWER_SECONDS = 10.0
_LOOK_SECONDS = 0.05
_SIGNALS_KEPT = 100


class TrayError(Exception):
    """What was asked of the tray cannot be done; the text says why."""


@contextlib.contextmanager
def _address(folder: Path) -> Iterator[str]:
    """The socket's path in a form short enough for any folder (Linux: 107 bytes)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{_SOCKET}"
    finally:
        os.close(descriptor)


class TrayReader(SimulatedReader):
    """The reader of one folder. Raises ReaderUnavailable while it is unplugged or in use."""

    def __init__(self, folder: Path) -> None:
        super().__init__(name=f"simulated tray {folder}")
        self._folder = folder
        self._card_path: Path | None = None
        self._closed = False
        self._check_plugged()
        self._lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            (folder / _SOCKET).unlink(missing_ok=True)
            self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            with _address(folder) as address:
                self._listener.bind(address)
            self._listener.listen()
        except OSError as error:
            os.close(self._lock)
            raise ReaderUnavailable(detail=f"{folder}: {error.strerror}") from error
        Thread(target=self._serve, name="tray", daemon=True).start()

    def wait_for_card(self, timeout_seconds: float | None = None) -> bool:
        self._check_plugged()
        return super().wait_for_card(timeout_seconds)

    def wait_for_removal(self, timeout_seconds: float | None = None) -> bool:
        self._check_plugged()
        return super().wait_for_removal(timeout_seconds)

    def connect(self) -> SimulatedConnection:
        self._check_plugged()
        connection = super().connect()
        connection.check_reader = self._check_plugged
        return connection

    def signal(self, signal: Signal) -> None:
        self._check_plugged()
        super().signal(signal)
        del self.signals[:-_SIGNALS_KEPT]

    def close(self) -> None:
        """Take the card away and end listening."""
        if self._closed:
            return
        self._closed = True
        self.remove()
        with contextlib.suppress(OSError):  # it wakes the thread in accept; whoever is gone is gone
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        (self._folder / _SOCKET).unlink(missing_ok=True)
        os.close(self._lock)

    def _check_plugged(self) -> None:
        if (self._folder / _UNPLUGGED).exists():
            self.remove()
            raise ReaderUnavailable(detail="it was unplugged")

    def _serve(self) -> None:
        while True:
            try:
                talk, _ = self._listener.accept()
            except OSError:  # closed
                return
            with talk, contextlib.suppress(OSError):  # a hand that went away hears nothing more
                talk.settimeout(_ANSWER_SECONDS)
                with talk.makefile("rw", encoding="utf-8") as stream:
                    line = stream.readline(_LINE_BYTES_MAX)
                    stream.write(json.dumps(self._answer(line)) + "\n")
                    stream.flush()

    def _answer(self, line: str) -> dict[str, object]:
        try:
            asked = json.loads(line)
            match asked["do"]:
                case "tap":
                    self._tap(asked)
                case "lift":
                    self.remove()
                case "look":
                    self._check_plugged()
                case other:
                    return {"ok": False, "why": f"what is {other!r}?"}
        except (
            ValueError,
            KeyError,
            TypeError,
            OSError,
            CardFileError,
            ReaderUnavailable,
        ) as error:
            return {"ok": False, "why": str(error)}
        path = self._card_path if self.field.card is not None else None
        return {
            "ok": True,
            "card": None if path is None else str(path),
            "signals": [signal.value for signal in self.signals],
        }

    def _tap(self, asked: dict[str, Any]) -> None:
        self._check_plugged()
        path = Path(asked["card"])
        simulated = SimulatedCard.load(path)
        simulated.keep_in(path)
        card: ContactlessCard = simulated
        if asked.get("radio") is not None:
            card = TimedCard(simulated, RadioTiming(int(asked["radio"])), sleep=time.sleep)
        faults = []
        if asked.get("pull_at") is not None:
            faults.append(at_frame(int(asked["pull_at"]), Moment(asked.get("moment", "after"))))
        self.insert(card, faults)
        self._card_path = path
        if asked.get("hold_seconds") is not None:
            generation = self.field.generation
            timer = Timer(float(asked["hold_seconds"]), self._lift_if, (generation,))
            timer.daemon = True
            timer.start()

    def _lift_if(self, generation: int) -> None:
        if self.field.generation == generation:
            self.remove()


@dataclass(frozen=True, slots=True)
class TrayView:
    """What lies there (its file), and the last signals of LED and buzzer, oldest first."""

    card: Path | None
    signals: tuple[Signal, ...]


class TrayHands:
    """Moves the cards of the tray in `folder`. Every method raises TrayError."""

    def __init__(self, folder: Path, *, wait_seconds: float = 0) -> None:
        """`wait_seconds`: how long to wait for a program that opens the reader."""
        self._folder = folder
        self._wait_seconds = wait_seconds

    def tap(
        self,
        card: Path,
        *,
        pull_at: int | None = None,
        moment: Moment = Moment.AFTER,
        hold_seconds: float | None = None,
        radio: int | None = None,
    ) -> TrayView:
        """Lay the card file `card` down, as it is after a power-up.

        `pull_at`: it is pulled away at the exchange of that index (from 0), before the card has the
        command or before its answer is back; `hold_seconds`: lifted after so long.
        """
        return self._ask(
            do="tap",
            card=str(card.absolute()),
            pull_at=pull_at,
            moment=moment.value,
            hold_seconds=hold_seconds,
            radio=radio,
        )

    def lift(self) -> TrayView:
        """Take away what lies there, if anything does, also in the middle of an exchange."""
        return self._ask(do="lift")

    def look(self) -> TrayView:
        return self._ask(do="look")

    def unplug(self) -> None:
        """Pull the reader's cable, until `plug`; also before any program opens it."""
        try:
            (self._folder / _UNPLUGGED).touch()
        except OSError as error:
            raise TrayError(f"{self._folder}: {error.strerror}") from error

    def plug(self) -> None:
        (self._folder / _UNPLUGGED).unlink(missing_ok=True)

    def _ask(self, **request: object) -> TrayView:
        answer = self._exchange((json.dumps(request) + "\n").encode())
        if not answer["ok"]:
            raise TrayError(str(answer["why"]))
        card = answer["card"]
        return TrayView(
            None if card is None else Path(card),
            tuple(Signal(signal) for signal in answer["signals"]),
        )

    def _exchange(self, line: bytes) -> dict[str, Any]:
        give_up = time.monotonic() + self._wait_seconds
        while True:
            try:
                with _address(self._folder) as address, socket.socket(socket.AF_UNIX) as talk:
                    talk.settimeout(_ANSWER_SECONDS)
                    talk.connect(address)
                    talk.sendall(line)
                    with talk.makefile("r", encoding="utf-8") as stream:
                        answer: dict[str, Any] = json.loads(stream.readline())
                    return answer
            except (ConnectionRefusedError, FileNotFoundError) as error:
                if time.monotonic() >= give_up:
                    msg = f"no program has the reader sim:{self._folder} open"
                    raise TrayError(msg) from error
                time.sleep(_LOOK_SECONDS)
            except (OSError, ValueError) as error:
                msg = f"the tray {self._folder} does not answer: {error}"
                raise TrayError(msg) from error
