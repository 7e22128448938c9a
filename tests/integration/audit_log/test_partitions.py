"""Entries lie in the table of their day where it has one, and in a default partition where it has none."""

from __future__ import annotations

import re
import threading
import time
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from compliance_pipelines.audit_log.entry import InvalidEntryError
from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.audit_log.partitions import (
    PartitionBusyError,
    Strays,
    create_ahead,
    ensure_days,
    runway,
    strays,
)
from tests.integration.audit_log.entries import MOMENT, entry

if TYPE_CHECKING:
    from collections.abc import Callable

DAY = MOMENT.date()
ELEVEN = (
    'id, log_entry_id, "timestamp", user_id, action, resource_type, resource_id, result, metadata::text,'
    " created_at, tx_id"
)


def leaves(engine: sqlalchemy.Engine) -> list[str]:
    with engine.connect() as connection:
        found = connection.execute(
            text("SELECT relid::regclass::text FROM pg_partition_tree('audit_logs') WHERE isleaf ORDER BY 1")
        )
        return list(found.scalars())


def rows(engine: sqlalchemy.Engine) -> dict[int, tuple[Any, ...]]:
    """All eleven columns of each row, by its id."""
    with engine.connect() as connection:
        return {row.id: tuple(row) for row in connection.execute(text(f"SELECT {ELEVEN} FROM audit_logs"))}


def places(engine: sqlalchemy.Engine) -> dict[str, str]:
    """The partition of each entry."""
    with engine.connect() as connection:
        found = connection.execute(text("SELECT log_entry_id, tableoid::regclass::text AS place FROM audit_logs"))
        return {row.log_entry_id: row.place for row in found}


def done(engine: sqlalchemy.Engine, work: Callable[..., int], *arguments: Any) -> int:  # noqa: ANN401
    with engine.begin() as connection:
        return work(connection, *arguments)


# Making days


def test_a_day_is_made_with_its_month_and_the_months_default(engine: sqlalchemy.Engine) -> None:
    assert leaves(engine) == ["audit_logs_default"]
    assert done(engine, ensure_days, [DAY]) == 1
    assert leaves(engine) == ["audit_logs_2025_10_01", "audit_logs_2025_10_default", "audit_logs_default"]


def test_days_are_made_once(engine: sqlalchemy.Engine) -> None:
    days = [DAY, DAY + timedelta(days=40), DAY]
    assert done(engine, ensure_days, days) == 2
    assert done(engine, ensure_days, days) == 0
    assert done(engine, ensure_days, []) == 0


def test_days_are_made_fourteen_ahead_of_today(engine: sqlalchemy.Engine) -> None:
    today = date(2025, 12, 25)
    assert create_ahead(engine, today, 14) == 15
    assert done(engine, runway, today) == 14
    assert "audit_logs_2026_01_08" in leaves(engine)
    assert "audit_logs_2026_01_09" not in leaves(engine)
    assert create_ahead(engine, today + timedelta(days=1), 14) == 1


def test_the_runway_counts_days_without_gap_from_today_on(engine: sqlalchemy.Engine) -> None:
    assert done(engine, runway, DAY) == -1
    done(engine, ensure_days, [DAY + timedelta(days=offset) for offset in (0, 1, 2, 4)])
    assert [done(engine, runway, DAY + timedelta(days=offset)) for offset in range(-1, 6)] == [-1, 2, 1, 0, -1, 0, -1]


def test_a_day_begins_and_ends_at_midnight_utc_whatever_the_session_thinks(
    engine: sqlalchemy.Engine, log: AuditLog
) -> None:
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL timezone = 'Pacific/Auckland'"))
        ensure_days(connection, [DAY])
    log.append(entry(1, timestamp=datetime(2025, 10, 1, tzinfo=UTC)))
    log.append(entry(2, timestamp=datetime(2025, 10, 1, 23, 59, 59, 999999, tzinfo=UTC)))
    log.append(entry(3, timestamp=datetime(2025, 9, 30, 23, 59, 59, 999999, tzinfo=UTC)))
    log.append(entry(4, timestamp=datetime(2025, 10, 2, tzinfo=UTC)))
    assert places(engine) == {
        "entry-1": "audit_logs_2025_10_01",
        "entry-2": "audit_logs_2025_10_01",
        "entry-3": "audit_logs_default",
        "entry-4": "audit_logs_2025_10_default",
    }


def test_days_are_made_while_applications_append(engine: sqlalchemy.Engine, writer: sqlalchemy.Engine) -> None:
    done(engine, ensure_days, [DAY])
    with writer.connect() as appending:
        AuditLog(writer).append_within(appending, entry(1))
        assert done(engine, ensure_days, [DAY + timedelta(days=1)]) == 1
        appending.commit()
    assert places(engine) == {"entry-1": "audit_logs_2025_10_01"}


