"""What an intruder with all rights in the database may do to a good ledger, one thing at a time.

Each case is SQL and the findings it must lead to, (rule, row, amount), and no others. Where one deed
has more than one finding, the case says why the others follow.
"""

# ruff: noqa: S608 - the statements are put together from the words of this file

from __future__ import annotations

import copy
import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, text

from dobmi.audit.findings import account_words
from dobmi.central.daily_head import DailyHead, JournalLine, journal_hash
from dobmi.money import Rupiah
from dobmi.sync.acknowledgement import Acknowledgement, encode_acknowledgement
from dobmi.sync.voucher import decode_voucher, encode_voucher, voucher_hash
from dobmi.wib import day_number, day_of
from support.audited import Expected, Ledger
from support.central_client import RING


@dataclass
class Scene:
    """The ledger's story and a way to change its database."""

    ledger: Ledger
    connection: Connection
    since: set[Expected] = field(default_factory=set)
    """What only the audit that goes on from an earlier one adds: it remembers what was there."""

    def do(self, statement: str, **values: Any) -> None:
        done = self.connection.execute(text(statement), values)
        assert done.rowcount != 0, "a sabotage that changes nothing shows nothing"

    def get(self, statement: str, **values: Any) -> Any:
        row = self.connection.execute(text(statement), values).one()
        return row[0] if len(row) == 1 else row

    def uid(self, number: int) -> bytes:
        return self.ledger.cards[number].uid

    def card(self, number: int, rest: str = "") -> str:
        return f"card {self.uid(number).hex().upper()}{rest}"

    def at(self, name: str) -> dict[str, int]:
        terminal_id, sequence = self.ledger.vouchers[name]
        return {"t": terminal_id, "s": sequence}

    def voucher(self, name: str, later: int = 0) -> str:
        terminal_id, sequence = self.ledger.vouchers[name]
        return f"voucher {terminal_id}/{sequence + later}"

    def posting(self, number: int, name: str, kind: str = "sale") -> str:
        terminal_id, sequence = self.ledger.vouchers[name]
        return self.card(number, f" posting {kind} {terminal_id}/{sequence}")

    def post(
        self, number: int, kind: str, t: int, s: int, *, debit: int, credit: int, amount: int
    ) -> int:
        """A posting of the intruder's own, with its key, at the time it is now; its number."""
        new = self.get("SELECT max(id) + 1 FROM postings")
        self.do(
            "INSERT INTO postings (id, at, kind, debit_account, credit_account, amount_rupiah,"
            " card_uid, terminal_id, sequence, explanation)"
            " VALUES (:id, :at, :kind, :debit, :credit, :amount, :uid, :t, :s, '')",
            id=new, at=self.ledger.clock[0], kind=kind, debit=debit, credit=credit,
            amount=amount, uid=self.uid(number), t=t, s=s,
        )  # fmt: skip
        self.do(
            "INSERT INTO posting_keys (card_uid, kind, terminal_id, sequence)"
            " VALUES (:uid, :kind, :t, :s)",
            uid=self.uid(number), kind=kind, t=t, s=s,
        )  # fmt: skip
        return int(new)

    def serial(self, number: int) -> int:
        return int(self.get("SELECT serial FROM cards WHERE uid = :uid", uid=self.uid(number)))

    def day_follows(self, where: str, off: int, **values: Any) -> set[Expected]:
        """A posting of a closed day is off by so much: the day's hash and sums tell it too."""
        at, kind, debit, credit = self.get(
            f"SELECT at, kind, debit_account, credit_account FROM postings WHERE {where}", **values
        )
        day = self.day(at)
        return {
            ("DAY-JOURNAL", day, off),
            ("DAY-ACCOUNTS", f"{day} {account_words(debit)}", off),
            ("DAY-ACCOUNTS", f"{day} {account_words(credit)}", off),
            ("DAY-ACCOUNTS", f"{day} kind {kind}", off),
        }

    def run_follows(self, off: int) -> set[Expected]:
        """The sale is in a run that paid its seller: of that the journal says otherwise then."""
        seller = self.get("SELECT id FROM sellers WHERE name = 'Toko Maju'")
        return {("SETTLEMENT", f"run 1 seller {seller}", off)}

    def day(self, at: int) -> str:
        return f"day {day_of(at)}"


Case = Callable[[Scene], set[Expected]]
CASES: dict[str, Case] = {}


def case(name: str) -> Callable[[Case], Case]:
    def note(deed: Case) -> Case:
        assert name not in CASES
        CASES[name] = deed
        return deed

    return note


_SAME = "terminal_id = :t AND sequence = :s"


# Vouchers and chains


@case("a voucher's signature is not its till's")
def _(s: Scene) -> set[Expected]:
    flip(s, "vouchers", "encoded", _SAME, **s.at("third-sale"))
    return {("VOUCHER-SIGNATURE", s.voucher("third-sale"), 3_300)}


@case("a new voucher's signature is not its till's")
def _(s: Scene) -> set[Expected]:
    flip(s, "vouchers", "encoded", _SAME, **s.at("new-sale"))
    return {("VOUCHER-SIGNATURE", s.voucher("new-sale"), 5_500)}


@case("a voucher is no voucher any more")
def _(s: Scene) -> set[Expected]:
    s.do(f"UPDATE vouchers SET encoded = :new WHERE {_SAME}", new=b"\xa0", **s.at("third-sale"))
    return {("VOUCHER-FORM", s.voucher("third-sale"), None)}


@case("a voucher is exchanged by somebody who has the till's key")
def _(s: Scene) -> set[Expected]:
    resign(s, "third-sale", cashier="orang lain")
    return {("CHAIN", s.voucher("third-sale", 1), 8_000)}


@case("a voucher is taken out of the middle of a chain")
def _(s: Scene) -> set[Expected]:
    s.do(f"DELETE FROM vouchers WHERE {_SAME}", **s.at("third-sale"))
    return {("VOUCHER-MISSING", s.voucher("third-sale"), None)}


@case("a till's newest sale is taken out with all that came of it")
def _(s: Scene) -> set[Expected]:
    at = s.at("newest-card-sale")
    s.do(f"DELETE FROM vouchers WHERE {_SAME}", **at)
    s.do(f"DELETE FROM card_transactions WHERE {_SAME}", **at)
    s.do(f"DELETE FROM postings WHERE {_SAME}", **at)
    previous = s.get(
        "SELECT encoded FROM vouchers WHERE terminal_id = :t AND sequence = :s - 1", **at
    )
    s.do(
        "UPDATE terminals SET head_sequence = :s - 1, head_hash = :hash WHERE id = :t",
        hash=hashlib.sha256(bytes(previous)).digest(),
        **at,
    )
    batch = s.get(
        "SELECT batch_hash FROM batches WHERE terminal_id = :t ORDER BY received_at DESC LIMIT 1",
        t=at["t"],
    )
    return {("ACK", f"batch {bytes(batch).hex()}", None)}


