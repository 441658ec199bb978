"""`dobmi central work` and `dobmi central reconcile`: what a person has to look at, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dobmi.central.balances import parse_account
from dobmi.central.cards import parse_card
from dobmi.central.conclusions import reconcile
from dobmi.central.day_page import (
    COLOURS,
    day_page,
    verdict,
    voucher_sentences,
)
from dobmi.central.errors import DayNotAsSigned, LedgerDoesNotAddUp
from dobmi.central.posting_rules import Group, Kind
from dobmi.central.reconciled_day import (
    DayAccount,
    account_of_day,
    group_of_day,
    reconcile_day,
    voucher_in_words,
)
from dobmi.central.reconciliation import (
    CardAccount,
    CardDoubt,
    CardEvent,
    Gap,
    GapCause,
    open_cards,
    reconcile_card,
    reconcile_till,
    suspense_lines,
    till_lines,
)
from dobmi.central.replacement import restore_due
from dobmi.central.schema import DoubtState, WorkState
from dobmi.central.server import Central
from dobmi.central.words import GROUP_NAMES, KIND_NAMES, account_in_english, account_in_words
from dobmi.central.work_kinds import MEANINGS
from dobmi.central.work_list import (
    NOT_DONE,
    Finding,
    Wanted,
    add_note,
    assign,
    close,
    explain,
    find_work,
    finding,
    reopen,
    work_list,
)
from dobmi.cli.context import Context, DomainGroup
from dobmi.cli.opening import looking, open_central, print_table
from dobmi.i18n import N_
from dobmi.money import Rupiah
from dobmi.wib import day_number, day_of, days_since_1970, local_time

_SECONDS_PER_DAY = 86400
_BAR_WIDTH = 60
_NUMBER = click.argument("number", type=click.IntRange(1))
_BY = click.option("--by", required=True, metavar="NAME", help="Who says so, of the staff.")
_HEADINGS = (
    N_("number"), N_("owner"), N_("serial"), N_("member"), N_("missing"), N_("in doubt"),
    N_("credits"), N_("suspense"), N_("findings"), N_("last seen"), N_("not sent"), N_("refused"),
    N_("clock"), N_("about"), N_("since"), N_("debit"), N_("credit"), N_("postings"),
)  # fmt: skip
"""Those of the tables here that no other command has."""
_STATES = {
    WorkState.OPEN: N_("open"),
    WorkState.ASSIGNED: N_("assigned"),
    WorkState.EXPLAINED: N_("explained"),
    WorkState.CLOSED: N_("closed"),
    WorkState.REOPENED: N_("opened again"),
}
_CAUSES = {
    GapCause.AWAITED: N_("till {till} made it and has not sent it so far (its voucher {sequence})"),
    GapCause.NOT_SENT: N_(
        "till {till} made it as its voucher {sequence}, and sent no sale of this card under that"
    ),
    GapCause.IN_DOUBT: N_("till {till} sent it as a sale in doubt, {sequence}, not settled yet"),
    GapCause.CENTRAL: N_("our own credit {sequence}, whose proof did not come back"),
    GapCause.STRANGER: N_("a reader that is none of ours made it"),
    GapCause.UNNAMED: N_("the card names only the last of those that are missing in a row"),
}
_SUSPENSE = {
    Kind.UNEXPLAINED_LOSS: N_("cards show it and no voucher explains it"),
    Kind.CLAIM_HELD: N_("sale {sale} is said to be paid, and the card has not spoken"),
    Kind.SHORTFALL: N_("spent with a lost card after its money was restored"),
}


@click.group(cls=DomainGroup)
def work() -> None:
    """What a person has to look at: one list, with states, owners and history."""


@work.command("list")
@click.option("--all", "show_all", is_flag=True, help="Closed ones too.")
@click.option("--state", type=click.Choice([state.value for state in WorkState]))
@click.option("--owner", metavar="NAME", help="Whose they are.")
@click.option("--kind", type=click.Choice(sorted(MEANINGS)))
@click.option("--till", type=click.IntRange(1), help="Of this terminal.")
@click.option("--card", metavar="UID|SERIAL", help="Of this card.")
@click.option("--older", "older_days", type=click.IntRange(0), metavar="DAYS", help="Found before.")
@click.pass_obj
def work_show_list(
    context: Context,
    *,
    show_all: bool,
    state: str | None,
    owner: str | None,
    kind: str | None,
    till: int | None,
    card: str | None,
    older_days: int | None,
) -> None:
    """List findings that are not closed, most money first. `work find` looks for new ones now."""
    states: Sequence[WorkState] = tuple(WorkState) if show_all else NOT_DONE
    with looking(context) as central:
        wanted = Wanted(
            states=states if state is None else (WorkState(state),),
            owner=owner,
            kind=kind,
            terminal_id=till,
            card_uid=None if card is None else _uid_of(central, card),
            older_than=None
            if older_days is None
            else central.unix_seconds() - older_days * _SECONDS_PER_DAY,
        )
        found = work_list(central, wanted)
    rows = [
        (
            str(one.number),
            context.translate(_STATES[one.state]),
            one.owner or "-",
            one.kind,
            "-" if one.card_uid is None else one.card_uid.hex().upper(),
            "-" if one.terminal_id is None else str(one.terminal_id),
            "-" if one.amount is None else str(one.amount),
            local_time(one.found_at),
        )
        for one in found
    ]
    headings = ("number", "state", "owner", "kind", "card", "terminal", "amount", "found")
    print_table(context, headings, rows)
    total = Rupiah(sum(abs(one.amount.amount) for one in found if one.amount is not None))
    context.say(N_("{count} findings, about {total}."), count=len(found), total=total)


@work.command("kinds")
@click.pass_obj
def work_kinds(context: Context) -> None:
    """Say of each kind of finding what it means, and what a person does about it."""
    for kind, meaning in sorted(MEANINGS.items()):
        click.echo(f"{kind}: {context.translate(meaning.what)}")
        click.echo("→ " + context.translate(meaning.next_step))


@work.command("find")
@click.pass_obj
def work_find(context: Context) -> None:
    """Look now for sales not sent, clocks, refused vouchers and batches; the server does it hourly."""
    with open_central(context) as central:
        done = find_work(central)
    context.say(N_("Looked: {found} found, {ended} are no longer so."), **done)


@work.command("show")
@_NUMBER
@click.pass_obj
def work_show(context: Context, number: int) -> None:
    """Say what finding NUMBER means, what to do next, and what was done with it."""
    with looking(context) as central:
        found, steps = finding(central, number)
    _say_finding(context, found)
    meaning = MEANINGS[found.kind]
    context.say(meaning.what)
    click.echo(f"  {found.detail}")
    click.echo("→ " + context.translate(meaning.next_step))
    click.echo(f"{local_time(found.found_at)}  " + context.translate(N_("found")))
    for step in steps:
        by = step.done_by or context.translate(N_("the server"))
        line = f"{local_time(step.at)}  {context.translate(_STATES[step.state])}, {by}"
        click.echo(f"{line} → {step.owner}: {step.note}" if step.owner else f"{line}: {step.note}")


@work.command("take")
@_NUMBER
@_BY
@click.pass_obj
def work_take(context: Context, number: int, by: str) -> None:
    """Say that NUMBER is mine."""
    _act(context, lambda central: assign(central, number, by, by=by))


@work.command("assign")
@_NUMBER
@click.argument("owner")
@_BY
@click.option("--note", default="")
@click.pass_obj
def work_assign(context: Context, number: int, owner: str, by: str, note: str) -> None:
    """Give NUMBER to OWNER."""
    _act(context, lambda central: assign(central, number, owner, by=by, note=note))


@work.command("note")
@_NUMBER
@click.argument("note")
@_BY
@click.pass_obj
def work_note(context: Context, number: int, note: str, by: str) -> None:
    """Add a NOTE to NUMBER's history."""
    _act(context, lambda central: add_note(central, number, by=by, note=note))


