"""Entries as Arrow batches, to be copied.

Here: the columns that an application fills, and a batch of them made of entries. Not here: COPY (postgres/copying.py),
what is copied where (batches.py, importing.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow as pa

from compliance_pipelines.audit_log.entry import ENTRY_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from compliance_pipelines.audit_log.entry import AuditEntry

JSONB_COLUMNS: Final = frozenset({"metadata"})
# The other columns are the database's to fill.
APPENDED_SCHEMA: Final = pa.schema([field for field in ENTRY_SCHEMA if field.name not in {"id", "created_at", "tx_id"}])


def entry_arrays(entries: Sequence[AuditEntry]) -> list[pa.Array]:
    """The columns of APPENDED_SCHEMA; a column at a time is far cheaper than an entry at a time."""
    columns: tuple[list[object], ...] = (
        [entry.log_entry_id for entry in entries],
        [entry.timestamp for entry in entries],
        [entry.user_id for entry in entries],
        [entry.action for entry in entries],
        [entry.resource_type for entry in entries],
        [entry.resource_id for entry in entries],
        [entry.result for entry in entries],
        [entry.metadata_text for entry in entries],
    )
    return [pa.array(values, field.type) for values, field in zip(columns, APPENDED_SCHEMA, strict=True)]


def entry_batch(entries: Sequence[AuditEntry]) -> pa.RecordBatch:
    """Entries in APPENDED_SCHEMA."""
    return pa.RecordBatch.from_arrays(entry_arrays(entries), schema=APPENDED_SCHEMA)


def text_length(entry: AuditEntry) -> int:
    """How many characters an entry's texts have together, which is about what it takes in memory."""
    return (
        len(entry.log_entry_id)
        + len(entry.user_id)
        + len(entry.action)
        + len(entry.result)
        + len(entry.resource_type or "")
        + len(entry.resource_id or "")
        + len(entry.metadata_text or "")
    )
