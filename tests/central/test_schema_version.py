"""A database of another version is refused when the server starts, not request by request."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text
from starlette.testclient import TestClient

from dobmi.central import migrations
from dobmi.central.app import create_app
from dobmi.central.database import Database, open_database
from dobmi.central.errors import DatabaseFailed, DatabaseNeverVersioned, DatabaseTooNew, OtherSchema
from dobmi.central.server import Central
from support.central_client import RING, SETTINGS
from support.databases import new_database

pytestmark = pytest.mark.usefixtures("database_kind")


def made(folder: Path, *changes: str) -> Database:
    database = open_database(new_database(folder, to_spoil=True))
    with database.write() as connection:
        for change in changes:
            connection.execute(text(change))
    return database


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        (("DROP TABLE alembic_version", "DROP TABLE schema_version"), DatabaseNeverVersioned),
        (("DELETE FROM alembic_version",), DatabaseNeverVersioned),
        (("UPDATE alembic_version SET version_num = '9999'",), DatabaseTooNew),
    ],
)
def test_tables_of_no_known_version_are_refused_and_left_alone(
    tmp_path: Path, changes: tuple[str, ...], error: type[OtherSchema]
) -> None:
    database = made(tmp_path, *changes)
    with pytest.raises(OtherSchema) as refusal:
        database.require_tables()
    assert refusal.value.facts["expected"] == migrations.head()
    for _ in range(2):
        with pytest.raises(error):
            database.create_tables()
    with pytest.raises(OtherSchema):
        database.require_tables()
    database.close()


def test_making_the_tables_again_changes_nothing(tmp_path: Path) -> None:
    database = made(tmp_path)
    database.create_tables()
    database.require_tables()
    database.close()


def test_what_the_database_cannot_do_is_a_problem_with_a_code(tmp_path: Path) -> None:
    database = made(tmp_path, "ALTER TABLE anomalies RENAME TO nowhere")
    with TestClient(create_app(Central(database, RING, SETTINGS))) as client:
        with database.engine.begin() as connection:
            connection.execute(text("ALTER TABLE invitations RENAME TO elsewhere"))
        with pytest.raises(DatabaseFailed), database.read() as connection:
            connection.execute(text("SELECT * FROM invitations"))
        answer = client.post(
            "/v1/batches", content=b"x", headers={"content-type": "application/cbor"}
        )
        assert answer.status_code == 400  # what it needs is there
        with database.engine.begin() as connection:
            connection.execute(text("ALTER TABLE rejected_batches RENAME TO gone"))
        answer = client.post(
            "/v1/batches", content=b"y", headers={"content-type": "application/cbor"}
        )
        assert (answer.status_code, answer.json()["code"]) == (500, "CENTRAL-DATABASE-FAILED")
        assert answer.json()["money_moved"] == "unknown"
        assert "gone" not in answer.text


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "central.db").write_bytes(b"not a database at all" * 100)
    database = open_database("sqlite:///central.db", tmp_path)
    with pytest.raises(DatabaseFailed):
        database.require_tables()
    database.close()
