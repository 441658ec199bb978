"""A machine that asks the central server to be taken in as a till, by a short code."""

from __future__ import annotations

from typing import Any

from httpx2 import Response

from dobmi.cardlib.custody import KeyRing
from dobmi.sync.pairing import (
    PairingAnswer,
    PairingCode,
    PairingOffer,
    PairingOpening,
    PairingRequest,
    PairingState,
    commit,
    encode_pairing_opening,
    encode_pairing_request,
    pairing_code,
    verify_pairing_answer,
    verify_pairing_offer,
)
from support.central_client import Office


class Till:
    """A machine that asks to be a till, with what it has sent and been told."""

    def __init__(self, office: Office, number: int = 1) -> None:
        self.office = office
        self.keys = KeyRing.generate(signing=["terminal"], sealing=["terminal"])
        self.nonce = bytes([number]) * 32
        self.request = PairingRequest(
            public_key=self.keys.public_key("terminal"),
            sealing_key=self.keys.sealing_public_key("terminal"),
            name=f"Kasir {number}",
            commitment=commit(self.nonce),
        )
        self.sent = encode_pairing_request(self.request, self.sign)
        self.offer: PairingOffer

    def sign(self, message: bytes) -> bytes:
        return self.keys.sign("terminal", message)

    def post(self, path: str, body: bytes) -> Response:
        headers = {"content-type": "application/cose"}
        return self.office.client.post(path, content=body, headers=headers)

    def ask(self) -> Response:
        answer = self.post("/v1/pairings", self.sent)
        if answer.status_code == 201:
            self.offer = verify_pairing_offer(answer.content, self.sent)
        return answer

    def open(self, nonce: bytes | None = None) -> Response:
        opening = PairingOpening(
            request_id=self.offer.request_id, nonce=self.nonce if nonce is None else nonce
        )
        body = encode_pairing_opening(opening, self.request.public_key, self.sign)
        return self.post("/v1/pairings/answer", body)

    def told(self) -> PairingAnswer:
        answer = self.open()
        assert answer.status_code == 200, answer.text
        return verify_pairing_answer(answer.content, self.offer)

    def waiting(self) -> Till:
        """Asked, opened, and waiting for the office."""
        assert self.ask().status_code == 201
        assert self.told().state is PairingState.WAITING
        return self

    @property
    def code(self) -> PairingCode:
        offer = self.offer
        return pairing_code(self.request, offer.server_public_key, offer.nonce, self.nonce)

    def refused(self, answer: Response) -> tuple[int, str]:
        problem: dict[str, Any] = answer.json()
        assert problem["money_moved"] == "no"
        return answer.status_code, problem["code"]
