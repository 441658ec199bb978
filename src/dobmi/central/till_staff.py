"""Who works at an outlet's tills: by number and PIN, or by their own Do BMI card.

Of a PIN only its scrypt is kept and told to tills. Whoever has a till's disk can try all PINs of six
digits in about a day of one core: a PIN opens a till's page, and moves no money without the till.
"""

from __future__ import annotations

from itertools import pairwise

from sqlalchemy import Connection, delete, select, update

from dobmi.central.database import Database, insert_rows
from dobmi.central.errors import (
    CardOfOtherStaff,
    LastTillStaff,
    PinNotAllowed,
    StaffNumberTaken,
    UnknownMember,
    UnknownTillStaff,
)
from dobmi.central.outlets import note_change, version_of
from dobmi.central.schema import OutletPart, members, till_staff
from dobmi.central.seller_accounts import seller_number
from dobmi.central.texts import NAME_LENGTH_MAX, require_text
from dobmi.sync.outlet import (
    Duty,
    OutletStaff,
    PinVerifier,
    StaffMember,
    is_pin,
    make_pin_verifier,
)


def add_till_staff(
    database: Database, seller: str, number: int, name: str, duty: Duty, *, now: int
) -> StaffMember:
    """Take in a person under a number, or change the duty of who has it.

    Raises BadParameters, UnknownSeller, StaffNumberTaken.
    """
    require_text("name", name, NAME_LENGTH_MAX)

    def add(connection: Connection) -> StaffMember:
        seller_id = seller_number(connection, seller)
        note_change(connection, seller_id, OutletPart.STAFF)
        known = _person(connection, seller_id, number)
        if known is None:
            row = {
                "seller_id": seller_id,
                "number": number,
                "name": name,
                "duty": duty.value,
                "changed_at": now,
            }
            insert_rows(connection, till_staff, [row])
        elif known.name != name:
            raise StaffNumberTaken(number=number, seller=seller, name=known.name)
        else:
            _change(connection, seller_id, number, now, duty=duty.value)
        found = _person(connection, seller_id, number)
        assert found is not None
        return found

    return database.write_again(add)


def set_pin(database: Database, seller: str, number: int, pin: str, now: int) -> None:
    """Raises UnknownSeller, UnknownTillStaff, PinNotAllowed."""
    if not is_pin(pin) or _is_plain_row(pin):
        raise PinNotAllowed
    verifier = make_pin_verifier(pin)

    def change(connection: Connection) -> None:
        seller_id = _of_staff(connection, seller, number)
        _change(connection, seller_id, number, now, pin_salt=verifier.salt, pin_hash=verifier.hash)

    database.write_again(change)


def set_card(database: Database, seller: str, number: int, member: int | None, now: int) -> None:
    """From now on the card of this member logs the person in; with None, no card does.

    Raises UnknownSeller, UnknownTillStaff, UnknownMember, CardOfOtherStaff.
    """

    def change(connection: Connection) -> None:
        seller_id = _of_staff(connection, seller, number)
        if member is not None:
            known = connection.execute(
                select(members.c.member_number).where(members.c.member_number == member)
            ).first()
            if known is None:
                raise UnknownMember(member=member)
            other = connection.execute(
                select(till_staff.c.number).where(
                    till_staff.c.seller_id == seller_id,
                    till_staff.c.member_number == member,
                    till_staff.c.number != number,
                )
            ).scalar_one_or_none()
            if other is not None:
                raise CardOfOtherStaff(member=member, number=other, seller=seller)
        _change(connection, seller_id, number, now, member_number=member)

    database.write_again(change)


def remove_till_staff(database: Database, seller: str, number: int, *, last: bool = False) -> None:
    """From its next sync on no till of the outlet lets them in.

    `last`: also the last one, after which the outlet's tills ask nobody to log in. Raises
    UnknownSeller, UnknownTillStaff, LastTillStaff.
    """

    def remove(connection: Connection) -> None:
        seller_id = _of_staff(connection, seller, number)
        people = staff_of(connection, seller_id).people
        if len(people) == 1 and not last:
            raise LastTillStaff(name=people[0].name, seller=seller)
        connection.execute(
            delete(till_staff).where(
                till_staff.c.seller_id == seller_id, till_staff.c.number == number
            )
        )

    database.write_again(remove)


def staff_of(connection: Connection, seller_id: int) -> OutletStaff:
    """What this seller's tills are told."""
    rows = connection.execute(
        select(till_staff).where(till_staff.c.seller_id == seller_id).order_by(till_staff.c.number)
    )
    return OutletStaff(
        version=version_of(connection, seller_id, OutletPart.STAFF),
        people=tuple(
            StaffMember(
                number=row.number,
                name=row.name,
                duty=Duty(row.duty),
                pin=(
                    None
                    if row.pin_salt is None
                    else PinVerifier(bytes(row.pin_salt), bytes(row.pin_hash))
                ),
                member_number=row.member_number,
            )
            for row in rows
        ),
    )


def seller_staff(database: Database, seller: str) -> OutletStaff:
    """Raises UnknownSeller."""
    with database.read() as connection:
        return staff_of(connection, seller_number(connection, seller))


def _of_staff(connection: Connection, seller: str, number: int) -> int:
    """The seller's number, having noted that its staff changes. Raises UnknownTillStaff."""
    seller_id = seller_number(connection, seller)
    note_change(connection, seller_id, OutletPart.STAFF)
    if _person(connection, seller_id, number) is None:
        raise UnknownTillStaff(seller=seller, number=number)
    return seller_id


def _person(connection: Connection, seller_id: int, number: int) -> StaffMember | None:
    people = staff_of(connection, seller_id).people
    return next((person for person in people if person.number == number), None)


def _change(
    connection: Connection, seller_id: int, number: int, now: int, **values: object
) -> None:
    connection.execute(
        update(till_staff)
        .where(till_staff.c.seller_id == seller_id, till_staff.c.number == number)
        .values(changed_at=now, **values)
    )


def _is_plain_row(pin: str) -> bool:
    """000000, 123456, 987654: what everybody tries first."""
    steps = {int(after) - int(before) for before, after in pairwise(pin)}
    return len(steps) == 1 and abs(steps.pop()) <= 1
