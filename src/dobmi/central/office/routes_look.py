"""What is only looked at: the audit trail and the report on keys."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from dobmi.central.acts import Act, list_acts
from dobmi.central.key_generations import key_report
from dobmi.central.office.rendering import ACT_WORDS
from dobmi.central.office.visit import ACTS, KEYS, Visited
from dobmi.web.trail import detail_in_words, subject_in_words

router = APIRouter()
_AT_ONCE = 50
_ACT_VALUES = {act.value: words for act, words in ACT_WORDS.items()}


@router.get("/acts")
def acts(
    visit: Visited,
    person: Annotated[str, Query(max_length=80)] = "",
    act: Annotated[str, Query(max_length=30)] = "",
    about: Annotated[str, Query(max_length=120)] = "",
    before: Annotated[int, Query(ge=0, lt=1 << 53)] = 0,
) -> Response:
    visit.require(*ACTS)
    found = list_acts(
        visit.central.for_reports().database,
        person=person.strip() or None,
        act=act or None,
        subject=about.strip() or None,
        before=before or None,
        newest=_AT_ONCE,
    )
    return visit.show(
        "acts.html",
        "acts",
        acts=found,
        details={one.id: detail_in_words(one.detail, visit.voice.say) for one in found},
        subjects={one.id: subject_in_words(one.subject, visit.voice.say) for one in found},
        words=_ACT_VALUES,
        kinds=[(one.value, ACT_WORDS.get(one, one.value)) for one in Act],
        asked={"person": person, "act": act, "about": about},
        older=found[-1].id if len(found) == _AT_ONCE else 0,
    )


@router.get("/keys")
def keys(visit: Visited) -> Response:
    visit.require(*KEYS)
    return visit.show("keys.html", "keys", report=key_report(visit.central.for_reports()))
