"""One message of each format, fixed: the golden files were made from these, and must stay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dobmi.money import Rupiah
from dobmi.sync.acknowledgement import Acknowledgement, encode_acknowledgement
from dobmi.sync.batch import encode_batch
from dobmi.sync.enrolment import Enrolment, Invitation, encode_enrol_request, encode_enrolment
from dobmi.sync.feed import (
    Feed,
    Limits,
    Outlet,
    ServersHead,
    SettledAs,
    Settlement,
    Settlements,
    encode_feed,
)
from dobmi.sync.outlet import (
    Catalogue,
    CatalogueItem,
    Duty,
    MemberNote,
    MemberNotes,
    MemberOrder,
    OrderLine,
    OutletOrders,
    OutletStaff,
    PinVerifier,
    StaffMember,
)
from dobmi.sync.records import (
    OrderRecord,
    OrderState,
    RecordsTaken,
    ShiftRecord,
    encode_record,
    encode_records,
    encode_records_taken,
)
from dobmi.sync.relay import (
    Action,
    CardGone,
    Commands,
    CreditResult,
    Done,
    Failed,
    RekeyResult,
    Responses,
    Start,
    encode_relay,
)
from dobmi.sync.request_signature import sign_request
from dobmi.sync.voucher import (
    DecisionVoucher,
    GoodsLine,
    InDoubtVoucher,
    Intent,
    Link,
    Outcome,
    RefundVoucher,
    ResolutionVoucher,
    SaleVoucher,
    VoidReason,
    VoidVoucher,
    Voucher,
    encode_voucher,
    genesis_hash,
    voucher_hash,
)
from support.pairings import pairing_samples

GOLDEN = Path(__file__).parents[1] / "sync" / "golden"
TERMINAL_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SERVER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64)))
TERMINAL_PUBLIC = TERMINAL_KEY.public_key().public_bytes_raw()
SERVER_PUBLIC = SERVER_KEY.public_key().public_bytes_raw()
ISSUER_PUBLIC = bytes(range(64, 96))
TERMINAL_ID = 7
UID = bytes.fromhex("04112233445566")
NOW = 1_790_000_000
INVITATION = Invitation.make(bytes.fromhex("0102030405aa"), SERVER_PUBLIC)
ENROLMENT = Enrolment(
    terminal_id=TERMINAL_ID,
    terminal_public_key=TERMINAL_PUBLIC,
    server_public_key=SERVER_PUBLIC,
    card_issuer_public_key=ISSUER_PUBLIC,
    issuer="Koperasi BMI",
    seller="Toko Ciledug",
)
INTENT = Intent(
    card_uid=UID,
    amount=Rupiah(162_500),
    evidence=bytes(range(256)),
    issuer="Koperasi BMI",
    seller="Toko Ciledug",
    goods=(
        GoodsLine("Beras 5 kg", 2, Rupiah(75_000)),
        GoodsLine("Minyak goreng Saté 1 l", 1, Rupiah(15_000), Rupiah(2_500)),
    ),
)
FEED = Feed(
    version=12,
    since=9,
    unix_seconds=NOW,
    limits=Limits(),
    blocked=(UID, bytes.fromhex("04AABBCCDDEEFF")),
    unblocked=(bytes.fromhex("04000000000001"),),
    credits_waiting=(UID,),
)
SETTLING_FEED = replace(
    FEED,
    settlements=Settlements(
        terminal_id=TERMINAL_ID,
        since=NOW - 3_600,
        settled=(
            Settlement(3, SettledAs.PAID, NOW - 60, "card"),
            Settlement(8, SettledAs.HELD, NOW, "claimed-paid"),
        ),
    ),
)


LACKING_FEED = replace(FEED, servers_head=ServersHead(terminal_id=TERMINAL_ID, sequence=5))


OUTLET = Outlet(
    terminal_id=TERMINAL_ID,
    catalogue=Catalogue(
        version=3,
        items=(
            CatalogueItem(
                code="BRS5",
                name="Beras 5 kg",
                category="Sembako",
                price=Rupiah(75_000),
                barcodes=("8991234567890",),
                class_prices=(("karyawan", Rupiah(72_500)),),
            ),
            CatalogueItem(code="SBN", name="Sabun", category="Mandi", price=Rupiah(4_000)),
        ),
    ),
    staff=OutletStaff(
        version=4,
        people=(
            StaffMember(
                number=11, name="Siti", duty=Duty.CASHIER, pin=PinVerifier(bytes(16), bytes(32))
            ),
            StaffMember(number=20, name="Ani", duty=Duty.SUPERVISOR, member_number=4711),
        ),
    ),
    orders=OutletOrders(
        version=9,
        orders=(
            MemberOrder(
                number=501,
                member_number=4711,
                holder="Siti Aminah",
                placed_unix_seconds=NOW - 86_400,
                pick_up_on=date(2026, 9, 22),
                lines=(
                    OrderLine(
                        item="BRS5", name="Beras 5 kg", quantity=2, unit_price=Rupiah(75_000)
                    ),
                ),
                note="tanpa kantong",
            ),
        ),
    ),
    members=MemberNotes(
        version=8,
        since=5,
        more=False,
        notes=(MemberNote(4711, "karyawan", bytes(range(32))), MemberNote(4712, "", None)),
    ),
)
OUTLET_FEED = replace(FEED, outlet=OUTLET)
RECORDS = (
    ShiftRecord(
        number=3,
        cashier="Siti",
        opened_unix_seconds=NOW - 30_000,
        closed_unix_seconds=NOW,
        float_cash=Rupiah(200_000),
        cash_in=Rupiah(50_000),
        cash_out=Rupiah(20_000),
        counted=Rupiah(229_500),
        takeovers=((NOW - 10_000, "Budi"),),
        sales_count=31,
        sales_total=Rupiah(1_250_000),
        refunds_count=1,
        refunds_total=Rupiah(75_000),
    ),
    OrderRecord(
        order=501,
        state=OrderState.PAID,
        sale=1,
        short=(("BRS5", 1),),
        by="Siti",
        unix_seconds=NOW - 5_000,
    ),
)


def sample_records() -> bytes:
    """Records 6 and 7 of the till."""
    encoded = [encode_record(record) for record in RECORDS]
    return encode_records(TERMINAL_ID, 6, encoded, TERMINAL_PUBLIC, TERMINAL_KEY.sign)


def sample_records_taken() -> bytes:
    taken = RecordsTaken(
        terminal_id=TERMINAL_ID,
        batch_hash=voucher_hash(sample_records()),
        up_to=7,
        unix_seconds=NOW + 1,
    )
    return encode_records_taken(taken, SERVER_PUBLIC, SERVER_KEY.sign)


def link(sequence: int, previous_hash: bytes) -> Link:
    return Link(
        terminal_id=TERMINAL_ID,
        sequence=sequence,
        previous_hash=previous_hash,
        unix_seconds=NOW + sequence,
        shift=3,
        cashier="Siti",
    )


def sample_chain() -> list[tuple[Voucher, bytes]]:
    """Vouchers 1 to 5: a sale, a void, a doubt, its resolution with MAC, one without."""
    makers: list[Callable[[Link], Voucher]] = [
        lambda at: SaleVoucher(link=at, intent=INTENT, card_counter=41, card_mac=b"MACMACMA"),
        lambda at: VoidVoucher(
            link=at, card_uid=UID, amount=Rupiah(500), reason=VoidReason.CARD_REMOVED
        ),
        lambda at: InDoubtVoucher(link=at, intent=INTENT),
        lambda at: ResolutionVoucher(
            link=at,
            resolves=3,
            card_uid=UID,
            outcome=Outcome.PAID,
            card_counter=42,
            card_mac=b"macmacma",
        ),
        lambda at: ResolutionVoucher(link=at, resolves=1, card_uid=UID, outcome=Outcome.NOT_PAID),
    ]
    previous = genesis_hash(TERMINAL_ID, TERMINAL_PUBLIC)
    chain = []
    for sequence, make in enumerate(makers, start=1):
        voucher = make(link(sequence, previous))
        encoded = encode_voucher(voucher, TERMINAL_PUBLIC, TERMINAL_KEY.sign)
        previous = voucher_hash(encoded)
        chain.append((voucher, encoded))
    return chain


def sample_decision() -> bytes:
    """Voucher 6 of the samples: a supervisor's word on voucher 3."""
    voucher = DecisionVoucher(
        link=link(6, voucher_hash(sample_chain()[-1][1])),
        resolves=3,
        card_uid=UID,
        outcome=Outcome.PAID,
        decided_by="Ani",
        reason="nota dan barang sudah dibawa",
    )
    return encode_voucher(voucher, TERMINAL_PUBLIC, TERMINAL_KEY.sign)


