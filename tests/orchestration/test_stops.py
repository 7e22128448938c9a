"""Signals during `compliance run`, and runs of the daemon that somebody terminates: nothing later is started."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Final

import pytest
from click.testing import CliRunner
from dagster import DagsterEventType, DagsterRunStatus
from dagster._core.remote_representation.code_location import GrpcServerCodeLocation

from compliance_pipelines.archive.catalogue import DayState
from compliance_pipelines.cli.running import run
from compliance_pipelines.orchestration.keys import COLD_ARCHIVE, DATABASE_POOL
from tests.orchestration.test_daemon import Backfills
from tests.support.stops import Sessions, command, locked, until

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    import sqlalchemy
    from dagster import DagsterInstance, DagsterRun
    from dagster._core.workspace.context import WorkspaceProcessContext

    from tests.orchestration.conftest import Project

STATUS: Final = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGHUP: 129}
READS_ROWS: Final = "COPY%ORDER BY id%"


def days_of_runs(instance: DagsterInstance) -> dict[str, DagsterRunStatus]:
    """The days that Dagster has a run for, and what became of it."""
    runs = instance.get_runs()
    return {run.tags["dagster/partition"]: run.status for run in runs if "dagster/partition" in run.tags}


def retries(instance: DagsterInstance, run: DagsterRun) -> int:
    return len(instance.all_logs(run.run_id, of_type=DagsterEventType.STEP_UP_FOR_RETRY))


def messages(instance: DagsterInstance, run: DagsterRun) -> list[str]:
    return [entry.message for entry in instance.all_logs(run.run_id)]


def is_finished(instance: DagsterInstance, run: DagsterRun) -> bool:
    found = instance.get_run_by_id(run.run_id)
    return found is not None and found.is_finished


def leaf(day: date) -> str:
    return f"audit_logs_{day:%Y_%m_%d}"


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("number", STATUS, ids=lambda number: number.name)
def test_a_run_stops_at_the_day_at_hand_and_the_next_run_goes_on(
    number: signal.Signals, project: Project, tmp_path: Path, superuser_engine: sqlalchemy.Engine
) -> None:
    days = [project.append(days_ago) for days_ago in (94, 93, 92)]
    project.seal()
    sessions = Sessions(superuser_engine)
    with (
        locked(superuser_engine, "archived_audit_logs", "SHARE"),
        command(tmp_path, project.services.settings, "run") as child,
    ):
        child.until("the first day is recorded", lambda: sessions.wait_for_lock("%INSERT INTO archived_audit_logs%"))
        child.send(number)
        assert child.end() == STATUS[number]
        until("its sessions are gone", sessions.are_gone)
    stopped = f"stopped by {number.name} while archiving {days[0]}: 0 of 3 days done; run it again to go on"
    assert child.err.splitlines()[-1] == stopped
    assert "failed" not in child.err
    assert days_of_runs(project.instance) == {f"{days[0]}": DagsterRunStatus.CANCELED}
    [latest] = project.instance.get_runs(limit=1)
    assert retries(project.instance, latest) == 0
    assert f"{stopped}." in messages(project.instance, latest)
    info = project.instance.event_log_storage.get_concurrency_info(DATABASE_POOL)
    assert (info.active_slot_count, info.pending_step_count) == (0, 0)

    again = CliRunner().invoke(run, [])
    assert again.exit_code == 0, again.output
    assert {project.state(day) for day in days} == {DayState.VERIFIED}


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("interrupt", [signal.SIG_DFL, signal.SIG_IGN], ids=["foreground", "background"])
def test_a_run_stops_between_two_of_dagsters_runs(
    project: Project, tmp_path: Path, superuser_engine: sqlalchemy.Engine, interrupt: signal.Handlers
) -> None:
    """In the background of a script SIGINT is ignored, and Dagster then leaves SIGTERM ignored after each run."""
    project.sealed(days_ago=93)
    sessions = Sessions(superuser_engine)
    with (
        locked(superuser_engine, "archived_audit_logs"),
        command(tmp_path, project.services.settings, "run", signals={"SIGINT": interrupt}) as child,
    ):
        child.until("what is due is looked up", lambda: sessions.wait_for_lock("%"))
        child.send(signal.SIGTERM)
        assert child.end() == 143
        until("its sessions are gone", sessions.are_gone)
    assert child.err.splitlines()[-1].startswith("stopped by SIGTERM while ")
    assert days_of_runs(project.instance) == {}


def test_a_run_that_is_terminated_stops_at_once_and_is_not_tried_again(
    project: Project, superuser_engine: sqlalchemy.Engine, workspace: WorkspaceProcessContext
) -> None:
    day = project.sealed(days_ago=100)
    [run] = Backfills(project, workspace).launch(COLD_ARCHIVE, [day])
    instance = project.instance
    sessions = Sessions(superuser_engine)
    with locked(superuser_engine, leaf(day)):
        instance.launch_run(run.run_id, workspace.create_request_context())
        until("the rows are read", lambda: sessions.wait_for_lock(READS_ROWS))
        assert instance.run_launcher.terminate(run.run_id)
        until("the run has ended", lambda: is_finished(instance, run))
        until("its sessions are gone", sessions.are_gone)
    # The code server looks after its runs in Dagster's database, which must not be dropped before.
    location = workspace.create_request_context().get_code_location("compliance_pipelines")
    assert isinstance(location, GrpcServerCodeLocation)
    client = location.client
    until("the code server has seen its end", lambda: run.run_id not in client.get_current_runs())
    ended = instance.get_run_by_id(run.run_id)
    assert ended is not None
    assert ended.status is DagsterRunStatus.CANCELED
    assert retries(instance, ended) == 0
    assert project.state(day) is DayState.SEALED