@work.command("explain")
@_NUMBER
@click.argument("note")
@_BY
@click.pass_obj
def work_explain(context: Context, number: int, note: str, by: str) -> None:
    """Say in NOTE what the cause of NUMBER is; it stays on the list until it is closed."""
    _act(context, lambda central: explain(central, number, by=by, note=note))


@work.command("close")
@_NUMBER
@click.argument("note")
@_BY
@click.pass_obj
def work_close(context: Context, number: int, note: str, by: str) -> None:
    """Say in NOTE how NUMBER ended. It comes back by itself if it is found again."""
    _act(context, lambda central: close(central, number, by=by, note=note))


@work.command("reopen")
@_NUMBER
@click.argument("note")
@_BY
@click.pass_obj
def work_reopen(context: Context, number: int, note: str, by: str) -> None:
    """Put NUMBER back on the list, saying why in NOTE."""
    _act(context, lambda central: reopen(central, number, by=by, note=note))


def _act(context: Context, action: Callable[[Central], Finding]) -> None:
    with open_central(context) as central:
        found = action(central)
    _say_finding(context, found)


def _say_finding(context: Context, found: Finding) -> None:
    context.say(
        N_("Finding {number}, {kind} {subject}: {state}, owner {owner}, {amount}."),
        number=found.number,
        kind=found.kind,
        subject=found.subject,
        state=context.translate(_STATES[found.state]),
        owner=found.owner or "-",
        amount="-" if found.amount is None else found.amount,
    )


