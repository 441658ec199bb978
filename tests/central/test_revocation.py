"""A till that was taken away: what its keys are good for from then on, and the cards that it saw."""

from __future__ import annotations

import csv
import io

import pytest
from httpx2 import Response
from starlette.testclient import WebSocketDenialResponse

from dobmi.central import ingest
from dobmi.central.acts import Act, Actor, list_acts
from dobmi.central.errors import BadParameters, UnknownTerminal
from dobmi.central.pairing import approve_pairing
from dobmi.central.revocation import (
    DOUBT,
    NAMED,
    QUARANTINED,
    REFUSED,
    SALE,
    SeenCard,
    cards_seen,
    cards_seen_csv,
    readmit,
    revoke,
)
from dobmi.money import Rupiah
from dobmi.sync.http import card_session_path
from dobmi.sync.records import OrderRecord, OrderState, encode_record, encode_records
from dobmi.sync.voucher import Outcome
from support.asking_till import Till
from support.central_client import Office
from support.staffed import code_of
from support.traffic import START, ModelCard, ModelTill

ANI = Actor("Ani", None)


@pytest.fixture
def card(office: Office) -> ModelCard:
    found = office.world.card(4711)
    office.world.top_up(office.world.station(), found, Rupiah(100_000))
    return found


@pytest.fixture
def till(office: Office) -> ModelTill:
    return office.world.till()


def take_away(office: Office, till: ModelTill) -> None:
    revoke(office.world.central.database, till.terminal_id, "dicuri", ANI, START)


def give_back(office: Office, till: ModelTill) -> None:
    readmit(office.world.central.database, till.terminal_id, "ditemukan", ANI, START)


def everything(office: Office, till: ModelTill, card: ModelCard) -> dict[str, Response]:
    """What a till asks of the server, each once."""
    photo = "00" * 32
    done = OrderRecord(
        order=1, state=OrderState.HANDED_OVER, sale=None, short=(), by="Ani", unix_seconds=START
    )
    encoded = [encode_record(done)]
    records = encode_records(till.terminal_id, 1, encoded, till.public_key, till.key.sign)
    answers = {
        path: office.signed(till, "GET", path)
        for path in ("/v1/feed?since=0", f"/v1/photos/{photo}")
    }
    answers["/v1/records"] = office.client.post(
        "/v1/records", content=records, headers={"content-type": "application/cose"}
    )
    body = b"\xa0"
    answers["/v1/card-keys"] = office.client.post(
        "/v1/card-keys",
        content=body,
        headers={
            "content-type": "application/cbor",
            "authorization": till.authorization("POST", "/v1/card-keys", body),
        },
    )
    path = card_session_path("credit", card.uid)
    headers = {"authorization": till.authorization("GET", path)}
    try:
        with office.client.websocket_connect(path, headers=headers):
            answers["card session"] = Response(101)
    except WebSocketDenialResponse as denied:
        answers["card session"] = denied
    return answers


