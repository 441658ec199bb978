"""Looking at cards, and ending them: whatever is torn, the member's money is theirs exactly once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from dobmi.cardlib.purse_layout import CardKey
from dobmi.central.acts import Actor
from dobmi.central.approvals import decide
from dobmi.central.cards import set_blocked, statement_of
from dobmi.central.circulation import circulation
from dobmi.central.credit_session import deliver_credits
from dobmi.central.errors import CardHasExpired, RoleLacking, StaffNeeded
from dobmi.central.inspect_session import inspect_card
from dobmi.central.payouts import pay_out
from dobmi.central.posting_rules import Kind
from dobmi.central.replacement import replace_card, restore_due
from dobmi.central.retire_session import retire_card
from dobmi.central.schema import (
    CardState,
    CreditDelivery,
    RetirementState,
    StaffRole,
    card_transactions,
    hotlist_changes,
    pending_credits,
    postings,
    retirements,
    staff_acts,
)
from dobmi.central.server import Central
from dobmi.central.staff import add_staff
from dobmi.central.wallet_cash import Payout
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.contactless import ContactlessCard
from dobmi.firmware_sim.faults import FaultyCard, Moment, at_command, at_frame
from dobmi.money import ZERO, Rupiah
from dobmi.sync.card_report import CardReport
from dobmi.sync.relay import Action, Done, Failed
from dobmi.sync.retirement import Purpose, RetireParameters, RetireResult
from support.card_sessions import deliver, issue, relay
from support.central_client import RING, Office
from support.purses import InProcess, purse_of
from support.traffic import START, ModelTill

COMMIT_TRANSACTION = 0xC7
BALANCE = Rupiah(25_000)


@pytest.fixture
def station(office: Office) -> ModelTill:
    return office.world.station()


@pytest.fixture
def card(office: Office, station: ModelTill) -> SimulatedCard:
    """Siti's, with Rp 25.000 on it."""
    card = SimulatedCard()
    assert isinstance(issue(office.client, station, card), Done)
    top_up(office, station, card, BALANCE)
    return card


def order(office: Office, station: ModelTill, card: SimulatedCard, amount: Rupiah) -> None:
    asked = {
        "card_uid": card.uid.hex(),
        "amount_rupiah": amount.amount,
        "source": "cash",
        "idempotency_key": f"order {card.uid.hex()} {amount.amount}",
    }
    answer = office.signed(station, "POST", "/v1/credits", asked)
    assert answer.status_code == 201, answer.text


def top_up(office: Office, station: ModelTill, card: SimulatedCard, amount: Rupiah) -> None:
    order(office, station, card, amount)
    assert isinstance(deliver(office.client, station, card), Done)


def sell(till: ModelTill, card: SimulatedCard, amount: Rupiah) -> None:
    """At a till that sends nothing yet."""
    purse = purse_of(card, RING)
    purse.begin_sale(till.next_reader_id)
    prepared = purse.prepare_debit(amount, START)
    purse.stage(prepared)
    done = purse.commit()
    till.append_evidence(card.uid, prepared.evidence, amount, done.counter, done.mac)


def retire(
    office: Office,
    station: ModelTill,
    card: ContactlessCard,
    purpose: Purpose = Purpose.GIVEN_BACK,
    *,
    wipe: bool = False,
) -> Done | Failed | None:
    asked = RetireParameters(purpose=purpose, reason="worn", wipe=wipe)
    return relay(office.client, station, card, Action.RETIRE, asked.to_cbor())


def retired(office: Office, station: ModelTill, card: ContactlessCard, **how: Any) -> RetireResult:
    done = retire(office, station, card, **how)
    assert isinstance(done, Done), done
    return RetireResult.from_cbor(done.result)


def inspect(office: Office, station: ModelTill, card: SimulatedCard) -> CardReport:
    done = relay(office.client, station, card, Action.INSPECT)
    assert isinstance(done, Done), done
    return CardReport.from_cbor(done.result)


def posted(office: Office, kind: Kind) -> list[Rupiah]:
    with office.world.central.database.read() as connection:
        amounts = connection.execute(
            select(postings.c.amount_rupiah).where(postings.c.kind == kind.value)
        ).scalars()
        return [Rupiah(amount) for amount in amounts]


def wallets(office: Office) -> Rupiah:
    now = circulation(office.world.central)
    assert now.difference == ZERO
    return now.in_wallets


