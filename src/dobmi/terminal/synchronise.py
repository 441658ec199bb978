"""A till's sync: vouchers up in order, the server's signed word back, records, then the feed.

It can stop anywhere and be run again: the server knows what it has, and says the same again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from dobmi.cardlib.custody import KeyCustody
from dobmi.cardlib.errors import CardError
from dobmi.errors import DoBMIError
from dobmi.i18n import N_
from dobmi.sync.batch import VOUCHERS_MAX, encode_batch
from dobmi.sync.client import SyncClient
from dobmi.sync.cose import Sign
from dobmi.sync.errors import ServerRefused, StaleFeed, SyncError
from dobmi.sync.feed import Feed
from dobmi.sync.records import RECORDS_MAX, encode_records
from dobmi.sync.request_signature import CLOCK_DIFFERENCE_SECONDS_MAX
from dobmi.terminal import outbox
from dobmi.terminal.card_keys import StoredKeys, newest_generation
from dobmi.terminal.clock import TillClock
from dobmi.terminal.ledger import Ledger

Progress = Callable[[int, int], None]
"""Called with (vouchers acknowledged in this sync, vouchers to send) after each batch."""

BATCH_BYTES_MAX = 512 * 1024
"""What a slow line carries in a minute or two; a batch that breaks off is sent again whole."""
PHOTOS_MAX = 20
"""Fetched in one sync: a megabyte or so."""
_FEEDS_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncResult:
    """`resent_count`: vouchers that the server had taken once, and did not have any more.
    `server_unix_seconds`: when it signed the feed. `records_problem`: why the server did not take the
    records of shifts and orders; they wait.
    """

    sent_count: int
    resent_count: int
    quarantined: tuple[tuple[int, str], ...]
    feed_version: int
    blocked_count: int
    server_unix_seconds: int
    records_sent_count: int = 0
    records_problem: ServerRefused | None = None
    photos_count: int = 0
    new_keys_generation: int = 0
    """Of the card keys that came with the feed and are held from now on; 0: none came."""
    keys_problem: DoBMIError | None = None
    """Why card keys that came could not be kept; they come again."""


def synchronise(
    ledger: Ledger,
    client: SyncClient,
    sign: Sign,
    clock: TillClock,
    progress: Progress = lambda _done, _total: None,
    *,
    at_unix_seconds: int | None = None,
    custody: KeyCustody | None = None,
) -> SyncResult:
    """Upload what is not acknowledged, then put the newest feed in force. Raises SyncError.

    `custody`, where there is one, is said to the server, and takes the new card keys that come.
    `at_unix_seconds`: the time now, where that is known: then the feed must be of now, and what the
    server has signed before counts no more. What was acknowledged before an error stays acknowledged. The feed tells whether the server has
    lost vouchers since it took them (it came back from a backup): they are sent again. A photo that
    does not come is asked for again the next time.
    """
    sent = upload_vouchers(ledger, client, sign, clock, progress)
    records_count, records_problem = 0, None
    try:
        records_count = upload_records(ledger, client, sign)
    except ServerRefused as error:
        # The office has to look into it; till then limits and block list must not grow old here.
        records_problem = error
    held_before = newest_generation(custody)
    feed = fetch_feed(ledger, client, clock, at_unix_seconds, held_before)
    keys_problem = _take_keys(custody, feed)
    for _ in range(_FEEDS_MAX):
        if feed.outlet is None or feed.outlet.members is None or not feed.outlet.members.more:
            break
        feed = fetch_feed(ledger, client, clock, at_unix_seconds)
    held = newest_generation(custody) or 0
    resent, quarantined = sent.resent_count, sent.quarantined
    had = feed.servers_head
    if had is not None and had.sequence < ledger.sync_state().acknowledged_sequence:
        again = upload_vouchers(ledger, client, sign, clock, progress, servers_head=had.sequence)
        resent += again.resent_count
        quarantined += again.quarantined
    return SyncResult(
        sent_count=sent.new_count,
        resent_count=resent,
        quarantined=quarantined,
        feed_version=feed.version,
        blocked_count=ledger.blocked_count(),
        server_unix_seconds=feed.unix_seconds,
        records_sent_count=records_count,
        records_problem=records_problem,
        photos_count=fetch_photos(ledger, client),
        new_keys_generation=held if held != (held_before or 0) else 0,
        keys_problem=keys_problem,
    )


@dataclass(frozen=True, slots=True)
class Uploaded:
    """`quarantined` are of both, with their reason."""

    new_count: int
    resent_count: int
    quarantined: tuple[tuple[int, str], ...]


def upload_vouchers(
    ledger: Ledger,
    client: SyncClient,
    sign: Sign,
    clock: TillClock,
    progress: Progress,
    *,
    servers_head: int | None = None,
) -> Uploaded:
    """Send what is not acknowledged, or all after `servers_head`. Raises SyncError."""
    who = ledger.identity()
    start = ledger.sync_state().acknowledged_sequence
    first = acknowledged = start if servers_head is None else servers_head
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
            first = acknowledged = resume_from - 1
            continue
        clock.learn(ack.unix_seconds)
        ledger.record_acknowledgement(ack)
        quarantined += ack.quarantined
        acknowledged = ack.head_sequence
        progress(acknowledged - first, ledger.head().sequence - first)
    return Uploaded(
        new_count=max(0, acknowledged - start),
        resent_count=max(0, min(acknowledged, start) - first),
        quarantined=tuple(quarantined),
    )


def upload_records(ledger: Ledger, client: SyncClient, sign: Sign) -> int:
    """Send what the server has not said it keeps; how many. Raises SyncError."""
    who = ledger.identity()
    acknowledged = outbox.acknowledged_record(ledger)
    count, may_go_back = 0, True
    while records := _that_fit(outbox.records_from(ledger, acknowledged + 1, RECORDS_MAX)):
        message = encode_records(who.terminal_id, acknowledged + 1, records, who.public_key, sign)
        try:
            client.send_records(message)
        except ServerRefused as error:
            resume_from = _resume_from(error, acknowledged + 1)
            if resume_from is None or not may_go_back:
                raise
            may_go_back = False
            acknowledged = resume_from - 1
            continue
        acknowledged += len(records)
        count += len(records)
        outbox.record_taken(ledger, acknowledged)
    return count


def fetch_photos(ledger: Ledger, client: SyncClient) -> int:
    """Some of those that are wanted and not here; how many came."""
    count = 0
    for wanted in outbox.photos_wanted(ledger, PHOTOS_MAX):
        try:
            outbox.keep_photo(ledger, wanted, client.fetch_photo(wanted))
        except ServerRefused:
            continue
        except SyncError:
            break
        count += 1
    return count


def _take_keys(custody: KeyCustody | None, feed: Feed) -> DoBMIError | None:
    """What kept new card keys from being kept: the till goes on selling with those it has."""
    if feed.sealed_keys is None or not isinstance(custody, StoredKeys):
        return None
    try:
        custody.take(feed.sealed_keys)
    except CardError as error:
        return error
    return None


def fetch_feed(
    ledger: Ledger,
    client: SyncClient,
    clock: TillClock,
    at_unix_seconds: int | None = None,
    keys: int | None = None,
) -> Feed:
    """Put the newest feed in force. Raises SyncError, the present one staying.

    `keys`: the newest generation of card keys held.
    """
    state = ledger.sync_state()
    held = replace(ledger.held(), keys=keys)
    feed = client.fetch_feed(
        state.feed_version, state.synced_unix_seconds, state.acknowledged_sequence, held
    )
    # Limits have no version of their own. Servers side by side may differ by a little.
    oldest = state.server_unix_seconds if at_unix_seconds is None else at_unix_seconds
    if feed.unix_seconds < oldest - CLOCK_DIFFERENCE_SECONDS_MAX:
        raise StaleFeed(detail=N_("it was signed before what the server has said since"))
    clock.learn(feed.unix_seconds)
    # As old as the server signed it: one that somebody on the line gives again makes nothing newer.
    ledger.apply_feed(feed, feed.unix_seconds)
    return feed


def _next_vouchers(ledger: Ledger, first_sequence: int) -> list[bytes]:
    """As many as a batch holds, in count and in bytes."""
    return _that_fit(ledger.vouchers_from(first_sequence, VOUCHERS_MAX))


def _that_fit(all_encoded: list[bytes]) -> list[bytes]:
    """The first of them, one at least, that a batch holds in bytes."""
    fitting: list[bytes] = []
    size = 0
    for encoded in all_encoded:
        size += len(encoded) + 3
        if fitting and size > BATCH_BYTES_MAX:
            break
        fitting.append(encoded)
    return fitting


def _resume_from(error: ServerRefused, first_sent: int) -> int | None:
    """The sequence the server asks to go on from, if it is one before what was sent."""
    members = error.facts.get("members")
    wanted = members.get("send_from") if isinstance(members, dict) else None
    if type(wanted) is not int or not 1 <= wanted < first_sent:
        return None
    return wanted
