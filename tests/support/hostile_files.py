"""Parquet files as a stranger makes them: a footer that decoders stumble over, and small files that take gigabytes."""

from __future__ import annotations

import io
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from compliance_pipelines.archive.parquet import MOST_GROUP_ROWS, PartLabel
from compliance_pipelines.audit_log.entry import ENTRY_SCHEMA
from tests.unit.archive.examples import DAY, batch_of, row

_LARGE_TEXT: Final = 64 * 2**10
_LABEL: Final = PartLabel.of(DAY, 1, bytes(32))


def with_a_name_that_is_no_text(data: bytes) -> bytes:
    """A part's file in which one byte of a column's name in the footer is changed."""
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    position = data.index(b"resource_type", footer)
    return data[:position] + b"\xff" + data[position + 1 :]


def with_other_rows(data: bytes, kept: int) -> bytes:
    """A readable file of the same form and label with the first rows only."""
    table = pq.read_table(io.BytesIO(data)).slice(0, kept).cast(ENTRY_SCHEMA)
    label = pq.read_metadata(io.BytesIO(data)).metadata
    file = io.BytesIO()
    options = {"compression": "zstd", "use_dictionary": False, "write_statistics": False, "store_schema": False}
    with pq.ParquetWriter(file, ENTRY_SCHEMA, **options) as writer:
        writer.add_key_value_metadata(label)
        writer.write_table(table)
    return file.getvalue()


def bomb(*, rows: int = MOST_GROUP_ROWS, label: PartLabel = _LABEL) -> bytes:
    """A file of a few kilobytes in one row group, whose user ids take 64 KiB a row when they are decoded."""
    one = batch_of([row(1, user_id="x" * _LARGE_TEXT)])
    again = pa.array([0] * rows, pa.int8())
    columns = {name: pa.DictionaryArray.from_arrays(again, one.column(name)) for name in ENTRY_SCHEMA.names}
    large = columns["user_id"]
    small = {name: column.dictionary_decode() for name, column in columns.items() if name != "user_id"}
    schema = pa.schema([field.with_type(large.type) if field.name == "user_id" else field for field in ENTRY_SCHEMA])
    table = pa.table([small.get(name, large) for name in ENTRY_SCHEMA.names], schema=schema)
    file = io.BytesIO()
    with pq.ParquetWriter(file, schema, compression="zstd", write_statistics=False, store_schema=False) as writer:
        writer.add_key_value_metadata(label.to_metadata())
        writer.write_table(table, row_group_size=rows)
    return file.getvalue()
