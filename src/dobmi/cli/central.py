"""`dobmi central`: keys, invitations, serving, and what the ledger says."""

from __future__ import annotations

import contextlib
import functools
import json
import socket
from datetime import date, datetime
from pathlib import Path

import click
from sqlalchemy import Row

from dobmi.central import migrations
from dobmi.central.app import create_app
from dobmi.central.backup import back_up, restore
from dobmi.central.cards import CardStatement, parse_card, set_blocked, statement_of
from dobmi.central.circulation import (
    anomaly_list,
    circulation,
    clocks_behind,
    quarantine_list,
    unreported_sales,
)
from dobmi.central.credit_doubts import CreditInDoubt, NextStep, credits_in_doubt
from dobmi.central.credit_settlement import settle_credit
from dobmi.central.database import open_database
from dobmi.central.dispute import Neighbour, dispute
from dobmi.central.errors import (
    DatabaseTooOld,
    LedgerDoesNotAddUp,
    NotInitialised,
    PeriodicWorkFailed,
)
from dobmi.central.export import export
from dobmi.central.logs import configure_logging
from dobmi.central.overdue import SECONDS_PER_DAY, Doubt, doubt_list, settle_overdue
from dobmi.central.periodic import JobStatus, PeriodicWork, periodic_status, run_due
from dobmi.central.pruning import prune
from dobmi.central.refunds import refund_list
from dobmi.central.restoring import Ahead, mark_restored
from dobmi.central.schema import DoubtState, RefundState, Role
from dobmi.central.scrape import Metrics
from dobmi.central.server import SERVER_KEY, Central, now_unix_seconds
from dobmi.central.serving import (
    DrainingServer,
    ServerState,
    listen,
    serve_in_workers,
    server_config,
)
from dobmi.central.terminals import invite
from dobmi.cli import books, outlets
from dobmi.cli.central_keys import keys
from dobmi.cli.context import Context, DomainGroup
from dobmi.cli.credit_limits import class_limits
from dobmi.cli.opening import bare_database as _bare_database
from dobmi.cli.opening import database_to_look_at, open_keys
from dobmi.cli.opening import looking as _looking
from dobmi.cli.opening import open_central as _central
from dobmi.cli.opening import parse_time as _parse_time
from dobmi.cli.opening import print_table as _print_table
from dobmi.cli.pairing import pairing
from dobmi.cli.reconciliation import reconcile_group, work
from dobmi.cli.settlement import seller, settlement
from dobmi.cli.staff import acts, approvals, staff
from dobmi.cli.terminals import terminals
from dobmi.i18n import N_
from dobmi.money import Rupiah
from dobmi.wib import local_time

_MINUTES_MAX = 7 * 24 * 60


@click.group(cls=DomainGroup)
def command() -> None:
    """The central server: make its keys and tables, invite terminals, serve, look into the ledger.

    First time: `keys init`, `init`, `keys till FILE` for the tills, `invite`, `serve`.
    """


for _command in (
    *books.COMMANDS,
    *outlets.COMMANDS,
    keys,
    pairing,
    settlement,
    seller,
    staff,
    approvals,
    acts,
    class_limits,
    terminals,
    work,
    reconcile_group,
):
    command.add_command(_command)


@command.command("export")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.pass_obj
def export_ledger(context: Context, file: Path) -> None:
    """Write the whole ledger, as it stands now, to FILE, for an auditor; the server may go on.

    FILE is an SQLite database; FILE.json says how many rows it has, and its SHA-256.
    """
    with database_to_look_at(context) as database:
        done = export(database, file, now_unix_seconds())
    context.say(
        N_("{path}: {rows} rows, SHA-256 {sha256}"),
        path=done.path,
        rows=sum(done.rows.values()),
        sha256=done.sha256,
    )


