"""Valid traffic without a card: the MACs are computed with the card's own key, which we know here.

Used by the tests of the central server and by benchmarks/ingest.py. A `ModelCard` keeps what a
real one keeps (balance, counter, last reader id); a `ModelTill` keeps a chain.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dobmi.cardlib.crypto import aes_cbc_encrypt
from dobmi.cardlib.custody import KeyRing
from dobmi.cardlib.purse_layout import (
    CardKey,
    CreditState,
    FileNo,
    Holder,
    LogRecord,
    ReaderId,
    RecordKind,
)
from dobmi.cardlib.transaction_mac import (
    TransactionMac,
    tmi_commit_reader_id,
    tmi_data,
    tmi_value,
    transaction_keys,
    transaction_mac,
)
from dobmi.central.cards import PendingCredit, statement_of
from dobmi.central.conclusions import serve_member
from dobmi.central.credit_orders import order_credit
from dobmi.central.credit_session import note_attempt, post_delivery
from dobmi.central.database import insert_rows, insert_unless_there, next_number, open_database
from dobmi.central.schema import CardState, CreditSource, Role, StaffRole, cards, members
from dobmi.central.server import CARD_ISSUER_KEY, SERVER_KEY, Central
from dobmi.central.staff import add_staff
from dobmi.central.terminals import enrol, invite
from dobmi.money import ZERO, Rupiah
from dobmi.settings import CentralSettings
from dobmi.sync.batch import encode_batch
from dobmi.sync.enrolment import encode_enrol_request, verify_enrolment
from dobmi.sync.request_signature import sign_request
from dobmi.sync.voucher import (
    DecisionVoucher,
    InDoubtVoucher,
    Intent,
    Link,
    Outcome,
    RefundVoucher,
    ResolutionVoucher,
    SaleVoucher,
    VoidReason,
    VoidVoucher,
    Voucher,
    encode_voucher,
    genesis_hash,
    voucher_hash,
)
from dobmi.wib import days_since_1970
from support.databases import Kind, new_database, take_back

START = 1_800_000_000
"""The clock of the worlds here, Unix seconds, in 2027."""


@dataclass(frozen=True, slots=True)
class Staged:
    """A transaction the card is ready to commit."""

    reader_id: ReaderId
    evidence: bytes
    amount: Rupiah
    balance_after: Rupiah
    counter: int


@dataclass(slots=True)
class ModelCard:
    """What a card keeps, and what it would answer."""

    uid: bytes
    holder_content: bytes
    mac_key: bytes = field(repr=False)
    balance: Rupiah = ZERO
    counter: int = 0
    last_reader_id: bytes = bytes(16)
    last_credit_sequence: int = 0

    def stage_sale(self, reader_id: ReaderId, amount: Rupiah, unix_seconds: int = START) -> Staged:
        """The evidence of a sale, as docs/card-layout.md has it."""
        record = self._record(RecordKind.SALE, reader_id, amount, -amount, unix_seconds)
        evidence = b"".join(
            (
                self._reader_part(reader_id),
                tmi_data(0xAD, FileNo.HOLDER, 0, self.holder_content),
                tmi_value(0x6C, FileNo.PURSE, self.balance.amount),
                tmi_value(0xDC, FileNo.PURSE, amount.amount),
                tmi_data(0x8B, FileNo.LOG, 0, record.encode()),
            )
        )
        return Staged(reader_id, evidence, amount, record.balance_after, self.counter + 1)

    def stage_credit(self, sequence: int, amount: Rupiah, unix_seconds: int = START) -> Staged:
        reader_id = ReaderId(terminal_id=0, sequence=sequence)
        before = CreditState(last_credit_sequence=self.last_credit_sequence)
        content = before.encode() if self.last_credit_sequence else bytes(16)
        record = self._record(RecordKind.CREDIT, reader_id, amount, amount, unix_seconds)
        after = CreditState(last_credit_sequence=sequence)
        evidence = b"".join(
            (
                self._reader_part(reader_id),
                tmi_data(0xAD, FileNo.CREDIT_STATE, 0, content),
                tmi_value(0x6C, FileNo.PURSE, self.balance.amount),
                tmi_value(0x0C, FileNo.PURSE, amount.amount),
                tmi_data(0x8B, FileNo.LOG, 0, record.encode()),
                tmi_data(0x8D, FileNo.CREDIT_STATE, 0, after.encode()),
            )
        )
        return Staged(reader_id, evidence, amount, record.balance_after, self.counter + 1)

    def commit(self, staged: Staged) -> tuple[int, bytes]:
        """Counter and MAC."""
        assert staged.counter == self.counter + 1, "staged before another transaction"
        self.counter = staged.counter
        self.balance = staged.balance_after
        self.last_reader_id = staged.reader_id.encode()
        if staged.reader_id.terminal_id == 0:
            self.last_credit_sequence = staged.reader_id.sequence
        return self.counter, transaction_mac(self.mac_key, self.uid, self.counter, staged.evidence)

    def _reader_part(self, reader_id: ReaderId) -> bytes:
        key = transaction_keys(self.mac_key, self.uid, self.counter + 1).encryption_key
        encrypted = aes_cbc_encrypt(key, bytes(16), self.last_reader_id)
        return tmi_commit_reader_id(reader_id.encode(), encrypted)

    def _record(
        self,
        kind: RecordKind,
        reader_id: ReaderId,
        amount: Rupiah,
        change: Rupiah,
        unix_seconds: int,
    ) -> LogRecord:
        return LogRecord(
            kind=kind,
            terminal_id=reader_id.terminal_id,
            sequence=reader_id.sequence,
            amount=amount,
            balance_after=self.balance + change,
            unix_seconds=unix_seconds,
        )


@dataclass(slots=True)
class ModelTill:
    """A till's chain; `send_from` is the first voucher its batches have not carried yet."""

    terminal_id: int
    key: Ed25519PrivateKey = field(repr=False)
    seller: str
    vouchers: list[bytes] = field(default_factory=list)
    send_from: int = 1

    @property
    def public_key(self) -> bytes:
        return self.key.public_key().public_bytes_raw()

    @property
    def next_reader_id(self) -> ReaderId:
        return ReaderId(terminal_id=self.terminal_id, sequence=len(self.vouchers) + 1)

    def link(self, unix_seconds: int = START) -> Link:
        previous = (
            voucher_hash(self.vouchers[-1])
            if self.vouchers
            else genesis_hash(self.terminal_id, self.public_key)
        )
        return Link(
            terminal_id=self.terminal_id,
            sequence=len(self.vouchers) + 1,
            previous_hash=previous,
            unix_seconds=unix_seconds,
            shift=1,
            cashier="kasir",
        )

    def intent(self, uid: bytes, evidence: bytes, amount: Rupiah) -> Intent:
        return Intent(
            card_uid=uid,
            amount=amount,
            evidence=evidence,
            issuer="Koperasi BMI",
            seller=self.seller,
        )

    def append(self, voucher: Voucher) -> bytes:
        encoded = encode_voucher(voucher, self.public_key, self.key.sign)
        self.vouchers.append(encoded)
        return encoded

    def sell(self, card: ModelCard, amount: Rupiah) -> SaleVoucher:
        """A sale that goes well."""
        staged = card.stage_sale(self.next_reader_id, amount)
        counter, mac = card.commit(staged)
        return self.append_sale(card, staged, counter, mac)

    def append_sale(
        self,
        card: ModelCard,
        staged: Staged,
        counter: int,
        mac: bytes,
        *,
        claimed: Rupiah | None = None,
    ) -> SaleVoucher:
        """A sale voucher of these parts, true or not."""
        amount = staged.amount if claimed is None else claimed
        return self.append_evidence(card.uid, staged.evidence, amount, counter, mac)

    def append_evidence(
        self, uid: bytes, evidence: bytes, amount: Rupiah, counter: int, mac: bytes
    ) -> SaleVoucher:
        """A sale voucher of whatever card made the evidence."""
        voucher = SaleVoucher(
            link=self.link(),
            intent=self.intent(uid, evidence, amount),
            card_counter=counter,
            card_mac=mac,
        )
        self.append(voucher)
        return voucher

    def doubt(self, card: ModelCard, amount: Rupiah, *, committed: bool) -> tuple[int, bytes]:
        """A sale whose answer is lost; counter and MAC if the card committed it, else (0, b"")."""
        staged = card.stage_sale(self.next_reader_id, amount)
        told = card.commit(staged) if committed else (0, b"")
        self.append_doubt(card, staged)
        return told

    def append_doubt(self, card: ModelCard, staged: Staged) -> None:
        """An in-doubt voucher of this evidence, true or not."""
        intent = self.intent(card.uid, staged.evidence, staged.amount)
        self.append(InDoubtVoucher(link=self.link(), intent=intent))

    def void(self, card: ModelCard, amount: Rupiah) -> None:
        self.append(
            VoidVoucher(
                link=self.link(),
                card_uid=card.uid,
                amount=amount,
                reason=VoidReason.CARD_REMOVED,
            )
        )

    def resolve(
        self,
        card: ModelCard,
        sequence: int,
        outcome: Outcome,
        counter: int | None = None,
        mac: bytes | None = None,
    ) -> None:
        self.append(
            ResolutionVoucher(
                link=self.link(),
                resolves=sequence,
                card_uid=card.uid,
                outcome=outcome,
                card_counter=counter,
                card_mac=mac,
            )
        )

    def decide(
        self, card: ModelCard, sequence: int, outcome: Outcome, decided_by: str = "Ani"
    ) -> None:
        """A supervisor's word on a sale in doubt."""
        self.append(
            DecisionVoucher(
                link=self.link(),
                resolves=sequence,
                card_uid=card.uid,
                outcome=outcome,
                decided_by=decided_by,
                reason="barang dibawa",
            )
        )

    def refund(
        self,
        card: ModelCard,
        sale: int,
        amount: Rupiah,
        *,
        reason: str = "basah",
        supervisor: str = "",
    ) -> int:
        """Money of sale number `sale` given back, rightly or not; the refund's own number."""
        voucher = RefundVoucher(
            link=self.link(),
            refunds=sale,
            card_uid=card.uid,
            amount=amount,
            reason=reason,
            supervisor=supervisor,
        )
        self.append(voucher)
        return voucher.link.sequence

    def batch(self, first: int | None = None, last: int | None = None) -> bytes:
        """Vouchers `first` to `last`; by default all that no batch has carried, 500 at most."""
        if first is None:
            first = self.send_from
        if last is None:
            last = min(len(self.vouchers), first + 499)
        previous = (
            genesis_hash(self.terminal_id, self.public_key)
            if first == 1
            else voucher_hash(self.vouchers[first - 2])
        )
        self.send_from = max(self.send_from, last + 1)
        return encode_batch(
            self.terminal_id,
            first,
            previous,
            self.vouchers[first - 1 : last],
            public_key=self.public_key,
            sign=self.key.sign,
        )

    def authorization(
        self, method: str, path: str, body: bytes = b"", *, at: int = START, nonce: bytes = b""
    ) -> str:
        """The Authorization header of a request."""
        self.requests += 1
        return sign_request(
            self.terminal_id,
            method,
            path,
            body,
            unix_seconds=at,
            nonce=nonce or hashlib.sha256(f"{id(self)}/{self.requests}".encode()).digest()[:16],
            public_key=self.public_key,
            sign=self.key.sign,
        )

    requests: int = 0


