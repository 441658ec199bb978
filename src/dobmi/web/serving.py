"""Serving a page on this machine alone, until its program is told to end."""

from __future__ import annotations

from typing import Final

import uvicorn
from fastapi import FastAPI

from dobmi.web.security import check_loopback

END_SECONDS_MAX: Final = 2
"""Streams of events never end by themselves: so long they are waited for."""


def loopback_server(app: FastAPI, host: str, port: int) -> uvicorn.Server:
    """Raises NotLoopback."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=check_loopback(host),
            port=port,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=END_SECONDS_MAX,
        )
    )
