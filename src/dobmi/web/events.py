"""What changes, sent to the browser as it changes: each event is a part of the page, to be put in."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

SILENCE_SECONDS_MAX: Final = 15.0
"""After so long without news a comment is sent, so that a dead connection is noticed."""

OVER: Final = "gone"
"""The last event of a session that has ended."""

Parts = Callable[[], Mapping[str, str]]
"""The parts of the page as they are now, by the name of their event."""


class Hub:
    """Wakes every open stream of events when anything changes, from whatever thread."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: set[asyncio.Event] = set()

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()

    def stop(self) -> None:
        self._loop = None

    def changed(self) -> None:
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has just been closed
                loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        for event in self._waiting:
            event.set()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[asyncio.Event]:
        event = asyncio.Event()
        self._waiting.add(event)
        try:
            yield event
        finally:
            self._waiting.discard(event)


def event_stream(hub: Hub, parts: Parts) -> StreamingResponse:
    """Each part at once, and again whenever it is another. Ends after an event `OVER`."""
    return StreamingResponse(
        _stream(hub, parts),
        media_type="text/event-stream",
        headers={"x-accel-buffering": "no"},
    )


async def _stream(hub: Hub, parts: Parts) -> AsyncIterator[str]:
    sent: dict[str, str] = {}
    with hub.waiting() as changed:
        while True:
            changed.clear()
            news = await run_in_threadpool(parts)  # it may read a database
            for name, html in news.items():
                if sent.get(name) != html:
                    sent[name] = html
                    yield f"event: {name}\ndata: {json.dumps(html)}\n\n"
            if OVER in news:
                return
            try:
                await asyncio.wait_for(changed.wait(), SILENCE_SECONDS_MAX)
            except TimeoutError:
                yield ": still here\n\n"
