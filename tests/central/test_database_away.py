"""The database server dies under the central server and comes back."""

from __future__ import annotations

import os
import signal

from starlette.testclient import TestClient

from dobmi.central.app import create_app
from dobmi.central.database import open_database
from dobmi.central.server import Central
from dobmi.fleet import postgres
from support.central_client import RING, SETTINGS


def test_a_lost_database_is_said_so_and_used_again_once_it_is_back() -> None:
    with postgres.running() as server:
        database = open_database(server.create("central"))
        database.create_tables()
        with TestClient(create_app(Central(database, RING, SETTINGS))) as client:
            assert client.get("/readyz").status_code == 200
            leader = int((server.data / "postmaster.pid").read_text().split()[0])
            os.kill(leader, signal.SIGQUIT)  # an immediate shutdown
            postgres.wait_until_ended(leader)
            lost = client.get("/readyz")
            assert lost.status_code == 503
            assert lost.json()["checks"]["database"] == "CENTRAL-DATABASE"
            assert client.get("/healthz").status_code == 200  # the process itself lives
            batch = client.post(
                "/v1/batches", content=b"x", headers={"content-type": "application/cbor"}
            )
            assert (batch.status_code, batch.headers["retry-after"]) == (503, "5")
            assert batch.json()["code"] == "CENTRAL-DATABASE"
            assert batch.json()["money_moved"] == "unknown"
            postgres.kill_and_restart(server)
            assert client.get("/readyz").status_code == 200