@case("a voucher of one till is put into another's place")
def _(s: Scene) -> set[Expected]:
    """It is beyond that till's noted newest voucher, too."""
    encoded = s.get(f"SELECT encoded FROM vouchers WHERE {_SAME}", **s.at("sale"))
    late = s.at("late-sale")
    s.do(
        "INSERT INTO vouchers (terminal_id, sequence, received_at, encoded)"
        " VALUES (:t, :s + 1, :at, :encoded)",
        at=s.ledger.clock[0],
        encoded=encoded,
        **late,
    )
    row = s.voucher("late-sale", 1)
    return {
        ("VOUCHER-PLACE", row, 4_400),
        ("VOUCHER-SIGNATURE", row, 4_400),
        ("CHAIN", row, 4_400),
        ("CHAIN-HEAD", row, None),
    }


@case("a till's newest hash is another")
def _(s: Scene) -> set[Expected]:
    at = s.at("late-sale")
    s.do("UPDATE terminals SET head_hash = :hash WHERE id = :t", hash=bytes(32), t=at["t"])
    return {("CHAIN-HEAD", s.voucher("late-sale"), None)}


@case("a till's newest number is put back")
def _(s: Scene) -> set[Expected]:
    at = s.at("newest-card-sale")
    s.do("UPDATE terminals SET head_sequence = head_sequence - 1 WHERE id = :t", t=at["t"])
    return {("CHAIN-HEAD", s.voucher("newest-card-sale"), None)}


@case("a voucher is said to have come at another time")
def _(s: Scene) -> set[Expected]:
    s.do(f"UPDATE vouchers SET received_at = received_at - 86400 WHERE {_SAME}", **s.at("void"))
    return {("ACK-MISSING", s.voucher("void"), None)}


@case("an acknowledgement is not the server's")
def _(s: Scene) -> set[Expected]:
    batch = last_batch(s, "late-sale")
    flip(s, "batches", "acknowledgement", "batch_hash = :batch", batch=batch)
    return {("ACK", f"batch {batch.hex()}", None)}


@case("an acknowledgement is gone")
def _(s: Scene) -> set[Expected]:
    s.do("DELETE FROM batches WHERE batch_hash = :batch", batch=last_batch(s, "late-sale"))
    return {("ACK-MISSING", s.voucher("late-sale"), None)}


# Quarantine


@case("a voucher with a wrong card MAC is let out of quarantine")
def _(s: Scene) -> set[Expected]:
    s.do(f"DELETE FROM quarantine WHERE {_SAME}", **s.at("wrong-mac"))
    return {("QUARANTINE", s.voucher("wrong-mac"), None)}


@case("the reason of a quarantined voucher is another")
def _(s: Scene) -> set[Expected]:
    s.do(f"UPDATE quarantine SET reason = 'claim-differs' WHERE {_SAME}", **s.at("wrong-mac"))
    return {("QUARANTINE", s.voucher("wrong-mac"), None)}


@case("a good voucher is put into quarantine")
def _(s: Scene) -> set[Expected]:
    quarantine(s, "void", "claim-differs")
    return {("QUARANTINE", s.voucher("void"), 5_800)}


@case("a quarantined voucher is posted with a transaction of its own")
def _(s: Scene) -> set[Expected]:
    """The quarantine stands, so neither the transaction nor the posting has a source."""
    at = s.at("wrong-mac")
    counter = s.get(
        "SELECT max(counter) + 1 FROM card_transactions WHERE card_uid = :uid", uid=s.uid(6)
    )
    transaction(s, 6, counter, at["t"], at["s"], amount=2_500)
    serial = s.serial(6)
    new = s.get("SELECT max(id) + 1 FROM postings")
    s.do(
        "INSERT INTO postings (id, at, kind, debit_account, credit_account, amount_rupiah,"
        " card_uid, terminal_id, sequence, explanation) VALUES"
        " (:id, :at, 'sale', :debit, 5000000000002, 2500, :uid, :t, :s, '')",
        id=new, at=s.ledger.clock[0], debit=4 * 10**12 + serial, uid=s.uid(6), **at,
    )  # fmt: skip
    return {
        ("TRANSACTION-SOURCE", s.card(6, f" transaction {counter}"), 2_500),
        ("POSTING-STRAY", s.posting(6, "wrong-mac") + f" #{new}", 2_500),
    }


@case("two insiders have a sale believed that no card made")
def _(s: Scene) -> set[Expected]:
    row = collude(s, claimed=3_000, mac=bytes(8))
    return {("CARD-MAC", row, 3_000)}


@case("two insiders have a sale believed that claims another amount than the card's")
def _(s: Scene) -> set[Expected]:
    row = collude(s, claimed=30_000)
    return {("BELIEVED", row, 30_000)}


# Cards' transactions


@case("a card's transaction is of another amount")
def _(s: Scene) -> set[Expected]:
    s.do(f"UPDATE card_transactions SET amount_rupiah = 9900 WHERE {_SAME}", **s.at("third-sale"))
    return {("TRANSACTION", s.card(0, " transaction 5"), 6_600)}


@case("a card's balance after a transaction is another")
def _(s: Scene) -> set[Expected]:
    s.do(
        f"UPDATE card_transactions SET balance_after_rupiah = balance_after_rupiah + 1 WHERE {_SAME}",
        **s.at("open-sale"),
    )
    return {("TRANSACTION", s.card(0, f" transaction {counter_of(s, 'open-sale')}"), 6_600)}


@case("a card's transaction has another number")
def _(s: Scene) -> set[Expected]:
    s.do(f"UPDATE card_transactions SET counter = counter + 5 WHERE {_SAME}", **s.at("open-sale"))
    return {("TRANSACTION", s.card(0, f" transaction {counter_of(s, 'open-sale')}"), 6_600)}


@case("a card's transaction names another before it")
def _(s: Scene) -> set[Expected]:
    s.do(
        f"UPDATE card_transactions SET previous_sequence = previous_sequence + 1 WHERE {_SAME}",
        **s.at("third-sale"),
    )
    return {("TRANSACTION", s.card(0, " transaction 5"), 3_300)}


@case("a card's transaction is noted as not vouched for")
def _(s: Scene) -> set[Expected]:
    s.do(f"UPDATE card_transactions SET card_mac_verified = false WHERE {_SAME}", **s.at("sale"))
    return {("TRANSACTION", s.card(0, f" transaction {counter_of(s, 'sale')}"), 4_400)}


@case("a sale's transaction is gone")
def _(s: Scene) -> set[Expected]:
    counter = counter_of(s, "sale")
    s.do(f"DELETE FROM card_transactions WHERE {_SAME}", **s.at("sale"))
    return {("TRANSACTION-MISSING", s.card(0, f" transaction {counter}"), 4_400)}


