"""Many entries in one row of PostgreSQL's, column by column, and the Arrow batch that they are.

Here: the query that packs, and unpacking. Not here: the session, and what is read one by one (reading.py).

A driver that makes Arrow of COPY's rows looks at every field of every row, which takes as long as PostgreSQL takes to
write them. Packed, the values of a column are one string for a group of entries, which are the bytes that Arrow's
column has, too: a million entries took this process 0.5 s of processor time instead of 1.8 s, and PostgreSQL about as
much as before.

Whatever cannot be packed is noticed and left to the reader of single rows: NULL where no entry has one, a commitment,
texts that are longer than an entry may be, times that PostgreSQL calls infinite, a database in another encoding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
from psycopg import sql

from compliance_pipelines.audit_log.entry import ENTRY_SCHEMA

if TYPE_CHECKING:
    import numpy.typing as npt

# As many entries as may have a MiB each, and be in PostgreSQL's memory and in ours a few times.
GROUP_ENTRIES: Final = 64
_TEXTS: Final = ("log_entry_id", "user_id", "action", "resource_type", "resource_id", "result", "metadata")
_NONCE_BYTES: Final = 16
# Few operations are what makes a group cheap, so that the lengths of all texts are two numbers: each the sum of a high
# half and a low one, which have two lengths, or that of metadata. All ones stand for NULL. Where there should be no
# NULL, a number is missing; where a length takes more bits, a column's sum is not the length of its texts.
_LENGTHS_0: Final = "octet_length(log_entry_id) | (octet_length(user_id) << 16)"
_LENGTHS_1: Final = "octet_length(action) | (octet_length(result) << 16)"
_LENGTHS_2: Final = "coalesce(octet_length(resource_type), 65535) | (coalesce(octet_length(resource_id), 65535) << 16)"
_LENGTHS_3: Final = "coalesce(octet_length(metadata), -1)"
_LENGTHS: Final = {
    "lengths_01": f"(({_LENGTHS_1})::bigint << 32) + ({_LENGTHS_0})",
    "lengths_23": f"(({_LENGTHS_3})::bigint << 32) + ({_LENGTHS_2})",
}
_LENGTH_OF_NULL: Final = 0xFFFF
# PostgreSQL counts microseconds from 2000-01-01, Arrow from 1970-01-01; the ends of the range are its infinities.
_POSTGRESQL_EPOCH: Final = 946_684_800_000_000
_LAST_TIME: Final = 2**62

_PACKED: Final = sql.SQL("""
    SELECT packed.* FROM generate_series({first}::bigint, {last}::bigint, {group}) AS low CROSS JOIN LATERAL (
        SELECT count(commitment) AS commitments, {columns}
        FROM ({rows}) AS entry
    ) AS packed
