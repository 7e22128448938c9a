from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance_pipelines.ledger.segments import RECORD_BYTES, MalformedSegmentError, Segment
from tests.unit.ledger import stranger, vectors
from tests.unit.ledger.alterations import alterations

RECORD: Final[dict[str, Any]] = vectors.json_box("segments")[1]["segment"]

numbers = st.integers(-(2**63), 2**63 - 1)
segments = st.builds(
    Segment,
    seq=st.integers(0, 2**63 - 1),
    day=st.dates(),
    tx_from=numbers,
    tx_to=numbers,
    first_id=numbers,
    last_id=numbers,
    entry_count=numbers,
    root=st.binary(min_size=32, max_size=32),
    sealed_at=st.datetimes(timezones=st.just(UTC)),
)


@given(segments)
def test_a_record_is_read_as_it_was_written_and_a_stranger_hashes_it_alike(segment: Segment) -> None:
    assert Segment.from_json(segment.to_json()) == segment
    assert stranger.record_bytes(segment.to_json()) == segment.record_bytes()
    assert stranger.leaf_hash(segment.record_bytes()) == segment.leaf_hash()


@given(segments)
def test_the_bytes_of_a_record_are_read_as_it_was_written(segment: Segment) -> None:
    assert len(segment.record_bytes()) == RECORD_BYTES == 93
    assert Segment.from_record(segment.record_bytes()) == segment


@given(st.binary(min_size=RECORD_BYTES - 1, max_size=RECORD_BYTES - 1))
def test_whatever_bytes_are_read_as_a_record_are_those_of_that_record(rest: bytes) -> None:
    try:
        segment = Segment.from_record(b"\x01" + rest)
    except MalformedSegmentError:
        return
    assert segment.record_bytes() == b"\x01" + rest


@given(segments, st.binary(max_size=200))
def test_other_bytes_are_refused_or_another_record(segment: Segment, data: bytes) -> None:
    written = segment.record_bytes()
    flipped = (written[:at] + bytes([written[at] ^ 1]) + written[at + 1 :] for at in range(RECORD_BYTES))
    for other in (data, written[:-1], written + b"\x00", b"\x00" + written, b"\x02" + written[1:], *flipped):
        try:
            assert Segment.from_record(other) != segment
        except MalformedSegmentError:
            continue


@given(segments, segments)
def test_different_records_have_different_bytes(one: Segment, other: Segment) -> None:
    assert (one == other) == (one.record_bytes() == other.record_bytes())


def test_every_altered_record_is_refused_or_is_another_one() -> None:
    leaf = Segment.from_json(RECORD).leaf_hash()
    for where, altered in alterations(RECORD):
        try:
            other = Segment.from_json(altered)
        except MalformedSegmentError:
            continue
        assert other.leaf_hash() != leaf, where


@pytest.mark.parametrize(
    "change",
    [
        {"seq": True},
        {"seq": 1.0},
        {"sealed_at": float(RECORD["sealed_at"])},
        {"sealed_at": 2**80},
        {"seq": 2**63},
        {"tx_from": -(2**63) - 1},
        {"day": "20251001"},
        {"day": "2025-W40-3"},
        {"root": RECORD["root"].upper()},
        {"root": RECORD["root"][2:]},
        {"root": " " + RECORD["root"]},
    ],
)
def test_another_way_to_write_a_record_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(MalformedSegmentError):
        Segment.from_json({**RECORD, **change})


def test_a_segment_covers_transactions_from_its_first_to_before_its_end() -> None:
    segment = Segment(0, date(2025, 10, 1), 10, 20, 1, 2, 2, bytes(32), datetime(2025, 10, 2, tzinfo=UTC))
    assert [segment.covers(tx_id) for tx_id in (9, 10, 19, 20)] == [False, True, True, False]
