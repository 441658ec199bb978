"""`dobmi card import`, `batches`, `issue-batch` and what follows them: cards for a list of members."""

from __future__ import annotations

import hashlib
import json
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click
from rich.console import Console
from rich.table import Table

from dobmi.cardlib.readers import open_reader
from dobmi.cli.context import Context, show_error
from dobmi.cli.station import station_of
from dobmi.errors import DoBMIError
from dobmi.i18n import N_
from dobmi.provisioning import issuing
from dobmi.provisioning.card_papers import (
    LabelSheet,
    PrintedCard,
    batch_csv,
    batch_report,
    card_faces,
    label_sheets,
    places,
    printed,
)
from dobmi.provisioning.enrolment import Station
from dobmi.provisioning.errors import NothingToPrint
from dobmi.provisioning.issuing import Batch, Line
from dobmi.provisioning.member_file import MemberRow, Preview, read_member_file
from dobmi.provisioning.photo import read_photo
from dobmi.provisioning.queue import (
    QueueControls,
    QueuePhase,
    QueueState,
    StationDesk,
    issue_queue,
)
from dobmi.sync.errors import ServerRefused
from dobmi.wib import local_time

_NUMBER = click.argument("number", type=click.IntRange(1, 2**53 - 1))
_LINE = click.argument("line", type=click.IntRange(1, 2**31 - 1))
_SHEETS = ("card", *(sheet.value for sheet in LabelSheet))
_PHASES = {
    QueuePhase.LAY: N_("Lay a blank card on the reader: {name}, member {member}."),
    QueuePhase.WORKING: N_("Leave the card there…"),
    QueuePhase.ISSUED: N_("Card {serial} is issued to {last}. Take it off. Next: {next}."),
    QueuePhase.SAME_AGAIN: N_("Taken away too early: lay the same card ({card}) on again."),
    QueuePhase.OTHER_CARD: N_("That is another card. Lay card {card} on, which is not finished."),
    QueuePhase.REFUSED: N_("Put card {card} aside and take another one for {name}."),
    QueuePhase.SKIPPED: N_("{name}, member {member}, is left out."),
    QueuePhase.SERVER_AWAY: N_("The central server does not answer. It goes on when it does."),
    QueuePhase.READER_AWAY: N_("The reader is away. Plug it in; it goes on then."),
    QueuePhase.OTHERS_AT_REST: N_("Other stations are at the members that are left."),
    QueuePhase.FINISHED: N_("All {lines} are done: {issued} cards issued, {skipped} left out."),
    QueuePhase.STOPPED: N_("Stopped: {issued} of {lines} cards are issued. Go on at any time."),
}


@click.command("import")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--name", help="What the batch is called; the file's name when left out.")
@click.option(
    "--photos", type=click.Path(file_okay=False, path_type=Path),
    help="The photos' folder; the file's own when left out.",
)  # fmt: skip
@click.option(
    "--new-class", "new_classes", multiple=True,
    help="A class of members that is new and meant so; can be given several times.",
)  # fmt: skip
@click.option("--good-rows", is_flag=True, help="Take the good rows without the bad ones.")
@click.option("--yes", is_flag=True, help="Take them without asking.")
@click.pass_obj
def import_members(
    context: Context,
    file: Path,
    name: str | None,
    photos: Path | None,
    new_classes: tuple[str, ...],
    *,
    good_rows: bool,
    yes: bool,
) -> None:
    """Take FILE, a list of members (CSV or XLSX), as a batch of cards to be issued.

    Columns: nomor anggota, nama; golongan and foto (a file's name) if they are there. What would be
    taken is shown first, with each bad row and what to do about it; nothing is taken until it is
    confirmed.
    """
    station = station_of(context)
    preview = read_member_file(file, photos)
    preview = preview.with_server(
        issuing.check_lines(station, [row.given for row in preview.rows], new_classes)
        if preview.rows
        else [],
        new_classes,
    )
    _show_preview(context, preview)
    if not preview.rows or (preview.bad and not good_rows and (yes or not sys.stdin.isatty())):
        context.say(N_("Nothing was taken."))
        sys.exit(1)
    if not yes:
        question = (
            N_("Take the {count} good rows without the bad ones?")
            if preview.bad
            else N_("Take these {count} members?")
        )
        if not click.confirm(context.translate(question).format(count=len(preview.rows))):
            context.say(N_("Nothing was taken."))
            sys.exit(1)
    batch = take_preview(station, preview, (name or file.stem)[:80], new_classes)
    context.say(
        N_("Batch {number}: {count} members. Begin: dobmi card issue-batch {number}"),
        number=batch.number,
        count=batch.lines,
    )
    _give_photos(context, station, batch, preview.rows)


