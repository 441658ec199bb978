"""`dobmi central`: the books. Days closed and signed, balances, salaries, cash brought to the bank."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from dobmi.central.balances import (
    AccountLine,
    account_statement,
    balance_of,
    parse_account,
    trial_balance,
)
from dobmi.central.balances import account_names as names_of_sellers
from dobmi.central.cash import bank_cash
from dobmi.central.circulation import Circulation
from dobmi.central.daily_head import DailyHead
from dobmi.central.days import close_days, heads, newest_head
from dobmi.central.errors import (
    BadParameters,
    BooksDoNotBalance,
    DayNotClosed,
    SalaryFileRefused,
)
from dobmi.central.posting_rules import Group, account_name
from dobmi.central.salaries import convert_salaries, parse_salaries
from dobmi.central.words import KIND_NAMES, account_in_english, account_in_words
from dobmi.cli.context import Context
from dobmi.cli.opening import looking, open_central, parse_time, print_table
from dobmi.i18n import N_
from dobmi.money import ZERO, Rupiah
from dobmi.settings import FileUnusable
from dobmi.wib import WIB, days_since_1970, local_time

_AT = click.option(
    "--at", metavar="TIME", help="As of that time: 2026-11-24T09:41, of western Indonesia."
)
_DAY = click.DateTime(["%Y-%m-%d"])
_ACCOUNT = click.argument("account", nargs=-1, required=True)
_STATEMENT_DAYS = 31
_BAR = 40

_STOCKS = {
    "in_wallets": N_("in wallets"),
    "in_flight": N_("in flight to cards"),
    "on_cards": N_("on cards, by the ledger"),
    "owed_to_outlets": N_("owed to outlets"),
    "owed_to_merchants": N_("owed to partner merchants"),
    "suspense": N_("in suspense, unexplained"),
}


@click.command("close-days")
@click.pass_obj
def close(context: Context) -> None:
    """Close the days that are over, with signed heads. `serve` does it by itself.

    A day is closed two hours after its end. Nothing is posted to it any more.
    """
    with open_central(context) as central:
        closed = close_days(central, central.unix_seconds())
    for head in closed:
        _say_head(context, head)
    if not closed:
        context.say(N_("No day is to be closed."))


@click.command("head")
@click.argument("day", type=_DAY, required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def show_head(context: Context, day: datetime | None, as_json: bool) -> None:
    """The signed head of DAY (2026-11-24), or of the newest closed day.

    For a board to note down: whoever has the hash can tell later whether the journal of that day, or
    of any day before it, was changed.
    """
    with looking(context) as central:
        if day is None:
            found = newest_head(central)
        else:
            found = next(iter(heads(central, days_since_1970(day.date()))), None)
        public_key = central.public_key
    if found is None:
        raise DayNotClosed(day="" if day is None else f"{day:%d-%m-%Y}")
    head, signature = found
    head.verify(public_key, signature)
    if as_json:
        shown = {
            "day": f"{head.date:%Y-%m-%d}",
            "postings": head.postings,
            "amount_rupiah": head.amount.amount,
            "journal_hash": head.journal_hash.hex(),
            "tills_hash": head.tills_hash.hex(),
            "previous_hash": head.previous_hash.hex(),
            "closed_unix_seconds": head.closed_at,
            "hash": head.hash.hex(),
            "signed": head.message(public_key, signature).hex(),
            "public_key": public_key.hex(),
        }
        click.echo(json.dumps(shown))
        return
    _say_head(context, head)
    context.say(N_("  signed by the server, key {key}"), key=public_key.hex()[:16])
    context.say(N_("  the day before: {hash}"), hash=_in_fours(head.previous_hash))


def _say_head(context: Context, head: DailyHead) -> None:
    context.say(
        N_("{day}: {count} postings, {total}, closed {closed}"),
        day=f"{head.date:%d-%m-%Y}",
        count=head.postings,
        total=head.amount,
        closed=local_time(head.closed_at),
    )
    context.say(N_("  hash: {hash}"), hash=_in_fours(head.hash))


def _in_fours(digest: bytes) -> str:
    return digest.hex(" ", 2)


@click.command("balance")
@_ACCOUNT
@_AT
@click.pass_obj
def show_balance(context: Context, account: tuple[str, ...], at: str | None) -> None:
    """The balance of ACCOUNT: `card 1001`, `wallet 4711`, `outlet Toko Maju`, `cash 3`, `suspense`.

    Above nought is what is owed to its owner, below what is there or due to the cooperative.
    """
    with looking(context) as central, central.database.read() as connection:
        number = parse_account(connection, account_in_english(" ".join(account), context.translate))
        balance = balance_of(connection, number, None if at is None else parse_time(at))
        name = account_name(number, names_of_sellers(connection))
    context.say(
        N_("{account}: {balance}"),
        account=account_in_words(name, context.translate),
        balance=balance,
    )


@click.command("statement")
@_ACCOUNT
@click.option("--since", type=_DAY, help="First day; the last 31 days when left out.")
@click.option("--until", type=_DAY, help="Last day; today when left out.")
@click.pass_obj
def show_statement(
    context: Context, account: tuple[str, ...], since: datetime | None, until: datetime | None
) -> None:
    """What was posted to ACCOUNT (as `balance` names it), the newest 500 lines of it."""
    with looking(context) as central:
        now = datetime.fromtimestamp(central.unix_seconds(), WIB)
        last = until or now.replace(hour=0, minute=0, second=0, microsecond=0)
        first = since or last - timedelta(days=_STATEMENT_DAYS)
        with central.database.read() as connection:
            number = parse_account(
                connection, account_in_english(" ".join(account), context.translate)
            )
        start = int(first.replace(tzinfo=WIB).timestamp())
        end = int((last.replace(tzinfo=WIB) + timedelta(days=1)).timestamp()) - 1
        found = account_statement(central, number, start, end)
    context.say(
        N_("{account}: {balance} before"),
        account=account_in_words(found.name, context.translate),
        balance=found.before,
    )
    balance = found.before
    rows = []
    for line in found.lines:
        balance += line.amount
        rows.append(_statement_row(context, line, balance))
    print_table(
        context, ("at", "kind", "other account", "by", "amount", "balance", "explanation"), rows
    )


def _statement_row(context: Context, line: AccountLine, balance: Rupiah) -> tuple[str, ...]:
    return (
        local_time(line.at),
        context.translate(KIND_NAMES[line.kind]),
        account_in_words(line.other, context.translate),
        line.reference,
        str(line.amount),
        str(balance),
        line.explanation,
    )


@click.command("trial-balance")
@_AT
@click.option("--accounts", is_flag=True, help="Every account by itself.")
@click.option(
    "--group", type=click.Choice([group.value for group in Group]), help="Only accounts of this."
)
@click.pass_obj
def show_trial_balance(context: Context, at: str | None, accounts: bool, group: str | None) -> None:
    """Debits and credits of all accounts together, which must be the same. Exits with 1 if not."""
    with looking(context) as central:
        found = trial_balance(
            central,
            None if at is None else parse_time(at),
            accounts=accounts,
            group=None if group is None else Group(group),
        )
    rows = [
        (
            account_in_words(name, context.translate),
            str(sums.debits),
            str(sums.credits),
            str(sums.balance),
        )
        for name, sums in found.lines
    ]
    total = found.total
    everything = context.translate(N_("all accounts"))
    rows.append((everything, str(total.debits), str(total.credits), str(total.balance)))
    print_table(context, ("account", "debits", "credits", "balance"), rows)
    if not found.is_balanced:
        raise BooksDoNotBalance(debits=total.debits, credits=total.credits, posted=found.posted)


@click.command("salary")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.pass_obj
def convert(context: Context, file: Path) -> None:
    """Convert salaries into credit: FILE is CSV with the columns period, member, amount.

    Every member once a period: taking a file again changes nothing. If a line cannot be taken,
    nothing is. The credit goes onto the member's card; until there is one it stays in the wallet.
    A column `name` is for members who are not known yet.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FileUnusable(path=file, detail=N_("it is no text")) from error
    with open_central(context) as central:
        try:
            done = convert_salaries(central, parse_salaries(text))
        except SalaryFileRefused as error:
            for problem in error.problems:
                click.echo(problem.explain(context.translate), err=True)
            raise
    context.say(N_("Converted: {count} salaries, {total}."), count=done.taken, total=done.total)
    if done.already:
        context.say(N_("Converted before, and left as they are: {count}."), count=done.already)
    context.say(
        N_("On the way to cards: {count} credits, {total}."),
        count=done.loaded.count,
        total=done.loaded.total,
    )
    context.say(N_("Kept in these members' wallets: {total}."), total=done.in_wallets)


