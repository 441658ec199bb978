"""What staff do at the page, against a real central server with simulated cards."""

from __future__ import annotations

import re

import pytest

from dobmi.central.cards import statement_of
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.faults import Moment, at_frame
from dobmi.firmware_sim.personality import Personality
from dobmi.provisioning import cards
from dobmi.provisioning.bench import Phase
from dobmi.provisioning.page import routes_cards
from dobmi.provisioning.queue import QueuePhase
from dobmi.sync.errors import ServerUnreachable
from support.purses import issued_card, new_ring, purse_of
from support.station_desk import JOKO, Browser, Desk, code_of, new_browser
from support.tills import RING

LIST = """\
nomor anggota;nama;golongan
{0}1;Ujang Hermawan;
{0}2;Siti Nurhaliza;
{0}3;;
{0}4;Asep Sunandar;
"""


def balance_on(card: SimulatedCard) -> int:
    card.power_off()
    return purse_of(card, RING).read().balance.amount


def in_queue(desk: Desk, *phases: QueuePhase) -> None:
    """Once the list that is issued is there."""
    desk.until(lambda state: state.queue is not None and state.queue.phase in phases)


class TestACardThatLiesThere:
    def test_a_blank_card_is_called_so_on_each_page(self, desk: Desk, issuer: Browser) -> None:
        desk.lay(SimulatedCard())
        desk.seen()
        for path in ("/card", "/topup", "/cash"):
            assert 'data-testid="strip" data-state="blank"' in issuer.get(path).text

    def test_a_members_card_is_told_with_name_and_balance(
        self, desk: Desk, issuer: Browser
    ) -> None:
        issuer.issue(SimulatedCard(), 6001, "Neng Kokom")
        desk.seen()
        text = issuer.get("/status").text
        assert "Neng Kokom" in text
        assert "Rp 0" in text

    @pytest.mark.parametrize(
        ("card", "state"),
        [
            (SimulatedCard(personality=Personality.EV1), "unsupported"),
            (issued_card(new_ring()), "purse"),
        ],
        ids=["EV1", "of another key set"],
    )
    def test_a_card_that_is_not_ours_is_told_in_words(
        self, desk: Desk, issuer: Browser, card: SimulatedCard, state: str
    ) -> None:
        desk.lay(card)
        desk.seen()
        assert f'data-testid="card" data-state="{state}"' in issuer.get("/card").text

    def test_a_card_is_found_by_its_number_without_lying_there(
        self, desk: Desk, issuer: Browser
    ) -> None:
        card = SimulatedCard()
        issuer.issue(card, 6002, "Euis Komariah")
        serial = statement_of(desk.central, card.uid).serial
        answer = issuer.get(f"/card/find?card={serial}")
        assert answer.url.path == f"/cards/{card.uid.hex().upper()}"
        assert "Euis Komariah" in answer.text
        assert "CENTRAL-CARD-UNKNOWN" in issuer.get("/card/find?card=999999").text


class TestIssuing:
    def test_a_card_pulled_away_is_finished_when_it_comes_back(
        self, desk: Desk, issuer: Browser
    ) -> None:
        card = SimulatedCard()
        issuer.post("/issue", request="i1", member="6101", name="Dadang Suhendar")
        desk.lay(card, at_frame(12, Moment.AFTER))
        desk.until(lambda state: state.phase is Phase.AGAIN)
        desk.lift()
        desk.lay(SimulatedCard())
        assert desk.until(lambda state: state.is_another).phase is Phase.AGAIN
        desk.lift()
        desk.lay(card)
        desk.done()
        assert purse_of(card, RING).read().holder.member_number == 6101

    def test_the_same_form_sent_twice_asks_once(self, desk: Desk, issuer: Browser) -> None:
        for _ in range(2):
            issuer.post("/issue", request="i2", member="6102", name="Yayah Rokayah")
        desk.lay(SimulatedCard())
        desk.done()
        issuer.post("/issue", request="i2", member="6102", name="Yayah Rokayah")
        assert desk.bench.state.phase is Phase.DONE

    def test_a_second_card_for_a_member_is_refused_in_words(
        self, desk: Desk, issuer: Browser
    ) -> None:
        issuer.issue(SimulatedCard(), 6103, "Cecep Ruhiyat")
        desk.lift()
        issuer.post("/issue", request="i3", member="6103", name="Cecep Ruhiyat")
        desk.lay(SimulatedCard())
        desk.refused()
        assert 'data-problem="CENTRAL-MEMBER-HAS-CARD"' in issuer.get("/issue").text

    @pytest.mark.parametrize("member", ["", "0", "abc", "4294967296"])
    def test_a_number_that_no_member_has_is_not_asked_for(
        self, desk: Desk, issuer: Browser, member: str
    ) -> None:
        answer = issuer.post("/issue", request="i4", member=member, name="Siti", to="/issue")
        assert code_of(answer) == "PAGE-FORM"
        assert desk.bench.state.task is None


