"""`dobmi terminal`: what a cashier does. Exit codes: 0 done or paid, 1 refused, 3 in doubt."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import click

from dobmi.cardlib.custody import KeyRing, load_key_file, save_key_file
from dobmi.cardlib.errors import WrongPin
from dobmi.cardlib.pin import Pin
from dobmi.cardlib.purse import PurseView
from dobmi.cardlib.purse_layout import RecordKind
from dobmi.cardlib.readers.base import open_reader
from dobmi.cli import outlet, printing
from dobmi.cli.context import Context, DomainGroup, show_error
from dobmi.cli.page import page
from dobmi.cli.pins import ask_pin
from dobmi.cli.printing import PRINTER_STATES, printer_now, put_on_paper, show_paper
from dobmi.cli.setup import setup, till_files
from dobmi.cli.till import agreed_by, opened_ledger, opened_till, the_supervisor
from dobmi.errors import DoBMIError, MoneyMoved
from dobmi.i18n import N_
from dobmi.money import ZERO
from dobmi.sync import http
from dobmi.sync.client import HttpClient, Patience
from dobmi.sync.enrolment import Invitation
from dobmi.sync.errors import SyncError
from dobmi.sync.feed import SettledAs
from dobmi.sync.outlet import StaffMember
from dobmi.sync.voucher import GoodsLine, Outcome, RefundVoucher
from dobmi.terminal.errors import (
    AnotherCard,
    BadCart,
    BadRefundGoods,
    NoCardCame,
    PassphrasesDiffer,
    SaleInDoubt,
    StillInDoubt,
    TillInUse,
)
from dobmi.terminal.ledger import DoubtRow, IntentRow
from dobmi.terminal.lock import TillLock
from dobmi.terminal.paper import Paper
from dobmi.terminal.papers import paper_of_refund, paper_of_sale
from dobmi.terminal.purchase import Purchase, parse_amount, parse_goods_line
from dobmi.terminal.refund import RefundResult, goods_of_lines, supervisor_name
from dobmi.terminal.sale import SaleResult
from dobmi.terminal.status import TillStatus, till_status
from dobmi.terminal.synchronise import SyncResult
from dobmi.terminal.till import SIGNING_KEY, BalanceResult, Till, enrol_till
from dobmi.wib import local_time

EXIT_REFUSED = 1
EXIT_IN_DOUBT = 3
TAPS_MAX = 10
_CLOSED_SHOWN_SECONDS = 30 * 24 * 3600
_SECONDS_PER_DAY = 24 * 3600
_MINUTES_PER_HOUR = 60
_HOURS_SHOWN_MAX = 48
_AT_ONCE = Patience(
    attempts=1, connect_timeout_seconds=2, silence_timeout_seconds=2, answer_timeout_seconds=3
)


@click.group(cls=DomainGroup)
def command() -> None:
    """Sell at a till.

    Exit codes: 0 paid or done, 1 refused (no money moved), 3 in doubt.
    """


command.add_command(setup)
command.add_command(page)


command.add_command(printing.command)
command.add_command(outlet.shift)
command.add_command(outlet.catalogue)
command.add_command(outlet.orders)


@command.command()
@click.argument("invitation")
@click.pass_obj
def enrol(context: Context, invitation: str) -> None:
    """Make this machine a till, with an INVITATION from the central office."""
    settings = context.settings.terminal
    parsed = Invitation.parse(invitation)
    path = context.settings.at(settings.identity)
    passphrase = context.passphrase(context.translate(N_("Passphrase for this till's identity")))
    if path.exists():
        signing = load_key_file(path, passphrase)
    else:
        again = context.passphrase(context.translate(N_("The same passphrase again")))
        if again != passphrase:
            raise PassphrasesDiffer
        signing = KeyRing.generate(signing=[SIGNING_KEY])
        save_key_file(path, signing, passphrase)
    identity = enrol_till(
        database=context.settings.at(settings.database),
        signing=signing,
        server=settings.server,
        invitation=parsed,
        language=context.language,
    )
    context.say(
        "This is now till {terminal_id} of {seller}.",
        terminal_id=identity.terminal_id,
        seller=identity.seller,
    )
    _sync(context)


# So that `sell -500` is an amount, refused as one, and not an option that nobody knows.
@command.command(context_settings={"ignore_unknown_options": True})
@click.argument("amount", required=False)
@click.option("--item", "items", multiple=True, metavar="NAME=PRICE", help="A goods line.")
@click.option(
    "--qty",
    "quantities",
    type=click.IntRange(1, (1 << 31) - 1),
    multiple=True,
    help="Pieces of the item.",
)
@click.option("--code", "codes", multiple=True, metavar="CODE[=PIECES]", help="From the catalogue.")
@click.option("--class", "member_class", default="", help="At the prices of this member class.")
@click.option("--discount", metavar="10%|5000", help="On all that comes from catalogue or order.")
@click.option("--order", type=click.IntRange(min=1), metavar="NUMBER", help="A member's order.")
@click.option("--short", "shorts", multiple=True, metavar="CODE=PIECES", help="Missing of it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def sell(
    context: Context,
    *,
    amount: str | None,
    items: tuple[str, ...],
    quantities: tuple[int, ...],
    codes: tuple[str, ...],
    member_class: str,
    discount: str | None,
    order: int | None,
    shorts: tuple[str, ...],
    as_json: bool,
) -> None:
    """Sell for AMOUNT (12500, 12.500 or "Rp 12.500"), or for what the goods come to.

    The first --qty belongs to the first --item, and so on: --item "Beras 5 kg=75000" --qty 2
    """
    with _reporting(context, as_json) as beside:
        goods = _goods(items, quantities)
        from_outlet = bool(codes) or order is not None
        if amount is None and not goods and not from_outlet:
            raise BadCart(detail=N_("neither an amount nor goods"))
        if from_outlet and (amount is not None or goods):
            raise BadCart(detail=N_("catalogue or order, or else an amount and items of your own"))
        total = (
            sum((line.amount for line in goods), ZERO) if amount is None else parse_amount(amount)
        )
        with opened_till(context) as till:
            asked = _Asked(Purchase(total, goods))
            if from_outlet:
                cart = outlet.cart_of(
                    till.ledger, codes, order, shorts, discount=discount, member_class=member_class
                )
                asked = _Asked(
                    cart.purchase(), cart.member_class if cart.has_class_prices else None, order
                )
            beside.update(_not_shown_json(till.not_shown, till.refunds_not_shown))
            _say_not_shown(context, till, as_json)
            _warn_of_clock(context, till, as_json)
            try:
                result, retapped = _sell_with_patience(context, till, asked, as_json)
            except DoBMIError:
                beside["settled"] = _settled_json(till)
                _say_settled(context, till, as_json)
                raise
            except KeyboardInterrupt:
                doubt = till.interrupted()
                if doubt is None:
                    raise
                raise doubt from None
            earlier = result.already_paid and not retapped
            paper = _receipt(context, till, result, earlier=earlier)
            if as_json:
                _print_json({**_sale_json(result), **beside, "settled": _settled_json(till)})
            else:
                show_paper(paper)
                _say_settled(context, till, as_json, besides=result.sequence)
            till.acknowledge_not_shown()
            put_on_paper(context, till.ledger, paper)


@command.command()
@click.argument("sequence", type=click.IntRange(min=1))
@click.option("--amount", help="A part of the sale only; all that is left of it when left out.")
@click.option("--reason", required=True, help="Why: stands on the paper and at the office.")
@click.option("--line", "lines", multiple=True, metavar="LINE=PIECES", help="Of the goods only.")
@click.option(
    "--supervisor",
    default="",
    metavar="NUMBER|NAME",
    help="Who agrees to a sale of an earlier shift: by number and PIN where the staff is listed.",
)
@click.option("--supervisor-card", is_flag=True, help="The supervisor agrees by card.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def refund(
    context: Context,
    *,
    sequence: int,
    amount: str | None,
    reason: str,
    lines: tuple[str, ...],
    supervisor: str,
    supervisor_card: bool,
    as_json: bool,
) -> None:
    """Give the money of this till's sale number SEQUENCE back, or a part of it.

    No card is needed: the money comes to the member's card through the central server.
    """
    with (
        _reporting(context, as_json) as beside,
        opened_till(context, cards=supervisor_card) as till,
    ):
        beside.update(_not_shown_json(till.not_shown, till.refunds_not_shown))
        _say_not_shown(context, till, as_json)
        _warn_of_clock(context, till, as_json)
        part = None if amount is None else parse_amount(amount)
        goods: tuple[GoodsLine, ...] = ()
        if lines:
            goods = goods_of_lines(till.ledger, sequence, _pieces_of_lines(lines))
            part = sum((line.amount for line in goods), ZERO)
        agreed: StaffMember | str
        if supervisor_card:
            agreed = the_supervisor(context, till, None)
        else:
            agreed = agreed_by(context, till, supervisor)
        result = till.refund(sequence, part, reason=reason, supervisor=agreed, goods=goods)
        paper = _refund_paper(context, till, result)
        if as_json:
            _print_json({**_refund_json(result), **beside})
        else:
            show_paper(paper)
        till.acknowledge_not_shown()
        put_on_paper(context, till.ledger, paper)


@command.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def balance(context: Context, as_json: bool) -> None:
    """Show what is on a card, and its last ten transactions, from the card itself."""
    with _reporting(context, as_json) as beside, opened_till(context) as till:
        beside.update(_not_shown_json(till.not_shown, till.refunds_not_shown))
        _say_not_shown(context, till, as_json)
        if not as_json:
            context.say("Tap the card.")
        result = till.balance()
        if as_json:
            _print_json({**_balance_json(result), **beside, "settled": _settled_json(till)})
        else:
            _say_balance(context, result)
            _say_settled(context, till, as_json)
        till.acknowledge_not_shown()


@command.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def status(context: Context, as_json: bool) -> None:
    """Show network, unsent vouchers, doubts, clock, reader, limits and shift."""
    with opened_ledger(context) as ledger:
        now = till_status(ledger)
    network = _network(context)
    reader = _reader(context)
    printer = printer_now(context)
    if as_json:
        papers = {"printer": printer[0].value, "printer_problem": printer[1]}
        _print_json({**_status_json(now, network, reader), **papers})
    else:
        _say_status(context, now, network, reader)
        context.say(
            "Printer   {printer}",
            printer=printer[1] or context.translate(PRINTER_STATES[printer[0]]),
        )


@command.command()
@click.pass_obj
def sync(context: Context) -> None:
    """Send what is unsent; fetch the block list and limits."""
    _sync(context)


@command.group()
def clock() -> None:
    """Mend a till that has kept a wrong time."""


@clock.command("reset")
@click.option("--supervisor", required=True, metavar="NUMBER|NAME", help="Who decides.")
@click.option("--reason", required=True, metavar="TEXT", help="Why, in words.")
@click.pass_obj
def clock_reset(context: Context, supervisor: str, reason: str) -> None:
    """Sync, and go on from the central server's time, after this machine's clock was far ahead.

    Set the machine's clock first. Who did it, and why, is kept.
    """
    with opened_till(context, cards=False) as till:
        who = agreed_by(context, till, supervisor)
        reset = till.reset_clock(supervisor=who, reason=reason)
    context.say(
        "The till went on from {before}; it goes on from {time} now, as the central server says.",
        before=local_time(reset.before_unix_seconds),
        time=local_time(reset.unix_seconds),
    )


@command.group("in-doubt", cls=DomainGroup, invoke_without_command=True)
@click.option("--all", "show_all", is_flag=True, help="Older ones that were closed, too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def in_doubt(click_context: click.Context, show_all: bool, as_json: bool) -> None:
    """List the sales of which it is not known whether they were paid, and what became of them.

    Those that the central server or a supervisor closed stay in the list for 30 days.
    """
    if click_context.invoked_subcommand is not None:
        return
    context = click_context.ensure_object(Context)
    with opened_ledger(context) as ledger:
        now = till_status(ledger)
    since = 0 if show_all else now.clock.unix_seconds - _CLOSED_SHOWN_SECONDS
    closed = [one for one in now.closed_doubts if _closed_at(one) >= since]
    if as_json:
        _print_json(
            {
                "in_doubt": [_doubt_json(intent, now) for intent in now.doubts],
                "closed": [_closed_json(one, now) for one in closed],
            }
        )
        return
    if not now.doubts:
        context.say("No sale is in doubt.")
    _say_doubts(context, now)
    for one in closed:
        _say_closed(context, one)


@in_doubt.command("close")
@click.argument("sequence", type=click.IntRange(min=1))
@click.option("--paid/--not-paid", "paid", default=None, help="What is decided.")
@click.option("--supervisor", required=True, metavar="NUMBER|NAME", help="Who decides.")
@click.option("--reason", required=True, metavar="TEXT", help="Why, in words.")
@click.pass_obj
def close_doubt(
    context: Context, sequence: int, paid: bool | None, supervisor: str, reason: str
) -> None:
    """Close the sale in doubt number SEQUENCE as a supervisor decides, without its card.

    The decision is signed and goes to the central server as a claim. The card's own word, when it
    is tapped again anywhere, goes before it.
    """
    if paid is None:
        raise click.UsageError(context.translate(N_("Give --paid or --not-paid.")))
    outcome = Outcome.PAID if paid else Outcome.NOT_PAID
    with opened_till(context, cards=False) as till:
        who = agreed_by(context, till, supervisor)
        intent = till.close_doubt(sequence, outcome, supervisor=who, reason=reason)
        supervisor = supervisor_name(who)
    facts: dict[str, object] = {
        "sequence": sequence,
        "amount": intent.amount,
        "holder": intent.holder,
        "supervisor": supervisor,
    }
    if paid:
        context.say(
            "Sale {sequence} over {amount} of {holder} is closed as PAID by {supervisor}. "
            "The outlet is credited when the card confirms it.",
            **facts,
        )
    else:
        context.say(
            "Sale {sequence} over {amount} of {holder} is closed as NOT PAID by {supervisor}. "
            "If the card shows otherwise, the member gets the goods or the money back.",
            **facts,
        )


# Settings to parts


def _pieces_of_lines(lines: tuple[str, ...]) -> dict[int, int]:
    """By index from 0; as people count the receipt's lines, they are from 1. Raises BadRefundGoods."""
    pieces = {}
    for text in lines:
        line, equals, count = text.partition("=")
        if not (equals and line.isdecimal() and count.isdecimal() and text.isascii()):
            raise BadRefundGoods(name=text[:40])
        pieces[int(line[:9]) - 1] = int(count[:9])
    return pieces


