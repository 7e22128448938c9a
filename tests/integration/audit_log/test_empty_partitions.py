"""Partitions that are past and empty are dropped step by step, while appends go on, and never with an entry in them."""

from __future__ import annotations

import threading
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError

from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.audit_log.partitions import (
    Dropped,
    drop_empty,
    drop_empty_months,
    ensure_days,
)
from tests.integration.audit_log.entries import MOMENT, entry
from tests.integration.audit_log.test_partitions import leaves, places
from tests.support.logins import database_of
from tests.support.stops import somebody_waits, until

if TYPE_CHECKING:
    import sqlalchemy

DAY: Final = MOMENT.date()
TODAY: Final = datetime.now(UTC).date()
_AT_MOST_SECONDS: Final = 20.0


def make(engine: sqlalchemy.Engine, *days: date) -> None:
    with engine.begin() as connection:
        ensure_days(connection, days)


def no_pause(_seconds: float) -> None:
    raise AssertionError("nothing was in the way")


def test_idle_days_and_emptied_months_are_dropped_and_the_others_kept(engine: sqlalchemy.Engine, log: AuditLog) -> None:
    make(engine, DAY, DAY + timedelta(days=1), DAY + timedelta(days=40))
    log.append(entry(1))
    assert drop_empty(engine, TODAY, sleep=no_pause) == Dropped(days=2, months=1, busy=0)
    assert leaves(engine) == ["audit_logs_2025_10_01", "audit_logs_2025_10_default", "audit_logs_default"]
    assert drop_empty(engine, TODAY, sleep=no_pause) == Dropped(0, 0, 0)


def test_days_at_hand_and_to_come_are_kept(engine: sqlalchemy.Engine) -> None:
    today = datetime.now(UTC).date()
    days = [today + timedelta(days=offset) for offset in (-1, 0, 1, 40)]
    make(engine, *days)
    before = leaves(engine)
    assert drop_empty(engine, today, sleep=no_pause).days == 0
    # Not even somebody whose clock is ahead drops a day that can still come.
    assert drop_empty(engine, today + timedelta(days=30), sleep=no_pause).days == 1
    assert set(before) - set(leaves(engine)) == {f"audit_logs_{days[0]:%Y_%m_%d}"}


def test_a_month_whose_default_holds_an_entry_is_kept(engine: sqlalchemy.Engine, log: AuditLog) -> None:
    make(engine, DAY)
    log.append(entry(1, timestamp=MOMENT + timedelta(days=1)))
    assert drop_empty(engine, TODAY, sleep=no_pause) == Dropped(1, 0, 0)
    assert drop_empty_months(engine, TODAY, sleep=no_pause) == 0
    assert places(engine) == {"entry-1": "audit_logs_2025_10_default"}


def test_what_is_in_use_is_left_for_the_next_time(
    engine: sqlalchemy.Engine, superuser_engine: sqlalchemy.Engine
) -> None:
    make(engine, DAY)
    pauses: list[float] = []
    with superuser_engine.connect() as reading:
        reading.execute(text("SELECT count(*) FROM audit_logs"))
        assert drop_empty(engine, TODAY, sleep=pauses.append) == Dropped(0, 0, 1)
    assert pauses == [0.2, 0.5, 1.0]
    assert drop_empty(engine, TODAY, sleep=no_pause) == Dropped(1, 1, 0)


def test_an_append_that_waits_for_a_day_that_is_dropped_goes_to_the_default_partition(
    engine: sqlalchemy.Engine, writer: sqlalchemy.Engine
) -> None:
    make(engine, DAY, DAY + timedelta(days=1))
    answers: list[bool] = []
    waiting = threading.Thread(target=lambda: answers.append(AuditLog(writer).append(entry(1))), daemon=True)
    with engine.begin() as connection:
        assert connection.execute(text("SELECT audit_drop_empty_day(:day)"), {"day": DAY}).scalar_one() is True
        waiting.start()
        until("a session that waits", lambda: somebody_waits(engine))
    waiting.join(_AT_MOST_SECONDS)
    assert answers == [True]
    assert places(engine) == {"entry-1": "audit_logs_2025_10_default"}


