"""The code of a pairing: the same at both ends, or seen to differ; and answers that fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dobmi.cardlib.custody import KeyRing
from dobmi.cardlib.errors import NotSealedForUs
from dobmi.cardlib.purse_layout import CardKey
from dobmi.sync.errors import MalformedMessage, WrongSignature
from dobmi.sync.pairing import (
    ALPHABET,
    CODE_LENGTH,
    REPLY_LENGTH,
    PairingState,
    commit,
    encode_pairing_answer,
    encode_pairing_offer,
    pairing_code,
    parse_code,
    sealing_info,
    verify_pairing_answer,
    verify_pairing_offer,
)
from support.pairings import (
    NONCE,
    OFFER,
    REQUEST,
    REQUEST_BYTES,
    SEALED,
    SEALING_KEY,
    SERVER,
    SERVER_NONCE,
    SERVER_PUBLIC,
    TILL,
    TILL_PUBLIC,
    answer,
)

DOCUMENTED = ("WR3W-CWRY", "0443")
KEYS = st.binary(min_size=32, max_size=32)


class TestCode:
    def test_the_documented_code_of_the_documented_messages(self) -> None:
        """docs/formats/pairing.md tells it."""
        found = pairing_code(REQUEST, SERVER_PUBLIC, SERVER_NONCE, NONCE)
        assert (str(found), found.reply) == DOCUMENTED

    @given(KEYS, KEYS, KEYS, KEYS)
    def test_it_is_eight_letters_and_four_digits_whatever_was_said(
        self, public_key: bytes, server: bytes, theirs: bytes, ours: bytes
    ) -> None:
        found = pairing_code(replace(REQUEST, public_key=public_key), server, theirs, ours)
        assert len(found.code) == CODE_LENGTH
        assert set(found.code) <= set(ALPHABET)
        assert len(found.reply) == REPLY_LENGTH
        assert found.reply.isdecimal()
        assert parse_code(f" {str(found).lower()} ") == found.code

    @pytest.mark.parametrize(
        "said",
        [
            (replace(REQUEST, public_key=bytes(32)), SERVER_PUBLIC, SERVER_NONCE, NONCE),
            (replace(REQUEST, sealing_key=bytes(32)), SERVER_PUBLIC, SERVER_NONCE, NONCE),
            (replace(REQUEST, name="Kasir 2"), SERVER_PUBLIC, SERVER_NONCE, NONCE),
            (replace(REQUEST, commitment=bytes(32)), SERVER_PUBLIC, SERVER_NONCE, NONCE),
            (REQUEST, TILL_PUBLIC, SERVER_NONCE, NONCE),
            (REQUEST, SERVER_PUBLIC, NONCE, NONCE),
            (REQUEST, SERVER_PUBLIC, SERVER_NONCE, SERVER_NONCE),
        ],
    )
    def test_whoever_changes_anything_in_between_changes_the_code(self, said: Any) -> None:
        ours = pairing_code(REQUEST, SERVER_PUBLIC, SERVER_NONCE, NONCE)
        theirs = pairing_code(*said)
        assert ours.code != theirs.code
        assert ours.reply != theirs.reply

    def test_no_two_signs_of_it_are_taken_for_each_other(self) -> None:
        assert len(set(ALPHABET)) == len(ALPHABET) == 25
        for alike in ("0O", "1IL", "2Z", "5S", "8B", "UV"):
            assert len(set(alike) & set(ALPHABET)) <= 1

    @pytest.mark.parametrize("typed", ["", "ACDE-FGH", "ACDE-FGHJK", "ACDE-FGH0", "ACDE-FGHé"])
    def test_what_cannot_be_a_code_is_refused(self, typed: str) -> None:
        with pytest.raises(MalformedMessage):
            parse_code(typed)

    def test_the_commitment_binds_to_the_nonce(self) -> None:
        assert commit(NONCE) != commit(SERVER_NONCE)
        assert NONCE not in commit(NONCE)


class TestAnswers:
    def test_an_offer_for_another_request_is_refused(self) -> None:
        offer = encode_pairing_offer(replace(OFFER, request_id=bytes(32)), SERVER.sign)
        with pytest.raises(WrongSignature):
            verify_pairing_offer(offer, REQUEST_BYTES)

    def test_an_answer_by_another_key_than_the_offers_is_refused(self) -> None:
        stranger = encode_pairing_answer(answer(PairingState.REFUSED), TILL_PUBLIC, TILL.sign)
        with pytest.raises(WrongSignature):
            verify_pairing_answer(stranger, OFFER)

    def test_an_answer_to_another_pairing_is_refused(self) -> None:
        other = replace(answer(PairingState.WAITING), request_id=bytes(32))
        with pytest.raises(WrongSignature):
            verify_pairing_answer(encode_pairing_answer(other, SERVER_PUBLIC, SERVER.sign), OFFER)

    @pytest.mark.parametrize(
        "wrong",
        [
            replace(answer(PairingState.APPROVED, b"x"), enrolment=b""),
            replace(answer(PairingState.APPROVED, b"x"), sealed_keys=b""),
            replace(answer(PairingState.WAITING), enrolment=b"x", sealed_keys=b"y"),
        ],
    )
    def test_a_state_that_does_not_fit_what_comes_with_it_is_refused(self, wrong: Any) -> None:
        with pytest.raises(MalformedMessage):
            verify_pairing_answer(encode_pairing_answer(wrong, SERVER_PUBLIC, SERVER.sign), OFFER)

    def test_the_documented_keys_are_opened_with_the_documented_key_for_this_pairing_alone(
        self,
    ) -> None:
        ring = KeyRing(sealing={"terminal": SEALING_KEY})
        opened = ring.unseal_masters("terminal", SEALED, sealing_info(OFFER.request_id))
        assert opened.masters == {
            CardKey.DEBIT: {1: bytes(16)},
            CardKey.PIN: {1: bytes(range(16))},
        }
        with pytest.raises(NotSealedForUs):
            ring.unseal_masters("terminal", SEALED, sealing_info(bytes(32)))
