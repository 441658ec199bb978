"""A card's PIN at the central server: torn anywhere, never known to the disk, counted over all tills."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from sqlalchemy import select

from dobmi.cardlib.custody import KeyRing
from dobmi.cardlib.errors import CardRemoved, NotAPin, PinNotSet, WeakPin, WrongPin
from dobmi.cardlib.pin import Pin
from dobmi.cardlib.purse_layout import CardKey
from dobmi.central.acts import Actor, list_acts
from dobmi.central.errors import CardHasPin, CardPinLocked, CardPinUnknown
from dobmi.central.issue_session import issue_card
from dobmi.central.pin_limits import PinLimits
from dobmi.central.pin_session import change_card_pin
from dobmi.central.pins import is_pin_locked, kept_pin, locked_cards, note_till_tries
from dobmi.central.rekey_session import rekey_card
from dobmi.central.schema import PinEvent, card_pins, pin_events
from dobmi.central.server import Central
from dobmi.central.terminals import enrol
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.contactless import ContactlessCard
from dobmi.firmware_sim.faults import FaultyCard, Moment, at_frame
from dobmi.money import Rupiah
from dobmi.sync.enrolment import encode_enrol_request, verify_enrolment
from dobmi.sync.errors import MalformedMessage
from dobmi.sync.records import PinOutcome, PinRecord
from dobmi.sync.relay import PinAct, PinParameters, SecretPins
from support.pins import OTHER, PIN, WRONG, give_pin, key_3_version, pin_of
from support.purses import InProcess
from support.servers import new_central, till_invitation
from support.tills import RING

DAY = 24 * 3600
START = 1_790_000_000
ONE, OTHER_TILL = 1, 2


@dataclass
class Point:
    """A service point: the server's functions, without the wire between."""

    folder: Path
    time: int = START
    central: Central = field(init=False)
    card: SimulatedCard = field(default_factory=SimulatedCard)

    def __post_init__(self) -> None:
        self.central = new_central(self.folder, lambda: self.time)
        issue_card(self.central, InProcess(self.card), 4711, "Siti Aminah")

    def act(
        self,
        act: PinAct,
        old: Pin | None = None,
        new: Pin | None = None,
        *,
        card: ContactlessCard | None = None,
    ) -> int:
        card = card or self.card
        card.power_off()
        self.time += 1
        return change_card_pin(
            self.central,
            InProcess(card),
            PinParameters(act=act, identified_by="KTP" if act is PinAct.RESET else ""),
            SecretPins(old=old.digits if old else "", new=new.digits if new else ""),
            Actor("Ani", None),
        )

    def set(self, pin: Pin = PIN) -> None:
        self.act(PinAct.SET, new=pin)

    def till_tries(self, *at: int, terminal_id: int = ONE, in_a_row: int = 1) -> None:
        records = [
            (
                number,
                PinRecord(
                    card_uid=self.card.uid,
                    outcome=PinOutcome.WRONG,
                    in_a_row=in_a_row,
                    unix_seconds=moment,
                ),
            )
            for number, moment in enumerate(at, 1)
        ]
        with self.central.database.write() as connection:
            note_till_tries(connection, terminal_id, records, self.time)

    def is_locked(self) -> bool:
        with self.central.database.read() as connection:
            locked = is_pin_locked(connection, self.card.uid)
            assert locked_cards(connection) == ((self.card.uid,) if locked else ())
        return locked

    def events(self) -> list[str]:
        with self.central.database.read() as connection:
            rows = connection.execute(select(pin_events.c.event).order_by(pin_events.c.id))
            return list(rows.scalars())


def a_till(central: Central, name: str) -> int:
    """Its number."""
    signing = KeyRing.generate(signing=["terminal"])
    public_key = signing.public_key("terminal")
    invitation = till_invitation(central, name)
    request = encode_enrol_request(
        invitation.code, public_key, lambda message: signing.sign("terminal", message)
    )
    return verify_enrolment(enrol(central, request), invitation, public_key).terminal_id


