"""What the trail stores in English is read in the reader's language, and what people wrote as they wrote it."""

from __future__ import annotations

import pytest

from dobmi.i18n import translation
from dobmi.web.trail import detail_in_words, subject_in_words


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        (
            "04E5F3E30E573D to member 1001, issuing batch 1 line 2",
            "kartu 04E5F3E30E573D untuk anggota 1001, daftar 1 baris 2",
        ),
        ("cash, credit 4, approval 1", "tunai, pengisian ke-4 kartu ini, persetujuan 1"),
        (
            "credit: card 1, credit 4, Rp 600.000",
            "isi ulang besar: kartu 1, pengisian ke-4, Rp 600.000",
        ),
        (
            "restitution: amount_rupiah 5000, card_uid 04E5F3E30E573D, reason struk, salah",
            "ganti rugi: jumlah 5000, kartu 04E5F3E30E573D, alasan struk, salah",
        ),
        (
            "amount_rupiah 5000, order o-1, source cash",
            "jumlah 5000, pesanan o-1, dibayar dengan uang tunai",
        ),
        ("dompetnya dicuri di pasar", "dompetnya dicuri di pasar"),
        ("", ""),
    ],
)
def test_a_stored_detail_is_said_in_indonesian(stored: str, said: str) -> None:
    assert detail_in_words(stored, translation("id").gettext) == said


def test_braces_that_people_wrote_are_left_alone() -> None:
    assert detail_in_words("3 members: {x}", translation("en").gettext) == "3 members: {x}"


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        ("card 12", "Kartu 12"),
        ("approval 2", "Persetujuan 2"),
        ("issuing batch 3", "Daftar 3"),
        ("staff Ani Kusumaningrum", "Petugas Ani Kusumaningrum"),
        ("something else 3", "something else 3"),
        ("card", "card"),
    ],
)
def test_what_an_act_was_about_is_said_in_the_readers_language(stored: str, said: str) -> None:
    assert subject_in_words(stored, translation("id").gettext) == said
