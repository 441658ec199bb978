"""What the office is shown of a disputed sale, of tills that keep sales, and of their clocks."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import pytest
from click.testing import CliRunner

from dobmi.central.circulation import clocks_behind, unreported_sales
from dobmi.central.dispute import dispute
from dobmi.central.errors import NotASale, UnknownVoucher
from dobmi.cli.central import command
from dobmi.cli.context import Context
from dobmi.money import Rupiah
from dobmi.settings import CentralSettings, Settings
from dobmi.sync.voucher import Outcome, SaleVoucher
from support.central_client import Office
from support.traffic import START, ModelCard, ModelTill


@pytest.fixture
def till(office: Office) -> ModelTill:
    return office.world.till()


@pytest.fixture
def card(office: Office) -> ModelCard:
    card = office.world.card(4711)
    office.world.top_up(office.world.station(), card, Rupiah(100_000))
    return card


def sell_at(till: ModelTill, card: ModelCard, unix_seconds: int) -> None:
    staged = card.stage_sale(till.next_reader_id, Rupiah(1_000), unix_seconds)
    counter, mac = card.commit(staged)
    intent = till.intent(card.uid, staged.evidence, Rupiah(1_000))
    link = till.link(unix_seconds)
    till.append(SaleVoucher(link=link, intent=intent, card_counter=counter, card_mac=mac))


def test_a_sale_is_proved_from_the_kept_bytes(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    for amount in (1_000, 2_000, 3_000):
        till.sell(card, Rupiah(amount))
    office.acknowledged(till.batch())
    shown = dispute(office.world.central, till.terminal_id, 2)
    assert shown.is_proved
    assert shown.is_named_by_next
    assert (shown.balance_before, shown.amount, shown.balance_after) == (
        Rupiah(99_000),
        Rupiah(2_000),
        Rupiah(97_000),
    )
    assert shown.holder is not None
    assert (shown.holder.member_number, shown.holder.name) == (4711, "Anggota 4711")
    assert shown.before is not None
    assert shown.after is not None
    assert (shown.before.counter, shown.counter, shown.after.counter) == (2, 3, 4)
    assert shown.before.fits


def test_a_doubt_is_proved_by_the_mac_that_came_later(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    counter, mac = till.doubt(card, Rupiah(5_000), committed=True)
    office.acknowledged(till.batch())
    shown = dispute(office.world.central, till.terminal_id, 1)
    assert not shown.is_proved
    assert (shown.in_doubt, shown.outcome, shown.counter) == (True, "open", None)
    till.resolve(card, 1, Outcome.PAID, counter, mac)
    office.acknowledged(till.batch())
    shown = dispute(office.world.central, till.terminal_id, 1)
    assert shown.is_proved
    assert (shown.outcome, shown.counter) == ("paid", counter)


def test_a_doubt_that_the_next_sale_settled_has_no_mac_but_is_named(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    till.doubt(card, Rupiah(5_000), committed=True)
    till.sell(card, Rupiah(1_000))
    office.acknowledged(till.batch())
    shown = dispute(office.world.central, till.terminal_id, 1)
    assert not shown.is_proved
    assert shown.is_named_by_next
    assert shown.outcome == "paid"


def test_a_claim_that_differs_is_not_proved(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    staged = card.stage_sale(till.next_reader_id, Rupiah(5_000))
    counter, mac = card.commit(staged)
    till.append_sale(card, staged, counter, mac, claimed=Rupiah(9_000))
    office.acknowledged(till.batch())
    shown = dispute(office.world.central, till.terminal_id, 1)
    assert shown.card_mac_verified
    assert not shown.is_proved
    assert (shown.amount, shown.amount_claimed) == (Rupiah(5_000), Rupiah(9_000))
    assert shown.reason == "claim-differs"


def test_a_mac_of_another_transaction_is_not_proof(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    staged = card.stage_sale(till.next_reader_id, Rupiah(5_000))
    counter, mac = card.commit(staged)
    till.append_sale(card, staged, counter + 1, mac)
    office.acknowledged(till.batch())
    shown = dispute(office.world.central, till.terminal_id, 1)
    assert not shown.card_mac_verified
    assert not shown.is_proved


def test_a_holder_that_the_issuer_did_not_sign_is_not_proof(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    content = card.holder_content
    forged = replace(card, holder_content=content[:-1] + bytes((content[-1] ^ 1,)))
    till.sell(forged, Rupiah(1_000))
    office.acknowledged(till.batch())
    shown = dispute(office.world.central, till.terminal_id, 1)
    assert shown.holder is None
    assert not shown.is_proved


def test_what_is_no_sale_cannot_be_disputed(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    till.void(card, Rupiah(1_000))
    office.acknowledged(till.batch())
    with pytest.raises(NotASale):
        dispute(office.world.central, till.terminal_id, 1)
    with pytest.raises(UnknownVoucher):
        dispute(office.world.central, till.terminal_id, 2)


def test_sales_that_a_till_keeps_are_named_by_the_cards(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    other = office.world.till("Toko Dua")
    assert unreported_sales(office.world.central) == []
    till.sell(card, Rupiah(3_000))
    other.sell(card, Rupiah(1_000))
    till.sell(card, Rupiah(4_000))
    till.sell(card, Rupiah(5_000))
    other.sell(card, Rupiah(1_000))
    office.acknowledged(other.batch())
    found = unreported_sales(office.world.central)
    assert [(sale.sequence, sale.amount) for sale in found] == [(1, Rupiah(3_000)), (3, None)]
    assert {sale.terminal_id for sale in found} == {till.terminal_id}
    office.acknowledged(till.batch())
    assert unreported_sales(office.world.central) == []


def test_a_sale_that_only_a_sale_in_doubt_names_is_listed_too(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    doubtful, other = office.world.till("Toko Dua"), office.world.till("Toko Tiga")
    till.sell(card, Rupiah(1_000))
    doubtful.doubt(card, Rupiah(2_500), committed=True)
    other.sell(card, Rupiah(1_000))
    for sender in (doubtful, other):
        office.acknowledged(sender.batch())
    found = unreported_sales(office.world.central)
    assert [(sale.terminal_id, sale.sequence, sale.amount) for sale in found] == [
        (till.terminal_id, 1, None)
    ]
    office.acknowledged(till.batch())
    assert unreported_sales(office.world.central) == []


def test_a_sale_that_only_a_doubt_settled_without_the_card_names_is_listed_too(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    """Its evidence still keeps the gap open: the till's word says nothing of the sale before."""
    doubtful, other = office.world.till("Toko Dua"), office.world.till("Toko Tiga")
    till.sell(card, Rupiah(1_000))
    doubtful.doubt(card, Rupiah(2_500), committed=False)
    till.sell(card, Rupiah(1_500))
    till.sell(card, Rupiah(500))
    doubtful.resolve(card, 1, Outcome.NOT_PAID)
    other.sell(card, Rupiah(1_000))
    for sender in (doubtful, other):
        office.acknowledged(sender.batch())
    found = unreported_sales(office.world.central)
    assert {(sale.terminal_id, sale.sequence) for sale in found} == {
        (till.terminal_id, 1),
        (till.terminal_id, 3),
    }
    office.acknowledged(till.batch())
    assert unreported_sales(office.world.central) == []


