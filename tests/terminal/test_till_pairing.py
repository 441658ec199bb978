"""A machine becomes a till by a short code: over real HTTP, interrupted anywhere, and lied to."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from dobmi.cardlib.custody import KeyRing, load_key_file, save_key_file
from dobmi.cardlib.errors import NotSealedForUs, WrongPassphrase
from dobmi.cardlib.purse_layout import CardKey
from dobmi.central import pairing as office
from dobmi.central.errors import UnknownPairingCode
from dobmi.central.server import Central
from dobmi.central.terminals import list_terminals
from dobmi.money import Rupiah
from dobmi.sync.errors import ServerRefused, ServerUnreachable
from dobmi.sync.pairing import PairingState
from dobmi.terminal.errors import (
    AlreadyEnrolled,
    PairingNotApproved,
    PairingRefused,
    TooManyWrongReplies,
    WrongReply,
)
from dobmi.terminal.ledger import TillIdentity
from dobmi.terminal.pairing import (
    WRONG_REPLIES_MAX,
    Pairing,
    PairingProgress,
    TillFiles,
    ask_pairing,
    begin_pairing,
    finish_pairing,
    give_up_pairing,
    open_identity,
    pairing_under_way,
)
from support.servers import issued, new_central, serving
from support.tills import QUICK, Bench

PASSPHRASE = "kunci toko"


class Machine:
    """A new till, and whoever stands before it; every call is as of a process that just started."""

    def __init__(self, folder: Path, server: str) -> None:
        self.server = server
        self.files = TillFiles(
            database=folder / "till.db",
            identity=folder / "identity.keys",
            card_keys=folder / "till.keys",
        )
        self.keys = open_identity(self.files, PASSPHRASE)

    def begin(self) -> Pairing:
        return begin_pairing(self.files, self.keys, self.server, "Kasir 1", patience=QUICK)

    @property
    def under_way(self) -> Pairing:
        found = pairing_under_way(self.files)
        assert found is not None
        return found

    def ask(self) -> PairingProgress:
        return ask_pairing(self.files, self.keys, self.under_way, patience=QUICK)

    def finish(self, reply: str) -> TillIdentity:
        return finish_pairing(
            self.files, self.keys, self.under_way, reply, PASSPHRASE, patience=QUICK
        )


@pytest.fixture
def central(tmp_path: Path) -> Central:
    return new_central(tmp_path)


@pytest.fixture
def machine(tmp_path: Path, central: Central) -> Iterator[Machine]:
    with serving(central) as url:
        yield Machine(tmp_path / "till", url)


def approve(central: Central, code: str) -> str:
    """What the office says on the telephone."""
    return office.approve_pairing(central, code, seller="Toko Cikupa").reply


def test_a_code_told_and_four_digits_typed_make_a_till_that_sells(
    machine: Machine, central: Central, tmp_path: Path
) -> None:
    shown = machine.begin().shown
    waiting = machine.ask()
    assert waiting.state is PairingState.WAITING
    assert 0 < waiting.valid_seconds <= office.PAIRING_SECONDS
    reply = approve(central, shown.lower())
    assert machine.ask().state is PairingState.APPROVED
    identity = machine.finish(f" {reply} ")
    assert (identity.seller, identity.issuer) == ("Toko Cikupa", "Koperasi BMI")
    assert pairing_under_way(machine.files) is None
    custody = load_key_file(machine.files.card_keys, PASSPHRASE)
    assert set(custody.masters) == {CardKey.DEBIT, CardKey.PIN}
    bench = Bench(tmp_path, identity.terminal_id, machine.server, signing=machine.keys)
    machine.files.database.rename(bench.database)
    card = issued(central, 50_000)
    with bench.open(custody=custody) as till:
        bench.tap(card)
        assert till.balance().balance == Rupiah(50_000)


def test_only_the_owner_can_read_what_a_pairing_leaves(machine: Machine, central: Central) -> None:
    machine.begin()
    for path in (machine.files.identity, machine.files.pairing):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    machine.finish(approve(central, machine.under_way.shown))
    assert stat.S_IMODE(machine.files.card_keys.stat().st_mode) == 0o600
    assert not machine.files.pairing.exists()


def test_a_power_cut_at_any_step_is_gone_on_from(machine: Machine, central: Central) -> None:
    """Each step is taken by another process; the last one twice, as after a lost answer."""
    machine.begin()
    reply = approve(central, machine.under_way.shown)
    kept = machine.files.pairing.read_bytes()
    first = machine.finish(reply)
    machine.files.pairing.write_bytes(kept)  # the machine stopped before the file was gone
    assert machine.finish(reply) == first
    assert [one.name for one in list_terminals(central)] == ["Kasir 1"]


def test_card_keys_that_came_before_the_power_went_come_again(
    machine: Machine, central: Central
) -> None:
    machine.begin()
    reply = approve(central, machine.under_way.shown)
    save_key_file(machine.files.card_keys, KeyRing(), PASSPHRASE)
    machine.finish(reply)
    assert load_key_file(machine.files.card_keys, PASSPHRASE).masters[CardKey.DEBIT]


def test_an_identity_of_before_pairing_gets_a_key_to_seal_to(tmp_path: Path) -> None:
    files = TillFiles(database=tmp_path / "a.db", identity=tmp_path / "b", card_keys=tmp_path / "c")
    old = KeyRing.generate(signing=["terminal"])
    save_key_file(files.identity, old, PASSPHRASE)
    keys = open_identity(files, PASSPHRASE)
    assert keys.signing == old.signing
    assert open_identity(files, PASSPHRASE) == keys
    with pytest.raises(WrongPassphrase):
        open_identity(files, "lain")


def test_digits_are_taken_only_once_the_office_approved(machine: Machine) -> None:
    """Whoever is in between and knows the till's own digits gains nothing by that."""
    pairing = machine.begin()
    with pytest.raises(PairingNotApproved):
        machine.finish(pairing.code.reply)


