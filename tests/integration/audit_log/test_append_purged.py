"""Entries of days that left PostgreSQL: what the archive holds is a repeat, and nothing is there twice."""

from __future__ import annotations

import threading
from datetime import date, datetime, timedelta
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from compliance_pipelines.audit_log import batches
from compliance_pipelines.audit_log.errors import (
    EntryConflictError,
    PurgedDayError,
)
from compliance_pipelines.audit_log.log import AppendResult, AsyncAuditLog, AuditLog
from compliance_pipelines.postgres.copying import copy_in
from tests.integration.audit_log.entries import MOMENT, entry, ids, stored

if TYPE_CHECKING:
    from collections.abc import Collection

    import sqlalchemy
    from sqlalchemy.ext.asyncio import AsyncEngine

    from compliance_pipelines.audit_log.appending import ArchivedDay
    from compliance_pipelines.audit_log.entry import AuditEntry

DAY = MOMENT.date()


class Archive:
    """What purged archives hold, and what they were asked."""

    def __init__(self, *held: AuditEntry) -> None:
        self.held = {each.log_entry_id: each.timestamp for each in held}
        self.asked: list[tuple[date, set[str]]] = []
        self.threads: set[str] = set()

    def of_day(self, _connection: sqlalchemy.Connection, day: date) -> ArchivedDay:
        return SimpleNamespace(present=partial(self.present, day))

    def present(self, day: date, log_entry_ids: Collection[str]) -> dict[str, datetime]:
        self.asked.append((day, set(log_entry_ids)))
        self.threads.add(threading.current_thread().name)
        return {each: self.held[each] for each in log_entry_ids if each in self.held}


def mark_purged(engine: sqlalchemy.Engine, day: date) -> None:
    """Say in the catalogue that a part of the day left PostgreSQL."""
    with engine.begin() as connection:
        connection.execute(
            text("""
                INSERT INTO archived_audit_logs (day, part, archive_location, object_key, object_sha256, object_bytes,
                    manifest_key, manifest_sha256, entry_count, canonical_bytes, first_id, last_id, root, verified_at,
                    purged_at)
                VALUES (:day, 1, 'file:///x', :name, 'x', 1, :name, 'x', 1, 1, 1, 1, '\\x00', now(), now())
            """),
            {"day": day, "name": f"part of {day}"},
        )


def test_entries_of_purged_days_are_refused_without_an_archive(
    log: AuditLog, superuser_engine: sqlalchemy.Engine
) -> None:
    mark_purged(superuser_engine, DAY)
    for append in (log.append, lambda each: log.append_many([each])):
        with pytest.raises(PurgedDayError, match=r"^2025-10-01 left PostgreSQL .*compliance import"):
            append(entry())
    assert stored(superuser_engine) == []


@pytest.mark.usefixtures("_small_chunks")
def test_what_the_archive_holds_is_a_repeat(writer: sqlalchemy.Engine, superuser_engine: sqlalchemy.Engine) -> None:
    mark_purged(superuser_engine, DAY)
    archive = Archive(entry(1), entry(5), entry(6))
    log = AuditLog(writer, archived_ids=archive)
    tomorrow = entry(20, timestamp=MOMENT + timedelta(days=1))

    assert log.append(entry(1)) is False
    assert log.append(entry(2)) is True
    result = log.append_many([*(entry(number) for number in range(8)), tomorrow])

    assert result == AppendResult(new=5, repeated=4)
    assert sorted(ids(stored(writer))) == ["entry-0", "entry-2", "entry-20", "entry-3", "entry-4", "entry-7"]
    assert {day for day, _ in archive.asked} == {DAY}


@pytest.mark.usefixtures("_small_chunks")
async def test_the_asynchronous_log_asks_the_archive_beside_its_loop(
    async_writer: AsyncEngine,
    superuser_engine: sqlalchemy.Engine,
) -> None:
    mark_purged(superuser_engine, DAY)
    archive = Archive(entry(1))
    log = AsyncAuditLog(async_writer, archived_ids=archive)
    assert await log.append(entry(1)) is False
    assert await log.append_many([entry(1), entry(2)]) == AppendResult(new=1, repeated=1)
    assert threading.current_thread().name not in archive.threads


@pytest.mark.usefixtures("_small_chunks")
def test_what_the_archive_holds_at_another_time_is_refused(
    writer: sqlalchemy.Engine, superuser_engine: sqlalchemy.Engine
) -> None:
    mark_purged(superuser_engine, DAY)
    moved = entry(1, timestamp=MOMENT)
    log = AuditLog(writer, archived_ids=Archive(entry(1)))
    with pytest.raises(EntryConflictError, match="'entry-1'"):
        log.append(moved)
    for batch in ([entry(7), moved], [entry(1), moved], [moved, entry(1)]):
        with pytest.raises(EntryConflictError, match="'entry-1'"):
            log.append_many(batch)
    assert stored(writer) == []


def test_a_day_that_is_purged_while_entries_are_appended_makes_no_doubles(
    writer: sqlalchemy.Engine, superuser_engine: sqlalchemy.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive(entry(1))
    log = AuditLog(writer, archived_ids=archive)

    def purge_first(*arguments: Any) -> int:  # noqa: ANN401
        if not archive.asked:
            monkeypatch.setattr(batches, "copy_in", copy_in)
            mark_purged(superuser_engine, DAY)
        return copy_in(*arguments)

    monkeypatch.setattr(batches, "copy_in", purge_first)
    assert log.append_many([entry(1), entry(2)]) == AppendResult(new=1, repeated=1)
    assert ids(stored(writer)) == ["entry-2"]


@pytest.mark.usefixtures("_small_chunks")
def test_a_second_day_that_is_purged_meanwhile_makes_no_doubles_either(
    writer: sqlalchemy.Engine, superuser_engine: sqlalchemy.Engine
) -> None:
    tomorrow = MOMENT + timedelta(days=1)
    mark_purged(superuser_engine, DAY)

    class PurgesAnotherDay(Archive):
        def present(self, day: date, log_entry_ids: Collection[str]) -> dict[str, datetime]:
            if not self.asked:
                mark_purged(superuser_engine, tomorrow.date())
            return super().present(day, log_entry_ids)

    archive = PurgesAnotherDay(entry(1), entry(2, timestamp=tomorrow))
    log = AuditLog(writer, archived_ids=archive)
    batch = [entry(1), entry(2, timestamp=tomorrow), entry(3)]
    assert log.append_many(batch) == AppendResult(new=1, repeated=2)
    assert ids(stored(writer)) == ["entry-3"]
