"""A fingerprint of rows, whatever the batches that they come in.

Here: telling whether two streams of batches hold the same rows. Not here: whose rows are compared.

It takes a tenth of the time of the rows' leaves, and is no cryptographic hash: it finds the faults of an encoder, not
those of somebody who looks for two rows with the same one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

if TYPE_CHECKING:
    from collections.abc import Iterable

_LENGTH_OF_NULL: Final = -1
_BITS: Final = 8


def fingerprint(batches: Iterable[pa.RecordBatch]) -> bytes:
    """The fingerprint of rows: 16 bytes.

    Args:
        batches: of one schema, whose columns are strings or have a fixed width.
    """
    columns: list[_Column] = []
    for batch in batches:
        columns = columns or [_Column() for _ in batch.columns]
        for column, values in zip(columns, batch.columns, strict=True):
            column.feed(values)
    return xxhash.xxh3_128_digest(b"".join(column.digest() for column in columns))


class _Column:
    """The lengths of a column's values, or which are there; and the bytes of those that are, one after the other."""

    def __init__(self) -> None:
        self._shape = xxhash.xxh3_128()
        self._data = xxhash.xxh3_128()

    def feed(self, values: pa.Array) -> None:
        texts = pa.types.is_string(values.type)
        if texts:
            lengths = pc.fill_null(pc.binary_length(values), _LENGTH_OF_NULL)
            shape = lengths.to_numpy(zero_copy_only=False).astype(np.int32)
        else:
            shape = values.is_valid().to_numpy(zero_copy_only=False)
        self._shape.update(shape.data)
        # What stands in the place of a null is nobody's.
        present = values.drop_null() if values.null_count else values
        self._data.update(_text_bytes(present) if texts else _fixed_bytes(present))

    def digest(self) -> bytes:
        return self._shape.digest() + self._data.digest()


def _text_bytes(values: pa.Array) -> memoryview:
    _, offsets, data = values.buffers()
    if not len(values) or data is None:
        return memoryview(b"")
    ends = np.frombuffer(offsets, dtype=np.int32)[values.offset : values.offset + len(values) + 1]
    return memoryview(data)[ends[0] : ends[-1]]


def _fixed_bytes(values: pa.Array) -> memoryview:
    _, data = values.buffers()
    if not len(values) or data is None:
        return memoryview(b"")
    width = values.type.bit_width // _BITS
    return memoryview(data)[values.offset * width : (values.offset + len(values)) * width]
