"""The work at an outlet's till beside the sale: log-ins, shifts, carts, members' orders, papers.

Commands of the till's process that is killed; each may be given again by somebody who was not told
what came of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from dobmi.central.database import Database
from dobmi.central.member_orders import order_list
from dobmi.central.schema import till_records
from dobmi.fleet.crash_outlet import PIN, SELLER, STAFF_NUMBER
from dobmi.money import Rupiah
from dobmi.terminal import picking, print_queue
from dobmi.terminal.cart import Cart, Discount, cart_of_order
from dobmi.terminal.catalogue import search
from dobmi.terminal.errors import PrintFailed, WrongPin
from dobmi.terminal.held_carts import held_carts, hold_cart, recall_cart
from dobmi.terminal.ledger import Ledger
from dobmi.terminal.outbox import records_from
from dobmi.terminal.papers import paper_of_sale
from dobmi.terminal.printer import parse_printer
from dobmi.terminal.schema import order_acts
from dobmi.terminal.shift import current_shift, move_cash, on_duty, open_shift, take_over, x_report
from dobmi.terminal.staff import (
    Cashier,
    cashier_of,
    log_in_by_card,
    log_in_by_pin,
    require_supervisor,
)
from dobmi.terminal.till import Till

PAID_ORDER, CANCELLED_ORDER = 501, 502
_PAID = Rupiah(1_000)
_RECORDS_MAX = 1_000
_SERVER = "https://bmi.example"

_Tapped = Callable[[str], AbstractContextManager[None]]


def counter_handlers(till: Till, tapped: _Tapped, papers: Path) -> Mapping[str, Callable[..., Any]]:
    commands: tuple[Callable[..., Any], ...] = (
        new_shift,
        cash,
        hold,
        recall,
        hand_over,
        cancel_order,
    )
    return {
        **{command.__name__: partial(command, till) for command in commands},
        "take_turns": partial(take_turns, till, tapped),
        "pay_order": partial(pay_order, till, tapped),
        "print_paper": partial(print_paper, till, papers),
    }


def new_shift(till: Till) -> int:
    """By number and PIN, after a wrong one."""
    with contextlib.suppress(WrongPin):
        log_in_by_pin(till.ledger, STAFF_NUMBER, PIN[::-1], till.clock.now())
    who = cashier_of(log_in_by_pin(till.ledger, STAFF_NUMBER, PIN, till.clock.now()))
    shift = till.ledger.last_shift()
    if shift is None or not shift.is_open:
        shift = open_shift(till.ledger, who, Rupiah(200_000), till.clock.now())
    return shift.number


def take_turns(till: Till, tapped: _Tapped, name: str) -> str:
    """Budi takes the shift over, and the supervisor, by card, from him."""
    with tapped(name):
        found = till.balance()
    who = require_supervisor(log_in_by_card(till.ledger, found.holder.member_number))
    take_over(till.ledger, Cashier("Budi"), till.clock.now())
    return take_over(till.ledger, cashier_of(who), till.clock.now()).on_duty


def cash(till: Till, amount: int, reason: str) -> int:
    """Once, whoever asks again."""
    ledger, now = till.ledger, till.clock.now()
    if reason not in {one.reason for one in x_report(ledger, now).movements}:
        by = on_duty(current_shift(ledger))
        move_cash(ledger, Rupiah(amount), reason=reason, by=by, now=now)
    return x_report(ledger, now).expected_cash.amount


def hold(till: Till, label: str) -> int:
    ledger = till.ledger
    for one in held_carts(ledger):
        if one.label == label:
            return one.number
    (rice,) = search(ledger, "beras")
    cart = Cart().add_item(rice)
    return hold_cart(ledger, cart, label=label, by="Siti", now=till.clock.now()).number


def recall(till: Till, label: str) -> int:
    for one in held_carts(till.ledger):
        if one.label == label:
            return recall_cart(till.ledger, one.number).total.amount
    return 0


def pay_order(till: Till, tapped: _Tapped, name: str, request: str) -> tuple[int, bytes, int]:
    """One of two, with a discount; asked again it is the same sale."""
    cart = cart_of_order(picking.find_order(till.ledger, PAID_ORDER).order).set_quantity(0, 1)
    asked = cart.discount_all(Discount(amount=cart.total - _PAID)).purchase()
    sold = till.bind_sale(request, asked, order=PAID_ORDER)
    if sold is None:
        with tapped(name):
            sold = till.sell(asked.amount, asked.goods, request=request)
    return sold.sequence, sold.voucher_hash, sold.amount.amount


def hand_over(till: Till) -> None:
    picking.hand_over(till.ledger, PAID_ORDER, by="Siti", now=till.clock.now())


def cancel_order(till: Till) -> None:
    picking.cancel(till.ledger, CANCELLED_ORDER, by="Siti", now=till.clock.now())


def print_paper(till: Till, papers: Path, sequence: int) -> int:
    """On a printer that is not there, then on one that is; and once more."""
    ledger, now = till.ledger, till.clock.now()
    number = print_queue.add(ledger, paper_of_sale(ledger, _SERVER, sequence, str), now)
    gone = parse_printer(f"file:{papers / 'gone' / 'printer'}")
    with contextlib.suppress(PrintFailed):
        print_queue.print_waiting(ledger, gone, 32)
    there = parse_printer(f"file:{papers / 'paper'}")
    print_queue.print_waiting(ledger, there, 32)
    print_queue.print_again(ledger, number, now)
    print_queue.print_waiting(ledger, there, 32)
    return print_queue.waiting_count(ledger)


# What must be true of it at the end


def counter_violations(database: Database, connection: Connection, ledger: Ledger) -> list[str]:
    """The server has the till's records as they are, and knows what became of the orders."""
    terminal_id = ledger.identity().terminal_id
    rows = connection.execute(
        select(till_records.c.encoded)
        .where(till_records.c.terminal_id == terminal_id)
        .order_by(till_records.c.number)
    )
    found = []
    own, kept = records_from(ledger, 1, _RECORDS_MAX), [bytes(row.encoded) for row in rows]
    if kept != own:
        found.append(f"the server has other records than the till: {len(kept)} of {len(own)}")
    for one in order_list(database, SELLER):
        here, there = done_with(ledger, one.order.number), sorted(step.state for step in one.steps)
        if here != there:
            found.append(f"order {one.order.number}: {here} at the till, {there} at the server")
    if print_queue.waiting(ledger):
        found.append("a paper waits still")
    return found


def done_with(ledger: Ledger, order: int) -> list[int]:
    acts = order_acts.c
    with ledger.connect() as connection:
        rows = connection.execute(select(acts.state).where(acts.order_number == order))
        return sorted(row.state for row in rows)
