"""The auditor finds each thing that is wrong, by rule, row and amount, and finds nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, text

from dobmi.audit import cards
from dobmi.audit.card_proof import MacKeys
from dobmi.audit.errors import DatabaseNotReadable
from dobmi.audit.rules import BY_ID
from dobmi.audit.run import audit
from dobmi.audit.state import State, load_state, save_state
from dobmi.audit.tills import Keys
from dobmi.central.export import export
from support.audited import (
    Ledger,
    auditor_keys,
    first_part,
    found_in,
    new_ledger,
    second_part,
)
from support.databases import Kind, copied, take_back
from support.sabotage import CASES, Scene

ON_POSTGRESQL = (
    "a voucher's signature is not its till's",
    "a voucher is taken out of the middle of a chain",
    "a card's transaction is of another amount",
    "a posting is of another amount",
    "a paid sale is in doubt again",
    "a delivered credit was of another amount",
    "what a lost card's account lacks is not covered",
)
KEYS = auditor_keys()


@dataclass(frozen=True)
class Good:
    """The ledger as it stands now, and what an audit in the middle of its story saw."""

    ledger: Ledger
    url: str
    state: State


def told(kind: Kind, folder: Path) -> Iterator[Good]:
    ledger = new_ledger(folder, kind)
    first_part(ledger)
    first = audit(ledger.world.url, KEYS)
    assert found_in(first) == set()
    save_state(folder / "state.json", first.state)
    second_part(ledger)
    state = load_state(folder / "state.json")
    if kind is Kind.SQLITE:
        export(ledger.world.central.database, folder / "now.db", ledger.clock[0])
        yield Good(ledger, f"sqlite:///{folder / 'now.db'}", state)
        ledger.world.central.database.close()
        return
    ledger.world.central.database.close()
    yield Good(ledger, ledger.world.url, state)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Good]:
    yield from told(Kind.SQLITE, tmp_path_factory.mktemp("sqlite"))


@pytest.fixture(scope="module")
def good_on_postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Good]:
    yield from told(Kind.POSTGRESQL, tmp_path_factory.mktemp("postgresql"))


def assert_found(good: Good, url: str, name: str) -> None:
    """The case's findings and no others: afresh, and going on from the earlier audit."""
    engine = create_engine(url)
    with engine.begin() as connection:
        _without_guards(connection)
        scene = Scene(good.ledger, connection)
        expected = CASES[name](scene)
    engine.dispose()
    assert expected
    assert found_in(audit(url, KEYS)) == expected
    assert found_in(audit(url, KEYS, since=good.state)) == expected | scene.since


