"""One browser at a till's page, for tests without a browser."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import date

from fastapi.testclient import TestClient
from httpx2 import Response

from dobmi.money import Rupiah
from dobmi.sync.outlet import PinVerifier, StaffMember
from dobmi.terminal.counter_state import CardShown
from dobmi.terminal.ledger import Ledger
from dobmi.terminal.page.visit import Page
from dobmi.terminal.sale import SaleResult
from dobmi.terminal.till import Till
from support import outlets
from support.page_counter import ShownCounter

PORT = 8441
ORIGIN = f"http://127.0.0.1:{PORT}"
PIN = "123456"
NO_PIN = PinVerifier(bytes(16), bytes(32))


@dataclass
class Browser:
    """One browser with its cookies, that sends what the page's own forms and htmx would."""

    client: TestClient
    page: Page
    counter: ShownCounter
    till: Till

    @property
    def ledger(self) -> Ledger:
        return self.till.ledger

    @property
    def token(self) -> str:
        found = self.page.sessions.of(self.client.cookies.get("dobmi_till"))
        assert found is not None
        return found.token

    def get(self, path: str) -> Response:
        return self.client.get(path)

    def post(self, path: str, **fields: str) -> Response:
        """As a form, by the browser itself: the page that it leads to comes back."""
        data = {"token": self.token, **fields}
        return self.client.post(path, data=data, headers={"origin": ORIGIN})

    def tap(self, path: str, **fields: str) -> Response:
        """As htmx sends it: a part of the page comes back."""
        headers = {"origin": ORIGIN, "hx-request": "true", "x-csrf-token": self.token}
        return self.client.post(path, data=fields, headers=headers)

    def log_in(self, number: int = outlets.SITI.number) -> None:
        self.get("/login")
        answer = self.post("/login", number=str(number), pin=PIN)
        assert "/login" not in answer.url.path, answer.text

    def language(self, language: str) -> None:
        self.client.cookies.set("dobmi_language", language, domain="127.0.0.1")


def with_pin(person: StaffMember) -> StaffMember:
    return replace(person, pin=NO_PIN)


CARD = CardShown(
    uid=bytes(7),
    holder="Siti Aminah",
    member_number=4711,
    member_class="",
    balance=Rupiah(60_000),
    expires=date(2031, 12, 31),
    is_expired=False,
    is_blocked=False,
    credit_waiting=False,
)


def paid(amount: int = 5_000, **changes: object) -> SaleResult:
    result = SaleResult(
        sequence=1,
        voucher_hash=bytes(32),
        card_uid=bytes(7),
        member_number=4711,
        holder="Siti Aminah",
        amount=Rupiah(amount),
        balance_before=Rupiah(60_000),
        balance_after=Rupiah(60_000 - amount),
        unix_seconds=1_790_000_000,
        goods=(),
    )
    return replace(result, **changes)  # type: ignore[arg-type] # tests change what they like


def request_of(browser: Browser) -> str:
    """The number that the page's form pays under."""
    found = re.search(
        r'name="request" value="([^"]+)"', browser.get("/").text.split(' id="cart"')[1]
    )
    assert found
    return found[1]
