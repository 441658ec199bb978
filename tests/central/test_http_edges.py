"""Who may ask what, over HTTP: enrolment, signed requests, the feed, the description."""

from __future__ import annotations

import dataclasses
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dobmi.central.cards import set_blocked
from dobmi.central.schema import Role, TerminalStatus
from dobmi.central.terminals import invite, list_terminals, set_terminal_status
from dobmi.money import Rupiah
from dobmi.sync.enrolment import Invitation, encode_enrol_request, verify_enrolment
from dobmi.sync.errors import StaleFeed, WrongSignature
from dobmi.sync.feed import verify_feed
from dobmi.sync.request_signature import CLOCK_DIFFERENCE_SECONDS_MAX
from support.central_client import Office
from support.traffic import START, ModelTill


def ask_in(office: Office, invitation: Invitation, key: Ed25519PrivateKey) -> tuple[int, bytes]:
    request = encode_enrol_request(invitation.code, key.public_key().public_bytes_raw(), key.sign)
    answer = office.client.post(
        "/v1/terminals", content=request, headers={"content-type": "application/cose"}
    )
    return answer.status_code, answer.content


def test_an_invitation_takes_in_one_key_and_answers_it_again(office: Office) -> None:
    invitation = invite(office.world.central, Role.TILL, "Kasir 1", "Toko BMI")
    key = Ed25519PrivateKey.generate()
    status, first = ask_in(office, invitation, key)
    assert status == 201
    enrolment = verify_enrolment(first, invitation, key.public_key().public_bytes_raw())
    assert (enrolment.issuer, enrolment.seller) == ("Koperasi BMI", "Toko BMI")
    assert ask_in(office, invitation, key) == (201, first)
    status, refused = ask_in(office, invitation, Ed25519PrivateKey.generate())
    assert (status, json.loads(refused)["code"]) == (403, "CENTRAL-INVITATION-USED")
    assert len(list_terminals(office.world.central)) == 1


def test_a_key_is_enrolled_once(office: Office) -> None:
    key = Ed25519PrivateKey.generate()
    for code, status in (("", 201), ("CENTRAL-KEY-ENROLLED", 409)):
        invitation = invite(office.world.central, Role.TILL, "Kasir 1", "Toko BMI")
        answered, content = ask_in(office, invitation, key)
        assert answered == status
        assert not code or json.loads(content)["code"] == code


def test_unknown_and_expired_invitations_are_refused(office: Office) -> None:
    central = office.world.central
    key = Ed25519PrivateKey.generate()
    unknown = Invitation.make(b"unseen", central.public_key)
    status, content = ask_in(office, unknown, key)
    assert (status, json.loads(content)["code"]) == (403, "CENTRAL-INVITATION-UNKNOWN")
    expired = invite(central, Role.TILL, "Kasir 1", "Toko BMI", valid_seconds=-1)
    status, content = ask_in(office, expired, key)
    assert (status, json.loads(content)["code"]) == (403, "CENTRAL-INVITATION-EXPIRED")
    assert list_terminals(central) == []


def test_a_key_that_is_not_proved_is_refused(office: Office) -> None:
    invitation = invite(office.world.central, Role.TILL, "Kasir 1", "Toko BMI")
    claimed = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    request = encode_enrol_request(invitation.code, claimed, Ed25519PrivateKey.generate().sign)
    answer = office.client.post(
        "/v1/terminals", content=request, headers={"content-type": "application/cose"}
    )
    assert (answer.status_code, answer.json()["code"]) == (401, "SYNC-SIGNATURE")


@pytest.fixture
def till(office: Office) -> ModelTill:
    return office.world.till()