def _goods(items: tuple[str, ...], quantities: tuple[int, ...]) -> tuple[GoodsLine, ...]:
    if len(quantities) > len(items):
        raise BadCart(detail=N_("more quantities than items"))
    goods = [parse_goods_line(item) for item in items]
    for index, quantity in enumerate(quantities):
        goods[index] = replace(goods[index], quantity=goods[index].quantity * quantity)
    return tuple(goods)


# Selling


@dataclass(frozen=True, slots=True)
class _Asked:
    """`member_class`: whose prices it was made at, None where they are the same for all."""

    purchase: Purchase
    member_class: str | None = None
    order: int | None = None


def _bound(till: Till, asked: _Asked) -> str | None:
    """A member's order is paid under a number, to which it is bound before the card is asked."""
    if asked.order is None:
        return None
    request = secrets.token_hex(16)
    till.bind_sale(
        request, asked.purchase, member_class=asked.member_class or "", order=asked.order
    )
    return request


def _checking_member(till: Till, asked: _Asked) -> Callable[[PurseView], None]:
    """A card that may not pay this is refused before its money is asked."""

    def see(view: PurseView) -> None:
        found = till.describe(view)
        till.check_member(found, member_class=asked.member_class, order=asked.order)

    return see


_PIN_PROMPT = N_("The member's PIN")


