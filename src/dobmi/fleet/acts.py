"""What each event does in a world: what cashier, member, clerk and technician do, with its faults."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import singledispatch
from typing import Any

from dobmi.cardlib.errors import CardRemoved, InsufficientBalance
from dobmi.central.beside import look_at_all_posted
from dobmi.central.conclusions import reconcile
from dobmi.central.credit_settlement import settle_credit
from dobmi.central.overdue import SettledByRule, settle_overdue
from dobmi.central.replacement import restore_due
from dobmi.central.schema import StaffRole, TerminalStatus
from dobmi.central.server import Central
from dobmi.central.staff import add_staff
from dobmi.central.terminals import set_terminal_status
from dobmi.errors import DoBMIError, MoneyMoved
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.fleet.books import read_server
from dobmi.fleet.disk import Effect
from dobmi.fleet.events import (
    GENERATIONS_MAX,
    SERVER,
    STATION,
    TILLS,
    Backup,
    Block,
    BlockTill,
    Chore,
    CloseShift,
    CopyCard,
    DaysPass,
    Decide,
    Deliver,
    Event,
    Issue,
    KillServer,
    Look,
    Lose,
    OfficeWork,
    Outage,
    Purchase,
    PutBack,
    Refund,
    Rekey,
    RenewKeys,
    ResetClock,
    Restart,
    Restore,
    SetClock,
    SettleCredit,
    Sync,
    TopUp,
)
from dobmi.fleet.network import NoAnswer
from dobmi.fleet.oracles import Finding, Order
from dobmi.fleet.template import NAMES, START_UNIX_SECONDS
from dobmi.fleet.till_process import TillProcess, ready
from dobmi.fleet.truth import TrueTransaction
from dobmi.fleet.world import STATION_NAME, World
from dobmi.money import ZERO, Rupiah
from dobmi.sync.relay import Action, CreditResult, IssueResult, RekeyResult, Start
from dobmi.sync.voucher import Outcome
from dobmi.terminal.errors import PaidNotRecorded, SaleInDoubt
from dobmi.terminal.sale import SaleResult
from dobmi.terminal.shift import ShiftReport
from dobmi.terminal.till import Till

_CLOCKLESS_UNIX_SECONDS = 946_684_800
"""2000-01-01, where a machine without a battery clock begins."""
_SECONDS_PER_DAY = 24 * 3600
_UNTIL_RULE_DAYS = 31 + 41
"""After so many the office's rules settle and restore what nobody has spoken for: their thirty, and
as many as a server's clock was ahead when it took something.
"""


def play(world: World, plan: Sequence[Event]) -> None:
    """Raises OracleFailed at the first step after which an oracle fails."""
    for step, event in enumerate(plan):
        planned = START_UNIX_SECONDS + event.at_seconds + world.days * _SECONDS_PER_DAY
        world.time = max(world.time + 1, planned)
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
    process, card = world.tills[event.till], world.tapped(event.card, event.which)
    if card is None:
        return
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
        outcome = world.at_till(
            process,
            what,
            lambda till: ready(till).sell(amount, only_card=again),  # noqa: B023 - called at once
        )
        world.last_sale = outcome
        match outcome:
            case SaleResult():
                world.show(process, outcome)
                return MoneyMoved.YES
            case SaleInDoubt() if moved is not MoneyMoved.YES:
                only_card, moved = card.serial, MoneyMoved.UNKNOWN
            case PaidNotRecorded():  # the cashier knows, and taps again as told
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
    if new and unclaimed and new[0].uid not in world.witness.truth.copied():
        before = ", ".join(map(str, sorted(unclaimed)))
        charges.append(f"{what} was charged again: sale {before} was it already")
    for one in new:
        reader = one.reader_id
        if (reader.terminal_id, reader.sequence) not in world.told:
            key = (process.terminal_id, one.uid, amount)
            world.unclaimed.setdefault(key, set()).add(reader.sequence)


@act.register
def _(event: Look, world: World) -> None:
    process, card = world.tills[event.till], world.tapped(event.card, event.which)
    if card is None:
        return
    world.arm(process.disk, event.strike)
    world.tap(process.reader, card, event.tear)
    what = f"{world.member(card)} asks for the balance"
    world.at_till(process, what, lambda till: till.balance())
    process.reader.remove()
    world.disarm(process.disk)


@act.register
def _(event: Refund, world: World) -> None:
    process = world.tills[event.till]
    sales = _rows(process, "SELECT sequence, amount_rupiah FROM intents ORDER BY sequence")
    if not sales:
        return
    sale, paid = sales[-1 - event.sales_ago % len(sales)]
    amount = Rupiah(max(1, paid // 2)) if event.is_half else None
    world.arm(process.disk, event.strike)
    outcome = world.at_till(
        process,
        f"{'half' if event.is_half else 'all'} of sale {sale} is given back",
        lambda till: ready(till).refund(sale, amount, reason="barang kembali", supervisor="Haji"),
    )
    world.disarm(process.disk)
    # A till that died may have written it down: then the member has been dealt with.
    given_back = _rows(process, "SELECT 1 FROM vouchers WHERE refunds = ?", sale)
    if given_back and not isinstance(outcome, DoBMIError):
        world.claim(process.terminal_id, sale)


def _rows(process: TillProcess, query: str, *values: object) -> list[Any]:
    """What stands in the till's file."""
    with closing(sqlite3.connect(process.disk.path)) as database:
        return database.execute(query, values).fetchall()


