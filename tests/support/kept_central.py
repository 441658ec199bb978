"""Makes the central databases that tests/central/kept holds for versions of the tables.

    cd tests && python -m support.kept_central

Run it with the sources of the commit whose tables are to be kept; it writes, for SQLite and for
PostgreSQL, the database as SQL and what the reports of that time say of it. What is there stays.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import sqlite3
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from dobmi.cardlib.custody import KeyRing
from dobmi.cardlib.purse_layout import CardKey
from dobmi.central.cards import set_blocked, statement_of
from dobmi.central.circulation import anomaly_list, circulation, quarantine_list, unreported_sales
from dobmi.central.credit_orders import order_credit
from dobmi.central.dispute import dispute
from dobmi.central.errors import CentralError
from dobmi.central.ingest import take_batch
from dobmi.central.overdue import doubt_list, settle_overdue
from dobmi.central.refunds import refund_list
from dobmi.central.replacement import replace_card
from dobmi.central.schema import CreditSource
from dobmi.central.server import CARD_ISSUER_KEY, SERVER_KEY, Central
from dobmi.errors import DoBMIError
from dobmi.fleet.postgres import Postgres, running
from dobmi.money import Rupiah
from dobmi.sync.voucher import Outcome
from support.traffic import START, ModelTill, World

KEPT = Path(__file__).parents[1] / "central" / "kept"
DAY = 24 * 3600
CARDS = 7
MEMBER = 100


def _secret(name: str, size: int) -> bytes:
    return hashlib.sha256(f"kept {name}".encode()).digest()[:size]


RING = KeyRing(
    masters={key: {1: _secret(key.value, 16)} for key in CardKey},
    signing={name: _secret(name, 32) for name in (SERVER_KEY, CARD_ISSUER_KEY)},
)


def make_traffic(folder: Path, url: str) -> World:
    """A few days of a small cooperative, with whatever can go wrong."""
    clock = [START]
    world = World.create(folder, keys=RING, url=url)
    world.central = central = dataclasses.replace(world.central, unix_seconds=lambda: clock[0])
    one, two = world.till("Toko Satu"), world.till("Toko 'Dua' & Ibu Ñ", name="Kasir 2")
    station, cards = world.station(), world.make_cards(MEMBER, CARDS)
    for card in cards:
        world.top_up(station, card, Rupiah(100_000))
    for number, card in enumerate(cards):
        one.sell(card, Rupiah(1_000 + number))
    _send(central, one)
    # A day on: what tills lose the answer of, and what people make of it.
    clock[0] += DAY
    paid, lost, again, claimed, poor, gone, waiting = cards
    told = one.doubt(paid, Rupiah(2_500), committed=True)
    one.resolve(paid, len(one.vouchers), Outcome.PAID, *told)
    one.doubt(lost, Rupiah(3_500), committed=False)
    one.doubt(again, Rupiah(4_500), committed=True)
    one.sell(again, Rupiah(500))
    one.void(paid, Rupiah(700))
    one.doubt(claimed, Rupiah(5_500), committed=True)
    one.decide(claimed, len(one.vouchers), Outcome.PAID)
    _send(central, one)
    two.sell(lost, Rupiah(600))
    staged = paid.stage_sale(two.next_reader_id, Rupiah(800))
    two.append_sale(paid, staged, staged.counter, bytes(8))  # no card made this
    sale = two.sell(paid, Rupiah(900)).link.sequence
    two.refund(paid, sale, Rupiah(400))
    two.refund(paid, sale, Rupiah(100_000))  # more than it was
    _send(central, two)
    with contextlib.suppress(DoBMIError):
        take_batch(central, two.batch(1, 1)[:-3] + b"xxx")
    # What cards show and nobody explains, both ways.
    poor.balance -= Rupiah(1_111)
    two.sell(poor, Rupiah(50))
    poor.balance += Rupiah(2_222)
    two.sell(poor, Rupiah(60))
    _send(central, two)
    # Salaries; one lies ready, one was lost on its way.
    clock[0] += DAY
    for number, card in enumerate((waiting, gone)):
        order_credit(
            central,
            card.uid,
            Rupiah(25_000 + number),
            CreditSource.SALARY,
            idempotency_key=f"gaji-2027-01-{number}",
            station=station.terminal_id,
        )
    held = world.top_up_in_doubt(station, lost, Rupiah(7_000))
    lost.commit(held)
    # A lost card, its money waiting for the tills; and one that is blocked.
    replace_card(central, gone.uid, "hilang di pasar", by_terminal=station.terminal_id)
    set_blocked(central, poor.uid, "kartu aneh", blocked=True, by_terminal=None)
    world.another_card(MEMBER + CARDS - 2)
    hidden = two.sell(again, Rupiah(1_234)).link.sequence
    one.sell(again, Rupiah(100))
    _send(central, one)
    assert hidden == len(two.vouchers), "the newest of the second till is not sent"
    clock[0] += 10 * DAY
    settle_overdue(central, clock[0])
    return world


def _send(central: Central, till: ModelTill) -> None:
    take_batch(central, till.batch())


def reports(central: Central) -> dict[str, Any]:
    """What the reports say, of the parts that every version of them has."""
    now = circulation(central)
    figures = {
        name: str(getattr(now, name))
        for name in (
            *("issued", "in_flight", "on_cards", "suspense", "difference"),
            *("on_cards_by_their_own_word", "doubts_open", "doubts_open_sum", "quarantined"),
            *("anomalies", "rejected_batches"),
        )
    }
    figures["paid_to_outlets"] = str(now.owed_to_outlets)  # as version 1 called it
    statements = []
    for serial in range(1, CARDS + 2):
        card = statement_of(central, serial)
        lines = [
            [line.counter, line.terminal_id, line.sequence, str(line.amount), line.is_credit]
            for line in card.transactions
        ]
        waiting = [[c.sequence, str(c.amount), c.state.value] for c in card.credits_waiting]
        statements.append([card.uid.hex(), card.state.value, str(card.balance), lines, waiting])
    disputes = []
    for terminal, sequence in ((1, 1), (1, 8), (1, 10), (2, 1), (2, 2), (2, 3)):
        try:
            shown = dispute(central, terminal, sequence)
            facts = [shown.outcome, shown.reason, str(shown.amount), shown.is_proved]
        except CentralError as error:
            facts = [error.code]
        disputes.append([terminal, sequence, *facts])
    return {
        "circulation": figures,
        "statements": statements,
        "disputes": disputes,
        "in_doubt": [
            [d.terminal_id, d.sequence, str(d.amount), d.state.value, d.explanation, d.counter]
            for d in doubt_list(central, settled_too=True)
        ],
        "refunds": [
            [r.terminal_id, r.sequence, r.amount_rupiah, r.state, r.credit_sequence]
            for r in refund_list(central)
        ],
        "quarantine": sorted(
            [r.terminal_id, r.sequence, r.reason, r.detail, r.received_at]
            for r in quarantine_list(central)
        ),
        "anomalies": [
            [a.kind, a.subject, a.amount_rupiah, a.detail, a.at] for a in anomaly_list(central)
        ],
        "unreported": [
            [s.terminal_id, s.sequence, s.card_uid.hex(), str(s.amount), s.known_since]
            for s in unreported_sales(central)
        ],
    }


def sqlite_dump(path: Path) -> str:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return "\n".join(connection.iterdump()) + "\n"


def postgresql_dump(postgres: Postgres, url: str) -> str:
    """As SQL that needs nothing of psql."""
    program = str(postgres.programs / "pg_dump")
    uri = url.replace("postgresql+psycopg", "postgresql")
    command = [program, "--inserts", "--no-owner", "--no-privileges", uri]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    kept = [
        line
        for line in done.stdout.splitlines()
        if line and not line.startswith(("--", "\\", "SET ", "SELECT pg_catalog.set_config"))
    ]
    return "\n".join(kept) + "\n"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, running() as postgres:
        version = 0
        found = {}
        for kind, url in (
            ("sqlite", "sqlite:///central.db"),
            ("postgresql", postgres.create("kept")),
        ):
            world = make_traffic(Path(folder), url)
            found[kind] = reports(world.central)
            with world.central.database.read() as connection:
                look = connection.exec_driver_sql("SELECT version FROM schema_version")
                version = look.scalar_one()
            world.central.database.close()
            dump = (
                sqlite_dump(Path(folder) / "central.db")
                if kind == "sqlite"
                else postgresql_dump(postgres, url)
            )
            with (KEPT / f"central_v{version}.{kind}.sql").open("x", encoding="utf-8") as file:
                file.write(dump)
        assert found["sqlite"] == found["postgresql"], "both databases tell the same"
        text = json.dumps(found["sqlite"], indent=1, ensure_ascii=False)
        with (KEPT / f"central_v{version}.json").open("x", encoding="utf-8") as file:
            file.write(text + "\n")


if __name__ == "__main__":
    main()
