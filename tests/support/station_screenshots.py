"""Pictures of every screen of the staff's page: what `scripts/screenshots --station` runs.

In each language a clerk's morning is walked through in a real Chromium, before the real program with its
simulated reader and a central server, as the test of it does.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, Page

from dobmi.i18n import LANGUAGES
from support import clerks_morning as steps
from support.chromium import LARGE_DESK, SMALL_DESK, open_page
from support.outlet_shop import office_at_work
from support.screenshots import Camera, free_port, take_all
from support.station_shop import Clerk, station_at_work


@dataclass
class Photographed(Clerk):
    """A clerk with a camera: what is looked at is taken."""

    camera: Camera = field(kw_only=True)

    def look(self, screen: str) -> None:
        self.camera.take(self.page, screen)

    def beside(self, page: Page) -> Photographed:
        return Photographed(page, self.shop, self.language, camera=self.camera)


def walk(chromium: Browser, folder: Path, camera: Camera) -> None:
    for name in ("office", "station"):
        (folder / name).mkdir()
    with (
        office_at_work(folder / "office") as office,
        station_at_work(office, folder / "station", free_port()) as shop,
    ):
        page = open_page(chromium, shop.url, LARGE_DESK, camera.language)
        clerk = Photographed(page, shop, camera.language, camera=camera)
        try:
            steps.whole_morning(clerk, chromium)
        except Exception as error:  # noqa: BLE001 - what was taken until then is of use
            camera.broken(page, "the morning", error)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("screenshots/station"))
    parser.add_argument("--language", choices=LANGUAGES, help="only this one")
    parser.add_argument("--strict", action="store_true", help="fail if there are remarks")
    arguments = parser.parse_args()
    languages = [arguments.language] if arguments.language else list(LANGUAGES)

    def say(text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    arguments.folder.mkdir(parents=True, exist_ok=True)
    remarks = take_all(arguments.folder, languages, walk, say, (LARGE_DESK, SMALL_DESK))
    if remarks and arguments.strict:
        sys.exit(1)


if __name__ == "__main__":
    main()