def _uid_of(central: Central, card: str) -> bytes | None:
    """Also of a card that is not ours: a finding may be about one."""
    parsed = parse_card(card)
    if isinstance(parsed, bytes):
        return parsed
    return reconcile_card(central, parsed).uid


@click.group("reconcile", cls=DomainGroup, invoke_without_command=True)
@click.pass_context
def reconcile_group(ctx: click.Context) -> None:
    """Account for each card, till, day and rupiah in suspense. Without a command: look again.

    That is at every card with a gap or something open; it changes nothing that is settled.
    """
    if ctx.invoked_subcommand is not None:
        return
    context: Context = ctx.obj
    with open_central(context) as central:
        looked_at = reconcile(central.database, central.mac_keys(), central.unix_seconds())
        restored = restore_due(central)
    if restored:
        context.say(N_("Lost cards whose money is restored now: {count}."), count=restored)
    context.say(N_("Cards looked at: {count}. See `report` and `in-doubt`."), count=looked_at)


@reconcile_group.command("card")
@click.argument("card", metavar="UID|SERIAL")
@click.pass_obj
def reconcile_one_card(context: Context, card: str) -> None:
    """Tell the life of a card, transaction by transaction, with what is missing and why."""
    with looking(context) as central:
        found = reconcile_card(central, parse_card(card))
    context.say(
        N_("Card {uid}, serial {serial}, of {name} (member {member}): {state}."),
        uid=found.uid.hex().upper(),
        serial=found.serial,
        name=found.member_name,
        member=found.member_number,
        state=found.state,
    )
    for line in _timeline(context, found):
        click.echo(line)
    if found.credits_waiting:
        context.say(
            N_("{count} credits wait for the card: {total}."),
            count=found.credits_waiting,
            total=found.credits_waiting_sum,
        )
    context.say(
        N_(
            "By the ledger it holds {ledger}, by its own last word {card}; in suspense: {suspense}."
        ),
        ledger=found.balance_by_ledger,
        card=found.balance_by_card,
        suspense=found.suspense,
    )
    if found.findings:
        numbers = ", ".join(map(str, found.findings))
        context.say(N_("On the work list: {numbers}."), numbers=numbers)
    if found.is_complete:
        context.say(
            N_("Every one of its {count} transactions is accounted for."), count=found.newest
        )
    elif found.gaps:
        context.say(
            N_("NOT COMPLETE: {missing} of {count} transactions are missing."),
            missing=len(found.gaps),
            count=found.newest,
        )
    else:
        context.say(
            N_("All of its {count} transactions are on record; what is open stands above."),
            count=found.newest,
        )


