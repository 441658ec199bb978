"""A good ledger of real traffic with one of everything, in two parts with an audit between them.

What it has, by name, is in `Ledger`: the sabotage tests pick their rows from there.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import update

from dobmi.audit.card_proof import MacKeys
from dobmi.audit.run import Audit
from dobmi.audit.tills import Keys
from dobmi.cardlib.custody import KeyRing
from dobmi.cardlib.purse_layout import CardKey, ReaderId
from dobmi.central.acts import Actor
from dobmi.central.approvals import decide, propose_at
from dobmi.central.cards import PendingCredit, set_blocked
from dobmi.central.carrying import Facts
from dobmi.central.cash import bank_cash
from dobmi.central.credit_orders import order_credit
from dobmi.central.credit_session import note_attempt
from dobmi.central.credit_settlement import settle_credit
from dobmi.central.days import close_days
from dobmi.central.fee_rules import decide_fee_rule, propose_fee_rule
from dobmi.central.fees import FeeRule
from dobmi.central.ingest import take_batch
from dobmi.central.overdue import settle_overdue
from dobmi.central.replacement import replace_card, restore_due
from dobmi.central.restitution import Restitution
from dobmi.central.salaries import Salary, convert_salaries
from dobmi.central.schema import ApprovalKind, CreditSource, Role, StaffRole, pending_credits
from dobmi.central.seller_accounts import BankAccount, decide_account, propose_account
from dobmi.central.server import CARD_ISSUER_KEY, SERVER_KEY
from dobmi.central.settlement_run import approve_run, export_run, mark_paid, propose_run
from dobmi.central.staff import add_staff
from dobmi.money import Rupiah
from dobmi.sync.voucher import Outcome
from dobmi.wib import day_of
from support.central_client import RING, SETTINGS
from support.databases import Kind
from support.traffic import START, ModelCard, ModelTill, World

DAY = 24 * 3600
_WAIT_DAYS = 2
_SETTINGS = SETTINGS.model_copy(
    update={"settle_after_days": _WAIT_DAYS, "restore_after_days": _WAIT_DAYS}
)


@dataclass
class Ledger:
    """`sold` and the like: (till, sequence) of vouchers by what they are in the story."""

    world: World
    clock: list[int]
    tills: list[ModelTill] = field(default_factory=list)
    station: ModelTill | None = None
    cards: list[ModelCard] = field(default_factory=list)
    vouchers: dict[str, tuple[int, int]] = field(default_factory=dict)

    def note(self, name: str, till: ModelTill) -> tuple[int, int]:
        """The till's newest voucher is the one of that name."""
        self.vouchers[name] = (till.terminal_id, len(till.vouchers))
        return self.vouchers[name]

    def send(self) -> None:
        for till in self.tills:
            while till.send_from <= len(till.vouchers):
                take_batch(self.world.central, till.batch())

    def close_days(self) -> None:
        """Every booking day before today's."""
        close_days(self.world.central, self.clock[0])

    def later(self, seconds: int) -> None:
        self.clock[0] += seconds


def new_ledger(folder: Path, kind: Kind = Kind.SQLITE) -> Ledger:
    world = World.create(folder, keys=RING, settings=_SETTINGS, kind=kind)
    clock = [START]
    world.central = dataclasses.replace(world.central, unix_seconds=lambda: clock[0])
    ledger = Ledger(world, clock)
    for number, seller in enumerate(("Toko BMI", "Toko Maju", "Toko Maju"), start=1):
        ledger.tills.append(world.till(seller, name=f"Kasir {number}"))
    ledger.station = world.till(role=Role.STATION, name="Loket 1")
    ledger.cards = world.make_cards(1, 12)
    for card in ledger.cards[:11]:
        world.top_up(ledger.station, card, Rupiah(100_000))
    return ledger


