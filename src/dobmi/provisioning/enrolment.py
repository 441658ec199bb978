"""How a station becomes known to the central server, and what it keeps of that.

Two files: the identity (an encrypted key file with the signing key `station`), and the enrolment
(JSON, nothing secret: who this station is, and the server's and card issuer's public keys).
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from dobmi.cardlib.custody import KeyRing, load_key_file, save_key_file, sync_folder
from dobmi.i18n import DEFAULT_LANGUAGE
from dobmi.provisioning.errors import AlreadyEnrolled, NotEnrolled, StationFileUnusable
from dobmi.provisioning.staff_file import staff_file_of, token_in
from dobmi.sync.client import HttpClient, Requester, SyncClient, enrol
from dobmi.sync.enrolment import Enrolment, Invitation

_SIGNING_KEY = "station"


@dataclass(frozen=True, slots=True)
class Station:
    """An enrolled station, ready to ask its central server."""

    server: str
    enrolment: Enrolment
    requester: Requester
    client: SyncClient
    language: str
    staff_file: Path
    """Who of the staff is logged in here, and the token of their session."""


def enrol_station(
    server: str,
    invitation: str,
    identity_file: Path,
    enrolment_file: Path,
    passphrase: str,
    *,
    language: str = DEFAULT_LANGUAGE,
) -> Enrolment:
    """Make the station's key, if there is none yet, and have the server take it in.

    Run again after a lost answer, it gets the same answer. Raises AlreadyEnrolled, SyncError,
    StationFileUnusable, CardError (the key file), MalformedMessage (no invitation).
    """
    if enrolment_file.exists():
        raise AlreadyEnrolled(file=enrolment_file.name)
    invited = Invitation.parse(invitation)
    if not identity_file.exists():
        save_key_file(identity_file, KeyRing.generate(signing=[_SIGNING_KEY]), passphrase)
    ring = load_key_file(identity_file, passphrase)
    public_key = ring.public_key(_SIGNING_KEY)
    with HttpClient(server, language=language) as http:
        enrolment = enrol(http, invited, public_key, lambda data: ring.sign(_SIGNING_KEY, data))
    content = {
        "terminal_id": enrolment.terminal_id,
        "terminal_public_key": enrolment.terminal_public_key.hex(),
        "server_public_key": enrolment.server_public_key.hex(),
        "card_issuer_public_key": enrolment.card_issuer_public_key.hex(),
        "issuer": enrolment.issuer,
        "seller": enrolment.seller,
    }
    temporary = enrolment_file.with_name(enrolment_file.name + ".new")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(enrolment_file)
        sync_folder(enrolment_file.parent)
    except OSError as error:
        raise StationFileUnusable(file=enrolment_file.name, detail=error.strerror) from error
    return enrolment


def open_station(
    server: str,
    identity_file: Path,
    enrolment_file: Path,
    passphrase: str,
    *,
    language: str = DEFAULT_LANGUAGE,
) -> Station:
    """`language` is that of what the server says. Raises NotEnrolled, StationFileUnusable, CardError (the key file), ServerUnreachable (no such address)."""
    try:
        content = json.loads(enrolment_file.read_text(encoding="utf-8"))
        enrolment = Enrolment(
            terminal_id=int(content["terminal_id"]),
            terminal_public_key=bytes.fromhex(content["terminal_public_key"]),
            server_public_key=bytes.fromhex(content["server_public_key"]),
            card_issuer_public_key=bytes.fromhex(content["card_issuer_public_key"]),
            issuer=str(content["issuer"]),
            seller=str(content["seller"]),
        )
    except FileNotFoundError as error:
        raise NotEnrolled(detail=f"there is no {enrolment_file.name}") from error
    except OSError as error:
        raise StationFileUnusable(file=enrolment_file.name, detail=error.strerror) from error
    except (ValueError, KeyError, TypeError) as error:
        raise NotEnrolled(detail=f"{enrolment_file.name} is damaged") from error
    if not identity_file.exists():
        raise NotEnrolled(detail=f"there is no {identity_file.name}")
    ring = load_key_file(identity_file, passphrase)
    if ring.public_key(_SIGNING_KEY) != enrolment.terminal_public_key:
        raise NotEnrolled(detail=f"{identity_file.name} is the key of another enrolment")
    staff_file = staff_file_of(enrolment_file)
    requester = Requester(
        terminal_id=enrolment.terminal_id,
        public_key=enrolment.terminal_public_key,
        sign=lambda data: ring.sign(_SIGNING_KEY, data),
        now=lambda: int(time.time()),
        staff_token=lambda: token_in(staff_file),
    )
    http = HttpClient(server, language=language)
    client = SyncClient(http, requester, enrolment.server_public_key)
    return Station(server, enrolment, requester, client, language, staff_file)