def test_a_revoked_till_is_refused_everything(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    before = {path: answer.status_code for path, answer in everything(office, till, card).items()}
    assert 403 not in before.values()
    take_away(office, till)
    for path, answer in everything(office, till, card).items():
        assert code_of(answer) == (403, "CENTRAL-TERMINAL-BLOCKED"), path
    till.sell(card, Rupiah(1_000))
    office.refused(till.batch(), "CENTRAL-TERMINAL-BLOCKED", 403)


def test_what_it_sends_afterwards_is_kept_and_is_posted_when_it_is_let_in_again(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    till.sell(card, Rupiah(1_000))
    office.acknowledged(till.batch())
    till.sell(card, Rupiah(2_000))
    late = till.batch()
    take_away(office, till)
    office.refused(late, "CENTRAL-TERMINAL-BLOCKED", 403)
    assert office.rejected() == [("CENTRAL-TERMINAL-BLOCKED", late)]
    assert office.owed_to_outlets() == Rupiah(1_000)
    give_back(office, till)
    assert office.acknowledged(late).head_sequence == 2
    assert office.owed_to_outlets() == Rupiah(3_000)


def test_a_batch_that_was_on_its_way_when_it_was_revoked_is_not_posted(
    office: Office, till: ModelTill, card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    till.sell(card, Rupiah(1_000))
    batch, judge = till.batch(), ingest.check_batch

    def revoked_meanwhile(*arguments: object) -> object:
        judged = judge(*arguments)  # type: ignore[arg-type] # passed on as they are
        take_away(office, till)
        return judged

    monkeypatch.setattr(ingest, "check_batch", revoked_meanwhile)
    office.refused(batch, "CENTRAL-TERMINAL-BLOCKED", 403)
    assert office.rejected() == [("CENTRAL-TERMINAL-BLOCKED", batch)]


def test_a_till_that_was_paired_gets_no_keys_any_more(office: Office) -> None:
    asking = Till(office).waiting()
    paired = approve_pairing(office.world.central, asking.code.code, seller="Toko")
    assert asking.open().status_code == 200
    revoke(office.world.central.database, paired.terminal_id, "dicuri", ANI, START)
    assert asking.refused(asking.open()) == (403, "CENTRAL-TERMINAL-BLOCKED")


def test_who_revoked_it_and_why_is_written_down_once(office: Office, till: ModelTill) -> None:
    database = office.world.central.database
    for _ in range(2):
        take_away(office, till)
    for _ in range(2):
        give_back(office, till)
    acts = [
        (one.person, one.act, one.subject, one.detail)
        for one in list_acts(database, subject=f"terminal {till.terminal_id}")
    ]
    assert acts == [
        ("Ani", Act.TERMINAL_UNBLOCKED, f"terminal {till.terminal_id}", "ditemukan"),
        ("Ani", Act.TERMINAL_BLOCKED, f"terminal {till.terminal_id}", "dicuri"),
    ]
    with pytest.raises(UnknownTerminal):
        revoke(database, 99, "dicuri", ANI, START)
    with pytest.raises(BadParameters):
        revoke(database, till.terminal_id, " ", ANI, START)
    with pytest.raises(UnknownTerminal):
        cards_seen(database, 99)


def test_every_card_that_it_saw_is_listed_by_whatever_names_it(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    world = office.world
    station = world.station()
    doubted, hidden, late, elsewhere = (world.card(number) for number in range(5001, 5005))
    for one in (doubted, hidden, late, elsewhere):
        world.top_up(station, one, Rupiah(50_000))
    other = world.till("Toko Dua")
    for amount in (1_000, 2_000):
        till.sell(card, Rupiah(amount))
    till.doubt(doubted, Rupiah(3_000), committed=False)
    till.resolve(card, 1, Outcome.NOT_PAID)
    office.acknowledged(till.batch())
    till.sell(hidden, Rupiah(4_000))  # and never sent
    other.sell(hidden, Rupiah(500))
    other.sell(elsewhere, Rupiah(500))
    office.acknowledged(other.batch())
    take_away(office, till)
    till.sell(late, Rupiah(6_000))
    office.refused(till.batch(), "CENTRAL-TERMINAL-BLOCKED", 403)
    seen = {one.uid: one for one in cards_seen(world.central.database, till.terminal_id)}
    assert set(seen) == {card.uid, doubted.uid, hidden.uid, late.uid}
    mine = seen[card.uid]
    assert (mine.sales, mine.total, mine.member_number) == (2, Rupiah(3_000), 4711)
    assert mine.how == {SALE, QUARANTINED}
    assert mine.first_at is not None
    assert mine.first_at <= (mine.last_at or 0)
    assert seen[doubted.uid].how == {DOUBT}
    assert seen[hidden.uid].how == {NAMED, REFUSED}
    assert seen[late.uid].how == {REFUSED}
    assert (seen[late.uid].sales, seen[late.uid].total) == (1, Rupiah(6_000))
    rows = list(csv.DictReader(io.StringIO(cards_seen_csv(list(seen.values())))))
    assert {row["card_uid"] for row in rows} == {uid.hex().upper() for uid in seen}
    assert {row["total_rupiah"] for row in rows} == {"3000", "0", "4000", "6000"}


def test_no_cell_of_the_file_is_calculated() -> None:
    text = cards_seen_csv([SeenCard(bytes(7), member_name="=1+1")])
    assert "'=1+1" in text


def test_what_another_till_signed_is_not_this_ones(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    """A batch under this till's number that another key signed says nothing of it."""
    forger = office.world.till("Toko Dua")
    forged = ModelTill(till.terminal_id, forger.key, till.seller)
    forged.sell(card, Rupiah(1_000))
    take_away(office, till)
    office.refused(forged.batch(), "CENTRAL-TERMINAL-BLOCKED", 403)
    assert cards_seen(office.world.central.database, till.terminal_id) == []
