"""A till and the central server over HTTP: enrolled, sold offline, sent, settled; and sent again."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dobmi.cardlib.custody import KeyRing
from dobmi.central import app
from dobmi.central.cards import set_blocked, statement_of
from dobmi.central.catalogue import import_catalogue, parse_catalogue
from dobmi.central.circulation import Circulation, circulation
from dobmi.central.feeds import make_feed
from dobmi.central.member_notes import Told, import_notes
from dobmi.central.member_orders import import_orders, order_list, parse_orders
from dobmi.central.schema import TerminalStatus, till_records
from dobmi.central.server import Central
from dobmi.central.terminals import set_terminal_status
from dobmi.central.till_records import shift_list
from dobmi.central.till_staff import add_till_staff
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.faults import Moment, at_command
from dobmi.money import Rupiah
from dobmi.sync.client import SyncClient
from dobmi.sync.errors import (
    ForgedAcknowledgement,
    ServerRefused,
    ServerUnreachable,
    StaleFeed,
    WrongSignature,
)
from dobmi.sync.feed import Feed, Limits
from dobmi.sync.outlet import Duty
from dobmi.sync.records import OrderRecord, OrderState, encode_record
from dobmi.sync.voucher import GoodsLine
from dobmi.terminal.catalogue import search
from dobmi.terminal.errors import (
    AlreadyEnrolled,
    BadDecision,
    CardBlocked,
    NotEnrolled,
    SaleInDoubt,
    SyncTooOld,
)
from dobmi.terminal.ledger import Ledger
from dobmi.terminal.members import member_note
from dobmi.terminal.outbox import record_taken, unsent_records_count
from dobmi.terminal.picking import hand_over, open_orders
from dobmi.terminal.purchase import Purchase
from dobmi.terminal.staff import Cashier, staff_members
from dobmi.terminal.synchronise import Uploaded
from dobmi.terminal.till import enrol_till
from support.purses import ring_in
from support.servers import issued, new_central, office, order, serving, till_invitation
from support.tills import QUICK, Bench, balance_of

COMMIT = 0xC7
SELLER = "Toko Ciledug"
STOCK = "code,name,category,price,barcodes\nBRS5,Beras 5 kg,Sembako,75000,8991\n"
ORDERS = "order,member,pick_up_on,item,name,quantity,price\n501,4711,2026-11-30,BRS5,Beras 5 kg,2,75000\n"
JPEG = b"\xff\xd8\xff\xe0 wajah \xff\xd9"


@pytest.fixture
def central(tmp_path: Path, bench_time: list[int]) -> Central:
    return new_central(tmp_path, lambda: bench_time[0])


@pytest.fixture
def bench_time() -> list[int]:
    return [1_790_000_000]


@pytest.fixture
def bench(tmp_path: Path, central: Central, bench_time: list[int]) -> Iterator[Bench]:
    """A till enrolled with the server that is running."""
    with serving(central) as url:
        made = Bench(tmp_path, server=url, time=bench_time[0])
        identity = enrol_till(
            database=made.database,
            signing=made.signing,
            server=url,
            invitation=till_invitation(central),
            patience=QUICK,
            system_time=lambda: made.time,
        )
        assert identity.seller == "Toko Ciledug"
        yield made.start_shift()


def ledger_balance(central: Central, card: SimulatedCard) -> int:
    return statement_of(central, card.uid).balance.amount


def settled(central: Central) -> Circulation:
    now = circulation(central)
    assert now.difference.amount == 0
    assert now.quarantined == 0
    return now


class TestSync:
    def test_what_was_sold_offline_is_settled_once_the_network_is_back(
        self, bench: Bench, central: Central
    ) -> None:
        card = issued(central, 100_000)
        goods = (GoodsLine("Beras 5 kg", 1, Rupiah(7_000)),)
        with bench.open(server="http://127.0.0.1:1") as till:
            bench.tap(card)
            for _ in range(3):
                till.sell(Rupiah(7_000), goods)
            with pytest.raises(ServerUnreachable):
                till.sync()
        with bench.open() as till:
            steps: list[tuple[int, int]] = []
            result = till.sync(lambda done, total: steps.append((done, total)))
            assert till.ledger.unsent().count == 0
        assert result.sent_count == 3
        assert steps == [(3, 3)]
        assert ledger_balance(central, card) == balance_of(card) == 79_000
        assert settled(central).owed_to_outlets == Rupiah(21_000)

    def test_syncing_again_sends_nothing_and_changes_nothing(
        self, bench: Bench, central: Central
    ) -> None:
        card = issued(central, 100_000)
        bench.tap(card)
        with bench.open() as till:
            till.sell(Rupiah(5_000))
            till.sync()
            assert till.sync().sent_count == 0
        assert ledger_balance(central, card) == 95_000

    def test_a_feed_that_is_given_again_does_not_make_the_till_newer(
        self, bench: Bench, central: Central, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench.tap(issued(central, 100_000))
        with bench.open() as till:
            feeds: list[Feed] = []
            fetch = SyncClient.fetch_feed

            def replayed(client: SyncClient, *asked: Any) -> Feed:
                if not feeds:
                    feeds.append(fetch(client, *asked))
                return feeds[0]

            monkeypatch.setattr(SyncClient, "fetch_feed", replayed)
            till.sync()
            till.sell(Rupiah(1_000))
            bench.time += Limits().sync_age_seconds_max + 1
            monkeypatch.setattr(
                "dobmi.terminal.synchronise.upload_vouchers", lambda *_: Uploaded(0, 0, ())
            )
            till.sync()
            with pytest.raises(SyncTooOld):
                till.sell(Rupiah(1_000))

    def test_a_lost_acknowledgement_is_got_again(
        self, bench: Bench, central: Central, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        card = issued(central, 100_000)
        bench.tap(card)
        with bench.open() as till:
            till.sell(Rupiah(5_000))
            with monkeypatch.context() as patch:
                patch.setattr(Ledger, "record_acknowledgement", _lose)
                with pytest.raises(ConnectionError):
                    till.sync()
            assert till.ledger.unsent().count == 1
            till.sell(Rupiah(1_000))
            assert till.sync().sent_count == 2
        assert ledger_balance(central, card) == balance_of(card) == 94_000
        assert settled(central).owed_to_outlets == Rupiah(6_000)

    def test_more_than_a_batch_goes_in_several(
        self, bench: Bench, central: Central, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("dobmi.terminal.synchronise.VOUCHERS_MAX", 3)
        bench.tap(issued(central, 100_000))
        steps: list[tuple[int, int]] = []
        with bench.open() as till:
            for _ in range(7):
                till.sell(Rupiah(100))
            till.sync(lambda done, total: steps.append((done, total)))
        assert steps == [(3, 7), (6, 7), (7, 7)]

    def test_large_vouchers_go_in_smaller_batches(
        self, bench: Bench, central: Central, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("dobmi.terminal.synchronise.BATCH_BYTES_MAX", 1_200)
        bench.tap(issued(central, 100_000))
        steps: list[tuple[int, int]] = []
        with bench.open() as till:
            for _ in range(5):
                till.sell(Rupiah(100))
            till.sync(lambda done, total: steps.append((done, total)))
        assert steps[-1] == (5, 5)
        assert len(steps) > 1

    @pytest.mark.parametrize("sells_again", [False, True])
    def test_a_server_restored_from_a_backup_gets_everything_again(
        self, bench: Bench, central: Central, tmp_path: Path, *, sells_again: bool
    ) -> None:
        """Also from a till that has nothing new to send."""
        card = issued(central, 100_000)
        bench.tap(card)
        with bench.open() as till:
            till.sell(Rupiah(1_000))
            till.sync()
            central.database.close()
            for name in ("central.db", "central.db-wal", "central.db-shm"):
                if (tmp_path / name).exists():
                    shutil.copy(tmp_path / name, tmp_path / f"backup-{name}")
            till.sell(Rupiah(2_000))
            till.sync()
            if sells_again:
                till.sell(Rupiah(3_000))
            central.database.close()
            for name in ("central.db-wal", "central.db-shm"):
                (tmp_path / name).unlink(missing_ok=True)
            for kept in tmp_path.glob("backup-central.db*"):
                shutil.copy(kept, tmp_path / kept.name.removeprefix("backup-"))
            result = till.sync()
            assert (result.sent_count, result.resent_count) == (int(sells_again), 1)
            assert till.sync().resent_count == 0
        sold = 6_000 if sells_again else 3_000
        assert ledger_balance(central, card) == balance_of(card) == 100_000 - sold
        assert settled(central).owed_to_outlets == Rupiah(sold)

    def test_the_feed_blocks_and_unblocks_a_card(self, bench: Bench, central: Central) -> None:
        card = issued(central, 100_000)
        bench.tap(card)
        with bench.open() as till:
            set_blocked(central, card.uid, "hilang", blocked=True, by_terminal=office(central))
            assert till.sell(Rupiah(1_000)).sequence == 1
            assert till.sync().blocked_count == 1
            with pytest.raises(CardBlocked):
                till.sell(Rupiah(1_000))
            set_blocked(central, card.uid, "ditemukan", blocked=False, by_terminal=office(central))
            assert till.sync().blocked_count == 0
            assert till.sell(Rupiah(1_000)).sequence == 2

    def test_the_feed_hints_at_waiting_credits(self, bench: Bench, central: Central) -> None:
        card = issued(central, 100_000)
        order(central, card, 5_000)
        bench.tap(card)
        with bench.open() as till:
            assert not till.balance().has_credit_waiting
            till.sync()
            assert till.ledger.has_credit_waiting(card.uid)

    def test_a_blocked_till_is_told_so_and_keeps_its_vouchers(
        self, bench: Bench, central: Central
    ) -> None:
        bench.tap(issued(central, 100_000))
        with bench.open() as till:
            till.sell(Rupiah(1_000))
            set_terminal_status(central, till.identity.terminal_id, TerminalStatus.BLOCKED)
            with pytest.raises(ServerRefused) as refusal:
                till.sync()
            assert refusal.value.facts["problem"] == "CENTRAL-TERMINAL-BLOCKED"
            assert till.ledger.unsent().count == 1

    def test_a_till_restored_from_an_old_backup_does_not_fork_the_chain(
        self, bench: Bench, central: Central, tmp_path: Path
    ) -> None:
        card = issued(central, 100_000)
        bench.tap(card)
        with bench.open() as till:
            till.sell(Rupiah(1_000))
        backup = tmp_path / "backup.db"
        shutil.copy(bench.database, backup)
        with bench.open() as till:
            till.sell(Rupiah(2_000))
            till.sync()
        shutil.copy(backup, bench.database)
        with bench.open() as till:
            till.sell(Rupiah(3_000))
            with pytest.raises((ServerRefused, ForgedAcknowledgement)) as refusal:
                till.sync()
            assert till.ledger.unsent().count == 2
        if isinstance(refusal.value, ServerRefused):
            assert refusal.value.facts["problem"] == "CENTRAL-FORK"
        assert ledger_balance(central, card) == 97_000

    def test_an_acknowledgement_by_another_server_marks_nothing(
        self, bench: Bench, central: Central
    ) -> None:
        bench.tap(issued(central, 100_000))
        with bench.open() as till:
            till.sell(Rupiah(1_000))
        signing = KeyRing.generate(signing=["server", "card-issuer"]).signing
        stranger = replace(
            central, keys=KeyRing(masters=ring_in(central.keys).masters, signing=signing)
        )
        with serving(stranger) as url, bench.open(server=url) as till:
            with pytest.raises(WrongSignature):
                till.sync()
            assert till.ledger.unsent().count == 1

    def test_a_clock_that_stood_still_is_put_right_by_the_acknowledgement(
        self, bench: Bench, central: Central, bench_time: list[int]
    ) -> None:
        bench.tap(issued(central, 100_000))
        bench_time[0] += 7 * 24 * 3600
        with bench.open() as till:
            till.sell(Rupiah(1_000))
            till.sync()
            assert till.clock.read().behind_seconds == 7 * 24 * 3600
            assert till.clock.read().is_wrong
            till.sell(Rupiah(1_000))
        first, second = bench.chain()
        assert second.link.unix_seconds - first.link.unix_seconds == 7 * 24 * 3600

    def test_a_till_that_has_kept_a_time_to_come_goes_on_once_a_supervisor_resets_its_clock(
        self, bench: Bench, central: Central, bench_time: list[int]
    ) -> None:
        bench.tap(issued(central, 100_000))
        with closing(sqlite3.connect(bench.database)) as database, database:
            database.execute("UPDATE state SET sync_age_seconds_max = 1 << 32")
        wrong = bench_time[0] + 3 * 365 * 24 * 3600
        bench.time = wrong
        with bench.open() as till:
            till.sell(Rupiah(1_000))
        bench.time = bench_time[0] = bench_time[0] + 3600
        with bench.open() as till:
            till.sync()
            with pytest.raises(SyncTooOld):
                till.sell(Rupiah(1_000))
            with pytest.raises(BadDecision):
                till.reset_clock(supervisor="Ani", reason=" ")
            reset = till.reset_clock(supervisor="Ani", reason="jam salah")
            assert till.ledger.clock_resets() == (reset,)
            assert (reset.before_unix_seconds, reset.unix_seconds, reset.supervisor) == (
                wrong,
                bench_time[0],
                "Ani",
            )
            till.sell(Rupiah(1_000))
        with bench.open() as till:
            till.sell(Rupiah(1_000))
            till.sync()
            assert till.ledger.quarantined() == ()
        assert [one.link.unix_seconds for one in bench.chain()[1:]] == [bench_time[0]] * 2

    def test_a_till_that_heard_a_wrong_time_of_the_server_goes_on_once_both_are_right_again(
        self, bench: Bench, central: Central, bench_time: list[int]
    ) -> None:
        """The server's clock was forty days ahead for an hour."""
        bench.tap(issued(central, 100_000))
        right = bench_time[0]
        bench.time = bench_time[0] = right + 40 * 24 * 3600
        with bench.open() as till:
            till.sync()
        bench.time = bench_time[0] = right + 3600
        with bench.open() as till:
            with pytest.raises(ServerRefused):
                till.sync()
            reset = till.reset_clock(supervisor="Ani", reason="jam server salah")
            assert reset.unix_seconds == right + 3600
            assert till.clock.read().unix_seconds == right + 3600
            assert till.ledger.sync_state().synced_unix_seconds == right + 3600
            with (
                closing(sqlite3.connect(bench.database)) as database,
                pytest.raises(sqlite3.IntegrityError, match="only goes forward"),
            ):
                database.execute("UPDATE state SET server_unix_seconds = 1")
            till.sell(Rupiah(1_000))
            till.sync()
        assert bench.chain()[-1].link.unix_seconds == right + 3600

    def test_no_reset_believes_a_feed_that_is_not_of_now(
        self, bench: Bench, central: Central, bench_time: list[int]
    ) -> None:
        """One that somebody on the line kept, say: the machine's clock is right, and tells."""
        right = bench_time[0]
        bench.time = bench_time[0] = right + 40 * 24 * 3600
        with bench.open() as till:
            till.sync()
            state = till.ledger.sync_state()
        bench_time[0] = right + 3600
        settled_since = (1, state.synced_unix_seconds)
        old = make_feed(central, state.feed_version, settled_since, head_of=1)
        bench.time = bench_time[0] = right + 7200
        with bench.open() as till, pytest.MonkeyPatch.context() as patch:
            patch.setattr(app, "make_feed", lambda *_: old)
            with pytest.raises(StaleFeed):
                till.reset_clock(supervisor="Ani", reason="jam salah")
            assert till.ledger.clock_resets() == ()

    def test_a_clock_is_not_reset_without_the_servers_word(
        self, bench: Bench, bench_time: list[int]
    ) -> None:
        with bench.open(server="http://127.0.0.1:1") as till:
            with pytest.raises(ServerUnreachable):
                till.reset_clock(supervisor="Ani", reason="jam salah")
            assert till.ledger.clock_resets() == ()
        bench.time = bench_time[0] + 4_000_000_000
        with bench.open() as till:
            with pytest.raises(ServerRefused):
                till.reset_clock(supervisor="Ani", reason="jam salah")
            assert till.ledger.clock_resets() == ()