@act.register
def _(event: Decide, world: World) -> None:
    process = world.tills[event.till]
    doubts = world.started(process).ledger.doubts()
    if not doubts:
        return
    sequence = doubts[-1 - event.doubts_ago % len(doubts)].sequence
    outcome = Outcome.PAID if event.is_paid else Outcome.NOT_PAID
    world.arm(process.disk, event.strike)
    world.at_till(
        process,
        f"Haji decides of sale {sequence}: {outcome.name}",
        lambda till: till.close_doubt(sequence, outcome, supervisor="Haji", reason="kata anggota"),
    )
    world.disarm(process.disk)
    # A till that died may have written it down: then the member has been dealt with.
    if _rows(process, "SELECT 1 FROM decisions WHERE sequence = ?", sequence):
        world.claim(process.terminal_id, sequence)


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


def close_shift(till: Till) -> ShiftReport:
    """With nothing in the drawer, as it was opened."""
    return ready(till).close_shift(ZERO)


@act.register
def _(event: CloseShift, world: World) -> None:
    world.at_till(world.tills[event.till], "close the shift", close_shift)


@act.register
def _(event: Lose, world: World) -> None:
    lost = world.lost.get(event.card, [])
    if not lost or lost[-1].serial in world.witness.reported:
        if not world.lose(event.card):
            return
        world.note(f"{NAMES[event.card]} has lost the card")
    world.network.faults = list(event.faults)
    world.arm(world.office.disk, event.server_strike)
    for _ in range(event.tries):
        if _report_lost(world, world.lost[event.card][-1]):
            break
    world.disarm(world.office.disk)
    world.network.faults = []


def _report_lost(world: World, card: SimulatedCard) -> bool:
    """Whether the server says that it knows, or that there is nothing to know of."""
    path = f"/v1/cards/{card.serial.hex().upper()}/replace"
    what = f"{STATION_NAME}: the card in the hands of {world.member(card)} is to be replaced"
    answer = world.ask_server(what, lambda client: client.post_json(path, {"reason": "hilang"}))
    is_known = not isinstance(answer, DoBMIError) or answer.facts.get("problem") in _NEVER_ISSUED
    if is_known:
        world.witness.reported.add(card.serial)
    return is_known


_NEVER_ISSUED = frozenset({"CENTRAL-CARD-UNKNOWN", "CENTRAL-CARD-NOT-ACTIVE"})


@act.register
def _(event: RenewKeys, world: World) -> None:
    if world.key_generation < GENERATIONS_MAX:
        world.renew_keys(event.left_out)
        but = "" if event.left_out is None else f", but {world.tills[event.left_out].name}"
        world.note(f"the cards' keys are renewed: generation {world.key_generation}{but}")


@act.register
def _(event: Rekey, world: World) -> None:
    card = world.cards[event.card]
    what = f"{world.member(card)}'s card gets the newest keys"
    result = world.relayed(event, STATION, card, Start(Action.REKEY, card.serial), what)
    if isinstance(result, dict):
        RekeyResult.from_cbor(result)


