"""What those who keep the server look at: ready or not, metrics, and a log that names nobody."""

from __future__ import annotations

import io
import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn
from urllib.request import urlopen

import pytest
from httpx2 import Response
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from dobmi.central.app import create_app
from dobmi.central.database import open_database
from dobmi.central.errors import DatabaseFailed
from dobmi.central.ingest import take_batch
from dobmi.central.logs import JsonLines, PlainLines
from dobmi.central.periodic import Job, run_due
from dobmi.central.scrape import Metrics
from dobmi.central.server import Central
from dobmi.central.serving import ServerState
from dobmi.money import Rupiah
from dobmi.sync.http import card_session_path
from support.central_client import RING, SETTINGS, Office
from support.databases import Kind, new_database
from support.traffic import START, World

HERE = ("127.0.0.1", 50_000)


def _post_nonsense(client: TestClient) -> Response:
    headers = {"content-type": "application/cbor"}
    return client.post("/v1/batches", content=b"x", headers=headers)


@pytest.mark.usefixtures("database_kind")
def test_while_all_connections_are_in_use_it_is_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dobmi.central.database.CONNECTION_WAIT_SECONDS", 0.1)
    database = open_database(new_database(tmp_path))
    with TestClient(create_app(Central(database, RING, SETTINGS))) as client:
        with ExitStack() as stack:
            for _ in range(15):  # SQLAlchemy's pool
                stack.enter_context(database.engine.connect())
            answer = _post_nonsense(client)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            assert answer.json()["code"] == "CENTRAL-BUSY"
            assert client.get("/readyz").json()["checks"]["database"] == "CENTRAL-BUSY"
        assert _post_nonsense(client).status_code == 400


def test_a_mistake_in_the_program_is_a_problem_and_its_text_stays_here(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> NoReturn:
        raise ZeroDivisionError("Siti 4711")

    monkeypatch.setattr("dobmi.central.app.take_batch", fail)
    with TestClient(create_app(world.central), raise_server_exceptions=False) as client:
        answer = client.post(
            "/v1/batches", content=b"x", headers={"content-type": "application/cbor"}
        )
    assert (answer.status_code, answer.json()["code"]) == (500, "CENTRAL-PROGRAM")
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.json()["money_moved"], "Siti" in answer.text) == ("unknown", False)


class TestReadiness:
    def test_a_server_with_its_database_is_ready_and_tells_of_its_periodic_work(
        self, office: Office
    ) -> None:
        answer = office.client.get("/readyz")
        found = answer.json()
        assert (answer.status_code, found["status"]) == (200, "ready")
        assert set(found["checks"]) == {"shutdown", "database", "schema", "disk", "keys"}
        assert set(found["checks"].values()) == {"ok"}
        assert all(job["overdue"] for job in found["periodic"])  # it was never done: a warning
        run_due(office.world.central, interval_seconds=0)
        found = office.client.get("/readyz").json()
        assert [job["finished_at"] for job in found["periodic"]] == [START] * len(found["periodic"])
        assert not any(job["overdue"] for job in found["periodic"])

    @pytest.mark.usefixtures("database_kind")
    def test_not_on_a_database_of_another_version(self, tmp_path: Path) -> None:
        database = open_database(new_database(tmp_path, to_spoil=True))
        with TestClient(create_app(Central(database, RING, SETTINGS))) as client:
            with database.write() as connection:
                connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
            answer = client.get("/readyz")
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            assert answer.json()["checks"]["schema"] == "CENTRAL-SCHEMA-NEW"
            assert client.get("/healthz").status_code == 200

    def test_not_with_a_disk_that_is_nearly_full(
        self, office: Office, monkeypatch: pytest.MonkeyPatch, database_kind: Kind
    ) -> None:
        nearly_full = SimpleNamespace(free=100_000_000)
        monkeypatch.setattr(shutil, "disk_usage", lambda _path: nearly_full)
        found = office.client.get("/readyz").json()
        is_own_disk = database_kind is Kind.SQLITE
        assert found["checks"]["disk"] == ("100 MB free" if is_own_disk else "ok")

    def test_a_stopping_server_is_alive_and_refuses_new_work_and_says_when_to_come_again(
        self, world: World
    ) -> None:
        till = world.till()
        state = ServerState()
        app = create_app(world.central, state=state)
        with TestClient(app, client=HERE) as client:
            state.stopping = True
            assert client.get("/healthz").status_code == 200
            assert client.get("/readyz").json()["checks"]["shutdown"] != "ok"
            batch = client.post(
                "/v1/batches", content=b"x", headers={"content-type": "application/cbor"}
            )
            assert (batch.status_code, batch.json()["code"]) == (503, "CENTRAL-STOPPING")
            assert batch.json()["money_moved"] == "no"
            assert (batch.headers["retry-after"], batch.headers["connection"]) == ("5", "close")
            path = card_session_path("credit", bytes(7))
            headers = {"authorization": till.authorization("GET", path)}
            with (
                pytest.raises(WebSocketDisconnect),
                client.websocket_connect(path, headers=headers),
            ):
                pass