def retirement(office: Office, card: SimulatedCard) -> Any:
    with office.world.central.database.read() as connection:
        return connection.execute(
            select(retirements).where(retirements.c.card_uid == card.uid)
        ).one_or_none()


class TestInspecting:
    def test_a_card_is_told_whole_beside_the_ledger(
        self, office: Office, station: ModelTill, card: SimulatedCard
    ) -> None:
        till = office.world.till()
        sell(till, card, Rupiah(4_000))
        office.acknowledged(till.batch())
        report = inspect(office, station, card)
        assert (report.name, report.member_number) == ("Siti Aminah", 4711)
        assert (report.balance, report.counter, report.last_credit_sequence) == (
            Rupiah(21_000), 2, 1,
        )  # fmt: skip
        told = [(line.kind, line.terminal_id, line.on_ledger) for line in report.lines]
        assert told == [(1, till.terminal_id, True), (2, 0, True)]
        assert report.lines[0].terminal_name
        assert report.ledger is not None
        assert (report.ledger.balance, report.ledger.state) == (Rupiah(21_000), "active")
        assert (report.difference, report.unexplained) == (ZERO, ZERO)

    def test_a_difference_is_explained_by_what_tills_have_not_sent(
        self, office: Office, station: ModelTill, card: SimulatedCard
    ) -> None:
        till = office.world.till()
        sell(till, card, Rupiah(4_000))
        sell(till, card, Rupiah(500))
        report = inspect(office, station, card)
        assert report.difference == Rupiah(-4_500)
        assert [line.amount for line in report.unreported] == [Rupiah(500), Rupiah(4_000)]
        assert report.unexplained == ZERO

    def test_what_waits_for_the_card_is_told(
        self, office: Office, station: ModelTill, card: SimulatedCard
    ) -> None:
        order(office, station, card, Rupiah(7_000))
        report = inspect(office, station, card)
        assert report.ledger is not None
        assert (report.ledger.waiting, report.ledger.waiting_count) == (Rupiah(7_000), 1)

    def test_a_blocked_card_can_be_looked_at_and_nothing_changes(
        self, office: Office, station: ModelTill, card: SimulatedCard
    ) -> None:
        set_blocked(office.world.central, card.uid, "lost", blocked=True, by_terminal=None)
        before = card.state
        report = inspect(office, station, card)
        assert report.ledger is not None
        assert (report.ledger.state, report.ledger.block_reason) == ("blocked", "lost")
        assert card.state == before

    def test_a_card_on_no_record_is_told_alone(self, office: Office, card: SimulatedCard) -> None:
        report = inspect_card(office.world.central, InProcess(card))
        alone = CardReport.from_cbor({**report.to_cbor(), 11: None})
        assert alone.ledger is None
        assert (alone.difference, alone.unexplained) == (ZERO, ZERO)

    def test_a_till_may_not_look(self, office: Office, card: SimulatedCard) -> None:
        till = office.world.till()
        last = relay(office.client, till, card, Action.INSPECT)
        assert isinstance(last, Failed)


