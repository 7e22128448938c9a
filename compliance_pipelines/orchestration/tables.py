"""Tables as Dagster's pages show them: what columns an asset has, which segments and parts a day has.

Here: metadata derived from the schemas and records of the domain. Not here: these schemas and records.
"""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Final, TypeAlias

from dagster import (
    MetadataValue,
    TableColumn,
    TableColumnConstraints,
    TableColumnDep,
    TableColumnLineage,
    TableMetadataValue,
    TableRecord,
    TableSchema,
)

from compliance_pipelines.audit_log.entry import ENTRY_SCHEMA
from compliance_pipelines.orchestration.keys import AUDIT_LOGS
from compliance_pipelines.postgres.tables import audit_logs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import pyarrow as pa
    import sqlalchemy

    from compliance_pipelines.archive.catalogue import ArchivedPart
    from compliance_pipelines.ledger.segments import Segment

# A busy day has a segment a minute, and every event carries its metadata.
_ROWS_SHOWN: Final = 20
# Where events of purged sets carry the table of a day's purges, and its column of their numbers.
SETS_SHOWN: Final = "sets"
PURGE_COLUMN: Final = "purge"
# Enough to recognise a root in a table, which a whole one would make too wide to read.
_ROOT_DIGITS: Final = 16

_MEANINGS: Final = {
    "id": "Order of insertion; given by PostgreSQL.",
    "log_entry_id": "Id given by the application; an entry delivered again under it is stored once.",
    "timestamp": "When it happened, in UTC; its day is the partition.",
    "user_id": "Who did it.",
    "action": "What was done, such as conversation.read.",
    "resource_type": "The kind of thing it was done to.",
    "resource_id": "The thing it was done to.",
    "result": "How it ended, such as success.",
    "metadata": "Anything else, as JSON.",
    "created_at": "When PostgreSQL wrote it.",
    "tx_id": "Transaction that wrote it; sealing goes by its order.",
    "nonce": "Random, given by PostgreSQL: what the ledger hashes together with the columns that say whose data it is.",
    "commitment": "In the place of what a blinded entry no longer holds; no entry is blinded yet.",
}


def hot_schema(table: sqlalchemy.Table) -> TableSchema:
    """The columns of a table in PostgreSQL."""
    return TableSchema(
        columns=[
            TableColumn(
                name=column.name,
                type=str(column.type),
                description=_MEANINGS[column.name],
                constraints=TableColumnConstraints(nullable=bool(column.nullable)),
            )
            for column in table.columns
        ]
    )


def archive_schema(schema: pa.Schema) -> TableSchema:
    """The columns of an archive."""
    return TableSchema(
        columns=[
            TableColumn(
                name=field.name,
                type=str(field.type),
                description=_MEANINGS[field.name],
                constraints=TableColumnConstraints(nullable=field.nullable),
            )
            for field in schema
        ]
    )


def archive_lineage(schema: pa.Schema) -> TableColumnLineage:
    """Each column of an archive is the hot column of the same name, unchanged."""
    return TableColumnLineage(
        deps_by_column={field.name: [TableColumnDep(asset_key=AUDIT_LOGS, column_name=field.name)] for field in schema}
    )


# What an event carries; Dagster has the type, but does not export it.
Metadata: TypeAlias = "dict[str, MetadataValue | str | int | float]"

HOT_COLUMNS: Final = hot_schema(audit_logs)
ARCHIVE_COLUMNS: Final = archive_schema(ENTRY_SCHEMA)
ARCHIVE_LINEAGE: Final = archive_lineage(ENTRY_SCHEMA)


def _columns(**types: str) -> TableSchema:
    return TableSchema(columns=[TableColumn(name=name, type=kind) for name, kind in types.items()])


_SEGMENT_COLUMNS: Final = _columns(segment="int", day="string", entries="int", root="string", sealed_at="string")
_PART_COLUMNS: Final = _columns(
    part="int", entries="int", bytes="int", root="string", verified_at="string", purged_at="string", expired_at="string"
)


def _moment(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _root(root: bytes) -> str:
    return f"{root.hex()[:_ROOT_DIGITS]}..."


def segment_table(segments: Sequence[Segment]) -> TableMetadataValue:
    """The latest segments, newest first. Times are UTC."""
    return MetadataValue.table(
        records=[
            TableRecord(
                {
                    "segment": segment.seq,
                    "day": segment.day.isoformat(),
                    "entries": segment.entry_count,
                    "root": _root(segment.root),
                    "sealed_at": _moment(segment.sealed_at),
                }
            )
            for segment in sorted(segments, key=lambda segment: segment.seq, reverse=True)[:_ROWS_SHOWN]
        ],
        schema=_SEGMENT_COLUMNS,
    )


def part_table(parts: Sequence[ArchivedPart]) -> TableMetadataValue:
    """The latest parts of a day, newest first. Times are UTC."""
    return MetadataValue.table(
        records=[
            TableRecord(
                {
                    "part": part.part,
                    "entries": part.entry_count,
                    "bytes": part.object_bytes,
                    "root": _root(part.root),
                    "verified_at": _moment(part.verified_at),
                    "purged_at": _moment(part.purged_at),
                    "expired_at": _moment(part.expired_at),
                }
            )
            for part in sorted(parts, key=lambda part: part.part, reverse=True)[:_ROWS_SHOWN]
        ],
        schema=_PART_COLUMNS,
    )
