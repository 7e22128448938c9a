"""An id that may not be the one that was meant is told from one that looks like what it is."""

from __future__ import annotations

import string
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance_pipelines.base.likeness import Likeness, is_blank, suspicions, variants

PLAIN = st.text(string.ascii_letters + string.digits + ":@._-+|", min_size=1)
UNSEEN = ["\u200b", "\u200d", "\ufeff", "\u00ad", "\u202e", "\u2060", "\x07", "\x7f", "\u3164", "\ufe0f", "\U000e0001"]
BLANKS = [" ", "\t", "\u00a0", "\u2003", "\u3000"]


@pytest.mark.parametrize(
    "user_id",
    [
        "alice",
        "user:alice",
        "alice@example.com",
        "Jürgen",
        "José",
        "Straße",
        "Ольг\u0430",
        "田中",
        "田中さん",
        "李 明",
        "O'Brien",
        "ali|7",
    ],
)
def test_an_id_that_looks_like_what_it_is_is_not_suspicious(user_id: str) -> None:
    assert suspicions(user_id) == []
    assert not is_blank(user_id)


@pytest.mark.parametrize(
    ("user_id", "why"),
    [
        (" alice", "white space"),
        ("alice\t", "white space"),
        ("alice\u3000", "white space"),
        ("ali\u00a0ce", "U+00A0 NO-BREAK SPACE"),
        ("ali\u200bce", "U+200B ZERO WIDTH SPACE"),
        ("\u202ealice", "U+202E RIGHT-TO-LEFT OVERRIDE"),
        ("alice\x00x", "U+0000"),
        ("alice\ufe0f", "U+FE0F"),
        ("ali\u3164ce", "U+3164 HANGUL FILLER"),
        ("Jose\u0301", "not in Unicode's form NFC"),
        ("ﬁona", "not in Unicode's form NFKC"),
        ("\uff41lice", "not in Unicode's form NFKC"),
        ("\u0430lice", "U+0430 CYRILLIC SMALL LETTER A"),
        ("\u0430\u0440\u0440\u04cf\u0435", "U+0440 CYRILLIC SMALL LETTER ER"),
        ("\u03c1aul", "U+03C1 GREEK SMALL LETTER RHO"),
        ("user:\u043e\u0441\u0430", "U+043E CYRILLIC SMALL LETTER O"),
        ("a\u2010b", "U+2010 HYPHEN"),
    ],
)
def test_what_may_not_be_meant_is_named(user_id: str, why: str) -> None:
    assert why in "; ".join(suspicions(user_id))


@given(PLAIN, st.sampled_from(UNSEEN), st.integers(min_value=0))
def test_no_unseen_character_hides_anywhere(user_id: str, unseen: str, place: int) -> None:
    at = place % (len(user_id) + 1)
    assert any("nobody sees" in why for why in suspicions(user_id[:at] + unseen + user_id[at:]))
    assert Likeness([user_id]).of(user_id[:at] + unseen + user_id[at:])


@given(st.lists(st.sampled_from(UNSEEN + BLANKS), min_size=1))
def test_an_id_of_blanks_and_unseen_characters_alone_is_blank(characters: list[str]) -> None:
    assert is_blank("".join(characters))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("alice", "Alice"),
        ("alice", "alice "),
        ("alice", "\u00a0alice"),
        ("alice", "alice."),
        ("alice", "\u0430lice"),
        ("iris", "Iris"),
        ("Iris", "lris"),
        ("user1", "userl"),
        ("b0b", "bOb"),
        ("modern", "rnodern"),
        ("José", "Jose\u0301"),
        ("strasse", "STRASSE"),
        ("a b", "a  b"),
        ("alice", "\uff41lice"),
    ],
)
def test_ids_that_can_be_taken_for_each_other_look_alike(one: str, other: str) -> None:
    assert Likeness([one]).of(other)
    assert Likeness([other]).of(one) == Likeness([one]).of(other)


@pytest.mark.parametrize(("one", "other"), [("alice", "alicia"), ("alice", "bob"), ("José", "Jose"), ("u1", "u2")])
def test_other_ids_do_not(one: str, other: str) -> None:
    assert not Likeness([one]).of(other)


@given(st.text(), st.text())
def test_likeness_goes_both_ways_and_no_id_is_its_own(one: str, other: str) -> None:
    assert not Likeness([one]).of(one)
    assert Likeness([one]).of(other) == Likeness([other]).of(one)


@given(st.text(min_size=1))
def test_forms_and_case_of_an_id_look_like_it(user_id: str) -> None:
    for form in ("NFC", "NFD", "NFKC"):
        other = unicodedata.normalize(form, user_id)
        assert other == user_id or Likeness([user_id]).of(other)


@given(PLAIN)
def test_variants_look_like_the_id_and_are_none_of_it(user_id: str) -> None:
    found = variants(user_id)
    assert user_id not in found
    assert f"{user_id.strip(' .')} " in found or not user_id.strip(" .")
