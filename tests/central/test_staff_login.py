"""Staff log in at stations: passwords, locks, sessions, and what is written down of it."""

from __future__ import annotations

import dataclasses

import pytest
from sqlalchemy import select, text

from dobmi.central.acts import Act, Actor, list_acts
from dobmi.central.database import open_database
from dobmi.central.errors import (
    NotOfStaff,
    PasswordLocked,
    PasswordNotAllowed,
    RoleLacking,
    StaffNeeded,
    StaffSessionOver,
    WrongPassword,
)
from dobmi.central.schema import StaffRole, metadata, staff_failures, staff_sessions
from dobmi.central.server import Central
from dobmi.central.staff import remove_staff
from dobmi.central.staff_login import (
    IDLE_SECONDS,
    SESSION_SECONDS,
    acting,
    log_in,
    log_out,
    set_password,
)
from support.central_client import Office
from support.staffed import PASSWORD, asked, code_of, employ, session_of
from support.traffic import START, World

ISSUER = (StaffRole.ISSUER,)


@pytest.fixture
def clock() -> list[int]:
    return [START]


@pytest.fixture
def central(world: World, clock: list[int]) -> Central:
    world.central = dataclasses.replace(world.central, unix_seconds=lambda: clock[0])
    return world.central


def fail(central: Central, name: str, times: int, station: int | None = None) -> list[int]:
    """How many tries were left after each wrong one, 0 where it locks."""
    left = []
    for _ in range(times):
        try:
            log_in(central, name, "bukan kata sandi", station)
        except WrongPassword as error:
            left.append(error.facts["left"])
        except PasswordLocked:
            left.append(0)
    return left  # type: ignore[return-value] # the facts are what was given


def test_while_nobody_has_a_password_a_station_acts_under_its_own_name(
    office: Office, central: Central
) -> None:
    station, card = office.world.station(), office.world.card(4711)
    employ(central, "Ani", StaffRole.ISSUER, password=False)
    order = {"card_uid": card.uid.hex(), "amount_rupiah": 5_000, "source": "cash",
             "idempotency_key": "pesanan-1"}  # fmt: skip
    assert asked(office, station, "POST", "/v1/credits", order).status_code == 201
    done = list_acts(central.database, act=Act.CREDIT)[0]
    assert (done.person, done.station, done.subject) == ("", station.terminal_id, "card 1")
    assert done.amount.amount == 5_000


def test_from_the_first_password_on_somebody_must_be_logged_in_and_is_named(
    office: Office, central: Central
) -> None:
    station, card = office.world.station(), office.world.card(4711)
    employ(central, "Ani", StaffRole.ISSUER)
    order = {"card_uid": card.uid.hex(), "amount_rupiah": 5_000, "source": "cash",
             "idempotency_key": "pesanan-1"}  # fmt: skip
    refused = asked(office, station, "POST", "/v1/credits", order)
    assert code_of(refused) == (401, "CENTRAL-STAFF-NEEDED")
    answer = asked(
        office, station, "POST", "/v1/staff/sessions", {"name": "  aNI ", "password": PASSWORD}
    )
    assert answer.status_code == 201, answer.text
    session = answer.json()
    assert (session["name"], session["roles"]) == ("Ani", ["issuer"])
    assert session["expires_unix_seconds"] == START + SESSION_SECONDS
    token = session["token"]
    assert asked(office, station, "POST", "/v1/credits", order, token=token).status_code == 201
    assert list_acts(central.database, act=Act.CREDIT)[0].person == "Ani"
    ended = asked(office, station, "DELETE", "/v1/staff/sessions", token=token)
    assert ended.json() == {"logged_out": True}
    again = asked(office, station, "POST", "/v1/credits", order, token=token)
    assert code_of(again) == (401, "CENTRAL-STAFF-SESSION")
    kinds = [one.act for one in list_acts(central.database)]
    assert kinds == ["log-out", "credit", "log-in", "password", "staff-added"]


def test_a_session_is_good_at_its_own_station_alone(office: Office, central: Central) -> None:
    employ(central, "Ani", StaffRole.ISSUER)
    here, there = office.world.station(), office.world.station()
    token = session_of(central, "Ani", here.terminal_id)
    assert acting(central, token, here.terminal_id, ISSUER) == Actor("Ani", here.terminal_id)
    for elsewhere in (there.terminal_id, None):
        with pytest.raises(StaffSessionOver):
            acting(central, token, elsewhere, ISSUER)


def test_a_till_has_no_log_in(office: Office, central: Central) -> None:
    employ(central, "Ani", StaffRole.ISSUER)
    till = office.world.till()
    answer = asked(
        office, till, "POST", "/v1/staff/sessions", {"name": "Ani", "password": PASSWORD}
    )
    assert code_of(answer) == (403, "CENTRAL-ROLE")


def test_five_wrong_passwords_lock_a_name_for_longer_and_longer(
    central: Central, clock: list[int]
) -> None:
    employ(central, "Ani", StaffRole.ISSUER)
    for minutes in (5, 15, 60, 60):
        assert fail(central, "Ani", 5) == [4, 3, 2, 1, 0]
        with pytest.raises(PasswordLocked):
            log_in(central, "Ani", PASSWORD, None)
        clock[0] += minutes * 60 - 1
        with pytest.raises(PasswordLocked):
            log_in(central, "Ani", PASSWORD, None)
        clock[0] += 1
    assert log_in(central, "Ani", PASSWORD, None).name == "Ani"
    assert fail(central, "Ani", 1) == [4]
    assert len(list_acts(central.database, act=Act.LOCKED_OUT)) == 4