@pytest.fixture
def point(tmp_path: Path) -> Point:
    point = Point(tmp_path)
    assert [a_till(point.central, name) for name in ("Kasir 1", "Kasir 2")] == [ONE, OTHER_TILL]
    return point


class TestSetting:
    def test_set_changed_reset_and_proved(self, point: Point) -> None:
        assert point.act(PinAct.SET, new=PIN) == 1
        assert pin_of(point.card, RING, PIN) == PIN
        point.act(PinAct.CHANGE, PIN, OTHER)
        assert pin_of(point.card, RING, OTHER) == OTHER
        point.act(PinAct.RESET, new=PIN)
        assert pin_of(point.card, RING, PIN) == PIN
        point.act(PinAct.PROVE, PIN)
        acts = list_acts(point.central.database, act="pin")
        assert [act.detail for act in acts] == ["prove", "reset: KTP", "change", "set"]
        assert {act.person for act in acts} == {"Ani"}

    def test_a_card_that_has_one_is_not_set_anew(self, point: Point) -> None:
        point.set()
        point.time += 3600
        with pytest.raises(CardHasPin):
            point.set(OTHER)
        assert pin_of(point.card, RING, PIN) == PIN

    @pytest.mark.parametrize("act", [PinAct.CHANGE, PinAct.PROVE])
    def test_a_card_that_has_none_proves_none_and_no_try_is_counted(
        self, point: Point, act: PinAct
    ) -> None:
        for _ in range(4):
            with pytest.raises(PinNotSet):
                point.act(act, PIN, OTHER if act is PinAct.CHANGE else None)

    def test_weak_and_unreadable_ones_are_refused_before_the_card_is_asked(
        self, point: Point
    ) -> None:
        for digits, error in (("123456", WeakPin), ("7391", WeakPin), ("73916", WeakPin)):
            with pytest.raises(error):
                point.act(PinAct.SET, new=Pin(digits))
        with pytest.raises(NotAPin):
            change_card_pin(
                point.central,
                InProcess(point.card),
                PinParameters(act=PinAct.SET),
                SecretPins(new="siti12"),
                Actor("", None),
            )
        assert key_3_version(point.card) == 1

    @pytest.mark.parametrize(
        ("act", "old", "new"),
        [
            (PinAct.SET, PIN, OTHER),
            (PinAct.SET, None, None),
            (PinAct.CHANGE, None, OTHER),
            (PinAct.RESET, PIN, OTHER),
            (PinAct.PROVE, PIN, OTHER),
        ],
    )
    def test_other_pins_than_the_act_asks_for_are_refused(
        self, point: Point, act: PinAct, old: Pin | None, new: Pin | None
    ) -> None:
        with pytest.raises(MalformedMessage):
            point.act(act, old, new)

    def test_pins_of_four_digits_where_the_settings_say_so(self, point: Point) -> None:
        settings = point.central.settings.model_copy(update={"pin_digits": 4})
        point.central = replace(point.central, settings=settings)
        point.set(Pin("7391"))
        assert pin_of(point.card, RING, Pin("7391")) == Pin("7391")

    def test_one_that_the_server_does_not_know_is_changed_by_who_knows_it_alone(
        self, point: Point
    ) -> None:
        give_pin(point.card, RING, PIN)
        with pytest.raises(CardPinUnknown):
            point.act(PinAct.RESET, new=OTHER)
        point.act(PinAct.CHANGE, PIN, OTHER)
        point.act(PinAct.RESET, new=PIN)
        assert pin_of(point.card, RING, PIN) == PIN