def test_wrong_digits_are_refused_and_counted_over_restarts(
    machine: Machine, central: Central
) -> None:
    pairing = machine.begin()
    approve(central, pairing.shown)
    wrong = "0000" if pairing.code.reply != "0000" else "1111"
    for left in range(WRONG_REPLIES_MAX - 1, 0, -1):
        with pytest.raises(WrongReply) as refused:
            machine.finish(wrong)
        assert refused.value.facts["left"] == left
    with pytest.raises(TooManyWrongReplies):
        machine.finish(wrong)
    assert pairing_under_way(machine.files) is None
    assert not machine.files.card_keys.exists()


def test_a_server_in_between_shows_by_the_code(
    machine: Machine, central: Central, tmp_path: Path
) -> None:
    """It can approve as it likes: the office never says the digits that this till waits for."""
    other_folder = tmp_path / "elsewhere"
    other_folder.mkdir()
    other = new_central(other_folder)
    theirs = Central(
        other.database,
        KeyRing.generate(masters=CardKey, signing=["server", "card-issuer"]),
        other.settings,
        other.unix_seconds,
    )
    with serving(theirs) as url:
        machine.server = url
        pairing = machine.begin()
        approve(theirs, pairing.shown)
        assert machine.ask().state is PairingState.APPROVED
        with pytest.raises(UnknownPairingCode):
            approve(central, pairing.shown)
    assert not machine.files.card_keys.exists()


def test_a_refused_till_starts_anew(machine: Machine, central: Central) -> None:
    pairing = machine.begin()
    office.refuse_pairing(central, pairing.shown)
    with pytest.raises(PairingRefused):
        machine.ask()
    assert pairing_under_way(machine.files) is None
    assert machine.begin().shown != pairing.shown


def test_a_till_does_not_pair_twice(machine: Machine, central: Central) -> None:
    machine.begin()
    identity = machine.finish(approve(central, machine.under_way.shown))
    with pytest.raises(AlreadyEnrolled) as refused:
        machine.begin()
    assert refused.value.facts["terminal_id"] == identity.terminal_id


def test_keys_sealed_to_another_till_are_not_taken(machine: Machine, central: Central) -> None:
    machine.begin()
    reply = approve(central, machine.under_way.shown)
    machine.keys = KeyRing(
        signing=machine.keys.signing, sealing=KeyRing.generate(sealing=["terminal"]).sealing
    )
    with pytest.raises(NotSealedForUs):
        machine.finish(reply)
    assert not machine.files.card_keys.exists()
    assert not machine.files.database.exists()


def test_no_server_no_pairing(machine: Machine) -> None:
    machine.server = "http://127.0.0.1:1"
    with pytest.raises(ServerUnreachable):
        machine.begin()
    assert pairing_under_way(machine.files) is None


def test_a_pairing_that_the_server_forgot_is_said_to_be_so(
    machine: Machine, tmp_path: Path
) -> None:
    machine.begin()
    (tmp_path / "anew").mkdir()
    with serving(new_central(tmp_path / "anew")) as url:
        pairing = machine.under_way
        moved = Pairing(
            server=url,
            request=pairing.request,
            offer=pairing.offer,
            nonce=pairing.nonce,
            code=pairing.code,
        )
        with pytest.raises(ServerRefused) as refused:
            ask_pairing(machine.files, machine.keys, moved, patience=QUICK)
    assert refused.value.facts["problem"] == "CENTRAL-PAIRING-UNKNOWN"


@pytest.mark.parametrize("content", [b"", b"[]", b'{"server": "x"}', b"\xff"])
def test_a_file_that_tells_of_no_pairing_is_none(machine: Machine, content: bytes) -> None:
    machine.begin()
    machine.files.pairing.write_bytes(content)
    assert pairing_under_way(machine.files) is None
    assert machine.begin().shown
    give_up_pairing(machine.files)
    assert pairing_under_way(machine.files) is None


def test_nothing_secret_is_shown(machine: Machine) -> None:
    pairing = machine.begin()
    assert pairing.nonce.hex() not in repr(pairing)
    assert "code=" not in repr(pairing)