def test_a_clock_an_hour_behind_is_seen_by_the_cards_order(
    office: Office, till: ModelTill, card: ModelCard
) -> None:
    sell_at(till, card, START - 3_599)
    office.acknowledged(till.batch())
    assert clocks_behind(office.world.central) == []
    other = office.world.till("Toko Dua")
    sell_at(other, card, START - 10_000)
    office.acknowledged(other.batch())
    (found,) = clocks_behind(office.world.central)
    assert (found.terminal_id, found.after_terminal_id) == (other.terminal_id, till.terminal_id)
    assert found.behind_seconds == 6_401


def test_the_office_reads_it_in_words(
    office: Office, till: ModelTill, card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    till.sell(card, Rupiah(1_000))
    till.sell(card, Rupiah(2_000))
    office.acknowledged(till.batch())
    sell_at(till, card, START - 10_000)
    other = office.world.till("Toko Dua")
    other.sell(card, Rupiah(500))
    office.acknowledged(other.batch())
    monkeypatch.setattr(
        "dobmi.cli.central._looking", lambda _context: nullcontext(office.world.central)
    )
    context = Context(Settings(central=CentralSettings(), language="en"), "en", str)

    def run(*arguments: str) -> str:
        done = CliRunner(env={"COLUMNS": "200"}).invoke(command, arguments, obj=context)
        assert done.exit_code == 0, done.output
        return done.output

    words = run("dispute", str(till.terminal_id), "1")
    assert "Anggota 4711" in words
    assert "held Rp 100.000, paid Rp 1.000, and held Rp 99.000" in words
    assert "there the card names this sale" in words
    assert "PROVED: this card made this sale" in words
    assert "NOT PROVED" not in words
    assert f"{till.terminal_id}/3" in run("unreported")
    office.acknowledged(till.batch())
    assert f"{till.terminal_id}/3" in run("clocks")
