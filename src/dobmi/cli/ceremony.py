"""`dobmi ceremony`: several custodians make the keys, or bring them back from their shares.

Secrets are asked for and shown to one custodian at a time, on a screen of its own that is wiped; they
are never arguments, and never in the minutes. Nothing is stored before everybody has done their part.
docs/keys.md has the course.
"""

from __future__ import annotations

import secrets
import socket
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import click
from sqlalchemy.engine import make_url

from dobmi.cardlib.custody import KeyRing, ServerCustody
from dobmi.cardlib.custody_place import parse_place
from dobmi.cardlib.errors import EmptyPassphrase, KeyNotHeld
from dobmi.cardlib.purse_layout import CardKey
from dobmi.central.acts import Actor
from dobmi.central.database import Database
from dobmi.central.errors import NotInitialised
from dobmi.central.key_generations import begin_generation, note_ceremony
from dobmi.central.schema import StaffRole
from dobmi.central.server import CARD_ISSUER_KEY, SERVER_KEY, Central, now_unix_seconds
from dobmi.central.staff import require_role
from dobmi.cli.ceremony_places import Destination, RealDestination, RehearsalDestination
from dobmi.cli.context import Context, DomainGroup, show_error
from dobmi.cli.opening import bare_database, key_place, unlocking
from dobmi.i18n import N_
from dobmi.provisioning.ceremony import (
    CEREMONY_ID_LENGTH,
    CUSTODIANS_MAX,
    CUSTODIANS_MIN,
    MACHINE_LENGTH,
    CeremonyKeys,
    Component,
    component_of,
    derive_keys,
    root_of,
)
from dobmi.provisioning.ceremony_minutes import (
    CeremonyKind,
    CustodianEntry,
    Minutes,
    SignedMinutes,
    finish,
    give_up,
    pending_minutes,
    read_chain,
    read_minutes,
    require_later,
    require_signer,
    sign_minutes,
    write_pending,
    write_whole,
)
from dobmi.provisioning.ceremony_page import minutes_page
from dobmi.provisioning.ceremony_shares import (
    THRESHOLD_MIN,
    Share,
    check_share,
    open_share,
    read_share,
    restore_root,
    seal_share,
    split_root,
)
from dobmi.provisioning.errors import (
    BadThreshold,
    CeremonyKeysMissing,
    CeremonyKeysThere,
    CeremonyProblem,
    CeremonyUnfinished,
    MinutesForged,
    MinutesUnusable,
    RecoveredKeysDiffer,
    RehearsalsKeys,
    ShareNotAsShown,
    TooFewCustodians,
)
from dobmi.settings import BadSettings
from dobmi.wib import local_time

_T = TypeVar("_T")

TRIES_MAX = 5
"""How often a custodian may type something again before the ceremony ends."""
_SECONDS_PER_DAY = 24 * 3600
_WIPED = "\x1b[2J\x1b[3J\x1b[H"
_OWN_SCREEN, _SCREEN_BACK = "\x1b[?1049h", "\x1b[?1049l"


@click.group(cls=DomainGroup)
def command() -> None:
    """Make the master keys with two or more custodians, or bring them back from their shares.

    Try it first: `dobmi ceremony first --rehearsal …` is the whole course with keys for nothing.
    """


