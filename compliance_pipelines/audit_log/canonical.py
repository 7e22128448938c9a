"""The canonical bytes of an entry, which the ledger hashes.

Here: the encoding of one row, readable, and of a batch, fast; both give the same bytes. Not here: trees of hashes, and
anything that reads rows.

The encoding is the concatenation, over :data:`~compliance_pipelines.audit_log.entry.COLUMNS` in order, of `-` for NULL
and else of the length in bytes of the value's text (decimal, ASCII), a colon, and the text in UTF-8. Integers are
written in decimal, timestamps as microseconds since 1970-01-01T00:00:00Z in decimal (negative before), metadata as the
text that PostgreSQL gives for the JSONB value. A length before each value makes the encoding injective.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from compliance_pipelines.audit_log.entry import COLUMNS, ENTRY_SCHEMA
from compliance_pipelines.base import hashing
from compliance_pipelines.base.errors import ComplianceError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

LEAF_PREFIX: Final = b"\x00"
"""What stands before the bytes of a leaf when it is hashed (RFC 6962 section 2.1)."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_NULL: Final = b"-"

# Almost every length has its prefix ready in this table; the entry after the last is for NULL.
_TABLE_LENGTHS: Final = 4096
_TABLE: Final = pa.array([b"%d:" % length for length in range(_TABLE_LENGTHS)] + [_NULL], pa.binary())


class CanonicalEncodingError(ComplianceError):
    """A row or a batch is not one of entries, so that it has no canonical bytes."""


def canonical_bytes(row: Mapping[str, object]) -> bytes:
    """The canonical bytes of one row.

    Args:
        row: every column by name: int, str, aware datetime or None.

    Raises:
        CanonicalEncodingError: a column is missing or its value is of another type.
    """
    missing = [name for name in COLUMNS if name not in row]
    if missing:
        raise CanonicalEncodingError(f"the row lacks {', '.join(missing)}: it needs all of {', '.join(COLUMNS)}")
    return b"".join(_encoded(name, row[name]) for name in COLUMNS)


def leaf_hash(row: Mapping[str, object]) -> bytes:
    """The leaf of one row: SHA-256 of 0x00 and its canonical bytes; see :func:`canonical_bytes`."""
    return hashlib.sha256(LEAF_PREFIX + canonical_bytes(row)).digest()


def _encoded(name: str, value: object) -> bytes:
    if value is None:
        return _NULL
    if isinstance(value, datetime) and value.utcoffset() is not None:
        value = (value - _EPOCH) // _MICROSECOND
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise CanonicalEncodingError(f"{name} is {value!r}, neither int, str, aware datetime nor None")
    try:
        text = value.encode()
    except UnicodeEncodeError as error:
        raise CanonicalEncodingError(f"{name} has no UTF-8 encoding: {error.reason}") from error
    return b"%d:%b" % (len(text), text)


class CanonicalBatch:
    """The canonical bytes of a batch of entries, never joined: hashing joins them as it reads them.

    Args:
        batch: rows with the names and types of `ENTRY_SCHEMA`, in its order.

    Raises:
        CanonicalEncodingError: the batch has other columns.
    """

    def __init__(self, batch: pa.RecordBatch) -> None:
        if batch.schema.names != ENTRY_SCHEMA.names or batch.schema.types != ENTRY_SCHEMA.types:
            found = ", ".join(f"{column.name} {column.type}" for column in batch.schema)
            wanted = ", ".join(f"{column.name} {column.type}" for column in ENTRY_SCHEMA)
            raise CanonicalEncodingError(f"the batch has the columns {found}, and should have {wanted}")
        self._count: int = batch.num_rows
        self._pieces: list[pa.Array] = []
        for column in batch.columns:
            text = _text(column)
            self._pieces += [_length_prefix(pc.binary_length(text)), text]

    @property
    def byte_count(self) -> int:
        """The canonical bytes of all rows together."""
        return sum(pc.sum(pc.binary_length(piece)).as_py() or 0 for piece in self._pieces)

    def leaf_hashes(self) -> npt.NDArray[np.uint8]:
        """The leaves: uint8, shape (n, 32). Releases the interpreter lock for batches of more than a few rows."""
        return hashing.sha256_of_joined([pa.repeat(pa.scalar(LEAF_PREFIX), self._count), *self._pieces])


def leaf_hashes(batch: pa.RecordBatch) -> npt.NDArray[np.uint8]:
    """The leaf of each row of a batch in `ENTRY_SCHEMA`: uint8, shape (n, 32); see :class:`CanonicalBatch`."""
    return CanonicalBatch(batch).leaf_hashes()


def _text(column: pa.Array) -> pa.Array:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    if pa.types.is_integer(column.type):
        column = column.cast(pa.string())
    # As binary, bytes that are no UTF-8 (a damaged file) hash to something wrong instead of stopping the comparison.
    return column.cast(pa.binary())


def _length_prefix(lengths: pa.Array) -> pa.Array:
    if (pc.max(lengths).as_py() or 0) < _TABLE_LENGTHS:
        return _TABLE.take(pc.fill_null(lengths, _TABLE_LENGTHS))
    prefixes = pc.binary_join_element_wise(lengths.cast(pa.string()), ":", "")
    return pc.fill_null(prefixes, _NULL.decode()).cast(pa.binary())
