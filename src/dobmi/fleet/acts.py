"""What each event does in a world: what cashier, member, clerk and technician do, with its faults."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from functools import singledispatch
from typing import Any

from dobmi.cardlib.errors import CardRemoved
from dobmi.central.settlement import reconcile
from dobmi.errors import DoBMIError, MoneyMoved
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.fleet.disk import Effect
from dobmi.fleet.events import (
    SERVER,
    STATION,
    TILLS,
    Backup,
    Block,
    CloseShift,
    Deliver,
    Event,
    Issue,
    KillServer,
    Look,
    Outage,
    Purchase,
    Refund,
    Restart,
    Restore,
    SetClock,
    Sync,
    TopUp,
)
from dobmi.fleet.oracles import Finding, Order
from dobmi.fleet.template import NAMES, START_UNIX_SECONDS
from dobmi.fleet.till_process import TillProcess
from dobmi.fleet.truth import TrueTransaction
from dobmi.fleet.world import STATION_NAME, World
from dobmi.money import Rupiah
from dobmi.sync.relay import Action, CreditResult, IssueResult, Start
from dobmi.terminal.errors import PaidNotRecorded, SaleInDoubt
from dobmi.terminal.sale import SaleResult

_CLOCKLESS_UNIX_SECONDS = 946_684_800
"""2000-01-01, where a machine without a battery clock begins."""


def play(world: World, plan: Sequence[Event]) -> None:
    """Raises OracleFailed at the first step after which an oracle fails."""
    for step, event in enumerate(plan):
        world.time = max(world.time + 1, START_UNIX_SECONDS + event.at_seconds)
        _guarded(world, step, event)
        world.check(step)
    _guarded(world, len(plan), None)
    world.check(len(plan), at_the_end=True)


def _guarded(world: World, step: int, event: Event | None) -> None:
    """What the code did not foresee is a finding like any other."""
    try:
        if event is None:
            _settle(world)
        else:
            world.end_outages()
            world.deliver_held()
            act(event, world)
    except Exception as error:  # noqa: BLE001 - whatever it is, it has its place in the story
        text = f"{type(error).__name__}: {error}".splitlines()[0]
        world.fail(step, [Finding("no-surprise", text)])


@singledispatch
def act(event: Event, world: World) -> None:  # noqa: ARG001 - the kinds registered below use it
    """Have `event` happen in `world`; TypeError for a kind of event that nothing below plays."""
    msg = f"no act for {type(event).__name__}"
    raise TypeError(msg)


@act.register
def _(event: Purchase, world: World) -> None:
    process, card = world.tills[event.till], world.cards[event.card]
    what, amount = f"{world.member(card)} buys for", Rupiah(event.amount)
    before = len(world.witness.truth.transactions)
    unclaimed = set(world.unclaimed.get((process.terminal_id, card.serial, amount), ()))
    world.arm(process.disk, event.strike)
    moved = _taps(event, world, process, card, f"{what} {amount}")
    process.reader.remove()
    if moved is MoneyMoved.UNKNOWN and event.is_given_up:
        world.at_till(process, "the cashier gives up", lambda till: till.give_up())
    world.disarm(process.disk)
    new = world.witness.truth.transactions[before:]
    what = f"{world.member(card)}'s purchase over {amount} at {process.name}"
    _judge_charges(world, process, amount, new, what=what, unclaimed=unclaimed, moved=moved)


def _taps(
    event: Purchase, world: World, process: TillProcess, card: SimulatedCard, what: str
) -> MoneyMoved:
    """The card is tapped until it is paid or refused; what cashier and member then believe."""
    amount = Rupiah(event.amount)
    only_card: bytes | None = None
    moved = MoneyMoved.NO
    for tap in range(event.taps):
        world.tap(process.reader, card, event.tears[tap] if tap < len(event.tears) else None)
        again = only_card
        outcome = world.at_till(process, what, lambda till: till.sell(amount, only_card=again))  # noqa: B023 - called at once
        match outcome:
            case SaleResult():
                world.show(process, outcome)
                return MoneyMoved.YES
            case SaleInDoubt() if moved is not MoneyMoved.YES:
                only_card, moved = card.serial, MoneyMoved.UNKNOWN
            case PaidNotRecorded():  # the cashier knows, and taps again as told
                world.not_recorded.add((process.terminal_id, int(str(outcome.facts["sequence"]))))
                only_card, moved = None, MoneyMoved.YES
            case CardRemoved():
                pass  # nothing moved; it is tapped again, or not
            case None if moved is not MoneyMoved.YES:  # the till died
                only_card, moved = None, MoneyMoved.UNKNOWN
            case _:
                return moved
    return moved


def _judge_charges(
    world: World,
    process: TillProcess,
    amount: Rupiah,
    new: Sequence[TrueTransaction],
    *,
    what: str,
    unclaimed: set[int],
    moved: MoneyMoved,
) -> None:
    """One purchase charges once at most, and not at all if it was said so."""
    charges = world.witness.charges
    if len(new) > 1 or any(one.amount != amount for one in new):
        charges.append(f"{what} moved money {len(new)} times")
    if new and moved is MoneyMoved.NO:
        charges.append(f"{what}: no money moved, it was said, and it did")
    if new and unclaimed:
        before = ", ".join(map(str, sorted(unclaimed)))
        charges.append(f"{what} was charged again: sale {before} was it already")
    for one in new:
        reader = one.reader_id
        if (reader.terminal_id, reader.sequence) not in world.told:
            key = (process.terminal_id, one.uid, amount)
            world.unclaimed.setdefault(key, set()).add(reader.sequence)


@act.register
def _(event: Look, world: World) -> None:
    process, card = world.tills[event.till], world.cards[event.card]
    world.arm(process.disk, event.strike)
    world.tap(process.reader, card, event.tear)
    what = f"{world.member(card)} asks for the balance"
    world.at_till(process, what, lambda till: till.balance())
    process.reader.remove()
    world.disarm(process.disk)


@act.register
def _(event: Refund, world: World) -> None:
    process = world.tills[event.till]
    here = [one for one in world.witness.shown if one.terminal_id == process.terminal_id]
    if not here:
        return
    sale = here[-1 - event.sales_ago % len(here)]
    amount = Rupiah(max(1, sale.amount.amount // 2)) if event.is_half else None
    world.arm(process.disk, event.strike)
    world.at_till(
        process,
        f"{'half' if event.is_half else 'all'} of sale {sale.sequence} is given back",
        lambda till: till.refund(sale.sequence, amount, reason="barang kembali", supervisor="Haji"),
    )
    world.disarm(process.disk)


@act.register
def _(event: Sync, world: World) -> None:
    process = world.tills[event.till]
    world.network.faults = list(event.faults)
    world.arm(process.disk, event.strike)
    world.arm(world.office.disk, event.server_strike)
    world.at_till(process, "sync", lambda till: till.sync())
    world.disarm(world.office.disk)
    world.disarm(process.disk)
    world.network.faults = []


@act.register
def _(event: CloseShift, world: World) -> None:
    world.at_till(world.tills[event.till], "close the shift", lambda till: till.close_shift())


@act.register
def _(event: TopUp, world: World) -> None:
    card = world.cards[event.card]
    reference = f"order-{len(world.witness.orders) + 1:04}"
    order = Order(reference, card.serial, Rupiah(event.amount))
    world.witness.orders[reference] = order
    world.network.faults = list(event.faults)
    world.arm(world.office.disk, event.server_strike)
    for _ in range(event.tries):
        if _order(world, order):
            break
    world.disarm(world.office.disk)
    world.network.faults = []


def _order(world: World, order: Order) -> bool:
    """Whether the server's answer is known now."""
    what = f"{STATION_NAME}: order {order.reference}, {order.amount} for {world.owner(order.uid)}"
    content = {
        "card_uid": order.uid.hex().upper(),
        "amount_rupiah": order.amount.amount,
        "source": "cash",
        "idempotency_key": order.reference,
    }
    answer = world.ask_server(what, lambda client: client.post_json("/v1/credits", content))
    if not isinstance(answer, DoBMIError):
        order.accepted = True
    elif answer.facts.get("problem") is not None and order.accepted is None:
        order.accepted = False
    return order.accepted is not None