_custodians = click.option(
    "--custodian",
    "custodians",
    multiple=True,
    required=True,
    metavar="NAME",
    help="A custodian who is here; once for each of them, two at least.",
)
_threshold = click.option(
    "--threshold",
    type=click.IntRange(1, CUSTODIANS_MAX),
    default=2,
    show_default=True,
    help="How many shares restore the keys.",
)
_place = click.option("--place", required=True, help="Where the ceremony is held.")
_witnesses = click.option(
    "--witness", "witnesses", multiple=True, metavar="NAME", help="Who sees it; for the minutes."
)
_rehearsal = click.option(
    "--rehearsal", is_flag=True, help="Only a rehearsal: no server can use what comes of it."
)
_share_files = click.option(
    "--share-files",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Put each share into a file there, under its custodian's passphrase, not on paper.",
)
_minutes_folder = click.option(
    "--minutes",
    "minutes_folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Where the minutes are kept; ceremonies/ beside the settings file when left out.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Course:
    """What a ceremony is held with. `database` is None where there is no central database."""

    context: Context
    kind: CeremonyKind
    rehearsal: bool
    place: str
    witnesses: tuple[str, ...]
    folder: Path
    destination: Destination
    database: Database | None
    custodians: tuple[str, ...]


@command.command("first")
@_custodians
@_threshold
@_place
@_witnesses
@_share_files
@_minutes_folder
@_rehearsal
@click.pass_obj
def first(
    context: Context,
    *,
    custodians: tuple[str, ...],
    threshold: int,
    place: str,
    witnesses: tuple[str, ...],
    share_files: Path | None,
    minutes_folder: Path | None,
    rehearsal: bool,
) -> None:
    """Make the first keys: every master of the cards, and the server's two signing keys.

    They go where the settings want the server's keys. Each custodian gives randomness and takes a
    share away; nothing is stored until all have.
    """
    with _held(
        context,
        CeremonyKind.FIRST,
        custodians=custodians,
        place=place,
        witnesses=witnesses,
        minutes_folder=minutes_folder,
        rehearsal=rehearsal,
    ) as course:
        if course.destination.held() is not None and _newest(course.destination.held()):
            raise CeremonyKeysThere(place=course.destination.name)
        _make(course, threshold, share_files, generation=1, older_until=0)


@command.command("renew")
@_custodians
@_threshold
@_place
@_witnesses
@click.option(
    "--accept-old-days",
    type=click.IntRange(0, 3650),
    required=True,
    help="How long cards with older keys are taken yet.",
)
@_share_files
@_minutes_folder
@_rehearsal
@click.pass_obj
def renew(
    context: Context,
    *,
    custodians: tuple[str, ...],
    threshold: int,
    place: str,
    witnesses: tuple[str, ...],
    accept_old_days: int,
    share_files: Path | None,
    minutes_folder: Path | None,
    rehearsal: bool,
) -> None:
    """Make a new generation of the card keys, and have it rolled over the cards in use.

    Its shares are new ones, and restore this generation alone: keep the older ones, too. Restart
    the server afterwards; then tills fetch the new keys by themselves. See `central keys report`.
    """
    with _held(
        context,
        CeremonyKind.RENEW,
        custodians=custodians,
        place=place,
        witnesses=witnesses,
        minutes_folder=minutes_folder,
        rehearsal=rehearsal,
    ) as course:
        generation = _newest(course.destination.held()) + 1
        if generation == 1:
            raise CeremonyKeysMissing(place=course.destination.name)
        older_until = now_unix_seconds() + accept_old_days * _SECONDS_PER_DAY
        _make(course, threshold, share_files, generation=generation, older_until=older_until)


@command.command("recover")
@click.argument("minutes_file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--into",
    metavar="KEYS",
    help="A key file or a token, as in the settings; the settings' own when left out.",
)
@click.option(
    "--share-file",
    "share_files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A share in a file; its custodian's passphrase is asked for. The others are typed.",
)
@_place
@_witnesses
@_minutes_folder
@_rehearsal
@click.pass_obj
def recover(
    context: Context,
    *,
    minutes_file: Path,
    into: str | None,
    share_files: tuple[Path, ...],
    place: str,
    witnesses: tuple[str, ...],
    minutes_folder: Path | None,
    rehearsal: bool,
) -> None:
    """Bring back the keys of the ceremony of MINUTES_FILE, from as many shares as it asks for.

    They are compared with the check values of the minutes before anything is stored. Of several
    ceremonies the first one's keys come first: with them the server signs.
    """
    old = read_minutes(minutes_file)
    if old.minutes.rehearsal is not rehearsal:
        raise RehearsalsKeys(file=minutes_file.name)
    if old.minutes.kind is CeremonyKind.RECOVER:
        raise MinutesUnusable(
            file=minutes_file.name, detail=N_("keys were recovered then, and none made")
        )
    with _held(
        context,
        CeremonyKind.RECOVER,
        custodians=(),
        place=place,
        witnesses=witnesses,
        minutes_folder=minutes_folder,
        rehearsal=rehearsal,
        into=into,
    ) as course:
        shares = _collect(context, old.minutes, share_files)
        keys = _derived_again(old.minutes, shares)
        _say_check_values(context, keys)
        _restore(course, old.minutes, shares, keys)


@command.command("verify")
@click.argument("minutes_file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--server-key", metavar="HEX", help="The server's public key, from elsewhere.")
@click.option(
    "--keys", "with_keys", is_flag=True, help="Compare the check values with the server's keys."
)
@click.pass_obj
def verify(context: Context, minutes_file: Path, server_key: str | None, with_keys: bool) -> None:
    """Whether MINUTES_FILE is as it was signed, and follows those before it in its folder; show it."""
    signed = read_minutes(minutes_file)
    folder = minutes_file.parent
    chain = read_chain(folder)
    in_chain = any(one.hash == signed.hash for one in chain)
    if server_key is not None:
        try:
            expected = bytes.fromhex(server_key)
        except ValueError as error:
            raise click.BadParameter(server_key, param_hint="--server-key") from error
        require_signer(signed, expected, minutes_file.name)
    if with_keys and not signed.minutes.rehearsal:
        _compare(signed.minutes, _real(context, None, is_new=False).held())
    click.echo(minutes_page(signed, context.translate))
    context.say(
        N_("The signature is good; the key that signed is {key}."), key=signed.public_key.hex()
    )
    if server_key is None:
        context.say(
            N_("Compare that key with the server's own: --server-key, or the signed paper.")
        )
    if in_chain:
        context.say(N_("The minutes follow those before them: {count} in all."), count=len(chain))
    else:
        context.say(
            N_("It is a copy outside of the folder of minutes: the chain was not looked at.")
        )
    if with_keys:
        context.say(N_("The server's keys have these check values."))


@contextmanager
def _held(
    context: Context,
    kind: CeremonyKind,
    *,
    custodians: Sequence[str],
    place: str,
    witnesses: tuple[str, ...],
    minutes_folder: Path | None,
    rehearsal: bool,
    into: str | None = None,
) -> Iterator[_Course]:
    """Everything looked after that can be before people begin."""
    folder = minutes_folder or context.settings.at(Path("ceremonies"))
    if rehearsal:
        folder /= "rehearsal"
        context.say(N_("*** REHEARSAL: no server can use what comes of this. ***"))
    if kind is not CeremonyKind.RECOVER and len({*map(_folded, custodians)}) < max(
        CUSTODIANS_MIN, len(custodians)
    ):
        raise TooFewCustodians(least=CUSTODIANS_MIN, most=CUSTODIANS_MAX)
    if len(custodians) > CUSTODIANS_MAX:
        raise TooFewCustodians(least=CUSTODIANS_MIN, most=CUSTODIANS_MAX)
    require_later(read_chain(folder), now_unix_seconds())
    with ExitStack() as stack:
        database = None if rehearsal else stack.enter_context(_central_database(context))
        names = _registered(database, custodians)
        destination: Destination
        if rehearsal:
            passphrase = context.passphrase(context.translate(N_("Passphrase of the rehearsal")))
            file = folder / ("recovered.keys" if kind is CeremonyKind.RECOVER else "rehearsal.keys")
            destination = RehearsalDestination(
                file, passphrase, starts_anew=kind is not CeremonyKind.RENEW
            )
        else:
            destination = _real(context, into, is_new=kind is CeremonyKind.FIRST)
        course = _Course(
            context=context,
            kind=kind,
            rehearsal=rehearsal,
            place=place,
            witnesses=witnesses,
            folder=folder,
            destination=destination,
            database=database,
            custodians=names,
        )
        _finish_interrupted(course)
        yield course


def _real(context: Context, into: str | None, *, is_new: bool) -> RealDestination:
    place = key_place(context)
    if into is not None:
        settings = context.settings
        try:
            place = parse_place(into, Path(), settings.at(settings.central.distribution_keys))
        except ValueError as error:
            raise BadSettings(detail=f"--into: {error}") from error
    opens = unlocking(context, place, is_new=is_new)
    if not opens.passphrase:
        raise EmptyPassphrase
    return RealDestination(place, opens)


@contextmanager
def _central_database(context: Context) -> Iterator[Database | None]:
    """The central database if it is there, without making one."""
    url = make_url(context.settings.central.database)
    if url.get_backend_name() == "sqlite":
        file = context.settings.folder / (url.database or "")
        if not file.is_file():
            yield None
            return
    with bare_database(context) as database:
        try:
            database.require_tables()
        except NotInitialised:
            yield None
            return
        yield database


def _registered(database: Database | None, custodians: Sequence[str]) -> tuple[str, ...]:
    """Their names as they are registered. Raises NotOfStaff, TooFewCustodians."""
    if database is None:
        return tuple(" ".join(name.split()) for name in custodians)
    with database.read() as connection:
        names = [require_role(connection, name, StaffRole.CUSTODIAN) for name in custodians]
    if len(set(names)) != len(names):
        raise TooFewCustodians(least=CUSTODIANS_MIN, most=CUSTODIANS_MAX)
    return tuple(names)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", " ".join(name.split())).casefold()


def _finish_interrupted(course: _Course) -> None:
    """What a crash left: with its keys stored it happened, without them it did not."""
    pending = pending_minutes(course.folder)
    if pending is None:
        return
    if pending.minutes.destination != course.destination.name:
        raise CeremonyUnfinished(place=pending.minutes.destination)
    try:
        _compare(pending.minutes, course.destination.held())
    except RecoveredKeysDiffer:
        give_up(course.folder)
        course.context.say(
            N_("An earlier ceremony broke off before its keys were stored: its shares are void.")
        )
        return
    _conclude(course, pending)
    course.context.say(N_("An earlier ceremony had broken off at its end; it is finished now."))
    require_later(read_chain(course.folder), now_unix_seconds())


def _newest(held: ServerCustody | None) -> int:
    """The newest generation of card keys; 0: there are none."""
    if held is None:
        return 0
    return max(max(held.generations(key), default=0) for key in CardKey)


# ----- making


def _make(
    course: _Course,
    threshold: int,
    share_files: Path | None,
    *,
    generation: int,
    older_until: int,
) -> None:
    context, count = course.context, len(course.custodians)
    if not THRESHOLD_MIN <= threshold <= count:
        raise BadThreshold(threshold=threshold, count=count)
    ceremony = secrets.token_bytes(CEREMONY_ID_LENGTH)
    context.say(
        N_("Key ceremony {ceremony}: {count} custodians, {threshold} shares restore the keys."),
        ceremony=ceremony.hex().upper(),
        count=count,
        threshold=threshold,
    )
    components = [_component(context, name) for name in course.custodians]
    root = root_of(ceremony, components)
    signing = (SERVER_KEY, CARD_ISSUER_KEY) if course.kind is CeremonyKind.FIRST else ()
    keys = derive_keys(root, generation, CardKey, signing, rehearsal=course.rehearsal)
    _say_check_values(context, keys)
    shares = split_root(root, ceremony, threshold, count, rehearsal=course.rehearsal)
    files: dict[Path, str] = {}
    for name, share in zip(course.custodians, shares, strict=True):
        if share_files is None:
            _on_paper(context, name, share)
        else:
            kind = "rehearsal-share" if course.rehearsal else "share"
            file = share_files / f"{kind}-{share.tag.hex().upper()}-{share.number}.json"
            files[file] = _into_file(context, name, share)
    entries = [
        CustodianEntry(
            name=component.custodian,
            component=component.check_value,
            share=share.number,
            fingerprint=share.fingerprint,
            form="paper" if share_files is None else "file",
        )
        for component, share in zip(components, shares, strict=True)
    ]
    minutes = _minutes(
        course,
        ceremony=ceremony,
        custodians=entries,
        threshold=threshold,
        shares=count,
        generation=generation,
        keys=keys,
        older_until=older_until,
    )
    _keep(course, minutes, keys, files)


def _component(context: Context, name: str) -> Component:
    def ask() -> Component:
        with _alone(context, name):
            context.say(N_("{name}: nobody else may see this screen or your hands."), name=name)
            context.say(
                N_("Roll a die 50 times and type the digits, or type 32 characters at random.")
            )
            given = str(click.prompt(context.translate(N_("Your randomness")), hide_input=True))
        return component_of(name, given, secrets.token_bytes(MACHINE_LENGTH))

    component = _again(context, ask)
    context.say(
        N_("{name}: check value of the component {check}"), name=name, check=component.check_value
    )
    return component


def _on_paper(context: Context, name: str, share: Share) -> None:
    """Shown, written down, wiped, and typed back from the paper."""

    def show_and_ask() -> None:
        with _alone(context, name):
            context.say(N_("{name}: write your share down. Nobody else may see it."), name=name)
            if share.rehearsal:
                context.say(N_("*** REHEARSAL: no server can use what comes of this. ***"))
            click.echo()
            groups = share.on_paper().split()
            for at in range(0, len(groups), 4):
                click.echo(f"   {at + 1:>2}   " + "   ".join(groups[at : at + 4]))
            click.echo()
            click.prompt(
                context.translate(N_("Press Enter when it is written down")),
                default="",
                show_default=False,
            )
        with _alone(context, name):
            typed = str(
                click.prompt(
                    context.translate(N_("Type the share from your paper")), hide_input=True
                )
            )
        if read_share(typed) != share:
            raise ShareNotAsShown

    _again(context, show_and_ask)
    _say_share(context, name, share)


def _into_file(context: Context, name: str, share: Share) -> str:
    with _alone(context, name):
        passphrase = str(
            click.prompt(
                context.translate(N_("{name}: a passphrase of your own for your share")).format(
                    name=name
                ),
                hide_input=True,
                confirmation_prompt=context.translate(N_("The same again")),
            )
        )
    _say_share(context, name, share)
    return seal_share(share, passphrase)


def _say_share(context: Context, name: str, share: Share) -> None:
    context.say(
        N_("{name} has share {number}, fingerprint {fingerprint}."),
        name=name,
        number=share.number,
        fingerprint=share.fingerprint,
    )


def _again(context: Context, ask: Callable[[], _T]) -> _T:
    """What was mistyped may be typed again, some times. Raises CeremonyProblem."""
    for _ in range(TRIES_MAX - 1):
        try:
            return ask()
        except CeremonyProblem as error:
            show_error(error, context.translate)
    return ask()


@contextmanager
def _alone(context: Context, name: str) -> Iterator[None]:
    """A screen for one person, wiped afterwards, the lines that scrolled away with it."""
    own = sys.stdout.isatty()
    if own:
        click.prompt(
            context.translate(N_("{name} alone at the screen: press Enter")).format(name=name),
            default="",
            show_default=False,
        )
        click.echo(_OWN_SCREEN + _WIPED, nl=False)
    try:
        yield
    finally:
        if own:
            click.echo(_WIPED + _SCREEN_BACK, nl=False)


def _say_check_values(context: Context, keys: CeremonyKeys) -> None:
    context.say(N_("Check values of the keys:"))
    for name, value in keys.check_values().items():
        click.echo(f"  {name:<18} {value}")
    for name, value in keys.public_keys().items():
        click.echo(f"  {name:<18} {value}")


# ----- recovering


def _collect(context: Context, minutes: Minutes, share_files: Sequence[Path]) -> list[Share]:
    """As many shares as the minutes ask for: those in files, then those that are typed."""
    shares: list[Share] = []
    names = {one.share: one.name for one in minutes.custodians}

    def take(share: Share) -> None:
        check_share(share, minutes.ceremony_id, shares, rehearsal=minutes.rehearsal)
        shares.append(share)
        name = names.get(share.number, "?")
        context.say(
            N_("Share {number} of {name}; {count} of {needed} are here."),
            number=share.number,
            name=name,
            count=len(shares),
            needed=minutes.threshold,
        )

    for path in share_files:

        def open_one(path: Path = path) -> None:
            purpose = context.translate(N_("Passphrase of {file}")).format(file=path.name)
            passphrase = str(click.prompt(purpose, hide_input=True))
            take(open_share(path.read_text(encoding="utf-8"), passphrase))

        _again(context, open_one)

    def ask() -> None:
        with _alone(context, f"#{len(shares) + 1}"):
            purpose = context.translate(N_("Share {count} of {needed}, as it stands on the paper"))
            text = str(
                click.prompt(
                    purpose.format(count=len(shares) + 1, needed=minutes.threshold),
                    hide_input=True,
                )
            )
        take(read_share(text))

    while len(shares) < minutes.threshold:
        _again(context, ask)
    return shares


def _derived_again(minutes: Minutes, shares: Sequence[Share]) -> CeremonyKeys:
    """Raises TooFewShares and its like, RecoveredKeysDiffer."""
    root = restore_root(shares, minutes.ceremony_id, rehearsal=minutes.rehearsal)
    keys = derive_keys(
        root,
        minutes.generation,
        [key for key in CardKey if key.value in minutes.keys],
        minutes.public_keys,
        rehearsal=minutes.rehearsal,
    )
    _require_same({**minutes.keys, **minutes.public_keys}, _values(keys))
    return keys


def _restore(course: _Course, old: Minutes, shares: Sequence[Share], keys: CeremonyKeys) -> None:
    held = course.destination.held()
    if not keys.signing and not _signs(held):
        raise CeremonyKeysMissing(place=course.destination.name)
    by_number = {one.share: one for one in old.custodians}
    entries = [
        CustodianEntry(
            name=by_number[share.number].name if share.number in by_number else "?",
            component="",
            share=share.number,
            fingerprint=share.fingerprint,
            form=by_number[share.number].form if share.number in by_number else "?",
        )
        for share in shares
    ]
    minutes = _minutes(
        course,
        ceremony=secrets.token_bytes(CEREMONY_ID_LENGTH),
        custodians=entries,
        threshold=old.threshold,
        shares=old.shares,
        generation=old.generation,
        keys=keys,
        older_until=0,
        restores=old.ceremony,
    )
    _keep(course, minutes, keys, {})


# ----- both


def _minutes(
    course: _Course,
    *,
    ceremony: bytes,
    custodians: Sequence[CustodianEntry],
    threshold: int,
    shares: int,
    generation: int,
    keys: CeremonyKeys,
    older_until: int,
    restores: str = "",
) -> Minutes:
    chain = read_chain(course.folder)
    now = now_unix_seconds()
    require_later(chain, now)
    return Minutes(
        number=len(chain) + 1,
        kind=course.kind,
        rehearsal=course.rehearsal,
        ceremony=ceremony.hex(),
        unix_seconds=now,
        time=local_time(now),
        place=course.place,
        machine=socket.gethostname(),
        software=version("dobmi"),
        custodians=tuple(custodians),
        witnesses=course.witnesses,
        staff_checked=course.database is not None and bool(course.custodians),
        threshold=threshold,
        shares=shares,
        generation=generation,
        keys=keys.check_values(),
        public_keys=keys.public_keys(),
        destination=course.destination.name,
        older_until_unix_seconds=older_until,
        restores=restores,
        previous=chain[-1].hash if chain else "",
    )


def _keep(course: _Course, minutes: Minutes, keys: CeremonyKeys, files: Mapping[Path, str]) -> None:
    """The minutes as pending, the shares' files, the keys, and the minutes under their name.

    A crash between any two of them leaves what the next ceremony finishes, or gives up.
    """
    if SERVER_KEY in keys.signing:
        new = KeyRing(signing=keys.signing)
        public_key, sign = new.public_key(SERVER_KEY), new.sign
    else:
        held = course.destination.held()
        if held is None:
            raise CeremonyKeysMissing(place=course.destination.name)
        public_key, sign = held.public_key(SERVER_KEY), held.sign
    signed = sign_minutes(minutes, public_key, lambda message: sign(SERVER_KEY, message))
    chain = read_chain(course.folder)
    if chain and not course.rehearsal and chain[-1].public_key != public_key:
        raise MinutesForged(
            file=course.folder.name, detail=N_("another server's key signed the minutes before")
        )
    write_pending(course.folder, signed)
    for file, text in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, text, mode=0o600)
    course.destination.store(keys, minutes.generation)
    _conclude(course, signed)


