"""Whose runs and checks a person hears of: ours, and from the start of the sensor on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from dagster import AssetCheckEvaluation, AssetKey, Definitions, asset, job, op
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.remote_origin import ManagedGrpcPythonEnvCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from compliance_pipelines.orchestration.alerting import failed_checks_sensor, failed_runs_sensor
from compliance_pipelines.orchestration.backlog import Action
from compliance_pipelines.orchestration.cursors import CursorError
from compliance_pipelines.orchestration.keys import HOT_PARTITION, HOT_PURGE
from tests.orchestration.alerting.conftest import Watching, evaluate, materialize

if TYPE_CHECKING:
    from dagster import JobDefinition, SensorDefinition
    from dagster._core.remote_origin import RemoteJobOrigin

    from tests.orchestration.conftest import Project, RecordingSink


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
    fail(project, project.definitions.resolve_job_def("seal"))
    assert len(watching.tick()) == 1


def test_a_run_with_steps_of_others_is_told_of_for_ours_only(runs: Watching, project: Project) -> None:
    """Somebody materializes an asset of the host and one of ours together."""

    @asset
    def orders() -> None:
        raise ValueError("no orders today")

    day = project.sealed(days_ago=100)
    both = Definitions.merge(project.definitions, Definitions([orders]))
    assert not materialize(project, both, day, orders.key, HOT_PARTITION).success
    assert runs.tick() == []
    assert not materialize(project, both, day, orders.key, HOT_PURGE).success
    [alert] = runs.tick()
    [line] = alert.lines
    assert f"audit__hot_purge: {day} was not purged" in line
    assert "no orders today" not in line


def test_checks_that_failed_before_the_sensor_was_started_are_history(
    project: Project, sink: RecordingSink, at_once: None
) -> None:
    evaluate(project, "it stopped")
    checks = Watching(failed_checks_sensor, project, sink)
    assert checks.tick() == []
    # The same as then, of which nobody was told.
    evaluate(project, "it stopped")
    assert len(checks.tick()) == 1


def test_a_run_that_failed_before_the_sensor_was_started_told_nobody_what_a_check_says(
    project: Project, sink: RecordingSink, at_once: None
) -> None:
    day = project.sealed(days_ago=100)
    assert not project.step(Action.PURGE, day).success
    checks = Watching(failed_checks_sensor, project, sink)
    evaluate(project, "it has rows in PostgreSQL that no archive holds", partition=day.isoformat())
    assert len(checks.tick()) == 1


@pytest.mark.parametrize("cursor", ["123", '{"audit/cold_archive:content": [0]}'])
def test_a_cursor_of_an_earlier_version_goes_on(checks: Watching, project: Project, cursor: str) -> None:
    checks.cursor = cursor
    evaluate(project, "it stopped")
    assert len(checks.tick()) == 1
    assert checks.tick() == []


@pytest.mark.parametrize("cursor", ["tomorrow", '["a"]', '{"since": "yesterday"}'])
@pytest.mark.parametrize("sensor", [failed_checks_sensor, failed_runs_sensor], ids=lambda sensor: sensor.name)
def test_a_cursor_that_nobody_here_wrote_is_an_error_that_says_so(
    project: Project, sink: RecordingSink, sensor: SensorDefinition, cursor: str
) -> None:
    watching = Watching(sensor, project, sink)
    watching.cursor = cursor
    with pytest.raises(CursorError, match=re.escape(f"the cursor of this sensor is not one that it wrote: {cursor!r}")):
        watching.tick()
