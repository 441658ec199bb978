"""Cheats, each with just what its cheater has, against the real server and the real till.

Each test ends with what must be found, who is named and who pays for it; the same, as the system
itself reports it, is a line of the table in docs/threat-model.md.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Callable

import pytest

from dobmi.cardlib.purse_layout import CardKey, ReaderId
from dobmi.central.cards import set_blocked
from dobmi.central.errors import UnknownPairingCode
from dobmi.central.overdue import settle_overdue
from dobmi.central.pairing import approve_pairing
from dobmi.central.replacement import restore_due
from dobmi.central.schema import Role, TerminalStatus
from dobmi.central.terminals import invite, set_terminal_status
from dobmi.firmware_sim.faults import Moment, at_command
from dobmi.money import Rupiah
from dobmi.sync import http
from dobmi.sync.acknowledgement import (
    Acknowledgement,
    encode_acknowledgement,
    verify_acknowledgement,
)
from dobmi.sync.feed import Feed, Limits, encode_feed
from dobmi.sync.relay import Action, Start
from dobmi.sync.voucher import (
    InDoubtVoucher,
    Outcome,
    RefundVoucher,
    ResolutionVoucher,
    SaleVoucher,
    VoidReason,
    VoidVoucher,
    decode_voucher,
)
from dobmi.terminal.errors import SaleInDoubt, WrongReply
from dobmi.terminal.pairing import finish_pairing, open_identity
from support.cheating import COOPERATIVE, Scene, Stall, When
from support.false_server import THIEF, begin, serving_thief
from support.lying_till import LyingTill, RenamingTill
from support.purses import InProcess
from support.servers import MisbehavingServer, http_answer, new_central
from support.tills import QUICK, balance_of
from support.traffic import ModelTill

cheat = pytest.mark.cheat
COMMIT = 0xC7
PRICE = 5_000
KEY_OF_TILL = "the till's signing key and debit key"
DEBIT_KEY = "the debit key of a till"


# Where things are in a sale's evidence (docs/card-layout.md).
ENCRYPTED, DEBIT, RECORD = 17, 194, 224


# Vouchers that are not what happened


@cheat("A batch is sent again, as it was", "anyone who saw it on the network")
def test_a_replayed_batch_changes_nothing(scene: Scene) -> None:
    till, card = scene.till(), scene.card()
    till.sell(card, PRICE)
    batch = till.forger().batch(1)
    first = scene.upload(batch)
    assert first
    assert scene.upload(batch) == first
    assert scene.codes() == {}
    assert scene.losses() == {}


@cheat("A sale's voucher is booked a second time, under the next number", KEY_OF_TILL)
def test_a_voucher_is_booked_twice(scene: Scene) -> None:
    till, card = scene.till(), scene.card()
    till.sell(card, PRICE)
    forger = till.forger()
    forger.append(_again(forger, 0, forger))
    scene.upload(forger.batch(1))
    assert scene.codes() == {"claim-differs": When.OWN_UPLOAD}
    assert scene.named() == {"till A", "member's card", "Rp 5.000"}
    assert scene.losses() == {}


@cheat("A sale's voucher is booked by another till as its own", "two tills' keys and files")
def test_a_voucher_is_booked_by_another_till(scene: Scene) -> None:
    till, other, card = scene.till(), scene.till("B"), scene.card()
    till.sell(card, PRICE)
    forger, thief = till.forger(), other.forger()
    thief.append(_again(forger, 0, thief))
    scene.upload(thief.batch(1))
    till.sync()
    assert scene.codes() == {"claim-differs": When.OWN_UPLOAD}
    assert scene.named() == {"till B", "member's card", "Rp 5.000"}
    assert scene.losses() == {}


def _again(source: ModelTill, index: int, into: ModelTill) -> SaleVoucher:
    voucher = decode_voucher(source.vouchers[index])
    assert isinstance(voucher, SaleVoucher)
    return dataclasses.replace(voucher, link=into.link(voucher.link.unix_seconds))


@cheat("A sale is invented for a card that was never there", "the till's signing key")
def test_a_sale_is_invented(scene: Scene) -> None:
    till, card = scene.till(), scene.card()
    till.sell(card, PRICE)
    forger = till.forger()
    real = decode_voucher(forger.vouchers[0])
    assert isinstance(real, SaleVoucher)
    evidence = _renamed(real.intent.evidence, forger.next_reader_id)
    forger.append_evidence(card.uid, evidence, Rupiah(PRICE), 3, b"\x5a" * 8)
    scene.upload(forger.batch(1))
    assert scene.codes() == {"wrong-card-mac": When.OWN_UPLOAD}
    assert scene.named() == {"till A", "member's card", "Rp 5.000"}
    assert scene.losses() == {}


def _renamed(evidence: bytes, reader: ReaderId) -> bytes:
    """Evidence that says it is of the sale `reader`, in its reader id and in its log record."""
    number = reader.terminal_id.to_bytes(4, "big") + reader.sequence.to_bytes(8, "big")
    renamed = evidence[:1] + reader.encode() + evidence[ENCRYPTED : RECORD + 1]
    return renamed + number + evidence[RECORD + 13 :]


def _of_amount(evidence: bytes, balance_before: int, amount: int) -> bytes:
    """Evidence that tells of another amount, in the debit and in the log record."""
    told = amount.to_bytes(4, "big") + (balance_before - amount).to_bytes(4, "big")
    debited = evidence[:DEBIT] + amount.to_bytes(4, "little") + evidence[DEBIT + 4 :]
    return debited[: RECORD + 13] + told + debited[RECORD + 21 :]


@cheat("A sale in doubt is invented, since one needs no MAC", "the till's signing key")
def test_a_doubt_is_invented(scene: Scene) -> None:
    till, other, card = scene.till(), scene.till("B"), scene.card()
    till.sell(card, PRICE)
    forger = till.forger()
    _invent_doubt(forger, lambda evidence: evidence)
    scene.upload(forger.batch(1))
    other.sell(card, 1_000)
    other.sync(When.NEXT_SALE)
    assert scene.codes() == {"doubt not_paid": When.OWN_UPLOAD}
    assert scene.named() == {"till A", "member's card", "Rp 5.000"}
    assert scene.losses() == {}


@cheat("The same, and no card ever made its encrypted reader id", "the till's signing key")
def test_a_doubt_that_no_card_can_answer(scene: Scene) -> None:
    till, other, card = scene.till(), scene.till("B"), scene.card()
    till.sell(card, PRICE)
    forger = till.forger()
    _invent_doubt(
        forger, lambda evidence: evidence[:ENCRYPTED] + bytes(16) + evidence[ENCRYPTED + 16 :]
    )
    scene.upload(forger.batch(1))
    other.sell(card, 1_000)
    other.sync(When.NEXT_SALE)
    scene.still_open(When.NEXT_SALE)
    scene.later(days=31)
    settle_overdue(scene.central, scene.now)
    scene.look(When.RULE)
    assert scene.codes() == {
        "doubt-fits-no-transaction": When.OWN_UPLOAD,
        "doubt open": When.NEXT_SALE,
        "doubt not_paid": When.RULE,
    }
    assert scene.named() == {"till A", "member's card", "Rp 5.000"}
    assert scene.suspense() == 0
    assert scene.losses() == {}


@cheat(
    "The card is asked for its reader id but not debited; 'paid, no answer', says the till",
    KEY_OF_TILL,
)
def test_a_doubt_that_the_card_began(scene: Scene) -> None:
    till, other, card = scene.till(), scene.till("B"), scene.card()
    forger = till.forger()
    purse = scene.purse(card)
    purse.begin_sale(forger.next_reader_id)
    evidence = purse.prepare_debit(Rupiah(PRICE), scene.now).evidence
    intent = forger.intent(card.uid, evidence, Rupiah(PRICE))
    forger.append(InDoubtVoucher(link=forger.link(), intent=intent))
    forger.append(
        ResolutionVoucher(link=forger.link(), resolves=1, card_uid=card.uid, outcome=Outcome.PAID)
    )
    scene.upload(forger.batch())
    assert scene.codes() == {}
    scene.later(days=31)
    settle_overdue(scene.central, scene.now)
    scene.look(When.RULE)
    assert scene.suspense() == PRICE
    other.sync()
    other.sell(card, 1_000)
    other.sync(When.NEXT_SALE)
    assert scene.codes() == {"doubt suspended": When.RULE, "doubt not_paid": When.NEXT_SALE}
    assert scene.named() == {"till A", "member's card", "Rp 5.000"}
    assert scene.suspense() == 0
    assert scene.losses() == {}


def _invent_doubt(forger: ModelTill, change: Callable[[bytes], bytes]) -> None:
    """A doubt made out of the till's first sale, and the till's word that it was paid."""
    real = decode_voucher(forger.vouchers[0])
    assert isinstance(real, SaleVoucher)
    evidence = change(_renamed(real.intent.evidence, forger.next_reader_id))
    intent = dataclasses.replace(real.intent, evidence=evidence)
    forger.append(InDoubtVoucher(link=forger.link(), intent=intent))
    forger.append(
        ResolutionVoucher(
            link=forger.link(),
            resolves=len(forger.vouchers),
            card_uid=real.intent.card_uid,
            outcome=Outcome.PAID,
        )
    )


@cheat("The amount beside the card's evidence is made larger", KEY_OF_TILL)
def test_a_larger_amount_is_claimed(scene: Scene) -> None:
    _claim_another_amount(scene, claimed=50_000)


@cheat("The amount is made smaller, and the cashier keeps the difference", KEY_OF_TILL)
def test_a_smaller_amount_is_claimed(scene: Scene) -> None:
    _claim_another_amount(scene, claimed=1_000)


def _claim_another_amount(scene: Scene, claimed: int) -> None:
    till, other, card = scene.till(), scene.till("B"), scene.card()
    forger = till.forger()
    evidence, last = scene.debit(card, forger.next_reader_id, PRICE)
    scene.hand_over(till.owner, "member", PRICE)
    forger.append_evidence(card.uid, evidence, Rupiah(claimed), last.counter, last.mac)
    scene.upload(forger.batch())
    assert scene.codes() == {"claim-differs": When.OWN_UPLOAD}
    other.sell(card, 1_000)
    other.sync(When.NEXT_SALE)
    assert scene.codes() == {
        "claim-differs": When.OWN_UPLOAD,
        "transaction-without-voucher": When.NEXT_SALE,
    }
    assert scene.named() == {"till A", "member's card", "Rp 5.000", str(Rupiah(claimed))}
    assert scene.losses() == {till.owner: -PRICE, COOPERATIVE: PRICE}
    assert scene.suspense() == PRICE


@cheat("The amount is changed inside the evidence too, after the card's MAC", KEY_OF_TILL)
def test_the_evidence_is_changed(scene: Scene) -> None:
    till, other, card = scene.till(), scene.till("B"), scene.card()
    forger = till.forger()
    evidence, last = scene.debit(card, forger.next_reader_id, PRICE)
    scene.hand_over(till.owner, "member", PRICE)
    changed = _of_amount(evidence, 100_000, 50_000)
    forger.append_evidence(card.uid, changed, Rupiah(50_000), last.counter, last.mac)
    scene.upload(forger.batch())
    assert scene.codes() == {"wrong-card-mac": When.OWN_UPLOAD}
    other.sell(card, 1_000)
    other.sync(When.NEXT_SALE)
    assert scene.named() == {"till A", "member's card", "Rp 50.000", "Rp 5.000"}
    assert scene.losses() == {till.owner: -PRICE, COOPERATIVE: PRICE}


@cheat("A sale in doubt is reported with a larger amount, which no MAC covers", KEY_OF_TILL)
def test_a_doubt_with_a_larger_amount(scene: Scene) -> None:
    till, other, card = scene.till(), scene.till("B"), scene.card()
    forger = till.forger()
    evidence, _ = scene.debit(card, forger.next_reader_id, PRICE)
    scene.hand_over(till.owner, "member", PRICE)
    intent = forger.intent(card.uid, _of_amount(evidence, 100_000, 50_000), Rupiah(50_000))
    forger.append(InDoubtVoucher(link=forger.link(), intent=intent))
    scene.upload(forger.batch())
    other.sell(card, 1_000)
    other.sync(When.NEXT_SALE)
    assert scene.codes() == {
        "transaction-without-voucher": When.NEXT_SALE,
        "doubt disputed": When.NEXT_SALE,
    }
    assert scene.named() == {"till A", "member's card", "Rp 50.000", "Rp 5.000"}
    assert scene.losses() == {till.owner: -PRICE, COOPERATIVE: PRICE}


@cheat("Sales are booked for another seller than the registered one", KEY_OF_TILL)
def test_another_seller(scene: Scene) -> None:
    till, card = scene.till(), scene.card()
    forger = till.forger()
    evidence, last = scene.debit(card, forger.next_reader_id, PRICE)
    scene.hand_over(till.owner, "member", PRICE)
    forger.seller = "a friend"
    forger.append_evidence(card.uid, evidence, Rupiah(PRICE), last.counter, last.mac)
    scene.upload(forger.batch())
    assert scene.codes() == {"other-seller": When.OWN_UPLOAD}
    assert scene.named() == {"till A"}
    assert scene.losses() == {}


# Sales that are hidden


@cheat("The card paid and the till books the sale as void", KEY_OF_TILL)
def test_a_paid_sale_is_booked_as_void(scene: Scene) -> None:
    till, other, card = scene.till(), scene.till("B"), scene.card()
    forger = till.forger()
    scene.debit(card, forger.next_reader_id, PRICE)
    scene.hand_over(till.owner, "member", PRICE)
    forger.append(_void(forger, card.uid))
    scene.upload(forger.batch())
    assert scene.codes() == {}
    other.sell(card, 1_000)
    other.sync(When.NEXT_SALE)
    assert scene.codes() == {"transaction-without-voucher": When.NEXT_SALE}
    assert scene.named() == {"till A", "member's card", "Rp 5.000"}
    assert scene.losses() == {till.owner: -PRICE, COOPERATIVE: PRICE}
    assert scene.suspense() == PRICE


def _void(forger: ModelTill, uid: bytes) -> VoidVoucher:
    return VoidVoucher(
        link=forger.link(),
        card_uid=uid,
        amount=Rupiah(PRICE),
        reason=VoidReason.CARD_REMOVED,
    )


@cheat("The cashier says 'not paid, once more', and the card pays twice", KEY_OF_TILL)
def test_a_paid_sale_is_reported_as_not_paid(scene: Scene) -> None:
    till, other, card = scene.till(), scene.till("B"), scene.card()
    forger = till.forger()
    evidence, _ = scene.debit(card, forger.next_reader_id, PRICE)
    intent = forger.intent(card.uid, evidence, Rupiah(PRICE))
    forger.append(InDoubtVoucher(link=forger.link(), intent=intent))
    forger.append(
        ResolutionVoucher(
            link=forger.link(), resolves=1, card_uid=card.uid, outcome=Outcome.NOT_PAID
        )
    )
    again, last = scene.debit(card, forger.next_reader_id, PRICE)
    scene.hand_over(till.owner, "member", PRICE)
    forger.append_evidence(card.uid, again, Rupiah(PRICE), last.counter, last.mac)
    scene.upload(forger.batch())
    assert scene.codes() == {
        "denied-sale-was-paid": When.OWN_UPLOAD,
        "doubt paid": When.OWN_UPLOAD,
    }
    other.sell(card, 1_000)
    other.sync(When.NEXT_SALE)
    assert scene.named() == {"till A", "member's card", "Rp 5.000"}
    assert scene.losses() == {"member": -PRICE, till.owner: PRICE}


@cheat("The till keeps a sale, and all that follow, to itself", "the till")
def test_a_till_does_not_report(scene: Scene) -> None:
    till, other, card = scene.till(), scene.till("B"), scene.card()
    till.sell(card, PRICE)
    other.sell(card, 1_000)
    other.sync(When.NEXT_SALE)
    assert scene.codes() == {"unreported": When.NEXT_SALE}
    assert scene.named() == {"till A", "member's card", "Rp 5.000"}
    assert scene.losses() == {till.owner: -PRICE, COOPERATIVE: PRICE}


@cheat("A sale is hidden behind another card's sale of the same number", KEY_OF_TILL)
def test_a_sale_is_hidden_behind_another(scene: Scene) -> None:
    till, other = scene.till(), scene.till("B")
    card, friend = scene.card(), scene.card("friend")
    forger = till.forger()
    scene.debit(card, forger.next_reader_id, PRICE)
    scene.hand_over(till.owner, "member", PRICE)
    evidence, last = scene.debit(friend, forger.next_reader_id, 2_000)
    scene.hand_over(till.owner, "friend", 2_000)
    forger.append_evidence(friend.uid, evidence, Rupiah(2_000), last.counter, last.mac)
    scene.upload(forger.batch())
    assert scene.codes() == {}
    other.sell(card, 1_000)
    other.sync(When.NEXT_SALE)
    assert scene.codes() == {"transaction-without-voucher": When.NEXT_SALE}
    assert scene.named() == {"till A", "member's card", "Rp 5.000"}
    assert scene.losses() == {till.owner: -PRICE, COOPERATIVE: PRICE}


@cheat("The owner puts an older copy of the till's database back, after a sync", "the till's files")
def test_a_tills_database_is_rolled_back(scene: Scene) -> None:
    till, card, second = scene.till(), scene.card(), scene.card("second")
    other = scene.till("B")
    saved = till.database.with_suffix(".saved")
    shutil.copy(till.database, saved)
    till.sell(card, PRICE)
    till.sync()
    shutil.copy(saved, till.database)
    till.sell(second, 2_000)
    till.sync()
    assert scene.codes() == {"CENTRAL-FORK": When.OWN_UPLOAD, "forked-chain": When.OWN_UPLOAD}
    other.sell(second, 1_000)
    other.sync(When.NEXT_SALE)
    assert scene.codes()["transaction-without-voucher"] == When.NEXT_SALE
    assert scene.named() == {"till A", "second's card", "Rp 2.000"}
    assert scene.losses() == {till.owner: -2_000, COOPERATIVE: 2_000}


@cheat("The same, before a sync: the sale is gone from the till", "the till's files")
def test_a_tills_database_is_rolled_back_before_it_was_sent(scene: Scene) -> None:
    till, other = scene.till(), scene.till("B")
    card, second = scene.card(), scene.card("second")
    saved = till.database.with_suffix(".saved")
    shutil.copy(till.database, saved)
    till.sell(card, PRICE)
    shutil.copy(saved, till.database)
    till.sell(second, 2_000)
    till.sync()
    assert scene.codes() == {}
    other.sell(card, 1_000)
    other.sync(When.NEXT_SALE)
    assert scene.codes() == {"transaction-without-voucher": When.NEXT_SALE}
    assert scene.named() == {"till A", "member's card", "Rp 5.000"}
    assert scene.losses() == {till.owner: -PRICE, COOPERATIVE: PRICE}


@cheat("A copy of the till's memory card sells beside it", "the till's files and keys")
def test_a_till_is_copied(scene: Scene) -> None:
    till, card, second = scene.till(), scene.card(), scene.card("second")
    other = scene.till("B")
    copy = scene.copy_of_till(till)
    till.sell(card, PRICE)
    till.sync()
    copy.sell(second, 2_000)
    copy.sync()
    assert scene.codes() == {"CENTRAL-FORK": When.OWN_UPLOAD, "forked-chain": When.OWN_UPLOAD}
    other.sell(second, 1_000)
    other.sync(When.NEXT_SALE)
    assert scene.codes()["transaction-without-voucher"] == When.NEXT_SALE
    assert scene.named() == {"copy of till A", "till A", "second's card", "Rp 2.000"}
    assert scene.losses() == {till.owner: -2_000, COOPERATIVE: 2_000}


# Cards


@cheat(
    "Two cards with one UID and one set of keys are spent, each its whole balance",
    "a copy of a card and its keys",
)
def test_a_card_is_cloned(scene: Scene) -> None:
    till, other, card = scene.till(), scene.till("B"), scene.card(balance=60_000)
    clone = scene.copy(card, "member")
    till.sell(card, 60_000)
    other.sell(clone, 60_000)
    till.sync()
    other.sync(When.SECOND_UPLOAD)
    assert scene.codes() == {"duplicate-counter": When.SECOND_UPLOAD}
    assert scene.named() == {"till B", "member's card", "Rp 60.000"}
    assert scene.losses() == {other.owner: -60_000, "member": 60_000}


@cheat("A card is put back into an older state and spent again", "a way into the chip")
def test_a_card_is_restored(scene: Scene) -> None:
    till, other, card = scene.till(), scene.till("B"), scene.card(balance=60_000)
    older = scene.copy(card, "member")
    till.sell(card, 60_000)
    till.sync()
    restored = scene.restore(card, older)
    other.sell(restored, 40_000)
    other.sell(restored, 20_000)
    other.sync(When.SECOND_UPLOAD)
    found = set(scene.codes())
    assert {"duplicate-counter", "other-transaction-before", "balance-does-not-follow"} <= found
    assert scene.named() >= {"till B", "member's card", "Rp 40.000"}


@cheat("A restored card asks for its credit a second time", "a way into the chip")
def test_a_restored_card_is_credited_again(scene: Scene) -> None:
    card = scene.card(balance=0)
    older = scene.copy(card, "member")
    scene.order(card, 50_000, "gaji-0001")
    scene.deliver(card)
    restored = scene.restore(card, older)
    scene.order(restored, 10_000, "gaji-0002")
    scene.deliver(restored)
    assert scene.codes() == {
        "CENTRAL-CREDIT-STATE": When.NEXT_CREDIT,
        "wrong-credit-state": When.NEXT_CREDIT,
    }
    assert scene.named() == {"member's card"}
    assert scene.losses() == {"member": -50_000, COOPERATIVE: 50_000}


@cheat("A blocked card is used at a till that has not synced since", "a found or stolen card")
def test_a_blocked_card_is_used_offline(scene: Scene) -> None:
    till, card = scene.till(), scene.card()
    set_blocked(scene.central, card.uid, "lost", blocked=True, by_terminal=None)
    scene.finds(card, "thief")
    till.sell(card, PRICE)
    till.sync()
    till.try_to_sell(card, PRICE)
    assert scene.codes() == {
        "sale-with-blocked-card": When.OWN_UPLOAD,
        "SALE-CARD-BLOCKED": When.AT_ONCE,
    }
    assert scene.named() == {"till A", "member's card", "Rp 5.000"}
    assert scene.losses() == {"member": -PRICE, "thief": PRICE}


@cheat("A member pulls the card away at the commit and takes the goods", "a card")
def test_a_member_tears_the_card_away(scene: Scene) -> None:
    till, other, card = scene.till(), scene.till("B"), scene.card()
    with pytest.raises(SaleInDoubt) as shown:
        till.sell(card, PRICE, at_command(COMMIT, Moment.AFTER))
    scene.refused(shown.value, When.AT_ONCE, terminal=till.label, card=card)
    scene.hand_over(till.owner, "member", PRICE)
    till.sync()
    other.sell(card, 1_000)
    other.sync(When.NEXT_SALE)
    assert scene.codes() == {"SALE-IN-DOUBT": When.AT_ONCE, "doubt paid": When.NEXT_SALE}
    assert scene.named() == {"till A", "member's card", "Rp 5.000"}
    assert scene.losses() == {}


@cheat("The same, just before the card commits", "a card")
def test_a_member_tears_the_card_away_before_it_paid(scene: Scene) -> None:
    till, other, card = scene.till(), scene.till("B"), scene.card()
    with pytest.raises(SaleInDoubt) as shown:
        till.sell(card, PRICE, at_command(COMMIT, Moment.BEFORE))
    scene.refused(shown.value, When.AT_ONCE, terminal=till.label, card=card)
    scene.hand_over(till.owner, "member", PRICE)
    till.sync()
    other.sell(card, 1_000)
    other.sync(When.NEXT_SALE)
    assert scene.codes() == {"SALE-IN-DOUBT": When.AT_ONCE, "doubt not_paid": When.NEXT_SALE}
    assert scene.named() == {"till A", "member's card", "Rp 5.000"}
    assert scene.losses() == {till.owner: -PRICE, "member": PRICE}


@cheat("A card reported lost is spent on at a till that has not synced", "a card, a lie")
def test_a_card_that_is_not_lost(scene: Scene) -> None:
    till, other, card = scene.till(), scene.till("B"), scene.card()
    new = scene.replace(card)
    till.sell(card, PRICE)
    for _ in range(2):
        till.sync()
        other.sync()
    scene.deliver(new)
    assert balance_of(new) == 100_000 - PRICE
    assert scene.codes() == {"sale-with-blocked-card": When.OWN_UPLOAD}
    assert scene.named() == {"till A", "member's card", "Rp 5.000"}
    assert scene.losses() == {}


@cheat("The same, and the till stays away until the money was restored by rule", "a card, a lie")
def test_a_card_that_is_not_lost_and_a_late_till(scene: Scene) -> None:
    till, card = scene.till(), scene.card()
    new = scene.replace(card)
    till.sell(card, PRICE)
    scene.later(days=31)
    restore_due(scene.central)
    scene.deliver(new)
    assert balance_of(new) == 100_000
    till.sync()
    assert scene.codes()["sale-with-blocked-card"] is When.OWN_UPLOAD
    assert scene.named() == {"till A", "member's card", "Rp 5.000"}
    assert scene.losses() == {"member": PRICE, COOPERATIVE: -PRICE}


# Stolen tills and keys


@cheat("A stolen till sells on, the thief's own goods", "a till, switched on and unlocked")
def test_a_stolen_till_sells_on(scene: Scene) -> None:
    till, card = scene.till(), scene.card()
    set_terminal_status(scene.central, till.terminal_id, TerminalStatus.BLOCKED)
    till.sell(card, PRICE)
    scene.hand_over("thief", till.owner, PRICE)  # they were the thief's goods
    till.sync()
    scene.later(days=15)
    till.try_to_sell(card, PRICE)
    assert scene.codes() == {
        "CENTRAL-TERMINAL-BLOCKED": When.OWN_UPLOAD,
        "SALE-SYNC-AGE": When.AT_ONCE,
    }
    assert scene.named() == {"till A"}
    assert scene.losses() == {"thief": -PRICE, COOPERATIVE: PRICE}


@cheat(
    "A stolen till's clock is held back too, and no block list let in",
    "the till, its machine and network",
)
def test_a_stolen_till_meets_its_limits(scene: Scene) -> None:
    scene.limit(unsent_total_max_rupiah=12_000)
    till, card = scene.till(), scene.card()
    till.sync()
    set_terminal_status(scene.central, till.terminal_id, TerminalStatus.BLOCKED)
    scene.later(days=30)
    till.offset_seconds = -30 * 86_400
    for _ in range(2):
        till.sell(card, PRICE)
        scene.hand_over("thief", till.owner, PRICE)
    till.try_to_sell(card, PRICE)
    assert scene.codes() == {"SALE-UNSENT-SUM": When.AT_ONCE}
    assert scene.losses() == {"thief": -2 * PRICE, COOPERATIVE: 2 * PRICE}


@cheat("What a blocked till had sold before the theft is sent by the thief, and refused", "a till")
def test_a_blocked_tills_batch_is_kept(scene: Scene) -> None:
    till, other, card = scene.till(), scene.till("B"), scene.card()
    till.sell(card, PRICE)
    set_terminal_status(scene.central, till.terminal_id, TerminalStatus.BLOCKED)
    till.sync()
    other.sell(card, 1_000)
    other.sync(When.NEXT_SALE)
    assert scene.codes() == {
        "CENTRAL-TERMINAL-BLOCKED": When.OWN_UPLOAD,
        "unreported": When.NEXT_SALE,
    }
    assert scene.named() == {"till A", "member's card", "Rp 5.000"}
    assert scene.losses() == {till.owner: -PRICE, COOPERATIVE: PRICE}


@cheat("The debit key debits cards in passing, under a number of no till", DEBIT_KEY)
def test_the_debit_key_is_used_elsewhere(scene: Scene) -> None:
    other, card = scene.till("B"), scene.card()
    scene.debit(card, ReaderId(terminal_id=4_000_000, sequence=1), PRICE)
    other.sell(card, 1_000)
    other.sync(When.NEXT_SALE)
    assert scene.codes() == {"transaction-without-voucher": When.NEXT_SALE}
    assert scene.named() == {"member's card", "Rp 5.000"}
    assert scene.losses() == {"member": -PRICE, COOPERATIVE: PRICE}
    assert scene.suspense() == PRICE


@cheat("The same, under the number of a till that has nothing to do with it", DEBIT_KEY)
def test_another_till_is_framed(scene: Scene) -> None:
    framed, other = scene.till(), scene.till("B")
    card, second = scene.card(), scene.card("second")
    scene.debit(card, ReaderId(terminal_id=framed.terminal_id, sequence=1), PRICE)
    other.sell(card, 1_000)
    other.sync(When.NEXT_SALE)
    assert scene.codes() == {"unreported": When.NEXT_SALE}
    framed.sell(second, 2_000)
    framed.sync(When.OTHER_REPORTS)
    assert scene.codes() == {
        "unreported": When.NEXT_SALE,
        "transaction-without-voucher": When.OTHER_REPORTS,
    }
    assert scene.named() == {"till A", "member's card", "Rp 5.000"}
    assert scene.losses() == {"member": -PRICE, COOPERATIVE: PRICE}


@cheat("The till charges the card once more than it shows", "a till with changed software")
def test_a_till_charges_twice(scene: Scene) -> None:
    till, card = scene.till(), scene.card()
    till.sell(card, PRICE)
    forger = till.forger()
    evidence, last = scene.debit(card, forger.next_reader_id, PRICE)
    forger.append_evidence(card.uid, evidence, Rupiah(PRICE), last.counter, last.mac)
    scene.upload(forger.batch(1))
    assert scene.codes() == {}
    scene.asked(till, 2)
    assert scene.codes() == {"dispute: proved": When.ASKED}
    assert scene.named() == {"till A", "member's card", "Rp 5.000"}
    assert scene.losses() == {"member": -PRICE, till.owner: PRICE}


@cheat("A member swears that they did not buy", "their word")
def test_a_member_denies_a_sale(scene: Scene) -> None:
    till, other, card = scene.till(), scene.till("B"), scene.card()
    till.sell(card, PRICE)
    other.sell(card, 1_000)
    till.sync()
    other.sync()
    scene.asked(till, 1)
    assert scene.codes() == {"dispute: proved": When.ASKED}
    assert scene.named() == {"till A", "member's card", "Rp 5.000"}
    assert scene.losses() == {}


@cheat("A till books a sale that the member then rightly denies", "the till's signing key")
def test_a_denied_sale_that_was_invented(scene: Scene) -> None:
    till, card = scene.till(), scene.card()
    till.sell(card, PRICE)
    forger = till.forger()
    real = decode_voucher(forger.vouchers[0])
    assert isinstance(real, SaleVoucher)
    evidence = _renamed(real.intent.evidence, forger.next_reader_id)
    forger.append_evidence(card.uid, evidence, Rupiah(PRICE), 3, b"\x5a" * 8)
    scene.upload(forger.batch(1))
    scene.asked(till, 2)
    assert scene.codes() == {"wrong-card-mac": When.OWN_UPLOAD, "dispute: not proved": When.ASKED}
    assert scene.losses() == {}


# The network between


@cheat("Another till's batch is signed with the own key", KEY_OF_TILL)
def test_a_batch_in_anothers_name(scene: Scene) -> None:
    till, other, card = scene.till(), scene.till("B"), scene.card()
    till.sell(card, PRICE)
    forger, thief = till.forger(), other.forger()
    forger.key = thief.key
    scene.upload(forger.batch(1), terminal="")
    till.sync()
    assert scene.codes() == {"SYNC-SIGNATURE": When.OWN_UPLOAD}
    assert scene.losses() == {}


@cheat("A forged acknowledgement, so that the till forgets its sales", "the till's network")
def test_a_forged_acknowledgement(scene: Scene) -> None:
    till, other, card = scene.till(), scene.till("B"), scene.card()
    till.sell(card, PRICE)
    # Signed indeed, but by a till.
    forged = _signed_by(
        other,
        verify_acknowledgement(scene.upload(till.forger().batch(1)), scene.central.public_key),
    )
    with MisbehavingServer(http_answer(200, forged, http.COSE)) as liar:
        till.sync(When.AT_ONCE, server=liar.url)
    with till.open() as opened:
        assert opened.ledger.unsent().count == 1
    till.sync()
    assert scene.codes() == {"SYNC-SIGNATURE": When.AT_ONCE}
    assert scene.named() == {"till A"}
    assert scene.losses() == {}


def _signed_by(stall: Stall, ack: Acknowledgement) -> bytes:
    return encode_acknowledgement(
        ack, stall.bench.public_key, lambda message: stall.bench.signing.sign("terminal", message)
    )


@cheat("A genuine acknowledgement of another batch is shown to the till", "the till's network")
def test_an_acknowledgement_of_another_batch(scene: Scene) -> None:
    till, card = scene.till(), scene.card()
    till.sell(card, PRICE)
    genuine = scene.upload(till.forger().batch(1))
    till.sell(card, PRICE)
    with MisbehavingServer(http_answer(200, genuine, http.COSE)) as liar:
        till.sync(When.AT_ONCE, server=liar.url)
    with till.open() as opened:
        assert opened.ledger.unsent().count == 2
    till.sync()
    assert scene.codes() == {"SYNC-ACK": When.AT_ONCE}
    assert scene.losses() == {}


@cheat("A forged feed unblocks a card", "the till's network, another till's key")
def test_a_forged_feed(scene: Scene) -> None:
    till, other, card = scene.till(), scene.till("B"), scene.card()
    set_blocked(scene.central, card.uid, "lost", blocked=True, by_terminal=None)
    till.sync()
    feed = Feed(version=9, since=0, unix_seconds=scene.now, limits=Limits())
    forged = encode_feed(
        feed, other.bench.public_key, lambda message: other.bench.signing.sign("terminal", message)
    )
    with MisbehavingServer(http_answer(200, forged, http.COSE)) as liar:
        till.sync(When.AT_ONCE, server=liar.url)
    till.try_to_sell(card, PRICE)
    assert scene.codes() == {"SYNC-SIGNATURE": When.AT_ONCE, "SALE-CARD-BLOCKED": When.AT_ONCE}
    assert scene.losses() == {}


@cheat("A feed from before a card was blocked is shown to the till again", "the till's network")
def test_an_old_feed_is_replayed(scene: Scene) -> None:
    till, card = scene.till(), scene.card()
    genuine = scene.signed(till.forger(), "GET", f"{http.FEED_PATH}?since=0").content
    set_blocked(scene.central, card.uid, "lost", blocked=True, by_terminal=None)
    till.sync()
    with MisbehavingServer(http_answer(200, genuine, http.COSE)) as liar:
        till.sync(When.AT_ONCE, server=liar.url)
    till.try_to_sell(card, PRICE)
    assert scene.codes() == {"SYNC-FEED": When.AT_ONCE, "SALE-CARD-BLOCKED": When.AT_ONCE}
    assert scene.losses() == {}


@cheat(
    "The last feed is shown again and again, so that the till believes it has synced",
    "the till's network",
)
def test_a_feed_keeps_a_till_young(scene: Scene) -> None:
    till, card = scene.till(), scene.card()
    till.sync()
    genuine = scene.signed(till.forger(), "GET", f"{http.FEED_PATH}?since=0").content
    with MisbehavingServer(http_answer(200, genuine, http.COSE)) as liar:
        till.sync(When.AT_ONCE, server=liar.url)
        scene.later(days=10)
        till.sync(When.AT_ONCE, server=liar.url)
        set_blocked(scene.central, card.uid, "lost", blocked=True, by_terminal=None)
        scene.later(days=4.5)
        till.sync(When.AT_ONCE, server=liar.url)
    till.try_to_sell(card, PRICE)
    assert scene.codes() == {"SALE-SYNC-AGE": When.AT_ONCE}
    assert scene.losses() == {}


@cheat("A feed with the old, wider limits is shown to the till again", "the till's network")
def test_old_limits_are_replayed(scene: Scene) -> None:
    till, card = scene.till(), scene.card()
    genuine = scene.signed(till.forger(), "GET", f"{http.FEED_PATH}?since=0").content
    scene.limit(sale_max_rupiah=1_000)
    scene.later(days=1)
    till.sync()
    with MisbehavingServer(http_answer(200, genuine, http.COSE)) as liar:
        till.sync(When.AT_ONCE, server=liar.url)
    till.try_to_sell(card, PRICE)
    assert scene.codes() == {"SYNC-FEED": When.AT_ONCE, "SALE-LIMIT": When.AT_ONCE}
    assert scene.losses() == {}


@cheat("A signed request is sent a second time: a credit is ordered twice", "the station's network")
def test_a_request_is_replayed(scene: Scene) -> None:
    card = scene.card(balance=0)
    station = scene.station()
    order = {
        "card_uid": card.uid.hex(),
        "amount_rupiah": 50_000,
        "source": "cash",
        "idempotency_key": "loket-0001",
    }
    first = scene.signed(station, "POST", "/v1/credits", order, nonce=bytes(16))
    assert first.status_code == 201
    scene.pay_cash("member", 50_000)
    second = scene.signed(station, "POST", "/v1/credits", order, nonce=bytes(16))
    scene.answered(second, When.AT_THE_SERVER)
    assert scene.codes() == {"CENTRAL-REPLAY": When.AT_THE_SERVER}
    assert scene.losses() == {}


@cheat("A till orders a credit", KEY_OF_TILL)
def test_a_till_orders_a_credit(scene: Scene) -> None:
    till, card = scene.till(), scene.card(balance=0)
    order = {
        "card_uid": card.uid.hex(),
        "amount_rupiah": 50_000,
        "source": "cash",
        "idempotency_key": "kasir-0001",
    }
    answer = scene.signed(till.forger(), "POST", "/v1/credits", order)
    scene.answered(answer, When.AT_THE_SERVER)
    assert scene.codes() == {"CENTRAL-ROLE": When.AT_THE_SERVER}
    assert scene.losses() == {}


# Refunds


@cheat("A cashier refunds a sale to a friend's card", KEY_OF_TILL)
def test_a_refund_to_another_card(scene: Scene) -> None:
    till, card, friend = scene.till(), scene.card(), scene.card("friend")
    till.sell(card, PRICE)
    forger = till.forger()
    forger.append(_refund(forger, friend.uid, PRICE))
    scene.upload(forger.batch(1))
    scene.deliver(friend)
    assert scene.codes() == {"claim-differs": When.OWN_UPLOAD}
    assert scene.named() == {"till A", "friend's card", "Rp 5.000"}
    assert scene.losses() == {}


@cheat("A cashier refunds more than the sale", KEY_OF_TILL)
def test_a_refund_of_too_much(scene: Scene) -> None:
    till, card = scene.till(), scene.card()
    till.sell(card, PRICE)
    forger = till.forger()
    forger.append(_refund(forger, card.uid, PRICE))
    forger.append(_refund(forger, card.uid, 1))
    scene.upload(forger.batch(1))
    scene.hand_over("member", till.owner, PRICE)  # the goods came back
    assert scene.codes() == {"refund-too-much": When.OWN_UPLOAD}
    assert scene.named() == {"till A", "member's card", "Rp 1"}
    assert scene.losses() == {}


@cheat("A cashier refunds a friend who keeps the goods", "the till, in the open shift")
def test_a_refund_and_the_goods_stay_with_the_friend(scene: Scene) -> None:
    till, friend = scene.till(), scene.card("friend")
    sold = till.sell(friend, PRICE)
    with till.open() as opened:
        opened.refund(sold.sequence, reason="salah")
    till.sync()
    scene.deliver(friend)
    assert scene.codes() == {}
    scene.look_at_refunds(When.LISTED)
    assert scene.codes() == {"refund ordered": When.LISTED}
    assert scene.named() == {"till A", "friend's card", "Rp 5.000"}
    assert scene.losses() == {till.owner: -PRICE, "friend": PRICE}


def _refund(forger: ModelTill, uid: bytes, amount: int) -> RefundVoucher:
    return RefundVoucher(
        link=forger.link(), refunds=1, card_uid=uid, amount=Rupiah(amount), reason="salah"
    )


# Clocks


@cheat("The till's clock is held back, so that it need not sync", "the till's machine")
def test_a_clock_is_held_back(scene: Scene) -> None:
    till, card = scene.till(), scene.card()
    scene.later(days=20)
    till.offset_seconds = -20 * 86_400
    scene.top_up(card, 10_000, "gaji-0001")
    till.sell(card, PRICE)
    till.sync(When.NEXT_SYNC)
    scene.look_at_clocks(When.NEXT_SYNC)
    assert scene.codes() == {"clock-behind": When.NEXT_SYNC}
    assert scene.named() == {"till A", "member's card", "Rp 5.000"}
    assert scene.losses() == {}


@cheat("The same, so that an expired card is taken", "the till's machine")
def test_a_clock_is_held_back_for_an_expired_card(scene: Scene) -> None:
    till, other, card = scene.till(), scene.till("B"), scene.card()
    scene.later(days=6 * 366)
    till.offset_seconds = -6 * 366 * 86_400
    till.sell(card, PRICE)
    other.sync()
    other.try_to_sell(card, 1_000)
    till.sync(When.NEXT_SYNC)
    till.try_to_sell(card, PRICE)
    assert scene.codes() == {"SALE-CARD-EXPIRED": When.AT_ONCE}
    assert scene.named() == {"till A", "till B", "member's card"}
    assert scene.losses() == {}


# Stations and relays


@cheat("A relaying till says that the credit which arrived did not", KEY_OF_TILL)
def test_a_till_lies_about_a_credit(scene: Scene) -> None:
    till, card = scene.till(), scene.card(balance=0)
    scene.order(card, 50_000, "gaji-0001")
    key = scene.central.keys.card_key(CardKey.DEBIT, card.uid).value
    lying = LyingTill(card, key)
    for _ in range(2):
        lying.power_off()
        start = Start(Action.CREDIT, card.uid)
        scene.relay(till.forger(), start, InProcess(lying).transmit, When.IN_SESSION)
    assert balance_of(card) == 50_000
    assert set(scene.codes()) == {"CARD-SHORT"}
    assert scene.losses() == {}


@cheat("A relaying till gives a credit another name on the card", KEY_OF_TILL)
def test_a_till_renames_a_credit(scene: Scene) -> None:
    till, other, card = scene.till(), scene.till("B"), scene.card(balance=0)
    scene.order(card, 50_000, "gaji-0001")
    key = scene.central.keys.card_key(CardKey.DEBIT, card.uid).value
    name = ReaderId(terminal_id=other.terminal_id, sequence=1).encode()
    renaming = InProcess(RenamingTill(card, key, name))
    scene.relay(till.forger(), Start(Action.CREDIT, card.uid), renaming.transmit, When.IN_SESSION)
    assert balance_of(card) == 50_000
    other.sell(card, PRICE)
    other.sync(When.NEXT_SALE)
    scene.deliver(card)
    assert scene.codes()["wrong-card-mac"] is When.IN_SESSION
    assert scene.named() >= {"till A", "member's card", "Rp 50.000"}
    assert scene.suspense() == 0
    assert scene.losses() == {}
    assert balance_of(card) == 45_000


@cheat("A recorded card session is played to the server, with no card", KEY_OF_TILL)
def test_a_recorded_session_is_replayed(scene: Scene) -> None:
    till, card = scene.till(), scene.card(balance=0)
    scene.order(card, 50_000, "gaji-0001")
    recorded: list[bytes] = []

    def record(command: bytes) -> bytes:
        recorded.append(InProcess(card).transmit(command))
        return recorded[-1]

    start = Start(Action.CREDIT, card.uid)
    scene.relay(till.forger(), start, record, When.IN_SESSION)
    assert scene.codes() == {}
    scene.order(card, 10_000, "gaji-0002")
    answers = iter(recorded)
    scene.relay(till.forger(), start, lambda _command: next(answers), When.IN_SESSION)
    assert balance_of(card) == 50_000
    assert set(scene.codes()) == {"CARD-NOT-AUTHENTIC"}
    assert scene.losses() == {}


@cheat("A clerk orders a top-up and keeps no cash for it", "a station and its key")
def test_a_clerk_tops_up_without_cash(scene: Scene) -> None:
    station, card = scene.station(), scene.card("friend", balance=0)
    order = {
        "card_uid": card.uid.hex(),
        "amount_rupiah": 50_000,
        "source": "cash",
        "idempotency_key": "loket-0001",
    }
    assert scene.signed(station, "POST", "/v1/credits", order).status_code == 201
    scene.relay(station, Start(Action.CREDIT, card.uid), InProcess(card).transmit, When.IN_SESSION)
    assert scene.codes() == {}
    scene.count_cash(station, 0, card)
    assert scene.codes() == {"cash short": When.COUNTED}
    assert scene.named() == {"station", "friend's card", "Rp 50.000"}
    assert scene.losses() == {"friend": 50_000, COOPERATIVE: -50_000}


@cheat("Somebody else uses a till's invitation first", "the invitation's text")
def test_an_invitation_is_used_by_another(scene: Scene) -> None:
    invitation = invite(scene.central, Role.TILL, "till A", "owner of till A")
    scene.enrol_with(invitation, "thief")
    scene.enrol_with(invitation, "till A", When.AT_ENROLMENT)
    assert scene.codes() == {"CENTRAL-INVITATION-USED": When.AT_ENROLMENT}
    assert scene.losses() == {}


NETWORK_AT_PAIRING = "the till's network, a false TLS certificate"


@cheat(
    "Whoever is between a new till and the server puts a machine in its place", NETWORK_AT_PAIRING
)
def test_pairing_with_somebody_in_between(scene: Scene) -> None:
    """The till sees the thief's key for the server's; the server sees the thief's for the till's."""
    with serving_thief(scene) as url:
        till, _ = begin(scene, "till", url)
    thief, _ = begin(scene, "thief", scene.url)
    assert till.shown != thief.shown
    try:
        approve_pairing(scene.central, till.shown, seller="owner of till A")
    except UnknownPairingCode as error:
        scene.refused(error, When.APPROVED)
    assert scene.codes() == {"CENTRAL-PAIRING-CODE": When.APPROVED}
    assert scene.losses() == {}


@cheat("The same, and tells the till at once that it is approved", NETWORK_AT_PAIRING)
def test_a_false_approval(scene: Scene) -> None:
    """The office never says digits to this till: whatever is typed is somebody's guess."""
    with serving_thief(scene) as url:
        pairing, files = begin(scene, "till", url)
        with contextlib.closing(new_central(scene.folder / "thief").database) as database:
            theirs = dataclasses.replace(scene.central, database=database, keys=THIEF)
            approve_pairing(theirs, pairing.shown, seller="thief")
        guess = f"{(int(pairing.code.reply) + 1) % 10_000:04d}"
        try:
            finish_pairing(
                files, open_identity(files, "kunci"), pairing, guess, "kunci", patience=QUICK
            )
        except WrongReply as error:
            scene.refused(error, When.REPLIED)
        assert not files.card_keys.exists()
    assert scene.codes() == {"PAIRING-REPLY": When.REPLIED}
    assert scene.losses() == {}
