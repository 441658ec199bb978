"""The central server's tables. What the code promises is a constraint here.

Amounts are whole rupiah, times Unix seconds (UTC), card UIDs, hashes and evidence raw bytes. The
same definitions make the tables on SQLite and on PostgreSQL.

The hot tables (`vouchers`, `card_transactions`, `postings`) are narrow and have no foreign keys:
ingest checks what they refer to, and the auditor checks it again. `vouchers` and `postings` are
partitioned by month on PostgreSQL (`partitions.py`). For a distributed engine such as Citus each
table says in `info` by which column it is distributed (part of every key of it), or that every node
has all of it ("reference").
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
    event,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import ExecutableDDLElement
from sqlalchemy.sql.compiler import DDLCompiler

from dobmi.central.posting_rules import GROUP_NUMBERS, OWNERS, RULES, Group, Kind, sides

metadata = MetaData()

_Number = BigInteger().with_variant(Integer, "sqlite")
"""64 bits; SQLite makes only a column called INTEGER an alias of its row number."""


class Role(StrEnum):
    TILL = "till"
    STATION = "station"


class TerminalStatus(StrEnum):
    ACTIVE = "active"
    BLOCKED = "blocked"


class CardState(StrEnum):
    ISSUING = "issuing"
    ACTIVE = "active"
    BLOCKED = "blocked"
    REPLACED = "replaced"
    """Lost: blocked for good, its money the member's other card's."""
    RETIRED = "retired"
    """Renewed or given back: blocked for good, its money taken off it into the member's wallet."""


class SellerKind(StrEnum):
    OUTLET = "outlet"
    """The cooperative's own."""
    MERCHANT = "merchant"
    """A partner's."""


class DoubtState(StrEnum):
    OPEN = "open"
    PAID = "paid"
    NOT_PAID = "not_paid"
    DISPUTED = "disputed"
    """The card was debited there, but not as the till says; the difference is in suspense."""
    SUSPENDED = "suspended"
    """Said to be paid, but the card has not spoken: the amount is in suspense until it does."""


class SettledBy(StrEnum):
    RESOLUTION = "resolution"
    """The till's word, with the card's MAC if PAID; NOT_PAID is only the till's word."""
    CARD = "card"
    """Later transactions of the card, whose MACs were verified."""
    DECISION = "decision"
    """A supervisor's NOT PAID."""
    RULE = "rule"
    """The card had not been heard of for the set number of days."""
    NOBODY = ""


class CreditDelivery(StrEnum):
    PENDING = "pending"
    IN_DOUBT = "in_doubt"
    DELIVERED = "delivered"
    ASSUMED = "assumed"
    """In doubt on a card that was lost: posted as delivered, and restored with the rest."""
    MOVED = "moved"
    """Never sent to a card that was lost: another credit, of the member's new card."""
    RETURNED = "returned"
    """Never sent to a card that was retired: in the member's wallet."""


WAITING = (CreditDelivery.PENDING, CreditDelivery.IN_DOUBT)
"""Still to be brought onto the card, or perhaps there."""
MAY_BE_ON_CARD = (CreditDelivery.IN_DOUBT, CreditDelivery.ASSUMED)
"""Not known to be on the card, and not known not to be: its transactions may tell."""


class CreditSource(StrEnum):
    CASH = "cash"
    SALARY = "salary"
    REFUND = "refund"
    RESTORED = "restored"
    RESTITUTION = "restitution"
    """What two people at the office owe a member, at the cooperative's expense."""


class Retirement(StrEnum):
    """Why a card ends that is there itself."""

    RENEWED = "renewed"
    """Expired or worn: the member gets another one."""
    GIVEN_BACK = "given-back"


class RetirementState(StrEnum):
    OPEN = "open"
    """Blocked; its money is still on it."""
    IN_DOUBT = "in_doubt"
    """The commit that takes the money off was sent, and no answer came."""
    EMPTIED = "emptied"
    LOST = "lost"
    """Before its money was known to be off it: replaced as a lost card is, by that card's rules."""


class RefundState(StrEnum):
    WAITING = "waiting"
    """For its sale to be settled, or for the member to have a card in force."""
    ORDERED = "ordered"
    """A credit of the member's card."""
    REFUSED = "refused"
    """Its sale was not paid. It is ordered after all if the sale is found to be paid."""


class StaffRole(StrEnum):
    PROPOSER = "proposer"
    APPROVER = "approver"
    CLERK = "clerk"
    """Works on the list of findings and says so, and neither proposes nor approves payments."""
    ISSUER = "issuer"
    """Issues, tops up, looks at and blocks cards at a station."""
    CUSTODIAN = "custodian"
    """Of the keys: takes tills in, takes their keys away, makes and rolls keys."""
    AUDITOR = "auditor"
    """Reads what was done, and by whom."""


class ApprovalKind(StrEnum):
    """What one person proposes and another accepts before it is done."""

    CREDIT = "credit"
    RESTITUTION = "restitution"
    LIMITS = "limits"
    RETIREMENT = "retirement"


class PairingDecision(StrEnum):
    """The office's, of a till that asks to be taken in."""

    NONE = ""
    APPROVED = "approved"
    REFUSED = "refused"


class RunState(StrEnum):
    """How far a settlement run is."""

    PROPOSED = "proposed"
    APPROVED = "approved"
    EXPORTED = "exported"
    PAID = "paid"
    WITHDRAWN = "withdrawn"
    """Never to be paid: what was in it is owed again."""


class LeftOut(StrEnum):
    """Why a seller is not in a run; it comes into a later one."""

    NO_ACCOUNT = "no-account"
    NOTHING_DUE = "nothing-due"
    """Refunds and fee are as much as the sales, or more."""


class OutletPart(StrEnum):
    """What an outlet's tills are told whole; of members they are told what changed."""

    CATALOGUE = "catalogue"
    STAFF = "staff"
    ORDERS = "orders"


class RecordKind(StrEnum):
    """What a till reports beside its vouchers."""

    SHIFT = "shift"
    ORDER = "order"
    PIN = "pin"


class PinEvent(StrEnum):
    """What happened with a card's PIN: at tills by their records, else at a service point."""

    WRONG = "wrong"
    NOT_KNOWN = "not-known"
    """Tried at a till that never heard the card's answer."""
    TRIED = "tried"
    """At a service point, before the card has answered."""
    PROVED = "proved"
    SET = "set"
    CHANGED = "changed"
    RESET = "reset"
    LOCKED = "locked"


class LineState(StrEnum):
    """Of a line of an issuing batch."""

    WAITING = "waiting"
    ISSUED = "issued"
    SKIPPED = "skipped"
    """Left out by a person, or because the member has a card; it can be put back."""


class WorkState(StrEnum):
    """How far people are with a finding."""

    OPEN = "open"
    ASSIGNED = "assigned"
    EXPLAINED = "explained"
    """The cause is known; something is still to come."""
    CLOSED = "closed"
    REOPENED = "reopened"


def _one_of(column: str, values: type[StrEnum]) -> CheckConstraint:
    listed = ", ".join(f"'{value.value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_known")


schema_version = Table(
    "schema_version",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
)
"""One row: the version of the tables, for programs of before Alembic (see migrations/)."""


def _accounts_of_kinds() -> str:
    """As the rule table has it: a kind posts between accounts of its groups, and others not at all."""

    def within(column: str, group: Group) -> str:
        numbers = ", ".join(str(GROUP_NUMBERS[side]) for side in sides(group))
        return f"{column} / {OWNERS} IN ({numbers})"

    cases = [
        f"WHEN '{kind.value}' THEN {within('debit_account', rule.debit)} "
        f"AND {within('credit_account', rule.credit)}"
        for kind, rule in sorted(RULES.items(), key=lambda item: item[0] is not Kind.SALE)
    ]  # sales first: they are most
    return f"CASE kind {' '.join(cases)} ELSE FALSE END"


counters = Table(
    "counters",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("value", _Number, nullable=False),
)
"""Numbers handed out in the order of commits: the row stays locked until its transaction ends."""

_BY_CARD = {"distribution_key": "card_uid"}
_BY_TILL = {"distribution_key": "terminal_id"}
_EVERYWHERE = {"reference": True}

sellers = Table(
    "sellers",
    metadata,
    Column("id", _Number, primary_key=True, autoincrement=False),
    Column("name", String(80), nullable=False, unique=True),
    Column("kind", String(10), nullable=False),
    CheckConstraint("id > 0", name="seller_0_is_nobody"),
    _one_of("kind", SellerKind),
)
"""To whom sales are credited: the owners of the outlets' accounts."""

terminals = Table(
    "terminals",
    metadata,
    Column("id", _Number, primary_key=True, autoincrement=False),
    Column("name", String(80), nullable=False),
    Column("role", String(10), nullable=False),
    Column("seller_id", _Number, ForeignKey("sellers.id"), nullable=False),
    Column("public_key", LargeBinary, nullable=False, unique=True),
    Column("status", String(10), nullable=False),
    Column("head_sequence", _Number, nullable=False),
    Column("head_hash", LargeBinary, nullable=False),
    Column("enrolled_at", _Number, nullable=False),
    Column("feed_version", _Number, nullable=False, default=0),
    Column("feed_at", _Number),
    CheckConstraint("id > 0", name="terminal_0_is_the_central_server"),
    _one_of("role", Role),
    _one_of("status", TerminalStatus),
)
"""`feed_version`: the block list that the terminal said it has, when it last asked (`feed_at`)."""

invitations = Table(
    "invitations",
    metadata,
    Column("code_hash", LargeBinary, primary_key=True),
    Column("role", String(10), nullable=False),
    Column("name", String(80), nullable=False),
    Column("seller", String(80), nullable=False),
    Column("expires_at", _Number, nullable=False),
    Column("used_by", _Number, ForeignKey("terminals.id")),
    _one_of("role", Role),
)

