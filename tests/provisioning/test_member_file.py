"""Lists of members as clerks have them: what is taken, and what is said of each bad row."""

from __future__ import annotations

import csv
import io
import zipfile
from datetime import date
from pathlib import Path

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dobmi.i18n import translation
from dobmi.provisioning import member_file
from dobmi.provisioning.errors import MemberFileUnusable
from dobmi.provisioning.issuing import RowProblem
from dobmi.provisioning.member_file import (
    BadCell,
    Column,
    MemberRow,
    Preview,
    read_member_file,
    read_members,
)

HEAD = "nomor anggota,nama,golongan\n"


def of_text(text: str, encoding: str = "utf-8") -> Preview:
    return read_members(text.encode(encoding), "daftar.csv")


def of_rows(*rows: list[object], **more: str) -> bytes:
    """An XLSX with these rows."""
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in rows:
        sheet.append(row)
    for name, value in more.items():
        sheet[name] = value
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def said(preview: Preview) -> list[tuple[int, str, str]]:
    return [(cell.row, cell.column, cell.problem.explain()) for cell in preview.bad]


class TestForms:
    @pytest.mark.parametrize("separator", [",", ";", "\t"])
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
    def test_csv_as_programs_write_it(self, separator: str, encoding: str) -> None:
        text = "No;Nomor Anggota;Nama;Golongan\r\n1;4711;José Ünal;karyawan\r\n2;4712;Siti;\r\n"
        found = of_text(text.replace(";", separator), encoding)
        assert found.rows == (
            MemberRow(2, 4711, "José Ünal", "karyawan"),
            MemberRow(3, 4712, "Siti", None),
        )
        assert (found.bad, found.ignored) == ((), ("No",))

    @pytest.mark.parametrize(
        "head",
        [
            "number,name",
            "NO. ANGGOTA,NAMA",
            "member_number,Member  Name",
            " Anggota , nama lengkap",
        ],
    )
    def test_headings_in_both_languages(self, head: str) -> None:
        assert of_text(f"{head}\n7,Siti\n").rows == (MemberRow(2, 7, "Siti"),)

    def test_an_excel_workbook(self) -> None:
        content = of_rows(
            ["Rembug pusat Melati"], [], ["Nomor", "Nama", "Kelas"],
            [4711, "Siti Aminah", "karyawan"], [], [4712.0, "  Budi   Santoso ", None],
            ["4713", "Tuti", 2],
        )  # fmt: skip
        found = read_members(content, "daftar.xlsx")
        assert found.rows == (
            MemberRow(4, 4711, "Siti Aminah", "karyawan"),
            MemberRow(6, 4712, "Budi Santoso"),
            MemberRow(7, 4713, "Tuti", "2"),
        )
        assert found.sheet == "Sheet"

    def test_a_quoted_name_in_two_lines_is_named_by_its_row(self) -> None:
        found = of_text(HEAD + '1,"Siti\nAminah",\n2,Budi,\n')
        assert [row.row for row in found.rows] == [4]
        assert [cell.row for cell in found.bad] == [2]

    def test_excels_own_hint_about_the_separator(self) -> None:
        found = of_text("sep=;\nnomor;nama\n1;Siti, S.Pd\n")
        assert found.rows == (MemberRow(3, 1, "Siti, S.Pd"),)

    def test_photos_are_files_beside_the_list(self, tmp_path: Path) -> None:
        (tmp_path / "siti.jpg").write_bytes(b"x")
        list_ = tmp_path / "daftar.csv"
        list_.write_text("nomor,nama,foto\n1,Siti,siti.jpg\n2,Budi,budi.jpg\n3,Tuti,../siti.jpg\n")
        found = read_member_file(list_)
        assert found.rows == (MemberRow(2, 1, "Siti", None, tmp_path / "siti.jpg"),)
        assert [(row, column) for row, column, _ in said(found)] == [(3, "foto"), (4, "foto")]