class TestEnding:
    def test_the_money_goes_into_the_wallet_and_the_card_is_refused(
        self, office: Office, station: ModelTill, card: SimulatedCard
    ) -> None:
        result = retired(office, station, card)
        assert (result.emptied, result.returned, result.wallet) == (BALANCE, ZERO, BALANCE)
        assert purse_of(card, RING).read().balance == ZERO
        assert wallets(office) == BALANCE
        statement = statement_of(office.world.central, card.uid)
        assert (statement.state, statement.balance) == (CardState.RETIRED, ZERO)
        last = deliver(office.client, station, card)
        assert isinstance(last, Failed)
        assert last.code == "CENTRAL-CARD-ENDED"
        with office.world.central.database.read() as connection:
            acts = set(connection.execute(select(staff_acts.c.act)).scalars())
            blocked = connection.execute(select(hotlist_changes.c.card_uid)).scalars().all()
        assert "retire" in acts
        assert blocked == [card.uid]

    def test_a_renewed_cards_money_waits_for_the_new_card_at_once(
        self, office: Office, station: ModelTill, card: SimulatedCard
    ) -> None:
        retired(office, station, card, purpose=Purpose.RENEWED)
        new = SimulatedCard()
        assert isinstance(issue(office.client, station, new), Done)
        assert isinstance(deliver(office.client, station, new), Done)
        assert purse_of(new, RING).read().balance == BALANCE
        assert wallets(office) == ZERO

    def test_what_tills_have_not_sent_yet_is_not_paid_twice(
        self, office: Office, station: ModelTill, card: SimulatedCard
    ) -> None:
        till = office.world.till()
        sell(till, card, Rupiah(4_000))
        assert retired(office, station, card).emptied == Rupiah(21_000)
        statement = statement_of(office.world.central, card.uid)
        assert statement.balance == Rupiah(4_000)
        office.acknowledged(till.batch())
        assert statement_of(office.world.central, card.uid).balance == ZERO
        assert wallets(office) == Rupiah(21_000)
        assert posted(office, Kind.UNEXPLAINED_LOSS) == []

    def test_a_credit_that_never_reached_it_goes_back_to_the_wallet(
        self, office: Office, station: ModelTill, card: SimulatedCard
    ) -> None:
        order(office, station, card, Rupiah(7_000))
        result = retired(office, station, card)
        assert (result.emptied, result.returned) == (BALANCE, Rupiah(7_000))
        assert wallets(office) == Rupiah(32_000)

    @pytest.mark.parametrize("moment", Moment)
    def test_a_credit_in_doubt_is_settled_by_the_cards_own_word(
        self, office: Office, station: ModelTill, card: SimulatedCard, moment: Moment
    ) -> None:
        order(office, station, card, Rupiah(7_000))
        deliver(office.client, station, FaultyCard(card, [at_command(COMMIT_TRANSACTION, moment)]))
        result = retired(office, station, card)
        assert result.emptied + result.returned == Rupiah(32_000)
        assert wallets(office) == Rupiah(32_000)

    def test_an_expired_card_is_ended_like_another(
        self, office: Office, station: ModelTill, card: SimulatedCard
    ) -> None:
        later = office.world.central.unix_seconds() + 6 * 366 * 24 * 3600
        central = replace(office.world.central, unix_seconds=lambda: later)
        with pytest.raises(CardHasExpired):
            deliver_credits(central, InProcess(card))
        asked = RetireParameters(purpose=Purpose.RENEWED, reason="expired")
        result = retire_card(central, InProcess(card), asked, Actor("", station.terminal_id))
        assert result.emptied == BALANCE

    def test_a_card_with_nothing_on_it_ends_without_a_transaction(
        self, office: Office, station: ModelTill
    ) -> None:
        card = SimulatedCard()
        issue(office.client, station, card)
        assert retired(office, station, card).emptied == ZERO
        assert posted(office, Kind.EMPTIED) == []

    def test_doing_it_again_changes_nothing(
        self, office: Office, station: ModelTill, card: SimulatedCard
    ) -> None:
        first = retired(office, station, card)
        assert retired(office, station, card) == first
        assert posted(office, Kind.EMPTIED) == [BALANCE]

    def test_a_blocked_or_lost_card_is_not_ended(
        self, office: Office, station: ModelTill, card: SimulatedCard
    ) -> None:
        set_blocked(office.world.central, card.uid, "lost", blocked=True, by_terminal=None)
        last = retire(office, station, card)
        assert isinstance(last, Failed)
        assert last.code == "CENTRAL-CARD-BLOCKED"
        replace_card(office.world.central, card.uid, "lost", by_terminal=None)
        last = retire(office, station, card)
        assert isinstance(last, Failed)
        assert last.code == "CENTRAL-CARD-REPLACED"
        assert purse_of(card, RING).read().balance == BALANCE

    def test_an_ended_card_is_neither_unblocked_nor_replaced_nor_issued(
        self, office: Office, station: ModelTill, card: SimulatedCard
    ) -> None:
        retired(office, station, card)
        for path, body in (
            ("unblock", {"reason": "found"}),
            ("block", {"reason": "lost"}),
            ("replace", {"reason": "lost"}),
        ):
            answer = office.signed(
                station, "POST", f"/v1/cards/{card.uid.hex().upper()}/{path}", body
            )
            assert (answer.status_code, answer.json()["code"]) == (409, "CENTRAL-CARD-ENDED")
        last = issue(office.client, station, card)
        assert isinstance(last, Failed)
        assert last.code == "CENTRAL-CARD-ENDED"


