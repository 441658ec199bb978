"""See every write, sync, truncation, renaming and making of a file below one folder, as it happens.

A small library (disk_watch.c) is preloaded into the process and calls back before and after each;
SQLite's own calls are among them. Linux with glibc and a C compiler.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

_SOURCE = "disk_watch.c"


class Operation(IntEnum):
    """As numbered in disk_watch.c."""

    WRITE = 0
    SYNC = 1
    TRUNCATE = 2
    RENAME = 3
    UNLINK = 4
    CREATE = 5
    LINK = 6


@dataclass(frozen=True, slots=True)
class DiskCall:
    """One call on `path`. `offset` of a TRUNCATE is the new size; `to` is a RENAME's or LINK's new path."""

    operation: Operation
    path: str
    offset: int = 0
    data: bytes = b""
    to: str = ""


Watcher = Callable[[DiskCall, bool], None]
"""Called with False just before the call and with True just after it has succeeded."""

_CALLBACK = ctypes.CFUNCTYPE(
    None,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_longlong,
    ctypes.c_longlong,
    ctypes.c_void_p,
)
_kept: list[object] = []


def preload_library() -> Path:
    """The compiled library, built once for each version of its source. Raises OSError."""
    source = files("dobmi.fleet").joinpath(_SOURCE).read_bytes()
    folder = Path(tempfile.gettempdir()) / f"dobmi-disk-watch-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        msg = f"{folder} belongs to somebody else"
        raise PermissionError(msg)
    library = folder / f"{sha256(source).hexdigest()[:16]}.so"
    if not library.exists():
        fresh = library.with_suffix(f".{os.getpid()}")
        command = ["cc", "-O2", "-shared", "-fPIC", "-x", "c", "-", "-o", str(fresh), "-ldl"]
        subprocess.run(command, input=source, check=True)  # noqa: S603 - our own source
        fresh.replace(library)
    return library


def is_preloaded() -> bool:
    return hasattr(ctypes.CDLL(None), "dobmi_watch")


def watch(folder: Path, watcher: Watcher) -> None:
    """From now on, in this process: tell `watcher` of every call below `folder`."""

    def called(  # noqa: PLR0917 - as disk_watch.c calls it
        operation: int, phase: int, path: bytes, to: bytes, offset: int, length: int, data: int
    ) -> None:
        content = ctypes.string_at(data, length) if data and phase else b""
        call = DiskCall(
            Operation(operation), os.fsdecode(path), offset, content, os.fsdecode(to or b"")
        )
        watcher(call, bool(phase))

    callback = _CALLBACK(called)
    _kept.append(callback)
    ctypes.CDLL(None).dobmi_watch(callback, os.fsencode(folder.resolve()))