@command.command("init")
@click.option(
    "--restored", is_flag=True, help="The database is a backup: go on with numbers never used."
)
@click.pass_obj
def init(context: Context, restored: bool) -> None:
    """Make the database's tables. Harmless when they are there.

    With --restored, once after each restoring from a backup and before the server is started:
    tills refuse block lists older than theirs, and numbers given out since must not come again.
    """
    if restored:
        with _central(context) as central:
            ahead = mark_restored(central)
        _say_ahead(context, ahead)
        return
    with _bare_database(context) as database:
        with contextlib.suppress(NotInitialised):
            database.require_tables()
        database.create_tables()
    context.say(N_("The database is ready: {database}"), database=database.name)


def _say_ahead(context: Context, ahead: Ahead) -> None:
    context.say(
        N_(
            "After restoring: block list {version}, terminals from {terminal}, "
            "card numbers from {serial} on."
        ),
        version=ahead.feed_version,
        terminal=ahead.terminal + 1,
        serial=ahead.card_serial + 1,
    )


@command.command("upgrade")
@click.option("--yes", is_flag=True, help="There is a backup; do not ask.")
@click.pass_obj
def upgrade(context: Context, yes: bool) -> None:
    """Bring the database of an older version to this one's tables, with all that is in it.

    Stop the servers and make a backup first (docs/operations.md). It is done whole or not at all,
    and harmless when there is nothing to do.
    """
    with _bare_database(context) as database:
        facts = {"database": database.name, "expected": migrations.head()}
        try:
            database.require_tables()
        except DatabaseTooOld as old:
            facts["found"] = old.facts["found"]
        else:
            context.say(N_("{database} has the tables of version {expected} already."), **facts)
            return
        context.say(
            N_("{database} will be brought from version {found} to version {expected}."), **facts
        )
        if not yes:
            context.say(N_("There is no way back but a backup. Have you made one?"))
            click.confirm(context.translate(N_("Go on")), abort=True)
        database.create_tables()
    context.say(N_("The database is ready: {database}"), database=database.name)


@command.command("invite")
@click.option("--role", type=click.Choice([role.value for role in Role]), required=True)
@click.option("--name", required=True, help="What people call this till or station.")
@click.option("--seller", required=True, help="To whom its sales are credited.")
@click.option(
    "--minutes",
    type=click.IntRange(1, _MINUTES_MAX),
    default=24 * 60,
    show_default=True,
    help="How long the invitation can be used.",
)
@click.pass_obj
def invite_terminal(context: Context, role: str, name: str, seller: str, minutes: int) -> None:
    """Print an invitation, to be typed at the till or station, once."""
    with _central(context) as central:
        invitation = invite(central, Role(role), name, seller, valid_seconds=minutes * 60)
        until = local_time(central.unix_seconds() + minutes * 60)
    context.say(N_("Invitation for {name}, good once, until {until}:"), name=name, until=until)
    click.echo(str(invitation))


@command.command("serve")
@click.option("--host", help="Address to listen on; the settings' when left out.")
@click.option("--port", type=click.IntRange(0, 65535), help="Likewise.")
@click.option(
    "--workers", type=click.IntRange(1, 64), help="Processes that share the port; likewise."
)
@click.pass_obj
def serve(context: Context, host: str | None, port: int | None, workers: int | None) -> None:
    """Serve tills and stations until stopped (Ctrl-C or SIGTERM).

    It also does the periodic work, at once and every `periodic_minutes`: see `periodic`.
    """
    settings = context.settings.central
    count = settings.workers if workers is None else workers
    host, port = host or settings.host, settings.port if port is None else port
    with _central(context) as central:
        configure_logging(settings.log)
        serve_one = functools.partial(
            _serve,
            central,
            host=host,
            port=port,
        )
        with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C, after it has shut down
            if count == 1:
                serve_one(0, None)
                return
            central.database.close()  # each process has connections of its own
            with listen(host, port) as listening:
                serve_in_workers(count, lambda number: serve_one(number, listening))


