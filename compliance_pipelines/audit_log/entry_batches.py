"""Entries as Arrow batches, to be copied.

Here: the columns that an application fills, and collecting entries into them. Not here: COPY (postgres/copying.py),
what is copied where (batches.py, importing.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow as pa

from compliance_pipelines.audit_log.entry import ENTRY_SCHEMA, FILLED_BY_THE_DATABASE

if TYPE_CHECKING:
    from compliance_pipelines.audit_log.entry import AuditEntry

JSONB_COLUMNS: Final = frozenset({"metadata"})
APPENDED_SCHEMA: Final = pa.schema([field for field in ENTRY_SCHEMA if field.name not in FILLED_BY_THE_DATABASE])


class EntryColumns:
    """Entries that wait to become a batch, as the values of their columns.

    The entries themselves are not kept: objects that hold others keep Python's garbage collector busy, texts do not.

    Attributes:
        count: how many entries there are.
        characters: how many their texts have together, which is about what they take in memory.
    """

    def __init__(self) -> None:
        self._columns: tuple[list[object], ...] = tuple([] for _ in APPENDED_SCHEMA)
        self.count = 0
        self.characters = 0

    def add(self, entry: AuditEntry) -> int:
        """Add an entry; return how many characters its texts have."""
        values = (
            entry.log_entry_id,
            entry.timestamp,
            entry.user_id,
            entry.action,
            entry.resource_type,
            entry.resource_id,
            entry.result,
            entry.metadata_text,
        )
        for column, value in zip(self._columns, values, strict=True):
            column.append(value)
        characters = sum([len(value) for value in values if isinstance(value, str)])
        self.count += 1
        self.characters += characters
        return characters

    def arrays(self) -> list[pa.Array]:
        """The columns of APPENDED_SCHEMA."""
        return [pa.array(values, field.type) for values, field in zip(self._columns, APPENDED_SCHEMA, strict=True)]

    def batch(self) -> pa.RecordBatch:
        """The entries in APPENDED_SCHEMA."""
        return pa.RecordBatch.from_arrays(self.arrays(), schema=APPENDED_SCHEMA)
