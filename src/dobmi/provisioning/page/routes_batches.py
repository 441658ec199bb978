"""Lists of members who get cards: read from a file, looked at, taken, issued card after card, reported."""

from __future__ import annotations

import time
from pathlib import PurePath
from typing import Final
from urllib.parse import unquote

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from dobmi.errors import DoBMIError
from dobmi.i18n import N_
from dobmi.provisioning import issuing
from dobmi.provisioning.bench import Run
from dobmi.provisioning.enrolment import Station
from dobmi.provisioning.issuing import Batch
from dobmi.provisioning.member_file import FILE_SIZE_MAX, Preview, read_members
from dobmi.provisioning.page.errors import NoRun, NothingIssued, PreviewGone
from dobmi.provisioning.page.visit import Visit, Visited, new_number
from dobmi.provisioning.queue import QueueControls, StationDesk, issue_queue
from dobmi.web.security import read_file

router = APIRouter()
ISSUER: Final = "issuer"
_NAME_HEADER: Final = "x-file-name"
PAPERS: Final = (
    ("report", N_("Report of the list")),
    ("labels", N_("Labels (24 on a sheet)")),
    ("cards", N_("Card faces (10 on a sheet)")),
    ("faces", N_("Card faces for a card printer")),
)
"""What can be printed of a list: its name in the address, and the button."""


def batch_list(visit: Visit) -> tuple[list[Batch], DoBMIError | None]:
    """The lists, or why they cannot be had: one card can be issued all the same."""
    try:
        return issuing.list_batches(visit.station), None
    except DoBMIError as error:
        return [], error


@router.post("/batches/file")
async def take_file(visit: Visited) -> Response:
    """The file as the body; its preview is kept, and the browser led to it."""
    visit.require(ISSUER)
    content = await read_file(visit.request, visit.session, FILE_SIZE_MAX)
    name = PurePath(unquote(visit.request.headers.get(_NAME_HEADER, ""))[:120]).name
    read = await run_in_threadpool(read_members, content, name)
    found = await run_in_threadpool(_checked, visit.station, read)
    number = new_number()
    visit.page.keep(visit.session, f"{number} as read", read)
    visit.page.keep(visit.session, number, found)
    return visit.redirect(f"/batches/file/{number}")


def _checked(station: Station, read: Preview, new_classes: tuple[str, ...] = ()) -> Preview:
    """What was read, and what the server has against it."""
    if not read.rows:
        return read
    lines = [row.given for row in read.rows]
    return read.with_server(issuing.check_lines(station, lines, new_classes), new_classes)


@router.post("/batches/file/{number}/class")
def name_new_class(number: str, visit: Visited) -> Response:
    """A class of members that the list has and nobody else, meant so: looked at again with it."""
    visit.require(ISSUER)
    name = visit.field("class", N_("Class"))
    classes = dict.fromkeys((*_preview(visit, number).new_classes, name))
    found = _checked(visit.station, _preview(visit, f"{number} as read"), tuple(classes))
    visit.page.keep(visit.session, number, found)
    return visit.redirect(f"/batches/file/{number}")


@router.get("/batches/file/{number}")
def preview(number: str, visit: Visited) -> Response:
    visit.require(ISSUER)
    found = _preview(visit, number)
    return visit.show(
        "preview.html",
        "issue",
        number=number,
        list_name=PurePath(found.file).stem[:80],
        good=found.rows,
        bad=found.bad,
        bad_rows=found.bad_rows,
        ignored=found.ignored,
        unknown_classes=found.unknown_classes,
    )


def _preview(visit: Visit, number: str) -> Preview:
    found = visit.page.found(visit.session, number)
    if not isinstance(found, Preview):
        raise PreviewGone
    return found


