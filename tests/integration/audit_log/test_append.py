"""What is appended is there once, unchanged, however often and by however many it is delivered."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from compliance_pipelines.audit_log import batches
from compliance_pipelines.audit_log.entry import AuditEntry, InvalidEntryError, JsonText
from compliance_pipelines.audit_log.errors import (
    AppendInterruptedError,
    AppendNotPossibleError,
    EntryConflictError,
    PurgedDayError,
)
from compliance_pipelines.audit_log.log import AppendResult, AsyncAuditLog, AuditLog
from compliance_pipelines.audit_log.partitions import ensure_days
from compliance_pipelines.database import create_engine
from tests.integration.audit_log.entries import MOMENT, entry, ids, stored

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    import sqlalchemy
    from sqlalchemy.ext.asyncio import AsyncEngine

DAY = MOMENT.date()


@pytest.fixture
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handful of entries needs several chunks, and each chunk several pieces."""
    monkeypatch.setattr(batches, "_CHUNK_ENTRIES", 4)
    monkeypatch.setattr(batches, "_PIECE_CHARACTERS", 300)


class Archive:
    """What purged archives hold, and what they were asked."""

    def __init__(self, *held: AuditEntry) -> None:
        self.held = {each.log_entry_id: each.timestamp for each in held}
        self.asked: list[tuple[date, set[str]]] = []
        self.threads: set[str] = set()

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


def test_the_future_is_refused_from_five_minutes_on(log: AuditLog, engine: sqlalchemy.Engine) -> None:
    now = datetime.now(UTC)
    assert log.append(entry(1, timestamp=now + timedelta(minutes=4)))
    for append in (log.append, lambda each: log.append_many([entry(2), each])):
        with pytest.raises(InvalidEntryError, match="more than 5 minutes in the future"):
            append(entry(3, timestamp=now + timedelta(minutes=6)))
    assert ids(stored(engine)) == ["entry-1"]


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


