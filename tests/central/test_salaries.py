"""Salaries become credit: all of a file or nothing, every member once a period, onto the card in force."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select, update

from dobmi.central.balances import balance_of, balances_of
from dobmi.central.cards import set_blocked, statement_of
from dobmi.central.cash import bank_cash
from dobmi.central.circulation import circulation
from dobmi.central.database import open_database
from dobmi.central.errors import (
    AmountNotAllowed,
    BadParameters,
    CashNotThere,
    OnlyStationsTakeCash,
    SalaryFileRefused,
    UnknownTerminal,
)
from dobmi.central.ingest import take_batch
from dobmi.central.posting_rules import Group, account_number
from dobmi.central.replacement import replace_card
from dobmi.central.salaries import Converted, Salary, convert_salaries, parse_salaries
from dobmi.central.schema import CreditSource, cards, postings, sellers
from dobmi.central.wallets import load_all_wallets
from dobmi.money import ZERO, Rupiah
from support.central_client import RING
from support.databases import Kind
from support.traffic import START, World

LIMIT = Rupiah(2_000_000)


@pytest.fixture
def world(tmp_path: Path, database_kind: Kind) -> Iterator[World]:
    made = World.create(tmp_path, keys=RING, kind=database_kind)
    yield made
    made.close()


def salary(member: int, amount: int, period: str = "2027-01", name: str = "") -> Salary:
    return Salary(2, period, member, Rupiah(amount), name)


def take(world: World, *lines: Salary) -> Converted:
    return convert_salaries(world.central, lines)


def wallet(world: World, member: int) -> Rupiah:
    with world.central.database.read() as connection:
        return balance_of(connection, account_number(Group.WALLET, member))


def owed(world: World, uid: bytes) -> list[tuple[Rupiah, CreditSource]]:
    waiting = statement_of(world.central, uid).credits_waiting
    return [(credit.amount, credit.source) for credit in waiting]


def refusals(text: str) -> list[str]:
    with pytest.raises(SalaryFileRefused) as refused:
        parse_salaries(text)
    assert refused.value.facts["count"] == len(refused.value.problems)
    return [problem.explain() for problem in refused.value.problems]


@pytest.mark.parametrize(
    "text",
    [
        "period,member,amount\n2026-11,4711,250000\n2026-11,4712,1000\n",
        "\N{BYTE ORDER MARK}Periode;Nomor_Anggota;Jumlah\r\n2026-11;4711;Rp 250.000\r\n2026-11;4712;1.000\r\n\r\n",
        'amount,period,member\n"250.000",2026-11,4711\n1000, 2026-11 ,4712',
    ],
)
def test_a_file_is_read_as_offices_write_them(text: str) -> None:
    assert [(one.period, one.member, one.amount) for one in parse_salaries(text)] == [
        ("2026-11", 4711, Rupiah(250_000)),
        ("2026-11", 4712, Rupiah(1_000)),
    ]


def test_every_bad_line_is_named() -> None:
    text = (
        "period,member,amount,name\n"
        "2026-13,4711,1000,\n"
        "2026-11,x,1000,\n"
        "2026-11,4713,12,5,\n"
        "2026-11,4714,-5,\n"
        "2026-11,4715,0,\n"
        "2026-11,4716,2.000.000.000,\n"
        "2026-11,4717,1000,\n"
        "2026-11,4717,1000,\n"
        "2026-11,4718,1000,a\x07b\n"
        "2026-11,0,1000,\n"
        "2026-11,4719,1e3,\n"
    )
    found = refusals(text)
    assert [problem.partition(":")[0] for problem in found] == [
        f"line {number}" for number in (2, 3, 4, 5, 6, 7, 9, 10, 11, 12)
    ]
    assert "member 4717 is in line 8 too" in found[6]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "nothing"),
        ("\n\n", "nothing"),
        ("4711,1000\n", "first line"),
        ("period,member\n2026-11,1\n", "first line"),
        ("period,member,amount,amount\n", "first line"),
        ('period,member,amount\n2026-11,1,"1\x000\n', "line"),
    ],
)
def test_what_is_no_salary_file_is_refused_as_a_whole(text: str, why: str) -> None:
    (problem,) = refusals(text)
    assert why in problem


@given(st.text(max_size=200))
def test_no_text_makes_reading_fail_otherwise(text: str) -> None:
    for content in (text, "period,member,amount\n" + text):
        with contextlib.suppress(SalaryFileRefused):
            assert all(line.amount > ZERO for line in parse_salaries(content))


def test_a_salary_goes_through_the_wallet_to_the_card_in_force(world: World) -> None:
    card = world.card(4711)
    done = take(world, salary(4711, 250_000))
    assert (done.taken, done.total, done.already) == (1, Rupiah(250_000), 0)
    assert (done.loaded.count, done.loaded.total) == (1, Rupiah(250_000))
    assert (done.in_wallets, wallet(world, 4711)) == (ZERO, ZERO)
    assert owed(world, card.uid) == [(Rupiah(250_000), CreditSource.SALARY)]
    now = circulation(world.central)
    assert (now.issued, now.in_flight, now.difference) == (Rupiah(250_000), Rupiah(250_000), ZERO)


def test_the_same_file_again_changes_nothing_and_says_so(world: World) -> None:
    world.card(4711)
    lines = (salary(4711, 250_000), salary(4711, 1_000, "2027-02"))
    take(world, *lines)
    before = circulation(world.central)
    again = take(world, *lines)
    assert (again.taken, again.already, again.loaded.count) == (0, 2, 0)
    assert circulation(world.central) == before
    more = take(world, *lines, salary(4711, 5_000, "2027-03"))
    assert (more.taken, more.already) == (1, 2)


def test_nothing_is_half_done(world: World) -> None:
    world.card(4711)
    world.card(4712)
    take(world, salary(4711, 250_000))
    before = circulation(world.central)
    with pytest.raises(SalaryFileRefused) as refused:
        take(
            world,
            salary(4712, 1_000),
            salary(4711, 250_001),
            salary(9_999, 1_000),
            salary(4712, 1_000, "2027-02", name="Orang Lain"),
        )
    assert [problem.explain().partition(": ")[2] for problem in refused.value.problems] == [
        "member 4711 was credited with Rp 250.000 before",
        "member 9999 is not known: add a column `name`",
        "member 4712 is Anggota 4712 here",
    ]
    assert circulation(world.central) == before
    assert take(world, salary(4712, 1_000)).taken == 1


def test_without_a_card_it_stays_in_the_wallet_until_one_is_issued(world: World) -> None:
    done = take(world, salary(5_000, 70_000, name="Anggota 5000"))
    assert (done.loaded.count, done.in_wallets) == (0, Rupiah(70_000))
    assert circulation(world.central).in_wallets == Rupiah(70_000)
    card = world.another_card(5_000)
    assert owed(world, card.uid) == [(Rupiah(70_000), CreditSource.SALARY)]
    assert wallet(world, 5_000) == ZERO


@pytest.mark.parametrize("why", ["blocked", "expired", "replaced"])
def test_a_card_that_is_not_in_force_gets_nothing(world: World, why: str) -> None:
    card = world.card(4711)
    if why == "expired":
        with world.central.database.write() as connection:
            connection.execute(update(cards).values(expires_on_day=1))
    elif why == "blocked":
        set_blocked(world.central, card.uid, "aneh", blocked=True, by_terminal=None)
    else:
        replace_card(world.central, card.uid, "hilang", by_terminal=None)
    take(world, salary(4711, 70_000))
    assert wallet(world, 4711) == Rupiah(70_000)
    if why == "blocked":
        set_blocked(world.central, card.uid, "baik", blocked=False, by_terminal=None)
        assert owed(world, card.uid) == [(Rupiah(70_000), CreditSource.SALARY)]


def test_a_card_gets_no_more_than_it_may_hold_and_the_rest_when_there_is_room(
    world: World,
) -> None:
    station, card = world.station(), world.card(4711)
    world.top_up(station, card, Rupiah(1_500_000))
    take(world, salary(4711, 800_000))
    assert owed(world, card.uid) == [(Rupiah(500_000), CreditSource.SALARY)]
    assert wallet(world, 4711) == Rupiah(300_000)
    assert load_all_wallets(world.central, START).count == 0
    till = world.till()
    till.sell(card, Rupiah(100_000))
    take_batch(world.central, till.batch())
    done = load_all_wallets(world.central, START)
    assert (done.count, done.total) == (1, Rupiah(100_000))
    assert load_all_wallets(world.central, START).count == 0
    assert wallet(world, 4711) == Rupiah(200_000)


def test_hundreds_of_members_in_one_file(world: World) -> None:
    made = world.make_cards(1_000, 620)
    lines = [salary(1_000 + number, 10_000 + number) for number in range(700)]
    lines = [
        line if line.member < 1_620 else dataclasses.replace(line, name=f"Baru {line.member}")
        for line in lines
    ]
    done = take(world, *lines)
    assert (done.taken, done.loaded.count) == (700, 620)
    assert owed(world, made[619].uid) == [(Rupiah(10_619), CreditSource.SALARY)]
    with world.central.database.read() as connection:
        assert len(balances_of(connection, Group.WALLET)) == 80
    assert circulation(world.central).difference == ZERO


def test_two_offices_that_take_the_same_file_at_once_take_it_once(world: World) -> None:
    world.make_cards(1_000, 40)
    lines = [salary(1_000 + number, 10_000) for number in range(40)]
    opened = [open_database(world.url) for _ in range(3)]
    done: list[Converted] = []
    threads = [
        threading.Thread(
            target=lambda database=database: done.append(
                convert_salaries(dataclasses.replace(world.central, database=database), lines)
            )
        )
        for database in opened
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for database in opened:
        database.close()
    assert sorted(one.taken for one in done) == [0, 0, 40]
    assert sum(one.loaded.count for one in done) == 40
    assert circulation(world.central).issued == Rupiah(400_000)


def test_cash_is_brought_to_the_bank_and_no_more_than_there_is(world: World) -> None:
    station, card = world.station(), world.card(4711)
    world.top_up(station, card, Rupiah(100_000))
    assert bank_cash(world.central, station.terminal_id, Rupiah(60_000), "BCA 17") == Rupiah(40_000)
    with pytest.raises(CashNotThere):
        bank_cash(world.central, station.terminal_id, Rupiah(40_001), "BCA 18")
    with world.central.database.read() as connection:
        bank = balance_of(connection, account_number(Group.BANK))
        rows = connection.execute(
            select(func.count()).select_from(postings).where(postings.c.kind == "banked")
        ).scalar_one()
    assert (bank, rows) == (Rupiah(-60_000), 1)
    now = circulation(world.central)
    assert (now.issued, now.difference) == (Rupiah(100_000), ZERO)


def test_who_brings_cash_is_a_station_with_a_note_and_an_amount(world: World) -> None:
    till = world.till()
    station = world.station()
    for error, number, amount, note in (
        (UnknownTerminal, 99, 1, "x"),
        (OnlyStationsTakeCash, till.terminal_id, 1, "x"),
        (AmountNotAllowed, station.terminal_id, 0, "x"),
        (BadParameters, station.terminal_id, 1, ""),
    ):
        with pytest.raises(error):
            bank_cash(world.central, number, Rupiah(amount), note)


def test_a_partner_merchants_sales_are_owed_to_it_and_not_to_an_outlet(world: World) -> None:
    station, card, till = world.station(), world.card(4711), world.till("Mitra")
    world.top_up(station, card, Rupiah(100_000))
    with world.central.database.write() as connection:
        connection.execute(update(sellers).where(sellers.c.name == "Mitra").values(kind="merchant"))
    till.sell(card, Rupiah(7_000))
    till.refund(card, 1, Rupiah(2_000))
    take_batch(world.central, till.batch())
    now = circulation(world.central)
    assert (now.owed_to_outlets, now.owed_to_merchants) == (ZERO, Rupiah(5_000))
    assert now.difference == ZERO
