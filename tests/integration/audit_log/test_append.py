"""What is appended is there once, unchanged, however often it is delivered."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from compliance_pipelines.audit_log import batches
from compliance_pipelines.audit_log.entry import AuditEntry, InvalidEntryError
from compliance_pipelines.audit_log.errors import (
    EntryConflictError,
)
from compliance_pipelines.audit_log.log import AppendResult, AsyncAuditLog, AuditLog
from compliance_pipelines.audit_log.partitions import ensure_days
from tests.integration.audit_log.entries import MOMENT, entry, ids, stored

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import sqlalchemy
    from sqlalchemy.ext.asyncio import AsyncEngine

DAY = MOMENT.date()


# One entry


def test_an_entry_is_new_once_and_then_a_repeat(log: AuditLog, engine: sqlalchemy.Engine) -> None:
    assert log.append(entry()) is True
    assert log.append(entry()) is False
    assert stored(engine) == [entry()]


async def test_the_asynchronous_log_appends_the_same(async_log: AsyncAuditLog, engine: sqlalchemy.Engine) -> None:
    assert await async_log.append(entry()) is True
    assert await async_log.append(entry()) is False
    assert stored(engine) == [entry()]


def test_the_database_gives_id_time_of_writing_and_transaction(log: AuditLog, engine: sqlalchemy.Engine) -> None:
    log.append(entry(1))
    log.append(entry(2))
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT id, created_at, tx_id, now() AS now FROM audit_logs ORDER BY id")).all()
    assert [row.id for row in rows] == [1, 2]
    assert rows[0].tx_id < rows[1].tx_id
    assert all(timedelta() < row.now - row.created_at < timedelta(seconds=30) for row in rows)


@pytest.mark.parametrize("offset", [timedelta(seconds=1), timedelta(days=1), -timedelta(days=1)])
def test_an_id_at_another_time_is_refused(log: AuditLog, engine: sqlalchemy.Engine, offset: timedelta) -> None:
    log.append(entry())
    moved = entry(timestamp=MOMENT + offset)
    for append in (lambda: log.append(moved), lambda: log.append_many([entry(1), moved])):
        with pytest.raises(EntryConflictError, match=r"'entry-0' at 2025-.* and 2025-.*Nothing was appended"):
            append()
    assert stored(engine) == [entry()]


async def test_the_asynchronous_log_refuses_an_id_at_another_time(
    async_log: AsyncAuditLog, engine: sqlalchemy.Engine
) -> None:
    await async_log.append(entry())
    moved = entry(timestamp=MOMENT + timedelta(hours=1))
    with pytest.raises(EntryConflictError, match="two times"):
        await async_log.append(moved)
    with pytest.raises(EntryConflictError, match="two times"):
        await async_log.append_many([entry(1), moved])
    assert stored(engine) == [entry()]


async def test_a_day_before_the_first_is_refused_with_the_name_of_the_setting(
    log: AuditLog, async_log: AsyncAuditLog, engine: sqlalchemy.Engine
) -> None:
    early = entry(timestamp=datetime(2014, 12, 31, 23, 59, 59, 999999, tzinfo=UTC))
    with pytest.raises(InvalidEntryError, match=r"is of 2014-12-31, before .* 2015-01-01: set AUDIT_LOG_FIRST_DAY"):
        log.append(early)
    with pytest.raises(InvalidEntryError, match="AUDIT_LOG_FIRST_DAY"):
        log.append_many([entry(), early])
    with pytest.raises(InvalidEntryError, match="AUDIT_LOG_FIRST_DAY"):
        await async_log.append(early)
    with pytest.raises(InvalidEntryError, match="AUDIT_LOG_FIRST_DAY"):
        await async_log.append_many([entry(), early])
    with engine.begin() as connection, pytest.raises(InvalidEntryError, match="AUDIT_LOG_FIRST_DAY"):
        log.append_within(connection, early)
    assert stored(engine) == []


def test_the_first_day_is_a_setting(writer: sqlalchemy.Engine) -> None:
    log = AuditLog(writer, first_day=date(2000, 1, 1))
    assert log.append(entry(timestamp=datetime(2000, 1, 1, tzinfo=UTC)))


def test_the_future_is_refused(log: AuditLog, engine: sqlalchemy.Engine) -> None:
    assert log.append(entry(1, timestamp=datetime.now(UTC) + timedelta(minutes=4)))
    for append in (log.append, lambda each: log.append_many([entry(2), each])):
        with pytest.raises(InvalidEntryError, match="more than 5 minutes in the future"):
            append(entry(3, timestamp=datetime.now(UTC) + timedelta(days=1)))
    assert ids(stored(engine)) == ["entry-1"]


@pytest.mark.parametrize(
    ("offset", "taken"), [(timedelta(minutes=5), True), (timedelta(minutes=5, microseconds=1), False)]
)
def test_the_future_begins_five_minutes_after_the_writing(
    superuser_engine: sqlalchemy.Engine, offset: timedelta, taken: bool
) -> None:
    """At a moment of writing that the test chooses, as the administrator alone can: no clock goes on meanwhile."""
    statement = text("""
        INSERT INTO audit_logs (log_entry_id, "timestamp", user_id, action, result, created_at)
        VALUES ('a', :timestamp, 'u', 'a', 'r', :created_at)
    """)
    refused = nullcontext() if taken else pytest.raises(IntegrityError, match="audit_logs_timestamp_not_in_future")
    with superuser_engine.begin() as connection, refused:
        connection.execute(statement, {"timestamp": MOMENT + offset, "created_at": MOMENT})


# Many entries


def test_many_entries_are_appended_in_their_order(log: AuditLog, engine: sqlalchemy.Engine) -> None:
    entries = [entry(number) for number in range(50)]
    assert log.append_many(iter(entries)) == AppendResult(new=50, repeated=0)
    assert stored(engine) == entries
    assert log.append_many(entries) == AppendResult(new=0, repeated=50)
    assert stored(engine) == entries


def test_nothing_appended_is_nothing(log: AuditLog) -> None:
    assert log.append_many([]) == AppendResult()


@pytest.mark.usefixtures("_small_chunks")
@pytest.mark.parametrize("count", range(10))
def test_a_batch_of_any_size_is_whole(log: AuditLog, engine: sqlalchemy.Engine, count: int) -> None:
    entries = [entry(number) for number in range(count)]
    assert log.append_many(iter(entries)) == AppendResult(new=count)
    assert stored(engine) == entries


@pytest.mark.usefixtures("_small_chunks")
@pytest.mark.parametrize("present", [[0], [3], [4], [11], [0, 1, 2, 3], [5, 9], list(range(12))])
def test_repeats_anywhere_in_a_batch_are_counted(
    log: AuditLog, engine: sqlalchemy.Engine, present: Sequence[int]
) -> None:
    for number in present:
        log.append(entry(number))
    entries = [entry(number) for number in range(12)]
    assert log.append_many(iter(entries)) == AppendResult(new=12 - len(present), repeated=len(present))
    assert sorted(ids(stored(engine))) == sorted(ids(entries))


@pytest.mark.usefixtures("_small_chunks")
async def test_the_asynchronous_log_counts_repeats_the_same(
    async_log: AsyncAuditLog, engine: sqlalchemy.Engine
) -> None:
    assert await async_log.append_many(entry(number) for number in range(7)) == AppendResult(new=7)
    assert await async_log.append_many(entry(number) for number in range(3, 20)) == AppendResult(new=13, repeated=4)
    assert ids(stored(engine)) == [f"entry-{number}" for number in range(20)]


@pytest.mark.usefixtures("_small_chunks")
def test_an_entry_twice_in_one_batch_is_a_repeat(log: AuditLog, engine: sqlalchemy.Engine) -> None:
    order = [1, 2, 2, 3, 4, 5, 6, 1, 7, 7]
    assert log.append_many(entry(number) for number in order) == AppendResult(new=7, repeated=3)
    assert ids(stored(engine)) == [f"entry-{number}" for number in range(1, 8)]


@pytest.fixture(params=[0, 10**9], ids=["each looked up", "all read"])
def _both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other times are looked for in either way."""
    monkeypatch.setattr(batches, "_BYTES_READ_PER_LOOKUP", request.param)


