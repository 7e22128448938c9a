"""Entries lie in the partition of their day, or wait in a default partition until they are moved there unchanged."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.audit_log.partitions import (
    PartitionBusyError,
    Strays,
    create_ahead,
    drop_empty_months,
    ensure_days,
    make_room,
    move_strays,
    runway,
    strays,
)
from tests.integration.audit_log.entries import MOMENT, entry

if TYPE_CHECKING:
    from collections.abc import Callable

    import sqlalchemy

DAY = MOMENT.date()
FIRST_DAY = date(2015, 1, 1)
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
    assert done(engine, create_ahead, today, 14) == 15
    assert done(engine, runway, today) == 14
    assert "audit_logs_2026_01_08" in leaves(engine)
    assert "audit_logs_2026_01_09" not in leaves(engine)
    assert done(engine, create_ahead, today + timedelta(days=1), 14) == 1


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
    monkeypatch.setattr("compliance_pipelines.audit_log.partitions.LOCK_TIMEOUT", "50ms")
    with superuser_engine.connect() as busy:
        busy.execute(text("LOCK TABLE audit_logs IN SHARE MODE"))
        for work in (
            lambda: done(engine, ensure_days, [DAY]),
            lambda: done(engine, create_ahead, DAY, 3),
        ):
            with pytest.raises(PartitionBusyError, match=r"making the partition of 2025-10-01: .* run it again"):
                work()
    assert leaves(engine) == ["audit_logs_default"]


@pytest.mark.parametrize("make", [ensure_days, lambda connection, days: make_room(connection, days, FIRST_DAY)])
def test_processes_that_make_the_same_days_at_once_make_each_once(
    engine: sqlalchemy.Engine, make: Callable[..., int]
) -> None:
    days = [DAY + timedelta(days=offset) for offset in range(10)]
    made: list[int] = []
    barrier = threading.Barrier(3, timeout=900)

    def work() -> None:
        with engine.begin() as connection:
            connection.execute(text("SELECT 1"))
            barrier.wait()
            made.append(make(connection, days))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(made) == [0, 0, 10]


# Strays


def test_an_append_never_fails_for_want_of_a_partition(engine: sqlalchemy.Engine, log: AuditLog) -> None:
    done(engine, ensure_days, [DAY])
    assert log.append(entry(1, timestamp=MOMENT + timedelta(days=1)))
    assert log.append(entry(2, timestamp=MOMENT - timedelta(days=1)))
    assert log.append(entry(3, timestamp=MOMENT - timedelta(days=2)))
    with engine.connect() as connection:
        assert strays(connection) == [Strays("audit_logs_2025_10_default", 1), Strays("audit_logs_default", 2)]


def test_strays_are_moved_to_their_day_with_all_eleven_columns_unchanged(
    engine: sqlalchemy.Engine, log: AuditLog
) -> None:
    done(engine, ensure_days, [DAY])
    log.append(entry(1))
    log.append_many(
        [
            entry(2, timestamp=MOMENT + timedelta(days=1), resource_type=None, resource_id=None, metadata=None),
            entry(3, timestamp=MOMENT - timedelta(days=70), user_id="Zoë\t\\", metadata={"n": [1.5, None, "\u2028"]}),
        ]
    )
    log.append(entry(4, timestamp=MOMENT - timedelta(days=70)))
    before = rows(engine)
    assert len(before) == 4

    assert done(engine, move_strays, FIRST_DAY) == 3

    assert rows(engine) == before
    assert places(engine) == {
        "entry-1": "audit_logs_2025_10_01",
        "entry-2": "audit_logs_2025_10_02",
        "entry-3": "audit_logs_2025_07_23",
        "entry-4": "audit_logs_2025_07_23",
    }
    with engine.connect() as connection:
        assert strays(connection) == []
    assert done(engine, move_strays, FIRST_DAY) == 0


def test_strays_from_before_the_first_day_stay_where_they_are(
    engine: sqlalchemy.Engine, writer: sqlalchemy.Engine
) -> None:
    AuditLog(writer, first_day=date(1990, 1, 1)).append_many(
        [
            entry(1, timestamp=datetime(2014, 12, 31, 23, tzinfo=UTC)),
            entry(2, timestamp=datetime(2015, 1, 1, tzinfo=UTC)),
        ]
    )
    before = rows(engine)
    assert done(engine, move_strays, FIRST_DAY) == 1
    assert rows(engine) == before
    assert places(engine) == {"entry-1": "audit_logs_default", "entry-2": "audit_logs_2015_01_01"}
    assert done(engine, move_strays, FIRST_DAY) == 0


def test_moved_strays_still_make_repeats_of_their_entries(engine: sqlalchemy.Engine, log: AuditLog) -> None:
    log.append(entry(1))
    done(engine, move_strays, FIRST_DAY)
    assert log.append(entry(1)) is False
    assert log.append_many([entry(1), entry(2)]).repeated == 1


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    moments=st.lists(
        st.datetimes(datetime(2015, 1, 1), datetime(2016, 12, 31, 23), timezones=st.just(UTC)),  # noqa: DTZ001
        min_size=1,
        max_size=6,
        unique=True,
    ),
    made=st.lists(st.dates(date(2015, 1, 1), date(2016, 12, 31)), max_size=2),
)
def test_wherever_entries_are_each_ends_in_the_partition_of_its_day(
    engine: sqlalchemy.Engine, superuser_engine: sqlalchemy.Engine, moments: list[datetime], made: list[date]
) -> None:
    with superuser_engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text("DELETE FROM audit_logs"))
    done(engine, make_room, made, FIRST_DAY)
    entries = [entry(number, timestamp=moment) for number, moment in enumerate(moments)]
    AuditLog(engine).append_many(entries)
    before = rows(engine)

    done(engine, move_strays, FIRST_DAY)

    assert rows(engine) == before
    assert places(engine) == {each.log_entry_id: f"audit_logs_{each.timestamp:%Y_%m_%d}" for each in entries}


def test_strays_that_cannot_be_moved_now_stay_as_they_are(
    engine: sqlalchemy.Engine, log: AuditLog, writer: sqlalchemy.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compliance_pipelines.audit_log.partitions.LOCK_TIMEOUT", "50ms")
    log.append(entry(1))
    before = rows(engine)
    with writer.connect() as reading:
        reading.execute(text("SELECT count(*) FROM audit_logs"))
        with pytest.raises(PartitionBusyError, match=r"moving strays to their day: .* run it again"):
            done(engine, move_strays, FIRST_DAY)
        reading.rollback()
    assert rows(engine) == before
    assert places(engine) == {"entry-1": "audit_logs_default"}
    assert done(engine, move_strays, FIRST_DAY) == 1


def test_a_day_with_strays_is_not_made_before_they_are_moved(engine: sqlalchemy.Engine, log: AuditLog) -> None:
    log.append(entry(1))
    with pytest.raises(PartitionBusyError, match="entries of that day stand in a default partition"):
        done(engine, ensure_days, [DAY])
    assert done(engine, make_room, [DAY, DAY + timedelta(days=1)], FIRST_DAY) == 1
    assert places(engine) == {"entry-1": "audit_logs_2025_10_01"}
    assert "audit_logs_2025_10_02" in leaves(engine)


def test_room_that_is_there_moves_nothing(engine: sqlalchemy.Engine, log: AuditLog) -> None:
    done(engine, ensure_days, [DAY])
    log.append(entry(1, timestamp=MOMENT + timedelta(days=40)))
    assert done(engine, make_room, [DAY], FIRST_DAY) == 0
    assert places(engine) == {"entry-1": "audit_logs_default"}


# Months


def drop_day(superuser_engine: sqlalchemy.Engine, day: date) -> None:
    with superuser_engine.begin() as connection:
        connection.execute(text(f"DROP TABLE audit_logs_{day:%Y_%m_%d}"))


def test_a_month_is_dropped_when_its_last_day_is_gone(
    engine: sqlalchemy.Engine, superuser_engine: sqlalchemy.Engine
) -> None:
    done(engine, ensure_days, [DAY, DAY + timedelta(days=1), date(2025, 11, 3)])
    assert done(engine, drop_empty_months, date(2026, 1, 1)) == 0
    drop_day(superuser_engine, DAY)
    assert done(engine, drop_empty_months, date(2026, 1, 1)) == 0
    drop_day(superuser_engine, DAY + timedelta(days=1))
    assert done(engine, drop_empty_months, date(2026, 1, 1)) == 1
    assert leaves(engine) == ["audit_logs_2025_11_03", "audit_logs_2025_11_default", "audit_logs_default"]


def test_a_month_is_kept_from_the_given_one_on(engine: sqlalchemy.Engine, superuser_engine: sqlalchemy.Engine) -> None:
    done(engine, ensure_days, [DAY])
    drop_day(superuser_engine, DAY)
    assert done(engine, drop_empty_months, date(2025, 9, 30)) == 0
    assert done(engine, drop_empty_months, date(2025, 10, 31)) == 0
    assert done(engine, drop_empty_months, date(2025, 11, 1)) == 1


def test_a_month_whose_default_holds_an_entry_is_kept(
    engine: sqlalchemy.Engine, superuser_engine: sqlalchemy.Engine, log: AuditLog
) -> None:
    done(engine, ensure_days, [DAY])
    drop_day(superuser_engine, DAY)
    log.append(entry(1))
    assert done(engine, drop_empty_months, date(2026, 1, 1)) == 0
    assert places(engine) == {"entry-1": "audit_logs_2025_10_default"}
