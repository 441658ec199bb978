"""The catalogue at the till: found by words, category and barcode, priced by class, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dobmi.money import Rupiah
from dobmi.sync.outlet import CatalogueItem, MemberNote
from dobmi.terminal import schema
from dobmi.terminal.catalogue import (
    by_barcode,
    by_code,
    categories,
    classes,
    price_for,
    search,
)
from dobmi.terminal.errors import LedgerUnusable, NoSuchItem
from dobmi.terminal.ledger import Ledger
from dobmi.terminal.members import member_note
from support.outlets import EGGS, RICE, SOAP, noted, stocked
from support.tills import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path).enrol()
    made.feed(outlet=stocked(RICE, EGGS, SOAP))
    return made


@pytest.fixture
def ledger(bench: Bench) -> Iterator[Ledger]:
    opened = Ledger(bench.database)
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", [RICE, SOAP, EGGS]),
        ("beras", [RICE]),
        ("5 BERAS", [RICE]),
        ("tlr", [EGGS]),
        ("sembako", [RICE, EGGS]),
        ("100%", [SOAP]),
        ("%", [SOAP]),
        ("_", []),
        ("beras telur", []),
    ],
)
def test_it_is_searched_by_words_of_code_name_and_category(
    ledger: Ledger, text: str, found: list[CatalogueItem]
) -> None:
    assert search(ledger, text) == tuple(found)


def test_it_is_browsed_by_category(ledger: Ledger) -> None:
    assert categories(ledger) == (("Rumah tangga", 1), ("Sembako", 2))
    assert search(ledger, "", category="Sembako") == (RICE, EGGS)
    assert search(ledger, "", count_max=1) == (RICE,)


def test_a_scan_finds_the_item_of_the_barcode_and_else_of_the_code(ledger: Ledger) -> None:
    for barcode in RICE.barcodes:
        assert by_barcode(ledger, f" {barcode}\n") == RICE
    assert by_barcode(ledger, "TLR") == by_code(ledger, "TLR") == EGGS
    for unknown in ("8999999999999", "", "x" * 500, "' OR 1=1"):
        with pytest.raises(NoSuchItem):
            by_barcode(ledger, unknown)


def test_a_class_has_its_price_or_everybodys(ledger: Ledger) -> None:
    assert classes(ledger) == ("karyawan", "pengurus")
    assert price_for(RICE, "karyawan") == Rupiah(70_000)
    assert price_for(RICE, "") == price_for(RICE, "lain") == Rupiah(75_000)
    assert price_for(EGGS, "karyawan") == EGGS.price


def test_a_new_catalogue_takes_the_place_of_the_old_one(bench: Bench, ledger: Ledger) -> None:
    bench.feed(outlet=stocked(SOAP, version=2))
    assert search(ledger, "") == (SOAP,)
    assert ledger.held().catalogue == 2
    with pytest.raises(NoSuchItem):
        by_barcode(ledger, RICE.barcodes[0])


def test_a_feed_without_a_catalogue_leaves_it(bench: Bench, ledger: Ledger) -> None:
    bench.feed(outlet=noted(MemberNote(5, "karyawan", None)))
    assert search(ledger, "beras") == (RICE,)


def test_a_feed_that_fails_half_way_changes_nothing(bench: Bench, ledger: Ledger) -> None:
    """Block list, limits and catalogue are one transaction."""
    with ledger.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER no_soap BEFORE INSERT ON catalogue_items WHEN NEW.code = 'SBN' "
            "BEGIN SELECT RAISE(ABORT, 'no soap'); END"
        )
    before = ledger.sync_state()
    with pytest.raises(LedgerUnusable, match="no soap"):
        bench.feed(blocked=(bytes(7),), outlet=stocked(RICE, SOAP, version=2))
    assert ledger.sync_state() == before
    assert not ledger.is_blocked(bytes(7))
    assert len(search(ledger, "")) == 3


class TestMembers:
    def test_what_changes_is_put_over_what_was_there(self, bench: Bench, ledger: Ledger) -> None:
        bench.feed(outlet=noted(MemberNote(5, "karyawan", None), MemberNote(6, "", bytes(32))))
        bench.feed(outlet=noted(MemberNote(5, "", None), version=2, since=1))
        assert member_note(ledger, 5).member_class == ""
        assert ledger.held().members == 2
        bench.feed(outlet=noted(MemberNote(7, "pengurus", None), version=3))
        with ledger.connect() as connection:
            rows = connection.execute(schema.member_notes.select()).all()
        assert [row.member_number for row in rows] == [7], "since 0 it is all of it"

    def test_a_change_of_what_is_not_here_is_refused(self, bench: Bench, ledger: Ledger) -> None:
        with pytest.raises(Exception, match="go on from others"):
            bench.feed(outlet=noted(MemberNote(5, "karyawan", None), version=9, since=8))
        assert ledger.held().members == 0