pairings = Table(
    "pairings",
    metadata,
    Column("request_id", LargeBinary, primary_key=True),
    Column("public_key", LargeBinary, nullable=False),
    Column("sealing_key", LargeBinary, nullable=False),
    Column("name", String(80), nullable=False),
    Column("commitment", LargeBinary, nullable=False),
    Column("server_nonce", LargeBinary, nullable=False),
    Column("opening", LargeBinary),
    Column("code", String(8), unique=True),
    Column("asked_at", _Number, nullable=False),
    Column("expires_at", _Number, nullable=False),
    Column("decision", String(10), nullable=False),
    Column("decided_by", String(80), nullable=False),
    Column("decided_at", _Number),
    Column("terminal_id", _Number, ForeignKey("terminals.id"), unique=True),
    CheckConstraint("(opening IS NULL) = (code IS NULL)", name="code_by_opening"),
    CheckConstraint(
        "(decision = 'approved') = (terminal_id IS NOT NULL)", name="approved_taken_in"
    ),
    CheckConstraint("(decision = '') = (decided_at IS NULL)", name="decided_some_time"),
    CheckConstraint("decision = '' OR code IS NOT NULL", name="decided_by_code"),
    _one_of("decision", PairingDecision),
)
"""Tills that ask, or asked, to be taken in by a short code."""

request_nonces = Table(
    "request_nonces",
    metadata,
    Column("terminal_id", _Number, nullable=False),
    Column("nonce", LargeBinary, nullable=False),
    Column("at", _Number, nullable=False, index=True),
    PrimaryKeyConstraint("terminal_id", "nonce"),
    info=_BY_TILL,
)
"""Signed requests already served, kept for as long as their signature would be accepted."""

members = Table(
    "members",
    metadata,
    Column("member_number", _Number, primary_key=True, autoincrement=False),
    Column("name", String(80), nullable=False),
)

cards = Table(
    "cards",
    metadata,
    Column("uid", LargeBinary, primary_key=True),
    Column("serial", _Number, nullable=False, unique=True),
    Column("member_number", _Number, ForeignKey("members.member_number"), nullable=False),
    Column("state", String(10), nullable=False),
    Column("expires_on_day", Integer, nullable=False),
    Column("mac_key_version", Integer, nullable=False),
    Column("key_version", Integer, nullable=False, default=1),
    Column("registered_at", _Number, nullable=False),
    Column("issued_at", _Number),
    Column("block_reason", String(200), nullable=False),
    Column("value_limit_rupiah", _Number),
    _one_of("state", CardState),
)
"""`issued_at`: when the card was read back as the member's purse; until then nothing can be on it.
`value_limit_rupiah`: the most that its value file takes, for life; None for cards issued before that
was kept."""
Index("cards_of_member", cards.c.member_number)
Index(
    "one_active_card_a_member",
    cards.c.member_number,
    unique=True,
    sqlite_where=cards.c.state == CardState.ACTIVE.value,
    postgresql_where=cards.c.state == CardState.ACTIVE.value,
)

vouchers = Table(
    "vouchers",
    metadata,
    Column("terminal_id", _Number, nullable=False),
    Column("sequence", _Number, nullable=False),
    Column("received_at", _Number, nullable=False),
    Column("encoded", LargeBinary, nullable=False),
    PrimaryKeyConstraint("terminal_id", "sequence", "received_at"),
    postgresql_partition_by="RANGE (received_at)",
    info={**_BY_TILL, "partitioned_by": "received_at"},
)
"""Every voucher that was taken, as it came. Its hash is the SHA-256 of `encoded`; that there is one of
a number is seen to by the till's head in `terminals`, which is locked while it moves."""
_by_time = Index("vouchers_by_time", vouchers.c.received_at, postgresql_using="brin")
_by_time.ddl_if(dialect="postgresql")
"""They come in the order of time: what came since is found by it, and writing pays next to nothing."""

quarantine = Table(
    "quarantine",
    metadata,
    Column("terminal_id", _Number, nullable=False),
    Column("sequence", _Number, nullable=False),
    Column("reason", String(40), nullable=False),
    Column("detail", String(200), nullable=False),
    Column("received_at", _Number, nullable=False, index=True),
    PrimaryKeyConstraint("terminal_id", "sequence"),
    CheckConstraint("reason <> ''", name="quarantined_has_a_reason"),
    info=_BY_TILL,
)
"""The vouchers that were not believed. What became of all others follows from their kind."""

batches = Table(
    "batches",
    metadata,
    Column("terminal_id", _Number, nullable=False),
    Column("batch_hash", LargeBinary, nullable=False),
    Column("acknowledgement", LargeBinary, nullable=False),
    Column("received_at", _Number, nullable=False),
    PrimaryKeyConstraint("terminal_id", "batch_hash"),
    info=_BY_TILL,
)

batches_to_look_at = Table(
    "batches_to_look_at",
    metadata,
    Column("terminal_id", _Number, nullable=False),
    Column("first_sequence", _Number, nullable=False),
    Column("last_sequence", _Number, nullable=False),
    Column("posted_at", _Number, nullable=False),
    PrimaryKeyConstraint("terminal_id", "first_sequence"),
    info=_BY_TILL,
)
"""Posted, and durable, but not yet looked at beside what other batches brought (decision 16)."""

rejected_batches = Table(
    "rejected_batches",
    metadata,
    Column("batch_hash", LargeBinary, primary_key=True),
    Column("code", String(40), nullable=False),
    Column("detail", String(400), nullable=False),
    Column("size_bytes", _Number, nullable=False),
    Column("content", LargeBinary),
    Column("received_at", _Number, nullable=False),
)
"""What was refused whole, with the reason; without its content once the keep is full."""

card_transactions = Table(
    "card_transactions",
    metadata,
    Column("card_uid", LargeBinary, nullable=False),
    Column("counter", _Number, nullable=False),
    Column("kind", Integer, nullable=False),
    Column("terminal_id", _Number, nullable=False),
    Column("sequence", _Number, nullable=False),
    Column("previous_terminal_id", _Number),
    Column("previous_sequence", _Number),
    Column("amount_rupiah", _Number, nullable=False),
    Column("balance_before_rupiah", _Number, nullable=False),
    Column("balance_after_rupiah", _Number, nullable=False),
    Column("card_mac_verified", Boolean, nullable=False),
    Column("at", _Number, nullable=False),
    PrimaryKeyConstraint("card_uid", "counter"),
    UniqueConstraint("terminal_id", "sequence", "card_uid", name="no_sale_twice"),
    CheckConstraint("counter > 0", name="counter_starts_at_1"),
    CheckConstraint("amount_rupiah > 0", name="amount_is_positive"),
    info=_BY_CARD,
)
"""The card's life, transaction by transaction; terminal 0 is the central server (credit n).

A sale is here if and only if it is posted: its uniqueness here is its posting's."""

named_before = Table(
    "named_before",
    metadata,
    Column("terminal_id", _Number, nullable=False),
    Column("sequence", _Number, nullable=False),
    Column("card_uid", LargeBinary, nullable=False),
    Column("counter", _Number, nullable=False),
    PrimaryKeyConstraint("terminal_id", "sequence", "card_uid", "counter"),
    info=_BY_CARD,
)
"""Transaction `counter` of the card names this sale of a till before it, and the sale was not on record
right before it when the transaction was written: it may come later, or never."""

in_doubt = Table(
    "in_doubt",
    metadata,
    Column("terminal_id", _Number, nullable=False),
    Column("sequence", _Number, nullable=False),
    Column("card_uid", LargeBinary, ForeignKey("cards.uid"), nullable=False),
    Column("amount_rupiah", _Number, nullable=False),
    Column("evidence", LargeBinary, nullable=False),
    Column("at", _Number, nullable=False),
    Column("state", String(10), nullable=False),
    Column("settled_by", String(12), nullable=False),
    Column("explanation", String(200), nullable=False),
    Column("counter", _Number),
    Column("searched_to", _Number, nullable=False),
    Column("claimed_paid", Boolean, nullable=False),
    Column("resolved_in", _Number),
    PrimaryKeyConstraint("terminal_id", "sequence"),
    _one_of("state", DoubtState),
)
"""`claimed_paid`: till or supervisor says that it was paid, without the card's MAC. `resolved_in`: the
till's voucher that brought the card's MAC.

`counter`: the transaction the intent was made for, found by decrypting its previous reader id;
up to `searched_to` it was looked for."""
Index("doubts_of_card", in_doubt.c.card_uid)
_undecided = in_doubt.c.state.in_([DoubtState.OPEN.value, DoubtState.SUSPENDED.value])
Index(
    "doubts_undecided",
    in_doubt.c.state,
    sqlite_where=_undecided,
    postgresql_where=_undecided,
)

doubt_decisions = Table(
    "doubt_decisions",
    metadata,
    Column("terminal_id", _Number, nullable=False),
    Column("sequence", _Number, nullable=False),
    Column("voucher_sequence", _Number, nullable=False),
    Column("paid", Boolean, nullable=False),
    Column("decided_by", String(80), nullable=False),
    Column("reason", String(200), nullable=False),
    Column("at", _Number, nullable=False),
    PrimaryKeyConstraint("terminal_id", "sequence"),
)
"""What supervisors decided of their till's doubts: claims, one for a sale."""

doubt_settlements = Table(
    "doubt_settlements",
    metadata,
    Column("id", _Number, primary_key=True),
    Column("terminal_id", _Number, nullable=False),
    Column("sequence", _Number, nullable=False),
    Column("state", String(10), nullable=False),
    Column("rule", String(40), nullable=False),
    Column("explanation", String(200), nullable=False),
    Column("at", _Number, nullable=False),
)
"""Every change of a doubt's state, with its rule: also those that move no money."""
Index("settlements_of_till", doubt_settlements.c.terminal_id, doubt_settlements.c.at)

