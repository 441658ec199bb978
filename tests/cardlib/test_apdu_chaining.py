"""APDU wrapping and 0xAF chaining, both ways, at any length."""

from __future__ import annotations

import pytest
from card_vectors import ScriptedConnection
from hypothesis import given
from hypothesis import strategies as st

from dobmi.cardlib import errors
from dobmi.cardlib.apdu import command_frames, parse_response, wrap_apdu
from dobmi.cardlib.desfire import DesfireCard, Exchanges
from dobmi.cardlib.errors import CardRefused, GarbledResponse, MalformedResponse


def every_subclass(kind: type[CardRefused]) -> list[type[CardRefused]]:
    below = kind.__subclasses__()
    return below + [deeper for one in below for deeper in every_subclass(one)]


def test_a_command_is_wrapped_as_iso_7816_has_it() -> None:
    assert wrap_apdu(0x6F).hex() == "906f000000"
    assert wrap_apdu(0x5A, b"\x10\xb3\xd0").hex() == "905a00000310b3d000"
    with pytest.raises(ValueError, match="at most 255"):
        wrap_apdu(0x8D, bytes(256))


@given(st.binary(max_size=400), st.integers(1, 255))
def test_command_frames_carry_the_payload_whole_and_in_order(payload: bytes, limit: int) -> None:
    frames = list(command_frames(0x3D, payload, limit))
    assert b"".join(data for _, data in frames) == payload
    assert [ins for ins, _ in frames] == [0x3D] + [0xAF] * (len(frames) - 1)
    assert all(len(data) <= limit for _, data in frames)
    assert all(data for _, data in frames[1:])


def test_a_frame_that_carries_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one byte"):
        list(command_frames(0x3D, b"data", 0))


@given(st.binary(min_size=1, max_size=300), st.lists(st.integers(1, 60), max_size=12))
def test_chained_answer_is_put_together_however_the_card_cuts_it(
    data: bytes, cuts: list[int]
) -> None:
    pieces, rest = [], data
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    pieces.append(rest)
    header = bytes([5]) + bytes(3) + len(data).to_bytes(3, "little")
    commands = [b"\xbd" + header] + [b"\xaf"] * (len(pieces) - 1)
    statuses = [b"\xaf"] * (len(pieces) - 1) + [b"\0"]
    answers = [status + piece for status, piece in zip(statuses, pieces, strict=True)]
    connection = ScriptedConnection(list(zip(commands, answers, strict=True)))
    card = DesfireCard(connection)
    assert card.read_data(5, 0, len(data)) == data
    connection.assert_finished()
    assert card.exchanges.count == len(pieces)


@given(st.binary(min_size=1, max_size=300), st.integers(1, 59))
def test_chained_command_arrives_whole_at_any_frame_size(data: bytes, limit: int) -> None:
    whole = bytes([0x3D, 2]) + bytes(3) + len(data).to_bytes(3, "little") + data
    connection = ScriptedConnection([(whole, b"\0")], reassemble=True)
    card = DesfireCard(connection, frame_data_max=limit)
    card.write_data(2, 0, data)
    connection.assert_finished()
    assert card.exchanges.count == -(-(len(whole) - 1) // limit)


def test_a_card_that_never_ends_its_answer_is_cut_off() -> None:
    class Babbler:
        uid = bytes(7)
        asked = 0

        def transmit(self, command: bytes) -> bytes:  # noqa: ARG002 - whatever is said
            self.asked += 1
            return b"\x91\xaf"

        def disconnect(self) -> None:
            raise AssertionError("no test disconnects")

    babbler = Babbler()
    with pytest.raises(GarbledResponse):
        DesfireCard(babbler).get_file_ids()
    assert babbler.asked == 1024


@pytest.mark.parametrize("answer", ["00", "af01", "00ff"])
def test_a_card_that_does_not_wait_for_the_whole_command_is_not_understood(answer: str) -> None:
    command = bytes([0x3D, 2]) + bytes(3) + (100).to_bytes(3, "little") + bytes(52)
    connection = ScriptedConnection([(command, bytes.fromhex(answer))])
    with pytest.raises(MalformedResponse):
        DesfireCard(connection).write_data(2, 0, bytes(100))


@pytest.mark.parametrize("response", [b"", b"\x91", b"\x90\x00", b"data\x61\x10", b"\x92\x00"])
def test_what_is_no_desfire_answer_is_garbled(response: bytes) -> None:
    with pytest.raises(GarbledResponse):
        parse_response(response)


@pytest.mark.parametrize(
    ("status_word", "error"),
    [
        (0x6283, errors.TransactionLimitReached),
        (0x6581, errors.IsoMemoryFailure),
        (0x6700, errors.IsoWrongLength),
        (0x6982, errors.IsoSecurityNotSatisfied),
        (0x6985, errors.IsoConditionsNotSatisfied),
        (0x6A82, errors.IsoFileNotFound),
        (0x6A86, errors.IsoWrongParameters),
        (0x6A87, errors.IsoWrongParameters),
        (0x6B00, errors.IsoWrongParameters),
        (0x6D00, errors.NotDesfire),
        (0x6E00, errors.NotDesfire),
    ],
)
def test_an_iso_status_word_has_its_named_error(status_word: int, error: type[CardRefused]) -> None:
    with pytest.raises(error) as caught:
        parse_response(status_word.to_bytes(2, "big"))
    assert caught.value.status == status_word


STATUSES = {
    0x0C: "NoChanges",
    0x0E: "OutOfMemory",
    0x1C: "IllegalCommand",
    0x1E: "IntegrityError",
    0x40: "NoSuchKey",
    0x7E: "LengthError",
    0x9D: "PermissionDenied",
    0x9E: "ParameterError",
    0xA0: "ApplicationNotFound",
    0xA1: "ApplicationIntegrityError",
    0xAD: "AuthenticationDelay",
    0xAE: "AuthenticationError",
    0xBE: "BoundaryError",
    0xC1: "PiccIntegrityError",
    0xCA: "CommandAborted",
    0xCD: "PiccDisabled",
    0xCE: "CountError",
    0xDE: "DuplicateError",
    0xEE: "EepromError",
    0xF0: "FileNotFound",
    0xF1: "FileIntegrityError",
}


@pytest.mark.parametrize("status", [s for s in range(256) if s not in {0x00, 0xAF}])
def test_every_status_code_is_a_named_error(status: int) -> None:
    connection = ScriptedConnection([(b"\x6e", bytes([status]))])
    with pytest.raises(CardRefused) as caught:
        DesfireCard(connection).get_free_memory()
    assert type(caught.value).__name__ == STATUSES.get(status, "UnknownStatus")
    assert caught.value.status == status


def test_every_refusal_explains_itself_and_has_a_code_of_its_own() -> None:
    kinds = every_subclass(CardRefused)
    assert len({kind.code for kind in kinds}) == len(kinds)
    for kind in kinds:
        error = kind()
        assert error.code in str(error)
        assert error.explain().endswith(".")
        assert error.advise().endswith(".")
        assert kind.__name__ in (errors.__doc__ or "")


def test_exchanges_and_bytes_are_counted_each_way() -> None:
    connection = ScriptedConnection([(b"\x6f", b"\0\1\2"), (b"\x6e", b"\0\0\x14\0")])
    card = DesfireCard(connection)
    card.get_file_ids()
    before = card.exchanges
    assert before == Exchanges(count=1, bytes_sent=5, bytes_received=4)
    assert card.get_free_memory() == 5120
    assert card.exchanges - before == Exchanges(count=1, bytes_sent=5, bytes_received=5)
