"""The client of tills and stations: enrol, upload batches, fetch the feed, ask the ledger.

Every answer is verified before it is returned. Whatever goes wrong is a SyncError: after
ServerUnreachable nothing is known of what the server did, and asking again is always harmless.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

import requests
from requests.adapters import BaseAdapter
from requests.auth import AuthBase
from tenacity import (
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)
from urllib3.exceptions import HTTPError

from dobmi.errors import MoneyMoved
from dobmi.i18n import DEFAULT_LANGUAGE, N_
from dobmi.sync import http
from dobmi.sync.acknowledgement import (
    ACKNOWLEDGEMENT_SIZE_MAX,
    Acknowledgement,
    verify_acknowledgement,
)
from dobmi.sync.batch import parse_batch
from dobmi.sync.card_keys import (
    ANSWER_SIZE_MAX,
    CardKeyAnswer,
    CardKeyRequest,
    card_key_info,
    encode_card_key_request,
    verify_card_key_answer,
)
from dobmi.sync.cose import Sign
from dobmi.sync.enrolment import (
    Enrolment,
    Invitation,
    encode_enrol_request,
    verify_enrolment,
)
from dobmi.sync.errors import (
    ForgedAcknowledgement,
    MalformedMessage,
    ServerFails,
    ServerRefused,
    ServerUnreachable,
)
from dobmi.sync.feed import FEED_SIZE_MAX, Feed, Held, verify_feed
from dobmi.sync.outlet import PHOTO_SIZE_MAX
from dobmi.sync.records import (
    TAKEN_SIZE_MAX,
    RecordsTaken,
    check_records_taken,
    verify_records_taken,
)
from dobmi.sync.request_signature import NONCE_LENGTH, sign_request

_PROBLEM_SIZE_MAX = 64 * 1024
_JSON_SIZE_MAX = 4 * 1024 * 1024
_ENROLMENT_SIZE_MAX = 16 * 1024
_PIECE = 64 * 1024
_TEXT_MAX = 500
_NO_ADVICE = N_("Tell the central office the code of this error.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Requester:
    """Who asks: a till or a station with its signing key and its clock (Unix seconds)."""

    terminal_id: int
    public_key: bytes
    sign: Sign = field(repr=False)
    now: Callable[[], int]
    staff_token: Callable[[], str] = field(default=str, repr=False)
    """Of whoever is logged in at this station; "" for nobody."""

    def headers(self, method: str, path: str, body: bytes = b"") -> dict[str, str]:
        """Who asks, and who of the staff does so; `path` includes the query."""
        token = self.staff_token()
        staff = {http.STAFF_HEADER: token} if token else {}
        return {"Authorization": self.authorization(method, path, body), **staff}

    def authorization(self, method: str, path: str, body: bytes = b"") -> str:
        """The Authorization header of one request; `path` includes the query."""
        return sign_request(
            self.terminal_id,
            method,
            path,
            body,
            unix_seconds=self.now(),
            nonce=secrets.token_bytes(NONCE_LENGTH),
            public_key=self.public_key,
            sign=self.sign,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a request may take and how often it is tried: waits double, with jitter."""

    attempts: int = 4
    first_wait_seconds: float = 0.5
    wait_seconds_max: float = 20
    connect_timeout_seconds: float = 5
    silence_timeout_seconds: float = 15
    answer_timeout_seconds: float = 60
    sleep: Callable[[float], None] = time.sleep


PATIENT = Patience()


class _Transient(Exception):
    """No answer, half an answer, or one that says: later."""

    def __init__(self, detail: str, *, status: int | None = None) -> None:
        """`status`: of the answer, if there was a whole one."""
        super().__init__(detail)
        self.detail = detail
        self.status = status


class _Signed(AuthBase):
    """Signs each attempt anew, with the time it is made. Being set, it keeps a .netrc out."""

    def __init__(self, requester: Requester | None) -> None:
        self._requester = requester

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._requester is not None:
            body = request.body or b""
            assert isinstance(body, bytes)
            request.headers.update(
                self._requester.headers(request.method or "", request.path_url, body)
            )
        return request