def test_an_append_that_waits_for_a_month_that_is_dropped_goes_to_the_default_partition(
    engine: sqlalchemy.Engine, writer: sqlalchemy.Engine
) -> None:
    make(engine, DAY)
    drop = [text("SELECT audit_drop_empty_day(:day)"), text("SELECT audit_drop_empty_month(:day)")]
    answers: list[bool] = []
    waiting = threading.Thread(target=lambda: answers.append(AuditLog(writer).append(entry(1))), daemon=True)
    with engine.begin() as connection:
        assert [connection.execute(each, {"day": DAY}).scalar_one() for each in drop] == [True, True]
        waiting.start()
        until("a session that waits", lambda: somebody_waits(engine))
    waiting.join(_AT_MOST_SECONDS)
    assert answers == [True]
    assert places(engine) == {"entry-1": "audit_logs_default"}


@pytest.mark.parametrize("level", ["read committed", "repeatable read", "serializable"])
@pytest.mark.parametrize("what", ["day", "month"])
def test_an_entry_that_commits_between_the_look_and_the_drop_is_kept_whatever_the_default_isolation(
    engine: sqlalchemy.Engine,
    writer: sqlalchemy.Engine,
    superuser_engine: sqlalchemy.Engine,
    level: str,
    what: str,
) -> None:
    make(engine, DAY)
    moment = MOMENT
    if what == "month":
        moment += timedelta(days=1)
        assert drop_empty(engine, TODAY, sleep=no_pause).months == 1
        make(engine, DAY)
        with superuser_engine.begin() as connection:
            connection.execute(text("DROP TABLE audit_logs_2025_10_01"))
    with superuser_engine.begin() as connection:
        name = database_of(superuser_engine)
        connection.execute(text(f"ALTER DATABASE \"{name}\" SET default_transaction_isolation = '{level}'"))
    with writer.connect() as appending:
        AuditLog(writer).append_within(appending, entry(1, timestamp=moment))

        def commit_when_the_drop_waits() -> None:
            until("a session that waits", lambda: somebody_waits(superuser_engine))
            appending.commit()

        committing = threading.Thread(target=commit_when_the_drop_waits, daemon=True)
        committing.start()
        engine.dispose()

        def drop() -> bool:
            with engine.begin() as connection:
                connection.execute(text("SET LOCAL lock_timeout = '20s'"))
                statement = text(f"SELECT audit_drop_empty_{what}(:day)")
                return bool(connection.execute(statement, {"day": DAY}).scalar_one())

        # The writer gives its locks back one by one: the second, which is not waited for, may come a moment too late.
        dropped: bool | None = None
        while dropped is None:
            with suppress(OperationalError):
                dropped = drop()
        assert dropped is False
        committing.join(_AT_MOST_SECONDS)
    assert list(places(engine)) == ["entry-1"]


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
@pytest.mark.parametrize(
    "statement",
    [
        "SELECT audit_drop_empty_day(:day)",
        "SELECT audit_drop_empty_month(:day)",
        "SELECT audit_drop_day(:day)",
        "SELECT audit_remove_day(:day, 0)",
    ],
)
def test_nothing_is_dropped_under_a_snapshot_that_may_be_older_than_its_lock(
    engine: sqlalchemy.Engine, statement: str, level: str
) -> None:
    make(engine, DAY)
    before = leaves(engine)
    with (
        engine.connect().execution_options(isolation_level=level) as connection,
        pytest.raises(DBAPIError, match="nothing is dropped under the isolation level"),
    ):
        connection.execute(text(statement), {"day": DAY})
    assert leaves(engine) == before


def test_live_traffic_waits_for_a_drop_no_longer_than_the_drop_waits_itself(
    engine: sqlalchemy.Engine, writer: sqlalchemy.Engine, superuser_engine: sqlalchemy.Engine
) -> None:
    """The drop queues for the month behind an open query, and the append behind the drop."""
    make(engine, DAY, DAY + timedelta(days=1))
    seen: list[bool] = []

    def append(_seconds: float) -> None:
        # Between two attempts nobody stands in the way.
        with writer.begin() as connection:
            connection.execute(text("SET LOCAL lock_timeout = '1ms'"))
            AuditLog(writer).append_within(connection, entry(len(seen), timestamp=MOMENT + timedelta(days=1)))
        seen.append(True)

    with superuser_engine.connect() as reading:
        reading.execute(text("SELECT count(*) FROM audit_logs"))
        assert drop_empty(engine, TODAY, sleep=append).busy == 2
    assert len(seen) == 6
    assert len(places(engine)) == 6
