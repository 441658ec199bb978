"""Who may talk to the page: this machine's browser, about this page, for who is logged in."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dobmi.terminal.counter_state import AskLogin, Cancel, Phase
from dobmi.terminal.page.security import Person, Sessions
from dobmi.terminal.shift import take_over
from dobmi.terminal.staff import Cashier
from dobmi.web.errors import NotLoopback
from dobmi.web.security import SESSION_SECONDS_MAX, SESSIONS_MAX, check_loopback
from support import outlets
from support.page_browser import CARD, ORIGIN, PIN, Browser, paid

PATHS = [
    "/",
    "/balance",
    "/sales",
    "/orders",
    "/shift",
    "/status",
    "/leave",
    "/sell/goods",
]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_it_listens_on_loopback(host: str) -> None:
    assert check_loopback(host) == host


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "kasir.local", ""])  # noqa: S104 - refused
def test_it_listens_nowhere_else(host: str) -> None:
    with pytest.raises(NotLoopback):
        check_loopback(host)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8441", "127.0.0.1", "127.0.0.1:80", "10.0.0.2:8441"]
)
def test_another_name_for_this_machine_is_refused(browser: Browser, host: str) -> None:
    answer = browser.client.get("/login", headers={"host": host})
    assert answer.status_code == 403
    assert "PAGE-FOREIGN" in answer.text


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:80", None])
def test_a_form_of_another_page_changes_nothing(cashier: Browser, origin: str | None) -> None:
    headers = {} if origin is None else {"origin": origin}
    answer = cashier.client.post(
        "/sell/amount", data={"token": cashier.token, "amount": "5000"}, headers=headers
    )
    assert answer.status_code == 403
    assert not cashier.page.desk.state.cart.lines


def test_another_site_cannot_even_look(cashier: Browser) -> None:
    answer = cashier.client.get("/sales", headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 403


@pytest.mark.parametrize("token", ["", "wrong", "ä"])
def test_a_form_without_the_sessions_token_changes_nothing(cashier: Browser, token: str) -> None:
    answer = cashier.client.post(
        "/sell/amount", data={"token": token, "amount": "5000"}, headers={"origin": ORIGIN}
    )
    assert answer.status_code == 403
    assert not cashier.page.desk.state.cart.lines


def test_another_sessions_token_changes_nothing(cashier: Browser) -> None:
    other = cashier.page.sessions.start()
    answer = cashier.client.post(
        "/sell/amount", data={"token": other.token, "amount": "5000"}, headers={"origin": ORIGIN}
    )
    assert answer.status_code == 403


def test_a_form_too_long_is_refused(cashier: Browser) -> None:
    answer = cashier.post("/sell/amount", amount="5" * 100_000)
    assert answer.status_code == 403


@pytest.mark.parametrize("path", PATHS)
def test_who_has_not_logged_in_sees_the_log_in(browser: Browser, path: str) -> None:
    answer = browser.get(path)
    assert answer.url.path == "/login"
    assert outlets.SITI.name not in answer.text


def test_who_has_not_logged_in_sells_nothing(browser: Browser) -> None:
    browser.get("/login")
    answer = browser.tap("/sell/amount", amount="5000")
    assert answer.headers["hx-redirect"] == "/login"
    assert not browser.page.desk.state.cart.lines


def test_a_log_in_makes_a_new_session(browser: Browser) -> None:
    browser.get("/login")
    before = browser.client.cookies.get("dobmi_till")
    browser.log_in()
    assert browser.client.cookies.get("dobmi_till") != before
    assert browser.page.sessions.of(before) is None


def test_a_session_is_kept_from_scripts_and_from_other_sites(browser: Browser) -> None:
    cookie = browser.client.get("/login").headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie


def test_a_session_ends_with_the_day() -> None:
    now = [0.0]
    sessions = Sessions(lambda: now[0])
    session = sessions.start()
    assert sessions.of(session.key) == session
    now[0] = SESSION_SECONDS_MAX + 1
    assert sessions.of(session.key) is None


def test_requests_without_a_cookie_do_not_end_a_cashiers_session() -> None:
    sessions = Sessions()
    cashiers = sessions.start(Person(cashier=Cashier("Siti"), is_supervisor=False))
    newest = [sessions.start() for _ in range(2 * SESSIONS_MAX)][-1]
    assert sessions.of(cashiers.key) == cashiers
    assert sessions.of(newest.key) == newest


@pytest.mark.parametrize(
    "elsewhere", ["https://evil.example", "//evil.example", "/\\evil.example", "/\t/evil.example"]
)
def test_no_form_leads_to_another_site(cashier: Browser, elsewhere: str) -> None:
    answer = cashier.client.post(
        "/language",
        data={"token": cashier.token, "language": "en", "to": elsewhere},
        headers={"origin": ORIGIN},
        follow_redirects=False,
    )
    assert answer.headers["location"] == "/"


def test_logging_out_ends_the_session(cashier: Browser) -> None:
    key = cashier.client.cookies.get("dobmi_till")
    assert cashier.post("/leave").url.path == "/login"
    assert cashier.page.sessions.of(key) is None
    assert cashier.get("/").url.path == "/login"


def test_a_wrong_pin_says_how_many_are_left(browser: Browser) -> None:
    browser.get("/login")
    answer = browser.post("/login", number="11", pin="654321")
    assert 'data-code="LOGIN-PIN"' in answer.text
    assert "4" in answer.text


def test_pins_are_not_tried_without_end(browser: Browser) -> None:
    browser.get("/login")
    for _ in range(5):
        answer = browser.post("/login", number="11", pin="654321")
    assert 'data-code="LOGIN-LOCKED"' in answer.text
    answer = browser.post("/login", number="11", pin=PIN)
    assert 'data-code="LOGIN-LOCKED"' in answer.text


def test_each_answer_says_what_the_page_may_load(cashier: Browser) -> None:
    for path in ("/", "/login", "/display", "/static/till.js", "/nothing-here"):
        headers = cashier.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"


def test_no_page_has_a_script_or_a_style_of_its_own_in_it(cashier: Browser) -> None:
    for path in (
        "/",
        "/balance",
        "/sales",
        "/orders",
        "/orders/501",
        "/shift",
        "/status",
        "/display",
    ):
        text = cashier.get(path).text
        assert "<style" not in text
        assert " style=" not in text
        assert "onclick" not in text
        assert "<script>" not in text
        assert "http://" not in text.replace(ORIGIN, "").replace("http://www.w3.org", "")
        assert "https://" not in text


def test_pages_are_not_kept_by_the_browser_and_files_are(cashier: Browser) -> None:
    assert cashier.get("/").headers["cache-control"] == "no-store"
    assert "immutable" in cashier.get("/static/till.css").headers["cache-control"]


def test_who_is_not_of_the_staff_any_more_has_to_log_in_again(
    cashier: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dobmi.terminal.page.visit.staff_members", lambda _: ())
    assert cashier.get("/sales").url.path == "/login"


def test_without_a_staff_list_the_cashier_of_the_settings_sells(
    make_browser: Callable[..., Browser],
) -> None:
    browser = make_browser(staff=False)
    answer = browser.get("/")
    assert answer.url.path == "/"
    assert 'data-testid="pay"' in answer.text


def test_who_is_not_on_duty_takes_over_first(cashier: Browser) -> None:
    take_over(cashier.ledger, Cashier("Budi", 12), 1_790_000_100)
    assert cashier.get("/").url.path == "/shift"
    answer = cashier.tap("/sell/amount", amount="5000")
    assert answer.headers["hx-redirect"] == "/shift"
    assert 'data-testid="take-over"' in cashier.get("/shift").text
    assert cashier.post("/shift/take-over").url.path == "/"


def test_the_photo_of_a_member_who_is_not_here_is_not_shown(cashier: Browser) -> None:
    assert cashier.get("/photos/" + "00" * 32).status_code == 404


def test_who_has_not_logged_in_sees_nothing_of_members_cards(browser: Browser) -> None:
    browser.counter.show(phase=Phase.PAID, request="other", sale=paid(), card=CARD)
    text = browser.get("/login").text
    assert CARD.holder not in text
    assert 'data-testid="act"' not in text


def test_who_logs_in_by_card_can_give_it_up(browser: Browser) -> None:
    browser.get("/login")
    browser.post("/login/card")
    asked = browser.counter.asked[-1]
    assert isinstance(asked, AskLogin)
    text = browser.get("/login").text
    assert 'hx-post="/login/cancel"' in text
    browser.tap("/login/cancel")
    assert Cancel(request=asked.request) in browser.counter.asked


def test_who_has_not_logged_in_cancels_nobody_elses_request(browser: Browser) -> None:
    browser.get("/login")
    browser.counter.show(phase=Phase.WAITING, request="other")
    browser.tap("/login/cancel")
    assert browser.counter.asked == []
    assert browser.tap("/counter/cancel").headers["hx-redirect"] == "/login"
    assert browser.counter.asked == []
