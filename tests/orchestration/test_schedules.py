"""What the daily schedule requests, and how a backlog shrinks by itself."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from dagster import DagsterRunStatus, DefaultScheduleStatus, build_schedule_context, build_sensor_context
from sqlalchemy import text

from compliance_pipelines.archive.catalogue import DayState
from compliance_pipelines.orchestration import backlog
from compliance_pipelines.orchestration.backlog import Action
from compliance_pipelines.orchestration.keys import COLD_ARCHIVE, HOT_PARTITION, HOT_PURGE, READ_BACK, ROWS_MATCH_LEDGER
from compliance_pipelines.orchestration.names import NAMES, Names
from compliance_pipelines.orchestration.resources import SERVICES
from compliance_pipelines.orchestration.schedules import daily_retention_schedule
from compliance_pipelines.orchestration.sensors import catch_up_sensor

if TYPE_CHECKING:
    from datetime import date

    import sqlalchemy
    from dagster import RunRequest

    from tests.conftest import MovableClock
    from tests.orchestration.conftest import Project

Wanted = tuple[str, str]


def tick(project: Project) -> list[RunRequest]:
    """What the schedule requests now."""
    context = build_schedule_context(
        instance=project.instance,
        repository_def=project.definitions.get_repository_def(),
        resources={SERVICES: project.services, NAMES: Names()},
        scheduled_execution_time=project.services.clock(),
    )
    return list(daily_retention_schedule.evaluate_tick(context).run_requests or [])


def catch_up(project: Project) -> list[RunRequest] | str | None:
    """What the sensor requests after it, or why it requests nothing."""
    context = build_sensor_context(
        instance=project.instance,
        repository_def=project.definitions.get_repository_def(),
        resources={SERVICES: project.services, NAMES: Names()},
    )
    data = catch_up_sensor.evaluate_tick(context)
    return list(data.run_requests) if data.run_requests else data.skip_message


def wanted(requests: list[RunRequest] | str | None) -> list[Wanted]:
    assert isinstance(requests, list)
    return [(request.tags["compliance/action"], str(request.partition_key)) for request in requests]


def archives(*days: date) -> list[Wanted]:
    return [("archive", day.isoformat()) for day in days]


@pytest.fixture
def capped(project: Project) -> Project:
    """The same project, with at most four runs a tick."""
    settings = project.services.settings.model_copy(update={"archive_max_runs_per_tick": 4})
    return dataclasses.replace(project, services=dataclasses.replace(project.services, settings=settings))


def test_it_runs_at_three_and_is_on_without_anybody_turning_it_on() -> None:
    assert daily_retention_schedule.cron_schedule == "0 3 * * *"
    assert daily_retention_schedule.execution_timezone == "UTC"
    assert daily_retention_schedule.default_status is DefaultScheduleStatus.RUNNING


def test_without_a_due_day_nothing_is_requested(project: Project) -> None:
    project.sealed(days_ago=90)
    assert tick(project) == []


def test_each_due_day_gets_a_run_of_its_own_with_the_checks_that_belong_to_it(
    project: Project, clock: MovableClock
) -> None:
    day = project.sealed(days_ago=91)
    [request] = tick(project)
    assert (request.partition_key, request.asset_selection) == (day.isoformat(), [HOT_PARTITION, COLD_ARCHIVE])
    assert request.asset_check_keys == [ROWS_MATCH_LEDGER, *READ_BACK]
    assert project.launch(request).success
    assert tick(project) == []
    clock.advance(days=7, seconds=60)
    [request] = tick(project)
    assert (request.partition_key, request.asset_selection) == (day.isoformat(), [HOT_PURGE])
    assert project.launch(request).success
    assert project.state(day) is DayState.PURGED


def verified_by(superuser: sqlalchemy.Engine, clock: MovableClock) -> None:
    """Date what was just verified by the moved clock; the database has no other clock than the real one."""
    with superuser.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = 'replica'"))
        statement = text("UPDATE archived_audit_logs SET verified_at = :now WHERE purged_at IS NULL")
        connection.execute(statement, {"now": clock.moment})


def test_after_a_week_s_outage_it_catches_up_by_itself_oldest_first(
    capped: Project, clock: MovableClock, superuser_engine: sqlalchemy.Engine
) -> None:
    """Six more days have fallen due meanwhile, and the grace of the first one is over."""
    days = [capped.append(days_ago) for days_ago in range(91, 84, -1)]
    capped.seal()
    [first] = tick(capped)
    assert wanted([first]) == archives(days[0])
    assert capped.launch(first).success

    clock.advance(days=7, seconds=60)
    requests = tick(capped)
    assert wanted(requests) == [("purge", days[0].isoformat()), *archives(*days[1:4])]
    assert all(capped.launch(request).success for request in requests)
    verified_by(superuser_engine, clock)
    rest = catch_up(capped)
    assert wanted(rest) == archives(*days[4:])
    assert isinstance(rest, list)
    assert all(capped.launch(request).success for request in rest)
    verified_by(superuser_engine, clock)

    assert catch_up(capped) == "Nothing is left for today."
    assert [capped.state(day) for day in days] == [DayState.PURGED, *[DayState.VERIFIED] * 6]


def test_a_day_that_fails_is_left_until_tomorrow_and_stops_no_other(capped: Project, clock: MovableClock) -> None:
    days = [capped.append(days_ago) for days_ago in range(96, 91, -1)]
    capped.seal()
    for request in tick(capped):
        capped.instance.create_run_for_job(
            capped.definitions.resolve_job_def("daily_retention"),
            status=DagsterRunStatus.FAILURE,
            tags={**request.tags, "dagster/partition": str(request.partition_key)},
        )
    assert wanted(catch_up(capped)) == archives(days[4])
    clock.advance(days=1)
    assert wanted(tick(capped)) == archives(*days[:4])


def test_a_run_that_is_still_under_way_is_not_requested_again(project: Project, clock: MovableClock) -> None:
    days = [project.append(days_ago) for days_ago in (93, 92)]
    project.seal()
    project.instance.create_run_for_job(
        project.definitions.resolve_job_def("daily_retention"),
        status=DagsterRunStatus.STARTED,
        tags={**tick(project)[0].tags, "dagster/partition": days[0].isoformat()},
    )
    assert catch_up(project) == "Runs of the retention job are under way."
    clock.advance(days=1)
    assert wanted(tick(project)) == archives(days[1])


def test_catching_up_begins_nothing_by_itself(project: Project) -> None:
    """So a day that falls due at midnight waits for three o'clock, and turning the schedule off turns all of it off."""
    project.sealed(days_ago=91)
    assert catch_up(project) == "The daily schedule has not requested any run today."


