"""The paths and media types of the central server's HTTP interface that tills and stations use.

docs/formats/http.md describes the exchanges.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

ENROL_PATH = "/v1/terminals"
PAIRINGS_PATH = "/v1/pairings"
PAIRING_ANSWER_PATH = "/v1/pairings/answer"
BATCHES_PATH = "/v1/batches"
FEED_PATH = "/v1/feed"
RECORDS_PATH = "/v1/records"
CARD_KEYS_PATH = "/v1/card-keys"
PHOTOS_PATH = "/v1/photos"
CARD_SESSIONS_PATH = "/v1/card-sessions"
ISSUING_BATCHES_PATH = "/v1/issuing-batches"
STAFF_SESSIONS_PATH = "/v1/staff/sessions"
APPROVALS_PATH = "/v1/approvals"
ACTS_PATH = "/v1/acts"
STAFF_HEADER = "Dobmi-Staff"
"""Whoever is logged in at the station that signs the request: the token of their session."""
HEALTH_PATH = "/healthz"
READY_PATH = "/readyz"

COSE = "application/cose"
"""One COSE_Sign1 (RFC 9052 section 11.3): enrolment, acknowledgement, feed."""
CBOR = "application/cbor"
"""Deterministic CBOR that is no COSE message of itself: a batch, a relay message."""
JSON = "application/json"
JPEG = "image/jpeg"
PROBLEM = "application/problem+json"
"""RFC 9457, with the members `code`, `advice` and `money_moved`."""


def card_session_path(action: str, card_uid: bytes) -> str:
    """What the handshake of a card session signs: its action and the card's UID, in upper case.

    So nobody on the way can use an opened session for anything else.
    """
    return f"{CARD_SESSIONS_PATH}?{card_session_query(action, card_uid)}"


def card_session_query(action: str, card_uid: bytes) -> str:
    return f"action={action}&uid={card_uid.hex().upper()}"


def leaves_in_the_clear(server_url: str) -> bool:
    """Whether what is sent to this address leaves the machine without TLS."""
    parts = urlsplit(server_url)
    if parts.scheme != "http" or parts.hostname is None:
        return False
    try:
        return not ipaddress.ip_address(parts.hostname).is_loopback
    except ValueError:
        return parts.hostname != "localhost"
