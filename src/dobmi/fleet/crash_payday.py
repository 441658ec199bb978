"""What the office does on payday: staff, cash, salaries, sellers' accounts and a settlement run.

Each is a command of the process that is killed, and may be given again by somebody who was not
told what came of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from sqlalchemy import select

from dobmi.central.balances import balance_of
from dobmi.central.booking import last_sealed_day
from dobmi.central.cash import bank_cash
from dobmi.central.fee_rules import (
    decide_fee_rule,
    fee_rule_list,
    propose_fee_rule,
    waiting_fee_rules,
)
from dobmi.central.fees import FeeRule
from dobmi.central.posting_rules import Group, account_number
from dobmi.central.salaries import Salary, convert_salaries
from dobmi.central.schema import Role, RunState, SellerKind, StaffRole, terminals
from dobmi.central.seller_accounts import (
    BankAccount,
    account_history,
    decide_account,
    propose_account,
)
from dobmi.central.sellers import add_seller
from dobmi.central.server import Central
from dobmi.central.settlement_run import (
    approve_run,
    export_run,
    mark_paid,
    propose_run,
    run_of,
    withdraw_run,
)
from dobmi.central.staff import add_staff, remove_staff
from dobmi.central.work_list import assign
from dobmi.money import ZERO, Rupiah
from dobmi.wib import day_number, day_of, days_since_1970

PROPOSER, APPROVER = "Ani", "Budi"
_ACCOUNT = BankAccount(bank="Bank", bank_code="113", account="0012345678", holder="PT Toko")
_PAYER = BankAccount(bank="Bank", bank_code="BMRIIDJA", account="123000456", holder="Koperasi")


def payday_handlers(central: Central) -> Mapping[str, Callable[..., Any]]:
    commands: tuple[Callable[..., Any], ...] = (
        staff,
        partner,
        bank_all_cash,
        salary,
        seller_account,
        fee_rule,
        propose,
        withdraw,
        pay,
        take_finding,
    )
    return {command.__name__: partial(command, central) for command in commands}


def staff(central: Central) -> None:
    add_staff(central.database, PROPOSER, [StaffRole.PROPOSER], central.unix_seconds())
    add_staff(central.database, APPROVER, [StaffRole.APPROVER], central.unix_seconds())
    add_staff(central.database, "Citra", list(StaffRole), central.unix_seconds())
    remove_staff(central.database, "Citra", central.unix_seconds())
    add_seller(central.database, "Warung Ibu", SellerKind.MERCHANT)


def partner(central: Central) -> None:
    add_seller(central.database, "Warung Mitra", SellerKind.MERCHANT)


def bank_all_cash(central: Central) -> int:
    """What is left, after what the ledger says the station holds was brought to the bank."""
    with central.database.read() as connection:
        station = connection.execute(
            select(terminals.c.id).where(terminals.c.role == Role.STATION)
        ).scalar_one()
        held = -balance_of(connection, account_number(Group.CASH, station))
    if held > ZERO:
        held = bank_cash(central, station, held, "setoran 1")
    return held.amount


def salary(central: Central, member: int, amount: int) -> int:
    """What the member's wallet holds after it."""
    line = Salary(1, "2027-01", member, Rupiah(amount))
    return convert_salaries(central, [line]).in_wallets.amount


def seller_account(central: Central, seller: str) -> None:
    now = central.unix_seconds()
    history = account_history(central.database, seller)
    newest = history[-1] if history else None
    if newest is None:
        newest = propose_account(central.database, seller, _ACCOUNT, PROPOSER, now)
    if newest.accepted is None:
        decide_account(central.database, seller, newest.number, APPROVER, now, accepted=True)


def fee_rule(central: Central) -> None:
    if not fee_rule_list(central.database):
        today = day_of(central.unix_seconds())
        rule = FeeRule(from_day=days_since_1970(today), basis_points=100)
        now = central.unix_seconds()
        waiting = waiting_fee_rules(central.database)
        proposal = (
            waiting[0] if waiting else propose_fee_rule(central.database, None, rule, PROPOSER, now)
        )
        decide_fee_rule(central.database, None, proposal.number, APPROVER, now, accepted=True)


def propose(central: Central) -> int:
    with central.database.read() as connection:
        day = last_sealed_day(connection)
    assert day is not None, "the periodic work has closed days"
    # A backup was restored in the night; nothing had been paid before it.
    return propose_run(
        central.database,
        day_number(day),
        PROPOSER,
        central.unix_seconds(),
        compared_with_bank=True,
    ).number


def withdraw(central: Central, run: int) -> None:
    withdraw_run(central.database, run, PROPOSER, "salah tanggal", central.unix_seconds())


def pay(central: Central, run: int) -> bool:
    """All the steps that are still to be taken."""
    now = central.unix_seconds()
    if run_of(central.database, run).state is RunState.PROPOSED:
        approve_run(central.database, run, APPROVER, now)
    export_run(central.database, run, PROPOSER, now, _PAYER)
    return mark_paid(central.database, run, PROPOSER, "TRF-1", now).state is RunState.PAID


def take_finding(central: Central) -> None:
    assign(central, 1, PROPOSER, by=APPROVER)
