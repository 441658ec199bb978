"""What commands at a till share: the settings' till or ledger opened, and people logging in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from dobmi.cardlib.custody import KeyCustody, KeyRing, load_key_file
from dobmi.cli.context import Context
from dobmi.i18n import N_
from dobmi.sync.outlet import StaffMember
from dobmi.terminal.errors import CardBlocked, CardExpired, CardKeysPast, NoCardKeys, NotEnrolled
from dobmi.terminal.ledger import Ledger
from dobmi.terminal.remote_keys import KeysFromServer, card_custody
from dobmi.terminal.staff import (
    Cashier,
    cashier_of,
    has_staff,
    log_in_by_card,
    log_in_by_pin,
    require_supervisor,
    unlisted_cashier,
)
from dobmi.terminal.till import Till


@contextmanager
def opened_till(
    context: Context, *, cards: bool = True, renews_keys: bool = False
) -> Iterator[Till]:
    """`renews_keys`: without cards, but with card keys, if there are any, to which new ones may come.

    Raises NotEnrolled, NoCardKeys and what Till raises.
    """
    settings = context.settings.terminal
    identity = context.settings.at(settings.identity)
    if not identity.exists():
        raise NotEnrolled
    signing = load_keys(context, identity, N_("Passphrase of this till's identity"))
    custody = None
    if cards:
        custody = card_keys(context, signing)
    elif renews_keys:
        with contextlib.suppress(NoCardKeys):
            custody = card_keys(context, signing)
    with Till(
        database=context.settings.at(settings.database),
        signing=signing,
        custody=custody,
        reader=settings.reader if cards else None,
        cashier=settings.cashier,
        server=settings.server,
        card_wait_seconds=settings.card_wait_seconds,
        language=context.language,
    ) as till:
        yield till


def card_keys(context: Context, identity: KeyRing) -> KeyCustody:
    """As `[terminal] card_keys` says. Raises NoCardKeys, and what a key file raises."""
    settings = context.settings
    ask = KeysFromServer(
        database=settings.at(settings.terminal.database),
        signing=identity,
        server=settings.terminal.server,
        language=context.language,
    )

    def passphrase() -> str:
        return context.passphrase(context.translate(N_("Passphrase of the card keys")))

    return card_custody(settings.at(settings.terminal.card_keys), identity, passphrase, ask)


@contextmanager
def opened_ledger(context: Context) -> Iterator[Ledger]:
    """To read in, also while the till sells. Raises NotEnrolled."""
    path = context.settings.at(context.settings.terminal.database)
    if not path.exists():
        raise NotEnrolled
    with contextlib.closing(Ledger(path)) as ledger:
        yield ledger


def load_keys(context: Context, path: Path, purpose: str) -> KeyRing:
    return load_key_file(path, context.passphrase(context.translate(purpose)))


def the_cashier(context: Context, till: Till, number: int | None, *, by_card: bool) -> Cashier:
    """Who logs in: by number and PIN, by card, or, where nobody is listed, the settings' cashier.

    Raises LoginRefused and its kinds, and what reading a card raises.
    """
    if number is None and not by_card:
        return unlisted_cashier(till.ledger, context.settings.terminal.cashier)
    return cashier_of(logged_in(context, till, number))


def the_supervisor(context: Context, till: Till, number: int | None) -> StaffMember:
    """By number and PIN, or, without a number, by card. Raises LoginRefused and its kinds."""
    return require_supervisor(logged_in(context, till, number))


def agreed_by(context: Context, till: Till, supervisor: str) -> StaffMember | str:
    """Who agrees, as `--supervisor NUMBER|NAME` says it: by number and PIN where the staff is listed.

    Raises LoginRefused and its kinds.
    """
    if supervisor.isdecimal() and has_staff(till.ledger):
        return the_supervisor(context, till, int(supervisor[:9]))
    return supervisor


def logged_in(context: Context, till: Till, number: int | None) -> StaffMember:
    if number is not None:
        pin = str(click.prompt(context.translate(N_("PIN")), hide_input=True))
        return log_in_by_pin(till.ledger, number, pin, till.clock.now())
    card = till.balance(lambda: context.say(N_("Tap your own card.")))
    if card.is_blocked:
        raise CardBlocked
    if card.keys_are_past:
        raise CardKeysPast
    if card.is_expired:
        raise CardExpired(expires=card.holder.expires.strftime("%d-%m-%Y"))
    return log_in_by_card(till.ledger, card.holder.member_number)
