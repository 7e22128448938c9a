"""SHA-256 of many values at once, outside the interpreter lock.

Here: hashing of Arrow columns and of fixed-width rows. Not here: what the bytes mean (the canonical encoding of an
entry, the nodes of a Merkle tree).

DataFusion hashes a column about twice as fast as a loop over hashlib and joins columns about twice as fast as pyarrow,
and holds no lock meanwhile. A query costs about a quarter of a millisecond and the first one an import of about a
second, so few values go through hashlib.
"""

from __future__ import annotations

import hashlib
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from datafusion import SessionContext

DIGEST_BYTES: Final = 32

_FEW: Final = 512
# Offsets of Arrow's binary arrays are 32-bit; half of what they reach, so that joined columns stay well below it.
MOST_BYTES_AT_ONCE: Final = 2**30


def sha256_of_rows(rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The digest of each row.

    Args:
        rows: uint8, shape (n, width).

    Returns:
        uint8, shape (n, 32).
    """
    count, width = rows.shape
    if count <= _FEW:
        data = rows.tobytes()
        digests = [hashlib.sha256(data[width * row : width * (row + 1)]).digest() for row in range(count)]
        return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, DIGEST_BYTES)
    at_once = max(1, MOST_BYTES_AT_ONCE // max(1, width))
    if count > at_once:
        return np.concatenate([sha256_of_rows(rows[start : start + at_once]) for start in range(0, count, at_once)])
    offsets = np.arange(count + 1, dtype=np.int32) * np.int32(width)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(rows))]
    return sha256_of_joined([pa.Array.from_buffers(pa.binary(), count, buffers)])


def sha256_of_joined(columns: Sequence[pa.Array]) -> npt.NDArray[np.uint8]:
    """The digest, for each row, of that row's values joined without a separator.

    Args:
        columns: binary arrays of equal length, at least one; a NULL joins as nothing.

    Returns:
        uint8, shape (n, 32).
    """
    count = len(columns[0])
    if count > 1 and sum(column.nbytes for column in columns) > MOST_BYTES_AT_ONCE:
        half = count // 2
        return np.concatenate(
            [
                sha256_of_joined([column.slice(0, half) for column in columns]),
                sha256_of_joined([column.slice(half) for column in columns]),
            ]
        )
    if count <= _FEW:
        return _with_hashlib(columns)
    return _with_datafusion(columns)


def joined(columns: Sequence[pa.Array]) -> pa.Array:
    """Each row's values of binary (or all large_binary) columns, without a separator; a NULL joins as nothing."""
    separator = pa.scalar(b"", columns[0].type)
    return pc.binary_join_element_wise(*columns, separator, null_handling="replace", null_replacement=b"")


def _with_hashlib(columns: Sequence[pa.Array]) -> npt.NDArray[np.uint8]:
    offsets, data = _content(joined(columns))
    digests = b"".join([hashlib.sha256(data[start:end]).digest() for start, end in pairwise(offsets.tolist())])
    return np.frombuffer(digests, dtype=np.uint8).reshape(-1, DIGEST_BYTES)


def _with_datafusion(columns: Sequence[pa.Array]) -> npt.NDArray[np.uint8]:
    from datafusion import col, functions  # noqa: PLC0415 - the import takes a second; see _context

    names = [f"column_{number}" for number in range(len(columns))]
    # Joining copies, and makes nothing of a NULL.
    alone = len(columns) == 1 and not columns[0].null_count
    value = col(names[0]) if alone else functions.concat(*(col(name) for name in names))
    frame = _context().read_batch(pa.RecordBatch.from_arrays(list(columns), names))
    batches = frame.select(functions.sha256(value)).collect()
    return np.concatenate([_fixed_width(batch.column(0)) for batch in batches])


def _fixed_width(digests: pa.Array) -> npt.NDArray[np.uint8]:
    if digests.null_count:
        raise AssertionError("a digest is NULL, and joined values never are")
    offsets, data = _content(digests)
    return np.frombuffer(data[offsets[0] : offsets[-1]], dtype=np.uint8).reshape(-1, DIGEST_BYTES)


def _content(values: pa.Array) -> tuple[npt.NDArray[np.int32], memoryview]:
    """The offsets of a binary array's values, one more than values, and the bytes that they point into."""
    _, offsets, data = values.buffers()
    from_first = np.frombuffer(offsets, dtype=np.int32, offset=values.offset * 4, count=len(values) + 1)
    return from_first, memoryview(data or b"")


@cache
def _context() -> SessionContext:
    """One partition keeps the rows in order and in the calling thread; a lone projection leaves nothing to optimise."""
    from datafusion import SessionConfig, SessionContext  # noqa: PLC0415 - programs that hash little start faster without it

    return SessionContext(SessionConfig().with_target_partitions(1).set("datafusion.optimizer.max_passes", "0"))
