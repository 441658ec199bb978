"""Serving the page on this machine alone, until it is told to end or to read its settings again."""

from __future__ import annotations

import uvicorn

from dobmi.terminal.page.app import make_app
from dobmi.terminal.page.security import check_loopback
from dobmi.terminal.page.visit import Page

END_SECONDS_MAX = 2
"""Streams of events never end by themselves: so long they are waited for."""


def server_of(page: Page, host: str, port: int) -> uvicorn.Server:
    """Raises NotLoopback."""
    return uvicorn.Server(
        uvicorn.Config(
            make_app(page, port),
            host=check_loopback(host),
            port=port,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=END_SECONDS_MAX,
        )
    )
