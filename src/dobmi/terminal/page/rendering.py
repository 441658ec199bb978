"""The look of the till's page: its templates and files, over those that all pages share."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from dobmi.terminal.page.advice import ON_THE_PAGE
from dobmi.web.rendering import Look

LOOK: Final = Look(Path(__file__).parent, advice=ON_THE_PAGE)
render = LOOK.render
voice_of = LOOK.voice
