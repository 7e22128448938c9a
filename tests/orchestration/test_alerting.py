"""Who hears of what failed: once, with the reason, and again only when the message was not taken."""

from __future__ import annotations

import dataclasses
import logging
import re
import subprocess
import sys
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from dagster import (
    AssetCheckEvaluation,
    AssetKey,
    DagsterEvent,
    DagsterEventType,
    DagsterInstance,
    DagsterRunStatus,
    DefaultSensorStatus,
    build_sensor_context,
    job,
    op,
)
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationPlanned
from dagster._core.definitions.instigation_logger import get_instigation_log_records
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.remote_origin import ManagedGrpcPythonEnvCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from compliance_pipelines.orchestration import alerting
from compliance_pipelines.orchestration.alerting import ALERT_SENSORS, failed_checks_sensor, failed_runs_sensor
from compliance_pipelines.orchestration.alerts import Alert, LogAlertSink
from compliance_pipelines.orchestration.backlog import Action
from compliance_pipelines.orchestration.failed_checks import failed_checks
from compliance_pipelines.orchestration.keys import CONTENT, HOT_PURGE, READ_BACK
from compliance_pipelines.orchestration.names import NAMES, Names
from compliance_pipelines.orchestration.own import Own
from compliance_pipelines.orchestration.resources import ALERTS
from tests.orchestration.conftest import RecordingSink
from tests.support.damage import flip

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from dagster import JobDefinition, SensorDefinition
    from dagster._core.remote_origin import RemoteJobOrigin

    from tests.conftest import MovableClock
    from tests.orchestration.conftest import Project


