"""The scene of each cheat, and the table in docs/threat-model.md that its outcome stands in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cheating import Row, Scene
from support.servers import new_central, serving
from support.threat_table import committed_rows, write_rows
from support.traffic import START

_written: dict[str, Row] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--threat-table", action="store_true", help="write the outcomes into docs/threat-model.md"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "cheat(title, means): a cheat, and what the cheater has for it"
    )


@pytest.fixture
def scene(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    """A server, served; when the cheat is over its outcome must be the document's."""
    clock = [START]
    central = new_central(tmp_path, lambda: clock[0])
    with serving(central) as url:
        scene = Scene(tmp_path, central, url, clock)
        yield scene
        marker = request.node.get_closest_marker("cheat")
        row = scene.row(*marker.args)
    central.database.close()
    if request.config.getoption("--threat-table", default=False):
        _written[row.cheat] = row
        return
    assert committed_rows().get(row.cheat) == row.markdown(), (
        "docs/threat-model.md tells another outcome; if this one is right, run scripts/threat-table"
    )


def pytest_sessionfinish(session: pytest.Session) -> None:
    if not session.config.getoption("--threat-table", default=False) or session.testsfailed:
        return
    write_rows(_written.values())