""")


_SENT: Final = {
    "id": "int8send(id)",
    "timestamp": 'timestamptz_send("timestamp")',
    "created_at": "timestamptz_send(created_at)",
    "tx_id": "int8send(tx_id)",
    "nonce": "nonce",
    **{name: f"int8send({lengths})" for name, lengths in _LENGTHS.items()},
    **{name: name for name in _TEXTS},
}
_COLUMNS: Final = sql.SQL(", ").join(
    sql.SQL("string_agg({value}, '') AS {name}").format(value=sql.SQL(value), name=sql.Identifier(name))
    for name, value in _SENT.items()
)


class NotPackableError(Exception):
    """Some entries must be read one by one."""


def packed(rows: sql.Composable, first_id: int, last_id: int) -> str:
    """The query for entries in groups.

    Args:
        rows: the query for the entries of one group: those whose id is between `low` and `low + GROUP_ENTRIES - 1`, in
            order.
        first_id: of all of them.
        last_id: of all of them.
    """
    return _PACKED.format(
        first=sql.Literal(first_id),
        last=sql.Literal(last_id),
        group=sql.Literal(GROUP_ENTRIES),
        columns=_COLUMNS,
        rows=rows,
    ).as_string(None)


def unpacked(groups: pa.RecordBatch) -> pa.RecordBatch:
    """The entries of some groups, in ENTRY_SCHEMA.

    Raises:
        NotPackableError: they must be read one by one.
    """
    if np.any(groups.column("commitments").to_numpy()):
        raise NotPackableError
    ids = _numbers(groups, "id")
    columns = {"id": pa.array(ids), "tx_id": pa.array(_numbers(groups, "tx_id"))}
    columns |= {name: _times(groups, name) for name in ("timestamp", "created_at")}
    columns |= _all_texts(groups, len(ids))
    nonces = _bytes(groups, "nonce")
    if len(nonces) != len(ids) * _NONCE_BYTES:
        raise NotPackableError
    columns["nonce"] = pa.Array.from_buffers(pa.binary(_NONCE_BYTES), len(ids), [None, pa.py_buffer(nonces)])
    columns["commitment"] = pa.nulls(len(ids), ENTRY_SCHEMA.field("commitment").type)
    return pa.RecordBatch.from_arrays([columns[field.name] for field in ENTRY_SCHEMA], schema=ENTRY_SCHEMA)


def _bytes(groups: pa.RecordBatch, name: str) -> memoryview:
    """What a column's values are, one after the other: as Arrow has them."""
    column = groups.column(name)
    _, offsets, data = column.buffers()
    ends = np.frombuffer(offsets, dtype=np.int32)[column.offset : column.offset + len(column) + 1]
    return memoryview(data or b"")[ends[0] : ends[-1]]


def _numbers(groups: pa.RecordBatch, name: str) -> npt.NDArray[np.int64]:
    return np.frombuffer(_bytes(groups, name), dtype=">i8").astype(np.int64)


def _times(groups: pa.RecordBatch, name: str) -> pa.Array:
    since_2000 = _numbers(groups, name)
    if len(since_2000) and not -_LAST_TIME < since_2000.min() <= since_2000.max() < _LAST_TIME:
        raise NotPackableError
    return pa.array(since_2000 + _POSTGRESQL_EPOCH).cast(ENTRY_SCHEMA.field(name).type)


def _halves(groups: pa.RecordBatch, name: str) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """The low and the high half of each number; the low one has a sign when it is added to the high one."""
    numbers = _numbers(groups, name)
    low = numbers.astype(np.int32)
    return low.view(np.uint32), ((numbers - low) >> 32).astype(np.int32).view(np.uint32)


def _all_texts(groups: pa.RecordBatch, count: int) -> dict[str, pa.Array]:
    pairs = [half for name in _LENGTHS for half in _halves(groups, name)]
    if any(len(pair) != count for pair in pairs):
        raise NotPackableError
    (log_entry_id, user_id), (action, result), (resource_type, resource_id) = (
        (pair & _LENGTH_OF_NULL, pair >> 16) for pair in pairs[:-1]
    )
    # The first of a pair before the second, which it spoils where it is too long.
    lengths = {
        "log_entry_id": log_entry_id,
        "user_id": user_id,
        "action": action,
        "result": result,
        "resource_type": resource_type,
        "resource_id": resource_id,
    }
    columns = {name: _texts(groups, name, each, each == _LENGTH_OF_NULL) for name, each in lengths.items()}
    columns["metadata"] = _texts(groups, "metadata", pairs[-1], pairs[-1].view(np.int32) < 0)
    return columns


def _texts(
    groups: pa.RecordBatch, name: str, lengths: npt.NDArray[np.integer[Any]], missing: npt.NDArray[np.bool_]
) -> pa.Array:
    validity = None
    if missing.any():
        if not ENTRY_SCHEMA.field(name).nullable:
            raise NotPackableError
        validity = pa.py_buffer(np.packbits(~missing, bitorder="little"))
        lengths = np.where(missing, 0, lengths)
    data = _bytes(groups, name)
    ends = np.cumsum(lengths, dtype=np.int64)
    if (ends[-1] if len(ends) else 0) != len(data):
        raise NotPackableError
    offsets = np.concatenate(([0], ends)).astype(np.int32)
    return pa.StringArray.from_buffers(len(lengths), pa.py_buffer(offsets), pa.py_buffer(data), validity)
