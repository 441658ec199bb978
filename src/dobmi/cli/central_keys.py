"""`dobmi central keys`: the masters and signing keys, in a file or a token, and what others are given."""

from __future__ import annotations

import json
import os
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
    KeyPlace,
    TokenPlace,
    Unlocking,
    forget_masters,
    make_masters,
    open_custody,
    store_masters,
)
from dobmi.cardlib.purse_layout import CardKey
from dobmi.central.acts import Actor
from dobmi.central.errors import KeyFileExists, KeysMissing, KeysOfCeremony, NotInitialised
from dobmi.central.key_generations import (
    DELETED_KEYS,
    begin_generation,
    ceremony_was_held,
    key_report,
    note_deleted,
    put_on_cards,
    report_as_json,
    require_deletable,
)
from dobmi.central.server import CARD_ISSUER_KEY, SERVER_KEY, Central
from dobmi.cli.context import Context, DomainGroup
from dobmi.cli.opening import (
    bare_database,
    key_place,
    looking,
    open_central,
    open_keys,
    print_table,
    unlocking,
)
from dobmi.cli.pairing import user_name
from dobmi.i18n import N_
from dobmi.provisioning.ceremony_minutes import read_chain
from dobmi.settings import BadSettings
from dobmi.wib import local_time

_SECONDS_PER_DAY = 24 * 3600
_OFFICE = Actor("", None)
_GENERATION_HEADINGS = (
    N_("generation"), N_("on cards since"), N_("cards"), N_("amount"), N_("tapped"),
    N_("taken until"), N_("days left"),
)  # fmt: skip
_TILL_HEADINGS = (N_("no."), N_("till"), N_("generation"), N_("asked"))
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
@click.option(
    "--accept-old-days",
    type=click.IntRange(0, 3650),
    default=90,
    show_default=True,
    help="How long cards with older keys are taken yet.",
)
@click.pass_obj
def keys_renew(context: Context, accept_old_days: int) -> None:
    """Add a generation of new card keys to the server's; the old ones stay.

    Then restart the server. Paired tills fetch the new keys with their next feed; one that was
    taken in by an invitation is given its file (`keys till`). Cards get the new keys as they are
    tapped, from when every till holds them: `keys report`. Refused where the keys were made with
    custodians: there it is `dobmi ceremony renew`.
    """
    _require_no_ceremony(context)
    place = key_place(context)
    opens = unlocking(context, place)
    custody = open_custody(place, opens)
    generation = max(max(custody.generations(key), default=0) for key in CardKey) + 1
    make_masters(place, opens, CardKey, generation)
    _begin(context, place, opens, generation, accept_old_days)
    context.say(
        N_("Generation {generation} of the card keys is in {path}. Keep a copy of it in a safe."),
        generation=generation,
        path=place,
    )
    context.say(N_("Restart the server; look how far it is with: dobmi central keys report"))


def _require_no_ceremony(context: Context) -> None:
    """Raises KeysOfCeremony where the audit trail or the folder of minutes has one."""
    held = bool(read_chain(context.settings.at(Path("ceremonies"))))
    if not held:
        with bare_database(context) as database:
            try:
                database.require_tables()
            except NotInitialised:
                return
            held = ceremony_was_held(database)
    if held:
        raise KeysOfCeremony


def _begin(
    context: Context, place: KeyPlace, opens: Unlocking, generation: int, accept_old_days: int
) -> None:
    """Have the new generation rolled, where the central database is there already."""
    with bare_database(context) as database:
        try:
            database.require_tables()
        except NotInitialised:
            return
        central = Central(database, open_custody(place, opens), context.settings.central)
        older_until = central.unix_seconds() + accept_old_days * _SECONDS_PER_DAY
        begin_generation(central, generation, older_until=older_until, actor=_OFFICE)
    context.say(N_("Cards with older keys are taken until {time}."), time=local_time(older_until))


