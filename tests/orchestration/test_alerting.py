"""Who hears of what failed: once, with the reason, and again only when the message was not taken."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from dagster import AssetCheckEvaluation, AssetCheckSeverity, DefaultSensorStatus, build_sensor_context

from compliance_pipelines.orchestration import alerting
from compliance_pipelines.orchestration.alerting import ALERT_SENSORS, failed_checks_sensor, failed_runs_sensor
from compliance_pipelines.orchestration.alerts import Alert, LogAlertSink
from compliance_pipelines.orchestration.backlog import Action
from compliance_pipelines.orchestration.keys import CONTENT, HOT_PURGE, READ_BACK
from compliance_pipelines.orchestration.resources import ALERTS

if TYPE_CHECKING:
    from dagster import SensorDefinition

    from tests.orchestration.conftest import Project, RecordingSink


class Watching:
    """One alert sensor, tick by tick, with the cursor carried on as the daemon does."""

    def __init__(self, sensor: SensorDefinition, project: Project, sink: RecordingSink) -> None:
        self._sensor = sensor
        self._project = project
        self._sink = sink
        self.cursor: str | None = None

    def tick(self) -> list[Alert]:
        """The alerts that this tick sent."""
        self._sink.alerts.clear()
        context = build_sensor_context(
            instance=self._project.instance,
            repository_def=self._project.definitions.get_repository_def(),
            resources={ALERTS: self._sink},
            cursor=self.cursor,
        )
        self.cursor = self._sensor.evaluate_tick(context).cursor
        return list(self._sink.alerts)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the moment in which events settle."""
    monkeypatch.setattr(alerting, "SETTLING_TIME", timedelta())


@pytest.fixture
def runs(project: Project, sink: RecordingSink, at_once: None) -> Watching:
    return Watching(failed_runs_sensor, project, sink)


@pytest.fixture
def checks(project: Project, sink: RecordingSink, at_once: None) -> Watching:
    return Watching(failed_checks_sensor, project, sink)


def evaluate(project: Project, description: str, *, passed: bool = False) -> None:
    project.instance.report_runless_asset_event(
        AssetCheckEvaluation(
            asset_key=CONTENT.asset_key, check_name=CONTENT.name, passed=passed, description=description
        )
    )


def test_they_are_on_without_anybody_turning_them_on() -> None:
    assert {sensor.default_status for sensor in ALERT_SENSORS} == {DefaultSensorStatus.RUNNING}


def test_a_failed_run_is_reported_once_with_its_day_and_its_reason(runs: Watching, project: Project) -> None:
    day = project.sealed(days_ago=100)
    failed = project.step(Action.PURGE, day)
    [alert] = runs.tick()
    assert alert.title == "1 failed run"
    [line] = alert.lines
    assert line.startswith(f"daily_retention of {day} (run {failed.run_id}): audit__hot_purge: {day} was not purged")
    assert runs.tick() == []


def test_runs_that_succeed_are_no_news(runs: Watching, checks: Watching, project: Project) -> None:
    assert project.step(Action.ARCHIVE, project.sealed(days_ago=100)).success
    assert (runs.tick(), checks.tick()) == ([], [])


def test_an_attempt_that_is_followed_by_another_is_left_out(runs: Watching, project: Project) -> None:
    job = project.definitions.resolve_job_def("daily_retention")
    for more_attempts in (1, 0):
        run = project.instance.create_run_for_job(job, tags={"dagster/max_retries": str(more_attempts)})
        project.instance.report_run_failed(run, "the process died")
    [alert] = runs.tick()
    assert alert.lines == (f"daily_retention (run {run.run_id}): the process died",)


def test_a_run_of_a_backfill_is_named_by_its_assets(runs: Watching, project: Project) -> None:
    job = project.definitions.resolve_implicit_global_asset_job_def()
    run = project.instance.create_run_for_job(
        job,
        asset_selection=frozenset([HOT_PURGE]),
        tags={"dagster/partition": "2026-08-20", "dagster/max_retries": "0"},
    )
    project.instance.report_run_failed(run, "the process died")
    [alert] = runs.tick()
    assert alert.lines == (f"audit/hot_purge of 2026-08-20 (run {run.run_id}): the process died",)


def test_a_failed_check_is_reported_once_though_its_run_is_green(checks: Watching, project: Project) -> None:
    day = project.sealed(days_ago=3)
    assert project.run("daily_retention", day, checks=READ_BACK).success
    [alert] = checks.tick()
    assert alert.title == "5 failed checks"
    assert f"WARN: audit/cold_archive of {day}, check content: the day is not archived yet" in alert.lines
    assert checks.tick() == []


def test_an_evaluation_without_a_run_is_reported_too(checks: Watching, project: Project) -> None:
    evaluate(project, "it stopped")
    evaluate(project, "it goes on", passed=True)
    [alert] = checks.tick()
    assert alert.lines == ("ERROR: audit/cold_archive, check content: it stopped",)


def test_what_the_sink_did_not_take_is_sent_again(
    runs: Watching, checks: Watching, project: Project, sink: RecordingSink
) -> None:
    evaluate(project, "it stopped")
    run = project.instance.create_run_for_job(
        project.definitions.resolve_job_def("seal"), tags={"dagster/max_retries": "0"}
    )
    project.instance.report_run_failed(run, "the process died")
    sink.broken = True
    for watching in (runs, checks):
        with pytest.raises(ConnectionError):
            watching.tick()
        assert watching.cursor is None
    sink.broken = False
    assert [len(watching.tick()) for watching in (runs, checks)] == [1, 1]
    assert [len(watching.tick()) for watching in (runs, checks)] == [0, 0]


def test_what_was_just_written_waits_until_nothing_can_appear_before_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerting, "SETTLING_TIME", timedelta(hours=1))
    evaluate(project, "it stopped")
    written = datetime.now(UTC)
    early = alerting.failed_checks(project.instance, 0, written)
    assert (early.lines, early.cursor) == ((), 0)
    later = alerting.failed_checks(project.instance, 0, written + alerting.SETTLING_TIME)
    assert len(later.lines) == 1
    assert alerting.failed_checks(project.instance, later.cursor, written + timedelta(days=1)).lines == ()


def test_a_flood_is_walked_in_steps_and_named_in_part(
    checks: Watching, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerting, "EVENTS_PER_TICK", 3)
    monkeypatch.setattr(alerting, "LINES_PER_ALERT", 2)
    for number in range(4):
        evaluate(project, f"problem {number} {'x' * 1000}")
    [alert] = checks.tick()
    assert alert.title == "3 failed checks"
    assert alert.lines[2] == "and 1 more, which Dagster's pages show"
    assert all(len(line) < 600 for line in alert.lines)
    [alert] = checks.tick()
    assert "problem 3" in alert.lines[0]
    assert checks.tick() == []


def test_for_now_alerts_go_to_the_log_as_errors(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "compliance_pipelines.alerts"):
        LogAlertSink().send(Alert("1 failed run", ("seal: it stopped",)))
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("ERROR", "1 failed run\n  - seal: it stopped")
    ]


def test_severity_is_part_of_the_line() -> None:
    evaluation = AssetCheckEvaluation(
        asset_key=CONTENT.asset_key, check_name=CONTENT.name, passed=False, severity=AssetCheckSeverity.WARN
    )
    assert alerting._check_line(evaluation) == "WARN: audit/cold_archive, check content: failed"
