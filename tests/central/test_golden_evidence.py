"""A sale whose card MAC anybody can check: the key is published here, and it is no card's."""

from __future__ import annotations

import json
from datetime import date

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC

from dobmi.cardlib.purse_layout import Holder, ReaderId
from dobmi.central.verification import CardFacts, VerifiedSale, judge
from dobmi.money import Rupiah
from dobmi.sync.voucher import SaleVoucher, verify_voucher
from support.messages import GOLDEN, NOW, TERMINAL_ID, TERMINAL_KEY, UID
from support.traffic import ModelCard, ModelTill

FILE = GOLDEN / "evidence.json"
KEY = bytes(range(16))
ISSUER = Ed25519PrivateKey.from_private_bytes(bytes(range(96, 128)))
HOLDER = Holder(member_number=4711, name="Siti Aminah", card_serial=12, expires=date(2031, 1, 1))


def made() -> dict[str, object]:
    """The card's second sale, in the till's voucher number 2."""
    card = ModelCard(UID, HOLDER.sign(UID, ISSUER.sign), KEY, balance=Rupiah(100_000))
    till = ModelTill(TERMINAL_ID, TERMINAL_KEY, "Toko Ciledug")
    till.sell(card, Rupiah(20_000))
    staged = card.stage_sale(till.next_reader_id, Rupiah(12_500), NOW)
    counter, mac = card.commit(staged)
    till.append_sale(card, staged, counter, mac)
    return {
        "voucher": till.vouchers[-1].hex(),
        "terminal_public_key": till.public_key.hex(),
        "card_uid": UID.hex(),
        "transaction_mac_key": KEY.hex(),
        "counter": counter,
        "mac": mac.hex(),
        "evidence": staged.evidence.hex(),
        "issuer_public_key": ISSUER.public_key().public_bytes_raw().hex(),
        "amount_rupiah": 12_500,
        "balance_before_rupiah": 80_000,
        "member_number": 4711,
        "previous": {"terminal": TERMINAL_ID, "sequence": 1},
    }


def cmac(key: bytes, data: bytes) -> bytes:
    mac = CMAC(algorithms.AES(key))
    mac.update(data)
    return mac.finalize()


def test_the_published_sale_is_the_one_that_is_made() -> None:
    assert json.loads(FILE.read_text(encoding="utf-8")) == made()


def test_its_mac_is_checked_by_what_the_format_says_and_nothing_else() -> None:
    """docs/formats/voucher.md, step by step, with none of the project's ciphers."""
    golden = json.loads(FILE.read_text(encoding="utf-8"))
    key, uid = bytes.fromhex(golden["transaction_mac_key"]), bytes.fromhex(golden["card_uid"])
    evidence = bytes.fromhex(golden["evidence"])
    context = bytes.fromhex("00010080") + golden["counter"].to_bytes(4, "little") + uid
    assert cmac(cmac(key, b"\x5a" + context), evidence)[1::2].hex() == golden["mac"]
    decryptor = Cipher(
        algorithms.AES(cmac(key, b"\xa5" + context)), modes.CBC(bytes(16))
    ).decryptor()
    previous = decryptor.update(evidence[17:33]) + decryptor.finalize()
    told = golden["previous"]
    assert previous == ReaderId(terminal_id=told["terminal"], sequence=told["sequence"]).encode()


def test_the_server_believes_it() -> None:
    golden = json.loads(FILE.read_text(encoding="utf-8"))
    public_key = bytes.fromhex(golden["terminal_public_key"])
    voucher = verify_voucher(bytes.fromhex(golden["voucher"]), public_key)
    assert isinstance(voucher, SaleVoucher)
    facts = {UID: CardFacts(UID, HOLDER.card_serial, HOLDER.member_number, 1)}
    verdict = judge(voucher, facts, lambda *_: KEY)
    assert isinstance(verdict, VerifiedSale)
    assert verdict.evidence.amount == Rupiah(golden["amount_rupiah"])
    assert verdict.evidence.balance_before == Rupiah(golden["balance_before_rupiah"])