@click.command("bank-cash")
@click.argument("station", type=click.IntRange(1))
@click.argument("amount")
@click.option("--note", required=True, help="Number of the bank's slip; it stands in the journal.")
@click.pass_obj
def bring_to_bank(context: Context, station: int, amount: str, note: str) -> None:
    """Note that cash of STATION (its number in `terminals`) was brought to the bank."""
    try:
        brought = Rupiah.parse(amount)
    except ValueError as error:
        raise BadParameters(detail=N_("that is no amount in whole rupiah")) from error
    with open_central(context) as central:
        left = bank_cash(central, station, brought, note)
    context.say(
        N_("{amount} is in the bank; station {station} has {left} left."),
        amount=brought,
        station=station,
        left=left,
    )


COMMANDS = (
    close,
    show_head,
    show_balance,
    show_statement,
    show_trial_balance,
    convert,
    bring_to_bank,
)


def draw(context: Context, now: Circulation) -> None:
    """Where what was issued and not redeemed is, as bars."""
    whole = max(sum(stock.amount for stock in now.stocks.values() if stock > ZERO), 1)
    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    for name, stock in now.stocks.items():
        bar = "\N{FULL BLOCK}" * round(_BAR * max(stock.amount, 0) / whole)
        table.add_row(context.translate(_STOCKS[name]), str(stock), bar)
    Console().print(table)