def take_preview(
    station: Station, preview: Preview, name: str, new_classes: tuple[str, ...] = ()
) -> Batch:
    """The good rows as a batch; the same rows under the same name are the same batch.

    Raises ServerRefused, ServerUnreachable, MalformedMessage.
    """
    lines = [row.given for row in preview.rows]
    content = json.dumps([name, [line.to_json() for line in lines]]).encode()
    reference = hashlib.sha256(content).hexdigest()[:32]
    return issuing.make_batch(station, name, lines, reference, new_classes)


@click.command()
@click.pass_obj
def batches(context: Context) -> None:
    """The issuing batches there are, newest first."""
    table = Table()
    for heading in (N_("no."), N_("name"), N_("made"), N_("members"), N_("issued"), N_("skipped")):
        table.add_column(context.translate(heading))
    for batch in issuing.list_batches(station_of(context)):
        table.add_row(
            str(batch.number),
            batch.name,
            local_time(batch.made_at),
            str(batch.lines),
            str(batch.issued),
            str(batch.skipped),
        )
    Console().print(table)


@click.command("issue-batch")
@_NUMBER
@click.option(
    "--print", "labels", type=click.Path(dir_okay=False, path_type=Path),
    help="Write the labels of the cards issued now to this PDF, in their order.",
)  # fmt: skip
@click.option("--sheet", type=click.Choice(_SHEETS), default="24", show_default=True,
              help="card: a card's face a page; 10 or 24 on an A4 sheet.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Each state as a line of JSON.")
@click.pass_obj
def issue_batch(
    context: Context, number: int, labels: Path | None, sheet: str, *, as_json: bool
) -> None:
    """Issue the cards of batch NUMBER, one after the other, with nothing to press between.

    Ctrl-C stops after the card in work. Begun again, here or at another station, it goes on.
    """
    station = station_of(context)
    controls = QueueControls()
    desk = StationDesk(station, number)
    issued: list[int] = []
    last: QueueState | None = None
    with _stopped_by_interrupt(controls):
        for state in issue_queue(
            desk, lambda: open_reader(context.settings.provisioning.reader), controls
        ):
            if state.last is not None and state.last.card_serial not in issued:
                issued.append(state.last.card_serial)
            show_state(context, state, last, as_json=as_json)
            last = state
    if labels is not None and issued:
        lines = [
            line
            for line in issuing.lines_of(station, number)
            if line.issued is not None and line.issued.card_serial in set(issued)
        ]
        lines.sort(key=lambda line: issued.index(line.issued.card_serial if line.issued else 0))
        _write(labels, _labels(context, station, lines, sheet, 1))
        context.say(N_("Labels: {file}"), file=labels)
    if last is not None and last.trouble is not None:
        sys.exit(1)


