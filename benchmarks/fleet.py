"""How much of the whole system's life one core simulates, and what goes wrong in it on purpose.

    python benchmarks/fleet.py [--json] [--seeds 30] [--hours 4]

Each seed is a fleet of three tills, a station, a central server and their members' cards. All that is
timed is the real code of every part, from the radio frame to the server's posting, on SQLite files in
memory; and all oracles after every step. Beside it stand the numbers of cases that `dobmi sim tears` and
`dobmi sim crashes` enumerate, by their own lists.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

from rich.console import Console
from rich.table import Table

from dobmi.fleet import tears
from dobmi.fleet.run import HOURS, Figures, run_seed
from dobmi.fleet.template import template


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--hours", type=float, default=HOURS)
    arguments = parser.parse_args()
    template()  # made once a process; not what is measured
    figures = Figures()
    for seed in range(arguments.seeds):
        figures.add(seed, run_seed(seed, arguments.hours))
    found = figures.as_json() | _enumerated()
    if arguments.json:
        print(json.dumps(found))
    else:
        _show(found)
    return 1 if found["failures"] else 0


def _enumerated() -> dict[str, int]:
    """Crashes are listed by the command, which plays its day once to find them."""
    command = [sys.executable, "-m", "dobmi", "sim", "crashes", "--list", "--json"]
    listed = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    cases_at: dict[str, int] = json.loads(listed)
    return {
        "tear_cases": len(tears.cases()),
        "crash_points": len(cases_at),
        "crash_cases": sum(cases_at.values()),
    }


def _show(found: dict[str, object]) -> None:
    console = Console()
    table = Table("measured", "figure")
    for name, value in found.items():
        if isinstance(value, int | float):
            table.add_row(name.replace("_", " "), f"{value:,}")
    console.print(table)
    faults = Table("fault", "injected")
    kinds = found["faults_by_kind"]
    assert isinstance(kinds, dict)
    for kind, count in kinds.items():
        faults.add_row(kind, f"{count:,}")
    console.print(faults)
    console.print(f"failures: {found['failures'] or 'none'}")


if __name__ == "__main__":
    sys.exit(main())
