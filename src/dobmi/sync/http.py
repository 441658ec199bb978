"""The paths and media types of the central server's HTTP interface that tills and stations use.

docs/formats/http.md describes the exchanges.
"""

ENROL_PATH = "/v1/terminals"
BATCHES_PATH = "/v1/batches"
FEED_PATH = "/v1/feed"
CARD_SESSIONS_PATH = "/v1/card-sessions"
HEALTH_PATH = "/healthz"

COSE = "application/cose"
"""One COSE_Sign1 (RFC 9052 section 11.3): enrolment, acknowledgement, feed."""
CBOR = "application/cbor"
"""Deterministic CBOR that is no COSE message of itself: a batch, a relay message."""
JSON = "application/json"
PROBLEM = "application/problem+json"
"""RFC 9457, with the members `code`, `advice` and `money_moved`."""
