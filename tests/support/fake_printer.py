"""An ESC/POS printer with a roll of paper and moods, behind a TCP port or a serial line."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager

from support.escpos_picture import Interpreter, Printout, next_command

_REAL_TIME = re.compile(rb"\x10\x04([\x01-\x04])")


class FakePrinter:
    """What it was fed comes out as `papers`, one for each cut.

    Status is answered at once, whatever waits in its buffer (DLE EOT), as printers do. `lines_left`
    is the paper; None for a roll without end.
    """

    def __init__(self, columns: int = 32) -> None:
        self.columns = columns
        self.answers = True
        self.answers_in_turn = True
        self.cover_open = False
        self.cutter_jammed = False
        self.paper_low = False
        self.says_unasked = False
        """Another program has switched on automatic status (GS a), and left it so."""
        self.lines_left: int | None = None
        self.dies_after: int | None = None
        """So many bytes more, and it is switched off."""
        self.papers: list[Printout] = []
        self.drawer_kicks = 0
        self.bytes_taken = 0
        self._lock = threading.Lock()
        self._buffer = b""
        self._head = Interpreter(columns)

    @property
    def is_stopped(self) -> bool:
        return self.cover_open or self.cutter_jammed or self.lines_left == 0

    def new_roll(self) -> bytes:
        """Paper is put in: it goes on with what is in its buffer. What it then answers."""
        with self._lock:
            self.lines_left = None
            return self._work()

    def switch_off(self) -> None:
        """What was in its buffer is gone; a paper half printed stays out."""
        with self._lock:
            self._buffer = b""
            if self._head.printout.parts:
                self.papers.append(self._head.printout)
            self._head = Interpreter(self.columns)

    def feed(self, data: bytes) -> bytes:
        """What it answers to the bytes."""
        with self._lock:
            self.bytes_taken += len(data)
            answers = b"".join(
                self._status(found[1][0]) for found in _REAL_TIME.finditer(data) if self.answers
            )
            self._buffer += _REAL_TIME.sub(b"", data)
            if self.says_unasked:
                answers = b"\x14\x00\x00\x0f" + answers
            return answers + self._work()

    def _work(self) -> bytes:
        answers = b""
        while self._buffer and not self.is_stopped:
            command = next_command(self._buffer)
            if command is None:
                break
            self._buffer = self._buffer[command.size :]
            if command.name == "status in turn" and self.answers and self.answers_in_turn:
                answers += b"\x00"
            self._head.take(command)
            if command.name == "line feed" and self.lines_left is not None:
                self.lines_left -= 1
            if command.name == "drawer":
                self.drawer_kicks += 1
            if command.name == "cut":
                self.papers.append(self._head.printout)
                self._head = Interpreter(self.columns)
        return answers

    def _status(self, number: int) -> bytes:
        bits = {
            1: 0x08 * self.is_stopped,
            2: 0x04 * self.cover_open | 0x20 * (self.lines_left == 0) | 0x40 * self.cutter_jammed,
            3: 0x08 * self.cutter_jammed,
            4: 0x0C * self.paper_low | 0x60 * (self.lines_left == 0),
        }
        return bytes((0x12 | bits[number],))


class NetworkPrinter(FakePrinter):
    """At a port of this machine. It serves one connection at a time, as most do."""

    def __init__(self, columns: int = 32) -> None:
        super().__init__(columns)
        self.port = 0
        self.is_deaf = False
        """It takes no data: its window fills up."""
        self.connections = 0
        self._listener: socket.socket | None = None
        self._served: socket.socket | None = None
        self._thread: threading.Thread | None = None

    @property
    def setting(self) -> str:
        return f"network:127.0.0.1:{self.port}"

    def plug_in(self) -> None:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(4)
        self.port = listener.getsockname()[1]
        self._listener = listener
        self._thread = threading.Thread(target=self._serve, args=(listener,), daemon=True)
        self._thread.start()

    def unplug(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        served = self._served
        if served is not None:
            with contextlib.suppress(OSError):
                served.shutdown(socket.SHUT_RDWR)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(5)
        self.switch_off()

    def put_in_paper(self) -> None:
        answers = self.new_roll()
        served = self._served
        if served is not None and answers:
            with contextlib.suppress(OSError):
                served.sendall(answers)

    def _serve(self, listener: socket.socket) -> None:
        while self._listener is listener:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            self._served = connection
            with connection, contextlib.suppress(OSError):
                self._talk(connection)
            self._served = None

    def _talk(self, connection: socket.socket) -> None:
        while self._listener is not None:
            if self.is_deaf:
                threading.Event().wait(0.02)
                continue
            data = connection.recv(1024)
            if not data:
                return
            if self.dies_after is not None:
                if len(data) >= self.dies_after:
                    self.feed(data[: self.dies_after])
                    self.dies_after = None
                    listener, self._listener = self._listener, None
                    listener.close()
                    return
                self.dies_after -= len(data)
            answers = self.feed(data)
            if answers:
                connection.sendall(answers)


@contextmanager
def network_printer(columns: int = 32) -> Iterator[NetworkPrinter]:
    printer = NetworkPrinter(columns)
    printer.plug_in()
    try:
        yield printer
    finally:
        printer.unplug()


@contextmanager
def serial_printer(printer: FakePrinter) -> Iterator[str]:
    """The device file of the line at whose other end `printer` is."""
    ours, theirs = os.openpty()
    tty.setraw(theirs)

    def serve() -> None:
        with contextlib.suppress(OSError):  # which ends it, when the line has no other end any more
            while data := os.read(ours, 1024):
                answers = printer.feed(data)
                if answers:
                    os.write(ours, answers)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield os.ttyname(theirs)
    finally:
        os.close(theirs)
        thread.join(5)
        os.close(ours)
