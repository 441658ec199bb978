"""The client against servers that are slow, broken, lying, or simply gone."""

from __future__ import annotations

import hashlib
import json
import socket
import time
from dataclasses import replace

import pytest

from dobmi.errors import MoneyMoved
from dobmi.sync import http
from dobmi.sync.acknowledgement import Acknowledgement, encode_acknowledgement
from dobmi.sync.client import HttpClient, Patience, Requester, SyncClient, enrol
from dobmi.sync.enrolment import Invitation, encode_enrolment
from dobmi.sync.errors import (
    ForgedAcknowledgement,
    MalformedMessage,
    ServerFails,
    ServerRefused,
    ServerUnreachable,
    StaleFeed,
    SyncError,
    WrongSignature,
)
from dobmi.sync.feed import Held, encode_feed
from dobmi.sync.records import (
    encode_record,
    encode_records,
    encode_records_taken,
    verify_records_taken,
)
from dobmi.sync.request_signature import parse_request_signature
from support.messages import (
    ENROLMENT,
    FEED,
    INVITATION,
    NOW,
    OUTLET,
    RECORDS,
    SERVER_KEY,
    SERVER_PUBLIC,
    TERMINAL_ID,
    TERMINAL_KEY,
    TERMINAL_PUBLIC,
    sample_acknowledgement,
    sample_batch,
    sample_records,
    sample_records_taken,
    samples,
)
from support.servers import Answer, MisbehavingServer, http_answer

WAITS: list[float] = []
HURRIED = Patience(
    attempts=3,
    first_wait_seconds=0.5,
    wait_seconds_max=20,
    connect_timeout_seconds=0.5,
    silence_timeout_seconds=0.2,
    answer_timeout_seconds=0.5,
    sleep=WAITS.append,
)
REQUESTER = Requester(
    terminal_id=TERMINAL_ID, public_key=TERMINAL_PUBLIC, sign=TERMINAL_KEY.sign, now=lambda: NOW
)
BATCH = sample_batch()
ACK = encode_acknowledgement(sample_acknowledgement(), SERVER_PUBLIC, SERVER_KEY.sign)
GOOD = http_answer(200, ACK, http.COSE)


@pytest.fixture(autouse=True)
def _no_waits() -> None:
    WAITS.clear()


def upload(*answers: Answer) -> tuple[Acknowledgement, MisbehavingServer]:
    with MisbehavingServer(*answers) as server, HttpClient(server.url, HURRIED) as client:
        return SyncClient(client, REQUESTER, SERVER_PUBLIC).upload(BATCH), server


def drop(connection: socket.socket, _request: bytes) -> None:
    connection.close()


def break_off(connection: socket.socket, request: bytes) -> None:
    """Half of the answer, then nothing."""
    http_answer(200, ACK[:50], http.COSE, length=len(ACK))(connection, request)


def stay_silent(_connection: socket.socket, _request: bytes) -> None:
    time.sleep(0.4)


def drip(connection: socket.socket, _request: bytes) -> None:
    """A byte at a time, often enough that no read ever times out."""
    head = f"HTTP/1.1 200 X\r\nContent-Type: {http.COSE}\r\nContent-Length: {len(ACK)}\r\n\r\n"
    connection.sendall(head.encode("ascii"))
    for value in ACK:
        connection.sendall(bytes((value,)))
        time.sleep(0.01)


def no_http(connection: socket.socket, _request: bytes) -> None:
    connection.sendall(b"\x15\x03\x01 what?\r\n\r\n")


PASSING = {
    "dropped": drop,
    "broken off": break_off,
    "silent": stay_silent,
    "dripping": drip,
    "500": http_answer(500, b"oops", "text/plain"),
    "503": http_answer(503, b"{}", http.PROBLEM),
    "429": http_answer(429, b"", "text/plain"),
    "no http": no_http,
}


