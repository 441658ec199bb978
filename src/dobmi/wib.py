"""Western Indonesian time (WIB), in which this system's days begin and end."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

WIB = ZoneInfo("Asia/Jakarta")
_EPOCH = date(1970, 1, 1)


def day_of(unix_seconds: int) -> date:
    """The day it is then: a card's last day ends at midnight here, whoever reads it."""
    return datetime.fromtimestamp(unix_seconds, WIB).date()


def midnight(day: date) -> int:
    """When the day begins."""
    return int(datetime(day.year, day.month, day.day, tzinfo=WIB).timestamp())


def days_since_1970(of: date) -> int:
    return (of - _EPOCH).days


def day_number(days: int) -> date:
    """Days since 1970-01-01 as a date."""
    return _EPOCH + timedelta(days=days)


def local_time(unix_seconds: int) -> str:
    """`24-11-2026 09:41 WIB`; as the number it is when no calendar has it: a till may claim any."""
    try:
        return datetime.fromtimestamp(unix_seconds, WIB).strftime("%d-%m-%Y %H:%M WIB")
    except (OverflowError, ValueError, OSError):
        return f"{unix_seconds} s"
