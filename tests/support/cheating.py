"""A scene for a cheat: the real server over HTTP, real tills, simulated cards, and who lost what.

A test of tests/cheats sets an honest scene, cheats with what the cheater has, lets the system go
on, and says what must have been found. The scene notes each finding with the moment of it and
works out from the ledger, the cards and the goods who lost and who gained.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import requests
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import func, select

from dobmi.cardlib.purse import Purse
from dobmi.cardlib.purse_layout import ReaderId
from dobmi.cardlib.transaction_mac import TransactionMac
from dobmi.central.cards import statement_of
from dobmi.central.circulation import clocks_behind, quarantine_list, unreported_sales
from dobmi.central.credit_orders import order_credit
from dobmi.central.credit_session import deliver_credits
from dobmi.central.dispute import Dispute, dispute
from dobmi.central.posting_rules import Group, account_number, group_of, owner_of
from dobmi.central.refunds import refund_list
from dobmi.central.replacement import replace_card
from dobmi.central.schema import (
    CreditSource,
    DoubtState,
    Role,
    anomalies,
    cards,
    in_doubt,
    pending_credits,
    postings,
    rejected_batches,
    sellers,
    terminals,
)
from dobmi.central.server import Central
from dobmi.central.terminals import enrol, invite
from dobmi.errors import DoBMIError
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.faults import Fault
from dobmi.firmware_sim.reader import SimulatedReader
from dobmi.money import Rupiah
from dobmi.sync.client import Requester
from dobmi.sync.enrolment import Invitation, encode_enrol_request, verify_enrolment
from dobmi.sync.errors import ServerRefused
from dobmi.sync.relay import Start
from dobmi.sync.relay_client import relay_card_session
from dobmi.terminal.errors import SyncTooOld, TooMuchUnsent
from dobmi.terminal.ledger import Ledger
from dobmi.terminal.sale import SaleResult
from dobmi.terminal.till import Till, enrol_till
from support.purses import InProcess
from support.servers import issued, office
from support.tills import QUICK, RING, TILL_KEYS, Bench, balance_of
from support.traffic import ModelTill

COOPERATIVE = "cooperative"


class When(StrEnum):
    """The moments at which a cheat can show."""

    AT_ONCE = "at once, at the till"
    IN_SESSION = "at once, in the card session"
    AT_THE_SERVER = "at once, at the server"
    AT_ENROLMENT = "when the rightful till enrols"
    APPROVED = "when the office types the code that the till shows"
    REPLIED = "when the office's digits are to be typed at the till"
    OWN_UPLOAD = "at the upload"
    NEXT_SALE = "at the card's next sale anywhere"
    SECOND_UPLOAD = "at the upload of the second sale"
    OTHER_REPORTS = "when the till that was named reports that far"
    NEXT_CREDIT = "at the card's next credit"
    ASKED = "when the member asks"
    RULE = "when the rule settles it, 30 days on"
    NEXT_SYNC = "at the till's next sync"
    LISTED = "when the office reads its list of refunds"
    COUNTED = "when the station's cash is counted"


@dataclass(frozen=True, slots=True)
class Finding:
    """What the system says: its code, and what it names."""

    code: str
    terminal: str = ""
    card: str = ""
    amount: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table in docs/threat-model.md."""

    cheat: str
    means: str
    found: str
    when: str
    names: str
    loss: str

    def markdown(self) -> str:
        cells = (self.cheat, self.means, self.found, self.when, self.names, self.loss)
        return f"| {' | '.join(cells)} |"


