"""Who may talk to the staff's page, who sees what, and that no secret ever leaves it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from dobmi.cli import main as cli
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.money import Rupiah
from dobmi.provisioning import cards, staff
from dobmi.sync.errors import ServerRefused
from support.station_desk import (
    DEWI,
    JOKO,
    ORIGIN,
    PASSWORDS,
    RINA,
    RINA_PASSWORD,
    Browser,
    Desk,
    code_of,
    new_browser,
)

PATHS = ["/", "/card", "/issue", "/topup", "/approvals", "/cash", "/acts", "/status", "/leave"]
OF_ROLE = {
    RINA: {"/card", "/issue", "/topup", "/approvals", "/cash", "/status"},
    JOKO: {"/card", "/approvals", "/acts", "/status"},
    DEWI: {"/approvals", "/cash", "/acts", "/status"},
}


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:8441", "10.0.0.2:8442"])
def test_another_name_for_this_machine_is_refused(browser: Browser, host: str) -> None:
    answer = browser.client.get("/login", headers={"host": host})
    assert answer.status_code == 403
    assert "PAGE-FOREIGN" in answer.text


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:8441", None])
def test_a_form_of_another_page_changes_nothing(issuer: Browser, origin: str | None) -> None:
    headers = {} if origin is None else {"origin": origin}
    fields = {"token": issuer.token, "request": "x1", "member": "1", "name": "A"}
    assert issuer.client.post("/issue", data=fields, headers=headers).status_code == 403
    assert issuer.desk.bench.state.task is None


@pytest.mark.parametrize("token", ["", "wrong", "ä"])
def test_without_the_sessions_token_nothing_changes(issuer: Browser, token: str) -> None:
    fields = {"token": token, "request": "x1", "member": "1", "name": "A"}
    headers = {"origin": ORIGIN}
    assert issuer.client.post("/issue", data=fields, headers=headers).status_code == 403
    headers |= {"x-csrf-token": "wrong", "x-file-name": "a.csv"}
    assert issuer.client.post("/batches/file", content=b"x", headers=headers).status_code == 403
    assert issuer.desk.bench.state.task is None


@pytest.mark.parametrize("path", PATHS)
def test_who_has_not_logged_in_sees_the_log_in_alone(browser: Browser, path: str) -> None:
    answer = browser.get(path)
    assert answer.url.path == "/login"
    assert 'data-testid="strip"' not in answer.text


def test_who_has_not_logged_in_sees_no_card(desk: Desk, issuer: Browser) -> None:
    issuer.issue(SimulatedCard(), 5001, "Kartu Rahasia")
    assert "Kartu Rahasia" in issuer.get("/card").text
    assert "Kartu Rahasia" not in new_browser(desk).get("/login").text


@pytest.mark.parametrize("name", PASSWORDS)
def test_each_role_sees_its_own_pages_and_no_others(browser: Browser, name: str) -> None:
    browser.log_in(name)
    for path in set().union(*OF_ROLE.values()):
        answer = browser.get(path)
        refused = "STAFF-NOT-YOURS" in answer.text
        assert refused is (path not in OF_ROLE[name]), path
        links = set(re.findall(r'<a href="(/[a-z]+)" data-key', answer.text))
        assert links == OF_ROLE[name]


def test_the_server_refuses_what_the_page_would_not_have_shown(
    desk: Desk, browser: Browser
) -> None:
    browser.log_in(JOKO)
    station = desk.page.station_for(browser.person, "id")
    with pytest.raises(ServerRefused) as refusal:
        cards.order_credit(station, bytes(7), Rupiah(5_000), "cash", "order-0001")
    assert refusal.value.facts["problem"] == "CENTRAL-STAFF-ROLE"
    with pytest.raises(ServerRefused) as refusal:
        cards.block(station, bytes(7), "hilang")
    assert refusal.value.facts["problem"] == "CENTRAL-STAFF-ROLE"
    browser.log_in(RINA)
    with pytest.raises(ServerRefused):
        staff.acts(desk.page.station_for(browser.person, "id"))


def test_the_server_refuses_a_station_where_nobody_has_logged_in(desk: Desk) -> None:
    with pytest.raises(ServerRefused) as refusal:
        cards.block(desk.page.station_for(None, "id"), bytes(7), "hilang")
    assert refusal.value.facts["problem"] == "CENTRAL-STAFF-NEEDED"


def test_a_log_in_makes_a_new_session_kept_from_scripts_and_other_sites(browser: Browser) -> None:
    cookie = browser.get("/login").headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    before = browser.session
    browser.log_in()
    assert browser.session != before
    assert browser.desk.page.sessions.of(before) is None


def test_a_wrong_password_says_how_many_are_left_and_is_never_said_itself(browser: Browser) -> None:
    answer = browser.log_in(RINA, "salah sekali 1")
    assert code_of(answer) == "CENTRAL-PASSWORD"
    assert "4" in answer.text
    assert "salah sekali" not in answer.text
    assert browser.log_in().url.path == "/card"  # it counts from anew


def test_no_password_and_no_token_is_in_any_page_or_address(desk: Desk, issuer: Browser) -> None:
    person = issuer.person
    assert person is not None
    for path in PATHS:
        answer = issuer.get(path)
        assert person.token not in answer.text
        assert RINA_PASSWORD not in answer.text
        assert person.token not in str(answer.url)
    assert person.token not in repr(person)
    assert person.token not in repr(desk.page.sessions.of(issuer.session))


def test_fields_for_secrets_are_not_kept_by_the_browser(browser: Browser) -> None:
    text = browser.get("/login").text
    for field in re.findall(r"<input[^>]*type=\"password\"[^>]*>", text):
        assert 'autocomplete="off"' in field
    assert 'method="post"' in text


def test_logging_out_ends_the_session_here_and_at_the_server(desk: Desk, issuer: Browser) -> None:
    person = issuer.person
    assert issuer.post("/leave").url.path == "/login"
    assert issuer.get("/card").url.path == "/login"
    with pytest.raises(ServerRefused) as refusal:
        cards.block(desk.page.station_for(person, "id"), bytes(7), "hilang")
    assert refusal.value.facts["problem"] == "CENTRAL-STAFF-SESSION"


def test_whose_session_the_server_has_ended_logs_in_again(desk: Desk, issuer: Browser) -> None:
    staff_station = desk.page.station_for(issuer.person, "id")
    staff_station.client.delete_json("/v1/staff/sessions")
    answer = issuer.get("/cash")
    assert answer.url.path == "/login"
    assert code_of(answer) == "CENTRAL-STAFF-SESSION"
    assert issuer.person is None


def test_another_browser_sees_nothing_of_what_is_asked_in_this_one(
    desk: Desk, issuer: Browser
) -> None:
    other = new_browser(desk)
    other.log_in(JOKO)
    issuer.post("/issue", request="x2", member="5002", name="Siti Aminah")
    assert 'data-testid="act"' in issuer.get("/issue").text
    assert 'data-testid="act"' not in other.get("/approvals").text
    other.tap("/bench/cancel")
    assert desk.bench.state.task is not None


def test_each_answer_says_what_the_page_may_load(issuer: Browser) -> None:
    for path in (*PATHS, "/static/station.js", "/shared/base.css", "/nothing-here"):
        headers = issuer.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
    assert issuer.get("/card").headers["cache-control"] == "no-store"
    assert "immutable" in issuer.get("/static/station.css").headers["cache-control"]


def test_no_page_has_a_script_or_a_style_of_its_own_in_it(issuer: Browser) -> None:
    for path in PATHS:
        text = issuer.get(path).text
        for forbidden in ("<style", " style=", "onclick", "<script>"):
            assert forbidden not in text


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "kantor.local"])  # noqa: S104 - refused
def test_it_is_served_to_this_machine_alone(tmp_path: Path, host: str) -> None:
    (tmp_path / "dobmi.toml").write_text(f'[provisioning]\npage_host = "{host}"\n')
    asked = ["--lang", "en", "--config", str(tmp_path / "dobmi.toml"), "card", "page"]
    answer = CliRunner().invoke(cli.root, asked)
    assert answer.exit_code == 1
    assert "PAGE-NOT-LOOPBACK" in answer.output
