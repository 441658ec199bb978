"""What a stranger at the other end of the wire would send to the central server."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from httpx2 import Response
from sqlalchemy import func, select
from starlette.testclient import TestClient

from dobmi.central.circulation import circulation
from dobmi.central.schema import anomalies, postings, quarantine, rejected_batches, vouchers
from dobmi.firmware_sim.originality import SIMULATION_PUBLIC_KEY
from dobmi.money import Rupiah
from dobmi.settings import CentralSettings
from dobmi.sync.acknowledgement import Acknowledgement, verify_acknowledgement
from support.traffic import ModelTill, World, make_keys

RING = make_keys()
SETTINGS = CentralSettings(originality_keys={"simulation": SIMULATION_PUBLIC_KEY.hex()})


@dataclass
class Office:
    """A world and a client of its server."""

    world: World
    client: TestClient

    def upload(self, batch: bytes) -> Response:
        return self.client.post(
            "/v1/batches", content=batch, headers={"content-type": "application/cbor"}
        )

    def acknowledged(self, batch: bytes) -> Acknowledgement:
        answer = self.upload(batch)
        assert answer.status_code == 200, answer.text
        return verify_acknowledgement(answer.content, self.world.central.public_key)

    def refused(self, batch: bytes, code: str, status: int) -> dict[str, Any]:
        """The batch is refused so, and nothing of it is taken."""
        before = self.counts()
        answer = self.upload(batch)
        problem: dict[str, Any] = answer.json()
        assert (problem["code"], answer.status_code) == (code, status), problem
        assert answer.headers["content-type"] == "application/problem+json"
        assert problem["money_moved"] == "no"
        assert self.counts() == before
        return problem

    def counts(self) -> tuple[int, int]:
        """Vouchers and postings there are."""
        with self.world.central.database.read() as connection:
            return (
                connection.execute(select(func.count()).select_from(vouchers)).scalar_one(),
                connection.execute(select(func.count()).select_from(postings)).scalar_one(),
            )

    def quarantined(self) -> dict[int, str]:
        """Reason by sequence."""
        with self.world.central.database.read() as connection:
            rows = connection.execute(select(quarantine.c.sequence, quarantine.c.reason))
            return {row.sequence: row.reason for row in rows}

    def anomalies(self) -> set[str]:
        with self.world.central.database.read() as connection:
            return set(connection.execute(select(anomalies.c.kind)).scalars())

    def rejected(self) -> list[tuple[str, bytes]]:
        """Code and content of the batches refused whole."""
        with self.world.central.database.read() as connection:
            rows = connection.execute(select(rejected_batches.c.code, rejected_batches.c.content))
            return [(row.code, row.content) for row in rows]

    def owed_to_outlets(self) -> Rupiah:
        """What is posted as sold; the ledger's sum is nought, whatever happened."""
        now = circulation(self.world.central)
        assert now.difference == Rupiah(0)
        return now.owed_to_outlets

    def signed(self, sender: ModelTill, method: str, path: str, content: object = None) -> Response:
        """A signed request, with a JSON body if there is content."""
        body = b"" if content is None else json.dumps(content).encode()
        headers = {"authorization": sender.authorization(method, path, body)}
        if content is not None:
            headers["content-type"] = "application/json"
        return self.client.request(method, path, content=body, headers=headers)