def _sell_with_patience(
    context: Context, till: Till, asked: _Asked, as_json: bool
) -> tuple[SaleResult, bool]:
    """Sell; after a tear ask for the same card until it answers, or nobody taps it any more.

    The result, and whether the card had to be tapped again for it.
    """
    amount, goods = asked.purchase.amount, asked.purchase.goods

    doubt: SaleInDoubt | None = None

    def announce() -> None:
        if not as_json and doubt is None:
            context.say("Tap the card: {amount}", amount=amount)

    request = _bound(till, asked)
    see = _checking_member(till, asked)
    pin = Pin(ask_pin(context, _PIN_PROMPT)) if till.needs_pin(amount) else None
    for _ in range(TAPS_MAX):
        try:
            result = till.sell(
                amount,
                goods,
                only_card=None if doubt is None else doubt.uid,
                announce=announce,
                request=request,
                pin=pin,
                see=see,
            )
        except WrongPin as error:
            show_error(error, context.translate)
            pin = Pin(ask_pin(context, _PIN_PROMPT))
        except StillInDoubt:
            raise
        except SaleInDoubt as error:
            doubt = error
            if isinstance(error.__cause__, NoCardCame):
                break
            show_error(error, context.translate)
            if isinstance(error, AnotherCard):
                till.wait_for_removal()
        else:
            return result, doubt is not None
    till.give_up()
    assert doubt is not None
    raise doubt