def _timeline(context: Context, found: CardAccount) -> list[str]:
    lines: list[tuple[tuple[int, int], str]] = []
    lines += [((event.counter, 0), _event_line(context, event)) for event in found.events]
    lines += [((gap.counter, 0), _gap_line(context, gap)) for gap in found.gaps]
    last = found.newest + 1
    lines += [((doubt.counter or last, 1), _doubt_line(context, doubt)) for doubt in found.doubts]
    return [line for _, line in sorted(lines)]


def _event_line(context: Context, event: CardEvent) -> str:
    what = N_("credit {sequence} of {amount}")
    if not event.is_credit:
        what = N_("sale {till}/{sequence} of {amount}")
    said = context.translate(what).format(
        till=event.terminal_id, sequence=event.sequence, amount=event.amount
    )
    sealed = N_("sealed by the card") if event.card_mac_verified else N_("shown by its neighbours")
    line = f"{event.counter:>6}  {local_time(event.at)}  {said} → {event.balance_after}"
    line = f"{line}, {context.translate(sealed)}"
    if not event.follows:
        line += "  " + context.translate(N_("DOES NOT FOLLOW from the balance before"))
    return line


def _gap_line(context: Context, gap: Gap) -> str:
    reader = gap.reader
    cause = context.translate(_CAUSES[gap.cause]).format(
        till="" if reader is None else reader.terminal_id,
        sequence="" if reader is None else reader.sequence,
    )
    missing = context.translate(N_("MISSING")) + f": {cause}"
    return f"{gap.counter:>6}  {missing}" + (f" ({gap.missing})" if gap.missing else "")


_DOUBTS = {
    DoubtState.OPEN: N_("not settled yet"),
    DoubtState.SUSPENDED: N_("said to be paid, in suspense"),
    DoubtState.PAID: N_("paid"),
    DoubtState.NOT_PAID: N_("not paid"),
    DoubtState.DISPUTED: N_("disputed"),
}


def _doubt_line(context: Context, doubt: CardDoubt) -> str:
    said = context.translate(N_("sale in doubt {till}/{sequence} of {amount}: {state}")).format(
        till=doubt.terminal_id,
        sequence=doubt.sequence,
        amount=doubt.amount,
        state=context.translate(_DOUBTS[doubt.state]),
    )
    number = "" if doubt.counter is None else str(doubt.counter)
    settled = "" if doubt.settled_at is None else f" ({local_time(doubt.settled_at)})"
    why = f"; {doubt.explanation}" if doubt.explanation else ""
    return f"{number:>6}  {local_time(doubt.at)}  {said}{settled}{why}"


@reconcile_group.command("cards")
@click.pass_obj
def reconcile_all_cards(context: Context) -> None:
    """List every card with something open: numbers missing, doubts, suspense, findings."""
    with looking(context) as central:
        found = open_cards(central)
    rows = [
        (
            str(one.serial),
            one.uid.hex().upper(),
            str(one.member_number),
            str(one.missing),
            f"{one.doubts} ({one.doubts_sum})",
            str(one.credits_in_doubt),
            str(one.suspense),
            str(one.findings),
        )
        for one in found
    ]
    headings = (
        "serial",
        "card",
        "member",
        "missing",
        "in doubt",
        "credits",
        "suspense",
        "findings",
    )
    print_table(context, headings, rows)
    context.say(N_("{count} cards with something open."), count=len(found))