@pytest.mark.usefixtures("_both_ways")
@pytest.mark.parametrize("offset", [timedelta(seconds=1), timedelta(days=1), -timedelta(days=1)])
def test_an_id_that_is_there_at_another_time_stops_the_batch(
    log: AuditLog, engine: sqlalchemy.Engine, offset: timedelta
) -> None:
    log.append(entry())
    with pytest.raises(EntryConflictError, match="'entry-0' at"):
        log.append_many([entry(1), entry(timestamp=MOMENT + offset), entry(2)])
    assert stored(engine) == [entry()]
    assert log.append_many([entry(), entry(1)]) == AppendResult(new=1, repeated=1)


@pytest.mark.usefixtures("_both_ways")
def test_a_conflict_of_others_stops_nobody_else(log: AuditLog, writer: sqlalchemy.Engine) -> None:
    others = [entry(7), entry(7, timestamp=MOMENT)]

    def meanwhile() -> Iterator[AuditEntry]:
        yield entry(1)
        with writer.begin() as connection:
            for each in others:
                log.append_within(connection, each)
        yield entry(2)

    assert log.append_many(meanwhile()) == AppendResult(new=2)


@pytest.mark.usefixtures("_small_chunks", "_both_ways")
@pytest.mark.parametrize("later", [1, 9])
def test_an_id_at_two_times_of_one_batch_is_refused(log: AuditLog, engine: sqlalchemy.Engine, later: int) -> None:
    entries = [entry(number) for number in range(12)]
    entries[later] = replace(entries[0], timestamp=MOMENT + timedelta(days=1))
    with pytest.raises(EntryConflictError, match="'entry-0' at"):
        log.append_many(entries)
    assert stored(engine) == []


