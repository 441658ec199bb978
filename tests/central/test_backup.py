"""A backup is what restores: the same ledger, seen to be so, from a server that goes on serving."""

from __future__ import annotations

import json
import sqlite3
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pydantic import SecretStr
from sqlalchemy import Connection, delete, select

from dobmi.cardlib.custody import save_key_file
from dobmi.central import backup
from dobmi.central.backup import Facts, Manifest, back_up, facts_of, read_manifest, restore
from dobmi.central.cards import statement_of
from dobmi.central.circulation import circulation
from dobmi.central.database import Database, open_database
from dobmi.central.errors import (
    BackupFailed,
    BackupUnusable,
    DatabaseNotEmpty,
    RestoredOtherwise,
)
from dobmi.central.ingest import take_batch
from dobmi.central.schema import postings, restorations
from dobmi.central.server import Central
from dobmi.cli.central import command
from dobmi.cli.context import Context
from dobmi.money import ZERO, Rupiah
from dobmi.settings import CentralSettings, Settings
from support.central_client import RING, SETTINGS
from support.databases import Kind, bare_database, postgres_server
from support.traffic import START, ModelCard, ModelTill, World, make_keys


@dataclass
class Scene:
    """A server with some traffic, and an empty database beside it."""

    central: Central
    till: ModelTill
    card: ModelCard
    folder: Path
    kind: Kind
    programs: Path | None
    empty: Database

    def back_up(self) -> tuple[Path, Manifest]:
        return back_up(self.central, self.folder / "backups")

    def restore(self, place: Path) -> Manifest:
        return restore(
            place, self.empty, programs=self.programs, public_key=self.central.public_key
        )

    def sell_and_send(self) -> None:
        self.till.sell(self.card, Rupiah(1_000))
        take_batch(self.central, self.till.batch())


@pytest.fixture
def scene(world: World, tmp_path: Path, database_kind: Kind) -> Iterator[Scene]:
    programs = postgres_server().programs if database_kind is Kind.POSTGRESQL else None
    settings = SETTINGS.model_copy(update={"postgresql_programs": programs})
    central = replace(world.central, settings=settings)
    till, card = world.till(), world.card(4711)
    world.top_up(world.station(), card, Rupiah(100_000))
    for _ in range(5):
        till.sell(card, Rupiah(1_000))
    till.doubt(card, Rupiah(2_000), committed=False)
    take_batch(central, till.batch())
    (tmp_path / "restored").mkdir()
    empty = open_database(bare_database(tmp_path / "restored", database_kind))
    yield Scene(central, till, card, tmp_path, database_kind, programs, empty)
    empty.close()


def test_what_is_restored_is_what_was_there_at_the_backup(scene: Scene) -> None:
    at_backup = circulation(scene.central)
    place, manifest = scene.back_up()
    assert manifest.facts.chains[str(scene.till.terminal_id)][0] == 6
    assert manifest.facts.rows["vouchers"] == 6
    scene.sell_and_send()  # not in it
    scene.restore(place)
    restored = Central(scene.empty, RING, SETTINGS, lambda: START + 100)
    assert circulation(restored) == at_backup
    take_batch(restored, scene.till.batch(7, 7))
    assert circulation(restored) == circulation(scene.central)
    uid = scene.card.uid
    assert statement_of(restored, uid).balance == statement_of(scene.central, uid).balance


def test_the_restored_database_refuses_changes_as_the_first_did(scene: Scene) -> None:
    scene.restore(scene.back_up()[0])
    with (
        pytest.raises(Exception, match="append only"),
        scene.empty.engine.begin() as connection,
    ):
        connection.execute(delete(postings))