class TestDoubtsSettledByTheServer:
    """The card was pulled away and never came back here; its next sale elsewhere tells."""

    @pytest.mark.parametrize("moment", Moment)
    def test_from_the_cards_next_sale_at_another_till(
        self, bench: Bench, central: Central, tmp_path: Path, moment: Moment
    ) -> None:
        card = issued(central, 100_000)
        other = Bench(tmp_path, terminal_id=99, server=bench.server, time=bench.time)
        enrol_till(
            database=other.database,
            signing=other.signing,
            server=bench.server,
            invitation=till_invitation(central, "Kasir 2"),
            patience=QUICK,
            system_time=lambda: other.time,
        )
        other.start_shift()
        with bench.open() as till:
            bench.tap(card, at_command(COMMIT, moment))
            with pytest.raises(SaleInDoubt):
                till.sell(Rupiah(12_500))
            till.sync()
        assert circulation(central).doubts_open == 1
        with other.open() as till:
            other.tap(card)
            till.sell(Rupiah(1_000))
            till.sync()
        now = settled(central)
        assert now.doubts_open == 0
        assert ledger_balance(central, card) == balance_of(card)
        assert now.owed_to_outlets == Rupiah(100_000 - balance_of(card))

    @pytest.mark.parametrize("moment", Moment)
    def test_from_the_tills_own_resolution(
        self, bench: Bench, central: Central, moment: Moment
    ) -> None:
        card = issued(central, 100_000)
        with bench.open() as till:
            bench.tap(card, at_command(COMMIT, moment))
            with pytest.raises(SaleInDoubt):
                till.sell(Rupiah(12_500))
            till.sync()
            bench.tap(card)
            till.sell(Rupiah(12_500))
            till.sync()
        now = settled(central)
        assert now.doubts_open == 0
        assert ledger_balance(central, card) == balance_of(card) == 87_500
        assert now.owed_to_outlets == Rupiah(12_500)


