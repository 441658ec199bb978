"""What comes down to tills: the block list as a delta, and the limits of offline selling.

COSE_Sign1, content type `dobmi/feed/1`, by the central server. `version` only grows; a feed says
which version it goes on from, and a till takes it only if that is the one it has (or 0: whole).
"""

from __future__ import annotations

from dataclasses import dataclass

from dobmi.money import Rupiah
from dobmi.sync.cbor import CborValue, Fields, decode, encode
from dobmi.sync.cose import Sign, parse_sign1, sign1
from dobmi.sync.errors import MalformedMessage, StaleFeed

CONTENT_TYPE = "dobmi/feed/1"
FEED_SIZE_MAX = 16 * 1024 * 1024
_CARDS_MAX = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How far a till may go before it must sync. Amounts in rupiah, ages in seconds."""

    sale_max: Rupiah = Rupiah(2_000_000)  # noqa: RUF009 - Rupiah is immutable
    unsent_vouchers_max: int = 5_000
    unsent_total_max: Rupiah = Rupiah(50_000_000)  # noqa: RUF009 - Rupiah is immutable
    sync_age_seconds_max: int = 14 * 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """Blocked and unblocked card UIDs since version `since` (0: everything), and limits in force.

    `credits_waiting` are the UIDs with a pending credit: a hint, not a promise.
    """

    version: int
    since: int
    unix_seconds: int
    limits: Limits
    blocked: tuple[bytes, ...] = ()
    unblocked: tuple[bytes, ...] = ()
    credits_waiting: tuple[bytes, ...] = ()


def encode_feed(feed: Feed, public_key: bytes, sign: Sign) -> bytes:
    limits = feed.limits
    payload = encode(
        {
            1: 1,
            2: feed.version,
            3: feed.since,
            4: feed.unix_seconds,
            5: list(feed.blocked),
            6: list(feed.unblocked),
            7: {
                1: limits.sale_max.amount,
                2: limits.unsent_vouchers_max,
                3: limits.unsent_total_max.amount,
                4: limits.sync_age_seconds_max,
            },
            8: list(feed.credits_waiting),
        }
    )
    return sign1(payload, CONTENT_TYPE, public_key, sign)


def verify_feed(data: bytes, server_public_key: bytes, version_in_force: int) -> Feed:
    """The feed, if the server signed it and it goes on from `version_in_force`.

    Raises MalformedMessage, WrongSignature, StaleFeed.
    """
    message = parse_sign1(data, size_max=FEED_SIZE_MAX)
    payload = message.verify(server_public_key, CONTENT_TYPE)
    fields = Fields(decode(payload, size_max=FEED_SIZE_MAX), "feed")
    fields.exactly(1, 1)
    limits = fields.nested(7)
    feed = Feed(
        version=fields.uint(2),
        since=fields.uint(3),
        unix_seconds=fields.uint(4),
        blocked=_uids(fields.items(5, _CARDS_MAX)),
        unblocked=_uids(fields.items(6, _CARDS_MAX)),
        limits=Limits(
            sale_max=Rupiah(limits.uint(1)),
            unsent_vouchers_max=limits.uint(2),
            unsent_total_max=Rupiah(limits.uint(3)),
            sync_age_seconds_max=limits.uint(4),
        ),
        credits_waiting=_uids(fields.items(8, _CARDS_MAX)),
    )
    limits.finish()
    fields.finish()
    if feed.version < version_in_force:
        raise StaleFeed(detail=f"version {feed.version} is older than {version_in_force}")
    if feed.since not in (0, version_in_force):
        raise StaleFeed(detail=f"it goes on from {feed.since}, not from {version_in_force}")
    return feed


def _uids(items: list[CborValue]) -> tuple[bytes, ...]:
    uids = tuple(item for item in items if isinstance(item, bytes) and 4 <= len(item) <= 10)
    if len(uids) != len(items):
        raise MalformedMessage(detail="not a list of card UIDs")
    return uids
