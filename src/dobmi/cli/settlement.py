"""`dobmi central settlement` and `seller`: paying sellers what they are owed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from dobmi.central.database import Database
from dobmi.central.errors import PayerUnknown
from dobmi.central.fee_rules import (
    FeeProposal,
    decide_fee_rule,
    fee_rule_list,
    propose_fee_rule,
    waiting_fee_rules,
)
from dobmi.central.fees import FeeRule
from dobmi.central.owed import dues, positions
from dobmi.central.payment_file import to_csv, to_pain_001
from dobmi.central.schema import LeftOut, RunState, SellerKind
from dobmi.central.seller_accounts import (
    BankAccount,
    SellerAccount,
    account_history,
    bank_account,
    decide_account,
    propose_account,
)
from dobmi.central.sellers import add_seller, seller_list
from dobmi.central.server import now_unix_seconds
from dobmi.central.settlement_run import (
    Run,
    approve_run,
    export_run,
    mark_paid,
    movements,
    propose_run,
    run_list,
    run_of,
    withdraw_run,
)
from dobmi.central.words import KIND_NAMES
from dobmi.cli.context import Context, DomainGroup
from dobmi.cli.opening import bare_database, database_to_look_at
from dobmi.i18n import N_
from dobmi.money import ZERO, Rupiah
from dobmi.wib import day_number, days_since_1970, local_time

_BY = click.option("--by", required=True, metavar="NAME", help="Who says so, of the staff.")
_RUN = click.argument("run", type=click.IntRange(1))
_DAY = click.DateTime(["%Y-%m-%d"])
_STATES = {
    RunState.PROPOSED: N_("proposed"),
    RunState.APPROVED: N_("approved"),
    RunState.EXPORTED: N_("exported"),
    RunState.PAID: N_("paid"),
    RunState.WITHDRAWN: N_("withdrawn"),
}
_KINDS = {SellerKind.OUTLET: N_("outlet"), SellerKind.MERCHANT: N_("merchant")}
_LEFT_OUT = {
    LeftOut.NO_ACCOUNT: N_("{seller} is left out, {amount}: it has no bank account."),
    LeftOut.NOTHING_DUE: N_("{seller} is left out, {amount}: carried over to the next run."),
}


class _Amount(click.ParamType[Rupiah]):
    name = "rupiah"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> Rupiah:
        try:
            return Rupiah.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


_AMOUNT = _Amount()


@click.group(cls=DomainGroup)
def seller() -> None:
    """Sellers: what they are, their bank accounts and fees."""


@seller.command("add")
@click.argument("name")
@click.option(
    "--kind",
    required=True,
    type=click.Choice([kind.value for kind in SellerKind]),
    help="An outlet is the cooperative's own, a merchant a partner.",
)
@click.pass_obj
def seller_add(context: Context, name: str, kind: str) -> None:
    """Register seller NAME, before its tills are invited; or say what it is, until its first sale.

    A seller that `invite` names and nobody registered is an outlet.
    """
    with _database(context) as database:
        done = add_seller(database, name, SellerKind(kind))
    context.say(
        N_("{seller} is registered: {kind}, {count} tills."),
        seller=done.name,
        kind=context.translate(_KINDS[done.kind]),
        count=done.tills,
    )


@seller.command("list")
@click.pass_obj
def seller_show(context: Context) -> None:
    """List all sellers, what they are and how many tills they have."""
    with _database(context) as database:
        rows = [
            (one.name, context.translate(_KINDS[one.kind]), str(one.tills))
            for one in seller_list(database)
        ]
    _print_table(context, ("seller", "kind", "tills"), rows)


@seller.command("set")
@click.argument("name")
@click.option("--bank", required=True, help="The bank's name.")
@click.option("--bank-code", required=True, help="Its BIC, or its number in the clearing.")
@click.option("--account", required=True, help="The account's number.")
@click.option("--holder", required=True, help="Whose account it is, as the bank has it.")
@_BY
@click.pass_obj
def seller_set(
    context: Context, *, name: str, bank: str, bank_code: str, account: str, holder: str, by: str
) -> None:
    """Propose the bank account of seller NAME. It is used when somebody else has approved it."""
    given = bank_account(bank, bank_code, account, holder)
    with _database(context) as database:
        done = propose_account(database, name, given, by, now_unix_seconds())
    _say_account(context, done)
    context.say(
        N_("To be approved by another person: dobmi central seller approve '{name}' {number}"),
        name=done.seller,
        number=done.number,
    )


@seller.command("approve")
@click.argument("name")
@click.argument("number", type=click.IntRange(1))
@click.option("--refuse", is_flag=True, help="Do not approve it.")
@_BY
@click.pass_obj
def seller_approve(context: Context, name: str, number: int, refuse: bool, by: str) -> None:
    """Approve the proposed bank account NUMBER of seller NAME, as somebody else than proposed it."""
    with _database(context) as database:
        done = decide_account(database, name, number, by, now_unix_seconds(), accepted=not refuse)
    _say_account(context, done)


@seller.command("accounts")
@click.argument("name")
@click.pass_obj
def seller_accounts(context: Context, name: str) -> None:
    """List the bank accounts that seller NAME had and has, and who approved them."""
    with _database(context) as database:
        history = account_history(database, name)
    for one in history:
        _say_account(context, one)


@seller.command("fee")
@click.argument("name", required=False)
@click.option("--from", "from_day", type=_DAY, required=True, help="The first day it is for.")
@click.option(
    "--basis-points", type=click.IntRange(0, 10_000), default=0, help="Hundredths of a per cent."
)
@click.option("--per-sale", type=_AMOUNT, default="0", help="Rupiah for each sale.")
@click.option("--per-run", type=_AMOUNT, default="0", help="Rupiah for each settlement.")
@click.option("--minimum", type=_AMOUNT, default="0", help="Of a settlement's fee.")
@click.option("--maximum", type=_AMOUNT, help="Of a settlement's fee.")
@_BY
@click.pass_obj
def seller_fee(
    context: Context,
    *,
    name: str | None,
    from_day: datetime,
    basis_points: int,
    per_sale: Rupiah,
    per_run: Rupiah,
    minimum: Rupiah,
    maximum: Rupiah | None,
    by: str,
) -> None:
    """Propose the fee of seller NAME, or of all that have none of their own, from a day on.

    It is in force when somebody else has approved it.
    """
    amounts = (per_sale, per_run, minimum, maximum or ZERO)
    if min(amounts) < ZERO or (maximum is not None and maximum < minimum):
        raise click.BadParameter(context.translate(N_("A fee is not below nought.")))
    rule = FeeRule(
        from_day=days_since_1970(from_day.date()),
        basis_points=basis_points,
        per_sale=per_sale,
        per_run=per_run,
        minimum=minimum,
        maximum=maximum,
    )
    with _database(context) as database:
        done = propose_fee_rule(database, name, rule, by, now_unix_seconds())
    _print_rules(context, [(name, rule)])
    _say_fee(context, done)


@seller.command("approve-fee")
@click.argument("number", type=click.IntRange(1))
@click.argument("name", required=False)
@click.option("--refuse", is_flag=True, help="Do not approve it.")
@_BY
@click.pass_obj
def seller_approve_fee(
    context: Context, number: int, name: str | None, refuse: bool, by: str
) -> None:
    """Approve fee NUMBER of seller NAME, or of all others, as somebody else than proposed it."""
    with _database(context) as database:
        done = decide_fee_rule(database, name, number, by, now_unix_seconds(), accepted=not refuse)
    _print_rules(context, [(name, done.rule)])
    _say_fee(context, done)


@seller.command("fees")
@click.pass_obj
def seller_fees(context: Context) -> None:
    """List all rules of fees. A seller with one of its own has no other's from its day on."""
    with _database(context) as database:
        rules, waiting = fee_rule_list(database), waiting_fee_rules(database)
    _print_rules(context, rules)
    for one in waiting:
        _print_rules(context, [(one.seller, one.rule)])
        _say_fee(context, one)


