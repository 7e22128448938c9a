"""A pseudonym tells nobody who it is without the key, and with the key it is found by the user id."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from compliance_pipelines.pseudonyms import Subjects, is_pseudonym, pseudonym, subjects_from_settings
from compliance_pipelines.settings import ConfigurationError, Settings

KEY = b"k" * 32
HIDDEN = Subjects(KEY, pseudonymous=True)
ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def test_it_is_an_hmac_that_anybody_with_the_key_can_compute() -> None:
    expected = hmac.new(KEY, b"compliance-pipelines/subject/v1\0user:alice", hashlib.sha256).hexdigest()
    assert pseudonym("user:alice", KEY) == f"hmac-sha256:{expected}"


@given(ids, ids)
def test_people_have_different_pseudonyms_and_keep_theirs(one: str, other: str) -> None:
    assert (pseudonym(one, KEY) == pseudonym(other, KEY)) == (one == other)
    assert pseudonym(one, KEY) != pseudonym(one, b"other" * 8)
    assert is_pseudonym(pseudonym(one, KEY))


def test_records_from_before_and_after_the_change_are_found_alike() -> None:
    assert HIDDEN.names("user:alice") == ("user:alice", pseudonym("user:alice", KEY))
    assert Subjects(KEY).names("user:alice") == HIDDEN.names("user:alice")
    assert Subjects(KEY).name("user:alice") == "user:alice"
    assert Subjects().names("user:alice") == ("user:alice",)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=5), st.text(), st.text())
def test_no_text_of_an_entry_keeps_the_name(user_id: str, before: str, after: str) -> None:
    scrubbed = HIDDEN.scrub(before + user_id + after, user_id)
    assert user_id not in scrubbed.replace(pseudonym(user_id, KEY), "")
    assert Subjects().scrub(before + user_id + after, user_id) == before + user_id + after


def test_a_text_that_is_full_of_the_name_is_withheld_so_that_it_stays_short() -> None:
    assert HIDDEN.scrub("a" * 21, "a") == "(a text of 21 characters, withheld because it names the person)"


def test_the_key_is_not_shown() -> None:
    assert "kkk" not in repr(HIDDEN)


def test_pseudonyms_need_a_key_that_cannot_be_guessed() -> None:
    with pytest.raises(ConfigurationError, match="GDPR_PSEUDONYM_KEY"):
        subjects_from_settings(Settings(_env_file=None, gdpr_subject_pseudonyms="hmac"))
    with pytest.raises(ConfigurationError, match="31 bytes") as raised:
        subjects_from_settings(Settings(_env_file=None, gdpr_pseudonym_key=SecretStr("s" * 31)))
    assert "sss" not in str(raised.value)
    subjects = subjects_from_settings(
        Settings(_env_file=None, gdpr_subject_pseudonyms="hmac", gdpr_pseudonym_key=SecretStr("k" * 32))
    )
    assert subjects == HIDDEN
