"""The flows that are torn: what leads up to each, how it goes, and what people do after a tear."""

from __future__ import annotations

import random
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from typing import Protocol

from dobmi.cardlib.custody import KeyRing
from dobmi.cardlib.purse_layout import CardKey
from dobmi.central.cards import statement_of
from dobmi.central.errors import UnknownCard
from dobmi.central.schema import CardState
from dobmi.errors import DoBMIError, MoneyMoved
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.fleet.events import STATION
from dobmi.fleet.tear_scene import SECOND_STATION, Scene
from dobmi.fleet.template import START_BALANCE, fleet_keys
from dobmi.fleet.truth import memory_of
from dobmi.money import Rupiah
from dobmi.sync.relay import Action
from dobmi.terminal.errors import SaleInDoubt
from dobmi.terminal.sale import SaleResult
from dobmi.terminal.till import BalanceResult

PRICE = Rupiah(12_500)
OTHER_PRICE = Rupiah(7_000)
TOP_UP = Rupiah(50_000)
SITI, DEWI = 0, 3
BLANK, SECOND_BLANK = 3, 4


class Next(StrEnum):
    """Where the card comes next."""

    SAME = "same"
    OTHER = "other"
    NEVER = "never"


class Then(StrEnum):
    """What it is tapped for there."""

    AGAIN = "again"
    OTHER_AMOUNT = "other-amount"
    BALANCE = "balance"


class Flow(Protocol):
    thens: Mapping[Next, tuple[Then, ...]]

    def lead_up(self, scene: Scene) -> None:
        """Before the first frame."""

    def go(self, scene: Scene) -> DoBMIError | None:
        """All taps of it; the error that ended it."""

    def restart(self, scene: Scene) -> None:
        """The machines that took part die."""

    def after(
        self, scene: Scene, where: Next, then: Then, error: DoBMIError, *, restarted: bool
    ) -> None:
        """What people do next, as the error told them."""

    def finally_used(self, scene: Scene) -> None:
        """The card comes after all."""


_ONCE: Mapping[Next, tuple[Then, ...]] = dict.fromkeys(Next, (Then.AGAIN,))


class Sale:
    """At the first till; the second is the other one, the third where the card comes at last."""

    thens: Mapping[Next, tuple[Then, ...]] = {
        Next.SAME: tuple(Then),
        Next.OTHER: tuple(Then),
        Next.NEVER: (Then.AGAIN,),
    }

    def lead_up(self, scene: Scene) -> None:
        """Nothing: the card has money on it."""

    def go(self, scene: Scene) -> DoBMIError | None:
        return _error(scene.sell(scene.world.tills[0], scene.world.cards[SITI], PRICE))

    def restart(self, scene: Scene) -> None:
        scene.restart_machines(scene.world.tills[0])

    def after(
        self, scene: Scene, where: Next, then: Then, error: DoBMIError, *, restarted: bool
    ) -> None:
        world, card = scene.world, scene.world.cards[SITI]
        wanted = [PRICE] if scene.has_moved else []
        if where is not Next.SAME:
            scene.give_up(world.tills[0])
        if where is not Next.NEVER:
            process = world.tills[0 if where is Next.SAME else 1]
            is_found = where is Next.SAME and scene.has_moved
            if then is Then.BALANCE:
                _asks_balance(scene, card, where)
            else:
                amount = PRICE if then is Then.AGAIN else OTHER_PRICE
                in_doubt = isinstance(error, SaleInDoubt) and not restarted
                is_same = where is Next.SAME and then is Then.AGAIN
                again = card.serial if is_same and in_doubt else None
                found = scene.sell(process, card, amount, only_card=again)
                scene.must(isinstance(found, SaleResult), f"the next sale failed: {found}")
                assert isinstance(found, SaleResult)
                is_found = is_found and then is Then.AGAIN
                scene.must(found.already_paid == is_found, f"already paid: {found.already_paid}")
                wanted += [] if is_found else [amount]
        paid = scene.sold(card)
        scene.must(paid == wanted, f"the card paid {list(map(str, paid))}, not {wanted}")
        scene.sync(*((0,) if where is not Next.OTHER else (0, 1)))

    def finally_used(self, scene: Scene) -> None:
        _used_at_third_till(scene, scene.world.cards[SITI])
        scene.sync(0)


