"""A row for each table of issuing, of cards' lives and of cash, that a whole day would write."""

from __future__ import annotations

from sqlalchemy import Connection, Table

from dobmi.central.database import insert_rows
from dobmi.central.schema import (
    LineState,
    PinEvent,
    Retirement,
    RetirementState,
    card_pins,
    cash_counts,
    cash_payouts,
    held_credits,
    issuing_batches,
    issuing_lines,
    key_generations,
    pin_events,
    retirement_attempts,
    retirements,
)
from support.traffic import START


def insert_issuing_rows(
    connection: Connection, *, station: int, card_uid: bytes, member_number: int, approval: int
) -> None:
    """The card was topped up, and has nothing of all this yet."""
    who = {"station": station, "person": "Ani"}
    rows: dict[Table, dict[str, object]] = {
        issuing_batches: {
            **who, "number": 1, "name": "Maret", "idempotency_key": "daftar-0001",
            "content_hash": bytes(32), "lines_count": 1, "made_at": START,
        },
        issuing_lines: {
            "batch": 1, "line": 1, "member_number": member_number, "name": "Anggota",
            "state": LineState.WAITING.value, "reason": "", "claim": "", "claimed_by": None,
            "claimed_until": 0, "card_uid": None, "generation": "", "originality": "",
            "resumed": False, "issued_at": None, "station": None, "person": "",
        },
        pin_events: {
            "card_uid": card_uid, "event": next(iter(PinEvent)).value, "terminal_id": station,
            "record_number": None, "at": START, "noted_at": START,
        },
        card_pins: {
            "card_uid": card_uid, "key_version": 1, "sealed": None, "pending": None,
            "clear_since": 0, "tries": 0, "locked_at": None,
        },
        key_generations: {
            "generation": 2, "begun_at": START, "begun_by": "Ani", "older_until": START + 1,
            "minutes_hash": None, "cards_from": None,
        },
        retirements: {
            **who, "card_uid": card_uid, "purpose": next(iter(Retirement)).value,
            "reason": "keluar", "block_version": 1, "at": START,
            "state": next(s for s in RetirementState if s.value != "emptied").value,
            "amount_rupiah": None, "counter": None, "mac": None, "emptied_at": None,
            "wiped_at": None,
        },
        retirement_attempts: {
            "card_uid": card_uid, "evidence": b"x", "at": START, "counter": None, "searched_to": 0,
        },
        held_credits: {
            "idempotency_key": "besar-0001", "card_uid": card_uid, "amount_rupiah": 1_000,
            "source": "cash", "received_rupiah": None, "ordered_by": station, "person": "Ani",
            "approval": approval, "ordered_at": START,
        },
        cash_counts: {
            **who, "number": 1, "counted_rupiah": 1_000, "expected_rupiah": 1_000, "note": "",
            "at": START,
        },
        cash_payouts: {
            **who, "number": 1, "member_number": member_number, "amount_rupiah": 1_000,
            "idempotency_key": "bayar-0001", "approval": None, "at": START,
        },
    }  # fmt: skip
    for table, row in rows.items():
        insert_rows(connection, table, [row])
