"""Shares of a ceremony's root: split and put together, on paper and in files."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dobmi.provisioning import ceremony_shares
from dobmi.provisioning.ceremony_shares import (
    GROUPS,
    Share,
    open_share,
    open_text,
    read_share,
    restore_root,
    seal_share,
    split_root,
)
from dobmi.provisioning.errors import (
    SameShareTwice,
    ShareFileDamaged,
    ShareFileLocked,
    ShareGroupWrong,
    ShareOfAnotherCeremony,
    ShareWrong,
    TooFewShares,
)

ROOT = bytes(range(16))
CEREMONY = bytes(range(0x40, 0x50))
HEX = "0123456789ABCDEF"
roots = st.binary(min_size=16, max_size=16)
ceremonies = st.binary(min_size=16, max_size=16)


@st.composite
def thresholds(draw: st.DrawFn) -> tuple[int, int]:
    """A threshold and a count of shares that there can be."""
    count = draw(st.integers(2, 16))
    return draw(st.integers(2, count)), count


@given(root=roots, ceremony=ceremonies, numbers=thresholds(), data=st.data())
def test_any_shares_up_to_the_threshold_restore_the_root(
    root: bytes, ceremony: bytes, numbers: tuple[int, int], data: st.DataObject
) -> None:
    threshold, count = numbers
    shares = split_root(root, ceremony, threshold, count)
    some = data.draw(st.permutations(shares))[:threshold]
    assert restore_root(some, ceremony) == root
    with pytest.raises(TooFewShares):
        restore_root(some[:-1], ceremony)


def test_fewer_shares_than_the_threshold_fit_every_root() -> None:
    """Which is all that one share of two, or two of three, can say of the root."""
    share = split_root(ROOT, CEREMONY, 2, 2)[0]
    others = [split_root(bytes((number,)) * 16, CEREMONY, 2, 2)[1] for number in range(1, 20)]
    assert len({restore_root([share, other], CEREMONY) for other in others}) == len(others)


@given(root=roots, ceremony=ceremonies, rehearsal=st.booleans())
def test_a_share_comes_back_from_paper(root: bytes, ceremony: bytes, rehearsal: bool) -> None:
    for share in split_root(root, ceremony, 2, 3, rehearsal=rehearsal):
        paper = share.on_paper()
        assert [len(group) for group in paper.split()] == [5] * GROUPS
        assert read_share(paper) == share
        assert read_share(paper.lower().replace(" ", "\n")) == share


@given(
    share=st.builds(
        Share,
        tag=st.binary(min_size=3, max_size=3),
        threshold=st.integers(2, 16),
        number=st.integers(1, 16),
        value=st.binary(min_size=16, max_size=16),
        rehearsal=st.booleans(),
    ),
    at=st.integers(0, 5 * GROUPS - 1),
    digit=st.sampled_from(HEX),
)
def test_one_wrong_digit_is_found_and_its_group_named(share: Share, at: int, digit: str) -> None:
    digits = share.on_paper().replace(" ", "")
    if digits[at] == digit:
        assert read_share(digits) == share
        return
    with pytest.raises(ShareGroupWrong) as error:
        read_share(digits[:at] + digit + digits[at + 1 :])
    assert error.value.facts["group"] == at // 5 + 1


@given(value=st.binary(min_size=16, max_size=16), group=st.integers(0, GROUPS - 1))
def test_two_digits_that_changed_places_are_found(value: bytes, group: int) -> None:
    share = Share(tag=b"\x12\x34\x56", threshold=2, number=1, value=value)
    groups = share.on_paper().split()
    for left, right in itertools.combinations(range(5), 2):
        digits = list(groups[group])
        if digits[left] == digits[right]:
            continue
        digits[left], digits[right] = digits[right], digits[left]
        with pytest.raises(ShareGroupWrong) as error:
            read_share(" ".join([*groups[:group], "".join(digits), *groups[group + 1 :]]))
        assert error.value.facts["group"] == group + 1


@given(value=st.binary(min_size=16, max_size=16))
def test_two_groups_that_changed_places_are_found(value: bytes) -> None:
    share = Share(tag=b"\x12\x34\x56", threshold=2, number=1, value=value)
    groups = share.on_paper().split()
    for left, right in itertools.combinations(range(GROUPS), 2):
        swapped = [*groups]
        swapped[left], swapped[right] = swapped[right], swapped[left]
        with pytest.raises(ShareGroupWrong):
            read_share(" ".join(swapped))


def test_a_digit_left_out_or_a_group_too_many_is_found() -> None:
    paper = split_root(ROOT, CEREMONY, 2, 2)[0].on_paper()
    with pytest.raises(ShareGroupWrong):
        read_share(paper[:7] + paper[8:])
    with pytest.raises(ShareWrong):
        read_share(paper.rsplit(maxsplit=1)[0])
    with pytest.raises(ShareWrong):
        read_share(paper + " 00000")
    with pytest.raises(ShareWrong):
        read_share("")


def test_groups_that_are_right_and_no_share_are_found_by_the_check_over_all() -> None:
    """As when somebody copied groups of two papers."""
    one, other = (split_root(root, CEREMONY, 2, 2)[0] for root in (ROOT, ROOT[::-1]))
    mixed = [*one.on_paper().split()[:6], *other.on_paper().split()[6:]]
    with pytest.raises(ShareWrong):
        read_share(" ".join(mixed))


def test_a_share_of_another_ceremony_or_of_a_rehearsal_is_refused() -> None:
    ours = split_root(ROOT, CEREMONY, 2, 2)
    another = split_root(ROOT, CEREMONY[::-1], 2, 2)
    rehearsed = split_root(ROOT, CEREMONY, 2, 2, rehearsal=True)
    for foreign in (another, rehearsed):
        with pytest.raises(ShareOfAnotherCeremony):
            restore_root([ours[0], foreign[1]], CEREMONY)


def test_the_same_share_twice_is_one() -> None:
    share = split_root(ROOT, CEREMONY, 2, 2)[0]
    with pytest.raises(SameShareTwice) as error:
        restore_root([share, share], CEREMONY)
    assert error.value.facts["number"] == 1


def test_a_share_is_in_no_text_but_on_its_paper() -> None:
    share = split_root(ROOT, CEREMONY, 2, 2)[0]
    assert share.value.hex() not in repr(share).lower()
    assert repr(share.value) not in repr(share)
    assert share.fingerprint not in share.on_paper().replace(" ", "")


def test_a_share_file_opens_with_its_passphrase_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceremony_shares, "_SCRYPT", {"n": 1 << 10, "r": 8, "p": 1})
    share = split_root(ROOT, CEREMONY, 2, 2)[0]
    text = seal_share(share, "milik Ani")
    assert open_share(text, "milik Ani") == share
    assert share.value.hex() not in text
    with pytest.raises(ShareFileLocked):
        open_share(text, "milik Budi")
    changed = json.loads(text)
    changed["nonce"] = "00" * 12
    with pytest.raises(ShareFileLocked):
        open_share(json.dumps(changed), "milik Ani")
    with pytest.raises(ShareFileDamaged):
        open_text("another format", text, "milik Ani")
    for damaged in ("", "{}", "[]", text[:-20], json.dumps({**json.loads(text), "scrypt": 3})):
        with pytest.raises(ShareFileDamaged):
            open_share(damaged, "milik Ani")


@settings(max_examples=50)
@given(text=st.text(max_size=80))
def test_whatever_is_typed_is_a_share_or_an_error_of_ours(text: str) -> None:
    with pytest.raises((ShareGroupWrong, ShareWrong)):
        read_share(text)
