"""Members' photos as they come from phones and scanners, made into what cards and tills hold."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Final

from dobmi.i18n import N_
from dobmi.provisioning.errors import PhotoUnusable
from dobmi.sync.outlet import PHOTO_SIZE_MAX

_FILE_SIZE_MAX: Final = 20 * 1024 * 1024
_PIXELS_MAX: Final = 50_000_000
_WIDTH, _HEIGHT = 360, 480
_SHAPE: Final = _WIDTH / _HEIGHT
_QUALITIES: Final = (85, 75, 65, 50, 35)


def read_photo(path: Path) -> bytes:
    """A JPEG of at most 60 kB, 360 by 480 pixels at most, upright, without what cameras add.

    A JPEG or PNG of at most 20 MB and 50 million pixels is taken; of a wider or higher picture, the
    middle. Raises PhotoUnusable.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_FILE_SIZE_MAX + 1)
    except OSError as error:
        raise PhotoUnusable(file=path.name[:80], why=N_("it cannot be read")) from error
    if len(content) > _FILE_SIZE_MAX:
        raise PhotoUnusable(file=path.name[:80], why=N_("it is too large"))
    return make_photo(content, path.name)


def make_photo(content: bytes, name: str) -> bytes:
    """As `read_photo`, of a file's bytes."""
    from PIL import Image, ImageOps  # noqa: PLC0415 - 0.1 s, for whoever has photos

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as opened:
                if opened.width * opened.height > _PIXELS_MAX:
                    raise PhotoUnusable(file=name[:80], why=N_("it has too many pixels"))
                opened.draft("RGB", (_WIDTH * 2, _HEIGHT * 2))
                picture = ImageOps.exif_transpose(opened).convert("RGB")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PhotoUnusable(file=name[:80], why=N_("it has too many pixels")) from error
    except (OSError, ValueError, SyntaxError) as error:  # SyntaxError: Pillow's, of a broken PNG
        raise PhotoUnusable(file=name[:80], why=N_("it is no picture that can be read")) from error
    if picture.width / picture.height > _SHAPE:
        size = (max(round(picture.height * _SHAPE), 1), picture.height)
    else:
        size = (picture.width, max(round(picture.width / _SHAPE), 1))
    scale = min(1.0, _WIDTH / size[0])
    small = ImageOps.fit(
        picture,
        (max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)),
        centering=(0.5, 0.35),  # faces are in the upper half
    )
    for quality in _QUALITIES:
        made = io.BytesIO()
        small.save(made, "JPEG", quality=quality, optimize=True)
        if made.tell() <= PHOTO_SIZE_MAX:
            return made.getvalue()
    raise PhotoUnusable(file=name[:80], why=N_("it does not become small enough"))