class HttpClient:
    """Requests to one central server, tried again while that can help; answers bounded in size."""

    def __init__(
        self,
        server_url: str,
        patience: Patience = PATIENT,
        *,
        language: str = DEFAULT_LANGUAGE,
        transport: BaseAdapter | None = None,
    ) -> None:
        """`language` is that of the server's problems; `transport` carries requests instead of
        sockets. Raises ServerUnreachable for what is no http or https URL.
        """
        parts = urlsplit(server_url)
        if parts.scheme not in {"http", "https"} or not parts.netloc:
            raise ServerUnreachable(detail=f"{server_url!r} is no http or https address")
        self._url = server_url.rstrip("/")
        self._patience = patience
        self._session = requests.Session()
        self._session.headers["Accept-Encoding"] = "identity"
        self._session.headers["Accept-Language"] = language
        if transport is not None:
            self._session.mount(self._url, transport)

    def close(self) -> None:
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        accept: str,
        size_max: int,
        body: bytes = b"",
        content_type: str | None = None,
        requester: Requester | None = None,
    ) -> bytes:
        """The body of a 2xx answer, of media type `accept` and at most `size_max` bytes.

        Signed by `requester` if there is one. Raises ServerUnreachable, ServerRefused,
        MalformedMessage.
        """
        headers = {"Accept": f"{accept}, {http.PROBLEM}"}
        if content_type is not None:
            headers["Content-Type"] = content_type
        patience = self._patience
        retrying = Retrying(
            retry=retry_if_exception_type(_Transient),
            stop=stop_after_attempt(patience.attempts),
            wait=wait_exponential(
                multiplier=patience.first_wait_seconds, max=patience.wait_seconds_max
            )
            + wait_random(0, patience.first_wait_seconds),
            sleep=patience.sleep,
            reraise=True,
        )
        try:
            return retrying(
                self._once,
                method,
                path,
                headers=headers,
                body=body,
                accept=accept,
                size_max=size_max,
                auth=_Signed(requester),
            )
        except _Transient as error:
            if error.status is not None:
                raise ServerFails(detail=error.detail) from error
            raise ServerUnreachable(detail=error.detail) from error

    def _once(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        body: bytes,
        accept: str,
        size_max: int,
        auth: AuthBase,
    ) -> bytes:
        patience = self._patience
        deadline = time.monotonic() + patience.answer_timeout_seconds
        try:
            with self._session.request(
                method,
                self._url + path,
                headers=dict(headers),
                data=body or None,
                auth=auth,
                timeout=(patience.connect_timeout_seconds, patience.silence_timeout_seconds),
                allow_redirects=False,
                stream=True,
            ) as response:
                ok = 200 <= response.status_code < 300
                content = _read(response, size_max if ok else _PROBLEM_SIZE_MAX, deadline)
        except (requests.RequestException, HTTPError, OSError) as error:
            raise _Transient(_reason(error)) from error
        if ok:
            media_type = _media_type(response)
            if media_type != accept:
                raise MalformedMessage(detail=f"an answer of type {media_type}, not {accept}")
            return content
        if response.status_code == 429 or response.status_code >= 500:
            status = response.status_code
            raise _Transient(f"it answers with status {status}", status=status)
        raise refusal_of(response.status_code, _media_type(response), content)


