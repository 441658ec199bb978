"""Pairing this machine with a central server by a short code (sync/pairing.py has the protocol).

`begin_pairing` shows a code, the office approves it and says four digits, `finish_pairing` takes them.
Each step can be repeated, also after a power cut: what is under way stands in a file beside the
identity until the till is enrolled. No clock is needed, which a new machine may not have right.
"""

from __future__ import annotations

import hmac
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from dobmi.cardlib.custody import KeyRing, load_key_file, replace_key_file, save_key_file
from dobmi.i18n import DEFAULT_LANGUAGE
from dobmi.sync import http
from dobmi.sync.client import HttpClient, Patience
from dobmi.sync.cose import Sign
from dobmi.sync.enrolment import verify_enrolment_by
from dobmi.sync.errors import SyncError
from dobmi.sync.pairing import (
    ANSWER_SIZE_MAX,
    NAME_LENGTH_MAX,
    NONCE_LENGTH,
    PAIRING_SIZE_MAX,
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
    sealing_info,
    verify_pairing_answer,
    verify_pairing_offer,
    verify_pairing_request,
)
from dobmi.terminal.card_keys import SEALING_KEY
from dobmi.terminal.errors import (
    AlreadyEnrolled,
    NotEnrolled,
    PairingNotApproved,
    PairingRefused,
    TooManyWrongReplies,
    WrongReply,
)
from dobmi.terminal.ledger import Ledger, TillIdentity
from dobmi.terminal.lock import TillLock
from dobmi.terminal.remote_keys import REMOTE
from dobmi.terminal.till import SIGNING_KEY
from dobmi.terminal.whole_file import replace_file

