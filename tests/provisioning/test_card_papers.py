"""What is printed of issued cards: rendered, its text read back, its codes decoded."""

from __future__ import annotations

import csv
import io
import re
import subprocess
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
import zxingcpp
from PIL import Image, ImageDraw

from dobmi.i18n import translation
from dobmi.provisioning.card_papers import (
    CARD_HEIGHT,
    CARD_WIDTH,
    LabelSheet,
    PrintedCard,
    batch_csv,
    batch_report,
    card_code,
    card_faces,
    label_sheets,
    places,
    printed,
)
from dobmi.provisioning.errors import PhotoUnusable
from dobmi.provisioning.issuing import Batch, IssuedLine, Line, LineState
from dobmi.provisioning.photo import make_photo, read_photo
from dobmi.sync.outlet import PHOTO_SIZE_MAX

ISSUER = "Koperasi Benteng Mikro Indonesia"
INDONESIAN = translation("id").gettext


def picture(width: int = 300, height: int = 400, form: str = "JPEG") -> bytes:
    made = Image.new("RGB", (width, height), (190, 205, 220))
    draw = ImageDraw.Draw(made)
    draw.ellipse((width * 0.3, height * 0.2, width * 0.7, height * 0.55), fill=(150, 105, 75))
    draw.ellipse((width * 0.15, height * 0.6, width * 0.85, height * 1.2), fill=(40, 90, 70))
    content = io.BytesIO()
    made.save(content, form)
    return content.getvalue()


def card(number: int, name: str = "Siti Aminah", photo: bytes | None = None) -> PrintedCard:
    return PrintedCard(
        member_number=4710 + number, name=name, card_serial=number, expires=date(2031, 11, 1),
        photo=photo,
    )  # fmt: skip


def line(number: int, state: LineState = LineState.ISSUED, reason: str = "") -> Line:
    issued = IssuedLine(
        card_uid=bytes.fromhex("04112233445566"),
        card_serial=number,
        expires=date(2031, 11, 1),
        generation="DESFire EV3",
        originality="DESFire EV3",
        resumed=number == 2,
        issued_at=1_800_000_000,
        station=3,
        person="Rina Marlina",
    )
    return Line(
        batch=1, line=number, member_number=4710 + number, name=f"Anggota {number}",
        member_class="", photo=None, state=state, reason=reason,
        issued=issued if state is LineState.ISSUED else None,
    )  # fmt: skip


def text_of(pdf: bytes, folder: Path) -> str:
    file = folder / "text.pdf"
    file.write_bytes(pdf)
    done = subprocess.run(["pdftotext", "-layout", file, "-"], capture_output=True, check=True)
    return done.stdout.decode()


def pages_of(pdf: bytes, folder: Path, dots_per_inch: int = 200) -> list[Image.Image]:
    file = folder / "pages.pdf"
    file.write_bytes(pdf)
    command = ["pdftoppm", "-r", str(dots_per_inch), "-png", str(file), str(folder / "page")]
    subprocess.run(command, check=True)
    pages: list[Image.Image] = [Image.open(page) for page in sorted(folder.glob("page*.png"))]
    for page in pages:
        page.load()  # and its file is closed
    return pages


def codes_in(page: Image.Image) -> list[str]:
    return sorted(found.text for found in zxingcpp.read_barcodes(page))


