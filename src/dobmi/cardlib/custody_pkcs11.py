"""Master keys in a PKCS#11 token, which computes AN10922 inside itself and gives no master out.

A master is an AES secret key, sensitive and never extractable, that can only sign: CKM_AES_CMAC over
`01` || M. Our M has 16 bytes, so the message has 17, which CMAC pads to the 32 that AN10922 section
2.2 asks for: the token's CMAC is the card's key. Signing keys are Ed25519 in the token (CKM_EDDSA).

    label `dobmi/master/credit`, id one byte: the generation
    label `dobmi/sign/server`, id 01: private and public key

python-pkcs11 initialises modules with C_Initialize(NULL), by which a program promises not to call
them from several threads at once. So everything here goes through one lock a process; a server that
needs more derives in more processes. A fork is preceded by C_Finalize, and each process then finds
its own way to the token: a session that two processes use would be the end of both.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, TypeVar

import pkcs11
from pkcs11 import exceptions
from pkcs11.constants import Attribute, MechanismFlag, ObjectClass
from pkcs11.mechanisms import KeyType, Mechanism
from pkcs11.types import Session, SignMixin

from dobmi.cardlib.crypto import aes_cmac
from dobmi.cardlib.custody import (
    ROLE_KEYS,
    HeldKey,
    KeyCustody,
    KeyRing,
    KeyRole,
    load_key_file,
)
from dobmi.cardlib.custody_place import TokenPlace, Unlocking
from dobmi.cardlib.errors import (
    CustodyUnavailable,
    HsmGone,
    HsmModuleMissing,
    HsmPinLocked,
    HsmPinWrong,
    HsmRefused,
    HsmTokenMissing,
    KeyNotHeld,
    MasterDiffers,
    MasterLocked,
)
from dobmi.cardlib.keys import DesfireKey
from dobmi.cardlib.purse_layout import CardKey, diversification_input

if TYPE_CHECKING:
    from pkcs11._pkcs11 import lib as Module  # noqa: N812 - it is a class

_T = TypeVar("_T")

_LOCKED_SECONDS: Final = (0.05, 0.2)

_MASTER: Final = "dobmi/master/"
_SIGN: Final = "dobmi/sign/"
_SIGN_ID: Final = b"\x01"
_CMAC_LENGTH: Final = 16
_SIGNATURE_LENGTH: Final = 64
_ED25519_PARAMS: Final = bytes.fromhex("06032B6570")  # DER of the OID 1.3.101.112, RFC 8410
_OCTETS_32: Final = b"\x04\x20"  # DER: an octet string of 32 bytes
_QUIET_SECONDS: Final = 1.0
"""After a token was found gone it is not asked again for so long: many requests may wait for it."""

# The token is another one now, or none, or has forgotten us: what a new session may cure.
_LOST: Final = (
    exceptions.DeviceError,
    exceptions.DeviceRemoved,
    exceptions.FunctionFailed,
    exceptions.GeneralError,
    exceptions.KeyHandleInvalid,
    exceptions.ObjectHandleInvalid,
    exceptions.SessionClosed,
    exceptions.SessionHandleInvalid,
    exceptions.SlotIDInvalid,
    exceptions.TokenNotPresent,
    exceptions.TokenNotRecognised,
    exceptions.UserNotLoggedIn,
    exceptions.OperationActive,
    exceptions.OperationNotInitialized,
)


@dataclass(slots=True)
class _Link:
    """One session with a token, logged in, and what it found there."""

    session: Session = field(repr=False)
    masters: dict[tuple[CardKey, int], SignMixin] = field(repr=False)
    signing: dict[str, SignMixin] = field(repr=False)
    public: dict[str, bytes]


_lock = threading.RLock()
_links: dict[tuple[str, str], _Link] = {}
_gone_until: dict[tuple[str, str], float] = {}
_refused: dict[tuple[str, str], type[CustodyUnavailable]] = {}
"""Tokens that took no PIN when a session was renewed: each further try would lock them sooner."""


@dataclass(frozen=True, slots=True)
class Pkcs11Custody:
    """A ServerCustody of a token. Its generations are those that were there when it was opened.

    `_distribution` are the masters that tills are given by design, from the file beside the token.
    """

    place: TokenPlace
    _pin: str = field(repr=False)
    _distribution: KeyRing = field(repr=False)
    _held: tuple[HeldKey, ...]
    _public: Mapping[str, bytes]

    @classmethod
    def open(cls, place: TokenPlace, unlocking: Unlocking) -> Self:
        """Log in, and see what is there.

        Raises HsmModuleMissing, HsmTokenMissing, HsmPinWrong, HsmPinLocked, HsmGone, HsmRefused;
        for the file beside it what load_key_file raises, if there is one.
        """
        distribution = KeyRing()
        if place.distribution.exists():
            distribution = load_key_file(place.distribution, unlocking.passphrase)
        handed_out = ROLE_KEYS[KeyRole.TILL]

        def look(link: _Link) -> tuple[tuple[HeldKey, ...], dict[str, bytes]]:
            held = tuple(
                HeldKey(
                    key=key,
                    generation=generation,
                    check_value=_cmac(master, bytes(16))[:3],
                    place=f"token {place.token}",
                    exportable=key in handed_out and generation in distribution.generations(key),
                )
                for (key, generation), master in sorted(
                    link.masters.items(),
                    key=lambda one: (list(CardKey).index(one[0][0]), one[0][1]),
                )
            )
            return held, dict(link.public)

        with _lock:
            _forget(place)
            _refused.pop(_name(place), None)
            _gone_until.pop(_name(place), None)
            held, public = _use(place, unlocking.pin, look, opening=True)
        return cls(place, unlocking.pin, distribution, held, public)

    def card_key(self, key: CardKey, uid: bytes, version: int | None = None) -> DesfireKey:
        if version is None:
            version = max(self.generations(key), default=0)
        return DesfireKey.aes(self._derive(key, [uid], version)[0], version=version)

    def card_key_values(self, key: CardKey, uids: Sequence[bytes], version: int) -> list[bytes]:
        return self._derive(key, uids, version)

    def _derive(self, key: CardKey, uids: Sequence[bytes], version: int) -> list[bytes]:
        if version not in self.generations(key):
            raise KeyNotHeld(key=key.value, version=version)
        messages = [b"\x01" + diversification_input(key, uid) for uid in uids]
        if any(len(message) != 17 for message in messages):
            msg = "the UID of a purse has 7 bytes"
            raise ValueError(msg)

        def derive(link: _Link) -> list[bytes]:
            master = link.masters.get((key, version))
            if master is None:  # it was there when the server was started
                raise KeyNotHeld(key=key.value, version=version)
            return [_cmac(master, message) for message in messages]

        return self._do(derive)

    def pinned(self, key: CardKey, version: int) -> KeyCustody:
        if version not in self.generations(key):
            raise KeyNotHeld(key=key.value, version=version)
        return _Pinned(self, key, version)

    def generations(self, key: CardKey) -> tuple[int, ...]:
        return tuple(one.generation for one in self._held if one.key is key)

    def held(self) -> tuple[HeldKey, ...]:
        return self._held

    def public_key(self, name: str) -> bytes:
        if name not in self._public:
            raise KeyNotHeld(key=name, version=1)
        return self._public[name]

    def sign(self, name: str, message: bytes) -> bytes:
        def sign(link: _Link) -> bytes:
            if name not in link.signing:
                raise KeyNotHeld(key=name, version=1)
            return link.signing[name].sign(
                message, mechanism=Mechanism.EDDSA, buffer_size=_SIGNATURE_LENGTH
            )

        self.public_key(name)
        return self._do(sign)

    def masters_of(self, role: KeyRole) -> KeyRing:
        return self._handed_out(ROLE_KEYS[role])

    def sealed_masters(self, masters: Iterable[CardKey], public_key: bytes, info: bytes) -> bytes:
        wanted = list(masters)
        return self._handed_out(wanted).sealed_masters(wanted, public_key, info)

    def _handed_out(self, masters: Iterable[CardKey]) -> KeyRing:
        wanted = list(masters)
        for key in wanted:
            if self.generations(key) != self._distribution.generations(key):
                raise MasterLocked(key=key.value, token=self.place.token)
        return self._distribution.only(masters=wanted)

    def check(self) -> None:
        """One CMAC, or a look at nothing: whether the token answers."""

        def look(link: _Link) -> None:
            for master in link.masters.values():
                _cmac(master, bytes(16))
                return

        self._do(look)

    def _do(self, work: Callable[[_Link], _T]) -> _T:
        return _use(self.place, self._pin, work)


@dataclass(frozen=True, slots=True)
class _Pinned:
    """A custody of which one key is of one generation, whatever is newer."""

    _custody: Pkcs11Custody
    _key: CardKey
    _version: int

    def card_key(self, key: CardKey, uid: bytes, version: int | None = None) -> DesfireKey:
        if key is self._key:
            if version not in {None, self._version}:
                raise KeyNotHeld(key=key.value, version=version)
            version = self._version
        return self._custody.card_key(key, uid, version)


def store_in_token(
    place: TokenPlace,
    pin: str,
    masters: Mapping[CardKey, bytes],
    generation: int,
    signing: Mapping[str, bytes],
) -> None:
    """All of these into the token, or none. What is there already and the same stays as it is.

    Masters of 16 bytes, Ed25519 keys of 32 raw bytes. Raises MasterDiffers, CustodyUnavailable and
    its kinds.
    """

    def store(link: _Link) -> None:
        for key, value in masters.items():
            there = link.masters.get((key, generation))
            probe = secrets.token_bytes(16)
            if there is not None and _cmac(there, probe) != aes_cmac(value, probe):
                raise MasterDiffers(key=key.value, version=generation, place=place.token)
        for name, value in signing.items():
            if link.public.get(name, _ed25519_public(value)) != _ed25519_public(value):
                raise MasterDiffers(key=name, version=1, place=place.token)
        templates = [
            {**_master_template(key, generation), Attribute.VALUE: masters[key]}
            for key in masters
            if (key, generation) not in link.masters
        ]
        for name, value in signing.items():
            if name not in link.signing:
                templates += _signing_templates(name, value)
        _make_all([partial(_create, link.session, one) for one in templates])

    with _lock:
        _use(place, pin, store, opening=True)
        _forget(place)


def generate_in_token(
    place: TokenPlace, pin: str, masters: Iterable[CardKey], generation: int, signing: Iterable[str]
) -> None:
    """New random keys that have never been anywhere else, all or none.

    What is there already stays as it is. Raises CustodyUnavailable and its kinds.
    """

    def generate(link: _Link) -> None:
        makers: list[Callable[[], Sequence[pkcs11.Object]]] = [
            partial(_generate_master, link.session, key, generation)
            for key in masters
            if (key, generation) not in link.masters
        ]
        makers += [
            partial(_generate_pair, link.session, name)
            for name in signing
            if name not in link.signing
        ]
        _make_all(makers)

    with _lock:
        _use(place, pin, generate, opening=True)
        _forget(place)


def forget_in_token(
    place: TokenPlace, pin: str, masters: Iterable[CardKey], generation: int
) -> None:
    """Destroy these masters of one generation; what is not there is none to destroy.

    Raises CustodyUnavailable and its kinds.
    """

    def forget(link: _Link) -> None:
        for key in masters:
            there = link.masters.get((key, generation))
            if there is not None:
                there.destroy()

    with _lock:
        _use(place, pin, forget, opening=True)
        _forget(place)


def _create(session: Session, template: Mapping[Attribute, object]) -> list[pkcs11.Object]:
    return [session.create_object(dict(template))]


def _generate_master(session: Session, key: CardKey, generation: int) -> list[pkcs11.Object]:
    made = session.generate_key(
        KeyType.AES,
        128,
        store=True,
        capabilities=MechanismFlag.SIGN,
        template=_master_template(key, generation),
    )
    return [made]


def _make_all(makers: Iterable[Callable[[], Sequence[pkcs11.Object]]]) -> None:
    made: list[pkcs11.Object] = []
    try:
        for make in makers:
            made += make()
    except exceptions.PKCS11Error:
        for one in made:
            one.destroy()
        raise


def _master_template(key: CardKey, generation: int) -> dict[Attribute, object]:
    usable = (Attribute.ENCRYPT, Attribute.DECRYPT, Attribute.WRAP, Attribute.UNWRAP)
    return {
        Attribute.CLASS: ObjectClass.SECRET_KEY,
        Attribute.KEY_TYPE: KeyType.AES,
        Attribute.LABEL: _MASTER + key.value,
        Attribute.ID: bytes((generation,)),
        Attribute.TOKEN: True,
        Attribute.PRIVATE: True,
        Attribute.SENSITIVE: True,
        Attribute.EXTRACTABLE: False,
        Attribute.MODIFIABLE: False,
        Attribute.SIGN: True,
        Attribute.VERIFY: False,
        Attribute.DERIVE: False,
        **dict.fromkeys(usable, False),
    }


def _signing_templates(name: str, value: bytes) -> list[dict[Attribute, object]]:
    common = {
        Attribute.KEY_TYPE: KeyType.EC_EDWARDS,
        Attribute.LABEL: _SIGN + name,
        Attribute.ID: _SIGN_ID,
        Attribute.TOKEN: True,
        Attribute.MODIFIABLE: False,
        Attribute.EC_PARAMS: _ED25519_PARAMS,
    }
    private = {
        Attribute.CLASS: ObjectClass.PRIVATE_KEY,
        Attribute.PRIVATE: True,
        Attribute.SENSITIVE: True,
        Attribute.EXTRACTABLE: False,
        Attribute.SIGN: True,
        Attribute.VALUE: value,
    }
    public = {
        Attribute.CLASS: ObjectClass.PUBLIC_KEY,
        Attribute.PRIVATE: False,
        Attribute.VERIFY: True,
        Attribute.EC_POINT: _OCTETS_32 + _ed25519_public(value),
    }
    return [{**common, **private}, {**common, **public}]


def _generate_pair(session: Session, name: str) -> tuple[pkcs11.Object, pkcs11.Object]:
    parameters = session.create_domain_parameters(
        KeyType.EC_EDWARDS, {Attribute.EC_PARAMS: _ED25519_PARAMS}, local=True
    )
    return parameters.generate_keypair(
        id=_SIGN_ID,
        label=_SIGN + name,
        store=True,
        capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
        mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
        private_template={Attribute.EXTRACTABLE: False, Attribute.MODIFIABLE: False},
        public_template={Attribute.MODIFIABLE: False},
    )


def _ed25519_public(value: bytes) -> bytes:
    return KeyRing(signing={"": value}).public_key("")


def _cmac(master: SignMixin, message: bytes) -> bytes:
    return master.sign(message, mechanism=Mechanism.AES_CMAC, buffer_size=_CMAC_LENGTH)


def _name(place: TokenPlace) -> tuple[str, str]:
    return str(place.module), place.token


def _use(place: TokenPlace, pin: str, work: Callable[[_Link], _T], *, opening: bool = False) -> _T:
    """Do this with the token; once more with a new session if the one at hand has died.

    `work` may be done twice, and changes nothing or undoes what it changed. Raises HsmGone and, when
    `opening`, all that connecting can say.
    """
    name = _name(place)
    with _lock:
        if name in _refused:
            raise _refused[name](token=place.token)
        if not opening and time.monotonic() < _gone_until.get(name, 0):
            raise HsmGone(token=place.token, detail=exceptions.TokenNotPresent.__name__)
        if name in _links:
            try:
                return work(_links[name])
            except exceptions.PKCS11Error as error:
                if not _is_lost(error):
                    raise HsmRefused(token=place.token, detail=_word(error)) from error
                _forget(place)
        else:
            try:
                return work(_connect(place, pin))
            except exceptions.PKCS11Error as error:
                if not _is_lost(error):
                    raise HsmRefused(token=place.token, detail=_word(error)) from error
                _forget(place)
            except HsmTokenMissing:
                if opening:
                    raise
        return _again(place, pin, work)


def _again(place: TokenPlace, pin: str, work: Callable[[_Link], _T]) -> _T:
    """With a new session. Raises HsmGone, HsmRefused, and what logging in can say."""
    try:
        return work(_connect(place, pin))
    except exceptions.PKCS11Error as error:
        if not _is_lost(error):
            raise HsmRefused(token=place.token, detail=_word(error)) from error
        raise _gone(place, error) from error
    except HsmTokenMissing as error:
        raise _gone(place, error) from error


def _gone(place: TokenPlace, error: Exception) -> HsmGone:
    _forget(place)
    _gone_until[_name(place)] = time.monotonic() + _QUIET_SECONDS
    return HsmGone(token=place.token, detail=_word(error))


def _word(error: Exception) -> str:
    """An error's name: what more a module says is not for a log to keep."""
    return type(error).__name__