class TestOutlet:
    """Catalogue, staff, orders and members come with the feed; records of the work go up."""

    @pytest.fixture
    def told(self, central: Central, bench: Bench) -> SimulatedCard:
        """An outlet that the office has said everything of; a member's card."""
        card = issued(central, 100_000)
        database, now = central.database, central.unix_seconds()
        import_catalogue(database, parse_catalogue(STOCK), SELLER)
        add_till_staff(database, SELLER, 11, "Siti", Duty.SUPERVISOR, now=now)
        import_orders(database, parse_orders(ORDERS), SELLER, now)
        told = Told(line=2, member=4711, member_class="karyawan", jpeg=JPEG)
        import_notes(database, [told], now)
        with bench.open() as till:
            till.sync()
        return card

    def test_one_sync_brings_all_of_it_and_the_next_nothing(
        self, told: SimulatedCard, bench: Bench
    ) -> None:
        assert told is not None
        with bench.open() as till:
            held = till.ledger.held()
            assert min(held.catalogue, held.staff, held.orders, held.members) > 0
            assert [item.code for item in search(till.ledger, "")] == ["BRS5"]
            assert [person.name for person in staff_members(till.ledger)] == ["Siti"]
            assert [one.order.number for one in open_orders(till.ledger)] == [501]
            note = member_note(till.ledger, 4711)
            assert note.member_class == "karyawan"
            assert note.photo is not None, "the picture is here: the member has an order"
            again = till.sync()
            assert again.photos_count == 0
            assert till.ledger.held() == held

    def test_what_was_done_with_orders_and_shifts_is_reported_once(
        self, told: SimulatedCard, bench: Bench, central: Central
    ) -> None:
        bench.tap(told)
        with bench.open() as till:
            purchase = Purchase(Rupiah(12_500))
            till.bind_sale("a", purchase, order=501)
            till.sell(purchase.amount, request="a")
            hand_over(till.ledger, 501, by="Siti", now=till.clock.now())
            till.close_shift(Rupiah(0))
            result = till.sync()
            assert (result.records_sent_count, result.records_problem) == (3, None)
            assert unsent_records_count(till.ledger) == 0
            assert open_orders(till.ledger) == ()
            assert till.sync().records_sent_count == 0
        (listed,) = order_list(central.database, SELLER)
        assert [step.state for step in listed.steps] == [OrderState.PAID, OrderState.HANDED_OVER]
        (shift,) = shift_list(central.database, seller=SELLER)
        assert (shift.record.number, shift.record.sales_total) == (1, Rupiah(12_500))

    def test_records_that_a_restored_server_lost_are_sent_again(
        self, told: SimulatedCard, bench: Bench, central: Central
    ) -> None:
        assert told is not None
        with bench.open() as till:
            siti = Cashier("Siti", 11)
            for _ in range(2):
                till.close_shift(Rupiah(0))
                till.open_shift(siti)
            record_taken(till.ledger, 2)  # by the server, as it was before it was restored
            till.close_shift(Rupiah(0))
            assert till.sync().records_sent_count == 3
        assert len(shift_list(central.database)) == 3

    def test_a_server_that_refuses_records_does_not_keep_the_feed_back(
        self, told: SimulatedCard, bench: Bench, central: Central
    ) -> None:
        """The office looks into it; limits and block list must not grow old meanwhile."""
        with bench.open() as till:
            till.close_shift(Rupiah(0))
            other = OrderRecord(
                order=1, state=OrderState.CANCELLED, sale=None, short=(), by="x", unix_seconds=1
            )
            with central.database.write() as connection:
                connection.execute(
                    till_records.insert().values(
                        terminal_id=till.identity.terminal_id,
                        number=1,
                        kind="order",
                        encoded=encode_record(other),
                        received_at=1,
                    )
                )
            set_blocked(central, told.uid, "hilang", blocked=True, by_terminal=None)
            result = till.sync()
            assert result.records_problem is not None
            assert till.ledger.is_blocked(told.uid)
            assert unsent_records_count(till.ledger) == 1