def first_part(ledger: Ledger) -> None:
    """Days one and two: sales, doubts, refunds, quarantine, a block, a credit by hand."""
    world, (a, b, _) = ledger.world, ledger.tills
    plain, torn, told, other, claimed, decided = ledger.cards[:6]
    salary(ledger, plain, 40_000)
    for amount in (1_100, 2_200, 3_300):
        a.sell(plain, Rupiah(amount))
    ledger.note("third-sale", a)
    b.sell(plain, Rupiah(4_400))
    ledger.note("sale", b)
    sell_and_refund(ledger, a, plain)
    doubts(ledger, a, b, torn=torn, told=told, other=other)
    a.doubt(claimed, Rupiah(6_100), committed=False)
    ledger.note("claimed", a)
    a.decide(claimed, ledger.vouchers["claimed"][1], Outcome.PAID)
    ledger.note("paid-decision", a)
    a.doubt(decided, Rupiah(6_200), committed=False)
    ledger.note("decided", a)
    a.decide(decided, ledger.vouchers["decided"][1], Outcome.NOT_PAID)
    a.doubt(decided, Rupiah(6_300), committed=False)
    ledger.note("no-word", a)
    ledger.send()
    ledger.later(DAY)
    quarantined(ledger, b, ledger.cards[6])
    hidden(ledger, a, b, ledger.cards[7])
    ledger.send()
    by_hand(ledger, ledger.cards[8])
    set_blocked(world.central, ledger.cards[9].uid, "dicurigai", blocked=True, by_terminal=None)
    set_blocked(world.central, ledger.cards[9].uid, "ditemukan", blocked=False, by_terminal=None)
    set_blocked(world.central, ledger.cards[9].uid, "dicuri", blocked=True, by_terminal=None)
    wages(ledger, "2027-01", (1, 60_000), (2, 70_000))
    bank_cash(world.central, bank_at(ledger), Rupiah(200_000), "setoran 1")
    ledger.later(DAY)
    ledger.close_days()
    staff(ledger)
    pay_sellers(ledger)


def second_part(ledger: Ledger) -> None:
    """Some days later: a lost card restored and spent since, claims held, more of everything."""
    world, (a, b, c) = ledger.world, ledger.tills
    assert ledger.station is not None
    lost = ledger.cards[10]
    c.sell(lost, Rupiah(10_000))
    ledger.note("late-sale", c)
    world.orders += 1
    order_credit(
        world.central,
        lost.uid,
        Rupiah(7_000),
        CreditSource.CASH,
        idempotency_key=f"order-{world.orders:08}",
        station=ledger.station.terminal_id,
    )
    replace_card(world.central, lost.uid, "hilang", by_terminal=ledger.station.terminal_id)
    ledger.later((_WAIT_DAYS + 1) * DAY)
    settle_overdue(world.central, ledger.clock[0])
    restore_due(world.central)
    ledger.cards.append(world.another_card(11, edition=1))
    plain = ledger.cards[0]
    a.sell(plain, Rupiah(5_500))
    ledger.note("new-sale", a)
    ledger.send()
    ledger.later(DAY)
    ledger.close_days()
    b.sell(plain, Rupiah(6_600))
    ledger.note("open-sale", b)
    b.doubt(plain, Rupiah(7_700), committed=False)
    ledger.note("open-doubt", b)

    world.top_up(ledger.station, ledger.cards[11], Rupiah(20_000))
    a.sell(ledger.cards[11], Rupiah(9_900))
    ledger.note("newest-card-sale", a)
    ledger.send()
    world.top_up_in_doubt(ledger.station, ledger.cards[11], Rupiah(3_000))
    pay_sellers(ledger)
    wages(ledger, "2027-02", (1, 80_000), (10, 90_000))
    bank_cash(world.central, bank_at(ledger), Rupiah(300_000), "setoran 2")
    agree(ledger, ledger.cards[11])