def test_a_day_that_cannot_be_made_now_is_not_waited_for(
    engine: sqlalchemy.Engine, superuser_engine: sqlalchemy.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compliance_pipelines.audit_log.partitions._LOCK_PATIENCE", timedelta(milliseconds=20))
    pauses: list[float] = []
    with superuser_engine.connect() as busy:
        busy.execute(text("LOCK TABLE audit_logs IN SHARE MODE"))
        works: tuple[Callable[[], object], ...] = (
            lambda: done(engine, ensure_days, [DAY]),
            lambda: create_ahead(engine, DAY, 3, sleep=pauses.append),
        )
        for work in works:
            with pytest.raises(PartitionBusyError, match=r"making the partition of 2025-10-01: .* run it again"):
                work()
    assert pauses == [0.2, 0.5, 1.0]
    assert leaves(engine) == ["audit_logs_default"]


def test_processes_that_make_the_same_days_at_once_make_each_once(engine: sqlalchemy.Engine) -> None:
    made: list[int] = []
    barrier = threading.Barrier(3, timeout=900)

    def work() -> None:
        barrier.wait()
        made.append(create_ahead(engine, DAY, 9, sleep=time.sleep))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(made) == 10
    assert done(engine, runway, DAY) == 9


# Entries without a table of their own


def test_an_append_never_fails_for_want_of_a_partition(engine: sqlalchemy.Engine, log: AuditLog) -> None:
    done(engine, ensure_days, [DAY])
    assert log.append(entry(1, timestamp=MOMENT + timedelta(days=1)))
    assert log.append(entry(2, timestamp=MOMENT - timedelta(days=1)))
    assert log.append(entry(3, timestamp=MOMENT - timedelta(days=1)))
    assert log.append(entry(4, timestamp=MOMENT - timedelta(days=2)))
    with engine.connect() as connection:
        assert strays(connection) == [
            Strays("audit_logs_2025_10_default", 1, DAY + timedelta(days=1), 1),
            Strays("audit_logs_default", 3, DAY - timedelta(days=1), 2),
        ]


def test_a_day_whose_entries_are_in_a_default_partition_keeps_them_there(
    engine: sqlalchemy.Engine, log: AuditLog
) -> None:
    done(engine, ensure_days, [DAY])
    log.append(entry(1, timestamp=MOMENT + timedelta(days=1)))
    before = rows(engine)
    assert done(engine, ensure_days, [DAY + timedelta(days=offset) for offset in range(3)]) == 1
    assert rows(engine) == before
    assert places(engine) == {"entry-1": "audit_logs_2025_10_default"}
    assert log.append(entry(1, timestamp=MOMENT + timedelta(days=1))) is False


def test_a_month_that_began_without_tables_gets_them_from_the_day_after_its_last_entry(
    engine: sqlalchemy.Engine, log: AuditLog
) -> None:
    log.append(entry(1, timestamp=MOMENT + timedelta(days=9)))
    days = [DAY + timedelta(days=offset) for offset in (8, 9, 10, 11)]
    assert done(engine, ensure_days, days) == 2
    for number, day in enumerate(days, start=2):
        log.append(entry(number, timestamp=datetime(day.year, day.month, day.day, tzinfo=UTC)))
    assert places(engine) == {
        "entry-1": "audit_logs_default",
        "entry-2": "audit_logs_default",
        "entry-3": "audit_logs_default",
        "entry-4": "audit_logs_2025_10_11",
        "entry-5": "audit_logs_2025_10_12",
    }
    places_of_days = [place(engine, day) for day in (*days, DAY + timedelta(days=20), date(2025, 9, 1))]
    assert places_of_days == ["default", "default", "table", "table", "month default", "default"]


def place(engine: sqlalchemy.Engine, day: date) -> str:
    with engine.connect() as connection:
        return str(connection.execute(text("SELECT audit_day_place(:day)"), {"day": day}).scalar_one())


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    moments=st.lists(
        st.datetimes(datetime(2015, 1, 1), datetime(2015, 3, 31, 23), timezones=st.just(UTC)),  # noqa: DTZ001
        min_size=1,
        max_size=6,
        unique=True,
    ),
    made=st.lists(st.dates(date(2015, 1, 1), date(2015, 3, 31)), max_size=4),
)
def test_whatever_tables_are_made_when_a_days_entries_are_in_one_place(
    engine: sqlalchemy.Engine, superuser_engine: sqlalchemy.Engine, moments: list[datetime], made: list[date]
) -> None:
    with superuser_engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text("DELETE FROM audit_logs"))
    for number, moment in enumerate(moments):
        done(engine, ensure_days, made[number : number + 1])
        AuditLog(engine).append(entry(number, timestamp=moment))
        done(engine, ensure_days, [moment.date()])
    kinds: dict[date, set[str]] = {}
    for entry_id, found in places(engine).items():
        kinds.setdefault(moments[int(entry_id.removeprefix("entry-"))].date(), set()).add(found)
    assert len(places(engine)) == len(moments)
    names = {"table": r"\d{2}_\d{2}$", "month default": r"\d{2}_default$", "default": r"logs_default$"}
    for day, found_places in kinds.items():
        [only] = found_places
        assert re.search(names[place(engine, day)], only)