def sample_refund() -> bytes:
    """Voucher 6 of the samples: a part of sale 1 given back."""
    voucher = RefundVoucher(
        link=link(6, voucher_hash(sample_chain()[-1][1])),
        refunds=1,
        card_uid=UID,
        amount=Rupiah(75_000),
        reason="beras basah",
        supervisor="Ani",
        goods=(GoodsLine("Beras 5 kg", 1, Rupiah(75_000)),),
    )
    return encode_voucher(voucher, TERMINAL_PUBLIC, TERMINAL_KEY.sign)


def sample_batch() -> bytes:
    return encode_batch(
        TERMINAL_ID,
        1,
        genesis_hash(TERMINAL_ID, TERMINAL_PUBLIC),
        [encoded for _, encoded in sample_chain()],
        public_key=TERMINAL_PUBLIC,
        sign=TERMINAL_KEY.sign,
    )


def sample_acknowledgement() -> Acknowledgement:
    return Acknowledgement(
        terminal_id=TERMINAL_ID,
        batch_hash=voucher_hash(sample_batch()),
        head_sequence=5,
        head_hash=voucher_hash(sample_chain()[-1][1]),
        unix_seconds=NOW + 60,
        quarantined=((1, "CARD-TMAC"),),
    )


def samples() -> dict[str, bytes]:
    """Name of the golden file to its bytes."""
    kinds = ("sale", "void", "in_doubt", "resolution_paid", "resolution_not_paid")
    found = {
        f"voucher_{kind}": encoded for kind, (_, encoded) in zip(kinds, sample_chain(), strict=True)
    }
    found["voucher_decision"] = sample_decision()
    found["voucher_refund"] = sample_refund()
    found["batch"] = sample_batch()
    found["acknowledgement"] = encode_acknowledgement(
        sample_acknowledgement(), SERVER_PUBLIC, SERVER_KEY.sign
    )
    found["feed"] = encode_feed(FEED, SERVER_PUBLIC, SERVER_KEY.sign)
    found["feed_settlements"] = encode_feed(SETTLING_FEED, SERVER_PUBLIC, SERVER_KEY.sign)
    found["feed_servers_head"] = encode_feed(LACKING_FEED, SERVER_PUBLIC, SERVER_KEY.sign)
    found["feed_outlet"] = encode_feed(OUTLET_FEED, SERVER_PUBLIC, SERVER_KEY.sign)
    found["records"] = sample_records()
    found["records_taken"] = sample_records_taken()
    found["enrol_request"] = encode_enrol_request(
        INVITATION.code, TERMINAL_PUBLIC, TERMINAL_KEY.sign
    )
    found["enrolment"] = encode_enrolment(ENROLMENT, SERVER_KEY.sign)
    found |= pairing_samples(found["enrolment"])
    found["request_signature"] = sign_request(
        TERMINAL_ID,
        "GET",
        "/v1/feed?since=9",
        b"",
        unix_seconds=NOW,
        nonce=bytes(16),
        public_key=TERMINAL_PUBLIC,
        sign=TERMINAL_KEY.sign,
    ).encode("ascii")
    found["relay_start"] = encode_relay(Start(Action.ISSUE, UID, {1: 4711, 2: "Siti Aminah"}))
    found["relay_commands"] = encode_relay(Commands((bytes.fromhex("905A00000310B3D000"),)))
    found["relay_responses"] = encode_relay(Responses((bytes.fromhex("9100"),)))
    found["relay_card_gone"] = encode_relay(CardGone("CARD-REMOVED"))
    found["relay_done"] = encode_relay(
        Done(CreditResult(delivered=((1, Rupiah(50_000)),), balance=Rupiah(62_500)).to_cbor())
    )
    found["relay_start_rekey"] = encode_relay(Start(Action.REKEY, UID))
    found["relay_done_rekey"] = encode_relay(
        Done(RekeyResult(generation=2, changed_count=4).to_cbor())
    )
    found["relay_failed"] = encode_relay(Failed("CENTRAL-CARD", "Blocked.", "Come in.", "no"))
    return found
