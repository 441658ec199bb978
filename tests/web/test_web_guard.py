"""What all pages share of their safety: whose requests are taken, and how large."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from dobmi.web.errors import FileTooLarge, ForeignRequest, FormIncomplete
from dobmi.web.forms import as_number, own_path
from dobmi.web.security import Guard, Sessions, loopback_origins, read_file

OFFICE = "https://kantor.example"


@dataclass(frozen=True)
class Person:
    name: str


def office() -> tuple[TestClient, Sessions[Person]]:
    """A page that lies at an address of its own behind TLS, and keeps files of ten bytes."""
    sessions: Sessions[Person] = Sessions()
    session = sessions.start(Person("Rina"))
    app = FastAPI()

    @app.post("/file")
    async def take(request: Request) -> Response:
        try:
            return Response(await read_file(request, session, 10))
        except (ForeignRequest, FileTooLarge) as error:
            return PlainTextResponse(error.code, status_code=400)

    app.add_middleware(Guard, origins={OFFICE})
    client = TestClient(app, base_url=OFFICE)
    client.headers["x-csrf-token"] = session.token
    return client, sessions


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (OFFICE, 200),
        ("http://kantor.example", 403),
        ("https://kantor.example.evil.example", 403),
        ("null", 403),
        ("", 403),
    ],
)
def test_a_page_behind_tls_takes_what_its_own_address_sent(origin: str, status: int) -> None:
    client, _ = office()
    answer = client.post("/file", content=b"123", headers={"origin": origin})
    assert answer.status_code == status


def test_a_file_too_large_is_refused_and_so_is_one_without_the_token() -> None:
    client, _ = office()
    assert client.post("/file", content=b"1" * 10, headers={"origin": OFFICE}).content == b"1" * 10
    answer = client.post("/file", content=b"1" * 11, headers={"origin": OFFICE})
    assert answer.text == "PAGE-FILE-LARGE"
    answer = client.post("/file", content=b"1", headers={"origin": OFFICE, "x-csrf-token": "x"})
    assert answer.text == "PAGE-FOREIGN"


def test_loopback_has_three_names_and_one_port() -> None:
    assert loopback_origins(8442) == {
        "http://127.0.0.1:8442",
        "http://localhost:8442",
        "http://[::1]:8442",
    }


@pytest.mark.parametrize("path", ["//evil.example", "/\\evil.example", "https://x", "/\tx", ""])
def test_a_path_of_another_site_becomes_the_beginning(path: str) -> None:
    assert own_path(path) == "/"


def test_a_number_has_at_most_eighteen_plain_digits() -> None:
    assert as_number("0042", "Amount") == 42
    for text in ("", "-1", "1.5", "٣", "1" * 19):
        with pytest.raises(FormIncomplete):
            as_number(text, "Amount")
