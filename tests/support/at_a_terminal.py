"""A program run at a terminal of its own, as a person sees and works it."""

from __future__ import annotations

import os
import pty
import select
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True)
class Terminal:
    """What came on the screen so far is `seen`; `expect` goes on where the last one stopped."""

    process: int
    master: int
    seen: str = ""
    _at: int = 0
    exit_code: int | None = field(default=None)

    def expect(self, text: str, timeout_seconds: float = 30) -> str:
        """What came up to `text` and with it. Fails, with the screen, if it does not come."""
        until = time.monotonic() + timeout_seconds
        while text not in self.seen[self._at :]:
            if not self._read(until):
                msg = f"{text!r} did not come; since the last: {self.seen[self._at :]!r}"
                raise AssertionError(msg)
        start = self._at
        self._at = self.seen.index(text, start) + len(text)
        return self.seen[start : self._at]

    def send(self, line: str) -> None:
        os.write(self.master, line.encode() + b"\n")

    def end(self, timeout_seconds: float = 30) -> str:
        """The rest that comes until the program ends; its exit code is kept."""
        until = time.monotonic() + timeout_seconds
        while self._read(until):
            pass
        assert time.monotonic() < until, self.seen[self._at :]
        start, self._at = self._at, len(self.seen)
        _, status = os.waitpid(self.process, 0)
        self.exit_code = os.waitstatus_to_exitcode(status)
        return self.seen[start:]

    def _read(self, until: float) -> bool:
        """False when the program has ended or the time is up."""
        ready, _, _ = select.select([self.master], [], [], max(0, until - time.monotonic()))
        if not ready:
            return False
        try:
            data = os.read(self.master, 65536)
        except OSError:  # Linux's way to say that the other side is closed
            return False
        self.seen += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)


@contextmanager
def at_a_terminal(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> Iterator[Terminal]:
    """`arguments` run in `folder`; killed at the end if it has not ended."""
    process, master = pty.fork()
    if process == 0:
        os.chdir(folder)
        os.execvpe(arguments[0], [*arguments], {**os.environ, **environment})  # noqa: S606 - a test's own program
    terminal = Terminal(process, master)
    try:
        yield terminal
    finally:
        if terminal.exit_code is None:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
        os.close(master)