def test_a_large_default_partition_is_not_read_under_a_lock(
    engine: sqlalchemy.Engine, superuser_engine: sqlalchemy.Engine
) -> None:
    """A month to come is fenced off first; the day at hand stays in the default partition."""
    today = datetime.now(UTC).date()
    with superuser_engine.begin() as connection:
        connection.execute(
            text("""
                INSERT INTO audit_logs (log_entry_id, "timestamp", user_id, action, result, metadata)
                SELECT n::text, TIMESTAMPTZ '2020-01-01 00:00+00' + n * interval '1 second', 'u', 'a', 'r',
                       (SELECT jsonb_agg(md5(n::text || piece)) FROM generate_series(1, 50) AS piece)
                FROM generate_series(1, 10000) AS n
            """)
        )
    notices: list[str] = []

    @sqlalchemy.event.listens_for(engine, "connect")
    def listen(connection: Any, _record: object) -> None:  # noqa: ANN401 - psycopg's own connection
        connection.add_notice_handler(lambda notice: notices.append(notice.message_primary))
        connection.execute("SET client_min_messages = debug1")
        connection.commit()

    engine.dispose()
    assert done(engine, ensure_days, [today]) == 0
    assert create_ahead(engine, today, 40) > 8
    # Read once for each month, by the fence, and not again when the month is attached.
    implied = 'updated partition constraint for default partition "audit_logs_default" is implied'
    attached_unread = sum(implied in each for each in notices)
    assert attached_unread > 0
    assert sum('verifying table "audit_logs_default"' in each for each in notices) == attached_unread
    assert f"audit_logs_{today + timedelta(days=40):%Y_%m_%d}" in leaves(engine)
    with engine.connect() as connection:
        assert (
            connection.execute(text("SELECT count(*) FROM pg_constraint WHERE conname = 'audit_fence'")).scalar() == 0
        )


def test_a_fence_that_was_left_behind_opens_by_itself_before_its_range_begins(
    engine: sqlalchemy.Engine, superuser_engine: sqlalchemy.Engine
) -> None:
    """Whoever made it was killed: an hour later it refuses nothing, and nothing is attached because of it."""
    day = date(2025, 10, 1)
    fence = """ALTER TABLE audit_logs_default ADD CONSTRAINT audit_fence CHECK (
        NOT ("timestamp" >= '2025-10-01 00:00+00' AND "timestamp" < '2025-11-01 00:00+00')
        OR audit_fence_is_open(clock_timestamp() - interval '{age}'))"""
    comment = """COMMENT ON CONSTRAINT audit_fence ON audit_logs_default IS '2025-10-01 2025-11-01 {made}'"""
    made = datetime.now(UTC) - timedelta(minutes=61)
    with superuser_engine.begin() as connection:
        connection.execute(text(fence.format(age="59 minutes")))
    with pytest.raises(InvalidEntryError, match="audit_fence"):
        AuditLog(engine).append(entry(1))
    with superuser_engine.begin() as connection:
        connection.execute(text("ALTER TABLE audit_logs_default DROP CONSTRAINT audit_fence"))
        connection.execute(text(fence.format(age="61 minutes")))
        connection.execute(text(comment.format(made=made.isoformat())))
        held = text("SELECT audit_is_fenced('audit_logs_default', '2025-10-01', '2025-11-01')")
        assert connection.execute(held).scalar_one() is False
    assert AuditLog(engine).append(entry(1))
    assert done(engine, ensure_days, [day]) == 0
    assert places(engine) == {"entry-1": "audit_logs_default"}


def test_no_fence_is_made_where_entries_can_come(engine: sqlalchemy.Engine) -> None:
    today = datetime.now(UTC).date()
    with engine.connect() as connection:
        made = [
            connection.execute(text("SELECT audit_make_fence(:day)"), {"day": today + timedelta(days=offset)}).scalar()
            for offset in (-40, 0, 1)
        ]
    assert made == [None, None, None]
