from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from dobmi.cardlib import custody
from dobmi.cardlib.crypto import aes_cmac, diversify_aes128
from dobmi.cardlib.custody import (
    ROLE_KEYS,
    KeyRing,
    KeyRole,
    check_value,
    load_key_file,
    replace_key_file,
    save_key_file,
)
from dobmi.cardlib.custody_place import (
    FilePlace,
    TokenPlace,
    Unlocking,
    make_masters,
    open_custody,
    parse_place,
    store_masters,
)
from dobmi.cardlib.errors import (
    DamagedKeyFile,
    EmptyPassphrase,
    KeyFileUnusable,
    KeyNotHeld,
    MasterDiffers,
    OtherKeyFileFormat,
    WrongPassphrase,
)
from dobmi.cardlib.purse_layout import CardKey

UID = bytes.fromhex("04782E21801D80")


def test_a_key_file_gives_back_what_was_put_in(tmp_path: Path) -> None:
    ring = KeyRing.generate([CardKey.DEBIT, CardKey.PIN], ["terminal"])
    save_key_file(tmp_path / "till.keys", ring, "kopi tubruk")
    again = load_key_file(tmp_path / "till.keys", "kopi tubruk")
    assert again.card_key(CardKey.DEBIT, UID).value == ring.card_key(CardKey.DEBIT, UID).value
    assert again.public_key("terminal") == ring.public_key("terminal")


def test_a_key_file_shows_no_key_and_is_the_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "till.keys"
    ring = KeyRing.generate([CardKey.DEBIT], ["terminal"])
    save_key_file(path, ring, "kopi tubruk")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = path.read_text().casefold()
    for secret in (ring.masters[CardKey.DEBIT][1], ring.signing["terminal"]):
        assert secret.hex() not in text
        assert secret.hex() not in repr(ring)
        assert repr(secret) not in repr(ring)


def test_keys_are_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "till.keys"
    save_key_file(path, KeyRing.generate([CardKey.DEBIT]), "one")
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        save_key_file(path, KeyRing.generate([CardKey.DEBIT]), "two")
    assert path.read_bytes() == before


def test_a_wrong_passphrase_is_told_apart_from_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "till.keys"
    save_key_file(path, KeyRing.generate([CardKey.DEBIT]), "right")
    with pytest.raises(WrongPassphrase):
        load_key_file(path, "wrong")
    path.write_text(path.read_text()[:-40])
    with pytest.raises(DamagedKeyFile):
        load_key_file(path, "right")


def test_the_cost_of_guessing_cannot_be_lowered_unseen(tmp_path: Path) -> None:
    path = tmp_path / "till.keys"
    save_key_file(path, KeyRing.generate([CardKey.DEBIT]), "right")
    file = json.loads(path.read_text())
    file["scrypt"]["n"] = 2
    path.write_text(json.dumps(file))
    with pytest.raises(WrongPassphrase):
        load_key_file(path, "right")


def test_a_place_that_cannot_be_read_or_written_is_an_error_of_ours(tmp_path: Path) -> None:
    ring = KeyRing.generate([CardKey.DEBIT])
    (tmp_path / "folder.keys").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(KeyFileUnusable, match=r"folder\.keys"):
        load_key_file(tmp_path / "folder.keys", "any")
    with pytest.raises(KeyFileUnusable, match=r"till\.keys"):
        save_key_file(tmp_path / "file" / "till.keys", ring, "any")
    with pytest.raises(KeyFileUnusable):
        replace_key_file(tmp_path / "folder.keys", ring, "any")


def test_an_empty_passphrase_neither_closes_nor_opens_a_file(tmp_path: Path) -> None:
    path = tmp_path / "till.keys"
    ring = KeyRing.generate([CardKey.DEBIT])
    with pytest.raises(EmptyPassphrase):
        save_key_file(path, ring, "")
    assert not list(tmp_path.iterdir())
    save_key_file(path, ring, "one")
    for use in (lambda: load_key_file(path, ""), lambda: replace_key_file(path, ring, "")):
        with pytest.raises(EmptyPassphrase):
            use()
    assert load_key_file(path, "one").masters == ring.masters


