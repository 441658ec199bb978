"""What has had its time goes; what came in, and why it was refused, stays known."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select, update

from dobmi.central import pruning
from dobmi.central.pruning import Pruned, prune
from dobmi.central.rejected import keep_of
from dobmi.central.schema import Role, counters, invitations, rejected_batches, request_nonces
from dobmi.central.server import Central
from dobmi.central.terminals import invite
from support.central_client import Office
from support.traffic import START

DAY = 24 * 3600


def rows(central: Central) -> tuple[int, int]:
    with central.database.read() as connection:
        counts = [
            connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (request_nonces, invitations)
        ]
    return counts[0], counts[1]


def test_requests_and_invitations_that_nobody_can_use_any_more_go(office: Office) -> None:
    central = office.world.central
    station, card = office.world.station(), office.world.card(4711)
    office.signed(station, "POST", f"/v1/cards/{card.uid.hex()}/block", {"reason": "hilang"})
    invite(central, Role.TILL, "Kasir 1", "Toko BMI")
    assert rows(central) == (1, 2)
    assert prune(central, START + 600) == Pruned(0, 0, 0)
    assert prune(central, START + 601) == Pruned(1, 0, 0)
    assert prune(central, START + 31 * DAY + 1) == Pruned(0, 1, 0)
    assert rows(central) == (0, 1)  # the station's, which it used


def test_refused_contents_go_after_their_days_and_make_room(office: Office) -> None:
    central = office.world.central
    till = office.world.till()
    till.vouchers += [b"no voucher"]
    sent = [b"rubbish", till.batch()]
    for batch in sent:
        assert office.upload(batch).status_code >= 400
    days = central.settings.keep_rejected_days
    assert prune(central, START + days * DAY).rejected_contents == 0
    kept = office.rejected()
    assert prune(central, START + days * DAY + 1).rejected_contents == len(sent)
    assert prune(central, START + days * DAY + 1).rejected_contents == 0
    assert [code for code, _ in office.rejected()] == [code for code, _ in kept]
    with central.database.read() as connection:
        assert (
            connection.execute(
                select(rejected_batches.c.content).where(rejected_batches.c.content.is_not(None))
            ).all()
            == []
        )
        held = connection.execute(
            select(counters.c.value).where(counters.c.name.like("rejected-bytes:%"))
        ).scalars()
        assert set(held) == {0}


def test_two_that_prune_at_once_make_room_once(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    central = office.world.central
    till = office.world.till()
    till.vouchers += [b"no voucher"]
    later = START + (central.settings.keep_rejected_days + 1) * DAY
    sent = [b"rubbish", till.batch()]
    for batch in sent:
        assert office.upload(batch).status_code >= 400
    with central.database.write() as connection:
        # As if as much again were kept that is not old yet.
        twice = update(counters).where(counters.c.name.like("rejected-bytes:%"))
        connection.execute(twice.values(value=2 * counters.c.value))
    left = [True]

    def meanwhile(of: Central, content: bytes) -> str:
        if left.pop() if left else False:
            prune(of, later)
        return keep_of(of, content)

    monkeypatch.setattr(pruning, "keep_of", meanwhile)
    prune(central, later)
    with central.database.read() as connection:
        held = connection.execute(
            select(counters.c.value).where(counters.c.name.like("rejected-bytes:%"))
        ).scalars()
        assert sorted(held) == sorted(map(len, sent))
