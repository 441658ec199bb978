"""What the outlet's feed notes about members: class and photo, for the card that is tapped."""

from __future__ import annotations

import sqlalchemy as sa

from dobmi.sync.outlet import MemberNote
from dobmi.terminal import schema
from dobmi.terminal.ledger import Ledger


def member_note(ledger: Ledger, member_number: int) -> MemberNote:
    """Of an ordinary member without a photo where the feed says nothing.

    `photo` is there only if the picture itself is.
    """
    notes, photos = schema.member_notes, schema.photos
    query = (
        sa.select(notes.c.member_class, photos.c.hash)
        .outerjoin(photos, photos.c.hash == notes.c.photo)
        .where(notes.c.member_number == member_number)
    )
    with ledger.connect() as connection:
        row = connection.execute(query).one_or_none()
    if row is None:
        return MemberNote(member_number=member_number, member_class="", photo=None)
    return MemberNote(member_number=member_number, member_class=row.member_class, photo=row.hash)


def photo(ledger: Ledger, sha256: bytes) -> bytes | None:
    """The JPEG, if the till has it."""
    with ledger.connect() as connection:
        found: bytes | None = connection.execute(
            sa.select(schema.photos.c.jpeg).where(schema.photos.c.hash == sha256)
        ).scalar()
    return found
