"""Sellers' bank accounts: one person proposes, another accepts; every one that ever was is kept."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, and_, func, select

from dobmi.central.database import Database, insert_rows
from dobmi.central.errors import (
    AccountAwaitsNobody,
    BadParameters,
    SecondPersonNeeded,
    UnknownSeller,
)
from dobmi.central.schema import (
    StaffRole,
    seller_account_decisions,
    seller_accounts,
    sellers,
)
from dobmi.central.staff import require_role
from dobmi.central.texts import require_text

_BANK_CODE: Final = re.compile(r"[A-Z]{6}[A-Z0-9]{2}([A-Z0-9]{3})?|\d{3,7}", re.ASCII)
_ACCOUNT: Final = re.compile(r"[A-Z0-9]{4,34}", re.ASCII)
_TEXT_LENGTH_MAX: Final = 70


@dataclass(frozen=True, slots=True, kw_only=True)
class BankAccount:
    """`bank_code`: a BIC of 8 or 11 characters, or the clearing's number of the bank, 3 to 7 digits."""

    bank: str
    bank_code: str
    account: str
    holder: str

    @property
    def has_bic(self) -> bool:
        return not self.bank_code.isdigit()


@dataclass(frozen=True, slots=True)
class SellerAccount:
    """An account that was proposed, with what became of it. `accepted` None: nobody decided yet."""

    seller_id: int
    seller: str
    number: int
    account: BankAccount
    proposed_by: str
    proposed_at: int
    accepted: bool | None
    decided_by: str
    decided_at: int | None


def bank_account(bank: str, bank_code: str, account: str, holder: str) -> BankAccount:
    """As people type it, spaces and hyphens in the number left out. Raises BadParameters."""
    require_text("bank", bank, _TEXT_LENGTH_MAX)
    require_text("holder", holder, _TEXT_LENGTH_MAX)
    bare_code = bank_code.strip().upper()
    bare = re.sub(r"[\s.-]", "", account).upper()
    if not _BANK_CODE.fullmatch(bare_code):
        raise BadParameters(detail="bank code: a BIC of 8 or 11 characters, or 3 to 7 digits")
    if not _ACCOUNT.fullmatch(bare):
        raise BadParameters(detail="account: 4 to 34 digits or capital letters")
    return BankAccount(bank=bank, bank_code=bare_code, account=bare, holder=holder)


def propose_account(
    database: Database, seller: str, account: BankAccount, by: str, now: int
) -> SellerAccount:
    """To be accepted by somebody else. Until then the seller's last accepted account stays in force.

    An account that waits is replaced by a newer one: only the newest can be accepted.
    Raises UnknownSeller, NotOfStaff.
    """

    def propose(connection: Connection) -> SellerAccount:
        name = require_role(connection, by, StaffRole.PROPOSER, StaffRole.APPROVER)
        seller_id = seller_number(connection, seller)
        newest = connection.execute(
            select(func.max(seller_accounts.c.number)).where(
                seller_accounts.c.seller_id == seller_id
            )
        ).scalar()
        row = {
            "seller_id": seller_id,
            "number": (newest or 0) + 1,
            "bank": account.bank,
            "bank_code": account.bank_code,
            "account": account.account,
            "holder": account.holder,
            "proposed_by": name,
            "proposed_at": now,
        }
        insert_rows(connection, seller_accounts, [row])
        return _history(connection, seller_id)[-1]

    return database.write_again(propose)


def decide_account(
    database: Database, seller: str, number: int, by: str, now: int, *, accepted: bool
) -> SellerAccount:
    """Accept or refuse the proposed account `number` of the seller: what the person has looked at.

    Raises UnknownSeller, NotOfStaff, AccountAwaitsNobody, SecondPersonNeeded.
    """

    def decide(connection: Connection) -> SellerAccount:
        name = require_role(connection, by, StaffRole.APPROVER)
        seller_id = seller_number(connection, seller)
        history = _history(connection, seller_id)
        if not history or history[-1].number != number or history[-1].accepted is not None:
            raise AccountAwaitsNobody(seller=seller, number=number)
        if history[-1].proposed_by == name:
            raise SecondPersonNeeded(name=name)
        row = {
            "seller_id": seller_id,
            "number": number,
            "proposed_by": history[-1].proposed_by,
            "accepted": accepted,
            "decided_by": name,
            "at": now,
        }
        insert_rows(connection, seller_account_decisions, [row])
        return _history(connection, seller_id)[-1]

    return database.write_again(decide)


def account_history(database: Database, seller: str) -> list[SellerAccount]:
    """Every account that was proposed for the seller, oldest first. Raises UnknownSeller."""
    with database.read() as connection:
        return _history(connection, seller_number(connection, seller))


def accounts_in_force(connection: Connection) -> dict[int, int]:
    """By seller, the number of its account."""
    rows = connection.execute(
        select(seller_account_decisions.c.seller_id, func.max(seller_account_decisions.c.number))
        .where(seller_account_decisions.c.accepted)
        .group_by(seller_account_decisions.c.seller_id)
    )
    return {row[0]: row[1] for row in rows}


def seller_number(connection: Connection, name: str) -> int:
    """Raises UnknownSeller."""
    found = connection.execute(select(sellers.c.id).where(sellers.c.name == name)).scalar()
    if found is None:
        raise UnknownSeller(seller=name)
    return int(found)


def account_of(row: Row[Any]) -> BankAccount:
    """From a row with the columns of `seller_accounts`."""
    return BankAccount(
        bank=row.bank, bank_code=row.bank_code, account=row.account, holder=row.holder
    )


def _history(connection: Connection, seller_id: int) -> list[SellerAccount]:
    made, decided = seller_accounts.c, seller_account_decisions.c
    rows = connection.execute(
        select(
            seller_accounts,
            sellers.c.name.label("seller"),
            decided.accepted,
            decided.decided_by,
            decided.at.label("decided_at"),
        )
        .join_from(seller_accounts, sellers)
        .outerjoin(
            seller_account_decisions,
            and_(decided.seller_id == made.seller_id, decided.number == made.number),
        )
        .where(made.seller_id == seller_id)
        .order_by(made.number)
    )
    return [
        SellerAccount(
            row.seller_id,
            row.seller,
            row.number,
            account_of(row),
            row.proposed_by,
            row.proposed_at,
            row.accepted,
            row.decided_by or "",
            row.decided_at,
        )
        for row in rows
    ]