@case("a sale's transaction and its posting are gone")
def _(s: Scene) -> set[Expected]:
    counter, at = counter_of(s, "open-sale"), s.at("open-sale")
    s.do(f"DELETE FROM card_transactions WHERE {_SAME}", **at)
    s.do(f"DELETE FROM postings WHERE {_SAME}", **at)
    return {
        ("TRANSACTION-MISSING", s.card(0, f" transaction {counter}"), 6_600),
        ("POSTING-MISSING", s.posting(0, "open-sale"), 6_600),
    }


@case("a credit's transaction is gone")
def _(s: Scene) -> set[Expected]:
    s.do(
        "DELETE FROM card_transactions WHERE card_uid = :uid AND terminal_id = 0 AND sequence = 1",
        uid=s.uid(0),
    )
    return {("TRANSACTION-MISSING", s.card(0, " transaction 1"), 100_000)}


@case("a transaction is made up")
def _(s: Scene) -> set[Expected]:
    transaction(s, 4, 7, s.ledger.tills[0].terminal_id, 900, amount=1_234)
    return {("TRANSACTION-SOURCE", s.card(4, " transaction 7"), 1_234)}


@case("the note of a transaction that a card named is gone")
def _(s: Scene) -> set[Expected]:
    counter = counter_of(s, "after-late")
    s.do(
        "DELETE FROM named_before WHERE card_uid = :uid AND counter = :counter",
        uid=s.uid(7),
        counter=counter,
    )
    return {("NAMED-BEFORE", s.card(7, f" transaction {counter}"), None)}


@case("the note of a transaction that no card named is added")
def _(s: Scene) -> set[Expected]:
    s.do(
        "INSERT INTO named_before (terminal_id, sequence, card_uid, counter) VALUES (1, 77, :uid, 3)",
        uid=s.uid(0),
    )
    return {("NAMED-BEFORE", s.card(0, " transaction 3"), None)}


# Postings


@case("a sale's posting is gone")
def _(s: Scene) -> set[Expected]:
    s.do(f"DELETE FROM postings WHERE {_SAME}", **s.at("open-sale"))
    return {("POSTING-MISSING", s.posting(0, "open-sale"), 6_600)}


@case("a sale's posting is gone from a closed day")
def _(s: Scene) -> set[Expected]:
    follows = s.day_follows(_SAME, 4_400, **s.at("sale")) | s.run_follows(4_400)
    s.do(f"DELETE FROM postings WHERE {_SAME}", **s.at("sale"))
    return {("POSTING-MISSING", s.posting(0, "sale"), 4_400), *follows}


@case("a posting is of another amount")
def _(s: Scene) -> set[Expected]:
    s.do(f"UPDATE postings SET amount_rupiah = 66000 WHERE {_SAME}", **s.at("open-sale"))
    return {("POSTING-AMOUNT", s.posting(0, "open-sale"), 59_400)}


@case("a posting of a closed day is of another amount")
def _(s: Scene) -> set[Expected]:
    follows = s.day_follows(_SAME, 600, **s.at("sale")) | s.run_follows(600)
    s.do(f"UPDATE postings SET amount_rupiah = 5000 WHERE {_SAME}", **s.at("sale"))
    return {("POSTING-AMOUNT", s.posting(0, "sale"), 600), *follows}


@case("a sale is posted to another outlet")
def _(s: Scene) -> set[Expected]:
    s.do(f"UPDATE postings SET credit_account = 5000000000001 WHERE {_SAME}", **s.at("open-sale"))
    return {("POSTING-ACCOUNTS", s.posting(0, "open-sale"), 6_600)}


@case("a sale is charged to another card")
def _(s: Scene) -> set[Expected]:
    other = 4 * 10**12 + s.serial(1)
    s.do(f"UPDATE postings SET debit_account = :a WHERE {_SAME}", a=other, **s.at("open-sale"))
    return {("POSTING-ACCOUNTS", s.posting(0, "open-sale"), 6_600)}


@case("a posting is of another kind")
def _(s: Scene) -> set[Expected]:
    """So the one is missing, and the other has no cause nor key."""
    id_ = s.get(f"SELECT id FROM postings WHERE {_SAME}", **s.at("open-sale"))
    s.do(f"UPDATE postings SET kind = 'claim-held' WHERE {_SAME}", **s.at("open-sale"))
    stray = s.posting(0, "open-sale", "claim-held")
    return {
        ("POSTING-MISSING", s.posting(0, "open-sale"), 6_600),
        ("POSTING-STRAY", f"{stray} #{id_}", 6_600),
        ("POSTING-KEY", stray, None),
    }


@case("a sale is posted twice")
def _(s: Scene) -> set[Expected]:
    new = s.get("SELECT max(id) + 1 FROM postings")
    s.do(
        "INSERT INTO postings (id, at, kind, debit_account, credit_account, amount_rupiah,"
        " card_uid, terminal_id, sequence, explanation) SELECT :new, at, kind, debit_account,"
        " credit_account, amount_rupiah, card_uid, terminal_id, sequence, explanation"
        f" FROM postings WHERE {_SAME}",
        new=new,
        **s.at("open-sale"),
    )
    return {("POSTING-STRAY", s.posting(0, "open-sale") + f" #{new}", 6_600)}


@case("money is put onto a card's account")
def _(s: Scene) -> set[Expected]:
    serial = s.serial(4)
    new = s.post(
        4, "delivered", 0, 77, debit=3 * 10**12 + serial, credit=4 * 10**12 + serial, amount=50_000
    )
    return {("POSTING-STRAY", s.card(4, f" posting delivered 0/77 #{new}"), 50_000)}


@case("a top-up is posted that nobody ordered")
def _(s: Scene) -> set[Expected]:
    s.post(4, "top-up", 0, 99, debit=10**12 + 4, credit=3 * 10**12 + s.serial(4), amount=75_000)
    return {("CREDIT-NUMBERS", s.card(4, " credit 99"), 75_000)}


@case("a posting is booked on another day")
def _(s: Scene) -> set[Expected]:
    s.do(f"UPDATE postings SET at = at + 100000 WHERE {_SAME}", **s.at("open-sale"))
    return {("POSTING-TIME", s.posting(0, "open-sale"), 6_600)}


@case("the explanation of a posting of a closed day is another")
def _(s: Scene) -> set[Expected]:
    at = s.get(f"SELECT at FROM postings WHERE {_SAME}", **s.at("sale"))
    s.do(f"UPDATE postings SET explanation = 'x' WHERE {_SAME}", **s.at("sale"))
    return {("DAY-JOURNAL", s.day(at), None)}


@case("the key of a posting is gone")
def _(s: Scene) -> set[Expected]:
    s.do("DELETE FROM posting_keys WHERE card_uid = :uid AND kind = 'salary'", uid=s.uid(0))
    return {("POSTING-KEY", s.card(0, " posting salary 0/2"), None)}


@case("there is a key of no posting")
def _(s: Scene) -> set[Expected]:
    s.do("INSERT INTO posting_keys VALUES (:uid, 'moved', 0, 5)", uid=s.uid(0))
    return {("POSTING-KEY", s.card(0, " posting moved 0/5"), None)}


