"""A till's sync: vouchers up in order, the server's signed word back, then the feed.

It can stop anywhere and be run again: the server knows what it has, and says the same again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dobmi.i18n import N_
from dobmi.sync.batch import VOUCHERS_MAX, encode_batch
from dobmi.sync.client import SyncClient
from dobmi.sync.cose import Sign
from dobmi.sync.errors import ServerRefused, StaleFeed
from dobmi.sync.request_signature import CLOCK_DIFFERENCE_SECONDS_MAX
from dobmi.terminal.clock import TillClock
from dobmi.terminal.ledger import Ledger

Progress = Callable[[int, int], None]
"""Called with (vouchers acknowledged in this sync, vouchers to send) after each batch."""

BATCH_BYTES_MAX = 512 * 1024
"""What a slow line carries in a minute or two; a batch that breaks off is sent again whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncResult:
    sent_count: int
    quarantined: tuple[tuple[int, str], ...]
    feed_version: int
    blocked_count: int


def synchronise(
    ledger: Ledger,
    client: SyncClient,
    sign: Sign,
    clock: TillClock,
    progress: Progress = lambda _done, _total: None,
) -> SyncResult:
    """Upload what is not acknowledged, then put the newest feed in force. Raises SyncError.

    What was acknowledged before an error stays acknowledged.
    """
    sent, quarantined = upload_vouchers(ledger, client, sign, clock, progress)
    feed_version = fetch_feed(ledger, client, clock)
    return SyncResult(
        sent_count=sent,
        quarantined=quarantined,
        feed_version=feed_version,
        blocked_count=ledger.blocked_count(),
    )


def upload_vouchers(
    ledger: Ledger, client: SyncClient, sign: Sign, clock: TillClock, progress: Progress
) -> tuple[int, tuple[tuple[int, str], ...]]:
    """(vouchers newly acknowledged, those quarantined with their reason). Raises SyncError."""
    who = ledger.identity()
    start = ledger.sync_state().acknowledged_sequence
    total = ledger.head().sequence - start
    acknowledged = start
    quarantined: list[tuple[int, str]] = []
    may_go_back = True
    while vouchers := _next_vouchers(ledger, acknowledged + 1):
        previous_hash = ledger.hash_at(acknowledged)
        assert previous_hash is not None
        batch = encode_batch(
            who.terminal_id,
            acknowledged + 1,
            previous_hash,
            vouchers,
            public_key=who.public_key,
            sign=sign,
        )
        try:
            ack = client.upload(batch, ledger.hash_at)
        except ServerRefused as error:
            resume_from = _resume_from(error, acknowledged + 1)
            if resume_from is None or not may_go_back:
                raise
            # The server lost its newest vouchers (a restored backup): the till still has them.
            may_go_back = False
            acknowledged = resume_from - 1
            continue
        clock.learn(ack.unix_seconds)
        ledger.record_acknowledgement(ack)
        quarantined += ack.quarantined
        acknowledged = ack.head_sequence
        progress(max(0, acknowledged - start), total)
    return max(0, acknowledged - start), tuple(quarantined)


def fetch_feed(ledger: Ledger, client: SyncClient, clock: TillClock) -> int:
    """Put the newest feed in force; its version. Raises SyncError, the present one staying."""
    state = ledger.sync_state()
    feed = client.fetch_feed(state.feed_version, state.synced_unix_seconds)
    # Limits have no version of their own. Servers side by side may differ by a little.
    if feed.unix_seconds < state.server_unix_seconds - CLOCK_DIFFERENCE_SECONDS_MAX:
        raise StaleFeed(detail=N_("it was signed before what the server has said since"))
    clock.learn(feed.unix_seconds)
    # As old as the server signed it: one that somebody on the line gives again makes nothing newer.
    ledger.apply_feed(feed, feed.unix_seconds)
    return feed.version


def _next_vouchers(ledger: Ledger, first_sequence: int) -> list[bytes]:
    """As many as a batch holds, in count and in bytes."""
    vouchers: list[bytes] = []
    size = 0
    for encoded in ledger.vouchers_from(first_sequence, VOUCHERS_MAX):
        size += len(encoded) + 3
        if vouchers and size > BATCH_BYTES_MAX:
            break
        vouchers.append(encoded)
    return vouchers


def _resume_from(error: ServerRefused, first_sent: int) -> int | None:
    """The sequence the server asks to go on from, if it is one before what was sent."""
    members = error.facts.get("members")
    wanted = members.get("send_from") if isinstance(members, dict) else None
    if type(wanted) is not int or not 1 <= wanted < first_sent:
        return None
    return wanted
