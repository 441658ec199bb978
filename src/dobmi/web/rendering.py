"""Templates, in one of the two languages: money, times and texts as the people here write them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from gettext import NullTranslations
from pathlib import Path
from types import MappingProxyType
from typing import Final

from babel.dates import format_date
from fastapi import FastAPI
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from dobmi.errors import DoBMIError, MoneyMoved, Phrase
from dobmi.i18n import DEFAULT_LANGUAGE, LANGUAGES, N_, translation
from dobmi.money import Rupiah
from dobmi.wib import day_of, local_time

_FOLDER: Final = Path(__file__).parent
SHARED_TEMPLATES: Final = _FOLDER / "templates"
_SHARED_FILES: Final = _FOLDER / "static"
LANGUAGE_COOKIE: Final = "dobmi_language"
_NO_ADVICE: Final[Mapping[str, str]] = MappingProxyType({})
_ENDS = (".", "!", "?", "…")
_MINUTE, _HOUR, _DAY = 60, 3600, 24 * 3600
_LOCALES = {"id": "id_ID", "en": "en_GB"}
MONEY_MOVED = {
    MoneyMoved.NO: N_("No money moved."),
    MoneyMoved.YES: N_("The money moved."),
    MoneyMoved.UNKNOWN: N_("It is not known whether the money moved."),
}


@dataclass(frozen=True, slots=True)
class Voice:
    """One language. `say` fills the places of a message id's translation.

    `advice`: next steps as they are taken at this page, by the error's code.
    """

    language: str
    advice: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)

    @property
    def translate(self) -> Callable[[str], str]:
        return _catalogue(self.language).gettext

    def say(self, message: str, **facts: object) -> str:
        text = self.translate(message)
        return text.format(**_unbroken(facts)) if facts else text

    def plural(self, one: str, many: str, number: int, **facts: object) -> str:
        """`one` or `many`, as the language has it for `number`, which fills `{number}`."""
        text = _catalogue(self.language).ngettext(one, many, number)
        return text.format(number=number, **_unbroken(facts))

    def explain(self, error: DoBMIError | Phrase) -> str:
        return error.explain(self.translate)

    def advise(self, error: DoBMIError) -> str:
        """The next step, as it is taken at the page."""
        words = self.advice.get(error.code)
        if words is None:
            return error.advise(self.translate)
        return Phrase(words, **error.facts).explain(self.translate)

    def tell(self, error: DoBMIError) -> str:
        """Both, as two sentences: what a fact ends with may be no full stop."""
        said = self.explain(error)
        return f"{said if said.endswith(_ENDS) else said + '.'} {self.advise(error)}"

    def money_moved(self, error: DoBMIError) -> str:
        return self.translate(MONEY_MOVED[error.money_moved])

    def date(self, unix_seconds: int) -> str:
        """`Selasa, 24 November 2026`."""
        day = day_of(unix_seconds)
        return format_date(day, "EEEE, d MMMM yyyy", locale=_LOCALES[self.language])

    def span(self, seconds: int) -> str:
        """A length of time, in its largest unit."""
        if seconds < _MINUTE:
            return self.say(N_("less than a minute"))
        if seconds < _HOUR:
            return self.plural("{number} minute", "{number} minutes", seconds // _MINUTE)
        if seconds < 2 * _DAY:
            return self.plural("{number} hour", "{number} hours", seconds // _HOUR)
        return self.plural("{number} day", "{number} days", seconds // _DAY)


@lru_cache(maxsize=len(LANGUAGES))
def _catalogue(language: str) -> NullTranslations:
    return translation(language)


def _unbroken(facts: dict[str, object]) -> dict[str, object]:
    """An amount stays on one line also within a sentence."""
    return {
        name: str(fact).replace(" ", "\N{NO-BREAK SPACE}") if isinstance(fact, Rupiah) else fact
        for name, fact in facts.items()
    }


def known_language(language: str | None, otherwise: str = DEFAULT_LANGUAGE) -> str:
    return language if language in LANGUAGES else otherwise


def money(amount: Rupiah) -> Markup:
    """Never broken over two lines."""
    return Markup("<span class=money>{}</span>").format(str(amount))


def clock_time(unix_seconds: int) -> str:
    """`09:41`."""
    return local_time(unix_seconds)[11:16]


def moment(unix_seconds: int) -> str:
    """`24-11 09:41`, where a column is narrow."""
    text = local_time(unix_seconds)
    return f"{text[:5]} {text[11:16]}"


def short_date(day: str | date) -> str:
    """`24-11-2026`, of a date or its ISO 8601 form. Raises ValueError if it is none."""
    return date.fromisoformat(str(day)).strftime("%d-%m-%Y")


class Look:
    """A page's templates and files, its own before the shared ones.

    `folder` holds `templates/` and `static/`; `prefix` is where the page lies (`/office`, or "").
    """

    def __init__(
        self, folder: Path, *, advice: Mapping[str, str] = _NO_ADVICE, prefix: str = ""
    ) -> None:
        self.folder = folder
        self._advice = advice
        self._assets = {
            **_addresses(_SHARED_FILES, f"{prefix}/shared"),
            **_addresses(folder / "static", f"{prefix}/static"),
        }
        self._environments = {language: self._environment(language) for language in LANGUAGES}

    def voice(self, language: str) -> Voice:
        return Voice(language, self._advice)

    def asset(self, name: str) -> str:
        """The address of a file, with a part of its hash: what a browser keeps is what there is."""
        return self._assets[name]

    def render(self, template: str, language: str, **facts: object) -> str:
        return self._environments[language].get_template(template).render(**facts)

    def mount_files(self, app: FastAPI) -> None:
        """Under the app's own root: a prefix is where the app itself is mounted."""
        app.mount("/shared", KeptFiles(directory=_SHARED_FILES), name="shared")
        app.mount("/static", KeptFiles(directory=self.folder / "static"), name="static")

    def _environment(self, language: str) -> Environment:
        voice = self.voice(language)
        environment = Environment(
            loader=FileSystemLoader([self.folder / "templates", SHARED_TEMPLATES]),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        environment.globals.update(
            _=voice.say, ngettext=voice.plural, voice=voice, asset=self.asset
        )
        environment.filters.update(
            money=money,
            local_time=local_time,
            clock_time=clock_time,
            moment=moment,
            short_date=short_date,
            date=voice.date,
            span=voice.span,
            explain=voice.explain,
            advise=voice.advise,
            tell=voice.tell,
        )
        return environment


def _addresses(folder: Path, at: str) -> dict[str, str]:
    return {
        path.name: f"{at}/{path.name}?v={hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
        for path in folder.iterdir()
        if path.is_file()
    }


class KeptFiles(StaticFiles):
    """Files whose address has their hash in it: a browser may keep them for good."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        response = super().file_response(*args, **kwargs)  # type: ignore[arg-type] # passed on as it is
        response.headers["cache-control"] = "public, max-age=31536000, immutable"
        return response