@dataclass
class Stall:
    """A till as it stands in a shop; `offset_seconds` is what its machine's clock is wrong by."""

    scene: Scene = field(repr=False)
    bench: Bench
    label: str
    owner: str
    terminal_id: int = 0
    offset_seconds: int = 0

    @property
    def database(self) -> Path:
        return self.bench.database

    @contextmanager
    def open(self, **changes: object) -> Iterator[Till]:
        self.bench.time = self.scene.now + self.offset_seconds
        with self.bench.open(**changes) as till:
            yield till

    def sell(self, card: SimulatedCard, amount: int, *faults: Fault) -> SaleResult:
        """A sale by the till's own program; the goods go to who holds the card."""
        self.bench.tap(card, *faults)
        with self.open() as till:
            result = till.sell(Rupiah(amount))
        self.scene.hand_over(self.owner, self.scene.bearer(card), amount)
        return result

    def try_to_sell(self, card: SimulatedCard, amount: int) -> None:
        """A sale that the till's own program must refuse."""
        before = balance_of(card)
        try:
            self.sell(card, amount)
        except DoBMIError as error:
            self.scene.refused(error, When.AT_ONCE, terminal=self.label, card=card)
        else:
            raise AssertionError("the till sold")
        assert balance_of(card) == before

    def sync(self, when: When = When.OWN_UPLOAD, **changes: object) -> None:
        """The till's own sync. A refusal is a finding."""
        try:
            with self.open(**changes) as till:
                till.sync()
        except DoBMIError as error:
            self.scene.refused(error, when, terminal=self.label)
        self.scene.look(when)

    def forger(self) -> ModelTill:
        """Whoever has the till's key and files can write any voucher: its chain, from where it is."""
        ledger = Ledger(self.database)
        chain = ledger.vouchers_from(1, 100_000)
        ledger.close()
        key = Ed25519PrivateKey.from_private_bytes(self.bench.signing.signing["terminal"])
        return ModelTill(self.terminal_id, key, self.owner, list(chain))