@act.register
def _(event: OfficeWork, world: World) -> None:
    world.arm(world.office.disk, event.server_strike)
    _at_the_office(world, event.chore.value, _CHORES[event.chore])
    world.disarm(world.office.disk)


_CHORES: dict[Chore, Callable[[Central], object]] = {
    Chore.FINISH_BATCHES: look_at_all_posted,
    Chore.RECONCILE: lambda central: reconcile(
        central.database, central.mac_keys(), central.unix_seconds()
    ),
    Chore.SETTLE_OVERDUE: lambda central: settle_overdue(central, central.unix_seconds()),
    Chore.RESTORE_DUE: restore_due,
}


def _at_the_office(world: World, what: str, do: Callable[[Central], object]) -> Any:
    """What `do` returned, the error it raised, or None if the server died or its disk is full."""
    answer: Any
    try:
        answer = world.office.work(do)
    except NoAnswer:
        answer = None
    except DoBMIError as error:
        answer = error
        world.note(f"the office: {what}: {error.code}")
    else:
        world.note(f"the office: {what}: {_told(answer)}")
    return answer


def _told(answer: object) -> str:
    match answer:
        case SettledByRule():
            return (
                f"{answer.not_paid_count} not paid, {answer.not_paid_total}; "
                f"{answer.held_count} held, {answer.held_total}"
            )
        case None:
            return "done"
    return str(answer)


@act.register
def _(event: SettleCredit, world: World) -> None:
    world.arm(world.office.disk, event.server_strike)
    _settle_credit(world, world.cards[event.card])
    world.disarm(world.office.disk)


def _settle_credit(world: World, card: SimulatedCard) -> None:
    with closing(sqlite3.connect(world.office.disk.path)) as database:
        row = database.execute(
            "SELECT min(sequence) FROM pending_credits WHERE card_uid = ? AND state = 'in_doubt' "
            "AND seen_at IS NOT NULL",
            (card.serial,),
        ).fetchone()

    def settle(central: Central) -> int:
        add_staff(central.database, "Haji", [StaffRole.CLERK], central.unix_seconds())
        return settle_credit(
            central, card.serial, row[0], reason="kata kartu", settled_by="Haji"
        ).counter

    if row[0] is not None:
        named = f"credit {row[0]} of {world.member(card)} is said to be delivered"
        _at_the_office(world, named, settle)


@act.register
def _(event: DaysPass, world: World) -> None:
    world.days += event.days
    world.pass_time(event.days * _SECONDS_PER_DAY)
    world.note(f"{event.days} days pass")


@act.register
def _(event: CopyCard, world: World) -> None:
    card = world.cards[event.card]
    world.copies[event.card] = world.copy(card)
    world.count("card: copied")
    world.note(f"somebody copies {world.member(card)}'s card")


@act.register
def _(event: PutBack, world: World) -> None:
    copy = world.copies.get(event.card)
    if copy is None or copy.serial != world.cards[event.card].serial:
        return
    restored, name = world.copy(copy), world.member(world.cards[event.card])
    world.cards[event.card] = restored
    world.names[id(restored)] = name
    world.count("card: put back into an older state")
    world.note(f"{name}'s card is put back into the state of its copy")


@act.register
def _(event: BlockTill, world: World) -> None:
    _block_till(world, world.tills[event.till], is_blocked=event.is_blocked)


def _block_till(world: World, process: TillProcess, *, is_blocked: bool) -> None:
    status = TerminalStatus.BLOCKED if is_blocked else TerminalStatus.ACTIVE
    _at_the_office(
        world,
        f"{process.name} is {status.value}",
        lambda central: set_terminal_status(central, process.terminal_id, status),
    )


@act.register
def _(event: ResetClock, world: World) -> None:
    process = world.tills[event.till]
    process.clock_offset_seconds = 0
    world.network.faults = list(event.faults)
    world.arm(process.disk, event.strike)
    _reset_clock(world, process)
    world.disarm(process.disk)
    world.network.faults = []


