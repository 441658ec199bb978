"""People of the staff, with passwords, and their sessions at stations and at the office's page."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from httpx2 import Response
from starlette.testclient import TestClient

from dobmi.central import staff_login
from dobmi.central.schema import StaffRole
from dobmi.central.server import Central
from dobmi.central.staff import add_staff, find_person
from dobmi.sync.http import STAFF_HEADER
from support.central_client import Office
from support.traffic import START, ModelTill

PASSWORD = "kuda hijau berlari"
ORIGIN = "http://127.0.0.1:8440"
"""Of the settings' port on this machine, where the office's page is served if nothing else is said."""


def employ(central: Central, name: str, *roles: StaffRole, password: bool = True) -> None:
    """Register a person, with the password of all who are employed so."""
    add_staff(central.database, name, roles, central.unix_seconds())
    if password:
        staff_login.set_password(central.database, name, PASSWORD, central.unix_seconds())


def session_of(central: Central, name: str, station: int | None) -> str:
    """Logged in without the time that a password takes."""
    with central.database.read() as connection:
        person = find_person(connection, name)
    assert person is not None
    return staff_login._open(central, person, station, central.unix_seconds()).token


def asked(
    office: Office,
    station: ModelTill,
    method: str,
    path: str,
    content: object = None,
    *,
    token: str = "",
    at: int = START,
) -> Response:
    """A request that the station signs, by whoever holds `token`."""
    body = b"" if content is None else json.dumps(content).encode()
    headers = {"authorization": station.authorization(method, path, body, at=at)}
    if content is not None:
        headers["content-type"] = "application/json"
    if token:
        headers[STAFF_HEADER] = token
    return office.client.request(method, path, content=body, headers=headers)


def code_of(answer: Response) -> tuple[int, str]:
    problem: dict[str, Any] = answer.json()
    return answer.status_code, problem["code"]


@dataclass
class OfficeBrowser:
    """One browser at the office's page, that sends what the page's own forms would."""

    client: TestClient
    page: str = field(default="", repr=False)

    def get(self, path: str) -> Response:
        answer = self.client.get(f"/office{path}")
        self._keep(answer)
        return answer

    def post(self, path: str, **fields: str) -> Response:
        """With the token of the page that is open; where it leads to comes back."""
        data = {"token": self.token, **fields}
        answer = self.client.post(f"/office{path}", data=data, headers={"origin": ORIGIN})
        self._keep(answer)
        return answer

    def _keep(self, answer: Response) -> None:
        if 'name="token"' in answer.text:
            self.page = answer.text

    @property
    def token(self) -> str:
        found = re.search(r'name="token" value="([0-9a-f]{64})"', self.page)
        assert found is not None
        return found[1]

    def log_in(self, name: str, password: str = PASSWORD) -> Response:
        self.get("/login")
        return self.post("/login", name=name, password=password)

    def be(self, token: str) -> None:
        """Of somebody who has logged in already."""
        self.client.cookies.set("dobmi_office", token, domain="127.0.0.1", path="/office")
        self.get("/staff")


def failure(answer: Response) -> str:
    """The code of what the page says went wrong, "" for nothing."""
    found = re.search(r'data-code="([^"]+)"', answer.text)
    return "" if found is None else found[1]
