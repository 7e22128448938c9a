"""A purge gives way to live traffic: it waits for little, tries again, and no insert ever fails because of it."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import text

from compliance_pipelines.archive import purge, sql
from compliance_pipelines.archive.errors import PurgeRefusedError
from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.lookup import ArchivedIds
from compliance_pipelines.archive.purge import PurgeStep, purge_day
from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.audit_log.partitions import ensure_days
from compliance_pipelines.postgres.errors import LockBusyError
from tests.integration.archive.days import entry
from tests.support.stops import somebody_waits, until

if TYPE_CHECKING:
    from collections.abc import Callable

    import sqlalchemy

    from compliance_pipelines.services import Services
    from tests.conftest import MovableClock
    from tests.integration.archive.days import Days

_AT_MOST_SECONDS: Final = 900.0


@pytest.fixture(autouse=True)
def purgeable(services: Services, days: Days, day: date, clock: MovableClock) -> None:
    """The day is archived, verified, and out of its grace."""
    days.append(day, 10)
    archive_day(services, day)
    clock.advance(days=8)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks are waited for a twentieth of the time."""
    monkeypatch.setattr(purge, "BRIEF", timedelta(milliseconds=100))


@pytest.fixture
def yesterday(services: Services) -> date:
    """A day of live traffic, with its partition."""
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    with services.engine.begin() as connection:
        ensure_days(connection, [yesterday])
    return yesterday


def no_pause(_seconds: float) -> None:
    raise AssertionError("the purge had to try again")


def insert(connection: sqlalchemy.Connection, services: Services, day: date) -> None:
    AuditLog(services.engine).append_within(connection, entry(day, 77))


def start(work: Callable[[], None]) -> Callable[[], None]:
    """Do something in another thread; returns what waits for its end and raises what it raised."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again below
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)

    def end() -> None:
        thread.join(_AT_MOST_SECONDS)
        assert not thread.is_alive()
        if raised:
            raise raised[0]

    thread.start()
    return end


def is_waited_for(services: Services, day: date) -> bool:
    with services.engine.connect() as connection:
        table = {"day_table": f"public.audit_logs_{day:%Y_%m_%d}"}
        return bool(connection.execute(sql.DAY_IS_WAITED_FOR, table).scalar_one())


@pytest.mark.usefixtures("impatient")
def test_an_open_transaction_that_wrote_to_the_day_is_waited_for_with_growing_pauses_and_then_given_way(
    services: Services, days: Days, day: date
) -> None:
    pauses: list[float] = []
    with services.engine.begin() as writer:
        insert(writer, services, day)
        with pytest.raises(LockBusyError, match=f"the purge of {day} had to stop: .*lock timeout"):
            purge_day(services, day, sleep=pauses.append)
    assert pauses == [1.0, 2.0, 4.0, 8.0]
    assert len(days.hot_rows(day)) == 11


@pytest.mark.usefixtures("impatient")
def test_an_entry_that_is_committed_while_the_purge_waits_is_noticed(services: Services, days: Days, day: date) -> None:
    pauses: list[float] = []
    with services.engine.begin() as writer:
        insert(writer, services, day)

        def commit_meanwhile(seconds: float) -> None:
            pauses.append(seconds)
            writer.commit()

        with pytest.raises(PurgeRefusedError, match="1 late entries of that day are not sealed yet"):
            purge_day(services, day, sleep=commit_meanwhile)
    assert pauses == [1.0]
    assert len(days.hot_rows(day)) == 11


@pytest.mark.usefixtures("impatient")
def test_a_long_query_delays_the_purge_and_does_not_stop_it(services: Services, days: Days, day: date) -> None:
    pauses: list[float] = []
    with services.engine.connect() as reader:
        reader.execute(text("SELECT count(*) FROM audit_logs"))

        def finish(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 2:
                reader.rollback()

        assert purge_day(services, day, sleep=finish).entry_count == 10
    assert pauses == [1.0, 2.0]
    assert days.hot_rows(day) == []


def test_entries_of_other_months_are_appended_at_once_at_every_step_of_the_purge(
    services: Services, days: Days, day: date, yesterday: date
) -> None:
    steps: list[PurgeStep] = []

    def append(step: PurgeStep) -> None:
        steps.append(step)
        with services.engine.begin() as writer:
            writer.execute(text("SET LOCAL lock_timeout = '50ms'"))
            insert(writer, services, yesterday)

    assert purge_day(services, day, hook=append, sleep=no_pause).entry_count == 10
    assert steps == list(PurgeStep)
    assert len(days.hot_rows(yesterday)) == len(steps)


def test_entries_of_the_same_month_are_appended_at_once_until_the_day_is_dropped(
    services: Services, days: Days, day: date
) -> None:
    neighbour = day.replace(day=2 if day.day == 1 else 1)
    with services.engine.begin() as connection:
        ensure_days(connection, [neighbour])

    def append(step: PurgeStep) -> None:
        if step in {PurgeStep.LOCKED, PurgeStep.CHECKED}:
            with services.engine.begin() as writer:
                writer.execute(text("SET LOCAL lock_timeout = '50ms'"))
                insert(writer, services, neighbour)

    assert purge_day(services, day, hook=append, sleep=no_pause).entry_count == 10
    assert len(days.hot_rows(neighbour)) == 2


def test_an_insert_that_waits_for_the_day_goes_first(services: Services, days: Days, day: date) -> None:
    """Were the drop tried all the same, the insert would be the first to notice the deadlock, and its victim."""
    ends: list[Callable[[], None]] = []

    def late_insert() -> None:
        with days.superuser.begin() as writer:
            writer.execute(text("SET LOCAL deadlock_timeout = '200ms'"))
            insert(writer, services, day)

    def insert_meanwhile(step: PurgeStep) -> None:
        if step is PurgeStep.CHECKED:
            ends.append(start(late_insert))
            until("a session that waits for the day", lambda: is_waited_for(services, day))

    with pytest.raises(PurgeRefusedError, match="1 late entries of that day are not sealed yet"):
        purge_day(services, day, hook=insert_meanwhile, sleep=lambda _: ends[0]())
    assert len(days.hot_rows(day)) == 11


def test_where_an_insert_and_the_drop_wait_for_each_other_the_drop_gives_up(
    services: Services, days: Days, day: date, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The insert comes in the moment between the look and the drop: the look sees nobody."""
    monkeypatch.setattr(sql, "DAY_IS_WAITED_FOR", text("SELECT false OR :day_table = ''"))

    def late_insert() -> None:
        with services.engine.begin() as writer:
            insert(writer, services, day)

    ends: list[Callable[[], None]] = []

    def insert_meanwhile(step: PurgeStep) -> None:
        if step is PurgeStep.CHECKED:
            ends.append(start(late_insert))
            until("a session that waits", lambda: somebody_waits(services.engine))

    with pytest.raises(PurgeRefusedError, match="1 late entries of that day are not sealed yet"):
        purge_day(services, day, hook=insert_meanwhile, sleep=lambda _: ends[0]())
    assert len(days.hot_rows(day)) == 11