def _is_lost(error: exceptions.PKCS11Error) -> bool:
    """CKR_CRYPTOKI_NOT_INITIALIZED has no class of its own, only words."""
    return isinstance(error, _LOST) or "not initialized" in str(error)


def _connect(place: TokenPlace, pin: str) -> _Link:
    """A session of the process with that token. Raises HsmModuleMissing, HsmTokenMissing,
    HsmPinWrong, HsmPinLocked, HsmRefused and PKCS11Error.
    """
    session = _log_in(place, _find_token(_load(place.module), place.token), pin)
    found = _Link(session, {}, {}, {})
    _look_around(found)
    _links[_name(place)] = found
    return found


def _find_token(module: Module, name: str) -> pkcs11.Token:
    """A token in software leaves its own files aside while another process holds their lock, and
    looks for them anew only when it is initialised. Raises HsmTokenMissing, HsmRefused.
    """
    for pause_seconds in (*_LOCKED_SECONDS, None):
        try:
            return module.get_token(token_label=name)
        except exceptions.NoSuchToken as error:
            if pause_seconds is None:
                raise HsmTokenMissing(token=name) from error
            time.sleep(pause_seconds)
            module.reinitialize()
        except exceptions.MultipleTokensReturned as error:
            raise HsmRefused(token=name, detail=_word(error)) from error
    raise AssertionError


