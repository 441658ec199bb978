"""Components, the root and the keys of a ceremony."""

from __future__ import annotations

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dobmi.cardlib.purse_layout import CardKey
from dobmi.provisioning.ceremony import (
    Component,
    component_of,
    derive_keys,
    root_of,
)
from dobmi.provisioning.errors import TooFewCustodians, WeakRandomness

MACHINE = bytes(range(32))
CEREMONY = bytes(16)
ROOT = bytes(range(16))
DICE = "1234566543211324563126451236452136451324561324561324"
TYPED = "k3 9dQ! aw0eR-fjq83,mcn 02kd;;lsoeR tyqPz81x"
SIGNING = ("server", "card-issuer")


def components(count: int = 2) -> list[Component]:
    return [component_of(f"Custodian {n}", DICE, bytes((n,)) * 32) for n in range(count)]


def test_dice_and_typing_are_taken_and_give_another_component_each() -> None:
    found = {
        component_of("Ani", DICE, MACHINE).value,
        component_of("Ani", DICE[::-1], MACHINE).value,
        component_of("Ani", TYPED, MACHINE).value,
        component_of("Ani", TYPED, MACHINE[::-1]).value,
    }
    assert len(found) == 4
    assert {len(value) for value in found} == {32}


@pytest.mark.parametrize(
    "given_text",
    ["", "1" * 60, "12" * 30, DICE[:49], "abc", "a" * 40, "abcdefg" * 5, " " * 60],
)
def test_what_is_too_short_or_too_even_is_refused(given_text: str) -> None:
    with pytest.raises(WeakRandomness):
        component_of("Ani", given_text, MACHINE)


def test_every_component_and_their_order_make_the_root() -> None:
    parts = components(3)
    root = root_of(CEREMONY, parts)
    assert len(root) == 16
    others = [
        root_of(CEREMONY, [component_of("x", TYPED, MACHINE), *parts[1:]]),
        root_of(CEREMONY, [*parts[:2], component_of("x", TYPED, MACHINE)]),
        root_of(CEREMONY, parts[:2]),
        root_of(CEREMONY, parts[::-1]),
        root_of(bytes((1,)) * 16, parts),
    ]
    assert len({root, *others}) == 6


def test_one_person_is_no_ceremony_and_seventeen_are_too_many() -> None:
    for parts in (components(1), components(17), []):
        with pytest.raises(TooFewCustodians):
            root_of(CEREMONY, parts)


def test_the_same_root_gives_the_same_keys_and_all_of_them_differ() -> None:
    keys = derive_keys(ROOT, 1, CardKey, SIGNING)
    assert keys == derive_keys(ROOT, 1, CardKey, SIGNING)
    values = [*keys.masters.values(), *keys.signing.values()]
    assert len(set(values)) == len(CardKey) + 2
    assert {len(value) for value in keys.masters.values()} == {16}
    assert {len(value) for value in keys.signing.values()} == {32}


@given(root=st.binary(min_size=16, max_size=16), generation=st.integers(1, 254))
def test_a_generation_a_rehearsal_and_a_root_have_keys_of_their_own(
    root: bytes, generation: int
) -> None:
    one = derive_keys(root, generation, CardKey)
    other_root = bytes((root[0] ^ 1,)) + root[1:]
    for other in (
        derive_keys(root, generation + 1, CardKey),
        derive_keys(root, generation, CardKey, rehearsal=True),
        derive_keys(other_root, generation, CardKey),
    ):
        assert not set(one.masters.values()) & set(other.masters.values())


def test_a_key_is_the_same_whichever_others_are_derived_with_it() -> None:
    alone = derive_keys(ROOT, 3, [CardKey.DEBIT])
    assert alone.masters[CardKey.DEBIT] == derive_keys(ROOT, 3, CardKey).masters[CardKey.DEBIT]


def test_keys_stay_what_they_were_in_ceremonies_held_so_far() -> None:
    """A change of the derivation would make every share that lies in a safe worthless."""
    keys = derive_keys(ROOT, 1, [CardKey.DEBIT, CardKey.CREDIT], ["server"])
    assert keys.check_values() == {"debit": "6643EC", "credit": "F53921"}
    assert keys.public_keys() == {
        "server": "dcc4980a733fc2a1204114a09b5277c73491e11c9c4e5e13836d7c7032218e81"
    }


def test_a_master_is_the_hkdf_that_is_written_down() -> None:
    """RFC 5869 by hand, without salt: one block is enough for 16 bytes."""
    info = b"dobmi/ceremony/1/key\0ceremony\0master\0debit\0" + b"1"
    extracted = hmac.digest(bytes(32), ROOT, "sha256")
    expanded = hmac.digest(extracted, info + b"\1", "sha256")
    assert derive_keys(ROOT, 1, [CardKey.DEBIT]).masters[CardKey.DEBIT] == expanded[:16]


def test_neither_components_nor_keys_are_in_their_texts() -> None:
    part = components()[0]
    keys = derive_keys(ROOT, 1, CardKey, SIGNING)
    assert repr(part.value) not in repr(part)
    assert repr(keys) == "CeremonyKeys()"