class TestMetrics:
    def test_what_came_in_and_what_is_open_is_counted(self, world: World) -> None:
        till, card = world.till(), world.card(4711)
        world.top_up(world.station(), card, Rupiah(100_000))
        world.top_up_in_doubt(world.station(), world.card(4712), Rupiah(1_000))
        with TestClient(create_app(world.central), client=HERE) as client:
            before = scraped(client)

            def send(batch: bytes) -> None:
                client.post(
                    "/v1/batches", content=batch, headers={"content-type": "application/cbor"}
                )

            till.sell(card, Rupiah(1_000))
            till.doubt(card, Rupiah(2_000), committed=False)
            till.doubt(card, Rupiah(3_000), committed=False)
            till.refund(card, 1, Rupiah(5_000))
            batch = till.batch()
            send(batch)
            send(batch)
            send(b"no batch")
            client.request("NONSENSE", "/v1/cards/04112233445566")
            run_due(
                world.central, interval_seconds=0, jobs=[Job("settle-doubts", lambda *_: {"a": 1})]
            )
            after = scraped(client)
        grown = {name: value - before.get(name, 0) for name, value in after.items()}
        assert grown['dobmi_vouchers_total{outcome="taken"}'] == 3
        assert grown['dobmi_vouchers_total{outcome="quarantined"}'] == 1  # and again: not counted
        assert grown['dobmi_batches_total{outcome="acknowledged"}'] == 2
        assert grown['dobmi_batches_total{outcome="SYNC-MALFORMED"}'] == 1
        route = 'method="POST",route="/v1/batches",status="200"'
        assert grown[f"dobmi_request_seconds_count{{{route}}}"] == 2
        assert after["dobmi_doubts_open"] == 2
        assert after["dobmi_batches_to_look_at"] == 0
        assert after["dobmi_credits_in_doubt"] == 1
        assert after["dobmi_database_up"] == 1
        assert after['dobmi_periodic_age_seconds{job="settle-doubts"}'] == 0
        assert after['dobmi_periodic_failures{job="prune"}'] == 0
        assert 'dobmi_periodic_age_seconds{job="prune"}' not in after  # it was never done
        assert after['dobmi_database_connections{state="in_use"}'] >= 0
        assert not any("04112233445566" in name or "NONSENSE" in name for name in after)

    def test_they_are_for_this_machine_alone(self, world: World) -> None:
        with TestClient(create_app(world.central), client=("192.0.2.7", 50_000)) as client:
            assert client.get("/metrics").status_code == 404
        with TestClient(create_app(world.central), client=HERE) as client:
            assert client.get("/metrics").status_code == 200
            through_a_proxy = {"x-forwarded-for": "192.0.2.7"}
            assert client.get("/metrics", headers=through_a_proxy).status_code == 404

    def test_they_have_a_port_of_their_own_if_one_is_set(
        self, world: World, unused_port: int
    ) -> None:
        settings = SETTINGS.model_copy(update={"metrics_port": unused_port})
        central = replace(world.central, settings=settings)
        with TestClient(create_app(central), client=HERE) as client:
            assert client.get("/metrics").status_code == 404
        stop = Metrics(central).serve("127.0.0.1", unused_port)
        try:
            with urlopen(f"http://127.0.0.1:{unused_port}/metrics", timeout=10) as answer:
                assert b"dobmi_doubts_open 0.0" in answer.read()
        finally:
            stop()

    def test_a_database_that_is_away_is_one_of_them(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def away(_: object) -> None:
            raise DatabaseFailed(kind="x")

        metrics = Metrics(world.central)
        monkeypatch.setattr("dobmi.central.database.Database.read", away)
        told = metrics.text().decode()
        assert "dobmi_database_up 0.0" in told
        assert "dobmi_doubts_open" not in told


def scraped(client: TestClient) -> dict[str, float]:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


@contextmanager
def logged(formatter: logging.Formatter) -> Iterator[io.StringIO]:
    """All that anybody but the test's client logs meanwhile, as `serve` writes it, and finer."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(formatter)
    handler.addFilter(lambda record: not record.name.startswith("http"))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield written
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


class TestTheLog:
    @pytest.mark.parametrize("formatter", [JsonLines(), PlainLines()], ids=["json", "text"])
    def test_a_busy_run_with_failures_names_nobody(
        self, world: World, monkeypatch: pytest.MonkeyPatch, formatter: logging.Formatter
    ) -> None:
        number = 3_141_592_653
        station, till = world.station(), world.till()
        card, other = world.card(number), world.card(number + 1)
        secrets = [str(number), str(number + 1), "Anggota", "Rahasia"]
        secrets += [
            form for one in (card, other) for form in (one.uid.hex(), one.uid.hex().upper())
        ]
        secrets += [repr(card.uid)[2:-1], f"\\x{card.uid.hex()}"]
        with logged(formatter) as written:
            world.top_up(station, card, Rupiah(100_000))
            app = create_app(world.central)
            with TestClient(app, raise_server_exceptions=False) as client:
                office = Office(world, client)
                till.sell(card, Rupiah(1_000))
                till.doubt(card, Rupiah(2_000), committed=False)
                till.refund(card, 1, Rupiah(5_000))
                assert office.upload(till.batch()).status_code == 200
                for path in (
                    f"/v1/cards/{card.uid.hex()}",
                    f"/v1/cards/{card.uid.hex()}x",
                    "/v1/x",
                ):
                    office.signed(station, "GET", path)
                reason = {"reason": "Rahasia hilang"}
                for verb in ("block", "unblock", "replace", "block"):
                    office.signed(station, "POST", f"/v1/cards/{card.uid.hex()}/{verb}", reason)
                order = {"card_uid": card.uid.hex(), "amount_rupiah": 0, "source": "cash"}
                office.signed(
                    station, "POST", "/v1/credits", {**order, "idempotency_key": "Rahasia"}
                )
                office.upload(b"Rahasia")

                def fail(*_: object) -> NoReturn:
                    raise RuntimeError(f"Rahasia {card.uid.hex()} {number}")

                monkeypatch.setattr("dobmi.central.app.statement_of", fail)
                answer = office.signed(station, "GET", f"/v1/cards/{card.uid.hex()}")
                assert answer.status_code == 500
            run_due(world.central, interval_seconds=0, jobs=[Job("fails", fail)])
            _break_a_constraint(world)
        log = written.getvalue()
        assert log.count("RuntimeError") >= 2
        assert "IntegrityError" in log
        for secret in secrets:
            assert secret not in log

    def test_a_line_says_what_was_asked_and_what_became_of_it(self, office: Office) -> None:
        station = office.world.station()
        with logged(JsonLines()) as written:
            answer = office.signed(station, "GET", "/v1/cards/04000000000000")
        lines = [json.loads(line) for line in written.getvalue().splitlines()]
        (line,) = [line for line in lines if line["message"] == "request"]
        assert line["request_id"] == answer.headers["x-request-id"]
        assert (line["method"], line["route"], line["status"]) == ("GET", "/v1/cards/{card}", 404)
        assert (line["problem"], line["terminal"]) == ("CENTRAL-CARD-UNKNOWN", station.terminal_id)
        assert line["milliseconds"] >= 0
        assert line["level"] == "info"

    def test_what_worker_threads_log_has_the_requests_id(
        self, office: Office, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def take(central: Central, batch: bytes) -> bytes:
            logging.getLogger("dobmi.central").info("in a thread")
            return take_batch(central, batch)

        monkeypatch.setattr("dobmi.central.app.take_batch", take)
        with logged(JsonLines()) as written:
            answer = office.upload(b"x")
        lines = [json.loads(line) for line in written.getvalue().splitlines()]
        (line,) = [line for line in lines if line["message"] == "in a thread"]
        assert line["request_id"] == answer.headers["x-request-id"]


def _break_a_constraint(world: World) -> None:
    """The database's own text of it quotes the row."""
    statement = text(
        "INSERT INTO cards (uid, serial, member_number, state, expires_on_day, mac_key_version, "
        "key_version, registered_at, block_reason) SELECT uid, serial + 1000, member_number, "
        "'issuing', 1, 1, 1, 1, 'Rahasia' FROM cards LIMIT 1"
    )
    with pytest.raises(IntegrityError) as refused, world.central.database.engine.begin() as told:
        told.execute(statement)
    logging.getLogger("dobmi.central").error("refused", exc_info=refused.value)
