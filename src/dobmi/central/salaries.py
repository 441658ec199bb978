"""Salaries, or parts of them, converted into credit: a file of a period, taken whole or not at all."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from dobmi.cardlib.purse_layout import CENTRAL_TERMINAL_ID
from dobmi.central.balances import balances_of
from dobmi.central.booking import booking_time
from dobmi.central.csv_file import Line, read_csv, wrong_line
from dobmi.central.database import add_to_counter, insert_rows
from dobmi.central.errors import SalaryFileRefused
from dobmi.central.journal import NO_CARD, Event, post_many
from dobmi.central.posting_rules import OWNERS, Group, Kind, account_number
from dobmi.central.schema import members, salaries
from dobmi.central.server import Central
from dobmi.central.texts import NAME_LENGTH_MAX
from dobmi.central.wallets import Loaded, load_wallets
from dobmi.errors import Phrase
from dobmi.i18n import N_
from dobmi.money import ZERO, Rupiah

LINES_MAX = 500_000
AMOUNT_MAX = Rupiah(1_000_000_000)
"""More than any salary: a slip of the hand."""
_PERIOD = re.compile(r"20\d{2}-(0[1-9]|1[0-2])(-[0-9A-Za-z]{1,8})?", re.ASCII)
_HEADINGS = {
    "period": "period", "periode": "period",
    "member": "member", "member_number": "member", "anggota": "member", "nomor_anggota": "member",
    "amount": "amount", "jumlah": "amount",
    "name": "name", "nama": "name",
}  # fmt: skip
_AT_A_TIME = 500


@dataclass(frozen=True, slots=True)
class Salary:
    """A line of the file: what a member earned as credit in a period. `name`: of a new member."""

    line: int
    period: str
    member: int
    amount: Rupiah
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """What came of a file. `already`: lines that an earlier run has taken, and that changed nothing."""

    taken: int
    total: Rupiah
    already: int
    loaded: Loaded
    """What went on to the members' cards, also of earlier periods."""
    in_wallets: Rupiah
    """What these members' wallets hold after it."""


def parse_salaries(text: str) -> list[Salary]:
    """The lines of a CSV file with the headings `period,member,amount` (or `periode;anggota;jumlah`).

    In any order, separated by commas or semicolons; a column `name` (`nama`) is for members who are
    not known yet. A period is a month, `2026-11`, perhaps with a suffix (`2026-11-A`). Raises
    SalaryFileRefused with every bad line.
    """
    lines, problems = read_csv(
        text,
        _HEADINGS,
        {"period", "member", "amount"},
        example="period,member,amount",
        lines_max=LINES_MAX,
        refused=SalaryFileRefused,
    )
    found: list[Salary] = []
    seen: dict[tuple[str, int], int] = {}
    for line in lines:
        parsed = _parse_line(line)
        if isinstance(parsed, Phrase):
            problems.append(parsed)
            continue
        before = seen.setdefault((parsed.period, parsed.member), line.number)
        if before != line.number:
            twice = N_("member {member} is in line {before} too")
            problems.append(line.wrong(twice, member=parsed.member, before=before))
        found.append(parsed)
    if problems:
        raise SalaryFileRefused(problems)
    return found


def _parse_line(line: Line) -> Salary | Phrase:
    period, member = line.cells["period"], line.cells["member"]
    name, cell = line.cells.get("name", ""), line.cells["amount"][:40]
    if not _PERIOD.fullmatch(period):
        return line.wrong(N_("{text!r} is no period, as 2026-11"), text=period[:40])
    if not (member.isascii() and member.isdigit()) or not 0 < int(member[:15]) < OWNERS:
        return line.wrong(N_("{text!r} is no member number"), text=member[:40])
    amount = ZERO
    with contextlib.suppress(ValueError):
        amount = Rupiah.parse(cell)
    if not ZERO < amount <= AMOUNT_MAX:
        return line.wrong(N_("{text!r} is no salary in whole rupiah"), text=cell)
    if len(name) > NAME_LENGTH_MAX or not name.isprintable():
        return line.wrong(N_("{text!r} is no name"), text=name[:40])
    return Salary(line.number, period, int(member), amount, name)


