"""What a name says, and that the ids of moments are in their order."""

from __future__ import annotations

import uuid
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance_pipelines.conversations.documents import time_of_id
from compliance_pipelines.conversations.keys import KeyKind
from compliance_pipelines.conversations.names import beginnings, id_at, split

_ID: Final = b"1f0b1c2d-3e4f-6a5b-8c7d-0123456789ab"
_HEADS: Final = st.binary(min_size=1, max_size=20)
_NO_COLON: Final = st.binary(max_size=40).filter(lambda part: b":" not in part)


@given(head=_HEADS)
def test_head_and_id_are_taken_off_the_end(head: bytes) -> None:
    for kind in (KeyKind.CHECKPOINT, KeyKind.WRITE_REGISTRY):
        assert split(kind, head + b":" + _ID) == (head, _ID)


@given(head=_HEADS, task=_NO_COLON, index=_NO_COLON)
def test_of_a_write_the_task_and_its_number_follow_the_id(head: bytes, task: bytes, index: bytes) -> None:
    assert split(KeyKind.WRITE, b"%b:%b:%b:%b" % (head, _ID, task, index)) == (head, _ID)


@pytest.mark.parametrize(
    "rest",
    [
        b"",
        b":",
        b"thread:",
        b"thread:sub",
        b"thread:shallow",
        _ID,
        b":" + _ID[1:],
        b"thread:" + _ID.replace(b"-6", b"-4"),
        b"thread-" + _ID,
        b"thread:" + _ID + b":",
    ],
)
def test_what_has_no_id_at_its_place_is_not_taken_apart(rest: bytes) -> None:
    assert split(KeyKind.CHECKPOINT, rest) == (b"", b"")
    assert split(KeyKind.WRITE, rest) == (b"", b"")


@given(one=st.integers(0, 9_000_000_000_000_000), other=st.integers(0, 9_000_000_000_000_000))
def test_ids_are_in_the_order_of_their_moments(one: int, other: int) -> None:
    assert (id_at(one) < id_at(other)) == (one < other)


@given(moment=st.integers(0, 9_000_000_000_000_000))
def test_the_id_of_a_moment_is_dated_at_it(moment: int) -> None:
    whole = id_at(moment).decode() + "-8000-000000000000"
    assert uuid.UUID(whole).version == 6
    assert time_of_id(whole) == moment


def test_a_name_begins_with_every_part_that_ends_at_a_colon() -> None:
    assert list(beginnings(b"a:b::c")) == [b"a", b"a:b", b"a:b:", b"a:b::c"]
    assert list(beginnings(b"a")) == [b"a"]