class TestToppingUp:
    def test_cash_is_on_the_card_and_on_the_receipt(self, desk: Desk, issuer: Browser) -> None:
        card = SimulatedCard()
        issuer.issue(card, 6201, "Lilis Suryani")
        issuer.top_up(75_000, received=100_000, request="form-t1")
        desk.done()
        assert balance_on(card) == 75_000
        receipt = issuer.get("/topup/cash-form-t1").text
        for said in ("Lilis Suryani", "Rp 75.000", "Rp 100.000", "Rp 25.000"):
            assert said in receipt

    def test_sent_twice_it_is_one_credit(self, desk: Desk, issuer: Browser) -> None:
        card = SimulatedCard()
        issuer.issue(card, 6202, "Oman Abdurahman")
        for _ in range(2):
            issuer.top_up(20_000, request="form-t2")
            desk.done()
            issuer.tap("/bench/cancel")
        assert balance_on(card) == 20_000

    def test_a_card_pulled_away_gets_it_once_when_it_comes_back(
        self, desk: Desk, issuer: Browser
    ) -> None:
        card = SimulatedCard()
        issuer.issue(card, 6203, "Ating Sutisna")
        desk.lift()
        issuer.top_up(50_000, request="form-t3")
        desk.lay(card, at_frame(6, Moment.AFTER))
        desk.until(lambda state: state.phase is Phase.AGAIN)
        desk.lift()
        desk.lay(card)
        desk.done()
        assert balance_on(card) == 50_000

    def test_less_cash_than_the_amount_is_refused(self, desk: Desk, issuer: Browser) -> None:
        answer = issuer.top_up(50_000, received=20_000)
        assert code_of(answer) == "STAFF-CASH"
        assert desk.bench.state.task is None

    @pytest.mark.parametrize("amount", ["0", "-5", "12,5", "1e6", ""])
    def test_what_is_no_amount_is_refused(self, desk: Desk, issuer: Browser, amount: str) -> None:
        answer = issuer.post("/topup", request="t", amount=amount, received="5000", to="/topup")
        assert code_of(answer) in {"STATION-AMOUNT", "PAGE-FORM"}
        assert desk.bench.state.task is None

    def test_a_large_one_waits_for_a_second_person_and_then_comes(
        self, desk: Desk, issuer: Browser
    ) -> None:
        card = SimulatedCard()
        issuer.issue(card, 6204, "Haji Mansyur")
        issuer.top_up(1_500_000, request="form-t4")
        desk.done()
        assert 'data-testid="receipt-held"' in issuer.get("/topup/cash-form-t4").text
        assert balance_on(card) == 0
        issuer.tap("/bench/cancel")
        assert 'data-testid="accept"' not in issuer.get("/approvals").text
        joko = new_browser(desk)
        joko.log_in(JOKO)
        page = joko.get("/approvals").text
        assert "Rp 1.500.000" in page
        number = page.split('data-testid="approval" data-number="')[1].split('"')[0]
        assert code_of(issuer.post(f"/approvals/{number}", decision="accept")) != ""
        joko.post(f"/approvals/{number}", decision="accept")
        uid = card.uid.hex().upper()
        issuer.post(f"/cards/{uid}/deliver", request="t4-deliver")
        desk.lay(card)
        desk.done()
        assert balance_on(card) == 1_500_000


