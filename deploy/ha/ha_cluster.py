"""Three nodes of PostgreSQL with Patroni, etcd and PgBouncer: on loopback, or files for machines.

    scripts/ha-cluster up --folder DIR [--asynchronous]    make or start it, print the database URL
    scripts/ha-cluster status --folder DIR                 who is what, how far behind
    scripts/ha-cluster kill NODE|primary --folder DIR      kill -9 of a node's Patroni and PostgreSQL
    scripts/ha-cluster start NODE --folder DIR             bring a killed node back
    scripts/ha-cluster freeze|thaw --folder DIR            stop the primary's replication, go on
    scripts/ha-cluster down --folder DIR [--delete]
    scripts/ha-cluster files HOST HOST HOST --folder DIR   the files for three machines

What it starts is Debian's packages with the templates beside this file; as root it runs them as
`postgres`. docs/high-availability.md says what to change for real machines.
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from string import Template
from typing import Any, Final
from urllib.parse import urlencode

TEMPLATES: Final = Path(__file__).resolve().parent
PROGRAMS: Final = ("patroni", "etcd", "pgbouncer")
PACKAGES: Final = "patroni etcd-server pgbouncer postgresql"
NODES: Final = 3
START_SECONDS_MAX: Final = 120
STOP_SECONDS_MAX: Final = 20
_POSTGRES: Final = Path("/usr/lib/postgresql")


_started: Final[dict[int, subprocess.Popen[bytes]]] = {}
"""Our own children by process id; a later call of this program finds others in files."""


class ClusterError(Exception):
    """Something a person can put right; says what."""


@dataclass(frozen=True, slots=True)
class Node:
    """Where one node's programs listen, and its folder."""

    name: str
    host: str
    folder: Path
    postgres_port: int
    patroni_port: int
    pgbouncer_port: int
    etcd_port: int
    etcd_peer_port: int