@reconcile_group.command("tills")
@click.pass_obj
def reconcile_all_tills(context: Context) -> None:
    """List every till: its chain, when it was last seen, what cards name and it has not sent."""
    with looking(context) as central:
        lines = till_lines(central)
    rows = [
        (
            str(one.terminal_id),
            f"{one.name}, {one.seller}",
            f"{one.kept}/{one.head}" + ("" if one.is_complete else " !"),
            "-" if one.last_seen is None else local_time(one.last_seen),
            f"{one.named} ({one.named_sum})",
            str(one.quarantined),
            str(one.doubts),
            str(one.clock_behind),
            str(one.findings),
        )
        for one in lines
    ]
    headings = (
        "terminal",
        "name",
        "vouchers",
        "last seen",
        "not sent",
        "refused",
        "in doubt",
        "clock",
        "findings",
    )
    print_table(context, headings, rows)
    broken = [str(one.terminal_id) for one in lines if not one.is_complete]
    if broken:
        context.say(N_("NOT COMPLETE: the chains of {tills}."), tills=", ".join(broken))
    else:
        context.say(N_("Every till's chain is there up to its head."))


@reconcile_group.command("till")
@click.argument("terminal", type=click.IntRange(1))
@click.pass_obj
def reconcile_one_till(context: Context, terminal: int) -> None:
    """Read a till's whole chain, and say what is not there."""
    with looking(context) as central:
        found = reconcile_till(central, terminal)
    line = found.line
    context.say(
        N_("Terminal {till}, {name} of {seller}: {status}, head {head}, {kept} vouchers kept."),
        till=line.terminal_id,
        name=line.name,
        seller=line.seller,
        status=line.status,
        head=line.head,
        kept=line.kept,
    )
    seen = "-" if line.last_seen is None else local_time(line.last_seen)
    batch = "-" if line.last_batch is None else local_time(line.last_batch)
    context.say(N_("Last seen {seen}, last vouchers {batch}."), seen=seen, batch=batch)
    if found.is_complete:
        context.say(N_("Its chain is complete: each voucher holds the hash of the one before."))
    for first, last in found.missing:
        context.say(N_("MISSING HERE: vouchers {first} to {last}."), first=first, last=last)
    for sequence in found.broken:
        context.say(N_("BROKEN: voucher {sequence} does not follow."), sequence=sequence)
    if not found.head_fits:
        context.say(N_("BROKEN: its last voucher is not its head."))
    for sequence, uid, at in found.named:
        context.say(
            N_("Not sent: voucher {sequence}, named by card {card} at {at}."),
            sequence=sequence,
            card=uid.hex().upper(),
            at=local_time(at),
        )
    for sequence, reason, detail in found.quarantined:
        context.say(
            N_("Not believed: voucher {sequence}, {reason}. {detail}"),
            sequence=sequence,
            reason=reason,
            detail=detail,
        )
    if line.clock_behind:
        context.say(N_("Sales that show its clock behind: {count}."), count=line.clock_behind)
    if found.findings:
        context.say(N_("On the work list: {numbers}."), numbers=", ".join(map(str, found.findings)))


@reconcile_group.command("suspense")
@click.pass_obj
def reconcile_suspense(context: Context) -> None:
    """Say what each rupiah in suspense is about, and which findings of the work list it is."""
    with looking(context) as central:
        lines = suspense_lines(central)
    rows = [
        (
            str(one.amount),
            one.card_uid.hex().upper() or "-",
            context.translate(_SUSPENSE[one.cause]).format(
                sale=f"{one.terminal_id}/{one.sequence}"
            ),
            local_time(one.since),
            one.explanation,
            ", ".join(map(str, one.findings)) or "-",
        )
        for one in lines
    ]
    headings = ("amount", "card", "about", "since", "explanation", "findings")
    print_table(context, headings, rows)
    total = Rupiah(sum(one.amount.amount for one in lines))
    context.say(N_("In suspense: {total}."), total=total)


