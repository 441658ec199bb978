"""Sellers: outlets of the cooperative, and partner merchants. Whose a sale is says its till."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, Row, func, select, update

from dobmi.central.booking import nobody_posts
from dobmi.central.database import Database, insert_rows, next_number
from dobmi.central.errors import SellerHasSold
from dobmi.central.schema import Role, SellerKind, sellers, terminals
from dobmi.central.texts import NAME_LENGTH_MAX, require_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Seller:
    """`tills`: how many it has, blocked ones too."""

    id: int
    name: str
    kind: SellerKind
    tills: int


def add_seller(database: Database, name: str, kind: SellerKind) -> Seller:
    """Register a seller; one that is there becomes of that kind, if none of its tills ever sold.

    By its kind a seller's sales go to one account or another, and are to be in one. Raises
    BadParameters, SellerHasSold, ServerBusy.
    """
    require_text("seller", name, NAME_LENGTH_MAX)

    def add(connection: Connection) -> Seller:
        found = _find(connection, name)
        if found is None:
            _insert(connection, name, kind)
        elif found.kind != kind:
            nobody_posts(
                connection
            )  # whoever posts has read the kind, and waits for no row of ours
            sold = select(terminals.c.id).where(
                terminals.c.seller_id == found.id, terminals.c.head_sequence > 0
            )
            if connection.execute(sold.limit(1)).first() is not None:
                raise SellerHasSold(seller=name)
            same = sellers.c.id == found.id
            connection.execute(update(sellers).where(same).values(kind=kind.value))
        return next(one for one in _list(connection) if one.name == name)

    return database.write_again(add)


def seller_list(database: Database) -> list[Seller]:
    """By name."""
    with database.read() as connection:
        return _list(connection)


def seller_or_new(connection: Connection, name: str) -> int:
    """The number of the seller of that name; an outlet, new, if there was none."""
    found = _find(connection, name)
    return _insert(connection, name, SellerKind.OUTLET) if found is None else found.id


def _find(connection: Connection, name: str) -> Row[int, str] | None:
    return connection.execute(
        select(sellers.c.id, sellers.c.kind).where(sellers.c.name == name)
    ).one_or_none()


def _insert(connection: Connection, name: str, kind: SellerKind) -> int:
    number = next_number(connection, "seller")
    insert_rows(connection, sellers, [{"id": number, "name": name, "kind": kind.value}])
    return number


def _list(connection: Connection) -> list[Seller]:
    tills = (
        select(terminals.c.seller_id, func.count().label("tills"))
        .where(terminals.c.role == Role.TILL)
        .group_by(terminals.c.seller_id)
        .subquery()
    )
    rows = connection.execute(
        select(sellers, func.coalesce(tills.c.tills, 0).label("tills"))
        .outerjoin(tills, tills.c.seller_id == sellers.c.id)
        .order_by(sellers.c.name)
    )
    return [
        Seller(id=row.id, name=row.name, kind=SellerKind(row.kind), tills=row.tills) for row in rows
    ]