def _conclude(course: _Course, signed: SignedMinutes) -> None:
    """The keys are stored: what follows from that, and the minutes get their name."""
    context, minutes = course.context, signed.minutes
    if course.database is not None:
        names = ", ".join(one.name for one in minutes.custodians)
        actor = Actor(names[:80], None)
        held = course.destination.held()
        if minutes.kind is CeremonyKind.RENEW and held is not None:
            central = Central(course.database, held, context.settings.central)
            begin_generation(
                central,
                minutes.generation,
                older_until=minutes.older_until_unix_seconds,
                actor=actor,
                begun_by=names,
                minutes_hash=bytes.fromhex(signed.hash),
            )
        note_ceremony(
            course.database,
            actor,
            minutes_hash=signed.hash,
            detail=f"{minutes.kind.value}, generation {minutes.generation}",
            now=now_unix_seconds(),
        )
    path = finish(course.folder, signed, minutes_page(signed, context.translate))
    context.say(
        N_("Generation {generation} is in {place}."),
        generation=minutes.generation,
        place=course.destination.name,
    )
    context.say(
        N_("Minutes: {path}. Print {page}, have everybody sign it, and keep it."),
        path=path,
        page=path.with_suffix(".txt").name,
    )


def _signs(held: ServerCustody | None) -> bool:
    if held is None:
        return False
    try:
        held.public_key(SERVER_KEY)
    except KeyNotHeld:
        return False
    return True


def _values(keys: CeremonyKeys) -> dict[str, str]:
    return {**keys.check_values(), **keys.public_keys()}


def _compare(minutes: Minutes, held: ServerCustody | None) -> None:
    """Whether the keys of the minutes are there. Raises RecoveredKeysDiffer."""
    found: dict[str, str] = {}
    if held is not None:
        found = {
            one.key.value: one.check_value.hex().upper()
            for one in held.held()
            if one.generation == minutes.generation
        }
        for name in minutes.public_keys:
            try:
                found[name] = held.public_key(name).hex()
            except KeyNotHeld:
                continue
    _require_same({**minutes.keys, **minutes.public_keys}, found)


def _require_same(expected: Mapping[str, str], found: Mapping[str, str]) -> None:
    differ = sorted(name for name, value in expected.items() if found.get(name) != value)
    if differ:
        raise RecoveredKeysDiffer(names=", ".join(differ))