def _serve(
    central: Central, number: int, listening: socket.socket | None, *, host: str, port: int
) -> None:
    settings = central.settings
    interval_seconds = settings.periodic_minutes * 60
    periodic = (
        PeriodicWork(central, interval_seconds=interval_seconds) if interval_seconds else None
    )
    state = ServerState()
    app = create_app(central, periodic=periodic, state=state, port=port)
    if settings.metrics_port:
        Metrics(central).serve(settings.metrics_host, settings.metrics_port + number)
    server = DrainingServer(server_config(app, host=host, port=port), state, settings.drain_seconds)
    server.run(None if listening is None else [listening])


@command.command("backup")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.pass_obj
def backup(context: Context, folder: Path) -> None:
    """Make a backup in FOLDER, while the server serves, with a manifest of what is in it.

    It holds names and purchases, and not the keys: keep it safe, and `central.keys` apart from it.
    Try now and then whether it restores: `restore --trial`.
    """
    with _central(context) as central:
        place, manifest = back_up(central, folder)
    context.say(
        N_("{path}: {postings} postings, {vouchers} vouchers of {terminals} terminals, {size} MB."),
        path=place,
        postings=manifest.facts.rows["postings"],
        vouchers=manifest.facts.rows["vouchers"],
        terminals=len(manifest.facts.chains),
        size=round(manifest.size_bytes / 1_000_000, 1),
    )


