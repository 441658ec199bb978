"""Where a ceremony's keys go: where the server's keys are, or, in a rehearsal, a file of no use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from dobmi.cardlib.custody import REHEARSAL_FORMAT, KeyRing, ServerCustody
from dobmi.cardlib.custody_place import (
    FilePlace,
    KeyPlace,
    Unlocking,
    open_custody,
    store_masters,
)
from dobmi.cardlib.purse_layout import CardKey
from dobmi.provisioning.ceremony import CeremonyKeys
from dobmi.provisioning.ceremony_minutes import write_whole
from dobmi.provisioning.ceremony_shares import open_text, seal_text


class Destination(Protocol):
    """`held` is what is there now, None for nothing at all."""

    @property
    def name(self) -> str:
        """For the minutes."""

    def held(self) -> ServerCustody | None:
        """Raises what open_custody raises."""

    def store(self, keys: CeremonyKeys, generation: int) -> None:
        """All or none; what is there and the same stays. Raises as store_masters."""


@dataclass(slots=True)
class RealDestination:
    place: KeyPlace
    opens: Unlocking = field(repr=False)

    @property
    def name(self) -> str:
        return self.place.file.name if isinstance(self.place, FilePlace) else str(self.place)

    def held(self) -> ServerCustody | None:
        if isinstance(self.place, FilePlace) and not self.place.file.exists():
            return None
        return open_custody(self.place, self.opens)

    def store(self, keys: CeremonyKeys, generation: int) -> None:
        store_masters(self.place, self.opens, keys.masters, generation, keys.signing)


@dataclass(slots=True)
class RehearsalDestination:
    """`starts_anew`: what an earlier rehearsal left does not count."""

    file: Path
    passphrase: str = field(repr=False)
    starts_anew: bool = False

    @property
    def name(self) -> str:
        return self.file.name

    def held(self) -> KeyRing | None:
        """Raises ShareFileDamaged, ShareFileLocked."""
        if self.starts_anew or not self.file.exists():
            return None
        content = json.loads(
            open_text(REHEARSAL_FORMAT, self.file.read_text(encoding="utf-8"), self.passphrase)
        )
        return KeyRing(
            masters={
                CardKey(key): {
                    int(version): bytes.fromhex(value) for version, value in held.items()
                }
                for key, held in content["masters"].items()
            },
            signing={name: bytes.fromhex(value) for name, value in content["signing"].items()},
        )

    def store(self, keys: CeremonyKeys, generation: int) -> None:
        ring = self.held() or KeyRing()
        masters: dict[CardKey, Mapping[int, bytes]] = dict(ring.masters)
        for key, value in keys.masters.items():
            masters[key] = {**masters.get(key, {}), generation: value}
        ring = replace(ring, masters=masters, signing={**ring.signing, **keys.signing})
        content = {
            "masters": {
                key.value: {str(version): value.hex() for version, value in held.items()}
                for key, held in ring.masters.items()
            },
            "signing": {name: value.hex() for name, value in ring.signing.items()},
        }
        sealed = seal_text(REHEARSAL_FORMAT, json.dumps(content), self.passphrase)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.file, sealed, mode=0o600)
        self.starts_anew = False
