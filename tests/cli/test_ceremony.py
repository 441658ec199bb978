"""`dobmi ceremony`: keys made and brought back by several custodians."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pydantic import SecretStr

from dobmi.cardlib.custody import KeyRing, load_key_file
from dobmi.cardlib.custody_place import Unlocking, forget_masters, open_custody
from dobmi.cardlib.errors import RehearsalKeyFile
from dobmi.cardlib.purse_layout import CardKey
from dobmi.central.database import open_database
from dobmi.central.key_generations import DELETED_KEYS
from dobmi.central.schema import StaffRole, key_generations, staff_acts
from dobmi.central.server import CARD_ISSUER_KEY, SERVER_KEY
from dobmi.central.staff import add_staff
from dobmi.cli import ceremony, ceremony_places
from dobmi.cli.central_keys import keys
from dobmi.cli.ceremony import command
from dobmi.cli.context import Context
from dobmi.cli.opening import key_place
from dobmi.provisioning import ceremony_shares
from dobmi.provisioning.ceremony_minutes import read_chain, read_minutes
from dobmi.settings import CentralSettings, Settings
from support.at_a_terminal import Terminal, at_a_terminal
from support.softhsm import PIN, in_use, make_token

PASSPHRASE = "kunci kantor"
DICE = "1234566543211324563126451236452136451324561324561324"
NOW = 1_800_000_000
OWN = {"Ani": "milik Ani", "Budi": "milik Budi", "Citra": "milik Citra"}


class Room:
    """A folder with settings, where ceremonies are held, their shares in files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        settings = Settings(
            folder=folder,
            central=CentralSettings(database="sqlite:///central.db"),
            passphrase=SecretStr(PASSPHRASE),
            language="en",
        )
        self.context = Context(settings, "en", str)

    @property
    def minutes(self) -> Path:
        return self.folder / "ceremonies"

    @property
    def keys(self) -> KeyRing:
        return load_key_file(self.folder / "central.keys", PASSPHRASE)

    def run(self, *arguments: str, typed: str = "") -> Result:
        return CliRunner().invoke(command, arguments, obj=self.context, input=typed)

    def hold(self, kind: str, *more: str, people: tuple[str, ...] = tuple(OWN)) -> Result:
        """A ceremony in which everybody does their part."""
        named = [part for name in people for part in ("--custodian", name)]
        randomness = "".join(f"{DICE}\n" for _ in people)
        passphrases = "".join(f"{OWN[name]}\n{OWN[name]}\n" for name in people)
        return self.run(
            *(kind, *named, "--place", "Tangerang", "--share-files", str(self.folder / "shares")),
            *more,
            typed=randomness + passphrases,
        )

    def first(self, *more: str) -> None:
        done = self.hold("first", *more)
        assert done.exit_code == 0, done.output

    def shares(self, ceremony: str, pattern: str = "share") -> list[Path]:
        return sorted(self.folder.glob(f"shares/{pattern}-{ceremony[:6].upper()}-*.json"))

    def recover(self, minutes: Path, files: list[Path], *more: str, typed: str = "") -> Result:
        given = [part for file in files for part in ("--share-file", str(file))]
        own = [OWN[list(OWN)[int(file.stem[-1]) - 1]] for file in files]
        return self.run(
            *("recover", str(minutes), "--place", "Serang", *given, *more),
            typed="".join(f"{one}\n" for one in own) + typed,
        )


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceremony_shares, "_SCRYPT", {"n": 1 << 10, "r": 8, "p": 1})
    monkeypatch.setattr("dobmi.cardlib.custody._SCRYPT_N", 1 << 10)
    monkeypatch.setattr(ceremony, "now_unix_seconds", lambda: NOW)


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def refused(result: Result, code: str) -> None:
    assert result.exit_code == 1, result.output
    assert f"[{code}]" in result.output