def _sync(context: Context) -> None:
    with opened_till(context, cards=False, renews_keys=True) as till:
        shown = False

        def progress(done: int, total: int) -> None:
            nonlocal shown
            shown = True
            context.say("Sent {done} of {total} vouchers.", done=done, total=total)

        before = {one.intent.sequence: one.settlement for one in till.ledger.all_doubts()}
        result = till.sync(progress)
        for one in till.ledger.all_doubts():
            if one.settlement not in (None, before[one.intent.sequence]):
                _say_closed(context, one)
        if not shown:
            context.say("There was nothing to send.")
        if result.resent_count:
            context.say(
                N_("The central server had lost {count} vouchers; they were sent again."),
                count=result.resent_count,
            )
        for sequence, reason in result.quarantined:
            context.say(
                "Voucher {sequence} is kept by the office for a check: {reason}",
                sequence=sequence,
                reason=reason,
            )
        if result.records_sent_count:
            context.say("Shifts and orders reported: {count}.", count=result.records_sent_count)
        if result.records_problem is not None:
            context.say(
                "The central server did not take the reports of shifts and orders; they wait here."
            )
            show_error(result.records_problem, context.translate)
        _say_new_keys(context, result)
        context.say(
            "Block list version {version}: {count} cards.",
            version=result.feed_version,
            count=result.blocked_count,
        )


