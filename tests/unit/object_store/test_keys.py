from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance_pipelines.object_store.keys import check_key, check_prefix, key_problem
from compliance_pipelines.object_store.port import InvalidKeyError
from tests.unit.object_store.contract import INVALID_KEYS, REMARKABLE_KEYS


@pytest.mark.parametrize("key", INVALID_KEYS.values(), ids=INVALID_KEYS)
def test_an_invalid_key_is_refused_with_the_reason(key: str) -> None:
    with pytest.raises(InvalidKeyError, match="cannot be the key of an object: "):
        check_key(key)


@pytest.mark.parametrize("key", REMARKABLE_KEYS)
def test_a_valid_key_and_all_its_beginnings_pass(key: str) -> None:
    check_key(key)
    for length in range(len(key) + 1):
        check_prefix(key[:length])


@given(st.text(alphabet=st.characters() | st.sampled_from("/.\\\n"), max_size=20))
def test_a_valid_key_stays_inside_the_store(key: str) -> None:
    if key_problem(key) is None:
        segments = key.split("/")
        assert not {"", ".", ".."} & set(segments)
        assert "\\" not in key
        assert key.isprintable() or all(ord(character) > 0x9F or character.isprintable() for character in key)


@given(st.text(alphabet="ab./\\é\n", max_size=12), st.text(alphabet="ab./", max_size=3))
def test_a_refused_prefix_begins_no_valid_key(prefix: str, rest: str) -> None:
    if key_problem(prefix + rest) is None:
        check_prefix(prefix)