class TestTears:
    """The card leaves at each frame; then the same again."""

    @pytest.mark.parametrize("moment", Moment)
    @pytest.mark.parametrize("frame", range(7))
    def test_of_the_first_one(self, point: Point, frame: int, moment: Moment) -> None:
        torn = FaultyCard(point.card, [at_frame(frame, moment)])
        with pytest.raises(CardRemoved):
            point.act(PinAct.SET, new=PIN, card=torn)
        assert pin_of(point.card, RING, PIN) in {None, PIN}
        point.set()
        assert pin_of(point.card, RING, PIN) == PIN

    @pytest.mark.parametrize("act", [PinAct.CHANGE, PinAct.RESET])
    @pytest.mark.parametrize("moment", Moment)
    @pytest.mark.parametrize("frame", range(9))
    def test_of_a_change(self, point: Point, act: PinAct, frame: int, moment: Moment) -> None:
        point.set()
        point.time += 3600
        old = PIN if act is PinAct.CHANGE else None
        torn = FaultyCard(point.card, [at_frame(frame, moment)])
        with pytest.raises(CardRemoved):
            point.act(act, old, OTHER, card=torn)
        has = pin_of(point.card, RING, PIN, OTHER)
        assert has in {PIN, OTHER}
        point.act(act, old, OTHER)
        assert pin_of(point.card, RING, OTHER) == OTHER
        with point.central.database.read() as connection:
            kept = kept_pin(point.central, connection, point.card.uid)
        assert (kept.current, kept.pending, kept.tries) == (OTHER, None, 0)

    def test_a_change_whose_answer_was_lost_may_be_asked_again(self, point: Point) -> None:
        point.set()
        point.time += 3600
        point.act(PinAct.CHANGE, PIN, OTHER)
        point.act(PinAct.CHANGE, PIN, OTHER)
        point.time += 3600
        with pytest.raises(WrongPin):
            point.act(PinAct.CHANGE, PIN, OTHER)

    def test_torn_and_then_another_one_chosen(self, point: Point) -> None:
        point.set()
        torn = FaultyCard(point.card, [at_frame(8, Moment.AFTER)])
        with pytest.raises(CardRemoved):
            point.act(PinAct.RESET, new=OTHER, card=torn)
        third = Pin("604918")
        point.act(PinAct.RESET, new=third)
        assert pin_of(point.card, RING, third) == third

    @pytest.mark.parametrize("frame", [3, 8])
    def test_torn_and_then_the_keys_are_renewed(self, point: Point, frame: int) -> None:
        point.set()
        torn = FaultyCard(point.card, [at_frame(frame, Moment.AFTER)])
        with pytest.raises(CardRemoved):
            point.act(PinAct.RESET, new=OTHER, card=torn)
        had = pin_of(point.card, RING, PIN, OTHER)
        assert had is not None
        newer = RING.renewed()
        point.central = replace(point.central, keys=newer)
        point.card.power_off()
        assert rekey_card(point.central, InProcess(point.card)).generation == 2
        assert pin_of(point.card, newer, had) == had
        assert key_3_version(point.card) == 0x82
        only_new = replace(newer, masters={key: {2: of[2]} for key, of in newer.masters.items()})
        point.central = replace(point.central, keys=only_new)
        with point.central.database.read() as connection:
            assert kept_pin(point.central, connection, point.card.uid).current == had


