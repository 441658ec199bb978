"""Masters in a token of SoftHSM2, for real."""

from __future__ import annotations

import json
import os
import pickle
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pkcs11
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st
from pkcs11.constants import Attribute, MechanismFlag, ObjectClass
from pkcs11.mechanisms import KeyType, Mechanism
from pkcs11.types import Key, Session, SignMixin, WrapMixin

from dobmi.cardlib import custody_pkcs11
from dobmi.cardlib.custody import KeyRing, KeyRole, check_value, load_key_file
from dobmi.cardlib.custody_pkcs11 import Pkcs11Custody
from dobmi.cardlib.custody_place import (
    TokenPlace,
    Unlocking,
    make_masters,
    open_custody,
    store_masters,
)
from dobmi.cardlib.errors import (
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
from dobmi.cardlib.purse_layout import CardKey
from support.softhsm import MODULE, OPENS, PIN, SoftToken, in_use, initialise, make_token

UID = bytes.fromhex("04782E21801D80")
RING = KeyRing.generate(list(CardKey), ["server", "card-issuer"]).renewed()
MASTERS_1, MASTERS_2 = ({key: RING.masters[key][version] for key in CardKey} for version in (1, 2))


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftToken]:
    """The ring's keys, both generations, in a token that no test changes."""
    with in_use(make_token(tmp_path_factory.mktemp("stored"))) as token:
        store_masters(token.place, OPENS, MASTERS_1, 1, RING.signing)
        store_masters(token.place, OPENS, MASTERS_2, 2)
        yield token


@cache
def _opened(token: SoftToken) -> Pkcs11Custody:
    return Pkcs11Custody.open(token.place, OPENS)


@pytest.fixture
def custody(stored: SoftToken) -> Pkcs11Custody:
    return _opened(stored)


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[SoftToken]:
    with in_use(make_token(tmp_path / "token")) as token:
        yield token


def objects(token: SoftToken, kind: ObjectClass) -> list[pkcs11.Object]:
    """As whoever has the PIN sees them."""

    def find(link: custody_pkcs11._Link) -> list[pkcs11.Object]:
        return list(link.session.get_objects({Attribute.CLASS: kind}))

    return custody_pkcs11._use(token.place, PIN, find, opening=True)


