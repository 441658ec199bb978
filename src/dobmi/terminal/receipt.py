"""What stands on the papers of a till, from the facts: sale, refund, balance, order, test page.

The shift's reports are in shift_paper. Every function takes facts and a translation, and makes a
`Paper`; none asks the clock, the ledger or a printer. Nothing that opens or identifies a card is
printed, no UID either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from dobmi.cardlib.purse_layout import RecordKind
from dobmi.i18n import N_
from dobmi.money import ZERO, Rupiah
from dobmi.sync.voucher import GoodsLine
from dobmi.terminal.counter_state import Movement
from dobmi.terminal.ledger import TapCredit
from dobmi.terminal.paper import (
    Align,
    Element,
    Gap,
    Line,
    Pair,
    Paper,
    PaperKind,
    Qr,
    Size,
    Translate,
    Words,
)
from dobmi.wib import local_time

HASH_DIGITS_SHOWN = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlet:
    """What stands at the top of every paper. `cashier`: who stands at the till now; may be empty."""

    issuer: str
    seller: str
    terminal_id: int
    cashier: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SaleFacts:
    """A paid sale. `proof` is the address in the QR code (dobmi.sync.proof_code); "": no code.

    `earlier`: it was paid before, and nothing was charged now. `order`: the member's order it is of.
    """

    outlet: Outlet
    sequence: int
    voucher_hash: bytes
    unix_seconds: int
    holder: str
    member_number: int
    amount: Rupiah
    balance_before: Rupiah
    balance_after: Rupiah
    goods: tuple[GoodsLine, ...] = ()
    proof: str = ""
    order: int | None = None
    earlier: bool = False
    credit: TapCredit | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundFacts:
    """A refund that is written down. `sequence` is its own, `sale` that of what is given back.

    `refunded_total`: of that sale, by now. `synced_unix_seconds`: when the till last met the server.
    `already_written`: before the till stopped, and nothing was added now.
    """

    outlet: Outlet
    sequence: int
    voucher_hash: bytes
    unix_seconds: int
    sale: int
    sale_amount: Rupiah
    amount: Rupiah
    refunded_total: Rupiah
    holder: str
    member_number: int
    reason: str
    supervisor: str
    synced_unix_seconds: int
    goods: tuple[GoodsLine, ...] = ()
    proof: str = ""
    already_written: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceFacts:
    """What is on a card; `movements` newest first, None where they were not asked for."""

    outlet: Outlet
    unix_seconds: int
    holder: str
    member_number: int
    balance: Rupiah
    expires: date
    is_blocked: bool = False
    is_expired: bool = False
    credit_waiting: bool = False
    movements: tuple[Movement, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderedLine:
    """`short` of the `quantity` that was ordered are missing."""

    name: str
    quantity: int
    short: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFacts:
    """A member's order that is handed over. `sale` is the sale that paid for it."""

    outlet: Outlet
    order: int
    holder: str
    member_number: int
    lines: tuple[OrderedLine, ...]
    sale: int | None
    by: str
    unix_seconds: int
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TestFacts:
    """`printer` is the setting as it stands."""

    __test__ = False  # pytest collects no facts

    outlet: Outlet | None
    printer: str
    columns: int
    unix_seconds: int
    proof: str = ""


def heading(outlet: Outlet, unix_seconds: int, translate: Translate) -> list[Element]:
    """Who issues and who sells, where and when."""
    rows: list[Element] = [
        Words(text=outlet.seller, align=Align.CENTRE, bold=True, size=Size.TALL),
    ]
    if outlet.issuer != outlet.seller:
        rows.append(Words(text=outlet.issuer, align=Align.CENTRE))
    where = translate(N_("Till {terminal_id}")).format(terminal_id=outlet.terminal_id)
    if outlet.cashier:
        who = translate(N_("Cashier {cashier}")).format(cashier=outlet.cashier)
        rows.append(Pair(left=who, right=where))
        rows.append(Words(text=local_time(unix_seconds)))
    else:
        rows.append(Pair(left=local_time(unix_seconds), right=where))
    return rows


def sale_paper(facts: SaleFacts, translate: Translate) -> Paper:
    say = translate
    rows = heading(facts.outlet, facts.unix_seconds, say)
    if facts.order is not None:
        rows.append(Words(text=say(N_("Order {order}")).format(order=facts.order), bold=True))
    rows.append(Line())
    rows += _goods(facts.goods, say)
    total = _total(say(N_("TOTAL")), facts.amount)
    rows += [
        total,
        Line(),
        Words(
            text=say(N_("ALREADY PAID") if facts.earlier else N_("PAID")),
            align=Align.CENTRE,
            bold=True,
            size=Size.LARGE,
        ),
    ]
    if facts.earlier:
        text = N_("Paid at {time}. Nothing was charged now.")
        rows.append(Words(text=say(text).format(time=local_time(facts.unix_seconds))))
    rows += [
        _member(facts.holder, facts.member_number, say),
        *_balances(facts, say),
        Line(),
        _number(say(N_("Sale no.")), facts.sequence),
        Pair(left=say(N_("Voucher")), right=_hash(facts.voucher_hash)),
    ]
    rows += _proof(facts.proof, N_("Scan to check this receipt"), say)
    rows += [Gap(), Words(text=say(N_("Thank you")), align=Align.CENTRE)]
    return make_paper(
        PaperKind.SALE, facts.sequence, facts.unix_seconds, rows, title=say(N_("Receipt")), say=say
    )


