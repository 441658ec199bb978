"""A reconciled day as one HTML file that needs nothing else: bars, and down to the voucher's bytes."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Final

from dobmi.central.posting_rules import Group
from dobmi.central.reconciled_day import (
    DayAccount,
    GroupDay,
    PostingLine,
    VoucherInWords,
    account_of_day,
    group_of_day,
    voucher_in_words,
)
from dobmi.central.server import Central
from dobmi.central.words import GROUP_NAMES, KIND_NAMES, Translate, account_in_words
from dobmi.i18n import N_
from dobmi.money import Rupiah
from dobmi.sync.errors import MalformedMessage
from dobmi.sync.voucher import (
    DecisionVoucher,
    InDoubtVoucher,
    Outcome,
    RefundVoucher,
    ResolutionVoucher,
    SaleVoucher,
    VoidVoucher,
    Voucher,
)
from dobmi.wib import day_number, local_time

COLOURS: Mapping[Group, str] = {
    Group.CARD: "#1b6ca8",
    Group.WALLET: "#3a9188",
    Group.IN_FLIGHT: "#c98a1b",
    Group.OUTLET: "#6b5b95",
    Group.MERCHANT: "#a0628e",
    Group.SUSPENSE: "#b83a3a",
}
ACCOUNTS_MAX: Final = 25
"""Of a group, those with most of the day; the page says how many more there are by their command."""
POSTINGS_MAX: Final = 25
VOUCHERS_MAX: Final = 400
"""Decoded on one page."""

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --bad: #b83a3a; --good: #2c7a4b; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0 } h2 { font-size: 1.15rem; margin-top: 2rem }
p.sum { font-size: 1.1rem } .good { color: var(--good) } .bad { color: var(--bad); font-weight: 600 }
table { border-collapse: collapse; width: 100% }
td, th { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
details { margin: .2rem 0 .2rem 1rem } summary { cursor: pointer; padding: .15rem 0 }
summary span { float: right; font-variant-numeric: tabular-nums }
.voucher { background: var(--soft); padding: .5rem .8rem; margin: .3rem 0; border-radius: .3rem }
code { font-size: .82rem; overflow-wrap: anywhere }
svg text { font: 13px system-ui, sans-serif; fill: currentColor }
.more { opacity: .75; font-style: italic }
"""


def day_page(central: Central, account: DayAccount, tr: Translate, language: str) -> str:
    """The whole page as text."""
    date = day_number(account.day)
    title = tr(N_("Reconciliation of {day}")).format(day=date.strftime("%d-%m-%Y"))
    where, booked, down = (
        escape(tr(one))
        for one in (N_("Where the money is"), N_("What was booked"), N_("Down to the voucher"))
    )
    drill = _Drill(central, account.day, tr)
    groups = "".join(drill.group(one) for one in account.groups if one.debits or one.credits)
    return (
        f'<!doctype html><html lang="{escape(language)}"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>"
        f"{_verdict(account, tr)}<h2>{where}</h2>"
        f"{bars_svg(account, tr)}{_stocks(account, tr)}"
        f"<h2>{booked}</h2>{_kinds(account, tr)}"
        f"<h2>{down}</h2>{groups}</body></html>\n"
    )


def verdict(account: DayAccount, tr: Translate) -> tuple[bool, list[str]]:
    """Whether it adds up and agrees with the signed head, and the sentences that say so."""
    good = not account.difference and account.agrees_with_head
    said = [
        tr(N_("Issued {issued} less redeemed {redeemed} is {left}; found: {found}.")).format(
            issued=account.issued,
            redeemed=account.redeemed,
            left=account.issued - account.redeemed,
            found=account.issued - account.redeemed - account.difference,
        )
    ]
    if account.difference:
        said.append(tr(N_("IT DOES NOT ADD UP: {amount}.")).format(amount=account.difference))
    if account.head is None:
        said.append(tr(N_("The day is not closed yet: more may be booked on it.")))
    elif account.agrees_with_head:
        said.append(
            tr(N_("It agrees with the day's signed head: {count} postings, {amount}.")).format(
                count=account.postings, amount=account.posted
            )
        )
    else:
        said.append(
            tr(
                N_("IT IS NOT WHAT WAS SIGNED: {count} postings, {amount}; signed {signed}, {sum}.")
            ).format(
                count=account.postings,
                amount=account.posted,
                signed=account.head.postings,
                sum=account.head.amount,
            )
        )
    return good, said


def _verdict(account: DayAccount, tr: Translate) -> str:
    good, said = verdict(account, tr)
    lines = "<br>".join(escape(one) for one in said)
    return f'<p class="sum {"good" if good else "bad"}">{lines}</p>'


