"""A failing run told in words: what was done, what went wrong, what the oracle saw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from dobmi.fleet.events import Event
from dobmi.fleet.world import Line

_LINES_SHOWN_MAX = 400


def tell(story: Sequence[Line]) -> Iterator[str]:
    """One line each, with the true time; of a long story the end."""
    if len(story) > _LINES_SHOWN_MAX:
        yield f"… {len(story) - _LINES_SHOWN_MAX} lines before …"
    for line in story[-_LINES_SHOWN_MAX:]:
        at = datetime.fromtimestamp(line.unix_seconds, UTC)
        yield f"{at:%H:%M:%S}  {line.text}"


def tell_events(events: Sequence[Event]) -> Iterator[str]:
    """The events themselves, as they were decided: without what was left out."""
    for event in events:
        fields = ", ".join(
            f"{name}={_plain(value)}"
            for name in event.__dataclass_fields__
            if (value := getattr(event, name)) not in _NOTHING and name != "at_seconds"
        )
        yield f"{event.at_seconds:>6} s  {type(event).__name__}({fields})"


_NOTHING: tuple[object, ...] = (None, (), False)


def _plain(value: object) -> str:
    return str(getattr(value, "value", value))
