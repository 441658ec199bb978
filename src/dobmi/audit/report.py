"""What an audit found, for people: a page that a board member can read, and lines for a terminal."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from html import escape
from typing import Final

from dobmi.audit.findings import Finding
from dobmi.audit.rules import BY_ID, RULES, Severity
from dobmi.audit.run import Audit
from dobmi.central.posting_rules import Group
from dobmi.i18n import N_
from dobmi.money import Rupiah
from dobmi.wib import local_time

Translate = Callable[[str], str]

_CLEAN = N_("Nothing is wrong: the ledger is what the vouchers and the cards say.")
_FOUND = N_("{count} findings, {rupiah} at stake.")
_SEVERITIES = {
    Severity.MONEY: N_("money"),
    Severity.RECORD: N_("record"),
}
_GROUPS = {
    "cash": N_("Cash taken in"),
    "salary": N_("Converted from salaries"),
    "in-flight": N_("On its way to cards"),
    "card": N_("On cards"),
    "outlet": N_("At outlets"),
    "suspense": N_("In suspense"),
    "bank": N_("Bank"),
    "merchant": N_("At partner merchants"),
    "wallet": N_("In wallets"),
    "fees": N_("Fees"),
}
_LINES_MAX: Final = 1_000
"""Findings of one rule in the page; the JSON has them all."""


_FOLLOWS: Final = frozenset({"DAY-JOURNAL", "DAY-ACCOUNTS", "SUM"})
"""A posting that was changed is in the sums of its day and of the ledger, too: it counts once."""


def at_stake(findings: Iterable[Finding]) -> Rupiah:
    """Sum of the amounts of what was found itself; where only sums differ, the largest of those."""
    itself, followed = 0, 0
    for one in findings:
        amount = one.amount_rupiah or 0
        if one.rule in _FOLLOWS:
            followed = max(followed, amount)
        else:
            itself += amount
    return Rupiah(itself or followed)


def as_json(audit: Audit) -> str:
    return json.dumps(
        {
            "format": "dobmi audit 1",
            "clean": not audit.findings,
            "looked_at": {name: count for name, _, count in counts(audit)},
            "unchecked_rules": list(audit.unchecked),
            "replica": None
            if audit.replica is None
            else {"seconds_behind": audit.replica.seconds_behind},
            "balances_rupiah": {
                group.value: amount for group, amount in audit.totals.by_group.items()
            },
            "findings": [one.as_json() for one in audit.findings],
        },
        indent=1,
        ensure_ascii=False,
    )


def verdict(audit: Audit, translate: Translate) -> str:
    if not audit.findings:
        return translate(_CLEAN)
    return translate(_FOUND).format(count=len(audit.findings), rupiah=at_stake(audit.findings))


def where(audit: Audit, translate: Translate) -> str:
    """That it was looked at on a replica, and how far that was behind; empty if it was not."""
    if audit.replica is None:
        return ""
    behind = audit.replica.seconds_behind
    if behind is None:
        return translate(N_("From the replica; it does not know how far behind."))
    return translate(N_("From the replica, {seconds} s behind.")).format(seconds=behind)


def counts(audit: Audit) -> list[tuple[str, str, int]]:
    """What was looked at: name for programs, message id, how many."""
    return [
        ("tills", N_("Tills and stations"), audit.tills),
        ("vouchers", N_("Vouchers"), audit.vouchers),
        ("signatures", N_("Signatures checked now"), audit.signatures),
        ("cards", N_("Cards"), audit.cards),
        ("transactions", N_("Card transactions"), audit.transactions),
        ("postings", N_("Postings"), audit.postings),
        ("closed_days", N_("Closed days"), audit.closed_days),
    ]


def balances(audit: Audit) -> list[tuple[str, Rupiah]]:
    """Message id and balance of each group of accounts that has any."""
    return [
        (_GROUPS.get(group.value, group.value), Rupiah(_shown(group, amount)))
        for group, amount in audit.totals.by_group.items()
        if amount
    ]


def _shown(group: Group, amount: int) -> int:
    """What was issued is a debit; people read it as an amount above nought."""
    return -amount if group in (Group.CASH, Group.SALARY) else amount


def as_html(audit: Audit, *, subject: str, at: int, language: str, translate: Translate) -> str:
    """A page that needs nothing beside it."""
    t = translate

    def row(*cells: str, tag: str = "td") -> str:
        return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>"

    title = escape(t(N_("Audit of the ledger")))
    colour = "bad" if audit.findings else "good"
    parts = [
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8"><title>{title}</title>',
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1>",
        f"<p>{escape(subject)} · {escape(local_time(at))} {escape(where(audit, t))}</p>",
        f'<p class="verdict {colour}">{escape(verdict(audit, t))}</p>',
    ]
    if audit.findings:
        parts.append(f"<h2>{escape(t(N_('What was found')))}</h2>")
        by_rule: dict[str, list[Finding]] = defaultdict(list)
        for one in audit.findings:
            by_rule[one.rule].append(one)
        for rule_id, found in by_rule.items():
            rule = BY_ID[rule_id]
            parts.append(
                f"<h3>{escape(t(rule.title))} <small>{rule.id} · {escape(t(_SEVERITIES[rule.severity]))}"
                f"</small></h3><p>{escape(t(rule.checks))}</p><table>"
            )
            parts.append(row(t(N_("Row")), t(N_("What is wrong")), t(N_("Amount")), tag="th"))
            for one in found[:_LINES_MAX]:
                amount = "" if one.amount_rupiah is None else str(Rupiah(one.amount_rupiah))
                parts.append(row(escape(one.row), escape(one.explain(t)), escape(amount)))
            parts.append("</table>")
            if len(found) > _LINES_MAX:
                more = t(N_("{count} more of this rule.")).format(count=len(found) - _LINES_MAX)
                parts.append(f"<p>{escape(more)}</p>")
    parts.append(f"<h2>{escape(t(N_('Where the money is')))}</h2><table>")
    parts += [row(escape(t(name)), escape(str(amount))) for name, amount in balances(audit)]
    parts.append(f"</table><h2>{escape(t(N_('What was looked at')))}</h2><table>")
    parts += [
        row(escape(t(name)), f"{count:,}".replace(",", ".")) for _, name, count in counts(audit)
    ]
    parts.append(f"</table><h2>{escape(t(N_('What was checked')))}</h2><table>")
    for rule in RULES:
        done = t(N_("no: the key was not given")) if rule.id in audit.unchecked else t(N_("yes"))
        parts.append(row(rule.id, escape(t(rule.checks)), escape(done)))
    parts.append("</table></body></html>\n")
    return "\n".join(parts)


_STYLE: Final = (
    "body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}"
    "h1,h2,h3{line-height:1.2}small{font-weight:normal;color:#666}"
    "table{border-collapse:collapse;width:100%;margin:.5em 0 1em}"
    "td,th{border-bottom:1px solid #ddd;padding:.3em .5em;text-align:left;vertical-align:top}"
    "td:last-child{text-align:right;white-space:nowrap}"
    ".verdict{font-size:1.25em;padding:.6em .8em;border-radius:.3em}"
    ".good{background:#e3f4e3}.bad{background:#fbe3e3}"
    "@media print{body{margin:0}}"
)