class TestTheFirst:
    def test_every_master_and_both_signing_keys_are_made(self, room: Room) -> None:
        room.first()
        keys = room.keys
        assert set(keys.masters) == set(CardKey)
        assert {generation for held in keys.masters.values() for generation in held} == {1}
        assert set(keys.signing) == {SERVER_KEY, CARD_ISSUER_KEY}

    def test_the_minutes_say_who_when_where_and_the_check_values(self, room: Room) -> None:
        room.first("--witness", "Dewi", "--threshold", "2")
        path = room.minutes / "ceremony-0001.json"
        signed = read_minutes(path)
        minutes = signed.minutes
        assert [one.name for one in minutes.custodians] == list(OWN)
        assert minutes.time == "15-01-2027 15:00 WIB"
        assert (minutes.place, minutes.witnesses) == ("Tangerang", ("Dewi",))
        assert (minutes.threshold, minutes.shares, minutes.generation) == (2, 3, 1)
        held = {one.key.value: one.check_value.hex().upper() for one in room.keys.held()}
        assert minutes.keys == held
        assert signed.public_key == room.keys.public_key(SERVER_KEY)
        page = path.with_suffix(".txt").read_text(encoding="utf-8")
        for name in (*OWN, "Dewi", "Tangerang", minutes.time, signed.hash):
            assert name in page
        assert page.count("_" * 40) == 4

    def test_no_secret_is_in_the_output_or_the_minutes(self, room: Room) -> None:
        done = room.hold("first")
        keys = room.keys
        files = [path for path in room.minutes.rglob("*") if path.is_file()]
        texts = [done.output, *(path.read_text(encoding="utf-8") for path in files)]
        secrets = [value for held in keys.masters.values() for value in held.values()]
        secrets += keys.signing.values()
        for one in texts:
            for secret in (*(value.hex() for value in secrets), DICE, *OWN.values()):
                assert secret.lower() not in one.lower()

    def test_it_is_held_once(self, room: Room) -> None:
        room.first()
        before = room.keys
        refused(room.hold("first"), "CEREMONY-KEYS-THERE")
        assert room.keys == before

    @pytest.mark.parametrize("people", [("Ani",), ("Ani", "Ani"), ("Ani", " ANI ")])
    def test_one_person_cannot_hold_it(self, room: Room, people: tuple[str, ...]) -> None:
        done = room.run(
            "first", *(part for name in people for part in ("--custodian", name)), "--place", "x"
        )
        refused(done, "CEREMONY-CUSTODIANS")

    @pytest.mark.parametrize("threshold", ["1", "4"])
    def test_a_threshold_that_cannot_be_is_refused(self, room: Room, threshold: str) -> None:
        refused(room.hold("first", "--threshold", threshold), "CEREMONY-THRESHOLD")

    def test_weak_randomness_is_asked_for_again(self, room: Room) -> None:
        named = ("--custodian", "Ani", "--custodian", "Budi", "--place", "x")
        typed = f"111\n{DICE}\n{DICE}\na\na\nb\nb\n"
        done = room.run("first", *named, "--share-files", str(room.folder / "s"), typed=typed)
        assert done.exit_code == 0, done.output
        assert "[CEREMONY-RANDOMNESS]" in done.output

    def test_broken_off_at_any_prompt_nothing_is_stored(self, room: Room) -> None:
        named = ("--custodian", "Ani", "--custodian", "Budi", "--place", "x")
        lines = [DICE, DICE, "a", "a", "b", "b"]
        for count in range(len(lines)):
            typed = "".join(f"{line}\n" for line in lines[:count])
            done = room.run("first", *named, "--share-files", str(room.folder / "s"), typed=typed)
            assert done.exit_code == 1
            assert [path for path in room.folder.rglob("*") if path.is_file()] == []


class Crash(Exception):
    """The machine stopped here."""


