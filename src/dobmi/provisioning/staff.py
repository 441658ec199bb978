"""Staff at a station: logging in and out, and what they propose, decide and look up there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dobmi.provisioning.enrolment import Station
from dobmi.provisioning.staff_file import LoggedIn, forget, keep, logged_in
from dobmi.sync import http
from dobmi.sync.errors import ServerRefused


def log_in(station: Station, name: str, password: str) -> LoggedIn:
    """Whoever was logged in here no longer is.

    Raises ServerRefused (wrong name or password, or locked), ServerUnreachable, StationFileUnusable.
    """
    answer = station.client.post_json(
        http.STAFF_SESSIONS_PATH, {"name": name, "password": password}
    )
    session = LoggedIn(
        token=str(answer["token"]),
        name=str(answer["name"]),
        roles=tuple(map(str, answer["roles"])),
        expires_at=int(answer["expires_unix_seconds"]),
    )
    keep(station.staff_file, session)
    return session


def log_out(station: Station) -> None:
    """Here at once, also when the server cannot be told; there it then ends when it is left idle.

    Raises ServerUnreachable, StationFileUnusable.
    """
    if logged_in(station.staff_file) is None:
        forget(station.staff_file)
        return
    try:
        station.client.delete_json(http.STAFF_SESSIONS_PATH)
    except ServerRefused:
        pass  # the station itself is refused: no session of its own is good for anything
    finally:
        forget(station.staff_file)


def who(station: Station) -> LoggedIn | None:
    return logged_in(station.staff_file)


def propose(station: Station, kind: str, facts: Mapping[str, str | int | bool]) -> dict[str, Any]:
    """Raises ServerRefused, ServerUnreachable."""
    return station.client.post_json(http.APPROVALS_PATH, {"kind": kind, "facts": dict(facts)})


def proposals(station: Station, *, waiting: bool = True) -> list[dict[str, Any]]:
    """Newest first. Raises as `propose`."""
    query = "?waiting=true" if waiting else ""
    found = station.client.get_json(http.APPROVALS_PATH + query)["proposals"]
    return list(found)


def decide(station: Station, number: int, *, accept: bool) -> dict[str, Any]:
    """Raises as `propose`."""
    return station.client.post_json(f"{http.APPROVALS_PATH}/{number}/decision", {"accept": accept})


def acts(station: Station, *, before: int | None = None) -> list[dict[str, Any]]:
    """The newest acts, or those before one, newest first. Raises as `propose`."""
    query = "" if before is None else f"?before={before}"
    return list(station.client.get_json(http.ACTS_PATH + query)["acts"])
