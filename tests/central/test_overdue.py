"""Sales in doubt that stay so: supervisors' decisions, the rule after a number of days, the feed."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest
from sqlalchemy import Connection, select

from dobmi.central import overdue
from dobmi.central.cards import statement_of
from dobmi.central.circulation import circulation
from dobmi.central.conclusions import settle_cards
from dobmi.central.doubts import conclude
from dobmi.central.ingest import take_batch
from dobmi.central.overdue import SettledByRule, doubt_list, settle_overdue
from dobmi.central.schema import anomalies, doubt_settlements, in_doubt, postings
from dobmi.money import ZERO, Rupiah
from dobmi.sync.feed import Feed, SettledAs, verify_feed
from dobmi.sync.voucher import Outcome
from support.central_client import Office
from support.traffic import START, ModelCard, ModelTill

DAY = 24 * 3600
IN_TIME = START + 30 * DAY - 1
OVERDUE = START + 30 * DAY
AMOUNT = Rupiah(5_000)


@pytest.fixture
def till(office: Office) -> ModelTill:
    return office.world.till()


@pytest.fixture
def other(office: Office) -> ModelTill:
    return office.world.till("Toko Lain", name="Kasir 2")


@pytest.fixture
def card(office: Office) -> ModelCard:
    card = office.world.card(4711)
    office.world.top_up(office.world.station(), card, Rupiah(100_000))
    return card


def doubt_of(office: Office, till: ModelTill) -> tuple[str, str]:
    """State, and who settled it, of the till's first sale."""
    with office.world.central.database.read() as connection:
        row = connection.execute(
            select(in_doubt.c.state, in_doubt.c.settled_by).where(
                in_doubt.c.terminal_id == till.terminal_id, in_doubt.c.sequence == 1
            )
        ).one()
    return row.state, row.settled_by


def history(office: Office) -> list[tuple[str, str]]:
    """States and rules, in the order in which they were given."""
    with office.world.central.database.read() as connection:
        rows = connection.execute(select(doubt_settlements).order_by(doubt_settlements.c.id))
        return [(row.state, row.rule) for row in rows]


def journal(office: Office) -> list[tuple[str, int, str]]:
    """Kind, amount and explanation of all that is not a top-up."""
    with office.world.central.database.read() as connection:
        rows = connection.execute(
            select(postings)
            .where(postings.c.kind.not_in(("top-up", "delivered")))
            .order_by(postings.c.id)
        )
        return [(row.kind, row.amount_rupiah, row.explanation) for row in rows]


def anomaly_of(office: Office, kind: str) -> str:
    with office.world.central.database.read() as connection:
        detail: str = connection.execute(
            select(anomalies.c.detail).where(anomalies.c.kind == kind)
        ).scalar_one()
    return detail


def settle(office: Office, now: int = OVERDUE) -> SettledByRule:
    done = settle_overdue(office.world.central, now)
    assert settle_overdue(office.world.central, now) == SettledByRule(), "it is idempotent"
    assert circulation(office.world.central).difference == ZERO
    return done


def assert_ledger_is_card(office: Office, card: ModelCard) -> None:
    assert statement_of(office.world.central, card.uid).balance == card.balance


def feed_of(office: Office, till: ModelTill, query: str = "?since=0&settled_since=0") -> Feed:
    answer = office.signed(till, "GET", f"/v1/feed{query}")
    assert answer.status_code == 200
    key = office.world.central.public_key
    return verify_feed(answer.content, key, 0, till.terminal_id)


def told(office: Office, till: ModelTill) -> list[tuple[int, SettledAs, str]]:
    settlements = feed_of(office, till).settlements
    assert settlements is not None
    return [(one.sequence, one.outcome, one.rule) for one in settlements.settled]


