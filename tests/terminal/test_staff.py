"""Logging in: by PIN, with attempts that a restart does not give back, by card, and as supervisor."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dobmi.sync.outlet import PinVerifier, StaffMember, make_pin_verifier
from dobmi.terminal import staff
from dobmi.terminal.errors import (
    LoginNeeded,
    NoPin,
    NoSuchStaff,
    NotASupervisor,
    NotOfStaff,
    PinLocked,
    WrongPin,
)
from dobmi.terminal.ledger import Ledger
from dobmi.terminal.staff import (
    LOCK_MINUTES,
    WRONG_PINS_MAX,
    Cashier,
    cashier_of,
    has_staff,
    log_in_by_card,
    log_in_by_pin,
    require_supervisor,
    staff_members,
    unlisted_cashier,
)
from support.outlets import ANI, BUDI, SITI, staffed
from support.tills import NOW, Bench

RIGHT, WRONG = "246810", "246811"


def quick_verifier(pin: str) -> PinVerifier:
    """Stands for a scrypt hash, which `quick_match` then compares at once."""
    return PinVerifier(bytes(16), pin.encode().ljust(32))


def quick_match(pin: str, verifier: PinVerifier) -> bool:
    return verifier == quick_verifier(pin)


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    monkeypatch.setattr(staff, "pin_matches", quick_match)
    bench = Bench(tmp_path).enrol()
    bench.feed(outlet=staffed(replace(SITI, pin=quick_verifier(RIGHT)), BUDI, ANI))
    opened = Ledger(bench.database)
    yield opened
    opened.close()


def wrong(ledger: Ledger, times: int, now: int = NOW) -> PinLocked | None:
    """So many wrong PINs of Siti's; the lock that the last one met or made."""
    locked: PinLocked | None = None
    for _ in range(times):
        try:
            log_in_by_pin(ledger, SITI.number, WRONG, now)
        except WrongPin:
            locked = None
        except PinLocked as error:
            locked = error
    return locked


def test_a_real_pin_opens_the_till(tmp_path: Path) -> None:
    """With the hash as it is in the feed: the others take a quicker one."""
    bench = Bench(tmp_path).enrol()
    bench.feed(outlet=staffed(replace(SITI, pin=make_pin_verifier(RIGHT))))
    ledger = Ledger(bench.database)
    with pytest.raises(WrongPin):
        log_in_by_pin(ledger, SITI.number, WRONG, NOW)
    assert log_in_by_pin(ledger, SITI.number, RIGHT, NOW).name == SITI.name
    ledger.close()


def test_the_right_pin_is_its_owner_and_forgets_the_wrong_ones(ledger: Ledger) -> None:
    wrong(ledger, WRONG_PINS_MAX - 1)
    assert log_in_by_pin(ledger, SITI.number, RIGHT, NOW).number == SITI.number
    assert wrong(ledger, WRONG_PINS_MAX - 1) is None


def test_each_wrong_pin_says_how_many_are_left(ledger: Ledger) -> None:
    for left in (4, 3, 2, 1):
        with pytest.raises(WrongPin, match=str(left)):
            log_in_by_pin(ledger, SITI.number, WRONG, NOW)
    with pytest.raises(PinLocked, match=SITI.name):
        log_in_by_pin(ledger, SITI.number, WRONG, NOW)


def test_a_lock_holds_against_the_right_pin_and_grows(ledger: Ledger) -> None:
    now = NOW
    for minutes in (*LOCK_MINUTES, LOCK_MINUTES[-1]):
        locked = wrong(ledger, WRONG_PINS_MAX, now)
        assert locked is not None
        assert locked.facts["until_unix_seconds"] == now + 60 * minutes
        with pytest.raises(PinLocked):
            log_in_by_pin(ledger, SITI.number, RIGHT, now + 60 * minutes - 1)
        now += 60 * minutes
    assert log_in_by_pin(ledger, SITI.number, RIGHT, now) is not None
    locked = wrong(ledger, WRONG_PINS_MAX, now)
    assert locked is not None
    assert locked.facts["until_unix_seconds"] == now + 60 * LOCK_MINUTES[0]


def test_a_lock_is_of_one_person(ledger: Ledger) -> None:
    wrong(ledger, WRONG_PINS_MAX)
    assert log_in_by_card(ledger, 4720).name == ANI.name
    assert log_in_by_card(ledger, 4711).name == SITI.name, "her card is not her PIN"


def test_a_new_list_does_not_lift_a_lock(ledger: Ledger) -> None:
    wrong(ledger, WRONG_PINS_MAX)
    bench = Bench(ledger.path.parent)
    bench.feed(outlet=staffed(replace(SITI, pin=quick_verifier(RIGHT)), version=2))
    with pytest.raises(PinLocked):
        log_in_by_pin(ledger, SITI.number, RIGHT, NOW)