class TestBadRows:
    @pytest.mark.parametrize(
        ("row", "column", "words"),
        [
            (",Siti,", "nomor anggota", "there is none"),
            ("abc,Siti,", "nomor anggota", "no member number"),
            ("0,Siti,", "nomor anggota", "no member number"),
            ("4294967296,Siti,", "nomor anggota", "no member number"),
            ("1.234,Siti,", "nomor anggota", "no member number"),
            ("-5,Siti,", "nomor anggota", "begins like one"),
            ("7," + "N" * 37 + ",", "nama", "takes 37 bytes; the card has room for 36"),
            ("7," + "é" * 19 + ",", "nama", "takes 38 bytes"),
            ("7,=HYPERLINK(1),", "nama", "begins like one"),
            ("7,Si\x07ti,", "nama", "cannot be seen"),
            ("7,Si\u200bti,", "nama", "cannot be seen"),
            ("7,Siti," + "k" * 41, "golongan", "longer than 40 characters"),
            ("99,Siti,", "nomor anggota", "member 99 is in row 2 already"),
        ],
    )
    def test_each_is_named_with_what_to_do(self, row: str, column: str, words: str) -> None:
        found = of_text(f"{HEAD}99,Awal,\n{row}\n88,Akhir,\n")
        assert [one.number for one in found.rows] == [99, 88]
        (cell,) = found.bad
        assert (cell.row, cell.column) == (3, column)
        assert words in cell.problem.explain()
        assert cell.advice.explain()
        indonesian = translation("id").gettext
        assert cell.problem.explain(indonesian) != cell.problem.explain()
        assert cell.advice.explain(indonesian) != cell.advice.explain()

    def test_an_empty_name(self) -> None:
        assert said(of_text(f"{HEAD}7, ,x\n"))[0][:2] == (2, "nama")

    def test_formulas_of_a_workbook_are_not_computed(self) -> None:
        content = of_rows(
            ["nomor", "nama"], [1, "Siti"], ["=A2+1", "Budi"], [3, '=CONCATENATE("Tu","ti")'],
        )  # fmt: skip
        found = read_members(content, "daftar.xlsx")
        assert [row.number for row in found.rows] == [1]
        assert [(row, column) for row, column, _ in said(found)] == [(3, "nomor"), (4, "nama")]

    def test_dates_truths_and_fractions_are_no_members(self) -> None:
        content = of_rows(
            ["nomor", "nama"], [True, "Siti"], [1.5, "Budi"], [date(2026, 1, 1), "Tuti"],
            [4, 3.25], [5, date(2026, 1, 1)],
        )  # fmt: skip
        found = read_members(content, "daftar.xlsx")
        assert found.rows == ()
        assert [cell.row for cell in found.bad] == [2, 3, 4, 5, 6]

    def test_the_servers_word_is_added_to_the_rows_it_is_about(self) -> None:
        found = of_text(f"{HEAD}1,Siti,\nx,Budi,\n3,Tuti,emas\n")
        merged = found.with_server(
            [RowProblem(2, "class", "CENTRAL-CLASS-UNKNOWN", "no class", "name it as new")]
        )
        assert [row.number for row in merged.rows] == [1]
        assert [(cell.row, cell.column) for cell in merged.bad] == [
            (3, "nomor anggota"),
            (4, "golongan"),
        ]
        assert merged.bad_rows == 2


class TestNoLists:
    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"", "headings"),
            (b"\0\1\2", "neither CSV"),
            (b"\x89PNG\r\n\x1a\n\0\0\0", "neither CSV"),
            (b"PK\3\4 no archive", "neither CSV"),
            (bytes.fromhex("D0CF11E0A1B11AE1") + bytes(64), "old Excel"),
            (b"nama,alamat\nSiti,Cikupa\n", "headings"),
            (b"nomor,nama,nomor_anggota\n1,Siti,2\n", "two columns"),
            (b"nomor,nama\n", "no member in it"),
            (b'nomor,nama\n1,"Siti\n', "line 2 is not CSV"),
            (b"nomor,nama\n" + b"1,Siti\n" * 20_001, "more than"),
        ],
    )
    def test_it_is_said_what_is_wrong_with_the_file(self, content: bytes, words: str) -> None:
        with pytest.raises(MemberFileUnusable) as refusal:
            read_members(content, "daftar")
        assert words in refusal.value.explain()
        assert refusal.value.advise()

    def test_more_members_than_a_batch_takes(self) -> None:
        rows = "".join(f"{number},Anggota {number},\n" for number in range(1, 5_002))
        with pytest.raises(MemberFileUnusable, match="5000 members"):
            of_text(HEAD + rows)

    def test_a_file_that_is_too_large(self) -> None:
        with pytest.raises(MemberFileUnusable, match="larger than 10 MB"):
            read_members(b"x" * (member_file.FILE_SIZE_MAX + 1), "daftar.csv")

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(MemberFileUnusable, match="cannot be read"):
            read_member_file(tmp_path / "nowhere.csv")


