"""The look of the staff's page: its templates and files, over those that all pages share."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from dobmi.provisioning.page.advice import AT_THE_STATION
from dobmi.web.rendering import Look

LOOK: Final = Look(Path(__file__).parent, advice=AT_THE_STATION)
render = LOOK.render
voice_of = LOOK.voice
