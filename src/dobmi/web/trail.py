"""The stored details of the audit trail and of approvals, said in the reader's language.

They are stored in English, chained by their hashes, and exported so; only what is shown is translated. What
people wrote themselves (reasons, names) stays as they wrote it, and so does whatever is not known here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from dobmi.i18n import N_

Translate = Callable[[str], str]

_TO_MEMBER: Final = r"(?P<uid>[0-9A-F]{14}) to member (?P<member>\d+)"
_PHRASES: Final = tuple(
    (re.compile(pattern), message)
    for pattern, message in (
        (
            rf"{_TO_MEMBER}, issuing batch (?P<batch>\d+) line (?P<line>\d+)",
            N_("card {uid} to member {member}, list {batch} row {line}"),
        ),
        (_TO_MEMBER, N_("card {uid} to member {member}")),
        (
            r"cash, credit (?P<credit>\d+), approval (?P<approval>\d+)",
            N_("in cash, top-up {credit} of the card, approval {approval}"),
        ),
        (
            r"salary, credit (?P<credit>\d+), approval (?P<approval>\d+)",
            N_("from wages, top-up {credit} of the card, approval {approval}"),
        ),
        (r"cash, credit (?P<credit>\d+)", N_("in cash, top-up {credit} of the card")),
        (r"salary, credit (?P<credit>\d+)", N_("from wages, top-up {credit} of the card")),
        (
            r"card (?P<card>\d+), credit (?P<credit>\d+), (?P<amount>Rp [\d.]+)",
            N_("card {card}, top-up {credit} of it, {amount}"),
        ),
        (
            r"member (?P<member>\d+), receipt (?P<receipt>\d+), (?P<amount>Rp [\d.]+)",
            N_("member {member}, receipt {receipt}, {amount}"),
        ),
        (r"paid in cash, receipt (?P<receipt>\d+)", N_("paid in cash, receipt {receipt}")),
        (
            r"card (?P<card>\d+) of member (?P<member>\d+): (?P<reason>.*)",
            N_("card {card} of member {member}: {reason}"),
        ),
        (r"(?P<count>\d+) members: (?P<name>.*)", N_("{count} members: {name}")),
        (r"generation (?P<number>\d+)", N_("generation {number}")),
        (r"begun; older ones are taken until (?P<time>.*)", N_("begun; older ones until {time}")),
        (r"put on cards, whichever tills hold it", N_("put on cards, whichever tills hold it")),
        (r"deleted", N_("deleted")),
        (r"credit: (?P<rest>.*)", N_("large top-up: {rest}")),
        (r"restitution: (?P<rest>.*)", N_("restitution: {rest}")),
        (r"limits: (?P<rest>.*)", N_("limit: {rest}")),
        (r"retirement: (?P<rest>.*)", N_("payout: {rest}")),
    )
)
_FACTS: Final = {
    "amount_rupiah": N_("amount"),
    "card_uid": N_("card"),
    "member_number": N_("member number"),
    "member_class": N_("class of members"),
    "name": N_("limit"),
    "value": N_("new value"),
    "reason": N_("reason"),
    "source": N_("paid by"),
    "order": N_("order"),
    "station": N_("station"),
}
_FACT: Final = re.compile(rf"(?:^|(?<=, ))({'|'.join(_FACTS)}) ")
_SUBJECTS: Final = {
    "card": N_("Card"),
    "approval": N_("Approval"),
    "staff": N_("Staff"),
    "terminal": N_("Terminal"),
    "issuing batch": N_("List"),
    "member": N_("Member"),
    "station": N_("Station"),
    "generation": N_("Generation"),
}


def subject_in_words(subject: str, translate: Translate) -> str:
    """What an act was about: `card 4`; what is not known stays as it is stored."""
    for kind, words in _SUBJECTS.items():
        if subject.startswith(f"{kind} "):
            return translate(words) + subject.removeprefix(kind)
    return subject


def detail_in_words(detail: str, translate: Translate) -> str:
    """A stored detail, outcome or list of facts; itself where there are no words for it."""
    for pattern, message in _PHRASES:
        found = pattern.fullmatch(detail)
        if found is not None:
            parts = found.groupdict()
            if "rest" in parts:
                parts["rest"] = detail_in_words(parts["rest"], translate)
            return translate(message).format(**parts)
    if _FACT.match(detail) is None:
        return detail
    for source, message in (("cash", N_("money in cash")), ("salary", N_("wages"))):
        detail = re.sub(rf"(^|, )source {source}(?=,|$)", rf"\1source {translate(message)}", detail)
    return _FACT.sub(lambda found: f"{translate(_FACTS[found[1]])} ", detail)