class Credit:
    """Relayed by the first till, and what was ordered at the office."""

    thens = _ONCE

    def lead_up(self, scene: Scene) -> None:
        scene.order(scene.world.cards[SITI], TOP_UP)

    def holds(self) -> Rupiah:
        return START_BALANCE + TOP_UP

    def go(self, scene: Scene) -> DoBMIError | None:
        return _error(scene.relay(0, scene.world.cards[SITI], Action.CREDIT))

    def restart(self, scene: Scene) -> None:
        scene.restart_machines(scene.world.tills[0])

    def after(
        self,
        scene: Scene,
        where: Next,
        then: Then,  # noqa: ARG002 - there is one thing to do
        error: DoBMIError,  # noqa: ARG002 - which is the same whatever it said
        *,
        restarted: bool,  # noqa: ARG002 - and to whom
    ) -> None:
        if where is not Next.NEVER:
            self._delivered(scene, 0 if where is Next.SAME else 1)

    def finally_used(self, scene: Scene) -> None:
        self._delivered(scene, STATION)
        _used_at_third_till(scene, scene.world.cards[SITI])

    def _delivered(self, scene: Scene, at: int) -> None:
        card = scene.world.cards[SITI]
        answer = scene.relay(at, card, Action.CREDIT)
        scene.must(not isinstance(answer, DoBMIError), f"the credit did not come: {answer}")
        _holds(scene, card, self.holds())


class Refund(Credit):
    """A refund is the till's voucher; its tear is that of the credit that comes of it."""

    def lead_up(self, scene: Scene) -> None:
        world = scene.world
        sold = scene.sell(world.tills[0], world.cards[SITI], PRICE)
        assert isinstance(sold, SaleResult)
        world.at_till(
            world.tills[0],
            "a refund",
            lambda till: till.refund(sold.sequence, OTHER_PRICE, reason="salah hitung"),
        )
        scene.sync(0)

    def holds(self) -> Rupiah:
        return START_BALANCE - PRICE + OTHER_PRICE


class Issue:
    """A blank card for a new member, at the first station; the other one is the second station."""

    thens = _ONCE
    member = DEWI

    def lead_up(self, scene: Scene) -> None:
        """Nothing: the card is blank."""

    def go(self, scene: Scene) -> DoBMIError | None:
        return _error(scene.issue(STATION, scene.world.cards[BLANK], self.member))

    def restart(self, scene: Scene) -> None:
        scene.restart_machines(None)

    def after(
        self,
        scene: Scene,
        where: Next,
        then: Then,  # noqa: ARG002 - see Credit
        error: DoBMIError,  # noqa: ARG002
        *,
        restarted: bool,  # noqa: ARG002
    ) -> None:
        cards = scene.world.cards
        if where is Next.NEVER:
            self._is_whole(scene, STATION, cards[SECOND_BLANK])
            _is_no_second_purse(scene, cards[BLANK], self.member)
        else:
            at = STATION if where is Next.SAME else SECOND_STATION
            self._is_whole(scene, at, cards[BLANK])

    def finally_used(self, scene: Scene) -> None:
        """`after` leaves nothing open."""
        scene.must(False, "issuing left something open")

    def _is_whole(self, scene: Scene, at: int, card: SimulatedCard) -> None:
        answer = scene.issue(at, card, self.member)
        scene.must(not isinstance(answer, DoBMIError), f"issuing did not go on: {answer}")
        scene.order(card, TOP_UP)
        answer = scene.relay(STATION, card, Action.CREDIT)
        scene.must(not isinstance(answer, DoBMIError), f"the purse takes no credit: {answer}")
        sold = scene.sell(scene.world.tills[0], card, PRICE)
        scene.must(isinstance(sold, SaleResult), f"the purse does not pay: {sold}")
        _holds(scene, card, TOP_UP - PRICE)
        scene.sync(0)