def make_keys() -> KeyRing:
    return KeyRing.generate(masters=CardKey, signing=[SERVER_KEY, CARD_ISSUER_KEY])


@dataclass(slots=True)
class World:
    """A central server on a database of its own, with cards and tills made for it."""

    central: Central
    orders: int = 0

    @classmethod
    def create(
        cls,
        folder: Path,
        *,
        keys: KeyRing | None = None,
        url: str = "",
        settings: CentralSettings | None = None,
        kind: Kind | None = None,
    ) -> World:
        """At `url`, or on a new database of the kind that `support.databases` uses now."""
        database = open_database(url or new_database(folder, kind), folder)
        if url:
            database.create_tables()
        return cls(
            Central(database, keys or make_keys(), settings or CentralSettings(), lambda: START)
        )

    @property
    def url(self) -> str:
        return self.central.database.engine.url.render_as_string(hide_password=False)

    def close(self) -> None:
        """Its database may be another world's from here on."""
        self.central.database.close()
        take_back(self.url)

    def till(
        self, seller: str = "Toko BMI", role: Role = Role.TILL, name: str = "Kasir 1"
    ) -> ModelTill:
        """A till, or a station, taken in by invitation."""
        key = Ed25519PrivateKey.generate()
        public_key = key.public_key().public_bytes_raw()
        invitation = invite(self.central, role, name, seller)
        reply = enrol(self.central, encode_enrol_request(invitation.code, public_key, key.sign))
        enrolment = verify_enrolment(reply, invitation, public_key)
        return ModelTill(enrolment.terminal_id, key, seller)

    def clerks(self, *names: str) -> None:
        """Register people who work on findings."""
        for name in names:
            add_staff(self.central.database, name, [StaffRole.CLERK], START)

    def station(self) -> ModelTill:
        return self.till(role=Role.STATION, name="Loket 1")

    def card(self, member_number: int) -> ModelCard:
        """A card that was issued to a member."""
        return self.make_cards(member_number, 1)[0]

    def top_up(self, station: ModelTill, card: ModelCard, amount: Rupiah) -> None:
        """A credit ordered and brought onto the card, as a session with the card would."""
        with_lost_answer = self.top_up_in_doubt(station, card, amount)
        counter, mac = card.commit(with_lost_answer)
        self.deliver(card, with_lost_answer, counter, mac)

    def top_up_in_doubt(self, station: ModelTill, card: ModelCard, amount: Rupiah) -> Staged:
        """A credit ordered, its attempt durable, its commit about to be sent to the card."""
        self.orders += 1
        credit, _ = order_credit(
            self.central,
            card.uid,
            amount,
            CreditSource.CASH,
            idempotency_key=f"order-{self.orders:08}",
            station=station.terminal_id,
        )
        assert isinstance(credit, PendingCredit)
        staged = card.stage_credit(credit.sequence, amount)
        note_attempt(self.central, credit, staged.evidence)
        return staged

    def deliver(self, card: ModelCard, staged: Staged, counter: int, mac: bytes) -> None:
        """The card's answer to the credit's commit has come."""
        (credit,) = statement_of(self.central, card.uid).credits_waiting
        self.deliver_credit(credit, staged, counter, mac)

    def deliver_credit(
        self, credit: PendingCredit, staged: Staged, counter: int, mac: bytes
    ) -> None:
        """As `deliver`, of a credit that the server may not wait for any more."""
        post_delivery(self.central, credit, staged.evidence, TransactionMac(counter, mac))

    def another_card(self, member_number: int, edition: int = 1) -> ModelCard:
        """A further card of a member whose earlier ones are not in force any more."""
        (card,) = self.make_cards(member_number, 1, edition=edition)
        with self.central.database.write() as connection:
            serve_member(
                connection, member_number, self.central.unix_seconds(), self.central.settings
            )
        return card

    def make_cards(
        self, first_member_number: int, count: int, *, edition: int = 0
    ) -> list[ModelCard]:
        made = []
        with self.central.database.write() as connection:
            for number in range(first_member_number, first_member_number + count):
                uid = (
                    b"\x04"
                    + hashlib.sha256(
                        number.to_bytes(4, "big") + edition.to_bytes(edition > 0, "big")
                    ).digest()[:6]
                )
                holder = Holder(
                    member_number=number,
                    name=f"Anggota {number}",
                    card_serial=next_number(connection, "card-serial"),
                    expires=date(2031, 1, 1),
                )
                member = {"member_number": number, "name": holder.name}
                insert_unless_there(connection, members, [member])
                row = {
                    "uid": uid,
                    "serial": holder.card_serial,
                    "member_number": number,
                    "state": CardState.ACTIVE.value,
                    "expires_on_day": days_since_1970(holder.expires),
                    "mac_key_version": 1,
                    "registered_at": START,
                    "issued_at": START,
                    "block_reason": "",
                }
                insert_rows(connection, cards, [row])
                mac_key = self.central.keys.card_key(CardKey.TRANSACTION_MAC, uid).value
                content = holder.sign(uid, self.central.sign_holder)
                made.append(ModelCard(uid, content, mac_key))
        return made
