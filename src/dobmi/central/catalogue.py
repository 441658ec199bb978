"""What outlets sell: a file of the office replaces the catalogue of one seller, or that of all.

A seller's tills are told its own items and those of all sellers that it has no item of the same code
for; `outlets` in the file of all names those that have an item, if not all have it.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, func, select

from dobmi.central.csv_file import Line, read_csv, wrong_line
from dobmi.central.database import Database, insert_rows
from dobmi.central.errors import FileRefused
from dobmi.central.outlets import FOR_ALL, note_change, version_of
from dobmi.central.schema import (
    OutletPart,
    catalogue_barcodes,
    catalogue_items,
    catalogue_outlets,
    catalogue_prices,
    sellers,
)
from dobmi.central.seller_accounts import seller_number
from dobmi.errors import Phrase
from dobmi.i18n import N_
from dobmi.money import ZERO, Rupiah
from dobmi.sync.cbor import encode, is_plain
from dobmi.sync.outlet import (
    BARCODES_MAX,
    CLASS_LENGTH_MAX,
    CLASSES_MAX,
    ITEMS_MAX,
    PRICE_MAX,
    TEXT_LENGTH_MAX,
    Catalogue,
    CatalogueItem,
    catalogue_to_cbor,
)

BYTES_MAX: Final = 3 * 1024 * 1024
"""Of one file's items as the feed has them: it also has another file's, and all the rest."""
_HEADINGS: Final = {
    "code": "code", "kode": "code",
    "name": "name", "nama": "name",
    "category": "category", "kategori": "category",
    "price": "price", "harga": "price",
    "barcodes": "barcodes", "barcode": "barcodes",
    "outlets": "outlets", "toko": "outlets",
}  # fmt: skip
_CLASS: Final = "class "
_PREFIXES: Final = {"price:": _CLASS, "harga:": _CLASS}
_TABLES = (catalogue_outlets, catalogue_prices, catalogue_barcodes, catalogue_items)
"""Those that refer to items before the items."""


@dataclass(frozen=True, slots=True)
class Offer:
    """An item as a line of the file has it. `outlets`: the only ones that have it; none: all."""

    line: int
    item: CatalogueItem
    outlets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Imported:
    """How many items there are now, and how many there were before."""

    items: int
    before: int


def parse_catalogue(text: str) -> list[Offer]:
    """The lines of a CSV file: `code,name,category,price`, or `kode;nama;kategori;harga`.

    Further columns, each of which may lack: `barcodes` (several with spaces between), `outlets`
    (`toko`; several with | between), and `price:CLASS` (`harga:CLASS`) for each class of members.
    Raises FileRefused with every bad line.
    """
    lines, problems = read_csv(
        text,
        _HEADINGS,
        {"code", "name", "category", "price"},
        example="code,name,category,price,barcodes,outlets,price:CLASS",
        lines_max=ITEMS_MAX,
        prefixes=_PREFIXES,
    )
    offers: list[Offer] = []
    codes: dict[str, int] = {}
    barcodes: dict[str, int] = {}
    for line in lines:
        found = len(problems)
        offer = _offer(line, problems)
        for what, key, seen in (
            ("code", offer.item.code if offer else "", codes),
            *(("barcode", each, barcodes) for each in (offer.item.barcodes if offer else ())),
        ):
            before = seen.setdefault(key, line.number) if key else line.number
            if before != line.number:
                twice = N_("{what} {text} is in line {before} too")
                problems.append(line.wrong(twice, what=what, text=key, before=before))
        if offer is not None and len(problems) == found:
            offers.append(offer)
    size = sum(len(encode([*_cbor_of(offer.item)])) for offer in offers)
    if size > BYTES_MAX:
        problems.append(wrong_line(lines[-1].number, N_("more than a till can take")))
    if problems:
        raise FileRefused(problems)
    return offers


def import_catalogue(database: Database, offers: Sequence[Offer], seller: str | None) -> Imported:
    """Put these in the place of the seller's catalogue, or (None) of all sellers'.

    Raises FileRefused: nothing is changed then. UnknownSeller.
    """

    def replace(connection: Connection) -> Imported:
        seller_id = FOR_ALL if seller is None else seller_number(connection, seller)
        note_change(connection, seller_id, OutletPart.CATALOGUE)
        _refuse_too_many(connection, offers, seller_id)
        outlets = _outlets_named(connection, offers, seller_id)
        _refuse_barcodes_of_others(connection, offers, seller_id, outlets)
        before = 0
        for table in _TABLES:
            gone = connection.execute(delete(table).where(table.c.seller_id == seller_id))
            before = gone.rowcount
        _insert(connection, offers, seller_id, outlets)
        return Imported(len(offers), before)

    return database.write_again(replace)


def catalogue_of(connection: Connection, seller_id: int) -> Catalogue:
    """What this seller's tills are told."""
    own = _items(connection, seller_id)
    common = _items(connection, FOR_ALL) if seller_id != FOR_ALL else {}
    only = _only_at(connection)
    for code, item in common.items():
        if seller_id in only.get(code, {seller_id}):
            own.setdefault(code, item)
    return Catalogue(
        version=version_of(connection, seller_id, OutletPart.CATALOGUE),
        items=tuple(own[code] for code in sorted(own)),
    )


