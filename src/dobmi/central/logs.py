"""The server's log: one JSON object a line, and nobody's name in it.

Nothing here writes names, card UIDs or member numbers. What others write could hold them: the text
of a database's error quotes rows, an error of ours names the card. So of an exception the log has
its kind, the code of ours and where it was raised, never its text; of a request its route and not
its path. docs/operations.md lists the members.
"""

from __future__ import annotations

import json
import logging
import logging.config
import sys
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any, Literal

from dobmi.errors import DoBMIError

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""Of the request that is served here; worker threads have it, too."""

_FRAMES_MAX = 20


class JsonLines(logging.Formatter):
    """`extra={"fields": {...}}` of a record become members of its object."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := REQUEST_ID.get():
            line["request_id"] = request_id
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[1] is not None:
            line["errors"] = _chain(record.exc_info[1])
        return json.dumps(line, ensure_ascii=False)


class PlainLines(logging.Formatter):
    """The same for people who look at a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {**getattr(record, "fields", {})}
        if record.exc_info and record.exc_info[1] is not None:
            fields["errors"] = _chain(record.exc_info[1])
        told = "".join(f" {name}={value}" for name, value in fields.items())
        return f"{self.formatTime(record)} {record.levelname} {record.getMessage()}{told}"


def configure_logging(style: Literal["json", "text"]) -> None:
    """To standard error, for the whole process."""
    formatter = JsonLines if style == "json" else PlainLines
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"lines": {"()": formatter}},
            "handlers": {
                "stderr": {
                    "class": "logging.StreamHandler",
                    "formatter": "lines",
                    "stream": sys.stderr,
                }
            },
            "root": {"handlers": ["stderr"], "level": "INFO"},
        }
    )


def _chain(error: BaseException) -> list[dict[str, Any]]:
    """The error and what led to it, the nearest first."""
    found: list[dict[str, Any]] = []
    at: BaseException | None = error
    while at is not None and len(found) < _FRAMES_MAX:
        frames = traceback.extract_tb(at.__traceback__)[-_FRAMES_MAX:]
        one: dict[str, Any] = {"kind": f"{type(at).__module__}.{type(at).__qualname__}"}
        if isinstance(at, DoBMIError):
            one["code"] = at.code
        sqlstate = getattr(at, "sqlstate", None)
        if isinstance(sqlstate, str):
            one["sqlstate"] = sqlstate
        one["at"] = [
            f"{'/'.join(PurePath(frame.filename).parts[-2:])}:{frame.lineno} {frame.name}"
            for frame in frames
        ]
        found.append(one)
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)
    return found
