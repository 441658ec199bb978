"""What else a cashier does: balance, refunds, orders, shifts, status, set-up."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from dobmi.cardlib.purse_layout import RecordKind
from dobmi.cardlib.readers.base import Signal
from dobmi.money import Rupiah
from dobmi.sync.errors import ServerUnreachable
from dobmi.sync.records import OrderState
from dobmi.terminal import picking
from dobmi.terminal.counter_state import (
    Acknowledge,
    AskBalance,
    AskLogin,
    AskRefund,
    AskSale,
    AskSync,
    Movement,
    Phase,
    ReaderShown,
    SyncShown,
)
from dobmi.terminal.page.set_up import SetUp
from dobmi.terminal.pairing import TillFiles
from dobmi.terminal.sales import find_sale, sales_of_shift
from dobmi.terminal.shift import current_shift, z_report
from support import outlets
from support.page_browser import CARD, PIN, Browser, paid, request_of
from support.tills import card_with


def sell(browser: Browser, amount: int = 20_000) -> int:
    """A sale as the counter makes it; its number."""
    reader = browser.till.opened_reader()
    reader.remove()  # type: ignore[attr-defined] # the bench's reader
    reader.insert(card_with(500_000))  # type: ignore[attr-defined] # likewise
    return browser.till.sell(Rupiah(amount)).sequence


def test_a_balance_is_asked_once_and_shown_with_the_last_transactions(cashier: Browser) -> None:
    shown = cashier.get("/balance").text
    found = re.search(r'name="request" value="([^"]+)"', shown.split("<main")[1])
    assert found
    for _ in range(2):
        cashier.tap("/balance", request=found[1])
    asked = [command for command in cashier.counter.asked if isinstance(command, AskBalance)]
    assert asked == [AskBalance(request=found[1])]
    movements = (
        Movement(
            kind=RecordKind.SALE,
            amount=Rupiah(7_500),
            balance_after=Rupiah(60_000),
            unix_seconds=1_790_000_000,
            terminal_id=7,
            sequence=3,
            here=True,
        ),
    )
    cashier.counter.show(phase=Phase.BALANCE, card=replace(CARD, movements=movements))
    shown = cashier.get("/balance").text
    assert "\N{MINUS SIGN}<span class=money>Rp 7.500</span>" in shown
    assert "Belanja di sini" in shown
    assert "31-12-2031" in shown


def test_the_next_press_reads_the_next_card_and_not_the_last_one_again(cashier: Browser) -> None:
    found = re.search(r'id="ask" name="request" value="([^"]+)"', cashier.get("/balance").text)
    assert found
    answer = cashier.tap("/balance", request=found[1]).text
    following = re.search(r'id="ask" name="request" value="([^"]+)" hx-swap-oob', answer)
    assert following
    assert following[1] != found[1]
    cashier.counter.show(phase=Phase.IDLE, request=None)
    cashier.tap("/balance", request=following[1])
    asked = [command for command in cashier.counter.asked if isinstance(command, AskBalance)]
    assert [command.request for command in asked] == [found[1], following[1]]


def test_the_shifts_sales_are_listed_newest_first(cashier: Browser) -> None:
    numbers = [sell(cashier), sell(cashier, 5_000)]
    shown = re.findall(r'data-sequence="(\d+)"', cashier.get("/sales").text)
    assert [int(number) for number in shown] == numbers[::-1]
    assert cashier.get(f"/sales?number={numbers[0]}").url.path == f"/sales/{numbers[0]}"
    assert 'data-code="REFUND-NO-SALE"' in cashier.get("/sales?number=99").text


@pytest.mark.parametrize(
    ("fields", "amount"), [({}, None), ({"what": "amount", "amount": "5.000"}, Rupiah(5_000))]
)
def test_a_sale_is_refunded_whole_or_in_part(
    cashier: Browser, fields: dict[str, str], amount: Rupiah | None
) -> None:
    number = sell(cashier)
    cashier.post(f"/sales/{number}/refund", request_id="r-1", reason="Barang rusak", **fields)
    assert cashier.counter.asked[-1] == AskRefund(
        request="r-1", sale=number, reason="Barang rusak", amount=amount
    )


def test_a_refund_needs_a_reason(cashier: Browser) -> None:
    number = sell(cashier)
    answer = cashier.post(f"/sales/{number}/refund", reason="  ")
    assert answer.url.path == f"/sales/{number}"
    assert 'data-code="PAGE-FORM"' in answer.text
    assert not any(isinstance(command, AskRefund) for command in cashier.counter.asked)


def next_shift(browser: Browser) -> None:
    browser.post("/shift/close", counted="0")
    browser.post("/shift/open", float="0")


def test_an_older_sale_is_refunded_with_a_supervisors_pin(cashier: Browser) -> None:
    number = sell(cashier)
    next_shift(cashier)
    assert 'data-testid="supervisor"' in cashier.get(f"/sales/{number}").text
    fields = {"reason": "Salah jumlah", "supervisor": str(outlets.ANI.number)}
    answer = cashier.post(f"/sales/{number}/refund", **fields, pin="000000")
    assert 'data-code="LOGIN-PIN"' in answer.text
    cashier.post(f"/sales/{number}/refund", **fields, pin=PIN)
    asked = cashier.counter.asked[-1]
    assert isinstance(asked, AskRefund)
    assert getattr(asked.supervisor, "number", None) == outlets.ANI.number


def test_an_older_sale_is_refunded_with_a_supervisors_card(cashier: Browser) -> None:
    number = sell(cashier)
    next_shift(cashier)
    path = f"/sales/{number}/refund/card"
    cashier.post(path, reason="Salah jumlah", what="amount", amount="1000")
    login = cashier.counter.asked[-1]
    assert isinstance(login, AskLogin)
    shown = cashier.get("/sales").text
    assert f"Rp 1.000 dari penjualan {number}" in shown.replace("\N{NO-BREAK SPACE}", " ")
    assert "Salah jumlah" in shown
    card = replace(CARD, member_number=outlets.ANI.member_number or 0, holder="Ani")
    cashier.counter.show(phase=Phase.LOGIN, card=card)
    assert f'action="{path}"' in cashier.get("/sales").text
    cashier.post(path, request=login.request)
    asked = cashier.counter.asked[-1]
    assert isinstance(asked, AskRefund)
    assert getattr(asked.supervisor, "number", None) == outlets.ANI.number
    assert asked.amount == Rupiah(1_000)


def test_all_that_a_supervisors_card_agrees_to_is_what_was_left_then(cashier: Browser) -> None:
    number = sell(cashier)
    next_shift(cashier)
    cashier.post(f"/sales/{number}/refund/card", reason="Salah jumlah")
    login = cashier.counter.asked[-1]
    assert isinstance(login, AskLogin)
    left = find_sale(cashier.ledger, number).left
    card = replace(CARD, member_number=outlets.ANI.member_number or 0, holder="Ani")
    cashier.counter.show(phase=Phase.LOGIN, card=card)
    cashier.post(f"/sales/{number}/refund/card", request=login.request)
    asked = cashier.counter.asked[-1]
    assert isinstance(asked, AskRefund)
    assert asked.amount == left


def test_what_a_supervisors_card_agrees_to_is_not_used_for_another_sale(cashier: Browser) -> None:
    agreed, other = sell(cashier), sell(cashier, 20_000)
    next_shift(cashier)
    cashier.post(f"/sales/{agreed}/refund/card", reason="Salah jumlah")
    login = cashier.counter.asked[-1]
    assert isinstance(login, AskLogin)
    card = replace(CARD, member_number=outlets.ANI.member_number or 0, holder="Ani")
    cashier.counter.show(phase=Phase.LOGIN, card=card)
    cashier.post(f"/sales/{other}/refund/card", request=login.request)
    assert not any(isinstance(command, AskRefund) for command in cashier.counter.asked)


def test_a_card_that_said_who_somebody_is_does_so_for_one_session_and_once(
    browser: Browser,
) -> None:
    browser.get("/login")
    browser.post("/login/card")
    asked = browser.counter.asked[-1]
    assert isinstance(asked, AskLogin)
    browser.counter.show(phase=Phase.LOGIN, card=CARD)
    mine = browser.client.cookies.get("dobmi_till")
    browser.client.cookies.clear()
    browser.get("/login")
    assert browser.post("/login/card", request=asked.request).url.path == "/login"
    browser.client.cookies.clear()
    browser.client.cookies.set("dobmi_till", mine or "", domain="127.0.0.1")
    assert browser.post("/login/card", request=asked.request).url.path != "/login"
    browser.post("/leave")
    assert browser.post("/login/card", request=asked.request).url.path == "/login"


def test_a_members_card_does_not_log_anybody_in(browser: Browser) -> None:
    browser.get("/login")
    browser.post("/login/card")
    asked = browser.counter.asked[-1]
    assert isinstance(asked, AskLogin)
    browser.counter.show(phase=Phase.LOGIN, card=replace(CARD, member_number=99))
    answer = browser.post("/login/card", request=asked.request)
    assert 'data-code="LOGIN-CARD"' in answer.text


def test_an_order_becomes_a_cart_is_paid_and_handed_over(cashier: Browser) -> None:
    assert "Anggota 4711" in cashier.get("/orders").text
    assert not re.findall('data-testid="order"', cashier.get("/orders?text=nobody").text)
    cashier.post("/orders/501/open")
    cashier.tap("/sell/line/0", quantity="1", percent="", off="")
    assert "kurang: 1" in cashier.get("/").text
    cashier.tap("/sell/pay", request=request_of(cashier))
    asked = cashier.counter.asked[-1]
    assert isinstance(asked, AskSale)
    assert (asked.order, asked.purchase.amount) == (501, Rupiah(35_000))
    answer = cashier.post("/orders/501/hand-over")
    assert 'data-code="ORDER-NOT-PAID"' in answer.text


def test_an_order_that_will_not_be_fetched_is_cancelled(cashier: Browser) -> None:
    assert cashier.post("/orders/501/cancel").url.path == "/orders"
    assert picking.find_order(cashier.ledger, 501).state is OrderState.CANCELLED


def test_opening_an_order_puts_the_cart_on_hold_that_was_there(cashier: Browser) -> None:
    cashier.tap("/sell/item", item="TLR")
    cashier.post("/orders/501/open")
    assert "Rp 2.500" in cashier.get("/sell/held").text


def test_a_shift_is_counted_closed_reported_and_opened_again(cashier: Browser) -> None:
    number = current_shift(cashier.ledger).number
    sell(cashier)
    cashier.post("/shift/cash", amount="50.000", reason="kembalian", way="in")
    cashier.post("/shift/cash", amount="10000", reason="beli plastik", way="out")
    shown = cashier.get("/shift").text
    assert "Rp 40.000" in shown
    assert "Rp 20.000" in cashier.get("/shift/x").text
    answer = cashier.post("/shift/close", counted="39.000")
    assert answer.url.path == f"/shift/z/{number}"
    assert "Rp 39.000" in answer.text
    assert z_report(cashier.ledger, number).difference == Rupiah(-1_000)
    assert cashier.get("/").url.path == "/shift"
    assert cashier.post("/shift/open", float="100.000").url.path == "/"
    assert current_shift(cashier.ledger).float_cash == Rupiah(100_000)
    assert current_shift(cashier.ledger).on_duty == outlets.SITI.name


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/shift/close", {"counted": "x"}),
        ("/shift/close", {}),
        ("/shift/cash", {"amount": "5000", "reason": "", "way": "in"}),
        ("/shift/cash", {"amount": "999999999", "reason": "x", "way": "out"}),
    ],
)
def test_what_a_shift_cannot_take_is_said_and_nothing_is_done(
    cashier: Browser, path: str, fields: dict[str, str]
) -> None:
    answer = cashier.post(path, **fields)
    assert 'data-testid="failure"' in answer.text
    assert current_shift(cashier.ledger).is_open


def test_a_receipt_is_shown_with_its_proof_where_there_is_no_printer(cashier: Browser) -> None:
    cashier.page.papers.server = "https://bmi.example"
    number = sell(cashier)
    shown = cashier.get(f"/receipt/{number}").text
    assert 'data-text="https://bmi.example/r/' in shown
    assert "LUNAS" in shown
    assert 'data-testid="print"' not in shown


def test_the_status_says_what_is_wrong_and_what_to_do(cashier: Browser) -> None:
    shown = cashier.get("/status").text
    for light in ("network", "unsent", "doubts", "reader", "printer", "clock", "disk"):
        assert f'data-testid="light-{light}"' in shown
    cashier.counter.show(
        sync=SyncShown(error=ServerUnreachable(detail="no route")), reader=ReaderShown()
    )
    shown = cashier.get("/status").text
    assert 'data-testid="light-network" data-level="warn"' in shown
    assert 'data-testid="light-reader" data-level="bad"' in shown
    cashier.post("/counter/sync")
    assert cashier.counter.asked[-1] == AskSync()


def test_only_a_supervisor_sets_up_a_till_that_has_staff(
    cashier: Browser, make_set_up: Callable[[Browser], SetUp]
) -> None:
    cashier.page.setup = make_set_up(cashier)
    assert 'data-code="LOGIN-SUPERVISOR"' in cashier.get("/setup").text
    cashier.post("/leave")
    cashier.log_in(outlets.ANI.number)
    shown = cashier.get("/setup").text
    assert 'data-testid="seller"' in shown
    assert "Toko Ciledug" in shown


def test_settings_are_written_and_the_program_reads_them_again(
    cashier: Browser, make_set_up: Callable[[Browser], SetUp]
) -> None:
    restarts: list[bool] = []
    known = replace(make_set_up(cashier), restart=lambda: restarts.append(True))
    cashier.page.setup = known
    cashier.post("/leave")
    cashier.log_in(outlets.ANI.number)
    cashier.post(
        "/setup/settings", reader="pcsc:", printer="network:10.0.0.9", printer_columns="48"
    )
    text = known.settings_file.read_text(encoding="utf-8")
    assert 'printer = "network:10.0.0.9"' in text
    assert "printer_columns = 48" in text
    assert restarts


@pytest.mark.parametrize(
    "fields",
    [
        {"server": "http://far.example"},
        {"printer": "paper:"},
        {"printer": "file:/var/lib/dobmi/till.db"},
        {"printer": "file:/dev/../var/lib/dobmi/till.db"},
        {"printer_columns": "999"},
        {"printer_columns": "x"},
    ],
)
def test_a_setting_that_cannot_be_is_refused_and_nothing_is_written(
    cashier: Browser, make_set_up: Callable[[Browser], SetUp], fields: dict[str, str]
) -> None:
    cashier.page.setup = make_set_up(cashier)
    cashier.post("/leave")
    cashier.log_in(outlets.ANI.number)
    answer = cashier.post("/setup/settings", **fields)
    assert 'data-testid="failure"' in answer.text
    assert not cashier.page.setup.settings_file.exists()


def test_no_test_page_is_printed_into_the_tills_own_files(
    cashier: Browser, make_set_up: Callable[[Browser], SetUp]
) -> None:
    cashier.page.setup = make_set_up(cashier)
    cashier.post("/leave")
    cashier.log_in(outlets.ANI.number)
    before = cashier.page.database.read_bytes()
    answer = cashier.tap("/setup/printer", printer=f"file:{cashier.page.database}")
    assert 'data-code="PRINT-SETTING"' in answer.text
    assert cashier.page.database.read_bytes() == before


@pytest.fixture
def make_set_up() -> Callable[[Browser], SetUp]:
    def make(browser: Browser) -> SetUp:
        folder = browser.page.database.parent
        return SetUp(
            files=TillFiles(
                database=browser.page.database,
                identity=folder / "identity.keys",
                card_keys=folder / "till.keys",
            ),
            settings_file=folder / "dobmi.toml",
            reader="pcsc:",
            printer="none",
            columns=32,
            cashier="Siti",
            server="http://127.0.0.1:8440",
            language="id",
            passphrase="x",
            restart=lambda: None,
        )

    return make


def test_the_reader_signals_only_what_the_till_did(cashier: Browser) -> None:
    """The page itself never does: sound and light follow what is on disk."""
    number = sell(cashier)
    reader = cashier.till.opened_reader()
    before: list[Signal] = list(reader.signals)  # type: ignore[attr-defined] # the bench's reader
    cashier.get("/")
    cashier.get(f"/sales/{number}")
    assert list(reader.signals) == before  # type: ignore[attr-defined] # likewise
    assert [one.intent.sequence for one in sales_of_shift(cashier.ledger, 1)] == [number]


def test_a_part_of_the_page_that_cannot_be_shown_says_so_in_place(cashier: Browser) -> None:
    answer = cashier.client.get("/sell/goods?first=x", headers={"hx-request": "true"})
    assert answer.headers["hx-retarget"] == "#said"
    assert 'data-code="PAGE-FORM"' in answer.text
    assert "<html" not in answer.text
    assert 'data-testid="failure"' in cashier.get("/sell/goods?first=x").text


def test_the_paper_of_what_was_just_paid_frees_the_counter(cashier: Browser) -> None:
    number = sell(cashier)
    result = paid(20_000, sequence=number)
    cashier.counter.show(phase=Phase.PAID, request="r-9", sale=result)
    answer = cashier.tap("/counter/paper", request="r-9")
    assert answer.headers["hx-redirect"] == f"/receipt/{number}"
    assert cashier.counter.asked[-1] == Acknowledge(request="r-9")