@router.post("/batches")
def take_list(visit: Visited) -> Response:
    """The rows that can be taken, as a list at the server; sent twice it is the same list."""
    visit.require(ISSUER)
    number = visit.field("number", N_("Number"))
    name = visit.field("name", N_("Name of the list"))
    found = _preview(visit, number)
    lines = [row.given for row in found.rows]
    batch = issuing.make_batch(visit.station, name, lines, f"list-{number}", found.new_classes)
    return visit.redirect(f"/batches/{batch.number}")


@router.get("/batches/{number}")
def batch(number: int, visit: Visited) -> Response:
    visit.require(ISSUER)
    run = visit.page.bench.state.run
    run_here = run is not None and run.number == number
    found = issuing.batch_of(visit.station, number)
    lines = [] if run_here else list(issuing.lines_of(visit.station, number))
    return visit.show(
        "batch.html", "issue", batch=found, lines=lines, run_here=run_here, papers=PAPERS
    )


@router.get("/batches/{number}/close")
def close(number: int, visit: Visited) -> Response:
    """Put away how the run ended, and show the list."""
    visit.require(ISSUER)
    visit.page.bench.end_run()
    return visit.redirect(f"/batches/{number}")


@router.post("/batches/{number}/issue")
def issue(number: int, visit: Visited) -> Response:
    visit.require(ISSUER)
    station = visit.station
    found = issuing.batch_of(station, number)
    bench = visit.page.bench
    bench.begin_run(
        Run(
            number=number,
            owner=visit.session.key,
            name=found.name,
            controls=QueueControls(),
            states=lambda controls: issue_queue(
                StationDesk(station, number), bench.open_reader, controls
            ),
        )
    )
    return visit.redirect(f"/batches/{number}")


@router.post("/batches/{number}/put-back")
def put_back(number: int, visit: Visited) -> Response:
    visit.require(ISSUER)
    issuing.put_back(visit.station, number, visit.number("line", N_("Line")))
    return visit.redirect(f"/batches/{number}")


@router.get("/batches/{number}/{paper}.pdf")
def print_paper(number: int, paper: str, visit: Visited) -> Response:
    """A PDF, shown by the browser, which prints it. Raises NothingIssued."""
    visit.require(ISSUER)
    content = _paper(visit, number, paper)
    name = f'inline; filename="{paper}-{number}.pdf"'
    return Response(content, media_type="application/pdf", headers={"content-disposition": name})


def _paper(visit: Visit, number: int, paper: str) -> bytes:
    # It takes long to load, which no other page should wait for.
    from dobmi.provisioning import card_papers  # noqa: PLC0415

    station, translate = visit.station, visit.voice.translate
    lines = list(issuing.lines_of(station, number))
    issuer = station.enrolment.issuer
    if paper == "report":
        batch = issuing.batch_of(station, number)
        return card_papers.batch_report(batch, lines, issuer, int(time.time()), translate)
    issued = [line for line in lines if line.issued is not None]
    if not issued:
        raise NothingIssued
    printed = [
        card_papers.printed(
            line, None if line.photo is None else station.client.fetch_photo(line.photo)
        )
        for line in issued
    ]
    if paper == "faces":
        return card_papers.card_faces(printed, issuer, translate)
    sheet = (
        card_papers.LabelSheet.CARDS_10 if paper == "cards" else card_papers.LabelSheet.LABELS_24
    )
    return card_papers.label_sheets(printed, issuer, sheet, translate)


def _controls(visit: Visit) -> QueueControls:
    """Of the run, if it is this session's. Raises LoggedOut, NotYourWork, NoRun."""
    visit.require(ISSUER)
    run = visit.page.bench.state.run
    if run is None or run.owner != visit.session.key:
        raise NoRun
    return run.controls


@router.post("/run/stop")
def stop(visit: Visited) -> Response:
    _controls(visit).stop()
    return visit.html("")


@router.post("/run/skip")
def skip(visit: Visited) -> Response:
    _controls(visit).skip_member(visit.say(N_("left out at the station")))
    return visit.html("")


@router.post("/run/other")
def take_other(visit: Visited) -> Response:
    _controls(visit).take_other_card()
    return visit.html("")
