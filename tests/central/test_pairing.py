"""Tills that are taken in by a short code: the office's side, and whoever gets in between."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select, update
from starlette.testclient import TestClient

from dobmi.cardlib.purse_layout import CardKey
from dobmi.central.app import create_app
from dobmi.central.errors import (
    BadParameters,
    KeyAlreadyEnrolled,
    PairingDecided,
    PairingExpired,
    UnknownPairingCode,
)
from dobmi.central.pairing import (
    FETCH_SECONDS,
    PAIRING_SECONDS,
    PAIRINGS_OPEN_MAX,
    TILL_MASTERS,
    answer_pairing,
    approve_pairing,
    refuse_pairing,
    waiting_pairings,
)
from dobmi.central.schema import PairingDecision, Role, TerminalStatus, pairings
from dobmi.central.terminals import list_terminals, set_terminal_status
from dobmi.sync.enrolment import verify_enrolment_by
from dobmi.sync.errors import MalformedMessage
from dobmi.sync.pairing import (
    PairingOpening,
    PairingState,
    encode_pairing_opening,
    encode_pairing_request,
    pairing_code,
    sealing_info,
    verify_pairing_answer,
)
from support.asking_till import Till
from support.central_client import Office
from support.purses import ring_in
from support.traffic import START, World


@pytest.fixture
def clock() -> list[int]:
    return [START]


@pytest.fixture
def till(world: World, clock: list[int]) -> Iterator[Till]:
    world.central = replace(world.central, unix_seconds=lambda: clock[0])
    with TestClient(create_app(world.central)) as client:
        yield Till(Office(world, client))


def approve(till: Till, **changes: str) -> Any:
    values: dict[str, Any] = {"seller": "Toko Cikupa", "approved_by": "Ani", **changes}
    return approve_pairing(till.office.world.central, str(till.code), **values)


class TestApproval:
    def test_an_approved_till_gets_what_an_invitation_gives_and_its_card_keys(
        self, till: Till
    ) -> None:
        central = till.office.world.central
        till.waiting()
        approved = approve(till)
        assert approved.reply == till.code.reply
        told = till.told()
        assert told.state is PairingState.APPROVED
        enrolment = verify_enrolment_by(
            told.enrolment, till.offer.server_public_key, till.request.public_key
        )
        assert (enrolment.terminal_id, enrolment.seller) == (approved.terminal_id, "Toko Cikupa")
        assert enrolment.card_issuer_public_key == central.card_issuer_public_key
        known = {one.id: one for one in list_terminals(central)}[approved.terminal_id]
        assert (known.name, known.role, known.status) == (
            "Kasir 1",
            Role.TILL,
            TerminalStatus.ACTIVE,
        )
        info = sealing_info(till.offer.request_id)
        masters = till.keys.unseal_masters("terminal", told.sealed_keys, info).masters
        assert masters == {key: ring_in(central.keys).masters[key] for key in TILL_MASTERS}

    def test_a_till_is_given_no_key_that_makes_money(self) -> None:
        assert set(TILL_MASTERS) == {CardKey.DEBIT, CardKey.PIN}

    def test_the_office_may_name_the_till_itself_and_is_told_of_a_new_seller(
        self, till: Till
    ) -> None:
        till.waiting()
        approved = approve(till, name="Kasir depan", seller="Toko Baru")
        assert (approved.name, approved.seller, approved.seller_is_new) == (
            "Kasir depan",
            "Toko Baru",
            True,
        )
        second = Till(till.office, 2).waiting()
        assert not approve(second, seller="Toko Baru").seller_is_new

    def test_approving_again_says_the_same_and_takes_in_nobody_else(self, till: Till) -> None:
        till.waiting()
        first = approve(till)
        assert replace(approve(till), seller_is_new=first.seller_is_new) == first
        assert [one.name for one in list_terminals(till.office.world.central)] == ["Kasir 1"]

    def test_the_list_shows_who_waits_and_nobody_who_was_decided(self, till: Till) -> None:
        central = till.office.world.central
        second, third = Till(till.office, 2), Till(till.office, 3)
        for one in (till, second, third):
            one.waiting()
        fourth = Till(till.office, 4)
        fourth.ask()  # it has not opened its commitment: there is no code yet
        approve(till)
        refuse_pairing(central, str(second.code), refused_by="Ani")
        assert [(one.code, one.name) for one in waiting_pairings(central)] == [
            (third.code.code, "Kasir 3")
        ]

    def test_a_refused_till_is_told_so_and_can_be_approved_no_more(self, till: Till) -> None:
        till.waiting()
        refuse_pairing(till.office.world.central, str(till.code))
        refuse_pairing(till.office.world.central, str(till.code))
        assert till.told().state is PairingState.REFUSED
        with pytest.raises(PairingDecided):
            approve(till)

    def test_an_approved_till_is_refused_no_more(self, till: Till) -> None:
        till.waiting()
        approve(till)
        with pytest.raises(PairingDecided):
            refuse_pairing(till.office.world.central, str(till.code))

    def test_a_key_that_is_a_terminals_already_is_not_taken_in_again(self, till: Till) -> None:
        till.waiting()
        approve(till)
        again = Till(till.office, 9)
        again.keys = till.keys
        again.request = replace(
            again.request,
            public_key=till.request.public_key,
            sealing_key=till.request.sealing_key,
        )
        again.sent = encode_pairing_request(again.request, again.sign)
        again.waiting()
        with pytest.raises(KeyAlreadyEnrolled):
            approve(again)

    def test_a_seller_or_name_that_no_voucher_could_carry_is_refused(self, till: Till) -> None:
        till.waiting()
        for wrong in ({"seller": ""}, {"seller": "x" * 81}, {"name": "a\nb"}):
            with pytest.raises(BadParameters):
                approve(till, **wrong)

    def test_keys_of_a_later_generation_come_too(self, till: Till) -> None:
        till.waiting()
        approve(till)
        world = till.office.world
        world.central = replace(world.central, keys=ring_in(world.central.keys).renewed())
        opening = PairingOpening(request_id=till.offer.request_id, nonce=till.nonce)
        body = encode_pairing_opening(opening, till.request.public_key, till.sign)
        told = verify_pairing_answer(answer_pairing(world.central, body), till.offer)
        info = sealing_info(till.offer.request_id)
        masters = till.keys.unseal_masters("terminal", told.sealed_keys, info).masters
        assert max(masters[CardKey.DEBIT]) == max(
            ring_in(world.central.keys).masters[CardKey.DEBIT]
        )


class TestInBetween:
    def test_a_code_that_nobody_here_shows_is_refused(self, till: Till) -> None:
        """As when somebody in between had the till see another server's key."""
        till.waiting()
        elsewhere = pairing_code(
            till.request, Till(till.office).request.public_key, till.offer.nonce, till.nonce
        )
        with pytest.raises(UnknownPairingCode):
            approve_pairing(till.office.world.central, str(elsewhere), seller="Toko Cikupa")

    def test_what_is_no_code_is_refused(self, till: Till) -> None:
        with pytest.raises(MalformedMessage):
            approve_pairing(till.office.world.central, "12", seller="Toko Cikupa")

    def test_the_code_cannot_be_known_before_the_servers_nonce_is(self, till: Till) -> None:
        """The till's nonce is fixed first: another is refused, so nobody can search for a code."""
        till.ask()
        assert till.refused(till.open(bytes(32))) == (401, "CENTRAL-PAIRING-OPENING")
        assert till.told().state is PairingState.WAITING

    def test_an_opening_by_another_key_is_refused(self, till: Till) -> None:
        till.waiting()
        stranger = Till(till.office, 2)
        opening = PairingOpening(request_id=till.offer.request_id, nonce=till.nonce)
        body = encode_pairing_opening(opening, stranger.request.public_key, stranger.sign)
        answer = till.post("/v1/pairings/answer", body)
        assert till.refused(answer) == (401, "SYNC-SIGNATURE")

    def test_the_same_request_again_is_the_same_pairing(self, till: Till) -> None:
        till.waiting()
        nonce, code = till.offer.nonce, till.code
        till.ask()
        assert (till.offer.nonce, till.code) == (nonce, code)
        assert len(waiting_pairings(till.office.world.central)) == 1

    def test_a_pairing_that_was_never_asked_for_is_unknown(self, till: Till) -> None:
        till.ask()
        till.offer = replace(till.offer, request_id=bytes(32))
        assert till.refused(till.open()) == (404, "CENTRAL-PAIRING-UNKNOWN")

    def test_a_request_without_a_name_is_refused(self, till: Till) -> None:
        till.sent = encode_pairing_request(replace(till.request, name=" "), till.sign)
        assert till.refused(till.ask()) == (422, "CENTRAL-PARAMETERS")

    def test_only_a_few_may_wait_at_once(self, till: Till, clock: list[int]) -> None:
        for number in range(PAIRINGS_OPEN_MAX):
            assert Till(till.office, number).ask().status_code == 201
        assert till.refused(till.ask()) == (403, "CENTRAL-PAIRINGS-MANY")
        clock[0] += PAIRING_SECONDS + 1
        assert till.ask().status_code == 201


