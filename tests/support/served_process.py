"""`dobmi central serve` as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from dobmi.cardlib.custody import save_key_file
from support.central_client import RING
from support.traffic import World

PASSPHRASE = "kunci kantor"


@dataclass
class Served:
    world: World
    url: str
    process: subprocess.Popen[str]
    log: Path

    def get(self, path: str) -> requests.Response:
        return requests.get(f"{self.url}{path}", timeout=10)


@contextmanager
def serving(world: World, folder: Path, port: int, **settings: object) -> Iterator[Served]:
    save_key_file(folder / "central.keys", RING, PASSPHRASE)
    told = {"database": world.url, "port": port, **settings}
    lines = [f"{name} = {json.dumps(value)}" for name, value in told.items()]
    (folder / "dobmi.toml").write_text("\n".join(["[central]", *lines]), encoding="utf-8")
    log = folder / "central.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "dobmi", "central", "serve"],
            cwd=folder,
            env={**os.environ, "DOBMI_PASSPHRASE": PASSPHRASE},
            stderr=output,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        served = Served(world, f"http://127.0.0.1:{port}", process, log)
        try:
            _until_ready(served)
            yield served
        finally:
            process.kill()
            process.wait()


def _until_ready(served: Served) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert served.process.poll() is None, served.log.read_text()
        try:
            if served.get("/readyz").ok:
                return
        except requests.ConnectionError:
            time.sleep(0.05)
    pytest.fail(served.log.read_text())