@cache
def renewed_keys() -> KeyRing:
    """A second generation of every master; fixed, because what they are decides nothing."""
    chance = random.Random("the second generation")  # noqa: S311 - they guard nothing
    keys = fleet_keys()
    masters = {key: {**held, 2: chance.randbytes(16)} for key, held in keys.masters.items()}
    return KeyRing(masters=masters, signing=keys.signing)


class Rekey:
    """At the first station; the other one is the second station.

    The server and the first till hold both generations, the second the old, the third the new.
    """

    thens = _ONCE

    def lead_up(self, scene: Scene) -> None:
        scene.use_keys(renewed_keys())

    def go(self, scene: Scene) -> DoBMIError | None:
        both = renewed_keys().only([CardKey.DEBIT, CardKey.PIN])
        tills = scene.world.tills
        tills[0].card_keys = both
        tills[2].card_keys = both.pinned(CardKey.DEBIT, 2).pinned(CardKey.PIN, 2)
        return _error(scene.relay(STATION, scene.world.cards[SITI], Action.REKEY))

    def restart(self, scene: Scene) -> None:
        scene.restart_machines(None)

    def after(
        self,
        scene: Scene,
        where: Next,
        then: Then,  # noqa: ARG002 - see Credit
        error: DoBMIError,  # noqa: ARG002
        *,
        restarted: bool,  # noqa: ARG002
    ) -> None:
        card = scene.world.cards[SITI]
        if where is not Next.NEVER:
            self._is_new(scene, STATION if where is Next.SAME else SECOND_STATION)
            return
        # As docs/card-layout.md has it: it works on, at the tills that its debit key says.
        scene.order(card, TOP_UP)
        answer = scene.relay(STATION, card, Action.CREDIT)
        scene.must(not isinstance(answer, DoBMIError), f"the card takes no credit: {answer}")
        both, old, new = (scene.sell(till, card, PRICE) for till in scene.world.tills)
        scene.must(isinstance(both, SaleResult), f"a till with both keys cannot sell: {both}")
        opened = [isinstance(one, SaleResult) for one in (old, new)]
        scene.must(opened.count(True) == 1, f"old and new till open the card: {opened}")
        for refused in (old, new):
            if isinstance(refused, DoBMIError):
                scene.must(refused.money_moved is MoneyMoved.NO, "a refusal says money moved")
        self._is_new(scene, STATION)

    def finally_used(self, scene: Scene) -> None:
        """`after` leaves nothing open."""
        scene.must(False, "new keys left something open")

    def _is_new(self, scene: Scene, at: int) -> None:
        world, card = scene.world, scene.world.cards[SITI]
        answer = scene.relay(at, card, Action.REKEY)
        scene.must(not isinstance(answer, DoBMIError), f"the keys are not renewed: {answer}")
        for number in (0, 2):
            sold = scene.sell(world.tills[number], card, Rupiah(1_000))
            scene.must(isinstance(sold, SaleResult), f"the new keys do not open: {sold}")
        scene.sync(*(number for number, till in enumerate(world.tills) if till.till is not None))


