"""Deterministic CBOR (RFC 8949 section 4.2.1), strictly read: one value, one encoding.

Only what the formats use: integers, byte strings, text, arrays, maps with integer keys, true,
false and null. No floats, no tags, no indefinite lengths.
"""

from __future__ import annotations

import unicodedata

import cbor2

from dobmi.sync.errors import MalformedMessage

_ALLOWED = "int, bytes, str, list, dict with int keys, bool, None"
DEPTH_MAX = 8

# RFC 8949 section 3: the three high bits of a head are the major type, the five low ones the
# argument or in how many bytes after the head it stands.
_STRINGS = (2, 3)
_TAGS = 6
_SIMPLE = 7
_FALSE_TRUE_NULL = (20, 21, 22)
_IN_THE_HEAD_MAX = 23
_IN_8_BYTES = 27

CborValue = int | bytes | str | bool | None | list["CborValue"] | dict[int, "CborValue"]


def encode(value: CborValue) -> bytes:
    """The one encoding of `value`; raises TypeError for what the formats do not use."""
    _check(value, 0)
    return cbor2.dumps(value, canonical=True)


def decode(data: bytes, *, size_max: int) -> CborValue:
    """The value of `data`, if `data` is its one encoding and at most `size_max` bytes.

    Raises MalformedMessage otherwise: too long, truncated, trailing bytes, other types, nested
    deeper than 8, or another encoding of the same value.
    """
    if len(data) > size_max:
        raise MalformedMessage(detail=f"{len(data)} bytes, at most {size_max} allowed")
    try:
        _check_heads(data)
        value: CborValue = cbor2.loads(data)
        again = encode(value)
    except (cbor2.CBORError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise MalformedMessage(detail="not CBOR of the allowed types") from error
    if again != data:
        raise MalformedMessage(detail="not deterministic CBOR")
    return value


def _check_heads(data: bytes) -> None:
    """Raise ValueError for a tag, float, simple value or indefinite length, before any is decoded.

    The decoder makes objects of tags, and for some of them works for as long as a stranger likes:
    four megabytes that claim to be one decimal fraction kept it busy for half an hour.
    """
    at = 0
    while at < len(data):
        major, info = data[at] >> 5, data[at] & 0x1F
        at += 1
        if major == _TAGS or (major == _SIMPLE and info not in _FALSE_TRUE_NULL):
            msg = f"not one of {_ALLOWED}"
            raise ValueError(msg)
        argument = info
        if major != _SIMPLE and info > _IN_THE_HEAD_MAX:
            if info > _IN_8_BYTES:
                msg = "a length that is not told"
                raise ValueError(msg)
            width = 1 << info - _IN_THE_HEAD_MAX - 1
            argument = int.from_bytes(data[at : at + width], "big")
            at += width
        if major in _STRINGS:
            at += argument


def _check(value: object, depth: int) -> None:
    if depth > DEPTH_MAX:
        msg = f"nested deeper than {DEPTH_MAX}"
        raise TypeError(msg)
    if value is None or isinstance(value, bool | bytes | str):
        return
    if isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            msg = "integer too large"
            raise TypeError(msg)
        return
    if isinstance(value, list):
        for item in value:
            _check(item, depth + 1)
        return
    if isinstance(value, dict):
        for key, item in value.items():
            if type(key) is not int:
                msg = "map keys are integers"
                raise TypeError(msg)
            _check(item, depth + 1)
        return
    msg = f"not one of {_ALLOWED}: {type(value).__name__}"
    raise TypeError(msg)


def is_plain(text: str) -> bool:
    """Whether the text has no control characters, which no database and no printer wants.

    Nor halves of surrogate pairs, which are no characters.
    """
    return not any(unicodedata.category(character) in {"Cc", "Cs"} for character in text)


class Fields:
    """Reads a decoded map field by field; what is missing, of another type or left over is named.

    Every getter raises MalformedMessage.
    """

    def __init__(self, value: CborValue, what: str) -> None:
        if not isinstance(value, dict):
            raise MalformedMessage(detail=f"{what} is not a map")
        self._left = dict(value)
        self._what = what

    def _take(self, key: int) -> CborValue:
        if key not in self._left:
            raise MalformedMessage(detail=f"{self._what} lacks field {key}")
        return self._left.pop(key)

    def has(self, key: int) -> bool:
        return key in self._left

    def uint(self, key: int, bits: int = 63) -> int:
        value = self._take(key)
        if type(value) is not int or not 0 <= value < 1 << bits:
            raise MalformedMessage(detail=f"{self._what} field {key} is not a {bits}-bit number")
        return value

    def octets(self, key: int, length_min: int, length_max: int | None = None) -> bytes:
        value = self._take(key)
        length_max = length_min if length_max is None else length_max
        if not isinstance(value, bytes) or not length_min <= len(value) <= length_max:
            raise MalformedMessage(
                detail=f"{self._what} field {key} is not {length_min} to {length_max} bytes"
            )
        return value

    def text(self, key: int, length_max: int) -> str:
        value = self._take(key)
        if not isinstance(value, str) or len(value) > length_max:
            raise MalformedMessage(
                detail=f"{self._what} field {key} is not a text of at most {length_max} characters"
            )
        if not is_plain(value):
            raise MalformedMessage(detail=f"{self._what} field {key} has control characters")
        return value

    def items(self, key: int, count_max: int) -> list[CborValue]:
        value = self._take(key)
        if not isinstance(value, list) or len(value) > count_max:
            raise MalformedMessage(
                detail=f"{self._what} field {key} is not a list of at most {count_max}"
            )
        return value

    def exactly(self, key: int, expected: int) -> None:
        value = self._take(key)
        if type(value) is not int or value != expected:
            raise MalformedMessage(detail=f"{self._what} field {key} is not {expected}")

    def map(self, key: int) -> dict[int, CborValue]:
        value = self._take(key)
        if not isinstance(value, dict):
            raise MalformedMessage(detail=f"{self._what} field {key} is not a map")
        return value

    def nested(self, key: int) -> Fields:
        return Fields(self._take(key), f"{self._what} field {key}")

    def finish(self) -> None:
        if self._left:
            unknown = ", ".join(str(key) for key in sorted(self._left))
            raise MalformedMessage(detail=f"{self._what} has unknown fields {unknown}")
