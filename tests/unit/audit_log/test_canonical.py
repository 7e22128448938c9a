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
    commitment_of,
    leaf_hash,
    leaf_hashes,
    private_bytes,
    public_bytes,
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
    "nonce": bytes(range(16)),
    "commitment": None,
}
PUBLIC = (
    bytes.fromhex("0000000000000007 000640179ba570fa ffffffffffffffff fffffffffffffffd")
    + bytes.fromhex("00000003 00000000 ffffffff 00000007")
    + b"a-1success"
)
PRIVATE = bytes.fromhex("00000004 00000001 0000000b") + b'Zo\xc3\xabr{"n": 1.50}'

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
        "nonce": st.binary(min_size=16, max_size=16),
        "commitment": st.none(),
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
    assert public_bytes(ROW) == PUBLIC
    assert private_bytes(ROW) == PRIVATE


def test_the_leaf_of_a_known_row_never_changes() -> None:
    commitment = hashlib.sha256(b"\2" + bytes(range(16)) + PRIVATE).digest()
    expected = hashlib.sha256(b"\0" + PUBLIC + commitment).digest()

    assert commitment_of(ROW) == commitment
    assert leaf_hash(ROW) == expected
    assert leaf_hashes(batch_of([ROW])).tobytes() == expected


@pytest.mark.usefixtures("_few")
@example(given_rows=[], data=None)
@example(given_rows=[ROW | {"metadata": "x" * length, "resource_id": None} for length in LENGTHS], data=None)
@example(given_rows=[ROW | dict.fromkeys(("resource_type", "resource_id", "metadata"))] * 3, data=None)
@given(given_rows=st.lists(rows, max_size=12), data=st.data())
def test_batches_are_hashed_as_their_rows_are(given_rows: list[Row], data: st.DataObject | None) -> None:
    start = data.draw(st.integers(0, len(given_rows))) if data else 0
    count = data.draw(st.integers(0, len(given_rows) - start)) if data else len(given_rows)
    expected = [public_bytes(row) + private_bytes(row) for row in given_rows[start : start + count]]

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
    nameless = {"nonce": None}
    same = public_bytes(one) == public_bytes(other) and private_bytes(one) == private_bytes(other)
    assert (one | nameless == other | nameless) == same


@given(rows, st.binary(min_size=16, max_size=16))
def test_the_leaf_hides_the_private_columns_under_the_nonce(row: Row, nonce: bytes) -> None:
    others = row | {"nonce": nonce}

    assert (leaf_hash(row) == leaf_hash(others)) == (row["nonce"] == nonce)
    assert public_bytes(row) == public_bytes(others)


@pytest.mark.parametrize("name", COLUMNS)
def test_moving_text_from_one_column_to_the_next_changes_the_leaf(name: str) -> None:
    for one, next_one in (("log_entry_id", "action"), ("user_id", "resource_id"), ("user_id", "action")):
        moved = ROW | {one: "ab", next_one: "c"}
        assert leaf_hash(moved) != leaf_hash(ROW | {one: "a", next_one: "bc"})
    if ENTRY_SCHEMA.field(name).nullable and ENTRY_SCHEMA.field(name).type == pa.string():
        assert leaf_hash(ROW | {name: None}) != leaf_hash(ROW | {name: ""})


def test_a_timestamp_is_a_moment_whatever_its_time_zone() -> None:
    elsewhere = ROW["timestamp"].astimezone(timezone(timedelta(hours=5, minutes=45)))

    assert public_bytes(ROW | {"timestamp": elsewhere}) == PUBLIC


def test_bytes_that_are_no_utf8_are_hashed_rather_than_refused() -> None:
    batch = batch_of([ROW])
    damaged = batch.set_column(3, ENTRY_SCHEMA.field("user_id"), pa.array([b"Zo\xc3("]).view(pa.string()))

    private = PRIVATE.replace(b"Zo\xc3\xab", b"Zo\xc3(")
    commitment = hashlib.sha256(b"\2" + bytes(range(16)) + private).digest()
    assert leaf_hashes(damaged).tobytes() == hashlib.sha256(b"\0" + PUBLIC + commitment).digest()


BLINDED = [
    {"nonce": None},
    {"commitment": bytes(32)},
    {"nonce": None, "user_id": None, "resource_id": None, "metadata": None, "commitment": commitment_of(ROW)},
]


@pytest.mark.parametrize("changed", BLINDED, ids=["no nonce", "both", "blinded"])
def test_a_row_without_a_nonce_or_with_a_commitment_has_no_leaf(changed: Row) -> None:
    batch = CanonicalBatch(batch_of([ROW, ROW | changed, ROW]).slice(1))

    assert batch.blinded.tolist() == [True, False]
    assert batch.leaf_hashes().tobytes() == bytes(32) + leaf_hash(ROW)
    with pytest.raises(CanonicalEncodingError, match="no nonce of 16 bytes, or has a commitment"):
        leaf_hash(ROW | changed)


@pytest.mark.parametrize("value", [True, 1.5, b"bytes", datetime(2025, 1, 1), "\ud800"])  # noqa: DTZ001 - naive on purpose
def test_a_value_of_another_type_has_no_bytes(value: object) -> None:
    with pytest.raises(CanonicalEncodingError, match="user_id"):
        leaf_hash(ROW | {"user_id": value})


@pytest.mark.parametrize("value", [True, 1.5, "7", None, datetime(2025, 1, 1), 2**63])  # noqa: DTZ001 - naive on purpose
def test_a_number_of_another_type_has_no_bytes(value: object) -> None:
    with pytest.raises(CanonicalEncodingError, match="tx_id"):
        leaf_hash(ROW | {"tx_id": value})


def test_a_row_without_a_column_has_no_bytes() -> None:
    with pytest.raises(CanonicalEncodingError, match="lacks metadata, tx_id"):
        leaf_hash({name: value for name, value in ROW.items() if name not in ("metadata", "tx_id")})


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