@click.group(cls=DomainGroup)
def settlement() -> None:
    """Paying sellers: propose, show, approve (another person), export, pay at the bank, paid.

    docs/settlement.md
    """


@settlement.command("owed")
@click.option("--cut-off", type=_DAY, help="What a run up to the end of this day would pay.")
@click.pass_obj
def settlement_owed(context: Context, cut_off: datetime | None) -> None:
    """List what each seller is owed by the journal, or what a run would pay."""
    with database_to_look_at(context) as database:
        if cut_off is None:
            rows = [
                (
                    one.seller,
                    *map(str, (one.sold, one.refunded, one.fees, one.paid, one.in_runs, one.owed)),
                )
                for one in positions(database)
            ]
            headings: tuple[str, ...] = (
                "seller", "sold", "refunded", "fee", "paid", "in runs", "owed",
            )  # fmt: skip
        else:
            rows = [
                (due.seller, str(due.sales), *map(str, (due.sold, due.refunded, due.fee, due.net)))
                for due in dues(database, cut_off.date())
            ]
            headings = ("seller", "sales", "sold", "refunded", "fee", "net")
    _print_table(context, headings, rows)


@settlement.command("propose")
@click.option("--cut-off", type=_DAY, required=True, help="The last day of it, e.g. 2026-11-30.")
@click.option(
    "--compared-with-bank",
    is_flag=True,
    help="After a backup was restored: the bank's statements have no payment that is missing here.",
)
@_BY
@click.pass_obj
def settlement_propose(
    context: Context, cut_off: datetime, compared_with_bank: bool, by: str
) -> None:
    """Make a run of all that is owed up to the end of that day and is in no run yet.

    Proposing again for the same day shows the run that there is.
    """
    with _database(context) as database:
        run = propose_run(
            database,
            cut_off.date(),
            by,
            now_unix_seconds(),
            compared_with_bank=compared_with_bank,
        )
    _print_run(context, run)