@case("a till's sales go to another seller")
def _(s: Scene) -> set[Expected]:
    other = s.get("SELECT id FROM sellers WHERE name = 'Toko BMI'")
    s.do("UPDATE terminals SET seller_id = :o WHERE id = :t", o=other, t=s.at("late-sale")["t"])
    return {("POSTING-ACCOUNTS", s.posting(10, "late-sale"), 10_000)}


@case("what is in suspense is taken out")
def _(s: Scene) -> set[Expected]:
    serial = s.serial(7)
    s.post(7, "unexplained-gain", 0, 2, debit=6 * 10**12, credit=4 * 10**12 + serial, amount=9_100)
    return {("SUSPENSE", s.card(7), 9_100)}


@case("a posting to suspense is gone")
def _(s: Scene) -> set[Expected]:
    """Its key stays, which is said with it."""
    where = "card_uid = :uid AND kind = 'unexplained-loss'"
    follows = s.day_follows(where, 9_100, uid=s.uid(7))
    s.do(f"DELETE FROM postings WHERE {where}", uid=s.uid(7))
    row = s.card(7, " posting unexplained-loss 0/1")
    return {("SUSPENSE", s.card(7), 9_100), ("POSTING-KEY", row, None), *follows}


@case("a voucher that was not believed is not on the work list")
def _(s: Scene) -> set[Expected]:
    where = "kind = 'wrong-card-mac'"
    subject = s.get(f"SELECT subject FROM anomalies WHERE {where}")
    amount = s.get(f"SELECT amount_rupiah FROM anomalies WHERE {where}")
    s.do(f"DELETE FROM anomalies WHERE {where}")
    return {("ANOMALY", f"voucher {subject}", amount)}


@case("a member is not told of an unexplained difference")
def _(s: Scene) -> set[Expected]:
    subject = f"{s.uid(7).hex()}/{counter_of(s, 'after-hidden')}"
    s.do("DELETE FROM anomalies WHERE subject = :subject", subject=subject)
    counter = counter_of(s, "after-hidden")
    return {("ANOMALY", s.card(7, f" transaction {counter}"), 9_100)}


# Salaries and cash


@case("a salary is of another amount")
def _(s: Scene) -> set[Expected]:
    s.do(
        "UPDATE salaries SET amount_rupiah = 800000 WHERE period = '2027-02' AND member_number = 1"
    )
    number = s.get("SELECT number FROM salaries WHERE period = '2027-02' AND member_number = 1")
    return {("POSTING-AMOUNT", f"posting earned 0/{number}", 720_000)}


@case("a salary's posting is gone")
def _(s: Scene) -> set[Expected]:
    """Its key stays; the member's wallet has given on what it then never got."""
    number = s.get("SELECT number FROM salaries WHERE period = '2027-02' AND member_number = 1")
    s.do("DELETE FROM postings WHERE kind = 'earned' AND sequence = :s", s=number)
    row = f"posting earned 0/{number}"
    return {
        ("POSTING-MISSING", row, 80_000),
        ("POSTING-KEY", row, None),
        ("WALLET", "wallet of member 1", 80_000),
    }


@case("a salary is put into another member's wallet")
def _(s: Scene) -> set[Expected]:
    number = s.get("SELECT number FROM salaries WHERE period = '2027-02' AND member_number = 10")
    s.do(
        "UPDATE postings SET credit_account = 9000000000009 WHERE kind = 'earned' AND sequence = :s",
        s=number,
    )
    return {("POSTING-ACCOUNTS", f"posting earned 0/{number}", 90_000)}


@case("a salary is posted that nobody earned")
def _(s: Scene) -> set[Expected]:
    new = s.get("SELECT max(id) + 1 FROM postings")
    s.do(
        "INSERT INTO postings (id, at, kind, debit_account, credit_account, amount_rupiah, card_uid,"
        " terminal_id, sequence, explanation) VALUES (:id, :at, 'earned', 2000000000000,"
        " 9000000000009, 5000, :none, 0, 999, '')",
        id=new, at=s.ledger.clock[0], none=b"",
    )  # fmt: skip
    s.do("INSERT INTO posting_keys VALUES (:none, 'earned', 0, 999)", none=b"")
    return {("POSTING-STRAY", f"posting earned 0/999 #{new}", 5_000)}


@case("more cash is brought to the bank than was")
def _(s: Scene) -> set[Expected]:
    s.do("UPDATE postings SET amount_rupiah = 3000000 WHERE kind = 'banked' AND sequence = 2")
    station = s.get("SELECT terminal_id FROM cash_banked WHERE number = 2")
    return {("POSTING-AMOUNT", f"posting banked {station}/2", 2_700_000)}


@case("a wallet gives a card more than it has")
def _(s: Scene) -> set[Expected]:
    sequence = s.get(
        "SELECT max(sequence) + 1 FROM pending_credits WHERE card_uid = :uid", uid=s.uid(1)
    )
    s.do(
        "INSERT INTO pending_credits (card_uid, sequence, amount_rupiah, source, idempotency_key,"
        " ordered_at, state) VALUES (:uid, :s, 4000, 'salary', :key, :at, 'pending')",
        uid=s.uid(1), s=sequence, key=f"dobmi:wallet:{s.uid(1).hex()}:{sequence}",
        at=s.ledger.clock[0],
    )  # fmt: skip
    s.do(
        "UPDATE counters SET value = value + 1 WHERE name = :name", name=f"credit:{s.uid(1).hex()}"
    )
    s.post(
        1,
        "loaded",
        0,
        sequence,
        debit=9 * 10**12 + 2,
        credit=3 * 10**12 + s.serial(1),
        amount=4_000,
    )
    return {("WALLET", "wallet of member 2", 4_000)}


# Sellers paid


def item(s: Scene) -> tuple[int, int, int, int]:
    """Run, seller, number and net of the newest item."""
    run, seller, number, net = s.get(
        "SELECT run, seller_id, number, net_rupiah FROM settlement_items ORDER BY number DESC LIMIT 1"
    )
    return run, seller, number, net


@case("a seller is to be paid more than it is owed")
def _(s: Scene) -> set[Expected]:
    """The run's sum is not that of its items then, and less was posted than they say."""
    run, seller, number, _ = item(s)
    s.do("UPDATE settlement_items SET net_rupiah = net_rupiah + 900 WHERE number = :n", n=number)
    return {
        ("SETTLEMENT", f"run {run} seller {seller}", 900),
        ("SETTLEMENT", f"run {run}", 900),
        ("POSTING-AMOUNT", f"posting paid-out 0/{number}", 900),
    }


@case("a seller's sales in a run are more than the journal has")
def _(s: Scene) -> set[Expected]:
    run, seller, number, _ = item(s)
    s.do("UPDATE settlement_items SET sales_rupiah = sales_rupiah + 1 WHERE number = :n", n=number)
    return {("SETTLEMENT", f"run {run} seller {seller}", 1)}