def seller_catalogue(database: Database, seller: str | None) -> Catalogue:
    """Of the seller's tills, or (None) all items of all sellers. Raises UnknownSeller."""
    with database.read() as connection:
        seller_id = FOR_ALL if seller is None else seller_number(connection, seller)
        return catalogue_of(connection, seller_id)


def _offer(line: Line, problems: list[Phrase]) -> Offer | None:
    """None, and one more of the problems, if a cell is wrong."""
    found = len(problems)
    texts = {
        column: line.text(column, TEXT_LENGTH_MAX, problems)
        for column in ("code", "name", "category")
    }
    price = _price(line, "price", problems)
    barcodes = tuple(line.cells.get("barcodes", "").split())
    if len(barcodes) > BARCODES_MAX or len(set(barcodes)) < len(barcodes):
        text = N_("at most {most} barcodes, and none twice")
        problems.append(line.wrong(text, most=BARCODES_MAX))
    if any(len(one) > TEXT_LENGTH_MAX or not is_plain(one) for one in barcodes):
        problems.append(line.wrong(N_("{text!r} is no barcode"), text=" ".join(barcodes)[:40]))
    classes = {
        column.removeprefix(_CLASS): column for column in line.cells if column.startswith(_CLASS)
    }
    if len(classes) > CLASSES_MAX or any(len(name) > CLASS_LENGTH_MAX for name in classes):
        text = N_("at most {most} classes, with names of at most {length} characters")
        problems.append(line.wrong(text, most=CLASSES_MAX, length=CLASS_LENGTH_MAX))
    prices = tuple(
        (name, _price(line, column, problems))
        for name, column in sorted(classes.items())
        if line.cells[column]
    )
    outlets = [name.strip() for name in line.cells.get("outlets", "").split("|")]
    if len(problems) > found:
        return None
    item = CatalogueItem(
        code=texts["code"],
        name=texts["name"],
        category=texts["category"],
        price=price,
        barcodes=barcodes,
        class_prices=prices,
    )
    return Offer(line.number, item, tuple(dict.fromkeys(filter(None, outlets))))


def _price(line: Line, column: str, problems: list[Phrase]) -> Rupiah:
    cell = line.cells[column][:40]
    with contextlib.suppress(ValueError):
        price = Rupiah.parse(cell)
        if ZERO <= price <= PRICE_MAX:
            return price
    problems.append(line.wrong(N_("{text!r} is no price in whole rupiah"), text=cell))
    return ZERO


def _cbor_of(item: CatalogueItem) -> Iterable[Any]:
    return catalogue_to_cbor(Catalogue(version=0, items=(item,))).values()


def _refuse_too_many(connection: Connection, offers: Sequence[Offer], seller_id: int) -> None:
    """No till can have more than 20,000 items, its own and all sellers'. Raises FileRefused."""
    of = catalogue_items.c
    counts: dict[int, int] = {
        row[0]: row[1]
        for row in connection.execute(select(of.seller_id, func.count()).group_by(of.seller_id))
    }
    common = counts.pop(FOR_ALL, 0)
    others = max(counts.values(), default=0) if seller_id == FOR_ALL else common
    if len(offers) + others > ITEMS_MAX:
        text = N_("with the {others} items of the other catalogue it is more than {most}")
        wrong = wrong_line(offers[-1].line, text, others=others, most=ITEMS_MAX)
        raise FileRefused([wrong])


