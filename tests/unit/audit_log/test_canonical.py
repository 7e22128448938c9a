from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from compliance_pipelines.audit_log.canonical import (
    CanonicalBatch,
    CanonicalEncodingError,
    canonical_bytes,
    leaf_hash,
    leaf_hashes,
)
from compliance_pipelines.audit_log.entry import COLUMNS, ENTRY_SCHEMA
from compliance_pipelines.base import hashing

if TYPE_CHECKING:
    from collections.abc import Iterator

Row = dict[str, Any]

ROW: Row = {
    "id": 7,
    "log_entry_id": "a-1",
    "timestamp": datetime(2025, 10, 1, 12, 0, 0, 250, tzinfo=UTC),
    "user_id": "Zoë",
    "action": "",
    "resource_type": None,
    "resource_id": "r",
    "result": "success",
    "metadata": '{"n": 1.50}',
    "created_at": datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    "tx_id": -3,
}
CANONICAL = b'1:73:a-116:17593200000002504:Zo\xc3\xab0:-1:r7:success11:{"n": 1.50}2:-12:-3'

LENGTHS = (0, 1, 9, 10, 99, 100, 999, 1000, 4095, 4096, 9_999, 10_000, 99_999, 100_000)

int64 = st.integers(-(2**63), 2**63 - 1)
moments = st.datetimes(timezones=st.just(UTC))
texts = st.text() | st.builds(
    str.__mul__, st.sampled_from(["a", "é", "\N{EM DASH}", "\U0001f600"]), st.sampled_from(LENGTHS)
)
rows = st.fixed_dictionaries(
    {
        "id": int64,
        "log_entry_id": texts,
        "timestamp": moments,
        "user_id": texts,
        "action": texts,
        "resource_type": st.none() | texts,
        "resource_id": st.none() | texts,
        "result": texts,
        "metadata": st.none() | texts,
        "created_at": moments,
        "tx_id": int64,
    }
)


def batch_of(given_rows: list[Row]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(given_rows, schema=ENTRY_SCHEMA)


@pytest.fixture(params=[10**6, -1], ids=["hashlib", "datafusion"], scope="module")
def _few(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashing, "_FEW", request.param)
        yield


def test_the_encoding_of_a_known_row_never_changes() -> None:
    assert canonical_bytes(ROW) == CANONICAL


def test_the_leaf_of_a_known_row_never_changes() -> None:
    expected = "c205985bcdb63552edf39f79dce69f2fe4badc1e4ce02da61ed9d0a108a72257"

    assert leaf_hash(ROW).hex() == expected
    assert leaf_hashes(batch_of([ROW])).tobytes().hex() == expected


@pytest.mark.usefixtures("_few")
@example(given_rows=[], data=None)
@example(given_rows=[ROW | {"metadata": "x" * length, "resource_id": None} for length in LENGTHS], data=None)
@example(given_rows=[ROW | dict.fromkeys(("resource_type", "resource_id", "metadata"))] * 3, data=None)
@given(given_rows=st.lists(rows, max_size=12), data=st.data())
def test_batches_are_hashed_as_their_rows_are(given_rows: list[Row], data: st.DataObject | None) -> None:
    start = data.draw(st.integers(0, len(given_rows))) if data else 0
    count = data.draw(st.integers(0, len(given_rows) - start)) if data else len(given_rows)
    expected = [canonical_bytes(row) for row in given_rows[start : start + count]]

    batch = CanonicalBatch(batch_of(given_rows).slice(start, count))

    assert batch.byte_count == sum(map(len, expected))
    assert [leaf.tobytes() for leaf in batch.leaf_hashes()] == [
        leaf_hash(row) for row in given_rows[start : start + count]
    ]


@pytest.mark.parametrize("length", LENGTHS)
def test_a_text_of_any_length_is_hashed_when_no_other_is_longer(length: int) -> None:
    row = ROW | {"metadata": "x" * length}

    assert leaf_hashes(batch_of([row, ROW])).tobytes() == leaf_hash(row) + leaf_hash(ROW)


def test_long_batches_are_hashed_in_order() -> None:
    many = [ROW | {"id": number, "log_entry_id": "x" * (number % 50)} for number in range(20_000)]

    assert leaf_hashes(batch_of(many)).tobytes() == b"".join(map(leaf_hash, many))


def test_more_text_than_32_bit_offsets_reach_is_hashed_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "MOST_BYTES_AT_ONCE", 200)
    batch = batch_of([ROW] * 10)

    assert leaf_hashes(batch).tobytes() == leaf_hash(ROW) * 10


