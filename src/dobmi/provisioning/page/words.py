"""What a card is and what it is doing, in words: for the strip on each page, the card's page, the stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from dobmi.cardlib.inspection import CardState, Inspection
from dobmi.cardlib.purse_layout import CardKey
from dobmi.errors import DoBMIError
from dobmi.i18n import N_
from dobmi.money import Rupiah
from dobmi.provisioning.bench import BenchState, Phase, Run, SeenCard
from dobmi.provisioning.cards import IssuedCard
from dobmi.provisioning.look import FoundCard
from dobmi.provisioning.page.results import CardDone
from dobmi.provisioning.queue import QueuePhase, QueueState
from dobmi.web.rendering import Voice

_STATES: Final = {
    CardState.BLANK: N_("Blank card"),
    CardState.LOCKED: N_("Empty card with somebody's master key"),
    CardState.UNSUPPORTED: N_("Card too old for Do BMI"),
    CardState.FOREIGN: N_("Card of somebody else"),
    CardState.UNFINISHED: N_("Issuing was not finished"),
    CardState.PURSE: N_("Do BMI card"),
}
_STATE_ADVICE: Final = {
    CardState.BLANK: N_("It can be issued to a member."),
    CardState.LOCKED: N_("It cannot be issued: take another one."),
    CardState.UNSUPPORTED: N_("It cannot be issued: take a DESFire EV2 or EV3."),
    CardState.FOREIGN: N_("It holds other applications: leave it as it is, take another one."),
    CardState.UNFINISHED: N_("Issue it again to the same member: that finishes it."),
    CardState.PURSE: N_("The central ledger does not know it: put it aside and tell the office."),
}
LEDGER_STATES: Final = {
    "issuing": N_("issuing not finished"),
    "active": N_("active"),
    "blocked": N_("blocked"),
    "replaced": N_("replaced for good"),
    "retired": N_("retired"),
    "expired": N_("expired"),
}
_LEVELS: Final = {"active": "ok", "issuing": "warn"}
_KEYS: Final = {
    CardKey.APPLICATION: N_("application key"),
    CardKey.DEBIT: N_("debit key"),
    CardKey.CREDIT: N_("credit key"),
    CardKey.PIN: N_("PIN key"),
}
_FACTORY: Final = N_("from the factory")


@dataclass(frozen=True, slots=True, kw_only=True)
class CardWords:
    """A card in words. `state`: the ledger's word for it, else the card's own."""

    uid: str
    title: str
    said: str
    level: str
    state: str
    is_known: bool
    """In the central ledger."""
    is_looked_at: bool = True
    serial: int | None = None
    member: int | None = None
    balance: Rupiah | None = None
    waiting: Rupiah | None = None
    """Owed to it and not delivered yet."""
    trouble: DoBMIError | None = None
    rows: tuple[tuple[str, str], ...] = ()
    ledger: Mapping[str, Any] = field(default_factory=dict)


def card_words(seen: SeenCard, voice: Voice) -> CardWords:
    """What lies on the reader."""
    uid = seen.uid.hex().upper()
    if seen.error is not None:
        return CardWords(
            uid=uid,
            title=voice.say(N_("Unknown card")),
            said=voice.explain(seen.error),
            level="bad",
            state="unknown",
            is_known=False,
            trouble=seen.error,
        )
    if not isinstance(seen.what, FoundCard):
        return CardWords(
            uid=uid,
            title=voice.say(N_("A card")),
            said=voice.say(N_("It is being looked at …")),
            level="plain",
            state="looking",
            is_known=False,
            is_looked_at=False,
        )
    found = seen.what
    rows = inspection_rows(found.inspection, voice)
    if found.ledger is not None:
        return ledger_words(found.ledger, voice, rows)
    state = found.inspection.state
    trouble = found.ledger_error
    is_blank = state is CardState.BLANK
    return CardWords(
        uid=uid,
        title=voice.say(_STATES[state]),
        said=voice.say(_STATE_ADVICE[state]) if trouble is None else voice.explain(trouble),
        level="plain" if is_blank else "warn" if state is CardState.UNFINISHED else "bad",
        state=state.value,
        is_known=False,
        trouble=trouble,
        rows=rows,
    )


def ledger_words(
    ledger: Mapping[str, Any], voice: Voice, rows: tuple[tuple[str, str], ...] = ()
) -> CardWords:
    """What the central ledger says of a card."""
    state = str(ledger["state"])
    waiting = sum(credit["amount_rupiah"] for credit in ledger["credits_waiting"])
    said = voice.say(LEDGER_STATES.get(state, state))
    if ledger["block_reason"]:
        said = f"{said}: {ledger['block_reason']}"
    level = _LEVELS.get(state, "bad")
    if state == "active" and date.fromisoformat(ledger["expires"]) < date.today():  # noqa: DTZ011 - shown
        said, level = voice.say(LEDGER_STATES["expired"]), "warn"
    return CardWords(
        uid=str(ledger["card_uid"]),
        title=str(ledger["member_name"]),
        said=said,
        level=level,
        state=state,
        is_known=True,
        serial=int(ledger["card_serial"]),
        member=int(ledger["member_number"]),
        balance=Rupiah(ledger["balance_rupiah"]),
        waiting=Rupiah(waiting) if waiting else None,
        rows=rows,
        ledger=ledger,
    )


def inspection_rows(found: Inspection, voice: Voice) -> tuple[tuple[str, str], ...]:
    """What the card itself told, label and value."""
    version = found.version
    applications = found.applications
    rows = [
        (N_("What it is"), voice.say(_STATES[found.state])),
        (N_("UID"), found.uid.hex().upper()),
        (N_("Chip"), f"{version.generation.value}, {version.hardware.storage_bytes} B"),
        (N_("Made in"), f"{version.production_year}-W{version.production_week:02}"),
        (
            N_("Genuine"),
            voice.say(N_("yes, signed by {name}"), name=found.originality)
            if found.originality
            else voice.say(N_("no signature that is trusted")),
        ),
    ]
    if applications is not None:
        listed = ", ".join(f"{aid:06X}" for aid in applications)
        rows.append((N_("Applications"), listed or voice.say(N_("none"))))
    if found.free_memory_bytes is not None:
        rows.append((N_("Free memory"), f"{found.free_memory_bytes} B"))
    for key, number in found.key_versions.items():
        said = voice.say(N_("generation {number}"), number=number) if number else None
        rows.append((_KEYS.get(key, key.value), said or voice.say(_FACTORY)))
    return tuple((voice.say(label), value) for label, value in rows)


# --- the stage ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Kind:
    wait: str
    work: str
    done: str


_LAY: Final = N_("Lay the card on the reader")
KINDS: Final[Mapping[str, _Kind]] = {
    "issue": _Kind(
        N_("Lay a blank card on the reader"), N_("The card is being issued …"), N_("Issued")
    ),
    "topup": _Kind(_LAY, N_("The money is being put on the card …"), N_("Topped up")),
    "deliver": _Kind(_LAY, N_("The money is being put on the card …"), N_("Delivered")),
    "rekey": _Kind(_LAY, N_("The card gets its new keys …"), N_("The keys are new")),
    "inspect": _Kind(_LAY, N_("The card is being read …"), N_("Read")),
    "pin": _Kind(_LAY, N_("The PIN is being set …"), N_("The PIN is set")),
    "retire": _Kind(_LAY, N_("The card is being emptied …"), N_("Retired")),
    "renew": _Kind(_LAY, N_("The card is being renewed …"), N_("Renewed")),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What fills the screen while a card is worked on. `look` is the stylesheet's word for it."""

    request: str
    kind: str
    phase: str
    look: str
    icon: str
    title: str
    lines: tuple[str, ...] = ()
    amount: Rupiah | None = None
    error: DoBMIError | None = None
    sound: str = ""
    path: str = ""
    """Where more of the result is: a receipt."""
    name: str = ""

    @property
    def is_busy(self) -> bool:
        return self.phase == Phase.WORKING.value

    @property
    def is_final(self) -> bool:
        return self.phase in {Phase.DONE.value, Phase.REFUSED.value}