class TestInterrupted:
    STEPS = ("write_pending", "write_whole", "store", "begin_generation", "finish")

    @pytest.mark.parametrize("when", ["before", "after"])
    @pytest.mark.parametrize("step", STEPS)
    def test_the_next_ceremony_finishes_it_or_gives_it_up(
        self, room: Room, monkeypatch: pytest.MonkeyPatch, step: str, when: str
    ) -> None:
        """A renewal, torn at each of its last steps; then another is held."""
        make_office(room)
        room.first()
        whole = room.keys
        with monkeypatch.context() as patch:
            place = ceremony_places.RealDestination if step == "store" else ceremony
            work = getattr(place, step)

            def crash(*arguments: object, **named: object) -> object:
                if when == "after":
                    work(*arguments, **named)
                raise Crash

            patch.setattr(place, step, crash)
            torn = room.hold("renew", "--accept-old-days", "9")
            assert isinstance(torn.exception, Crash)
        assert (
            room.keys.only(masters=CardKey).masters[CardKey.DEBIT][1]
            == (whole.masters[CardKey.DEBIT][1])
        )
        stored = 2 in room.keys.generations(CardKey.DEBIT)
        again = room.hold("renew", "--accept-old-days", "9")
        assert again.exit_code == 0, again.output
        chain = read_chain(room.minutes)
        generations = [one.minutes.generation for one in chain]
        assert generations == ([1, 2, 3] if stored else [1, 2])
        for signed in chain:
            held = {
                one.key.value: one.check_value.hex().upper()
                for one in room.keys.held()
                if one.generation == signed.minutes.generation
            }
            assert held == signed.minutes.keys
        assert begun(room) == generations[1:]
        assert not list(room.minutes.glob("*.pending"))


def make_office(room: Room, *names: str) -> None:
    database = open_database("sqlite:///central.db", room.folder)
    database.create_tables()
    for name in names or OWN:
        add_staff(database, name, [StaffRole.CUSTODIAN], NOW)
    add_staff(database, "Eka", [StaffRole.CLERK], NOW)
    database.close()


def begun(room: Room) -> list[int]:
    database = open_database("sqlite:///central.db", room.folder)
    with database.read() as connection:
        rows = connection.execute(key_generations.select().order_by(key_generations.c.generation))
        found = [row.generation for row in rows]
    database.close()
    return found