def convert_salaries(central: Central, lines: Sequence[Salary]) -> Converted:
    """Put the salaries into their members' wallets, all of them or none; then onto the cards.

    What an earlier run has taken is left as it is. Raises SalaryFileRefused: a member is not known,
    or was credited with another amount for the period; nothing is changed then.
    """
    now = central.unix_seconds()
    new = central.database.write_again(lambda connection: _take(connection, lines, now))
    concerned = sorted({line.member for line in lines})
    loaded = load_wallets(central, concerned, now)
    left = ZERO
    with central.database.read() as connection:
        for some in _parts(concerned):
            for balance in balances_of(connection, Group.WALLET, some).values():
                left += balance
    return Converted(
        taken=len(new),
        total=Rupiah(sum(line.amount.amount for line in new)),
        already=len(lines) - len(new),
        loaded=loaded,
        in_wallets=left,
    )


def _take(connection: Connection, lines: Sequence[Salary], now: int) -> list[Salary]:
    """The lines that were not taken before, now in wallets."""
    at = booking_time(connection, now)
    # Held to the end: two that take the same file at once do it one after the other.
    last = add_to_counter(connection, "salary", len(lines))
    before = _taken_before(connection, lines)
    known = _known_members(connection, lines)
    problems: list[Phrase] = []
    new: list[Salary] = []
    newcomers: dict[int, str] = {}
    for line in lines:
        amount = before.get((line.period, line.member))
        name = known.get(line.member, newcomers.get(line.member, ""))
        if amount is not None and amount != line.amount:
            text = N_("member {member} was credited with {amount} before")
            problems.append(wrong_line(line.line, text, member=line.member, amount=amount))
        elif not name and not line.name:
            text = N_("member {member} is not known: add a column `name`")
            problems.append(wrong_line(line.line, text, member=line.member))
        elif name and line.name and name != line.name:
            text = N_("member {member} is {name} here")
            problems.append(wrong_line(line.line, text, member=line.member, name=name))
        elif amount is None:
            if not name:
                newcomers[line.member] = line.name
            new.append(line)
    if problems:
        raise SalaryFileRefused(problems)
    insert_rows(
        connection,
        members,
        [{"member_number": number, "name": name} for number, name in sorted(newcomers.items())],
    )
    numbers = range(last - len(lines) + 1, last + 1)
    rows, events = [], []
    for number, line in zip(numbers, new, strict=False):
        rows.append(
            {
                "period": line.period,
                "member_number": line.member,
                "number": number,
                "amount_rupiah": line.amount.amount,
                "at": now,
            }
        )
        events.append(
            Event(
                kind=Kind.EARNED,
                amount=line.amount,
                debit=account_number(Group.SALARY),
                credit=account_number(Group.WALLET, line.member),
                card_uid=NO_CARD,
                terminal_id=CENTRAL_TERMINAL_ID,
                sequence=number,
                explanation=f"salary {line.period}",
            )
        )
    insert_rows(connection, salaries, rows)
    post_many(connection, events, at)
    return new


def _taken_before(connection: Connection, lines: Sequence[Salary]) -> dict[tuple[str, int], Rupiah]:
    periods = {line.period for line in lines}
    found: dict[tuple[str, int], Rupiah] = {}
    for some in _parts(sorted({line.member for line in lines})):
        for row in connection.execute(
            select(salaries).where(
                salaries.c.period.in_(sorted(periods)), salaries.c.member_number.in_(some)
            )
        ):
            found[row.period, row.member_number] = Rupiah(row.amount_rupiah)
    return found


def _known_members(connection: Connection, lines: Iterable[Salary]) -> dict[int, str]:
    found: dict[int, str] = {}
    for some in _parts(sorted({line.member for line in lines})):
        for row in connection.execute(select(members).where(members.c.member_number.in_(some))):
            found[row.member_number] = row.name
    return found


def _parts(numbers: Sequence[int]) -> Iterable[Sequence[int]]:
    return (numbers[start : start + _AT_A_TIME] for start in range(0, len(numbers), _AT_A_TIME))