def test_the_attempt_is_on_disk_before_the_pin_is_looked_at(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pulled(*_: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(staff, "pin_matches", pulled)
        for _ in range(WRONG_PINS_MAX):
            with pytest.raises(KeyboardInterrupt):
                log_in_by_pin(ledger, SITI.number, RIGHT, NOW)
    with pytest.raises(PinLocked):
        log_in_by_pin(ledger, SITI.number, RIGHT, NOW)


def test_a_supervisor_who_sets_the_clock_back_lifts_the_locks(ledger: Ledger) -> None:
    """A lock of a time to come would hold for ever."""
    wrong(ledger, WRONG_PINS_MAX, NOW + 10_000_000)
    ledger.record_clock_reset("Ani", "jam salah", NOW)
    assert log_in_by_pin(ledger, SITI.number, RIGHT, NOW) is not None


def test_who_is_not_on_the_list_does_not_log_in(ledger: Ledger) -> None:
    with pytest.raises(NoSuchStaff, match="99"):
        log_in_by_pin(ledger, 99, RIGHT, NOW)
    with pytest.raises(NoPin, match="Budi"):
        log_in_by_pin(ledger, BUDI.number, RIGHT, NOW)
    with pytest.raises(NotOfStaff):
        log_in_by_card(ledger, 1)


def test_a_supervisor_is_a_cashier_too_and_not_the_other_way_round(ledger: Ledger) -> None:
    assert require_supervisor(log_in_by_card(ledger, 4720)) == ANI
    with pytest.raises(NotASupervisor, match=SITI.name):
        require_supervisor(log_in_by_card(ledger, 4711))
    assert cashier_of(ANI) == Cashier(ANI.name, ANI.number)


def test_while_nobody_is_listed_the_cashier_of_the_settings_works(tmp_path: Path) -> None:
    bench = Bench(tmp_path).enrol()
    ledger = Ledger(bench.database)
    assert not has_staff(ledger)
    assert unlisted_cashier(ledger, "Siti") == Cashier("Siti")
    bench.feed(outlet=staffed(BUDI))
    with pytest.raises(LoginNeeded):
        unlisted_cashier(ledger, "Siti")
    bench.feed(outlet=staffed(version=2))
    assert unlisted_cashier(ledger, "Siti") == Cashier("Siti")
    ledger.close()


def test_the_list_of_a_feed_is_the_whole_list(ledger: Ledger) -> None:
    assert [one.number for one in staff_members(ledger)] == [11, 12, 20]
    Bench(ledger.path.parent).feed(outlet=staffed(ANI, version=2))
    assert staff_members(ledger) == (ANI,)


class PinMachine(RuleBasedStateMachine):
    """Against a plain model of the rule, with restarts and time going on."""

    @initialize()
    def begin(self) -> None:
        self.bench = Bench(Path(tempfile.mkdtemp())).enrol()
        siti = replace(SITI, pin=quick_verifier(RIGHT))
        self.bench.feed(outlet=staffed(siti))
        self.ledger = Ledger(self.bench.database)
        self.now = NOW
        self.tried = self.locks = 0
        self.until = 0

    @rule(pin=st.sampled_from([RIGHT, WRONG, WRONG, WRONG]))
    def try_pin(self, pin: str) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(staff, "pin_matches", quick_match)
            got: StaffMember | PinLocked | WrongPin
            try:
                got = log_in_by_pin(self.ledger, SITI.number, pin, self.now)
            except (PinLocked, WrongPin) as error:
                got = error
        if self.now < self.until:
            assert isinstance(got, PinLocked)
        elif pin == RIGHT:
            assert isinstance(got, StaffMember)
            self.tried = self.locks = self.until = 0
        else:
            self.tried += 1
            if self.tried == WRONG_PINS_MAX:
                assert isinstance(got, PinLocked)
                self.until = self.now + 60 * LOCK_MINUTES[min(self.locks, len(LOCK_MINUTES) - 1)]
                self.tried, self.locks = 0, self.locks + 1
            else:
                assert isinstance(got, WrongPin)
                assert got.facts["left"] == WRONG_PINS_MAX - self.tried

    @rule(minutes=st.sampled_from([1, 5, 15, 61]))
    def wait(self, minutes: int) -> None:
        self.now += 60 * minutes

    @rule()
    def restart(self) -> None:
        self.ledger.close()
        self.ledger = Ledger(self.bench.database)

    @invariant()
    def somebody_is_listed(self) -> None:
        assert not hasattr(self, "ledger") or has_staff(self.ledger)

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.ledger.close()


TestPinMachine = PinMachine.TestCase
TestPinMachine.settings = settings(max_examples=10, stateful_step_count=20, deadline=None)
