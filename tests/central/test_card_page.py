"""The page that a card opens on a phone: for the card's own proof, once, and nothing without it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from httpx2 import Response
from sqlalchemy import event
from starlette.testclient import TestClient

from dobmi.cardlib.custody import ROLE_KEYS, KeyRole
from dobmi.cardlib.purse_layout import CardKey
from dobmi.central.app import create_app
from dobmi.central.cards import set_blocked
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.personality import Personality
from dobmi.money import Rupiah
from dobmi.sync.relay import Done
from support.card_sessions import deliver, issue
from support.central_client import RING, SETTINGS, Office
from support.databases import Kind
from support.phones import read_as_a_phone
from support.traffic import ModelTill, World

URL = "https://koperasi.example/k/"


@pytest.fixture
def world(tmp_path: Path, database_kind: Kind) -> Iterator[World]:
    settings = SETTINGS.model_copy(update={"member_url": URL})
    world = World.create(tmp_path, keys=RING, settings=settings, kind=database_kind)
    yield world
    world.close()


@pytest.fixture
def station(office: Office) -> ModelTill:
    return office.world.station()


@pytest.fixture
def card(office: Office, station: ModelTill) -> SimulatedCard:
    """Siti's, with Rp 25.000 on it."""
    card = SimulatedCard(personality=Personality.EV3)
    assert isinstance(issue(office.client, station, card), Done)
    order = {
        "card_uid": card.uid.hex(),
        "amount_rupiah": 25_000,
        "source": "cash",
        "idempotency_key": "the first one",
    }
    assert office.signed(station, "POST", "/v1/credits", order).status_code == 201
    assert isinstance(deliver(office.client, station, card), Done)
    return card


def tap(card: SimulatedCard) -> str:
    """Path and query, as a phone takes them off the card."""
    address = read_as_a_phone(card)
    assert address.startswith(URL)
    parts = urlsplit(address)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def page(client: TestClient, path: str, language: str = "en") -> Response:
    return client.get(path, headers={"accept-language": language})


def title(answer: Response) -> str:
    found = re.search(r"<h1[^>]*>([^<]*)</h1>", answer.text)
    assert found is not None
    return found[1]


def test_a_tap_shows_what_the_ledger_knows(office: Office, card: SimulatedCard) -> None:
    answer = page(office.client, tap(card))
    assert (answer.status_code, title(answer)) == (200, "Balance: Rp 25.000")
    assert "+Rp 25.000" in answer.text
    assert " WIB" in answer.text
    assert "Siti" not in answer.text


def test_indonesian_comes_first(office: Office, card: SimulatedCard) -> None:
    assert title(office.client.get(tap(card))) == "Saldo: Rp 25.000"


def test_an_address_is_good_once_and_an_older_one_never_again(
    office: Office, card: SimulatedCard
) -> None:
    older, newer = tap(card), tap(card)
    assert title(page(office.client, newer)).startswith("Balance")
    for path in (newer, older, older):
        answer = page(office.client, path)
        assert (answer.status_code, title(answer)) == (200, "Shown before")
        assert "25.000" not in answer.text
    assert title(page(office.client, tap(card))).startswith("Balance")


def test_a_changed_address_shows_nothing_and_takes_no_query(
    office: Office, card: SimulatedCard
) -> None:
    good = tap(card)
    statements: list[str] = []
    engine = office.world.central.database.engine

    def note(*arguments: object) -> None:
        statements.append(str(arguments[2]))

    event.listen(engine, "before_cursor_execute", note)
    changed = [
        good[:-1] + ("0" if good[-1] != "0" else "1"),
        good[:-1],
        good + "00",
        "/k/",
        "/k/?p=&m=",
    ]
    start = good.index("?p=") + 3
    changed.append(good[:start] + ("0" if good[start] != "0" else "1") + good[start + 1 :])
    changed.append(good.replace("&m=", "&m=%00"))
    texts = set()
    for path in changed:
        answer = page(office.client, path)
        assert (answer.status_code, title(answer)) == (404, "No card of ours")
        texts.add(answer.text)
    assert len(texts) == 1
    assert statements == []
    event.remove(engine, "before_cursor_execute", note)
    assert title(page(office.client, good)).startswith("Balance")


def test_a_mac_of_another_card_proves_nothing_of_this_one(
    office: Office, station: ModelTill, card: SimulatedCard
) -> None:
    other = SimulatedCard(personality=Personality.EV3)
    issue(office.client, station, other, 4712, "Budi")
    mine, theirs = tap(card).partition("&m="), tap(other).partition("&m=")
    answer = page(office.client, f"{mine[0]}&m={theirs[2]}")
    assert title(answer) == "No card of ours"


def test_an_address_made_under_an_earlier_generation_is_still_read(
    office: Office, card: SimulatedCard
) -> None:
    central = replace(office.world.central, keys=RING.renewed())
    with TestClient(create_app(central)) as later:
        assert title(page(later, tap(card))).startswith("Balance")


def test_a_blocked_card_says_so(office: Office, card: SimulatedCard) -> None:
    set_blocked(office.world.central, card.uid, "lost", blocked=True, by_terminal=None)
    answer = page(office.client, tap(card))
    assert "This card is blocked." in answer.text
    assert 'class="bad"' in answer.text


def test_a_static_address_names_a_card_of_ours_and_no_more(
    office: Office, station: ModelTill
) -> None:
    card = SimulatedCard()
    issue(office.client, station, card)
    answer = page(office.client, tap(card))
    assert (answer.status_code, title(answer)) == (200, "A Do BMI card")
    assert "Siti" not in answer.text
    for path in ("/k/999", "/k/abc", "/k/99999999999", "/k/%D9%A1"):
        assert page(office.client, path).status_code == 404


def test_the_page_is_light_and_passes_nothing_on(office: Office, card: SimulatedCard) -> None:
    for _ in range(3):
        path = tap(card)
        answer = page(office.client, path)
    assert len(answer.content) < 4_000
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert path.split("=")[1][:32] not in answer.text


def test_the_keys_that_open_an_address_are_no_tills() -> None:
    for role in (KeyRole.TILL, KeyRole.STATION, KeyRole.AUDITOR):
        assert ROLE_KEYS[role].isdisjoint({CardKey.SDM_META, CardKey.SDM_FILE})


def test_money_is_shown_as_the_ledger_has_it_not_as_a_phone_says(
    office: Office, station: ModelTill, card: SimulatedCard
) -> None:
    order = {
        "card_uid": card.uid.hex(),
        "amount_rupiah": 7_000,
        "source": "cash",
        "idempotency_key": "the second one",
    }
    office.signed(station, "POST", "/v1/credits", order)
    answer = page(office.client, tap(card))
    assert title(answer) == f"Balance: {Rupiah(25_000)}"
    assert "Comes onto the card" in answer.text
    assert "Rp 7.000" in answer.text