def act_of(state: BenchState, voice: Voice) -> Act | None:
    """None while nothing is asked."""
    task = state.task
    if task is None or state.phase in {Phase.IDLE, Phase.STARTING}:
        return None
    scene = _SCENES[state.phase](state, KINDS[task.kind], voice)
    amount = task.facts.get("amount")
    if isinstance(state.result, CardDone) and state.result.amount is not None:
        amount = state.result.amount
    is_done = state.phase is Phase.DONE
    return Act(
        request=task.request,
        kind=task.kind,
        phase=state.phase.value,
        look=scene.look,
        icon=scene.icon,
        title=scene.title,
        lines=scene.lines,
        amount=amount if isinstance(amount, Rupiah) else None,
        error=state.error if state.phase is Phase.REFUSED else None,
        sound=scene.sound,
        path=str(task.facts.get("path", "")) if is_done else "",
        name=str(task.facts.get("name", "")),
    )


@dataclass(frozen=True, slots=True)
class _Scene:
    look: str
    icon: str
    title: str
    sound: str = ""
    lines: tuple[str, ...] = ()


def _waiting(state: BenchState, kind: _Kind, voice: Voice) -> _Scene:
    if not state.is_another:
        return _Scene("waiting", "card", voice.say(kind.wait))
    title = voice.say(N_("That is another card"))
    line = voice.say(N_("Lay this member's card on the reader."))
    return _Scene("doubt", "again", title, "again", (line,))


