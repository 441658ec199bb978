"""A card on a station's reader at the command line: waited for, worked with, asked for again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

from dobmi.cardlib.errors import CardRemoved, NoCard
from dobmi.cardlib.readers import CardConnection, Reader, Signal, open_reader
from dobmi.cli.context import Context, show_error
from dobmi.errors import DoBMIError
from dobmi.i18n import N_
from dobmi.provisioning.errors import NoCardCame
from dobmi.sync.errors import RelayInterrupted

_Result = TypeVar("_Result")


@contextlib.contextmanager
def open_the_reader(context: Context) -> Iterator[Reader]:
    reader = open_reader(context.settings.provisioning.reader)
    try:
        yield reader
    finally:
        reader.close()


def connect_card(context: Context, reader: Reader) -> CardConnection:
    seconds = context.settings.provisioning.card_wait_seconds
    if not reader.wait_for_card(0):
        context.say(N_("Lay the card on the reader…"))
    while True:
        if not reader.wait_for_card(seconds):
            raise NoCardCame(seconds=round(seconds))
        with contextlib.suppress(NoCard, CardRemoved):  # gone again: wait for the next one
            return reader.connect()


def with_card(
    context: Context, reader: Reader, act: Callable[[CardConnection], _Result]
) -> _Result:
    """Do `act` with the card on the reader; when it is pulled away, ask for it again and go on."""
    uid: bytes | None = None
    while True:
        connection = connect_card(context, reader)
        if uid is not None and connection.uid != uid:
            connection.disconnect()
            context.say(N_("That is another card. Lay the same card on again."))
            reader.wait_for_removal()
            continue
        uid = connection.uid
        reader.signal(Signal.BUSY)
        try:
            result = act(connection)
        except (CardRemoved, RelayInterrupted) as error:
            reader.signal(Signal.FAILURE)
            if not isinstance(error, CardRemoved) and not isinstance(error.__cause__, CardRemoved):
                raise
            show_error(error, context.translate)
            reader.wait_for_removal()
            continue
        except DoBMIError:
            reader.signal(Signal.FAILURE)
            raise
        finally:
            connection.disconnect()
        reader.signal(Signal.SUCCESS)
        return result