def _balances(facts: SaleFacts, say: Translate) -> list[Element]:
    """In the order in which they came about; the last one is what is on the card."""
    credit = facts.credit
    rows = [Pair(left=say(N_("Balance before")), right=str(facts.balance_before))]
    if credit is not None and credit.before_sale:
        before = facts.balance_before - credit.amount
        rows = [
            Pair(left=say(N_("Balance before")), right=str(before)),
            Pair(left=say(N_("Credited in this tap")), right=f"+{credit.amount}"),
        ]
    if credit is None or credit.before_sale:
        return [
            *rows,
            Pair(left=say(N_("Balance after")), right=str(facts.balance_after), bold=True),
        ]
    return [
        *rows,
        Pair(left=say(N_("Balance after the sale")), right=str(facts.balance_after)),
        Pair(left=say(N_("Credited in this tap")), right=f"+{credit.amount}"),
        Pair(left=say(N_("Balance after")), right=str(credit.balance_after), bold=True),
    ]


def refund_paper(facts: RefundFacts, translate: Translate) -> Paper:
    """What the member takes home: the money is owed, and when it will be on the card."""
    say = translate
    rows = heading(facts.outlet, facts.unix_seconds, say)
    rows += [
        Line(),
        Words(text=say(N_("REFUND")), align=Align.CENTRE, bold=True, size=Size.LARGE),
    ]
    if facts.already_written:
        text = N_("This refund was written down before. Nothing was added now.")
        rows.append(Words(text=say(text)))
    rows += _goods(facts.goods, say)
    rows += [
        _total(say(N_("TO BE CREDITED")), facts.amount),
        Line(),
        _member(facts.holder, facts.member_number, say),
        Pair(
            left=say(N_("Of sale {sequence}")).format(sequence=facts.sale),
            right=str(facts.sale_amount),
        ),
        Pair(left=say(N_("Refunded in all")), right=str(facts.refunded_total)),
        Words(text=say(N_("Reason: {reason}")).format(reason=facts.reason)),
    ]
    if facts.supervisor:
        text = say(N_("Supervisor: {supervisor}"))
        rows.append(Words(text=text.format(supervisor=facts.supervisor)))
    rows += [
        _number(say(N_("Refund no.")), facts.sequence),
        Pair(left=say(N_("Voucher")), right=_hash(facts.voucher_hash)),
        Line(),
        Words(text=say(N_("The money is NOT ON THE CARD YET.")), bold=True),
        Words(
            text=say(
                N_(
                    "This till reports it when it next syncs (last: {time}); after that the office "
                    "puts it on the card. Keep this paper until then."
                )
            ).format(time=local_time(facts.synced_unix_seconds))
        ),
    ]
    rows += _proof(facts.proof, N_("Scan to see how far it is"), say)
    return make_paper(
        PaperKind.REFUND, facts.sequence, facts.unix_seconds, rows, title=say(N_("Refund")), say=say
    )


def balance_paper(facts: BalanceFacts, translate: Translate) -> Paper:
    say = translate
    rows = heading(facts.outlet, facts.unix_seconds, say)
    rows += [
        Line(),
        _member(facts.holder, facts.member_number, say),
        Pair(left=say(N_("BALANCE")), right=str(facts.balance), bold=True, size=Size.TALL),
    ]
    if facts.is_blocked:
        text = N_("This card is blocked. Send the member to the office.")
        rows.append(Words(text=say(text), bold=True))
    expires = facts.expires.strftime("%d-%m-%Y")
    if facts.is_expired:
        text = N_("This card was valid until {expires}.")
        rows.append(Words(text=say(text).format(expires=expires), bold=True))
    else:
        rows.append(Pair(left=say(N_("Card valid until")), right=expires))
    if facts.credit_waiting:
        text = N_("A credit is waiting for this card at the central server.")
        rows.append(Words(text=say(text)))
    if facts.movements is not None:
        rows += [Line(), Words(text=say(N_("Last on this card")), bold=True)]
        for one in facts.movements:
            rows += _movement(one, say)
        if not facts.movements:
            rows.append(Words(text=say(N_("Nothing yet."))))
    return make_paper(
        PaperKind.BALANCE,
        facts.member_number,
        facts.unix_seconds,
        rows,
        title=say(N_("Balance")),
        say=say,
    )


