"""`dobmi central catalogue`, `till-staff`, `orders`, `members` and `shifts` as the office uses them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dobmi.central.till_records import take_records
from dobmi.central.till_staff import seller_staff
from dobmi.cli.central import command
from dobmi.cli.context import Context
from dobmi.settings import CentralSettings, Settings
from dobmi.sync.outlet import pin_matches
from dobmi.sync.records import (
    OrderRecord,
    OrderState,
    ShiftRecord,
    encode_record,
    encode_records,
)
from support.databases import Kind
from support.outlets import CLOSED_SHIFT
from support.traffic import START, ModelTill, World

TOKO = "Toko BMI"
SHIFT = replace(CLOSED_SHIFT, number=4)


@dataclass
class Desk:
    world: World
    folder: Path
    till: ModelTill

    def run(self, *arguments: str, say: str = "") -> Result:
        settings = Settings(
            folder=self.folder, central=CentralSettings(database=self.world.url), language="en"
        )
        context = Context(settings, "en", str)
        runner = CliRunner(env={"COLUMNS": "200"})
        return runner.invoke(command, arguments, obj=context, input=say)

    def ok(self, *arguments: str, say: str = "") -> str:
        done = self.run(*arguments, say=say)
        assert done.exit_code == 0, (done.output, done.exception)
        return done.output

    def refused(self, code: str, *arguments: str, say: str = "") -> str:
        done = self.run(*arguments, say=say)
        assert (done.exit_code, f"[{code}]" in done.output) == (1, True), done.output
        return done.output

    def file(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return str(path)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    world = World.create(tmp_path, kind=Kind.SQLITE)
    return Desk(world, tmp_path, world.till())


def test_a_catalogue_is_taken_whole_and_shown(desk: Desk) -> None:
    good = desk.file(
        "toko.csv",
        "kode;nama;kategori;harga;barcode;harga:karyawan\n"
        "BRS5;Beras 5 kg;Sembako;75.000;8991;72.500\n",
    )
    assert "has 1 items now; it had 0" in desk.ok("catalogue", "import", good)
    for shown in ("BRS5", "Rp 75.000", "8991", "karyawan Rp 72.500"):
        assert shown in desk.ok("catalogue", "show", "--seller", TOKO)
    bad = desk.file("bad.csv", "kode;nama;kategori;harga\nX;;S;1\nY;Roti;S;satu\nZ;Roti;S;1\n")
    said = desk.refused("CENTRAL-FILE", "catalogue", "import", bad, "--seller", TOKO)
    assert "line 2: there is no name" in said
    assert "line 3: 'satu' is no price in whole rupiah" in said
    assert "Roti" not in desk.ok("catalogue", "show", "--seller", TOKO)
    (desk.folder / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    desk.refused("FILE", "catalogue", "import", str(desk.folder / "bytes.csv"))
    desk.refused("CENTRAL-SELLER-UNKNOWN", "catalogue", "show", "--seller", "Kios")


def test_a_pin_is_asked_for_unseen_and_never_shown(desk: Desk) -> None:
    desk.world.card(4711)
    of_toko = ("--seller", TOKO)
    added = desk.ok("till-staff", "add", "11", "Siti", *of_toko)
    assert "11 Siti, cashier at Toko BMI" in added
    desk.ok("till-staff", "add", "20", "Ani", *of_toko, "--duty", "supervisor")
    said = desk.ok("till-staff", "pin", "11", *of_toko, say="274951\n274951\n")
    assert "274951" not in said
    (siti, _) = seller_staff(desk.world.central.database, TOKO).people
    assert siti.pin is not None
    assert pin_matches("274951", siti.pin)
    weak = desk.refused("CENTRAL-PIN", "till-staff", "pin", "11", *of_toko, say="123456\n" * 2)
    assert "123456" not in weak
    assert desk.run("till-staff", "pin", "11", *of_toko, "274951").exit_code == 2
    assert desk.run("till-staff", "card", "20", *of_toko).exit_code == 2
    desk.ok("till-staff", "card", "20", *of_toko, "--member", "4711")
    listed = desk.ok("till-staff", "list", *of_toko)
    for shown in ("Siti", "supervisor", "set", "4711"):
        assert shown in listed
    desk.ok("till-staff", "card", "20", *of_toko, "--none")
    assert "4711" not in desk.ok("till-staff", "list", *of_toko)
    desk.ok("till-staff", "remove", "11", *of_toko)
    assert "Siti" not in desk.ok("till-staff", "list", *of_toko)
    desk.refused("CENTRAL-TILL-STAFF-LAST", "till-staff", "remove", "20", *of_toko)
    desk.ok("till-staff", "remove", "20", *of_toko, "--last")


def test_orders_are_taken_once_and_listed_with_what_became_of_them(desk: Desk) -> None:
    desk.world.card(4711)
    file = desk.file(
        "orders.csv",
        "order,member,pick_up_on,item,name,quantity,price\n"
        "501,4711,2026-11-30,BRS5,Beras 5 kg,2,75000\n"
        "502,4711,2026-11-30,BRS5,Beras 5 kg,1,75000\n",
    )
    assert "Taken: 2 orders" in desk.ok("orders", "import", file, "--seller", TOKO)
    assert "left as they are: 2" in desk.ok("orders", "import", file, "--seller", TOKO)
    paid = OrderRecord(
        order=501, state=OrderState.PAID, sale=7, short=(), by="Siti", unix_seconds=START
    )
    gone = OrderRecord(
        order=502, state=OrderState.CANCELLED, sale=None, short=(), by="Ani", unix_seconds=START
    )
    send(desk, paid, gone)
    listed = desk.ok("orders", "list")
    for shown in ("501", "4711 Anggota 4711", "30-11-2026", "Rp 150.000", "paid: Siti, 1/7"):
        assert shown in listed
    assert "502" not in listed
    assert "cancelled: Ani" in desk.ok("orders", "list", "--seller", TOKO, "--all")


def test_classes_and_photos_are_taken(desk: Desk) -> None:
    desk.world.card(4711)
    classes = desk.file("classes.csv", "member,class\n4711,karyawan\n")
    assert "Changed: 1 members" in desk.ok("members", "class", classes)
    (desk.folder / "4711.jpg").write_bytes(b"\xff\xd8\xff\xe0 face \xff\xd9")
    photos = desk.file("photos.csv", "member,file\n4711,4711.jpg\n")
    assert "Changed: 1 members" in desk.ok("members", "photo", photos)
    unknown = desk.file("unknown.csv", "member,class\n9,karyawan\n")
    assert "member 9 is not known" in desk.refused("CENTRAL-FILE", "members", "class", unknown)


def test_shifts_are_listed_with_what_the_drawer_lacked(desk: Desk) -> None:
    send(desk, SHIFT)
    listed = desk.ok("shifts", "--seller", TOKO)
    for shown in ("Siti, Budi", "31: Rp 1.250.000", "Rp 230.000", "Rp 229.500", "-Rp 500"):
        assert shown in listed
    assert "Siti" not in desk.ok("shifts", "--terminal", "99")


def send(desk: Desk, *records: ShiftRecord | OrderRecord) -> None:
    till = desk.till
    encoded = [encode_record(record) for record in records]
    take_records(
        desk.world.central,
        encode_records(till.terminal_id, 1, encoded, till.public_key, till.key.sign),
    )
