"""The page behind a receipt's QR code: true, about nobody, in both languages, and light."""

from __future__ import annotations

import re

import pytest
from httpx2 import Response
from sqlalchemy import event

from dobmi.central.refunds import refund_list
from dobmi.money import Rupiah
from dobmi.sync.proof_code import encode_proof
from dobmi.sync.voucher import Outcome, voucher_hash
from support.central_client import Office
from support.traffic import ModelCard, ModelTill


@pytest.fixture
def till(office: Office) -> ModelTill:
    return office.world.till(seller="Toko <Satu> & Rekan")


@pytest.fixture
def card(office: Office) -> ModelCard:
    card = office.world.card(4711)
    office.world.top_up(office.world.station(), card, Rupiah(200_000))
    return card


def path_of(till: ModelTill, sequence: int) -> str:
    return encode_proof("", till.terminal_id, sequence, voucher_hash(till.vouchers[sequence - 1]))


def page(office: Office, path: str, language: str = "en", status: int = 200) -> str:
    answer: Response = office.client.get(path, params={"lang": language})
    assert answer.status_code == status, answer.text
    return answer.text


def title(text: str) -> str:
    found = re.search(r"<h1[^>]*>([^<]*)</h1>", text)
    assert found is not None
    return found[1]


def test_a_sale_is_paid_and_then_refunded(office: Office, till: ModelTill, card: ModelCard) -> None:
    till.sell(card, Rupiah(12_500))
    path = path_of(till, 1)
    before = page(office, path)
    assert title(before) == "Not known yet"
    assert "12.500" not in before
    office.acknowledged(till.batch())
    text = page(office, path)
    assert title(text) == "Paid"
    for said in ("Rp 12.500", "Toko &lt;Satu&gt; &amp; Rekan", " WIB", f"{till.terminal_id}-1"):
        assert said in text
    part = till.refund(card, 1, Rupiah(2_500))
    office.acknowledged(till.batch())
    assert title(page(office, path)) == "Paid, partly refunded"
    assert "Rp 2.500 of it was given back" in page(office, path)
    till.refund(card, 1, Rupiah(10_000))
    office.acknowledged(till.batch())
    assert title(page(office, path)) == "Refunded"
    assert len(refund_list(office.world.central)) == 2
    assert title(page(office, path_of(till, part))) == "Refund on its way"


def test_of_a_code_that_no_till_has_sent_it_does_not_say_that_it_is_genuine(
    office: Office, till: ModelTill
) -> None:
    """Whoever knows a till's number can print such a code."""
    made_up = encode_proof("", till.terminal_id, 99, bytes(32))
    text = page(office, made_up)
    assert title(text) == "Not known yet"
    assert "cannot say whether it is genuine" in text


def test_nobody_is_named(office: Office, till: ModelTill, card: ModelCard) -> None:
    till.sell(card, Rupiah(12_500))
    office.acknowledged(till.batch())
    for language in ("id", "en"):
        text = page(office, path_of(till, 1), language)
        for secret in ("4711", "Anggota", "kasir", card.uid.hex(), card.uid.hex().upper()):
            assert secret not in text


def test_a_sale_in_doubt_is_said_to_be_until_it_is_settled(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    till.doubt(card, Rupiah(5_000), committed=False)
    office.acknowledged(till.batch())
    assert title(page(office, path_of(till, 1))) == "Being checked"
    till.resolve(card, 1, Outcome.NOT_PAID)
    office.acknowledged(till.batch())
    assert title(page(office, path_of(till, 1))) == "Not paid"
    assert title(page(office, path_of(till, 2))) == "No receipt of ours"


def test_a_sale_that_was_not_believed_is_being_checked(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    staged = card.stage_sale(till.next_reader_id, Rupiah(5_000))
    till.append_sale(card, staged, 3, b"12345678")
    assert office.acknowledged(till.batch()).quarantined
    assert title(page(office, path_of(till, 1))) == "Being checked"


def test_another_hash_another_till_and_what_is_no_code_are_told_nothing(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    till.sell(card, Rupiah(12_500))
    office.acknowledged(till.batch())
    for path, status in (
        (encode_proof("", till.terminal_id, 1, bytes(32)), 200),
        (encode_proof("", till.terminal_id, 0, bytes(32)), 200),
        (encode_proof("", till.terminal_id, 2**64 - 1, bytes(32)), 200),
        (encode_proof("", 999, 1, voucher_hash(till.vouchers[0])), 200),
        ("/r/xyz", 404),
        ("/r/" + "A" * 5_000, 404),
        ("/r/%00%E2%82%AC", 404),
    ):
        text = page(office, path, status=status)
        assert title(text) == "No receipt of ours"
        assert "12.500" not in text
        assert "Toko" not in text


@pytest.mark.parametrize(
    ("query", "header", "expected"),
    [
        ("", "", "id"),
        ("", "nl", "id"),
        ("", "en-US,en;q=0.9,id;q=0.8", "en"),
        ("", "id-ID,id;q=0.9,en;q=0.8", "id"),
        ("?lang=en", "id", "en"),
        ("?lang=id", "en", "id"),
        ("?lang=xx", "", "id"),
    ],
)
def test_it_is_in_indonesian_unless_english_is_asked_for(
    office: Office, till: ModelTill, query: str, header: str, expected: str
) -> None:
    path = encode_proof("", till.terminal_id, 1, bytes(32))
    answer = office.client.get(path + query, headers={"accept-language": header})
    assert f'<html lang="{expected}">' in answer.text
    said = {"id": "Belum diketahui", "en": "Not known yet"}[expected]
    assert title(answer.text) == said


def test_it_is_light_and_locked_up(office: Office, till: ModelTill, card: ModelCard) -> None:
    till.sell(card, Rupiah(12_500))
    office.acknowledged(till.batch())
    asked: list[str] = []
    engine = office.world.central.database.engine
    event.listen(engine, "before_cursor_execute", lambda *one: asked.append(one[2]))
    answer = office.client.get(path_of(till, 1))
    assert len(answer.content) < 2_000
    queries = [one for one in asked if one.lstrip().startswith("SELECT")]
    assert len(queries) <= 4
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "<script" not in answer.text
    assert "http" not in answer.text
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