def order_paper(facts: OrderFacts, translate: Translate) -> Paper:
    """What goes along with the goods of a member's order."""
    say = translate
    rows = heading(facts.outlet, facts.unix_seconds, say)
    rows += [
        Line(),
        Words(
            text=say(N_("ORDER {order}")).format(order=facts.order),
            align=Align.CENTRE,
            bold=True,
            size=Size.LARGE,
        ),
        _member(facts.holder, facts.member_number, say),
        Line(),
    ]
    for line in facts.lines:
        given = line.quantity - line.short
        rows.append(Words(text=f"{count(given):>3} x {line.name}", hanging=6))
        if line.short:
            text = say(N_("      short: {count} of {ordered}"))
            rows.append(Words(text=text.format(count=line.short, ordered=line.quantity), bold=True))
    rows.append(Line())
    if facts.note:
        rows.append(Words(text=say(N_("Note: {note}")).format(note=facts.note)))
    if facts.sale is not None:
        rows.append(_number(say(N_("Paid by sale")), facts.sale))
    rows.append(Pair(left=say(N_("Handed over by")), right=facts.by))
    rows += [Gap(), Gap(), Words(text=say(N_("Received: .....................")))]
    return make_paper(
        PaperKind.ORDER, facts.order, facts.unix_seconds, rows, title=say(N_("Order")), say=say
    )


def test_paper(facts: TestFacts, translate: Translate) -> Paper:
    """Shows that width, sizes, code and cut are right."""
    say = translate
    rows: list[Element] = []
    if facts.outlet is not None:
        rows += heading(facts.outlet, facts.unix_seconds, say)
    else:
        rows.append(Words(text=local_time(facts.unix_seconds)))
    rows += [
        Line(),
        Words(text=say(N_("TEST PAGE")), align=Align.CENTRE, bold=True, size=Size.LARGE),
        Words(text=facts.printer, align=Align.CENTRE),
        Words(
            text=say(N_("The row of digits must fill the paper and stay on one row:")),
        ),
        Words(text="".join(str(place % 10) for place in range(1, facts.columns + 1))),
        Words(text=say(N_("Bold")), bold=True),
        Words(text=say(N_("Tall")), size=Size.TALL),
        Pair(left=say(N_("Left")), right=str(Rupiah(1_234_567))),
    ]
    rows += _proof(facts.proof, N_("The phone must read this code"), say)
    return make_paper(
        PaperKind.TEST, 0, facts.unix_seconds, rows, title=say(N_("Test page")), say=say
    )


# Parts


def make_paper(
    kind: PaperKind,
    reference: int,
    unix_seconds: int,
    rows: Sequence[Element],
    *,
    title: str,
    say: Translate,
) -> Paper:
    return Paper(
        kind=kind,
        reference=reference,
        unix_seconds=unix_seconds,
        title=title,
        copy_mark=say(N_("COPY")),
        elements=tuple(rows),
    )


def count(number: int) -> str:
    """As people write it here: 1.234."""
    return f"{number:,}".replace(",", ".")


def _goods(goods: tuple[GoodsLine, ...], say: Translate) -> list[Element]:
    rows: list[Element] = []
    for line in goods:
        if line.quantity == 1 and not line.discount:
            rows.append(Pair(left=line.name, right=str(line.amount)))
            continue
        rows.append(Words(text=line.name))
        price = f"  {count(line.quantity)} x {line.unit_price}"
        rows.append(Pair(left=price, right=str(line.unit_price * line.quantity)))
        if line.discount:
            rows.append(Pair(left=say(N_("  discount")), right=str(-line.discount)))
    if rows:
        rows.append(Line())
    saved = sum((line.discount for line in goods), ZERO)
    if saved and len(goods) > 1:
        rows.append(Pair(left=say(N_("Discount in all")), right=str(saved)))
    return rows


def _total(name: str, amount: Rupiah) -> Element:
    return Pair(left=name, right=str(amount), bold=True, size=Size.TALL)


def _member(holder: str, number: int, say: Translate) -> Element:
    return Pair(left=holder, right=say(N_("member {member}")).format(member=number), bold=True)


def _number(name: str, number: int) -> Element:
    return Pair(left=name, right=str(number))


def _hash(voucher_hash: bytes) -> str:
    return voucher_hash.hex()[:HASH_DIGITS_SHOWN].upper()


def _proof(proof: str, invitation: str, say: Translate) -> list[Element]:
    if not proof:
        return []
    return [Qr(proof), Words(text=say(invitation), align=Align.CENTRE)]


def _movement(one: Movement, say: Translate) -> list[Element]:
    credit = one.kind is RecordKind.CREDIT
    amount = f"+{one.amount}" if credit else str(-one.amount)
    where = (
        say(N_("credited"))
        if credit
        else say(N_("this till"))
        if one.here
        else say(N_("till {terminal_id}")).format(terminal_id=one.terminal_id)
    )
    return [
        Pair(left=local_time(one.unix_seconds).removesuffix(" WIB"), right=amount),
        Pair(
            left=f"  {where}", right=say(N_("balance {balance}")).format(balance=one.balance_after)
        ),
    ]
