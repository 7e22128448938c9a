"""Whatever is done to sealed rows is seen, whether they come in one batch or in many."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance_pipelines.archive.sealed_rows import Change, SealedRows
from compliance_pipelines.audit_log.canonical import commitment_of
from tests.unit.archive.examples import batch_of, row, sealed_segments

if TYPE_CHECKING:
    from compliance_pipelines.archive.sealed_rows import Difference

ROWS = [row(number, tx_id=1000 + number // 4) for number in range(1, 101)]
SEGMENTS = sealed_segments(ROWS)


def differences(rows: list[dict[str, Any]], cuts: list[int] | None = None) -> list[Difference]:
    sealed = SealedRows(SEGMENTS)
    for start, end in pairwise([0, *sorted(cuts or []), len(rows)]):
        sealed.feed(batch_of(rows[start:end]))
    assert sealed.rows == len(rows)
    return sealed.differences()


@given(st.lists(st.integers(0, 100), max_size=5))
def test_the_rows_as_they_were_sealed_do_not_differ(cuts: list[int]) -> None:
    assert differences(ROWS, cuts) == []


@given(
    st.integers(0, 99), st.sampled_from(["log_entry_id", "user_id", "action", "result", "metadata", "resource_type"])
)
def test_an_altered_value_is_seen_in_its_segment_alone(position: int, column: str) -> None:
    rows = list(ROWS)
    rows[position] = {**rows[position], column: "altered"}
    (found,) = differences(rows)
    assert found.change is Change.ALTERED
    assert found.segment is not None
    assert found.segment.covers(ROWS[position]["tx_id"])
    assert f"of segment {found.segment.seq} was altered" in found.message


@pytest.mark.parametrize("as_blinding_would", [False, True])
@given(st.integers(0, 99))
def test_a_blinded_row_is_altered_however_well_its_commitment_fits(as_blinding_would: bool, position: int) -> None:
    row, rows = ROWS[position], list(ROWS)
    rows[position] = {**row, "commitment": commitment_of(row)}
    if as_blinding_would:
        rows[position] |= dict.fromkeys(("user_id", "resource_id", "metadata", "nonce"))
    in_its_segment, blinded = differences(rows)
    assert {in_its_segment.change, blinded.change} == {Change.ALTERED}
    assert blinded.message == "1 entry was blinded, which nothing in this version does or reads"


@given(st.integers(0, 99), st.binary(min_size=16, max_size=16))
def test_another_nonce_is_seen(position: int, nonce: bytes) -> None:
    rows = list(ROWS)
    rows[position] = {**rows[position], "nonce": nonce}
    assert len(differences(rows)) == (rows[position] != ROWS[position])


@given(st.sets(st.integers(0, 99), min_size=1, max_size=20))
def test_deleted_rows_are_counted_in_their_segments(positions: set[int]) -> None:
    found = differences([each for position, each in enumerate(ROWS) if position not in positions])
    expected = {
        segment.seq: count
        for segment in SEGMENTS
        if (count := sum(segment.covers(ROWS[position]["tx_id"]) for position in positions))
    }
    assert {difference.change for difference in found} == {Change.DELETED}
    assert [difference.message for difference in found] == [
        f"{'1 entry was' if count == 1 else f'{count} entries were'} deleted from segment {seq}, "
        f"which had {SEGMENTS[seq].entry_count}"
        for seq, count in expected.items()
    ]


def test_a_row_slipped_into_a_segment_is_seen() -> None:
    (found,) = differences(sorted([*ROWS, row(200, tx_id=1005)], key=lambda each: each["id"]))
    assert (found.change, found.segment) == (Change.INSERTED, SEGMENTS[0])


@pytest.mark.parametrize(("count", "shown"), [(1, r"1 entry was"), (30, r"30 entries were")])
def test_rows_outside_every_segment_are_counted_and_the_first_are_named(count: int, shown: str) -> None:
    strays = [row(1000 + number, tx_id=50_000) for number in range(count)]
    (found,) = differences([*ROWS, *strays])
    assert (found.change, found.segment) == (Change.INSERTED, None)
    assert found.message.startswith(f"{shown} outside every segment inserted (entry-00001000")
    assert found.message.endswith(", ...)" if count > 5 else ")")


def test_without_segments_every_row_is_one_too_many() -> None:
    sealed = SealedRows([])
    sealed.feed(batch_of(ROWS))
    assert [difference.change for difference in sealed.differences()] == [Change.INSERTED]


def test_without_rows_every_segment_misses_its_rows() -> None:
    assert {difference.change for difference in differences([])} == {Change.DELETED}
    assert len(differences([])) == len(SEGMENTS)
