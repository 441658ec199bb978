"""The table of outcomes in docs/threat-model.md."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from support.cheating import Row

DOCUMENT = Path(__file__).parents[2] / "docs" / "threat-model.md"
BEGIN, END = "<!-- outcomes: begin, by scripts/threat-table -->", "<!-- outcomes: end -->"
HEAD = (
    "| cheat | with what | found as | when | names | who loses, who gains |\n"
    "| --- | --- | --- | --- | --- | --- |\n"
)


def committed_rows() -> dict[str, str]:
    """Title to line of the document's table."""
    table = DOCUMENT.read_text().split(BEGIN)[1].split(END)[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")][2:]
    return {line.split(" | ")[0].removeprefix("| "): line for line in lines}


def write_rows(rows: Iterable[Row]) -> None:
    """Put these in the place of what the document's table has."""
    before, rest = DOCUMENT.read_text().split(BEGIN)
    table = HEAD + "".join(row.markdown() + "\n" for row in rows)
    DOCUMENT.write_text(f"{before}{BEGIN}\n{table}{END}{rest.split(END)[1]}")