def feed_at(office: Office, till: ModelTill, since: int) -> bytes:
    answer = office.signed(till, "GET", f"/v1/feed?since={since}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/cose"
    return answer.content


def test_the_feed_brings_only_what_changed(office: Office, till: ModelTill) -> None:
    central = office.world.central
    first, second = (office.world.card(number).uid for number in (1, 2))
    empty = verify_feed(feed_at(office, till, 0), central.public_key, 0)
    assert (empty.version, empty.blocked, empty.limits.sale_max) == (0, (), Rupiah(2_000_000))
    set_blocked(central, first, "hilang", blocked=True, by_terminal=None)
    one = verify_feed(feed_at(office, till, 0), central.public_key, 0)
    assert (one.version, one.since, one.blocked) == (1, 0, (first,))
    set_blocked(central, second, "hilang", blocked=True, by_terminal=None)
    set_blocked(central, first, "ketemu", blocked=False, by_terminal=None)
    delta = verify_feed(feed_at(office, till, 1), central.public_key, 1)
    assert (delta.version, delta.since) == (3, 1)
    assert (delta.blocked, delta.unblocked) == ((second,), (first,))
    whole = verify_feed(feed_at(office, till, 0), central.public_key, 0)
    assert (whole.blocked, whole.unblocked) == ((second,), ())
    same = verify_feed(feed_at(office, till, 3), central.public_key, 3)
    assert (same.since, same.blocked, same.unblocked) == (3, (), ())


def test_a_version_the_server_never_had_gets_a_whole_feed(office: Office, till: ModelTill) -> None:
    card = office.world.card(1)
    set_blocked(office.world.central, card.uid, "hilang", blocked=True, by_terminal=None)
    whole = verify_feed(feed_at(office, till, 99), office.world.central.public_key, 0)
    assert (whole.since, whole.blocked) == (0, (card.uid,))


def test_a_forged_or_old_feed_is_refused_by_the_till(office: Office, till: ModelTill) -> None:
    public_key = office.world.central.public_key
    content = feed_at(office, till, 0)
    card = office.world.card(1)
    set_blocked(office.world.central, card.uid, "hilang", blocked=True, by_terminal=None)
    with pytest.raises(StaleFeed):
        verify_feed(content, public_key, 1)
    forged = content[:-1] + bytes([content[-1] ^ 1])
    with pytest.raises(WrongSignature):
        verify_feed(forged, public_key, 0)
    with pytest.raises(WrongSignature):
        verify_feed(content, till.public_key, 0)


def test_the_feed_hints_at_waiting_credits(office: Office, till: ModelTill) -> None:
    card = office.world.card(1)
    office.world.top_up_in_doubt(office.world.station(), card, Rupiah(1_000))
    feed = verify_feed(feed_at(office, till, 0), office.world.central.public_key, 0)
    assert feed.credits_waiting == (card.uid,)


@pytest.mark.parametrize(
    ("header", "code", "status"),
    [
        ("", "SYNC-MALFORMED", 400),
        ("Bearer x", "SYNC-MALFORMED", 400),
        ("DoBMI !!!", "SYNC-MALFORMED", 400),
        ("DoBMI AAAA", "SYNC-MALFORMED", 400),
    ],
)
def test_a_request_without_a_signature_is_refused(
    office: Office, header: str, code: str, status: int
) -> None:
    answer = office.client.get("/v1/feed?since=0", headers={"authorization": header})
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_a_signature_is_good_for_one_request_only(office: Office, till: ModelTill) -> None:
    def get(path: str, header: str) -> str:
        answer = office.client.get(path, headers={"authorization": header})
        return str(answer.json()["code"])

    header = till.authorization("GET", "/v1/feed?since=0")
    assert get("/v1/feed?since=1", header) == "SYNC-SIGNATURE"
    stranger = dataclasses.replace(till, terminal_id=99)
    header = stranger.authorization("GET", "/v1/feed?since=0")
    assert get("/v1/feed?since=0", header) == "CENTRAL-UNKNOWN-TERMINAL"
    thief = dataclasses.replace(till, key=Ed25519PrivateKey.generate())
    header = thief.authorization("GET", "/v1/feed?since=0")
    assert get("/v1/feed?since=0", header) == "SYNC-SIGNATURE"
    late = START - CLOCK_DIFFERENCE_SECONDS_MAX - 1
    header = till.authorization("GET", "/v1/feed?since=0", at=late)
    assert get("/v1/feed?since=0", header) == "SYNC-CLOCK"


def test_a_signed_order_is_served_once(office: Office) -> None:
    station = office.world.station()
    card = office.world.card(1)
    path = f"/v1/cards/{card.uid.hex()}/block"
    body = b'{"reason":"hilang"}'
    headers = {
        "authorization": station.authorization("POST", path, body),
        "content-type": "application/json",
    }
    first = office.client.post(path, content=body, headers=headers)
    assert first.json() == {
        "card_uid": card.uid.hex().upper(),
        "blocked": True,
        "feed_version": 1,
    }
    again = office.client.post(path, content=body, headers=headers)
    assert (again.status_code, again.json()["code"]) == (401, "CENTRAL-REPLAY")


def test_a_till_may_not_do_what_a_station_may(office: Office, till: ModelTill) -> None:
    card = office.world.card(1)
    order = {
        "card_uid": card.uid.hex(),
        "amount_rupiah": 1_000,
        "source": "cash",
        "idempotency_key": "abcdefgh",
    }
    requests = [
        ("POST", "/v1/credits", order),
        ("GET", f"/v1/cards/{card.uid.hex()}", None),
        ("POST", f"/v1/cards/{card.uid.hex()}/block", {"reason": "x"}),
        ("POST", f"/v1/cards/{card.uid.hex()}/unblock", {"reason": "x"}),
        ("GET", "/v1/circulation", None),
    ]
    for method, path, content in requests:
        answer = office.signed(till, method, path, content)
        assert (answer.status_code, answer.json()["code"]) == (403, "CENTRAL-ROLE"), path


def test_a_blocked_station_is_refused(office: Office) -> None:
    station = office.world.station()
    set_terminal_status(office.world.central, station.terminal_id, TerminalStatus.BLOCKED)
    answer = office.signed(station, "GET", "/v1/circulation")
    assert (answer.status_code, answer.json()["code"]) == (403, "CENTRAL-TERMINAL-BLOCKED")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "CENTRAL-NO-SUCH-PAGE"),
        ("DELETE", "/v1/batches", 404, "CENTRAL-NO-SUCH-PAGE"),
        ("GET", "/v1/feed?since=-1", 422, "CENTRAL-PARAMETERS"),
        ("GET", "/v1/feed?since=many", 422, "CENTRAL-PARAMETERS"),
        ("GET", "/v1/cards/whose", 422, "CENTRAL-PARAMETERS"),
        ("GET", "/v1/cards/04000000000000", 404, "CENTRAL-CARD-UNKNOWN"),
        ("GET", "/v1/cards/77", 404, "CENTRAL-CARD-UNKNOWN"),
    ],
)
def test_wrong_addresses_and_parameters_get_their_own_problem(
    office: Office, method: str, path: str, status: int, code: str
) -> None:
    answer = office.signed(office.world.station(), method, path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("text", ["a\0bcdefgh", "satu\ndua tiga", "\x1b[2Jxxxxxxx", "\x85tujuhxx"])
def test_a_text_with_control_characters_is_refused(office: Office, text: str) -> None:
    """PostgreSQL holds no NUL, and a terminal or printer obeys the others."""
    card, station = office.world.card(1), office.world.station()
    order = {
        "card_uid": card.uid.hex(),
        "amount_rupiah": 1_000,
        "source": "cash",
        "idempotency_key": text,
    }
    for path, content in (
        ("/v1/credits", order),
        (f"/v1/cards/{card.uid.hex()}/block", {"reason": text}),
        (f"/v1/cards/{card.uid.hex()}/replace", {"reason": text}),
    ):
        answer = office.signed(station, "POST", path, content)
        assert (answer.status_code, answer.json()["code"]) == (422, "CENTRAL-PARAMETERS"), path
        assert "control characters" in answer.json()["detail"]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    body=st.binary(max_size=300),
    path=st.sampled_from(["/v1/terminals", "/v1/batches", "/v1/records"]),
)
def test_any_bytes_at_all_are_a_problem_and_never_a_failure(
    office: Office, body: bytes, path: str
) -> None:
    media_type = "application/cbor" if path.endswith("batches") else "application/cose"
    answer = office.client.post(path, content=body, headers={"content-type": media_type})
    assert answer.status_code == 400
    assert answer.json()["code"] == "SYNC-MALFORMED"