@command.command("restore")
@click.argument("backup", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--into", metavar="URL", help="Not into the settings' database, but into this one.")
@click.option(
    "--trial", is_flag=True, help="Only see whether it restores; the database is not to be served."
)
@click.pass_obj
def restore_backup(context: Context, backup: Path, into: str | None, trial: bool) -> None:
    """Put BACKUP into an empty database, and see that it holds just what the manifest says.

    Rows, trial balance and the heads of the tills' chains are compared. Then, as `init --restored`
    does, the numbers go on where none was given out. What has happened since the backup comes in
    again from the tills; docs/operations.md says what does not.
    """
    custody = open_keys(context)
    settings = context.settings
    database = open_database(into or settings.central.database, settings.folder)
    try:
        manifest = restore(
            backup,
            database,
            programs=settings.central.postgresql_programs,
            public_key=custody.public_key(SERVER_KEY),
        )
        context.say(
            N_("Restored as of {time}: trial balance and chains are the backup's."),
            time=local_time(int(datetime.fromisoformat(manifest.made_at).timestamp())),
        )
        if trial:
            context.say(
                N_("This was a trial: do not start a server on {path}."), path=database.name
            )
            return
        database.create_tables()
        ahead = mark_restored(Central(database, custody, settings.central))
    finally:
        database.close()
    _say_ahead(context, ahead)


@command.command("prune")
@click.pass_obj
def prune_now(context: Context) -> None:
    """Let go of what has had its time: `serve` does so by itself, with the other periodic work.

    That is requests served long ago, invitations nobody used, and the contents of batches refused
    more than `keep_rejected_days` ago. Nothing of the ledger goes.
    """
    with _central(context) as central:
        done = prune(central, central.unix_seconds())
    context.say(
        N_("Gone: {requests} requests, {invitations} invitations, {contents} refused contents."),
        requests=done.requests,
        invitations=done.invitations,
        contents=done.rejected_contents,
    )


@command.command("report")
@click.pass_obj
def report(context: Context) -> None:
    """Where every rupiah is. The sum must be nought.

    Then when the periodic work was last done, with a warning if that is more than a day ago.
    """
    with _looking(context) as central:
        now = circulation(central)
        jobs = periodic_status(central)
        at = central.unix_seconds()
    context.say(
        N_("Issued {issued}, redeemed {redeemed}; the rest is here:"),
        issued=now.issued,
        redeemed=now.redeemed,
    )
    books.draw(context, now)
    rows = [
        (context.translate(N_("sum, which must be nought")), str(now.difference)),
        (context.translate(N_("on cards, by their own word")), str(now.on_cards_by_their_own_word)),
        (context.translate(N_("sales not yet reported")), str(now.not_yet_reported)),
        (
            context.translate(N_("sales in doubt")),
            f"{now.doubts_open} ({now.doubts_open_sum})",
        ),
        (context.translate(N_("vouchers in quarantine")), str(now.quarantined)),
        (context.translate(N_("anomalies")), str(now.anomalies)),
        (context.translate(N_("batches refused")), str(now.rejected_batches)),
    ]
    _print_table(context, ("stock", "amount"), rows)
    for job in jobs:
        _say_job(context, job, at)
    if now.difference:
        raise LedgerDoesNotAddUp(difference=now.difference)


@command.command("periodic")
@click.pass_obj
def periodic_work(context: Context) -> None:
    """Do now what `serve` does by itself every hour; what another server is at is left to it.

    For cron, where `periodic_minutes` is 0. Exits with 1 if anything failed.
    """
    with _central(context) as central:
        done = run_due(central, interval_seconds=0, at_once=True)
        jobs = periodic_status(central)
        now = central.unix_seconds()
    for job in jobs:
        _say_job(context, job, now)
    if not all(done.values()):
        raise PeriodicWorkFailed(jobs=", ".join(name for name, ok in done.items() if not ok))


def _say_job(context: Context, job: JobStatus, now: int) -> None:
    facts: dict[str, object] = {"job": job.name, "outcome": job.outcome}
    if job.finished_at is not None:
        facts["time"] = local_time(job.finished_at)
    if job.failures:
        assert job.failed_at is not None
        context.say(
            N_("Periodic work {job} FAILED at {failed}, {count} times in a row: {outcome}"),
            **facts,
            failed=local_time(job.failed_at),
            count=job.failures,
        )
    elif job.finished_at is not None:
        context.say(N_("Periodic work {job} was done at {time}: {outcome}"), **facts)
    if job.finished_at is None:
        context.say(N_("WARNING: periodic work {job} was never done."), **facts)
    elif job.is_overdue(now):
        context.say(
            N_(
                "WARNING: periodic work {job} was last done at {time}, more than a day ago. "
                "Let `dobmi central serve` run with periodic_minutes above 0, or run "
                "`dobmi central periodic` daily."
            ),
            **facts,
        )


@command.command("card")
@click.argument("card")
@click.option("--block", "block_reason", metavar="REASON", help="Block the card.")
@click.option("--unblock", "unblock_reason", metavar="REASON", help="Take the block back.")
@click.pass_obj
def show_card(
    context: Context, card: str, block_reason: str | None, unblock_reason: str | None
) -> None:
    """What the ledger says of CARD: its UID (14 hex digits) or serial number."""
    with _central(context) as central:
        for reason, blocked in ((block_reason, True), (unblock_reason, False)):
            if reason is not None:
                set_blocked(central, parse_card(card), reason, blocked=blocked, by_terminal=None)
        statement = statement_of(central, parse_card(card))
    _print_card(context, statement)


@command.group(cls=DomainGroup)
def credit() -> None:
    """Credits that wait for their cards."""


@credit.command("settle")
@click.argument("card")
@click.argument("sequence", type=click.IntRange(1))
@click.option("--reason", required=True, help="Why; it stands in the journal.")
@click.option(
    "--by", "settled_by", required=True, metavar="NAME", help="Who says so, of the staff."
)
@click.pass_obj
def settle_one_credit(
    context: Context, card: str, sequence: int, reason: str, settled_by: str
) -> None:
    """Post credit SEQUENCE of CARD as delivered: the card says it has it, but nothing proves it.

    Somebody between server and card changed what passed (`anomalies`: credit-without-proof), and
    no further credit reaches the card. The card's own number of its last credit, read with the
    credit key in a session, must say that it has this one.
    """
    with _central(context) as central:
        settled = settle_credit(
            central, parse_card(card), sequence, reason=reason, settled_by=settled_by
        )
    context.say(
        N_(
            "Credit {sequence} of card {card} is posted: {amount}, as the card's transaction {counter}."
        ),
        sequence=settled.sequence,
        card=settled.card_uid.hex().upper(),
        amount=settled.amount,
        counter=settled.counter,
    )


@command.command("quarantine")
@click.pass_obj
def show_quarantine(context: Context) -> None:
    """Vouchers that were kept but not posted, with the reason."""
    with _looking(context) as central:
        kept = quarantine_list(central)
    rows = [
        (
            f"{row.terminal_id}/{row.sequence}",
            row.kind.name.lower(),
            row.card_uid.hex().upper(),
            local_time(row.received_at),
            row.reason,
            row.detail,
        )
        for row in kept
    ]
    _print_table(context, ("voucher", "kind", "card", "received", "reason", "detail"), rows)


@command.command("in-doubt")
@click.option("--all", "show_all", is_flag=True, help="Settled ones too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def show_doubts(context: Context, show_all: bool, as_json: bool) -> None:
    """Sales of which it is not known yet whether the card paid, and credits it may have: the
    longest waiting first.

    With what is known of each, when a sale will be settled by rule, and what to do about a credit,
    which only its card settles.
    """
    with _looking(context) as central:
        found = doubt_list(central, settled_too=show_all)
        credits_found = credits_in_doubt(central)
        now = central.unix_seconds()
    if as_json:
        lists = {
            "in_doubt": [_doubt_json(doubt, now) for doubt in found],
            "credits_in_doubt": [_credit_doubt_json(one, now) for one in credits_found],
        }
        click.echo(json.dumps(lists))
        return
    if not found:
        context.say("No sale is in doubt.")
    for doubt in found:
        _say_doubt(context, doubt, now)
    if not credits_found:
        context.say(N_("No credit is in doubt."))
    for one in credits_found:
        _say_credit_doubt(context, one, now)


@command.command("settle")
@click.option(
    "--now",
    metavar="TIME",
    help="As if it were that time: 2026-11-24T09:41, of western Indonesia, or Unix seconds.",
)
@click.pass_obj
def settle(context: Context, now: str | None) -> None:
    """Settle by rule the sales that have been in doubt for `settle_after_days`.

    `serve` does it by itself, with the other periodic work.

    First each such card's own word, as `reconcile` does. Without one: not paid; or held in suspense,
    if the till or a supervisor says that it was paid. A card that turns up later goes before it.
    Running it again changes nothing.
    """
    with _central(context) as central:
        at = central.unix_seconds() if now is None else _parse_time(now)
        done = settle_overdue(central, at)
    context.say(
        "Settled by rule as not paid: {count} ({total}).",
        count=done.not_paid_count,
        total=done.not_paid_total,
    )
    context.say(
        "Held in suspense, said to be paid: {count} ({total}).",
        count=done.held_count,
        total=done.held_total,
    )


@command.command("refunds")
@click.option("--all", "show_all", is_flag=True, help="Those that became a credit, too.")
@click.pass_obj
def show_refunds(context: Context, show_all: bool) -> None:
    """Refunds that tills promised and no card is owed yet, with what they wait for."""
    with _looking(context) as central:
        found = refund_list(central)
    rows = [
        (
            f"{row.terminal_id}/{row.sequence}",
            f"{row.terminal_id}/{row.sale_sequence}",
            row.card_uid.hex().upper(),
            str(Rupiah(row.amount_rupiah)),
            local_time(row.at),
            row.state,
            row.explanation,
            f"{row.reason} ({row.supervisor})" if row.supervisor else row.reason,
        )
        for row in found
        if show_all or row.state != RefundState.ORDERED
    ]
    headings = ("voucher", "sale", "card", "amount", "at", "state", "explanation", "reason")
    _print_table(context, headings, rows)


@command.command("anomalies")
@click.pass_obj
def show_anomalies(context: Context) -> None:
    """What no honest card and till would show, newest first."""
    with _looking(context) as central:
        found = anomaly_list(central)
    rows = [
        (
            local_time(row.at),
            row.kind,
            _card_of(row),
            "-" if row.terminal_id is None else str(row.terminal_id),
            "-" if row.amount_rupiah is None else str(Rupiah(row.amount_rupiah)),
            row.detail,
        )
        for row in found
    ]
    _print_table(context, ("found", "kind", "card", "terminal", "amount", "detail"), rows)


@command.command("unreported")
@click.pass_obj
def show_unreported(context: Context) -> None:
    """Sales that cards name and no till has sent: it is late, or keeps them to itself."""
    with _looking(context) as central:
        found = unreported_sales(central)
    rows = [
        (
            f"{sale.terminal_id}/{sale.sequence}",
            sale.terminal_name,
            sale.card_uid.hex().upper(),
            "-" if sale.amount is None else str(sale.amount),
            local_time(sale.known_since),
        )
        for sale in found
    ]
    _print_table(context, ("sale", "terminal", "card", "amount", "known since"), rows)


@command.command("clocks")
@click.pass_obj
def show_clocks(context: Context) -> None:
    """Sales that cards put an hour or more later than their tills' clocks do."""
    with _looking(context) as central:
        found = clocks_behind(central)
    rows = [
        (
            f"{sale.terminal_id}/{sale.sequence}",
            sale.terminal_name,
            sale.card_uid.hex().upper(),
            str(sale.amount),
            local_time(sale.at),
            local_time(sale.after),
        )
        for sale in found
    ]
    _print_table(context, ("sale", "terminal", "card", "amount", "at", "not before"), rows)


@command.command("dispute")
@click.argument("terminal", type=click.IntRange(1))
@click.argument("sequence", type=click.IntRange(1))
@click.pass_obj
def show_dispute(context: Context, terminal: int, sequence: int) -> None:
    """The evidence of a sale, checked again: TERMINAL and SEQUENCE are on the receipt."""
    with _looking(context) as central:
        shown = dispute(central, terminal, sequence)
    say = context.say
    facts = {
        "sale": f"{shown.terminal_id}/{shown.sequence}",
        "terminal": shown.terminal_name,
        "seller": shown.seller,
        "at": local_time(shown.at),
        "received": local_time(shown.received_at),
        "shift": shown.shift,
        "cashier": shown.cashier,
        "card": shown.card_uid.hex().upper(),
        "amount": shown.amount,
        "claimed": shown.amount_claimed,
        "before": shown.balance_before,
        "after": shown.balance_after,
        "counter": shown.counter,
        "hash": shown.hash.hex()[:16],
        "status": f"{shown.outcome} {shown.reason}".strip(),
    }
    say(
        N_("Sale {sale} at {terminal} of {seller}, {at}, shift {shift}, cashier {cashier}."),
        **facts,
    )
    say(N_("Here since {received}; status: {status}; voucher hash {hash}…"), **facts)
    for line in shown.goods:
        say(
            N_("  {quantity} x {name}: {amount}"),
            quantity=line.quantity,
            name=line.name,
            amount=line.amount,
        )
    if shown.holder is None:
        say(N_("NOT PROVED: the issuer did not sign the holder of card {card}."), **facts)
    else:
        say(
            N_("Card {card} of member {member}, {name}, signed by the issuer."),
            member=shown.holder.member_number,
            name=shown.holder.name,
            **facts,
        )
    say(N_("The card held {before}, paid {amount}, and held {after}."), **facts)
    if shown.amount != shown.amount_claimed:
        say(N_("NOT PROVED: the till claims {claimed}."), **facts)
    if shown.card_mac_verified:
        say(
            N_(
                "The card's own MAC over this is right, as its transaction {counter}. No till has the key."
            ),
            **facts,
        )
    elif shown.counter is None or shown.in_doubt:
        say(N_("NOT PROVED: there is no MAC of the card over this."))
    else:
        say(N_("NOT PROVED: the MAC that the till gives is not the card's over this."))
    say(
        N_("The till's signature is right.")
        if shown.signature_verified
        else N_("NOT PROVED: the till's signature is wrong.")
    )
    say(
        N_("The voucher is in its place in the till's chain.")
        if shown.chain_verified
        else N_("NOT PROVED: the voucher is not in its place in the till's chain.")
    )
    for neighbour, is_before in ((shown.before, True), (shown.after, False)):
        if neighbour is not None:
            _say_neighbour(context, neighbour, is_before=is_before)
    say(
        N_("PROVED: this card made this sale. Whether its holder held it, no card can tell.")
        if shown.is_proved
        else N_("This sale is not proved.")
    )


def _say_neighbour(context: Context, neighbour: Neighbour, *, is_before: bool) -> None:
    facts = {
        "counter": neighbour.counter,
        "by": f"{neighbour.terminal_id}/{neighbour.sequence}",
        "at": local_time(neighbour.at),
    }
    if is_before and neighbour.fits:
        text = N_("Before it: transaction {counter} by {by}, {at}; this sale goes on from it.")
    elif is_before:
        text = N_(
            "Before it: transaction {counter} by {by}, {at}; this sale does NOT go on from it."
        )
    elif neighbour.fits:
        text = N_("After it: transaction {counter} by {by}, {at}; there the card names this sale.")
    else:
        text = N_("After it: transaction {counter} by {by}, {at}; there the card names ANOTHER.")
    context.say(text, **facts)


def _say_doubt(context: Context, doubt: Doubt, now: int) -> None:
    context.say(
        "Sale {terminal}/{sequence} at {name}, {time}, known for {days} days: {amount}, "
        "{holder} (member {member}), card {card}",
        terminal=doubt.terminal_id,
        sequence=doubt.sequence,
        name=doubt.terminal_name,
        time=local_time(doubt.at),
        days=max(0, now - doubt.received_at) // SECONDS_PER_DAY,
        amount=doubt.amount,
        holder=doubt.member_name,
        member=doubt.member_number,
        card=doubt.card_uid.hex().upper(),
    )
    if doubt.state is not DoubtState.OPEN:
        context.say(
            "  {state}: {explanation}",
            state=context.translate(_DOUBT_STATES[doubt.state]),
            explanation=doubt.explanation,
        )
        return
    if doubt.decided_by and doubt.decided_paid:
        context.say(
            "  Supervisor {supervisor} says that it was paid: {reason}",
            supervisor=doubt.decided_by,
            reason=doubt.decision_reason,
        )
    elif doubt.claimed_paid:
        context.say("  The till says that it was paid; the card has not vouched for it.")
    if doubt.counter is None:
        context.say("  It is not known for which of the card's transactions it was made.")
    elif doubt.newest_counter >= doubt.counter:
        context.say(
            "  The card was used since (transaction {newest}), but a till in between has not "
            "reported yet.",
            newest=doubt.newest_counter,
        )
    else:
        context.say(
            "  It would be the card's transaction {counter}; nothing that came after is known.",
            counter=doubt.counter,
        )
    when = local_time(doubt.rule_at)
    if doubt.will_be_held:
        context.say("  Without the card: held in suspense by rule from {time}.", time=when)
    else:
        context.say("  Without the card: not paid by rule from {time}.", time=when)


def _say_credit_doubt(context: Context, credit: CreditInDoubt, now: int) -> None:
    facts = {"card": credit.card_uid.hex().upper(), "sequence": credit.sequence}
    context.say(
        N_(
            "Credit {sequence} of {amount} ({source}) for {holder} (member {member}), card {card}: "
            "in doubt since {time}, {days} days; sent {attempts} times."
        ),
        **facts,
        amount=credit.amount,
        source=credit.source.value,
        holder=credit.member_name,
        member=credit.member_number,
        time=local_time(credit.since),
        days=max(0, now - credit.since) // SECONDS_PER_DAY,
        attempts=credit.attempts,
    )
    context.say(_CREDIT_STEPS[credit.next_step], **facts)


_CREDIT_STEPS = {
    NextStep.TAP: N_(
        "  Have the member lay the card on a till or station with a network: it tells, and gets "
        "the credit if it lacks it."
    ),
    NextStep.SETTLE: N_(
        "  The card says that it has it, and nothing proves it: see `anomalies`, then run "
        "`dobmi central credit settle {card} {sequence}`."
    ),
    NextStep.UNBLOCK_OR_REPLACE: N_(
        "  The card is blocked. Unblock it and have it laid on a till or station; or if it is lost, "
        "replace it: the credit is restored with the rest."
    ),
    NextStep.REPLACE: N_(
        "  The card has expired. Replace it: the credit is restored with the rest."
    ),
    NextStep.WAIT: N_(
        "  The card was replaced: the credit comes to the member's new card with the rest."
    ),
}


def _credit_doubt_json(credit: CreditInDoubt, now: int) -> dict[str, object]:
    return {
        "card_uid": credit.card_uid.hex().upper(),
        "card_serial": credit.card_serial,
        "member_number": credit.member_number,
        "member_name": credit.member_name,
        "sequence": credit.sequence,
        "amount_rupiah": credit.amount.amount,
        "source": credit.source.value,
        "ordered_unix_seconds": credit.ordered_at,
        "since_unix_seconds": credit.since,
        "age_seconds": max(0, now - credit.since),
        "attempts": credit.attempts,
        "next_step": credit.next_step.value,
    }


_DOUBT_STATES = {
    DoubtState.PAID: N_("PAID"),
    DoubtState.NOT_PAID: N_("NOT PAID"),
    DoubtState.DISPUTED: N_("DISPUTED, in suspense"),
    DoubtState.SUSPENDED: N_("HELD in suspense"),
}


def _doubt_json(doubt: Doubt, now: int) -> dict[str, object]:
    return {
        "terminal_id": doubt.terminal_id,
        "terminal_name": doubt.terminal_name,
        "sequence": doubt.sequence,
        "card_uid": doubt.card_uid.hex().upper(),
        "member_number": doubt.member_number,
        "member_name": doubt.member_name,
        "amount_rupiah": doubt.amount.amount,
        "unix_seconds": doubt.at,
        "received_unix_seconds": doubt.received_at,
        "age_seconds": max(0, now - doubt.received_at),
        "state": doubt.state.value,
        "settled_by": doubt.settled_by.value,
        "explanation": doubt.explanation,
        "claimed_paid": doubt.claimed_paid,
        "decided_by": doubt.decided_by,
        "decided_paid": doubt.decided_paid if doubt.decided_by else None,
        "decision_reason": doubt.decision_reason,
        "counter": doubt.counter,
        "newest_counter": doubt.newest_counter,
        "rule_unix_seconds": doubt.rule_at if doubt.state is DoubtState.OPEN else None,
        "will_be_held": doubt.will_be_held,
    }


def _card_of(row: Row[tuple[object, ...]]) -> str:
    return "-" if row.card_uid is None else str(row.card_uid.hex().upper())


def _print_card(context: Context, card: CardStatement) -> None:
    facts = [
        ("UID", card.uid.hex().upper()),
        (context.translate(N_("serial number")), str(card.serial)),
        (context.translate(N_("member")), f"{card.member_number} {card.member_name}"),
        (context.translate(N_("status")), f"{card.state.value} {card.block_reason}".strip()),
        (context.translate(N_("valid until")), _local_date(card.expires)),
        (context.translate(N_("balance by the ledger")), str(card.balance)),
    ]
    for credit in card.credits_waiting:
        waiting = context.translate(N_("credit waiting"))
        facts.append((f"{waiting} {credit.sequence}", f"{credit.amount} ({credit.state.value})"))
    _print_table(context, ("", ""), facts)
    rows = [
        (
            str(line.counter),
            local_time(line.at),
            f"{line.terminal_id}/{line.sequence}",
            str(line.amount if line.is_credit else -line.amount),
            str(line.balance_after),
        )
        for line in card.transactions
    ]
    _print_table(context, ("no.", "at", "by", "amount", "balance"), rows)


def _local_date(of: date) -> str:
    return of.strftime("%d-%m-%Y")