class TestLocks:
    def test_three_wrong_at_service_points_leave_only_the_reset(self, point: Point) -> None:
        point.set()
        for left in (2, 1, 0):
            with pytest.raises(WrongPin) as wrong:
                point.act(PinAct.PROVE, WRONG)
            assert wrong.value.tries_left == left
        assert point.is_locked()
        with pytest.raises(CardPinLocked):
            point.act(PinAct.PROVE, PIN)
        with pytest.raises(CardPinLocked):
            point.act(PinAct.CHANGE, PIN, OTHER)
        point.act(PinAct.RESET, new=OTHER)
        assert not point.is_locked()

    def test_the_try_is_counted_before_the_card_has_answered(self, point: Point) -> None:
        point.set()
        for _ in range(3):
            torn = FaultyCard(point.card, [at_frame(3, Moment.AFTER)])
            with pytest.raises(CardRemoved):
                point.act(PinAct.PROVE, WRONG, card=torn)
        with pytest.raises(CardPinLocked):
            point.act(PinAct.PROVE, WRONG)

    def test_a_right_one_frees_what_a_till_has_locked(self, point: Point) -> None:
        point.set()
        point.till_tries(point.time + 10, in_a_row=3)
        point.time += 60
        assert point.is_locked()
        point.act(PinAct.PROVE, PIN)
        assert not point.is_locked()
        assert point.events()[-3:] == ["locked", "tried", "proved"]

    def test_six_within_a_day_over_all_tills_lock_it_for_all(self, point: Point) -> None:
        point.set()
        now = point.time
        point.till_tries(*(now + 60 * number for number in (1, 2, 3)), terminal_id=ONE)
        point.till_tries(*(now + 60 * number for number in (4, 5)), terminal_id=OTHER_TILL)
        assert not point.is_locked()
        point.till_tries(now + 60 * 6, terminal_id=OTHER_TILL)
        assert point.is_locked()

    def test_six_over_two_days_do_not(self, point: Point) -> None:
        point.set()
        now = point.time
        for number in range(6):
            point.till_tries(now + number * DAY // 3 + 60, terminal_id=ONE)
        assert not point.is_locked()

    def test_what_happened_before_the_right_one_counts_no_more_however_late_it_comes(
        self, point: Point
    ) -> None:
        point.set()
        before = point.time - 60
        point.time += 3600
        point.act(PinAct.PROVE, PIN)
        point.till_tries(before, in_a_row=3)
        assert not point.is_locked()

    def test_a_card_of_which_nothing_is_known_is_noted_and_locks_nothing(
        self, point: Point
    ) -> None:
        point.card = SimulatedCard()
        point.till_tries(point.time, in_a_row=3)
        assert not point.is_locked()
        assert point.events() == [PinEvent.WRONG]


def test_the_pin_is_on_the_server_s_disk_only_sealed(
    point: Point, caplog: pytest.LogCaptureFixture
) -> None:
    pin, other = Pin("864203"), Pin("197350")
    point.set(pin)
    with pytest.raises(WrongPin) as wrong:
        point.act(PinAct.CHANGE, other, PIN)
    point.act(PinAct.CHANGE, pin, other)
    base = RING.card_key(CardKey.PIN, point.card.uid).value
    said = f"{wrong.value!r} {wrong.value} {wrong.value.facts} {caplog.text}"
    with point.central.database.read() as connection:
        said += repr(kept_pin(point.central, connection, point.card.uid))
        said += repr(connection.execute(select(card_pins)).all())
    for pin_ in (pin, other):
        assert pin_.digits not in said
        for file in point.folder.rglob("*"):
            if file.is_file():
                content = file.read_bytes()
                assert pin_.digits.encode() not in content, file.name
                assert base not in content, file.name


def test_one_card_s_sealed_pin_is_no_other_card_s(point: Point) -> None:
    point.set()
    other = SimulatedCard()
    issue_card(point.central, InProcess(other), 4712, "Anggota 4712")
    with point.central.database.write() as connection:
        row = connection.execute(select(card_pins)).one()._asdict()
        connection.execute(card_pins.insert().values({**row, "card_uid": other.uid}))
    with point.central.database.read() as connection, pytest.raises(CardPinUnknown):
        kept_pin(point.central, connection, other.uid)


@pytest.mark.parametrize(
    ("changes", "amount", "at", "needed"),
    [
        (((0, 0),), 900_000, START, False),
        (((0, 100_000),), 100_001, START, True),
        (((0, 100_000),), 100_000, START, False),
        (((0, 0), (START, 100_000)), 100_001, START + 1, False),
        (((0, 0), (START, 100_000)), 100_001, START + 15 * DAY, True),
        (((0, 100_000), (START, 200_000)), 150_000, START + 1, False),
        (((0, 200_000), (START, 100_000)), 250_000, START + 1, True),
        (((0, 100_000), (START, 0)), 250_000, START + 15 * DAY, False),
    ],
)
def test_a_pin_was_needed_only_by_every_limit_that_the_till_may_have_had(
    changes: tuple[tuple[int, int], ...], amount: int, at: int, *, needed: bool
) -> None:
    assert PinLimits(changes, 14 * DAY).needed(Rupiah(amount), at) is needed
