"""`compliance run`: what the schedules would do now, in this process and on record in Dagster."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import pytest
from click.testing import CliRunner
from dagster import DagsterRunStatus, RunsFilter
from dagster_graphql.test.utils import execute_dagster_graphql

from compliance_pipelines.archive.catalogue import DayState
from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.cli.running import run
from compliance_pipelines.orchestration import checks
from compliance_pipelines.orchestration.in_process import RunnerBusyError, open_runner
from compliance_pipelines.orchestration.keys import DATABASE_POOL, HOT_PURGE
from compliance_pipelines.postgres.locks import SEALING_LOCK, process_lock
from compliance_pipelines.settings import ConfigurationError
from tests.integration.archive.days import entry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import sqlalchemy
    from click.testing import Result
    from dagster import DagsterInstance
    from dagster._core.workspace.context import WorkspaceProcessContext

    from tests.conftest import MovableClock
    from tests.orchestration.conftest import Project

CHILD_SECONDS: Final = 900.0

pytestmark = pytest.mark.usefixtures("environment")


def command(*arguments: str) -> Result:
    return CliRunner().invoke(run, list(arguments))


def as_of(project: Project, days: int) -> str:
    return (project.today + timedelta(days=days)).isoformat()


def run_counts(instance: DagsterInstance) -> dict[tuple[str, DagsterRunStatus], int]:
    counts: dict[tuple[str, DagsterRunStatus], int] = {}
    for each in instance.get_runs():
        key = (each.job_name, each.status)
        counts[key] = counts.get(key, 0) + 1
    return counts


def test_it_archives_what_is_due_and_purges_it_when_the_grace_is_over(project: Project) -> None:
    days = [project.append(days_ago) for days_ago in (92, 91)]
    young = project.append(days_ago=90)
    project.settle()
    archived = command()
    assert (archived.exit_code, archived.stdout) == (0, "2 days archived, 0 days purged, 0 failures\n")
    assert [project.state(day) for day in (*days, young)] == [DayState.VERIFIED, DayState.VERIFIED, DayState.SEALED]

    purged = command("--as-of", as_of(project, 8))
    assert (purged.exit_code, purged.stdout) == (0, "1 day archived, 2 days purged, 0 failures\n")
    assert [project.state(day) for day in (*days, young)] == [DayState.PURGED, DayState.PURGED, DayState.VERIFIED]

    success = DagsterRunStatus.SUCCESS
    assert run_counts(project.instance) == {
        ("partition_upkeep", success): 2,
        ("seal", success): 4,
        ("daily_retention", success): 5,
        ("hold_sync", success): 2,
        ("archive_scrub", success): 2,
        ("health_checks", success): 2,
    }
    assert project.instance.get_materialized_partitions(HOT_PURGE) == {day.isoformat() for day in days}


def test_with_nothing_due_it_does_nothing_and_says_so(project: Project) -> None:
    assert command().stdout == "0 days archived, 0 days purged, 0 failures\n"


def test_another_date_is_refused_off_the_embedded_stack(project: Project, environment: pytest.MonkeyPatch) -> None:
    day = project.sealed(days_ago=85)
    environment.delenv("COMPLIANCE_LOCAL_STACK")
    refused = command("--as-of", as_of(project, 30))
    assert isinstance(refused.exception, ConfigurationError)
    assert "embedded stack only" in str(refused.exception)
    assert project.state(day) is DayState.SEALED
    assert project.instance.get_runs() == []


def test_a_day_that_fails_is_reported_and_the_others_go_on(
    project: Project, superuser_engine: sqlalchemy.Engine
) -> None:
    altered, whole = project.sealed(days_ago=92), project.sealed(days_ago=91)
    with superuser_engine.begin() as connection:
        connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        connection.exec_driver_sql(f"UPDATE audit_logs_{altered:%Y_%m_%d} SET user_id = 'somebody else'")
    finished = command()
    assert (finished.exit_code, finished.stdout) == (1, "1 day archived, 0 days purged, 1 failure\n")
    assert f"failed archive {altered}: audit/hot_partition, check rows_match_ledger" in finished.stderr
    assert "was altered" in finished.stderr
    assert [project.state(day) for day in (altered, whole)] == [DayState.SEALED, DayState.VERIFIED]


def test_a_check_that_fails_in_a_green_run_is_a_failure(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """And so is a day that Dagster does not know: an entry before the first day came by a plain INSERT."""
    monkeypatch.setattr(checks, "_RUNWAY_DAYS", 99)
    early = entry(project.services.settings.audit_log_first_day - timedelta(days=1), 1)
    assert AuditLog(project.services.engine, first_day=early.timestamp.date()).append(early)
    project.settle()
    finished = command()
    assert finished.exit_code == 1
    assert "failed health_checks: audit/audit_log_partitions, check runway" in finished.stderr
    assert "AUDIT_LOG_FIRST_DAY" in finished.stderr


def test_a_lock_of_sealing_that_stayed_behind_is_a_failure_that_names_its_holder(
    project: Project, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("LEDGER_SEAL_MAX_BUSY_SECONDS", "1")
    project.append(days_ago=92)
    project.settle()
    with (
        project.services.engine.connect() as connection,
        process_lock(connection, SEALING_LOCK, doing="sealing"),
    ):
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        connection.rollback()
        finished = command()
        assert finished.exit_code == 1
        named = rf"session {pid} of test_pipeline.*pg_terminate_backend\({pid}\)"
        assert re.search(f"failed seal: .*{named}", finished.stderr)
        assert re.search(f"failed health_checks: .*check sealing.*{named}", finished.stderr)
    assert command().exit_code == 0


def test_without_dagster_home_it_says_what_is_missing(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for value in ("", str(tmp_path / "nowhere")):
        environment.setenv("DAGSTER_HOME", value)
        finished = command()
        assert isinstance(finished.exception, ConfigurationError)
        assert "DAGSTER_HOME" in str(finished.exception)


def test_two_at_once_are_refused(dagster_home: Path) -> None:
    with open_runner():
        finished = command()
    assert isinstance(finished.exception, RunnerBusyError)
    assert isinstance(finished.exception, ComplianceError)


@pytest.fixture
def stopped_in_a_purge(
    project: Project, clock: MovableClock, superuser_engine: sqlalchemy.Engine
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that works through what is due, and waits in the middle of a purge for a lock that it does not get."""
    day = project.sealed(days_ago=100)
    assert command().exit_code == 0
    with superuser_engine.connect() as connection:
        connection.exec_driver_sql(f"LOCK TABLE audit_logs_{day:%Y_%m_%d} IN ROW EXCLUSIVE MODE")
        child = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "from compliance_pipelines.cli import main; main()",
                "run",
                "--as-of",
                as_of(project, 8),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=dict(os.environ),
        )
        try:
            yield child
        finally:
            child.kill()
            child.wait()


