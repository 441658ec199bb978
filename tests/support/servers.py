"""Servers for the client's tests: the central one, for real on loopback, and one that misbehaves."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import uvicorn

from dobmi.cardlib.custody import KeyRing
from dobmi.central.app import create_app
from dobmi.central.credit_orders import order_credit
from dobmi.central.credit_session import deliver_credits
from dobmi.central.database import open_database
from dobmi.central.issue_session import issue_card
from dobmi.central.schema import CreditSource, Role
from dobmi.central.server import Central
from dobmi.central.serving import server_config
from dobmi.central.terminals import enrol, invite, list_terminals
from dobmi.firmware_sim.card import SimulatedCard
from dobmi.firmware_sim.originality import SIMULATION_PUBLIC_KEY
from dobmi.money import Rupiah
from dobmi.settings import CentralSettings
from dobmi.sync.enrolment import Invitation, encode_enrol_request, verify_enrolment
from support.purses import InProcess
from support.tills import RING

START_TIMEOUT_SECONDS = 10


def new_central(
    folder: Path, unix_seconds: Callable[[], int] = lambda: int(time.time())
) -> Central:
    database = open_database("sqlite:///central.db", folder)
    database.create_tables()
    settings = CentralSettings(originality_keys={"simulation": SIMULATION_PUBLIC_KEY.hex()})
    return Central(database, RING, settings, unix_seconds)


def till_invitation(central: Central, name: str = "Kasir 1") -> Invitation:
    return invite(central, Role.TILL, name, "Toko Ciledug")


def station_invitation(central: Central) -> Invitation:
    return invite(central, Role.STATION, "Kantor", "Kantor pusat")


def issued(central: Central, balance: int, member: int = 4711) -> SimulatedCard:
    """A card that the central server issued and credited."""
    card = SimulatedCard()
    issue_card(central, InProcess(card), member, f"Anggota {member}")
    if balance:
        order(central, card, balance)
        card.power_off()
        deliver_credits(central, InProcess(card))
    card.power_off()
    return card


def order(central: Central, card: SimulatedCard, amount: int, key: str = "") -> None:
    """A pending credit."""
    order_credit(
        central,
        card.uid,
        Rupiah(amount),
        CreditSource.CASH,
        idempotency_key=key or f"order-{card.uid.hex()}-{amount}",
        station=office(central),
    )


def office(central: Central) -> int:
    """The terminal id of the central office's issuing station."""
    for terminal in list_terminals(central):
        if terminal.role is Role.STATION:
            return terminal.id
    signing = KeyRing.generate(signing=["terminal"])
    public_key = signing.public_key("terminal")
    invitation = station_invitation(central)
    request = encode_enrol_request(
        invitation.code, public_key, lambda message: signing.sign("terminal", message)
    )
    return verify_enrolment(enrol(central, request), invitation, public_key).terminal_id


@contextmanager
def serving(central: Central, port: int = 0) -> Iterator[str]:
    """The central server's URL while it serves in a thread."""
    config = server_config(create_app(central), host="127.0.0.1", port=port)
    config.lifespan = "off"
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not server.started:
            assert time.monotonic() < deadline, "the server does not start"
            assert thread.is_alive(), "the server died at its start"
            time.sleep(0.005)
        address = server.servers[0].sockets[0].getsockname()
        yield f"http://127.0.0.1:{address[1]}"
    finally:
        server.should_exit = True
        thread.join()


Answer = Callable[[socket.socket, bytes], None]
"""Reads nothing more; writes what it likes to the connection. Given the request's bytes."""


class MisbehavingServer:
    """Answers each request as the next entry of `answers` says; the last one for all that follow."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.requests: list[bytes] = []
        self._thread = threading.Thread(target=self._serve)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(10)
                request = _read_request(connection)
                if not request:
                    continue
                self.requests.append(request)
                answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
                try:
                    answer(connection, request)
                except OSError:
                    continue  # the client has gone, as it should when it is being held up


def _read_request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return b""
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        ),
        0,
    )
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def http_answer(
    status: int, body: bytes, media_type: str, length: int | None = None
) -> Callable[[socket.socket, bytes], None]:
    """A plain answer; `length` lies about the body's where given."""

    def answer(connection: socket.socket, _request: bytes) -> None:
        head = (
            f"HTTP/1.1 {status} X\r\nContent-Type: {media_type}\r\n"
            f"Content-Length: {len(body) if length is None else length}\r\n"
            "Connection: close\r\n\r\n"
        )
        connection.sendall(head.encode("ascii") + body)

    return answer