@case("a seller is spared its fee")
def _(s: Scene) -> set[Expected]:
    """It was posted, and the item does not ask for it."""
    run, seller, number, _ = item(s)
    fee = s.get("SELECT fee_rupiah FROM settlement_items WHERE number = :n", n=number)
    id_ = s.get("SELECT id FROM postings WHERE kind = 'fee' AND sequence = :n", n=number)
    s.do("UPDATE settlement_items SET fee_rupiah = 0 WHERE number = :n", n=number)
    return {
        ("SETTLEMENT", f"run {run} seller {seller}", fee),
        ("POSTING-STRAY", f"posting fee 0/{number} #{id_}", fee),
    }


@case("a fee was agreed by one person")
def _(s: Scene) -> set[Expected]:
    s.do("UPDATE fee_decisions SET decided_by = proposed_by")
    return {("SETTLEMENT", "fee of seller 0 from day 1970-01-01", None)}


@case("a fee that nobody agreed to was put in force for another day")
def _(s: Scene) -> set[Expected]:
    """Of no run yet."""
    day = s.get("SELECT max(cut_off_day) + 1 FROM settlement_runs")
    s.do(
        "INSERT INTO fee_rules (seller_id, from_day, basis_points, per_sale_rupiah,"
        " per_run_rupiah, minimum_rupiah, set_by, set_at)"
        " VALUES (0, :day, 0, 0, 0, 0, 'Budi', 1)",
        day=day,
    )
    return {("SETTLEMENT", f"fee of seller 0 from day {day_number(day)}", None)}


@case("a run was approved by the one who proposed it")
def _(s: Scene) -> set[Expected]:
    run, *_ = item(s)
    s.do("UPDATE settlement_steps SET done_by = 'Ani' WHERE run = :r AND state = 'approved'", r=run)
    return {("SETTLEMENT", f"run {run}", None)}


@case("a run that paid is not on record")
def _(s: Scene) -> set[Expected]:
    run, *_ = item(s)
    net = s.get("SELECT net_rupiah FROM settlement_runs WHERE number = :r", r=run)
    s.do("DELETE FROM settlement_runs WHERE number = :r", r=run)
    return {("SETTLEMENT", f"run {run}", net)}


@case("a run was approved by somebody who is not of the staff")
def _(s: Scene) -> set[Expected]:
    run, *_ = item(s)
    s.do("UPDATE settlement_steps SET done_by = 'Zul' WHERE run = :r AND state = 'approved'", r=run)
    return {("SETTLEMENT", f"run {run}", None)}


@case("a run has another proposer than its steps say")
def _(s: Scene) -> set[Expected]:
    run, *_ = item(s)
    s.do("UPDATE settlement_runs SET proposed_by = 'Zul' WHERE number = :r", r=run)
    return {("SETTLEMENT", f"run {run}", None)}


@case("a run has another last day")
def _(s: Scene) -> set[Expected]:
    run, *_ = item(s)
    net = s.get("SELECT net_rupiah FROM settlement_runs WHERE number = :r", r=run)
    s.do("UPDATE settlement_runs SET cut_off_day = cut_off_day - 1 WHERE number = :r", r=run)
    return {("SETTLEMENT", f"run {run}", net)}


@case("a voucher is there twice")
def _(s: Scene) -> set[Expected]:
    s.do(
        "INSERT INTO vouchers (terminal_id, sequence, received_at, encoded)"
        f" SELECT terminal_id, sequence, received_at + 1, encoded FROM vouchers WHERE {_SAME}",
        **s.at("sale"),
    )
    return {("VOUCHER-PLACE", s.voucher("sale"), None)}


@case("a run was paid without being approved")
def _(s: Scene) -> set[Expected]:
    run, *_ = item(s)
    s.do("DELETE FROM settlement_steps WHERE run = :r AND state = 'approved'", r=run)
    return {("SETTLEMENT", f"run {run}", None)}


@case("a seller's period can be paid again")
def _(s: Scene) -> set[Expected]:
    run, seller, _, net = item(s)
    s.do("DELETE FROM settlement_claims WHERE run = :r AND seller_id = :s", r=run, s=seller)
    return {("SETTLEMENT", f"run {run} seller {seller}", net)}


@case("a seller's bank account was agreed by one person")
def _(s: Scene) -> set[Expected]:
    seller = item(s)[1]
    items = s.connection.execute(
        text("SELECT run, net_rupiah FROM settlement_items WHERE seller_id = :s"), {"s": seller}
    ).all()
    s.do("UPDATE seller_account_decisions SET decided_by = 'Ani' WHERE seller_id = :s", s=seller)
    s.since = {("SINCE", f"seller {seller} account 1 decision", None)}
    return {("SETTLEMENT", f"run {run} seller {seller}", net) for run, net in items}


@case("more is posted as paid to a seller than was")
def _(s: Scene) -> set[Expected]:
    number = item(s)[2]
    s.do(
        "UPDATE postings SET amount_rupiah = amount_rupiah + 10"
        " WHERE kind = 'paid-out' AND sequence = :n",
        n=number,
    )
    return {("POSTING-AMOUNT", f"posting paid-out 0/{number}", 10)}


# Sales in doubt


@case("a sale in doubt is of another amount")
def _(s: Scene) -> set[Expected]:
    s.do(f"UPDATE in_doubt SET amount_rupiah = 700 WHERE {_SAME}", **s.at("open-doubt"))
    return {("DOUBT-ROW", s.voucher("open-doubt"), 7_700)}


@case("a sale in doubt is forgotten")
def _(s: Scene) -> set[Expected]:
    s.do(f"DELETE FROM in_doubt WHERE {_SAME}", **s.at("open-doubt"))
    return {("DOUBT-ROW", s.voucher("open-doubt"), 7_700)}


@case("a paid sale is in doubt again")
def _(s: Scene) -> set[Expected]:
    s.do(
        f"UPDATE in_doubt SET state = 'open', settled_by = '' WHERE {_SAME}", **s.at("paid-by-mac")
    )
    return {("DOUBT-STATE", s.voucher("paid-by-mac"), 5_100)}


@case("a sale in doubt is called paid")
def _(s: Scene) -> set[Expected]:
    s.do(
        f"UPDATE in_doubt SET state = 'paid', settled_by = 'card' WHERE {_SAME}",
        **s.at("claimed"),
    )
    return {("DOUBT-STATE", s.voucher("claimed"), 6_100)}


@case("a doubt is called settled by the till, which said nothing")
def _(s: Scene) -> set[Expected]:
    s.do(f"UPDATE in_doubt SET settled_by = 'resolution' WHERE {_SAME}", **s.at("not-paid-by-card"))
    return {("DOUBT-STATE", s.voucher("not-paid-by-card"), 5_500)}


@case("a claim that nobody made is noted")
def _(s: Scene) -> set[Expected]:
    s.do(f"UPDATE in_doubt SET claimed_paid = true WHERE {_SAME}", **s.at("open-doubt"))
    return {("DOUBT-STATE", s.voucher("open-doubt"), 7_700)}