@act.register
def _(event: Block, world: World) -> None:
    _block(world, world.cards[event.card], "block" if event.is_blocked else "unblock")


def _block(world: World, card: SimulatedCard, verb: str) -> None:
    path = f"/v1/cards/{card.serial.hex().upper()}/{verb}"
    what = f"{STATION_NAME}: {verb} {world.member(card)}'s card"
    world.ask_server(what, lambda client: client.post_json(path, {"reason": "simulated"}))


@act.register
def _(event: Deliver, world: World) -> None:
    card = world.cards[event.card]
    what = f"{world.member(card)}'s credits"
    result = world.relayed(event, event.at, card, Start(Action.CREDIT, card.serial), what)
    if isinstance(result, dict):
        delivered = CreditResult.from_cbor(result).delivered
        each = ", ".join(f"number {number}, {amount}" for number, amount in delivered)
        world.note(f"delivered: {each or 'nothing'}")


@act.register
def _(event: Issue, world: World) -> None:
    card, name = world.cards[event.card], NAMES[event.card]
    start = Start(Action.ISSUE, card.serial, {1: 1001 + event.card, 2: name})
    result: Any = world.relayed(event, STATION, card, start, f"a card is issued to {name}")
    if isinstance(result, dict):
        IssueResult.from_cbor(result)


