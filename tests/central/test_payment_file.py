"""Files that a bank takes: element by element, in its characters, with sums that agree."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from datetime import date
from decimal import Decimal
from importlib.resources import files
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xmlschema import XMLSchema

from dobmi.central.payment_file import (
    NAMESPACE,
    Payment,
    PaymentOrder,
    restricted,
    to_csv,
    to_pain_001,
)
from dobmi.central.seller_accounts import BankAccount
from dobmi.money import ZERO, Rupiah

PAYER = BankAccount(
    bank="Bank Mandiri", bank_code="BMRIIDJA", account="1230004567890", holder="Koperasi BMI"
)
ALLOWED = re.compile(r"[A-Za-z0-9/\-?:().,'+ ]+")


def payment(number: int, seller: str, net: int, *, code: str = "CENAIDJA") -> Payment:
    to = BankAccount(bank="BCA", bank_code=code, account=f"00123{number:05}", holder=seller)
    return Payment(
        seller_id=number,
        seller=seller,
        to=to,
        sold=Rupiah(net + 100),
        refunded=Rupiah(60),
        fee=Rupiah(40),
        net=Rupiah(net),
    )


def order(*payments: Payment, at: int = 1_800_000_000) -> PaymentOrder:
    return PaymentOrder(run=7, cut_off=date(2026, 11, 30), payer=PAYER, at=at, payments=payments)


TWO = order(payment(1, "Toko Maju", 1_500_000), payment(12, "Warung Ibu", 250, code="113"))


def shape(element: ET.Element) -> object:
    """Names in their order, with the texts of the leaves."""
    name = element.tag.removeprefix(f"{{{NAMESPACE}}}")
    return (name, [shape(child) for child in element] if len(element) else element.text)


def test_the_message_has_the_elements_of_pain_001_001_09_in_their_order() -> None:
    root = ET.fromstring(to_pain_001(TWO))  # noqa: S314 - our own
    assert root.tag == f"{{{NAMESPACE}}}Document"
    assert NAMESPACE.endswith("pain.001.001.09")
    (initiation,) = root
    assert shape(initiation) == (
        "CstmrCdtTrfInitn",
        [
            (
                "GrpHdr",
                [
                    ("MsgId", "DOBMI-000007-20261130"),
                    ("CreDtTm", "2027-01-15T08:00:00Z"),
                    ("NbOfTxs", "2"),
                    ("CtrlSum", "1500250.00"),
                    ("InitgPty", [("Nm", "Koperasi BMI")]),
                ],
            ),
            (
                "PmtInf",
                [
                    ("PmtInfId", "DOBMI-000007-20261130"),
                    ("PmtMtd", "TRF"),
                    ("NbOfTxs", "2"),
                    ("CtrlSum", "1500250.00"),
                    ("ReqdExctnDt", [("Dt", "2027-01-15")]),
                    ("Dbtr", [("Nm", "Koperasi BMI")]),
                    ("DbtrAcct", [("Id", [("Othr", [("Id", "1230004567890")])]), ("Ccy", "IDR")]),
                    ("DbtrAgt", [("FinInstnId", [("BICFI", "BMRIIDJA")])]),
                    (
                        "CdtTrfTxInf",
                        [
                            (
                                "PmtId",
                                [
                                    ("InstrId", "DOBMI-000007-000001"),
                                    ("EndToEndId", "DOBMI-000007-000001"),
                                ],
                            ),
                            ("Amt", [("InstdAmt", "1500000.00")]),
                            ("CdtrAgt", [("FinInstnId", [("BICFI", "CENAIDJA")])]),
                            ("Cdtr", [("Nm", "Toko Maju")]),
                            ("CdtrAcct", [("Id", [("Othr", [("Id", "0012300001")])])]),
                            ("RmtInf", [("Ustrd", "Settlement 7 to 30-11-2026 Toko Maju")]),
                        ],
                    ),
                    (
                        "CdtTrfTxInf",
                        [
                            (
                                "PmtId",
                                [
                                    ("InstrId", "DOBMI-000007-000012"),
                                    ("EndToEndId", "DOBMI-000007-000012"),
                                ],
                            ),
                            ("Amt", [("InstdAmt", "250.00")]),
                            (
                                "CdtrAgt",
                                [("FinInstnId", [("ClrSysMmbId", [("MmbId", "113")])])],
                            ),
                            ("Cdtr", [("Nm", "Warung Ibu")]),
                            ("CdtrAcct", [("Id", [("Othr", [("Id", "0012300012")])])]),
                            ("RmtInf", [("Ustrd", "Settlement 7 to 30-11-2026 Warung Ibu")]),
                        ],
                    ),
                ],
            ),
        ],
    )
    amounts = list(root.iter(f"{{{NAMESPACE}}}InstdAmt"))
    assert [amount.attrib for amount in amounts] == [{"Ccy": "IDR"}] * 2


SCHEMA = XMLSchema(str(files("sepaxml") / "schemas" / "pain.001.001.09.xsd"))
"""The standard's own, of ISO 20022, as that package ships it."""
codes = st.from_regex(r"([A-Z]{6}[A-Z0-9]{2}([A-Z0-9]{3})?|[0-9]{3,7})", fullmatch=True)
accounts = st.from_regex(r"[A-Z0-9]{4,34}", fullmatch=True)


