"""Print the part of requirements.lock that some extras need, with its hashes.

    locked_subset.py pyproject.toml requirements.lock terminal pcsc nfc

pip-compile notes under each package who asked for it ("# via"), from which the part follows. What
the lock file lacks is an error: it is then older than pyproject.toml.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

_ENTRY = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==")


def normal(name: str) -> str:
    """PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def entries_of(lock: str) -> dict[str, str]:
    """Package: its lines."""
    entries: dict[str, str] = {}
    name = ""
    for line in lock.splitlines(keepends=True):
        if found := _ENTRY.match(line):
            name = normal(found[1])
        if name:
            entries[name] = entries.get(name, "") + line
    return entries


def askers_of(entry: str) -> set[str]:
    """Who asked for the package, by the comment under it."""
    _, _, comment = entry.partition("# via")
    words = re.findall(r"^\s*#?\s*([A-Za-z0-9][\w.-]*)(?: \(.*\))?\s*$", comment, re.MULTILINE)
    return {normal(word) for word in words}


def wanted_by(project: dict[str, object], extras: list[str]) -> set[str]:
    """What the project itself asks for, with these extras, and to be built."""
    own: dict[str, list[str]] = project["project"]  # type: ignore[assignment] # as pyproject.toml has it
    optional: dict[str, list[str]] = own["optional-dependencies"]  # type: ignore[assignment] # likewise
    build: dict[str, list[str]] = project["build-system"]  # type: ignore[assignment] # likewise
    asked = [*own["dependencies"], *build["requires"]]
    for extra in extras:
        asked += optional[extra]
    return {normal(re.split(r"[\s\[<>=!~;]", one)[0]) for one in asked}


def subset(project: dict[str, object], lock: str, extras: list[str]) -> dict[str, str]:
    """Raises KeyError, naming what the lock file lacks."""
    entries = entries_of(lock)
    found = {name: entries[name] for name in wanted_by(project, extras)}
    while True:
        more = {
            name: entry
            for name, entry in entries.items()
            if name not in found and askers_of(entry) & found.keys()
        }
        if not more:
            return found
        found |= more


def main() -> None:
    pyproject, lock, *extras = sys.argv[1:]
    project = tomllib.loads(Path(pyproject).read_text(encoding="utf-8"))
    try:
        found = subset(project, Path(lock).read_text(encoding="utf-8"), extras)
    except KeyError as error:
        sys.exit(f"{lock} lacks {error.args[0]}: renew it with scripts/lock.")
    for _, entry in sorted(found.items()):
        sys.stdout.write(entry)


if __name__ == "__main__":
    main()