class TestEnrol:
    def test_a_till_is_enrolled_once(self, bench: Bench, central: Central) -> None:
        with pytest.raises(AlreadyEnrolled):
            enrol_till(
                database=bench.database,
                signing=bench.signing,
                server=bench.server,
                invitation=till_invitation(central),
                patience=QUICK,
            )

    def test_an_interrupted_enrolment_is_repeated_with_the_same_invitation(
        self, bench: Bench, central: Central, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        new = Bench(tmp_path, terminal_id=50, server=bench.server)
        invitation = till_invitation(central)

        def enrol() -> int:
            return enrol_till(
                database=new.database,
                signing=new.signing,
                server=new.server,
                invitation=invitation,
                patience=QUICK,
            ).terminal_id

        with monkeypatch.context() as patch:
            patch.setattr(Ledger, "store_identity", _lose)
            with pytest.raises(ConnectionError):
                enrol()
        with pytest.raises(NotEnrolled), new.open():
            pass
        assert enrol() > 0

    def test_an_invitation_works_for_one_key_only(
        self, bench: Bench, central: Central, tmp_path: Path
    ) -> None:
        invitation = till_invitation(central)

        def enrol(number: int) -> None:
            new = Bench(tmp_path, terminal_id=number, server=bench.server)
            enrol_till(
                database=new.database,
                signing=new.signing,
                server=new.server,
                invitation=invitation,
                patience=QUICK,
            )

        enrol(51)
        with pytest.raises(ServerRefused, match="CENTRAL-INVITATION-USED"):
            enrol(52)


def test_the_resume_point_of_a_lying_server_is_not_followed_for_ever(
    bench: Bench, central: Central, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that asks to go back again and again is refused at the second time."""
    bench.tap(issued(central, 100_000))
    calls = []

    def always_back(*_: object) -> None:
        calls.append(1)
        raise ServerRefused(problem="X", detail="x", advice="x", members={"send_from": 1})

    with bench.open() as till:
        for _ in range(3):
            till.sell(Rupiah(100))
        till.sync()
        till.sell(Rupiah(100))
        monkeypatch.setattr(SyncClient, "upload", always_back)
        with pytest.raises(ServerRefused):
            till.sync()
    assert len(calls) == 2


def _lose(*_: object) -> None:
    raise ConnectionError