def test_a_new_key_file_is_synced_with_its_folder_before_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    original = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        original(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    path = tmp_path / "till.keys"
    ring = KeyRing.generate([CardKey.DEBIT])
    for write in (save_key_file, replace_key_file):
        synced.clear()
        write(path, ring, "one")
        assert synced == [path.stat().st_ino, tmp_path.stat().st_ino]


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b'{"format": 1}', b"\xff\xfe", b"7"])
def test_what_is_no_key_file_is_called_damaged(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "till.keys"
    path.write_bytes(content)
    with pytest.raises(DamagedKeyFile):
        load_key_file(path, "any")


def test_a_file_cut_off_anywhere_is_called_damaged(tmp_path: Path) -> None:
    path = tmp_path / "till.keys"
    save_key_file(path, KeyRing.generate([CardKey.DEBIT]), "right")
    whole = path.read_bytes()
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedKeyFile):
            load_key_file(path, "right")


def test_a_file_of_another_version_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "till.keys"
    monkeypatch.setattr(custody, "_FORMAT", "dobmi key file 2")
    save_key_file(path, KeyRing.generate([CardKey.DEBIT]), "right")
    monkeypatch.undo()
    with pytest.raises(OtherKeyFileFormat, match="dobmi key file 2"):
        load_key_file(path, "right")


def test_a_kind_of_key_that_is_not_known_yet_is_another_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "till.keys"
    newer = {"loyalty": {"1": bytes(16).hex()}}
    monkeypatch.setattr(custody, "_masters_as_json", lambda _: newer)
    save_key_file(path, KeyRing(), "right")
    with pytest.raises(OtherKeyFileFormat):
        load_key_file(path, "right")


def test_a_file_that_others_may_read_is_opened_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "till.keys"
    save_key_file(path, KeyRing.generate([CardKey.DEBIT]), "right")
    load_key_file(path, "right")
    assert not caplog.records
    path.chmod(0o640)
    load_key_file(path, "right")
    assert "till.keys is open to others" in caplog.text


def test_no_role_but_the_servers_holds_a_key_that_makes_money() -> None:
    """P3: what a till is given cannot credit, and cannot make a transaction MAC."""
    ring = KeyRing.generate(list(CardKey), ["server"])
    assert ROLE_KEYS.keys() == set(KeyRole)
    makes_money = {CardKey.CREDIT}
    makes_evidence = {CardKey.TRANSACTION_MAC}
    for role in KeyRole:
        held = ring.masters_of(role)
        assert set(held.masters) == ROLE_KEYS[role]
        assert not held.signing
        if role is not KeyRole.SERVER:
            assert not makes_money & ROLE_KEYS[role]
        if role not in {KeyRole.SERVER, KeyRole.AUDITOR}:
            assert not makes_evidence & ROLE_KEYS[role]
        for key in set(CardKey) - ROLE_KEYS[role]:
            with pytest.raises(KeyNotHeld):
                held.card_key(key, UID)


def test_a_check_value_is_nothing_but_three_bytes_of_a_cmac() -> None:
    """The first block of RFC 4493 is another: CMAC of the empty message; this is SP 800-38B's way."""
    master = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
    assert check_value(master) == aes_cmac(master, bytes(16))[:3]
    ring = KeyRing(masters={CardKey.CREDIT: {1: master}})
    (held,) = ring.held()
    assert (held.key, held.generation, held.check_value) == (
        CardKey.CREDIT, 1, check_value(master),
    )  # fmt: skip


