# ruff: noqa: S608, ISC004 - statements of this file alone, some of them of several lines
"""Databases that have vouchers already, and valid traffic that goes on from them.

What is there before is made by the database itself: sale number n (from 0) is card n mod C's, sold
at till 1000 + n mod 64, for one rupiah. So it is known of every card where it stands, and the sales
that are made here, each with the card's own MAC and the till's own signature, go on from there.
"""

from __future__ import annotations

import hashlib
import pickle
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, text

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from dobmi.cardlib.custody import KeyRing
from dobmi.cardlib.purse_layout import CardKey, Holder, ReaderId
from dobmi.central.database import Database
from dobmi.central.partitions import ensure_partitions
from dobmi.central.server import CARD_ISSUER_KEY
from dobmi.money import Rupiah
from dobmi.sync.voucher import genesis_hash
from dobmi.wib import day_of
from support.traffic import ModelCard, ModelTill

TILLS = 100
_FIRST_OLD_TILL, _OLD_TILLS = 1000, 64
_BALANCE = 2_000_000
_YEAR_SECONDS = 365 * 24 * 3600
_EXPIRES = date(2031, 1, 1)


@dataclass(frozen=True, slots=True)
class Step:
    """Batches of tills that send at the same time, each its own in their order."""

    name: str
    batches: dict[int, list[bytes]]

    @property
    def vouchers(self) -> int:
        return sum(_count(data) for sent in self.batches.values() for data in sent)


def _count(data: bytes) -> int:
    from dobmi.sync.batch import parse_batch  # noqa: PLC0415 - only to count

    return parse_batch(data).head.count


@dataclass(slots=True)
class Fleet:
    """Cards and tills that go on from `there` sales on record."""

    keys: KeyRing = field(repr=False)
    cards: int
    there: int
    _cards: dict[int, ModelCard] = field(default_factory=dict)
    _tills: dict[int, ModelTill] = field(default_factory=dict)
    _chance: random.Random = field(default_factory=lambda: random.Random(1))  # noqa: S311 - not for secrets

    def step(self, name: str, *, tills: int, vouchers: int, batch: int) -> Step:
        """Sales one after the other at the tills in turn, each of any card."""
        rounds = max(1, vouchers // (tills * batch))
        sent: dict[int, list[bytes]] = {number: [] for number in range(1, tills + 1)}
        for _ in range(rounds):
            for _ in range(batch):
                for number in sent:
                    card = self.card(self._chance.randrange(self.cards))
                    amount = Rupiah(self._chance.randrange(1, 40) * 500)
                    self.till(number).sell(card, min(amount, card.balance))
            for number, batches in sent.items():
                batches.append(self._batch(self.till(number)))
        return Step(name, sent)

    def _batch(self, till: ModelTill) -> bytes:
        """As `ModelTill.batch`, which keeps all vouchers."""
        first = till.send_from
        return till.batch(first, len(till.vouchers))

    def till(self, number: int) -> ModelTill:
        till = self._tills.get(number)
        if till is None:
            key = till_key(number)
            till = self._tills[number] = ModelTill(number, key, f"Toko {number}")
        return till

    def card(self, index: int) -> ModelCard:
        card = self._cards.get(index)
        if card is None:
            card = self._cards[index] = self._new_card(index)
        return card

    def _new_card(self, index: int) -> ModelCard:
        uid = uid_of(index)
        holder = Holder(
            member_number=index + 1,
            name=f"Anggota {index + 1}",
            card_serial=index + 1,
            expires=_EXPIRES,
        )
        sales = (self.there - index + self.cards - 1) // self.cards if self.there > index else 0
        last = ReaderId(terminal_id=0, sequence=1)
        if sales:
            number = index + (sales - 1) * self.cards
            last = ReaderId(
                terminal_id=_FIRST_OLD_TILL + number % _OLD_TILLS, sequence=number // _OLD_TILLS + 1
            )
        return ModelCard(
            uid,
            holder.sign(uid, lambda message: self.keys.sign(CARD_ISSUER_KEY, message)),
            self.keys.card_key(CardKey.TRANSACTION_MAC, uid).value,
            balance=Rupiah(_BALANCE - sales),
            counter=1 + sales,
            last_reader_id=last.encode(),
            last_credit_sequence=1,
        )


def make_steps(
    keys: KeyRing, cards: int, there: int, wanted: Sequence[tuple[str, int, int, int]]
) -> list[Step]:
    """Steps of (name, tills, vouchers, vouchers a batch), one after the other."""
    fleet = Fleet(keys, cards, there)
    return [
        fleet.step(name, tills=tills, vouchers=vouchers, batch=batch)
        for name, tills, vouchers, batch in wanted
    ]


def cached_steps(
    folder: Path | None,
    keys: KeyRing,
    cards: int,
    there: int,
    wanted: Sequence[tuple[str, int, int, int]],
) -> list[Step]:
    """As `make_steps`, from a file of `folder` if it was made before."""
    if folder is None:
        return make_steps(keys, cards, there, wanted)
    names = repr((keys.public_key(CARD_ISSUER_KEY).hex(), cards, there, list(wanted)))
    path = folder / f"traffic-{hashlib.sha256(names.encode()).hexdigest()[:16]}.pickle"
    if path.exists():
        steps: list[Step] = pickle.loads(path.read_bytes())  # noqa: S301 - our own file
        return steps
    steps = make_steps(keys, cards, there, wanted)
    path.write_bytes(pickle.dumps(steps))
    return steps


def till_key(number: int) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"till %d" % number).digest())