pending_credits = Table(
    "pending_credits",
    metadata,
    Column("card_uid", LargeBinary, ForeignKey("cards.uid"), nullable=False),
    Column("sequence", _Number, nullable=False),
    Column("amount_rupiah", _Number, nullable=False),
    Column("source", String(12), nullable=False),
    Column("ordered_by", _Number, ForeignKey("terminals.id")),
    Column("idempotency_key", String(80), nullable=False, unique=True),
    Column("ordered_at", _Number, nullable=False),
    Column("state", String(10), nullable=False),
    Column("counter", _Number),
    Column("mac", LargeBinary),
    Column("seen_at", _Number),
    Column("seen_counter", _Number),
    PrimaryKeyConstraint("card_uid", "sequence"),
    CheckConstraint("amount_rupiah > 0", name="amount_is_positive"),
    _one_of("source", CreditSource),
    _one_of("state", CreditDelivery),
)
"""`seen_at`: when the card said, under the credit key, that it has this credit, though nothing kept
proves it; `seen_counter`: as which transaction, by the word of whoever relayed that."""
Index(
    "credits_waiting",
    pending_credits.c.card_uid,
    sqlite_where=pending_credits.c.state.in_([state.value for state in WAITING]),
    postgresql_where=pending_credits.c.state.in_([state.value for state in WAITING]),
)
_unsure = pending_credits.c.state.in_([state.value for state in MAY_BE_ON_CARD])
Index(
    "credits_unsure",
    pending_credits.c.card_uid,
    sqlite_where=_unsure,
    postgresql_where=_unsure,
)

refunds = Table(
    "refunds",
    metadata,
    Column("terminal_id", _Number, nullable=False),
    Column("sequence", _Number, nullable=False),
    Column("sale_sequence", _Number, nullable=False),
    Column("card_uid", LargeBinary, ForeignKey("cards.uid"), nullable=False),
    Column("amount_rupiah", _Number, nullable=False),
    Column("reason", String(200), nullable=False),
    Column("supervisor", String(80), nullable=False),
    Column("at", _Number, nullable=False),
    Column("state", String(10), nullable=False),
    Column("explanation", String(200), nullable=False),
    Column("credit_card_uid", LargeBinary),
    Column("credit_sequence", _Number),
    PrimaryKeyConstraint("terminal_id", "sequence"),
    ForeignKeyConstraint(
        ["credit_card_uid", "credit_sequence"],
        ["pending_credits.card_uid", "pending_credits.sequence"],
    ),
    CheckConstraint("amount_rupiah > 0", name="amount_is_positive"),
    CheckConstraint(
        "(state = 'ordered') = (credit_sequence IS NOT NULL)", name="ordered_is_a_credit"
    ),
    _one_of("state", RefundState),
)
"""Refund vouchers that were believed; `card_uid` is the sale's card, the credit may be another's."""
Index("refunds_of_sale", refunds.c.terminal_id, refunds.c.sale_sequence)
Index("refunds_of_card", refunds.c.card_uid)

credit_attempts = Table(
    "credit_attempts",
    metadata,
    Column("id", _Number, primary_key=True),
    Column("card_uid", LargeBinary, nullable=False),
    Column("sequence", _Number, nullable=False),
    Column("evidence", LargeBinary, nullable=False),
    Column("at", _Number, nullable=False),
    Column("counter", _Number),
    Column("searched_to", _Number, nullable=False),
)
"""Every credit for which a commit may have reached the card, written before it was sent."""
Index("attempts_of_credit", credit_attempts.c.card_uid, credit_attempts.c.sequence)

credit_settlements = Table(
    "credit_settlements",
    metadata,
    Column("card_uid", LargeBinary, nullable=False),
    Column("sequence", _Number, nullable=False),
    Column("counter", _Number, nullable=False),
    Column("settled_by", String(80), nullable=False),
    Column("reason", String(200), nullable=False),
    Column("at", _Number, nullable=False),
    PrimaryKeyConstraint("card_uid", "sequence"),
    ForeignKeyConstraint(
        ["card_uid", "sequence"], ["pending_credits.card_uid", "pending_credits.sequence"]
    ),
)
"""Credits that a person at the office said are delivered, on the card's word without its MAC."""