def show_state(
    context: Context, state: QueueState, before: QueueState | None, *, as_json: bool
) -> None:
    """Print what is to be done, once: in words, or a line of JSON."""
    if as_json:
        click.echo(json.dumps(state_json(state, context.translate)))
        return
    is_same = before is not None and (before.phase, before.line, before.card) == (
        state.phase,
        state.line,
        state.card,
    )
    if is_same:
        return
    if state.trouble is not None:
        show_error(state.trouble, context.translate)
    if state.phase is QueuePhase.ISSUED and state.line is None:
        return  # who is next comes at once
    say = context.translate
    line, last, batch = state.line, state.last, state.batch
    done = f"[{batch.issued}/{batch.lines}] " if batch is not None else ""
    text = say(_PHASES[state.phase]).format(
        name="" if line is None else line.name,
        member="" if line is None else line.member_number,
        next="" if line is None else line.name,
        serial="" if last is None else last.card_serial,
        last="" if last is None else last.name,
        card="" if state.card is None else state.card.hex().upper(),
        lines=0 if batch is None else batch.lines,
        issued=0 if batch is None else batch.issued,
        skipped=0 if batch is None else batch.skipped,
    )
    rate = ""
    if state.phase is QueuePhase.ISSUED and state.cards_per_hour and state.seconds_left is not None:
        rate = " " + say(N_("({rate} cards an hour, {minutes} min left)")).format(
            rate=state.cards_per_hour, minutes=-(-state.seconds_left // 60)
        )
    click.echo(f"{done}{text}{rate}")


def state_json(state: QueueState, translate: Callable[[str], str]) -> dict[str, object]:
    """For programs: everything that people see."""
    line, batch, trouble = state.line, state.batch, state.trouble
    return {
        "phase": state.phase.value,
        "batch": None if batch is None else batch.number,
        "lines": 0 if batch is None else batch.lines,
        "issued": 0 if batch is None else batch.issued,
        "skipped": 0 if batch is None else batch.skipped,
        "waiting": 0 if batch is None else batch.waiting,
        "line": None if line is None else line.line,
        "member_number": None if line is None else line.member_number,
        "name": None if line is None else line.name,
        "card_uid": None if state.card is None else state.card.hex().upper(),
        "card_serial": None if state.last is None else state.last.card_serial,
        "issued_here": state.issued_here,
        "cards_per_hour": state.cards_per_hour,
        "seconds_left": state.seconds_left,
        "code": None if trouble is None else _code(trouble),
        "text": None if trouble is None else trouble.explain(translate),
        "advice": None if trouble is None else trouble.advise(translate),
    }


def _code(trouble: DoBMIError) -> str:
    """The server's own, where it refused."""
    if isinstance(trouble, ServerRefused):
        return str(trouble.facts.get("problem", trouble.code))
    return trouble.code


@click.command("labels")
@_NUMBER
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--sheet", type=click.Choice(_SHEETS), default="24", show_default=True,
              help="card: a card's face a page; 10 or 24 on an A4 sheet.")  # fmt: skip
@click.option("--line", "only", type=click.IntRange(min=1), multiple=True,
              help="This line alone; can be given several times.")  # fmt: skip
@click.option("--first", type=click.IntRange(min=1), default=1, show_default=True,
              help="The first free place of a sheet that was begun.")  # fmt: skip
@click.pass_obj
def write_labels(
    context: Context, number: int, file: Path, *, sheet: str, only: tuple[int, ...], first: int
) -> None:
    """Write the labels, or the cards' faces, of batch NUMBER to the PDF FILE: print it at 100 %."""
    station = station_of(context)
    lines = [
        line
        for line in issuing.lines_of(station, number)
        if line.issued is not None and (not only or line.line in only)
    ]
    _write(file, _labels(context, station, lines, sheet, first))
    context.say(N_("{count} labels: {file}"), count=len(lines), file=file)


@click.command("report")
@_NUMBER
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.pass_obj
def write_report(context: Context, number: int, file: Path) -> None:
    """Write what became of batch NUMBER to FILE: a PDF, or CSV if its name ends so."""
    station = station_of(context)
    lines = list(issuing.lines_of(station, number))
    batch = issuing.batch_of(station, number)
    if file.suffix.lower() == ".csv":
        content = batch_csv(lines, context.translate).encode()
    else:
        content = batch_report(
            batch, lines, station.enrolment.issuer, int(time.time()), context.translate
        )
    _write(file, content)
    context.say(N_("Report: {file}"), file=file)


