"""The payments of a settlement run as files: CSV for people, ISO 20022 pain.001.001.09 for the bank.

Pure. What a bank takes is narrower than the standard: amounts in IDR with two decimals, names in the
characters that every clearing knows, identifications of 35 characters at most.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final
from xml.etree import ElementTree as ET

from dobmi.central.csv_file import safe_cell
from dobmi.central.seller_accounts import BankAccount
from dobmi.money import ZERO, Rupiah
from dobmi.wib import WIB

NAMESPACE: Final = "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"
_NAME_LENGTH_MAX: Final = 70
_REMITTANCE_LENGTH_MAX: Final = 140
_NOT_ALLOWED: Final = re.compile(r"[^A-Za-z0-9/\-?:().,'+ ]")
_COLUMNS: Final = (
    "run", "cut_off", "seller", "bank", "bank_code", "account", "holder",
    "sold", "refunded", "fee", "net", "end_to_end_id",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """What a seller gets."""

    seller_id: int
    seller: str
    to: BankAccount
    sold: Rupiah
    refunded: Rupiah
    fee: Rupiah
    net: Rupiah


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentOrder:
    """A run. `payer`: the cooperative's account. `at`: Unix seconds, when it was first written."""

    run: int
    cut_off: date
    payer: BankAccount
    at: int
    payments: Sequence[Payment]

    @property
    def total(self) -> Rupiah:
        return sum((payment.net for payment in self.payments), ZERO)


def end_to_end_id(run: int, seller_id: int) -> str:
    """What the bank hands through to the seller's statement; no other payment has it."""
    return f"DOBMI-{run:06}-{seller_id:06}"


def to_csv(order: PaymentOrder) -> str:
    """A line for each payment, amounts as whole rupiah; lines end as RFC 4180 has it."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(_COLUMNS)
    for payment in order.payments:
        writer.writerow(
            (
                order.run,
                order.cut_off.isoformat(),
                safe_cell(payment.seller),
                safe_cell(payment.to.bank),
                payment.to.bank_code,
                payment.to.account,
                safe_cell(payment.to.holder),
                payment.sold.amount,
                payment.refunded.amount,
                payment.fee.amount,
                payment.net.amount,
                end_to_end_id(order.run, payment.seller_id),
            )
        )
    return file.getvalue()


def to_pain_001(order: PaymentOrder) -> bytes:
    """One PmtInf with a CdtTrfTxInf for each payment. The same order gives the same bytes."""
    message = f"DOBMI-{order.run:06}-{order.cut_off:%Y%m%d}"
    count, total = str(len(order.payments)), _amount(order.total)
    root = ET.Element("Document", {"xmlns": NAMESPACE})
    initiation = ET.SubElement(root, "CstmrCdtTrfInitn")
    header = ET.SubElement(initiation, "GrpHdr")
    _texts(
        header,
        MsgId=message,
        CreDtTm=datetime.fromtimestamp(order.at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        NbOfTxs=count,
        CtrlSum=total,
    )
    _texts(ET.SubElement(header, "InitgPty"), Nm=restricted(order.payer.holder))
    information = ET.SubElement(initiation, "PmtInf")
    _texts(information, PmtInfId=message, PmtMtd="TRF", NbOfTxs=count, CtrlSum=total)
    day = datetime.fromtimestamp(order.at, WIB).date().isoformat()
    _texts(ET.SubElement(information, "ReqdExctnDt"), Dt=day)
    _texts(ET.SubElement(information, "Dbtr"), Nm=restricted(order.payer.holder))
    account = _account(ET.SubElement(information, "DbtrAcct"), order.payer)
    _texts(account, Ccy="IDR")
    _agent(ET.SubElement(information, "DbtrAgt"), order.payer)
    for payment in order.payments:
        _add_transfer(information, order, payment)
    written: bytes = ET.tostring(root, encoding="UTF-8", xml_declaration=True)
    return written + b"\n"


def restricted(text: str, length_max: int = _NAME_LENGTH_MAX) -> str:
    """In the characters of SWIFT's set X; accents go, what has no likeness becomes a full stop."""
    plain = "".join(
        char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char)
    )
    allowed = _NOT_ALLOWED.sub(".", plain.replace("&", "+"))
    # A slash at an end, or two together, mean something in this set.
    bare = re.sub("/{2,}", "/", " ".join(allowed.split())).strip("/ ")
    return bare[:length_max].rstrip("/ ") or "."


def _add_transfer(parent: ET.Element, order: PaymentOrder, payment: Payment) -> None:
    transfer = ET.SubElement(parent, "CdtTrfTxInf")
    identity = end_to_end_id(order.run, payment.seller_id)
    _texts(ET.SubElement(transfer, "PmtId"), InstrId=identity, EndToEndId=identity)
    amount = ET.SubElement(ET.SubElement(transfer, "Amt"), "InstdAmt", {"Ccy": "IDR"})
    amount.text = _amount(payment.net)
    _agent(ET.SubElement(transfer, "CdtrAgt"), payment.to)
    _texts(ET.SubElement(transfer, "Cdtr"), Nm=restricted(payment.to.holder))
    _account(ET.SubElement(transfer, "CdtrAcct"), payment.to)
    said = f"Settlement {order.run} to {order.cut_off:%d-%m-%Y} {payment.seller}"
    remittance = restricted(said, _REMITTANCE_LENGTH_MAX)
    _texts(ET.SubElement(transfer, "RmtInf"), Ustrd=remittance)


def _agent(parent: ET.Element, account: BankAccount) -> None:
    institution = ET.SubElement(parent, "FinInstnId")
    if account.has_bic:
        _texts(institution, BICFI=account.bank_code)
    else:
        _texts(ET.SubElement(institution, "ClrSysMmbId"), MmbId=account.bank_code)


def _account(parent: ET.Element, account: BankAccount) -> ET.Element:
    other = ET.SubElement(ET.SubElement(parent, "Id"), "Othr")
    _texts(other, Id=account.account)
    return parent


def _texts(parent: ET.Element, **texts: str) -> None:
    for name, text in texts.items():
        ET.SubElement(parent, name).text = text


def _amount(amount: Rupiah) -> str:
    return f"{amount.amount}.00"
