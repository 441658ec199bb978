"""The auditor's own reading of the formats, held against the published samples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC
from hypothesis import given
from hypothesis import strategies as st

from dobmi.audit.card_proof import (
    FOREIGN,
    MacKeys,
    issuer_signed,
    parse_sale,
    place,
    previous,
    vouches,
)
from dobmi.audit.days import Head
from dobmi.audit.formats import (
    DECISION,
    IN_DOUBT,
    REFUND,
    RESOLUTION,
    SALE,
    VOID,
    Malformed,
    parse_acknowledgement,
    parse_voucher,
)
from dobmi.cardlib.purse_layout import CardKey
from support.central_client import RING

GOLDEN = Path(__file__).parents[1] / "sync" / "golden"
TERMINAL = bytes.fromhex("03A107BFF3CE10BE1D70DD18E74BC09967E4D6309BA50D5F1DDC8664125531B8")
SERVER = bytes.fromhex("29ACBAE141BCCAF0B22E1A94D34D0BC7361E526D0BFE12C89794BC9322966DD7")
EVIDENCE = json.loads((GOLDEN / "evidence.json").read_text(encoding="utf-8"))
DAY = json.loads(
    (GOLDEN.parents[1] / "central" / "golden" / "daily_head.json").read_text(encoding="utf-8")
)


def sample(name: str) -> bytes:
    return bytes.fromhex("".join((GOLDEN / name).read_text(encoding="utf-8").split()))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sale", SALE),
        ("in_doubt", IN_DOUBT),
        ("resolution_paid", RESOLUTION),
        ("resolution_not_paid", RESOLUTION),
        ("void", VOID),
        ("refund", REFUND),
        ("decision", DECISION),
    ],
)
def test_the_samples_are_read_and_signed_by_their_till(name: str, kind: int) -> None:
    voucher = parse_voucher(sample(f"voucher_{name}.hex"))
    assert (voucher.kind, voucher.terminal_id) == (kind, 7)
    assert voucher.signed.is_by(TERMINAL)
    assert not voucher.signed.is_by(SERVER)


def test_the_sample_acknowledgement_is_the_servers() -> None:
    acknowledgement = parse_acknowledgement(sample("acknowledgement.hex"))
    assert acknowledgement.terminal_id == 7
    assert acknowledgement.signed.is_by(SERVER)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_no_changed_byte_of_a_voucher_passes(at: int, change: int) -> None:
    encoded = bytearray(sample("voucher_sale.hex"))
    encoded[at % len(encoded)] ^= change
    try:
        voucher = parse_voucher(bytes(encoded))
    except Malformed:
        return
    assert not voucher.signed.is_by(TERMINAL)


def test_another_encoding_of_the_same_content_is_refused() -> None:
    encoded = sample("voucher_void.hex")
    longer = encoded[:2] + b"\x59\x00\x1e" + encoded[4:]
    with pytest.raises(Malformed):
        parse_voucher(longer)


def test_the_published_evidence_is_vouched_for_by_its_card() -> None:
    voucher = parse_voucher(bytes.fromhex(EVIDENCE["voucher"]))
    card = CMAC(AES(bytes.fromhex(EVIDENCE["transaction_mac_key"])))
    uid, counter, evidence = voucher.uid, EVIDENCE["counter"], voucher.evidence
    assert vouches(card, uid, counter, voucher.mac, evidence)
    assert not vouches(card, uid, counter + 1, voucher.mac, evidence)
    told = parse_sale(evidence)
    assert (told.amount, told.before, told.member) == (12_500, 80_000, 4_711)
    assert previous(card, uid, counter, told.encrypted) == (7, 1)
    assert previous(card, uid, counter + 1, told.encrypted) == FOREIGN
    assert place(card, uid, told.encrypted, 60) == (counter, (7, 1))
    assert issuer_signed(told.holder, uid, bytes.fromhex(EVIDENCE["issuer_public_key"]))
    assert not issuer_signed(told.holder, uid, SERVER)


def test_a_cards_key_is_derived_as_the_custody_does() -> None:
    uid = bytes.fromhex("04A1B2C3D4E5F6")
    masters = RING.masters[CardKey.TRANSACTION_MAC]
    own = MacKeys(masters).of_card(uid, 1)
    assert own is not None
    expected = CMAC(AES(RING.card_key(CardKey.TRANSACTION_MAC, uid).value))
    assert own.copy().finalize() == expected.finalize()
    assert MacKeys(masters).of_card(uid, 2) is None


def test_the_published_day_has_its_hash_and_signature() -> None:
    head = Head(
        DAY["day"],
        len(DAY["journal"]),
        sum(line["amount_rupiah"] for line in DAY["journal"]),
        bytes.fromhex(DAY["journal_hash"]),
        bytes.fromhex(DAY["tills_hash"]),
        bytes.fromhex(DAY["previous_hash"]),
        bytes.fromhex(DAY["hash"]),
        bytes.fromhex(DAY["message"])[-64:],
        DAY["closed_at"],
    )
    assert head.payload.hex() == DAY["payload"]
    assert head.is_signed_by(SERVER)
    assert not head.is_signed_by(TERMINAL)