def _load(path: Path) -> Module:
    if not path.is_file():
        raise HsmModuleMissing(module=path, detail=os.strerror(2))
    try:
        return pkcs11.lib(str(path))
    except (exceptions.PKCS11Error, RuntimeError, OSError) as error:
        raise HsmModuleMissing(module=path, detail=_word(error)) from error


def _log_in(place: TokenPlace, token: pkcs11.Token, pin: str) -> Session:
    try:
        return token.open(rw=True, user_pin=pin)
    except (exceptions.PinIncorrect, exceptions.PinInvalid, exceptions.PinLenRange) as error:
        _refused[_name(place)] = HsmPinWrong
        raise HsmPinWrong(token=place.token) from error
    except exceptions.PinLocked as error:
        _refused[_name(place)] = HsmPinLocked
        raise HsmPinLocked(token=place.token) from error
    except exceptions.UserPinNotInitialized as error:
        raise HsmTokenMissing(token=place.token) from error


def _look_around(link: _Link) -> None:
    for one in link.session.get_objects({Attribute.CLASS: ObjectClass.SECRET_KEY}):
        label, id_ = one[Attribute.LABEL], one[Attribute.ID]
        known = label.removeprefix(_MASTER) if label.startswith(_MASTER) else ""
        if known in set(CardKey) and len(id_) == 1 and isinstance(one, SignMixin):
            link.masters[CardKey(known), id_[0]] = one
    for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY):
        for one in link.session.get_objects({Attribute.CLASS: kind, Attribute.ID: _SIGN_ID}):
            label = one[Attribute.LABEL]
            if not label.startswith(_SIGN):
                continue
            if isinstance(one, SignMixin):
                link.signing[label.removeprefix(_SIGN)] = one
            else:
                link.public[label.removeprefix(_SIGN)] = one[Attribute.EC_POINT][-32:]


def _forget(place: TokenPlace) -> None:
    """End the module's sessions in this process, whoever began them: the next use begins anew."""
    _finalise(str(place.module))


def _finalise(module: str) -> None:
    for name in [name for name in _links if name[0] == module]:
        del _links[name]
    loaded = pkcs11._loaded.get(module)  # noqa: SLF001 - the library has no other way to ask
    if loaded is not None and loaded.initialized:
        try:
            loaded.finalize()
        except exceptions.PKCS11Error:  # it was finalised already, behind our back
            loaded.initialized = False


def _before_fork() -> None:
    _lock.acquire()
    for module in {name[0] for name in _links}:
        _finalise(module)


os.register_at_fork(
    before=_before_fork, after_in_parent=_lock.release, after_in_child=_lock.release
)