# Saying it


def _say_new_keys(context: Context, result: SyncResult) -> None:
    if result.new_keys_generation:
        context.say(
            N_("Card keys of generation {generation} came."),
            generation=result.new_keys_generation,
        )
    if result.keys_problem is not None:
        show_error(result.keys_problem, context.translate)


@contextmanager
def _reporting(context: Context, as_json: bool) -> Iterator[dict[str, Any]]:
    """Errors with their exit code; as JSON on standard output where that was asked for.

    What is put into the yielded members stands in the error's JSON object too.
    """
    beside: dict[str, Any] = {"not_shown": [], "refunds_not_shown": []}
    try:
        yield beside
    except DoBMIError as error:
        if as_json:
            _print_json(
                {
                    "error": error.code,
                    "message": error.explain(context.translate),
                    "next_step": error.advise(context.translate),
                    "money_moved": error.money_moved.value,
                    **beside,
                }
            )
        else:
            show_error(error, context.translate)
        _leave(error)


def _leave(error: DoBMIError) -> NoReturn:
    sys.exit(EXIT_REFUSED if error.money_moved is MoneyMoved.NO else EXIT_IN_DOUBT)


def _print_json(value: dict[str, Any]) -> None:
    click.echo(json.dumps(value, ensure_ascii=False))


def _receipt(context: Context, till: Till, result: SaleResult, *, earlier: bool) -> Paper:
    server = context.settings.terminal.server
    return paper_of_sale(till.ledger, server, result.sequence, context.translate, earlier=earlier)


def _refund_paper(context: Context, till: Till, result: RefundResult) -> Paper:
    """What the member takes home: the money is owed, and when it will be on the card."""
    return paper_of_refund(
        till.ledger,
        context.settings.terminal.server,
        result.sequence,
        context.translate,
        already_written=result.already_written,
    )


def _say_balance(context: Context, result: BalanceResult) -> None:
    context.say(
        "{holder}, member {member}: {balance}",
        holder=result.holder.name,
        member=result.holder.member_number,
        balance=result.balance,
    )
    if result.is_blocked:
        context.say("This card is blocked. Send the member to the office.")
    if result.is_expired:
        context.say(
            "This card was valid until {expires}.",
            expires=result.holder.expires.strftime("%d-%m-%Y"),
        )
    if result.has_credit_waiting:
        context.say("A credit is waiting for this card at the central server.")
    for record in result.records or ():
        is_sale = record.kind is RecordKind.SALE
        context.say(
            N_("  {time}  paid {amount}, left {balance}")
            if is_sale
            else N_("  {time}  got {amount}, then {balance}"),
            time=local_time(record.unix_seconds),
            amount=record.amount,
            balance=record.balance_after,
        )


def _say_not_shown(context: Context, till: Till, as_json: bool) -> None:
    if as_json:
        return
    for intent, _ in till.not_shown:
        context.say(
            "Before the till stopped, {holder} PAID {amount} at {time} (sale {sequence}).",
            holder=intent.holder,
            amount=intent.amount,
            time=local_time(intent.unix_seconds),
            sequence=intent.sequence,
        )
    for voucher in till.refunds_not_shown:
        context.say(
            "Before the till stopped, a refund of {amount} was written down at {time} (voucher "
            "{sequence}, of sale {sale}).",
            amount=voucher.amount,
            time=local_time(voucher.link.unix_seconds),
            sequence=voucher.link.sequence,
            sale=voucher.refunds,
        )


def _not_shown_json(
    sales: Iterable[tuple[IntentRow, bytes]], refunds: Iterable[RefundVoucher]
) -> dict[str, Any]:
    """What was done before and may never have reached the cashier: tell it, charge it not again."""
    return {
        "not_shown": [
            {
                "sequence": intent.sequence,
                "voucher_hash": hash_.hex(),
                "card_uid": intent.card_uid.hex().upper(),
                "member_number": intent.member_number,
                "holder": intent.holder,
                "amount_rupiah": intent.amount.amount,
                "unix_seconds": intent.unix_seconds,
            }
            for intent, hash_ in sales
        ],
        "refunds_not_shown": [
            {
                "sequence": voucher.link.sequence,
                "refunds": voucher.refunds,
                "card_uid": voucher.card_uid.hex().upper(),
                "amount_rupiah": voucher.amount.amount,
                "unix_seconds": voucher.link.unix_seconds,
            }
            for voucher in refunds
        ],
    }


