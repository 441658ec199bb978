"""What this process counts, for Prometheus; `scrape` gives it out.

No label holds what a stranger can choose: routes are templates, outcomes are codes of ours.
"""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

PROCESS = CollectorRegistry(auto_describe=True)
ProcessCollector(registry=PROCESS)
PlatformCollector(registry=PROCESS)
GCCollector(registry=PROCESS)

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
REQUEST_SECONDS = Histogram(
    "dobmi_request_seconds",
    "Time from a request's first byte to its answer's last.",
    ["method", "route", "status"],
    buckets=_SECONDS,
    registry=PROCESS,
)
REQUESTS_RUNNING = Gauge("dobmi_requests_running", "Requests in work.", registry=PROCESS)
BATCHES = Counter(
    "dobmi_batches",
    "Batches of vouchers by what became of them: acknowledged, or the code of the refusal.",
    ["outcome"],
    registry=PROCESS,
)
VOUCHERS = Counter(
    "dobmi_vouchers",
    "New vouchers: taken, or kept in quarantine.",
    ["outcome"],
    registry=PROCESS,
)
CARD_KEYS = Counter(
    "dobmi_card_keys",
    "Keys of single cards asked for by tills without masters: given, or the code of the refusal.",
    ["outcome"],
    registry=PROCESS,
)
RETRIES = Counter(
    "dobmi_database_retries",
    "Transactions begun again because another writer was there first.",
    registry=PROCESS,
)


def count_vouchers(new: int, quarantined: int) -> None:
    """Of a batch that is durable now: `quarantined` of the `new` vouchers were not believed."""
    VOUCHERS.labels("taken").inc(new - quarantined)
    VOUCHERS.labels("quarantined").inc(quarantined)