class SyncClient:
    """A till's or a station's dealings with its central server."""

    def __init__(
        self, http_client: HttpClient, requester: Requester, server_public_key: bytes
    ) -> None:
        self._http = http_client
        self._requester = requester
        self._server_public_key = server_public_key

    def upload(
        self, batch: bytes, hash_at: Callable[[int], bytes | None] = lambda _: None
    ) -> Acknowledgement:
        """Upload a batch; the acknowledgement is verified to be the server's, and for this batch.

        `hash_at` gives the hash of the till's own voucher of a sequence: the server may
        acknowledge more than this batch, if it had more before. Raises ServerRefused,
        ServerUnreachable, ForgedAcknowledgement, WrongSignature, MalformedMessage.
        """
        answer = self._http.request(
            "POST",
            http.BATCHES_PATH,
            accept=http.COSE,
            size_max=ACKNOWLEDGEMENT_SIZE_MAX,
            body=batch,
            content_type=http.CBOR,
        )
        ack = verify_acknowledgement(answer, self._server_public_key)
        check_acknowledgement(ack, batch, hash_at)
        return ack

    def fetch_feed(
        self,
        version_in_force: int,
        settled_since: int | None = None,
        acknowledged: int | None = None,
        held: Held | None = None,
    ) -> Feed:
        """What changed since `version_in_force` (0: everything).

        With `settled_since` (the server's time) also what it settled of this till's doubts; with
        `acknowledged`, the newest voucher that the server once took, how far it has them now; with
        `held`, what of the outlet's catalogue, staff, orders and members, and of this till's card
        keys, is newer than that. If it says that more of the members follow, ask again. Raises ServerRefused, ServerUnreachable, StaleFeed, WrongSignature, MalformedMessage.
        """
        settled = "" if settled_since is None else f"&settled_since={settled_since}"
        taken = "" if acknowledged is None else f"&acknowledged={acknowledged}"
        answer = self._http.request(
            "GET",
            f"{http.FEED_PATH}?since={version_in_force}{settled}{taken}{_asking(held)}",
            accept=http.COSE,
            size_max=FEED_SIZE_MAX,
            requester=self._requester,
        )
        who = self._requester.terminal_id
        return verify_feed(answer, self._server_public_key, version_in_force, who, held)

    def send_records(self, message: bytes) -> RecordsTaken:
        """Send till records (`encode_records`); the answer is verified to be the server's, for them.

        If the server lacks earlier ones, as after it came back from a backup, it refuses with
        `CENTRAL-RECORDS-MISSING` and says in `send_from` from where on to send. Raises
        ServerRefused, ServerUnreachable, ForgedAcknowledgement, WrongSignature, MalformedMessage.
        """
        answer = self._http.request(
            "POST",
            http.RECORDS_PATH,
            accept=http.COSE,
            size_max=TAKEN_SIZE_MAX,
            body=message,
            content_type=http.COSE,
        )
        taken = verify_records_taken(answer, self._server_public_key)
        check_records_taken(taken, message)
        return taken

    def fetch_photo(self, photo: bytes) -> bytes:
        """The JPEG whose SHA-256 is `photo` (32 bytes), as a member's note names it.

        Raises ServerRefused (`CENTRAL-PHOTO-UNKNOWN` among others), ServerUnreachable,
        MalformedMessage.
        """
        answer = self._http.request(
            "GET",
            f"{http.PHOTOS_PATH}/{photo.hex()}",
            accept=http.JPEG,
            size_max=PHOTO_SIZE_MAX,
            requester=self._requester,
        )
        if hashlib.sha256(answer).digest() != photo:
            raise MalformedMessage(detail="another photo than was asked for")
        return answer

    def card_key(self, request: CardKeyRequest) -> tuple[CardKeyAnswer, bytes]:
        """One card's key, sealed to the key in the request; with the `info` that it is sealed with.

        The answer is verified to be the server's, and to this request. Raises ServerRefused,
        ServerUnreachable, WrongSignature, MalformedMessage.
        """
        body = encode_card_key_request(request)
        answer = self._http.request(
            "POST",
            http.CARD_KEYS_PATH,
            accept=http.COSE,
            size_max=ANSWER_SIZE_MAX,
            body=body,
            content_type=http.CBOR,
            requester=self._requester,
        )
        return verify_card_key_answer(answer, body, self._server_public_key), card_key_info(body)

    def get_json(self, path: str) -> dict[str, Any]:
        """A signed GET that answers with a JSON object. Raises as `request` does."""
        return self._json("GET", path, b"", None)

    def post_json(self, path: str, content: Mapping[str, object]) -> dict[str, Any]:
        """A signed POST of a JSON object that answers with one. Raises as `request` does.

        It may be sent more than once: give it an idempotency key where that matters.
        """
        return self._json("POST", path, json.dumps(content).encode(), http.JSON)

    def delete_json(self, path: str) -> dict[str, Any]:
        """A signed DELETE that answers with a JSON object. Raises as `request` does."""
        return self._json("DELETE", path, b"", None)

    def post_jpeg(self, path: str, jpeg: bytes) -> dict[str, Any]:
        """A signed POST of a picture that answers with a JSON object. Raises as `request` does."""
        return self._json("POST", path, jpeg, http.JPEG)

    def _json(
        self, method: str, path: str, body: bytes, content_type: str | None
    ) -> dict[str, Any]:
        answer = self._http.request(
            method,
            path,
            accept=http.JSON,
            size_max=_JSON_SIZE_MAX,
            body=body,
            content_type=content_type,
            requester=self._requester,
        )
        return _json_object(answer)


def _asking(held: Held | None) -> str:
    if held is None:
        return ""
    return (
        f"&catalogue={held.catalogue}&staff={held.staff}"
        f"&orders={held.orders}&members={held.members}&pin=1"
        f"{'' if held.keys is None else f'&keys={held.keys}'}"
    )