def _again(state: BenchState, _kind: _Kind, voice: Voice) -> _Scene:
    line = N_("It was taken away too early; it goes on from there.")
    if state.is_another:
        line = N_("The card that lies there now is another one.")
    title = voice.say(N_("Lay the same card on again"))
    return _Scene("doubt", "again", title, "again", (voice.say(line),))


def _working(_state: BenchState, kind: _Kind, voice: Voice) -> _Scene:
    line = voice.say(N_("Leave the card where it is."))
    return _Scene("working", "again", voice.say(kind.work), "", (line,))


def _done(state: BenchState, kind: _Kind, voice: Voice) -> _Scene:
    lines: list[str] = []
    result = state.result
    if isinstance(result, IssuedCard):
        lines.append(issued_words(result, voice))
    elif isinstance(result, CardDone):
        lines += [voice.say(text, **facts) for text, facts in result.lines]
    if state.card is not None:
        lines.append(voice.say(N_("The card can be taken away.")))
    if isinstance(result, CardDone) and result.is_held:
        title = voice.say(N_("Held for approval"))
        return _Scene("doubt", "person", title, "again", tuple(lines))
    return _Scene("paid", "check", voice.say(kind.done), "paid", tuple(lines))


def _refused(_state: BenchState, _kind: _Kind, voice: Voice) -> _Scene:
    return _Scene("refused", "stop", voice.say(N_("Not done")), "refused")


_SCENES: Final[Mapping[Phase, Callable[[BenchState, _Kind, Voice], _Scene]]] = {
    Phase.WAITING: _waiting,
    Phase.AGAIN: _again,
    Phase.WORKING: _working,
    Phase.DONE: _done,
    Phase.REFUSED: _refused,
}


def issued_words(issued: IssuedCard, voice: Voice) -> str:
    return voice.say(
        N_("Card {serial}, member {member}, valid until {expires}."),
        serial=issued.card_serial,
        member=issued.member_number,
        expires=issued.expires.strftime("%d-%m-%Y"),
    )


# --- a list that is issued ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _QueueWords:
    look: str
    icon: str
    title: str
    sound: str = ""


