"""What the outlet sells: searched, browsed by category, or scanned. As the feed last had it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from dobmi.money import Rupiah
from dobmi.sync.outlet import CatalogueItem
from dobmi.terminal import schema
from dobmi.terminal.errors import NoSuchItem
from dobmi.terminal.ledger import Ledger

FOUND_MAX = 60
SCAN_LENGTH_MAX = 80
_WORDS_MAX = 8


def search(
    ledger: Ledger, text: str, *, category: str | None = None, count_max: int = FOUND_MAX
) -> tuple[CatalogueItem, ...]:
    """Items that have every word of `text` in their code, name or category, by name.

    Upper and lower case are the same; without any words it is all of them, up to `count_max`.
    """
    items = schema.catalogue_items
    query = sa.select(items)
    for word in text.casefold().split()[:_WORDS_MAX]:
        query = query.where(items.c.folded.contains(word, autoescape=True))
    if category is not None:
        query = query.where(items.c.category == category)
    with ledger.connect() as connection:
        rows = connection.execute(query.order_by(items.c.name, items.c.code).limit(count_max))
        return _items(connection, rows.all())


def categories(ledger: Ledger) -> tuple[tuple[str, int], ...]:
    """Each category and how many items it has, by name."""
    items = schema.catalogue_items
    with ledger.connect() as connection:
        rows = connection.execute(
            sa.select(items.c.category, sa.func.count())
            .group_by(items.c.category)
            .order_by(items.c.category)
        )
        return tuple((category, count) for category, count in rows)


def by_code(ledger: Ledger, code: str) -> CatalogueItem:
    """Raises NoSuchItem."""
    items = schema.catalogue_items
    with ledger.connect() as connection:
        found = _items(connection, connection.execute(sa.select(items).where(items.c.code == code)))
    if not found:
        raise NoSuchItem(text=code[:SCAN_LENGTH_MAX])
    return found[0]


def by_barcode(ledger: Ledger, scanned: str) -> CatalogueItem:
    """What was scanned, or typed in its place: a barcode, or else an item's code.

    Raises NoSuchItem.
    """
    scanned = scanned.strip()
    barcodes = schema.catalogue_barcodes
    with ledger.connect() as connection:
        code = connection.execute(
            sa.select(barcodes.c.code).where(barcodes.c.barcode == scanned)
        ).scalar()
    return by_code(ledger, scanned if code is None else code)


def price_for(item: CatalogueItem, member_class: str) -> Rupiah:
    """That of the class, or everybody's; "" is an ordinary member."""
    return dict(item.class_prices).get(member_class, item.price)


def classes(ledger: Ledger) -> tuple[str, ...]:
    """The member classes that have a price of their own for anything, by name."""
    prices = schema.catalogue_class_prices
    with ledger.connect() as connection:
        rows = connection.execute(sa.select(prices.c.member_class).distinct())
        return tuple(sorted(row.member_class for row in rows))


def _items(connection: sa.Connection, rows: Iterable[sa.Row[Any]]) -> tuple[CatalogueItem, ...]:
    found = list(rows)
    codes = [row.code for row in found]
    barcodes: dict[str, list[str]] = {code: [] for code in codes}
    prices: dict[str, list[tuple[str, Rupiah]]] = {code: [] for code in codes}
    table = schema.catalogue_barcodes
    for row in connection.execute(sa.select(table).where(table.c.code.in_(codes))):
        barcodes[row.code].append(row.barcode)
    table = schema.catalogue_class_prices
    for row in connection.execute(sa.select(table).where(table.c.code.in_(codes))):
        prices[row.code].append((row.member_class, Rupiah(row.price_rupiah)))
    return tuple(
        CatalogueItem(
            code=row.code,
            name=row.name,
            category=row.category,
            price=Rupiah(row.price_rupiah),
            barcodes=tuple(sorted(barcodes[row.code])),
            class_prices=tuple(sorted(prices[row.code])),
        )
        for row in found
    )