class TestTheRule:
    def test_not_a_day_too_early(self, office: Office, till: ModelTill, card: ModelCard) -> None:
        till.doubt(card, AMOUNT, committed=True)
        office.acknowledged(till.batch())
        assert settle(office, IN_TIME) == SettledByRule()
        assert doubt_of(office, till) == ("open", "")

    def test_it_asks_only_the_cards_whose_time_is_over(
        self,
        office: Office,
        till: ModelTill,
        other: ModelTill,
        card: ModelCard,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """However many cards have holes, or doubts that are young."""
        hole, young = office.world.card(4712), office.world.card(4713)
        for one in (hole, young):
            office.world.top_up(office.world.station(), one, Rupiah(100_000))
        other.doubt(hole, AMOUNT, committed=True)  # never sent
        till.doubt(card, AMOUNT, committed=True)
        till.sell(hole, AMOUNT)
        office.acknowledged(till.batch())
        till.doubt(young, AMOUNT, committed=True)
        a_day_later = dataclasses.replace(office.world.central, unix_seconds=lambda: START + DAY)
        take_batch(a_day_later, till.batch())
        asked: list[bytes] = []

        def counted(connection: Connection, uids: list[bytes], *rest: Any) -> None:
            asked.extend(uids)
            settle_cards(connection, uids, *rest)

        monkeypatch.setattr(overdue, "settle_cards", counted)
        assert settle(office).not_paid_count == 1
        assert asked == [card.uid]

    def test_one_that_cannot_be_settled_holds_up_no_other(
        self, office: Office, till: ModelTill, card: ModelCard, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bad = office.world.card(4712)
        office.world.top_up(office.world.station(), bad, Rupiah(100_000))
        for one in (bad, card):
            till.doubt(one, AMOUNT, committed=True)
        office.acknowledged(till.batch())

        def broken(connection: Connection, *where: Any, **rest: Any) -> None:
            if where[1] == 1:
                raise LookupError("planted")
            conclude(connection, *where, **rest)

        monkeypatch.setattr(overdue, "conclude", broken)
        assert settle(office).not_paid_count == 1
        assert "LookupError" in anomaly_of(office, "card-not-settled")
        monkeypatch.setattr(overdue, "conclude", conclude)
        assert settle(office).not_paid_count == 1

    def test_with_no_word_of_anybody_it_is_not_paid_and_says_why(
        self, office: Office, till: ModelTill, card: ModelCard
    ) -> None:
        till.doubt(card, AMOUNT, committed=True)
        office.acknowledged(till.batch())
        assert settle(office) == SettledByRule(not_paid_count=1, not_paid_total=AMOUNT)
        assert doubt_of(office, till) == ("not_paid", "rule")
        assert journal(office) == []
        assert history(office) == [("not_paid", "no-word")]
        (doubt,) = doubt_list(office.world.central, settled_too=True)
        assert "no word of the card for 30 days" in doubt.explanation
        assert "at the outlet's expense" in doubt.explanation

    def test_a_till_that_dates_its_doubts_back_gains_no_day(
        self, office: Office, till: ModelTill, card: ModelCard
    ) -> None:
        till.doubt(card, AMOUNT, committed=True)  # its own time is START
        object.__setattr__(office.world.central, "unix_seconds", lambda: START + 20 * DAY)
        office.acknowledged(till.batch())
        assert settle(office) == SettledByRule()
        assert settle(office, START + 50 * DAY).not_paid_count == 1

    @pytest.mark.parametrize("committed", [False, True])
    def test_the_card_that_shows_up_later_goes_before_the_rule(
        self, office: Office, till: ModelTill, other: ModelTill, card: ModelCard, *, committed: bool
    ) -> None:
        till.doubt(card, AMOUNT, committed=committed)
        office.acknowledged(till.batch())
        settle(office)
        other.sell(card, Rupiah(1_000))
        office.acknowledged(other.batch())
        assert doubt_of(office, till) == ("paid" if committed else "not_paid", "card")
        assert office.owed_to_outlets() == Rupiah(6_000 if committed else 1_000)
        assert_ledger_is_card(office, card)
        assert office.anomalies() == set(), "nobody lied"
        if committed:
            assert (
                "before that not_paid by rule"
                in doubt_list(office.world.central, settled_too=True)[0].explanation
            )

    @pytest.mark.parametrize("by", ["supervisor", "till"])
    def test_what_is_said_to_be_paid_is_held_in_suspense_until_the_card_speaks(
        self, office: Office, till: ModelTill, card: ModelCard, by: str
    ) -> None:
        till.doubt(card, AMOUNT, committed=True)
        if by == "till":
            till.resolve(card, 1, Outcome.PAID)
        else:
            till.decide(card, 1, Outcome.PAID)
        office.acknowledged(till.batch())
        assert doubt_of(office, till) == ("open", "")
        assert settle(office) == SettledByRule(held_count=1, held_total=AMOUNT)
        assert doubt_of(office, till) == ("suspended", "rule")
        now = circulation(office.world.central)
        assert (now.suspense, now.owed_to_outlets) == (AMOUNT, ZERO)
        ((kind, amount, explanation),) = journal(office)
        assert (kind, amount) == ("claim-held", 5_000)
        assert explanation.startswith("rule claimed-paid: no word of the card for 30 days; PAID, ")
        assert ("supervisor Ani" if by == "supervisor" else "the till in voucher 2") in explanation

    @pytest.mark.parametrize("committed", [False, True])
    def test_what_was_held_goes_back_by_a_counter_entry_when_the_card_speaks(
        self, office: Office, till: ModelTill, other: ModelTill, card: ModelCard, *, committed: bool
    ) -> None:
        till.doubt(card, AMOUNT, committed=committed)
        till.decide(card, 1, Outcome.PAID)
        office.acknowledged(till.batch())
        settle(office)
        held = journal(office)
        other.sell(card, Rupiah(1_000))
        office.acknowledged(other.batch())
        assert doubt_of(office, till) == ("paid" if committed else "not_paid", "card")
        now = circulation(office.world.central)
        assert now.suspense == ZERO
        assert now.owed_to_outlets == Rupiah(6_000 if committed else 1_000)
        assert_ledger_is_card(office, card)
        assert journal(office)[:1] == held, "nothing was edited"
        (released,) = [line for line in journal(office) if line[0] == "claim-released"]
        assert released[1] == 5_000
        assert "before that suspended by rule" in released[2]
        assert office.anomalies() == (set() if committed else {"decision-contradicted"})

    def test_held_is_let_go_too_by_the_cards_mac_in_a_late_resolution(
        self, office: Office, till: ModelTill, card: ModelCard
    ) -> None:
        counter, mac = till.doubt(card, AMOUNT, committed=True)
        till.decide(card, 1, Outcome.PAID)
        office.acknowledged(till.batch())
        settle(office)
        till.resolve(card, 1, Outcome.PAID, counter, mac)
        office.acknowledged(till.batch())
        assert doubt_of(office, till) == ("paid", "resolution")
        assert circulation(office.world.central).suspense == ZERO
        assert office.owed_to_outlets() == AMOUNT
        assert_ledger_is_card(office, card)

    def test_a_claim_is_held_once_however_often_the_till_changes_its_mind(
        self, office: Office, till: ModelTill, card: ModelCard
    ) -> None:
        till.doubt(card, AMOUNT, committed=False)
        till.resolve(card, 1, Outcome.PAID)
        office.acknowledged(till.batch())
        assert settle(office).held_count == 1
        for outcome in (Outcome.NOT_PAID, Outcome.PAID):
            till.resolve(card, 1, outcome)
            office.acknowledged(till.batch())
        assert doubt_of(office, till) == ("open", "")
        assert settle(office).not_paid_count == 1
        assert circulation(office.world.central).suspense == ZERO
        assert statement_of(office.world.central, card.uid).balance == Rupiah(100_000)

    def test_a_claim_that_comes_after_the_rule_leads_where_one_before_it_does(
        self, office: Office, till: ModelTill, card: ModelCard
    ) -> None:
        till.doubt(card, AMOUNT, committed=True)
        office.acknowledged(till.batch())
        settle(office)
        till.decide(card, 1, Outcome.PAID)
        office.acknowledged(till.batch())
        assert doubt_of(office, till) == ("open", "")
        assert settle(office).held_count == 1
        assert doubt_of(office, till) == ("suspended", "rule")
        assert [rule for _, rule in history(office)] == ["no-word", "claim", "claimed-paid"]

    def test_a_sale_that_is_suspended_and_then_disputed_stands_in_suspense_once(
        self, office: Office, till: ModelTill, other: ModelTill, card: ModelCard
    ) -> None:
        staged = card.stage_sale(till.next_reader_id, Rupiah(7_000))
        claimed = card.stage_sale(till.next_reader_id, AMOUNT)
        till.append_doubt(card, claimed)
        till.decide(card, 1, Outcome.PAID)
        office.acknowledged(till.batch())
        settle(office)
        card.commit(staged)
        other.sell(card, Rupiah(1_000))
        office.acknowledged(other.batch())
        assert doubt_of(office, till) == ("disputed", "card")
        assert circulation(office.world.central).suspense == Rupiah(7_000)
        assert_ledger_is_card(office, card)


class TestASupervisorsDecision:
    def test_not_paid_is_taken_since_it_is_against_the_tills_own_interest(
        self, office: Office, till: ModelTill, card: ModelCard
    ) -> None:
        till.doubt(card, AMOUNT, committed=False)
        till.decide(card, 1, Outcome.NOT_PAID)
        assert office.acknowledged(till.batch()).quarantined == ()
        assert doubt_of(office, till) == ("not_paid", "decision")
        assert history(office) == [("not_paid", "decided")]
        assert journal(office) == []

    def test_paid_posts_nothing_until_the_card_says_so(
        self, office: Office, till: ModelTill, other: ModelTill, card: ModelCard
    ) -> None:
        till.doubt(card, AMOUNT, committed=True)
        till.decide(card, 1, Outcome.PAID)
        office.acknowledged(till.batch())
        assert office.owed_to_outlets() == ZERO
        other.sell(card, Rupiah(1_000))
        office.acknowledged(other.batch())
        assert doubt_of(office, till) == ("paid", "card")
        assert office.anomalies() == set()

    @pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
    @pytest.mark.parametrize("committed", [False, True])
    def test_the_card_wins_in_whatever_order_word_and_card_come(
        self,
        office: Office,
        till: ModelTill,
        other: ModelTill,
        card: ModelCard,
        order: tuple[int, ...],
        *,
        committed: bool,
    ) -> None:
        till.doubt(card, AMOUNT, committed=committed)
        till.decide(card, 1, Outcome.NOT_PAID if committed else Outcome.PAID)
        other.sell(card, Rupiah(1_000))
        doubt, decision, sale = till.batch(1, 1), till.batch(2, 2), other.batch()
        waiting = [(doubt, decision, sale)[number] for number in order]
        if waiting.index(decision) < waiting.index(doubt):
            waiting.remove(decision)
            waiting.insert(waiting.index(doubt) + 1, decision)  # the till's chain has one order
        for batch in waiting:
            office.acknowledged(batch)
        assert doubt_of(office, till) == ("paid" if committed else "not_paid", "card")
        assert office.anomalies() == {"decision-contradicted"}
        detail = anomaly_of(office, "decision-contradicted")
        assert "supervisor Ani decided" in detail
        assert "barang dibawa" in detail
        assert office.owed_to_outlets() == Rupiah(6_000 if committed else 1_000)
        assert_ledger_is_card(office, card)

    def test_it_is_contradicted_by_what_the_till_later_reads_on_the_card(
        self, office: Office, till: ModelTill, card: ModelCard
    ) -> None:
        till.doubt(card, AMOUNT, committed=False)
        till.decide(card, 1, Outcome.PAID)
        till.resolve(card, 1, Outcome.NOT_PAID)
        office.acknowledged(till.batch())
        assert doubt_of(office, till) == ("not_paid", "resolution")
        assert office.anomalies() == {"decision-contradicted"}

    def test_one_of_no_doubt_of_that_till_and_card_is_quarantined(
        self, office: Office, till: ModelTill, other: ModelTill, card: ModelCard
    ) -> None:
        till.doubt(card, AMOUNT, committed=True)
        office.acknowledged(till.batch())
        other.void(card, AMOUNT)
        other.decide(card, 1, Outcome.NOT_PAID)
        assert office.acknowledged(other.batch()).quarantined == ((2, "resolves-nothing"),)
        till.decide(office.world.card(4712), 1, Outcome.NOT_PAID)
        assert office.acknowledged(till.batch()).quarantined == ((2, "resolves-nothing"),)
        assert doubt_of(office, till) == ("open", "")

    @pytest.mark.parametrize("together", [False, True])
    def test_a_second_one_is_quarantined_and_changes_nothing(
        self, office: Office, till: ModelTill, card: ModelCard, *, together: bool
    ) -> None:
        till.doubt(card, AMOUNT, committed=True)
        till.decide(card, 1, Outcome.NOT_PAID)
        if not together:
            office.acknowledged(till.batch())
        till.decide(card, 1, Outcome.PAID, "Budi")
        assert office.acknowledged(till.batch()).quarantined == ((3, "decided-already"),)
        assert doubt_of(office, till) == ("not_paid", "decision")


class TestTheFeed:
    def test_a_till_is_told_what_the_card_showed_elsewhere(
        self, office: Office, till: ModelTill, other: ModelTill, card: ModelCard
    ) -> None:
        till.doubt(card, AMOUNT, committed=True)
        office.acknowledged(till.batch())
        assert told(office, till) == []
        other.sell(card, Rupiah(1_000))
        office.acknowledged(other.batch())
        assert told(office, till) == [(1, SettledAs.PAID, "card")]
        assert told(office, other) == []

    def test_it_is_told_what_the_rule_did_and_then_what_the_card_said(
        self, office: Office, till: ModelTill, other: ModelTill, card: ModelCard
    ) -> None:
        till.doubt(card, AMOUNT, committed=True)
        till.decide(card, 1, Outcome.PAID)
        office.acknowledged(till.batch())
        settle(office)
        assert told(office, till) == [(1, SettledAs.HELD, "claimed-paid")]
        other.sell(card, Rupiah(1_000))
        office.acknowledged(other.batch())
        assert told(office, till) == [(1, SettledAs.PAID, "card")]

    def test_it_is_not_told_what_it_said_itself(
        self, office: Office, till: ModelTill, card: ModelCard
    ) -> None:
        counter, mac = till.doubt(card, AMOUNT, committed=True)
        till.resolve(card, 1, Outcome.PAID, counter, mac)
        till.doubt(card, AMOUNT, committed=False)
        till.decide(card, 3, Outcome.NOT_PAID)
        office.acknowledged(till.batch())
        assert told(office, till) == []

    def test_only_what_is_new_but_for_a_week(
        self, office: Office, till: ModelTill, card: ModelCard
    ) -> None:
        till.doubt(card, AMOUNT, committed=True)
        office.acknowledged(till.batch())
        settle(office)
        for since, count in ((OVERDUE, 1), (OVERDUE + 7 * DAY, 1), (OVERDUE + 7 * DAY + 1, 0)):
            found = feed_of(office, till, f"?since=0&settled_since={since}").settlements
            assert found is not None
            assert (found.since, len(found.settled)) == (since, count)

    def test_a_till_that_does_not_ask_gets_the_feed_as_it_was(
        self, office: Office, till: ModelTill, card: ModelCard
    ) -> None:
        till.doubt(card, AMOUNT, committed=True)
        office.acknowledged(till.batch())
        settle(office)
        assert feed_of(office, till, "?since=0").settlements is None
        assert office.signed(till, "GET", "/v1/feed?settled_since=-1").status_code == 422
