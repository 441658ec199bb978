"""Deterministic CBOR (RFC 8949 section 4.2.1), strictly read: one value, one encoding.

Only what the formats use: integers, byte strings, text, arrays, maps with integer keys, true,
false and null. No floats, no tags, no indefinite lengths.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import cast

import cbor2

from dobmi.sync.errors import MalformedMessage

_ALLOWED = "int, bytes, str, list, dict with int keys, bool, None"
DEPTH_MAX = 8

CborValue = int | bytes | str | bool | None | list["CborValue"] | dict[int, "CborValue"]


def encode(value: CborValue) -> bytes:
    """The one encoding of `value`; raises TypeError for what the formats do not use."""
    _check((value,), 0)
    return cbor2.dumps(value, canonical=True)


def decode(data: bytes, *, size_max: int) -> CborValue:
    """The value of `data`, if `data` is its one encoding and at most `size_max` bytes.

    Raises MalformedMessage otherwise: too long, truncated, trailing bytes, other types, nested
    deeper than 8, or another encoding of the same value.
    """
    if len(data) > size_max:
        raise MalformedMessage(detail=f"{len(data)} bytes, at most {size_max} allowed")
    try:
        value: CborValue = cbor2.loads(data, semantic_decoders=_NO_TAGS, allow_indefinite=False)
        is_in_order = _check((value,), 0)
        # To sort the keys is most of the work, and those that stand in order need none of it.
        again = cbor2.dumps(value, canonical=not is_in_order)
    except (cbor2.CBORError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise MalformedMessage(detail="not CBOR of the allowed types") from error
    if again != data:
        raise MalformedMessage(detail="not deterministic CBOR")
    return value


def uint_to_bytes(number: int) -> bytes:
    """The one encoding of a number of 0 to 2^64 - 1; it is not checked."""
    return cbor2.dumps(number)


def uint_from_bytes(encoded: bytes) -> int:
    """The number of 0 or more whose one encoding this is; it is not checked."""
    return encoded[0] if len(encoded) == 1 else int.from_bytes(encoded[1:], "big")


class _NoTags(Mapping[int, Callable[[object, bool], object]]):
    """Has the decoder refuse every tag, known to it or not, instead of making an object of it.

    For some it would work for as long as a stranger likes: four megabytes that claim to be one
    decimal fraction kept it busy for half an hour.
    """

    def __getitem__(self, tag: int) -> Callable[[object, bool], object]:
        return _refuse_tag

    def __iter__(self) -> Iterator[int]:
        return iter(())

    def __len__(self) -> int:
        return 0


def _refuse_tag(value: object, immutable: bool) -> object:  # noqa: ARG001 - as cbor2 calls it
    msg = "no tags here"
    raise ValueError(msg)


_NO_TAGS = _NoTags()


def _check(items: Collection[object], depth: int) -> bool:
    """Whether all keys of all maps in `items` are nought or above and ascend.

    Raises TypeError for what the formats do not use.
    """
    if items and depth > DEPTH_MAX:
        msg = f"nested deeper than {DEPTH_MAX}"
        raise TypeError(msg)
    is_in_order = True
    if _PLAIN.issuperset(map(type, items)):
        return is_in_order
    for item in items:
        if isinstance(item, int):
            if not -(2**63) <= item < 2**64:
                msg = "integer too large"
                raise TypeError(msg)
        elif isinstance(item, list):
            is_in_order = _check(item, depth + 1) and is_in_order
        elif isinstance(item, dict):
            is_in_order = _check_keys(list(item)) and is_in_order
            is_in_order = _check(item.values(), depth + 1) and is_in_order
        elif not isinstance(item, _PLAIN_OR_LIKE):
            msg = f"not one of {_ALLOWED}: {type(item).__name__}"
            raise TypeError(msg)
    return is_in_order


def _check_keys(keys: list[object]) -> bool:
    """Whether they are nought or above and ascend. Raises TypeError for what is no key."""
    if not _INT.issuperset(map(type, keys)):
        msg = "map keys are integers"
        raise TypeError(msg)
    numbers = cast("list[int]", keys)
    return numbers == sorted(numbers) and min(numbers, default=0) >= 0


_INT = {int}
_PLAIN = {bytes, str, bool, type(None)}
_PLAIN_OR_LIKE = (bytes, str, type(None))


def is_plain(text: str) -> bool:
    """Whether the text has no control characters, which no database and no printer wants.

    Nor halves of surrogate pairs, which are no characters.
    """
    if text.isascii() and text.isprintable():
        return True
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

    def uint_or_none(self, key: int, bits: int = 63) -> int | None:
        if key in self._left and self._left[key] is None:
            return self._take(key)  # type: ignore[return-value] # None, as was just seen
        return self.uint(key, bits)

    def boolean(self, key: int) -> bool:
        value = self._take(key)
        if not isinstance(value, bool):
            raise MalformedMessage(detail=f"{self._what} field {key} is not true or false")
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