def _reset_clock(world: World, process: TillProcess) -> Any:
    return world.at_till(
        process,
        "the clock is set right",
        lambda till: till.reset_clock(supervisor="Haji", reason="jam salah"),
    )


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
    card = world.tapped(event.card, event.which)
    if card is None:
        return
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
    if event.who == SERVER:
        is_back = event.offset_seconds < world.server_clock_offset_seconds
        world.server_clock_offset_seconds = event.offset_seconds
    else:
        process = world.tills[event.who]
        is_back = event.offset_seconds < process.clock_offset_seconds
        process.clock_offset_seconds = event.offset_seconds
    whose = "server's " if event.who == SERVER else ""
    if is_back:
        world.count(f"clock: {whose}jumps back")
    elif event.offset_seconds:
        world.count(f"clock: {whose}wrong")
    world.note(f"{world.name(event.who)}'s clock is off by {event.offset_seconds} s")


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
        world.office.restore(image)
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
    _put_right(world)
    _serve_everybody(world)
    everybody = [(till, card) for till in world.tills for card in _all_cards(world)]
    for process, card in everybody:
        _look(world, process, card)
    for number in range(len(world.cards)):
        _bring_credits(world, number)
    # Last at a till that was never restored: what it says of the card before is believed.
    tills = sorted(range(TILLS), key=lambda till: world.witness.tills[till].restored_to is None)
    for number, card in enumerate(world.cards):
        for till in (tills[number % TILLS], tills[-1]):
            act(Purchase(at_seconds=0, till=till, card=number, amount=1), world)
            if world.witness.tills[till].restored_to is None:
                _must_work(world, card)
    _sync_all(world)
    _sync_all(world)
    world.pass_time(_UNTIL_RULE_DAYS * _SECONDS_PER_DAY)
    for chore in Chore:
        _at_the_office(world, chore.value, _CHORES[chore])
    for number in range(len(world.cards)):
        _bring_credits(world, number)
    _must_report(world)


def _put_right(world: World) -> None:
    """Networks, clocks, tills; what was under way arrives."""
    world.outages.clear()
    world.network.down.clear()
    world.server_clock_offset_seconds = 0
    for number, process in enumerate(world.tills):
        process.clock_offset_seconds = 0
        world.give_keys(number)
        _block_till(world, process, is_blocked=False)
    world.deliver_held()
    for process in world.tills:
        _reset_clock(world, process)


def _serve_everybody(world: World) -> None:
    """The office does what was asked of it in vain: orders, lost cards, new cards."""
    for order in list(world.witness.orders.values()):
        if order.accepted is None:
            _order(world, order)
    for card in (*world.cards, *_lost_cards(world)):
        _block(world, card, "unblock")
    for card in _lost_cards(world):
        _report_lost(world, card)
    for number in sorted(world.lost):
        act(Issue(at_seconds=0, card=number), world)
    _sync_all(world)
    _sync_all(world)


def _lost_cards(world: World) -> list[SimulatedCard]:
    return [card for number in sorted(world.lost) for card in world.lost[number]]


def _all_cards(world: World) -> list[SimulatedCard]:
    """The members' own, and those that were lost: found again, so that tills can ask them."""
    return [*world.cards, *_lost_cards(world)]


def _look(world: World, process: TillProcess, card: SimulatedCard) -> None:
    world.tap(process.reader, card, None)
    what = f"{world.member(card)} asks for the balance"
    world.at_till(process, what, lambda till: till.balance())
    process.reader.remove()


def _bring_credits(world: World, number: int) -> None:
    """What waits for the member's card, also what nothing proves: then the office believes the card."""
    deliver = Deliver(at_seconds=0, at=STATION, card=number)
    act(deliver, world)
    if world.cards[number].serial in world.witness.lied_to:
        _settle_credit(world, world.cards[number])
        act(deliver, world)


def _must_work(world: World, card: SimulatedCard) -> None:
    """A card in force buys, whatever it has been through, if there is money on it."""
    last = world.last_sale
    is_lawful = last is None or isinstance(last, SaleResult | InsufficientBalance)
    if not is_lawful and card.serial in read_server(world.office.disk.path).active:
        world.witness.useless.append(f"{world.member(card)}'s card does not buy: {last}")


def _must_report(world: World) -> None:
    """A till that was put right can sync, unless an old backup has forked its chain."""
    for process, record in zip(world.tills, world.witness.tills, strict=True):
        answer = world.at_till(process, "sync", lambda till: till.sync())
        if isinstance(answer, DoBMIError) and record.restored_to is None:
            world.witness.useless.append(f"{process.name} cannot sync: {answer.code}")


def _sync_all(world: World) -> None:
    for process in world.tills:
        world.at_till(process, "sync", lambda till: till.sync())