def repacked(content: bytes, **parts: bytes) -> bytes:
    """The same workbook with other bytes in some of its parts."""
    made = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for part in old.infolist():
            data = next(
                (data for name, data in parts.items() if name in part.filename), old.read(part)
            )
            new.writestr(part.filename, data)
    return made.getvalue()


class TestBombs:
    SMALL = of_rows(["nomor", "nama"], [1, "Siti"])

    def test_far_more_than_was_sent(self) -> None:
        bomb = repacked(self.SMALL, styles=b" " * 30_000_000)
        assert len(bomb) < 100_000
        with pytest.raises(MemberFileUnusable, match="far more packed"):
            read_members(bomb, "bom.xlsx")

    def test_entities_that_grow(self) -> None:
        xml = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bb">]><a>&b;</a>'
        with pytest.raises(MemberFileUnusable, match="far more packed"):
            read_members(repacked(self.SMALL, styles=xml), "bom.xlsx")

    def test_a_sheet_that_says_it_is_endless(self) -> None:
        """One member in the last row and column there are: no million rows are made of it."""
        content = of_rows(["nomor", "nama"], XFD1048576="end")
        with pytest.raises(MemberFileUnusable, match="more than"):
            read_members(content, "besar.xlsx")

    @pytest.mark.parametrize("part", ["sheet1", "workbook.xml", "styles", "Content_Types"])
    def test_parts_that_are_no_xml(self, part: str) -> None:
        with pytest.raises(MemberFileUnusable):
            read_members(repacked(self.SMALL, **{part: b"<broken"}), "rusak.xlsx")


_CELLS = st.text(max_size=45) | st.integers(0, 1 << 33).map(str)


@given(st.lists(st.tuples(_CELLS, _CELLS, _CELLS), max_size=12), st.sampled_from(",;\t"))
@settings(max_examples=150, deadline=None)
def test_whatever_is_in_a_csv_file_each_row_is_good_or_named(
    rows: list[tuple[str, str, str]], separator: str
) -> None:
    table = io.StringIO(newline="")
    writer = csv.writer(table, delimiter=separator, quoting=csv.QUOTE_ALL)
    writer.writerow(["nomor", "nama", "golongan"])
    writer.writerows(rows)
    found = _read(table.getvalue().encode("utf-8", "surrogatepass"))
    if found is None:
        return
    written = [row for row in rows if any(cell.strip() for cell in row)]
    assert len(found.rows) + found.bad_rows == len(written)


@given(st.binary(max_size=400))
@settings(max_examples=200, deadline=None)
def test_no_bytes_bring_it_down(content: bytes) -> None:
    for start in (b"", b"nomor,nama\n", b"PK\x03\x04"):
        _read(start + content)


@given(st.binary(min_size=1, max_size=60), st.integers(0, 5_000))
@settings(max_examples=60, deadline=None)
def test_no_damage_to_a_workbook_brings_it_down(damage: bytes, place: int) -> None:
    content = bytearray(TestBombs.SMALL)
    place %= len(content)
    content[place : place + len(damage)] = damage
    _read(bytes(content))


def _read(content: bytes) -> Preview | None:
    """None: it was refused as a whole, in words. Anything else that comes out is a fault."""
    try:
        preview = read_members(content, "x")
    except MemberFileUnusable as refusal:
        return None if refusal.explain() and refusal.advise() else pytest.fail("no words")
    _holds(preview)
    return preview


def _holds(preview: Preview) -> None:
    """What good rows promise."""
    numbers = [row.number for row in preview.rows]
    assert len(set(numbers)) == len(numbers)
    for row in preview.rows:
        assert 0 < row.number < 1 << 32
        assert 0 < len(row.name.encode()) <= 36
        assert row.name.isprintable() or not row.name.isascii()
        assert row.member_class is None or 0 < len(row.member_class) <= 40
    good, bad = {row.row for row in preview.rows}, {cell.row for cell in preview.bad}
    assert not good & bad
    assert all(isinstance(cell, BadCell) and cell.problem.explain() for cell in preview.bad)
    assert Column.NUMBER in dict(preview.columns)
