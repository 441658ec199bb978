"""What the cashier's page costs: from a card laid down to "Lunas" in Chromium, its weight, and memory.

    python benchmarks/page.py [--json] [--taps 200] [--sales 10000]

The till is a process of its own, as `dobmi terminal page` is: counter, page and web server; its card
is simulated in it and needs no radio time. The clock starts when the card is laid down and stops when
the browser has "Lunas" in its document (a MutationObserver), and again when it has drawn it (two
frames later). `counter` is the counter's own part of the very same sales: until the sale is on disk
and the state PAID is shown. Both processes read the same wall clock; the browser's is compared with
it first. The limit is promise P7: 300 ms. Memory is that of a second such process, for sales
made by its counter, not by HTTP, on a ledger in memory; for the last of them two pages listen to
its events. The taps' ledger is on the disk of the folder this is run in.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from playwright.sync_api import BrowserContext, Page, expect, sync_playwright

from dobmi.cardlib.custody import KeyRing
from dobmi.cardlib.originality import NXP_PUBLIC_KEYS
from dobmi.cardlib.personalise import personalise
from dobmi.cardlib.purse import Purse
from dobmi.cardlib.purse_layout import CardKey, Holder
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.originality import SIMULATION_PUBLIC_KEY
from dobmi.firmware_sim.reader import SimulatedReader
from dobmi.money import ZERO, Rupiah
from dobmi.sync.enrolment import Enrolment
from dobmi.sync.feed import Feed, Limits
from dobmi.terminal.counter import Counter, CounterTimes
from dobmi.terminal.counter_state import Acknowledge, AskSale, CounterState, Phase
from dobmi.terminal.ledger import Ledger
from dobmi.terminal.page.app import make_app
from dobmi.terminal.page.visit import Page as TillPage
from dobmi.terminal.purchase import Purchase
from dobmi.terminal.shift import open_shift
from dobmi.terminal.staff import Cashier
from dobmi.terminal.till import Till
from dobmi.web.serving import loopback_server

LIMIT_MILLISECONDS = 300
BALANCE = Rupiah(2_000_000)
AMOUNT = 900
"""Three keys: four that came so quickly would be a scanner's."""
CHROMIUM = Path("/usr/bin/chromium")
MEMORY = Path("/dev/shm")  # noqa: S108 - for the ledger of ten thousand sales, whose speed is no matter
WAIT_SECONDS = 20
STEP = 1_000
LIFTED_SECONDS = 0.12
"""A counter looks ten times a second whether a card has been lifted."""

WATCH = """
() => {
  const now = () => performance.timeOrigin + performance.now();
  window.paid = () => new Promise((resolve) => {
    const seen = () => document.querySelector('#stage [data-phase="paid"]');
    const watch = new MutationObserver(() => {
      if (!seen()) return;
      const there = now();
      watch.disconnect();
      requestAnimationFrame(() => requestAnimationFrame(() => resolve([there, now()])));
    });
    watch.observe(document.getElementById("stage"), {childList: true, subtree: true});
  });
}
"""


# --- the till's process ---------------------------------------------------------------------------