@case("the history of a doubt is gone")
def _(s: Scene) -> set[Expected]:
    s.do(f"DELETE FROM doubt_settlements WHERE {_SAME}", **s.at("not-paid-by-till"))
    return {("DOUBT-HISTORY", s.voucher("not-paid-by-till"), 5_400)}


@case("a supervisor's decision is turned round")
def _(s: Scene) -> set[Expected]:
    s.do(f"UPDATE doubt_decisions SET paid = false WHERE {_SAME}", **s.at("claimed"))
    return {("DECISION-ROW", s.voucher("paid-decision"), None)}


@case("a supervisor's decision is forgotten")
def _(s: Scene) -> set[Expected]:
    s.do(f"DELETE FROM doubt_decisions WHERE {_SAME}", **s.at("claimed"))
    return {("DECISION-ROW", s.voucher("paid-decision"), None)}


# Refunds and credits


@case("a refund is of another amount")
def _(s: Scene) -> set[Expected]:
    s.do(f"UPDATE refunds SET amount_rupiah = 30000 WHERE {_SAME}", **s.at("refund"))
    return {("REFUND-ROW", s.voucher("refund"), 3_000)}


@case("a refund of a sale that was not paid waits")
def _(s: Scene) -> set[Expected]:
    s.do(f"UPDATE refunds SET state = 'waiting' WHERE {_SAME}", **s.at("refused-refund"))
    return {("REFUND-STATE", s.voucher("refused-refund"), 400)}


@case("a delivered credit was of another amount")
def _(s: Scene) -> set[Expected]:
    credit(s, 0, 1, "amount_rupiah = 150000")
    return {("CREDIT", s.card(0, " credit 1"), 50_000)}


@case("a credit that waits is of another amount than its cause")
def _(s: Scene) -> set[Expected]:
    s.do(
        "UPDATE pending_credits SET amount_rupiah = amount_rupiah + 500"
        " WHERE idempotency_key = :key",
        key="dobmi:moved:" + s.uid(10).hex() + "/2",
    )
    sequence = s.get(
        "SELECT sequence FROM pending_credits WHERE idempotency_key = :key",
        key="dobmi:moved:" + s.uid(10).hex() + "/2",
    )
    return {("CREDIT-CAUSE", s.card(12, f" credit {sequence}"), 500)}


@case("a delivered credit is to be delivered again")
def _(s: Scene) -> set[Expected]:
    credit(s, 0, 1, "state = 'pending'")
    return {("CREDIT", s.card(0, " credit 1"), 100_000)}


@case("a credit is gone")
def _(s: Scene) -> set[Expected]:
    s.do("DELETE FROM pending_credits WHERE card_uid = :uid AND sequence = 1", uid=s.uid(3))
    return {("CREDIT-NUMBERS", s.card(3, " credit 1"), 100_000)}


@case("what was sent to a card is gone")
def _(s: Scene) -> set[Expected]:
    s.do("DELETE FROM credit_attempts WHERE card_uid = :uid AND sequence = 1", uid=s.uid(3))
    return {("TRANSACTION-SOURCE", s.card(3, " transaction 1"), 100_000)}


@case("the card's MAC of a credit is another")
def _(s: Scene) -> set[Expected]:
    credit(s, 3, 1, "mac = :mac", mac=bytes(8))
    return {("CREDIT", s.card(3, " credit 1"), 100_000)}


@case("a credit settled by hand has nobody's name")
def _(s: Scene) -> set[Expected]:
    s.do("UPDATE credit_settlements SET settled_by = ''")
    return {("CREDIT-BY-HAND", s.card(8, " credit 2"), 15_000)}


# Cards, members, the block list


@case("a stolen card is let free")
def _(s: Scene) -> set[Expected]:
    s.do("UPDATE cards SET state = 'active' WHERE uid = :uid", uid=s.uid(9))
    return {("CARD-STATE", s.card(9), None)}


@case("a card is valid for longer than was signed")
def _(s: Scene) -> set[Expected]:
    s.do("UPDATE cards SET expires_on_day = expires_on_day + 365 WHERE uid = :uid", uid=s.uid(7))
    return {("CARD-ROW", s.card(7), None)}


@case("a salary is noted for another period, so that it can be taken again")
def _(s: Scene) -> set[Expected]:
    number = s.get("SELECT min(number) FROM salaries")
    s.do("UPDATE salaries SET period = '2027-09' WHERE number = :n", n=number)
    return {("POSTING-KEY", f"posting earned 0/{number}", None)}


@case("a card is another member's")
def _(s: Scene) -> set[Expected]:
    s.do("INSERT INTO members (member_number, name) VALUES (99, 'Orang Lain')")
    s.do("UPDATE cards SET member_number = 99 WHERE uid = :uid", uid=s.uid(7))
    return {("CARD-ROW", s.card(7), None)}


@case("a card is gone")
def _(s: Scene) -> set[Expected]:
    """Its postings belong to nobody then, so the sum by cards is not that of the journal."""
    rows = s.connection.execute(
        text("SELECT kind, sum(amount_rupiah) FROM postings WHERE card_uid = :uid GROUP BY kind"),
        {"uid": s.uid(3)},
    )
    sums = {("SUM", f"journal {kind}", int(amount)) for kind, amount in rows}
    s.do("DELETE FROM cards WHERE uid = :uid", uid=s.uid(3))
    s.since = {("SINCE", s.card(3), None)}
    return {("CARD-MISSING", s.card(3), None), *sums}


@case("a member is gone")
def _(s: Scene) -> set[Expected]:
    s.do("DELETE FROM members WHERE member_number = 4")
    return {("ORPHAN", s.card(3), None)}


@case("a change of the block list is gone")
def _(s: Scene) -> set[Expected]:
    s.do("DELETE FROM hotlist_changes WHERE version = 2")
    return {("BLOCK-LIST", "block list 2", None)}


@case("the block list is put back")
def _(s: Scene) -> set[Expected]:
    version = s.get("SELECT value FROM counters WHERE name = 'hotlist'")
    s.do("UPDATE counters SET value = value - 1 WHERE name = 'hotlist'")
    return {("BLOCK-LIST", f"block list {version}", None)}


@case("more is restored of a lost card than it held")
def _(s: Scene) -> set[Expected]:
    """The posting is not of its credit's amount, and the day it is in tells it too."""
    where = "card_uid = :uid AND kind = 'restored'"
    follows = s.day_follows(where, 1_000, uid=s.uid(10))
    s.do(f"UPDATE postings SET amount_rupiah = amount_rupiah + 1000 WHERE {where}", uid=s.uid(10))
    return {
        ("POSTING-AMOUNT", s.card(10, " posting restored 0/1"), 1_000),
        ("CREDIT-CAUSE", s.card(12, f" credit {restored_credit(s)}"), 1_000),
        *follows,
    }


