"""What the office says to an outlet's tills: catalogue, staff, orders, members' classes and photos.

Each is a command of the process that is killed, and may be given again by somebody who was not told
what came of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from dobmi.central.catalogue import import_catalogue, parse_catalogue, seller_catalogue
from dobmi.central.errors import UnknownTillStaff
from dobmi.central.member_notes import Told, import_notes
from dobmi.central.member_orders import import_orders, order_list, parse_orders
from dobmi.central.schema import photos
from dobmi.central.server import Central
from dobmi.central.till_records import shift_list
from dobmi.central.till_staff import (
    add_till_staff,
    remove_till_staff,
    seller_staff,
    set_card,
    set_pin,
)
from dobmi.sync.outlet import Duty

SELLER = "Toko till"
STAFF_NUMBER, PIN = 11, "274951"
_JPEG = b"\xff\xd8\xff\xe0 wajah \xff\xd9"
_CATALOGUE = "code,name,category,price,barcode\nBRS5,Beras 5 kg,Sembako,75000,8991\n"
_ORDERS = (
    "order,member,pick_up_on,item,name,quantity,price\n{0},{1},2027-03-01,BRS5,Beras 5 kg,2,75000\n"
)


def outlet_handlers(central: Central) -> Mapping[str, Callable[..., Any]]:
    commands: tuple[Callable[..., Any], ...] = (stock, hire, dismiss, order, note, look_at_outlet)
    return {command.__name__: partial(command, central) for command in commands}


def stock(central: Central) -> int:
    return import_catalogue(central.database, parse_catalogue(_CATALOGUE), SELLER).items


def hire(central: Central, member: int) -> None:
    """With PIN and card."""
    database, now = central.database, central.unix_seconds()
    add_till_staff(database, SELLER, STAFF_NUMBER, "Siti", Duty.SUPERVISOR, now=now)
    set_pin(database, SELLER, STAFF_NUMBER, PIN, now)
    set_card(database, SELLER, STAFF_NUMBER, member, now)


def dismiss(central: Central) -> None:
    try:
        remove_till_staff(central.database, SELLER, STAFF_NUMBER, last=True)
    except UnknownTillStaff:
        return  # it was done, and nobody was told


def order(central: Central, number: int, member: int) -> None:
    wanted = parse_orders(_ORDERS.format(number, member))
    import_orders(central.database, wanted, SELLER, central.unix_seconds())


def note(central: Central, member: int) -> None:
    told = [Told(1, member, member_class="karyawan", jpeg=_JPEG)]
    import_notes(central.database, told, central.unix_seconds())


def look_at_outlet(central: Central) -> tuple[list[str], list[int], list[int], int, list[int]]:
    """Items' codes, staff's numbers, open orders' numbers, photos, shifts' numbers."""
    database = central.database
    with database.read() as connection:
        faces = len(connection.execute(photos.select()).all())
    return (
        [item.code for item in seller_catalogue(database, SELLER).items],
        [person.number for person in seller_staff(database, SELLER).people],
        [one.order.number for one in order_list(database, SELLER, is_open=True)],
        faces,
        sorted(shift.record.number for shift in shift_list(database, seller=SELLER)),
    )