class Bench:
    """A till's counter and page over a reader whose card is moved by `obey`."""

    def __init__(self, folder: Path, port: int) -> None:
        ring = KeyRing.generate(list(CardKey), ["card-issuer", "server"])
        self._ring = ring
        self._signing = KeyRing.generate(signing=["terminal", "server"])
        self._database = folder / "terminal.db"
        self._reader = SimulatedReader()
        self._card = self._new_card()
        self._paid = threading.Condition()
        self._paid_at: dict[str, float] = {}
        self._port = port
        self._enrol()

    def _new_card(self) -> SimulatedCard:
        card = SimulatedCard()
        holder = Holder(
            member_number=1, name="Siti Aminah", card_serial=1, expires=date(2035, 1, 1)
        )
        connection = SimulatedReader(card).connect()
        personalise(
            connection,
            self._ring,
            holder,
            lambda message: self._ring.sign("card-issuer", message),
            balance_max=BALANCE,
            originality_keys={**NXP_PUBLIC_KEYS, "simulation": SIMULATION_PUBLIC_KEY},
        )
        card.power_off()
        purse = Purse(
            SimulatedReader(card).connect(), self._ring, self._ring.public_key("card-issuer")
        )
        purse.begin_credit(1)
        purse.stage(purse.prepare_credit(BALANCE, int(time.time()), balance_max=BALANCE))
        purse.commit()
        card.power_off()
        return card

    def _enrol(self) -> None:
        now = int(time.time())
        ledger = Ledger(self._database)
        ledger.store_identity(
            Enrolment(
                terminal_id=2,
                terminal_public_key=self._signing.public_key("terminal"),
                server_public_key=self._signing.public_key("server"),
                card_issuer_public_key=self._ring.public_key("card-issuer"),
                issuer="Koperasi BMI",
                seller="Toko Cikupa",
            ),
            now,
        )
        wide = replace(Limits(), unsent_vouchers_max=100_000, unsent_total_max=Rupiah(10**10))
        ledger.apply_feed(Feed(version=1, since=0, unix_seconds=now, limits=wide), now)
        open_shift(ledger, Cashier("kasir"), ZERO, now)
        ledger.close()

    def serve(self) -> None:
        """Until standard input ends; each line of it is obeyed, and answered by a line."""
        counter = Counter(self._till, CounterTimes(sync_interval_seconds=0))
        counter.watch(self._on_state)
        with counter:
            page = TillPage(counter=counter, database=self._database, cashier="kasir")
            server = loopback_server(make_app(page, self._port), "127.0.0.1", self._port)
            thread = threading.Thread(target=server.run)
            thread.start()
            while not server.started:
                time.sleep(0.01)
            say({"ready": True})
            for line in sys.stdin:
                say(self._obey(counter, json.loads(line)))
            server.should_exit = True
            thread.join()

    def _till(self) -> Till:
        return Till(
            database=self._database,
            signing=self._signing,
            custody=self._ring.only([CardKey.DEBIT, CardKey.PIN]),
            reader=self._reader,
            cashier="kasir",
            server="http://127.0.0.1:1",
        )

    def _on_state(self, state: CounterState) -> None:
        if state.phase is Phase.PAID and state.request is not None:
            with self._paid:
                self._paid_at.setdefault(state.request, time.time())
                self._paid.notify_all()

    def _obey(self, counter: Counter, told: dict[str, Any]) -> dict[str, Any]:
        match told["do"]:
            case "tap":
                request = counter.state.request or ""
                time.sleep(told["after_seconds"])
                laid_down = self._tap()
                return {"laid_down": laid_down, "paid": self._wait_paid(request)}
            case "lift":
                self._reader.remove()
            case "sell":
                for number in range(told["count"]):
                    self._sell(counter, f"{told['name']}-{number}", Rupiah(told["amount"]))
            case other:
                raise ValueError(other)
        return {"rss_bytes": rss_bytes(), "ledger_bytes": self._database.stat().st_size}

    def _tap(self) -> float:
        self._reader.remove()
        self._card.power_off()
        now = time.time()
        self._reader.insert(self._card)
        return now

    def _wait_paid(self, request: str) -> float:
        with self._paid:
            if not self._paid.wait_for(lambda: request in self._paid_at, WAIT_SECONDS):
                raise TimeoutError(request)
            return self._paid_at.pop(request)

    def _sell(self, counter: Counter, request: str, amount: Rupiah) -> None:
        """To a card that comes while the total is being asked for: nothing is waited for."""
        asked = [
            counter.do(Acknowledge()),
            counter.do(AskSale(request=request, purchase=Purchase(amount))),
        ]
        self._tap()
        self._wait_paid(request)
        self._reader.remove()
        for one in asked:
            one.result(WAIT_SECONDS)
        while (state := counter.state).lift_card:
            counter.changes(state.version, WAIT_SECONDS)


def rss_bytes() -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1]) * 1024


def say(told: dict[str, Any]) -> None:
    print(json.dumps(told), flush=True)


# --- the one that measures ------------------------------------------------------------------------


