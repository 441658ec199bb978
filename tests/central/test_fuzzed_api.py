"""Requests made from the API's own description, good and bad, signed and not.

Whatever comes: an answer that the description knows, a problem that says what to do, and the same
ledger as before but for the orders that were accepted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cbor2
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from requests.auth import AuthBase
from schemathesis.checks import CheckFunction
from schemathesis.core.result import Ok
from schemathesis.core.transport import Response
from schemathesis.generation import GenerationMode
from schemathesis.generation.case import Case as AnyCase
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.specs.openapi.schemas import OpenApiSchema
from sqlalchemy import func, select

from dobmi.central.circulation import circulation
from dobmi.central.schema import pending_credits
from dobmi.money import Rupiah
from dobmi.sync.client import Requester
from dobmi.sync.http import CBOR, COSE, PROBLEM
from support.central_client import RING, SETTINGS
from support.databases import Kind
from support.servers import serving
from support.traffic import START, ModelCard, ModelTill, World

Case = AnyCase[Any]
CHECKS: list[CheckFunction] = [
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
EXAMPLES = 10
"""Of each operation, signed and unsigned."""
bounded = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


FOR_PEOPLE = {"/r/{token}", "/k/", "/k/{card}"}
"""Pages, also where there is nothing."""
WITH_BYTES = {"POST /v1/terminals", "POST /v1/batches", "POST /v1/records"}
WITH_JSON = {
    "POST /v1/credits",
    "POST /v1/cards/{card}/block",
    "POST /v1/cards/{card}/unblock",
    "POST /v1/cards/{card}/replace",
    "POST /v1/staff/sessions",
    "POST /v1/approvals",
    "POST /v1/approvals/{number}/decision",
}
_plain = st.none() | st.booleans() | st.integers(-(2**64), 2**64) | st.binary() | st.text()
_cbor = st.recursive(
    _plain, lambda inner: st.lists(inner) | st.dictionaries(st.integers(0, 30), inner)
).map(cbor2.dumps)
for _media_type in (CBOR, COSE):
    schemathesis.openapi.media_type(_media_type, st.binary() | _cbor)


class Signed(AuthBase):
    """Signs whatever is about to be sent, as a station would."""

    def __init__(self, requester: Requester) -> None:
        self._requester = requester

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        body = request.body or b""
        body = body.encode() if isinstance(body, str) else body
        request.headers["Authorization"] = self._requester.authorization(
            request.method or "", request.path_url, body
        )
        return request


@dataclass
class Target:
    """A served world with money in it."""

    world: World
    url: str
    station: ModelTill
    card: ModelCard

    @property
    def signed(self) -> Signed:
        return Signed(
            Requester(
                terminal_id=self.station.terminal_id,
                public_key=self.station.public_key,
                sign=self.station.key.sign,
                now=lambda: START,
            )
        )

    def money(self) -> tuple[Rupiah, Rupiah, Rupiah]:
        """Issued; ordered, if it has not been refused; and what does not add up."""
        now = circulation(self.world.central)
        with self.world.central.database.read() as connection:
            ordered = connection.execute(select(func.sum(pending_credits.c.amount_rupiah))).scalar()
        return now.issued, Rupiah(int(ordered or 0)), now.difference


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder: Path = tmp_path_factory.mktemp("fuzzed")
    world = World.create(folder, keys=RING, settings=SETTINGS, kind=Kind.SQLITE)
    station, card = world.station(), world.card(1)
    world.top_up(station, card, Rupiah(50_000))
    with serving(world.central) as url:
        yield Target(world, url, station, card)
    world.close()


@pytest.fixture(scope="module")
def api(target: Target) -> OpenApiSchema:
    return schemathesis.openapi.from_url(f"{target.url}/openapi.json")


def check(case: Case, response: Response) -> None:
    case.validate_response(response, checks=CHECKS)
    status = response.status_code
    assert status < 500, response.text
    if status >= 400 and case.path not in FOR_PEOPLE:
        assert response.headers["content-type"] == [PROBLEM], response.headers
        problem: dict[str, Any] = response.json()
        assert problem["status"] == status
        assert problem["code"]
        assert problem["advice"]
        assert problem["money_moved"] == "no"


def each_operation(
    api: OpenApiSchema, mode: GenerationMode, attempt: Callable[[Case], None]
) -> set[str]:
    """Have `attempt` make requests of every operation; the operations' names."""
    seen = set()
    for found in api.get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()

        @bounded
        @given(case=operation.as_strategy(generation_mode=mode))
        def run(case: Case) -> None:
            attempt(case)

        with suppress(Unsatisfiable):  # nothing can be wrong in a request without parameters
            run()
            seen.add(operation.label)
    return seen


def test_what_nobody_signed_changes_nothing(api: OpenApiSchema, target: Target) -> None:
    before = target.money()

    def attempt(case: Case) -> None:
        check(case, case.call())
        assert target.money() == before

    assert each_operation(api, GenerationMode.POSITIVE, attempt) >= WITH_JSON | WITH_BYTES


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_what_a_station_signs_is_answered_as_described(
    api: OpenApiSchema, target: Target, mode: GenerationMode
) -> None:
    def attempt(case: Case) -> None:
        issued, ordered, _ = target.money()
        aim(case, target.card)
        response = case.call(auth=target.signed)
        check(case, response)
        accepted = Rupiah(0)
        if case.path == "/v1/credits" and response.status_code == 201:
            accepted = Rupiah(response.json()["amount_rupiah"])
        assert target.money() == (issued + accepted, ordered + accepted, Rupiah(0))

    expected = WITH_JSON | WITH_BYTES if mode is GenerationMode.POSITIVE else WITH_JSON
    assert each_operation(api, mode, attempt) >= expected


def aim(case: Case, card: ModelCard) -> None:
    """At a card there is, in every other case: else all are refused at the door."""
    if "card" in case.path_parameters and len(str(case.path_parameters["card"])) % 2:
        case.path_parameters["card"] = card.uid.hex()
    if isinstance(case.body, dict) and "card_uid" in case.body:
        case.body["card_uid"] = card.uid.hex()
