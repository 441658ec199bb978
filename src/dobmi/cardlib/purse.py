"""The Do BMI purse: what a till, the central server or an issuer does with a card.

Each method says how many exchanges with the card it costs; docs/card-layout.md counts a whole sale.
A transaction runs begin, prepare, stage, commit: after `prepare` the evidence is known in full and
nothing has been asked of the card yet, so that it can be made durable before the commit is sent.

Any CardError out of `commit` leaves it unknown whether the card committed; out of any other method
it means that nothing moved.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from dobmi.cardlib.custody import KeyCustody
from dobmi.cardlib.desfire import DesfireCard, Exchanges
from dobmi.cardlib.errors import (
    ApplicationNotFound,
    AuthenticationError,
    BalanceLimit,
    BlankCard,
    CardError,
    CardRefused,
    DamagedCardData,
    IllegalCommand,
    InsufficientBalance,
    IsoRefused,
    KeyNotHeld,
    NotOurCard,
    OtherKeySet,
    UnfinishedCard,
    UnsupportedCard,
)
from dobmi.cardlib.files import RecordFileSettings
from dobmi.cardlib.keys import DesfireKey
from dobmi.cardlib.pin import PinTry, authenticate_pin
from dobmi.cardlib.purse_layout import (
    CENTRAL_TERMINAL_ID,
    CREDIT_STATE_LENGTH,
    HOLDER_LENGTH,
    PURSE_AID,
    RECORD_LENGTH,
    RECORDS_READABLE,
    CardKey,
    CreditState,
    FileNo,
    Holder,
    LogRecord,
    ReaderId,
    RecordKind,
    read_holder,
)
from dobmi.cardlib.readers.base import CardConnection
from dobmi.cardlib.secure_messaging import CommMode
from dobmi.cardlib.transaction_mac import TransactionMac, TransactionMacInput
from dobmi.errors import MoneyMoved
from dobmi.i18n import N_
from dobmi.money import ZERO, Rupiah

UID_LENGTH = 7
_RECORDS_PER_EXCHANGE = 7  # 7 x 32 bytes, padding and MAC fit into one short APDU


@dataclass(frozen=True, slots=True, kw_only=True)
class PurseView:
    """What a card says of itself, the issuer's signature over the holder checked."""

    uid: bytes
    holder: Holder
    balance: Rupiah
    key_generation: int = 0
    """Of the debit key that opened it; 0: not from a card."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditView:
    """How far credits were delivered to the card, and its balance."""

    uid: bytes
    state: CreditState
    balance: Rupiah


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A debit or credit known in full, of which the card has not heard yet."""

    evidence: bytes
    amount: Rupiah
    balance_before: Rupiah
    balance_after: Rupiah
    record: LogRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class CardTrail:
    """What the card tells of its past: at most 10 records, newest first, and the last MAC.

    `last` is None for a card with no transaction yet.
    """

    view: PurseView
    records: tuple[LogRecord, ...]
    last: TransactionMac | None

    def record_of(self, reader_id: ReaderId) -> LogRecord | None:
        """The log's record of that transaction, if the log still has it."""
        return next((record for record in self.records if record.reader_id == reader_id), None)

    def ends_with(self, reader_id: ReaderId) -> bool:
        """Whether that transaction is the card's newest, so that `last` is its counter and MAC."""
        return bool(self.records) and self.records[0].reader_id == reader_id

    @property
    def is_whole(self) -> bool:
        """Whether the log holds every transaction the card ever made."""
        return (self.last.counter if self.last else 0) == len(self.records)


class _Step(Enum):
    IDLE = auto()
    BEGUN = auto()
    STAGED = auto()


@dataclass(frozen=True, slots=True)
class _Running:
    """A transaction between begin and commit."""

    reader_id: ReaderId
    tmi: TransactionMacInput
    balance: Rupiah
    credit_state: CreditState | None