@settlement.command("list")
@click.pass_obj
def settlement_list(context: Context) -> None:
    """List all runs."""
    with database_to_look_at(context) as database:
        rows = [
            (
                str(run.number),
                _date(run.cut_off),
                context.translate(_STATES[run.state]),
                str(len(run.items)),
                str(run.fees),
                str(run.net),
            )
            for run in run_list(database)
        ]
    _print_table(context, ("run", "cut-off", "state", "payments", "fee", "net"), rows)


@settlement.command("show")
@_RUN
@click.option("--seller", "of", metavar="NAME", help="Every sale and refund of this seller in it.")
@click.pass_obj
def settlement_show(context: Context, run: int, of: str | None) -> None:
    """Show a run: what each seller gets, and who did what with it."""
    with database_to_look_at(context) as database:
        found = run_of(database, run)
        sales = movements(database, run, of) if of is not None else None
    if sales is None:
        _print_run(context, found)
        return
    rows = [
        (
            local_time(one.at),
            context.translate(KIND_NAMES[one.kind]),
            f"{one.terminal_id}/{one.sequence}",
            one.card_uid.hex().upper(),
            str(one.amount),
        )
        for one in sales
    ]
    _print_table(context, ("booked", "kind", "voucher", "card", "amount"), rows)


@settlement.command("approve")
@_RUN
@_BY
@click.pass_obj
def settlement_approve(context: Context, run: int, by: str) -> None:
    """Approve a run, as somebody else than proposed it."""
    with _database(context) as database:
        _print_run(context, approve_run(database, run, by, now_unix_seconds()))


@settlement.command("export")
@_RUN
@click.argument("folder", type=click.Path(file_okay=False, exists=True, path_type=Path))
@_BY
@click.pass_obj
def settlement_export(context: Context, run: int, folder: Path, by: str) -> None:
    """Write an approved run into FOLDER: a CSV, and a payment file (pain.001) for the bank.

    Again, it is the same file: the bank takes it once.
    """
    with _database(context) as database:
        order = export_run(database, run, by, now_unix_seconds(), _payer(context))
    for path, content in (
        (folder / f"settlement-{run}.csv", to_csv(order).encode()),
        (folder / f"settlement-{run}.xml", to_pain_001(order)),
    ):
        _write(path, content)
        context.say(
            N_("{path}: {count} payments, {total}"),
            path=path,
            count=len(order.payments),
            total=order.total,
        )


@settlement.command("paid")
@_RUN
@click.option("--reference", required=True, help="The bank's reference of the payment.")
@_BY
@click.pass_obj
def settlement_paid(context: Context, run: int, reference: str, by: str) -> None:
    """Say that the bank has paid an exported run; it is posted."""
    with _database(context) as database:
        _print_run(context, mark_paid(database, run, by, reference, now_unix_seconds()))


@settlement.command("withdraw")
@_RUN
@click.option("--reason", required=True, help="Why; it stands in the run's history.")
@_BY
@click.pass_obj
def settlement_withdraw(context: Context, run: int, reason: str, by: str) -> None:
    """Never pay a run; what was in it is owed again. Not when the bank has its file already."""
    with _database(context) as database:
        _print_run(context, withdraw_run(database, run, by, reason, now_unix_seconds()))