class TestRetry:
    @pytest.mark.parametrize("trouble", PASSING.values(), ids=PASSING)
    def test_what_passes_is_tried_again(self, trouble: Answer) -> None:
        ack, server = upload(trouble, GOOD)
        assert ack.head_sequence == 5
        assert len(server.requests) == 2
        assert len(WAITS) == 1

    @pytest.mark.parametrize("trouble", PASSING.values(), ids=PASSING)
    def test_what_stays_is_given_up_after_three_times(self, trouble: Answer) -> None:
        with pytest.raises(ServerUnreachable) as error:
            upload(trouble)
        assert error.value.money_moved is MoneyMoved.NO
        answered = trouble in (PASSING["500"], PASSING["503"], PASSING["429"])
        assert isinstance(error.value, ServerFails) is answered
        assert ("network" in error.value.advise()) is not answered
        assert len(WAITS) == 2

    def test_the_waits_double_with_jitter(self) -> None:
        patience = replace(HURRIED, attempts=6)
        with (
            MisbehavingServer(drop) as server,
            HttpClient(server.url, patience) as client,
            pytest.raises(ServerUnreachable),
        ):
            SyncClient(client, REQUESTER, SERVER_PUBLIC).upload(BATCH)
        for number, wait in enumerate(WAITS):
            assert 0.5 * 2**number <= wait <= 0.5 * 2**number + 0.5
        assert len(server.requests) == 6

    def test_nobody_there_is_unreachable(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        with (
            HttpClient(f"http://127.0.0.1:{port}", HURRIED) as client,
            pytest.raises(ServerUnreachable, match="no connection"),
        ):
            SyncClient(client, REQUESTER, SERVER_PUBLIC).fetch_feed(0)

    @pytest.mark.parametrize("url", ["", "central", "ftp://central", "http://", "file:///etc"])
    def test_what_is_no_address_is_told(self, url: str) -> None:
        with pytest.raises(ServerUnreachable, match="no http"):
            HttpClient(url)

    def test_each_attempt_is_signed_anew(self) -> None:
        feed = http_answer(200, encode_feed(FEED, SERVER_PUBLIC, SERVER_KEY.sign), http.COSE)
        with MisbehavingServer(drop, feed) as server, HttpClient(server.url, HURRIED) as client:
            SyncClient(client, REQUESTER, SERVER_PUBLIC).fetch_feed(9)
        nonces = set()
        for request in server.requests:
            line = next(
                line for line in request.split(b"\r\n") if line.startswith(b"Authorization: ")
            )
            claim = parse_request_signature(line.decode().partition(": ")[2])
            claim.verify(TERMINAL_PUBLIC, "GET", "/v1/feed?since=9", b"", NOW)
            nonces.add(claim.nonce)
        assert len(nonces) == 2


class TestLyingServer:
    """Whatever comes back, an error is raised and nothing is believed."""

    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            (http_answer(200, ACK[:-1], http.COSE), MalformedMessage),
            (http_answer(200, ACK + b"\0", http.COSE), MalformedMessage),
            (http_answer(200, b"", http.COSE), MalformedMessage),
            (http_answer(200, ACK, "text/html"), MalformedMessage),
            (http_answer(200, bytes(200_000), http.COSE), MalformedMessage),
            (http_answer(302, b"", "text/html"), ServerRefused),
            (http_answer(404, b"nginx", "text/html"), ServerRefused),
            (http_answer(400, b"{", http.PROBLEM), ServerRefused),
            (http_answer(400, b"[1]", http.PROBLEM), ServerRefused),
            (http_answer(400, b"[" * 50_000, http.PROBLEM), ServerRefused),
            (http_answer(400, bytes(100_000), http.PROBLEM), MalformedMessage),
        ],
    )
    def test_an_answer_that_is_none(self, answer: Answer, error: type[SyncError]) -> None:
        with pytest.raises(error):
            upload(answer)
        assert WAITS == []

    def test_a_redirection_is_not_followed_wherever_it_points(self) -> None:
        def redirect(connection: socket.socket, _request: bytes) -> None:
            connection.sendall(
                f"HTTP/1.1 307 X\r\nLocation: {elsewhere.url}/v1/batches\r\n"
                "Content-Length: 0\r\n\r\n".encode("ascii")
            )

        with MisbehavingServer(GOOD) as elsewhere:
            with pytest.raises(ServerRefused, match="307"):
                upload(redirect)
            assert elsewhere.requests == []

    @pytest.mark.parametrize(
        ("change", "detail"),
        [
            ({"terminal_id": 8}, "another till"),
            ({"batch_hash": hashlib.sha256(b"another").digest()}, "another batch"),
            ({"head_sequence": 4}, "ends at 4"),
            ({"head_sequence": 6}, "voucher 6 is another"),
            ({"head_hash": bytes(32)}, "voucher 5 is another"),
            ({"quarantined": ((6, "CARD-TMAC"),)}, "was not sent"),
        ],
    )
    def test_an_acknowledgement_of_something_else(
        self, change: dict[str, object], detail: str
    ) -> None:
        ack = replace(sample_acknowledgement(), **change)  # type: ignore[arg-type] # by name
        answer = http_answer(
            200, encode_acknowledgement(ack, SERVER_PUBLIC, SERVER_KEY.sign), http.COSE
        )
        with pytest.raises(ForgedAcknowledgement, match=detail):
            upload(answer)

    def test_an_acknowledgement_signed_by_another(self) -> None:
        forged = encode_acknowledgement(
            sample_acknowledgement(), TERMINAL_PUBLIC, TERMINAL_KEY.sign
        )
        with pytest.raises(WrongSignature):
            upload(http_answer(200, forged, http.COSE))

    def test_a_server_that_has_more_of_this_chain_may_say_so(self) -> None:
        more = replace(sample_acknowledgement(), head_sequence=9, head_hash=bytes(32))
        answer = http_answer(
            200, encode_acknowledgement(more, SERVER_PUBLIC, SERVER_KEY.sign), http.COSE
        )
        with MisbehavingServer(answer) as server, HttpClient(server.url, HURRIED) as client:
            known = {9: bytes(32)}
            ack = SyncClient(client, REQUESTER, SERVER_PUBLIC).upload(BATCH, known.get)
        assert ack.head_sequence == 9

    def test_an_old_feed_replayed(self) -> None:
        answer = http_answer(200, encode_feed(FEED, SERVER_PUBLIC, SERVER_KEY.sign), http.COSE)
        with MisbehavingServer(answer) as server, HttpClient(server.url, HURRIED) as client:
            sync_client = SyncClient(client, REQUESTER, SERVER_PUBLIC)
            assert sync_client.fetch_feed(9) == FEED
            with pytest.raises(StaleFeed):
                sync_client.fetch_feed(13)

    def test_another_server_than_the_invited_one(self) -> None:
        imposter = replace(ENROLMENT, server_public_key=TERMINAL_PUBLIC)
        answer = http_answer(201, encode_enrolment(imposter, TERMINAL_KEY.sign), http.COSE)
        with (
            MisbehavingServer(answer) as server,
            HttpClient(server.url, HURRIED) as client,
            pytest.raises(WrongSignature),
        ):
            enrol(client, INVITATION, TERMINAL_PUBLIC, TERMINAL_KEY.sign)


