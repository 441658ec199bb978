"""`dobmi central keys`: the masters and signing keys, in a file or a token, and what others are given."""

from __future__ import annotations

from pathlib import Path

import click

from dobmi.cardlib.custody import (
    ROLE_KEYS,
    KeyRing,
    KeyRole,
    ServerCustody,
    load_key_file,
    save_key_file,
)
from dobmi.cardlib.custody_place import (
    FilePlace,
    TokenPlace,
    make_masters,
    open_custody,
    store_masters,
)
from dobmi.cardlib.purse_layout import CardKey
from dobmi.central.errors import KeyFileExists, KeysMissing
from dobmi.central.server import CARD_ISSUER_KEY, SERVER_KEY
from dobmi.cli.context import Context, DomainGroup
from dobmi.cli.opening import key_place, open_keys, print_table, unlocking
from dobmi.i18n import N_
from dobmi.settings import BadSettings

_SIGNING = (SERVER_KEY, CARD_ISSUER_KEY)


@click.group(cls=DomainGroup)
def keys() -> None:
    """The card keys and signing keys, in encrypted files or a token."""


@keys.command("init")
@click.pass_obj
def keys_init(context: Context) -> None:
    """Make the server's keys, new and random, where the settings want them. Never overwrites any.

    In a file: whoever has it and its passphrase can make money; keep a copy in a safe. In a token
    (`keys = "pkcs11:…"`) they are made inside it and never leave it, but for those that tills are
    given: these are in the distribution file, too.
    """
    place = key_place(context)
    opens = unlocking(context, place, is_new=True)
    if isinstance(place, FilePlace):
        if place.file.exists():
            raise KeyFileExists(path=place.file)
        make_masters(place, opens, CardKey, 1, _SIGNING)
        context.say(
            N_("Keys made: {path}. Keep a copy of it, and its passphrase, in a safe."),
            path=place.file,
        )
        return
    make_masters(place, opens, CardKey, 1, _SIGNING)
    _say_token(context, place)
    _print_held(context, open_custody(place, opens))


@keys.command("import")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.pass_obj
def keys_import(context: Context, file: Path) -> None:
    """Move the masters and signing keys of the key file FILE into the token of the settings.

    All generations. The check values shown are the token's own; compare them with those of FILE
    (`keys show --file`), and have the server run on the token, before FILE is destroyed.
    """
    place = key_place(context)
    if isinstance(place, FilePlace):
        raise BadSettings(detail=f"[central] keys is the file {place}, and no token")
    if not file.is_file():
        raise KeysMissing(path=file)
    opens = unlocking(context, place)
    ring = load_key_file(file, opens.passphrase)
    generations = sorted({version for held in ring.masters.values() for version in held})
    for generation in generations:
        masters = {
            key: held[generation] for key, held in ring.masters.items() if generation in held
        }
        store_masters(place, opens, masters, generation, ring.signing)
    _say_token(context, place)
    _print_held(context, open_custody(place, opens))
    context.say(
        N_("Of {path} nothing is needed any more; destroy every copy but the custodians'."),
        path=file,
    )


@keys.command("show")
@click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Of this key file instead.",
)
@click.pass_obj
def keys_show(context: Context, file: Path | None) -> None:
    """Which masters there are, of which generation, where, and who may hold them; no secrets.

    The check value is the first three bytes of the AES-CMAC of 16 zero bytes.
    """
    if file is None:
        custody: ServerCustody = open_keys(context)
    else:
        passphrase = context.passphrase(context.translate(N_("Passphrase of the key file")))
        custody = load_key_file(file, passphrase)
    _print_held(context, custody)


def _print_held(context: Context, custody: ServerCustody) -> None:
    rows = [
        (
            one.key.value,
            str(one.generation),
            one.check_value.hex().upper(),
            one.place,
            ", ".join(role.value for role in KeyRole if one.key in ROLE_KEYS[role]),
        )
        for one in custody.held()
    ]
    print_table(context, ("card key", "generation", "check value", "place", "for"), rows)


def _say_token(context: Context, place: TokenPlace) -> None:
    context.say(
        N_("The keys are in the token {token}; those that tills are given also in {path}."),
        token=place.token,
        path=place.distribution,
    )


@keys.command("renew")
@click.pass_obj
def keys_renew(context: Context) -> None:
    """Add a generation of new card keys to the server's; the old ones stay.

    Then give every till the keys of both (`keys till`), restart the server, and have the cards
    renewed as they come to a station (`dobmi card rekey`).
    """
    place = key_place(context)
    opens = unlocking(context, place)
    custody = open_custody(place, opens)
    generation = max(max(custody.generations(key), default=0) for key in CardKey) + 1
    make_masters(place, opens, CardKey, generation)
    context.say(
        N_("Generation {generation} of the card keys is in {path}. Keep a copy of it in a safe."),
        generation=generation,
        path=place,
    )
    context.say(N_("Give the tills their new file before the server is restarted: keys till FILE"))


@keys.command("till")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--till-passphrase",
    envvar="DOBMI_TILL_PASSPHRASE",
    help="Passphrase of the new file; asked for when left out. Better in the variable.",
)
@click.pass_obj
def keys_till(context: Context, file: Path, till_passphrase: str | None) -> None:
    """Write to FILE the card keys a till needs: debit and PIN, with which no money can be made."""
    ring = open_keys(context).masters_of(KeyRole.TILL)
    if till_passphrase is None:
        # In a script that sets one passphrase for all, it is that one.
        till_passphrase = context.passphrase(context.translate(N_("New passphrase for the tills")))
    _save(file, ring, till_passphrase)
    context.say(N_("Keys for tills: {path}. A till needs this file and its passphrase."), path=file)


@keys.command("auditor")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--auditor-passphrase",
    envvar="DOBMI_AUDITOR_PASSPHRASE",
    help="Passphrase of the new file; asked for when left out. Better in the variable.",
)
@click.pass_obj
def keys_auditor(context: Context, file: Path, auditor_passphrase: str | None) -> None:
    """Write to FILE the key with which an auditor checks cards' MACs, and show the public keys.

    With it no card can be opened and no money made; but whoever has it can make up a sale's MAC.
    """
    custody = open_keys(context)
    ring = custody.masters_of(KeyRole.AUDITOR)
    if auditor_passphrase is None:
        purpose = context.translate(N_("New passphrase for the auditor"))
        auditor_passphrase = context.passphrase(purpose)
    _save(file, ring, auditor_passphrase)
    context.say(N_("The auditor's key: {path}."), path=file)
    context.say(
        "dobmi audit --keys {path} --server-key {server} --issuer-key {issuer} FILE",
        path=file,
        server=custody.public_key(SERVER_KEY).hex(),
        issuer=custody.public_key(CARD_ISSUER_KEY).hex(),
    )


def _save(path: Path, ring: KeyRing, passphrase: str) -> None:
    try:
        save_key_file(path, ring, passphrase)
    except FileExistsError as error:
        raise KeyFileExists(path=path) from error
