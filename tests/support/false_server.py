"""A server that is not the cooperative's, and machines that pair with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

from dobmi.cardlib.custody import KeyRing
from dobmi.cardlib.purse_layout import CardKey
from dobmi.terminal.pairing import Pairing, TillFiles, begin_pairing, open_identity
from support.cheating import Scene
from support.servers import new_central, serving
from support.tills import QUICK

THIEF = KeyRing.generate(masters=CardKey, signing=["server", "card-issuer"])


@contextmanager
def serving_thief(scene: Scene) -> Iterator[str]:
    """A server like ours, whose key is not ours."""
    folder = scene.folder / "thief"
    folder.mkdir()
    theirs = dataclasses.replace(new_central(folder, lambda: scene.now), keys=THIEF)
    with serving(theirs) as url:
        yield url
    theirs.database.close()


def begin(scene: Scene, name: str, url: str) -> tuple[Pairing, TillFiles]:
    files = TillFiles(
        database=scene.folder / f"{name}.db",
        identity=scene.folder / f"{name}.keys",
        card_keys=scene.folder / f"{name}-cards.keys",
    )
    keys = open_identity(files, "kunci")
    return begin_pairing(files, keys, url, name, patience=QUICK), files