class Watching:
    """One alert sensor, tick by tick, with the cursor carried on as the daemon does."""

    def __init__(self, sensor: SensorDefinition, project: Project, sink: RecordingSink) -> None:
        self._sensor = sensor
        self._project = project
        self._sink = sink
        self.cursor: str | None = None
        self.started: float | None = None

    def tick(self) -> list[Alert]:
        """The alerts that this tick sent."""
        self._sink.alerts.clear()
        context = build_sensor_context(
            instance=self._project.instance,
            repository_def=self._project.definitions.get_repository_def(),
            resources={ALERTS: self._sink, NAMES: Names()},
            cursor=self.cursor,
            last_sensor_start_time=self.started,
        )
        self.cursor = self._sensor.evaluate_tick(context).cursor
        return list(self._sink.alerts)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the moment in which events settle."""
    monkeypatch.setattr(alerting, "SETTLING_TIME", timedelta())


@pytest.fixture
def runs(project: Project, sink: RecordingSink, at_once: None) -> Watching:
    watching = Watching(failed_runs_sensor, project, sink)
    assert watching.tick() == []
    return watching


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
    [line] = alert.lines
    assert line.startswith(f"WARN: audit/cold_archive of {day}, checks checksum, content, entry_count")
    assert line.endswith(": the day is not archived yet")
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
        before = watching.cursor
        with pytest.raises(ConnectionError):
            watching.tick()
        assert watching.cursor == before
    sink.broken = False
    assert [len(watching.tick()) for watching in (runs, checks)] == [1, 1]
    assert [len(watching.tick()) for watching in (runs, checks)] == [0, 0]


def test_what_was_just_written_waits_until_nothing_can_appear_before_it(
    project: Project, sink: RecordingSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate(project, "it stopped")
    watching = Watching(failed_checks_sensor, project, sink)
    monkeypatch.setattr(alerting, "SETTLING_TIME", timedelta(hours=1))
    assert watching.tick() == []
    monkeypatch.setattr(alerting, "SETTLING_TIME", timedelta())
    assert len(watching.tick()) == 1
    assert watching.tick() == []


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


def test_lines_in_the_log_have_time_and_level(capsys: pytest.CaptureFixture[str]) -> None:
    script = (
        "from compliance_pipelines.orchestration.alerts import Alert, LogAlertSink;"
        "LogAlertSink().send(Alert('1 failed run', ('seal: it stopped',)))"
    )
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    first, second = finished.stderr.splitlines()
    time_and_level = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ERROR compliance_pipelines\.alerts: 1 failed run"
    assert re.fullmatch(time_and_level, first)
    assert second == "  - seal: it stopped"


def test_an_alert_is_on_the_page_of_its_tick(checks: Watching, project: Project) -> None:
    evaluate(project, "it stopped")
    context = build_sensor_context(
        instance_ref=project.instance.get_ref(),
        repository_def=project.definitions.get_repository_def(),
        repository_name="__repository__",
        sensor_name=failed_checks_sensor.name,
        resources={ALERTS: RecordingSink(), NAMES: Names()},
    )
    with context:
        data = failed_checks_sensor.evaluate_tick(context)
    assert data.log_key is not None
    [record] = get_instigation_log_records(project.instance, data.log_key)
    assert record["levelname"] == "ERROR"
    assert "it stopped" in record["msg"]
    assert record["created"] == pytest.approx(datetime.now(UTC).timestamp(), abs=600)


# Ours, and from the start of the sensor


def theirs(location: str) -> RemoteRepositoryOrigin:
    target = LoadableTargetOrigin(module_name="theirs")
    return RemoteRepositoryOrigin(ManagedGrpcPythonEnvCodeLocationOrigin(target, location), "__repository__")


def fail(
    project: Project,
    failing: JobDefinition,
    origin: RemoteJobOrigin | None = None,
    code: JobPythonOrigin | None = None,
) -> None:
    run = project.instance.create_run_for_job(
        failing, tags={"dagster/max_retries": "0"}, remote_job_origin=origin, job_code_origin=code
    )
    project.instance.report_run_failed(run, "the process died")


def test_runs_of_other_people_are_not_reported(runs: Watching, project: Project) -> None:
    """Of a job of another name in the same code location, or of a job of the same name in another one."""

    @op
    def nothing() -> None: ...

    @job(name="etl")
    def other() -> None:
        nothing()

    ours = project.definitions.resolve_job_def("seal")
    fail(project, other)
    fail(
        project,
        ours,
        origin=theirs("elsewhere").get_job_origin("seal"),
        code=JobPythonOrigin(
            "seal", RepositoryPythonOrigin("python", ModuleCodePointer("theirs", "defs"), entry_point=["dagster"])
        ),
    )
    assert runs.tick() == []
    fail(project, ours)
    assert len(runs.tick()) == 1


def test_checks_of_other_people_are_not_reported(checks: Watching, project: Project) -> None:
    project.instance.report_runless_asset_event(
        AssetCheckEvaluation(asset_key=AssetKey(["etl", "orders"]), check_name="content", passed=False)
    )
    assert checks.tick() == []


def test_runs_that_failed_before_the_sensor_was_started_are_history(
    project: Project, sink: RecordingSink, at_once: None
) -> None:
    ours = project.definitions.resolve_job_def("seal")
    fail(project, ours)
    watching = Watching(failed_runs_sensor, project, sink)
    assert watching.tick() == []
    # For the same reason as then, of which nobody was told.
    fail(project, ours)
    [alert] = watching.tick()
    assert len(alert.lines) == 1


def test_a_run_that_failed_between_the_start_of_the_sensor_and_its_first_tick_is_none(
    project: Project, sink: RecordingSink, at_once: None
) -> None:
    watching = Watching(failed_runs_sensor, project, sink)
    watching.started = datetime.now(UTC).timestamp()
    fail(project, project.definitions.resolve_job_def("seal"))
    assert len(watching.tick()) == 1


# One fault, one alert


@pytest.fixture
def damaged(project: Project, clock: MovableClock, tmp_path: Path) -> date:
    """A day whose purge is due, with one flipped bit in its archive."""
    day = project.sealed(days_ago=100)
    assert project.step(Action.ARCHIVE, day).success
    clock.advance(days=8)
    flip(tmp_path / "cold")
    return day


def test_one_flipped_byte_is_one_alert_whoever_finds_it_and_how_often(
    runs: Watching, checks: Watching, project: Project, damaged: date, tmp_path: Path
) -> None:
    assert not project.run("daily_retention", damaged).success
    first = [*runs.tick(), *checks.tick()]
    [line] = [line for alert in first for line in alert.lines]
    assert line.startswith(f"ERROR: audit/cold_archive of {damaged}, check checksum: ")

    assert not project.run("daily_retention", damaged).success
    assert not project.run("daily_retention", damaged, checks=READ_BACK).success
    assert not project.step(Action.PURGE, damaged).success
    assert not project.step(Action.PURGE, damaged).success
    assert [*runs.tick(), *checks.tick()] == []

    flip(tmp_path / "cold")
    assert project.run("daily_retention", damaged, checks=READ_BACK).success
    assert [*runs.tick(), *checks.tick()] == []
    flip(tmp_path / "cold")
    assert not project.run("daily_retention", damaged, checks=READ_BACK).success
    assert len([*runs.tick(), *checks.tick()]) == 1


@pytest.mark.parametrize("order", ["runs first", "checks first"])
def test_one_flipped_byte_that_a_purge_finds_first_is_one_alert(
    runs: Watching, checks: Watching, project: Project, damaged: date, order: str
) -> None:
    both = (runs, checks) if order == "runs first" else (checks, runs)
    assert not project.step(Action.PURGE, damaged).success
    assert len([alert for watching in both for alert in watching.tick()]) == 1
    assert not project.run("daily_retention", damaged, checks=READ_BACK).success
    assert [alert for watching in both for alert in watching.tick()] == []


def test_another_fault_of_the_same_day_is_another_alert(
    checks: Watching, project: Project, damaged: date, tmp_path: Path
) -> None:
    assert not project.run("daily_retention", damaged, checks=READ_BACK).success
    assert len(checks.tick()) == 1
    [manifest] = (tmp_path / "cold").rglob("audit-logs-*.manifest.json")
    manifest.unlink()
    assert not project.run("daily_retention", damaged, checks=READ_BACK).success
    [alert] = checks.tick()
    assert "check manifest_signature" in alert.lines[0]


def test_a_check_that_says_the_same_again_is_no_news_until_it_passed(checks: Watching, project: Project) -> None:
    for _ in range(2):
        evaluate(project, "it stopped")
    assert len(checks.tick()) == 1
    evaluate(project, "it stopped")
    assert checks.tick() == []
    evaluate(project, "it stopped for another reason")
    assert len(checks.tick()) == 1
    evaluate(project, "it goes on", passed=True)
    evaluate(project, "it stopped for another reason")
    assert len(checks.tick()) == 1


def test_a_run_that_fails_again_for_the_same_reason_is_no_news_until_it_succeeded(
    runs: Watching, project: Project, clock: MovableClock
) -> None:
    day = project.sealed(days_ago=100)
    assert project.step(Action.ARCHIVE, day).success
    for expected in (1, 0):
        assert not project.step(Action.PURGE, day).success
        assert len(runs.tick()) == expected


def test_an_answer_that_comes_late_is_not_passed_by(checks: Watching, project: Project) -> None:
    """A check of a long run has its place in the record from the beginning of the run on."""
    instance, run_id = project.instance, str(uuid.uuid4())
    seal = project.definitions.resolve_job_def("seal")
    run = instance.create_run_for_job(seal, run_id=run_id, status=DagsterRunStatus.STARTED)
    planned = DagsterEvent(
        DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED.value,
        "seal",
        event_specific_data=AssetCheckEvaluationPlanned(asset_key=CONTENT.asset_key, check_name=CONTENT.name),
    )
    instance.report_dagster_event(planned, run_id)
    evaluate(project, "a younger one")
    assert len(checks.tick()) == 1
    evaluated = DagsterEvent(
        DagsterEventType.ASSET_CHECK_EVALUATION.value,
        "seal",
        event_specific_data=AssetCheckEvaluation(CONTENT.asset_key, CONTENT.name, passed=False, description="late"),
    )
    instance.report_dagster_event(evaluated, run.run_id)
    [alert] = checks.tick()
    assert "late" in alert.lines[0]
    assert checks.tick() == []


# Storages


def test_it_works_on_sqlite_too(project: Project, sink: RecordingSink, at_once: None, tmp_path: Path) -> None:
    (tmp_path / "sqlite").mkdir()
    with DagsterInstance.local_temp(str(tmp_path / "sqlite")) as sqlite:
        assert sqlite.event_log_storage.is_run_sharded
        on_sqlite = dataclasses.replace(project, instance=sqlite)
        runs, checks = (Watching(sensor, on_sqlite, sink) for sensor in (failed_runs_sensor, failed_checks_sensor))
        assert [*runs.tick(), *checks.tick()] == []
        day = project.sealed(days_ago=3)
        assert on_sqlite.run("daily_retention", day, checks=READ_BACK).success
        assert not on_sqlite.step(Action.PURGE, day).success
        evaluate(on_sqlite, "it stopped")
        [run_alert], [check_alert] = runs.tick(), checks.tick()
        assert (run_alert.title, check_alert.title) == ("1 failed run", "6 failed checks")
        assert [*runs.tick(), *checks.tick()] == []


def test_it_works_in_memory_too(project: Project) -> None:
    with DagsterInstance.ephemeral() as memory:
        in_memory = dataclasses.replace(project, instance=memory)
        evaluate(in_memory, "it stopped")
        own = Own(None, tuple(READ_BACK))
        found = failed_checks(memory, own, None, latest=float("inf"), limit=10)
        assert found.count == 1
        assert failed_checks(memory, own, found.cursor, latest=float("inf"), limit=10).count == 0