def _without_guards(connection: Connection) -> None:
    """As one who may change the tables themselves: no trigger fires and no check holds."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET session_replication_role = replica"))
    else:
        connection.execute(text("PRAGMA ignore_check_constraints = ON"))


@pytest.mark.parametrize("name", CASES)
def test_a_sabotage_is_found_exactly(good: Good, tmp_path: Path, name: str) -> None:
    file = tmp_path / "sabotaged.db"
    shutil.copy(good.url.removeprefix("sqlite:///"), file)
    assert_found(good, f"sqlite:///{file}", name)


@pytest.mark.parametrize("name", ON_POSTGRESQL)
def test_a_sabotage_is_found_exactly_on_postgresql(
    good_on_postgresql: Good, tmp_path: Path, name: str
) -> None:
    url = copied(good_on_postgresql.url, tmp_path)
    assert_found(good_on_postgresql, url, name)
    take_back(url)


def test_a_good_ledger_has_no_finding_and_the_next_audit_spares_its_signatures(good: Good) -> None:
    fresh = audit(good.url, KEYS)
    again = audit(good.url, KEYS, since=good.state)
    assert found_in(fresh) == found_in(again) == set()
    assert fresh.signatures == fresh.vouchers > again.signatures > 0
    assert again.vouchers == fresh.vouchers
    assert again.state == fresh.state


def test_a_good_ledger_has_no_finding_on_postgresql(good_on_postgresql: Good) -> None:
    assert found_in(audit(good_on_postgresql.url, KEYS)) == set()


@pytest.mark.parametrize(
    ("change", "row"),
    [
        ("UPDATE seller_accounts SET account = '999'", "seller {s} account 1"),
        ("UPDATE seller_account_decisions SET at = at + 1", "seller {s} account 1 decision"),
        ("DELETE FROM seller_account_decisions", "seller {s} account 1 decision"),
    ],
)
def test_going_on_finds_what_nothing_vouches_for(
    good: Good, tmp_path: Path, change: str, row: str
) -> None:
    state = audit(good.url, KEYS).state
    save_state(tmp_path / "state.json", state)
    file = tmp_path / "sabotaged.db"
    shutil.copy(good.url.removeprefix("sqlite:///"), file)
    engine = create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        seller = connection.execute(text("SELECT max(seller_id) FROM seller_accounts")).scalar()
        connection.execute(text(f"{change} WHERE seller_id = {seller}"))
    engine.dispose()
    again = audit(f"sqlite:///{file}", KEYS, since=load_state(tmp_path / "state.json"))
    found = {one for one in found_in(again) if one[0] == "SINCE"}
    assert found == {("SINCE", row.format(s=seller), None)}


@pytest.mark.parametrize("value", ["'seribu'", "10.5", "x'00'"])
def test_what_is_no_number_where_one_belongs_cannot_be_audited(
    good: Good, tmp_path: Path, value: str
) -> None:
    file = tmp_path / "sabotaged.db"
    shutil.copy(good.url.removeprefix("sqlite:///"), file)
    engine = create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        _without_guards(connection)
        connection.execute(text(f"UPDATE refunds SET amount_rupiah = {value}"))  # noqa: S608
    engine.dispose()
    with pytest.raises(DatabaseNotReadable, match="of refunds has in amount_rupiah"):
        audit(f"sqlite:///{file}", KEYS)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE terminals SET head_sequence = 4611686018427387904 WHERE id = 1",
        "UPDATE card_transactions SET counter = 4611686018427387904 WHERE counter = 3",
        "UPDATE counters SET value = 4611686018427387904 WHERE name LIKE 'credit:%'",
        "UPDATE postings SET sequence = 4611686018427387904 WHERE kind = 'unexplained-loss'",
    ],
)
def test_a_number_to_which_nothing_counts_is_not_counted_to(
    good: Good, tmp_path: Path, change: str
) -> None:
    file = tmp_path / "sabotaged.db"
    shutil.copy(good.url.removeprefix("sqlite:///"), file)
    engine = create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        _without_guards(connection)
        connection.execute(text(change))
    engine.dispose()
    with pytest.raises(DatabaseNotReadable, match="to which nothing counts"):
        audit(f"sqlite:///{file}", KEYS)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE cards SET serial = -1 WHERE uid = (SELECT max(uid) FROM cards)",
        "UPDATE cash_banked SET terminal_id = -1",
        "UPDATE salaries SET member_number = 4611686018427387904 WHERE number = 1",
    ],
)
def test_numbers_that_nobody_gives_out_are_findings(
    good: Good, tmp_path: Path, change: str
) -> None:
    file = tmp_path / "sabotaged.db"
    shutil.copy(good.url.removeprefix("sqlite:///"), file)
    engine = create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        _without_guards(connection)
        connection.execute(text(change))
    engine.dispose()
    assert audit(f"sqlite:///{file}", KEYS).findings


def test_processes_find_the_same(good: Good, tmp_path: Path) -> None:
    file = tmp_path / "sabotaged.db"
    shutil.copy(good.url.removeprefix("sqlite:///"), file)
    engine = create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        CASES["a posting is of another amount"](Scene(good.ledger, connection))
    engine.dispose()
    alone, spread = (audit(f"sqlite:///{file}", KEYS, processes=count) for count in (1, 2))
    assert alone == spread
    assert alone.findings


def test_the_good_ledger_has_one_of_everything(good: Good) -> None:
    kinds = set(audit(good.url, KEYS).totals.by_kind)
    assert kinds >= {
        "top-up", "salary", "delivered", "moved", "restored", "shortfall", "sale", "refund",
        "unexplained-loss", "claim-held", "earned", "loaded", "banked", "paid-out", "fee", "restitution",
    }  # fmt: skip


def test_what_was_passed_without_a_key_is_looked_at_again_with_it(good: Good) -> None:
    without = audit(good.url, Keys(MacKeys({})))
    assert found_in(without) == set()
    assert set(without.unchecked) >= {"CARD-MAC", "ACK"}
    again = audit(good.url, KEYS, since=without.state)
    assert again.signatures == again.vouchers
    assert again.unchecked == ()


def test_the_cards_own_word_finds_what_a_blind_eye_for_postings_misses(
    good: Good, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The balance is compared another way round: it holds against a mistake of the auditor's own."""
    file = tmp_path / "sabotaged.db"
    shutil.copy(good.url.removeprefix("sqlite:///"), file)
    engine = create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        scene = Scene(good.ledger, connection)
        CASES["a posting is of another amount"](scene)
        name = scene.card(0)
    engine.dispose()
    monkeypatch.setattr(cards._Card, "_check_posting", lambda *_: None)
    done = audit(f"sqlite:///{file}", KEYS)
    assert ("CARD-BALANCE", name, 59_400) in found_in(done)


def test_there_are_at_least_forty_cases_and_every_rule_that_can_be_broken_has_one(
    good: Good, tmp_path: Path
) -> None:
    file = tmp_path / "sabotaged.db"
    seen: set[str] = set()
    for deed in CASES.values():
        shutil.copy(good.url.removeprefix("sqlite:///"), file)
        engine = create_engine(f"sqlite:///{file}")
        with engine.begin() as connection:
            _without_guards(connection)
            scene = Scene(good.ledger, connection)
            seen |= {rule for rule, _, _ in deed(scene) | scene.since}
        engine.dispose()
    assert len(CASES) >= 40
    unbroken = set(BY_ID) - seen - {"CARD-BALANCE"}  # has a test of its own
    assert unbroken == set()