def _say_settled(
    context: Context, till: Till, as_json: bool, *, besides: int | None = None
) -> None:
    for one in till.settled:
        intent = one.intent
        if as_json or intent.sequence == besides:
            continue
        facts: dict[str, object] = {
            "sequence": intent.sequence,
            "time": local_time(intent.unix_seconds),
            "amount": intent.amount,
        }
        if one.outcome is Outcome.PAID:
            context.say("Sale {sequence} of {time} over {amount} WAS PAID by this card.", **facts)
        elif one.outcome is Outcome.NOT_PAID:
            context.say("Sale {sequence} of {time} over {amount} was not paid.", **facts)
        else:
            context.say("Sale {sequence} of {time} over {amount} stays in doubt.", **facts)
        if one.decision is not None and one.decision.outcome is not one.outcome:
            context.say(
                "  Supervisor {supervisor} had closed it otherwise. Call the supervisor: the goods, "
                "or a refund, are somebody's.",
                supervisor=one.decision.decided_by,
            )


def _warn_of_clock(context: Context, till: Till, as_json: bool) -> None:
    reading = till.clock.read()
    if as_json:
        return
    if reading.ahead_seconds:
        context.say("This machine's clock is too far ahead to be right. Set it, then sync.")
    elif reading.is_wrong:
        context.say(
            "This machine's clock is {minutes} minutes behind. Set it.",
            minutes=reading.behind_seconds // 60,
        )


def _say_doubts(context: Context, now: TillStatus) -> None:
    """The open ones, and what to do about them."""
    for intent in now.doubts:
        _say_doubt(context, intent, now.clock.unix_seconds)
    if now.doubts:
        context.say(
            "→ Tap the same card again: it tells. When it is used at any till, the central server "
            "finds out too. If neither can be: dobmi terminal in-doubt close {sequence}",
            sequence=now.doubts[0].sequence,
        )


def _say_doubt(context: Context, intent: IntentRow, now_unix_seconds: int) -> None:
    context.say(
        "Sale {sequence}, {time} ({age}): {amount}, {holder} (member {member}), cashier {cashier}",
        sequence=intent.sequence,
        time=local_time(intent.unix_seconds),
        age=_age(context, now_unix_seconds - intent.unix_seconds),
        amount=intent.amount,
        holder=intent.holder,
        member=intent.member_number,
        cashier=intent.cashier,
    )