def test_what_comes_in_while_it_is_made_is_in_it_whole_or_not_at_all(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(connection: Connection) -> Facts:
        scene.sell_and_send()
        return facts_of(connection)

    with monkeypatch.context() as patch:
        patch.setattr(backup, "facts_of", meanwhile)
        place, manifest = scene.back_up()
    assert manifest.facts.rows["vouchers"] == 6
    with scene.central.database.read() as connection:
        assert facts_of(connection).rows["vouchers"] == 7
    scene.restore(place)


def test_only_its_owner_can_read_it(scene: Scene) -> None:
    place, manifest = scene.back_up()
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    for name in (manifest.file, "manifest.json"):
        assert stat.S_IMODE((place / name).stat().st_mode) == 0o600


def test_none_is_overwritten_and_a_failed_one_leaves_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, manifest = scene.back_up()
    with pytest.raises(BackupFailed):  # of the same second
        scene.back_up()

    def fail(_path: Path) -> str:
        raise OSError(28, "No space left on device")

    scene.central = replace(scene.central, unix_seconds=lambda: START + 60)
    monkeypatch.setattr(backup, "_sha256", fail)
    with pytest.raises(BackupFailed, match="No space left"):
        scene.back_up()
    monkeypatch.undo()
    assert list((scene.folder / "backups").iterdir()) == [place]
    assert read_manifest(place) == manifest


def test_without_postgresqls_programs_it_says_what_is_missing(scene: Scene) -> None:
    nowhere = SETTINGS.model_copy(update={"postgresql_programs": scene.folder})
    scene.central = replace(scene.central, settings=nowhere)
    if scene.kind is Kind.SQLITE:
        scene.back_up()  # needs none
    else:
        with pytest.raises(BackupFailed, match="pg_dump"):
            scene.back_up()


def test_no_list_of_processes_shows_the_databases_password(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[tuple[list[str], dict[str, str]]] = []
    run = subprocess.run

    def noted(words: list[str], **options: Any) -> Any:
        ran.append((words, options["env"]))
        return run(words, **options)

    if scene.kind is Kind.POSTGRESQL:
        url = scene.central.database.engine.url.set(password="rahasia")
        database = open_database(url.render_as_string(hide_password=False))
        scene.central = replace(scene.central, database=database)
    monkeypatch.setattr(subprocess, "run", noted)
    scene.back_up()
    assert len(ran) == (scene.kind is Kind.POSTGRESQL)
    for words, environment in ran:
        assert not any("rahasia" in word for word in words)
        assert environment["PGPASSWORD"] == "rahasia"
        scene.central.database.close()


@pytest.mark.parametrize("which", ["copy", "manifest"])
def test_a_backup_with_a_byte_changed_is_refused(scene: Scene, which: str) -> None:
    place, manifest = scene.back_up()
    path = place / (manifest.file if which == "copy" else "manifest.json")
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if which == "copy" else 0] ^= 1
    path.write_bytes(content)
    with pytest.raises(BackupUnusable):
        scene.restore(place)


@pytest.mark.parametrize(
    "change",
    [
        lambda facts: facts["rows"].update(postings=3),
        lambda facts: facts.update(trial_balance_sha256="00"),
        lambda facts: facts["chains"].update({"1": [9, "00"]}),
        lambda facts: facts.update(journal={}),
    ],
    ids=["rows", "trial balance", "chains", "journal"],
)
def test_a_ledger_that_is_not_the_manifests_is_told(
    scene: Scene, change: Callable[[dict[str, Any]], None]
) -> None:
    place, _ = scene.back_up()
    path = place / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    change(manifest["facts"])
    path.write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(RestoredOtherwise):
        scene.restore(place)


def test_nothing_is_restored_over_a_ledger_or_for_another_server(scene: Scene) -> None:
    place, _ = scene.back_up()
    stranger = make_keys().public_key("server")
    with pytest.raises(BackupUnusable):
        restore(place, scene.empty, programs=scene.programs, public_key=stranger)
    with scene.empty.read() as connection:
        assert backup._tables(connection) == []
    full = scene.central.database
    with pytest.raises(DatabaseNotEmpty):
        restore(place, full, programs=scene.programs, public_key=scene.central.public_key)


def test_one_of_an_older_version_is_restored_and_brought_forward(tmp_path: Path) -> None:
    dump = Path(__file__).parent / "kept" / "central_v1.sqlite.sql"
    with closing(sqlite3.connect(tmp_path / "old.db")) as connection:
        connection.executescript(dump.read_text(encoding="utf-8"))
    old = open_database("sqlite:///old.db", tmp_path)
    place, manifest = back_up(Central(old, RING, SETTINGS), tmp_path / "backups")
    old.close()
    assert manifest.facts.schema_version == 1
    save_key_file(tmp_path / "central.keys", RING, "kunci")
    settings = Settings(
        folder=tmp_path,
        central=CentralSettings(database="sqlite:///new.db"),
        passphrase=SecretStr("kunci"),
        language="en",
    )
    done = CliRunner().invoke(command, ["restore", str(place)], obj=Context(settings, "en", str))
    assert "After restoring: block list" in done.output
    new = open_database("sqlite:///new.db", tmp_path)
    new.require_tables()
    assert circulation(Central(new, RING, SETTINGS)).difference == ZERO
    new.close()


def test_the_office_makes_one_tries_it_and_goes_on_from_it(scene: Scene) -> None:
    scene.empty.close()
    save_key_file(scene.folder / "central.keys", RING, "kunci")

    def run(url: str, *arguments: str) -> str:
        settings = Settings(
            folder=scene.folder,
            central=CentralSettings(database=url, postgresql_programs=scene.programs),
            passphrase=SecretStr("kunci"),
            language="en",
        )
        context = Context(settings, "en", str)
        return CliRunner().invoke(command, arguments, obj=context).output

    def url_of(database: Database) -> str:
        return database.engine.url.render_as_string(hide_password=False)

    made = run(url_of(scene.central.database), "backup", str(scene.folder / "backups"))
    assert "6 vouchers of 2 terminals" in made
    (place,) = (scene.folder / "backups").iterdir()
    trial = url_of(scene.empty)
    assert "This was a trial" in run("", "restore", str(place), "--into", trial, "--trial")
    assert "CENTRAL-NOT-EMPTY" in run(trial, "restore", str(place))
    (scene.folder / "again").mkdir()
    new = bare_database(scene.folder / "again", scene.kind)
    assert "After restoring: block list" in run(new, "restore", str(place))
    restored = open_database(new)
    with restored.read() as connection:
        assert len(connection.execute(select(restorations)).all()) == 1
        assert facts_of(connection).rows["vouchers"] == 6
    restored.close()
