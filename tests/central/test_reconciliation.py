"""Cards, tills, days and suspense accounted for, as the office reads it."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from dobmi.central.booking import booking_day, start_of_day
from dobmi.central.circulation import circulation
from dobmi.central.days import close_days
from dobmi.central.overdue import settle_overdue
from dobmi.central.posting_rules import Group
from dobmi.central.reconciled_day import reconcile_day
from dobmi.central.reconciliation import (
    GapCause,
    open_cards,
    open_cards_statement,
    reconcile_card,
    suspense_lines,
)
from dobmi.money import Rupiah
from dobmi.sync.voucher import Outcome
from support.databases import Kind
from support.reconciling import Desk, lost_sale
from support.traffic import START, World

TODAY = booking_day(START)
DATE = "2027-01-15"


@pytest.fixture
def desk(world: World, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk.at(world, monkeypatch)


def test_a_card_with_nothing_open_has_every_number_accounted_for(desk: Desk) -> None:
    till, card = desk.world.till(), desk.card()
    till.sell(card, Rupiah(1_000))
    desk.send(till)
    told = desk.ok("reconcile", "card", card.uid.hex())
    assert "Anggota 4711 (member 4711)" in told
    assert "     1  15-01-2027 15:00 WIB  credit 1 of Rp 100.000 → Rp 100.000, sealed" in told
    assert f"     2  15-01-2027 15:00 WIB  sale {till.terminal_id}/1 of Rp 1.000" in told
    assert "Every one of its 2 transactions is accounted for." in told
    assert "0 cards with something open." in desk.ok("reconcile", "cards")
    desk.refused("CENTRAL-CARD-UNKNOWN", "reconcile", "card", "99")


def test_a_gap_names_the_till_that_the_card_names(desk: Desk) -> None:
    till, other, card = desk.world.till(), desk.world.till("Toko Dua"), desk.card()
    till.sell(card, Rupiah(7_000))
    other.sell(card, Rupiah(1_000))
    desk.send(other)
    told = desk.ok("reconcile", "card", "1")
    assert (
        f"     2  MISSING: till {till.terminal_id} made it and has not sent it so far "
        "(its voucher 1) (Rp 7.000)"
    ) in told
    assert "NOT COMPLETE: 1 of 3 transactions are missing." in told
    (line,) = open_cards(desk.central)
    assert (line.uid, line.missing, line.suspense) == (card.uid, 1, Rupiah(0))
    named = desk.ok("reconcile", "till", str(till.terminal_id))
    assert f"Not sent: voucher 1, named by card {card.uid.hex().upper()}" in named
    assert "1 (Rp 7.000)" in desk.ok("reconcile", "tills")
    desk.send(till)
    assert "Every one of its 3" in desk.ok("reconcile", "card", "1")
    assert open_cards(desk.central) == []


def test_a_gap_that_no_till_will_fill_is_in_suspense_and_on_the_list(desk: Desk) -> None:
    till, card = lost_sale(desk)
    found = reconcile_card(desk.central, card.uid)
    (gap,) = found.gaps
    assert (gap.counter, gap.cause, gap.missing) == (2, GapCause.NOT_SENT, Rupiah(7_000))
    assert found.suspense == Rupiah(7_000)
    told = desk.ok("reconcile", "card", card.uid.hex())
    assert f"till {till.terminal_id} made it as its voucher 1, and sent no sale" in told
    assert "On the work list: 1." in told
    listed = desk.ok("reconcile", "suspense")
    assert "cards show it and no voucher explains it" in listed
    assert "In suspense: Rp 7.000." in listed
    (line,) = suspense_lines(desk.central)
    assert (line.amount, line.findings) == (Rupiah(7_000), (1,))


def test_doubts_are_told_from_lost_answer_to_settlement(desk: Desk) -> None:
    till, card = desk.world.till(), desk.card()
    till.doubt(card, Rupiah(5_000), committed=True)
    till.decide(card, 1, Outcome.PAID)
    desk.send(till)
    told = desk.ok("reconcile", "card", "1")
    assert f"sale in doubt {till.terminal_id}/1 of Rp 5.000: not settled yet" in told
    assert "All of its 1 transactions are on record; what is open stands above." in told
    (line,) = open_cards(desk.central)
    assert (line.doubts, line.doubts_sum) == (1, Rupiah(5_000))
    desk.now += 31 * 86400
    settle_overdue(desk.central, desk.now)
    assert f"sale {till.terminal_id}/1 is said to be paid, and the card has not spoken" in desk.ok(
        "reconcile", "suspense"
    )
    till.sell(card, Rupiah(1_000))
    desk.send(till)
    told = desk.ok("reconcile", "card", "1")
    assert f"sale in doubt {till.terminal_id}/1 of Rp 5.000: paid (" in told
    assert "shown by its neighbours" in told
    assert "Every one of its 3" in told
    assert "In suspense: Rp 0." in desk.ok("reconcile", "suspense")


def test_tills_say_their_chain_and_when_they_were_seen(desk: Desk) -> None:
    till, card = desk.world.till(), desk.card()
    till.sell(card, Rupiah(1_000))
    till.sell(card, Rupiah(2_000))
    desk.send(till)
    listed = desk.ok("reconcile", "tills")
    assert "2/2" in listed
    assert "15-01-2027 15:00 WIB" in listed
    assert "Every till's chain is there up to its head." in listed
    told = desk.ok("reconcile", "till", str(till.terminal_id))
    assert "Its chain is complete" in told
    desk.refused("CENTRAL-UNKNOWN-TERMINAL", "reconcile", "till", "99")


def test_a_voucher_changed_here_shows_as_a_broken_chain(desk: Desk, tmp_path: Path) -> None:
    till, card = desk.world.till(), desk.card()
    for _ in range(5):
        till.sell(card, Rupiah(10))
    desk.send(till)
    changed = bytes([till.vouchers[1][-1] ^ 1])
    with desk.central.database.engine.begin() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("DROP TRIGGER vouchers_no_update")
        else:
            connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        connection.execute(
            text(
                "UPDATE vouchers SET encoded = :encoded WHERE terminal_id = :till AND sequence = 2"
            ),
            {"encoded": till.vouchers[1][:-1] + changed, "till": till.terminal_id},
        )
        connection.execute(
            text("UPDATE vouchers SET encoded = :x WHERE terminal_id = :till AND sequence = 5"),
            {"x": b"no voucher", "till": till.terminal_id},
        )
    told = desk.ok("reconcile", "till", str(till.terminal_id))
    assert "BROKEN: voucher 3 does not follow." in told
    assert "BROKEN: voucher 5 does not follow." in told
    assert "complete" not in told
    desk.ok("reconcile", "day", DATE, "--html", str(tmp_path / "day.html"))
    page = (tmp_path / "day.html").read_text(encoding="utf-8")
    assert "The voucher cannot be read any more: it was changed here." in page


def a_day(desk: Desk) -> int:
    """Two outlets, a doubt, a lost sale, a refund: something of everything."""
    till, card = lost_sale(desk)
    shop = desk.world.till("Toko Dua")
    staged = card.stage_sale(shop.next_reader_id, Rupiah(12_000))
    counter, mac = card.commit(staged)
    shop.append_sale(card, staged, counter, mac)
    other = desk.card(4712, 250_000)
    shop.sell(other, Rupiah(40_000))
    shop.refund(other, 2, Rupiah(15_000))
    desk.send(shop)
    desk.world.top_up_in_doubt(desk.world.station(), card, Rupiah(20_000))
    return till.terminal_id


def test_a_day_adds_up_and_goes_down_to_the_voucher(desk: Desk) -> None:
    till_id = a_day(desk)
    drawn = desk.ok("reconcile", "day", DATE)
    assert "Issued Rp 370.000 less redeemed Rp 0 is Rp 370.000; found: Rp 370.000." in drawn
    assert "█" in drawn
    assert "The day is not closed yet" in drawn
    outlets = desk.ok("reconcile", "day", DATE, "--group", "outlet")
    assert "outlet Toko Dua" in outlets
    assert "Rp 52.000" in outlets
    lines = desk.ok("reconcile", "day", DATE, "--account", "outlet Toko BMI")
    assert f"{till_id}/2" in lines
    voucher = desk.ok("reconcile", "voucher", str(till_id), "2")
    assert "Sale of Rp 5.000 by Toko BMI, the card's transaction 3." in voucher
    assert "held Rp 93.000, paid Rp 5.000, held Rp 88.000." in voucher
    assert re.search(r"14 card_counter +3\n", voucher)
    assert re.search(r"12 amount_rupiah +5000\n", voucher)
    assert "came to nothing" not in voucher
    void = desk.ok("reconcile", "voucher", str(till_id), "1")
    assert "came to nothing" in void
    desk.refused("CENTRAL-VOUCHER-UNKNOWN", "reconcile", "voucher", str(till_id), "99")


def test_a_day_agrees_with_circulation_and_with_the_day_after(desk: Desk) -> None:
    a_day(desk)
    now, found = circulation(desk.central), reconcile_day(desk.central, TODAY)
    assert (found.issued, found.redeemed, found.difference) == (now.issued, now.redeemed, Rupiah(0))
    assert found.stocks[Group.CARD] == now.on_cards
    assert found.stocks[Group.SUSPENSE] == now.suspense == Rupiah(7_000)
    assert found.stocks[Group.IN_FLIGHT] == now.in_flight
    after = reconcile_day(desk.central, TODAY + 1)
    assert [one.before for one in after.groups] == [one.after for one in found.groups]
    assert (after.postings, after.issued) == (0, found.issued)
    before = reconcile_day(desk.central, TODAY - 1)
    assert (before.issued, before.postings) == (Rupiah(0), 0)


def test_a_closed_day_is_held_to_its_signed_head(desk: Desk) -> None:
    a_day(desk)
    desk.now = start_of_day(TODAY + 1) + 3 * 3600
    close_days(desk.central, desk.now)
    assert "It agrees with the day's signed head" in desk.ok("reconcile", "day", DATE)
    with desk.central.database.engine.begin() as connection:
        if connection.dialect.name == "sqlite":
            for (name,) in connection.exec_driver_sql(
                "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'postings'"
            ).all():
                connection.exec_driver_sql(f"DROP TRIGGER {name}")
        else:
            connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        connection.exec_driver_sql(
            "UPDATE postings SET amount_rupiah = amount_rupiah + 1 WHERE kind = 'refund'"
        )
    done = desk.run("reconcile", "day", DATE)
    assert done.exit_code == 1
    assert "IT IS NOT WHAT WAS SIGNED" in done.output
    assert "[CENTRAL-DAY-CHANGED]" in done.output


@pytest.mark.parametrize("day", ["1970-01-01", "9999-12-31"])
def test_a_day_of_any_calendar_can_be_asked_for(desk: Desk, day: str) -> None:
    desk.card()
    assert "The day is not closed yet" in desk.ok("reconcile", "day", day)


class _Page(HTMLParser):
    """What a page fetches, and whether its folds are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.open: list[str] = []
        self.folds = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value or "" for name, value in attrs if name in {"src", "href"}]
        self.folds += tag == "details"
        if tag not in {"meta", "br", "rect"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "rect":
            assert self.open.pop() == tag


def test_the_page_of_a_day_needs_nothing_else_and_escapes_what_tills_say(
    desk: Desk, tmp_path: Path
) -> None:
    a_day(desk)
    till, card = desk.world.till("<b>Toko</b>"), desk.card(4713)
    till.sell(card, Rupiah(500))
    desk.send(till)
    path = tmp_path / "day.html"
    desk.ok("reconcile", "day", DATE, "--html", str(path))
    written = path.read_text(encoding="utf-8")
    page = _Page()
    page.feed(written)
    assert (page.open, page.fetched) == ([], [])
    assert page.folds > 20
    assert "<b>Toko</b>" not in written
    assert "&lt;b&gt;Toko&lt;/b&gt;" in written
    for part in ("<svg", "Rp 7.000", "card_mac", "the card&#x27;s transaction", "top-up in cash"):
        assert part in written, part
    assert "top-up<" not in written
    if shutil.which("chromium"):
        shot = tmp_path / "day.png"
        subprocess.run(
            [
                "chromium",
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--virtual-time-budget=500",
                "--window-size=1100,1400",
                f"--screenshot={shot}",
                path.as_uri(),
            ],
            check=True,
            capture_output=True,
            timeout=60,
        )
        assert shot.stat().st_size > 20_000


def test_the_list_of_open_cards_is_one_statement_without_a_query_for_each_card(desk: Desk) -> None:
    lost_sale(desk)
    statement = open_cards_statement()
    with desk.central.database.read() as connection:
        sql = str(
            statement.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})
        )
        if connection.dialect.name == "sqlite":
            plan = "\n".join(
                row[-1] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}")
            )
            assert "CORRELATED" not in plan
        else:
            plan = "\n".join(row[0] for row in connection.exec_driver_sql(f"EXPLAIN {sql}"))
            assert "SubPlan" not in plan.replace("hashed SubPlan", "")
        read = re.findall(r"(?:SCAN|SEARCH|Scan(?: using \w+)? on) card_transactions", plan)
        assert len(read) == 1, plan