def agree(ledger: Ledger, card: ModelCard) -> None:
    """Two people on a restitution and on a limit; the last act is another."""
    central, now = ledger.world.central, ledger.clock[0]
    owed = Restitution(card.uid, Rupiah(4_500), "struk salah").facts()
    limit: Facts = {"name": "sale_max_rupiah", "value": 1_500_000}
    for kind, facts in ((ApprovalKind.RESTITUTION, owed), (ApprovalKind.LIMITS, limit)):
        made = propose_at(central, kind, facts, Actor("Ani", None))
        decide(central, made.number, True, Actor("Budi", None), now)
    add_staff(central.database, "Dewi", [StaffRole.AUDITOR], now)


def staff(ledger: Ledger) -> None:
    """Who proposes and approves; the sellers' bank accounts, and a fee."""
    database, now = ledger.world.central.database, ledger.clock[0]
    add_staff(database, "Ani", [StaffRole.PROPOSER], now)
    add_staff(database, "Budi", [StaffRole.APPROVER], now)
    rule = FeeRule(from_day=0, basis_points=70, minimum=Rupiah(100))
    made_rule = propose_fee_rule(database, None, rule, "Ani", now)
    decide_fee_rule(database, None, made_rule.number, "Budi", now, accepted=True)
    for seller in ("Toko BMI", "Toko Maju"):
        account = BankAccount(bank="BCA", bank_code="CENAIDJA", account="1234567", holder=seller)
        made = propose_account(database, seller, account, "Ani", now)
        decide_account(database, seller, made.number, "Budi", now, accepted=True)


def pay_sellers(ledger: Ledger) -> None:
    """What is owed up to the newest closed day."""
    database, now = ledger.world.central.database, ledger.clock[0]
    number = propose_run(database, day_of(now - DAY), "Ani", now).number
    approve_run(database, number, "Budi", now)
    payer = BankAccount(bank="BMI", bank_code="BMRIIDJA", account="99", holder="Koperasi BMI")
    export_run(database, number, "Ani", now, payer)
    mark_paid(database, number, "Ani", f"TRF-{number}", now)


def wages(ledger: Ledger, period: str, *of: tuple[int, int]) -> None:
    """Salaries of members into their wallets, and onto cards that are in force."""
    lines = [Salary(n, period, member, Rupiah(a)) for n, (member, a) in enumerate(of, start=1)]
    convert_salaries(ledger.world.central, lines)


def bank_at(ledger: Ledger) -> int:
    assert ledger.station is not None
    return ledger.station.terminal_id


def salary(ledger: Ledger, card: ModelCard, rupiah: int) -> None:
    world = ledger.world
    assert ledger.station is not None
    world.orders += 1
    credit, _ = order_credit(
        world.central,
        card.uid,
        Rupiah(rupiah),
        CreditSource.SALARY,
        idempotency_key=f"order-{world.orders:08}",
        station=ledger.station.terminal_id,
    )
    assert isinstance(credit, PendingCredit)
    staged = card.stage_credit(credit.sequence, Rupiah(rupiah))
    note_attempt(world.central, credit, staged.evidence)
    world.deliver(card, staged, *card.commit(staged))


def sell_and_refund(ledger: Ledger, till: ModelTill, card: ModelCard) -> None:
    """A refund that is delivered, and one that waits for its sale's doubt to be settled."""
    till.sell(card, Rupiah(8_000))
    _, sale = ledger.note("refunded-sale", till)
    till.refund(card, sale, Rupiah(3_000))
    ledger.note("refund", till)
    till.refund(card, sale, Rupiah(2_000), supervisor="Ani")


def doubts(
    ledger: Ledger,
    a: ModelTill,
    b: ModelTill,
    *,
    torn: ModelCard,
    told: ModelCard,
    other: ModelCard,
) -> None:
    """Paid by the card's MAC, paid by its later sale; not paid by the till, by another sale."""
    counter, mac = a.doubt(torn, Rupiah(5_100), committed=True)
    _, sequence = ledger.note("paid-by-mac", a)
    a.resolve(torn, sequence, Outcome.PAID, counter, mac)
    ledger.note("mac-resolution", a)
    a.doubt(torn, Rupiah(5_200), committed=True)
    ledger.note("paid-by-card", a)
    b.sell(torn, Rupiah(5_300))
    a.doubt(told, Rupiah(5_400), committed=False)
    _, sequence = ledger.note("not-paid-by-till", a)
    a.resolve(told, sequence, Outcome.NOT_PAID)
    a.refund(told, sequence, Rupiah(400))
    ledger.note("refused-refund", a)
    a.doubt(other, Rupiah(5_500), committed=False)
    ledger.note("not-paid-by-card", a)
    b.sell(other, Rupiah(5_600))
    b.sell(other, Rupiah(5_700))
    a.void(other, Rupiah(5_800))
    ledger.note("void", a)