class TestPlaces:
    def test_a_setting_names_a_file_or_a_token(self, tmp_path: Path) -> None:
        beside = Path("distribution.keys")
        assert parse_place("central.keys", tmp_path, beside) == FilePlace(tmp_path / "central.keys")
        token = parse_place("pkcs11:token=Do BMI;module=/usr/lib/x.so", tmp_path, beside)
        assert token == TokenPlace("Do BMI", Path("/usr/lib/x.so"), tmp_path / beside)
        assert parse_place(str(token), tmp_path, beside) == token

    @pytest.mark.parametrize(
        "text",
        ["", "token=a", "token=a;module=", "token=a;module=b;pin=1", "module=b", "token=a;token=b"],
    )
    def test_a_token_named_otherwise_is_refused(self, tmp_path: Path, text: str) -> None:
        with pytest.raises(ValueError, match="pkcs11:token=NAME;module=PATH"):
            parse_place(f"pkcs11:{text}", tmp_path, Path("d"))

    def test_masters_are_added_to_a_file_and_never_changed(self, tmp_path: Path) -> None:
        place, opens = FilePlace(tmp_path / "central.keys"), Unlocking("kopi")
        first, second = bytes([1] * 16), bytes([2] * 16)
        store_masters(place, opens, {CardKey.CREDIT: first}, 1, {"server": bytes(range(32))})
        store_masters(place, opens, {CardKey.CREDIT: second}, 2)
        store_masters(place, opens, {CardKey.CREDIT: second}, 2)
        before = place.file.read_bytes()
        for wrong, signing in (
            ({CardKey.CREDIT: first, CardKey.DEBIT: first}, {}),
            ({}, {"server": bytes(32)}),
        ):
            with pytest.raises(MasterDiffers):
                store_masters(place, opens, wrong, 2, signing)
        with pytest.raises(WrongPassphrase):
            store_masters(place, Unlocking("teh"), {CardKey.DEBIT: first}, 1)
        assert place.file.read_bytes() == before
        assert load_key_file(place.file, "kopi").masters == {CardKey.CREDIT: {1: first, 2: second}}

    def test_new_masters_in_a_file_leave_those_there(self, tmp_path: Path) -> None:
        place, opens = FilePlace(tmp_path / "central.keys"), Unlocking("kopi")
        make_masters(place, opens, CardKey, 1, ["server"])
        first = load_key_file(place.file, "kopi")
        make_masters(place, opens, CardKey, 1, ["server", "card-issuer"])
        make_masters(place, opens, CardKey, 2)
        after = open_custody(place, opens)
        assert all(after.generations(key) == (1, 2) for key in CardKey)
        assert after.public_key("server") == first.public_key("server")
        for key in CardKey:
            assert after.card_key(key, UID, 1) == first.card_key(key, UID)


def test_every_card_and_every_role_has_another_key() -> None:
    ring = KeyRing.generate(list(CardKey))
    uids = [UID, bytes.fromhex("04782E21801D81")]
    of_each = set(CardKey) - {CardKey.SDM_META}  # which is for all of them: it opens the UID
    keys = {ring.card_key(key, uid).value for key in of_each for uid in uids}
    assert len(keys) == len(of_each) * len(uids)
    assert ring.card_key(CardKey.SDM_META, UID).value not in keys


def test_a_card_key_is_an10922_over_uid_application_and_system() -> None:
    ring = KeyRing.generate([CardKey.DEBIT])
    expected = diversify_aes128(
        ring.masters[CardKey.DEBIT][1], UID + bytes.fromhex("D0B310") + b"Do BMI"
    )
    assert ring.card_key(CardKey.DEBIT, UID).value == expected


def test_the_newest_version_is_used_unless_one_is_named() -> None:
    old, new = bytes(16), bytes([1] * 16)
    ring = KeyRing(masters={CardKey.DEBIT: {1: old, 2: new}})
    assert ring.card_key(CardKey.DEBIT, UID).version == 2
    assert ring.card_key(CardKey.DEBIT, UID, 1).version == 1
    with pytest.raises(KeyNotHeld):
        ring.card_key(CardKey.DEBIT, UID, 3)


def test_the_keys_of_many_cards_are_those_of_each() -> None:
    ring = KeyRing.generate([CardKey.TRANSACTION_MAC]).renewed()
    uids = [UID, bytes(7), bytes(range(7))]
    for version in (1, 2):
        values = ring.card_key_values(CardKey.TRANSACTION_MAC, uids, version)
        expected = [ring.card_key(CardKey.TRANSACTION_MAC, uid, version).value for uid in uids]
        assert values == expected
    with pytest.raises(KeyNotHeld):
        ring.card_key_values(CardKey.TRANSACTION_MAC, uids, 3)
