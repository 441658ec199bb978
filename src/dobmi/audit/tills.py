"""One till's vouchers, piece by piece: form, signature, chain, acknowledgement, and what was believed.

A piece is a fixed run of sequences. What it was found clean with is kept as a digest over every row
that was read for it, so that a later audit need not check its signatures again.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import cbor2

from dobmi.audit import formats
from dobmi.audit.card_proof import (
    Evidence,
    MacKeys,
    issuer_signed,
    parse_sale,
    vouches,
)
from dobmi.audit.findings import Finding, card_name, finding, voucher_name
from dobmi.audit.formats import (
    DECISION,
    IN_DOUBT,
    PAID,
    REFUND,
    RESOLUTION,
    SALE,
    Acknowledgement,
    Malformed,
    Voucher,
    genesis_hash,
    parse_acknowledgement,
    parse_voucher,
)
from dobmi.audit.source import Source, Values
from dobmi.i18n import N_

PIECE: Final = 1_000
"""Vouchers of a piece: sequences 1 to 1,000, 1,001 to 2,000, and so on."""
_SUSPICIOUS: Final = frozenset(
    {
        "cannot-be-posted",
        "claim-differs",
        "duplicate-counter",
        "implausible-evidence",
        "refund-too-much",
        "refunds-nothing",
        "too-many-doubts",
        "wrong-card-mac",
    }
)
"""Reasons for quarantine that go on the work list with the batch itself; the others soon after."""
OPEN_DOUBTS_MAX: Final = 20
"""Of one card at one till; more are withheld (docs/operations.md)."""


@dataclass(frozen=True, slots=True)
class Keys:
    """What the auditor was given. None or empty: what needs it cannot be checked."""

    mac: MacKeys = field(repr=False)
    server: bytes | None = None
    issuer: bytes | None = None


@dataclass(frozen=True, slots=True)
class Till:
    id: int
    public_key: bytes
    head_sequence: int
    head_hash: bytes


@dataclass(frozen=True, slots=True)
class Word:
    """A believed resolution or decision: voucher `sequence` of the doubt `doubt`, of the same till."""

    uid: bytes
    terminal_id: int
    doubt: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Seen:
    """What an earlier audit saw of a till: how far it checked, and each piece it found clean."""

    head_sequence: int = 0
    head_hash: bytes = b""
    pieces: Mapping[int, tuple[str, tuple[Word, ...]]] = field(default_factory=dict)
    signatures_hold: bool = True
    """Whether signatures up to the head were checked by these same rules."""
    cards_unchanged: bool = True
    """Whether every card that was there then has the same number, member and key version."""


@dataclass(slots=True)
class PieceResult:
    """`digest` is empty unless it is clean and full. `unrecorded`: (card, sequence) of believed
    vouchers for which there is no row; the card's own audit says so.
    """

    terminal_id: int
    first: int
    findings: list[Finding] = field(default_factory=list)
    vouchers: int = 0
    signatures: int = 0
    digest: str = ""
    words: list[Word] = field(default_factory=list)
    unrecorded: list[tuple[bytes, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class CardFacts:
    """A row of `cards`, as far as vouchers are judged by it."""

    uid: bytes
    serial: int
    member: int
    mac_version: int
    registered_at: int
    expires_on_day: int


def audit_till(
    source: Source, till: Till, numbers: Sequence[int], keys: Keys, seen: Seen
) -> list[PieceResult]:
    """The pieces `numbers` (0 is sequences 1 to PIECE) of one till."""
    acks = _acknowledgements(source, till)
    listed = frozenset(
        source.rows("SELECT kind, subject FROM anomalies WHERE terminal_id = :till", till=till.id)
    )
    return [
        _Piece(source, till, number, keys=keys, seen=seen, acks=acks, listed=listed).run()
        for number in numbers
    ]


@dataclass(frozen=True, slots=True)
class _Acks:
    """A till's acknowledgements: raw rows, what could be read, and when each sequence first came."""

    rows: tuple[Values, ...]
    read: tuple[Acknowledgement | None, ...]

    def covering(self, received: Mapping[int, int]) -> dict[int, Acknowledgement]:
        """Of each sequence the acknowledgement that it came with: given when it was received."""
        given: dict[int, list[Acknowledgement]] = defaultdict(list)
        for ack in self.read:
            if ack is not None:
                given[ack.at].append(ack)
        covering = {}
        for sequence, received_at in received.items():
            fitting = [a for a in given.get(received_at, ()) if a.head_sequence >= sequence]
            if fitting:
                covering[sequence] = min(fitting, key=lambda ack: ack.head_sequence)
        return covering