def uid_of(index: int) -> bytes:
    return b"\x04" + (index + 1).to_bytes(6, "big")


def prefill(database: Database, cards: int, there: int) -> float:
    """Tables with `cards` cards and `there` sales of the last year; seconds that took."""
    begun = time.perf_counter()
    database.create_tables()
    now = int(time.time())
    began = now - _YEAR_SECONDS
    with database.write() as connection:
        ensure_partitions(connection, day_of(began), 15)
        is_sqlite = connection.dialect.name == "sqlite"
        if is_sqlite:
            raw = connection.connection.driver_connection
            assert raw is not None
            raw.create_function("uid_of", 1, lambda number: uid_of(number - 1))
            raw.create_function("md5", 1, _noise)
        _tills(connection, there, now)
        for statement in _statements(is_sqlite=is_sqlite, there=there):
            values = {
                "cards": cards,
                "there": there,
                "began": began,
                "seconds": _YEAR_SECONDS - 3600,
                "balance": _BALANCE,
                "expires": (_EXPIRES - date(1970, 1, 1)) // timedelta(days=1),
                "first": _FIRST_OLD_TILL,
                "tills": _OLD_TILLS,
            }
            used = {name: value for name, value in values.items() if f":{name}" in statement}
            connection.execute(text(statement), used)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if is_sqlite:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        else:
            connection.exec_driver_sql("VACUUM ANALYZE")
            connection.exec_driver_sql("CHECKPOINT")
    return time.perf_counter() - begun


def _noise(number: int) -> str:
    """In place of PostgreSQL's md5: 32 characters that do not shrink."""
    return hashlib.sha256(b"%d" % number).hexdigest()[:32]


def _tills(connection: Connection, there: int, now: int) -> None:
    numbers = [*range(1, TILLS + 1), *range(_FIRST_OLD_TILL, _FIRST_OLD_TILL + _OLD_TILLS)]
    for number in numbers:
        key = till_key(number).public_key().public_bytes_raw()
        sold = 0
        if number >= _FIRST_OLD_TILL:
            sold = (there - (number - _FIRST_OLD_TILL) + _OLD_TILLS - 1) // _OLD_TILLS
        connection.execute(
            text("INSERT INTO sellers (id, name, kind) VALUES (:id, :name, 'outlet')"),
            {"id": number, "name": f"Toko {number}"},
        )
        connection.execute(
            text(
                "INSERT INTO terminals (id, name, role, seller_id, public_key, status, "
                "head_sequence, head_hash, enrolled_at, feed_version) "
                "VALUES (:id, :name, 'till', :id, :key, 'active', :head, :hash, :now, 0)"
            ),
            {
                "id": number,
                "name": f"Kasir {number}",
                "key": key,
                "head": max(0, sold),
                "hash": genesis_hash(number, key),
                "now": now,
            },
        )