class TestRenewal:
    def test_a_generation_is_added_and_rolled(self, room: Room) -> None:
        make_office(room)
        room.first()
        before = room.keys
        done = room.hold("renew", "--accept-old-days", "30")
        assert done.exit_code == 0, done.output
        after = room.keys
        for key in CardKey:
            assert after.masters[key][1] == before.masters[key][1]
            assert set(after.masters[key]) == {1, 2}
        assert after.signing == before.signing
        database = open_database("sqlite:///central.db", room.folder)
        with database.read() as connection:
            row = connection.execute(key_generations.select()).one()
            acts = [act.act for act in connection.execute(staff_acts.select())]
        database.close()
        first, second = read_chain(room.minutes)
        assert row.older_until == NOW + 30 * 86400
        assert row.minutes_hash.hex() == second.hash
        assert second.minutes.previous == first.hash
        assert acts.count("ceremony") == 2

    def test_afterwards_nobody_makes_a_generation_alone(self, room: Room) -> None:
        make_office(room)
        room.first()
        alone = CliRunner().invoke(keys, ["renew"], obj=room.context)
        refused(alone, "CENTRAL-KEYS-CEREMONY")
        room.minutes.rename(room.folder / "elsewhere")
        refused(CliRunner().invoke(keys, ["renew"], obj=room.context), "CENTRAL-KEYS-CEREMONY")
        assert set(room.keys.masters[CardKey.CREDIT]) == {1}

    def test_there_must_be_keys_to_renew(self, room: Room) -> None:
        refused(room.hold("renew", "--accept-old-days", "1"), "CEREMONY-KEYS-MISSING")

    def test_only_registered_custodians_hold_it_where_there_is_a_database(self, room: Room) -> None:
        make_office(room, "Ani", "Budi")
        refused(room.hold("first"), "CENTRAL-STAFF")
        named = [part for name in ("Ani", "Eka") for part in ("--custodian", name)]
        refused(room.run("first", *named, "--place", "x"), "CENTRAL-STAFF")
        same = ("--custodian", "Ani", "--custodian", "ani", "--place", "x")
        refused(room.run("first", *same), "CEREMONY-CUSTODIANS")

    def test_a_clock_behind_the_last_ceremony_is_refused(
        self, room: Room, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        room.first()
        monkeypatch.setattr(ceremony, "now_unix_seconds", lambda: NOW - 1)
        refused(room.hold("renew", "--accept-old-days", "1"), "CEREMONY-CLOCK")
        assert room.keys.generations(CardKey.DEBIT) == (1,)


class TestRecovery:
    def test_the_keys_come_back_from_the_shares(self, room: Room) -> None:
        room.first()
        room_keys = room.keys
        minutes = room.minutes / "ceremony-0001.json"
        shares = room.shares(read_minutes(minutes).minutes.ceremony)
        (room.folder / "central.keys").unlink()
        for pair in ([0, 1], [2, 0]):
            done = room.recover(minutes, [shares[at] for at in pair])
            assert done.exit_code == 0, done.output
            assert room.keys == room_keys
        kinds = [one.minutes.kind.value for one in read_chain(room.minutes)]
        assert kinds == ["first", "recover", "recover"]
        told = read_chain(room.minutes)[-1].minutes
        assert [one.name for one in told.custodians] == ["Citra", "Ani"]

    def test_generations_are_recovered_one_after_the_other(self, room: Room) -> None:
        room.first()
        assert room.hold("renew", "--accept-old-days", "1").exit_code == 0
        keys = room.keys
        (room.folder / "central.keys").unlink()
        paths = [room.minutes / f"ceremony-000{number}.json" for number in (1, 2)]
        shares = [room.shares(read_minutes(path).minutes.ceremony)[:2] for path in paths]
        refused(room.recover(paths[1], shares[1]), "CEREMONY-KEYS-MISSING")
        assert not (room.folder / "central.keys").exists()
        for path, given in zip(paths, shares, strict=True):
            done = room.recover(path, given)
            assert done.exit_code == 0, done.output
        assert room.keys == keys

    def test_a_share_is_typed_where_there_is_no_file(self, room: Room) -> None:
        room.first()
        minutes = room.minutes / "ceremony-0001.json"
        one, other = room.shares(read_minutes(minutes).minutes.ceremony)[:2]
        paper = ceremony_shares.open_share(other.read_text(), OWN["Budi"]).on_paper()
        wrong = ("0" if paper[0] != "0" else "1") + paper[1:]
        into = str(room.folder / "other.keys")
        done = room.recover(minutes, [one], "--into", into, typed=f"{wrong}\n{paper}\n")
        assert done.exit_code == 0, done.output
        assert "[CEREMONY-SHARE-GROUP]" in done.output
        assert load_key_file(Path(into), PASSPHRASE) == room.keys

    def test_too_few_shares_twice_the_same_and_anothers_are_refused(self, room: Room) -> None:
        room.first()
        minutes = room.minutes / "ceremony-0001.json"
        shares = room.shares(read_minutes(minutes).minutes.ceremony)
        assert room.hold("renew", "--accept-old-days", "1").exit_code == 0
        renewed = read_minutes(room.minutes / "ceremony-0002.json").minutes
        foreign = room.shares(renewed.ceremony)
        into = ("--into", str(room.folder / "other.keys"))
        assert room.recover(minutes, shares[:1], *into).exit_code == 1
        twice = room.recover(minutes, [shares[0], shares[0]], *into)
        assert "[CEREMONY-SHARE-TWICE]" in twice.output
        other = room.recover(minutes, [shares[0], foreign[1]], *into)
        assert "[CEREMONY-SHARE-OTHER]" in other.output
        assert twice.exit_code == other.exit_code == 1
        assert not (room.folder / "other.keys").exists()

    def test_keys_that_are_not_the_minutes_are_not_stored(self, room: Room) -> None:
        """Shares that pass every check and give another root, as of a forged paper."""
        room.first()
        minutes = room.minutes / "ceremony-0001.json"
        id_ = read_minutes(minutes).minutes.ceremony
        shares = room.shares(id_)
        (room.folder / "central.keys").unlink()
        forged = ceremony_shares.split_root(bytes(16), bytes.fromhex(id_), 2, 3)[1]
        done = room.recover(minutes, shares[:1], typed=f"{forged.on_paper()}\n")
        refused(done, "CEREMONY-KEYS-DIFFER")
        assert not (room.folder / "central.keys").exists()

    def test_other_keys_are_never_overwritten(self, room: Room, tmp_path: Path) -> None:
        room.first()
        minutes = room.minutes / "ceremony-0001.json"
        shares = room.shares(read_minutes(minutes).minutes.ceremony)[:2]
        other = Room(tmp_path / "other")
        other.folder.mkdir()
        other.first()
        before = other.keys
        done = room.recover(minutes, shares, "--into", str(other.folder / "central.keys"))
        assert done.exit_code == 1
        assert "[KEY-DIFFERS]" in done.output
        assert other.keys == before


class TestRehearsal:
    def test_it_is_the_whole_course_and_nothing_of_it_is_real(self, room: Room) -> None:
        room.first()
        before = {path: path.read_bytes() for path in room.folder.rglob("*") if path.is_file()}
        folder = room.minutes / "rehearsal"
        for kind, more in (("first", ()), ("renew", ("--accept-old-days", "1"))):
            done = room.hold(kind, "--rehearsal", *more)
            assert done.exit_code == 0, done.output
            assert "REHEARSAL" in done.output
        with pytest.raises(RehearsalKeyFile):
            load_key_file(folder / "rehearsal.keys", PASSPHRASE)
        minutes = folder / "ceremony-0001.json"
        assert "LATIHAN" in minutes.with_suffix(".txt").read_text(encoding="utf-8")
        shares = room.shares(read_minutes(minutes).minutes.ceremony, "rehearsal-share")[:2]
        refused(room.recover(minutes, shares), "CEREMONY-REHEARSAL")
        assert room.recover(minutes, shares, "--rehearsal").exit_code == 0
        for path, content in before.items():
            assert path.read_bytes() == content

    def test_it_can_be_repeated(self, room: Room) -> None:
        for number in (1, 2):
            assert room.hold("first", "--rehearsal").exit_code == 0
            assert len(read_chain(room.minutes / "rehearsal")) == number
        assert not (room.folder / "central.keys").exists()


class TestVerify:
    def test_minutes_are_shown_with_the_chain_and_the_keys_compared(self, room: Room) -> None:
        room.first()
        path = str(room.minutes / "ceremony-0001.json")
        key = room.keys.public_key(SERVER_KEY).hex()
        done = room.run("verify", path, "--server-key", key, "--keys")
        assert done.exit_code == 0, done.output
        assert key in done.output
        refused(room.run("verify", path, "--server-key", "00" * 32), "CEREMONY-MINUTES-FORGED")

    def test_changed_minutes_are_found(self, room: Room) -> None:
        room.first()
        path = room.minutes / "ceremony-0001.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        for name, value in (("place", "Jakarta"), ("threshold", 3), ("unix_seconds", 1)):
            changed = {**content, "minutes": {**content["minutes"], name: value}}
            path.write_text(json.dumps(changed), encoding="utf-8")
            refused(room.run("verify", str(path)), "CEREMONY-MINUTES-FORGED")
        for broken in ("", "[]", "{}", '{"format": 1}', json.dumps({**content, "minutes": {}})):
            path.write_text(broken, encoding="utf-8")
            refused(room.run("verify", str(path)), "CEREMONY-MINUTES")

    def test_minutes_that_were_taken_out_are_missed(self, room: Room) -> None:
        room.first()
        for _ in range(2):
            assert room.hold("renew", "--accept-old-days", "1").exit_code == 0
        (room.minutes / "ceremony-0002.json").unlink()
        last = room.minutes / "ceremony-0003.json"
        refused(room.run("verify", str(last)), "CEREMONY-MINUTES-CHAIN")
        refused(room.hold("renew", "--accept-old-days", "1"), "CEREMONY-MINUTES-CHAIN")

    def test_the_servers_keys_are_told_from_others(self, room: Room, tmp_path: Path) -> None:
        room.first()
        other = Room(tmp_path / "other")
        other.folder.mkdir()
        other.first()
        path = str(room.minutes / "ceremony-0001.json")
        refused(other.run("verify", path, "--keys"), "CEREMONY-KEYS-DIFFER")


class TestIntoAToken:
    @pytest.fixture
    def room(self, tmp_path: Path) -> Iterator[Room]:
        with in_use(make_token(tmp_path / "token")) as token:
            room = Room(tmp_path)
            central = CentralSettings(database="sqlite:///central.db", keys=token.setting)
            settings = room.context.settings.model_copy(
                update={"central": central, "hsm_pin": SecretStr(PIN)}
            )
            room.context = Context(settings, "en", str)
            yield room

    def test_the_keys_go_into_the_token_and_come_back_into_it_and_old_ones_go(
        self, room: Room
    ) -> None:
        room.first()
        assert room.hold("renew", "--accept-old-days", "1").exit_code == 0
        place = key_place(room.context)
        opens = Unlocking(PASSPHRASE, PIN)
        before = open_custody(place, opens).held()
        assert {one.generation for one in before} == {1, 2}
        path = room.minutes / "ceremony-0002.json"
        assert room.run("verify", str(path), "--keys").exit_code == 0
        forget_masters(place, opens, DELETED_KEYS, 2)
        left = open_custody(place, opens)
        assert left.generations(CardKey.CREDIT) == (1,)
        assert left.generations(CardKey.TRANSACTION_MAC) == (1, 2)
        shares = room.shares(read_minutes(path).minutes.ceremony)[:2]
        done = room.recover(path, shares)
        assert done.exit_code == 0, done.output
        assert open_custody(place, opens).held() == before


# ----- at a real terminal

SETTINGS = f'language = "en"\npassphrase = "{PASSPHRASE}"\n'


@contextmanager
def dobmi(folder: Path, *arguments: str) -> Iterator[Terminal]:
    program = (sys.executable, "-m", "dobmi", "ceremony", *arguments)
    with at_a_terminal(program, folder, {"TERM": "xterm"}) as terminal:
        yield terminal


def test_at_a_terminal_each_custodian_has_a_screen_that_is_wiped(tmp_path: Path) -> None:
    (tmp_path / "dobmi.toml").write_text(SETTINGS, encoding="utf-8")
    papers = {}
    people = ("--custodian", "Ani", "--custodian", "Budi", "--place", "Tangerang")
    with dobmi(tmp_path, "first", *people) as terminal:
        for name in ("Ani", "Budi"):
            terminal.expect(f"{name} alone at the screen")
            terminal.send("")
            terminal.expect("Your randomness")
            terminal.send(DICE)
            terminal.expect("check value of the component")
        terminal.expect("Check values of the keys")
        for name in ("Ani", "Budi"):
            terminal.expect(f"{name} alone at the screen")
            terminal.send("")
            shown = terminal.expect("Press Enter")
            papers[name] = " ".join(re.findall(r"\b[0-9A-F]{5}\b", shown))
            assert "\x1b[?1049h" in shown
            terminal.send("")
            wiped = terminal.expect("alone at the screen")
            assert wiped.index("\x1b[3J") < wiped.index("\x1b[?1049l")
            terminal.send("")
            terminal.expect("Type the share")
            terminal.send(papers[name])
            terminal.expect(f"{name} has share")
        terminal.end()
        assert terminal.exit_code == 0, terminal.seen
        for paper in papers.values():  # shown once; what was typed is not
            assert terminal.seen.count(paper.split()[3]) == 1
        assert DICE not in terminal.seen
    made = load_key_file(tmp_path / "central.keys", PASSPHRASE)
    minutes = "ceremonies/ceremony-0001.json"
    with dobmi(tmp_path, "recover", minutes, "--into", "again.keys", "--place", "x") as terminal:
        for paper in papers.values():
            terminal.expect("alone at the screen")
            terminal.send("")
            terminal.expect("as it stands on the paper")
            terminal.send(paper)
            terminal.expect("are here")
        terminal.end()
        assert terminal.exit_code == 0, terminal.seen
        assert papers["Ani"].split()[3] not in terminal.seen
    assert load_key_file(tmp_path / "again.keys", PASSPHRASE) == made