class Replacement:
    """A lost card's new one is issued and gets the old one's money: two taps at the station."""

    thens = _ONCE

    def lead_up(self, scene: Scene) -> None:
        world, lost = scene.world, scene.world.cards[SITI]
        scene.sell(world.tills[0], lost, PRICE)
        scene.lose(lost, "hilang")
        scene.sync(0, 1, 2)
        scene.sync(0, 1, 2)

    def go(self, scene: Scene) -> DoBMIError | None:
        card = scene.world.cards[BLANK]
        return _error(scene.issue(STATION, card, SITI)) or _error(
            scene.relay(STATION, card, Action.CREDIT)
        )

    def restart(self, scene: Scene) -> None:
        scene.restart_machines(None)

    def after(
        self,
        scene: Scene,
        where: Next,
        then: Then,  # noqa: ARG002 - see Credit
        error: DoBMIError,  # noqa: ARG002
        *,
        restarted: bool,  # noqa: ARG002
    ) -> None:
        world, card = scene.world, scene.world.cards[BLANK]
        if where is not Next.NEVER:
            self._is_whole(scene, STATION if where is Next.SAME else SECOND_STATION, card)
            return
        if _is_active(scene, card):
            # It is lost in its turn, perhaps with the money on it.
            scene.lose(card, "hilang juga")
            scene.days_pass()
            self._is_whole(scene, STATION, world.cards[SECOND_BLANK])
        else:
            self._is_whole(scene, STATION, world.cards[SECOND_BLANK])
            _is_no_second_purse(scene, card, SITI)

    def finally_used(self, scene: Scene) -> None:
        """`after` leaves nothing open."""
        scene.must(False, "a replacement left something open")

    def _is_whole(self, scene: Scene, at: int, card: SimulatedCard) -> None:
        answer = scene.issue(at, card, SITI)
        scene.must(
            not isinstance(answer, DoBMIError) or _is_active(scene, card),
            f"issuing did not go on: {answer}",
        )
        answer = scene.relay(at, card, Action.CREDIT)
        scene.must(not isinstance(answer, DoBMIError), f"the money did not come: {answer}")
        _holds(scene, card, START_BALANCE - PRICE)
        _used_at_third_till(scene, card)


def _error(outcome: object) -> DoBMIError | None:
    return outcome if isinstance(outcome, DoBMIError) else None


def _is_active(scene: Scene, card: SimulatedCard) -> bool:
    try:
        return statement_of(scene.world.office.central, card.serial).state is CardState.ACTIVE
    except UnknownCard:  # gone before it was known that it can be issued
        return False


def _holds(scene: Scene, card: SimulatedCard, wanted: Rupiah) -> None:
    balance = memory_of(card.state).balance
    scene.must(balance == wanted, f"the card holds {balance}, not {wanted}")


def _asks_balance(scene: Scene, card: SimulatedCard, where: Next) -> None:
    process = scene.world.tills[0 if where is Next.SAME else 1]
    faulty = scene.lay(process.reader, card)
    found = scene.world.at_till(process, "the balance is asked", lambda till: till.balance())
    scene.lift(process.reader, faulty)
    scene.must(isinstance(found, BalanceResult), f"no balance: {found}")
    assert isinstance(found, BalanceResult)
    _holds(scene, card, found.balance)


def _is_no_second_purse(scene: Scene, card: SimulatedCard, member: int) -> None:
    """The torn card turns up again: nobody gets anything with it."""
    moves = scene.moves
    sold = scene.sell(scene.world.tills[1], card, PRICE)
    issued = scene.issue(STATION, card, member)
    for refused in (sold, issued):
        scene.must(isinstance(refused, DoBMIError), "the torn card is a second purse")
        assert isinstance(refused, DoBMIError)
        scene.must(refused.money_moved is MoneyMoved.NO, "a refusal says that money moved")
    scene.must(scene.moves == moves, "the torn card moved money")


def _used_at_third_till(scene: Scene, card: SimulatedCard) -> None:
    scene.sync(2)
    sold = scene.sell(scene.world.tills[2], card, Rupiah(1_000))
    scene.must(isinstance(sold, SaleResult), f"the card cannot be used: {sold}")
    scene.sync(2)


FLOWS: Mapping[str, Flow] = {
    "sale": Sale(),
    "refund": Refund(),
    "credit": Credit(),
    "issue": Issue(),
    "rekey": Rekey(),
    "replacement": Replacement(),
}
