"""The office's page in a browser without scripts: who may talk to it, and what it does."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from dobmi.central.acts import Act, list_acts
from dobmi.central.app import create_app
from dobmi.central.approvals import approval_of
from dobmi.central.cards import set_blocked, statement_of
from dobmi.central.office.rendering import ACT_WORDS, KIND_WORDS, ROLE_WORDS
from dobmi.central.pairing import waiting_pairings
from dobmi.central.schema import ApprovalKind, CardState, StaffRole
from dobmi.central.server import Central
from dobmi.central.staff_login import IDLE_SECONDS
from dobmi.central.terminals import list_terminals
from dobmi.money import Rupiah
from dobmi.sync.pairing import PairingState
from support.asking_till import Till
from support.central_client import Office
from support.staffed import ORIGIN, PASSWORD, OfficeBrowser, employ, failure, session_of
from support.traffic import START, World


@pytest.fixture
def clock() -> list[int]:
    return [START]


@pytest.fixture
def central(world: World, clock: list[int]) -> Central:
    world.central = dataclasses.replace(world.central, unix_seconds=lambda: clock[0])
    employ(world.central, "Ani", *StaffRole)
    employ(world.central, "Budi", StaffRole.APPROVER)
    return world.central


@pytest.fixture
def browser(central: Central) -> Iterator[OfficeBrowser]:
    with TestClient(create_app(central), base_url=ORIGIN) as client:
        yield OfficeBrowser(client)


@pytest.fixture
def ani(browser: OfficeBrowser, central: Central) -> OfficeBrowser:
    browser.be(session_of(central, "Ani", None))
    return browser


def as_budi(browser: OfficeBrowser, central: Central) -> OfficeBrowser:
    browser.client.cookies.clear()
    browser.be(session_of(central, "Budi", None))
    return browser


# Who may talk to it


def test_a_person_logs_in_and_out(browser: OfficeBrowser, central: Central) -> None:
    assert browser.get("/").url.path == "/office/login"
    before = browser.client.cookies["dobmi_office"]
    assert browser.log_in("Ani").url.path == "/office/tills"
    session = browser.client.cookies["dobmi_office"]
    assert session != before  # one known before the log-in is of no use after it
    assert browser.post("/logout").url.path == "/office/login"
    assert browser.get("/tills").url.path == "/office/login"
    browser.client.cookies.clear()
    browser.client.cookies.set("dobmi_office", session, domain="127.0.0.1", path="/office")
    assert browser.get("/tills").url.path == "/office/login"
    assert [one.act for one in list_acts(central.database)][:2] == ["log-out", "log-in"]


def test_the_cookie_is_kept_from_scripts_and_other_sites(
    browser: OfficeBrowser, world: World
) -> None:
    said = browser.get("/login").headers["set-cookie"]
    assert {part.strip().lower() for part in said.split(";")} >= {
        "httponly", "samesite=strict", "path=/office",
    }  # fmt: skip
    assert "secure" not in said.lower()
    settings = world.central.settings.model_copy(
        update={"office_origins": ("https://kantor.example",)}
    )
    secured = dataclasses.replace(world.central, settings=settings)
    client = TestClient(create_app(secured), base_url="https://kantor.example")
    assert "secure" in client.get("/office/login").headers["set-cookie"].lower()
    assert client.get("/office/login", headers={"host": "127.0.0.1:8440"}).status_code == 403


def test_every_answer_says_what_the_page_may_do(ani: OfficeBrowser) -> None:
    for path in ("/login", "/tills", "/nothing", "/shared/base.css"):
        headers = ani.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
    assert ani.get("/tills").headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "https://lain.example"},
        {"origin": "null"},
        {"origin": "http://localhost:8440"},
        {"origin": ORIGIN, "sec-fetch-site": "cross-site"},
        {"origin": ORIGIN, "host": "lain.example"},
    ],
)
def test_what_another_site_sends_is_refused(ani: OfficeBrowser, headers: dict[str, str]) -> None:
    data = {"token": ani.token, "reason": "uji"}
    answer = ani.client.post("/office/terminals/1/revoke", data=data, headers=headers)
    assert (answer.status_code, "PAGE-FOREIGN" in answer.text) == (403, True)


@pytest.mark.parametrize("token", ["", "0" * 64, "é"])
def test_a_form_without_the_sessions_token_is_refused(
    ani: OfficeBrowser, world: World, token: str
) -> None:
    till = world.till()
    answer = ani.client.post(
        f"/office/terminals/{till.terminal_id}/revoke",
        data={"token": token, "reason": "uji"},
        headers={"origin": ORIGIN},
    )
    assert (answer.status_code, "PAGE-FOREIGN" in answer.text) == (403, True)
    assert list_acts(world.central.database, act=Act.TERMINAL_BLOCKED) == []


def test_a_token_is_good_for_one_browser_alone(ani: OfficeBrowser, central: Central) -> None:
    token = ani.token
    as_budi(ani, central)
    answer = ani.client.post("/office/logout", data={"token": token}, headers={"origin": ORIGIN})
    assert answer.status_code == 403


def test_wrong_passwords_are_counted_and_locked(browser: OfficeBrowser, central: Central) -> None:
    browser.get("/login")
    for _ in range(4):
        answer = browser.post("/login", name="Ani", password="salah")
        assert (answer.status_code, failure(answer)) == (401, "CENTRAL-PASSWORD")
    for password in ("salah", PASSWORD):
        answer = browser.post("/login", name="Ani", password=password)
        assert (answer.status_code, failure(answer)) == (403, "CENTRAL-PASSWORD-LOCKED")
    assert [one.subject for one in list_acts(central.database, act=Act.LOCKED_OUT)] == ["staff Ani"]


def test_who_clicks_nothing_for_half_an_hour_is_logged_out(
    ani: OfficeBrowser, clock: list[int]
) -> None:
    clock[0] += IDLE_SECONDS - 1
    assert ani.get("/tills").status_code == 200
    clock[0] += IDLE_SECONDS
    assert ani.get("/tills").url.path == "/office/login"


def test_another_server_behind_the_same_address_knows_the_session(
    ani: OfficeBrowser, central: Central
) -> None:
    other = TestClient(create_app(central), base_url=ORIGIN)
    for name, value in ani.client.cookies.items():
        other.cookies.set(name, value, domain="127.0.0.1", path="/office")
    assert other.get("/office/tills").status_code == 200


def test_a_person_changes_their_own_password(ani: OfficeBrowser) -> None:
    other = "gajah abu menari"
    wrong = {"old": PASSWORD, "new": other, "again": other + "!"}
    assert failure(ani.post("/password", **wrong)) == "PAGE-FORM"
    assert failure(ani.post("/password", **{**wrong, "new": "pendek", "again": "pendek"})) == (
        "CENTRAL-PASSWORD-WEAK"
    )
    done = ani.post("/password", old=PASSWORD, new=other, again=other)
    assert (done.url.path, 'data-testid="done"' in done.text) == ("/office/staff", True)
    ani.post("/logout")
    assert failure(ani.log_in("Ani")) == "CENTRAL-PASSWORD"
    assert ani.log_in("Ani", other).url.path == "/office/tills"


# What it does


def test_a_till_is_taken_in_by_typing_its_code(ani: OfficeBrowser, world: World) -> None:
    asking = Till(Office(world, ani.client)).waiting()
    page = ani.get("/tills").text
    assert "Kasir 1" in page
    assert asking.code.code not in page  # it has to be read out by somebody at the till
    typed = asking.code.code.lower()
    done = ani.post("/pairings/approve", code=f"{typed[:4]}-{typed[4:]}", seller="Toko Baru")
    assert f'data-testid="reply">{asking.code.reply}<' in done.text
    assert "Toko Baru" in done.text
    assert asking.told().state is PairingState.APPROVED
    act = list_acts(world.central.database, act=Act.PAIRING_APPROVED)[0]
    assert (act.person, act.station) == ("Ani", None)
    again = ani.post("/pairings/approve", code=typed, seller="Toko Baru")
    assert asking.code.reply in again.text
    assert len(list_acts(world.central.database, act=Act.PAIRING_APPROVED)) == 1


def test_a_till_is_turned_away(ani: OfficeBrowser, world: World) -> None:
    asking = Till(Office(world, ani.client)).waiting()
    found = re.search(r'name="pairing" value="([0-9a-f]+)"', ani.get("/tills").text)
    assert found
    assert ani.post("/pairings/refuse", pairing=found[1]).url.path == "/office/tills"
    assert waiting_pairings(world.central) == []
    assert asking.told().state is PairingState.REFUSED
    gone = ani.post("/pairings/refuse", pairing=found[1])
    assert (gone.status_code, failure(gone)) == (404, "CENTRAL-PAIRING-CODE")


@pytest.mark.parametrize("code", ["", "AAAA", "AAAA-AAAA-A", "0OI1-0OI1"])
def test_what_is_no_code_is_said_to_be_none(ani: OfficeBrowser, code: str) -> None:
    answer = ani.post("/pairings/approve", code=code, seller="Toko")
    assert answer.status_code == 400
    assert failure(answer) == "SYNC-MALFORMED"


def test_a_stolen_till_is_revoked_and_the_cards_it_saw_are_a_file(
    ani: OfficeBrowser, world: World
) -> None:
    till, card, station = world.till(), world.card(4711), world.station()
    world.top_up(station, card, Rupiah(50_000))
    till.sell(card, Rupiah(7_000))
    Office(world, ani.client).acknowledged(till.batch())
    page = ani.get(f"/terminals/{till.terminal_id}").text
    uid = card.uid.hex().upper()
    assert f'href="/office/cards/{uid}"' in page
    assert "Rp 7.000" in page
    empty = ani.post(f"/terminals/{till.terminal_id}/revoke", reason="  ")
    assert (empty.status_code, failure(empty)) == (422, "CENTRAL-PARAMETERS")
    done = ani.post(f"/terminals/{till.terminal_id}/revoke", reason="dicuri")
    assert 'data-testid="readmit"' in done.text
    statuses = {one.id: one.status.value for one in list_terminals(world.central)}
    assert statuses[till.terminal_id] == "blocked"
    file = ani.get(f"/terminals/{till.terminal_id}/cards.csv")
    assert file.headers["content-disposition"] == (
        f'attachment; filename="terminal-{till.terminal_id}-cards.csv"'
    )
    assert f"{uid},1,active,4711,Anggota 4711,1,7000," in file.text
    assert ani.get("/terminals/99").status_code == 404
    blocked = ani.post(f"/cards/{uid}/block", reason="kasir dicuri")
    assert blocked.url.path == f"/office/cards/{uid}"
    assert statement_of(world.central, card.uid).state is CardState.BLOCKED
    assert list_acts(world.central.database, act=Act.BLOCK)[0].person == "Ani"
    ani.post(f"/terminals/{till.terminal_id}/readmit", reason="ditemukan")
    assert list_terminals(world.central)[0].status.value == "active"


def test_a_restitution_takes_two_people(ani: OfficeBrowser, central: Central, world: World) -> None:
    card = world.card(4711)
    done = ani.post("/approvals/restitution", card="1", amount="Rp 5.000", reason="struk salah")
    assert done.url.path == "/office/approvals"
    assert 'data-testid="accept"' not in done.text  # it is her own
    own = ani.post("/approvals/1/decide", decision="accept")
    assert (own.status_code, failure(own)) == (403, "CENTRAL-OWN-PROPOSAL")
    budi = as_budi(ani, central)
    assert 'data-testid="accept"' in budi.get("/approvals").text
    neither = budi.post("/approvals/1/decide", decision="perhaps")
    assert (neither.status_code, failure(neither)) == (422, "PAGE-FORM")
    for _ in range(2):
        assert budi.post("/approvals/1/decide", decision="accept").url.path == "/office/approvals"
    assert approval_of(central.database, 1).accepted
    [credit] = statement_of(central, card.uid).credits_waiting
    assert (credit.amount, credit.source.value) == (Rupiah(5_000), "restitution")
    shown = budi.get("/approvals/1").text
    assert "Ani" in shown
    assert "struk salah" in shown
    late = budi.post("/approvals/1/decide", decision="refuse")
    assert (late.status_code, failure(late)) == (409, "CENTRAL-APPROVAL-DECIDED")


@pytest.mark.parametrize("amount", ["", "0", "-5", "lima", "5,5", "99999999999999"])
def test_what_is_no_amount_is_not_proposed(ani: OfficeBrowser, world: World, amount: str) -> None:
    world.card(4711)
    answer = ani.post("/approvals/restitution", card="1", amount=amount, reason="uji")
    assert (answer.status_code, bool(failure(answer))) == (422, True)


def test_a_limit_is_proposed_in_its_own_unit(ani: OfficeBrowser, central: Central) -> None:
    ani.post("/approvals/limits", name="sale_max_rupiah", value="1.500.000")
    ani.post("/approvals/limits", name="sync_age_hours_max", value="48")
    assert approval_of(central.database, 1).facts == {
        "name": "sale_max_rupiah", "value": 1_500_000,
    }  # fmt: skip
    assert approval_of(central.database, 2).facts["value"] == 48
    for name, value in (("other", "1"), ("sync_age_hours_max", "banyak"), ("sale_max_rupiah", "")):
        assert ani.post("/approvals/limits", name=name, value=value).status_code == 422
    assert "Rp 1.500.000" in ani.get("/approvals").text


def test_the_trail_is_shown_by_person_kind_and_subject(ani: OfficeBrowser, world: World) -> None:
    world.card(4711)
    ani.post("/cards/1/block", reason="<b>hilang</b>")
    rows = ani.get("/acts?act=block&person=Ani&about=card").text
    assert "&lt;b&gt;hilang&lt;/b&gt;" in rows
    assert 'href="/office/acts?about=card%201">Kartu 1</a>' in rows
    assert "Kartu 1" not in ani.get("/acts?person=Budi").text
    assert ani.get("/acts?before=x").status_code == 422


def test_the_trail_goes_back_as_far_as_there_is_something(ani: OfficeBrowser, world: World) -> None:
    world.card(4711)
    for number in range(30):
        for what in ("block", "unblock"):
            set_blocked(world.central, 1, f"ke-{number}", blocked=what == "block", by_terminal=None)
    seen, path = set(), "/acts"
    while path:
        text = ani.get(path).text
        seen |= {int(number) for number in re.findall(r'<td class="number">(\d+)</td>', text)}
        older = re.search(r'href="/office(/acts\?before=[^"]+)"', text)
        path = older[1].replace("&amp;", "&") if older else ""
    assert seen == set(range(1, max(seen) + 1))


def test_keys_and_staff_are_shown(ani: OfficeBrowser, world: World) -> None:
    world.till()
    assert 'data-testid="generations"' in ani.get("/keys").text
    staff = ani.get("/staff").text
    assert "Ani" in staff
    assert "Budi" in staff
    assert "Kembalian" not in staff  # money given back: no word for another password


@pytest.mark.parametrize("path", ["/tills", "/approvals", "/acts", "/keys", "/staff"])
def test_each_page_is_in_both_languages(ani: OfficeBrowser, path: str) -> None:
    indonesian = ani.get(path).text
    assert '<html lang="id">' in indonesian
    answer = ani.post("/language", language="en", to=f"/office{path}")
    assert (answer.url.path, '<html lang="en">' in answer.text) == (f"/office{path}", True)
    assert answer.text != indonesian


def test_a_language_switch_leads_nowhere_else(ani: OfficeBrowser) -> None:
    for to in ("https://lain.example/", "//lain.example", "/v1/feed", "/\\lain.example"):
        answer = ani.post("/language", language="en", to=to)
        assert answer.url.path.startswith("/office/")


def test_everything_that_is_kept_has_words() -> None:
    assert set(ACT_WORDS) == set(Act)
    assert set(KIND_WORDS) == set(ApprovalKind)
    assert set(ROLE_WORDS) == set(StaffRole)