def _print_run(context: Context, run: Run) -> None:
    context.say(
        N_("Settlement run {run} up to {day}: {state}, {count} payments, {total}"),
        run=run.number,
        day=_date(run.cut_off),
        state=context.translate(_STATES[run.state]),
        count=len(run.items),
        total=run.net,
    )
    _print_table(
        context,
        ("seller", "sales", "sold", "refunded", "fee", "net", "bank account"),
        [
            (
                item.seller,
                str(item.sales),
                *map(str, (item.sold, item.refunded, item.fee, item.net)),
                f"{item.to.bank} {item.to.account} {item.to.holder}",
            )
            for item in run.items
        ],
    )
    for one in run.left_out:
        context.say(_LEFT_OUT[one.reason], seller=one.seller, amount=one.due)
    for step in run.steps:
        state = context.translate(_STATES[step.state])
        click.echo(f"{local_time(step.at)}  {state}: {step.by}  {step.note}".rstrip())


def _print_rules(context: Context, rules: Iterable[tuple[str | None, FeeRule]]) -> None:
    _print_table(
        context,
        ("seller", "from", "basis points", "per sale", "per run", "minimum", "maximum"),
        [
            (
                context.translate(N_("all others")) if name is None else name,
                _date(day_number(rule.from_day)),
                str(rule.basis_points),
                *map(str, (rule.per_sale, rule.per_run, rule.minimum)),
                "-" if rule.maximum is None else str(rule.maximum),
            )
            for name, rule in rules
        ],
    )


def _say_fee(context: Context, one: FeeProposal) -> None:
    facts = {"number": one.number, "proposed_by": one.proposed_by, "by": one.decided_by}
    if one.accepted is None:
        context.say(N_("Fee {number}, proposed by {proposed_by}, is not in force."), **facts)
        context.say(
            N_(
                "To be approved by another person: dobmi central seller approve-fee {number} {name}"
            ),
            number=one.number,
            name="" if one.seller is None else f"'{one.seller}'",
        )
    elif one.accepted:
        context.say(N_("Fee {number}, proposed by {proposed_by}, approved by {by}."), **facts)
    else:
        context.say(N_("Fee {number}, proposed by {proposed_by}, refused by {by}."), **facts)


def _say_account(context: Context, one: SellerAccount) -> None:
    facts = {
        "number": one.number,
        "seller": one.seller,
        "bank": one.account.bank,
        "code": one.account.bank_code,
        "account": one.account.account,
        "holder": one.account.holder,
        "proposed_by": one.proposed_by,
        "by": one.decided_by,
    }
    context.say(N_("{seller}, account {number}: {bank} ({code}) {account} {holder}"), **facts)
    if one.accepted is None:
        context.say(N_("  proposed by {proposed_by}, not approved"), **facts)
    elif one.accepted:
        context.say(N_("  proposed by {proposed_by}, approved by {by}"), **facts)
    else:
        context.say(N_("  proposed by {proposed_by}, refused by {by}"), **facts)


def _payer(context: Context) -> BankAccount:
    """Raises PayerUnknown."""
    settings = context.settings.central
    if not (settings.payer_bank_code and settings.payer_account and settings.payer_holder.strip()):
        raise PayerUnknown
    return BankAccount(
        bank="",
        bank_code=settings.payer_bank_code,
        account=settings.payer_account,
        holder=settings.payer_holder,
    )


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, for its owner alone: names and account numbers."""
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    temporary.touch(mode=0o600, exist_ok=False)
    temporary.write_bytes(content)
    temporary.replace(path)


_HEADINGS = (
    N_("name"), N_("role"), N_("seller"), N_("sold"), N_("refunded"), N_("fee"), N_("paid"),
    N_("in runs"), N_("owed"), N_("sales"), N_("net"), N_("run"), N_("cut-off"), N_("state"),
    N_("payments"), N_("booked"), N_("kind"), N_("voucher"), N_("card"), N_("amount"),
    N_("bank account"), N_("from"), N_("basis points"), N_("per sale"), N_("per run"),
    N_("minimum"), N_("maximum"), N_("tills"),
)  # fmt: skip
_TEXTS = frozenset(
    {"name", "role", "seller", "cut-off", "state", "booked", "kind", "voucher", "card"}
    | {"bank account", "from"}
)


def _print_table(
    context: Context, headings: tuple[str, ...], rows: Iterable[tuple[str, ...]]
) -> None:
    table = Table()
    for heading in headings:
        table.add_column(
            context.translate(heading), justify="left" if heading in _TEXTS else "right"
        )
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _date(of: date) -> str:
    return of.strftime("%d-%m-%Y")


@contextmanager
def _database(context: Context) -> Iterator[Database]:
    """Its tables are there. Raises NotInitialised."""
    with bare_database(context) as database:
        database.require_tables()
        yield database
