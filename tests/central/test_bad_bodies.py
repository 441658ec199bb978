"""Bodies that no honest till sends: too long, packed, slow, cut off, bombs, other people's.

Each is answered with a problem that says what to do, never with a failure of the server, and the
ledger is the same before and after.
"""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import cbor2
import pytest
import requests
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from dobmi.central import app, asking
from dobmi.central.circulation import circulation
from dobmi.central.posting_rules import Kind
from dobmi.central.schema import postings
from dobmi.money import Rupiah
from dobmi.sync.batch import BATCH_SIZE_MAX, CONTENT_TYPE, encode_batch
from dobmi.sync.client import HttpClient, Patience, Requester, SyncClient
from dobmi.sync.cose import sign1
from dobmi.sync.errors import ForgedAcknowledgement
from dobmi.sync.http import BATCHES_PATH, CBOR, COSE, JSON, PROBLEM
from dobmi.sync.voucher import DecisionVoucher, Outcome, RefundVoucher, genesis_hash, voucher_hash
from support.central_client import Office
from support.servers import MisbehavingServer, http_answer, serving
from support.traffic import START, ModelCard, ModelTill, World

PATHS = {"/v1/batches": CBOR, "/v1/terminals": COSE}
bounded = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def sold(world: World) -> int:
    """Rupiah posted as sales."""
    assert circulation(world.central).difference == Rupiah(0)
    with world.central.database.read() as connection:
        total = connection.execute(
            select(func.sum(postings.c.amount_rupiah)).where(postings.c.kind == Kind.SALE.value)
        ).scalar()
    return int(total or 0)


def send(office: Office, path: str, body: bytes, **headers: str) -> dict[str, object]:
    """The problem that comes back, which changed nothing."""
    before = office.counts()
    media_type = {"content-type": PATHS.get(path, JSON)}
    answer = office.client.post(path, content=body, headers=media_type | headers)
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.headers["content-type"] == PROBLEM
    problem: dict[str, object] = answer.json()
    assert problem["money_moved"] == "no"
    assert problem["advice"]
    assert office.counts() == before
    return problem