@dataclass(frozen=True, slots=True)
class Secrets:
    superuser_password: str = field(repr=False)
    replication_password: str = field(repr=False)
    rewind_password: str = field(repr=False)
    rest_password: str = field(repr=False)
    application_password: str = field(repr=False)
    router_password: str = field(repr=False)

    @classmethod
    def make(cls) -> Secrets:
        return cls(**{one.name: secrets.token_urlsafe(18) for one in fields(cls)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What is different on a site's machines and on one machine's loopback."""

    network: str
    ttl_seconds: int
    loop_seconds: int
    retry_seconds: int
    lag_bytes_max: int
    wal_keep: str
    slot_wal_keep: str
    wal_max: str
    connections_max: int
    pool_size: int
    shared_buffers: str
    watchdog: str
    data_folder: str = ""
    etcd_folder: str = ""
    """Both in the node's own when empty."""


LOOPBACK: Final = Sizes(
    network="127.0.0.1/32",
    ttl_seconds=10,
    loop_seconds=2,
    retry_seconds=3,
    lag_bytes_max=1 << 30,
    wal_keep="128MB",
    slot_wal_keep="1GB",
    wal_max="1GB",
    connections_max=60,
    pool_size=15,
    shared_buffers="64MB",
    watchdog="off",
)
SITE: Final = Sizes(
    network="samenet",
    ttl_seconds=30,
    loop_seconds=10,
    retry_seconds=10,
    lag_bytes_max=1 << 30,
    wal_keep="2GB",
    slot_wal_keep="50GB",
    wal_max="8GB",
    connections_max=200,
    pool_size=40,
    shared_buffers="8GB",
    watchdog="required",
    data_folder="/var/lib/postgresql/15/dobmi",
    etcd_folder="/var/lib/etcd/dobmi",
)


@dataclass(frozen=True, slots=True)
class Member:
    """What Patroni says of a node."""

    name: str
    role: str
    state: str
    timeline: int | None
    lag_bytes: int | None

    @property
    def is_primary(self) -> bool:
        return self.role in {"leader", "master", "primary"} and self.state == "running"


@dataclass(frozen=True, slots=True)
class Cluster:
    """Three nodes whose files are in `folder`."""

    folder: Path
    nodes: tuple[Node, ...]
    keys: Secrets = field(repr=False)
    strict: bool

    # -- made and kept ---------------------------------------------------------------------------

    @classmethod
    def make(cls, folder: Path, *, strict: bool) -> Cluster:
        """A new cluster on loopback, on ports nobody listens on now."""
        ports = iter(_free_ports(5 * NODES))
        nodes = tuple(
            Node(
                name=f"node{number}",
                host="127.0.0.1",
                folder=folder / f"node{number}",
                postgres_port=next(ports),
                patroni_port=next(ports),
                pgbouncer_port=next(ports),
                etcd_port=next(ports),
                etcd_peer_port=next(ports),
            )
            for number in range(1, NODES + 1)
        )
        return cls(folder, nodes, Secrets.make(), strict)

    @classmethod
    def load(cls, folder: Path) -> Cluster:
        file = folder / "cluster.json"
        if not file.is_file():
            raise ClusterError(f"there is no cluster in {folder}: scripts/ha-cluster up first")
        kept = json.loads(file.read_text("utf-8"))
        return cls(
            folder,
            tuple(Node(**{**node, "folder": Path(node["folder"])}) for node in kept["nodes"]),
            Secrets(**kept["keys"]),
            kept["strict"],
        )

    def save(self) -> None:
        kept = {
            "nodes": [{**asdict(node), "folder": str(node.folder)} for node in self.nodes],
            "keys": asdict(self.keys),
            "strict": self.strict,
        }
        _write(self.folder / "cluster.json", json.dumps(kept, indent=1), mode=0o600)

    def write_files(self, sizes: Sizes, programs: Path) -> None:
        """Each node's configuration, from the templates, in a folder of its name."""
        token = secrets.token_hex(4)
        for node in self.nodes:
            into = self.folder / node.name
            into.mkdir(exist_ok=True)
            values = {
                **{key: str(value) for key, value in asdict(node).items()},
                **{key: str(value) for key, value in asdict(sizes).items()},
                **asdict(self.keys),
                "strict": str(self.strict).lower(),
                "token": token,
                "node_folder": str(node.folder),
                "data_folder": sizes.data_folder or str(node.folder / "data"),
                "etcd_folder": sizes.etcd_folder or str(node.folder / "etcd"),
                "postgres_programs": str(programs),
                "etcd_hosts": ", ".join(f"{one.host}:{one.etcd_port}" for one in self.nodes),
                "etcd_cluster": ",".join(
                    f"{one.name}=http://{one.host}:{one.etcd_peer_port}" for one in self.nodes
                ),
            }
            for name in ("etcd.env", "patroni.yml", "pgbouncer.ini", "route"):
                text = Template((TEMPLATES / name).read_text("utf-8")).substitute(values)
                _write(into / name, text, mode=0o700 if name == "route" else 0o600)
            _write(
                into / "pgbouncer-users",
                f'"dobmi" "{self.keys.application_password}"\n'
                f'"router" "{self.keys.router_password}"\n',
                mode=0o600,
            )
            _write(into / "databases.ini", "[databases]\n", mode=0o600)
            router = f"*:{node.pgbouncer_port}:pgbouncer:router:{self.keys.router_password}\n"
            _write(into / "route-pass", router, mode=0o600)

    def url(self, *, pooled: bool = True) -> str:
        """SQLAlchemy's URL of the database, whichever node is the primary.

        `pooled`: through the PgBouncers, which share out connections by transaction; so nothing
        is prepared.
        """
        options = [
            ("host", f"{node.host}:{node.pgbouncer_port if pooled else node.postgres_port}")
            for node in self.nodes
        ]
        options += [("target_session_attrs", "read-write"), ("connect_timeout", "3")]
        if pooled:
            options.append(("prepare_threshold", "none"))
        password = self.keys.application_password
        return f"postgresql+psycopg://dobmi:{password}@/dobmi?{urlencode(options, safe=':')}"

    def replica_url(self) -> str:
        """Of any node that is not the primary, for reports."""
        hosts = [("host", f"{node.host}:{node.postgres_port}") for node in self.nodes]
        options = [*hosts, ("target_session_attrs", "prefer-standby"), ("connect_timeout", "3")]
        password = self.keys.application_password
        return f"postgresql+psycopg://dobmi:{password}@/dobmi?{urlencode(options, safe=':')}"

    # -- run -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start what does not run, wait for a primary and its standbys, make role and database."""
        _require_programs()
        account = _account()
        if account is not None:
            _give_to(self.folder, account)
        for node in self.nodes:
            environment = dict(_variables(node.folder / "etcd.env"))
            self._run(node, "etcd", ["etcd"], environment)
        for node in self.nodes:
            self.start_node(node)
        self.wait_until_ready()
        self._make_database()
        self.wait_until_ready()

    def start_node(self, node: Node) -> None:
        """Patroni and PgBouncer of one node."""
        self._run(node, "pgbouncer", ["pgbouncer", "-q", str(node.folder / "pgbouncer.ini")])
        self._run(node, "patroni", ["patroni", str(node.folder / "patroni.yml")])

    def wait_until_ready(
        self, timeout_seconds: float = START_SECONDS_MAX, *, nodes: int = NODES
    ) -> None:
        """Until there is a primary with a synchronous standby (if strict) and `nodes` stream."""

        def ready() -> bool:
            members = [one for one in self.members() if one.state in {"running", "streaming"}]
            synchronous = [one for one in members if one.role == "sync_standby"]
            return (
                any(one.is_primary for one in members)
                and len(members) >= nodes
                and (bool(synchronous) or not self.strict)
                and self._takes_clients()
            )

        _wait(ready, timeout_seconds, f"the cluster does not come up; see {self.folder}/*/*.out")

    def members(self) -> list[Member]:
        """What the nodes' Patronis say, or nothing while none answers."""
        for node in self.nodes:
            url = f"http://{node.host}:{node.patroni_port}/cluster"
            try:
                with urllib.request.urlopen(url, timeout=2) as answer:
                    told = json.load(answer)
            except (OSError, urllib.error.URLError, ValueError):
                continue
            return [_member(one) for one in told.get("members", [])]
        return []

    def primary(self) -> Node:
        """The node that is the primary by its own word: it runs and is not in recovery."""
        for node in self.nodes:
            with suppress(ClusterError):
                if self.ask(node, "SELECT pg_is_in_recovery()") == "f":
                    return node
        raise ClusterError("no node is the primary")

    def ask(self, node: Node, statement: str, *, database: str = "postgres") -> str:
        """A statement's answer from one node, as the superuser."""
        done = subprocess.run(
            [
                str(_postgres_programs() / "psql"),
                *("-qXAt", "-v", "ON_ERROR_STOP=1", "-h", node.host, "-p", str(node.postgres_port)),
                *("-U", "postgres", "-d", database, "-c", statement),
            ],
            env={
                **os.environ,
                "PGPASSWORD": self.keys.superuser_password,
                "PGCONNECT_TIMEOUT": "3",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ClusterError(done.stderr.strip() or f"{node.name} does not answer")
        return done.stdout.strip()

    def freeze(self, node: Node) -> list[int]:
        """Stop (SIGSTOP) the processes that send `node`'s log to its standbys; their ids."""
        walsenders = self.ask(node, "SELECT pid FROM pg_stat_replication").split()
        if not walsenders:
            raise ClusterError(f"nobody streams from {node.name}")
        for pid in map(int, walsenders):
            os.kill(pid, signal.SIGSTOP)
        return [int(pid) for pid in walsenders]

    def kill(self, node: Node) -> None:
        """As when its power goes: Patroni, PgBouncer and every process of PostgreSQL, at once."""
        patroni = self._pid(node, "patroni")
        pgbouncer = self._pid(node, "pgbouncer")
        postmaster = _postmaster(node)
        if patroni is None and postmaster is None:
            raise ClusterError(f"{node.name} does not run")
        # Patroni first: it would start PostgreSQL again. Children before they know of their parent.
        doomed = [patroni, postmaster, *_children(postmaster), pgbouncer]
        for pid in doomed:
            if pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        """Everything, in order: clients' way in, then PostgreSQL by Patroni, then etcd."""
        for program in ("pgbouncer", "patroni", "etcd"):
            pids = [pid for node in self.nodes if (pid := self._pid(node, program)) is not None]
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            with suppress(ClusterError):
                _wait(lambda pids=pids: not any(map(_runs, pids)), STOP_SECONDS_MAX, "")  # type: ignore[misc] # a default in a lambda has no type
            for pid in filter(_runs, pids):
                os.kill(pid, signal.SIGKILL)
            if program == "patroni":
                self._stop_what_patroni_left()

    def _stop_what_patroni_left(self) -> None:
        """PostgreSQL without its Patroni, and walsenders that `freeze` stopped."""
        for node in self.nodes:
            postmaster = _postmaster(node)
            for pid in (*_children(postmaster), postmaster):
                if pid is not None:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

    def _takes_clients(self) -> bool:
        """Whether the primary's PgBouncer lets the application in, or has nobody to let in yet."""
        try:
            primary = self.primary()
        except ClusterError:
            return False
        users = "SELECT count(*) FROM pg_roles WHERE rolname = 'dobmi'"
        try:
            if self.ask(primary, users) == "0":
                return True
        except ClusterError:
            return False
        done = subprocess.run(
            [
                str(_postgres_programs() / "psql"),
                *("-qXAt", "-h", primary.host, "-p", str(primary.pgbouncer_port)),
                *("-U", "dobmi", "-d", "dobmi", "-c", "SELECT pg_is_in_recovery()"),
            ],
            env={
                **os.environ,
                "PGPASSWORD": self.keys.application_password,
                "PGCONNECT_TIMEOUT": "3",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.strip() == "f"

    def _make_database(self) -> None:
        primary = self.primary()
        if self.ask(primary, "SELECT 1 FROM pg_roles WHERE rolname = 'dobmi'") != "1":
            password = self.keys.application_password  # of letters, digits, - and _
            self.ask(primary, f"CREATE ROLE dobmi LOGIN PASSWORD '{password}'")
        if self.ask(primary, "SELECT 1 FROM pg_database WHERE datname = 'dobmi'") != "1":
            self.ask(primary, "CREATE DATABASE dobmi OWNER dobmi")

    # -- processes -------------------------------------------------------------------------------

    def _run(
        self,
        node: Node,
        program: str,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start a program in the background unless it runs; its process id is kept in a file."""
        if self._pid(node, program) is not None:
            return
        found = shutil.which(command[0], path=_path())
        assert found is not None
        account = _account()
        identity: dict[str, Any] = {}
        if account is not None:
            identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        with (node.folder / f"{program}.out").open("ab") as log:
            process = subprocess.Popen(
                [found, *command[1:]],
                cwd=node.folder,
                env={"PATH": _path(), "HOME": str(node.folder), "LANG": "C.UTF-8"}
                | dict(environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **identity,
            )
        _started[process.pid] = process
        _write(node.folder / f"{program}.started", f"{process.pid}\n", mode=0o644)

    def _pid(self, node: Node, program: str) -> int | None:
        """Of a program that we started and that still runs."""
        try:
            pid = int((node.folder / f"{program}.started").read_text("ascii"))
        except (OSError, ValueError):
            return None
        return pid if _runs(pid) and program in _command_line(pid) else None


def _member(told: Mapping[str, Any]) -> Member:
    lag, timeline = told.get("lag"), told.get("timeline")
    return Member(
        name=str(told["name"]),
        role=str(told["role"]),
        state=str(told["state"]),
        timeline=timeline if isinstance(timeline, int) else None,
        lag_bytes=lag if isinstance(lag, int) else None,
    )


def _wait(until: Callable[[], bool], timeout_seconds: float, complaint: str) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not until():
        if time.monotonic() > deadline:
            raise ClusterError(complaint)
        time.sleep(0.2)


def _free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on, below those that outgoing connections get."""
    found: list[int] = []
    while len(found) < count:
        port = secrets.randbelow(12_000) + 20_000
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in found:
                found.append(port)
    return found


def missing_programs() -> list[str]:
    """Programs without which there is no cluster."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    return missing if any(_POSTGRES.glob("*/bin/postgres")) else [*missing, "postgres"]


def _require_programs() -> None:
    missing = missing_programs()
    if missing:
        raise ClusterError(f"{', '.join(missing)} missing: apt-get install {PACKAGES}")


def _postgres_programs() -> Path:
    """The newest PostgreSQL of Debian's."""
    found = sorted(_POSTGRES.glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if not found:
        raise ClusterError(f"PostgreSQL is missing: apt-get install {PACKAGES}")
    return found[-1].parent


def _path() -> str:
    return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def _account() -> pwd.struct_passwd | None:
    """Whom to run as: PostgreSQL refuses root."""
    if os.geteuid():
        return None
    return pwd.getpwnam("postgres")


def _give_to(folder: Path, account: pwd.struct_passwd) -> None:
    """The folder and all in it to the account that runs the programs, if it can get there."""
    for parent in folder.parents:
        if not parent.stat().st_mode & 0o001:
            raise ClusterError(
                f"{account.pw_name} cannot reach {folder}: {parent} is closed to others; "
                "choose another --folder"
            )
    for path in (folder, *folder.rglob("*")):
        os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)


def _write(path: Path, text: str, *, mode: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    path.chmod(mode)


def _variables(file: Path) -> list[tuple[str, str]]:
    lines = file.read_text("utf-8").splitlines()
    pairs = (line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return [(name, value.strip('"')) for name, value in pairs]


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def _runs(pid: int) -> bool:
    """Whether there is such a process that is not a zombie."""
    ours = _started.get(pid)
    if ours is not None and ours.poll() is not None:
        return False
    try:
        state = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state not in {"Z", "X"}


def _postmaster(node: Node) -> int | None:
    try:
        first, *_ = (node.folder / "data" / "postmaster.pid").read_text("utf-8").splitlines()
        pid = int(first)
    except (OSError, ValueError):
        return None
    return pid if _runs(pid) and str(node.folder / "data") in _command_line(pid) else None


def _children(parent: int | None) -> list[int]:
    if parent is None:
        return []
    try:
        threads = list(Path(f"/proc/{parent}/task").iterdir())
        return [int(pid) for one in threads for pid in (one / "children").read_text().split()]
    except OSError:
        return []


def site(folder: Path, hosts: Sequence[str], *, strict: bool) -> Cluster:
    """Files for machines of these addresses, with the ports and folders of Debian's packages."""
    here = Path("/var/lib/postgresql/dobmi-ha")
    nodes = tuple(
        Node(f"db{number}", host, here, 5432, 8008, 6432, 2379, 2380)
        for number, host in enumerate(hosts, 1)
    )
    cluster = Cluster(folder, nodes, Secrets.make(), strict)
    cluster.write_files(SITE, Path("/usr/lib/postgresql/15/bin"))
    return cluster


def _show(cluster: Cluster) -> None:
    members = {one.name: one for one in cluster.members()}
    for node in cluster.nodes:
        one = members.get(node.name)
        told = "gone" if one is None else f"{one.role:13} {one.state:10} timeline {one.timeline}"
        lag = "" if one is None or one.lag_bytes is None else f"  {one.lag_bytes} bytes behind"
        print(f"{node.name}  PostgreSQL {node.postgres_port}  {told}{lag}")


def _node(cluster: Cluster, name: str) -> Node:
    if name == "primary":
        return cluster.primary()
    for node in cluster.nodes:
        if node.name == name:
            return node
    names = ", ".join(node.name for node in cluster.nodes)
    raise ClusterError(f"no node {name}: there are {names}, and `primary`")


def _up(arguments: argparse.Namespace) -> None:
    folder: Path = arguments.folder
    if not (folder / "cluster.json").is_file():
        _require_programs()
        folder.mkdir(parents=True, exist_ok=True)
        cluster = Cluster.make(folder, strict=not arguments.asynchronous)
        cluster.write_files(LOOPBACK, _postgres_programs())
        cluster.save()
    cluster = Cluster.load(folder)
    cluster.start()
    _show(cluster)
    print(f"database = {cluster.url()!r}")
    print(f"reports_database = {cluster.replica_url()!r}")


def bring_up(folder: Path, *, strict: bool) -> Cluster:
    """A new cluster in `folder`, ready."""
    _up(argparse.Namespace(folder=folder, asynchronous=not strict))
    return Cluster.load(folder)


def _files(arguments: argparse.Namespace) -> None:
    if len(arguments.hosts) != NODES:
        raise ClusterError("three addresses are needed")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    made = site(arguments.folder, arguments.hosts, strict=not arguments.asynchronous)
    print(f"database = {made.url()!r}")


def _freeze(cluster: Cluster, _: argparse.Namespace) -> None:
    primary = cluster.primary()
    pids = cluster.freeze(primary)
    _write(cluster.folder / "frozen", " ".join(map(str, pids)), mode=0o600)
    print(f"{primary.name} sends nothing more to its standbys")


def _thaw(cluster: Cluster, _: argparse.Namespace) -> None:
    for pid in map(int, (cluster.folder / "frozen").read_text("ascii").split()):
        os.kill(pid, signal.SIGCONT)


def _down(cluster: Cluster, arguments: argparse.Namespace) -> None:
    cluster.stop()
    if arguments.delete:
        shutil.rmtree(cluster.folder)


_ON_A_CLUSTER: Final[Mapping[str, Callable[[Cluster, argparse.Namespace], None]]] = {
    "status": lambda cluster, _: _show(cluster),
    "kill": lambda cluster, arguments: cluster.kill(_node(cluster, arguments.node)),
    "start": lambda cluster, arguments: cluster.start_node(_node(cluster, arguments.node)),
    "freeze": _freeze,
    "thaw": _thaw,
    "down": _down,
}


def _command(arguments: argparse.Namespace) -> None:
    if arguments.command == "up":
        _up(arguments)
    elif arguments.command == "files":
        _files(arguments)
    else:
        _ON_A_CLUSTER[arguments.command](Cluster.load(arguments.folder), arguments)


def main() -> None:
    about, _, usage = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="scripts/ha-cluster",
        description=about,
        epilog=usage,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("up", "status", "kill", "start", "freeze", "thaw", "down", "files"):
        command = commands.add_parser(name)
        command.add_argument("--folder", type=Path, required=True)
        if name in {"up", "files"}:
            command.add_argument("--asynchronous", action="store_true")
        if name in {"kill", "start"}:
            command.add_argument("node")
        if name == "down":
            command.add_argument("--delete", action="store_true")
        if name == "files":
            command.add_argument("hosts", nargs="+")
    arguments = parser.parse_args()
    arguments.folder = arguments.folder.absolute()
    try:
        _command(arguments)
    except (ClusterError, OSError) as error:
        sys.exit(f"ha-cluster: {error}")


if __name__ == "__main__":
    main()
