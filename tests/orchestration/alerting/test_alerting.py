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
    DagsterEvent,
    DagsterEventType,
    DagsterInstance,
    DagsterRunStatus,
    DefaultSensorStatus,
    build_sensor_context,
)
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationPlanned
from dagster._core.definitions.instigation_logger import get_instigation_log_records

from compliance_pipelines.orchestration import alerting
from compliance_pipelines.orchestration.alerting import ALERT_SENSORS, failed_checks_sensor, failed_runs_sensor
from compliance_pipelines.orchestration.alerts import Alert, LogAlertSink
from compliance_pipelines.orchestration.backlog import Action
from compliance_pipelines.orchestration.failed_checks import failed_checks
from compliance_pipelines.orchestration.keys import CONTENT, HOT_PURGE, READ_BACK
from compliance_pipelines.orchestration.names import NAMES, Names
from compliance_pipelines.orchestration.own import Own
from compliance_pipelines.orchestration.resources import ALERTS
from tests.orchestration.alerting.conftest import Watching, evaluate
from tests.orchestration.conftest import RecordingSink

if TYPE_CHECKING:
    from pathlib import Path

    import sqlalchemy

    from tests.orchestration.conftest import Project


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
    watching = Watching(failed_checks_sensor, project, sink)
    evaluate(project, "it stopped")
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
        last_sensor_start_time=checks.started,
        resources={ALERTS: RecordingSink(), NAMES: Names()},
    )
    with context:
        data = failed_checks_sensor.evaluate_tick(context)
    assert data.log_key is not None
    [record] = get_instigation_log_records(project.instance, data.log_key)
    assert record["levelname"] == "ERROR"
    assert "it stopped" in record["msg"]
    assert record["created"] == pytest.approx(datetime.now(UTC).timestamp(), abs=600)


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


def test_one_that_settles_after_a_younger_one_is_not_passed_by(
    checks: Watching, project: Project, dagster_engine: sqlalchemy.Engine
) -> None:
    """Each transaction has the time of its beginning, and the numbers are given in between."""

    def of_the_first(time: str) -> None:
        with dagster_engine.begin() as connection:
            connection.exec_driver_sql(
                f"UPDATE asset_check_executions SET create_timestamp = {time} "
                "WHERE id = (SELECT min(id) FROM asset_check_executions)"
            )

    evaluate(project, "first")
    evaluate(project, "second")
    of_the_first("now() + interval '1 day'")
    assert checks.tick() == []
    of_the_first("now() - interval '1 second'")
    [alert] = checks.tick()
    assert ["first" in alert.lines[0], "second" in alert.lines[1]] == [True, True]


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
        found = failed_checks(memory, own, None, started=0.0, latest=float("inf"), limit=10)
        assert found.count == 1
        assert failed_checks(memory, own, found.cursor, started=0.0, latest=float("inf"), limit=10).count == 0
