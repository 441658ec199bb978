"""Whether a server should be given work: `GET /readyz`, for load balancers and people."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dobmi.cardlib.errors import CustodyUnavailable
from dobmi.central.errors import CentralError
from dobmi.central.periodic import JobStatus, periodic_status
from dobmi.central.server import Central
from dobmi.central.serving import ServerState

OK = "ok"


@dataclass(frozen=True, slots=True)
class Readiness:
    """Each check with OK or what is wrong; the periodic work is told and makes nobody unready."""

    checks: dict[str, str]
    periodic: tuple[JobStatus, ...]

    @property
    def is_ready(self) -> bool:
        return all(found == OK for found in self.checks.values())


def readiness(central: Central, state: ServerState) -> Readiness:
    checks = {"shutdown": "the server is stopping" if state.stopping else OK}
    periodic: list[JobStatus] = []

    def look_at_database() -> None:
        periodic.extend(periodic_status(central))

    checks["schema"] = _try(central.database.require_tables)
    checks["database"] = _try(look_at_database)
    checks["keys"] = _try(central.keys.check)
    checks["disk"] = _disk(central)
    return Readiness(checks, tuple(periodic))


def _try(look: Callable[[], None]) -> str:
    try:
        look()
    except (CentralError, CustodyUnavailable) as error:
        return error.code
    return OK


def _disk(central: Central) -> str:
    """Of SQLite's file; a database server's disk is looked after where that runs."""
    url = central.database.engine.url
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        return OK
    free = shutil.disk_usage(Path(url.database).parent).free
    wanted = central.settings.disk_free_megabytes_min * 1_000_000
    return OK if free >= wanted else f"{free // 1_000_000} MB free"