class Purse:
    """A card's purse over one connection. Not for several threads."""

    def __init__(
        self,
        connection: CardConnection,
        custody: KeyCustody,
        issuer_public_key: bytes,
        *,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        """`issuer_public_key`: 32 bytes, Ed25519. `random_bytes(n)` supplies the reader's nonces.

        Raises NotOurCard for a card whose UID is not 7 bytes (random ids, other products).
        """
        if len(connection.uid) != UID_LENGTH:
            raise NotOurCard
        self.uid = connection.uid
        self._card = DesfireCard(connection, random_bytes=random_bytes, iso_chaining=True)
        self._custody = custody
        self._issuer_public_key = issuer_public_key
        self._running: _Running | None = None
        self._step = _Step.IDLE
        self._key_generation = 0

    @property
    def key_generation(self) -> int:
        """Of the debit key that opened the card last; 0 before any did. No exchange."""
        return self._key_generation

    @property
    def exchanges(self) -> Exchanges:
        """How often and how much has been exchanged with the card so far."""
        return self._card.exchanges

    def read(self) -> PurseView:
        """Holder and balance. 5 exchanges: select, authentication 2, holder, value.

        Raises NotOurCard and its kinds, DamagedCardData, CardError.
        """
        self._open()
        return self._view()

    def read_trail(self) -> CardTrail:
        """Holder, balance, log and last transaction MAC. 9 exchanges at most. Raises as `read`."""
        view = self.read()
        last, settings = self._card.together(
            lambda: self._card.read_transaction_mac(FileNo.TRANSACTION_MAC, CommMode.MAC),
            lambda: self._card.get_file_settings(FileNo.LOG),
        )
        if not isinstance(settings, RecordFileSettings):
            raise DamagedCardData(what=N_("log"))
        count = min(settings.records_current, RECORDS_READABLE)
        records: list[LogRecord] = []
        while len(records) < count:
            chunk = self._card.read_records(
                FileNo.LOG,
                len(records),
                min(_RECORDS_PER_EXCHANGE, count - len(records)),
                record_length=RECORD_LENGTH,
                mode=CommMode.FULL,
            )
            records += [LogRecord.decode(record) for record in reversed(chunk)]
        return CardTrail(view=view, records=tuple(records), last=last if last.counter else None)

    def read_credit_state(self) -> CreditState:
        """In the session of `read` or `read_trail`. 1 exchange. Raises DamagedCardData, CardError."""
        content = self._card.read_data(FileNo.CREDIT_STATE, 0, CREDIT_STATE_LENGTH, CommMode.FULL)
        return CreditState.decode(content)

    def begin_sale(self, reader_id: ReaderId, *, pin: PinTry | None = None) -> PurseView:
        """Start a transaction that `reader_id` names; holder and balance. 6 exchanges.

        With `pin` the card first proves that this is its PIN, by key 3; the debit key's session goes
        on from that. 8 exchanges then. Raises as `read`; with a PIN also as `authenticate_pin`.
        """
        self._open(pin=pin)
        self._card.commit_reader_id(reader_id.encode())
        view = self._view()
        self._begin(reader_id, view.balance, None)
        return view

    def prepare_debit(
        self, amount: Rupiah, unix_seconds: int, *, kind: RecordKind = RecordKind.SALE
    ) -> Prepared:
        """The debit, its record and the evidence, as the card will have them. No exchange.

        `kind` is the record's, SALE or EMPTIED. Raises InsufficientBalance; ValueError for an amount
        that is not above nought.
        """
        running = self._require(_Step.BEGUN)
        _require_positive(amount)
        if running.balance < amount:
            raise InsufficientBalance(balance=running.balance, amount=amount)
        record = _record(kind, running, amount, running.balance - amount, unix_seconds)
        tmi = running.tmi.value(0xDC, FileNo.PURSE, amount.amount).write_record(
            self._card.opcodes.write_record, FileNo.LOG, 0, record.encode()
        )
        return _prepared(running, amount, record, tmi)

    def begin_credit(self, sequence: int) -> CreditView:
        """Start credit number `sequence` of the card; credit state and balance. 8 exchanges.

        They are read with the credit key: a till that relays the session holds the debit key, and
        could have the card say that a credit which did arrive did not. Raises as `read`.
        """
        card = self._card
        reader_id = ReaderId(terminal_id=CENTRAL_TERMINAL_ID, sequence=sequence)
        credit_key = self._open(for_credit=True)
        assert credit_key is not None
        _, challenge = card.together(
            lambda: card.commit_reader_id(reader_id.encode()),
            lambda: card.begin_ev2_non_first(CardKey.CREDIT.number),
        )
        handshake = card.answer_ev2(CardKey.CREDIT.number, credit_key, challenge)
        _, content, value = card.together(
            lambda: card.finish_ev2(handshake),
            lambda: card.read_data(FileNo.CREDIT_STATE, 0, CREDIT_STATE_LENGTH, CommMode.FULL),
            lambda: card.get_value(FileNo.PURSE, CommMode.FULL),
        )
        state, balance = CreditState.decode(content), Rupiah(value)
        self._begin(reader_id, balance, state)
        return CreditView(uid=self.uid, state=state, balance=balance)

    def prepare_credit(self, amount: Rupiah, unix_seconds: int, *, balance_max: Rupiah) -> Prepared:
        """The credit, its record, the new credit state and the evidence. No exchange.

        Raises BalanceLimit; ValueError for an amount that is not above nought.
        """
        running = self._require(_Step.BEGUN)
        _require_positive(amount)
        balance_after = running.balance + amount
        if balance_after > balance_max:
            raise BalanceLimit(balance=running.balance, amount=amount, limit=balance_max)
        record = _record(RecordKind.CREDIT, running, amount, balance_after, unix_seconds)
        tmi = (
            running.tmi.value(0x0C, FileNo.PURSE, amount.amount)
            .write_record(self._card.opcodes.write_record, FileNo.LOG, 0, record.encode())
            .write_data(
                self._card.opcodes.write_data,
                FileNo.CREDIT_STATE,
                0,
                _credited_state(running).encode(),
            )
        )
        return _prepared(running, amount, record, tmi)

    def stage(self, prepared: Prepared) -> None:
        """Send everything but the commit: a debit 2 exchanges, a credit 3. Nothing moves yet."""
        for step in self._steps(prepared):
            step()
        assert self._card.transaction_mac_input == prepared.evidence
        self._step = _Step.STAGED

    def commit(self) -> TransactionMac:
        """Make it so, all or nothing on the card; its counter and MAC. 1 exchange.

        Any CardError: it is not known whether the card committed.
        """
        self._require(_Step.STAGED)
        self._running, self._step = None, _Step.IDLE
        return self._commit()

    def stage_and_commit(self, prepared: Prepared) -> TransactionMac:
        """Both, as one group of 3 or 4 exchanges; its counter and MAC.

        The evidence must be durable before this is called. A CardError that says that no money
        moved has that from whoever passed the group on: what refused, or was not passed on, came
        before the commit. Who does not trust them waits for the card's own word.
        """
        steps = self._steps(prepared)
        self._running, self._step = None, _Step.IDLE
        try:
            *_, transaction = self._card.together(*steps, self._commit)
        except CardError as error:
            if self._card.group_sent_count > len(steps):
                error.money_moved = MoneyMoved.UNKNOWN
            raise
        assert isinstance(transaction, TransactionMac)
        return transaction

    def _commit(self) -> TransactionMac:
        transaction = self._card.commit_transaction(return_tmac=True)
        assert transaction is not None
        return transaction

    def _steps(self, prepared: Prepared) -> list[Callable[[], None]]:
        """The commands before the commit."""
        card, running = self._card, self._require(_Step.BEGUN)
        amount, record = prepared.amount.amount, prepared.record.encode()

        def write_record() -> None:
            card.write_record(FileNo.LOG, 0, record, CommMode.FULL)

        if running.credit_state is None:
            return [lambda: card.debit(FileNo.PURSE, amount, CommMode.FULL), write_record]
        state = _credited_state(running).encode()
        return [
            lambda: card.credit(FileNo.PURSE, amount, CommMode.FULL),
            write_record,
            lambda: card.write_data(FileNo.CREDIT_STATE, 0, state, CommMode.FULL),
        ]

    def _open(self, *, for_credit: bool = False, pin: PinTry | None = None) -> DesfireKey | None:
        """Select and authenticate with the debit key; the card's credit key, if asked for.

        3 exchanges. A card of an older generation that is held takes 4 more, 5 for a credit; 2 to 5
        more say why any other is refused.
        """
        self._running, self._step = None, _Step.IDLE
        card, challenge = self._card, b""
        try:
            if pin is None:
                _, challenge = card.together(
                    lambda: card.select_application(PURSE_AID),
                    lambda: card.begin_ev2_first(CardKey.DEBIT.number),
                )
            else:
                card.select_application(PURSE_AID)
        except (ApplicationNotFound, IllegalCommand, IsoRefused) as error:
            raise _what_card_is_it(card) from error
        debit_key = self._custody.card_key(CardKey.DEBIT, self.uid)
        if pin is not None:
            self._open_with_pin(pin, debit_key)
            return None
        try:
            card.finish_ev2(card.answer_ev2(CardKey.DEBIT.number, debit_key, challenge))
        except AuthenticationError as error:
            return self._open_older(debit_key.version, error, for_credit=for_credit)
        self._key_generation = debit_key.version
        # The debit key is changed last, so the credit key is of the newest generation, too.
        return self._custody.card_key(CardKey.CREDIT, self.uid) if for_credit else None

    def _open_with_pin(self, pin: PinTry, debit_key: DesfireKey) -> None:
        """Key 3 first, then the debit key in its session; 5 exchanges with the selection, 9 for a
        card whose debit key is older.
        """
        pin_key = authenticate_pin(self._card, self._custody, pin)
        try:
            self._card.authenticate_ev2_non_first(CardKey.DEBIT.number, debit_key)
        except AuthenticationError as error:
            self._open_older(debit_key.version, error, for_credit=False)
            debit_key = self._custody.card_key(CardKey.DEBIT, self.uid, self._key_generation)
            self._card.authenticate_ev2_first(CardKey.PIN.number, pin_key)
            self._card.authenticate_ev2_non_first(CardKey.DEBIT.number, debit_key)
        self._key_generation = debit_key.version

    def _open_older(
        self, tried: int, refusal: AuthenticationError, *, for_credit: bool
    ) -> DesfireKey | None:
        """Try the generations that the card itself names."""
        _, version = self._card.together(
            lambda: self._card.select_application(PURSE_AID),
            lambda: self._card.get_key_version(CardKey.DEBIT.number),
        )
        if version == 0:
            raise UnfinishedCard from refusal
        if version == tried:
            raise OtherKeySet from refusal
        credit_key = None
        try:
            debit_key = self._custody.card_key(CardKey.DEBIT, self.uid, version)
            if for_credit:
                credit_version = self._card.get_key_version(CardKey.CREDIT.number)
                credit_key = self._custody.card_key(CardKey.CREDIT, self.uid, credit_version)
            self._card.authenticate_ev2_first(CardKey.DEBIT.number, debit_key)
        except (AuthenticationError, KeyNotHeld) as error:
            raise OtherKeySet from error
        self._key_generation = version
        return credit_key

    def _view(self) -> PurseView:
        content, value = self._card.together(
            lambda: self._card.read_data(FileNo.HOLDER, 0, HOLDER_LENGTH, CommMode.FULL),
            lambda: self._card.get_value(FileNo.PURSE, CommMode.FULL),
        )
        holder = read_holder(content, self.uid, self._issuer_public_key)
        return PurseView(
            uid=self.uid,
            holder=holder,
            balance=Rupiah(value),
            key_generation=self._key_generation,
        )

    def _begin(self, reader_id: ReaderId, balance: Rupiah, state: CreditState | None) -> None:
        tmi = TransactionMacInput(self._card.transaction_mac_input)
        self._running, self._step = _Running(reader_id, tmi, balance, state), _Step.BEGUN

    def _require(self, step: _Step) -> _Running:
        if self._step is not step or self._running is None:
            msg = "purse methods run begin, prepare, stage, commit"
            raise ValueError(msg)
        return self._running


def _what_card_is_it(card: DesfireCard) -> NotOurCard:
    """Why a card has no purse: 2 to 5 exchanges, spent only on a card that is refused."""
    try:
        card.select_application(0)
        version = card.get_version()
        applications = card.get_application_ids()
    except CardRefused:
        return NotOurCard()
    if not version.generation.has_transaction_mac:
        return UnsupportedCard(generation=version.generation.value)
    return NotOurCard() if applications else BlankCard()


def _record(
    kind: RecordKind, running: _Running, amount: Rupiah, balance_after: Rupiah, unix_seconds: int
) -> LogRecord:
    return LogRecord(
        kind=kind,
        terminal_id=running.reader_id.terminal_id,
        sequence=running.reader_id.sequence,
        amount=amount,
        balance_after=balance_after,
        unix_seconds=unix_seconds,
    )


def _prepared(
    running: _Running, amount: Rupiah, record: LogRecord, tmi: TransactionMacInput
) -> Prepared:
    return Prepared(
        evidence=bytes(tmi),
        amount=amount,
        balance_before=running.balance,
        balance_after=record.balance_after,
        record=record,
    )


def _credited_state(running: _Running) -> CreditState:
    assert running.credit_state is not None
    return CreditState(
        last_credit_sequence=running.reader_id.sequence, status=running.credit_state.status
    )


def _require_positive(amount: Rupiah) -> None:
    if amount <= ZERO:
        msg = f"an amount is above nought, not {amount}"
        raise ValueError(msg)