def quarantined(ledger: Ledger, till: ModelTill, card: ModelCard) -> None:
    """Vouchers that are withheld, each for another reason."""
    staged = card.stage_sale(till.next_reader_id, Rupiah(2_500))
    till.append_sale(card, staged, card.counter + 1, bytes(8))
    ledger.note("wrong-mac", till)
    staged = card.stage_sale(till.next_reader_id, Rupiah(2_600))
    copy = dataclasses.replace(card)
    counter, mac = copy.commit(staged)
    till.append_sale(card, staged, counter, mac, claimed=Rupiah(2_000))
    ledger.note("claim-differs", till)
    copy = dataclasses.replace(card)
    till.sell(card, Rupiah(2_700))
    ledger.note("first-of-two", till)
    till.sell(copy, Rupiah(2_800))
    ledger.note("copied", till)
    unknown = dataclasses.replace(card, uid=bytes.fromhex("04FFFFFFFFFFFF"))
    till.void(unknown, Rupiah(100))
    ledger.note("unknown-card", till)
    till.refund(card, ledger.vouchers["first-of-two"][1], Rupiah(2_000))
    till.refund(card, ledger.vouchers["first-of-two"][1], Rupiah(800))
    ledger.note("refund-too-much", till)
    till.resolve(card, ledger.vouchers["wrong-mac"][1], Outcome.NOT_PAID)
    ledger.note("resolves-nothing", till)


def hidden(ledger: Ledger, a: ModelTill, b: ModelTill, card: ModelCard) -> None:
    """A sale that its till reports as void: the card was debited, nobody says by whom."""
    staged = card.stage_sale(a.next_reader_id, Rupiah(9_100))
    card.commit(staged)
    a.void(card, Rupiah(9_100))
    ledger.note("hidden", a)
    b.sell(card, Rupiah(1_900))
    ledger.note("after-hidden", b)
    # And one that its till has not sent yet.
    late = ReaderId(terminal_id=ledger.tills[2].terminal_id, sequence=40)
    card.commit(card.stage_sale(late, Rupiah(700)))
    b.sell(card, Rupiah(1_800))
    ledger.note("after-late", b)


def by_hand(ledger: Ledger, card: ModelCard) -> None:
    """A credit that the card took under another evidence than the server kept."""
    world = ledger.world
    assert ledger.station is not None
    staged = world.top_up_in_doubt(ledger.station, card, Rupiah(15_000))
    card.commit(staged)
    sequence = staged.reader_id.sequence
    with world.central.database.write() as connection:
        connection.execute(
            update(pending_credits)
            .where(pending_credits.c.card_uid == card.uid, pending_credits.c.sequence == sequence)
            .values(seen_at=ledger.clock[0], seen_counter=card.counter)
        )
    world.clerks("Ani")
    settle_credit(world.central, card.uid, sequence, reason="dilihat di kartu", settled_by="Ani")


def auditor_keys(ring: KeyRing = RING) -> Keys:
    """All that an auditor may be given of these keys."""
    masters = ring.masters[CardKey.TRANSACTION_MAC]
    return Keys(MacKeys(masters), ring.public_key(SERVER_KEY), ring.public_key(CARD_ISSUER_KEY))


Expected = tuple[str, str, int | None]
"""A finding: rule, row, amount."""


def found_in(done: Audit) -> set[Expected]:
    return {(one.rule, one.row, one.amount_rupiah) for one in done.findings}