@case("a restored credit is gone")
def _(s: Scene) -> set[Expected]:
    """The lost card's posting then leads nowhere."""
    sequence, amount = (
        restored_credit(s),
        s.get(
            "SELECT amount_rupiah FROM postings WHERE kind = 'restored' AND card_uid = :uid",
            uid=s.uid(10),
        ),
    )
    id_ = s.get(
        "SELECT id FROM postings WHERE kind = 'restored' AND card_uid = :uid", uid=s.uid(10)
    )
    s.do("DELETE FROM pending_credits WHERE idempotency_key LIKE 'dobmi:restored:%'")
    return {
        ("CREDIT-NUMBERS", s.card(12, f" credit {sequence}"), None),
        ("POSTING-STRAY", s.card(10, f" posting restored 0/1 #{id_}"), amount),
    }


@case("what a lost card's account lacks is not covered")
def _(s: Scene) -> set[Expected]:
    """The key stays, which is said with it."""
    where = "card_uid = :uid AND kind = 'shortfall'"
    follows = s.day_follows(where, 10_000, uid=s.uid(10))
    s.do(f"DELETE FROM postings WHERE {where}", uid=s.uid(10))
    row = s.card(10, " posting shortfall 0/1")
    return {("LOST-CARD", s.card(10), 10_000), ("POSTING-KEY", row, None), *follows}


# Closed days


@case("the signature of a closed day is another")
def _(s: Scene) -> set[Expected]:
    day, at, amount = middle_day(s)
    flip(s, "daily_heads", "signature", "day = :day", day=day)
    return {("DAY-SIGNATURE", at, amount)}


@case("a closed day's sum is another")
def _(s: Scene) -> set[Expected]:
    """It is not what was signed, nor what the journal has."""
    day, at, amount = middle_day(s)
    s.do("UPDATE daily_heads SET amount_rupiah = amount_rupiah + 5 WHERE day = :day", day=day)
    return {("DAY-SIGNATURE", at, amount + 5), ("DAY-JOURNAL", at, 5)}


@case("a closed day is gone")
def _(s: Scene) -> set[Expected]:
    day, at, _ = middle_day(s)
    s.do("DELETE FROM daily_heads WHERE day = :day", day=day)
    s.since = {("SINCE", at, None)}
    return {("DAY-CHAIN", s.day((day + 1) * 86400), None)}


@case("a closed day is made anew by somebody who has the server's key")
def _(s: Scene) -> set[Expected]:
    day, at, _ = middle_day(s)
    remake_day(s, day)
    s.since = {("SINCE", at, None)}
    return {("DAY-CHAIN", s.day((day + 1) * 86400), None)}


@case("an account's day is another sum")
def _(s: Scene) -> set[Expected]:
    day, at, _ = middle_day(s)
    account = s.get("SELECT min(account) FROM account_days WHERE day = :day", day=day)
    s.do(
        "UPDATE account_days SET credits_rupiah = credits_rupiah + 7"
        " WHERE day = :day AND account = :account",
        day=day,
        account=account,
    )
    return {("DAY-ACCOUNTS", f"{at} {account_words(account)}", 7)}


@case("a kind's day is another sum")
def _(s: Scene) -> set[Expected]:
    day, at, _ = middle_day(s)
    s.do(
        "UPDATE kind_days SET amount_rupiah = amount_rupiah + 3 WHERE day = :day AND kind = 'sale'",
        day=day,
    )
    return {("DAY-ACCOUNTS", f"{at} kind sale", 3)}


@case("a till's voucher at a day's close is another")
def _(s: Scene) -> set[Expected]:
    """It is not the voucher that is kept, nor what was signed."""
    day, at, _ = middle_day(s)
    till = s.ledger.tills[0].terminal_id
    head = s.get(
        "SELECT head_sequence FROM till_heads WHERE day = :day AND terminal_id = :t",
        day=day,
        t=till,
    )
    s.do(
        "UPDATE till_heads SET head_hash = :hash WHERE day = :day AND terminal_id = :t",
        hash=bytes(32),
        day=day,
        t=till,
    )
    return {("DAY-TILLS", f"voucher {till}/{head}", None), ("DAY-TILLS", at, None)}


# Staff


@case("somebody else did what a person of the staff did")
def _(s: Scene) -> set[Expected]:
    act = s.get("SELECT min(id) FROM staff_acts WHERE act = 'block'")
    s.do("UPDATE staff_acts SET person = 'orang lain' WHERE id = :id", id=act)
    return {("ACTS", f"act {act}", None)}


@case("what a person of the staff did is taken out")
def _(s: Scene) -> set[Expected]:
    act = s.get("SELECT min(id) FROM staff_acts WHERE act = 'unblock'")
    s.do("DELETE FROM staff_acts WHERE id = :id", id=act)
    return {("ACTS", f"act {act + 1}", None)}


@case("the last thing that was done is taken out")
def _(s: Scene) -> set[Expected]:
    last = s.get("SELECT max(id) FROM staff_acts")
    s.do("DELETE FROM staff_acts WHERE id = :id", id=last)
    return {("ACTS", f"act {last}", None)}


@case("who proposed a restitution accepted it")
def _(s: Scene) -> set[Expected]:
    s.do("UPDATE approval_decisions SET decided_by = proposed_by WHERE number = 1")
    return {
        ("APPROVAL", "approval 1", 4_500),
        # Of it nobody else says that it was agreed on.
        ("CREDIT-CAUSE", s.card(11, f" credit {_restitution(s)}"), 4_500),
    }


@case("a restitution that was refused is paid")
def _(s: Scene) -> set[Expected]:
    s.do("UPDATE approval_decisions SET accepted = false WHERE number = 1")
    return {
        ("APPROVAL", "approval 1", 4_500),
        ("CREDIT-CAUSE", s.card(11, f" credit {_restitution(s)}"), 4_500),
    }


@case("a limit is set higher than two people agreed")
def _(s: Scene) -> set[Expected]:
    s.do("UPDATE limit_changes SET value = value * 10")
    return {("APPROVAL", "limit 1", None)}


def _restitution(s: Scene) -> int:
    return int(
        s.get(
            "SELECT sequence FROM pending_credits WHERE idempotency_key LIKE 'dobmi:restitution:%'"
        )
    )


# How


def flip(s: Scene, table: str, column: str, where: str, /, **values: Any) -> None:
    """Change the last bit of what is kept."""
    old = bytes(s.get(f"SELECT {column} FROM {table} WHERE {where}", **values))
    new = old[:-1] + bytes((old[-1] ^ 1,))
    s.do(f"UPDATE {table} SET {column} = :new WHERE {where}", new=new, **values)


def resign(s: Scene, name: str, **changes: Any) -> None:
    at = s.at(name)
    till = next(till for till in s.ledger.tills if till.terminal_id == at["t"])
    old = decode_voucher(bytes(s.get(f"SELECT encoded FROM vouchers WHERE {_SAME}", **at)))
    new = dataclasses.replace(old, link=dataclasses.replace(old.link, **changes))
    encoded = encode_voucher(new, till.public_key, till.key.sign)
    s.do(f"UPDATE vouchers SET encoded = :new WHERE {_SAME}", new=encoded, **at)


