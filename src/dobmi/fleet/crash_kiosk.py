"""A machine that is being set up as a till, to be killed while it pairs with the server."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select

from dobmi.cardlib.custody import KeyRing, KeyRole, load_key_file
from dobmi.central.pairing import approve_pairing, refuse_pairing
from dobmi.central.schema import invitations, pairings, terminals
from dobmi.central.server import Central
from dobmi.sync.client import Patience
from dobmi.terminal.errors import NotEnrolled, PairingRefused
from dobmi.terminal.ledger import Ledger
from dobmi.terminal.pairing import (
    Pairing,
    TillFiles,
    ask_pairing,
    begin_pairing,
    finish_pairing,
    open_identity,
    pairing_under_way,
)

KIOSK_PASSPHRASE = "kunci kasir"  # noqa: S105 - of key files in a folder that is thrown away


def kiosk_files(data: Path) -> TillFiles:
    return TillFiles(
        database=data / "kiosk.db", identity=data / "kiosk.keys", card_keys=data / "kiosk-till.keys"
    )


def kiosk_handlers(
    data: Path, server: str, patience: Patience, now: Callable[[], float]
) -> Mapping[str, Callable[..., Any]]:
    """As the set-up page does it, each command as if the program had just been started."""
    files = kiosk_files(data)

    def keys() -> KeyRing:
        return open_identity(files, KIOSK_PASSPHRASE)

    def under_way() -> Pairing:
        found = pairing_under_way(files)
        if found is None:
            raise PairingRefused  # it was told so, and died before it could say it
        return found

    def pair() -> str:
        found = pairing_under_way(files)
        if found is None:
            found = begin_pairing(files, keys(), server, "Kasir 2", patience=patience)
        ask_pairing(files, keys(), found, patience=patience)
        return found.shown

    def ask() -> int:
        return int(ask_pairing(files, keys(), under_way(), patience=patience).state)

    def finish(reply: str) -> int:
        known = kiosk_terminal(data)
        if known is not None and pairing_under_way(files) is None:
            return known
        identity = finish_pairing(
            files,
            keys(),
            under_way(),
            reply,
            KIOSK_PASSPHRASE,
            patience=patience,
            system_time=now,
        )
        return identity.terminal_id

    return {"pair": pair, "ask": ask, "finish": finish}


def pairing_handlers(central: Central) -> Mapping[str, Callable[..., Any]]:
    """What the office does."""

    def approve(code: str) -> str:
        return approve_pairing(central, code, seller="Toko till", approved_by="Budi").reply

    return {
        "approve_pairing": approve,
        "refuse_pairing": lambda code: refuse_pairing(central, code, refused_by="Budi"),
    }


def kiosk_terminal(data: Path) -> int | None:
    """The number that the machine has as a till, if it has one."""
    database = kiosk_files(data).database
    if not database.exists():
        return None
    with contextlib.closing(Ledger(database)) as ledger:
        try:
            return ledger.identity().terminal_id
        except NotEnrolled:
            return None


def pairing_violations(
    central: Central, connection: Connection, data: Path, paired: int | None
) -> list[str]:
    """Every terminal came by an invitation or a pairing; the paired one has what it was given."""
    used = connection.execute(
        select(func.count()).select_from(invitations).where(invitations.c.used_by.is_not(None))
    ).scalar_one()
    approved = list(connection.execute(select(pairings).where(pairings.c.terminal_id.is_not(None))))
    count = connection.execute(select(func.count()).select_from(terminals)).scalar_one()
    found = []
    if used + len(approved) != count:
        found.append(f"{count} terminals of {used} invitations and {len(approved)} pairings")
    if paired is None:
        return found
    if [row.terminal_id for row in approved] != [paired] or kiosk_terminal(data) != paired:
        found.append(f"the paired till is {paired}, here {[row.terminal_id for row in approved]}")
    files = kiosk_files(data)
    held = load_key_file(files.card_keys, KIOSK_PASSPHRASE)
    if held.masters != central.keys.masters_of(KeyRole.TILL).masters or held.signing:
        found.append("the paired till holds other card keys than it was given")
    if files.pairing.exists():
        found.append("the paired till still has a pairing under way")
    return found