# Any text, any JSON

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
digits = st.from_regex(r"\A-?(0|[1-9][0-9]{0,60})(\.[0-9]{1,60})?([eE][+-]?[0-9]{1,4})?\Z")
exact_numbers = digits.map(lambda number: JsonText(f'{{"n": [{number}]}}'))
any_entries = st.builds(
    entry,
    log_entry_id=texts.filter(bool),
    timestamp=st.datetimes(datetime(2015, 1, 1), datetime(2026, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    user_id=texts,
    action=texts,
    result=texts,
    resource_type=st.none() | texts,
    resource_id=st.none() | texts,
    metadata=json_values | exact_numbers,
)
_slow = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture
def forgetful(superuser_engine: sqlalchemy.Engine) -> Iterator[sqlalchemy.Engine]:
    """A database that can be emptied between examples."""
    return superuser_engine


def forget(engine: sqlalchemy.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text("DELETE FROM audit_logs"))


def as_postgresql_has_it(connection: sqlalchemy.Connection, each: AuditEntry) -> AuditEntry:
    """The entry with its metadata as PostgreSQL writes JSONB."""
    if each.metadata_text is None:
        return each
    written = connection.execute(text("SELECT CAST(:t AS jsonb)::text"), {"t": each.metadata_text}).scalar_one()
    return replace(each, metadata=JsonText(written))


@_slow
@example(
    entries=[entry(1, user_id="\\N"), entry(2, user_id="\\."), entry(3, user_id="a\tb\nc\rd\\e"), entry(4, result="")]
)
@example(entries=[entry(1, metadata=JsonText("null")), entry(2, metadata=None), entry(3, metadata="\\u0041\\\\")])
@example(
    entries=[entry(1, metadata=JsonText('{"n": [0.10000000000000000000000001, 1E+30, -0.0, 12345678901234567890]}'))]
)
@given(entries=st.lists(any_entries, max_size=5, unique_by=lambda each: each.log_entry_id))
def test_any_text_and_any_json_is_stored_as_it_is_by_both_ways(
    log: AuditLog, forgetful: sqlalchemy.Engine, entries: list[AuditEntry]
) -> None:
    with forgetful.connect() as connection:
        expected = [as_postgresql_has_it(connection, each) for each in entries]
    forget(forgetful)
    assert log.append_many(entries) == AppendResult(new=len(entries))
    assert stored(forgetful) == expected
    assert log.append_many([*entries, *entries]) == AppendResult(repeated=2 * len(entries))
    forget(forgetful)
    assert [log.append(each) for each in entries] == [True] * len(entries)
    assert stored(forgetful) == expected


@_slow
@given(number=digits)
def test_whatever_number_an_entry_takes_postgresql_takes_too_and_keeps_its_value(
    log: AuditLog, forgetful: sqlalchemy.Engine, number: str
) -> None:
    try:
        made = entry(metadata=JsonText(f'{{"n": {number}}}'))
    except InvalidEntryError:
        return
    forget(forgetful)
    log.append(made)
    with forgetful.connect() as connection:
        same = connection.execute(
            text("SELECT (metadata->>'n')::numeric = CAST(:number AS numeric) FROM audit_logs"), {"number": number}
        ).scalar_one()
    assert same is True


# Concurrent appenders


def together(*tasks: Any) -> list[Any]:  # noqa: ANN401 - whatever the tasks return
    """Run tasks in threads of their own at the same moment, and return what they return or raise."""
    barrier = threading.Barrier(len(tasks), timeout=30)
    results: list[Any] = [None] * len(tasks)

    def run(position: int, task: Any) -> None:  # noqa: ANN401
        barrier.wait()
        try:
            results[position] = task()
        except Exception as error:  # noqa: BLE001 - the test looks at it
            results[position] = error

    threads = [threading.Thread(target=run, args=each) for each in enumerate(tasks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


def test_of_many_appenders_of_one_entry_one_is_told_that_it_was_new(log: AuditLog, engine: sqlalchemy.Engine) -> None:
    assert sorted(together(*[lambda: log.append(entry())] * 8)) == [False] * 7 + [True]
    assert stored(engine) == [entry()]


@pytest.mark.usefixtures("_small_chunks")
def test_concurrent_batches_of_the_same_entries_append_each_once(log: AuditLog, engine: sqlalchemy.Engine) -> None:
    entries = [entry(number) for number in range(200)]
    results = together(*[lambda: log.append_many(entries)] * 4)
    assert sum(results, AppendResult()) == AppendResult(new=200, repeated=600)
    assert stored(engine) == entries


@pytest.mark.usefixtures("_small_chunks")
def test_batches_that_wait_for_each_other_lose_nothing(log: AuditLog, engine: sqlalchemy.Engine) -> None:
    entries = [entry(number) for number in range(40)]
    opposite = (entries, entries[::-1])

    def until_done(order: Sequence[AuditEntry]) -> AppendResult:
        for _ in range(20):
            try:
                return log.append_many(order)
            except AppendInterruptedError as error:
                assert "run it again" in str(error)  # noqa: PT017 - it may, and need not, happen
        raise AssertionError("never got through")

    results = together(*[lambda order=order: until_done(order) for order in opposite])
    assert sum(results, AppendResult()) == AppendResult(new=40, repeated=40)
    assert sorted(ids(stored(engine))) == sorted(ids(entries))


async def test_concurrent_asynchronous_appenders_append_each_once(
    async_log: AsyncAuditLog, engine: sqlalchemy.Engine
) -> None:
    entries = [entry(number) for number in range(30)]
    results = await asyncio.gather(*[async_log.append_many(entries) for _ in range(4)])
    assert sum(results, AppendResult()) == AppendResult(new=30, repeated=90)
    assert stored(engine) == entries


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


# Purged days


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
    copy_in = batches.copy_in

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


# What goes wrong


def test_a_lost_connection_is_passing_and_leaves_nothing(
    log: AuditLog, engine: sqlalchemy.Engine, superuser_engine: sqlalchemy.Engine
) -> None:
    def cut_off() -> Iterator[AuditEntry]:
        for number in range(30_000):
            if number == 25_000:
                with superuser_engine.begin() as connection:
                    connection.execute(
                        text(
                            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'test_writer'"
                            " AND datname = current_database()"
                        )
                    )
            yield entry(number)

    with pytest.raises(AppendInterruptedError, match=r"^the append was interrupted: .*; run it again"):
        log.append_many(cut_off())
    assert stored(engine) == []
    assert log.append_many([entry()]) == AppendResult(new=1)


def test_a_database_that_is_not_there_is_said_so() -> None:
    engine = create_engine("postgresql://nobody@127.0.0.1:1/nothing", pool_size=1)
    with pytest.raises(AppendInterruptedError, match=r"the append was interrupted: .*127\.0\.0\.1"):
        AuditLog(engine).append(entry())
    engine.dispose()


def test_a_pool_that_is_used_up_is_said_so(writer_database_url: str) -> None:
    engine = create_engine(writer_database_url, pool_size=1)
    engine.pool._timeout = 0.1  # type: ignore[attr-defined]
    with engine.connect(), pytest.raises(AppendInterruptedError, match="raise AUDIT_LOG_CONNECTION_POOL_SIZE"):
        AuditLog(engine).append(entry())
    engine.dispose()


def test_a_login_that_may_not_append_is_told_what_to_do(reader_database_url: str) -> None:
    engine = create_engine(reader_database_url, pool_size=1)
    log = AuditLog(engine)
    for append in (log.append, lambda each: log.append_many([each])):
        with pytest.raises(AppendNotPossibleError, match=r"permission denied .*compliance db check"):
            append(entry())
    engine.dispose()


def test_a_database_that_is_not_migrated_is_said_so(empty_database_url: str) -> None:
    engine = create_engine(empty_database_url, pool_size=1)
    with pytest.raises(AppendNotPossibleError, match="compliance db check"):
        AuditLog(engine).append(entry())
    engine.dispose()


def test_metadata_is_searchable_json(log: AuditLog, engine: sqlalchemy.Engine) -> None:
    log.append(entry(metadata={"nested": [{"key": "välue"}]}))
    with engine.connect() as connection:
        found = connection.execute(
            text("SELECT metadata FROM audit_logs WHERE metadata @> CAST(:wanted AS jsonb)"),
            {"wanted": json.dumps({"nested": [{"key": "välue"}]})},
        ).scalar_one()
    assert found == {"nested": [{"key": "välue"}]}
