"""COPY's binary format, read by the letter of PostgreSQL's documentation."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compliance_pipelines.audit_log.entry import COLUMNS, ENTRY_SCHEMA
from compliance_pipelines.postgres import copying
from compliance_pipelines.postgres.copying import CopyTarget, binary_rows
from tests.unit.archive.examples import ANY_ROW, batch_of, row

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_JSONB = frozenset({"metadata"})


def read_as_postgresql_does(data: bytes) -> list[list[bytes | None]]:
    """Each tuple: a 16-bit count of fields, and for each a 32-bit length (-1: NULL) and as many bytes; big-endian."""
    rows, at = [], 0
    while at < len(data):
        (count,) = struct.unpack_from(">h", data, at)
        at += 2
        fields: list[bytes | None] = []
        for _ in range(count):
            (length,) = struct.unpack_from(">i", data, at)
            at += 4
            fields.append(None if length == -1 else data[at : at + length])
            at += max(length, 0)
        rows.append(fields)
    assert at == len(data)
    return rows


def as_sent(name: str, value: Any) -> bytes | None:  # noqa: ANN401 - a value of any column
    if value is None:
        return None
    if isinstance(value, datetime):
        return struct.pack(">q", (value - _EPOCH) // timedelta(microseconds=1))
    if isinstance(value, int):
        return struct.pack(">q", value)
    if isinstance(value, bytes):
        return value
    return (b"\x01" if name in _JSONB else b"") + str(value).encode()


@given(st.lists(ANY_ROW, max_size=10), st.integers(0, 3))
@settings(deadline=None)
def test_every_value_is_sent_as_it_is(rows: list[dict[str, Any]], start: int) -> None:
    data = b"".join(binary_rows(batch_of(rows).slice(start), _JSONB))
    assert read_as_postgresql_does(data) == [[as_sent(name, each[name]) for name in COLUMNS] for each in rows[start:]]


def test_the_empty_text_is_not_null() -> None:
    batch = batch_of([row(1, resource_type=None, resource_id="", metadata=None), row(2, metadata="")])
    (first, second) = read_as_postgresql_does(b"".join(binary_rows(batch, _JSONB)))
    assert (first[5], first[6], first[8], second[8]) == (None, b"", None, b"\x01")


def test_a_large_batch_comes_in_pieces() -> None:
    rows = [row(number) for number in range(copying._SLICE_ROWS + 1)]
    pieces = list(binary_rows(batch_of(rows)))
    assert [len(read_as_postgresql_does(bytes(piece))) for piece in pieces] == [copying._SLICE_ROWS, 1]


def test_what_cannot_be_sent_is_refused_and_not_sent_as_something_else() -> None:
    def send(array: pa.Array) -> list[memoryview]:
        return list(binary_rows(pa.RecordBatch.from_arrays([array], names=["column"])))

    with pytest.raises(ValueError, match="column has a list with a null"):
        send(pa.array([["a"], ["b", None]]))
    with pytest.raises(pa.ArrowInvalid, match="overflow"):
        send(pa.array([-(2**63)], pa.int64()).cast(pa.timestamp("us", tz="UTC")))
    for array in (
        pa.array([1], pa.int16()),
        pa.array([1.5]),
        pa.array([0], pa.timestamp("ns", tz="UTC")),
        pa.array([[b"x"]]),
    ):
        with pytest.raises(TypeError, match="which is not copied here"):
            send(array)


def test_the_statement_quotes_its_names() -> None:
    target = CopyTarget(("audit_restored", "t"), ENTRY_SCHEMA)
    statement = target.statement().as_string(None)
    assert statement.startswith('COPY "audit_restored"."t" ("id", "log_entry_id", "timestamp", ')
    assert statement.endswith(") FROM STDIN (FORMAT binary)")
