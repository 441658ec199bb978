"""The page that a card opens on any phone: balance and last transactions, a kilobyte or two."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from string import Template
from typing import Final

from fastapi.responses import HTMLResponse

from dobmi.central.card_link import Tap, TapLine, TappedCard, TapState
from dobmi.central.proof_page import LANGUAGE_NAMES, STYLE, page_headers
from dobmi.central.schema import CardState
from dobmi.i18n import LANGUAGES, N_, translation
from dobmi.money import ZERO
from dobmi.wib import local_time

_TITLES: Final = {
    TapState.GENUINE: N_("Balance: {balance}"),
    TapState.SEEN_BEFORE: N_("Shown before"),
    TapState.STATIC: N_("A Do BMI card"),
    TapState.UNKNOWN: N_("No card of ours"),
}
_TEXTS: Final = {
    TapState.GENUINE: N_(
        "By the cooperative's books at {time}. Sales at tills without a network are not in it yet."
    ),
    TapState.SEEN_BEFORE: N_(
        "This address was opened before, and each is good for once. Hold the card to the phone again."
    ),
    TapState.STATIC: N_(
        "This card cannot show its balance on a phone. Ask at any till: cashiers can look at it."
    ),
    TapState.UNKNOWN: N_(
        "There is no card of ours at this address. Hold the card to the phone again; if that does "
        "not help, show it at the office."
    ),
}
_STATES: Final = {
    CardState.ISSUING: N_("This card is not issued yet."),
    CardState.BLOCKED: N_("This card is blocked. Ask at the office."),
    CardState.REPLACED: N_("This card was replaced by another one and is not taken any more."),
    CardState.RETIRED: N_("This card has ended and is not taken any more."),
}
_TABLE_STYLE: Final = (
    STYLE
    + "table{border-collapse:collapse;width:100%}td{padding:.4em 0;border-bottom:1px solid #ccc;"
    "vertical-align:top}td:last-child{text-align:right;white-space:nowrap;font-weight:bold}"
    "small{color:#444}"
)
_HEADERS: Final = page_headers(_TABLE_STYLE)
_PAGE: Final = Template(
    '<!doctype html><html lang="$language"><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    "<title>$title - Do BMI</title><style>$style</style>"
    '<main><p>$issuer</p><h1 class="$mood">$title</h1><p>$text</p>$facts</main>$nav</html>\n'
)
_NAV: Final = Template(
    '<nav><a href="?lang=$other" lang="$other" hreflang="$other">$other_name</a></nav>'
)

Translate = Callable[[str], str]


def card_page(tap: Tap, issuer: str, language: str) -> HTMLResponse:
    """404 for what is no card of ours; else 200, also for an address that was shown before."""
    translate = translation(language).gettext
    title, text, facts = translate(_TITLES[tap.state]), translate(_TEXTS[tap.state]), ""
    if tap.card is not None:
        title = title.format(balance=tap.card.balance)
        text = text.format(time=local_time(tap.card.as_of))
        facts = _facts(tap.card, translate) + _lines(tap.card.lines, translate)
    # A balance is shown once: a link that opens it again in another language would not.
    nav = "" if tap.card is not None else _language_link(language)
    page = _PAGE.substitute(
        language=language,
        style=_TABLE_STYLE,
        issuer=escape(issuer),
        mood=_mood(tap),
        title=escape(title),
        text=escape(text),
        facts=facts,
        nav=nav,
    )
    return HTMLResponse(page, 404 if tap.state is TapState.UNKNOWN else 200, _HEADERS)


def _mood(tap: Tap) -> str:
    if tap.card is not None and tap.card.state is CardState.ACTIVE:
        return "good"
    return "bad" if tap.card is not None or tap.state is TapState.UNKNOWN else ""


def _language_link(language: str) -> str:
    other = next(one for one in LANGUAGES if one != language)
    return _NAV.substitute(other=other, other_name=LANGUAGE_NAMES[other])


def _facts(card: TappedCard, translate: Translate) -> str:
    facts = {N_("Card"): str(card.serial), N_("Valid until"): card.expires.strftime("%d-%m-%Y")}
    if card.waiting > ZERO:
        facts[N_("Comes onto the card at the next tap where there is a network")] = str(
            card.waiting
        )
    rows = "".join(
        f"<dt>{escape(translate(name))}</dt><dd>{escape(value)}</dd>"
        for name, value in facts.items()
    )
    state = _STATES.get(card.state)
    return (f"<p>{escape(translate(state))}</p>" if state else "") + f"<dl>{rows}</dl>"


def _lines(lines: tuple[TapLine, ...], translate: Translate) -> str:
    rows = "".join(
        f"<tr><td>{escape(line.seller or translate(N_('Credit')))}<br>"
        f"<small>{escape(local_time(line.at))}</small></td>"
        f"<td>{'+' if line.is_credit else '-'}{escape(str(line.amount))}</td></tr>"
        for line in lines
    )
    return f"<table>{rows}</table>" if rows else ""
