"""What the requirement wrote down works as it stands: its INSERT, its columns, its record of a deletion."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
import pytest
from psycopg.types.json import Jsonb
from sqlalchemy import text

from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.audit_log.entry import InvalidEntryError
from compliance_pipelines.audit_log.partitions import ensure_days
from tests.integration.audit_log.entries import MOMENT, entry
from tests.support.sealing import seal_all

if TYPE_CHECKING:
    import sqlalchemy
    from sqlalchemy.ext.asyncio import AsyncEngine

    from compliance_pipelines.audit_log.entry import AuditEntry
    from compliance_pipelines.audit_log.log import AsyncAuditLog, AuditLog
    from compliance_pipelines.services import Services

# Copied from the requirement, section 3.
INSERT = """
        INSERT INTO audit_logs
        (log_entry_id, timestamp, user_id, action, resource_type, resource_id, result, metadata)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        """


def requirement_record() -> dict[str, Any]:
    """The record that the requirement builds, field by field."""
    return {
        "log_entry_id": f"gdpr_deletion_{uuid.uuid4()}",
        "timestamp": datetime.now(UTC),
        "user_id": "user:alice",
        "action": "account_deletion",
        "resource_type": "user_account",
        "resource_id": "user:alice",
        "result": "success",
        "metadata": {
            "deleted_data_types": ["conversations", "sessions"],
            "deletion_count": 12,
            "errors": [],
            "reason": "gdpr_article_17_user_request",
        },
    }


def rows(engine: sqlalchemy.Engine) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        found = connection.execute(
            text(
                'SELECT log_entry_id, "timestamp", user_id, action, resource_type, resource_id, result, metadata'
                " FROM audit_logs ORDER BY id"
            )
        )
        return [dict(row) for row in found.mappings()]


async def test_the_requirements_insert_works_through_asyncpg(
    writer_database_url: str, engine: sqlalchemy.Engine
) -> None:
    connection = await asyncpg.connect(writer_database_url)
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads)
    record = requirement_record()
    await connection.execute(INSERT, *record.values())
    await connection.close()
    assert rows(engine) == [record]


def test_the_requirements_insert_works_through_psycopg(writer_database_url: str, engine: sqlalchemy.Engine) -> None:
    record = requirement_record()
    values = [Jsonb(value) if isinstance(value, dict) else value for value in record.values()]
    with psycopg.connect(writer_database_url, cursor_factory=psycopg.RawCursor) as connection:
        connection.execute(INSERT, values)
    assert rows(engine) == [record]


def test_the_requirements_insert_is_sealed_like_any_other(services: Services, writer_database_url: str) -> None:
    values = [Jsonb(value) if isinstance(value, dict) else value for value in requirement_record().values()]
    with psycopg.connect(writer_database_url, cursor_factory=psycopg.RawCursor) as connection:
        connection.execute(INSERT, values)
    assert seal_all(services).entries == 1


def test_the_view_has_the_twelve_columns_of_the_requirement_in_its_order(engine: sqlalchemy.Engine) -> None:
    with engine.connect() as connection:
        found = connection.execute(
            text(
                "SELECT column_name, data_type FROM information_schema.columns"
                " WHERE table_name = 'audit_log_entries' ORDER BY ordinal_position"
            )
        ).all()
    assert [tuple(row) for row in found] == [
        ("id", "bigint"),
        ("log_entry_id", "text"),
        ("timestamp", "timestamp with time zone"),
        ("user_id", "text"),
        ("action", "text"),
        ("resource_type", "text"),
        ("resource_id", "text"),
        ("result", "text"),
        ("metadata", "jsonb"),
        ("created_at", "timestamp with time zone"),
        ("archived_at", "timestamp with time zone"),
        ("archive_location", "text"),
    ]


def test_the_view_tells_where_an_entry_was_archived(
    services: Services, log: AuditLog, reader_database_url: str
) -> None:
    with services.engine.begin() as connection:
        ensure_days(connection, [MOMENT.date()])
    log.append(entry(1))
    seal_all(services)
    before = datetime.now(UTC)
    archived = archive_day(services, MOMENT.date())
    log.append(entry(2))

    with psycopg.connect(reader_database_url) as connection:
        found = connection.execute(
            "SELECT log_entry_id, archived_at, archive_location FROM audit_log_entries"
            " WHERE action <> 'audit.archive' ORDER BY id"
        ).fetchall()

    (first, archived_at, location), second = found
    assert (first, location) == ("entry-1", archived.uri)
    assert before < archived_at < datetime.now(UTC)
    assert second == ("entry-2", None, None)


# The record of a deletion


def check_record(record: AuditEntry, found: dict[str, Any], result: str, before: datetime) -> None:
    """The entry that was returned is the one in the table, and is what the requirement builds."""
    expected = requirement_record()
    assert list(found) == list(expected)
    assert found["log_entry_id"] == record.log_entry_id
    assert record.log_entry_id.startswith("gdpr_deletion_")
    assert str(uuid.UUID(record.log_entry_id.removeprefix("gdpr_deletion_"))) in record.log_entry_id
    assert before <= found["timestamp"] <= datetime.now(UTC)
    assert found == expected | {
        "log_entry_id": record.log_entry_id,
        "timestamp": record.timestamp,
        "result": result,
        "metadata": expected["metadata"] | {"errors": [] if result == "success" else ["redis: timeout"]},
    }


def test_a_deletion_is_recorded_as_the_requirement_wants_it(log: AuditLog, engine: sqlalchemy.Engine) -> None:
    facts: dict[str, Any] = {
        "user_id": "user:alice",
        "deleted_data_types": ["conversations", "sessions"],
        "deletion_count": 12,
    }
    before = datetime.now(UTC)
    whole = log.record_deletion(**facts, success=True)
    partial = log.record_deletion(**facts, success=False, errors=["redis: timeout"])
    found = rows(engine)
    check_record(whole, found[0], "success", before)
    check_record(partial, found[1], "partial", before)
    assert whole.log_entry_id != partial.log_entry_id


async def test_the_asynchronous_log_records_a_deletion_the_same(
    async_log: AsyncAuditLog, engine: sqlalchemy.Engine
) -> None:
    facts: dict[str, Any] = {
        "user_id": "user:alice",
        "deleted_data_types": ("conversations", "sessions"),
        "deletion_count": 12,
    }
    before = datetime.now(UTC)
    whole = await async_log.record_deletion(**facts, success=True)
    partial = await async_log.record_deletion(**facts, success=False, errors=("redis: timeout",))
    found = rows(engine)
    check_record(whole, found[0], "success", before)
    check_record(partial, found[1], "partial", before)


def test_reason_and_time_of_a_deletion_can_be_given(log: AuditLog, engine: sqlalchemy.Engine) -> None:
    log.record_deletion(
        user_id="bob", deleted_data_types=[], deletion_count=0, success=True, reason="account closed", timestamp=MOMENT
    )
    (found,) = rows(engine)
    assert (found["timestamp"], found["metadata"]["reason"]) == (MOMENT, "account closed")


def test_a_deletion_is_recorded_within_the_transaction_that_deletes(log: AuditLog, writer: sqlalchemy.Engine) -> None:
    facts: dict[str, Any] = {"user_id": "bob", "deleted_data_types": ["x"], "deletion_count": 1, "success": True}
    with writer.connect() as connection:
        log.record_deletion_within(connection, **facts)
        connection.rollback()
        kept = log.record_deletion_within(connection, **facts)
        connection.commit()
    assert [row["log_entry_id"] for row in rows(writer)] == [kept.log_entry_id]


async def test_the_asynchronous_log_records_a_deletion_within_a_transaction(
    async_log: AsyncAuditLog, async_writer: AsyncEngine, engine: sqlalchemy.Engine
) -> None:
    facts: dict[str, Any] = {"user_id": "bob", "deleted_data_types": ["x"], "deletion_count": 1, "success": True}
    async with async_writer.connect() as connection:
        await async_log.record_deletion_within(connection, **facts)
        await connection.rollback()
        kept = await async_log.record_deletion_within(connection, **facts)
        await connection.commit()
    assert [row["log_entry_id"] for row in rows(engine)] == [kept.log_entry_id]


def test_a_deletion_that_cannot_be_recorded_is_said_so(log: AuditLog, engine: sqlalchemy.Engine) -> None:
    with pytest.raises(InvalidEntryError, match="NUL"):
        log.record_deletion(user_id="\0", deleted_data_types=[], deletion_count=0, success=True)
    assert rows(engine) == []