@click.command("skip-line")
@_NUMBER
@_LINE
@click.option("--reason", required=True, help="Why the member gets no card now: kept.")
@click.pass_obj
def skip_line(context: Context, number: int, line: int, reason: str) -> None:
    """Leave LINE of batch NUMBER out, until it is put back."""
    issuing.skip_line(station_of(context), number, line, reason)
    context.say(N_("Line {line} of batch {number} is left out."), line=line, number=number)


@click.command("put-back")
@_NUMBER
@_LINE
@click.pass_obj
def put_back(context: Context, number: int, line: int) -> None:
    """Have LINE of batch NUMBER, which was left out, wait for its card again."""
    issuing.put_back(station_of(context), number, line)
    context.say(N_("Line {line} of batch {number} waits again."), line=line, number=number)


COMMANDS = (
    import_members, batches, issue_batch, write_labels, write_report, skip_line, put_back,
)  # fmt: skip


def _show_preview(context: Context, preview: Preview) -> None:
    read = ", ".join(heading for _, heading in preview.columns)
    context.say(N_("{file}: columns {columns}"), file=preview.file, columns=read)
    if preview.ignored:
        context.say(N_("Not read: {columns}"), columns=", ".join(preview.ignored))
    said: dict[tuple[str, str, str], list[int]] = {}  # one fault of many rows is said once
    for cell in preview.bad:
        problem = cell.problem.explain(context.translate).removesuffix(".")
        advice = cell.advice.explain(context.translate)
        said.setdefault((cell.column, problem, advice), []).append(cell.row)
    for (column, problem, advice), rows in said.items():
        context.say(
            N_("Row {row}, {column}: {problem}. {advice}"),
            row=_spans(rows),
            column=column,
            problem=problem,
            advice=advice,
        )
    if preview.unknown_classes:
        options = " ".join(f"--new-class {shlex.quote(one)}" for one in preview.unknown_classes)
        context.say(N_("If these classes are new and meant so, add: {options}"), options=options)
    context.say(
        N_("{good} rows are good, {bad} are not."), good=len(preview.rows), bad=preview.bad_rows
    )


def _spans(rows: list[int]) -> str:
    """`2-10, 12`, of numbers that grow."""
    found: list[list[int]] = []
    for row in rows:
        if found and row == found[-1][1] + 1:
            found[-1][1] = row
        else:
            found.append([row, row])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in found)


def _give_photos(
    context: Context, station: Station, batch: Batch, rows: tuple[MemberRow, ...]
) -> None:
    """Lines stand in the order of the rows. A photo that cannot be had holds up no card."""
    given = 0
    for line, row in enumerate(rows, 1):
        if row.photo is None:
            continue
        try:
            issuing.give_photo(station, batch.number, line, read_photo(row.photo))
        except DoBMIError as error:
            context.say(N_("Row {row}: the photo was not taken."), row=row.row)
            show_error(error, context.translate)
        else:
            given += 1
    if given:
        context.say(N_("{count} photos."), count=given)


def _labels(context: Context, station: Station, lines: list[Line], sheet: str, first: int) -> bytes:
    """Raises NothingToPrint, SyncError."""
    if not lines:
        raise NothingToPrint
    cards = [_printed(station, line) for line in lines]
    issuer = station.enrolment.issuer
    if sheet == "card":
        return card_faces(cards, issuer, context.translate)
    layout = LabelSheet(sheet)
    first = min(first, len(places(layout)))
    return label_sheets(cards, issuer, layout, context.translate, first=first)


def _printed(station: Station, line: Line) -> PrintedCard:
    photo = None if line.photo is None else station.client.fetch_photo(line.photo)
    return printed(line, photo)


def _write(file: Path, content: bytes) -> None:
    """Whole or not at all: a report that was there stays until the new one is."""
    beside = file.with_name(f".{file.name}.new")
    beside.write_bytes(content)
    beside.replace(file)


@contextmanager
def _stopped_by_interrupt(controls: QueueControls) -> Iterator[None]:
    """The first Ctrl-C, or SIGTERM, stops after the card in work; the second at once."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        if controls.is_stopped:
            raise KeyboardInterrupt
        controls.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