class TestRefusal:
    def test_the_problem_is_passed_on_in_its_own_words(self) -> None:
        problem = {
            "type": "about:blank",
            "title": "Vouchers missing",
            "status": 409,
            "code": "CENTRAL-GAP",
            "detail": "Vouchers before number 9 are missing: send from 4.",
            "advice": "Send the vouchers from number 4 on.",
            "money_moved": "no",
            "send_from": 4,
        }
        with pytest.raises(ServerRefused) as refusal:
            upload(http_answer(409, json.dumps(problem).encode(), http.PROBLEM))
        error = refusal.value
        assert (error.facts["problem"], error.money_moved) == ("CENTRAL-GAP", MoneyMoved.NO)
        assert "send from 4" in error.explain()
        assert error.advise() == "Send the vouchers from number 4 on."
        assert error.facts["members"] == problem

    @pytest.mark.parametrize(
        ("said", "understood"),
        [
            ("yes", MoneyMoved.YES),
            ("unknown", MoneyMoved.UNKNOWN),
            ("perhaps", MoneyMoved.UNKNOWN),
            (None, MoneyMoved.NO),
        ],
    )
    def test_whether_money_moved_is_as_the_server_says(
        self, said: str | None, understood: MoneyMoved
    ) -> None:
        problem = json.dumps({"code": "X", "money_moved": said}).encode()
        with pytest.raises(ServerRefused) as refusal:
            upload(http_answer(409, problem, http.PROBLEM))
        assert refusal.value.money_moved is understood

    def test_braces_in_a_servers_words_do_no_harm(self) -> None:
        problem = json.dumps({"code": "{x}", "detail": "{0.__class__}", "advice": "{y}"}).encode()
        with pytest.raises(ServerRefused) as refusal:
            upload(http_answer(400, problem, http.PROBLEM))
        assert "{0.__class__}" in refusal.value.explain()
        assert refusal.value.advise() == "{y}"


