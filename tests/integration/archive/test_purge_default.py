"""A day without a table of its own is purged by deleting exactly its rows, and nobody waits for it."""

from __future__ import annotations

import threading
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from compliance_pipelines.archive.catalogue import DayState, day_summary
from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.lookup import ArchivedIds
from compliance_pipelines.archive.purge import PurgeStep, purge_day
from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.base.errors import TransientError
from tests.integration.archive.days import entry

if TYPE_CHECKING:
    from compliance_pipelines.services import Services
    from tests.conftest import MovableClock
    from tests.integration.archive.days import Days

_AT_MOST_SECONDS: Final = 20.0


@pytest.fixture(autouse=True)
def purgeable(services: Services, days: Days, day: date, clock: MovableClock) -> None:
    """The day is archived, verified, out of its grace, and beside others in a default partition."""
    days.append(day, 10, partition=False)
    days.append(day + timedelta(days=1), 3, partition=False)
    archive_day(services, day)
    clock.advance(days=8)


def no_pause(_seconds: float) -> None:
    raise AssertionError("the purge had to try again")


def place(days: Days, day: date) -> str:
    ((found,),) = days.execute("SELECT audit_day_place(:day)", day=day)
    return str(found)


def test_its_rows_are_deleted_and_those_of_other_days_stay(services: Services, days: Days, day: date) -> None:
    assert place(days, day) == "default"
    beside = days.hot_rows(day + timedelta(days=1))
    result = purge_day(services, day, sleep=no_pause)
    assert (result.entry_count, result.hot_bytes) == (10, 0)
    assert days.hot_rows(day) == []
    assert len(days.cold_rows(day)) == 10
    assert days.hot_rows(day + timedelta(days=1)) == beside
    assert day_summary(services, day)[0] is DayState.PURGED
    assert days.audit_actions(day) == ["audit.archive", "audit.purge"]


def test_entries_are_appended_to_the_same_partition_at_every_step(services: Services, days: Days, day: date) -> None:
    steps: list[PurgeStep] = []
    beside = day + timedelta(days=1)

    def append(step: PurgeStep) -> None:
        steps.append(step)
        with services.engine.begin() as writer:
            writer.execute(text("SET LOCAL lock_timeout = '50ms'"))
            AuditLog(services.engine).append_within(writer, entry(beside, 77))

    assert purge_day(services, day, hook=append, sleep=no_pause).entry_count == 10
    assert steps == list(PurgeStep)
    assert len(days.hot_rows(beside)) == 3 + len(steps)


def test_a_late_entry_before_the_deletion_stops_it(services: Services, days: Days, day: date) -> None:
    def append(step: PurgeStep) -> None:
        if step is PurgeStep.CHECKED:
            AuditLog(services.engine).append(entry(day, 77))

    with pytest.raises(TransientError, match="it changed while it was checked"):
        purge_day(services, day, hook=append, sleep=no_pause)
    assert len(days.hot_rows(day)) == 11


def test_a_late_entry_after_the_deletion_stays(services: Services, days: Days, day: date) -> None:
    late = entry(day, 77)

    def append(step: PurgeStep) -> None:
        if step is PurgeStep.DROPPED:
            AuditLog(services.engine).append(late)

    assert purge_day(services, day, hook=append, sleep=no_pause).entry_count == 10
    assert [row[1] for row in days.hot_rows(day)] == [late.log_entry_id]
    assert day_summary(services, day)[0] is DayState.OPEN


def test_a_repeat_that_comes_in_the_moment_of_the_purge_stays_a_repeat(
    services: Services, days: Days, day: date
) -> None:
    known = entry(day, 1, log_entry_id=days.hot_rows(day)[1][1])
    log = AuditLog(services.engine, archived_ids=ArchivedIds(services))
    answers: list[bool] = []
    waiting = threading.Thread(target=lambda: answers.append(log.append(known)), daemon=True)

    def append_meanwhile(step: PurgeStep) -> None:
        if step is PurgeStep.DROPPED:
            waiting.start()

    assert purge_day(services, day, hook=append_meanwhile, sleep=no_pause).entry_count == 10
    waiting.join(_AT_MOST_SECONDS)
    assert answers == [False]
    assert days.hot_rows(day) == []


@pytest.mark.parametrize("table", [False, True])
def test_rows_that_are_not_those_that_were_compared_are_not_removed(
    services: Services, days: Days, day: date, clock: MovableClock, *, table: bool
) -> None:
    """An administrator changes a row after it was compared: as many rows as before, and not the same ones."""
    if table:
        day += timedelta(days=40)
        clock.advance(days=40)
        days.append(day, 10)
        archive_day(services, day)
        assert place(days, day) == "table"
    ((entries, fingerprint),) = days.execute("SELECT * FROM audit_day_fingerprint(:day)", day=day)
    assert entries == 10
    ((repeated,),) = days.execute("SELECT fingerprint FROM audit_day_fingerprint(:day)", day=day)
    assert repeated == fingerprint
    days.execute(
        """UPDATE audit_logs SET user_id = 'mallory' WHERE id = (SELECT min(id) FROM audit_logs
           WHERE "timestamp" >= :day AND "timestamp" < CAST(:day AS date) + 1)""",
        day=day,
    )
    remove = text("SELECT audit_remove_day(:day, 10, :fingerprint)")
    with services.engine.connect() as connection:
        with pytest.raises(DBAPIError, match="are not those that were compared: not removed"):
            connection.execute(remove, {"day": day, "fingerprint": fingerprint})
        connection.rollback()
        assert len(days.hot_rows(day)) == 10
        ((_, changed),) = days.execute("SELECT * FROM audit_day_fingerprint(:day)", day=day)
        assert connection.execute(remove, {"day": day, "fingerprint": changed}).scalar_one() == 10


def test_what_was_compared_must_be_what_the_verified_archives_hold(services: Services, day: date) -> None:
    with (
        services.engine.connect() as connection,
        pytest.raises(
            DBAPIError, match=r"9 entries of .* were compared but its verified archives hold 10: not removed"
        ),
    ):
        connection.execute(text("SELECT audit_remove_day(:day, 9)"), {"day": day})