@pytest.mark.parametrize("moment", Moment)
def test_torn_at_any_frame_it_is_finished_and_the_money_is_there_once(
    office: Office, station: ModelTill, card: SimulatedCard, moment: Moment
) -> None:
    """One card after another, each torn one frame later, until a whole ending goes through."""
    total, frame, number = ZERO, 0, 4711
    while True:
        torn = retire(office, station, FaultyCard(card, [at_frame(frame, moment)]), wipe=True)
        assert retired(office, station, card, wipe=True).emptied == BALANCE
        total += BALANCE
        assert wallets(office) == total
        if isinstance(torn, Done):
            break
        frame, number = frame + 1, number + 1
        card = SimulatedCard()
        assert isinstance(issue(office.client, station, card, number, "Budi"), Done)
        top_up(office, station, card, BALANCE)
    assert frame > 20
    assert posted(office, Kind.EMPTIED) == [BALANCE] * (frame + 1)
    assert posted(office, Kind.UNEXPLAINED_LOSS) == []


def test_lost_while_its_emptying_is_in_doubt_it_is_restored_once(
    office: Office, station: ModelTill, card: SimulatedCard
) -> None:
    lost = at_command(COMMIT_TRANSACTION, Moment.AFTER)
    assert isinstance(retire(office, station, FaultyCard(card, [lost])), Failed)
    assert retirement(office, card).state == RetirementState.IN_DOUBT
    replace_card(office.world.central, card.uid, "broken", by_terminal=None)
    restore_due(office.world.central)
    new = SimulatedCard()
    assert isinstance(issue(office.client, station, new), Done)
    assert isinstance(deliver(office.client, station, new), Done)
    assert purse_of(new, RING).read().balance == BALANCE
    found = retire(office, station, card)
    assert isinstance(found, Failed)
    assert found.code == "CENTRAL-CARD-REPLACED"
    assert wallets(office) == ZERO
    assert retirement(office, card).state == RetirementState.LOST


def test_a_till_that_sells_between_two_tries_is_seen(
    office: Office, station: ModelTill, card: SimulatedCard
) -> None:
    before = at_command(COMMIT_TRANSACTION, Moment.BEFORE)
    assert isinstance(retire(office, station, FaultyCard(card, [before])), Failed)
    till = office.world.till()
    sell(till, card, Rupiah(1_000))
    assert retired(office, station, card).emptied == Rupiah(24_000)
    office.acknowledged(till.batch())
    assert statement_of(office.world.central, card.uid).balance == ZERO
    assert wallets(office) == Rupiah(24_000)


def test_a_wiped_chip_is_blank_and_never_a_purse_again(
    office: Office, station: ModelTill, card: SimulatedCard
) -> None:
    assert retired(office, station, card, wipe=True).wiped
    assert card.state.applications == ()
    assert card.state.master_key.version == 0
    last = issue(office.client, station, card)
    assert isinstance(last, Failed)
    assert last.code == "CENTRAL-CARD-ENDED"
    assert card.state.applications == ()
    with office.world.central.database.read() as connection:
        counters = connection.execute(
            select(card_transactions.c.counter).where(card_transactions.c.card_uid == card.uid)
        ).scalars()
        assert sorted(counters) == [1, 2]
        states = connection.execute(select(pending_credits.c.state)).scalars().all()
    assert states == [CreditDelivery.DELIVERED]
    assert RING.card_key(CardKey.PICC, card.uid)


