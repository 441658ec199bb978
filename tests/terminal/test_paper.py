"""A paper's rows, its bytes for a printer and its copy on the screen, of any text that comes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dobmi.i18n import LANGUAGES, translation
from dobmi.terminal.escpos_bytes import drawer_kick, printable, to_escpos
from dobmi.terminal.paper import (
    COLUMNS,
    Align,
    Element,
    Gap,
    Line,
    Pair,
    Paper,
    PaperKind,
    Qr,
    Row,
    Size,
    Words,
    as_copy,
    lay_out,
    paper_from_json,
    paper_to_json,
    to_screen,
    to_text,
)
from dobmi.terminal.receipt import sale_paper
from support.escpos_picture import commands, print_out, read_codes
from support.papers import SALE, every_paper

texts = st.text(max_size=120)
elements: st.SearchStrategy[Element] = st.one_of(
    st.builds(
        Words,
        text=texts,
        hanging=st.integers(0, 6),
        align=st.sampled_from(Align),
        bold=st.booleans(),
        size=st.sampled_from(Size),
    ),
    st.builds(Pair, left=texts, right=texts, bold=st.booleans(), size=st.sampled_from(Size)),
    st.just(Line()),
    st.just(Gap()),
    st.builds(Qr, st.text(min_size=1, max_size=60)),
)
papers = st.builds(
    Paper,
    kind=st.sampled_from(PaperKind),
    reference=st.integers(0, 1 << 60),
    unix_seconds=st.integers(0, 1 << 33),
    title=texts,
    copy_mark=st.just("SALINAN"),
    elements=st.lists(elements, max_size=8).map(tuple),
)
columns = st.sampled_from(COLUMNS)


def paper_of(*parts: Element) -> Paper:
    return Paper(
        kind=PaperKind.TEST,
        reference=0,
        unix_seconds=0,
        title="",
        copy_mark="SALINAN",
        elements=parts,
    )


class TestRows:
    @given(papers, columns)
    def test_no_row_is_wider_than_the_paper(self, paper: Paper, width: int) -> None:
        for row in lay_out(paper, width):
            if isinstance(row, Row):
                most = width // 2 if row.size is Size.LARGE else width
                assert len(row.text) <= most
                assert "\n" not in row.text

    def test_an_amount_stands_at_the_right_edge(self) -> None:
        (row,) = to_text(paper_of(Pair(left="Gula", right="Rp 500")), 32)
        assert row == "Gula" + " " * 22 + "Rp 500"

    def test_a_long_name_is_wrapped_and_its_amount_stands_in_the_last_row(self) -> None:
        name = "Minyak goreng kemasan isi ulang"
        assert to_text(paper_of(Pair(left=name, right="Rp 38.500")), 32) == [
            "Minyak goreng kemasan isi ulang",
            "Rp 38.500".rjust(32),
        ]

    def test_what_does_not_fit_beside_the_amount_keeps_its_indent(self) -> None:
        rows = to_text(paper_of(Pair(left="  dinyatakan lunas, belum terbukti", right="Rp 5")), 32)
        assert rows == ["  dinyatakan lunas, belum", "  terbukti" + "Rp 5".rjust(22)]

    @given(papers)
    def test_the_queue_gives_back_what_was_put_in(self, paper: Paper) -> None:
        assert paper_from_json(paper_to_json(paper)) == paper

    def test_a_copy_says_so_first_and_once(self) -> None:
        copy = as_copy(paper_of(Words(text="isi")))
        assert to_text(copy, 32)[0].strip() == "SALINAN"
        assert as_copy(copy) == copy


class TestBytes:
    @settings(deadline=None, max_examples=40)
    @given(papers, columns)
    def test_whatever_the_texts_are_a_printer_knows_every_byte(
        self, paper: Paper, width: int
    ) -> None:
        data = to_escpos(paper, width)
        printout = print_out(data, width)
        assert not printout.ran_over
        assert printout.cuts == 1
        assert printout.drawer_kicks == 0
        # A status question in a picture's data would be answered, and taken for another answer.
        assert b"\x10\x04" not in data

    @given(texts)
    def test_what_is_printable_is_ascii(self, text: str) -> None:
        assert all(" " <= one <= "~" for one in printable(text))

    @pytest.mark.parametrize(
        ("text", "printed"),
        [
            ("José Ñandú", "Jose Nandu"),
            ("Łukasz Ørsted", "Lukasz Orsted"),
            ("Ma\N{RIGHT SINGLE QUOTATION MARK}ruf \N{EN DASH} Siti…", "Ma'ruf - Siti..."),
            ("½ kg", " 1/2 kg"),
            ("محمد", "????"),
            ("A\x1b@B\x1dV\x00\x7f", "A?@B?V??"),
            ("Rp\N{NO-BREAK SPACE}500", "Rp 500"),
        ],
    )
    def test_names_with_other_letters_are_printed_in_ascii(self, text: str, printed: str) -> None:
        assert printable(text) == printed

    def test_a_name_with_commands_in_it_commands_nothing(self) -> None:
        printout = print_out(to_escpos(paper_of(Words(text="Siti\x1bp\x00\x32\x32")), 32), 32)
        assert printout.drawer_kicks == 0
        assert printout.texts[0] == "Siti?p?22"

    def test_sizes_and_weights_are_those_of_the_elements(self) -> None:
        paper = paper_of(
            Words(text="besar", size=Size.LARGE, align=Align.CENTRE, bold=True),
            Words(text="biasa"),
            Pair(left="TOTAL", right="Rp 1", size=Size.TALL, bold=True),
        )
        printout = print_out(to_escpos(paper, 32), 32)
        large, plain, tall = (printout.line(start) for start in ("besar", "biasa", "TOTAL"))
        assert (large.width, large.height, large.bold, large.align) == (2, 2, True, 1)
        assert (plain.width, plain.height, plain.bold, plain.align) == (1, 1, False, 0)
        assert (tall.width, tall.height, tall.bold) == (1, 2, True)

    def test_the_drawer_is_kicked_once_on_its_own(self) -> None:
        printout = print_out(drawer_kick(), 32)
        assert printout.drawer_kicks == 1
        assert not printout.parts

    def test_no_code_page_is_chosen(self) -> None:
        data = to_escpos(paper_of(Words(text="José")), 32)
        assert {command.name for command in commands(data)} <= {
            "reset", "size", "bold", "align", "text", "line feed", "feed", "cut",
        }  # fmt: skip


class TestCodes:
    @pytest.mark.parametrize("native", [False, True])
    @pytest.mark.parametrize("width", COLUMNS)
    def test_the_code_is_read_from_the_picture_of_the_paper(self, width: int, native: bool) -> None:
        paper = sale_paper(SALE, translation("id").gettext)
        printout = print_out(to_escpos(paper, width, native_qr=native), width)
        assert read_codes(printout.picture()) == [SALE.proof]

    @pytest.mark.parametrize("length", [1, 60, 120, 300])
    def test_codes_of_any_length_fit_on_narrow_paper(self, length: int) -> None:
        text = ("https://x.example/" + "AbC3" * 100)[:length]
        printout = print_out(to_escpos(paper_of(Qr(text)), 32), 32)
        assert read_codes(printout.picture()) == [text]

    def test_the_code_is_small_on_the_line(self) -> None:
        with_code = len(to_escpos(paper_of(Qr(SALE.proof)), 32))
        assert with_code < 4_000, "four seconds at 9600 baud"

    def test_on_the_screen_it_is_the_same_code(self) -> None:
        (row,) = to_screen(paper_of(Qr(SALE.proof)))
        assert re.fullmatch(r"(M\d+ \d+h1v1h-1z)+", row.qr_path)
        picture = Image.new("L", (row.qr_side * 4, row.qr_side * 4), 255)
        for x, y in re.findall(r"M(\d+) (\d+)", row.qr_path):
            left, top = int(x) * 4, int(y) * 4
            picture.paste(0, (left, top, left + 4, top + 4))
        assert read_codes(picture) == [SALE.proof]


class TestScreen:
    def test_rows_are_plain_facts_for_a_template_that_escapes(self) -> None:
        words, pair, line, gap = to_screen(
            paper_of(
                Words(text="<b>&", bold=True, align=Align.CENTRE, size=Size.LARGE),
                Pair(left="TOTAL", right="Rp 1", size=Size.TALL),
                Line(),
                Gap(),
            )
        )
        assert (words.kind, words.left, words.style) == ("words", "<b>&", "centre bold large")
        assert (pair.kind, pair.left, pair.right, pair.style) == ("pair", "TOTAL", "Rp 1", "tall")
        assert (line.kind, gap.kind) == ("line", "gap")

    def test_as_text_the_code_is_its_address(self) -> None:
        assert SALE.proof in to_text(sale_paper(SALE, str), 32)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("width", COLUMNS)
def test_every_paper_fits_in_both_languages_on_both_widths(language: str, width: int) -> None:
    for paper in every_paper(translation(language).gettext, width):
        printout = print_out(to_escpos(as_copy(paper), width), width)
        assert not printout.ran_over
        assert "?" not in printout.text
        assert [row.rstrip() for row in printout.texts if row.strip()] != []
