"""What an outlet's tills are told: catalogue, staff, orders, members' classes and photos."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import select

from dobmi.central import member_notes
from dobmi.central.catalogue import import_catalogue, parse_catalogue, seller_catalogue
from dobmi.central.errors import (
    BadParameters,
    CardOfOtherStaff,
    FileRefused,
    LastTillStaff,
    PinNotAllowed,
    StaffNumberTaken,
    UnknownMember,
    UnknownSeller,
    UnknownTillStaff,
)
from dobmi.central.member_notes import import_notes, parse_classes, parse_photos
from dobmi.central.member_orders import import_orders, order_list, parse_orders
from dobmi.central.restoring import mark_restored
from dobmi.central.schema import till_staff
from dobmi.central.till_staff import (
    add_till_staff,
    remove_till_staff,
    seller_staff,
    set_card,
    set_pin,
)
from dobmi.money import Rupiah
from dobmi.sync.feed import Feed, Held, verify_feed
from dobmi.sync.outlet import Catalogue, Duty, MemberNote, OutletOrders, OutletStaff, pin_matches
from support.central_client import Office
from support.traffic import START, ModelTill

TOKO, WARUNG = "Toko BMI", "Warung"
JPEG = b"\xff\xd8\xff\xe0 a face \xff\xd9"


@dataclass
class Till:
    """Keeps what the feeds say, by the rules of docs/formats/feed.md."""

    office: Office
    model: ModelTill
    held: Held = field(default_factory=Held)
    catalogue: Catalogue | None = None
    staff: OutletStaff | None = None
    orders: OutletOrders | None = None
    notes: dict[int, MemberNote] = field(default_factory=dict)

    def feed(self) -> Feed:
        held = self.held
        path = (
            f"/v1/feed?since=0&catalogue={held.catalogue}&staff={held.staff}"
            f"&orders={held.orders}&members={held.members}"
        )
        answer = self.office.signed(self.model, "GET", path)
        assert answer.status_code == 200, answer.text
        return verify_feed(
            answer.content,
            self.office.world.central.public_key,
            0,
            self.model.terminal_id,
            self.held,
        )

    def sync(self) -> set[str]:
        """The parts that came."""
        came = set()
        while (outlet := self.feed().outlet) is not None:
            for part in ("catalogue", "staff", "orders"):
                if (told := getattr(outlet, part)) is not None:
                    setattr(self, part, told)
                    came.add(part)
            if outlet.members is not None:
                if outlet.members.since == 0:
                    self.notes.clear()
                self.notes |= {note.member_number: note for note in outlet.members.notes}
                came.add("members")
            self.held = Held(
                catalogue=self.catalogue.version if self.catalogue else 0,
                staff=self.staff.version if self.staff else 0,
                orders=self.orders.version if self.orders else 0,
                members=outlet.members.version if outlet.members else self.held.members,
            )
        return came

    def codes(self) -> list[str]:
        assert self.catalogue is not None
        return [item.code for item in self.catalogue.items]


@pytest.fixture
def till(office: Office) -> Till:
    return Till(office, office.world.till())


@pytest.fixture
def warung(office: Office) -> Till:
    return Till(office, office.world.till(seller=WARUNG))


def stock(office: Office, text: str, seller: str | None = None) -> None:
    import_catalogue(office.world.central.database, parse_catalogue(text), seller)


def problems(refused: pytest.ExceptionInfo[FileRefused]) -> list[str]:
    return [problem.explain() for problem in refused.value.problems]


COMMON = """kode;nama;kategori;harga;barcode;toko;harga:karyawan
BRS5;Beras 5 kg;Sembako;75.000;8991 8992;;72.500
TLR;Telur;Sembako;Rp 2.500;;;
KPI;Kopi;Minuman;12000;8993;Warung;
"""


class TestCatalogue:
    def test_a_tills_own_item_goes_before_all_sellers_and_some_have_it_alone(
        self, office: Office, till: Till, warung: Till
    ) -> None:
        stock(office, COMMON)
        stock(office, "code,name,category,price\nTLR,Telur asin,Sembako,4000\n", TOKO)
        assert till.sync() == {"catalogue"}
        assert warung.sync() == {"catalogue"}
        assert (till.codes(), warung.codes()) == (["BRS5", "TLR"], ["BRS5", "KPI", "TLR"])
        assert till.catalogue is not None
        rice, egg = till.catalogue.items
        assert (rice.name, rice.price, rice.barcodes, rice.class_prices) == (
            "Beras 5 kg",
            Rupiah(75_000),
            ("8991", "8992"),
            (("karyawan", Rupiah(72_500)),),
        )
        assert (egg.name, egg.price) == ("Telur asin", Rupiah(4_000))

    def test_it_comes_once_and_again_when_it_has_changed(
        self, office: Office, till: Till, warung: Till
    ) -> None:
        assert till.sync() == set()
        stock(office, COMMON)
        assert (till.sync(), till.sync(), warung.sync()) == ({"catalogue"}, set(), {"catalogue"})
        stock(office, "code,name,category,price\nSBN,Sabun,Mandi,4000\n", TOKO)
        assert (till.sync(), warung.sync()) == ({"catalogue"}, set())
        assert till.codes() == ["BRS5", "SBN", "TLR"]
        stock(office, "code,name,category,price\n", TOKO)
        assert till.sync() == {"catalogue"}
        assert till.codes() == ["BRS5", "TLR"]

    def test_every_bad_line_is_named_and_nothing_is_taken(
        self, office: Office, till: Till, warung: Till
    ) -> None:
        stock(office, COMMON)
        assert warung.sync() == {"catalogue"}
        text = (
            "code,name,category,price,barcode\n"
            ",Beras,Sembako,1000,\n"
            "A,Beras,Sembako,seribu,\n"
            "B,Beras,Sembako,1000,77 77\n"
            f"C,{'x' * 81},Sembako,1000,\n"
            "D,Gula,Sembako,1000,99\n"
            "D,Gula,Sembako,1000,\n"
            "E,Garam,Sembako,1000,99\n"
            "F,Garam,Sembako\n"
            "G,Garam,Sembako,1000000001,\n"
        )
        with pytest.raises(FileRefused) as refused:
            stock(office, text, TOKO)
        said = problems(refused)
        for line in (2, 3, 4, 5, 7, 8, 9, 10):
            assert any(one.startswith(f"line {line}: ") for one in said), line
        assert not any(one.startswith("line 6: ") for one in said)
        assert "line 8: barcode 99 is in line 6 too" in said
        assert till.sync() == {"catalogue"}
        assert till.codes() == ["BRS5", "TLR"]

    @pytest.mark.parametrize("text", ["", "kode,nama\nA,B\n", "code,name,category,price,x,y\n"])
    def test_what_is_no_catalogue_is_refused(self, text: str) -> None:
        with pytest.raises(FileRefused):
            parse_catalogue(text)

    @pytest.mark.parametrize(
        ("own", "common", "is_refused"),
        [
            ("A,Beras,S,1,77", "B,Roti,S,1,77,", True),
            ("A,Beras,S,1,77", "B,Roti,S,1,77,Toko BMI", True),
            ("A,Beras,S,1,77", "B,Roti,S,1,77,Warung", False),
            ("A,Beras,S,1,77", "A,Roti,S,1,77,", False),
            ("A,Beras,S,1,77", "B,Roti,S,1,78,", False),
        ],
    )
    @pytest.mark.parametrize("own_first", [True, False])
    def test_a_barcode_is_one_items_at_every_till(
        self,
        office: Office,
        warung: Till,
        own: str,
        common: str,
        *,
        is_refused: bool,
        own_first: bool,
    ) -> None:
        till = Till(office, office.world.till())
        files = [
            (f"code,name,category,price,barcode\n{own}\n", TOKO),
            (f"code,name,category,price,barcode,outlets\n{common}\n", None),
        ]
        first, second = files if own_first else reversed(files)
        stock(office, *first)
        if is_refused:
            with pytest.raises(FileRefused, match="lines"):
                stock(office, *second)
        else:
            stock(office, *second)
        assert till.sync() | warung.sync() >= {"catalogue"}

    def test_outlets_that_are_not_there_and_outlets_of_an_outlet_are_refused(
        self, office: Office, till: Till
    ) -> None:
        assert till.sync() == set()
        text = "code,name,category,price,outlets\nA,Beras,S,1,Kios\n"
        with pytest.raises(FileRefused) as refused:
            stock(office, text)
        assert problems(refused) == ["line 2: there is no seller Kios"]
        with pytest.raises(FileRefused):
            stock(office, text, TOKO)
        with pytest.raises(UnknownSeller):
            stock(office, text, "Kios")

    def test_what_no_till_can_take_is_refused(
        self, office: Office, till: Till, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stock(office, COMMON.replace("Warung", TOKO))
        monkeypatch.setattr("dobmi.central.catalogue.ITEMS_MAX", 4)
        two = "code,name,category,price\nA,Beras,S,1\nB,Beras,S,1\n"
        with pytest.raises(FileRefused, match="1 lines"):
            stock(office, two, TOKO)
        monkeypatch.setattr("dobmi.central.catalogue.ITEMS_MAX", 5)
        stock(office, two, TOKO)
        with pytest.raises(FileRefused, match="1 lines"):
            stock(office, COMMON + "X,Roti,S,1,,,\n")
        monkeypatch.setattr("dobmi.central.catalogue.BYTES_MAX", 20)
        with pytest.raises(FileRefused, match="1 lines"):
            stock(office, two, TOKO)
        assert till.sync() == {"catalogue"}
        assert till.codes() == ["A", "B", "BRS5", "KPI", "TLR"]
        assert len(seller_catalogue(office.world.central.database, None).items) == 3


class TestStaff:
    def test_they_come_with_pin_and_card_and_go_when_removed(
        self, office: Office, till: Till, warung: Till
    ) -> None:
        database = office.world.central.database
        office.world.card(4711)
        add_till_staff(database, TOKO, 11, "Siti", Duty.CASHIER, now=START)
        add_till_staff(database, TOKO, 20, "Ani", Duty.CASHIER, now=START)
        add_till_staff(database, TOKO, 20, "Ani", Duty.SUPERVISOR, now=START)
        set_pin(database, TOKO, 11, "274951", START)
        set_card(database, TOKO, 20, 4711, START)
        assert (till.sync(), warung.sync()) == ({"staff"}, set())
        assert till.staff is not None
        siti, ani = till.staff.people
        assert (siti.number, siti.name, siti.duty, siti.member_number) == (
            11,
            "Siti",
            Duty.CASHIER,
            None,
        )
        assert siti.pin is not None
        assert pin_matches("274951", siti.pin)
        assert (ani.duty, ani.pin, ani.member_number) == (Duty.SUPERVISOR, None, 4711)
        with database.read() as connection:
            kept = connection.execute(select(till_staff)).all()
        assert "274951" not in str(kept)
        remove_till_staff(database, TOKO, 11)
        set_card(database, TOKO, 20, None, START)
        assert till.sync() == {"staff"}
        assert [(one.number, one.member_number) for one in till.staff.people] == [(20, None)]
        with pytest.raises(LastTillStaff):
            remove_till_staff(database, TOKO, 20)
        assert till.sync() == set()
        remove_till_staff(database, TOKO, 20, last=True)
        assert till.sync() == {"staff"}
        assert till.staff.people == ()
        assert till.staff.version > 0

    def test_a_number_and_a_card_are_one_persons(self, office: Office, till: Till) -> None:
        database = office.world.central.database
        office.world.card(4711)
        add_till_staff(database, TOKO, 11, "Siti", Duty.CASHIER, now=START)
        add_till_staff(database, TOKO, 12, "Budi", Duty.CASHIER, now=START)
        set_card(database, TOKO, 11, 4711, START)
        with pytest.raises(StaffNumberTaken):
            add_till_staff(database, TOKO, 11, "Budi", Duty.CASHIER, now=START)
        with pytest.raises(CardOfOtherStaff):
            set_card(database, TOKO, 12, 4711, START)
        with pytest.raises(UnknownMember):
            set_card(database, TOKO, 12, 4712, START)
        with pytest.raises(BadParameters):
            add_till_staff(database, TOKO, 13, "", Duty.CASHIER, now=START)
        with pytest.raises(UnknownTillStaff):
            set_pin(database, TOKO, 99, "274951", START)
        with pytest.raises(UnknownTillStaff):
            remove_till_staff(database, TOKO, 99)
        with pytest.raises(UnknownSeller):
            add_till_staff(database, "Kios", 11, "Siti", Duty.CASHIER, now=START)
        assert len(seller_staff(database, TOKO).people) == 2
        assert till.sync() == {"staff"}

    @pytest.mark.parametrize("pin", ["12345", "123456", "987654", "000000", "12345x"])
    def test_a_pin_that_everybody_tries_first_is_refused(self, office: Office, pin: str) -> None:
        office.world.till()
        with pytest.raises(PinNotAllowed):
            set_pin(office.world.central.database, TOKO, 11, pin, START)

    def test_a_station_is_told_nobodys_pin(self, office: Office, till: Till) -> None:
        station = Till(office, office.world.station())
        add_till_staff(office.world.central.database, TOKO, 11, "Siti", Duty.CASHIER, now=START)
        assert (station.sync(), till.sync()) == (set(), {"staff"})


ORDERS = """pesanan;anggota;ambil;kode;nama;jumlah;harga;catatan
501;4711;2026-11-30;BRS5;Beras 5 kg;2;75.000;tanpa kantong
501;4711;2026-11-30;TLR;Telur;10;2.500;tanpa kantong
502;4712;2026-12-01;TLR;Telur;30;2.500;
"""


class TestOrders:
    @pytest.fixture(autouse=True)
    def _members(self, office: Office, till: Till) -> None:
        office.world.make_cards(4711, 2)
        assert till.sync() == set()

    def test_they_come_whole_to_their_outlets_tills(
        self, office: Office, till: Till, warung: Till
    ) -> None:
        database = office.world.central.database
        done = import_orders(database, parse_orders(ORDERS), TOKO, START)
        assert (done.taken, done.already) == (2, 0)
        assert (till.sync(), warung.sync()) == ({"orders"}, set())
        assert till.orders is not None
        first, second = till.orders.orders
        assert (first.number, first.member_number, first.holder) == (501, 4711, "Anggota 4711")
        assert [(line.item, line.quantity, line.unit_price) for line in first.lines] == [
            ("BRS5", 2, Rupiah(75_000)),
            ("TLR", 10, Rupiah(2_500)),
        ]
        assert (first.note, first.paid, f"{first.pick_up_on}") == (
            "tanpa kantong",
            False,
            "2026-11-30",
        )
        assert (second.number, second.note) == (502, "")
        assert [one.total for one in order_list(database, None)] == [
            Rupiah(175_000),
            Rupiah(75_000),
        ]

    def test_a_file_taken_again_changes_nothing_and_one_that_says_otherwise_is_refused(
        self, office: Office, till: Till
    ) -> None:
        database = office.world.central.database
        import_orders(database, parse_orders(ORDERS), TOKO, START)
        done = import_orders(database, parse_orders(ORDERS), TOKO, START)
        assert (done.taken, done.already) == (0, 2)
        more = ORDERS.replace(
            "501;4711;2026-11-30;TLR;Telur;10", "501;4711;2026-11-30;TLR;Telur;11"
        )
        with pytest.raises(FileRefused) as refused:
            import_orders(database, parse_orders(more + "503;9;2026-12-01;A;B;1;1;\n"), TOKO, START)
        assert problems(refused) == [
            "line 2: order 501 was taken before, and otherwise",
            "line 5: member 9 is not known",
        ]
        assert till.sync() == {"orders"}
        assert till.orders is not None
        assert len(till.orders.orders) == 2

    def test_every_bad_line_is_named(self) -> None:
        text = (
            "order,member,pick_up_on,item,name,quantity,price,note\n"
            "x,4711,2026-11-30,A,B,1,1,\n"
            "1,0,2026-11-30,A,B,1,1,\n"
            "1,4711,30-11-2026,A,B,1,1,\n"
            "1,4711,2026-11-30,,B,1,1,\n"
            "1,4711,2026-11-30,A,B,0,1,\n"
            "1,4711,2026-11-30,A,B,1,x,\n"
            f"1,4711,2026-11-30,A,B,1,1,{'x' * 201}\n"
            "2,4711,2026-11-30,A,B,1,1,\n"
            "2,4712,2026-11-30,C,B,1,1,\n"
            "2,4711,2026-11-30,A,B,1,1,\n"
        )
        with pytest.raises(FileRefused) as refused:
            parse_orders(text)
        lines = [one.partition(":")[0] for one in problems(refused)]
        assert lines == [f"line {number}" for number in (2, 3, 4, 5, 6, 7, 8, 10, 11)]

    def test_more_open_orders_than_a_till_can_take_are_refused(
        self, office: Office, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        database = office.world.central.database
        monkeypatch.setattr("dobmi.central.member_orders.ORDERS_MAX", 1)
        with pytest.raises(FileRefused, match="1 lines"):
            import_orders(database, parse_orders(ORDERS), TOKO, START)
        assert order_list(database, TOKO, is_open=True) == []


class TestMembers:
    def test_classes_and_photos_come_as_they_change(
        self, office: Office, till: Till, tmp_path: Path
    ) -> None:
        database = office.world.central.database
        office.world.make_cards(4711, 3)
        (tmp_path / "siti.jpg").write_bytes(JPEG)
        classes = parse_classes("anggota;golongan\n4711;karyawan\n4712;pengurus\n4713;\n")
        assert import_notes(database, classes, START) == 2
        assert import_notes(database, classes, START) == 0
        photos = parse_photos("member,file\n4711,siti.jpg\n", tmp_path)
        assert import_notes(database, photos, START) == 1
        assert till.sync() == {"members"}
        digest = hashlib.sha256(JPEG).digest()
        assert till.notes == {
            4711: MemberNote(4711, "karyawan", digest),
            4712: MemberNote(4712, "pengurus", None),
        }
        assert import_notes(database, parse_classes("member,class\n4712,\n"), START) == 1
        new = Till(office, office.world.till())
        assert (till.sync(), new.sync(), till.sync()) == ({"members"}, {"members"}, set())
        assert till.notes[4712] == MemberNote(4712, "", None)
        assert list(new.notes) == [4711]
        answer = office.signed(till.model, "GET", f"/v1/photos/{digest.hex()}")
        assert (answer.content, answer.headers["content-type"]) == (JPEG, "image/jpeg")
        missing = office.signed(till.model, "GET", f"/v1/photos/{'0' * 64}")
        assert (missing.status_code, missing.json()["code"]) == (404, "CENTRAL-PHOTO-UNKNOWN")
        assert office.client.get(f"/v1/photos/{digest.hex()}").status_code in {400, 401}
        assert office.signed(till.model, "GET", "/v1/photos/00").status_code == 422

    def test_a_photo_goes_when_it_is_taken_away_and_nobody_else_has_it(
        self, office: Office, till: Till, tmp_path: Path
    ) -> None:
        database = office.world.central.database
        office.world.make_cards(4711, 2)
        (tmp_path / "twins.jpg").write_bytes(JPEG)
        both = "member,file\n4711,twins.jpg\n4712,twins.jpg\n"
        assert import_notes(database, parse_photos(both, tmp_path), START) == 2
        path = f"/v1/photos/{hashlib.sha256(JPEG).hexdigest()}"
        for member, status in ((4711, 200), (4712, 404)):
            assert till.sync() == {"members"}
            gone = parse_photos(f"member,file\n{member},\n", tmp_path)
            assert import_notes(database, gone, START) == 1
            assert office.signed(till.model, "GET", path).status_code == status
        assert till.sync() == {"members"}
        assert till.notes[4711] == MemberNote(4711, "", None)
        assert import_notes(database, parse_photos(both, tmp_path), START) == 2
        assert office.signed(till.model, "GET", path).status_code == 200

    def test_many_come_a_part_at_a_time(
        self, office: Office, till: Till, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        office.world.make_cards(100, 8)
        text = "member,class\n" + "".join(f"{100 + number},a\n" for number in range(8))
        import_notes(office.world.central.database, parse_classes(text), START)
        monkeypatch.setattr(member_notes, "NOTES_MAX", 3)
        first = till.feed().outlet
        assert first is not None
        assert first.members is not None
        assert (first.members.since, first.members.more, len(first.members.notes)) == (0, True, 3)
        till.sync()
        assert sorted(till.notes) == list(range(100, 108))

    def test_every_bad_line_is_named_and_nothing_is_taken(
        self, office: Office, till: Till, tmp_path: Path
    ) -> None:
        office.world.card(4711)
        (tmp_path / "text.jpg").write_text("no picture", encoding="utf-8")
        (tmp_path / "huge.jpg").write_bytes(JPEG[:4] + bytes(60_000) + JPEG[-2:])
        with pytest.raises(FileRefused) as refused:
            parse_photos(
                "member,file\n1,text.jpg\n2,huge.jpg\n3,gone.jpg\n4,.\n5,a\0b\nx,siti.jpg\n",
                tmp_path,
            )
        assert len({one.partition(":")[0] for one in problems(refused)}) == 6
        with pytest.raises(FileRefused) as refused:
            parse_classes(f"member,class\n4711,a\n4711,b\n4712,{'x' * 41}\n")
        assert [one.partition(":")[0] for one in problems(refused)] == ["line 3", "line 4"]
        with pytest.raises(FileRefused) as refused:
            import_notes(
                office.world.central.database,
                parse_classes("member,class\n4711,a\n9,a\n"),
                START,
            )
        assert problems(refused) == ["line 3: member 9 is not known"]
        assert till.sync() == set()


def test_a_till_that_does_not_ask_is_told_nothing_of_it(office: Office) -> None:
    till = office.world.till()
    stock(office, COMMON.replace("Warung", TOKO))
    answer = office.signed(till, "GET", "/v1/feed?since=0")
    feed = verify_feed(answer.content, office.world.central.public_key, 0, till.terminal_id)
    assert feed.outlet is None
    answer = office.signed(till, "GET", "/v1/feed?since=0&staff=0")
    assert verify_feed(answer.content, office.world.central.public_key, 0).outlet is None
    assert office.signed(till, "GET", "/v1/feed?since=0&staff=-1").status_code == 422


def test_after_a_restored_backup_every_till_is_told_everything_anew(
    office: Office, till: Till, warung: Till
) -> None:
    central = office.world.central
    office.world.make_cards(4711, 2)
    stock(office, COMMON)
    add_till_staff(central.database, TOKO, 11, "Siti", Duty.CASHIER, now=START)
    import_orders(central.database, parse_orders(ORDERS), TOKO, START)
    import_notes(central.database, parse_classes("member,class\n4711,a\n4712,b\n"), START)
    everything = {"catalogue", "staff", "orders", "members"}
    assert till.sync() == everything
    # What it was told of since the backup, under versions that the restored server gives anew.
    far = till.held.members + 5
    till.held = Held(catalogue=far, staff=far, orders=far, members=far)
    warung.held = Held(catalogue=2, staff=3, orders=4, members=5)
    till.notes[4711] = MemberNote(4711, "lost", None)
    till.notes[4713] = MemberNote(4713, "lost", None)
    for _ in range(2):
        mark_restored(central)
        assert till.sync() == everything
        assert till.sync() == set()
        assert till.notes == {
            4711: MemberNote(4711, "a", None),
            4712: MemberNote(4712, "b", None),
        }
        assert warung.sync() == everything
        assert warung.staff is not None
        assert warung.staff.people == ()
        assert warung.sync() == set()
    new = Till(office, office.world.till())
    assert new.sync() == everything