@dataclass
class Scene:
    """See the module."""

    folder: Path
    central: Central
    url: str
    clock: list[int]
    stalls: list[Stall] = field(default_factory=list)
    bearers: dict[int, str] = field(default_factory=dict)
    """Who holds which simulated card (by object: a copy has the same UID)."""
    cards: dict[int, SimulatedCard] = field(default_factory=dict)
    names: dict[bytes, str] = field(default_factory=dict)
    gains: dict[str, int] = field(default_factory=dict)
    """Goods and cash that each party got, less what it gave."""
    findings: list[tuple[Finding, When]] = field(default_factory=list)
    replaced: list[bytes] = field(default_factory=list)
    _kept: list[SimulatedCard] = field(default_factory=list)
    """Every card there ever was, so that `id` names one for good."""

    @property
    def now(self) -> int:
        return self.clock[0]

    def later(self, *, days: float = 0, seconds: int = 0) -> None:
        self.clock[0] += int(days * 86_400) + seconds

    def till(self, label: str = "A", owner: str = "") -> Stall:
        """A till, taken in over HTTP; its sales are for `owner of till A` where not said otherwise."""
        owner = owner or f"owner of till {label}"
        folder = self.folder / f"till-{label}"
        folder.mkdir()
        bench = Bench(folder, server=self.url, time=self.now)
        stall = Stall(self, bench, f"till {label}", owner)
        identity = enrol_till(
            database=bench.database,
            signing=bench.signing,
            server=self.url,
            invitation=invite(self.central, Role.TILL, stall.label, owner),
            patience=QUICK,
            system_time=lambda: bench.time,
        )
        stall.terminal_id = identity.terminal_id
        bench.start_shift()
        self.stalls.append(stall)
        return stall

    def card(self, member: str = "member", balance: int = 100_000) -> SimulatedCard:
        """A card issued to the member and topped up with cash, by the server itself."""
        number = 4711 + len(self.names)
        card = issued(self.central, balance, number)
        self.names[card.uid] = f"{member}'s card"
        self._holds(card, member)
        self._give(member, -balance)
        return card

    def copy(self, card: SimulatedCard, bearer: str) -> SimulatedCard:
        """Another card with everything that this one holds now, keys and UID too."""
        copied = SimulatedCard(state=card.state)
        self.bearers[id(copied)] = bearer
        self._kept.append(copied)
        return copied

    def restore(self, card: SimulatedCard, older: SimulatedCard) -> SimulatedCard:
        """The card made to hold again what it held when `older` was copied from it."""
        restored = SimulatedCard(state=older.state)
        del self.cards[id(card)]
        self._holds(restored, self.bearer(card))
        return restored

    def replace(self, card: SimulatedCard) -> SimulatedCard:
        """The member says that the card is lost, and gets another; what that one held is dead."""
        number = statement_of(self.central, card.uid).member_number
        replace_card(self.central, card.uid, "lost", by_terminal=None)
        new = issued(self.central, 0, number)
        self.names[new.uid] = self.names[card.uid]
        self._holds(new, self._owner(card))
        del self.cards[id(card)]
        self.replaced.append(card.uid)
        return new

    def _holds(self, card: SimulatedCard, bearer: str) -> None:
        self.bearers[id(card)] = bearer
        self.cards[id(card)] = card
        self._kept.append(card)

    def bearer(self, card: SimulatedCard) -> str:
        return self.bearers[id(card)]

    def finds(self, card: SimulatedCard, bearer: str) -> None:
        """`bearer` has the card from now on; the money on it is still its owner's."""
        self.bearers[id(card)] = bearer

    def hand_over(self, giver: str, taker: str, amount: int) -> None:
        """Goods or cash of that worth go from one to the other."""
        self._give(giver, -amount)
        self._give(taker, amount)

    def pay_cash(self, member: str, amount: int) -> None:
        """Cash for a top-up, at a station; the ledger has it from the order on."""
        self._give(member, -amount)

    def _give(self, who: str, amount: int) -> None:
        self.gains[who] = self.gains.get(who, 0) + amount

    def purse(self, card: SimulatedCard) -> Purse:
        """The card, for whoever holds the tills' debit key."""
        card.power_off()
        return Purse(InProcess(card), TILL_KEYS, RING.public_key("card-issuer"))

    def debit(
        self, card: SimulatedCard, reader_id: ReaderId, amount: int
    ) -> tuple[bytes, TransactionMac]:
        """A debit with the tills' debit key under any name; its evidence, counter and MAC."""
        purse = self.purse(card)
        purse.begin_sale(reader_id)
        prepared = purse.prepare_debit(Rupiah(amount), self.now)
        purse.stage(prepared)
        return prepared.evidence, purse.commit()

    def order(self, card: SimulatedCard, amount: int, key: str) -> None:
        """A salary credit for the card; the cooperative has taken it from the member's salary."""
        station = office(self.central)
        order_credit(
            self.central,
            card.uid,
            Rupiah(amount),
            CreditSource.SALARY,
            idempotency_key=key,
            station=station,
        )
        self._give(self.names[card.uid].removesuffix("'s card"), -amount)

    def deliver(self, card: SimulatedCard) -> None:
        """The card at a station; what the server refuses is a finding."""
        card.power_off()
        try:
            deliver_credits(self.central, InProcess(card))
        except DoBMIError as error:
            self.refused(error, When.NEXT_CREDIT, card=card)
        self.look(When.NEXT_CREDIT)

    def top_up(self, card: SimulatedCard, amount: int, key: str) -> None:
        """A salary credit, ordered and delivered."""
        self.order(card, amount, key)
        self.deliver(card)

    def enrol_with(self, invitation: Invitation, who: str, when: When = When.AT_ENROLMENT) -> None:
        """A till of `who` enrols with that invitation."""
        folder = self.folder / f"enrol-{who}"
        folder.mkdir()
        bench = Bench(folder, server=self.url, time=self.now)
        try:
            enrol_till(
                database=bench.database,
                signing=bench.signing,
                server=self.url,
                invitation=invitation,
                patience=QUICK,
                system_time=lambda: bench.time,
            )
        except DoBMIError as error:
            self.refused(error, when, terminal=who)

    def count_cash(self, station: ModelTill, counted: int, card: SimulatedCard) -> None:
        """The station's drawer against the ledger's account of it; `card` had the top-up."""
        with self.central.database.read() as connection:
            account = postings.c.debit_account == account_number(Group.CASH, station.terminal_id)
            expected = connection.execute(
                select(func.sum(postings.c.amount_rupiah)).where(account)
            ).scalar_one()
        short = int(expected) - counted
        self._give(COOPERATIVE, -short)
        if short:
            self.note(Finding("cash short", "station", self.names[card.uid], short), When.COUNTED)

    def upload(self, batch: bytes, when: When = When.OWN_UPLOAD, *, terminal: str = "") -> bytes:
        """Bytes sent to the server by whoever has them; the acknowledgement, b"" if refused."""
        answer = requests.post(
            f"{self.url}/v1/batches",
            data=batch,
            headers={"Content-Type": "application/cbor"},
            timeout=10,
        )
        if answer.status_code != 200:
            self.note(Finding(answer.json()["code"], terminal), when)
        self.look(when)
        return answer.content if answer.status_code == 200 else b""

    def relay(
        self, forger: ModelTill, start: Start, transmit: Callable[[bytes], bytes], when: When
    ) -> None:
        """A card session relayed by whoever has that key; what the server refuses is a finding."""
        requester = Requester(
            terminal_id=forger.terminal_id,
            public_key=forger.public_key,
            sign=forger.key.sign,
            now=lambda: self.now,
        )
        try:
            relay_card_session(self.url, requester, start, transmit)
        except DoBMIError as error:
            self.refused(error, when)
        self.look(when)

    def signed(
        self,
        forger: ModelTill,
        method: str,
        path: str,
        content: object = None,
        *,
        nonce: bytes = b"",
    ) -> requests.Response:
        """A request signed with the key of `forger`."""
        body = b"" if content is None else json.dumps(content).encode()
        headers = {
            "Authorization": forger.authorization(method, path, body, at=self.now, nonce=nonce),
            "Content-Type": "application/json",
        }
        return requests.request(
            method, self.url + path, data=body or None, headers=headers, timeout=10
        )

    def answered(self, response: requests.Response, when: When) -> None:
        """A refusal of a request is a finding."""
        if response.status_code >= 400:
            self.note(Finding(response.json()["code"]), when)

    def station(self) -> ModelTill:
        """An issuing station's key, as whoever has it uses it."""
        key = Ed25519PrivateKey.generate()
        public_key = key.public_key().public_bytes_raw()
        invitation = invite(self.central, Role.STATION, "station", "office")
        request = encode_enrol_request(invitation.code, public_key, key.sign)
        enrolment = verify_enrolment(enrol(self.central, request), invitation, public_key)
        return ModelTill(enrolment.terminal_id, key, "office")

    def limit(self, **changes: int) -> None:
        """Change the server's settings, as by its file and a restart."""
        settings = self.central.settings.model_copy(update=changes)
        object.__setattr__(self.central, "settings", settings)  # frozen, so by the back door

    def copy_of_till(self, stall: Stall) -> Stall:
        """The till's memory card, copied, in another till."""
        folder = stall.bench.folder.with_name(stall.bench.folder.name + "-copy")
        shutil.copytree(stall.bench.folder, folder)
        bench = replace(stall.bench, folder=folder, reader=SimulatedReader())
        copied = replace(stall, bench=bench, label=f"copy of {stall.label}")
        self.stalls.append(copied)
        return copied

    def asked(self, stall: Stall, sequence: int) -> Dispute:
        """The member asks for a sale's evidence at the office."""
        shown = dispute(self.central, stall.terminal_id, sequence)
        code = "dispute: proved" if shown.is_proved else "dispute: not proved"
        named = self.names[shown.card_uid]
        self.note(Finding(code, shown.terminal_name, named, shown.amount.amount), When.ASKED)
        return shown

    # What was found

    def refused(
        self,
        error: DoBMIError,
        when: When,
        *,
        terminal: str = "",
        card: SimulatedCard | None = None,
    ) -> None:
        code = error.code
        if isinstance(error, ServerRefused):
            code = str(error.facts["problem"])
        says_card = card is not None and not isinstance(error, SyncTooOld | TooMuchUnsent)
        named = self.names[card.uid] if card is not None and says_card else ""
        self.note(Finding(code, terminal, named), when)

    def note(self, finding: Finding, when: When) -> None:
        if all(finding != known for known, _ in self.findings):
            self.findings.append((finding, when))

    def look(self, when: When) -> None:
        """Note what stands in the server's database since the last look."""
        with self.central.database.read() as connection:
            labels: dict[int, str] = {
                row.id: row.name for row in connection.execute(select(terminals))
            }
            for row in connection.execute(select(anomalies).order_by(anomalies.c.id)):
                self.note(self._finding(row.kind, row, labels), when)
            settled = select(in_doubt).where(in_doubt.c.state != DoubtState.OPEN)
            for row in connection.execute(settled.order_by(in_doubt.c.sequence)):
                self.note(self._finding(f"doubt {row.state}", row, labels), when)
            for row in connection.execute(select(rejected_batches)):
                known = {finding.code for finding, _ in self.findings}
                if row.code not in known:
                    self.note(Finding(row.code), when)
        for kept in sorted(quarantine_list(self.central), key=lambda kept: kept.sequence):
            finding = Finding(
                kept.reason,
                labels[kept.terminal_id],
                self.names.get(kept.card_uid, ""),
                None if kept.amount is None else kept.amount.amount,
            )
            self.note(finding, when)
        for sale in unreported_sales(self.central):
            amount = None if sale.amount is None else sale.amount.amount
            named = self.names[sale.card_uid]
            self.note(Finding("unreported", labels[sale.terminal_id], named, amount), when)

    def still_open(self, when: When) -> None:
        """Note the doubts that nothing has settled."""
        with self.central.database.read() as connection:
            labels = {row.id: row.name for row in connection.execute(select(terminals))}
            waiting = select(in_doubt).where(in_doubt.c.state == DoubtState.OPEN)
            for row in connection.execute(waiting.order_by(in_doubt.c.sequence)):
                self.note(self._finding("doubt open", row, labels), when)

    def look_at_clocks(self, when: When) -> None:
        """What `dobmi central clocks` lists."""
        for sale in clocks_behind(self.central):
            named = self.names[sale.card_uid]
            finding = Finding("clock-behind", sale.terminal_name, named, sale.amount.amount)
            self.note(finding, when)

    def look_at_refunds(self, when: When) -> None:
        """What `dobmi central refunds --all` lists."""
        with self.central.database.read() as connection:
            labels = {row.id: row.name for row in connection.execute(select(terminals))}
        for row in refund_list(self.central):
            self.note(self._finding(f"refund {row.state}", row, labels), when)

    def _finding(self, code: str, row: Any, labels: dict[int, str]) -> Finding:
        amount = row._mapping.get("amount_rupiah")
        return Finding(
            code,
            labels.get(row.terminal_id, "") if row.terminal_id else "",
            self.names.get(row.card_uid, "") if row.card_uid else "",
            amount,
        )

    def codes(self) -> dict[str, When]:
        """Each code and when it was found first."""
        found: dict[str, When] = {}
        for finding, when in self.findings:
            found.setdefault(finding.code, when)
        return found

    def named(self) -> set[str]:
        """Terminals, cards and amounts that the findings name."""
        return set(self._named())

    def _named(self) -> list[str]:
        found = [finding for finding, _ in self.findings]
        named = [finding.terminal for finding in found] + [finding.card for finding in found]
        named += [str(Rupiah(finding.amount)) for finding in found if finding.amount is not None]
        return [name for name in dict.fromkeys(named) if name]

    # Who lost

    def losses(self) -> dict[str, int]:
        """What each party has more (less, below nought) than if nobody had cheated and lost.

        Members: goods, and the money on their cards and on its way to them, less what they paid.
        Outlets: what the ledger owes them less their goods. The cooperative: what it took in less
        what it owes by the ledger and by the cards. The sum is nought by that; so the cooperative
        gains what lies in suspense, until it is given to whom it belongs.
        """
        changes = dict(self.gains)
        with self.central.database.read() as connection:
            credits_, debits = (
                {
                    row.account: row.total
                    for row in connection.execute(
                        select(
                            column.label("account"),
                            func.sum(postings.c.amount_rupiah).label("total"),
                        ).group_by(column)
                    )
                }
                for column in (postings.c.credit_account, postings.c.debit_account)
            )
            balances = {
                name: credits_.get(name, 0) - debits.get(name, 0) for name in {*credits_, *debits}
            }
            waiting: dict[bytes, int] = {}
            for row in connection.execute(
                select(pending_credits).where(pending_credits.c.state != "delivered")
            ):
                uid = bytes(row.card_uid)
                waiting[uid] = waiting.get(uid, 0) + row.amount_rupiah
            sellers_ = {row.id: row.name for row in connection.execute(select(sellers))}
            serials = {bytes(row.uid): row.serial for row in connection.execute(select(cards))}
        assert sum(balances.values()) == 0
        cooperative = -sum(
            balance
            for account, balance in balances.items()
            if group_of(account) in {Group.CASH, Group.SALARY}
        )
        for account, balance in balances.items():
            if group_of(account) is Group.OUTLET:
                owner = sellers_[owner_of(account)]
                changes[owner] = changes.get(owner, 0) + balance
                cooperative -= balance
        for card in self.cards.values():
            on_card = balance_of(card)
            changes[self._owner(card)] = changes.get(self._owner(card), 0) + on_card
            cooperative -= on_card
        for uid in self.replaced:
            owed = balances.get(account_number(Group.CARD, serials[uid]), 0)
            owner = self.names[uid].removesuffix("'s card")
            changes[owner] = changes.get(owner, 0) + owed
            cooperative -= owed
        for uid, amount in waiting.items():
            owner = self.names[uid].removesuffix("'s card")
            changes[owner] = changes.get(owner, 0) + amount
            cooperative -= amount
        changes[COOPERATIVE] = changes.get(COOPERATIVE, 0) + cooperative
        assert sum(changes.values()) == 0
        return {who: amount for who, amount in changes.items() if amount}

    def _owner(self, card: SimulatedCard) -> str:
        return self.names[card.uid].removesuffix("'s card")

    def suspense(self) -> int:
        with self.central.database.read() as connection:

            def total(column: Any) -> int:
                found = connection.execute(
                    select(func.coalesce(func.sum(postings.c.amount_rupiah), 0)).where(
                        column == account_number(Group.SUSPENSE)
                    )
                ).scalar_one()
                return int(found)

            return total(postings.c.credit_account) - total(postings.c.debit_account)

    # The table

    def row(self, cheat: str, means: str) -> Row:
        codes = self.codes()
        found = ", ".join(f"`{code}`" for code in codes) or "nothing to find"
        when = "; ".join(dict.fromkeys(moment.value for moment in codes.values())) or "-"
        return Row(cheat, means, found, when, ", ".join(self._named()) or "-", self._loss_text())

    def _loss_text(self) -> str:
        parts = [
            f"{who} {'gains' if amount > 0 else 'loses'} {Rupiah(abs(amount))}"
            for who, amount in sorted(self.losses().items(), key=lambda item: (item[1], item[0]))
        ]
        held = self.suspense()
        waits = f" ({Rupiah(held)} in suspense)" if held > 0 else ""
        return (", ".join(parts) or "nobody") + waits
