"""The station as the central server sees it for each who is logged in at the page."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import replace
from typing import Final

from dobmi.provisioning.enrolment import Station
from dobmi.provisioning.page.visit import StaffPerson
from dobmi.sync import http
from dobmi.sync.client import HttpClient, Patience, SyncClient

PATIENCE: Final = Patience(
    attempts=2,
    first_wait_seconds=0.3,
    connect_timeout_seconds=3,
    silence_timeout_seconds=10,
    answer_timeout_seconds=20,
)
"""Somebody sits before the page: an error at once is better than an answer in a minute."""
_KEPT_MAX: Final = 32


class Stations:
    """Gives and keeps them. Thread-safe."""

    def __init__(self, base: Station) -> None:
        self._base = base
        self._lock = threading.Lock()
        self._made: OrderedDict[tuple[str, str], Station] = OrderedDict()

    def __call__(self, person: StaffPerson | None, language: str) -> Station:
        token = "" if person is None else person.token
        with self._lock:
            found = self._made.get((token, language))
            if found is None:
                found = self._made[token, language] = self._make(token, language)
                while len(self._made) > _KEPT_MAX:
                    self._made.popitem(last=False)
            return found

    def _make(self, token: str, language: str) -> Station:
        base = self._base
        requester = replace(base.requester, staff_token=lambda: token)
        client = SyncClient(
            HttpClient(base.server, PATIENCE, language=language),
            requester,
            base.enrolment.server_public_key,
        )
        return replace(base, requester=requester, client=client, language=language)


def log_in(station: Station, name: str, password: str) -> StaffPerson:
    """Raises ServerRefused (wrong name or password, or locked), ServerUnreachable."""
    answer = station.client.post_json(
        http.STAFF_SESSIONS_PATH, {"name": name, "password": password}
    )
    return StaffPerson(
        name=str(answer["name"]),
        roles=frozenset(map(str, answer["roles"])),
        token=str(answer["token"]),
    )


def log_out(station: Station) -> None:
    """Raises ServerRefused, ServerUnreachable."""
    station.client.delete_json(http.STAFF_SESSIONS_PATH)
