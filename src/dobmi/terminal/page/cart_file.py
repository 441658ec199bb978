"""The cart that lies on the counter, in a file beside the ledger: a power cut does not empty it.

The number under which it is paid is kept with it. What that came to stands in the ledger, so a cart
that is found again is never paid twice: it is dropped if it was paid, and goes on with the same
number, and the same card, if that is not known.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dobmi.settings import FileUnusable
from dobmi.sync.cbor import decode, encode
from dobmi.sync.errors import MalformedMessage
from dobmi.terminal import sale_request
from dobmi.terminal.cart import Cart, cart_from_bytes, cart_to_bytes
from dobmi.terminal.errors import BadCart, LedgerUnusable
from dobmi.terminal.ledger import Ledger, SaleState
from dobmi.terminal.purchase import Purchase
from dobmi.terminal.whole_file import replace_file

_SIZE_MAX = 512 * 1024
_log = logging.getLogger(__name__)


def cart_path(database: Path) -> Path:
    return database.with_name(database.name + ".cart")


class CartFile:
    """Written in a thread of its own, so that nobody waits for the disk. Any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer = ThreadPoolExecutor(1, "cart")
        self._newest: tuple[Cart, str] | None = None
        self._written: tuple[Cart, str] | None = None

    def keep(self, cart: Cart, request: str) -> None:
        self._newest = (cart, request)
        self._writer.submit(self._write)

    def close(self) -> None:
        """Once the newest is written."""
        self._writer.shutdown(wait=True)

    def _write(self) -> None:
        newest = self._newest
        if newest is None or newest == self._written:
            return
        cart, request = newest
        try:
            if cart.lines:
                replace_file(self._path, encode([1, request, cart_to_bytes(cart)]))
            else:
                self._path.unlink(missing_ok=True)
        except (FileUnusable, OSError) as error:  # it sells all the same
            _log.warning("the cart is not kept: %s", error)
        else:
            self._written = newest


def found_again(path: Path, ledger: Ledger) -> tuple[Cart, str] | None:
    """The cart that lay there when the program ended, and its number; None for none to go on with.

    Raises LedgerError.
    """
    kept = _read(path)
    if kept is None:
        return None
    cart, request = kept
    bound = sale_request.find(ledger, request)
    if bound is None:
        return kept
    is_paid = sale_request.state(ledger, bound) is SaleState.PAID
    is_it = (bound.purchase, bound.order) == (_purchase(cart), cart.order)
    return kept if is_it and not is_paid else None


def _purchase(cart: Cart) -> Purchase | None:
    try:
        return cart.purchase()
    except BadCart:
        return None


def _read(path: Path) -> tuple[Cart, str] | None:
    try:
        match decode(path.read_bytes(), size_max=_SIZE_MAX):
            case [1, str(request), bytes(cart)]:
                return cart_from_bytes(cart), request
    except FileNotFoundError:
        return None
    except (OSError, MalformedMessage, LedgerUnusable) as error:
        _log.warning("the cart that was kept cannot be read: %s", error)
    return None