postings = Table(
    "postings",
    metadata,
    Column("at", _Number, nullable=False),
    Column("id", _Number, Identity(), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("debit_account", _Number, nullable=False),
    Column("credit_account", _Number, nullable=False),
    Column("amount_rupiah", _Number, nullable=False),
    Column("card_uid", LargeBinary, nullable=False),
    Column("terminal_id", _Number, nullable=False),
    Column("sequence", _Number, nullable=False),
    Column("explanation", String(200), nullable=False),
    PrimaryKeyConstraint("at", "id", "card_uid"),
    CheckConstraint("amount_rupiah > 0", name="amount_is_positive"),
    CheckConstraint("debit_account <> credit_account", name="two_accounts"),
    CheckConstraint(_accounts_of_kinds(), name="accounts_of_the_kind"),
    postgresql_partition_by="RANGE (at)",
    info={**_BY_CARD, "partitioned_by": "at", "sqlite_primary_key": "id"},
)
"""The journal: a row is a whole double entry, of accounts as `posting_rules` numbers them.

Reference: voucher (terminal, sequence); credit (0, credit sequence); the card's unexplained
differences (0, 1 and up). `at` is when it was booked, by the server's clock. On SQLite the primary
key is `id`, which only there is given by being the key."""
Index("postings_of_card", postings.c.card_uid)

posting_keys = Table(
    "posting_keys",
    metadata,
    Column("card_uid", LargeBinary, nullable=False),
    Column("kind", String(20), nullable=False),
    Column("terminal_id", _Number, nullable=False),
    Column("sequence", _Number, nullable=False),
    PrimaryKeyConstraint("card_uid", "kind", "terminal_id", "sequence", name="nothing_posts_twice"),
    info=_BY_CARD,
)
_unexplained = posting_keys.c.kind.in_(["unexplained-loss", "unexplained-gain"])
Index(
    "cards_with_suspense",
    posting_keys.c.card_uid,
    sqlite_where=_unexplained,
    postgresql_where=_unexplained,
)
"""One for each posting but those of sales, written with it (`card_transactions` has the sales):
partitions cannot have a unique constraint without the time."""

anomalies = Table(
    "anomalies",
    metadata,
    Column("id", _Number, primary_key=True),
    Column("subject", String(120), nullable=False),
    Column("kind", String(40), nullable=False),
    Column("card_uid", LargeBinary),
    Column("terminal_id", _Number),
    Column("amount_rupiah", _Number),
    Column("detail", String(400), nullable=False),
    Column("at", _Number, nullable=False),
    UniqueConstraint("kind", "subject", name="found_once"),
)
"""What was found, as it was found first. `anomaly_steps` has what became of it since."""

anomaly_steps = Table(
    "anomaly_steps",
    metadata,
    Column("anomaly_id", _Number, ForeignKey("anomalies.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("state", String(10), nullable=False),
    Column("owner", String(80), nullable=False),
    Column("note", String(400), nullable=False),
    Column("amount_rupiah", _Number),
    Column("done_by", String(80), nullable=False),
    Column("at", _Number, nullable=False),
    PrimaryKeyConstraint("anomaly_id", "number"),
    CheckConstraint("number > 0", name="steps_from_1"),
    _one_of("state", WorkState),
)
"""What was done with a finding, numbered from 1; the last step says its state and whose it is. One
without steps is open. `done_by` "": the server, which then found it again (`note` and `amount_rupiah`
say how) or found that it is no longer so."""

hotlist_changes = Table(
    "hotlist_changes",
    metadata,
    Column("version", _Number, primary_key=True, autoincrement=False),
    Column("card_uid", LargeBinary, ForeignKey("cards.uid"), nullable=False),
    Column("blocked", Boolean, nullable=False),
    Column("reason", String(200), nullable=False),
    Column("by_terminal", _Number),
    Column("at", _Number, nullable=False),
)

restorations = Table(
    "restorations",
    metadata,
    Column("version_after", _Number, primary_key=True, autoincrement=False),
    Column("version_before", _Number, nullable=False),
    Column("at", _Number, nullable=False),
)
"""When this database came back from a backup: of block lists in between nothing is known here."""

replacements = Table(
    "replacements",
    metadata,
    Column("card_uid", LargeBinary, ForeignKey("cards.uid"), primary_key=True),
    Column("reason", String(200), nullable=False),
    Column("by_terminal", _Number),
    Column("at", _Number, nullable=False),
    Column("block_version", _Number, nullable=False),
    Column("safe_at", _Number),
    Column("safe_by", String(80), nullable=False),
)
"""Lost cards. From `safe_at` on, for the reason `safe_by`, their money may be restored."""

periodic_jobs = Table(
    "periodic_jobs",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("started_at", _Number, nullable=False),
    Column("running_until", _Number, nullable=False),
    Column("finished_at", _Number),
    Column("failed_at", _Number),
    Column("failures", Integer, nullable=False),
    Column("outcome", String(400), nullable=False),
    info={"reference": True},
)
"""What a server does by itself now and then, and how it went. Until `running_until` (0: nobody) the
job is one server's; `finished_at` is the last success, `failures` are those since."""

staff = Table(
    "staff",
    metadata,
    Column("name", String(80), primary_key=True),
    Column("folded", String(160), nullable=False, unique=True),
    Column("added_at", _Number, nullable=False),
)
"""Who proposes, approves and works on findings. `folded`: the name without capitals, so that nobody is two people."""

staff_roles = Table(
    "staff_roles",
    metadata,
    Column("name", String(80), ForeignKey("staff.name"), nullable=False),
    Column("role", String(10), nullable=False),
    Column("since", _Number, nullable=False),
    PrimaryKeyConstraint("name", "role"),
    _one_of("role", StaffRole),
)

staff_passwords = Table(
    "staff_passwords",
    metadata,
    Column("name", String(80), ForeignKey("staff.name"), primary_key=True),
    Column("salt", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("set_at", _Number, nullable=False),
)
"""Of a password there is only its scrypt. While nobody has one, stations act under their own name."""

staff_failures = Table(
    "staff_failures",
    metadata,
    Column("station", _Number, nullable=False),
    Column("folded", String(160), nullable=False),
    Column("failures", Integer, nullable=False),
    Column("locked_until", _Number, nullable=False),
    Column("at", _Number, nullable=False),
    PrimaryKeyConstraint("station", "folded"),
)
"""Wrong passwords in a row, by where they were given (0: the office's own page) and under which name,
also under names that nobody has."""

staff_sessions = Table(
    "staff_sessions",
    metadata,
    Column("token_hash", LargeBinary, primary_key=True),
    Column("name", String(80), ForeignKey("staff.name"), nullable=False),
    Column("station", _Number, ForeignKey("terminals.id")),
    Column("started_at", _Number, nullable=False),
    Column("seen_at", _Number, nullable=False),
    Column("expires_at", _Number, nullable=False),
)
"""Who is logged in, by the SHA-256 of what they hold. Without a station: at the office's own page."""
Index("sessions_of_staff", staff_sessions.c.name)

staff_acts = Table(
    "staff_acts",
    metadata,
    Column("id", _Number, primary_key=True, autoincrement=False),
    Column("at", _Number, nullable=False),
    Column("station", _Number),
    Column("person", String(80), nullable=False),
    Column("act", String(30), nullable=False),
    Column("subject", String(120), nullable=False),
    Column("amount_rupiah", _Number, nullable=False),
    Column("detail", String(400), nullable=False),
    Column("hash", LargeBinary, nullable=False),
    CheckConstraint("id > 0", name="acts_from_1"),
)
"""What staff did, numbered without a gap. `hash`: SHA-256 over the one before and this row (`acts.py`).
`person` "": nobody had to log in, or a program did it."""
Index("acts_by_time", staff_acts.c.at)

approvals = Table(
    "approvals",
    metadata,
    Column("number", _Number, primary_key=True, autoincrement=False),
    Column("kind", String(12), nullable=False),
    Column("facts", String(2000), nullable=False),
    Column("proposed_by", String(80), ForeignKey("staff.name"), nullable=False),
    Column("station", _Number, ForeignKey("terminals.id")),
    Column("proposed_at", _Number, nullable=False),
    UniqueConstraint("number", "proposed_by", name="approval_of_its_proposer"),
    _one_of("kind", ApprovalKind),
)
"""What somebody proposes and somebody else must accept before it is done; `facts` is a JSON object."""

approval_decisions = Table(
    "approval_decisions",
    metadata,
    Column("number", _Number, primary_key=True, autoincrement=False),
    Column("proposed_by", String(80), nullable=False),
    Column("accepted", Boolean, nullable=False),
    Column("decided_by", String(80), ForeignKey("staff.name"), nullable=False),
    Column("outcome", String(400), nullable=False),
    Column("at", _Number, nullable=False),
    ForeignKeyConstraint(["number", "proposed_by"], ["approvals.number", "approvals.proposed_by"]),
    CheckConstraint("decided_by <> proposed_by", name="approval_by_two_people"),
)
"""One for each approval at most; accepted, what it asks was done in the same transaction."""

limit_changes = Table(
    "limit_changes",
    metadata,
    Column("number", _Number, primary_key=True, autoincrement=False),
    Column("name", String(40), nullable=False),
    Column("member_class", String(40), nullable=False),
    Column("value", _Number, nullable=False),
    Column("approval", _Number, ForeignKey("approvals.number"), nullable=False),
    Column("at", _Number, nullable=False),
    CheckConstraint("value >= 0", name="limit_not_negative"),
)
"""Limits as two people set them, the last of a name in force; before that, what the settings say.
`member_class` "": for all who have none of their own."""

held_credits = Table(
    "held_credits",
    metadata,
    Column("idempotency_key", String(80), primary_key=True),
    Column("card_uid", LargeBinary, ForeignKey("cards.uid"), nullable=False),
    Column("amount_rupiah", _Number, nullable=False),
    Column("source", String(12), nullable=False),
    Column("received_rupiah", _Number),
    Column("ordered_by", _Number, ForeignKey("terminals.id"), nullable=False),
    Column("person", String(80), nullable=False),
    Column("approval", _Number, ForeignKey("approvals.number"), nullable=False, unique=True),
    Column("ordered_at", _Number, nullable=False),
    CheckConstraint("amount_rupiah > 0", name="amount_is_positive"),
    CheckConstraint("received_rupiah >= amount_rupiah", name="received_enough"),
    CheckConstraint("source IN ('cash', 'salary')", name="source_of_an_order"),
)
"""Ordered credits so large that a second person decides. Accepted, one is a pending credit of the same
key, made in the transaction that accepts it; refused, it never becomes one."""
Index("held_credits_of_card", held_credits.c.card_uid)

cash_received = Table(
    "cash_received",
    metadata,
    Column("card_uid", LargeBinary, nullable=False),
    Column("sequence", _Number, nullable=False),
    Column("received_rupiah", _Number, nullable=False),
    Column("station", _Number, ForeignKey("terminals.id"), nullable=False),
    Column("person", String(80), nullable=False),
    Column("at", _Number, nullable=False),
    PrimaryKeyConstraint("card_uid", "sequence"),
    ForeignKeyConstraint(
        ["card_uid", "sequence"], ["pending_credits.card_uid", "pending_credits.sequence"]
    ),
    CheckConstraint("received_rupiah > 0", name="received_something"),
)
"""What was handed over for a credit that was paid in cash, and to whom; the change is the rest of it."""
Index("cash_received_at", cash_received.c.station, cash_received.c.at)

cash_counts = Table(
    "cash_counts",
    metadata,
    Column("number", _Number, primary_key=True, autoincrement=False),
    Column("station", _Number, ForeignKey("terminals.id"), nullable=False),
    Column("person", String(80), nullable=False),
    Column("counted_rupiah", _Number, nullable=False),
    Column("expected_rupiah", _Number, nullable=False),
    Column("note", String(200), nullable=False),
    Column("at", _Number, nullable=False),
    CheckConstraint("number > 0", name="counts_from_1"),
    CheckConstraint("counted_rupiah >= 0", name="counted_not_negative"),
)
"""The cash at a station as it was counted, beside what the books said then."""
Index("cash_counts_of_station", cash_counts.c.station, cash_counts.c.at)

seller_accounts = Table(
    "seller_accounts",
    metadata,
    Column("seller_id", _Number, ForeignKey("sellers.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("bank", String(70), nullable=False),
    Column("bank_code", String(11), nullable=False),
    Column("account", String(34), nullable=False),
    Column("holder", String(70), nullable=False),
    Column("proposed_by", String(80), ForeignKey("staff.name"), nullable=False),
    Column("proposed_at", _Number, nullable=False),
    PrimaryKeyConstraint("seller_id", "number"),
    UniqueConstraint("seller_id", "number", "proposed_by", name="account_of_its_proposer"),
)
"""Sellers' bank accounts, every one that was ever proposed, numbered from 1 for each seller."""

seller_account_decisions = Table(
    "seller_account_decisions",
    metadata,
    Column("seller_id", _Number, nullable=False),
    Column("number", Integer, nullable=False),
    Column("proposed_by", String(80), nullable=False),
    Column("accepted", Boolean, nullable=False),
    Column("decided_by", String(80), ForeignKey("staff.name"), nullable=False),
    Column("at", _Number, nullable=False),
    PrimaryKeyConstraint("seller_id", "number"),
    ForeignKeyConstraint(
        ["seller_id", "number", "proposed_by"],
        ["seller_accounts.seller_id", "seller_accounts.number", "seller_accounts.proposed_by"],
    ),
    CheckConstraint("decided_by <> proposed_by", name="account_by_two_people"),
)
"""The last account of a seller that was accepted is in force."""

fee_rules = Table(
    "fee_rules",
    metadata,
    Column("seller_id", _Number, nullable=False),
    Column("from_day", Integer, nullable=False),
    Column("basis_points", Integer, nullable=False),
    Column("per_sale_rupiah", _Number, nullable=False),
    Column("per_run_rupiah", _Number, nullable=False),
    Column("minimum_rupiah", _Number, nullable=False),
    Column("maximum_rupiah", _Number),
    Column("set_by", String(80), ForeignKey("staff.name"), nullable=False),
    Column("set_at", _Number, nullable=False),
    PrimaryKeyConstraint("seller_id", "from_day"),
    CheckConstraint("basis_points BETWEEN 0 AND 10000", name="fee_is_a_part"),
    CheckConstraint(
        "per_sale_rupiah >= 0 AND per_run_rupiah >= 0 AND minimum_rupiah >= 0 "
        "AND (maximum_rupiah IS NULL OR maximum_rupiah >= minimum_rupiah)",
        name="fee_is_no_gift",
    ),
)
"""What a seller pays of what is booked from a day on (days since 1970-01-01 in WIB), until its next
rule. Seller 0: whoever has no rule of its own. Each is a proposal that somebody else accepted."""

fee_proposals = Table(
    "fee_proposals",
    metadata,
    Column("seller_id", _Number, nullable=False),
    Column("number", Integer, nullable=False),
    Column("from_day", Integer, nullable=False),
    Column("basis_points", Integer, nullable=False),
    Column("per_sale_rupiah", _Number, nullable=False),
    Column("per_run_rupiah", _Number, nullable=False),
    Column("minimum_rupiah", _Number, nullable=False),
    Column("maximum_rupiah", _Number),
    Column("proposed_by", String(80), ForeignKey("staff.name"), nullable=False),
    Column("proposed_at", _Number, nullable=False),
    PrimaryKeyConstraint("seller_id", "number"),
    UniqueConstraint("seller_id", "number", "proposed_by", name="fee_of_its_proposer"),
)
"""Rules of fees, every one that was ever proposed, numbered from 1 for each seller and for seller 0."""

fee_decisions = Table(
    "fee_decisions",
    metadata,
    Column("seller_id", _Number, nullable=False),
    Column("number", Integer, nullable=False),
    Column("proposed_by", String(80), nullable=False),
    Column("accepted", Boolean, nullable=False),
    Column("decided_by", String(80), ForeignKey("staff.name"), nullable=False),
    Column("at", _Number, nullable=False),
    PrimaryKeyConstraint("seller_id", "number"),
    ForeignKeyConstraint(
        ["seller_id", "number", "proposed_by"],
        ["fee_proposals.seller_id", "fee_proposals.number", "fee_proposals.proposed_by"],
    ),
    CheckConstraint("decided_by <> proposed_by", name="fee_by_two_people"),
)

settlement_runs = Table(
    "settlement_runs",
    metadata,
    Column("number", _Number, primary_key=True, autoincrement=False),
    Column("cut_off_day", Integer, nullable=False),
    Column("payments", Integer, nullable=False),
    Column("net_rupiah", _Number, nullable=False),
    Column("proposed_by", String(80), ForeignKey("staff.name"), nullable=False),
    Column("proposed_at", _Number, nullable=False),
    UniqueConstraint("number", "proposed_by", name="run_of_its_proposer"),
    CheckConstraint("payments > 0 AND net_rupiah >= payments", name="run_pays_something"),
)
"""Payments to sellers that go together, for what was booked up to the end of a day in WIB."""

settlement_steps = Table(
    "settlement_steps",
    metadata,
    Column("run", _Number, nullable=False),
    Column("state", String(10), nullable=False),
    Column("previous", String(10)),
    Column("proposed_by", String(80), nullable=False),
    Column("done_by", String(80), ForeignKey("staff.name"), nullable=False),
    Column("note", String(200), nullable=False),
    Column("at", _Number, nullable=False),
    PrimaryKeyConstraint("run", "state"),
    UniqueConstraint("run", "previous", name="one_way_on"),
    ForeignKeyConstraint(
        ["run", "proposed_by"], ["settlement_runs.number", "settlement_runs.proposed_by"]
    ),
    ForeignKeyConstraint(["run", "previous"], ["settlement_steps.run", "settlement_steps.state"]),
    CheckConstraint(
        "(previous IS NULL AND state = 'proposed')"
        " OR (previous = 'proposed' AND state IN ('approved', 'withdrawn'))"
        " OR (previous = 'approved' AND state IN ('exported', 'withdrawn'))"
        " OR (previous = 'exported' AND state IN ('paid', 'withdrawn'))",
        name="steps_in_order",
    ),
    CheckConstraint("state <> 'approved' OR done_by <> proposed_by", name="run_by_two_people"),
)
"""What was done with a run, by whom. Each step follows one that was taken, and no other follows it:
nothing is both paid and withdrawn. `note`: the bank's reference, why it was withdrawn, or the
SHA-256 of the payment file."""

settlement_items = Table(
    "settlement_items",
    metadata,
    Column("run", _Number, ForeignKey("settlement_runs.number"), nullable=False),
    Column("seller_id", _Number, nullable=False),
    Column("number", _Number, nullable=False, unique=True),
    Column("account_number", Integer, nullable=False),
    Column("from_at", _Number, nullable=False),
    Column("to_at", _Number, nullable=False),
    Column("sales", _Number, nullable=False),
    Column("sales_rupiah", _Number, nullable=False),
    Column("refunds_rupiah", _Number, nullable=False),
    Column("fee_rupiah", _Number, nullable=False),
    Column("net_rupiah", _Number, nullable=False),
    PrimaryKeyConstraint("run", "seller_id"),
    ForeignKeyConstraint(
        ["seller_id", "account_number"], ["seller_accounts.seller_id", "seller_accounts.number"]
    ),
    CheckConstraint("net_rupiah = sales_rupiah - refunds_rupiah - fee_rupiah", name="net_adds_up"),
    CheckConstraint(
        "net_rupiah > 0 AND fee_rupiah >= 0 AND sales_rupiah >= 0 AND refunds_rupiah >= 0",
        name="nobody_pays_in",
    ),
    CheckConstraint("to_at > from_at", name="some_time"),
)
"""What a run pays a seller, for what was booked from `from_at` on and before `to_at`. `number` is the
reference of its postings."""

settlement_left_out = Table(
    "settlement_left_out",
    metadata,
    Column("run", _Number, ForeignKey("settlement_runs.number"), nullable=False),
    Column("seller_id", _Number, ForeignKey("sellers.id"), nullable=False),
    Column("reason", String(20), nullable=False),
    Column("due_rupiah", _Number, nullable=False),
    PrimaryKeyConstraint("run", "seller_id"),
    _one_of("reason", LeftOut),
)
"""Who was owed something, or owes it, and comes into a later run."""

settlement_claims = Table(
    "settlement_claims",
    metadata,
    Column("seller_id", _Number, nullable=False),
    Column("from_at", _Number, nullable=False),
    Column("after", _Number),
    Column("to_at", _Number, nullable=False),
    Column("run", _Number, nullable=False),
    PrimaryKeyConstraint("seller_id", "from_at"),
    UniqueConstraint("seller_id", "to_at", name="periods_end_apart"),
    ForeignKeyConstraint(
        ["seller_id", "after"], ["settlement_claims.seller_id", "settlement_claims.to_at"]
    ),
    ForeignKeyConstraint(
        ["run", "seller_id"], ["settlement_items.run", "settlement_items.seller_id"]
    ),
    CheckConstraint("from_at = coalesce(after, 0)", name="no_time_between"),
    CheckConstraint("to_at > from_at", name="some_time"),
)
"""The periods of the items that are paid or may still be: for each seller one chain from the first
sale on. An item of a withdrawn run has none, and none goes while another follows it."""

sealed_days = Table(
    "sealed_days",
    metadata,
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("sealed_at", _Number, nullable=False),
)
"""Booking days (days since 1970-01-01 in WIB) into which nothing is posted any more: the database
refuses it. Their heads may still have to be made."""

daily_heads = Table(
    "daily_heads",
    metadata,
    Column("day", Integer, ForeignKey("sealed_days.day"), primary_key=True, autoincrement=False),
    Column("postings", _Number, nullable=False),
    Column("amount_rupiah", _Number, nullable=False),
    Column("journal_hash", LargeBinary, nullable=False),
    Column("tills_hash", LargeBinary, nullable=False),
    Column("previous_hash", LargeBinary, nullable=False, unique=True),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("signature", LargeBinary, nullable=False),
    Column("closed_at", _Number, nullable=False),
    CheckConstraint(
        "postings >= 0 AND amount_rupiah >= postings", name="a_posting_moves_something"
    ),
)
"""Closed days: docs/formats/daily-head.md. No hash has two successors, so the chain cannot fork."""

till_heads = Table(
    "till_heads",
    metadata,
    Column("day", Integer, ForeignKey("sealed_days.day"), nullable=False),
    Column("terminal_id", _Number, nullable=False),
    Column("head_sequence", _Number, nullable=False),
    Column("head_hash", LargeBinary, nullable=False),
    PrimaryKeyConstraint("day", "terminal_id"),
)
"""How far each till's vouchers were kept when a day was closed."""

kind_days = Table(
    "kind_days",
    metadata,
    Column("day", Integer, ForeignKey("sealed_days.day"), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("debit_group", Integer, nullable=False),
    Column("credit_group", Integer, nullable=False),
    Column("postings", _Number, nullable=False),
    Column("amount_rupiah", _Number, nullable=False),
    PrimaryKeyConstraint("day", "kind", "debit_group", "credit_group"),
)
"""What was posted on a closed day, by kind and by groups of accounts (their numbers)."""

account_days = Table(
    "account_days",
    metadata,
    Column("account", _Number, nullable=False),
    Column("day", Integer, nullable=False),
    Column("debits_rupiah", _Number, nullable=False),
    Column("credits_rupiah", _Number, nullable=False),
    PrimaryKeyConstraint("account", "day"),
    info={"distribution_key": "account"},
)
"""What was posted to an account on a closed day, if anything was."""

salaries = Table(
    "salaries",
    metadata,
    Column("period", String(20), nullable=False),
    Column("member_number", _Number, ForeignKey("members.member_number"), nullable=False),
    Column("number", _Number, nullable=False),
    Column("amount_rupiah", _Number, nullable=False),
    Column("at", _Number, nullable=False),
    PrimaryKeyConstraint("period", "member_number"),
    UniqueConstraint("number", "member_number"),
    CheckConstraint("amount_rupiah > 0", name="amount_is_positive"),
    info={"distribution_key": "member_number"},
)
"""What of a member's salary was converted in a period, once; `number` is the posting's sequence."""

cash_banked = Table(
    "cash_banked",
    metadata,
    Column("number", _Number, primary_key=True, autoincrement=False),
    Column("terminal_id", _Number, ForeignKey("terminals.id"), nullable=False),
    Column("amount_rupiah", _Number, nullable=False),
    Column("note", String(200), nullable=False),
    Column("at", _Number, nullable=False),
    CheckConstraint("amount_rupiah > 0", name="amount_is_positive"),
)
"""Cash of a station that was brought to the bank."""

outlet_versions = Table(
    "outlet_versions",
    metadata,
    Column("seller_id", _Number, nullable=False),
    Column("part", String(10), nullable=False),
    Column("version", _Number, nullable=False),
    PrimaryKeyConstraint("seller_id", "part"),
    _one_of("part", OutletPart),
)
"""When a part of what an outlet's tills are told changed last, by the counter of `outlets.py`. Seller 0:
all of them."""

catalogue_items = Table(
    "catalogue_items",
    metadata,
    Column("seller_id", _Number, nullable=False),
    Column("code", String(80), nullable=False),
    Column("name", String(80), nullable=False),
    Column("category", String(80), nullable=False),
    Column("price_rupiah", _Number, nullable=False),
    PrimaryKeyConstraint("seller_id", "code"),
    CheckConstraint("price_rupiah >= 0", name="price_is_no_gift"),
)
"""What is sold, at one seller or (0) at all of them; a seller's own goes before all sellers' of the same
code. What was sold before stands in the vouchers."""

catalogue_barcodes = Table(
    "catalogue_barcodes",
    metadata,
    Column("seller_id", _Number, nullable=False),
    Column("barcode", String(80), nullable=False),
    Column("code", String(80), nullable=False),
    PrimaryKeyConstraint("seller_id", "barcode"),
    ForeignKeyConstraint(
        ["seller_id", "code"], ["catalogue_items.seller_id", "catalogue_items.code"]
    ),
)

catalogue_prices = Table(
    "catalogue_prices",
    metadata,
    Column("seller_id", _Number, nullable=False),
    Column("code", String(80), nullable=False),
    Column("member_class", String(40), nullable=False),
    Column("price_rupiah", _Number, nullable=False),
    PrimaryKeyConstraint("seller_id", "code", "member_class"),
    ForeignKeyConstraint(
        ["seller_id", "code"], ["catalogue_items.seller_id", "catalogue_items.code"]
    ),
    CheckConstraint("price_rupiah >= 0", name="price_is_no_gift"),
)
"""What members of a class pay instead."""

catalogue_outlets = Table(
    "catalogue_outlets",
    metadata,
    Column("seller_id", _Number, nullable=False),
    Column("code", String(80), nullable=False),
    Column("outlet_id", _Number, ForeignKey("sellers.id"), nullable=False),
    PrimaryKeyConstraint("seller_id", "code", "outlet_id"),
    ForeignKeyConstraint(
        ["seller_id", "code"], ["catalogue_items.seller_id", "catalogue_items.code"]
    ),
    CheckConstraint("seller_id = 0", name="of_what_all_sell"),
)
"""An item of all sellers' that is here is had only at the outlets named."""

till_staff = Table(
    "till_staff",
    metadata,
    Column("seller_id", _Number, ForeignKey("sellers.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("name", String(80), nullable=False),
    Column("duty", Integer, nullable=False),
    Column("pin_salt", LargeBinary),
    Column("pin_hash", LargeBinary),
    Column("member_number", _Number, ForeignKey("members.member_number")),
    Column("changed_at", _Number, nullable=False),
    PrimaryKeyConstraint("seller_id", "number"),
    UniqueConstraint("seller_id", "member_number", name="a_card_is_one_persons"),
    CheckConstraint("number > 0", name="staff_numbers_from_1"),
    CheckConstraint("duty IN (1, 2)", name="duty_known"),
    CheckConstraint("(pin_salt IS NULL) = (pin_hash IS NULL)", name="pin_whole_or_none"),
)
"""Who works at an outlet's tills: 1 cashiers, 2 supervisors. Of a PIN there is only its scrypt."""

member_orders = Table(
    "member_orders",
    metadata,
    Column("seller_id", _Number, ForeignKey("sellers.id"), nullable=False),
    Column("number", _Number, nullable=False),
    Column("member_number", _Number, ForeignKey("members.member_number"), nullable=False),
    Column("placed_at", _Number, nullable=False),
    Column("pick_up_day", Integer, nullable=False),
    Column("note", String(200), nullable=False),
    Column("taken_at", _Number, nullable=False),
    Column("is_open", Boolean, nullable=False),
    PrimaryKeyConstraint("seller_id", "number"),
    CheckConstraint("number > 0", name="orders_from_1"),
    info={"distribution_key": "seller_id"},
)
"""What members ordered of an outlet. `is_open`: neither handed over nor cancelled."""
Index(
    "orders_open",
    member_orders.c.seller_id,
    sqlite_where=member_orders.c.is_open,
    postgresql_where=member_orders.c.is_open,
)

member_order_lines = Table(
    "member_order_lines",
    metadata,
    Column("seller_id", _Number, nullable=False),
    Column("number", _Number, nullable=False),
    Column("line", Integer, nullable=False),
    Column("item", String(80), nullable=False),
    Column("name", String(80), nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("unit_price_rupiah", _Number, nullable=False),
    PrimaryKeyConstraint("seller_id", "number", "line"),
    UniqueConstraint("seller_id", "number", "item", name="an_item_in_one_line"),
    ForeignKeyConstraint(
        ["seller_id", "number"], ["member_orders.seller_id", "member_orders.number"]
    ),
    CheckConstraint("quantity > 0 AND unit_price_rupiah >= 0", name="something_was_ordered"),
    info={"distribution_key": "seller_id"},
)

member_order_states = Table(
    "member_order_states",
    metadata,
    Column("seller_id", _Number, nullable=False),
    Column("number", _Number, nullable=False),
    Column("terminal_id", _Number, nullable=False),
    Column("record_number", _Number, nullable=False),
    Column("state", Integer, nullable=False),
    Column("sale_sequence", _Number),
    Column("done_by", String(80), nullable=False),
    Column("at", _Number, nullable=False),
    PrimaryKeyConstraint("seller_id", "number", "terminal_id", "record_number"),
    CheckConstraint("state IN (1, 2, 3)", name="state_known"),
    CheckConstraint("(state = 1) = (sale_sequence IS NOT NULL)", name="paid_by_a_sale"),
    info={"distribution_key": "seller_id"},
)
"""What tills did with orders, by their records, also with ones that are not known here: 1 paid, 2 handed
over, 3 cancelled."""

till_records = Table(
    "till_records",
    metadata,
    Column("terminal_id", _Number, nullable=False),
    Column("number", _Number, nullable=False),
    Column("kind", String(10), nullable=False),
    Column("encoded", LargeBinary, nullable=False),
    Column("received_at", _Number, nullable=False),
    PrimaryKeyConstraint("terminal_id", "number"),
    CheckConstraint("number > 0", name="records_from_1"),
    _one_of("kind", RecordKind),
    info=_BY_TILL,
)
"""What tills report beside their vouchers, as it came: docs/formats/records.md."""
Index("records_received", till_records.c.kind, till_records.c.received_at)

photos = Table(
    "photos",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("jpeg", LargeBinary, nullable=False),
    Column("added_at", _Number, nullable=False),
)
"""Members' photos, by their SHA-256, for as long as a note names them."""

member_notes = Table(
    "member_notes",
    metadata,
    Column(
        "member_number",
        _Number,
        ForeignKey("members.member_number"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("member_class", String(40), nullable=False),
    Column("photo", LargeBinary, ForeignKey("photos.hash")),
    Column("version", _Number, nullable=False),
)
"""What tills are told about a member: the class, "" for the ordinary one, and the photo. Each change
has a version of its own, by the counter of `outlets.py`."""
Index("notes_by_version", member_notes.c.version)

issuing_batches = Table(
    "issuing_batches",
    metadata,
    Column("number", _Number, primary_key=True, autoincrement=False),
    Column("name", String(80), nullable=False),
    Column("idempotency_key", String(80), nullable=False, unique=True),
    Column("content_hash", LargeBinary, nullable=False),
    Column("lines_count", Integer, nullable=False),
    Column("made_at", _Number, nullable=False),
    Column("station", _Number, ForeignKey("terminals.id"), nullable=False),
    Column("person", String(80), nullable=False),
    CheckConstraint("number > 0", name="batches_from_1"),
    CheckConstraint("lines_count > 0", name="batch_of_somebody"),
)
"""Lists of members who are to get cards. `content_hash`: SHA-256 of what was given, so that another
list under the same key is refused."""

key_generations = Table(
    "key_generations",
    metadata,
    Column("generation", Integer, primary_key=True, autoincrement=False),
    Column("begun_at", _Number, nullable=False),
    Column("begun_by", String(200), nullable=False),
    Column("older_until", _Number, nullable=False),
    Column("minutes_hash", LargeBinary),
    Column("cards_from", _Number),
    CheckConstraint("generation BETWEEN 2 AND 255", name="generation_on_a_card"),
    CheckConstraint("older_until >= begun_at", name="older_until_afterwards"),
    CheckConstraint("minutes_hash IS NULL OR length(minutes_hash) = 32", name="minutes_hashed"),
)
"""Generations of card keys after the first. Cards with an older one are taken until `older_until`;
cards are brought to it from `cards_from` on: when every till that may sell held it, or the office said
so. `minutes_hash`: SHA-256 of a ceremony's minutes."""

till_keys = Table(
    "till_keys",
    metadata,
    Column("terminal_id", _Number, ForeignKey("terminals.id"), primary_key=True),
    Column("generation", Integer, nullable=False),
    Column("at", _Number, nullable=False),
    CheckConstraint("generation BETWEEN 0 AND 255", name="generation_on_a_card"),
)
"""The newest generation of card keys that a till said it holds, when it last asked; 0: it holds none."""

online_tills = Table(
    "online_tills",
    metadata,
    Column("terminal_id", _Number, ForeignKey("terminals.id"), primary_key=True),
    Column("since", _Number, nullable=False),
)
"""Tills that are given no masters: they ask for each card's key, and do not sell without a network."""

card_key_counts = Table(
    "card_key_counts",
    metadata,
    Column("terminal_id", _Number, ForeignKey("terminals.id"), nullable=False),
    Column("minute", _Number, nullable=False),
    Column("count", Integer, nullable=False),
    PrimaryKeyConstraint("terminal_id", "minute"),
    CheckConstraint("count >= 0", name="counted_from_0"),
)
"""How many cards' keys a till was given in a minute (Unix seconds / 60); kept for a month."""

card_pins = Table(
    "card_pins",
    metadata,
    Column("card_uid", LargeBinary, ForeignKey("cards.uid"), primary_key=True),
    Column("key_version", Integer, nullable=False),
    Column("sealed", LargeBinary),
    Column("pending", LargeBinary),
    Column("clear_since", _Number, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("locked_at", _Number),
    CheckConstraint("key_version BETWEEN 0 AND 255", name="generation_on_a_card"),
    CheckConstraint("tries >= 0", name="tries_from_0"),
)
"""A card's PIN, sealed under its own application key of `key_version`, which no till has: NULL for none.
`pending` is the one that is being put on the card. `clear_since`: wrong tries from before count no
more; `tries` are those at service points since the last right one; tills refuse it while it is locked."""

pin_events = Table(
    "pin_events",
    metadata,
    Column("id", _Number, primary_key=True),
    Column("card_uid", LargeBinary, nullable=False),
    Column("event", String(10), nullable=False),
    Column("terminal_id", _Number, ForeignKey("terminals.id")),
    Column("record_number", _Number),
    Column("at", _Number, nullable=False),
    Column("noted_at", _Number, nullable=False),
    _one_of("event", PinEvent),
)
"""`at` is the time of the till that reports it by its record `record_number`, else the server's."""
Index("pin_events_of_card", pin_events.c.card_uid, pin_events.c.at)

issuing_lines = Table(
    "issuing_lines",
    metadata,
    Column("batch", _Number, ForeignKey("issuing_batches.number"), nullable=False),
    Column("line", Integer, nullable=False),
    Column("member_number", _Number, ForeignKey("members.member_number"), nullable=False),
    Column("name", String(80), nullable=False),
    Column("state", String(10), nullable=False),
    Column("reason", String(200), nullable=False),
    Column("claim", String(40), nullable=False),
    Column("claimed_by", _Number, ForeignKey("terminals.id")),
    Column("claimed_until", _Number, nullable=False),
    Column("card_uid", LargeBinary, ForeignKey("cards.uid")),
    Column("generation", String(40), nullable=False),
    Column("originality", String(80), nullable=False),
    Column("resumed", Boolean, nullable=False),
    Column("issued_at", _Number),
    Column("station", _Number, ForeignKey("terminals.id")),
    Column("person", String(80), nullable=False),
    PrimaryKeyConstraint("batch", "line"),
    UniqueConstraint("batch", "member_number", name="member_once_a_batch"),
    _one_of("state", LineState),
    CheckConstraint("(state = 'issued') = (issued_at IS NOT NULL)", name="issued_some_time"),
    CheckConstraint("(state = 'issued') = (station IS NOT NULL)", name="issued_somewhere"),
    CheckConstraint("state <> 'issued' OR card_uid IS NOT NULL", name="issued_a_card"),
    CheckConstraint("(claim = '') = (claimed_by IS NULL)", name="claimed_by_a_station"),
)
"""`claim`: a station's run that has the line before it until `claimed_until`. `card_uid`: the card that was
begun for the line, and when the line is issued, its card; `generation` and `originality` are that chip's
and its signature's key, as read when it was issued and read back."""

card_taps = Table(
    "card_taps",
    metadata,
    Column("card_uid", LargeBinary, ForeignKey("cards.uid"), primary_key=True),
    Column("read_counter", _Number, nullable=False),
    Column("at", _Number, nullable=False),
    info=_BY_CARD,
)
"""The newest reading of a card by a phone whose address was shown here: an older one is a copy."""

retirements = Table(
    "retirements",
    metadata,
    Column("card_uid", LargeBinary, ForeignKey("cards.uid"), primary_key=True),
    Column("purpose", String(10), nullable=False),
    Column("reason", String(200), nullable=False),
    Column("station", _Number, ForeignKey("terminals.id")),
    Column("person", String(80), nullable=False),
    Column("block_version", _Number, nullable=False),
    Column("at", _Number, nullable=False),
    Column("state", String(10), nullable=False),
    Column("amount_rupiah", _Number),
    Column("counter", _Number),
    Column("mac", LargeBinary),
    Column("emptied_at", _Number),
    Column("wiped_at", _Number),
    _one_of("purpose", Retirement),
    _one_of("state", RetirementState),
    CheckConstraint(
        "(state = 'emptied') = (emptied_at IS NOT NULL AND amount_rupiah IS NOT NULL)",
        name="emptied_of_something",
    ),
    CheckConstraint("amount_rupiah >= 0", name="amount_not_negative"),
    CheckConstraint("wiped_at IS NULL OR state = 'emptied'", name="wiped_when_empty"),
)
"""Cards that end while they are there themselves. `amount_rupiah`: what was taken off it, 0 for a card
with nothing on it; else `counter` is the card's transaction that did it, `mac` its MAC if that is known."""

retirement_attempts = Table(
    "retirement_attempts",
    metadata,
    Column("id", _Number, primary_key=True),
    Column("card_uid", LargeBinary, ForeignKey("retirements.card_uid"), nullable=False),
    Column("evidence", LargeBinary, nullable=False),
    Column("at", _Number, nullable=False),
    Column("counter", _Number),
    Column("searched_to", _Number, nullable=False),
)
"""Every commit by which a card may have been emptied, written before it was sent."""
Index("attempts_to_empty", retirement_attempts.c.card_uid)

cash_payouts = Table(
    "cash_payouts",
    metadata,
    Column("number", _Number, primary_key=True, autoincrement=False),
    Column("member_number", _Number, ForeignKey("members.member_number"), nullable=False),
    Column("amount_rupiah", _Number, nullable=False),
    Column("station", _Number, ForeignKey("terminals.id"), nullable=False),
    Column("person", String(80), nullable=False),
    Column("idempotency_key", String(80), nullable=False, unique=True),
    Column("approval", _Number, ForeignKey("approvals.number"), unique=True),
    Column("at", _Number, nullable=False),
    CheckConstraint("amount_rupiah > 0", name="amount_is_positive"),
)
"""Members' money from their wallets, in cash; `number` is the receipt's."""

APPEND_ONLY = (
    cash_payouts,
    vouchers,
    quarantine,
    batches,
    named_before,
    postings,
    posting_keys,
    anomalies,
    anomaly_steps,
    hotlist_changes,
    doubt_decisions,
    doubt_settlements,
    credit_settlements,
    restorations,
    seller_accounts,
    seller_account_decisions,
    fee_rules,
    fee_proposals,
    fee_decisions,
    settlement_runs,
    settlement_steps,
    settlement_items,
    settlement_left_out,
    sealed_days,
    daily_heads,
    till_heads,
    kind_days,
    account_days,
    salaries,
    cash_banked,
    member_order_lines,
    member_order_states,
    till_records,
    issuing_batches,
    pin_events,
    held_credits,
    cash_received,
    cash_counts,
    staff_acts,
    approvals,
    approval_decisions,
    limit_changes,
)
"""Tables whose rows neither change nor go: the database itself refuses it."""

ONLY_CHANGES: dict[Table, tuple[str, ...]] = {
    card_transactions: ("card_mac_verified",),
    settlement_claims: (),
}
"""Tables of whose rows nothing changes but these columns. A card's transaction never goes either; a
claim only when its run is withdrawn."""

NOT_REPLACED = (
    cash_payouts,
    vouchers,
    quarantine,
    batches,
    card_transactions,
    postings,
    anomalies,
    anomaly_steps,
    hotlist_changes,
    pin_events,
    doubt_decisions,
    doubt_settlements,
    credit_settlements,
    restorations,
    seller_accounts,
    seller_account_decisions,
    fee_rules,
    fee_proposals,
    fee_decisions,
    settlement_runs,
    settlement_steps,
    settlement_items,
    settlement_left_out,
    settlement_claims,
    sealed_days,
    daily_heads,
    till_heads,
    kind_days,
    account_days,
    salaries,
    cash_banked,
    staff_acts,
    approvals,
    approval_decisions,
    limit_changes,
    held_credits,
    cash_received,
    cash_counts,
)
"""The ledger's tables of rows that do not change and are more than their key. They are never inserted
unless they are there (`insert_unless_there`): SQLite would refuse it before it sees that they are."""

STAYS = (
    retirements,
    retirement_attempts,
    members,
    cards,
    sellers,
    terminals,
    staff,
    in_doubt,
    pending_credits,
    credit_attempts,
    refunds,
    replacements,
    rejected_batches,
    issuing_lines,
    key_generations,
    card_pins,
)
"""Tables whose rows change and never go."""


def _refusal(table: str) -> str:
    """SQLite."""
    return f"BEGIN SELECT RAISE(ABORT, 'append only: {table}'); END"


def append_only(table: str, *, partitioned: bool) -> list[tuple[str, str]]:
    """(dialect, statement) of the triggers. A partition takes over only the parent's for rows."""
    statements = []
    for action in ("UPDATE", "DELETE"):
        name = f"{table}_no_{action.lower()}"
        statements.append(
            ("sqlite", f"CREATE TRIGGER {name} BEFORE {action} ON {table} {_refusal(table)}")
        )
    if partitioned:
        events, each = "UPDATE OR DELETE", "ROW"
        statements.append(no_truncate(table))
    else:
        events, each = "UPDATE OR DELETE OR TRUNCATE", "STATEMENT"
    trigger = f"CREATE TRIGGER {table}_append_only BEFORE {events} ON {table} FOR EACH {each}"
    statements.append(("postgresql", f"{trigger} EXECUTE FUNCTION dobmi_append_only()"))
    return statements


def stays(table: str) -> list[tuple[str, str]]:
    """(dialect, statement) of the triggers that refuse DELETE."""
    trigger = f"CREATE TRIGGER {table}_no_delete BEFORE DELETE"
    each = "FOR EACH STATEMENT EXECUTE FUNCTION dobmi_append_only()"
    return [
        ("sqlite", f"{trigger} ON {table} {_refusal(table)}"),
        ("postgresql", f"{trigger} OR TRUNCATE ON {table} {each}"),
    ]


def only_changes(table: Table, changeable: Sequence[str]) -> list[tuple[str, str]]:
    """(dialect, statement) of the triggers that refuse UPDATE of all other columns."""
    name = table.name
    fixed = ", ".join(column.name for column in table.columns if column.name not in changeable)
    trigger = f"CREATE TRIGGER {name}_no_update BEFORE UPDATE OF {fixed} ON {name}"
    return [
        ("sqlite", f"{trigger} {_refusal(name)}"),
        ("postgresql", f"{trigger} FOR EACH STATEMENT EXECUTE FUNCTION dobmi_append_only()"),
    ]


def no_replacing(table: Table) -> str:
    """SQLite's trigger: INSERT OR REPLACE deletes a row and fires no trigger of DELETE."""
    given = table.info.get("sqlite_primary_key")
    keys = [{given} if given else set(table.primary_key.columns.keys())]
    uniques = [
        set(constraint.columns.keys())
        for constraint in table.constraints
        if isinstance(constraint, UniqueConstraint)
    ]
    keys += [key for key in sorted(uniques, key=sorted) if not key >= keys[0]]
    name = table.name
    same = [" AND ".join(f"{column} = NEW.{column}" for column in sorted(key)) for key in keys]
    there = " OR ".join(f"EXISTS (SELECT 1 FROM {name} WHERE {one})" for one in same)  # noqa: S608 - names of ours
    trigger = f"CREATE TRIGGER {name}_no_replace BEFORE INSERT ON {name} WHEN {there}"
    return f"{trigger} {_refusal(name)}"


def no_truncate(table: str) -> tuple[str, str]:
    """For a partitioned table, and for each of its partitions."""
    trigger = f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} FOR EACH STATEMENT"
    return "postgresql", f"{trigger} EXECUTE FUNCTION dobmi_append_only()"


def _on_dialect(dialect: str, statement: str) -> ExecutableDDLElement:
    ddl: ExecutableDDLElement = DDL(statement)  # type: ignore[no-untyped-call] # SQLAlchemy's
    return ddl.execute_if(dialect=dialect)


event.listen(
    metadata,
    "before_create",
    _on_dialect(
        "postgresql",
        "CREATE OR REPLACE FUNCTION dobmi_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'append only: %%', TG_TABLE_NAME; END $$",
    ),
)
BOOKING_LOCK = 0x646F_626F_6F6B
"""PostgreSQL's advisory lock: whoever posts has it shared, whoever seals a day has it alone."""
# The first second of the first open day; WIB is seven hours ahead of UTC.
_OPEN_FROM = "SELECT (max(day) + 1) * 86400 - 25200 FROM sealed_days"
_SEALED_DAY_SQLITE = f"""
CREATE TRIGGER postings_sealed_day BEFORE INSERT ON postings WHEN NEW.at < ({_OPEN_FROM})
BEGIN SELECT RAISE(ABORT, 'the day is closed'); END"""
# Once a statement, so that rows cost next to nothing. The lock comes first: what is sealed is looked
# up after it, which only this isolation level does.
_OPEN_DAY_FUNCTION = f"""
CREATE FUNCTION dobmi_open_day() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'postings are written at the isolation level read committed';
END IF;
PERFORM pg_advisory_xact_lock_shared({BOOKING_LOCK});
PERFORM set_config(
    'dobmi.open_from', coalesce(({_OPEN_FROM}), -9223372036854775808)::text, true);
RETURN NULL;
END $$"""
# As a serialisation failure: the same again is booked on an open day.
_SEALED_DAY_FUNCTION = """
CREATE FUNCTION dobmi_sealed_day() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
RAISE EXCEPTION 'the day is closed' USING ERRCODE = '40001';
END $$"""
_OPEN_DAY_TRIGGER = """
CREATE TRIGGER postings_open_day BEFORE INSERT ON postings
FOR EACH STATEMENT EXECUTE FUNCTION dobmi_open_day()"""
_SEALED_DAY_TRIGGER = """
CREATE TRIGGER postings_sealed_day AFTER INSERT ON postings FOR EACH ROW
WHEN (NEW.at < current_setting('dobmi.open_from')::bigint) EXECUTE FUNCTION dobmi_sealed_day()"""

NO_POSTING_IN_A_SEALED_DAY = (
    ("sqlite", _SEALED_DAY_SQLITE),
    ("postgresql", _OPEN_DAY_FUNCTION),
    ("postgresql", _SEALED_DAY_FUNCTION),
    ("postgresql", _OPEN_DAY_TRIGGER),
    ("postgresql", _SEALED_DAY_TRIGGER),
)
"""(dialect, statement)."""

_WITHDRAWN = "SELECT 1 FROM settlement_steps WHERE run = OLD.run AND state = 'withdrawn'"
_CLAIMS_NO_DELETE = "CREATE TRIGGER settlement_claims_no_delete BEFORE DELETE ON settlement_claims"
_CLAIM_STAYS_FUNCTION = f"""
CREATE FUNCTION dobmi_claim_stays() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
IF NOT EXISTS ({_WITHDRAWN}) THEN
    RAISE EXCEPTION 'append only: settlement_claims';
END IF;
RETURN OLD;
END $$"""
CLAIMS_OF_WITHDRAWN_RUNS_GO = (
    (
        "sqlite",
        f"{_CLAIMS_NO_DELETE} WHEN NOT EXISTS ({_WITHDRAWN}) {_refusal('settlement_claims')}",
    ),
    ("postgresql", _CLAIM_STAYS_FUNCTION),
    ("postgresql", f"{_CLAIMS_NO_DELETE} FOR EACH ROW EXECUTE FUNCTION dobmi_claim_stays()"),
    no_truncate("settlement_claims"),
)
"""(dialect, statement): a claim that went while its run is paid would have it paid again."""
_WHOLE = ("at", "debit_account", "credit_account", "amount_rupiah")
WHOLE_RUPIAH = (
    "CREATE TRIGGER postings_whole BEFORE INSERT ON postings WHEN "
    + " OR ".join(f"typeof(NEW.{column}) <> 'integer'" for column in _WHOLE)
    + " BEGIN SELECT RAISE(ABORT, 'not a whole number: postings'); END"
)
"""SQLite, whose columns take texts and fractions."""

_AGREED = """
SELECT 1 FROM fee_proposals AS p JOIN fee_decisions AS d ON d.seller_id = p.seller_id
AND d.number = p.number WHERE d.accepted AND p.seller_id = NEW.seller_id
AND p.from_day = NEW.from_day AND p.basis_points = NEW.basis_points
AND p.per_sale_rupiah = NEW.per_sale_rupiah AND p.per_run_rupiah = NEW.per_run_rupiah
AND p.minimum_rupiah = NEW.minimum_rupiah
AND coalesce(p.maximum_rupiah, -1) = coalesce(NEW.maximum_rupiah, -1)"""
_FEE_AGREED_SQLITE = f"""
CREATE TRIGGER fee_rules_agreed BEFORE INSERT ON fee_rules WHEN NOT EXISTS ({_AGREED})
BEGIN SELECT RAISE(ABORT, 'nobody else accepted it: fee_rules'); END"""
_FEE_AGREED_FUNCTION = f"""
CREATE FUNCTION dobmi_fee_agreed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
IF NOT EXISTS ({_AGREED}) THEN
    RAISE EXCEPTION 'nobody else accepted it: fee_rules';
END IF;
RETURN NEW;
END $$"""
_FEE_AGREED_TRIGGER = """
CREATE TRIGGER fee_rules_agreed BEFORE INSERT ON fee_rules
FOR EACH ROW EXECUTE FUNCTION dobmi_fee_agreed()"""
FEES_BY_TWO_PEOPLE = (
    ("sqlite", _FEE_AGREED_SQLITE),
    ("postgresql", _FEE_AGREED_FUNCTION),
    ("postgresql", _FEE_AGREED_TRIGGER),
)
"""(dialect, statement)."""

for _statement in FEES_BY_TWO_PEOPLE:
    event.listen(metadata, "after_create", _on_dialect(*_statement))
for _statement in NO_POSTING_IN_A_SEALED_DAY:
    event.listen(metadata, "after_create", _on_dialect(*_statement))
for _table in APPEND_ONLY:
    for _statement in append_only(_table.name, partitioned="partitioned_by" in _table.info):
        event.listen(_table, "after_create", _on_dialect(*_statement))
for _table, _changeable in ONLY_CHANGES.items():
    for _statement in only_changes(_table, _changeable):
        event.listen(_table, "after_create", _on_dialect(*_statement))
for _table in NOT_REPLACED:
    event.listen(_table, "after_create", _on_dialect("sqlite", no_replacing(_table)))
for _table in (*STAYS, card_transactions):
    for _statement in stays(_table.name):
        event.listen(_table, "after_create", _on_dialect(*_statement))
for _statement in CLAIMS_OF_WITHDRAWN_RUNS_GO:
    event.listen(settlement_claims, "after_create", _on_dialect(*_statement))
event.listen(postings, "after_create", _on_dialect("sqlite", WHOLE_RUPIAH))
for _table in metadata.tables.values():
    if "partitioned_by" in _table.info:
        event.listen(
            _table,
            "after_create",
            _on_dialect(
                "postgresql",
                f"CREATE TABLE {_table.name}_other PARTITION OF {_table.name} DEFAULT",
            ),
        )
        event.listen(_table, "after_create", _on_dialect(*no_truncate(f"{_table.name}_other")))
    if "distribution_key" not in _table.info:
        _table.info.update(_EVERYWHERE)


@compiles(PrimaryKeyConstraint, "sqlite")
def _sqlite_primary_key(
    constraint: PrimaryKeyConstraint, compiler: DDLCompiler, **options: Any
) -> str:
    column = constraint.table.info.get("sqlite_primary_key")
    if column is None:
        return compiler.visit_primary_key_constraint(constraint, **options)
    return f"PRIMARY KEY ({column})"
