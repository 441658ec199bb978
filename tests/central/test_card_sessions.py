"""Issuing and crediting cards over the relay: exactly once, whatever is torn."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from sqlalchemy import select, text
from starlette.testclient import TestClient, WebSocketDenialResponse

from dobmi.central.app import create_app
from dobmi.central.cards import card_row, require_usable, set_blocked, statement_of
from dobmi.central.circulation import circulation
from dobmi.central.errors import CardHasExpired, CardNotActive
from dobmi.central.replacement import replace_card
from dobmi.central.schema import CardState, card_transactions
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.faults import FaultyCard, Moment, at_command, at_frame
from dobmi.money import ZERO, Rupiah
from dobmi.sync.cbor import CborValue
from dobmi.sync.http import CARD_SESSIONS_PATH
from dobmi.sync.relay import (
    Action,
    CardGone,
    CreditResult,
    Done,
    Failed,
    IssueResult,
    RekeyResult,
    RelayMessage,
    Responses,
    Start,
    decode_relay,
    encode_relay,
)
from dobmi.wib import WIB
from support.card_sessions import deliver, issue, relay
from support.central_client import Office
from support.purses import purse_of, ring_in
from support.traffic import ModelTill, World

COMMIT_TRANSACTION = 0xC7


@pytest.fixture
def station(office: Office) -> ModelTill:
    return office.world.station()


@pytest.fixture
def card(office: Office, station: ModelTill) -> SimulatedCard:
    """Issued to Siti."""
    card = SimulatedCard()
    assert isinstance(issue(office.client, station, card), Done)
    return card


def order(
    office: Office, station: ModelTill, card: SimulatedCard, amount: int, key: str = "order-0001"
) -> dict[str, object]:
    answer = office.signed(
        station,
        "POST",
        "/v1/credits",
        {
            "card_uid": card.uid.hex().upper(),
            "amount_rupiah": amount,
            "source": "cash",
            "idempotency_key": key,
        },
    )
    content: dict[str, object] = answer.json()
    return content | {"http_status": answer.status_code}


def balance(office: Office, card: SimulatedCard) -> Rupiah:
    """As the card says it, which must be what the ledger says."""
    on_card = purse_of(card, office.world.central.keys).read().balance
    assert statement_of(office.world.central, card.uid).balance == on_card
    assert circulation(office.world.central).difference == ZERO
    return on_card


def test_a_blank_card_becomes_a_members_purse(office: Office, station: ModelTill) -> None:
    card = SimulatedCard()
    done = issue(office.client, station, card)
    assert isinstance(done, Done)
    result = IssueResult.from_cbor(done.result)
    assert (result.card_serial, result.resumed) == (1, False)
    view = purse_of(card, office.world.central.keys).read()
    assert (view.holder.member_number, view.holder.name) == (4711, "Siti Aminah")
    statement = statement_of(office.world.central, card.uid)
    assert (statement.state, statement.balance) == (CardState.ACTIVE, ZERO)


def test_a_credit_is_ordered_delivered_and_posted(
    office: Office, station: ModelTill, card: SimulatedCard
) -> None:
    assert order(office, station, card, 50_000)["http_status"] == 201
    assert circulation(office.world.central).in_flight == Rupiah(50_000)
    done = deliver(office.client, office.world.till(), card)
    assert isinstance(done, Done)
    result = CreditResult.from_cbor(done.result)
    assert result == CreditResult(delivered=((1, Rupiah(50_000)),), balance=Rupiah(50_000))
    assert balance(office, card) == Rupiah(50_000)
    assert circulation(office.world.central).in_flight == ZERO
    assert statement_of(office.world.central, card.uid).transactions[0].card_mac_verified


def test_several_credits_come_in_one_session_and_then_none(
    office: Office, station: ModelTill, card: SimulatedCard
) -> None:
    for number in range(3):
        order(office, station, card, 10_000 + number, key=f"order-{number:04}")
    done = deliver(office.client, station, card)
    assert isinstance(done, Done)
    assert len(CreditResult.from_cbor(done.result).delivered) == 3
    assert balance(office, card) == Rupiah(30_003)
    again = deliver(office.client, station, card)
    assert isinstance(again, Done)
    assert CreditResult.from_cbor(again.result).delivered == ()


def frames_of_a_credit(office: Office, station: ModelTill, card: SimulatedCard) -> int:
    counted = FaultyCard(card)
    order(office, station, card, 1_000, key="counting")
    assert isinstance(deliver(office.client, station, counted), Done)
    return counted.frames_seen


class TestNewKeys:
    """`rekey` over the relay; a generation was added, and the server restarted with it."""

    @pytest.fixture
    def card(self, office: Office, station: ModelTill) -> SimulatedCard:
        card = SimulatedCard()
        assert isinstance(issue(office.client, station, card), Done)
        order(office, station, card, 50_000)
        assert isinstance(deliver(office.client, station, card), Done)
        return card

    @pytest.fixture
    def renewed(self, office: Office, card: SimulatedCard) -> Iterator[Office]:
        """The same books, another process."""
        del card
        central = replace(office.world.central, keys=ring_in(office.world.central.keys).renewed())
        with TestClient(create_app(central)) as client:
            yield Office(World(central), client)

    def test_a_station_brings_a_card_to_the_newest_keys(
        self, renewed: Office, station: ModelTill, card: SimulatedCard
    ) -> None:
        for changed in (4, 0):
            done = relay(renewed.client, station, card, Action.REKEY)
            assert isinstance(done, Done)
            result = RekeyResult.from_cbor(done.result)
            assert result == RekeyResult(generation=2, changed_count=changed)
        assert statement_of(renewed.world.central, card.uid).key_version == 2
        assert balance(renewed, card) == Rupiah(50_000)

    def test_a_till_may_too(self, renewed: Office, card: SimulatedCard) -> None:
        done = relay(renewed.client, renewed.world.till(), card, Action.REKEY)
        assert isinstance(done, Done)
        assert RekeyResult.from_cbor(done.result).changed_count == 4

    def test_a_blocked_card_keeps_its_keys(
        self, renewed: Office, station: ModelTill, card: SimulatedCard
    ) -> None:
        set_blocked(renewed.world.central, card.uid, "hilang", blocked=True, by_terminal=None)
        last = relay(renewed.client, station, card, Action.REKEY)
        assert isinstance(last, Failed)
        assert (last.code, last.money_moved) == ("CENTRAL-CARD-BLOCKED", "no")

    @pytest.mark.parametrize("moment", Moment)
    def test_torn_at_any_frame_credits_still_come_and_it_goes_on(
        self, office: Office, renewed: Office, station: ModelTill, moment: Moment
    ) -> None:
        for index in range(18):
            card = SimulatedCard()
            member = 5000 + index
            assert isinstance(issue(office.client, station, card, member, "Budi"), Done)
            torn = relay(
                renewed.client, station, FaultyCard(card, [at_frame(index, moment)]), Action.REKEY
            )
            assert isinstance(torn, Failed), index
            assert torn.money_moved == "no"
            order(renewed, station, card, 500, key=f"torn-{moment.value}-{index}")
            assert isinstance(deliver(renewed.client, station, card), Done), index
            done = relay(renewed.client, station, card, Action.REKEY)
            assert isinstance(done, Done), index
            assert balance(renewed, card) == Rupiah(500)
        assert circulation(renewed.world.central).in_flight == ZERO

    def test_issuing_that_began_under_the_old_keys_ends_under_the_new(
        self, office: Office, renewed: Office, station: ModelTill
    ) -> None:
        card = SimulatedCard()
        assert isinstance(
            issue(office.client, station, FaultyCard(card, [at_frame(20, Moment.AFTER)]), 4712),
            Failed,
        )
        assert isinstance(issue(renewed.client, station, card, 4712), Done)
        order(renewed, station, card, 700, key="after-issue")
        assert isinstance(deliver(renewed.client, station, card), Done)
        assert balance(renewed, card) == Rupiah(700)
        assert renewed.anomalies() == set()


@pytest.mark.parametrize("moment", Moment)
def test_a_credit_torn_at_any_frame_arrives_exactly_once(
    office: Office, station: ModelTill, card: SimulatedCard, moment: Moment
) -> None:
    frames = frames_of_a_credit(office, station, card)
    expected = Rupiah(1_000)
    for index in range(frames):
        order(office, station, card, 500, key=f"tear-{moment.value}-{index}")
        torn = deliver(office.client, station, FaultyCard(card, [at_frame(index, moment)]))
        assert isinstance(torn, Failed), index
        # Only the last frame, the commit, leaves it open whether the money moved.
        assert torn.money_moved == ("unknown" if index == frames - 1 else "no")
        done = deliver(office.client, station, card)
        assert isinstance(done, Done), done
        assert [amount for _, amount in CreditResult.from_cbor(done.result).delivered] == [
            Rupiah(500)
        ]
        expected += Rupiah(500)
        assert balance(office, card) == expected
    assert office.anomalies() == set()
    with office.world.central.database.read() as connection:
        verified = connection.execute(select(card_transactions.c.card_mac_verified)).scalars()
        assert all(verified)


def test_a_station_that_vanishes_at_the_commit_leaves_the_credit_in_doubt(
    office: Office, station: ModelTill, card: SimulatedCard
) -> None:
    order(office, station, card, 7_000)

    def vanish(command: bytes, response: bytes) -> bytes | None:
        return None if command[1] == COMMIT_TRANSACTION else response

    assert relay(office.client, station, card, Action.CREDIT, spoil=vanish) is None
    (waiting,) = statement_of(office.world.central, card.uid).credits_waiting
    assert waiting.state == "in_doubt"
    assert isinstance(deliver(office.client, station, card), Done)
    assert balance(office, card) == Rupiah(7_000)


@pytest.mark.parametrize(
    "answer",
    [b"\x91\x00", bytes(10) + b"\x91\x00", bytes(12) + b"\x91\x00", bytes(20) + b"\x91\x00"],
    ids=["cut", "short", "no-mac", "wrong-mac"],
)
def test_a_forged_answer_to_the_commit_is_not_believed(
    office: Office, station: ModelTill, card: SimulatedCard, answer: bytes
) -> None:
    order(office, station, card, 7_000)

    def forge(command: bytes, response: bytes) -> bytes:
        return answer if command[1] == COMMIT_TRANSACTION else response

    last = relay(office.client, station, card, Action.CREDIT, spoil=forge)
    assert isinstance(last, Failed)
    assert last.money_moved == "unknown"
    assert circulation(office.world.central).in_flight == Rupiah(7_000)
    assert isinstance(deliver(office.client, station, card), Done)
    assert balance(office, card) == Rupiah(7_000)


@pytest.mark.parametrize(
    "lie",
    [Responses((b"\x91\xbe",)), CardGone("CARD-REMOVED", ()), CardGone("CARD-REMOVED")],
    ids=["refused", "gone-before", "gone"],
)
def test_a_station_that_commits_and_says_that_it_did_not_gains_nothing(
    office: Office, station: ModelTill, card: SimulatedCard, lie: RelayMessage
) -> None:
    """It passes the whole of the last group on to the card, and tells of a failure before the commit."""
    order(office, station, card, 7_000)

    def commit_and_lie(command: bytes, response: bytes) -> bytes | RelayMessage:
        return lie if command[1] == COMMIT_TRANSACTION else response

    last = relay(office.client, station, card, Action.CREDIT, spoil=commit_and_lie)
    assert isinstance(last, Failed)
    (waiting,) = statement_of(office.world.central, card.uid).credits_waiting
    assert waiting.state == "in_doubt", "whatever the station says"
    assert isinstance(deliver(office.client, station, card), Done)
    assert balance(office, card) == Rupiah(7_000)
    assert office.anomalies() == set()


def test_answers_of_another_group_are_no_answers(
    office: Office, station: ModelTill, card: SimulatedCard
) -> None:
    """The station answers the last group with what the card said to the one before."""
    order(office, station, card, 7_000)
    before: list[bytes] = []

    def repeat(command: bytes, response: bytes) -> bytes | RelayMessage:
        if command[1] == 0x0C:  # Credit: nothing of this group reaches anybody
            return Responses((*before[-3:], before[-1]))
        before.append(response)
        return response

    last = relay(office.client, station, card, Action.CREDIT, spoil=repeat)
    assert isinstance(last, Failed)
    assert isinstance(deliver(office.client, station, card), Done)
    assert balance(office, card) == Rupiah(7_000)


@pytest.mark.parametrize(
    "nonsense",
    [Responses((b"\x91\x00", b"\x91\x00")), CardGone("CARD-REMOVED"), Done({})],
    ids=["two-answers", "gone", "another-message"],
)
def test_a_station_out_of_step_ends_the_session_with_nothing_moved(
    office: Office,
    station: ModelTill,
    card: SimulatedCard,
    nonsense: Responses | CardGone | Done,
) -> None:
    order(office, station, card, 7_000)
    last = relay(office.client, station, card, Action.CREDIT, spoil=lambda *_: nonsense)
    assert isinstance(last, Failed)
    assert last.money_moved == "no"
    assert balance(office, card) == ZERO


def test_a_station_that_takes_for_ever_is_not_waited_for(
    office: Office, station: ModelTill, card: SimulatedCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each answer in time, the session without end: it would keep a thread of the server."""
    order(office, station, card, 7_000)
    with monkeypatch.context() as patch:
        patch.setattr("dobmi.central.relay_session.SESSION_SECONDS_MAX", 0.05)

        def slowly(_command: bytes, response: bytes) -> bytes:
            time.sleep(0.02)
            return response

        last = relay(office.client, station, card, Action.CREDIT, spoil=slowly)
    assert isinstance(last, Failed)
    assert last.money_moved == "no"
    assert isinstance(deliver(office.client, station, card), Done)
    assert balance(office, card) == Rupiah(7_000)