def bars_svg(account: DayAccount, tr: Translate) -> str:
    """One bar of what was issued and not redeemed, one of where it is; a thing below nought is said."""
    width, height = 900, 26
    shown = [(group, amount) for group, amount in account.stocks.items() if amount.amount > 0]
    whole = max((account.issued - account.redeemed).amount, sum(one.amount for _, one in shown), 1)
    left = width * max(0, (account.issued - account.redeemed).amount) // whole
    above, below = escape(tr(N_("issued less redeemed"))), escape(tr(N_("where it is")))
    parts = [
        f'<text x="0" y="12">{above}</text>',
        f'<rect x="0" y="18" width="{left}" height="{height}" fill="#445566"/>',
        f'<text x="0" y="66">{below}</text>',
    ]
    at = 0.0
    for group, amount in shown:
        part = width * amount.amount / whole
        name = f"{tr(GROUP_NAMES[group])}: {amount}"
        parts.append(
            f'<rect x="{at:.1f}" y="72" width="{part:.1f}" height="{height}" '
            f'fill="{COLOURS[group]}"><title>{escape(name)}</title></rect>'
        )
        at += part
    for number, (group, amount) in enumerate(account.stocks.items()):
        x, y = (number % 3) * 300, 122 + (number // 3) * 22
        parts.append(
            f'<rect x="{x}" y="{y - 11}" width="12" height="12" fill="{COLOURS[group]}"/>'
            f'<text x="{x + 18}" y="{y}">{escape(tr(GROUP_NAMES[group]))}: {amount}</text>'
        )
    return f'<svg viewBox="0 0 {width} 152" role="img" width="100%">{"".join(parts)}</svg>'


def _stocks(account: DayAccount, tr: Translate) -> str:
    rows = "".join(
        f"<tr><td>{escape(tr(GROUP_NAMES[one.group]))}</td>"
        + _numbers(one.before, one.debits, one.credits, one.after)
        + "</tr>"
        for one in account.groups
        if one.before or one.debits or one.credits
    )
    head = _head(tr, N_("group"), N_("before"), N_("debits"), N_("credits"), N_("after"))
    return f"<table>{head}{rows}</table>"


def _kinds(account: DayAccount, tr: Translate) -> str:
    rows = "".join(
        f"<tr><td>{escape(tr(KIND_NAMES[kind]))}</td>{_numbers(amount)}</tr>"
        for kind, amount in sorted(account.kinds.items())
    )
    head = _head(tr, N_("kind"), N_("amount"))
    return f"<table>{head}{rows}</table>"


def _head(tr: Translate, first: str, *others: str) -> str:
    numbers = "".join(f'<th class="n">{escape(tr(one))}</th>' for one in others)
    return f"<tr><th>{escape(tr(first))}</th>{numbers}</tr>"


def _numbers(*amounts: Rupiah) -> str:
    return "".join(f'<td class="n">{amount}</td>' for amount in amounts)


class _Drill:
    """Day, group, account, postings, voucher: each in a fold of its own."""

    def __init__(self, central: Central, day: int, tr: Translate) -> None:
        self._central, self._day, self._tr = central, day, tr
        self._left = VOUCHERS_MAX

    def group(self, one: GroupDay) -> str:
        lines = group_of_day(self._central, self._day, one.group, ACCOUNTS_MAX + 1)
        inside = "".join(
            self._account(line.account, line.name, line.credits - line.debits)
            for line in lines[:ACCOUNTS_MAX]
        )
        if len(lines) > ACCOUNTS_MAX:
            inside += self._more(f"dobmi central reconcile day … --group {one.group.value}")
        change = one.credits - one.debits
        return self._fold(self._tr(GROUP_NAMES[one.group]), change, inside)

    def _account(self, account: int, name: str, change: Rupiah) -> str:
        lines = account_of_day(self._central, self._day, account, POSTINGS_MAX + 1)
        inside = "".join(self._posting(line) for line in lines[:POSTINGS_MAX])
        said = account_in_words(name, self._tr)
        if len(lines) > POSTINGS_MAX:
            inside += self._more(f'dobmi central reconcile day … --account "{said}"')
        return self._fold(said, change, inside)

    def _posting(self, line: PostingLine) -> str:
        title = (
            f"{local_time(line.at)} {self._tr(KIND_NAMES[line.kind])}: "
            f"{account_in_words(line.debit, self._tr)} → {account_in_words(line.credit, self._tr)} "
            f"({line.terminal_id}/{line.sequence}) {line.explanation}"
        )
        inside = ""
        if line.has_voucher and self._left:
            self._left -= 1
            try:
                shown = voucher_in_words(self._central, line.terminal_id, line.sequence)
            except MalformedMessage:
                changed = self._tr(N_("The voucher cannot be read any more: it was changed here."))
                inside = f"<p>{escape(changed)}</p>"
            else:
                inside = voucher_html(shown, self._tr)
        return self._fold(title, line.amount, inside)

    def _fold(self, title: str, amount: Rupiah, inside: str) -> str:
        line = f"{escape(title)} <span>{amount}</span>"
        if not inside:
            return f'<details><summary class="leaf">{line}</summary></details>'
        return f"<details><summary>{line}</summary>{inside}</details>"

    def _more(self, command: str) -> str:
        said = escape(self._tr(N_("There is more; see all of it with")))
        return f'<p class="more">{said} <code>{escape(command)}</code></p>'


def voucher_html(shown: VoucherInWords, tr: Translate) -> str:
    words = "<br>".join(escape(line) for line in voucher_sentences(shown, tr))
    rows = "".join(
        f'<tr><td class="n">{key}</td><td>{escape(name)}</td><td><code>{escape(value)}</code></td></tr>'
        for key, name, value in shown.diagnostic
    )
    raw = escape(tr(N_("its {count} bytes")).format(count=len(shown.encoded)))
    return (
        f'<div class="voucher"><p>{words}</p><table>{rows}</table>'
        f"<details><summary>{raw}</summary><code>{shown.encoded.hex()}</code></details></div>"
    )


def voucher_sentences(shown: VoucherInWords, tr: Translate) -> list[str]:
    """What the voucher says, for people."""
    link = shown.voucher.link
    said = [
        tr(
            N_(
                "Voucher {sequence} of terminal {terminal} ({name}), {at}, shift {shift}, {cashier}."
            )
        ).format(
            sequence=shown.sequence,
            terminal=shown.terminal_id,
            name=shown.terminal_name,
            at=local_time(link.unix_seconds),
            shift=link.shift,
            cashier=link.cashier,
        ),
        _about(shown.voucher, tr),
    ]
    goods = getattr(shown.voucher, "goods", ()) or getattr(
        getattr(shown.voucher, "intent", None), "goods", ()
    )
    said += [f"  {line.quantity} x {line.name}: {line.amount}" for line in goods]
    if shown.evidence is not None:
        said.append(
            tr(
                N_(
                    "The card of {name} (member {member}) held {before}, paid {amount}, held {after}."
                )
            ).format(
                name=shown.evidence.holder.name,
                member=shown.evidence.holder.member_number,
                before=shown.evidence.balance_before,
                amount=shown.evidence.amount,
                after=shown.evidence.balance_after,
            )
        )
    said.append(
        tr(N_("Received {at}; SHA-256 {hash}.")).format(
            at=local_time(shown.received_at), hash=shown.hash.hex()
        )
    )
    if shown.refused:
        said.append(tr(N_("NOT BELIEVED: {reason}.")).format(reason=shown.refused))
    return said


def _about(voucher: Voucher, tr: Translate) -> str:
    match voucher:
        case SaleVoucher():
            text = tr(N_("Sale of {amount} by {seller}, the card's transaction {counter}."))
            return text.format(
                amount=voucher.intent.amount,
                seller=voucher.intent.seller,
                counter=voucher.card_counter,
            )
        case InDoubtVoucher():
            text = tr(N_("Sale of {amount} by {seller}: the card's answer was lost."))
            return text.format(amount=voucher.intent.amount, seller=voucher.intent.seller)
        case ResolutionVoucher():
            text = tr(N_("The till's word on the sale in doubt {sale}: {outcome}."))
            return text.format(sale=voucher.resolves, outcome=_outcome(voucher.outcome, tr))
        case DecisionVoucher():
            text = tr(
                N_("Supervisor {name} decided on the sale in doubt {sale}: {outcome} ({why}).")
            )
            return text.format(
                name=voucher.decided_by,
                sale=voucher.resolves,
                outcome=_outcome(voucher.outcome, tr),
                why=voucher.reason,
            )
        case RefundVoucher():
            text = tr(N_("{amount} given back of sale {sale}: {why}."))
            return text.format(amount=voucher.amount, sale=voucher.refunds, why=voucher.reason)
        case VoidVoucher():
            text = tr(N_("A sale of {amount} that was begun and came to nothing."))
            return text.format(amount=voucher.amount)


def _outcome(outcome: Outcome, tr: Translate) -> str:
    return tr(N_("paid")) if outcome is Outcome.PAID else tr(N_("not paid"))
