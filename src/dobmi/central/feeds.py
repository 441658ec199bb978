"""The feed for a till: what changed on the block list, the limits, where credits wait."""

from __future__ import annotations

from sqlalchemy import func, select

from dobmi.central.schema import CreditDelivery, hotlist_changes, pending_credits
from dobmi.central.server import Central
from dobmi.money import Rupiah
from dobmi.sync.feed import Feed, Limits, encode_feed


def make_feed(central: Central, since: int) -> bytes:
    """The signed feed that goes on from version `since`; a whole one if that is not known here."""
    with central.database.read() as connection:
        version = connection.execute(
            select(func.coalesce(func.max(hotlist_changes.c.version), 0))
        ).scalar_one()
        if not 0 <= since <= version:
            since = 0
        changes = connection.execute(
            select(hotlist_changes.c.card_uid, hotlist_changes.c.blocked)
            .where(hotlist_changes.c.version > since)
            .order_by(hotlist_changes.c.version)
        ).all()
        waiting = connection.execute(
            select(pending_credits.c.card_uid)
            .where(pending_credits.c.state != CreditDelivery.DELIVERED)
            .distinct()
            .order_by(pending_credits.c.card_uid)
        ).scalars()
        last = {bytes(uid): blocked for uid, blocked in changes}
        feed = Feed(
            version=version,
            since=since,
            unix_seconds=central.unix_seconds(),
            limits=_limits(central),
            blocked=tuple(sorted(uid for uid, blocked in last.items() if blocked)),
            unblocked=tuple(
                sorted(uid for uid, blocked in last.items() if not blocked and since > 0)
            ),
            credits_waiting=tuple(bytes(uid) for uid in waiting),
        )
    return encode_feed(feed, central.public_key, central.sign)


def _limits(central: Central) -> Limits:
    settings = central.settings
    return Limits(
        sale_max=Rupiah(settings.sale_max_rupiah),
        unsent_vouchers_max=settings.unsent_vouchers_max,
        unsent_total_max=Rupiah(settings.unsent_total_max_rupiah),
        sync_age_seconds_max=settings.sync_age_hours_max * 3600,
    )
