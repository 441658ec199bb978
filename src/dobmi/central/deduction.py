"""What a card's verified transactions prove about those that nobody vouched for. Pure logic.

A card counts its transactions without gaps, and each tells who made the one before it. So between
two verified transactions everything is known of what happened there, except how a missing amount
divides when several are missing:

- a sale in doubt was paid if the card names it at the number its intent was made for, and the
  balances on both sides, which the card's MACs cover, differ by just its amount;
- it was not paid if another transaction has that number;
- a number that a till reported as void, or did not report though it reported later ones, is a
  difference without explanation;
- as long as the till that the card names may still report, nothing is concluded;
- of several missing side by side the card names only the last: if that one will not come, the whole
  difference is without explanation, until the others are reported.

The conclusion depends on the facts alone, not on the order in which they arrived.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from dobmi.cardlib.purse_layout import ReaderId
from dobmi.money import ZERO, Rupiah


@dataclass(frozen=True, slots=True)
class Known:
    """A transaction on record."""

    reader_id: ReaderId
    previous: ReaderId | None
    balance_before: Rupiah
    balance_after: Rupiah


@dataclass(frozen=True, slots=True)
class Attempt:
    """A debit or credit of which it is not known whether the card committed it.

    `counter` is the number it was made for and `previous` the transaction before that, both by
    decryption; `counter` is None while it has not been found.
    """

    reader_id: ReaderId
    counter: int | None
    previous: ReaderId | None
    balance_before: Rupiah
    balance_after: Rupiah


class Report(Enum):
    """What has been heard of a transaction that a card names."""

    MAY_COME = auto()
    """Its till has not reported that far."""
    ATTEMPT = auto()
    """It is in doubt: one of the attempts."""
    WILL_NOT_COME = auto()
    """Its till reported something else under that number, or is unknown."""


@dataclass(frozen=True, slots=True)
class Paid:
    attempt: Attempt
    counter: int


@dataclass(frozen=True, slots=True)
class NotPaid:
    attempt: Attempt
    counter: int


@dataclass(frozen=True, slots=True)
class Unexplained:
    """Between the transactions `first - 1` and `last + 1` the card lost `lost` (gained if below 0).

    `first > last`: the two follow each other directly.
    """

    first: int
    last: int
    lost: Rupiah
    readers: tuple[ReaderId, ...]


@dataclass(frozen=True, slots=True)
class OtherPrevious:
    """Transaction `counter` names another one before it than the one on record."""

    counter: int
    named: ReaderId | None
    on_record: ReaderId | None


Deduction = Paid | NotPaid | Unexplained | OtherPrevious


def deduce(
    known: Mapping[int, Known],
    attempts: Sequence[Attempt],
    report: Callable[[ReaderId], Report],
) -> list[Deduction]:
    """All that follows from the transactions on record (by counter) and the open attempts."""
    names = _names(known, attempts)
    numbers = sorted(known)
    found: list[Deduction] = list(_breaks(known, numbers))
    candidates: dict[int, Attempt] = {}
    for attempt in attempts:
        if attempt.counter is None or attempt.counter not in names:
            continue
        if names[attempt.counter] != attempt.reader_id:
            found.append(NotPaid(attempt, attempt.counter))
        elif attempt.counter in known:
            found.append(Paid(attempt, attempt.counter))
        else:
            candidates[attempt.counter] = attempt
    for first, last in _gaps(numbers):
        found.extend(
            _explain(first, last, known=known, names=names, candidates=candidates, report=report)
        )
    return found


def _names(known: Mapping[int, Known], attempts: Sequence[Attempt]) -> dict[int, ReaderId]:
    """Who made each transaction, as far as the card says."""
    names: dict[int, ReaderId] = {}
    told = [(number, transaction.previous) for number, transaction in known.items()]
    told += [(attempt.counter, attempt.previous) for attempt in attempts if attempt.counter]
    for number, previous in told:
        if previous is not None:
            names[number - 1] = previous
    for number, transaction in known.items():
        names[number] = transaction.reader_id
    return names


def _gaps(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    before = 0
    for number in numbers:
        if number > before + 1:
            yield before + 1, number - 1
        before = number


def _breaks(known: Mapping[int, Known], numbers: Sequence[int]) -> Iterator[Deduction]:
    for number in numbers:
        transaction = known[number]
        if number == 1:
            before, reader_id = ZERO, None
        elif number - 1 in known:
            before, reader_id = known[number - 1].balance_after, known[number - 1].reader_id
        else:
            continue
        if transaction.previous != reader_id:
            yield OtherPrevious(number, transaction.previous, reader_id)
        if transaction.balance_before != before:
            lost = before - transaction.balance_before
            yield Unexplained(number, number - 1, lost, (transaction.reader_id,))


def _explain(
    first: int,
    last: int,
    *,
    known: Mapping[int, Known],
    names: Mapping[int, ReaderId],
    candidates: Mapping[int, Attempt],
    report: Callable[[ReaderId], Report],
) -> Iterator[Deduction]:
    start = known[first - 1].balance_after if first > 1 else ZERO
    end = known[last + 1].balance_before
    run = [candidates.get(number) for number in range(first, last + 1)]
    balance: Rupiah | None = start
    for attempt in run:
        fits = attempt is not None and attempt.balance_before == balance
        balance = attempt.balance_after if attempt is not None and fits else None
    if balance == end:
        for number, attempt in enumerate(run, start=first):
            assert attempt is not None, "only attempts lead from balance to balance"
            yield Paid(attempt, number)
        return
    numbers = range(first, last + 1)
    named = tuple(names[number] for number in numbers if number in names)
    reports = {report(reader) for reader in named}
    if Report.MAY_COME in reports:
        return
    # Of those without a name nothing is known, but one that will not come keeps the gap open for
    # ever: its whole difference is said, until more of it is explained.
    if len(named) == len(numbers) or Report.WILL_NOT_COME in reports:
        yield Unexplained(first, last, start - end, named)