class TestFaces:
    def test_a_page_is_a_card_of_its_size(self, tmp_path: Path) -> None:
        pdf = card_faces([card(1, photo=picture()), card(2)], ISSUER, INDONESIAN)
        pages = pages_of(pdf, tmp_path, 300)
        assert len(pages) == 2
        for page in pages:
            assert page.width == pytest.approx(CARD_WIDTH / 25.4 * 300, abs=2)
            assert page.height == pytest.approx(CARD_HEIGHT / 25.4 * 300, abs=2)

    def test_it_says_who_and_which_card_in_indonesian(self, tmp_path: Path) -> None:
        text = text_of(
            card_faces([card(7, "Nurhayati binti Abdul Rahman")], ISSUER, INDONESIAN), tmp_path
        )
        words = " ".join(text.split())
        for expected in (ISSUER, "4717", "Nomor anggota", "berlaku sampai 11/2031"):
            assert expected in words
        assert "Nurhayati" in words
        assert "Rahman" in words

    def test_the_code_is_read_and_says_the_cards_number_alone(self, tmp_path: Path) -> None:
        (page,) = pages_of(card_faces([card(123)], ISSUER, INDONESIAN), tmp_path)
        assert codes_in(page) == [card_code(123)] == ["DOBMI:C:0000000123"]

    def test_the_photo_is_on_it(self, tmp_path: Path) -> None:
        (page,) = pages_of(card_faces([card(1, photo=picture())], ISSUER), tmp_path)
        scale = page.width / CARD_WIDTH
        assert page.getpixel((round(14.5 * scale), round(25 * scale))) != (255, 255, 255)
        red, green, blue = page.convert("RGB").getpixel((round(5 * scale), round(15 * scale)))  # type: ignore[misc] # an RGB picture's pixel is three numbers
        assert (red, green, blue) == pytest.approx((190, 205, 220), abs=12)

    def test_fonts_are_embedded(self, tmp_path: Path) -> None:
        file = tmp_path / "fonts.pdf"
        file.write_bytes(card_faces([card(1)], ISSUER))
        done = subprocess.run(["pdffonts", file], capture_output=True, check=True, text=True)
        fonts = [row.split() for row in done.stdout.splitlines()[2:]]
        assert len(fonts) == 2
        for row in fonts:
            assert re.fullmatch(r"[A-Z]{6}\+.*", row[0])
            assert row[-5:-2] == ["yes", "yes", "yes"]  # embedded, a subset, with its characters

    @pytest.mark.parametrize(
        "name", ["M" * 36, "W" * 18 + " " + "W" * 17, "José Ñandú Šafařík", "李小龍"]
    )
    def test_no_name_runs_over_the_edge_or_brings_it_down(self, name: str, tmp_path: Path) -> None:
        pdf = card_faces([card(1, name)], ISSUER) + b""
        (page,) = pages_of(pdf, tmp_path)
        edge = page.convert("L").crop((page.width - 20, 90, page.width, page.height))
        assert edge.getextrema() == (255, 255)
        assert codes_in(page) == [card_code(1)]