@keys.command("report")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def keys_report(context: Context, as_json: bool) -> None:
    """How far the card keys are rolled: cards in use by generation, and what each till holds.

    Tapped counts the cards that were used in the last 30 days, as far as it was reported.
    """
    with looking(context) as central:
        found = key_report(central)
    if as_json:
        click.echo(json.dumps(report_as_json(found)))
        return
    rows = [
        (
            str(one.generation),
            "-" if one.on_cards_from is None else local_time(one.on_cards_from),
            str(one.cards),
            str(one.on_them),
            str(one.tapped),
            "-" if one.taken_until is None else local_time(one.taken_until),
            "-" if (left := one.days_left(found.at)) is None else str(left),
        )
        for one in found.generations
    ]
    print_table(context, _GENERATION_HEADINGS, rows)
    if found.on_cards < found.newest:
        waits = ", ".join(
            f"{one.terminal_id} {one.name}" for one in found.tills if one.is_waited_for
        )
        context.say(
            N_("Cards are brought to generation {generation} when these tills hold it: {tills}"),
            generation=found.newest,
            tills=waits or "-",
        )
    print_table(
        context,
        _TILL_HEADINGS,
        [
            (
                str(till.terminal_id),
                till.name,
                "-" if till.generation is None else str(till.generation),
                "-" if till.asked_at is None else local_time(till.asked_at),
            )
            for till in found.tills
        ],
    )


@keys.command("roll")
@click.argument("generation", type=click.IntRange(2, 255))
@click.option("--by", default=user_name, help="Who says so; whoever is logged in when left out.")
@click.pass_obj
def keys_roll(context: Context, generation: int, by: str) -> None:
    """Bring cards to GENERATION from now on, also if some tills do not hold it yet.

    Those refuse such cards until they have synced, or have their file.
    """
    with open_central(context) as central:
        put_on_cards(central, generation, actor=Actor(by, None))
    context.say(
        N_("Cards are brought to generation {generation} as they are tapped."),
        generation=generation,
    )


@keys.command("delete")
@click.argument("generation", type=click.IntRange(1, 255))
@click.option("--by", default=user_name, help="Who says so; whoever is logged in when left out.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def keys_delete(context: Context, generation: int, by: str, yes: bool) -> None:
    """Delete what cards have given up of an old GENERATION: its application, debit, credit, PIN keys.

    Refused while any card in use has them. The transaction MAC's and the card's own master stay, as
    cards keep those for life. Copies in a safe, and custodians' shares, are not deleted.
    """
    with open_central(context) as central:
        require_deletable(central, generation)
        if not yes:
            context.say(
                N_("No card in use has keys of generation {generation} or older."),
                generation=generation,
            )
            click.confirm(context.translate(N_("Delete them")), abort=True)
        place = key_place(context)
        forget_masters(place, unlocking(context, place), DELETED_KEYS, generation)
        note_deleted(central.database, generation, Actor(by, None), central.unix_seconds())
    context.say(N_("Deleted. Restart the server."))


@keys.command("till")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.pass_obj
def keys_till(context: Context, file: Path) -> None:
    """Write to FILE the card keys a till needs: debit and PIN, with which no money can be made.

    Its passphrase comes from DOBMI_TILL_PASSPHRASE, or is asked for.
    """
    ring = open_keys(context).masters_of(KeyRole.TILL)
    till_passphrase = os.environ.get("DOBMI_TILL_PASSPHRASE")
    if till_passphrase is None:
        # In a script that sets one passphrase for all, it is that one.
        till_passphrase = context.passphrase(context.translate(N_("New passphrase for the tills")))
    _save(file, ring, till_passphrase)
    context.say(N_("Keys for tills: {path}. A till needs this file and its passphrase."), path=file)


@keys.command("auditor")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.pass_obj
def keys_auditor(context: Context, file: Path) -> None:
    """Write to FILE the key with which an auditor checks cards' MACs, and show the public keys.

    With it no card can be opened and no money made; but whoever has it can make up a sale's MAC.
    Its passphrase comes from DOBMI_AUDITOR_PASSPHRASE, or is asked for.
    """
    custody = open_keys(context)
    ring = custody.masters_of(KeyRole.AUDITOR)
    auditor_passphrase = os.environ.get("DOBMI_AUDITOR_PASSPHRASE")
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