def test_live_appends_go_on_while_a_purge_tries_and_tries(
    services: Services, days: Days, day: date, yesterday: date
) -> None:
    """A reader keeps the purge from dropping; meanwhile an application appends to this month and to that of the day."""
    neighbour = day.replace(day=2 if day.day == 1 else 1)
    with services.engine.begin() as connection:
        ensure_days(connection, [neighbour])
    done = threading.Event()
    appended = pauses = 0

    def live() -> None:
        nonlocal appended
        log = AuditLog(services.engine)
        while not done.is_set():
            for live_day in (yesterday, neighbour):
                assert log.append(entry(live_day, appended))
                appended += 1

    def pause(_seconds: float) -> None:
        nonlocal pauses
        pauses += 1
        before = appended
        until("four more entries", lambda: appended >= before + 4)

    end = start(live)
    try:
        with services.engine.connect() as reader:
            reader.execute(text("SELECT count(*) FROM audit_logs"))
            with pytest.raises(LockBusyError):
                purge_day(services, day, sleep=pause)
        purge_day(services, day)
    finally:
        done.set()
        end()
    assert pauses > 1
    assert len(days.hot_rows(neighbour)) == appended // 2


def test_a_repeat_that_comes_in_the_moment_of_the_purge_stays_a_repeat(
    services: Services, days: Days, day: date
) -> None:
    late = days.append(day + timedelta(days=1), 1)[0]
    known = entry(day, 1, log_entry_id=days.hot_rows(day)[1][1])
    log = AuditLog(services.engine, archived_ids=ArchivedIds(services))
    answers: list[bool] = []
    ends: list[Callable[[], None]] = []

    def append_meanwhile(step: PurgeStep) -> None:
        if step is PurgeStep.DROPPED:
            ends.append(start(lambda: answers.extend(log.append(each) for each in (known, late))))
            until("a session that waits", lambda: somebody_waits(services.engine))

    assert purge_day(services, day, hook=append_meanwhile, sleep=no_pause).entry_count == 10
    ends[0]()
    assert answers == [False, False]
    assert days.hot_rows(day) == []
    assert len(days.cold_rows(day)) == 10