class TestDerivation:
    def test_the_token_computes_an10922_as_published(self, empty: SoftToken) -> None:
        path = Path(__file__).parent.parent / "vectors" / "an10922.json"
        vectors = [
            one
            for one in json.loads(path.read_text())["vectors"]
            if one["inputs"].get("algorithm") == "AES-128" and not one.get("negative")
            and len(one["inputs"]["div_input"]) >= 32
        ]  # fmt: skip
        assert vectors
        for version, vector in enumerate(vectors, start=1):
            master = bytes.fromhex(vector["inputs"]["master_key"])
            store_masters(empty.place, OPENS, {CardKey.CREDIT: master}, version)
        found = {one[Attribute.ID][0]: one for one in objects(empty, ObjectClass.SECRET_KEY)}
        for version, vector in enumerate(vectors, start=1):
            message = b"\x01" + bytes.fromhex(vector["inputs"]["div_input"])
            key = found[version]
            assert isinstance(key, SignMixin)
            derived = custody_pkcs11._cmac(key, message)
            assert derived.hex().upper() == vector["outputs"]["diversified_key"], vector["name"]

    @settings(max_examples=25, deadline=None)
    @given(
        st.sampled_from(list(CardKey)),
        st.lists(st.binary(min_size=7, max_size=7), max_size=4),
        st.sampled_from((1, 2)),
    )
    def test_every_card_key_is_the_files(
        self, stored: SoftToken, key: CardKey, uids: list[bytes], version: int
    ) -> None:
        custody = _opened(stored)
        expected = RING.card_key_values(key, uids, version)
        assert custody.card_key_values(key, uids, version) == expected
        for uid in uids:
            assert custody.card_key(key, uid, version) == RING.card_key(key, uid, version)
            assert custody.card_key(key, uid) == RING.card_key(key, uid, 2)

    def test_a_generation_that_is_not_there_is_not_held(self, custody: Pkcs11Custody) -> None:
        assert custody.generations(CardKey.CREDIT) == (1, 2)
        for derive in (
            lambda: custody.card_key(CardKey.CREDIT, UID, 3),
            lambda: custody.card_key_values(CardKey.CREDIT, [UID], 3),
            lambda: custody.pinned(CardKey.CREDIT, 3),
        ):
            with pytest.raises(KeyNotHeld):
                derive()

    def test_a_pinned_generation_is_that_one_alone(self, custody: Pkcs11Custody) -> None:
        pinned = custody.pinned(CardKey.TRANSACTION_MAC, 1)
        mac, credit = CardKey.TRANSACTION_MAC, CardKey.CREDIT
        assert pinned.card_key(mac, UID) == RING.card_key(mac, UID, 1)
        assert pinned.card_key(credit, UID) == RING.card_key(credit, UID, 2)
        with pytest.raises(KeyNotHeld):
            pinned.card_key(mac, UID, 2)

    def test_a_uid_of_another_length_is_refused(self, custody: Pkcs11Custody) -> None:
        with pytest.raises(ValueError, match="7 bytes"):
            custody.card_key(CardKey.DEBIT, bytes(4))

    def test_threads_get_the_keys_they_ask_for(self, custody: Pkcs11Custody) -> None:
        wrong: list[bytes] = []

        def derive(number: int) -> None:
            for one in range(20):
                uid = bytes((4, number, one, 0, 0, 0, 0))
                if custody.card_key(CardKey.DEBIT, uid) != RING.card_key(CardKey.DEBIT, uid):
                    wrong.append(uid)

        threads = [threading.Thread(target=derive, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong

    def test_a_forked_process_and_its_parent_both_go_on(self, custody: Pkcs11Custody) -> None:
        expected = RING.card_key(CardKey.CREDIT, UID)
        assert custody.card_key(CardKey.CREDIT, UID) == expected
        for _ in range(2):
            child = os.fork()
            if not child:
                same = custody.card_key(CardKey.CREDIT, UID) == expected
                os._exit(0 if same else 1)
            assert custody.card_key(CardKey.CREDIT, UID) == expected
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    def test_a_pickled_custody_opens_a_session_of_its_own(self, custody: Pkcs11Custody) -> None:
        again: Pkcs11Custody = pickle.loads(pickle.dumps(custody))  # noqa: S301 - our own
        assert again.card_key(CardKey.CREDIT, UID) == RING.card_key(CardKey.CREDIT, UID)

    def test_a_generation_that_comes_later_waits_for_the_next_start(self, empty: SoftToken) -> None:
        store_masters(empty.place, OPENS, MASTERS_1, 1, RING.signing)
        running = Pkcs11Custody.open(empty.place, OPENS)
        store_masters(empty.place, OPENS, MASTERS_2, 2)
        assert running.card_key(CardKey.DEBIT, UID).version == 1
        assert Pkcs11Custody.open(empty.place, OPENS).card_key(CardKey.DEBIT, UID).version == 2


@pytest.fixture(scope="module", params=["stored", "made inside"])
def token(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SoftToken]:
    """With the masters of one generation, whichever way they came."""
    with in_use(make_token(tmp_path_factory.mktemp("token"))) as token:
        if request.param == "stored":
            store_masters(token.place, OPENS, MASTERS_1, 1, RING.signing)
        else:
            make_masters(token.place, OPENS, CardKey, 1, ["server", "card-issuer"])
        yield token


class TestNothingComesOut:
    """Whoever has the PIN, and with it the token: the masters stay where they are."""

    def test_no_value_can_be_read(self, token: SoftToken) -> None:
        masters = objects(token, ObjectClass.SECRET_KEY)
        assert len(masters) == len(CardKey)
        for one in [*masters, *objects(token, ObjectClass.PRIVATE_KEY)]:
            with pytest.raises(pkcs11.AttributeSensitive):
                one[Attribute.VALUE]

    def test_none_can_be_wrapped_by_another_key(self, token: SoftToken) -> None:
        masters = objects(token, ObjectClass.SECRET_KEY)

        def wrap(link: custody_pkcs11._Link) -> int:
            thief = link.session.generate_key(
                KeyType.AES, 256, capabilities=MechanismFlag.WRAP | MechanismFlag.ENCRYPT
            )
            assert isinstance(thief, WrapMixin)
            refused = 0
            for master in link.masters.values():
                assert isinstance(master, Key)
                for mechanism in (Mechanism.AES_KEY_WRAP, Mechanism.AES_KEY_WRAP_PAD):
                    with pytest.raises(pkcs11.PKCS11Error):
                        thief.wrap_key(master, mechanism=mechanism)
                    refused += 1
            thief.destroy()
            return refused

        assert custody_pkcs11._use(token.place, PIN, wrap, opening=True) == 2 * len(masters)

    @pytest.mark.parametrize(
        "change", [{Attribute.SENSITIVE: False}, {Attribute.EXTRACTABLE: True}], ids=str
    )
    def test_none_can_be_made_readable_nor_copied_so(
        self, token: SoftToken, change: dict[Attribute, bool]
    ) -> None:
        for one in objects(token, ObjectClass.SECRET_KEY):
            for attribute, value in change.items():
                with pytest.raises(pkcs11.PKCS11Error):
                    one[attribute] = value
            with pytest.raises(pkcs11.PKCS11Error):
                one.copy(change)
        assert len(objects(token, ObjectClass.SECRET_KEY)) == len(CardKey)

    def test_a_master_can_do_nothing_but_sign(self, token: SoftToken) -> None:
        for one in objects(token, ObjectClass.SECRET_KEY):
            assert one[Attribute.SIGN]
            for other in (Attribute.ENCRYPT, Attribute.DECRYPT, Attribute.WRAP, Attribute.DERIVE):
                assert not one[other]

    def test_none_is_in_a_repr_and_neither_is_the_pin(self, token: SoftToken) -> None:
        custody = Pkcs11Custody.open(token.place, OPENS)
        shown = repr(custody) + repr(OPENS) + repr(custody.pinned(CardKey.CREDIT, 1))
        distribution = load_key_file(token.place.distribution, OPENS.passphrase)
        values = [value for held in distribution.masters.values() for value in held.values()]
        for secret in (PIN, OPENS.passphrase, *(value.hex() for value in values)):
            assert secret not in shown


class TestStoring:
    def test_what_tills_are_given_is_in_the_file_beside_and_nothing_else(
        self, stored: SoftToken, custody: Pkcs11Custody
    ) -> None:
        beside = load_key_file(stored.place.distribution, OPENS.passphrase)
        assert set(beside.masters) == {CardKey.DEBIT, CardKey.PIN}
        assert custody.masters_of(KeyRole.TILL).masters == beside.masters
        assert not beside.signing
        till = KeyRing.generate(sealing=["till"])
        sealed = custody.sealed_masters(
            [CardKey.DEBIT, CardKey.PIN], till.sealing_public_key("till"), b"info"
        )
        assert till.unseal_masters("till", sealed, b"info").masters == beside.masters

    def test_what_is_in_the_token_alone_is_given_to_nobody(self, custody: Pkcs11Custody) -> None:
        for role in (KeyRole.AUDITOR, KeyRole.SERVER):
            with pytest.raises(MasterLocked):
                custody.masters_of(role)
        with pytest.raises(MasterLocked):
            custody.sealed_masters([CardKey.CREDIT], bytes(range(32)), b"")

    def test_it_shows_check_values_and_where_each_is(self, custody: Pkcs11Custody) -> None:
        held = {(one.key, one.generation): one for one in custody.held()}
        assert len(held) == 2 * len(CardKey)
        for (key, version), one in held.items():
            assert one.check_value == check_value(RING.masters[key][version])
            assert one.exportable == (key in {CardKey.DEBIT, CardKey.PIN})
            assert "Do BMI" in one.place

    def test_doing_it_again_changes_nothing(self, empty: SoftToken) -> None:
        for _ in range(2):
            store_masters(empty.place, OPENS, MASTERS_1, 1, RING.signing)
            assert len(objects(empty, ObjectClass.SECRET_KEY)) == len(CardKey)
            assert len(objects(empty, ObjectClass.PRIVATE_KEY)) == 2

    def test_another_key_in_its_place_is_refused_whole(self, empty: SoftToken) -> None:
        only = {key: MASTERS_1[key] for key in (CardKey.CREDIT, CardKey.DEBIT)}
        store_masters(empty.place, OPENS, only, 1)
        before = empty.place.distribution.read_bytes()
        other = {**MASTERS_1, CardKey.CREDIT: bytes(16)}
        with pytest.raises(MasterDiffers, match="credit"):
            store_masters(empty.place, OPENS, other, 1, RING.signing)
        assert len(objects(empty, ObjectClass.SECRET_KEY)) == 2
        assert not objects(empty, ObjectClass.PRIVATE_KEY)
        with pytest.raises(MasterDiffers, match="debit"):
            store_masters(empty.place, OPENS, {CardKey.DEBIT: bytes(16)}, 1)
        assert empty.place.distribution.read_bytes() != before  # the PIN master was not there yet

    def test_what_the_token_refuses_half_way_leaves_none(self, empty: SoftToken) -> None:
        def store(link: custody_pkcs11._Link) -> None:
            good = {
                **custody_pkcs11._master_template(CardKey.CREDIT, 1),
                Attribute.VALUE: bytes(16),
            }
            bad = {**good, Attribute.KEY_TYPE: KeyType.SEED}
            makers = [lambda one=one: [link.session.create_object(one)] for one in (good, bad)]
            custody_pkcs11._make_all(makers)

        with pytest.raises(HsmRefused):
            custody_pkcs11._use(empty.place, PIN, store, opening=True)
        assert not objects(empty, ObjectClass.SECRET_KEY)

    @pytest.mark.parametrize("made", ["stored", "made inside"])
    def test_it_signs_with_ed25519(self, empty: SoftToken, made: str) -> None:
        if made == "stored":
            store_masters(empty.place, OPENS, {}, 1, RING.signing)
        else:
            make_masters(empty.place, OPENS, [], 1, ["server", "card-issuer"])
        custody = Pkcs11Custody.open(empty.place, OPENS)
        for name in ("server", "card-issuer"):
            message = f"signed by {name}".encode()
            public = custody.public_key(name)
            Ed25519PublicKey.from_public_bytes(public).verify(custody.sign(name, message), message)
            assert (public == RING.public_key(name)) == (made == "stored")
        for ask in (custody.public_key, lambda name: custody.sign(name, b"")):
            with pytest.raises(KeyNotHeld):
                ask("nobody")

    def test_keys_made_inside_serve_as_any(self, empty: SoftToken) -> None:
        make_masters(empty.place, OPENS, CardKey, 1, ["server"])
        make_masters(empty.place, OPENS, CardKey, 1, ["server"])  # changes nothing
        custody = Pkcs11Custody.open(empty.place, OPENS)
        keys = {custody.card_key(key, UID).value for key in CardKey}
        assert len(keys) == len(CardKey)
        till = custody.masters_of(KeyRole.TILL)
        assert till.card_key(CardKey.DEBIT, UID) == custody.card_key(CardKey.DEBIT, UID)

    @pytest.mark.parametrize("generation", [0, 256])
    def test_no_key_has_that_generation(self, empty: SoftToken, generation: int) -> None:
        with pytest.raises(ValueError, match="generation"):
            store_masters(empty.place, OPENS, MASTERS_1, generation)


class TestATokenThatIsNotThere:
    def test_no_module(self, tmp_path: Path) -> None:
        for module in (tmp_path / "none.so", Path(__file__)):
            place = TokenPlace("Do BMI", module, tmp_path / "d.keys")
            with pytest.raises(HsmModuleMissing, match=module.name):
                open_custody(place, OPENS)

    def test_no_token_of_that_name(self, empty: SoftToken) -> None:
        place = TokenPlace("another", MODULE, empty.place.distribution)
        with pytest.raises(HsmTokenMissing, match="another"):
            open_custody(place, OPENS)

    def test_a_token_that_was_never_initialised(self, empty: SoftToken) -> None:
        empty.pull_out()
        with pytest.raises(HsmTokenMissing):
            open_custody(empty.place, OPENS)

    def test_two_tokens_of_one_name(self, empty: SoftToken) -> None:
        initialise(empty, empty.place.token)
        with pytest.raises(HsmRefused, match="MultipleTokens"):
            open_custody(empty.place, OPENS)

    @pytest.mark.parametrize("pin", ["000000", "", "x" * 300])
    def test_a_wrong_pin_is_said_and_shown_nowhere(self, empty: SoftToken, pin: str) -> None:
        with pytest.raises(HsmPinWrong) as refused:
            open_custody(empty.place, Unlocking("any", pin))
        assert not pin or pin not in str(refused.value)
        assert open_custody(empty.place, OPENS).held() == ()

    def test_a_locked_pin_is_told_from_a_wrong_one(
        self, empty: SoftToken, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """SoftHSM2 never locks one."""

        class Locked:
            def open(self, **_: object) -> None:
                raise pkcs11.PinLocked

        class Module:
            def get_token(self, **_: object) -> Locked:
                return Locked()

        monkeypatch.setattr(custody_pkcs11, "_load", lambda _: Module())
        with pytest.raises(HsmPinLocked):
            open_custody(empty.place, OPENS)


def _close_the_session() -> None:
    (link,) = custody_pkcs11._links.values()
    link.session.close()


class TestATokenThatGoes:
    @pytest.fixture
    def custody(self, empty: SoftToken) -> Pkcs11Custody:
        store_masters(empty.place, OPENS, MASTERS_1, 1, RING.signing)
        return Pkcs11Custody.open(empty.place, OPENS)

    def test_a_session_that_died_is_renewed_unseen(self, custody: Pkcs11Custody) -> None:
        for kill in (
            _close_the_session,
            lambda: pkcs11.lib(str(MODULE)).reinitialize(),
            lambda: pkcs11.lib(str(MODULE)).finalize(),
        ):
            kill()
            assert custody.card_key(CardKey.CREDIT, UID) == RING.card_key(CardKey.CREDIT, UID, 1)
            kill()
            assert len(custody.sign("server", b"x")) == 64

    def test_pulled_out_it_is_gone_and_put_in_again_it_goes_on(
        self, custody: Pkcs11Custody, empty: SoftToken
    ) -> None:
        empty.pull_out()
        for use in (
            lambda: custody.card_key(CardKey.CREDIT, UID),
            lambda: custody.card_key_values(CardKey.CREDIT, [UID], 1),
            lambda: custody.sign("server", b"x"),
            custody.check,
        ):
            with pytest.raises(HsmGone, match="Do BMI"):
                use()
        empty.put_in()
        custody.check()
        assert custody.card_key(CardKey.CREDIT, UID) == RING.card_key(CardKey.CREDIT, UID, 1)

    def test_it_is_not_asked_by_everybody_at_once(
        self, custody: Pkcs11Custody, empty: SoftToken, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(custody_pkcs11, "_QUIET_SECONDS", 60.0)
        asked: list[Path] = []
        load = custody_pkcs11._load

        def counted(path: Path) -> object:
            asked.append(path)
            return load(path)

        monkeypatch.setattr(custody_pkcs11, "_load", counted)
        empty.pull_out()
        for _ in range(5):
            with pytest.raises(HsmGone):
                custody.check()
        assert len(asked) == 1
        empty.put_in()

    def test_a_pin_that_was_changed_meanwhile_is_tried_once(
        self, custody: Pkcs11Custody, empty: SoftToken, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def change(link: custody_pkcs11._Link) -> None:
            link.session.set_pin(PIN, "161803")

        custody_pkcs11._use(empty.place, PIN, change)
        custody_pkcs11._forget(empty.place)
        tries: list[object] = []
        log_in = custody_pkcs11._log_in

        def counted(place: TokenPlace, token: pkcs11.Token, pin: str) -> Session:
            tries.append(place)
            return log_in(place, token, pin)

        monkeypatch.setattr(custody_pkcs11, "_log_in", counted)
        for _ in range(3):
            with pytest.raises(HsmPinWrong):
                custody.check()
        assert len(tries) == 1