class BenchProcess:
    def __init__(self, folder: Path) -> None:
        self.port = _free_port()
        command = [sys.executable, __file__, "--till", str(folder), "--port", str(self.port)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        self._hear()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def tell(self, **told: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(told) + "\n")
        self._process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        return self._hear()

    def ask(self, **told: object) -> dict[str, Any]:
        self.tell(**told)
        return self._hear()

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            msg = "the till's process has ended"
            raise RuntimeError(msg)
        heard: dict[str, Any] = json.loads(line)
        return heard


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def chromium() -> Iterator[BrowserContext]:
    if not CHROMIUM.exists():
        sys.exit(f"{CHROMIUM} is missing: run scripts/setup")
    flags = ["--disable-dev-shm-usage", "--disable-gpu"]
    if os.getuid() == 0:
        flags.append("--no-sandbox")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser.new_context(viewport={"width": 800, "height": 480})
        browser.close()


@dataclass
class Weight:
    """What one look at the sell screen asks of the server, the stream of events aside."""

    requests: int
    from_cache: int
    bytes_transferred: int
    foreign: int
    """Requests to anybody else."""


def weigh(context: BrowserContext, url: str) -> tuple[Weight, Weight]:
    """Cold, and once more in the same browser."""
    page = context.new_page()
    devtools = context.new_cdp_session(page)
    devtools.send("Network.enable")
    asked: dict[str, str] = {}
    cached: set[str] = set()
    sizes: dict[str, float] = {}

    def on_request(event: dict[str, Any]) -> None:
        asked[event["requestId"]] = event["request"]["url"]

    def on_answer(event: dict[str, Any]) -> None:
        if event["response"].get("fromDiskCache"):
            cached.add(event["requestId"])

    devtools.on("Network.requestWillBeSent", on_request)
    devtools.on("Network.responseReceived", on_answer)
    devtools.on("Network.requestServedFromCache", lambda event: cached.add(event["requestId"]))
    devtools.on(
        "Network.loadingFinished",
        lambda event: sizes.update({event["requestId"]: event["encodedDataLength"]}),
    )
    found: list[Weight] = []
    for _ in range(2):
        asked.clear()
        cached.clear()
        sizes.clear()
        page.goto(url)
        page.wait_for_selector("body[data-connected=yes]")
        page.evaluate("document.fonts.ready.then(() => true)")
        page.wait_for_timeout(300)
        whole = {key: address for key, address in asked.items() if "/events" not in address}
        found.append(
            Weight(
                requests=len(whole),
                from_cache=len(cached & whole.keys()),
                bytes_transferred=int(sum(sizes.get(key, 0) for key in whole.keys() - cached)),
                foreign=sum(
                    not address.startswith((f"{url}/", "data:")) for address in asked.values()
                ),
            )
        )
        page.goto("about:blank")
    page.close()
    return found[0], found[1]


def clock_offset_seconds(page: Page) -> float:
    """By how much the browser's clock is ahead of ours: of many readings the one that took least."""
    readings: list[tuple[float, float]] = []
    for _ in range(100):
        before = time.time()
        there = page.evaluate("performance.timeOrigin + performance.now()") / 1000
        after = time.time()
        readings.append((after - before, there - (before + after) / 2))
    return min(readings)[1]


def measure_taps(context: BrowserContext, till: BenchProcess, taps: int) -> dict[str, Any]:
    page = context.new_page()
    page.goto(till.url)
    page.wait_for_selector("body[data-connected=yes]")
    page.evaluate(WATCH)
    times: dict[str, list[float]] = {"lunas": [], "drawn": [], "counter": []}
    for number in range(taps + 5):
        if number % 50 == 0:
            offset = clock_offset_seconds(page)
        page.keyboard.type(str(AMOUNT))
        page.keyboard.press("Enter")
        page.wait_for_selector("#stage [data-phase=waiting]")
        till.tell(do="tap", after_seconds=0.05)
        there, drawn = page.evaluate("window.paid()")
        heard = till.hear()
        till.ask(do="lift")
        page.wait_for_timeout(LIFTED_SECONDS * 1000)
        page.keyboard.press("Enter")
        expect(page.locator("#stage")).to_be_empty()
        if number < 5:  # the first ones fill caches
            continue
        laid_down = heard["laid_down"]
        times["lunas"].append(there / 1000 - offset - laid_down)
        times["drawn"].append(drawn / 1000 - offset - laid_down)
        times["counter"].append(heard["paid"] - laid_down)
    found: dict[str, Any] = {"taps": taps}
    for name, values in times.items():
        found[f"{name}_milliseconds_median"] = round(statistics.median(values) * 1000, 1)
        found[f"{name}_milliseconds_p99"] = round(percentile(values, 0.99) * 1000, 1)
    return found


def percentile(values: list[float], part: float) -> float:
    """The value that so many of them do not pass."""
    return sorted(values)[max(0, -(-int(len(values) * part * 1000) // 1000) - 1)]


@contextlib.contextmanager
def listening(url: str) -> Iterator[None]:
    """The cashier's and the member's page as far as the server knows: two streams of events."""
    streams = []
    for path in ("/events", "/events?view=display"):
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        opener.open(f"{url}/", timeout=WAIT_SECONDS).read()
        stream = opener.open(f"{url}{path}", timeout=600)
        streams.append(stream)
        threading.Thread(target=_read_all, args=(stream,), daemon=True).start()
    try:
        yield
    finally:
        for stream in streams:
            with contextlib.suppress(OSError, ValueError):
                stream.fp.raw._sock.shutdown(socket.SHUT_RDWR)  # noqa: SLF001 - it is being read


def _read_all(stream: Any) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError, HTTPException):
        while stream.read(4096):
            pass


def measure_memory(till: BenchProcess, sales: int) -> dict[str, Any]:
    """Resident memory and ledger from the first sale to the last."""
    steps = max(2, sales // STEP)
    count = sales // steps
    first = till.ask(do="sell", name="warm", count=100, amount=100)
    begun = time.perf_counter()
    rss = [first["rss_bytes"]]
    rss += [
        till.ask(do="sell", name=f"step-{step}", count=count, amount=100)["rss_bytes"]
        for step in range(steps - 1)
    ]
    seconds = time.perf_counter() - begun
    with listening(till.url):
        heard = till.ask(do="sell", name="settling", count=count // 10, amount=100)
        last = till.ask(do="sell", name="heard", count=count * 8 // 10, amount=100)
    sold = 100 + (steps - 1) * count + count // 10 + count * 8 // 10
    alone = (rss[-1] - rss[0]) / ((steps - 1) * count)
    late = (rss[-1] - rss[len(rss) // 2]) / max(1, (len(rss) - 1 - len(rss) // 2) * count)
    return {
        "sales": sold,
        "rss_megabytes_first": round(rss[0] / 1e6, 1),
        "rss_megabytes_last": round(last["rss_bytes"] / 1e6, 1),
        "growth_kilobytes_each_1000": round(alone, 1),
        "growth_kilobytes_each_1000_second_half": round(late, 1),
        "growth_kilobytes_each_1000_with_two_pages": round(
            (last["rss_bytes"] - heard["rss_bytes"]) / (count * 8 // 10), 1
        ),
        "ledger_megabytes": round(last["ledger_bytes"] / 1e6, 1),
        "ledger_bytes_each_sale": round(
            (last["ledger_bytes"] - first["ledger_bytes"]) / (sold - 100)
        ),
        "sales_a_second": round((steps - 1) * count / seconds, 1),
    }


def measure(taps: int, sales: int) -> dict[str, Any]:
    with (
        tempfile.TemporaryDirectory(dir=".") as folder,
        BenchProcess(Path(folder)) as till,
        chromium() as context,
    ):
        cold, warm = weigh(context, till.url)
        found = measure_taps(context, till, taps)
    with (
        tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder,
        BenchProcess(Path(folder)) as till,
    ):
        memory = measure_memory(till, sales)
    return {
        "limit_milliseconds": LIMIT_MILLISECONDS,
        "taps": found,
        "weight_cold": vars(cold),
        "weight_warm": vars(warm),
        "memory": memory,
    }


def show(found: dict[str, Any]) -> None:
    taps, memory = found["taps"], found["memory"]
    print(f"{taps['taps']} sales, milliseconds from card laid down{'median':>13}{'p99':>8}")
    for name, words in (
        ("counter", "counter: sale on disk, PAID shown"),
        ("lunas", "Chromium: Lunas in the document"),
        ("drawn", "Chromium: Lunas drawn"),
    ):
        median, p99 = taps[f"{name}_milliseconds_median"], taps[f"{name}_milliseconds_p99"]
        print(f"  {words:<44}{median:>8.1f}{p99:>8.1f}")
    print(f"  limit (P7, radio time included): {found['limit_milliseconds']}")
    for name in ("cold", "warm"):
        weight = found[f"weight_{name}"]
        print(
            f"sell screen, {name}: {weight['bytes_transferred'] / 1000:.1f} kB in "
            f"{weight['requests'] - weight['from_cache']} of {weight['requests']} requests "
            f"({weight['from_cache']} from cache, {weight['foreign']} to others)"
        )
    print(
        f"memory after {memory['sales']} sales by the counter: {memory['rss_megabytes_last']} MB"
        f" (after 100: {memory['rss_megabytes_first']} MB); each 1,000 sales"
        f" {memory['growth_kilobytes_each_1000']} kB, in the second half"
        f" {memory['growth_kilobytes_each_1000_second_half']} kB, with two pages listening"
        f" {memory['growth_kilobytes_each_1000_with_two_pages']} kB"
    )
    print(
        f"ledger: {memory['ledger_megabytes']} MB, {memory['ledger_bytes_each_sale']} bytes a sale;"
        f" {memory['sales_a_second']} sales a second"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--taps", type=int, default=200, help="sales in the browser")
    parser.add_argument("--sales", type=int, default=10_000, help="sales for memory")
    parser.add_argument("--till", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.till is not None:
        Bench(arguments.till, arguments.port).serve()
        return 0
    found = measure(arguments.taps, arguments.sales)
    if arguments.json:
        print(json.dumps(found))
    else:
        show(found)
    return 0 if found["taps"]["lunas_milliseconds_p99"] <= LIMIT_MILLISECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
