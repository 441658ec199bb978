"""The system's pcscd with vsmartcard's virtual reader: use the one that runs, or start one.

There is one pcscd a machine. On a desktop or a Raspberry Pi systemd starts it when somebody connects
to its socket; in a container nobody does, and root may start it here.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from dobmi.firmware_sim.vpcd import DEFAULT_PORT

SOCKET = Path("/run/pcscd/pcscd.comm")
PID_FILE = Path("/run/pcscd/pcscd.pid")
READER_CONFIG = Path("/etc/reader.conf.d")
_LISTENING = "0A"
"""TCP_LISTEN in /proc/net/tcp."""


class PcscdUnavailable(RuntimeError):
    """There is no pcscd with a virtual reader, and none can be started; the text says what to do."""


@dataclass
class Pcscd:
    """A pcscd that is ready for cards. `stop` ends it only when it was started here.

    `keep_alive` is an idle connection: a pcscd with --auto-exit, as systemd starts it, would otherwise
    end after a minute without clients and take the virtual reader with it.
    """

    port: int
    process: subprocess.Popen[bytes] | None = None
    keep_alive: socket.socket | None = field(default=None, repr=False)

    @property
    def was_started_here(self) -> bool:
        return self.process is not None

    def stop(self) -> None:
        if self.keep_alive is not None:
            self.keep_alive.close()
            self.keep_alive = None
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def virtual_port() -> int | None:
    """The TCP port of the first slot of vpcd's reader, from reader.conf.d; None if not installed."""
    if not READER_CONFIG.is_dir():
        return None
    for path in sorted(READER_CONFIG.iterdir()):
        text = path.read_text(errors="replace")
        if re.search(r"^\s*LIBPATH\s.*libifdvpcd", text, re.MULTILINE):
            channel = re.search(r"^\s*DEVICENAME\s+\S+:(0x[0-9A-Fa-f]+|\d+)", text, re.MULTILINE)
            return int(channel[1], 0) if channel else DEFAULT_PORT
    return None


def is_running() -> bool:
    """Whether a pcscd takes connections. Asking starts one where systemd holds the socket."""
    connection = _connect()
    if connection is None:
        return False
    connection.close()
    return True


def ensure_pcscd(*, timeout_seconds: float = 15) -> Pcscd:
    """The running pcscd, else a new one; ready for a card in the virtual reader.

    Raises PcscdUnavailable.
    """
    port = virtual_port()
    if port is None:
        raise PcscdUnavailable("the virtual reader is missing: apt install vsmartcard-vpcd")
    deadline = time.monotonic() + timeout_seconds
    connection, process = _connect(), None
    if connection is None:
        process = _start()
    ready = Pcscd(port, process, connection)
    while connection is None or not _listens(port):
        if process is not None and process.poll() is not None:
            raise PcscdUnavailable(f"pcscd ended at once with status {process.returncode}")
        if time.monotonic() > deadline:
            ready.stop()
            raise PcscdUnavailable(
                f"pcscd runs, but its virtual reader does not listen on port {port}: "
                "restart pcscd, or look at its log"
            )
        time.sleep(0.02)
        if connection is None and process is not None:
            connection = _connect()
    if process is not None and connection is not None:
        connection.close()
    return ready


def _start() -> subprocess.Popen[bytes]:
    program = shutil.which("pcscd") or shutil.which("pcscd", path="/usr/sbin:/sbin")
    if program is None:
        raise PcscdUnavailable("pcscd is missing: apt install pcscd vsmartcard-vpcd")
    if os.geteuid() != 0:
        raise PcscdUnavailable(
            "pcscd does not run: sudo systemctl start pcscd, or run this as root"
        )
    _remove_leftovers()
    command = [program, "--foreground"]
    # Newer ones ask polkit for every connection; where no polkit runs, that refuses everybody.
    options = subprocess.run([program, "--help"], capture_output=True, check=False)  # noqa: S603 - found on PATH, no input from outside
    if b"--disable-polkit" in options.stdout + options.stderr:
        command.append("--disable-polkit")
    return subprocess.Popen(  # noqa: S603 - likewise
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _remove_leftovers() -> None:
    """A killed pcscd leaves its files, and the next refuses to start when their pid is in use."""
    try:
        pid = int(PID_FILE.read_text())
    except (OSError, ValueError):
        return
    try:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        name = ""
    if name != "pcscd":
        PID_FILE.unlink(missing_ok=True)
        SOCKET.unlink(missing_ok=True)


def _listens(port: int) -> bool:
    """Looks without connecting, which the driver would take for a card."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            _, local, _, state, *_ = line.split()
            if state == _LISTENING and int(local.rpartition(":")[2], 16) == port:
                return True
    return False


def _connect() -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(SOCKET))
    except OSError:
        connection.close()
        return None
    return connection
