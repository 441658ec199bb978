"""Everything in the journal has words for people, in both languages, and none means two things."""

from __future__ import annotations

from dobmi.central.posting_rules import Group, Kind
from dobmi.central.words import GROUP_NAMES, KIND_NAMES
from dobmi.i18n import translation


def test_every_kind_and_group_has_words_of_its_own_in_both_languages() -> None:
    indonesian = translation("id").gettext
    for names, wanted in ((GROUP_NAMES, set(Group)), (KIND_NAMES, set(Kind))):
        assert set(names) == wanted
        assert len(set(names.values())) == len(names)
        translated = {indonesian(name) for name in names.values()}
        assert len(translated) == len(names)
        assert not translated & set(names.values()) - {"bank"}