class TestJson:
    def test_objects_go_and_come_signed(self) -> None:
        answer = http_answer(201, b'{"sequence": 1}', "application/json; charset=utf-8")
        with MisbehavingServer(answer) as server, HttpClient(server.url, HURRIED) as client:
            sync_client = SyncClient(client, REQUESTER, SERVER_PUBLIC)
            assert sync_client.post_json("/v1/credits", {"amount_rupiah": 5}) == {"sequence": 1}
        head, _, body = server.requests[0].partition(b"\r\n\r\n")
        line = next(line for line in head.split(b"\r\n") if line.startswith(b"Authorization: "))
        claim = parse_request_signature(line.decode().partition(": ")[2])
        claim.verify(TERMINAL_PUBLIC, "POST", "/v1/credits", body, NOW)

    @pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"1"])
    def test_what_is_no_object_is_malformed(self, body: bytes) -> None:
        answer = http_answer(200, body, http.JSON)
        with (
            MisbehavingServer(answer) as server,
            HttpClient(server.url, HURRIED) as client,
            pytest.raises(MalformedMessage),
        ):
            SyncClient(client, REQUESTER, SERVER_PUBLIC).get_json("/v1/circulation")


class TestOutlets:
    def test_a_feed_is_asked_for_by_what_the_till_holds(self) -> None:
        answer = http_answer(200, samples()["feed_outlet"], http.COSE)
        held = Held(catalogue=2, staff=3, orders=8, members=5)
        with MisbehavingServer(answer) as server, HttpClient(server.url, HURRIED) as client:
            feed = SyncClient(client, REQUESTER, SERVER_PUBLIC).fetch_feed(9, held=held)
        assert feed.outlet == OUTLET
        (request,) = server.requests
        assert b"/v1/feed?since=9&catalogue=2&staff=3&orders=8&members=5&pin=1 " in request

    def test_an_older_list_of_the_staff_is_refused(self) -> None:
        answer = http_answer(200, samples()["feed_outlet"], http.COSE)
        with MisbehavingServer(answer) as server, HttpClient(server.url, HURRIED) as client:
            tills = SyncClient(client, REQUESTER, SERVER_PUBLIC)
            with pytest.raises(StaleFeed, match="staff"):
                tills.fetch_feed(9, held=Held(staff=5, members=5))

    def test_records_are_taken_by_an_answer_that_is_for_them(self) -> None:
        answer = http_answer(200, sample_records_taken(), http.COSE)
        with MisbehavingServer(answer, answer) as server, HttpClient(server.url, HURRIED) as client:
            tills = SyncClient(client, REQUESTER, SERVER_PUBLIC)
            assert tills.send_records(sample_records()).up_to == 7
            other = encode_records(
                TERMINAL_ID, 1, [encode_record(RECORDS[0])], TERMINAL_PUBLIC, TERMINAL_KEY.sign
            )
            with pytest.raises(ForgedAcknowledgement):
                tills.send_records(other)

    def test_records_signed_for_by_another_are_not_believed(self) -> None:
        taken = verify_records_taken(sample_records_taken(), SERVER_PUBLIC)
        forged = encode_records_taken(taken, TERMINAL_PUBLIC, TERMINAL_KEY.sign)
        with (
            MisbehavingServer(http_answer(200, forged, http.COSE)) as server,
            HttpClient(server.url, HURRIED) as client,
            pytest.raises(WrongSignature),
        ):
            SyncClient(client, REQUESTER, SERVER_PUBLIC).send_records(sample_records())

    def test_a_photo_is_the_one_that_was_asked_for(self) -> None:
        jpeg = b"\xff\xd8 a face \xff\xd9"
        answer = http_answer(200, jpeg, http.JPEG)
        with MisbehavingServer(answer, answer) as server, HttpClient(server.url, HURRIED) as client:
            tills = SyncClient(client, REQUESTER, SERVER_PUBLIC)
            digest = hashlib.sha256(jpeg).digest()
            assert tills.fetch_photo(digest) == jpeg
            assert f"/v1/photos/{digest.hex()} ".encode() in server.requests[0]
            with pytest.raises(MalformedMessage, match="another photo"):
                tills.fetch_photo(bytes(32))


def test_keys_do_not_appear_in_a_requesters_repr() -> None:
    shown = repr(REQUESTER)
    assert "sign" not in shown
    assert TERMINAL_KEY.private_bytes_raw().hex() not in shown


def test_an_invitation_is_for_one_server() -> None:
    assert Invitation.make(b"123456", SERVER_PUBLIC) != Invitation.make(b"123456", TERMINAL_PUBLIC)