def _age(context: Context, seconds: int) -> str:
    minutes = max(0, seconds) // 60
    if minutes < _MINUTES_PER_HOUR:
        return context.translate(N_("{count} minutes ago")).format(count=minutes)
    hours = minutes // _MINUTES_PER_HOUR
    if hours < _HOURS_SHOWN_MAX:
        return context.translate(N_("{count} hours ago")).format(count=hours)
    return context.translate(N_("{count} days ago")).format(count=hours // 24)


_SETTLED_LINES = {
    SettledAs.PAID: N_(
        "  {time}: settled by the central server: PAID. If the goods are still here: sell the same "
        "amount to the same card, and nothing is charged."
    ),
    SettledAs.NOT_PAID: N_("  {time}: settled by the central server: NOT PAID."),
    SettledAs.HELD: N_(
        "  {time}: not certain for the central server: the money is in suspense, and the office "
        "looks into it."
    ),
}
_RULE_LINES = {
    "card": N_("  The card was used since, and shows it."),
    "no-word": N_("  The card was not seen for as long as the office waits: the outlet bears it."),
    "claimed-paid": N_(
        "  It was said to be paid here, and the card has not confirmed it for long."
    ),
    "unexplained": N_("  The card shows another amount than this till."),
}


def _say_closed(context: Context, one: DoubtRow) -> None:
    intent, decision, settlement = one.intent, one.decision, one.settlement
    context.say(
        "Sale {sequence}, {time}: {amount}, {holder} (member {member})",
        sequence=intent.sequence,
        time=local_time(intent.unix_seconds),
        amount=intent.amount,
        holder=intent.holder,
        member=intent.member_number,
    )
    if decision is not None:
        line = (
            N_("  {time}: closed by supervisor {supervisor}: PAID. {reason}")
            if decision.outcome is Outcome.PAID
            else N_("  {time}: closed by supervisor {supervisor}: NOT PAID. {reason}")
        )
        context.say(
            line,
            time=local_time(decision.unix_seconds),
            supervisor=decision.decided_by,
            reason=decision.reason,
        )
    if settlement is not None:
        context.say(_SETTLED_LINES[settlement.outcome], time=local_time(settlement.unix_seconds))
        if settlement.rule in _RULE_LINES:
            context.say(_RULE_LINES[settlement.rule])
    if one.resolution is not None:
        context.say(
            N_("  This till has read on the card since: PAID.")
            if one.resolution is Outcome.PAID
            else N_("  This till has read on the card since: NOT PAID.")
        )


def _closed_at(one: DoubtRow) -> int:
    """When it was last heard of."""
    told = [one.decision, one.settlement]
    return max(each.unix_seconds for each in told if each is not None)


def _network(context: Context) -> str | None:
    """None when the central server answers, else why not."""
    try:
        with HttpClient(context.settings.terminal.server, _AT_ONCE) as client:
            client.request("GET", http.HEALTH_PATH, accept=http.JSON, size_max=4096)
    except SyncError as error:
        return error.explain(context.translate)
    return None


def _reader(context: Context) -> tuple[str | None, str | None]:
    """(the reader's name, None) or (None, why it cannot be used)."""
    try:
        reader = open_reader(context.settings.terminal.reader)
    except DoBMIError as error:
        try:  # the page, which has the reader while it runs
            with TillLock(till_files(context).database):
                return None, error.explain(context.translate)
        except TillInUse as in_use:
            return None, in_use.explain(context.translate)
    try:
        return reader.name, None
    finally:
        reader.close()


def _say_status(
    context: Context, now: TillStatus, network: str | None, reader: tuple[str | None, str | None]
) -> None:
    say = context.say
    who, limits = now.identity, now.sync.limits
    say(
        "Till {terminal_id}, {seller} ({issuer})",
        terminal_id=who.terminal_id,
        seller=who.seller,
        issuer=who.issuer,
    )
    if network is None:
        say("Network   the central server answers")
    else:
        say("Network   {problem}", problem=network)
    say(
        "Last sync {time}, {hours} h ago (at most {hours_max} h)",
        time=local_time(now.sync.synced_unix_seconds),
        hours=now.sync_age_seconds // 3600,
        hours_max=limits.sync_age_seconds_max // 3600,
    )
    say(
        "Unsent    {count} of at most {count_max}, {total} of at most {total_max}",
        count=now.unsent.count,
        count_max=limits.unsent_vouchers_max,
        total=now.unsent.total,
        total_max=limits.unsent_total_max,
    )
    if now.oldest_unsent_age_seconds is not None:
        say(
            "          the oldest since {minutes} minutes",
            minutes=now.oldest_unsent_age_seconds // 60,
        )
    say(
        "In doubt  {count}, {total}",
        count=len(now.doubts),
        total=sum((one.amount for one in now.doubts), ZERO),
    )
    _say_doubts(context, now)
    for sequence, reason in now.quarantined:
        say("Held      voucher {sequence}: {reason}", sequence=sequence, reason=reason)
    if now.clock.ahead_seconds:
        say("Clock     {days} days ahead; set it", days=now.clock.ahead_seconds // _SECONDS_PER_DAY)
    elif now.clock.is_wrong:
        say("Clock     {minutes} minutes behind; set it", minutes=now.clock.behind_seconds // 60)
    else:
        say("Clock     {time}", time=local_time(now.clock.unix_seconds))
    say("Reader    {reader}", reader=reader[0] or reader[1])
    say(
        "Limits    a sale at most {sale_max}; {count} cards blocked (version {version})",
        sale_max=limits.sale_max,
        count=now.blocked_count,
        version=now.sync.feed_version,
    )
    _say_work(context, now)


def _say_work(context: Context, now: TillStatus) -> None:
    say = context.say
    if now.shift is None or now.shift.closed_unix_seconds is not None:
        say("Shift     none open")
    else:
        say(
            "Shift     {shift}, {cashier} since {time}; paid {total}",
            shift=now.shift.number,
            cashier=now.shift.on_duty,
            time=local_time(now.shift.opened_unix_seconds),
            total=sum((one.sales_total + one.settled_total for one in now.shift_totals), ZERO),
        )
    if now.staff_count:
        say("Staff     {count} may log in", count=now.staff_count)
    else:
        say("Staff     nobody is listed: the cashier of the settings sells without logging in")
    if now.orders_count:
        say("Orders    {count} to be handed over", count=now.orders_count)
    if now.unsent_records_count:
        say(
            "Reports   {count} of shifts and orders wait to be sent", count=now.unsent_records_count
        )


def _sale_json(result: SaleResult) -> dict[str, Any]:
    return {
        "paid": True,
        "already_paid": result.already_paid,
        "sequence": result.sequence,
        "voucher_hash": result.voucher_hash.hex(),
        "card_uid": result.card_uid.hex().upper(),
        "member_number": result.member_number,
        "holder": result.holder,
        "amount_rupiah": result.amount.amount,
        "balance_before_rupiah": result.balance_before.amount,
        "balance_after_rupiah": result.balance_after.amount,
        "unix_seconds": result.unix_seconds,
    }


def _refund_json(result: RefundResult) -> dict[str, Any]:
    return {
        "refunded": True,
        "already_written": result.already_written,
        "sequence": result.sequence,
        "refunds": result.refunds,
        "voucher_hash": result.voucher_hash.hex(),
        "card_uid": result.card_uid.hex().upper(),
        "member_number": result.member_number,
        "holder": result.holder,
        "amount_rupiah": result.amount.amount,
        "sale_amount_rupiah": result.sale_amount.amount,
        "refunded_total_rupiah": result.refunded_total.amount,
        "reason": result.reason,
        "supervisor": result.supervisor,
        "unix_seconds": result.unix_seconds,
    }


def _settled_json(till: Till) -> list[dict[str, Any]]:
    """Sales in doubt that the card answered for; `paid` is null where it cannot tell any more."""
    return [
        {
            "sequence": one.intent.sequence,
            "amount_rupiah": one.intent.amount.amount,
            "paid": None if one.outcome is None else one.outcome is Outcome.PAID,
        }
        for one in till.settled
    ]


def _balance_json(result: BalanceResult) -> dict[str, Any]:
    return {
        "card_uid": result.card_uid.hex().upper(),
        "member_number": result.holder.member_number,
        "holder": result.holder.name,
        "card_serial": result.holder.card_serial,
        "expires": result.holder.expires.isoformat(),
        "balance_rupiah": result.balance.amount,
        "blocked": result.is_blocked,
        "expired": result.is_expired,
        "credit_waiting": result.has_credit_waiting,
        "movements": [
            {
                "kind": record.kind.name.lower(),
                "amount_rupiah": record.amount.amount,
                "balance_after_rupiah": record.balance_after.amount,
                "unix_seconds": record.unix_seconds,
                "terminal_id": record.terminal_id,
                "sequence": record.sequence,
            }
            for record in result.records or ()
        ],
    }


def _doubt_json(intent: IntentRow, now: TillStatus) -> dict[str, Any]:
    return {
        "sequence": intent.sequence,
        "card_uid": intent.card_uid.hex().upper(),
        "member_number": intent.member_number,
        "holder": intent.holder,
        "amount_rupiah": intent.amount.amount,
        "unix_seconds": intent.unix_seconds,
        "age_seconds": max(0, now.clock.unix_seconds - intent.unix_seconds),
        "cashier": intent.cashier,
        "shift": intent.shift,
    }


def _closed_json(one: DoubtRow, now: TillStatus) -> dict[str, Any]:
    decision, settlement = one.decision, one.settlement
    return {
        **_doubt_json(one.intent, now),
        "decision": decision
        and {
            "paid": decision.outcome is Outcome.PAID,
            "supervisor": decision.decided_by,
            "reason": decision.reason,
            "voucher_sequence": decision.voucher_sequence,
            "unix_seconds": decision.unix_seconds,
        },
        "settlement": settlement
        and {
            "outcome": settlement.outcome.name.lower(),
            "rule": settlement.rule,
            "unix_seconds": settlement.unix_seconds,
        },
        "card_told_paid": one.resolution and one.resolution is Outcome.PAID,
    }


def _status_json(
    now: TillStatus, network: str | None, reader: tuple[str | None, str | None]
) -> dict[str, Any]:
    limits = now.sync.limits
    shift_open = now.shift is not None and now.shift.closed_unix_seconds is None
    return {
        "terminal_id": now.identity.terminal_id,
        "issuer": now.identity.issuer,
        "seller": now.identity.seller,
        "online": network is None,
        "network_problem": network,
        "synced_unix_seconds": now.sync.synced_unix_seconds,
        "acknowledged_sequence": now.sync.acknowledged_sequence,
        "unsent_count": now.unsent.count,
        "unsent_total_rupiah": now.unsent.total.amount,
        "oldest_unsent_age_seconds": now.oldest_unsent_age_seconds,
        "in_doubt": [_doubt_json(intent, now) for intent in now.doubts],
        "quarantined": [
            {"sequence": sequence, "reason": reason} for sequence, reason in now.quarantined
        ],
        "clock_unix_seconds": now.clock.unix_seconds,
        "clock_behind_seconds": now.clock.behind_seconds,
        "clock_ahead_seconds": now.clock.ahead_seconds,
        "reader": reader[0],
        "reader_problem": reader[1],
        "sale_max_rupiah": limits.sale_max.amount,
        "unsent_vouchers_max": limits.unsent_vouchers_max,
        "unsent_total_max_rupiah": limits.unsent_total_max.amount,
        "sync_age_seconds_max": limits.sync_age_seconds_max,
        "feed_version": now.sync.feed_version,
        "blocked_count": now.blocked_count,
        "shift": now.shift.number if now.shift is not None and shift_open else None,
        "staff_count": now.staff_count,
        "orders_count": now.orders_count,
        "unsent_records_count": now.unsent_records_count,
        **_not_shown_json(now.not_shown, now.refunds_not_shown),
    }