@act.register
def _(event: Restart, world: World) -> None:
    process = world.tills[event.till]
    if event.effect is None:
        world.at_till(process, "is stopped", lambda _: process.stop())
    else:
        process.kill(event.effect)
        world.count(f"till: {event.effect.value}")
        world.note(f"{process.name}: {event.effect.value}")
    if event.has_no_clock:
        process.clock_offset_seconds = _CLOCKLESS_UNIX_SECONDS - world.time
        world.count("clock: none at boot")
        world.note(f"{process.name} starts without a clock")
    world.at_till(process, "starts", lambda _: None)


@act.register
def _(event: KillServer, world: World) -> None:
    disk = world.office.disk
    power = event.effect is Effect.POWER_CUT
    world.office.restart(disk.cut_power() if power else disk.image())
    world.count(f"server: {event.effect.value}")
    world.note(f"the central server: {event.effect.value}")


@act.register
def _(event: SetClock, world: World) -> None:
    process = world.tills[event.till]
    is_back = event.offset_seconds < process.clock_offset_seconds
    process.clock_offset_seconds = event.offset_seconds
    if is_back:
        world.count("clock: jumps back")
    elif event.offset_seconds:
        world.count("clock: wrong")
    world.note(f"{process.name}'s clock is off by {event.offset_seconds} s")


@act.register
def _(event: Outage, world: World) -> None:
    who = world.name(event.who)
    world.outages[who] = world.time + event.seconds
    world.network.down.add(who)
    world.count("network: outage")
    world.note(f"{who} has no network for {event.seconds} s")


@act.register
def _(event: Backup, world: World) -> None:
    world.backups[event.who] = world.disk(event.who).backup()
    world.note(f"{world.name(event.who)}'s database is backed up")


@act.register
def _(event: Restore, world: World) -> None:
    image = world.backups.get(event.who)
    if image is None:
        return
    if event.who == SERVER:
        world.office.restart(image)
        world.witness.server_restored = True
        world.oracles.forget_server()
        world.count("server: old backup restored")
        world.note("the central server's database is restored from the backup")
        return
    process, record = world.tills[event.who], world.witness.tills[event.who]
    if process.till is not None:
        world.at_till(process, "is stopped", lambda _: process.stop())
    process.restore(image)
    with closing(sqlite3.connect(process.disk.path)) as database:
        (head,) = database.execute("SELECT coalesce(max(sequence), 0) FROM vouchers").fetchone()
    record.restored_to = head if record.restored_to is None else min(head, record.restored_to)
    world.witness.till_restored = True
    world.oracles.forget_till(record.terminal_id, head)
    for key in [key for key in world.unclaimed if key[0] == record.terminal_id]:
        del world.unclaimed[key]
    world.told = {sale for sale in world.told if sale[0] != record.terminal_id}
    world.count("till: old backup restored")
    world.note(f"{process.name}'s database is restored from the backup, to voucher {head}")


def _settle(world: World) -> None:
    """The day after: no faults, every card used once more at every till, everything reported."""
    world.note("— the faults end; every card is used once more and everybody reports —")
    world.pass_time(7200)
    world.outages.clear()
    world.network.down.clear()
    for process in world.tills:
        process.clock_offset_seconds = 0
    world.deliver_held()
    for order in list(world.witness.orders.values()):
        if order.accepted is None:
            _order(world, order)
    for card in world.cards:
        _block(world, card, "unblock")
    _sync_all(world)
    numbers = range(len(world.cards))
    everybody = [(till, number) for till in range(len(world.tills)) for number in numbers]
    for till, number in everybody:
        act(Look(at_seconds=0, till=till, card=number), world)
    for number in numbers:
        act(Deliver(at_seconds=0, at=STATION, card=number), world)
    # Last at a till that was never restored: what it says of the card before is believed.
    tills = sorted(range(TILLS), key=lambda till: world.witness.tills[till].restored_to is None)
    for number in numbers:
        for till in (tills[number % TILLS], tills[-1]):
            act(Purchase(at_seconds=0, till=till, card=number, amount=1), world)
    _sync_all(world)
    _sync_all(world)
    reconcile(world.office.central.database, world.office.central.mac_keys(), world.seconds())


def _sync_all(world: World) -> None:
    for process in world.tills:
        world.at_till(process, "sync", lambda till: till.sync())
