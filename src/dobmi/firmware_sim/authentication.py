"""The four ways to authenticate, from the card's side.

Each is begun by its instruction (`begin`, answered with status AF) and finished by one more frame
(`finish`). Starting one drops the session and the transaction, except 0x77 inside an EV2 session.
"""

from __future__ import annotations

from dataclasses import dataclass

from dobmi.cardlib.crypto import (
    BlockCipher,
    cbc_decrypt,
    cbc_encrypt,
    des_cbc_encrypt,
    rotate_left,
)
from dobmi.firmware_sim.core import Core
from dobmi.firmware_sim.session import (
    D40Session,
    Ev1Session,
    Ev2Session,
    ev2_session_keys,
    receive_d40,
    session_key,
)
from dobmi.firmware_sim.state import Key, KeyType
from dobmi.firmware_sim.status import Status, require

AUTHENTICATE_D40 = 0x0A
AUTHENTICATE_ISO = 0x1A
AUTHENTICATE_AES = 0xAA
AUTHENTICATE_EV2_FIRST = 0x71
AUTHENTICATE_EV2_NON_FIRST = 0x77

KEY_TYPES = {
    AUTHENTICATE_D40: {KeyType.DES},
    AUTHENTICATE_ISO: {KeyType.DES, KeyType.TDES_3K},
    AUTHENTICATE_AES: {KeyType.AES},
    AUTHENTICATE_EV2_FIRST: {KeyType.AES},
    AUTHENTICATE_EV2_NON_FIRST: {KeyType.AES},
}


@dataclass(frozen=True)
class Challenge:
    """Between the two frames. `iv`: what D40, ISO and AES chain on from (zero in EV2)."""

    ins: int
    key_no: int
    key: Key
    rnd_b: bytes
    iv: bytes
    pcd_capabilities: bytes = bytes(6)
    kept: Ev2Session | None = None


def begin(core: Core, ins: int, payload: bytes) -> tuple[Challenge, bytes]:
    """The first frame: key number, in 0x71 also the reader's capabilities. Raises Refusal."""
    kept = None
    if ins == AUTHENTICATE_EV2_NON_FIRST:
        require(isinstance(core.session, Ev2Session), Status.AUTHENTICATION_ERROR)
        kept = core.session if isinstance(core.session, Ev2Session) else None
    else:
        core.drop_session()
    key_no, capabilities = _first_frame(ins, payload)
    key = core.key(key_no)
    require(key.type in KEY_TYPES[ins], Status.AUTHENTICATION_ERROR)
    cipher = key.type.cipher
    wide = key.type is not KeyType.DES
    rnd_b = core.random_bytes(16 if wide else 8)
    sent = cbc_encrypt(cipher, key.cipher_key, cipher.zero_block, rnd_b)
    chained = ins in {AUTHENTICATE_ISO, AUTHENTICATE_AES}
    iv = sent[-cipher.block_length :] if chained else cipher.zero_block
    core.work.authentication_passes += 1
    return Challenge(ins, key_no, key, rnd_b, iv, capabilities, kept), sent


def _first_frame(ins: int, payload: bytes) -> tuple[int, bytes]:
    if ins != AUTHENTICATE_EV2_FIRST:
        require(len(payload) == 1, Status.LENGTH_ERROR)
        return payload[0], bytes(6)
    require(len(payload) >= 2, Status.LENGTH_ERROR)
    capabilities = payload[2:]
    require(len(capabilities) == payload[1] <= 6, Status.LENGTH_ERROR)
    return payload[0], capabilities.ljust(6, b"\0")


def finish(core: Core, challenge: Challenge, payload: bytes) -> bytes:
    """The second frame: RndA || RndB' under the key; opens the session, returns the answer."""
    rnd_length = len(challenge.rnd_b)
    require(len(payload) == 2 * rnd_length, Status.LENGTH_ERROR)
    cipher, key = challenge.key.type.cipher, challenge.key.cipher_key
    if challenge.ins == AUTHENTICATE_D40:
        plain = receive_d40(key, payload)
    else:
        plain = cbc_decrypt(cipher, key, challenge.iv, payload)
    rnd_a, echo = plain[:rnd_length], plain[rnd_length:]
    require(echo == rotate_left(challenge.rnd_b), Status.AUTHENTICATION_ERROR)
    core.work.authentication_passes += 1
    if challenge.ins in {AUTHENTICATE_EV2_FIRST, AUTHENTICATE_EV2_NON_FIRST}:
        return _finish_ev2(core, challenge, rnd_a)
    ses_key = session_key(len(key), cipher, rnd_a, challenge.rnd_b)
    if challenge.ins == AUTHENTICATE_D40:
        core.session = D40Session(challenge.key_no, ses_key)
        return des_cbc_encrypt(key, bytes(8), rotate_left(rnd_a))
    core.session = Ev1Session(challenge.key_no, cipher, ses_key)
    return cbc_encrypt(cipher, key, payload[-cipher.block_length :], rotate_left(rnd_a))


def _finish_ev2(core: Core, challenge: Challenge, rnd_a: bytes) -> bytes:
    key = challenge.key.cipher_key
    enc_key, mac_key = ev2_session_keys(key, rnd_a, challenge.rnd_b)
    answer = rotate_left(rnd_a)
    if challenge.kept is None:
        identifier = core.random_bytes(4)
        core.session = Ev2Session(challenge.key_no, enc_key, mac_key, identifier)
        answer = identifier + answer + core.state.pd_capabilities + challenge.pcd_capabilities
    else:
        kept = challenge.kept
        core.session = Ev2Session(challenge.key_no, enc_key, mac_key, kept.identifier, kept.counter)
    return cbc_encrypt(BlockCipher.AES, key, bytes(16), answer)
