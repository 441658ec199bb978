"""Whatever the traffic, the books balance, and a balance of any moment is the sum up to it."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import insert, select, text

from dobmi.central.balances import (
    account_names,
    account_statement,
    balance_of,
    balances_of,
    flows,
    group_balances,
    parse_account,
    sums_of,
    trial_balance,
)
from dobmi.central.cards import set_blocked, statement_of
from dobmi.central.cash import bank_cash
from dobmi.central.circulation import circulation
from dobmi.central.credit_orders import order_credit
from dobmi.central.days import close_days
from dobmi.central.errors import BalanceWouldPassLimit, CashNotThere, UnknownAccount
from dobmi.central.ingest import take_batch
from dobmi.central.overdue import settle_overdue
from dobmi.central.posting_rules import (
    Group,
    Kind,
    account_name,
    account_number,
    group_of,
    owner_of,
)
from dobmi.central.replacement import replace_card, restore_due
from dobmi.central.salaries import Salary, convert_salaries
from dobmi.central.schema import CreditSource, account_days, postings
from dobmi.money import ZERO, Rupiah
from support import databases
from support.central_client import RING
from support.traffic import START, World

CARDS = st.integers(0, 2)
AMOUNTS = st.integers(1, 50_000).map(Rupiah)
HOUR = 3600


class Books(RuleBasedStateMachine):
    """Tills, a station, wallets, lost cards, days that are closed: on one of the databases."""

    kind = databases.Kind.SQLITE

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="dobmi-books-")
        self.world = World.create(Path(self.folder.name), keys=RING, kind=self.kind)
        self.clock = START
        self.world.central = self.central = dataclasses.replace(
            self.world.central, unix_seconds=lambda: self.clock
        )
        self.tills = [self.world.till("Toko Satu"), self.world.till("Mitra Dua")]
        with self.central.database.write() as connection:
            connection.execute(
                text("UPDATE sellers SET kind = 'merchant' WHERE name = 'Mitra Dua'")
            )
        self.station = self.world.station()
        self.cards = self.world.make_cards(100, 3)
        self.editions = 0
        self.period = 0
        for card in self.cards:
            self.world.top_up(self.station, card, Rupiah(200_000))

    @rule(till=st.integers(0, 1), card=CARDS, amount=AMOUNTS)
    def sell(self, till: int, card: int, amount: Rupiah) -> None:
        if self.cards[card].balance >= amount:
            self.tills[till].sell(self.cards[card], amount)

    @rule(till=st.integers(0, 1), card=CARDS, amount=AMOUNTS, committed=st.booleans())
    def lose_the_answer(self, till: int, card: int, amount: Rupiah, committed: bool) -> None:
        if self.cards[card].balance >= amount:
            self.tills[till].doubt(self.cards[card], amount, committed=committed)

    @rule(card=CARDS, by=st.integers(-500, 500))
    def change_a_balance_unexplained(self, card: int, by: int) -> None:
        self.cards[card].balance += Rupiah(by)

    @rule(till=st.integers(0, 1), amount=AMOUNTS)
    def give_back(self, till: int, amount: Rupiah) -> None:
        sender = self.tills[till]
        if sender.vouchers:
            sender.refund(self.cards[0], 1, amount)

    @rule(till=st.integers(0, 1))
    def report(self, till: int) -> None:
        sender = self.tills[till]
        if sender.send_from <= len(sender.vouchers):
            take_batch(self.central, sender.batch())

    @rule(card=CARDS, amount=AMOUNTS)
    def order(self, card: int, amount: Rupiah) -> None:
        self.world.orders += 1
        with contextlib.suppress(BalanceWouldPassLimit):
            order_credit(
                self.central,
                self.cards[card].uid,
                amount,
                CreditSource.SALARY,
                idempotency_key=f"order-{self.world.orders:08}",
                station=self.station.terminal_id,
            )

    @rule(amounts=st.lists(AMOUNTS, min_size=1, max_size=3))
    def pay_salaries(self, amounts: list[Rupiah]) -> None:
        self.period += 1
        lines = [
            Salary(
                number, f"2027-01-{self.period}", 100 + number * 450, amount, f"Anggota {number}"
            )
            for number, amount in enumerate(amounts)
        ]
        lines[0] = dataclasses.replace(lines[0], name="Anggota 100")
        convert_salaries(self.central, lines)

    @rule(amount=AMOUNTS)
    def bring_cash_to_the_bank(self, amount: Rupiah) -> None:
        with contextlib.suppress(CashNotThere):
            bank_cash(self.central, self.station.terminal_id, amount, "slip")
        with self.central.database.read() as connection:
            cash = account_number(Group.CASH, self.station.terminal_id)
            assert balance_of(connection, cash) <= ZERO, "no station brings what it has not got"

    @rule(card=CARDS)
    def lose_a_card(self, card: int) -> None:
        lost = self.cards[card]
        replace_card(self.central, lost.uid, "hilang", by_terminal=None)
        self.editions += 1
        member = statement_of(self.central, lost.uid).member_number
        self.cards[card] = self.world.another_card(member, self.editions)

    @rule(card=CARDS)
    def block_and_unblock(self, card: int) -> None:
        for blocked in (True, False):
            set_blocked(
                self.central, self.cards[card].uid, "coba", blocked=blocked, by_terminal=None
            )

    @rule(hours=st.integers(1, 60))
    def let_time_pass(self, hours: int) -> None:
        self.clock += hours * HOUR

    @rule()
    def close(self) -> None:
        close_days(self.central, self.clock)

    @rule()
    def work_now_and_then(self) -> None:
        restore_due(self.central)
        settle_overdue(self.central, self.clock)

    @rule(data=st.data())
    def balances_of_any_moment_are_the_sums_up_to_it(self, data: st.DataObject) -> None:
        at = data.draw(st.none() | st.integers(START - HOUR, self.clock + HOUR), label="at")
        with self.central.database.read() as connection:
            rows = [
                row
                for row in connection.execute(select(postings)).all()
                if at is None or row.at <= at
            ]
            accounts = {row.debit_account for row in rows} | {row.credit_account for row in rows}
            expected = dict.fromkeys(accounts, 0)
            by_group = dict.fromkeys(Group, 0)
            for row in rows:
                for account, sign in ((row.debit_account, -1), (row.credit_account, 1)):
                    expected[account] += sign * row.amount_rupiah
                    by_group[group_of(account)] += sign * row.amount_rupiah
            for account, balance in expected.items():
                assert balance_of(connection, account, at) == Rupiah(balance)
            for group, total in group_balances(flows(connection, at)).items():
                assert total == Rupiah(by_group[group])
                owned = balances_of(connection, group, at=at)
                assert owned == {
                    owner_of(account): Rupiah(balance)
                    for account, balance in expected.items()
                    if balance and group_of(account) is group
                }
        for accounts_too in (False, True):
            found = trial_balance(self.central, at, accounts=accounts_too)
            assert found.is_balanced
            assert found.total.debits == Rupiah(sum(row.amount_rupiah for row in rows))

    @invariant()
    def the_books_balance(self) -> None:
        assert trial_balance(self.central).is_balanced
        assert circulation(self.central).difference == ZERO

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.balances_of_any_moment_are_the_sums_up_to_it_now()
            self.world.close()
            self.folder.cleanup()

    def balances_of_any_moment_are_the_sums_up_to_it_now(self) -> None:
        with self.central.database.read() as connection:
            rows = connection.execute(select(postings)).all()
            for account in {row.debit_account for row in rows}:
                debits = sum(row.amount_rupiah for row in rows if row.debit_account == account)
                assert sums_of(connection, account).debits == Rupiah(debits)


class BooksOnPostgresql(Books):
    kind = databases.Kind.POSTGRESQL


_SETTINGS = settings(
    max_examples=12,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestBooksOnSqlite = Books.TestCase
TestBooksOnSqlite.settings = _SETTINGS
TestBooksOnPostgresql = BooksOnPostgresql.TestCase
TestBooksOnPostgresql.settings = settings(_SETTINGS, max_examples=5)


@pytest.fixture
def world(tmp_path: Path, database_kind: databases.Kind) -> Iterator[World]:
    made = World.create(tmp_path, keys=RING, kind=database_kind)
    made.top_up(made.station(), made.card(4711), Rupiah(100_000))
    yield made
    made.close()


def test_accounts_are_named_for_people_and_found_by_those_names(world: World) -> None:
    world.till("Toko Maju 2")
    with world.central.database.read() as connection:
        names = account_names(connection)
        seller = next(number for number, name in names.items() if name == "Toko Maju 2")
        for name, number in (
            ("card 1", account_number(Group.CARD, 1)),
            ("outlet Toko Maju 2", account_number(Group.OUTLET, seller)),
            ("wallet 4711", account_number(Group.WALLET, 4711)),
            ("suspense", account_number(Group.SUSPENSE)),
            ("cash 1", account_number(Group.CASH, 1)),
        ):
            assert parse_account(connection, name) == number
            assert parse_account(connection, f"  {name} ".replace(" ", "  ")) == number
            assert parse_account(connection, str(number)) == number
            assert account_name(number, names) == name
        for wrong in (
            "",
            "card x",
            "purse 1",
            "card -1",
            "card 1234567890123",
            "99",
            "card \N{ARABIC-INDIC DIGIT ONE}",
        ):
            with pytest.raises(UnknownAccount):
                parse_account(connection, wrong)


def test_a_statement_goes_from_the_balance_before_to_the_one_after(world: World) -> None:
    account = account_number(Group.CARD, 1)
    found = account_statement(world.central, account, START - 10, START + 10)
    assert (found.before, found.after) == (ZERO, Rupiah(100_000))
    (line,) = found.lines
    assert (line.kind, line.amount, line.other) == (
        Kind.DELIVERED,
        Rupiah(100_000),
        "in-flight 1",
    )
    assert account_statement(world.central, account, START + 1, START + 10).before == found.after
    cash = account_statement(world.central, account_number(Group.CASH, 1), START, START)
    assert [line.amount for line in cash.lines] == [Rupiah(-100_000)]
    assert account_statement(world.central, account, START, START, lines_max=0).lines == ()


def test_sums_that_were_tampered_with_show_in_the_trial_balance(world: World) -> None:
    close_days(world.central, START + 3 * 86400)
    assert trial_balance(world.central).is_balanced
    gift = {
        "account": account_number(Group.CARD, 1),
        "day": 1,
        "debits_rupiah": 0,
        "credits_rupiah": 5,
    }
    with world.central.database.write() as connection:
        connection.execute(insert(account_days).values(gift))
    found = trial_balance(world.central)
    assert not found.is_balanced
    assert found.total.credits - found.total.debits == Rupiah(5)
