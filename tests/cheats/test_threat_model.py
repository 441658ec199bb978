"""docs/threat-model.md and the cheats are one to one."""

from __future__ import annotations

import ast
from pathlib import Path

from support.threat_table import committed_rows

CHEATS = Path(__file__).with_name("test_cheats.py")


def titles() -> list[str]:
    """Of every cheat, in order, as its marker has it."""
    found = []
    for node in ast.parse(CHEATS.read_text()).body:
        for mark in getattr(node, "decorator_list", []):
            assert isinstance(mark, ast.Call)
            title = mark.args[0]
            assert isinstance(title, ast.Constant)
            found.append(str(title.value))
    return found


def test_the_table_has_each_cheat_once_and_no_other() -> None:
    assert list(committed_rows()) == titles()
    assert len(set(titles())) == len(titles())