def _acknowledgements(source: Source, till: Till) -> _Acks:
    rows = source.rows(
        "SELECT batch_hash, acknowledgement, received_at FROM batches"
        " WHERE terminal_id = :till ORDER BY received_at, batch_hash",
        till=till.id,
    )
    read: list[Acknowledgement | None] = []
    for _, encoded, _ in rows:
        try:
            read.append(parse_acknowledgement(encoded))
        except Malformed:
            read.append(None)
    return _Acks(tuple(rows), tuple(read))


class _Piece:
    """One piece, one look."""

    def __init__(
        self,
        source: Source,
        till: Till,
        number: int,
        *,
        keys: Keys,
        seen: Seen,
        acks: _Acks,
        listed: frozenset[Values],
    ) -> None:
        self.source, self.till, self.keys, self.seen, self.acks = source, till, keys, seen, acks
        self.listed = listed
        """(kind, subject) of the till's findings on the work list."""
        self.first = number * PIECE + 1
        self.last = self.first + PIECE - 1
        self.result = PieceResult(till.id, self.first)
        self.vouchers: dict[int, Voucher] = {}
        self.broken: set[int] = set()
        """Sequences at which something was found that explains what follows from it."""

    def run(self) -> PieceResult:
        self._read()
        digest = self._digest()
        known = self.seen.pieces.get(self.first)
        if known is not None and known[0] == digest and self.seen.cards_unchanged:
            self.result.digest, words = known
            self.result.words = list(words)
            self.result.vouchers = len(self.rows)
            return self.result
        self._parse()
        self._check_chain()
        self._check_acknowledgements()
        for sequence in sorted(self.vouchers):
            self._check_voucher(self.vouchers[sequence])
        self._check_strays()
        self._check_listed()
        if not self.result.findings and self.last <= self.till.head_sequence:
            self.result.digest = digest
        return self.result

    def _say(
        self,
        rule: str,
        sequence: int,
        message: str,
        amount: int | None = None,
        /,
        **facts: str | int,
    ) -> None:
        row = voucher_name(self.till.id, sequence)
        self.result.findings.append(finding(rule, row, message, amount, **facts))

    # What is read

    def _read(self) -> None:
        reach = {"till": self.till.id, "first": self.first, "last": self.last}
        self.rows = self.source.rows(
            "SELECT sequence, received_at, encoded FROM vouchers WHERE terminal_id = :till"
            " AND sequence BETWEEN :first - 1 AND :last ORDER BY sequence, received_at",
            **reach,
        )
        self.before: Values | None = None
        if self.rows and self.rows[0][0] == self.first - 1:
            self.before = self.rows[0]
            self.rows = [row for row in self.rows if row[0] >= self.first]
        self.quarantine = {
            row[0]: (row[1], row[2])
            for row in self.source.rows(
                "SELECT sequence, reason, received_at FROM quarantine"
                " WHERE terminal_id = :till AND sequence BETWEEN :first AND :last",
                **reach,
            )
        }
        self.transactions = {
            (row[0], row[1]): row[2]
            for row in self.source.rows(
                "SELECT sequence, card_uid, counter FROM card_transactions"
                " WHERE terminal_id = :till AND sequence BETWEEN :first AND :last"
                " ORDER BY sequence, card_uid",
                **reach,
            )
        }
        self.doubts = {
            row[0]: row
            for row in self.source.rows(
                "SELECT sequence, card_uid, amount_rupiah, evidence, at FROM in_doubt"
                " WHERE terminal_id = :till AND sequence BETWEEN :first AND :last"
                " ORDER BY sequence",
                **reach,
            )
        }
        self.refunds = {
            row[0]: row
            for row in self.source.rows(
                "SELECT sequence, sale_sequence, card_uid, amount_rupiah, reason, supervisor, at"
                " FROM refunds WHERE terminal_id = :till AND sequence BETWEEN :first AND :last"
                " ORDER BY sequence",
                **reach,
            )
        }
        self.decisions = {
            row[1]: row
            for row in self.source.rows(
                "SELECT sequence, voucher_sequence, paid, decided_by, reason, at"
                " FROM doubt_decisions WHERE terminal_id = :till"
                " AND voucher_sequence BETWEEN :first AND :last ORDER BY voucher_sequence",
                **reach,
            )
        }

    def _parse(self) -> None:
        first: dict[int, Values] = {}
        for row in self.rows:  # by number, and by when they came
            if row[0] in first:
                self._say("VOUCHER-PLACE", row[0], N_("There are two vouchers of that number."))
            else:
                first[row[0]] = row
        self.rows = list(first.values())
        for sequence, _, encoded in self.rows:
            try:
                self.vouchers[sequence] = parse_voucher(encoded)
            except Malformed as error:
                self._say(
                    "VOUCHER-FORM", sequence, N_("It cannot be read: {detail}."), detail=str(error)
                )
                self.broken.add(sequence)
        uids = sorted({voucher.uid for voucher in self.vouchers.values()})
        self.cards = {
            row[0]: CardFacts(*row)
            for row in self.source.of(
                "SELECT uid, serial, member_number, mac_key_version, registered_at, expires_on_day"
                " FROM cards"
                " WHERE uid IN :keys ORDER BY uid",
                uids,
            )
        }

    def _digest(self) -> str:
        """Over everything that was read for this piece."""
        within = [
            row
            for row, ack in zip(self.acks.rows, self.acks.read, strict=True)
            if ack is not None and self.first <= ack.head_sequence <= self.last
        ]
        self.covering = self.acks.covering({row[0]: row[1] for row in reversed(self.rows)})
        taken = sorted({(ack.at, ack.head_sequence) for ack in self.covering.values()})
        read = [
            [self.till.id, self.till.public_key, None if self.before is None else self.before[2]],
            self.rows,
            sorted(self.quarantine.items()),
            [[*key, counter] for key, counter in self.transactions.items()],
            list(self.doubts.values()),
            list(self.refunds.values()),
            [[*row[:2], bool(row[2]), *row[3:]] for row in self.decisions.values()],
            within,
            taken,
            [sequence for sequence in sorted(self.quarantine) if not self._is_listed(sequence)],
        ]
        return hashlib.sha256(cbor2.dumps(read)).hexdigest()

    def _is_listed(self, sequence: int) -> bool:
        """Or need not be."""
        reason = self.quarantine[sequence][0]
        return reason not in _SUSPICIOUS or (reason, f"{self.till.id}/{sequence}") in self.listed

    def _check_listed(self) -> None:
        said = {one.row for one in self.result.findings}
        for sequence in sorted(self.quarantine):
            if not self._is_listed(sequence) and voucher_name(self.till.id, sequence) not in said:
                voucher = self.vouchers.get(sequence)
                self._say(
                    "ANOMALY",
                    sequence,
                    N_("It is withheld as {reason}, and nobody is told."),
                    None if voucher is None else voucher.amount,
                    reason=self.quarantine[sequence][0],
                )

    # The chain

    def _check_chain(self) -> None:
        self._check_gaps()
        self._check_seen()
        unchecked_from = self._already_signed() + 1
        previous_hash = self._start()
        at_sequence = self.first - 1
        for sequence, _, encoded in self.rows:
            voucher = self.vouchers.get(sequence)
            if voucher is None:
                previous_hash, at_sequence = b"", sequence
                continue
            if (voucher.terminal_id, voucher.sequence) != (self.till.id, sequence):
                self.broken.add(sequence)
                self._say(
                    "VOUCHER-PLACE",
                    sequence,
                    N_("The voucher says that it is number {sequence} of till {terminal_id}."),
                    voucher.amount,
                    sequence=voucher.sequence,
                    terminal_id=voucher.terminal_id,
                )
            if sequence >= unchecked_from:
                self.result.signatures += 1
                if not voucher.signed.is_by(self.till.public_key):
                    self.broken.add(sequence)
                    self._say(
                        "VOUCHER-SIGNATURE",
                        sequence,
                        N_("It is not signed by its till, or was changed since."),
                        voucher.amount,
                    )
            follows = at_sequence == sequence - 1 and previous_hash
            if follows and voucher.previous_hash != previous_hash:
                if sequence - 1 not in self.broken:
                    self._say(
                        "CHAIN",
                        sequence,
                        N_("It does not hold the hash of the voucher before it."),
                        voucher.amount,
                    )
                self.broken.add(sequence - 1)
            previous_hash, at_sequence = hashlib.sha256(encoded).digest(), sequence
            self.result.vouchers += 1

    def _start(self) -> bytes:
        """The hash before the piece's first voucher; empty if that voucher is not there."""
        if self.first == 1:
            return genesis_hash(self.till.id, self.till.public_key)
        return b"" if self.before is None else hashlib.sha256(self.before[2]).digest()

    def _check_gaps(self) -> None:
        there = {row[0] for row in self.rows}
        missing = [
            sequence
            for sequence in range(self.first, min(self.last, self.till.head_sequence) + 1)
            if sequence not in there
        ]
        for sequence in missing:
            self.broken.add(sequence)
            self._say("VOUCHER-MISSING", sequence, N_("It is not there, and later ones are."))
        beyond = [sequence for sequence in there if sequence > self.till.head_sequence]
        if beyond:
            self._say(
                "CHAIN-HEAD",
                max(beyond),
                N_("Number {head} is noted as the till's newest voucher."),
                head=self.till.head_sequence,
            )
        head = self.till.head_sequence
        if head in there and not beyond:
            newest = next(row[2] for row in self.rows if row[0] == head)
            if (
                hashlib.sha256(newest).digest() != self.till.head_hash
                and head not in self.broken
                and (v := self.vouchers.get(head)) is not None
                and v.signed.is_by(self.till.public_key)
            ):
                self._say("CHAIN-HEAD", head, N_("Its hash is not the one noted for its till."))
        elif head == 0 and self.first == 1:
            genesis = genesis_hash(self.till.id, self.till.public_key)
            if self.till.head_hash != genesis:
                self._say("CHAIN-HEAD", 0, N_("Its hash is not the one noted for its till."))

    def _check_seen(self) -> None:
        """The voucher that was the till's newest at the last audit is still the same."""
        seen = self.seen
        for sequence, _, encoded in self.rows:
            if sequence != seen.head_sequence or sequence in self.broken:
                continue
            same = hashlib.sha256(encoded).digest() == seen.head_hash
            voucher = self.vouchers.get(sequence)
            if not same and voucher is not None and voucher.signed.is_by(self.till.public_key):
                self._say("SINCE", sequence, N_("The last audit saw another voucher there."))

    def _already_signed(self) -> int:
        """Up to which voucher an earlier audit's signature checks hold: its head, if still the same.

        One hash commits to all before it, so it is enough that the chain leads there.
        """
        seen = self.seen
        if not seen.signatures_hold:
            return 0
        if not self.first <= seen.head_sequence <= self.last:
            return self.first - 1 if seen.head_sequence < self.first else 0
        before = self._start()
        for sequence, _, encoded in self.rows:
            voucher = self.vouchers.get(sequence)
            if voucher is None or voucher.previous_hash != before:
                return 0
            before = hashlib.sha256(encoded).digest()
            if sequence == seen.head_sequence:
                return sequence if before == seen.head_hash else 0
        return 0

    # Acknowledgements

    def _check_acknowledgements(self) -> None:
        for row, ack in zip(self.acks.rows, self.acks.read, strict=True):
            name = f"batch {row[0].hex()}"
            if ack is None:
                if self.first == 1:
                    self.result.findings.append(
                        finding("ACK", name, N_("The acknowledgement cannot be read."))
                    )
                continue
            if self.first <= ack.head_sequence <= self.last:
                wrong = self._wrong_in(row, ack)
                if wrong:
                    self.result.findings.append(
                        finding("ACK", name, wrong, sequence=ack.head_sequence)
                    )
        for sequence, received_at, _ in self.rows:
            if sequence in self.broken:
                continue
            if sequence not in self.covering:
                self._say(
                    "ACK-MISSING",
                    sequence,
                    N_("It is noted as received at {noted}; no acknowledgement of then has it."),
                    noted=received_at,
                )

    def _wrong_in(self, row: Values, ack: Acknowledgement) -> str:
        if self.keys.server is not None and not ack.signed.is_by(self.keys.server):
            return N_("The acknowledgement is not signed by the server.")
        if (ack.terminal_id, ack.batch_hash, ack.at) != (self.till.id, row[0], row[2]):
            return N_("The acknowledgement is of another batch.")
        head = [r[2] for r in self.rows if r[0] == ack.head_sequence]
        if ack.head_sequence not in self.broken and (
            not head or hashlib.sha256(head[0]).digest() != ack.head_hash
        ):
            return N_("The acknowledgement names voucher {sequence}, and another one is kept.")
        for sequence, reason in ack.quarantined:
            if not self.first <= sequence <= self.last or sequence in self.broken:
                continue
            if self.quarantine.get(sequence, ("", 0))[0] != reason:
                self._say(
                    "QUARANTINE",
                    sequence,
                    N_(
                        "The till was told that it is withheld ({reason}); it is not, or otherwise."
                    ),
                    reason=reason,
                )
                self.broken.add(sequence)
        return ""

    # What was believed

    def _check_voucher(self, voucher: Voucher) -> None:
        sequence = voucher.sequence
        if sequence in self.broken or not self.first <= sequence <= self.last:
            return
        withheld = self.quarantine.get(sequence)
        judged = self._judge(voucher, withheld)
        if withheld is not None:
            self._check_withheld(voucher, withheld, judged)
            return
        if judged == _NO_CARD:
            self.result.findings.append(
                finding(
                    "CARD-MISSING",
                    card_name(voucher.uid),
                    N_("Vouchers of this card were believed; there is no such card."),
                )
            )
            return
        if judged:
            rule = "CARD-MAC" if judged == "wrong-card-mac" else "BELIEVED"
            self._say(
                rule,
                sequence,
                N_("It is believed, and should be withheld: {reason}."),
                voucher.amount,
                reason=judged,
            )
            return
        self._check_rows(voucher)

    def _check_withheld(self, voucher: Voucher, withheld: tuple[str, int], judged: str) -> None:
        reason, received_at = withheld
        ack = self.covering.get(voucher.sequence)
        told = ack is None or (voucher.sequence, reason) in ack.quarantined
        if not told or (judged and judged != reason):
            self._say(
                "QUARANTINE",
                voucher.sequence,
                N_("It is withheld as {reason}; true is: {true}."),
                voucher.amount,
                reason=reason,
                true=judged or "none",
            )
        elif not judged:
            self._say(
                "QUARANTINE",
                voucher.sequence,
                N_("It is withheld as {reason}, and nothing is wrong with it."),
                voucher.amount,
                reason=reason,
            )
        elif ack is not None and received_at != ack.at:
            self._say(
                "ACK-MISSING",
                voucher.sequence,
                N_("It is noted as received at {noted}; acknowledged at {at}."),
                noted=received_at,
                at=ack.at,
            )

    def _judge(self, voucher: Voucher, withheld: tuple[str, int] | None) -> str:
        """Why it may not be believed, as the server names it; empty if it may.

        What rests on keys that the auditor has not been given, or on the order in which things
        came, is taken to be as the server found it.
        """
        card = self.cards.get(voucher.uid)
        reason = "" if withheld is None else withheld[0]
        if card is None:
            return _NO_CARD
        if reason == _NO_CARD and withheld is not None and card.registered_at >= withheld[1]:
            return reason
        if voucher.kind in (SALE, IN_DOUBT):
            return self._judge_intent(voucher, card, reason)
        if voucher.kind in (RESOLUTION, DECISION):
            return self._judge_word(voucher, card, reason)
        if voucher.kind == REFUND:
            return self._judge_refund(voucher)
        return ""

    def _judge_intent(  # noqa: PLR0911 - a reason a line
        self, voucher: Voucher, card: CardFacts, reason: str
    ) -> str:
        try:
            evidence = parse_sale(voucher.evidence)
        except Malformed:
            return "implausible-evidence"
        if (
            evidence.reader != (voucher.terminal_id, voucher.sequence)
            or evidence.amount != voucher.amount
            or evidence.amount <= 0
        ):
            return "claim-differs"
        if (evidence.member, evidence.serial) != (card.member, card.serial):
            if reason == "claim-differs" or not self._is_holder(evidence, card.uid):
                return "claim-differs"
            self.result.findings.append(
                finding(
                    "CARD-ROW",
                    card_name(card.uid),
                    N_(
                        "On record: member {member}, serial {serial}; signed: {signed_member}, {signed_serial}."
                    ),
                    member=card.member,
                    serial=card.serial,
                    signed_member=evidence.member,
                    signed_serial=evidence.serial,
                )
            )
        elif evidence.expires != card.expires_on_day and self._is_holder(evidence, card.uid):
            self.result.findings.append(
                finding(
                    "CARD-ROW",
                    card_name(card.uid),
                    N_("On record its last day is number {day} since 1970; signed is {signed}."),
                    day=card.expires_on_day,
                    signed=evidence.expires,
                )
            )
        if voucher.kind == IN_DOUBT:
            return self._judge_number_of_doubts(voucher, reason)
        cmac = self.keys.mac.of_card(card.uid, card.mac_version)
        if cmac is None:
            return reason if reason in {"wrong-card-mac", "duplicate-counter"} else ""
        assert voucher.counter is not None, "a sale has its counter"
        if not vouches(cmac, card.uid, voucher.counter, voucher.mac, voucher.evidence):
            return "wrong-card-mac"
        if reason == "duplicate-counter" and self._is_taken(voucher, voucher.sequence):
            return reason
        return ""

    def _is_holder(self, evidence: Evidence, uid: bytes) -> bool:
        return self.keys.issuer is None or issuer_signed(evidence.holder, uid, self.keys.issuer)

    def _is_taken(self, voucher: Voucher, own: int) -> bool:
        """Whether another sale is on record as the card's transaction of that number."""
        other = self.source.one(
            "SELECT terminal_id, sequence FROM card_transactions"
            " WHERE card_uid = :uid AND counter = :counter",
            uid=voucher.uid,
            counter=voucher.counter,
        )
        return other is not None and other != (voucher.terminal_id, own)

    def _judge_number_of_doubts(self, voucher: Voucher, reason: str) -> str:
        if reason != "too-many-doubts":
            return ""
        row = self.source.one(
            "SELECT count(*) FROM in_doubt WHERE terminal_id = :till AND card_uid = :uid"
            " AND sequence < :sequence",
            till=voucher.terminal_id,
            uid=voucher.uid,
            sequence=voucher.sequence,
        )
        return reason if row is not None and row[0] >= OPEN_DOUBTS_MAX else ""

    def _judge_word(  # noqa: PLR0911 - a reason a line
        self, voucher: Voucher, card: CardFacts, reason: str
    ) -> str:
        doubt = self._earlier(voucher.refers)
        if doubt is None:
            return reason  # it is missing or broken, which is said of it
        of, believed = doubt
        if of.kind != IN_DOUBT or not believed or of.uid != voucher.uid:
            return "resolves-nothing"
        if voucher.kind == DECISION:
            earlier = self.source.one(
                "SELECT voucher_sequence FROM doubt_decisions"
                " WHERE terminal_id = :till AND sequence = :doubt AND voucher_sequence < :own",
                till=self.till.id,
                doubt=voucher.refers,
                own=voucher.sequence,
            )
            return "decided-already" if earlier is not None else ""
        if voucher.counter is None:
            return ""
        cmac = self.keys.mac.of_card(card.uid, card.mac_version)
        if cmac is None:
            return reason if reason in {"wrong-card-mac", "duplicate-counter"} else ""
        if not vouches(cmac, card.uid, voucher.counter, voucher.mac, of.evidence):
            return "wrong-card-mac"
        if reason == "duplicate-counter" and self._is_taken(voucher, voucher.refers):
            return reason
        return ""

    def _judge_refund(self, voucher: Voucher) -> str:
        sale = self._earlier(voucher.refers)
        if sale is None:
            return str(self.quarantine.get(voucher.sequence, ("", 0))[0])
        of, believed = sale
        if of.kind not in (SALE, IN_DOUBT) or not believed:
            return "refunds-nothing"
        if of.uid != voucher.uid:
            return "claim-differs"
        before = sum(
            one.amount or 0
            for sequence, one in self.vouchers.items()
            if one.kind == REFUND
            and one.refers == voucher.refers
            and sequence < voucher.sequence
            and sequence not in self.quarantine
        )
        row = self.source.one(
            "SELECT sum(amount_rupiah) FROM refunds WHERE terminal_id = :till"
            " AND sale_sequence = :sale AND sequence < :first",
            till=self.till.id,
            sale=voucher.refers,
            first=self.first,
        )
        before += int(row[0] or 0) if row is not None else 0
        assert of.amount is not None, "a sale has an amount"
        assert voucher.amount is not None, "a refund has an amount"
        return "refund-too-much" if before + voucher.amount > of.amount else ""

    def _earlier(self, sequence: int) -> tuple[Voucher, bool] | None:
        """An earlier voucher of the till and whether it was believed; None if it is not there."""
        if sequence >= self.first:
            voucher = self.vouchers.get(sequence)
            if voucher is None or sequence in self.broken:
                return None
            return voucher, sequence not in self.quarantine
        row = self.source.one(
            "SELECT encoded FROM vouchers WHERE terminal_id = :till AND sequence = :sequence",
            till=self.till.id,
            sequence=sequence,
        )
        withheld = self.source.one(
            "SELECT reason FROM quarantine WHERE terminal_id = :till AND sequence = :sequence",
            till=self.till.id,
            sequence=sequence,
        )
        try:
            return None if row is None else (parse_voucher(row[0]), withheld is None)
        except Malformed:
            return None

    # The rows made of believed vouchers

    def _check_rows(self, voucher: Voucher) -> None:
        sequence = voucher.sequence
        match voucher.kind:
            case formats.SALE:
                if (sequence, voucher.uid) not in self.transactions:
                    self.result.unrecorded.append((voucher.uid, sequence))
            case formats.IN_DOUBT:
                kept = self.doubts.get(sequence)
                self._compare(
                    "DOUBT-ROW",
                    voucher,
                    None if kept is None else kept[1:],
                    (voucher.uid, voucher.amount, voucher.evidence, voucher.at),
                )
            case formats.REFUND:
                kept = self.refunds.get(sequence)
                self._compare(
                    "REFUND-ROW",
                    voucher,
                    None if kept is None else kept[1:],
                    (
                        voucher.refers,
                        voucher.uid,
                        voucher.amount,
                        voucher.reason,
                        voucher.supervisor,
                        voucher.at,
                    ),
                )
            case formats.DECISION:
                kept = self.decisions.get(sequence)
                self._compare(
                    "DECISION-ROW",
                    voucher,
                    None if kept is None else (kept[0], bool(kept[2]), *kept[3:]),
                    (
                        voucher.refers,
                        voucher.outcome == PAID,
                        voucher.supervisor,
                        voucher.reason,
                        voucher.at,
                    ),
                )
                self.result.words.append(
                    Word(voucher.uid, self.till.id, voucher.refers, voucher.sequence)
                )
            case formats.RESOLUTION:
                self.result.words.append(
                    Word(voucher.uid, self.till.id, voucher.refers, voucher.sequence)
                )
            case _:
                pass  # a void leaves no row

    def _compare(self, rule: str, voucher: Voucher, kept: Values | None, told: Values) -> None:
        if kept is None:
            message = N_("The voucher is there, and what was kept of it is not.")
            self._say(rule, voucher.sequence, message, voucher.amount)
        elif tuple(kept) != told:
            message = N_("What was kept of it differs from the voucher.")
            self._say(rule, voucher.sequence, message, voucher.amount)

    def _check_strays(self) -> None:
        """Rows that speak of vouchers which are not there, or not of that kind, or withheld."""
        kinds = (
            ("DOUBT-ROW", IN_DOUBT, {s: row[2] for s, row in self.doubts.items()}),
            ("REFUND-ROW", REFUND, {s: row[3] for s, row in self.refunds.items()}),
            ("DECISION-ROW", DECISION, dict.fromkeys(self.decisions)),
        )
        for rule, kind, kept in kinds:
            for sequence, amount in kept.items():
                voucher = self.vouchers.get(sequence)
                if sequence in self.broken:
                    continue
                if voucher is None or voucher.kind != kind or sequence in self.quarantine:
                    self._say(
                        rule, sequence, N_("It is kept, and no believed voucher says so."), amount
                    )
        for sequence in self.quarantine:
            if sequence not in self.vouchers and sequence not in self.broken:
                self._say(
                    "QUARANTINE", sequence, N_("It is withheld, and there is no such voucher.")
                )


_NO_CARD: Final = "unknown-card"