def test_openapi_describes_bodies_problems_and_the_signature(office: Office) -> None:
    described = office.client.get("/openapi.json").json()
    assert set(described["paths"]) == {
        "/healthz",
        "/readyz",
        "/v1/terminals",
        "/v1/pairings",
        "/v1/pairings/answer",
        "/v1/batches",
        "/v1/records",
        "/v1/feed",
        "/v1/photos/{photo}",
        "/r/{token}",
        "/v1/credits",
        "/v1/cards/{card}",
        "/v1/cards/{card}/block",
        "/v1/cards/{card}/unblock",
        "/v1/cards/{card}/replace",
        "/v1/circulation",
        "/k/",
        "/k/{card}",
        "/v1/acts",
        "/v1/approvals",
        "/v1/approvals/{number}",
        "/v1/approvals/{number}/decision",
        "/v1/card-keys",
        "/v1/cash",
        "/v1/cash-counts",
        "/v1/credits/{key}",
        "/v1/expiring-cards",
        "/v1/issuing-batches",
        "/v1/issuing-batches/check",
        "/v1/issuing-batches/{number}",
        "/v1/issuing-batches/{number}/claim",
        "/v1/issuing-batches/{number}/lines",
        "/v1/issuing-batches/{number}/lines/{line}/photo",
        "/v1/issuing-batches/{number}/lines/{line}/put-back",
        "/v1/issuing-batches/{number}/lines/{line}/skip",
        "/v1/issuing-batches/{number}/release",
        "/v1/payouts",
        "/v1/staff/sessions",
    }
    batches = described["paths"]["/v1/batches"]["post"]
    assert list(batches["requestBody"]["content"]) == ["application/cbor"]
    assert list(batches["responses"]["200"]["content"]) == ["application/cose"]
    assert list(batches["responses"]["409"]["content"]) == ["application/problem+json"]
    schemas = described["components"]["schemas"]
    assert {"Problem", "CreditOrder", "Card", "CirculationReport", "MoneyMoved"} <= set(schemas)
    assert "HTTPValidationError" not in schemas
    assert described["paths"]["/v1/feed"]["get"]["security"] == [{"signedRequest": []}]
    text = json.dumps(described)
    for reference in text.split('"$ref": "#/components/schemas/')[1:]:
        assert reference.partition('"')[0] in schemas