class TestTime:
    def test_a_code_is_good_for_a_quarter_of_an_hour(self, till: Till, clock: list[int]) -> None:
        till.waiting()
        clock[0] += PAIRING_SECONDS + 1
        with pytest.raises(PairingExpired):
            approve(till)
        assert till.refused(till.open()) == (403, "CENTRAL-PAIRING-EXPIRED")
        assert waiting_pairings(till.office.world.central) == []

    def test_what_was_approved_can_be_fetched_for_a_day(self, till: Till, clock: list[int]) -> None:
        till.waiting()
        approve(till)
        clock[0] += FETCH_SECONDS
        assert till.told().state is PairingState.APPROVED
        clock[0] += 1
        assert till.refused(till.open()) == (403, "CENTRAL-PAIRING-EXPIRED")

    def test_a_blocked_till_gets_no_keys_any_more(self, till: Till) -> None:
        till.waiting()
        approved = approve(till)
        set_terminal_status(till.office.world.central, approved.terminal_id, TerminalStatus.BLOCKED)
        assert till.refused(till.open()) == (403, "CENTRAL-TERMINAL-BLOCKED")

    def test_what_was_never_approved_is_forgotten_a_day_later(
        self, till: Till, clock: list[int]
    ) -> None:
        central = till.office.world.central
        approved, left = Till(till.office, 2).waiting(), Till(till.office, 3).waiting()
        approve(approved)
        clock[0] += PAIRING_SECONDS + 24 * 3600 + 1
        till.waiting()
        with central.database.read() as connection:
            kept = set(connection.execute(select(pairings.c.request_id)).scalars())
        assert kept == {approved.offer.request_id, till.offer.request_id}
        assert left.refused(left.open()) == (404, "CENTRAL-PAIRING-UNKNOWN")


def test_the_database_holds_no_key_that_was_sent(till: Till) -> None:
    central = till.office.world.central
    till.waiting()
    approve(till)
    assert till.told().state is PairingState.APPROVED
    with central.database.read() as connection:
        kept = repr([tuple(row) for row in connection.execute(select(pairings))])
    for key in TILL_MASTERS:
        for master in ring_in(central.keys).masters[key].values():
            assert repr(master) not in kept
    assert "Ani" in kept


def test_a_decision_without_a_terminal_is_no_decision(till: Till) -> None:
    till.waiting()
    central = till.office.world.central
    with pytest.raises(Exception, match="approved_taken_in"), central.database.write() as made:
        made.execute(update(pairings).values(decision=PairingDecision.APPROVED.value, decided_at=1))