_QUEUE: Final[Mapping[QueuePhase, _QueueWords]] = {
    QueuePhase.LAY: _QueueWords("waiting", "card", N_("Lay a blank card on the reader")),
    QueuePhase.WORKING: _QueueWords("working", "again", N_("Leave the card where it is …")),
    QueuePhase.ISSUED: _QueueWords("paid", "check", N_("Issued: take the card away"), "paid"),
    QueuePhase.SAME_AGAIN: _QueueWords("doubt", "again", N_("Lay the same card on again"), "again"),
    QueuePhase.OTHER_CARD: _QueueWords(
        "doubt", "again", N_("That is another card: lay the unfinished one on"), "again"
    ),
    QueuePhase.REFUSED: _QueueWords(
        "refused", "stop", N_("Put this card aside and take another"), "refused"
    ),
    QueuePhase.SKIPPED: _QueueWords("doubt", "right", N_("This member was left out"), "again"),
    QueuePhase.SERVER_AWAY: _QueueWords(
        "doubt", "again", N_("Waiting for the central server; it goes on by itself")
    ),
    QueuePhase.READER_AWAY: _QueueWords(
        "refused", "stop", N_("The card reader is gone."), "refused"
    ),
    QueuePhase.OTHERS_AT_REST: _QueueWords(
        "waiting", "person", N_("Other stations are at all the lines that are left")
    ),
    QueuePhase.FINISHED: _QueueWords("paid", "check", N_("The list is finished"), "paid"),
    QueuePhase.STOPPED: _QueueWords("waiting", "stop", N_("Stopped; it can be gone on with")),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunWords:
    """A run in words. `key` changes with each thing that makes a sound."""

    phase: str
    look: str
    icon: str
    title: str
    sound: str
    key: str
    trouble: DoBMIError | None
    holder: str
    member: int | None
    next_holder: str
    last: str
    done: int
    skipped: int
    total: int
    pace: str
    is_over: bool
    can_skip: bool
    can_take_other: bool


def run_words(run: Run, queue: QueueState | None, voice: Voice) -> RunWords:
    phase = QueuePhase.LAY if queue is None else queue.phase
    words = _QUEUE[phase]
    state = QueueState(phase=phase) if queue is None else queue
    batch, line, last = state.batch, state.line, state.last
    shown = line
    pace = ""
    if state.cards_per_hour is not None and state.seconds_left is not None:
        pace = voice.say(
            N_("{number} cards an hour, {span} left"),
            number=state.cards_per_hour,
            span=voice.span(state.seconds_left),
        )
    is_issued = phase is QueuePhase.ISSUED and last is not None
    return RunWords(
        phase=phase.value,
        look=words.look,
        icon=words.icon,
        title=voice.say(words.title),
        sound=words.sound,
        key=f"{run.number}-{phase.value}-{state.issued_here}-{'' if line is None else line.line}",
        trouble=state.trouble,
        holder=last.name if is_issued and last is not None else "" if shown is None else shown.name,
        member=last.member_number
        if is_issued and last is not None
        else None
        if shown is None
        else shown.member_number,
        next_holder=_next_holder(state, is_issued=is_issued),
        last="" if last is None else f"{last.name} · {issued_words(last, voice)}",
        done=0 if batch is None else batch.issued,
        skipped=0 if batch is None else batch.skipped,
        total=0 if batch is None else batch.lines,
        pace=pace,
        is_over=state.is_over,
        can_skip=phase in {QueuePhase.LAY, QueuePhase.SAME_AGAIN, QueuePhase.OTHER_CARD},
        can_take_other=phase in {QueuePhase.SAME_AGAIN, QueuePhase.OTHER_CARD},
    )


def _next_holder(state: QueueState, *, is_issued: bool) -> str:
    """Whose card is due after the one that is shown."""
    following = state.line if is_issued else state.upcoming
    return "" if following is None else following.name