def test_a_lock_outlives_the_program_and_a_wrong_try_is_counted_before_it_is_looked_at(
    world: World, central: Central
) -> None:
    employ(central, "Ani", StaffRole.ISSUER)
    fail(central, "Ani", 5)
    again = open_database(world.url)
    try:
        other = dataclasses.replace(central, database=again)
        with pytest.raises(PasswordLocked):
            log_in(other, "Ani", PASSWORD, None)
    finally:
        again.close()


def test_a_name_is_locked_where_it_was_tried_and_not_elsewhere(
    world: World, central: Central
) -> None:
    employ(central, "Ani", StaffRole.ISSUER)
    station = world.station().terminal_id
    fail(central, "Ani", 5, None)
    assert log_in(central, "Ani", PASSWORD, station).name == "Ani"


def test_nobody_learns_from_a_wrong_try_whether_a_name_is_known(central: Central) -> None:
    employ(central, "Ani", StaffRole.ISSUER)
    assert fail(central, "Nobody", 6) == [*fail(central, "Ani", 6)] == [4, 3, 2, 1, 0, 0]


def test_names_that_strangers_make_up_fill_nothing(
    central: Central, monkeypatch: pytest.MonkeyPatch, clock: list[int]
) -> None:
    monkeypatch.setattr("dobmi.central.staff_login._FAILURES_KEPT_MAX", 3)
    monkeypatch.setattr("dobmi.central.staff_login._scrypt", lambda *_: b"")
    employ(central, "Ani", StaffRole.ISSUER, password=False)
    for number in range(6):
        fail(central, f"Orang {number}", 1)
    assert fail(central, "Ani", 2) == [4, 3]
    with central.database.read() as connection:
        assert len(connection.execute(select(staff_failures)).all()) == 4
    clock[0] += 24 * 3600 + 1
    assert fail(central, "Ani", 1) == [4]
    with central.database.read() as connection:
        assert len(connection.execute(select(staff_failures)).all()) == 1


@pytest.mark.parametrize(
    "password", ["pendek", "Ani Ani Ani", "a" * 12, "xxANI yyyyyyy", "1" * 201]
)
def test_a_password_is_long_and_does_not_hold_the_name(central: Central, password: str) -> None:
    employ(central, "Ani", StaffRole.ISSUER, password=False)
    with pytest.raises(PasswordNotAllowed):
        set_password(central.database, "Ani", password, START)


def test_a_password_is_for_who_has_a_role(central: Central) -> None:
    with pytest.raises(NotOfStaff):
        set_password(central.database, "Nobody", PASSWORD, START)


def test_a_session_ends_when_it_is_idle_and_when_it_is_old(
    central: Central, clock: list[int]
) -> None:
    employ(central, "Ani", StaffRole.ISSUER)
    token = session_of(central, "Ani", None)
    for _ in range(15):
        clock[0] += IDLE_SECONDS - 1
        assert acting(central, token, None).name == "Ani"
    clock[0] = START + SESSION_SECONDS
    with pytest.raises(StaffSessionOver):
        acting(central, token, None)
    token = session_of(central, "Ani", None)
    clock[0] += IDLE_SECONDS
    with pytest.raises(StaffSessionOver):
        acting(central, token, None)


def test_another_password_and_the_loss_of_all_roles_end_every_session(central: Central) -> None:
    employ(central, "Ani", StaffRole.ISSUER)
    first = session_of(central, "Ani", None)
    set_password(central.database, "Ani", PASSWORD + "!", START)
    second = session_of(central, "Ani", None)
    remove_staff(central.database, "Ani", START)
    for token in (first, second):
        with pytest.raises(StaffSessionOver):
            acting(central, token, None)
    with pytest.raises(WrongPassword):
        log_in(central, "Ani", PASSWORD + "!", None)
    with pytest.raises(StaffNeeded):  # and stations do not act freely again
        acting(central, None, None)


def test_who_lacks_the_role_is_told_which_it_needs(central: Central) -> None:
    employ(central, "Ani", StaffRole.CLERK)
    token = session_of(central, "Ani", None)
    with pytest.raises(RoleLacking) as refused:
        acting(central, token, None, ISSUER)
    assert refused.value.facts == {"name": "Ani", "role": "issuer"}


@pytest.mark.parametrize("token", ["x" * 43, "é" * 20, "x" * 5000, "\udce9"])
def test_what_is_no_token_is_refused(central: Central, token: str) -> None:
    employ(central, "Ani", StaffRole.ISSUER)
    with pytest.raises(StaffSessionOver):
        acting(central, token, None)


def test_logging_out_again_is_harmless(central: Central) -> None:
    employ(central, "Ani", StaffRole.ISSUER)
    token = session_of(central, "Ani", None)
    for _ in range(2):
        log_out(central, token)
    log_out(central, None)
    assert len(list_acts(central.database, act=Act.LOG_OUT)) == 1


def test_neither_password_nor_token_is_kept_anywhere(central: Central) -> None:
    employ(central, "Ani", StaffRole.ISSUER)
    session = log_in(central, "Ani", PASSWORD, None)
    fail(central, "Ani", 1)
    assert session.token not in repr(session)
    with central.database.read() as connection:
        kept = "\n".join(
            str([bytes(value) if isinstance(value, memoryview) else value for value in row])
            for table in metadata.sorted_tables
            for row in connection.execute(text(f"SELECT * FROM {table.name}"))  # noqa: S608 - ours
        )
        assert connection.execute(select(staff_sessions.c.name)).scalars().all() == ["Ani"]
    assert "Ani" in kept
    assert PASSWORD not in kept
    assert session.token not in kept
