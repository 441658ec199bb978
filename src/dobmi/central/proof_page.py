"""The page that a receipt's QR code opens, for any phone: Indonesian first, a few hundred bytes."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from html import escape
from string import Template
from typing import Final

from fastapi.responses import HTMLResponse

from dobmi.central.proofs import Proof, ProofState, proof_of
from dobmi.central.server import Central
from dobmi.i18n import DEFAULT_LANGUAGE, LANGUAGES, N_, translation
from dobmi.sync.errors import MalformedMessage
from dobmi.wib import local_time

_TITLES: Final = {
    ProofState.PAID: N_("Paid"),
    ProofState.PARTLY_REFUNDED: N_("Paid, partly refunded"),
    ProofState.REFUNDED: N_("Refunded"),
    ProofState.CHECKED: N_("Being checked"),
    ProofState.NOT_PAID: N_("Not paid"),
    ProofState.REFUND_WAITS: N_("Refund waits"),
    ProofState.REFUND_ORDERED: N_("Refund on its way"),
    ProofState.REFUND_REFUSED: N_("No refund"),
    ProofState.UNKNOWN_YET: N_("Not known yet"),
    ProofState.NOT_KNOWN: N_("No receipt of ours"),
}
_TEXTS: Final = {
    ProofState.PAID: N_("This sale is on record at the cooperative."),
    ProofState.PARTLY_REFUNDED: N_("This sale is on record; {refunded} of it was given back."),
    ProofState.REFUNDED: N_("This sale is on record, and all of it was given back."),
    ProofState.CHECKED: N_("It is on record, and the office is looking into it. Keep the receipt."),
    ProofState.NOT_PAID: N_("This sale was not paid: nothing was taken from the card."),
    ProofState.REFUND_WAITS: N_(
        "The refund is on record and waits until its sale is settled. Keep the receipt."
    ),
    ProofState.REFUND_ORDERED: N_(
        "The refund is on record. It comes onto the card at the next tap where there is a network."
    ),
    ProofState.REFUND_REFUSED: N_(
        "The sale was not paid, so there is nothing to give back. Nothing was taken from the card."
    ),
    ProofState.UNKNOWN_YET: N_(
        "The till has not sent this receipt yet: tills also sell without a network and send later, "
        "mostly within a day. Until then this page cannot say whether it is genuine. "
        "Keep the receipt and look again later."
    ),
    ProofState.NOT_KNOWN: N_(
        "There is no such receipt here. If the code is on a receipt of ours, show it to the office."
    ),
}
_GOOD: Final = {
    ProofState.PAID,
    ProofState.PARTLY_REFUNDED,
    ProofState.REFUNDED,
    ProofState.REFUND_ORDERED,
}
_BAD: Final = {ProofState.NOT_KNOWN, ProofState.NOT_PAID, ProofState.REFUND_REFUSED}
STYLE: Final = (
    "body{font:18px/1.5 sans-serif;margin:0 auto;max-width:30em;padding:1em;color:#111;"
    "background:#fff}h1{padding:.5em;margin:.5em 0;color:#fff;background:#5c4a00}"
    "h1.good{background:#14602f}h1.bad{background:#8b1a1a}dt{color:#444}"
    "dd{margin:0 0 .6em;font-weight:bold}a{color:#0b4f8a;display:inline-block;padding:.6em 0}"
)
LANGUAGE_NAMES: Final = {"id": "Bahasa Indonesia", "en": "English"}


def page_headers(style: str) -> dict[str, str]:
    """Of a page that has nothing but this style: no script, no frame, not kept, not passed on."""
    style_hash = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return {
        "content-security-policy": f"default-src 'none'; style-src 'sha256-{style_hash}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "x-robots-tag": "noindex",
        "cache-control": "no-store",
        "vary": "accept-language",
    }


_HEADERS: Final = page_headers(STYLE)
_PAGE: Final = Template(
    '<!doctype html><html lang="$language"><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    "<title>$title - Do BMI</title><style>$style</style>"
    '<main><p>$issuer</p><h1 class="$mood">$title</h1><p>$text</p>$facts</main>'
    '<nav><a href="?lang=$other" lang="$other" hreflang="$other">$other_name</a></nav></html>\n'
)


def page_language(asked: str, accept_language: str) -> str:
    """`id` or `en`: as asked, else the first of them that the browser names, else Indonesian."""
    if asked in LANGUAGES:
        return asked
    named = (part.partition(";")[0].strip()[:2].lower() for part in accept_language.split(","))
    return next((one for one in named if one in LANGUAGES), DEFAULT_LANGUAGE)


def proof_response(central: Central, token: str, language: str) -> HTMLResponse:
    """The page about the receipt with this code. 404 if it is no code of a receipt at all."""
    status = 200
    try:
        proof = proof_of(central, token)
    except MalformedMessage:
        proof, status = Proof(state=ProofState.NOT_KNOWN), 404
    return HTMLResponse(_page(proof, central.settings.issuer, language), status, _HEADERS)


def _page(proof: Proof, issuer: str, language: str) -> str:
    translate = translation(language).gettext
    other = next(one for one in LANGUAGES if one != language)
    mood = "good" if proof.state in _GOOD else "bad" if proof.state in _BAD else ""
    return _PAGE.substitute(
        language=language,
        style=STYLE,
        issuer=escape(issuer),
        mood=mood,
        title=escape(translate(_TITLES[proof.state])),
        text=escape(translate(_TEXTS[proof.state]).format(refunded=proof.refunded)),
        facts=_facts(proof, translate),
        other=other,
        other_name=LANGUAGE_NAMES[other],
    )


def _facts(proof: Proof, translate: Callable[[str], str]) -> str:
    facts = {}
    if proof.seller:
        facts[N_("Seller")] = proof.seller
        facts[N_("Receipt")] = f"{proof.terminal_id}-{proof.sequence}"
    if proof.at:
        facts[N_("Time")] = local_time(proof.at)
        facts[N_("Amount")] = str(proof.amount)
    rows = (
        f"<dt>{escape(translate(name))}</dt><dd>{escape(value)}</dd>"
        for name, value in facts.items()
    )
    return f"<dl>{''.join(rows)}</dl>" if facts else ""
