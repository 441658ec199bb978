"""What Prometheus scrapes: the process's counters, and gauges read from the database when asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Metric, generate_latest, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import Connection, Select, func, select
from sqlalchemy.pool import QueuePool

from dobmi.central.database import Database
from dobmi.central.errors import CentralError
from dobmi.central.metrics import PROCESS
from dobmi.central.periodic import periodic_status
from dobmi.central.schema import (
    CreditDelivery,
    DoubtState,
    batches_to_look_at,
    in_doubt,
    pending_credits,
)
from dobmi.central.server import Central

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Of one server on one database."""

    def __init__(self, central: Central) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Everything(central))

    def text(self) -> bytes:
        """In the format of CONTENT_TYPE."""
        return generate_latest(self._registry)

    def serve(self, host: str, port: int) -> Callable[[], None]:
        """On a port of their own, in a thread; what ends it. Raises OSError if it is taken."""
        server, thread = start_http_server(port, host, self._registry)

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return stop


class _Everything(Collector):
    def __init__(self, central: Central) -> None:
        self._central = central

    def collect(self) -> Iterator[Metric]:
        yield from PROCESS.collect()
        yield from _pool(self._central.database)
        try:
            found = list(_of_database(self._central))
        except CentralError:
            yield _gauge("dobmi_database_up", "Whether the database answers.", 0)
            return
        yield _gauge("dobmi_database_up", "Whether the database answers.", 1)
        yield from found


def _gauge(name: str, about: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, about, value=value)


def _pool(database: Database) -> Iterator[GaugeMetricFamily]:
    pool = database.engine.pool
    if isinstance(pool, QueuePool):
        connections = GaugeMetricFamily(
            "dobmi_database_connections", "This process's connections.", labels=["state"]
        )
        connections.add_metric(["in_use"], pool.checkedout())
        connections.add_metric(["idle"], pool.checkedin())
        yield connections


def _of_database(central: Central) -> Iterator[GaugeMetricFamily]:
    with central.database.read() as connection:
        doubts = select(func.count()).where(in_doubt.c.state == DoubtState.OPEN)
        yield _gauge(
            "dobmi_doubts_open",
            "Sales of which it is not known whether they were paid.",
            _count(connection, doubts),
        )
        of_credits = select(func.count()).where(pending_credits.c.state == CreditDelivery.IN_DOUBT)
        yield _gauge(
            "dobmi_credits_in_doubt",
            "Credits of which it is not known whether the card has them.",
            _count(connection, of_credits),
        )
        yield _gauge(
            "dobmi_batches_to_look_at",
            "Batches that are durable, whose neighbours are still to be looked at.",
            _count(connection, select(func.count()).select_from(batches_to_look_at)),
        )
    age = GaugeMetricFamily(
        "dobmi_periodic_age_seconds",
        "Since a job of the periodic work last succeeded; absent if it never did.",
        labels=["job"],
    )
    failures = GaugeMetricFamily(
        "dobmi_periodic_failures",
        "Failures in a row of a job of the periodic work.",
        labels=["job"],
    )
    for status in periodic_status(central):
        seconds = status.age_seconds(central.unix_seconds())
        if seconds is not None:
            age.add_metric([status.name], seconds)
        failures.add_metric([status.name], status.failures)
    yield age
    yield failures


def _count(connection: Connection, statement: Select[int]) -> int:
    return connection.execute(statement).scalar_one()