def wait_for_slot(instance: DagsterInstance, child: subprocess.Popen[bytes]) -> None:
    """Until a step of the child's purge has begun."""
    deadline = time.monotonic() + CHILD_SECONDS
    while (
        not any(
            "dagster/partition" in each.tags and each.status is DagsterRunStatus.STARTED for each in instance.get_runs()
        )
        # A step that waits for its slot is known to the pool, too.
        or not instance.event_log_storage.get_concurrency_info(DATABASE_POOL).active_slot_count
    ):
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_process_that_was_killed_holds_nothing_up(
    project: Project, stopped_in_a_purge: subprocess.Popen[bytes]
) -> None:
    wait_for_slot(project.instance, stopped_in_a_purge)
    stopped_in_a_purge.kill()
    stopped_in_a_purge.wait()
    [dead] = project.instance.get_runs(limit=1)
    assert dead.status is DagsterRunStatus.STARTED
    assert project.instance.event_log_storage.get_concurrency_info(DATABASE_POOL).active_slot_count == 1

    with open_runner():
        pass
    [dead] = project.instance.get_runs(limit=1)
    assert dead.status is DagsterRunStatus.FAILURE
    assert project.instance.event_log_storage.get_concurrency_info(DATABASE_POOL).active_slot_count == 0


RUNS_OF_JOB: Final = """
    query ($selector: PipelineSelector!) {
        pipelineOrError(params: $selector) {
            ... on Pipeline { name runs { status repositoryOrigin { repositoryLocationName repositoryName } } }
            ... on PythonError { message }
        }
    }
"""


def test_its_runs_belong_to_their_jobs(project: Project, workspace: WorkspaceProcessContext) -> None:
    """As the pages ask: the runs of a job of this code location, each with a link to it."""
    day = project.append(days_ago=100)
    project.settle()
    assert command().exit_code == 0
    for job, count in (("daily_retention", 1), ("seal", 2), ("health_checks", 1), ("partition_upkeep", 1)):
        selector = {
            "pipelineName": job,
            "repositoryName": "__repository__",
            "repositoryLocationName": "compliance_pipelines",
        }
        answer = execute_dagster_graphql(workspace.create_request_context(), RUNS_OF_JOB, {"selector": selector})
        origin = {"repositoryLocationName": "compliance_pipelines", "repositoryName": "__repository__"}
        assert answer.data["pipelineOrError"]["runs"] == [{"status": "SUCCESS", "repositoryOrigin": origin}] * count
    [retention] = project.instance.get_runs(RunsFilter(job_name="daily_retention"))
    assert retention.tags["dagster/partition"] == day.isoformat()
    assert retention.job_snapshot_id is not None