@given(rows, rows)
def test_different_rows_have_different_bytes(one: Row, other: Row) -> None:
    assert (one == other) == (canonical_bytes(one) == canonical_bytes(other))


@pytest.mark.parametrize("name", COLUMNS)
def test_moving_text_from_one_column_to_the_next_changes_the_bytes(name: str) -> None:
    moved = ROW | {"user_id": "ab", "action": "c"}

    assert canonical_bytes(moved) != canonical_bytes(ROW | {"user_id": "a", "action": "bc"})
    if ENTRY_SCHEMA.field(name).nullable:
        assert canonical_bytes(ROW | {name: None}) != canonical_bytes(ROW | {name: ""})
        assert canonical_bytes(ROW | {name: None}) != canonical_bytes(ROW | {name: "-"})


def test_a_timestamp_is_a_moment_whatever_its_time_zone() -> None:
    elsewhere = ROW["timestamp"].astimezone(timezone(timedelta(hours=5, minutes=45)))

    assert canonical_bytes(ROW | {"timestamp": elsewhere}) == CANONICAL


def test_bytes_that_are_no_utf8_are_hashed_rather_than_refused() -> None:
    batch = batch_of([ROW])
    damaged = batch.set_column(3, ENTRY_SCHEMA.field("user_id"), pa.array([b"Zo\xc3("]).view(pa.string()))

    expected = CANONICAL.replace(b"Zo\xc3\xab", b"Zo\xc3(")
    assert leaf_hashes(damaged).tobytes() == hashlib.sha256(b"\0" + expected).digest()


@pytest.mark.parametrize("value", [True, 1.5, b"bytes", datetime(2025, 1, 1), "\ud800"])  # noqa: DTZ001 - naive on purpose
def test_a_value_of_another_type_has_no_bytes(value: object) -> None:
    with pytest.raises(CanonicalEncodingError, match="user_id"):
        canonical_bytes(ROW | {"user_id": value})


def test_a_row_without_a_column_has_no_bytes() -> None:
    with pytest.raises(CanonicalEncodingError, match="lacks metadata, tx_id"):
        canonical_bytes({name: value for name, value in ROW.items() if name not in ("metadata", "tx_id")})


@pytest.mark.parametrize(
    "batch",
    [
        batch_of([ROW]).select(COLUMNS[:-1]),
        batch_of([ROW]).select(COLUMNS[::-1]),
        batch_of([ROW]).set_column(2, "timestamp", pa.array([ROW["timestamp"]], pa.timestamp("ns", "UTC"))),
        batch_of([ROW]).set_column(8, "metadata", pa.array(["{}"], pa.large_string())),
    ],
    ids=["too few", "other order", "nanoseconds", "large strings"],
)
def test_a_batch_with_other_columns_is_refused(batch: pa.RecordBatch) -> None:
    with pytest.raises(CanonicalEncodingError, match="should have id int64, log_entry_id string"):
        leaf_hashes(batch)


def test_whether_arrow_believes_that_a_column_may_be_null_does_not_matter() -> None:
    nullable = pa.schema([column.with_nullable(True) for column in ENTRY_SCHEMA])

    assert leaf_hashes(batch_of([ROW]).cast(nullable)).tobytes() == leaf_hash(ROW)