class TestTheLifeOfACard:
    def test_blocked_and_unblocked_with_a_reason(self, issuer: Browser) -> None:
        card = SimulatedCard()
        issuer.issue(card, 6301, "Enok Sukaesih")
        uid = card.uid.hex().upper()
        assert code_of(issuer.post(f"/cards/{uid}/block", reason=" ")) == "PAGE-FORM"
        issuer.post(f"/cards/{uid}/block", reason="hilang")
        page = issuer.get(f"/cards/{uid}").text
        assert 'data-state="blocked"' in page
        assert "hilang" in page
        assert re.search(r"<dd>\d\d-\d\d-20\d\d</dd>", page), "until when it is valid"
        issuer.post(f"/cards/{uid}/unblock", reason="ketemu")
        assert 'data-state="active"' in issuer.get(f"/cards/{uid}").text

    def test_a_lost_card_is_replaced_and_the_page_says_how_far_it_is(self, issuer: Browser) -> None:
        card = SimulatedCard()
        issuer.issue(card, 6302, "Kang Ujang")
        uid = card.uid.hex().upper()
        issuer.post(f"/cards/{uid}/replace", reason="hilang")
        page = issuer.get(f"/cards/{uid}").text
        assert 'data-testid="replacement"' in page
        assert 'data-testid="unblock"' not in page

    def test_a_pin_is_set_and_is_in_no_page(self, desk: Desk, issuer: Browser) -> None:
        card = SimulatedCard()
        issuer.issue(card, 6304, "Abah Anom")
        path = f"/cards/{card.uid.hex().upper()}/pin"
        fields = {"way": "set", "new": "493827", "again": "493820", "to": path}
        assert code_of(issuer.post(path, request="pin-1", **fields)) == "STAFF-PINS-DIFFER"
        answer = issuer.post(path, request="pin-2", **{**fields, "again": "493827"})
        assert "493827" not in answer.text
        assert "493827" not in repr(desk.bench.state)
        desk.done()
        assert "493827" not in issuer.get("/card").text

    def test_a_card_given_back_is_emptied_and_blank_again(
        self, desk: Desk, issuer: Browser
    ) -> None:
        card = SimulatedCard()
        issuer.issue(card, 6305, "Mak Erot")
        issuer.top_up(30_000, request="form-r1")
        desk.done()
        issuer.tap("/bench/cancel")
        path = f"/cards/{card.uid.hex().upper()}"
        fields = {"way": "given-back", "wipe": "yes", "reason": "pindah"}
        issuer.post(f"{path}/retire", request="retire-1", **fields)
        desk.done()
        issuer.tap("/bench/cancel")
        assert 'data-state="active"' not in issuer.get(path).text
        assert 'data-testid="strip" data-state="blank"' in issuer.get("/status").text
        for _ in range(2):
            page = issuer.post("/payout", request="form-p1", member="6305", amount="20.000").text
            assert 'data-testid="paid"' in page
            assert "Mak Erot" in page
            assert "Rp 10.000" in page  # left, also after the same form was sent twice
        over = issuer.post(
            "/payout", request="form-p2", member="6305", amount="10.001", to="/payout"
        )
        assert code_of(over) == "CENTRAL-AMOUNT"

    def test_a_payout_whose_answer_was_lost_is_sent_again_as_the_same(
        self, issuer: Browser, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def lost(*_asked: object) -> None:
            raise ServerUnreachable(address="x", detail="x")

        monkeypatch.setattr(cards, "pay_out", lost)
        answer = issuer.post("/payout", request="form-p3", member="6305", amount="5.000")
        assert code_of(answer) == ServerUnreachable.code
        for kept in ('value="form-p3"', 'value="6305"', 'value="5000"'):
            assert kept in answer.text

    def test_cards_that_expire_are_listed(
        self, issuer: Browser, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert 'data-testid="none-expires"' in issuer.get("/card/expiring").text
        issuer.issue(SimulatedCard(), 6306, "Mang Oded")
        monkeypatch.setattr(routes_cards, "EXPIRING_DAYS", 3650)
        assert "Mang Oded" in issuer.get("/card/expiring").text

    def test_new_keys_are_for_this_card_and_no_other(self, desk: Desk, issuer: Browser) -> None:
        card = SimulatedCard()
        issuer.issue(card, 6303, "Teh Nining")
        desk.lift()
        issuer.post(f"/cards/{card.uid.hex().upper()}/rekey", request="k1")
        desk.lay(SimulatedCard())
        assert desk.until(lambda state: state.is_another).phase is Phase.WAITING
        desk.lift()
        desk.lay(card)
        desk.done()


class TestLists:
    def take(self, issuer: Browser, start: int, name: str = "Rembug Cikupa.csv") -> str:
        answer = issuer.send_file(name, LIST.format(start).encode())
        path = answer.headers["hx-redirect"]
        number = path.rpartition("/")[2]
        answer = issuer.post("/batches", number=number, name="Rembug Cikupa")
        assert answer.url.path.startswith("/batches/")
        return str(answer.url.path)

    def test_the_preview_names_the_bad_row_and_what_to_do(self, issuer: Browser) -> None:
        answer = issuer.send_file("anggota.csv", LIST.format(641).encode())
        page = issuer.get(answer.headers["hx-redirect"]).text
        bad = page.split('data-testid="bad-rows"')[1].split("</table>")[0]
        assert bad.count("<tr>") == 2
        assert '<td class="number">4</td>' in bad
        assert "Ujang Hermawan" in page.split('data-testid="good-rows"')[1]

    def test_a_class_that_is_new_is_named_so_and_taken(self, issuer: Browser) -> None:
        content = b"nomor anggota;nama;golongan\n6491;Ujang;magang\n6492;Siti;magang\n"
        path = issuer.send_file("magang.csv", content).headers["hx-redirect"]
        page = issuer.get(path).text
        assert page.count('data-testid="new-class"') == 1
        assert 'data-testid="take-list"' not in page
        page = issuer.post(f"{path}/class", **{"class": "magang"}).text
        assert 'data-testid="new-class"' not in page
        assert 'data-testid="bad-rows"' not in page
        taken = issuer.post("/batches", number=path.rpartition("/")[2], name="Magang")
        assert taken.url.path.startswith("/batches/")
        assert "Ujang" in taken.text

    def test_a_file_that_is_no_list_is_refused_in_words(self, issuer: Browser) -> None:
        answer = issuer.send_file("x.pdf", b"%PDF-1.4 \x00\x01")
        assert "STATION-MEMBER-FILE" in answer.text

    def test_a_list_is_issued_with_nothing_to_press_between(
        self, desk: Desk, issuer: Browser
    ) -> None:
        path = self.take(issuer, 642)
        issuer.post(f"{path}/issue")
        for _ in range(3):
            in_queue(desk, QueuePhase.LAY)
            desk.lay(SimulatedCard())
            in_queue(desk, QueuePhase.ISSUED, QueuePhase.FINISHED)
            desk.reader.remove()
        state = desk.until(lambda state: not state.is_running)
        assert state.queue is not None
        assert state.queue.phase is QueuePhase.FINISHED
        assert 'data-testid="run" data-phase="finished"' in issuer.get(path).text
        issuer.get(f"{path}/close")
        assert issuer.get(path).text.count(">diterbitkan<") == 3

    def test_a_run_can_be_stopped_and_gone_on_with(self, desk: Desk, issuer: Browser) -> None:
        path = self.take(issuer, 643)
        issuer.post(f"{path}/issue")
        desk.until(lambda state: state.queue is not None and state.queue.phase is QueuePhase.LAY)
        assert code_of(issuer.post("/issue", request="i9", member="1", name="A")) == "STATION-BUSY"
        issuer.tap("/run/stop")
        desk.until(lambda state: not state.is_running)
        issuer.get(f"{path}/close")
        issuer.post(f"{path}/issue")
        desk.until(lambda state: state.queue is not None and state.queue.phase is QueuePhase.LAY)

    def test_another_person_does_not_stop_it(self, desk: Desk, issuer: Browser) -> None:
        path = self.take(issuer, 644)
        issuer.post(f"{path}/issue")
        joko = new_browser(desk)
        joko.log_in(JOKO)
        joko.tap("/run/stop")
        assert desk.bench.state.is_running


class TestReports:
    def test_cash_is_counted_beside_the_books(self, desk: Desk, issuer: Browser) -> None:
        card = SimulatedCard()
        issuer.issue(card, 6501, "Imas Masitoh")
        issuer.top_up(10_000, request="form-c1")
        desk.done()
        issuer.tap("/bench/cancel")
        issuer.post("/cash", counted="10.000", note="sore")
        page = issuer.get("/cash").text
        assert "Rp 10.000" in page
        assert "sore" in page
        assert re.search(r">\d\d-\d\d-20\d\d<", page), "of which day"

    def test_the_trail_says_who_did_what(self, desk: Desk, issuer: Browser) -> None:
        issuer.issue(SimulatedCard(), 6502, "Wawan Setiawan")
        joko = new_browser(desk)
        joko.log_in(JOKO)
        page = joko.get("/acts").text
        assert "Rina Marlina" in page
        assert "menerbitkan kartu" in page

    def test_the_status_says_that_all_is_there(self, issuer: Browser) -> None:
        page = issuer.get("/status").text
        assert 'data-testid="light-server" data-level="ok"' in page
        assert 'data-testid="light-reader" data-level="ok"' in page
