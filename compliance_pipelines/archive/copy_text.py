"""Rows as PostgreSQL's COPY reads them.

Here: ENTRY_SCHEMA to COPY's text format, a whole batch at a time. Not here: the statement, the connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Iterator

# The order matters: the backslash that escapes must not be escaped again.
_ESCAPES: Final = (("\\", "\\\\"), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t"))
_NULL: Final = "\\N"
_SLICE_ROWS: Final = 8192


def _escaped(column: pa.Array) -> pa.Array:
    for character, escape in _ESCAPES:
        column = pc.replace_substring(column, character, escape)
    return column


def _written(column: pa.Array) -> pa.Array:
    """Text of each value; timestamps as ISO 8601 with microseconds and `Z`, which every DateStyle reads."""
    if pa.types.is_string(column.type):
        text = _escaped(column.cast(pa.large_string()))
    else:
        text = column.cast(pa.large_string())
    return pc.fill_null(text, _NULL)


def _joined(columns: list[pa.Array], separator: str) -> pa.Array:
    return pc.binary_join_element_wise(*columns, pa.scalar(separator, pa.large_string()))


def copy_lines(batch: pa.RecordBatch) -> Iterator[memoryview]:
    """The rows of a batch as lines of COPY's text format, in pieces, columns in the order of the batch."""
    for start in range(0, batch.num_rows, _SLICE_ROWS):
        piece = batch.slice(start, _SLICE_ROWS)
        fields = _joined([_written(column) for column in piece.columns], "\t")
        lines = _joined([fields, pa.repeat(pa.scalar("", pa.large_string()), piece.num_rows)], "\n")
        _, _, values = lines.buffers()
        yield memoryview(values)[: pc.sum(pc.binary_length(lines)).as_py()]
