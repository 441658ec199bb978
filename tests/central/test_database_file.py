"""A SQLite database of the server's, opened by several programs and several times over."""

from __future__ import annotations

import contextlib
import stat
import subprocess
import sys
from pathlib import Path

from sqlalchemy import func, select

from dobmi.central.database import add_to_counter, insert_unless_there, open_database
from dobmi.central.schema import counters

COUNT = """\
import sys
from pathlib import Path
from sqlalchemy import select
from dobmi.central.database import open_database
from dobmi.central.schema import counters
database = open_database(sys.argv[1], Path(sys.argv[2]))
with database.read() as connection:
    print(connection.execute(select(counters.c.value).where(counters.c.name == "x")).scalar_one())
database.close()
"""
URL = "sqlite:///central.db"


def test_what_is_written_stays_when_another_program_has_looked_meanwhile(tmp_path: Path) -> None:
    def looked() -> int:
        command = [sys.executable, "-c", COUNT, URL, str(tmp_path)]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    with (
        contextlib.closing(open_database(URL, tmp_path)) as server,
        contextlib.closing(open_database(URL, tmp_path)) as reports,
    ):
        server.create_tables()
        with server.write() as connection:
            insert_unless_there(connection, counters, [{"name": "x", "value": 1}])
        with reports.read() as connection:
            assert connection.execute(select(func.count()).select_from(counters)).scalar_one()
        with contextlib.closing(open_database(URL, tmp_path)):
            assert looked() == 1
        with server.write() as connection:
            add_to_counter(connection, "x", 1)
        assert looked() == 2
    assert looked() == 2


def test_it_is_its_owner_s_alone(tmp_path: Path) -> None:
    with contextlib.closing(open_database(URL, tmp_path)) as database:
        database.create_tables()
        for file in tmp_path.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