def enrol(
    http_client: HttpClient, invitation: Invitation, public_key: bytes, sign: Sign
) -> Enrolment:
    """Ask the invited server to take in the till or station whose key this is.

    Asking again with the same invitation and key gets the same answer. Raises ServerRefused,
    ServerUnreachable, WrongSignature (another server), MalformedMessage.
    """
    answer = http_client.request(
        "POST",
        http.ENROL_PATH,
        accept=http.COSE,
        size_max=_ENROLMENT_SIZE_MAX,
        body=encode_enrol_request(invitation.code, public_key, sign),
        content_type=http.COSE,
    )
    return verify_enrolment(answer, invitation, public_key)


def check_acknowledgement(
    ack: Acknowledgement, batch: bytes, hash_at: Callable[[int], bytes | None] = lambda _: None
) -> None:
    """Raises ForgedAcknowledgement unless `ack` is for `batch` and for this till's own chain."""
    head = parse_batch(batch).head
    if ack.terminal_id != head.terminal_id:
        raise ForgedAcknowledgement(detail=N_("it is for another till"))
    if ack.batch_hash != hashlib.sha256(batch).digest():
        raise ForgedAcknowledgement(detail=N_("it is for another batch"))
    if ack.head_sequence < head.last_sequence:
        raise ForgedAcknowledgement(
            detail=f"it ends at {ack.head_sequence}, the batch at {head.last_sequence}"
        )
    ours = head.head_hash if ack.head_sequence == head.last_sequence else hash_at(ack.head_sequence)
    if ack.head_hash != ours:
        raise ForgedAcknowledgement(detail=f"voucher {ack.head_sequence} is another one here")
    if any(
        not head.first_sequence <= sequence <= head.last_sequence for sequence, _ in ack.quarantined
    ):
        raise ForgedAcknowledgement(detail=N_("it names a voucher that was not sent"))


def _read(response: requests.Response, size_max: int, deadline: float) -> bytes:
    """The body, piece by piece as it comes, so that neither size nor time is the server's choice."""
    pieces: list[bytes] = []
    size = 0
    while piece := response.raw.read1(_PIECE, decode_content=False):
        size += len(piece)
        if size > size_max:
            raise MalformedMessage(detail=f"an answer of more than {size_max} bytes")
        if time.monotonic() > deadline:
            raise _Transient(N_("its answer takes too long"))
        pieces.append(piece)
    return b"".join(pieces)


def refusal_of(status: int, media_type: str, content: bytes) -> ServerRefused:
    """The problem that the server named (RFC 9457), or the bare status of one that named none."""
    problem: dict[str, Any] = {}
    if media_type == http.PROBLEM:
        try:
            problem = _json_object(content)
        except MalformedMessage:
            problem = {}  # the status alone still says that it was refused
    code = _text(problem, "code") or f"HTTP-{status}"
    detail = _text(problem, "detail") or _text(problem, "title") or f"HTTP status {status}"
    return ServerRefused(
        money_moved=money_moved_of(_text(problem, "money_moved")),
        problem=code,
        detail=detail,
        advice=_text(problem, "advice") or _NO_ADVICE,
        members=problem,
    )


def money_moved_of(text: str) -> MoneyMoved:
    """As the server says it; UNKNOWN for a word that is none of the three, NO if it says none."""
    if not text:
        return MoneyMoved.NO
    known = text in {moved.value for moved in MoneyMoved}
    return MoneyMoved(text) if known else MoneyMoved.UNKNOWN


def _text(problem: Mapping[str, Any], name: str) -> str:
    value = problem.get(name)
    return value[:_TEXT_MAX] if isinstance(value, str) else ""


def _json_object(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise MalformedMessage(detail=N_("the answer is not JSON")) from error
    if not isinstance(value, dict):
        raise MalformedMessage(detail=N_("the answer is not a JSON object"))
    return value


def _media_type(response: requests.Response) -> str:
    return str(response.headers.get("Content-Type", "")).partition(";")[0].strip().lower()


def _reason(error: Exception) -> str:
    if isinstance(error, requests.ConnectTimeout | requests.ReadTimeout):
        return N_("it does not answer in time")
    if isinstance(error, requests.exceptions.SSLError):
        return N_("its TLS certificate cannot be trusted")
    if isinstance(error, requests.ConnectionError):
        return N_("no connection")
    return N_("its answer broke off")