def test_a_tick_that_is_repeated_starts_no_second_run(project: Project, clock: MovableClock) -> None:
    """The daemon tells repeats by their keys."""
    project.sealed(days_ago=91)
    keys = [[request.run_key for request in tick(project)] for _ in range(2)]
    assert keys[0] == keys[1]
    clock.advance(days=1)
    assert [request.run_key for request in tick(project)] != keys[0]


def test_days_that_dagster_does_not_know_stop_no_other(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """They came by a plain INSERT, or AUDIT_LOG_FIRST_DAY was moved: a request for one would fail the whole tick."""
    early, known = (project.append(days_ago) for days_ago in (200, 100))
    project.seal()
    monkeypatch.setattr(backlog, "FIRST_DAY", early + timedelta(days=1))
    assert [step.day for step in backlog.due_steps(project.services)] == [early, known]
    assert wanted(tick(project)) == archives(known)


def test_a_day_is_overdue_a_day_after_it_could_have_been_done(project: Project, clock: MovableClock) -> None:
    day = project.sealed(days_ago=89)
    fell_due = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=91)
    clock.moment = fell_due + timedelta(hours=23)
    assert backlog.overdue_days(project.services, Action.ARCHIVE) == []
    clock.advance(hours=2)
    assert backlog.overdue_days(project.services, Action.ARCHIVE) == [day]
    assert project.step(Action.ARCHIVE, day).success
    assert backlog.overdue_days(project.services, Action.ARCHIVE) == []


def test_a_late_entry_is_overdue_a_day_after_it_was_sealed_however_old_its_day(
    project: Project, clock: MovableClock
) -> None:
    day = project.sealed(days_ago=300)
    assert backlog.overdue_days(project.services, Action.ARCHIVE) == []
    clock.advance(days=1, seconds=60)
    assert backlog.overdue_days(project.services, Action.ARCHIVE) == [day]


def test_a_purge_is_overdue_a_day_after_the_grace(project: Project, clock: MovableClock) -> None:
    day = project.sealed(days_ago=100)
    assert project.step(Action.ARCHIVE, day).success
    clock.advance(days=7, seconds=60)
    assert backlog.overdue_days(project.services, Action.PURGE) == []
    clock.advance(days=1)
    assert backlog.overdue_days(project.services, Action.PURGE) == [day]