@reconcile_group.command("day")
@click.argument("day", type=click.DateTime(["%Y-%m-%d"]), required=False)
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write a page there.")
@click.option("--group", type=click.Choice([group.value for group in Group]), help="Its accounts.")
@click.option("--account", metavar="NAME", help="Its postings, such as `card 1001`.")
@click.option("--limit", type=click.IntRange(1), default=200, show_default=True)
@click.pass_obj
def reconcile_one_day(
    context: Context,
    *,
    day: datetime | None,
    html: Path | None,
    group: str | None,
    account: str | None,
    limit: int,
) -> None:
    """Draw a DAY (2026-11-23; today): issued less redeemed is on cards, in wallets, in flight...

    Then on with --group, --account, and `reconcile voucher`. Exits with 1 if it does not add up.
    """
    with looking(context) as central:
        number = days_since_1970(day_of(central.unix_seconds()) if day is None else day.date())
        found = reconcile_day(central, number)
        if group is not None:
            accounts = [
                (
                    account_in_words(one.name, context.translate),
                    str(one.postings),
                    str(one.debits),
                    str(one.credits),
                )
                for one in group_of_day(central, number, Group(group), limit)
            ]
            print_table(context, ("account", "postings", "debits", "credits"), accounts)
        if account is not None:
            with central.database.read() as connection:
                wanted = parse_account(connection, account_in_english(account, context.translate))
            lines = [
                (
                    local_time(one.at),
                    context.translate(KIND_NAMES[one.kind]),
                    account_in_words(one.debit, context.translate),
                    account_in_words(one.credit, context.translate),
                    str(one.amount),
                    f"{one.terminal_id}/{one.sequence}",
                    one.explanation,
                )
                for one in account_of_day(central, number, wanted, limit)
            ]
            headings = ("at", "kind", "debit", "credit", "amount", "voucher", "explanation")
            print_table(context, headings, lines)
        if html is not None:
            page = day_page(central, found, context.translate, context.language)
            html.write_text(page, encoding="utf-8")
    if group is None and account is None:
        _draw(context, found)
    if html is not None:
        context.say(N_("Written: {path}"), path=html)
    if found.difference:
        raise LedgerDoesNotAddUp(difference=found.difference)
    if not found.agrees_with_head:
        raise DayNotAsSigned(day=f"{day_number(number):%d-%m-%Y}")


def _draw(context: Context, found: DayAccount) -> None:
    date = day_number(found.day).strftime("%d-%m-%Y")
    context.say(N_("Reconciliation of {day}"), day=date)
    left = (found.issued - found.redeemed).amount
    whole = max(left, *(abs(amount.amount) for amount in found.stocks.values()), 1)
    table = Table(show_header=False, box=None, padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    table.add_row(
        context.translate(N_("issued less redeemed")), str(Rupiah(left)), _bar(left, whole, "white")
    )
    for group, amount in found.stocks.items():
        name = context.translate(GROUP_NAMES[group])
        table.add_row(name, str(amount), _bar(amount.amount, whole, COLOURS[group]))
    Console().print(table)
    for kind, amount in sorted(found.kinds.items()):
        click.echo(f"  {context.translate(KIND_NAMES[kind])}: {amount}")
    for line in verdict(found, context.translate)[1]:
        click.echo(line)


def _bar(amount: int, whole: int, colour: str) -> Text:
    sign = "█" if amount >= 0 else "▒"
    return Text(sign * min(_BAR_WIDTH, -(-abs(amount) * _BAR_WIDTH // whole)), style=colour)


@reconcile_group.command("voucher")
@click.argument("terminal", type=click.IntRange(1))
@click.argument("sequence", type=click.IntRange(1))
@click.pass_obj
def reconcile_voucher(context: Context, terminal: int, sequence: int) -> None:
    """Say a voucher in words, then field by field as its bytes have it."""
    with looking(context) as central:
        shown = voucher_in_words(central, terminal, sequence)
    for line in voucher_sentences(shown, context.translate):
        click.echo(line)
    for key, name, value in shown.diagnostic:
        click.echo(f"{key:>4} {name:<14} {value}")
    click.echo(shown.encoded.hex())