@settings(max_examples=15, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["sell", "hide", "doubt", "send"]), st.integers(0, 1)),
        max_size=12,
    )
)
def test_every_number_of_every_card_is_on_record_or_a_gap_and_the_day_adds_up(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    world = World.create(tmp_path_factory.mktemp("world"), kind=Kind.SQLITE)
    desk = Desk(world)
    card, tills = desk.card(), [world.till(), world.till("Toko Dua")]
    for action, which in steps:
        till = tills[which]
        match action:
            case "sell":
                till.sell(card, Rupiah(100))
            case "hide":
                staged = card.stage_sale(till.next_reader_id, Rupiah(70))
                card.commit(staged)
                till.void(card, Rupiah(70))
            case "doubt":
                till.doubt(card, Rupiah(30), committed=which == 0)
            case "send":
                if till.send_from <= len(till.vouchers):
                    desk.send(till)
    found = reconcile_card(world.central, card.uid)
    numbers = [event.counter for event in found.events] + [gap.counter for gap in found.gaps]
    assert sorted(numbers) == list(range(1, found.newest + 1))
    for gap in found.gaps:
        named = gap.reader is not None
        assert named or gap.cause is GapCause.UNNAMED
    day = reconcile_day(world.central, TODAY)
    assert day.difference == Rupiah(0)
    in_suspense = sum((line.amount.amount for line in suspense_lines(world.central)), 0)
    assert in_suspense == day.stocks[Group.SUSPENSE].amount == found.suspense.amount
    listed = open_cards(world.central)
    assert bool(found.gaps) <= bool(listed)
    assert sum(line.missing for line in listed) == len(found.gaps)
    world.close()