def _statements(*, is_sqlite: bool, there: int) -> list[str]:
    """Indexes of what is not partitioned are made when the rows are there."""
    numbers = "generate_series(CAST(0 AS bigint), {} - 1) AS s(n)"
    content = "decode(repeat(md5(CAST(n AS text)), 42), 'hex')"
    if is_sqlite:
        numbers = (
            "(WITH RECURSIVE s(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n < {} - 1) "
            "SELECT n FROM s)"
        )
        content = "CAST(md5(n) || md5(n + 1) || md5(n + 2) || zeroblob(580) AS BLOB)"
    of_cards, of_sales = numbers.format(":cards"), numbers.format(":there")
    at = ":began + n * :seconds / :there"
    credit = f"""
        INSERT INTO postings (at, kind, debit_account, credit_account, amount_rupiah, card_uid,
            terminal_id, sequence, explanation)
        SELECT :began, '{{}}', {{}}, {{}}, :balance, uid_of(n + 1), 0, 1, '' FROM {of_cards}"""
    credit_key = f"""
        INSERT INTO posting_keys (card_uid, kind, terminal_id, sequence)
        SELECT uid_of(n + 1), '{{}}', 0, 1 FROM {of_cards}"""
    before = [
        "CREATE FUNCTION uid_of(bigint) RETURNS bytea LANGUAGE sql IMMUTABLE "
        "AS $$ SELECT decode('04' || lpad(to_hex($1), 12, '0'), 'hex') $$",
        "ALTER TABLE card_transactions DROP CONSTRAINT card_transactions_pkey",
        "ALTER TABLE card_transactions DROP CONSTRAINT no_sale_twice",
    ]
    after = [
        "ALTER TABLE card_transactions ADD CONSTRAINT card_transactions_pkey "
        "PRIMARY KEY (card_uid, counter)",
        "ALTER TABLE card_transactions ADD CONSTRAINT no_sale_twice "
        "UNIQUE (terminal_id, sequence, card_uid)",
    ]
    rows = [
        f"INSERT INTO members (member_number, name) SELECT n + 1, 'Anggota ' || (n + 1) FROM {of_cards}",
        f"""
        INSERT INTO cards (uid, serial, member_number, state, expires_on_day, mac_key_version,
            key_version, registered_at, issued_at, block_reason)
        SELECT uid_of(n + 1), n + 1, n + 1, 'active', :expires, 1, 1, :began, :began, ''
        FROM {of_cards}""",
        f"""
        INSERT INTO pending_credits (card_uid, sequence, amount_rupiah, source, ordered_by,
            idempotency_key, ordered_at, state, counter)
        SELECT uid_of(n + 1), 1, :balance, 'cash', 1, 'first-' || n, :began, 'delivered', 1
        FROM {of_cards}""",
        credit.format("top-up", "1000000000001", "3000000000001 + n"),
        credit.format("delivered", "3000000000001 + n", "4000000000001 + n"),
        credit_key.format("top-up"),
        credit_key.format("delivered"),
        f"""
        INSERT INTO card_transactions (card_uid, counter, kind, terminal_id, sequence,
            previous_terminal_id, previous_sequence, amount_rupiah, balance_before_rupiah,
            balance_after_rupiah, card_mac_verified, at)
        SELECT uid_of(n + 1), 1, 2, 0, 1, NULL, NULL, :balance, 0, :balance, TRUE, :began
        FROM {of_cards}""",
        f"""
        INSERT INTO card_transactions (card_uid, counter, kind, terminal_id, sequence,
            previous_terminal_id, previous_sequence, amount_rupiah, balance_before_rupiah,
            balance_after_rupiah, card_mac_verified, at)
        SELECT uid_of(n % :cards + 1), 2 + n / :cards, 1, :first + n % :tills, n / :tills + 1,
            CASE WHEN n < :cards THEN 0 ELSE :first + (n - :cards) % :tills END,
            CASE WHEN n < :cards THEN 1 ELSE (n - :cards) / :tills + 1 END,
            1, :balance - n / :cards, :balance - n / :cards - 1, TRUE, {at}
        FROM {of_sales}""",
        f"""
        INSERT INTO postings (at, kind, debit_account, credit_account, amount_rupiah, card_uid,
            terminal_id, sequence, explanation)
        SELECT {at}, 'sale', 4000000000001 + n % :cards, 5000000000000 + :first + n % :tills, 1,
            uid_of(n % :cards + 1), :first + n % :tills, n / :tills + 1, ''
        FROM {of_sales}""",
        f"""
        INSERT INTO vouchers (terminal_id, sequence, received_at, encoded)
        SELECT :first + n % :tills, n / :tills + 1, {at}, {content} FROM {of_sales}""",
    ]
    if not there:
        rows = rows[:-3]
    return rows if is_sqlite else [*before, *rows, *after]
