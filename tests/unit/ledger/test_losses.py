from __future__ import annotations

import struct
from datetime import UTC, datetime
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance_pipelines.ledger.losses import MOST_RANGES, InvalidLossError, Loss, Voids, is_loss, ranges_of
from compliance_pipelines.ledger.records import (
    MOST_BODY_BYTES,
    MalformedRecordError,
    Statement,
    StatementKind,
    record_of,
)
from tests.unit.ledger import stranger

NOW: Final = datetime(2026, 11, 29, 12, tzinfo=UTC)
TEXTS: Final = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=40).filter(str.strip)


def stated(loss: Loss, seq: int = 1_000) -> Statement:
    return Statement(seq, StatementKind.LOSS, 90_121, NOW, loss.to_body())


def read(body: bytes, seq: int = 1_000) -> Loss:
    return Loss.of(Statement(seq, StatementKind.LOSS, 90_121, NOW, body))


@given(st.sets(st.integers(0, 400)), st.integers(0, 2**62), st.integers(0, 2**62), TEXTS, TEXTS)
def test_a_loss_is_read_as_it_was_written(seqs: set[int], entries: int, found: int, author: str, reason: str) -> None:
    loss = Loss(tuple(ranges_of(sorted(seqs))), entries, found, author, reason)
    record = record_of(stated(loss).record_bytes())
    assert is_loss(record)
    assert Loss.of(record) == loss
    voids = Voids.of([record])
    assert {seq for seq in range(402) if voids.covers(seq)} == seqs


@given(st.lists(st.sets(st.integers(0, 60)), max_size=5))
def test_what_several_losses_void_is_void(losses: list[set[int]]) -> None:
    voids = Voids.of(stated(Loss(tuple(ranges_of(sorted(seqs))), 1, 0, "a", "b")) for seqs in losses)
    assert {seq for seq in range(62) if voids.covers(seq)} == set().union(*losses)


@given(st.binary(max_size=80))
def test_exactly_one_string_of_bytes_is_one_loss(body: bytes) -> None:
    try:
        loss = read(body)
    except MalformedRecordError:
        with pytest.raises(ValueError):  # noqa: PT011 - whatever a stranger finds wrong with it
            stranger.read_loss(Statement(1_000, StatementKind.LOSS, 90_121, NOW, body).record_bytes())
        return
    assert loss.to_body() == body
    assert stranger.read_loss(stated(loss).record_bytes())["author"] == loss.author


@pytest.mark.parametrize(
    "values",
    [
        {"author": ""},
        {"author": "  "},
        {"author": "ä" * 501},
        {"author": "a\x00"},
        {"reason": "two\nlines"},
        {"reason": "\x9b31m"},
        {"reason": "r" * 10_001},
        {"reason": "\ud800"},
        {"entries": -1},
        {"found": -1},
        {"ranges": ((3, 3),)},
        {"ranges": ((-1, 3),)},
        {"ranges": ((0, 3), (3, 5))},
        {"ranges": ((4, 5), (0, 3))},
        {"ranges": tuple((2 * number, 2 * number + 1) for number in range(MOST_RANGES + 1))},
    ],
)
def test_what_no_reader_takes_is_not_written(values: dict[str, Any]) -> None:
    fitting: dict[str, Any] = {"ranges": ((0, 1),), "entries": 1, "found": 0, "author": "a", "reason": "b"}
    with pytest.raises(InvalidLossError):
        Loss(**fitting | values)


def test_the_largest_loss_fits_into_a_record() -> None:
    ranges = tuple((2 * number, 2 * number + 1) for number in range(MOST_RANGES))
    loss = Loss(ranges, 2**63 - 1, 2**63 - 1, "a" * 1_000, "r" * 10_000)
    assert len(loss.to_body()) <= MOST_BODY_BYTES
    assert Loss.of(stated(loss, seq=10_000)) == loss


@pytest.mark.parametrize(
    "body",
    [
        b"",
        struct.pack(">qqi", 1, 0, 0),
        struct.pack(">qqi", 1, 0, -1),
        struct.pack(">qqi", 1, 0, 2**31 - 1),
        struct.pack(">qqi", 1, 0, 0) + b"\0\0\0\1a" + b"\xff\xff\xff\xffb",
        struct.pack(">qqi", 1, 0, 0) + b"\0\0\0\1a" + b"\0\0\0\2b",
        struct.pack(">qqi", 1, 0, 0) + b"\0\0\0\1a" + b"\0\0\0\1\xff",
        struct.pack(">qqi", 1, 0, 0) + b"\0\0\0\1a" + b"\0\0\0\1b" + b"c",
    ],
)
def test_what_is_no_loss_is_not_read(body: bytes) -> None:
    with pytest.raises(MalformedRecordError, match="record 1000"):
        read(body)


def test_segments_that_come_after_it_are_not_voided() -> None:
    loss = Loss(((0, 6),), 1, 0, "a", "b")
    assert Loss.of(stated(loss, seq=6)) == loss
    with pytest.raises(MalformedRecordError, match="after"):
        Loss.of(stated(loss, seq=5))