class TestPayouts:
    @pytest.fixture(autouse=True)
    def _given_back(self, office: Office, station: ModelTill, card: SimulatedCard) -> None:
        retired(office, station, card)

    def pay(
        self, office: Office, station: ModelTill, amount: int, key: str = "first time"
    ) -> tuple[int, dict[str, Any]]:
        order = {"member_number": 4711, "amount_rupiah": amount, "idempotency_key": key}
        answer = office.signed(station, "POST", "/v1/payouts", order)
        return answer.status_code, answer.json()

    def test_cash_is_paid_once_with_a_receipt(self, office: Office, station: ModelTill) -> None:
        status, first = self.pay(office, station, 20_000)
        assert (status, first["receipt"], first["left_rupiah"]) == (201, 1, 5_000)
        assert self.pay(office, station, 20_000) == (201, first)
        assert self.pay(office, station, 5_000)[1]["code"] == "CENTRAL-IDEMPOTENCY"
        assert self.pay(office, station, 5_000, "second time")[1]["receipt"] == 2
        assert wallets(office) == ZERO
        assert sum(map(int, (amount.amount for amount in posted(office, Kind.CASHED)))) == 25_000
        now = circulation(office.world.central)
        assert now.redeemed == BALANCE

    def test_no_more_than_the_wallet_has(self, office: Office, station: ModelTill) -> None:
        status, problem = self.pay(office, station, 25_001)
        assert (status, problem["code"]) == (422, "CENTRAL-AMOUNT")
        assert wallets(office) == BALANCE

    def test_a_member_with_a_card_gets_it_on_that(self, office: Office, station: ModelTill) -> None:
        assert isinstance(issue(office.client, station, SimulatedCard()), Done)
        assert wallets(office) == ZERO
        assert self.pay(office, station, 1_000)[1]["code"] == "CENTRAL-MEMBER-HAS-CARD"

    def test_no_more_than_the_station_has_in_cash(self, office: Office) -> None:
        other = office.world.station()
        status, problem = self.pay(office, other, 20_000)
        assert (status, problem["code"]) == (409, "CENTRAL-CASH")
        assert wallets(office) == BALANCE

    def test_an_unknown_member_and_a_till_are_refused(
        self, office: Office, station: ModelTill
    ) -> None:
        order = {"member_number": 9, "amount_rupiah": 1, "idempotency_key": "whatever"}
        answer = office.signed(station, "POST", "/v1/payouts", order)
        assert answer.json()["code"] == "CENTRAL-MEMBER-UNKNOWN"
        order["member_number"] = 4711
        assert office.signed(office.world.till(), "POST", "/v1/payouts", order).status_code == 403

    def test_a_large_one_needs_two_people_and_is_paid_once(
        self, office: Office, station: ModelTill
    ) -> None:
        settings = office.world.central.settings.model_copy(
            update={"approve_payout_above_rupiah": 10_000}
        )
        central = replace(office.world.central, settings=settings)
        with pytest.raises(StaffNeeded):
            self._ask(central, station, "")
        add_staff(central.database, "Budi", [StaffRole.ISSUER], START)
        add_staff(central.database, "Ani", [StaffRole.APPROVER], START)
        asked = self._ask(central, station, "Budi")
        assert asked.receipt is None
        assert asked.approval is not None
        assert self._ask(central, station, "Budi").approval == asked.approval
        assert wallets(office) == BALANCE
        now = central.unix_seconds()
        with pytest.raises(RoleLacking):
            decide(central, asked.approval, True, Actor("Budi", None), now)
        for _ in range(2):
            decided = decide(central, asked.approval, True, Actor("Ani", None), now)
        assert "receipt 1" in decided.outcome
        assert wallets(office) == Rupiah(5_000)
        assert self._ask(central, station, "Budi").receipt == 1

    def test_a_large_one_in_parts_needs_two_people_too(
        self, office: Office, station: ModelTill
    ) -> None:
        settings = office.world.central.settings.model_copy(
            update={"approve_payout_above_rupiah": 10_000}
        )
        central = replace(office.world.central, settings=settings)
        add_staff(central.database, "Budi", [StaffRole.ISSUER], START)
        budi = Actor("Budi", station.terminal_id)

        def pay(key: str, of: Central = central) -> Payout:
            return pay_out(of, 4711, Rupiah(8_000), idempotency_key=key, actor=budi)

        assert pay("the first part").receipt == 1
        second = pay("the second part")
        assert (second.receipt, second.approval) == (None, 1)
        assert pay("the first part").receipt == 1
        tomorrow = central.unix_seconds() + 24 * 3600
        assert pay("a day later", replace(central, unix_seconds=lambda: tomorrow)).receipt == 2

    def _ask(self, central: Central, station: ModelTill, name: str) -> Payout:
        actor = Actor(name, station.terminal_id)
        return pay_out(central, 4711, Rupiah(20_000), idempotency_key="a large one", actor=actor)


def test_cards_that_expire_soon_are_listed(
    office: Office, station: ModelTill, card: SimulatedCard
) -> None:
    def listed(within_days: int) -> list[dict[str, Any]]:
        path = f"/v1/expiring-cards?within_days={within_days}"
        found: list[dict[str, Any]] = office.signed(station, "GET", path).json()["cards"]
        return found

    assert listed(60) == []
    (mine,) = listed(3650)
    assert (mine["card_uid"], mine["member_name"], mine["balance_rupiah"]) == (
        card.uid.hex().upper(),
        "Siti Aminah",
        25_000,
    )
    retired(office, station, card)
    assert listed(3650) == []
