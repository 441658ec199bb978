"""Carts put aside while another member is served, and fetched again; they outlive the program."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from dobmi.sync.cbor import is_plain
from dobmi.sync.voucher import TEXT_LENGTH_MAX
from dobmi.terminal import schema
from dobmi.terminal.cart import Cart, cart_from_bytes, cart_to_bytes
from dobmi.terminal.errors import NoSuchHeldCart, TooManyHeldCarts
from dobmi.terminal.ledger import Ledger

HELD_MAX = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldCart:
    number: int
    label: str
    cart: Cart
    by: str
    unix_seconds: int


def hold_cart(ledger: Ledger, cart: Cart, *, label: str, by: str, now: int) -> HeldCart:
    """`label` is what it is found by, such as the member's name. Raises TooManyHeldCarts."""
    label = "".join(sign for sign in label.strip()[:TEXT_LENGTH_MAX] if is_plain(sign))
    table = schema.held_carts
    with ledger.begin() as connection:
        count = connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
        if count >= HELD_MAX:
            raise TooManyHeldCarts(count=count)
        done = connection.execute(
            table.insert().values(label=label, cart=cart_to_bytes(cart), by=by, unix_seconds=now)
        )
        assert done.inserted_primary_key is not None
        number = int(done.inserted_primary_key[0])
    return HeldCart(number=number, label=label, cart=cart, by=by, unix_seconds=now)


def held_carts(ledger: Ledger) -> tuple[HeldCart, ...]:
    """Oldest first."""
    table = schema.held_carts
    with ledger.connect() as connection:
        return tuple(
            HeldCart(
                number=row.id,
                label=row.label,
                cart=cart_from_bytes(row.cart),
                by=row.by,
                unix_seconds=row.unix_seconds,
            )
            for row in connection.execute(sa.select(table).order_by(table.c.id))
        )


def recall_cart(ledger: Ledger, number: int) -> Cart:
    """The cart, which is held no more. Raises NoSuchHeldCart: fetched already, for instance."""
    table = schema.held_carts
    with ledger.begin() as connection:
        row = connection.execute(sa.select(table.c.cart).where(table.c.id == number)).one_or_none()
        if row is None:
            raise NoSuchHeldCart(number=number)
        connection.execute(table.delete().where(table.c.id == number))
    return cart_from_bytes(row.cart)