BOMBS = {
    "nested arrays": b"\x81" * 200_000 + b"\x00",
    "nested maps": b"\xa1\x00" * 200_000 + b"\x00",
    "nested tags": b"\xc1" * 200_000 + b"\x00",
    "an array of 2^64 items": b"\x9b" + b"\xff" * 8,
    "a map of 2^64 entries": b"\xbb" + b"\xff" * 8,
    "a string of 2^64 bytes": b"\x5b" + b"\xff" * 8,
    "a text of 2^63 bytes": b"\x7b\x7f" + b"\xff" * 7,
    "an integer of a million bytes": b"\xc2\x5a" + (1_000_000).to_bytes(4, "big") + b"\xff" * 10**6,
    "a decimal fraction": cbor2.dumps([0]) + b"\xc4\x82\x1b" + b"\x7f" * 8 + b"\x01",
    "a decimal fraction alone": b"\xc4\x82\x1b\x7f" + b"\xff" * 7 + b"\x01",
    "a regular expression": b"\xd8\x23\x78\x1a" + b"(a+)+$".ljust(26, b"a"),
    "shared references": b"\xd8\x1c\x81\xd8\x1d\x00",
    "endless": b"\x9f" + b"\x00" * 100_000,
    "endless text": b"\x7f" + b"\x61a" * 100_000 + b"\xff",
    "half a surrogate": b"\x63\xed\xa0\x80",
    "not a number": b"\xf9\x7e\x00",
    "a key twice": b"\xa2\x01\x00\x01\x01",
    "nothing": b"",
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
@pytest.mark.parametrize("path", PATHS)
def test_a_cbor_bomb_is_no_message(office: Office, path: str, bomb: bytes) -> None:
    size_max = app.ENROL_SIZE_MAX if path == "/v1/terminals" else BATCH_SIZE_MAX
    began = time.process_time()
    problem = send(office, path, bomb)
    assert time.process_time() - began < 2
    assert problem["code"] == ("CENTRAL-TOO-LARGE" if len(bomb) > size_max else "SYNC-MALFORMED")


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
def test_a_bomb_in_a_voucher_or_a_signature_is_no_message(office: Office, bomb: bytes) -> None:
    till = office.world.till()
    previous = genesis_hash(till.terminal_id, till.public_key)
    bomb = bomb[:100_000]
    batch = encode_batch(
        till.terminal_id, 1, previous, [bomb], public_key=till.public_key, sign=till.key.sign
    )
    problem = send(office, "/v1/batches", batch)
    assert problem["code"] in {"SYNC-MALFORMED", "SYNC-CHAIN"}
    head = sign1(bomb[:400], CONTENT_TYPE, till.public_key, till.key.sign)
    assert send(office, "/v1/batches", cbor2.dumps([head, [b"x"]]))["code"] == "SYNC-MALFORMED"


@pytest.fixture
def batch(office: Office) -> bytes:
    """Of one good sale, which is never uploaded as it is."""
    till, card = office.world.till(), office.world.card(1)
    office.world.top_up(office.world.station(), card, Rupiah(5_000))
    till.sell(card, Rupiah(1_000))
    return till.batch()


@bounded
@given(
    place=st.floats(0, 1, exclude_max=True),
    change=st.sampled_from(["changed", "cut", "inserted", "doubled"]),
    by=st.binary(min_size=1, max_size=9),
)
def test_a_batch_changed_anywhere_posts_nothing(
    office: Office, batch: bytes, place: float, change: str, by: bytes
) -> None:
    at = int(place * len(batch))
    bad = {
        "changed": batch[:at] + by + batch[at + len(by) :],
        "cut": batch[:at],
        "inserted": batch[:at] + by + batch[at:],
        "doubled": batch + batch[: at + 1],
    }[change]
    assume(bad != batch)
    assert send(office, "/v1/batches", bad)["code"] in {
        "SYNC-MALFORMED",
        "SYNC-SIGNATURE",
        "SYNC-CHAIN",
        "CENTRAL-UNKNOWN-TERMINAL",
    }


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, identity", "x"])
@pytest.mark.parametrize("path", [*PATHS, "/v1/credits"])
def test_a_compressed_body_is_not_unpacked(office: Office, path: str, encoding: str) -> None:
    bomb = gzip.compress(bytes(3_000_000))
    problem = send(office, path, bomb, **{"content-encoding": encoding})
    assert (problem["status"], problem["code"]) == (415, "CENTRAL-COMPRESSED")


@pytest.mark.parametrize(
    "given_type", ["", "text/plain", "application/x-www-form-urlencoded", "\xe9/x"]
)
@pytest.mark.parametrize("path", [*PATHS, "/v1/credits"])
def test_another_media_type_is_refused(office: Office, path: str, given_type: str) -> None:
    before = office.counts()
    answer = office.client.post(
        path, content=b"{}", headers={b"content-type": given_type.encode("latin-1")}
    )
    assert (answer.status_code, answer.json()["code"]) == (415, "CENTRAL-MEDIA-TYPE")
    assert office.counts() == before


@pytest.mark.parametrize("path", [*PATHS, "/v1/credits"])
def test_an_oversized_body_is_refused_with_and_without_a_length(office: Office, path: str) -> None:
    size_max = {"/v1/batches": BATCH_SIZE_MAX, "/v1/terminals": app.ENROL_SIZE_MAX}.get(
        path, asking.JSON_SIZE_MAX
    )
    assert send(office, path, bytes(size_max + 1))["code"] == "CENTRAL-TOO-LARGE"

    def pieces() -> Iterator[bytes]:
        for _ in range(size_max // 4096 + 1):
            yield bytes(4096)

    before = office.counts()
    answer = office.client.post(
        path, content=pieces(), headers={"content-type": PATHS.get(path, JSON)}
    )
    assert (answer.status_code, answer.json()["code"]) == (413, "CENTRAL-TOO-LARGE")
    assert office.counts() == before


@pytest.mark.parametrize("length", ["9" * 5_000, "99999999999999999999"])
def test_an_absurd_content_length_is_too_large(office: Office, length: str) -> None:
    problem = send(office, "/v1/batches", b"x", **{"content-length": length})
    assert problem["code"] == "CENTRAL-TOO-LARGE"


# -- slow and half-sent, over real sockets ---------------------------------------------------------


@contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    with socket.create_connection((parts.hostname, parts.port or 80), 30) as connection:
        yield connection


def head(length: int) -> bytes:
    return (
        f"POST {BATCHES_PATH} HTTP/1.1\r\nHost: pusat\r\nContent-Type: {CBOR}\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode("ascii")


def answer_of(connection: socket.socket) -> tuple[int, dict[str, object]]:
    """Status and problem; the server closes after them."""
    told = b""
    while piece := connection.recv(65536):
        told += piece
    top, _, body = told.partition(b"\r\n\r\n")
    assert b"application/problem+json" in top
    return int(top.split()[1]), json.loads(body)


@pytest.fixture
def hasty(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server with little patience."""
    monkeypatch.setattr(asking, "BODY_SILENCE_SECONDS_MAX", 0.5)
    monkeypatch.setattr(asking, "BODY_SECONDS_MAX", 1.5)
    with serving(world.central) as url:
        yield url


def test_a_body_that_stops_is_given_up(hasty: str) -> None:
    with connected(hasty) as connection:
        connection.sendall(head(1000) + b"\x82")
        status, problem = answer_of(connection)
    assert (status, problem["code"], problem["money_moved"]) == (408, "CENTRAL-SLOW", "no")
    assert problem["advice"]


def test_a_body_that_trickles_is_given_up_and_starves_nobody(hasty: str) -> None:
    began = time.monotonic()
    slow: list[socket.socket] = []
    stop = threading.Event()

    def trickle(connection: socket.socket) -> None:
        while not stop.wait(0.1):
            try:
                connection.sendall(b"\x82")
            except OSError:
                return  # given up, as it should be

    parts = urlsplit(hasty)
    assert parts.hostname is not None
    threads = []
    for _ in range(60):  # more than there are worker threads
        connection = socket.create_connection((parts.hostname, parts.port or 80), 30)
        connection.sendall(head(100_000))
        slow.append(connection)
        threads.append(threading.Thread(target=trickle, args=(connection,)))
        threads[-1].start()
    try:
        assert requests.get(f"{hasty}/readyz", timeout=5).status_code == 200
        assert time.monotonic() - began < 1.5, "too slow to show anything"
        for connection in slow:
            with suppress(ConnectionResetError):  # it sent on while it was being refused
                status, problem = answer_of(connection)
                assert (status, problem["code"]) == (408, "CENTRAL-SLOW")
        assert time.monotonic() - began < 15
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        for connection in slow:
            connection.close()


def test_a_body_that_is_cut_off_posts_nothing(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    till, card = world.till(), world.card(1)
    world.top_up(world.station(), card, Rupiah(5_000))
    till.sell(card, Rupiah(1_000))
    batch = till.batch()
    before = circulation(world.central)
    with serving(world.central) as url:
        for end in (0, 1, len(batch) // 2, len(batch) - 1):
            with connected(url) as connection:
                connection.sendall(head(len(batch)) + batch[:end])
        assert requests.get(f"{url}/readyz", timeout=5).status_code == 200
        assert circulation(world.central) == before
        whole = requests.post(
            f"{url}{BATCHES_PATH}", batch, headers={"content-type": CBOR}, timeout=9
        )
        assert whole.status_code == 200
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    assert sold(world) == 1_000


@pytest.mark.parametrize(
    "words",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS greeting\r\n\r\n",
        b"POST /v1/batches HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/batches HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 20_000,
    ],
    ids=["no HTTP", "a length below nought", "two lengths", "a head without an end"],
)
def test_what_is_no_request_gets_a_problem(world: World, words: bytes) -> None:
    with serving(world.central) as url:
        with connected(url) as connection:
            connection.sendall(words)
            status, problem = answer_of(connection)
        assert requests.get(f"{url}/healthz", timeout=5).status_code == 200
    assert (status, problem["code"], problem["money_moved"]) == (400, "CENTRAL-REQUEST", "no")
    assert problem["advice"]


@pytest.mark.parametrize(
    "words", [b"", b"POST /v1/batches HTTP/1.1\r\nHost: x\r\nX-Half"], ids=["silence", "half"]
)
@pytest.mark.parametrize("after_a_request", [False, True])
def test_a_head_that_does_not_come_is_given_up(
    world: World, monkeypatch: pytest.MonkeyPatch, words: bytes, after_a_request: bool
) -> None:
    monkeypatch.setattr("dobmi.central.serving.HEAD_SECONDS_MAX", 0.5)
    with serving(world.central) as url, connected(url) as connection:
        if after_a_request:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            while not connection.recv(65536).endswith(b"}"):
                pass
        connection.sendall(words)
        connection.settimeout(10)  # uvicorn closes an idle connection by itself after five
        assert connection.recv(65536) == b""


def test_a_slow_answer_is_waited_for_whatever_the_head_took(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dobmi.central.serving.HEAD_SECONDS_MAX", 0.3)

    def take_slowly(*_: object) -> bytes:
        time.sleep(1)
        return b"x"

    monkeypatch.setattr(app, "take_batch", take_slowly)
    with serving(world.central) as url:
        answer = requests.post(
            f"{url}{BATCHES_PATH}", b"x", headers={"content-type": CBOR}, timeout=9
        )
    assert (answer.status_code, answer.content) == (200, b"x")


# -- words for databases and people ----------------------------------------------------------------

WORDS = (
    "'; DROP TABLE postings; --",
    '" OR ""="',
    "%s %(x)s {0} {x} :x ?",
    "\\'; COPY postings TO PROGRAM 'sh'; --",
    "${jndi:ldap://x}",
    "<script>alert(1)</script>",
    "a" * 80,
    "\uff21\uff22 \uff11\u0662 \u064a\u202e",
)


@pytest.mark.parametrize("words", WORDS)
def test_words_are_words(office: Office, words: str) -> None:
    station, card = office.world.station(), office.world.card(1)
    order = {"card_uid": card.uid.hex(), "amount_rupiah": 1_000, "source": "cash"}
    key = words.ljust(8)[:80]
    for status in (201, 200):
        answer = office.signed(station, "POST", "/v1/credits", {**order, "idempotency_key": key})
        assert answer.status_code == status, answer.text
    blocked = office.signed(station, "POST", f"/v1/cards/{card.uid.hex()}/block", {"reason": words})
    assert blocked.status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 16_000,
        b'{"a":' * 3_000,
        b'{"reason":' + b"9" * 16_000 + b"}",
        b'{"reason":1e999999}',
        b'{"reason":"\\ud800"}',
        b'{"reason":"\xff"}',
        b'{"reason":"x","reason":5}',
        b'{"reason":NaN}',
        b"\xef\xbb\xbf{}",
        b"{}",
        b"null",
        b"",
    ],
    ids=lambda body: repr(body[:16]),
)
def test_a_json_bomb_is_a_problem(office: Office, body: bytes) -> None:
    station, card = office.world.station(), office.world.card(1)
    path = f"/v1/cards/{card.uid.hex()}/block"
    problem = send(office, path, body, authorization=station.authorization("POST", path, body))
    assert problem["code"] == "CENTRAL-PARAMETERS"


@bounded
@given(
    amount=st.one_of(
        st.integers(-(2**70), 2**70), st.sampled_from([2**31, 2**53 - 1, 2**53, 2**63, 10**400, 0])
    ),
    serial=st.integers(-1, 2**70),
)
def test_numbers_of_any_size_are_orders_or_problems(
    office: Office, amount: int, serial: int
) -> None:
    station = office.world.station()
    before = office.counts()
    content = {
        "card_serial": serial,
        "amount_rupiah": amount,
        "source": "cash",
        "idempotency_key": "abcdefgh",
    }
    answer = office.signed(station, "POST", "/v1/credits", content)
    assert answer.status_code in {404, 422}, answer.text
    assert office.signed(station, "GET", f"/v1/cards/{abs(serial)}").status_code in {404, 422}
    assert office.signed(station, "GET", f"/v1/feed?since={serial}").status_code in {200, 422}
    settled = office.signed(station, "GET", f"/v1/feed?since=0&settled_since={amount}")
    assert settled.status_code in {200, 422}
    assert office.counts() == before


# -- of other tills --------------------------------------------------------------------------------


@pytest.fixture
def two_tills(office: Office) -> tuple[ModelTill, ModelTill, ModelCard]:
    world = office.world
    card = world.card(1)
    world.top_up(world.station(), card, Rupiah(50_000))
    return world.till(name="Kasir 1"), world.till(name="Kasir 2"), card


def rebatch(vouchers: list[bytes], of: ModelTill, terminal_id: int, previous: bytes) -> bytes:
    return encode_batch(
        terminal_id, 1, previous, vouchers, public_key=of.public_key, sign=of.key.sign
    )


def test_one_tills_vouchers_are_nobody_elses(
    office: Office, two_tills: tuple[ModelTill, ModelTill, ModelCard]
) -> None:
    first, second, card = two_tills
    for _ in range(3):
        first.sell(card, Rupiah(1_000))
    own = genesis_hash(first.terminal_id, first.public_key)
    others = genesis_hash(second.terminal_id, second.public_key)
    for batch, code in (
        (rebatch(first.vouchers, second, second.terminal_id, own), "SYNC-CHAIN"),
        (rebatch(first.vouchers, second, second.terminal_id, others), "SYNC-CHAIN"),
        (rebatch(first.vouchers, second, first.terminal_id, own), "SYNC-SIGNATURE"),
        (rebatch(first.vouchers, first, second.terminal_id, own), "SYNC-SIGNATURE"),
        (rebatch(first.vouchers[1:], first, first.terminal_id, own), "SYNC-CHAIN"),
        (rebatch(first.vouchers[::-1], first, first.terminal_id, own), "SYNC-CHAIN"),
    ):
        assert send(office, "/v1/batches", batch)["code"] == code
    office.acknowledged(first.batch())
    again = rebatch(first.vouchers, second, second.terminal_id, own)
    assert send(office, "/v1/batches", again)["code"] == "SYNC-CHAIN"
    assert sold(office.world) == 3_000


def test_a_card_proof_of_another_till_pays_nobody(
    office: Office, two_tills: tuple[ModelTill, ModelTill, ModelCard]
) -> None:
    """The second till puts the first one's evidence and MAC into a voucher of its own."""
    first, second, card = two_tills
    sale = first.sell(card, Rupiah(1_000))
    office.acknowledged(first.batch())
    second.append_evidence(
        card.uid, sale.intent.evidence, Rupiah(1_000), sale.card_counter, sale.card_mac
    )
    told = office.acknowledged(second.batch())
    assert [sequence for sequence, _ in told.quarantined] == [1]
    assert sold(office.world) == 1_000


@pytest.mark.parametrize("mixed_up", ["till", "batch"])
def test_an_acknowledgement_of_something_else_is_not_taken(
    office: Office, two_tills: tuple[ModelTill, ModelTill, ModelCard], mixed_up: str
) -> None:
    first, second, card = two_tills
    first.sell(card, Rupiah(1_000))
    batch = first.batch()
    if mixed_up == "till":
        second.sell(card, Rupiah(1_000))
        other = office.upload(second.batch()).content
    else:
        other = office.upload(batch).content
        first.sell(card, Rupiah(1_000))
        batch = first.batch()
    requester = Requester(
        terminal_id=first.terminal_id,
        public_key=first.public_key,
        sign=first.key.sign,
        now=lambda: START,
    )
    with MisbehavingServer(http_answer(200, other, COSE)) as server:
        client = SyncClient(
            HttpClient(server.url, Patience(attempts=1)),
            requester,
            office.world.central.public_key,
        )
        with pytest.raises(ForgedAcknowledgement):
            client.upload(batch)


def test_signed_vouchers_with_the_largest_numbers_stop_nothing(
    office: Office, two_tills: tuple[ModelTill, ModelTill, ModelCard]
) -> None:
    """A till's own key signs them, so that they are kept; what comes after them is posted."""
    till, _, card = two_tills
    largest = 2**53 - 1
    till.sell(card, Rupiah(1_000))
    link = till.link(2**63 - 1)
    till.append(
        RefundVoucher(
            link=link,
            refunds=1,
            card_uid=card.uid,
            amount=Rupiah(largest),
            reason="x" * 100,
            supervisor="",
        )
    )
    till.append(
        DecisionVoucher(
            link=till.link(2**63 - 1),
            resolves=2,
            card_uid=bytes(10),
            outcome=Outcome.PAID,
            decided_by="'; --",
            reason="%s",
        )
    )
    till.sell(card, Rupiah(2_000))
    answer = office.upload(till.batch())
    assert answer.status_code == 200, answer.text
    assert sold(office.world) == 3_000
    assert office.acknowledged(till.batch(1)).head_hash == voucher_hash(till.vouchers[-1])
