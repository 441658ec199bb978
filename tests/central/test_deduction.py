"""The pure conclusions: they depend on the facts alone, and never take a lie for a payment."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from dobmi.cardlib.purse_layout import ReaderId
from dobmi.central.deduction import (
    Attempt,
    Deduction,
    Known,
    NotPaid,
    OtherPrevious,
    Paid,
    Report,
    Unexplained,
    deduce,
)
from dobmi.money import ZERO, Rupiah


def reader(number: int) -> ReaderId:
    return ReaderId(terminal_id=1 + number % 3, sequence=number)


def life(amounts: list[int]) -> dict[int, Known]:
    """A card that is credited with a million and then spends `amounts`, every transaction known."""
    known = {1: Known(reader(1), None, ZERO, Rupiah(1_000_000))}
    for number, amount in enumerate(amounts, start=2):
        before = known[number - 1]
        known[number] = Known(
            reader(number),
            before.reader_id,
            before.balance_after,
            before.balance_after - Rupiah(amount),
        )
    return known


def as_attempt(known: dict[int, Known], number: int) -> Attempt:
    transaction = known[number]
    return Attempt(
        transaction.reader_id,
        number,
        transaction.previous,
        transaction.balance_before,
        transaction.balance_after,
    )


def never(_: ReaderId) -> Report:
    return Report.WILL_NOT_COME


def may_come(_: ReaderId) -> Report:
    return Report.MAY_COME


amounts = st.lists(st.integers(1, 1000), min_size=2, max_size=8)


@given(amounts)
def test_a_whole_life_without_gaps_raises_nothing(spent: list[int]) -> None:
    assert deduce(life(spent), [], never) == []


@given(amounts, st.data())
def test_every_true_attempt_between_known_transactions_is_paid(
    spent: list[int], data: st.DataObject
) -> None:
    known = life(spent)
    inner = sorted(known)[1:-1]
    missing = data.draw(st.sets(st.sampled_from(inner)))
    attempts = [as_attempt(known, number) for number in missing]
    left = {number: known[number] for number in known if number not in missing}
    found = deduce(left, data.draw(st.permutations(attempts)), lambda _: Report.ATTEMPT)
    assert {paid.counter for paid in found if isinstance(paid, Paid)} == missing
    assert len(found) == len(missing)


@given(amounts, st.data())
def test_an_attempt_with_a_false_amount_is_never_paid(
    spent: list[int], data: st.DataObject
) -> None:
    known = life(spent)
    number = data.draw(st.sampled_from(sorted(known)[1:-1]))
    truth = as_attempt(known, number)
    wrong = Rupiah(data.draw(st.integers(-500, 500).filter(bool)))
    lie = data.draw(
        st.sampled_from(
            [
                replace(truth, balance_after=truth.balance_after - wrong),
                replace(truth, balance_before=truth.balance_before + wrong),
            ]
        )
    )
    del known[number]
    found = deduce(known, [lie], lambda _: Report.ATTEMPT)
    lost = truth.balance_before - truth.balance_after
    assert found == [Unexplained(number, number, lost, (truth.reader_id,))]


@given(amounts, st.data())
def test_an_attempt_at_a_number_another_transaction_took_is_not_paid(
    spent: list[int], data: st.DataObject
) -> None:
    known = life(spent)
    number = data.draw(st.sampled_from(sorted(known)[1:]))
    tried = replace(as_attempt(known, number), reader_id=reader(1000))
    assert deduce(known, [tried], never) == [NotPaid(tried, number)]


@given(amounts, st.data())
def test_nothing_is_concluded_while_the_named_till_may_still_report(
    spent: list[int], data: st.DataObject
) -> None:
    known = life(spent)
    missing = data.draw(st.sets(st.sampled_from(sorted(known)[1:-1])))
    left = {number: known[number] for number in known if number not in missing}
    assert deduce(left, [], may_come) == []


@given(amounts, st.data())
def test_all_that_the_card_lost_is_accounted_for_when_nothing_more_will_come(
    spent: list[int], data: st.DataObject
) -> None:
    """Single gaps: known sales, paid attempts and unexplained differences add up to the loss."""
    known = life(spent)
    missing = set(data.draw(st.sets(st.sampled_from(sorted(known)[1:-1]))))
    missing -= {number + 1 for number in missing}
    in_doubt = {number for number in missing if data.draw(st.booleans())}
    left = {number: known[number] for number in known if number not in missing}
    found = deduce(left, [as_attempt(known, number) for number in in_doubt], never)
    explained = sum(
        known[number].balance_before.amount - known[number].balance_after.amount
        for number in left
        if number > 1
    )
    for deduction in found:
        explained += _amount(deduction)
    assert explained == sum(spent)


def _amount(deduction: Deduction) -> int:
    match deduction:
        case Paid(attempt):
            return attempt.balance_before.amount - attempt.balance_after.amount
        case Unexplained(lost=lost):
            return lost.amount
        case _:
            raise AssertionError(deduction)


def test_several_missing_side_by_side_are_a_difference_when_the_last_will_not_come() -> None:
    """The card names only the last of them; a till restored from a backup never sends it."""
    known = life([10, 20, 30])
    named = known[3].reader_id
    del known[2], known[3]

    def will_not_come(reader_id: ReaderId) -> Report:
        assert reader_id == named
        return Report.WILL_NOT_COME

    assert deduce(known, [], will_not_come) == [Unexplained(2, 3, Rupiah(30), (named,))]
    assert deduce(known, [], may_come) == []


def test_a_missing_one_reported_late_leaves_the_rest_as_the_difference() -> None:
    known = life([10, 20, 30])
    named = known.pop(3).reader_id
    assert deduce(known, [], never) == [Unexplained(3, 3, Rupiah(20), (named,))]


def test_a_doubt_is_not_settled_by_one_side_alone() -> None:
    """Who made it is known, but not what the card held before: a false amount would pass."""
    known = life([100, 200, 300])
    attempt = as_attempt(known, 3)
    left = {number: known[number] for number in (1, 4)}
    assert deduce(left, [attempt], may_come) == []


def test_a_transaction_that_names_another_before_it_is_reported() -> None:
    known = life([100, 200])
    known[3] = replace(known[3], previous=reader(99))
    assert deduce(known, [], never) == [OtherPrevious(3, reader(99), known[2].reader_id)]


def test_a_first_transaction_with_money_on_the_card_is_reported() -> None:
    known = {1: Known(reader(1), None, Rupiah(500), Rupiah(400))}
    assert deduce(known, [], never) == [Unexplained(1, 0, Rupiah(-500), (reader(1),))]


def test_a_gap_before_the_first_known_transaction_is_found() -> None:
    known = {2: life([100, 200])[2]}
    assert deduce(known, [], never) == [Unexplained(1, 1, Rupiah(-1_000_000), (reader(1),))]