class TestSheets:
    @pytest.mark.parametrize("sheet", LabelSheet)
    def test_every_label_is_in_its_place_with_its_own_code(
        self, sheet: LabelSheet, tmp_path: Path
    ) -> None:
        count = int(sheet.value)
        pdf = label_sheets([card(n) for n in range(1, count + 2)], ISSUER, sheet, INDONESIAN)
        first, second = pages_of(pdf, tmp_path)
        assert first.size == (1654, 2339)  # A4 at 200 dots an inch
        assert codes_in(first) == [card_code(number) for number in range(1, count + 1)]
        assert codes_in(second) == [card_code(count + 1)]
        scale = first.width / 210
        for number, place in enumerate(places(sheet), 1):
            box = (place.left, place.top, place.left + place.width, place.top + place.height)
            label = first.crop(tuple(round(part * scale) for part in box))  # type: ignore[arg-type] # four of them
            assert codes_in(label) == [card_code(number)]

    def test_a_sheet_that_was_begun_is_gone_on_with(self, tmp_path: Path) -> None:
        pdf = label_sheets([card(1)], ISSUER, LabelSheet.LABELS_24, first=24)
        (page,) = pages_of(pdf, tmp_path)
        assert page.convert("L").crop((0, 0, page.width, page.height // 2)).getextrema() == (
            255,
            255,
        )
        assert codes_in(page) == [card_code(1)]
        with pytest.raises(ValueError, match="places"):
            label_sheets([card(1)], ISSUER, LabelSheet.LABELS_24, first=25)

    def test_crop_marks_are_outside_the_cards(self, tmp_path: Path) -> None:
        (page,) = pages_of(label_sheets([card(1)], ISSUER, LabelSheet.CARDS_10), tmp_path, 300)
        grey, scale, place = page.convert("L"), page.width / 210, places(LabelSheet.CARDS_10)[0]
        row = round(place.top * scale)
        beside = (round((place.left - 2.5) * scale), round((place.left - 0.8) * scale))
        darkest, _ = grey.crop((beside[0], row - 1, beside[1], row + 2)).getextrema()
        assert isinstance(darkest, int | float)
        assert darkest < 200


class TestReport:
    BATCH = Batch(
        number=1, name="Rembug Melati", made_at=1_800_000_000, lines=3, issued=2, skipped=1,
        waiting=0,
    )  # fmt: skip

    def test_it_says_of_each_card_what_was_read_back(self, tmp_path: Path) -> None:
        lines = [line(1), line(2), line(3, LineState.SKIPPED, "pindah")]
        words = " ".join(
            text_of(
                batch_report(self.BATCH, lines, ISSUER, 1_800_000_500, INDONESIAN), tmp_path
            ).split()
        )
        for expected in (
            "Rembug Melati", "04112233445566", "DESFire EV3", "Rina Marlina", "Anggota 2",
            "15-01-2027 15:00 WIB", "pindah", "2 dari 3 kartu",
        ):  # fmt: skip
            assert expected in words, expected

    @pytest.mark.parametrize("count", [1, 22, 23, 24, 27, 28, 120, 400])
    def test_no_line_is_lost_between_pages(self, count: int, tmp_path: Path) -> None:
        lines = [line(number) for number in range(1, count + 1)]
        text = text_of(batch_report(self.BATCH, lines, ISSUER, 0), tmp_path)
        assert re.findall(r"Anggota (\d+)", text) == [str(n) for n in range(1, count + 1)]
        last = text.split("\f")[-2]
        assert "Checked by" in last


def test_the_report_as_a_table() -> None:
    lines = [line(1), replace(line(2), name="=HYPERLINK(1)"), line(3, LineState.WAITING)]
    text = batch_csv(lines, INDONESIAN)
    assert text.startswith("\N{BYTE ORDER MARK}")
    rows = list(csv.reader(io.StringIO(text[1:]), delimiter=";"))
    assert rows[1][:6] == ["1", "4711", "Anggota 1", "diterbitkan", "1", "04112233445566"]
    assert rows[2][2] == "'=HYPERLINK(1)"
    assert {len(row) for row in rows} == {11}
    with pytest.raises(ValueError, match="not issued"):
        printed(lines[2])


class TestPhotos:
    @pytest.mark.parametrize("form", ["JPEG", "PNG"])
    @pytest.mark.parametrize("size", [(300, 400), (4000, 3000), (200, 1000), (40, 40)])
    def test_it_becomes_a_small_upright_jpeg(self, form: str, size: tuple[int, int]) -> None:
        made = make_photo(picture(*size, form), "x")
        assert len(made) <= PHOTO_SIZE_MAX
        with Image.open(io.BytesIO(made)) as opened:
            assert opened.format == "JPEG"
            assert opened.width / opened.height == pytest.approx(3 / 4, abs=0.03)
            assert opened.width <= 360

    def test_a_camera_held_sideways_is_turned(self) -> None:
        side = Image.open(io.BytesIO(picture(400, 300)))
        exif = side.getexif()
        exif[0x0112] = 6  # turned by a quarter
        content = io.BytesIO()
        side.save(content, "JPEG", exif=exif)
        with Image.open(io.BytesIO(make_photo(content.getvalue(), "x"))) as made:
            assert made.size == (300, 400)
            assert not made.getexif()

    @pytest.mark.parametrize("content", [b"", b"no picture", b"\xff\xd8\xff\xe0 broken", b"GIF89a"])
    def test_what_is_no_picture_is_refused(self, content: bytes) -> None:
        with pytest.raises(PhotoUnusable):
            make_photo(content, "x.jpg")

    def test_a_picture_that_unpacks_to_far_more_is_refused(self) -> None:
        content = io.BytesIO()
        Image.new("1", (9000, 9000)).save(content, "PNG")
        with pytest.raises(PhotoUnusable, match="pixels"):
            make_photo(content.getvalue(), "x.png")

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(PhotoUnusable, match="cannot be read"):
            read_photo(tmp_path / "x.jpg")