def test_the_schema_refuses_what_it_must() -> None:
    """Or it would show nothing."""
    SCHEMA.validate(to_pain_001(TWO))
    for whole, spoiled in (
        (b"<PmtMtd>TRF</PmtMtd>", b""),
        (b'Ccy="IDR"', b'Ccy="rupiah"'),
        (b"<BICFI>CENAIDJA</BICFI>", b"<BICFI>cena</BICFI>"),
        (b"<NbOfTxs>2</NbOfTxs>", b"<NbOfTxs>two</NbOfTxs>"),
    ):
        assert whole in to_pain_001(TWO)
        assert not SCHEMA.is_valid(to_pain_001(TWO).replace(whole, spoiled))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.text(max_size=80), codes, accounts, st.integers(1, 10**14)), min_size=1),
    codes,
    st.integers(1, 10**6),
)
def test_every_file_is_of_the_standards_own_schema(
    sellers: list[tuple[str, str, str, int]], payer_code: str, run: int
) -> None:
    made = PaymentOrder(
        run=run,
        cut_off=date(2026, 11, 30),
        payer=dataclasses.replace(PAYER, bank_code=payer_code),
        at=1_800_000_000,
        payments=[
            dataclasses.replace(
                payment(number, name, net),
                to=BankAccount(bank="B", bank_code=code, account=account, holder=name),
            )
            for number, (name, code, account, net) in enumerate(sellers, start=1)
        ],
    )
    SCHEMA.validate(to_pain_001(made))


@given(st.lists(st.tuples(st.text(max_size=80), st.integers(1, 10**14)), min_size=1, max_size=20))
def test_whatever_sellers_are_called_the_bank_can_read_it_and_the_sums_agree(
    sellers: list[tuple[str, int]],
) -> None:
    made = order(*(payment(n, name, net) for n, (name, net) in enumerate(sellers, start=1)))
    content = to_pain_001(made)
    assert to_pain_001(made) == content
    root = ET.fromstring(content)  # noqa: S314 - our own

    def texts(name: str) -> list[str]:
        return [element.text or "" for element in root.iter(f"{{{NAMESPACE}}}{name}")]

    assert texts("NbOfTxs") == [str(len(sellers))] * 2
    total = sum(map(Decimal, texts("InstdAmt")))
    assert [Decimal(text) for text in texts("CtrlSum")] == [total] * 2
    assert total == sum(net for _, net in sellers)
    assert len(set(texts("EndToEndId"))) == len(sellers)
    for name, longest in (("Nm", 70), ("Ustrd", 140), ("EndToEndId", 35), ("MsgId", 35)):
        for text in texts(name):
            assert ALLOWED.fullmatch(text), text
            assert len(text) <= longest
            assert not text.startswith("/")
            assert not text.endswith("/")
            assert "//" not in text


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("Toko Ñandú & Café", "Toko Nandu + Cafe"),
        ("//rahasia/ ", "rahasia"),
        ("東京", ".."),
        ("", "."),
        ("a" * 69 + "/b", "a" * 69),
        ("<Id>1</Id>", ".Id.1./Id."),
    ],
)
def test_names_in_the_banks_characters(name: str, written: str) -> None:
    assert restricted(name) == written


def test_the_csv_has_every_figure_and_no_formula() -> None:
    bad = payment(3, "=HYPERLINK(1)", 500)
    rows = list(csv.DictReader(io.StringIO(to_csv(order(payment(1, 'Toko, "Maju"', 900), bad)))))
    assert rows[0] == {
        "run": "7",
        "cut_off": "2026-11-30",
        "seller": 'Toko, "Maju"',
        "bank": "BCA",
        "bank_code": "CENAIDJA",
        "account": "0012300001",
        "holder": 'Toko, "Maju"',
        "sold": "1000",
        "refunded": "60",
        "fee": "40",
        "net": "900",
        "end_to_end_id": "DOBMI-000007-000001",
    }
    assert rows[1]["seller"] == rows[1]["holder"] == "'=HYPERLINK(1)"
    assert order().total == ZERO