def _outlets_named(
    connection: Connection, offers: Sequence[Offer], seller_id: int
) -> Mapping[str, int]:
    """The sellers that the lines name, by name. Raises FileRefused."""
    known = {row.name: row.id for row in connection.execute(select(sellers.c.name, sellers.c.id))}
    problems = []
    for offer in offers:
        if offer.outlets and seller_id != FOR_ALL:
            text = N_("outlets are named only in the catalogue of all sellers")
            problems.append(wrong_line(offer.line, text))
        problems += [
            wrong_line(offer.line, N_("there is no seller {name}"), name=name)
            for name in offer.outlets
            if name not in known
        ]
    if problems:
        raise FileRefused(problems)
    return known


def _refuse_barcodes_of_others(
    connection: Connection,
    offers: Sequence[Offer],
    seller_id: int,
    outlets: Mapping[str, int],
) -> None:
    """A barcode is one item's at every till. Raises FileRefused."""
    rows = connection.execute(
        select(catalogue_barcodes).where(
            catalogue_barcodes.c.seller_id != FOR_ALL
            if seller_id == FOR_ALL
            else catalogue_barcodes.c.seller_id == FOR_ALL
        )
    )
    others: dict[str, list[Row[Any]]] = defaultdict(list)
    for row in rows:
        others[row.barcode].append(row)
    own_codes = _codes(connection)
    only = _only_at(connection)
    new_codes = {offer.item.code for offer in offers}
    problems = []
    for offer in offers:
        at = {outlets[name] for name in offer.outlets}
        for other in (one for each in offer.item.barcodes for one in others.get(each, ())):
            if seller_id == FOR_ALL:  # then the other is the own item of some seller
                hidden = offer.item.code in own_codes[other.seller_id]
                apart = bool(at) and other.seller_id not in at
            else:
                hidden = other.code in new_codes
                apart = seller_id not in only.get(other.code, {seller_id})
            if not hidden and not apart:
                text = N_("barcode {barcode} is also item {code}")
                problems.append(
                    wrong_line(offer.line, text, barcode=other.barcode, code=other.code)
                )
    if problems:
        raise FileRefused(problems)


def _codes(connection: Connection) -> Mapping[int, set[str]]:
    found: dict[int, set[str]] = defaultdict(set)
    columns = (catalogue_items.c.seller_id, catalogue_items.c.code)
    for row in connection.execute(select(*columns).where(columns[0] != FOR_ALL)):
        found[row.seller_id].add(row.code)
    return found


def _only_at(connection: Connection) -> Mapping[str, set[int]]:
    """By item of all sellers', the only ones that have it."""
    found: dict[str, set[int]] = defaultdict(set)
    for row in connection.execute(select(catalogue_outlets)):
        found[row.code].add(row.outlet_id)
    return found


def _items(connection: Connection, seller_id: int) -> dict[str, CatalogueItem]:
    """By code."""
    barcodes: dict[str, list[str]] = defaultdict(list)
    prices: dict[str, list[tuple[str, Rupiah]]] = defaultdict(list)
    of = catalogue_barcodes
    for row in connection.execute(select(of).where(of.c.seller_id == seller_id)):
        barcodes[row.code].append(row.barcode)
    of = catalogue_prices
    for row in connection.execute(select(of).where(of.c.seller_id == seller_id)):
        prices[row.code].append((row.member_class, Rupiah(row.price_rupiah)))
    of = catalogue_items
    return {
        row.code: CatalogueItem(
            code=row.code,
            name=row.name,
            category=row.category,
            price=Rupiah(row.price_rupiah),
            barcodes=tuple(sorted(barcodes[row.code])),
            class_prices=tuple(sorted(prices[row.code])),
        )
        for row in connection.execute(select(of).where(of.c.seller_id == seller_id))
    }


def _insert(
    connection: Connection,
    offers: Sequence[Offer],
    seller_id: int,
    outlets: Mapping[str, int],
) -> None:
    items, barcodes, prices, only = [], [], [], []
    for offer in offers:
        key = {"seller_id": seller_id, "code": offer.item.code}
        items.append(
            {
                **key,
                "name": offer.item.name,
                "category": offer.item.category,
                "price_rupiah": offer.item.price.amount,
            }
        )
        barcodes += [{**key, "barcode": barcode} for barcode in offer.item.barcodes]
        prices += [
            {**key, "member_class": name, "price_rupiah": price.amount}
            for name, price in offer.item.class_prices
        ]
        only += [{**key, "outlet_id": outlets[name]} for name in offer.outlets]
    insert_rows(connection, catalogue_items, items)
    insert_rows(connection, catalogue_barcodes, barcodes)
    insert_rows(connection, catalogue_prices, prices)
    insert_rows(connection, catalogue_outlets, only)
