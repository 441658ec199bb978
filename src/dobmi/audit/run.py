"""One audit, from opening the database to the list of findings; spread over processes."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from typing import Final, Protocol

from dobmi.audit import days
from dobmi.audit.books import Seller, Surroundings
from dobmi.audit.card_proof import MacKeys, Reader
from dobmi.audit.cards import CardResult, Known, audit_cards
from dobmi.audit.days import DayResult, Head
from dobmi.audit.errors import StateOfAnother
from dobmi.audit.findings import Finding, card_name, finding, ordered, voucher_name
from dobmi.audit.ledger import (
    Totals,
    check_block_list,
    check_orphans,
    check_totals,
    totals_of,
    unsettled_cards,
)
from dobmi.audit.offices import check_offices
from dobmi.audit.rules import ISSUER_KEY, MAC_KEY, RULES, SERVER_KEY
from dobmi.audit.runs import check_runs, papers
from dobmi.audit.source import Place, Replica, Source, open_place, open_snapshot
from dobmi.audit.staff import check_staff
from dobmi.audit.state import State, fingerprint
from dobmi.audit.tills import PIECE, Keys, PieceResult, Seen, Till, Word, audit_till
from dobmi.central.posting_rules import Group
from dobmi.i18n import N_

_PIECES_A_TASK: Final = 5
_TASKS_A_TILL: Final = 8
"""Each reads all acknowledgements of its till, so that there must not be more of them with the years."""
_CARDS_A_TASK: Final = 200
_WORTH_PROCESSES: Final = 5_000
"""Vouchers from which on starting processes takes less time than it saves."""

TILLS, CARDS, DAYS = N_("Vouchers"), N_("Cards"), N_("Days")


class Progress(Protocol):
    """Told how far an audit is. `total` may be told again as more is found."""

    def __call__(self, step: str, done: int, total: int) -> None: ...


def _silent(step: str, done: int, total: int) -> None:
    """Nobody watches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What was found, and what was looked at. `unchecked`: rules for which a key was not given.

    `replica`: where it was looked at on one, which may have lacked the newest.
    """

    findings: tuple[Finding, ...]
    unchecked: tuple[str, ...]
    tills: int
    vouchers: int
    signatures: int
    cards: int
    transactions: int
    postings: int
    closed_days: int
    totals: Totals
    replica: Replica | None
    state: State = field(repr=False)


@dataclass(frozen=True, slots=True)
class _TillTask:
    till: Till
    pieces: tuple[int, ...]
    seen: Seen

    def run(self, source: Source, keys: Keys) -> list[PieceResult]:
        return audit_till(source, self.till, self.pieces, keys, self.seen)


@dataclass(frozen=True, slots=True)
class _CardTask:
    uids: tuple[bytes, ...]
    around: Surroundings
    words: Mapping[bytes, Sequence[Word]]
    unrecorded: Mapping[bytes, Sequence[Reader]]
    known: Mapping[bytes, Known]

    def run(self, source: Source, keys: Keys) -> list[CardResult]:
        return audit_cards(
            source,
            self.uids,
            self.around,
            keys,
            words=self.words,
            unrecorded=self.unrecorded,
            known=self.known,
        )


@dataclass(frozen=True, slots=True)
class _DayTask:
    head: Head

    def run(self, source: Source, keys: Keys) -> list[DayResult]:  # noqa: ARG002 - as the others
        return [days.audit_day(source, self.head)]


_Task = _TillTask | _CardTask | _DayTask


def audit(
    url: str,
    keys: Keys,
    *,
    since: State | None = None,
    processes: int | None = None,
    progress: Progress = _silent,
) -> Audit:
    """Audit the database of this SQLAlchemy URL. `since`: what an earlier audit saw of it.

    `processes`: by default as many as there are cores, or just this one for a small ledger. Raises
    DatabaseNotReadable, DatabaseChanged, StateOfAnother.
    """
    with open_snapshot(url) as (source, place):
        return _Audit(
            source, place, keys, since=since or State(), processes=processes, progress=progress
        ).run()


def shares(pieces: Sequence[int]) -> list[tuple[int, ...]]:
    """A till's pieces in tasks."""
    each = max(_PIECES_A_TASK, -(-len(pieces) // _TASKS_A_TILL))
    return [tuple(pieces[start : start + each]) for start in range(0, len(pieces), each)]


class _Audit:
    """One run over one snapshot."""

    def __init__(
        self,
        source: Source,
        place: Place,
        keys: Keys,
        *,
        since: State,
        processes: int | None,
        progress: Progress,
    ) -> None:
        self.source, self.place, self.keys, self.progress = source, place, keys, progress
        self.since = since.usable_with(keys)
        self.processes = processes
        self.findings: list[Finding] = []

    def run(self) -> Audit:
        replica = self.source.replica()
        self._read_tills()
        self.heads = days.read_heads(self.source)
        with ExitStack() as stack:
            self.work = self._workers(stack)
            pieces = self._audit_tills()
            cards = self._audit_cards(pieces)
            closed = self._audit_days()
        totals = totals_of(self.source)
        self.findings += check_orphans(self.source)
        self.findings += check_block_list(self.source)
        about_no_card, their_totals = check_offices(self.source)
        self.findings += about_no_card
        self.findings += check_runs(self.source)
        self.findings += check_staff(self.source)
        self.findings += check_totals(totals, [their_totals, *(card.totals for card in cards)])
        self._compare_with_before(cards)
        return Audit(
            findings=tuple(ordered(self.findings)),
            unchecked=self._unchecked(),
            tills=len(self.tills),
            vouchers=sum(piece.vouchers for piece in pieces),
            signatures=sum(piece.signatures for piece in pieces),
            cards=len(cards),
            transactions=sum(card.transactions for card in cards),
            postings=sum(count for count, _ in totals.by_kind.values()),
            closed_days=len(closed),
            totals=totals,
            replica=replica,
            state=self._state(pieces, cards),
        )

    # Tills

    def _read_tills(self) -> None:
        rows = self.source.rows(
            "SELECT t.id, t.public_key, t.head_sequence, t.head_hash, s.kind, s.id FROM terminals t"
            " LEFT JOIN sellers s ON s.id = t.seller_id ORDER BY t.id"
        )
        self.tills = [Till(*row[:4]) for row in rows]
        self.sellers = {row[0]: Seller(row[2], _group_of(row[4]), row[5] or 0) for row in rows}
        for till in self.tills:
            known = self.since.public_keys.get(till.id)
            if known is not None and known != till.public_key:
                raise StateOfAnother(path="--since", terminal_id=till.id)

    def _audit_tills(self) -> list[PieceResult]:
        newest: dict[int, int] = dict(
            self.source.rows("SELECT terminal_id, max(sequence) FROM vouchers GROUP BY terminal_id")
        )
        tasks = []
        total = 0
        same_cards = self._same_cards()
        for till in self.tills:
            last = max(till.head_sequence, newest.get(till.id, 0))
            total += last
            numbers = range(-(-last // PIECE) or 1)
            seen = replace(self.since.tills.get(till.id, Seen()), cards_unchanged=same_cards)
            if last < seen.head_sequence:
                self.findings.append(
                    finding(
                        "SINCE",
                        voucher_name(till.id, seen.head_sequence),
                        N_("The last audit saw it; the till's newest is now {newest}."),
                        newest=last,
                    )
                )
            tasks += [_TillTask(till, part, seen) for part in shares(numbers)]
        pieces: list[PieceResult] = []
        done = 0
        self.progress(TILLS, 0, total)
        for results in self.work(tasks):
            for piece in results:
                assert isinstance(piece, PieceResult), "tills' tasks give pieces"
                pieces.append(piece)
                self.findings += piece.findings
                done += piece.vouchers
            self.progress(TILLS, done, total)
        return pieces

    def _same_cards(self) -> bool:
        """Whether no card of an earlier audit is another now: vouchers are judged by them."""
        identities = {
            row[0]: list(row[1:])
            for row in self.source.rows(
                "SELECT uid, serial, member_number, mac_key_version, expires_on_day FROM cards"
            )
        }
        self.identities = identities
        return all(
            list(known.identity) == identities.get(uid) for uid, known in self.since.cards.items()
        )

    # Cards

    def _audit_cards(self, pieces: Sequence[PieceResult]) -> list[CardResult]:
        words: dict[bytes, list[Word]] = defaultdict(list)
        unrecorded: dict[bytes, list[Reader]] = defaultdict(list)
        for piece in pieces:
            for word in piece.words:
                words[word.uid].append(word)
            for uid, sequence in piece.unrecorded:
                unrecorded[uid].append((piece.terminal_id, sequence))
        around = Surroundings(
            terminals=self.sellers,
            closed_days=days.sealed_days(self.source),
            unsettled=unsettled_cards(self.source),
        )
        uids = [row[0] for row in self.source.rows("SELECT uid FROM cards ORDER BY uid")]
        tasks = []
        for start in range(0, len(uids), _CARDS_A_TASK):
            part = tuple(uids[start : start + _CARDS_A_TASK])
            tasks.append(
                _CardTask(
                    part,
                    around,
                    {uid: words[uid] for uid in part if uid in words},
                    {uid: unrecorded[uid] for uid in part if uid in unrecorded},
                    {uid: self.since.cards[uid] for uid in part if uid in self.since.cards},
                )
            )
        cards: list[CardResult] = []
        self.progress(CARDS, 0, len(uids))
        for results in self.work(tasks):
            for card in results:
                assert isinstance(card, CardResult), "cards' tasks give cards"
                cards.append(card)
                self.findings += card.findings
            self.progress(CARDS, len(cards), len(uids))
        return cards

    # Days

    def _audit_days(self) -> list[DayResult]:
        self.findings += days.check_chain(self.heads, self.keys.server)
        done: list[DayResult] = []
        self.progress(DAYS, 0, len(self.heads))
        for results in self.work([_DayTask(head) for head in self.heads]):
            for day in results:
                assert isinstance(day, DayResult), "days' tasks give days"
                done.append(day)
                self.findings += day.findings
            self.progress(DAYS, len(done), len(self.heads))
        self.findings += days.check_heads(done, self.findings)
        return done

    # The earlier audit

    def _compare_with_before(self, cards: Sequence[CardResult]) -> None:
        there = {card.uid for card in cards}
        for uid in sorted(self.since.cards.keys() - there):
            message = N_("The last audit saw it; it is not on record any more.")
            self.findings.append(finding("SINCE", card_name(uid), message))
        for terminal_id in sorted(self.since.tills.keys() - {till.id for till in self.tills}):
            message = N_("The last audit saw it; it is not on record any more.")
            self.findings.append(finding("SINCE", f"till {terminal_id}", message))
        hashes = {head.day: head.hash for head in self.heads}
        for day, hash_ in sorted(self.since.days.items()):
            if hashes.get(day) != hash_:
                message = N_("The last audit saw this day closed otherwise.")
                self.findings.append(finding("SINCE", days.day_name(day), message))
        self.papers = papers(self.source)
        for name, digest in sorted(self.since.papers.items()):
            if self.papers.get(name) != digest:
                message = N_("The last audit saw it, and it is gone or was changed since.")
                self.findings.append(finding("SINCE", name, message))

    def _state(self, pieces: Sequence[PieceResult], cards: Sequence[CardResult]) -> State:
        clean: dict[int, dict[int, tuple[str, tuple[Word, ...]]]] = defaultdict(dict)
        wrong = set()
        for piece in pieces:
            if piece.digest:
                clean[piece.terminal_id][piece.first] = (piece.digest, tuple(piece.words))
            if piece.findings:
                wrong.add(piece.terminal_id)
        return State(
            {till.id: till.public_key for till in self.tills},
            {
                till.id: self.since.tills.get(till.id, Seen())
                if till.id in wrong
                else Seen(till.head_sequence, till.head_hash, clean[till.id])
                for till in self.tills
            },
            {
                card.uid: Known(
                    card.counter,
                    card.balance,
                    card.credits,
                    card.digest,
                    tuple(self.identities[card.uid]),
                )
                for card in cards
            },
            {head.day: head.hash for head in self.heads},
            fingerprint(self.keys),
            self.papers,
        )

    def _unchecked(self) -> tuple[str, ...]:
        held = {
            MAC_KEY: bool(self.keys.mac.masters),
            SERVER_KEY: self.keys.server is not None,
            ISSUER_KEY: self.keys.issuer is not None,
        }
        return tuple(rule.id for rule in RULES if rule.needs and not held[rule.needs])

    # Processes

    def _workers(self, stack: ExitStack) -> Callable[[Sequence[_Task]], Iterator[_Results]]:
        count = self.processes
        if count is None:
            row = self.source.one("SELECT count(*) FROM vouchers")
            small = row is None or row[0] < _WORTH_PROCESSES
            count = 1 if small else len(os.sched_getaffinity(0))
        if count == 1:
            return lambda tasks: (task.run(self.source, self.keys) for task in tasks)
        pool = stack.enter_context(
            ProcessPoolExecutor(
                count,
                mp_context=get_context("spawn"),
                initializer=_start,
                initargs=(
                    self.place,
                    dict(self.keys.mac.masters),
                    self.keys.server,
                    self.keys.issuer,
                ),
            )
        )
        return lambda tasks: _spread(pool, tasks, 4 * count)


_Results = list[PieceResult] | list[CardResult] | list[DayResult]


def _spread(pool: ProcessPoolExecutor, tasks: Sequence[_Task], ahead: int) -> Iterator[_Results]:
    """Results as they come; never more than `ahead` tasks are on their way."""
    waiting: set[Future[_Results]] = set()
    left = iter(tasks)
    while True:
        for task in left:
            waiting.add(pool.submit(_work, task))
            if len(waiting) >= ahead:
                break
        if not waiting:
            return
        done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        for future in done:
            yield future.result()


_stack = ExitStack()
_here: dict[str, object] = {}
"""Of a worker process: its look at the snapshot, and the keys."""


def _start(
    place: Place, masters: dict[int, bytes], server: bytes | None, issuer: bytes | None
) -> None:
    _here["source"] = _stack.enter_context(open_place(place))
    _here["keys"] = Keys(MacKeys(masters), server, issuer)


def _work(task: _Task) -> _Results:
    source, keys = _here["source"], _here["keys"]
    assert isinstance(source, Source), "a worker has its look"
    assert isinstance(keys, Keys), "a worker has the keys"
    return task.run(source, keys)


def _group_of(kind: str | None) -> Group:
    return Group("merchant") if kind == "merchant" else Group.OUTLET