def last_batch(s: Scene, name: str) -> bytes:
    return bytes(
        s.get(
            "SELECT batch_hash FROM batches WHERE terminal_id = :t"
            " ORDER BY received_at DESC LIMIT 1",
            t=s.at(name)["t"],
        )
    )


def quarantine(s: Scene, name: str, reason: str) -> None:
    at = s.at(name)
    received = s.get(f"SELECT received_at FROM vouchers WHERE {_SAME}", **at)
    s.do(
        "INSERT INTO quarantine (terminal_id, sequence, reason, detail, received_at)"
        " VALUES (:t, :s, :reason, '', :at)",
        reason=reason,
        at=received,
        **at,
    )


def transaction(s: Scene, number: int, counter: int, t: int, sequence: int, *, amount: int) -> None:
    s.do(
        "INSERT INTO card_transactions (card_uid, counter, kind, terminal_id, sequence,"
        " amount_rupiah, balance_before_rupiah, balance_after_rupiah, card_mac_verified, at)"
        " VALUES (:uid, :counter, 1, :t, :s, :amount, :amount, 0, true, 0)",
        uid=s.uid(number),
        counter=counter,
        t=t,
        s=sequence,
        amount=amount,
    )


def collude(s: Scene, *, claimed: int, mac: bytes = b"") -> str:
    """With the keys of a till and of the server: a sale of 3,000, and all that would come of it."""
    at = s.at("late-sale")
    till = copy.deepcopy(next(t for t in s.ledger.tills if t.terminal_id == at["t"]))
    card = dataclasses.replace(s.ledger.cards[3])
    staged = card.stage_sale(till.next_reader_id, Rupiah(3_000))
    before = card.balance.amount
    counter, genuine = card.commit(staged)
    sale = till.append_sale(card, staged, counter, mac or genuine, claimed=Rupiah(claimed))
    sequence, batch, now = (
        sale.link.sequence,
        till.batch(first=sale.link.sequence),
        s.ledger.clock[0],
    )
    batch_hash, head = hashlib.sha256(batch).digest(), voucher_hash(till.vouchers[-1])
    acknowledgement = encode_acknowledgement(
        Acknowledgement(
            terminal_id=till.terminal_id,
            batch_hash=batch_hash,
            head_sequence=sequence,
            head_hash=head,
            unix_seconds=now,
        ),
        RING.public_key("server"),
        lambda message: RING.sign("server", message),
    )
    s.do(
        "INSERT INTO batches (terminal_id, batch_hash, acknowledgement, received_at)"
        " VALUES (:t, :hash, :ack, :now)",
        t=till.terminal_id, hash=batch_hash, ack=acknowledgement, now=now,
    )  # fmt: skip
    s.do(
        "INSERT INTO vouchers (terminal_id, sequence, received_at, encoded)"
        " VALUES (:t, :s, :now, :encoded)",
        t=till.terminal_id, s=sequence, now=now, encoded=till.vouchers[-1],
    )  # fmt: skip
    s.do(
        "UPDATE terminals SET head_sequence = :s, head_hash = :head WHERE id = :t",
        t=till.terminal_id, s=sequence, head=head,
    )  # fmt: skip
    old = s.get(
        "SELECT terminal_id, sequence FROM card_transactions WHERE card_uid = :uid"
        " ORDER BY counter DESC LIMIT 1",
        uid=card.uid,
    )
    s.do(
        "INSERT INTO card_transactions (card_uid, counter, kind, terminal_id, sequence,"
        " previous_terminal_id, previous_sequence, amount_rupiah, balance_before_rupiah,"
        " balance_after_rupiah, card_mac_verified, at)"
        " VALUES (:uid, :counter, 1, :t, :s, :pt, :ps, 3000, :before, :before - 3000, true, :at)",
        uid=card.uid, counter=counter, t=till.terminal_id, s=sequence, pt=old[0], ps=old[1],
        before=before, at=sale.link.unix_seconds,
    )  # fmt: skip
    s.do(
        "INSERT INTO postings (id, at, kind, debit_account, credit_account, amount_rupiah, card_uid,"
        " terminal_id, sequence, explanation) SELECT max(id) + 1, :now, 'sale', :debit,"
        " 5000000000000 + (SELECT seller_id FROM terminals WHERE id = :t), 3000, :uid, :t, :s, ''"
        " FROM postings",
        now=now, debit=4 * 10**12 + s.serial(3), uid=card.uid, t=till.terminal_id, s=sequence,
    )  # fmt: skip
    return f"voucher {till.terminal_id}/{sequence}"


def counter_of(s: Scene, name: str) -> int:
    return int(s.get(f"SELECT counter FROM card_transactions WHERE {_SAME}", **s.at(name)))


def credit(s: Scene, number: int, sequence: int, change: str, **values: Any) -> None:
    s.do(
        f"UPDATE pending_credits SET {change} WHERE card_uid = :uid AND sequence = :s",
        uid=s.uid(number),
        s=sequence,
        **values,
    )


def restored_credit(s: Scene) -> int:
    return int(
        s.get("SELECT sequence FROM pending_credits WHERE idempotency_key LIKE 'dobmi:restored:%'")
    )


def middle_day(s: Scene) -> tuple[int, str, int]:
    """The first closed day, that others follow: its number, name and sum."""
    day, amount = s.get("SELECT day, amount_rupiah FROM daily_heads ORDER BY day LIMIT 1")
    return day, s.day(day * 86400), amount


def remake_day(s: Scene, day: int) -> None:
    """Change the journal of a closed day and sign its head again."""
    first = day * 86400 - 25200
    within = f"at >= {first} AND at < {first + 86400}"
    s.do(f"UPDATE postings SET explanation = 'x' WHERE {within}")
    rows = s.connection.execute(
        text(
            "SELECT at, kind, debit_account, credit_account, amount_rupiah, card_uid, terminal_id,"
            f" sequence, explanation FROM postings WHERE {within}"
        )
    ).all()
    lines = [JournalLine(**{**row._mapping, "card_uid": bytes(row.card_uid)}) for row in rows]
    lines.sort(key=lambda x: (x.at, x.terminal_id, x.sequence, x.card_uid, x.kind.encode()))
    journal = journal_hash(lines)
    old = s.connection.execute(text("SELECT * FROM daily_heads WHERE day = :d"), {"d": day}).one()
    head = DailyHead(
        day=day,
        postings=journal.postings,
        amount=Rupiah(journal.amount.amount),
        journal_hash=journal.digest,
        tills_hash=bytes(old.tills_hash),
        previous_hash=bytes(old.previous_hash),
        closed_at=old.closed_at,
    )
    s.do(
        "UPDATE daily_heads SET journal_hash = :journal, hash = :hash, signature = :signature"
        " WHERE day = :day",
        journal=head.journal_hash,
        hash=head.hash,
        signature=head.sign(RING.public_key("server"), lambda m: RING.sign("server", m)),
        day=day,
    )
