"""A token of SoftHSM2 in a folder of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from dobmi.cardlib import custody, custody_pkcs11
from dobmi.cardlib.custody_place import TokenPlace, Unlocking

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
PIN = "271828"
SO_PIN = "31415926"
PASSPHRASE = "kopi tubruk"
OPENS = Unlocking(PASSPHRASE, PIN)


@dataclass(frozen=True)
class SoftToken:
    folder: Path
    place: TokenPlace

    @property
    def setting(self) -> str:
        return str(self.place)

    @property
    def config(self) -> Path:
        return self.folder / "softhsm2.conf"

    @property
    def environment(self) -> dict[str, str]:
        """For programs that are to find the token."""
        return {
            **os.environ,
            "SOFTHSM2_CONF": str(self.config),
            "DOBMI_HSM_PIN": PIN,
            "DOBMI_PASSPHRASE": PASSPHRASE,
        }

    def pull_out(self) -> None:
        """The token is not there any more."""
        (self.folder / "tokens").rename(self.folder / "pulled-out")
        (self.folder / "tokens").mkdir()

    def put_in(self) -> None:
        (self.folder / "tokens").rmdir()
        (self.folder / "pulled-out").rename(self.folder / "tokens")


def make_token(folder: Path, label: str = "Do BMI") -> SoftToken:
    (folder / "tokens").mkdir(parents=True)
    token = SoftToken(folder, TokenPlace(label, MODULE, folder / "distribution.keys"))
    token.config.write_text(
        f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n"
    )
    initialise(token, label)
    return token


def initialise(token: SoftToken, label: str) -> None:
    subprocess.run(
        [
            "softhsm2-util", "--init-token", "--free", "--label", label,
            "--pin", PIN, "--so-pin", SO_PIN, "--module", str(MODULE),
        ],
        env=token.environment,
        check=True,
        capture_output=True,
    )  # fmt: skip


@contextmanager
def in_use(token: SoftToken) -> Iterator[SoftToken]:
    """This process's SoftHSM looks into the token's folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(token.config))
        patch.setattr(custody_pkcs11, "_QUIET_SECONDS", 0.0)
        patch.setattr(custody, "_SCRYPT_N", 1 << 4)  # of the file beside it: nobody guesses here
        forget(token)
        try:
            yield token
        finally:
            forget(token)


def forget(token: SoftToken) -> None:
    custody_pkcs11._forget(token.place)
    custody_pkcs11._refused.clear()
    custody_pkcs11._gone_until.clear()
