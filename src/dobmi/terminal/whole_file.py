"""Small files that are there whole or not at all, whatever happens to the machine meanwhile."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from dobmi.cardlib.custody import sync_folder
from dobmi.settings import FileUnusable


def replace_file(path: Path, data: bytes, *, check: Callable[[Path], object] | None = None) -> None:
    """Put `data` in the place of the file `path`, on the disk before it is seen there.

    A new file is the owner's alone; one that was there keeps its mode. `check` is given the new
    file before it takes its place and raises what is wrong with it. Raises FileUnusable.
    """
    temporary = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if check is not None:
            check(temporary)
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise FileUnusable(path=path, detail=error.strerror or str(error)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