WRONG_REPLIES_MAX = 5
ASKING = Patience(
    attempts=2,
    wait_seconds_max=1,
    connect_timeout_seconds=4,
    silence_timeout_seconds=8,
    answer_timeout_seconds=12,
)
"""Somebody stands there and waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TillFiles:
    """Where a till keeps what makes it this till, as its settings say."""

    database: Path
    identity: Path
    card_keys: Path

    @property
    def asks_for_keys(self) -> bool:
        """Whether the settings want the server to be asked for each card's key: `remote:`."""
        return self.card_keys.name == REMOTE

    @property
    def pairing(self) -> Path:
        """What is under way; gone once the till is enrolled."""
        return self.identity.with_name(self.identity.name + ".pairing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """A pairing under way. `code` is shown and told to the office, which says `code.reply`."""

    server: str
    request: bytes
    offer: bytes
    nonce: bytes = field(repr=False)
    code: PairingCode = field(repr=False)
    wrong_replies: int = 0

    @property
    def shown(self) -> str:
        """The code, for a person: `ACDE-FGHJ`."""
        return str(self.code)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairingProgress:
    """What the office has done so far, and for how many seconds the code is good yet."""

    state: PairingState
    valid_seconds: int


def open_identity(files: TillFiles, passphrase: str) -> KeyRing:
    """This till's own keys, made if there are none yet.

    Raises KeyFileUnusable, DamagedKeyFile, WrongPassphrase, EmptyPassphrase.
    """
    if not files.identity.exists():
        keys = KeyRing.generate(signing=[SIGNING_KEY], sealing=[SEALING_KEY])
        save_key_file(files.identity, keys, passphrase)
        return keys
    keys = load_key_file(files.identity, passphrase)
    if SEALING_KEY not in keys.sealing:  # made for an invitation, before there was pairing
        keys = replace(keys, sealing=KeyRing.generate(sealing=[SEALING_KEY]).sealing)
        replace_key_file(files.identity, keys, passphrase)
    return keys


def begin_pairing(
    files: TillFiles,
    keys: KeyRing,
    server: str,
    name: str,
    *,
    patience: Patience = ASKING,
    language: str = DEFAULT_LANGUAGE,
) -> Pairing:
    """Ask `server` to take this till in. `name` (1 to 80 characters) is what the office sees of it.

    One that was under way is given up. Raises AlreadyEnrolled, SyncError, FileUnusable.
    """
    _require_not_enrolled(files)
    nonce = secrets.token_bytes(NONCE_LENGTH)
    request = PairingRequest(
        public_key=keys.public_key(SIGNING_KEY),
        sealing_key=keys.sealing_public_key(SEALING_KEY),
        name=name.strip()[:NAME_LENGTH_MAX],
        commitment=commit(nonce),
    )
    sent = encode_pairing_request(request, _sign(keys))
    with HttpClient(server, patience, language=language) as client:
        received = client.request(
            "POST",
            http.PAIRINGS_PATH,
            accept=http.COSE,
            size_max=PAIRING_SIZE_MAX,
            body=sent,
            content_type=http.COSE,
        )
    offer = verify_pairing_offer(received, sent)
    pairing = Pairing(
        server=server,
        request=sent,
        offer=received,
        nonce=nonce,
        code=pairing_code(request, offer.server_public_key, offer.nonce, nonce),
    )
    _keep(files, pairing)
    # From here on the server knows the code, too.
    ask_pairing(files, keys, pairing, patience=patience, language=language)
    return pairing


def pairing_under_way(files: TillFiles) -> Pairing | None:
    """What `begin_pairing` began, also in an earlier process.

    None when there is none that can be read.
    """
    try:
        kept = json.loads(files.pairing.read_bytes())
        request, offer, nonce = (
            bytes.fromhex(kept[name]) for name in ("request", "offer", "nonce")
        )
        asked, offered = verify_pairing_request(request), verify_pairing_offer(offer, request)
        server, wrong_replies = str(kept["server"]), int(kept["wrong_replies"])
    except (OSError, ValueError, KeyError, TypeError, SyncError):
        return None
    return Pairing(
        server=server,
        request=request,
        offer=offer,
        nonce=nonce,
        code=pairing_code(asked, offered.server_public_key, offered.nonce, nonce),
        wrong_replies=wrong_replies,
    )


def ask_pairing(
    files: TillFiles,
    keys: KeyRing,
    pairing: Pairing,
    *,
    patience: Patience = ASKING,
    language: str = DEFAULT_LANGUAGE,
) -> PairingProgress:
    """What the office has done. Ask every few seconds.

    Raises PairingRefused (then nothing is under way any more), SyncError: of ServerRefused the
    `problem` CENTRAL-PAIRING-EXPIRED is the end of it, too.
    """
    answer = _ask(keys, pairing, patience, language)
    if answer.state is PairingState.REFUSED:
        give_up_pairing(files)
        raise PairingRefused
    return PairingProgress(state=answer.state, valid_seconds=answer.valid_seconds)


def finish_pairing(
    files: TillFiles,
    keys: KeyRing,
    pairing: Pairing,
    reply: str,
    passphrase: str,
    *,
    patience: Patience = ASKING,
    language: str = DEFAULT_LANGUAGE,
    system_time: Callable[[], float] = time.time,
) -> TillIdentity:
    """Take the four digits that the office said, and with them the identity and the card keys.

    The digits show that the office approved just this pairing, at the very server whose key this
    till saw. The card keys' file gets the identity's passphrase. Raises WrongReply,
    TooManyWrongReplies, PairingNotApproved, PairingRefused, NotSealedForUs, SyncError, TillInUse.
    """
    if not hmac.compare_digest("".join(reply.split()).encode(), pairing.code.reply.encode()):
        _count_wrong_reply(files, pairing)
    answer = _ask(keys, pairing, patience, language)
    if answer.state is PairingState.REFUSED:
        give_up_pairing(files)
        raise PairingRefused
    if answer.state is not PairingState.APPROVED:
        raise PairingNotApproved
    offer = _offer_of(pairing)
    enrolment = verify_enrolment_by(
        answer.enrolment, offer.server_public_key, keys.public_key(SIGNING_KEY)
    )
    masters = keys.unseal_masters(SEALING_KEY, answer.sealed_keys, sealing_info(offer.request_id))
    with TillLock(files.database):
        ledger = Ledger(files.database)
        try:
            known = _identity_in(ledger)
            if known is not None and known.terminal_id != enrolment.terminal_id:
                raise AlreadyEnrolled(terminal_id=known.terminal_id)
            if not files.asks_for_keys:
                if files.card_keys.exists():
                    replace_key_file(files.card_keys, masters, passphrase)
                else:
                    save_key_file(files.card_keys, masters, passphrase)
            if known is None:
                ledger.store_identity(enrolment, int(system_time()))
            identity = ledger.identity()
        finally:
            ledger.close()
    give_up_pairing(files)
    return identity


def give_up_pairing(files: TillFiles) -> None:
    """Forget what is under way; the server's request of it expires."""
    files.pairing.unlink(missing_ok=True)


def _require_not_enrolled(files: TillFiles) -> None:
    if not files.database.exists():
        return
    ledger = Ledger(files.database)
    try:
        known = _identity_in(ledger)
    finally:
        ledger.close()
    if known is not None:
        raise AlreadyEnrolled(terminal_id=known.terminal_id)


def _identity_in(ledger: Ledger) -> TillIdentity | None:
    try:
        return ledger.identity()
    except NotEnrolled:
        return None


def _ask(keys: KeyRing, pairing: Pairing, patience: Patience, language: str) -> PairingAnswer:
    offer = _offer_of(pairing)
    opening = encode_pairing_opening(
        PairingOpening(request_id=offer.request_id, nonce=pairing.nonce),
        keys.public_key(SIGNING_KEY),
        _sign(keys),
    )
    with HttpClient(pairing.server, patience, language=language) as client:
        answer = client.request(
            "POST",
            http.PAIRING_ANSWER_PATH,
            accept=http.COSE,
            size_max=ANSWER_SIZE_MAX,
            body=opening,
            content_type=http.COSE,
        )
    return verify_pairing_answer(answer, offer)


def _offer_of(pairing: Pairing) -> PairingOffer:
    return verify_pairing_offer(pairing.offer, pairing.request)


def _sign(keys: KeyRing) -> Sign:
    return lambda message: keys.sign(SIGNING_KEY, message)


def _keep(files: TillFiles, pairing: Pairing) -> None:
    kept = {
        "server": pairing.server,
        "request": pairing.request.hex(),
        "offer": pairing.offer.hex(),
        "nonce": pairing.nonce.hex(),
        "wrong_replies": pairing.wrong_replies,
    }
    replace_file(files.pairing, json.dumps(kept).encode())


def _count_wrong_reply(files: TillFiles, pairing: Pairing) -> None:
    """Raises WrongReply, or TooManyWrongReplies, and then nothing is under way any more."""
    wrong = (pairing_under_way(files) or pairing).wrong_replies + 1
    if wrong >= WRONG_REPLIES_MAX:
        give_up_pairing(files)
        raise TooManyWrongReplies
    _keep(files, replace(pairing, wrong_replies=wrong))
    raise WrongReply(left=WRONG_REPLIES_MAX - wrong)