@pytest.mark.usefixtures("_small_chunks")
def test_a_batch_whose_source_fails_leaves_nothing(log: AuditLog, engine: sqlalchemy.Engine) -> None:
    def failing() -> Iterator[AuditEntry]:
        yield from (entry(number) for number in range(6))
        raise LookupError("the source is gone")

    with pytest.raises(LookupError, match="the source is gone"):
        log.append_many(failing())
    assert stored(engine) == []
    assert log.append_many([entry()]) == AppendResult(new=1)


def test_batches_span_days_with_and_without_a_partition(log: AuditLog, engine: sqlalchemy.Engine) -> None:
    with engine.begin() as connection:
        ensure_days(connection, [DAY])
    entries = [entry(number, timestamp=MOMENT + timedelta(days=40 * number)) for number in range(5)]
    assert log.append_many(entries) == AppendResult(new=5)
    assert log.append_many(entries) == AppendResult(repeated=5)
    assert stored(engine) == entries


def test_results_add_up() -> None:
    assert AppendResult(1, 2) + AppendResult(3, 4) == AppendResult(4, 6)


# Within the caller's transaction


def test_an_entry_within_a_transaction_shares_its_fate(log: AuditLog, writer: sqlalchemy.Engine) -> None:
    with writer.connect() as connection:
        log.append_within(connection, entry(1))
        connection.rollback()
        log.append_within(connection, entry(2))
        connection.commit()
    assert ids(stored(writer)) == ["entry-2"]


async def test_an_asynchronous_entry_within_a_transaction_shares_its_fate(
    async_log: AsyncAuditLog,
    async_writer: AsyncEngine,
    engine: sqlalchemy.Engine,
) -> None:
    async with async_writer.connect() as connection:
        await async_log.append_within(connection, entry(1))
        await connection.rollback()
        await async_log.append_within(connection, entry(2))
        await connection.commit()
    assert ids(stored(engine)) == ["entry-2"]


def test_metadata_is_searchable_json(log: AuditLog, engine: sqlalchemy.Engine) -> None:
    log.append(entry(metadata={"nested": [{"key": "välue"}]}))
    with engine.connect() as connection:
        found = connection.execute(
            text("SELECT metadata FROM audit_logs WHERE metadata @> CAST(:wanted AS jsonb)"),
            {"wanted": json.dumps({"nested": [{"key": "välue"}]})},
        ).scalar_one()
    assert found == {"nested": [{"key": "välue"}]}