def test_sessions_that_wait_for_their_stations_keep_nobody_else_waiting(
    office: Office, station: ModelTill, card: SimulatedCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forty slow stations would hold all the threads in which everything else is done."""
    order(office, station, card, 7_000)
    served = []

    def look(_command: bytes, response: bytes) -> bytes:
        served.append(office.client.get("/healthz").status_code)
        return response

    monkeypatch.setattr("dobmi.central.app._card_sessions", anyio.CapacityLimiter(1))
    assert office.client.portal is not None
    office.client.portal.call(_leave_one_thread)
    assert isinstance(relay(office.client, station, card, Action.CREDIT, spoil=look), Done)
    assert set(served) == {200}


async def _leave_one_thread() -> None:
    anyio.to_thread.current_default_thread_limiter().total_tokens = 1


def test_a_session_must_be_signed_and_is_opened_once(office: Office, station: ModelTill) -> None:
    def refused(header: str) -> str:
        with (
            pytest.raises(WebSocketDenialResponse) as denial,
            office.client.websocket_connect(CARD_SESSIONS_PATH, headers={"authorization": header}),
        ):
            raise AssertionError
        return str(denial.value.json()["code"])

    assert refused("") == "SYNC-MALFORMED"
    assert refused(station.authorization("GET", "/v1/feed")) == "SYNC-SIGNATURE"
    header = station.authorization("GET", CARD_SESSIONS_PATH)
    with office.client.websocket_connect(CARD_SESSIONS_PATH, headers={"authorization": header}):
        pass
    assert refused(header) == "CENTRAL-REPLAY"


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?action=credit",
        "?action=credit&uid={other}",
        "?action=issue&uid={uid}",
        "?action=credit&uid={uid}&uid={other}",
    ],
)
def test_a_session_is_for_the_action_and_card_of_its_signed_handshake_alone(
    office: Office, station: ModelTill, card: SimulatedCard, query: str
) -> None:
    """Who listens in on the network cannot use the session for another card or another end."""
    order(office, station, card, 5_000)
    path = CARD_SESSIONS_PATH + query.format(uid=card.uid.hex().upper(), other="04112233445566")
    header = station.authorization("GET", path)
    with office.client.websocket_connect(path, headers={"authorization": header}) as socket:
        socket.send_bytes(encode_relay(Start(Action.CREDIT, card.uid)))
        last = decode_relay(socket.receive_bytes())
    assert isinstance(last, Failed)
    assert (last.code, last.money_moved) == ("CENTRAL-OTHER-SESSION", "no")
    assert balance(office, card) == ZERO


@pytest.mark.parametrize("first", [b"", b"\xff\xff", bytes(20_000), b"\xa1\x01\x01"])
def test_a_session_that_begins_with_garbage_is_told_so(
    office: Office, station: ModelTill, first: bytes
) -> None:
    header = station.authorization("GET", CARD_SESSIONS_PATH)
    with office.client.websocket_connect(
        CARD_SESSIONS_PATH, headers={"authorization": header}
    ) as socket:
        socket.send_bytes(first)
        last = decode_relay(socket.receive_bytes())
    assert isinstance(last, Failed)
    assert last.code == "SYNC-MALFORMED"


def code_of(last: Done | Failed | None) -> str:
    assert isinstance(last, Failed), last
    return last.code


def test_a_till_may_not_issue(office: Office) -> None:
    assert code_of(issue(office.client, office.world.till(), SimulatedCard())) == "CENTRAL-ROLE"


@pytest.mark.parametrize("moment", Moment)
def test_issuing_torn_at_any_frame_goes_on_with_the_same_serial(
    office: Office, station: ModelTill, moment: Moment
) -> None:
    counted = FaultyCard(SimulatedCard())
    assert isinstance(issue(office.client, station, counted, 1, "Anggota"), Done)
    for number, index in enumerate(range(0, counted.frames_seen, 3), start=2):
        card = SimulatedCard()
        torn = FaultyCard(card, [at_frame(index, moment)])
        last = issue(office.client, station, torn, number, f"Anggota {number}")
        if not isinstance(last, Done):
            assert code_of(last) == "CARD-REMOVED"
            last = issue(office.client, station, card, number, f"Anggota {number}")
        assert isinstance(last, Done), last
        assert IssueResult.from_cbor(last.result).card_serial == number
        assert purse_of(card, office.world.central.keys).read().holder.member_number == number


def test_a_half_issued_card_is_not_given_to_another_member(
    office: Office, station: ModelTill
) -> None:
    card = SimulatedCard()
    torn = FaultyCard(card, [at_frame(12)])
    assert code_of(issue(office.client, station, torn)) == "CARD-REMOVED"
    assert code_of(issue(office.client, station, card, 99, "Budi")) == "CENTRAL-CARD-BEGUN"
    assert order(office, station, card, 1_000)["code"] == "CENTRAL-CARD-NOT-ACTIVE"
    assert isinstance(issue(office.client, station, card), Done)


def test_a_card_blocked_before_it_was_issued_is_to_be_issued_when_it_is_unblocked(
    office: Office, station: ModelTill
) -> None:
    central = office.world.central
    card = SimulatedCard()
    torn = FaultyCard(card, [at_frame(12)])
    assert code_of(issue(office.client, station, torn)) == "CARD-REMOVED"
    set_blocked(central, card.uid, "hilang", blocked=True, by_terminal=None)
    assert code_of(issue(office.client, station, card)) == "CENTRAL-CARD-BLOCKED"
    with pytest.raises(CardNotActive):
        replace_card(central, card.uid, "hilang", by_terminal=None)
    set_blocked(central, card.uid, "ketemu", blocked=False, by_terminal=None)
    assert statement_of(central, card.uid).state == CardState.ISSUING
    assert order(office, station, card, 1_000)["code"] == "CENTRAL-CARD-NOT-ACTIVE"
    assert isinstance(issue(office.client, station, card), Done)
    assert order(office, station, card, 1_000)["http_status"] == 201


def test_a_card_blocked_while_its_issuing_is_being_finished_is_active_when_it_is_unblocked(
    office: Office, station: ModelTill
) -> None:
    central = office.world.central
    card = SimulatedCard()
    frames = FaultyCard(SimulatedCard())
    issue(office.client, station, frames, 99, "Budi")
    seen = 0

    def block(_command: bytes, response: bytes) -> bytes:
        nonlocal seen
        seen += 1
        if seen == frames.frames_seen:
            set_blocked(central, card.uid, "hilang", blocked=True, by_terminal=None)
        return response

    parameters: dict[int, CborValue] = {1: 4711, 2: "Siti Aminah"}
    last = relay(office.client, station, card, Action.ISSUE, parameters, spoil=block)
    assert code_of(last) == "CENTRAL-CARD-BLOCKED"
    set_blocked(central, card.uid, "ketemu", blocked=False, by_terminal=None)
    assert statement_of(central, card.uid).state == CardState.ACTIVE
    assert order(office, station, card, 1_000)["http_status"] == 201


def test_an_issued_card_is_not_given_to_another_member_and_issuing_again_changes_nothing(
    office: Office, station: ModelTill, card: SimulatedCard
) -> None:
    assert code_of(issue(office.client, station, card, 99, "Budi")) == "CENTRAL-CARD-OTHER-MEMBER"
    again = issue(office.client, station, card)
    assert isinstance(again, Done)
    assert IssueResult.from_cbor(again.result).card_serial == 1


def test_a_member_has_one_active_card_and_gets_another_when_it_is_blocked(
    office: Office, station: ModelTill, card: SimulatedCard
) -> None:
    second = SimulatedCard()
    last = issue(office.client, station, second)
    assert isinstance(last, Failed)
    assert last.code == "CENTRAL-MEMBER-HAS-CARD"
    assert card.uid.hex() in last.text
    set_blocked(office.world.central, card.uid, "hilang", blocked=True, by_terminal=None)
    assert isinstance(issue(office.client, station, second), Done)
    assert code_of(issue(office.client, station, card)) == "CENTRAL-CARD-BLOCKED"
    found_again = office.signed(
        station, "POST", f"/v1/cards/{card.uid.hex()}/unblock", {"reason": "ketemu"}
    )
    assert (found_again.status_code, found_again.json()["code"]) == (409, "CENTRAL-MEMBER-HAS-CARD")
    assert statement_of(office.world.central, card.uid).state == "blocked"


def test_a_member_is_not_given_two_names(
    office: Office, station: ModelTill, card: SimulatedCard
) -> None:
    set_blocked(office.world.central, card.uid, "hilang", blocked=True, by_terminal=None)
    last = issue(office.client, station, SimulatedCard(), 4711, "Siti Aminnah")
    assert code_of(last) == "CENTRAL-MEMBER-NAME"


@pytest.mark.parametrize(("number", "name"), [(0, "Siti"), (1, ""), (1, "é" * 20), (1, "a\0b")])
def test_a_holder_that_does_not_fit_is_refused(
    office: Office, station: ModelTill, number: int, name: str
) -> None:
    last = issue(office.client, station, SimulatedCard(), number, name)
    assert code_of(last) == ("SYNC-MALFORMED" if "\0" in name else "CENTRAL-PARAMETERS")
    with office.world.central.database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM cards")).scalar_one() == 0


def test_a_blocked_card_is_given_no_credit(
    office: Office, station: ModelTill, card: SimulatedCard
) -> None:
    order(office, station, card, 7_000)
    set_blocked(office.world.central, card.uid, "hilang", blocked=True, by_terminal=None)
    assert code_of(deliver(office.client, station, card)) == "CENTRAL-CARD-BLOCKED"
    assert order(office, station, card, 1, key="order-0002")["code"] == "CENTRAL-CARD-BLOCKED"
    assert balance(office, card) == ZERO


def test_a_cards_last_day_ends_at_midnight_in_jakarta(office: Office, card: SimulatedCard) -> None:
    """As at the tills: seven hours before it ends by the server's own clock, which is UTC."""
    last_day = statement_of(office.world.central, card.uid).expires
    midnight = datetime(last_day.year, last_day.month, last_day.day, tzinfo=WIB) + timedelta(days=1)
    for seconds, expired in ((-1, False), (0, True)):
        now = int(midnight.timestamp()) + seconds
        with office.world.central.database.read() as connection:
            row = card_row(connection, card.uid)
        if expired:
            with pytest.raises(CardHasExpired):
                require_usable(row, now)
        else:
            require_usable(row, now)


def test_a_card_blocked_while_it_is_credited_is_not_committed(
    office: Office, station: ModelTill, card: SimulatedCard
) -> None:
    order(office, station, card, 7_000)

    def block(command: bytes, response: bytes) -> bytes:
        if command[1] == 0x6C:  # GetValue, the last before the commit is sent
            set_blocked(office.world.central, card.uid, "hilang", blocked=True, by_terminal=None)
        return response

    last = relay(office.client, station, card, Action.CREDIT, spoil=block)
    assert code_of(last) == "CENTRAL-CARD-BLOCKED"
    assert balance(office, card) == ZERO


def test_one_order_makes_one_credit(
    office: Office, station: ModelTill, card: SimulatedCard
) -> None:
    first = order(office, station, card, 5_000)
    again = order(office, station, card, 5_000)
    assert (first.pop("http_status"), again.pop("http_status")) == (201, 200)
    assert first == again
    conflict = order(office, station, card, 6_000)
    assert (conflict["http_status"], conflict["code"]) == (409, "CENTRAL-IDEMPOTENCY")
    assert circulation(office.world.central).issued == Rupiah(5_000)


@pytest.mark.parametrize("amount", [0, -1, 1.5, "5000", True, None, 2_000_001, 1 << 60])
def test_an_amount_that_is_none_is_refused(
    office: Office, station: ModelTill, card: SimulatedCard, amount: object
) -> None:
    answer = office.signed(
        station,
        "POST",
        "/v1/credits",
        {
            "card_uid": card.uid.hex(),
            "amount_rupiah": amount,
            "source": "cash",
            "idempotency_key": "order-0001",
        },
    )
    assert answer.status_code == 422
    assert answer.json()["code"] in {"CENTRAL-PARAMETERS", "CENTRAL-AMOUNT"}
    assert circulation(office.world.central).issued == ZERO


def test_what_waits_counts_towards_the_cards_limit(
    office: Office, station: ModelTill, card: SimulatedCard
) -> None:
    order(office, station, card, 1_500_000)
    refused = order(office, station, card, 500_001, key="order-0002")
    assert (refused["http_status"], refused["code"]) == (409, "CENTRAL-BALANCE-LIMIT")
    assert order(office, station, card, 500_000, key="order-0003")["http_status"] == 201


def test_a_card_rolled_back_to_an_earlier_state_is_given_no_credit(
    office: Office, station: ModelTill, card: SimulatedCard, tmp_path: Path
) -> None:
    card.save(tmp_path / "earlier.json")
    order(office, station, card, 5_000)
    assert isinstance(deliver(office.client, station, card), Done)
    earlier = SimulatedCard.load(tmp_path / "earlier.json")
    order(office, station, card, 1_000, key="order-0002")
    assert code_of(deliver(office.client, station, earlier)) == "CENTRAL-CREDIT-STATE"
    assert office.anomalies() == {"wrong-credit-state"}
    assert isinstance(deliver(office.client, station, card), Done)
    assert balance(office, card) == Rupiah(6_000)


def test_a_credit_that_is_delivered_meanwhile_is_not_committed_to_a_copy(
    office: Office, station: ModelTill, card: SimulatedCard, tmp_path: Path
) -> None:
    card.save(tmp_path / "copy.json")
    copy = SimulatedCard.load(tmp_path / "copy.json")
    order(office, station, card, 5_000)

    def deliver_to_the_other(command: bytes, response: bytes) -> bytes:
        if command[1] == 0x6C:  # GetValue, the last before the commit is sent
            assert isinstance(deliver(office.client, station, card), Done)
        return response

    last = relay(office.client, station, copy, Action.CREDIT, spoil=deliver_to_the_other)
    assert code_of(last) == "CENTRAL-CREDIT-STATE"
    assert office.anomalies() == {"wrong-credit-state"}
    assert purse_of(copy, office.world.central.keys).read().balance == ZERO
    assert balance(office, card) == Rupiah(5_000)


def test_a_card_that_is_not_the_announced_one_is_not_credited(
    office: Office, station: ModelTill, card: SimulatedCard
) -> None:
    """The station lays another purse on the reader than it told the server."""
    order(office, station, card, 7_000)
    other = SimulatedCard()
    assert isinstance(issue(office.client, station, other, 99, "Budi"), Done)

    class Swapped:
        uid = card.uid
        process = other.process
        power_off = other.power_off

    last = deliver(office.client, station, Swapped())
    assert isinstance(last, Failed)
    assert last.money_moved == "no"
    assert balance(office, card) == balance(office, other) == ZERO


def test_a_lost_commit_settled_by_the_tills_next_sale_is_not_delivered_again(
    office: Office, station: ModelTill, card: SimulatedCard
) -> None:
    order(office, station, card, 7_000)
    torn = FaultyCard(card, [at_command(COMMIT_TRANSACTION)])
    assert isinstance(deliver(office.client, station, torn), Failed)
    purse = purse_of(card, office.world.central.keys)
    till = office.world.till()
    purse.begin_sale(till.next_reader_id)
    prepared = purse.prepare_debit(Rupiah(2_000), 1_800_000_000)
    purse.stage(prepared)
    last = purse.commit()
    till.append_evidence(card.uid, prepared.evidence, Rupiah(2_000), last.counter, last.mac)
    assert office.acknowledged(till.batch()).quarantined == ()
    assert balance(office, card) == Rupiah(5_000)
    done = deliver(office.client, station, card)
    assert isinstance(done, Done)
    assert CreditResult.from_cbor(done.result).delivered == ()


def test_a_lost_commit_followed_by_an_unreported_sale_is_settled_by_the_cards_own_state(
    office: Office, station: ModelTill, card: SimulatedCard
) -> None:
    order(office, station, card, 7_000)
    torn = FaultyCard(card, [at_command(COMMIT_TRANSACTION)])
    assert isinstance(deliver(office.client, station, torn), Failed)
    purse = purse_of(card, office.world.central.keys)
    till = office.world.till()
    purse.begin_sale(till.next_reader_id)
    prepared = purse.prepare_debit(Rupiah(2_000), 1_800_000_000)
    purse.stage(prepared)
    last = purse.commit()
    order(office, station, card, 1_000, key="order-0002")
    done = deliver(office.client, station, card)
    assert isinstance(done, Done)
    assert CreditResult.from_cbor(done.result) == CreditResult(
        delivered=((1, Rupiah(7_000)), (2, Rupiah(1_000))), balance=Rupiah(6_000)
    )
    till.append_evidence(card.uid, prepared.evidence, Rupiah(2_000), last.counter, last.mac)
    assert office.acknowledged(till.batch()).quarantined == ()
    assert balance(office, card) == Rupiah(6_000)
    assert office.anomalies() == set()
