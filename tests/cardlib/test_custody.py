from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from dobmi.cardlib.crypto import diversify_aes128
from dobmi.cardlib.custody import KeyRing, load_key_file, replace_key_file, save_key_file
from dobmi.cardlib.errors import (
    DamagedKeyFile,
    EmptyPassphrase,
    KeyFileUnusable,
    KeyNotHeld,
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


def test_a_tills_ring_holds_no_key_that_makes_money() -> None:
    """P3: what a till is given cannot credit, and cannot make a transaction MAC."""
    till = KeyRing.generate(list(CardKey)).only([CardKey.DEBIT, CardKey.PIN])
    for key in (CardKey.CREDIT, CardKey.TRANSACTION_MAC, CardKey.APPLICATION, CardKey.PICC):
        with pytest.raises(KeyNotHeld):
            till.card_key(key, UID)


def test_every_card_and_every_role_has_another_key() -> None:
    ring = KeyRing.generate(list(CardKey))
    uids = [UID, bytes.fromhex("04782E21801D81")]
    keys = {ring.card_key(key, uid).value for key in CardKey for uid in uids}
    assert len(keys) == len(CardKey) * len(uids)


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
