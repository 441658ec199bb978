"""What a seller is: an outlet of the cooperative, or a partner merchant."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import select

from dobmi.central.booking import booking_time
from dobmi.central.circulation import circulation
from dobmi.central.errors import BadParameters, SellerHasSold
from dobmi.central.ingest import take_batch
from dobmi.central.schema import SellerKind, sellers
from dobmi.central.sellers import add_seller, seller_list
from dobmi.money import ZERO, Rupiah
from support.settling import Payday
from support.traffic import START, World

WARUNG = "Warung Ibu"


def kind_of(world: World, name: str) -> str:
    with world.central.database.read() as connection:
        return str(
            connection.execute(select(sellers.c.kind).where(sellers.c.name == name)).scalar_one()
        )


def test_a_partner_that_was_registered_is_owed_as_a_merchant_and_paid_as_one(world: World) -> None:
    payday = Payday(world)
    add_seller(payday.database, WARUNG, SellerKind.MERCHANT)
    payday.seller(WARUNG)
    payday.sell(WARUNG, 7_000)
    owed = circulation(world.central)
    assert (owed.owed_to_merchants, owed.owed_to_outlets) == (Rupiah(7_000), ZERO)
    payday.next_day()
    payday.pay()
    paid = circulation(world.central)
    assert (paid.owed_to_merchants, paid.redeemed) == (ZERO, Rupiah(7_000))


def test_what_it_is_can_be_corrected_until_it_has_sold(world: World) -> None:
    till, card = world.till(WARUNG), world.card(4711)
    world.top_up(world.station(), card, Rupiah(100_000))
    database = world.central.database
    assert kind_of(world, WARUNG) == "outlet"
    found = add_seller(database, WARUNG, SellerKind.MERCHANT)
    assert (found.kind, found.tills) == (SellerKind.MERCHANT, 1)
    assert add_seller(database, WARUNG, SellerKind.OUTLET).kind is SellerKind.OUTLET
    till.sell(card, Rupiah(1_000))
    take_batch(world.central, till.batch())
    assert add_seller(database, WARUNG, SellerKind.OUTLET).kind is SellerKind.OUTLET
    with pytest.raises(SellerHasSold):
        add_seller(database, WARUNG, SellerKind.MERCHANT)
    assert kind_of(world, WARUNG) == "outlet"


def test_a_change_waits_for_whoever_posts_and_finds_what_he_posted(world: World) -> None:
    """Who posts has read the kind before, and writes after: the two are never interleaved."""
    till, card = world.till(WARUNG), world.card(4711)
    world.top_up(world.station(), card, Rupiah(100_000))
    till.sell(card, Rupiah(1_000))
    refused: list[bool] = []

    def change() -> None:
        try:
            add_seller(world.central.database, WARUNG, SellerKind.MERCHANT)
        except SellerHasSold:
            refused.append(True)

    thread = threading.Thread(target=change)
    with world.central.database.write() as posting:
        booking_time(posting, START)
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()
        if posting.dialect.name == "postgresql":  # SQLite's other writers wait themselves
            take_batch(world.central, till.batch())
    thread.join(20)
    if not refused:
        assert kind_of(world, WARUNG) == "merchant"
        take_batch(world.central, till.batch())
        assert circulation(world.central).owed_to_outlets == ZERO
    else:
        assert circulation(world.central).owed_to_outlets == Rupiah(1_000)


def test_a_seller_has_a_name_and_stands_once_in_the_list(world: World) -> None:
    for _ in range(2):
        add_seller(world.central.database, WARUNG, SellerKind.MERCHANT)
    assert [(one.name, one.tills) for one in seller_list(world.central.database)] == [(WARUNG, 0)]
    for bad in ("", "a\nb", "x" * 81):
        with pytest.raises(BadParameters):
            add_seller(world.central.database, bad, SellerKind.OUTLET)
