"""Entries that the tests of this package append, and what the database has of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from compliance_pipelines.audit_log.entry import AuditEntry, JsonText

if TYPE_CHECKING:
    from collections.abc import Sequence

    import sqlalchemy

MOMENT: Final = datetime(2025, 10, 1, 12, 0, 0, 123456, tzinfo=UTC)

_STORED: Final = """
    SELECT log_entry_id, "timestamp", user_id, action, resource_type, resource_id, result, metadata::text AS metadata
    FROM audit_logs WHERE action <> 'audit.import' ORDER BY id
"""


def entry(number: int = 0, **values: Any) -> AuditEntry:  # noqa: ANN401 - any field of an entry
    """An entry like others, a second later for each number."""
    fields: dict[str, Any] = {
        "log_entry_id": f"entry-{number}",
        "timestamp": MOMENT + timedelta(seconds=number),
        "user_id": "alice",
        "action": "message.send",
        "result": "success",
        "resource_type": "conversation",
        "resource_id": f"c-{number}",
        "metadata": JsonText('{"latency_ms": 12.50}'),
    }
    return AuditEntry(**(fields | values))


def stored(engine: sqlalchemy.Engine) -> list[AuditEntry]:
    """The entries in `audit_logs`, in the order of their ids, without those about imports."""
    with engine.connect() as connection:
        rows = connection.execute(text(_STORED)).mappings().all()
    return [
        AuditEntry(**{**row, "metadata": None if row["metadata"] is None else JsonText(row["metadata"])})
        for row in rows
    ]


def ids(entries: Sequence[AuditEntry]) -> list[str]:
    """Their ids."""
    return [each.log_entry_id for each in entries]
