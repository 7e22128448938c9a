"""What the daemon makes of the project, loaded from workspace.yaml: the schedule's requests, the page's backfills."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from dagster import AssetKey, DagsterEvent, DagsterEventType, DagsterRunStatus, RunsFilter
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run
from dagster._daemon.backfill import execute_backfill_iteration
from dagster._scheduler.scheduler import launch_scheduled_runs
from dagster_graphql.test.utils import execute_dagster_graphql

from compliance_pipelines.archive.catalogue import DayState
from compliance_pipelines.orchestration.keys import COLD_ARCHIVE, HOT_PARTITION, HOT_PURGE, READ_BACK, ROWS_MATCH_LEDGER

if TYPE_CHECKING:
    from datetime import date

    from dagster import DagsterRun
    from dagster._core.workspace.context import WorkspaceProcessContext

    from tests.conftest import MovableClock
    from tests.orchestration.conftest import Project

LAUNCH: Final = """
    mutation ($parameters: LaunchBackfillParams!) {
        launchPartitionBackfill(backfillParams: $parameters) {
            __typename
            ... on LaunchBackfillSuccess { backfillId }
            ... on PythonError { message }
        }
    }
"""
MOST_ITERATIONS: Final = 10


class Backfills:
    """Launches backfills and executes the runs that they put into the queue."""

    def __init__(self, project: Project, workspace: WorkspaceProcessContext) -> None:
        self._project = project
        self._workspace = workspace

    def launch(self, asset: AssetKey, days: list[date]) -> list[DagsterRun]:
        """The runs that a backfill of these days puts into the queue."""
        parameters: dict[str, Any] = {
            "assetSelection": [{"path": asset.path}],
            "partitionNames": [day.isoformat() for day in days],
        }
        answer = execute_dagster_graphql(self._workspace.create_request_context(), LAUNCH, {"parameters": parameters})
        launched = answer.data["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        for _ in range(MOST_ITERATIONS):
            list(execute_backfill_iteration(self._workspace, logging.getLogger("tests.backfill")))
            queued = [each for each in self._project.instance.get_runs() if each.status is DagsterRunStatus.QUEUED]
            if len(queued) >= len(days):
                return queued
        raise AssertionError("the daemon did not request the runs")

    def execute(self, run: DagsterRun) -> bool:
        """Execute a queued run over the test's services, checks included as the queue has it."""
        job = self._project.definitions.resolve_job_def(run.job_name).get_subset(
            asset_selection=run.asset_selection, asset_check_selection=run.asset_check_selection
        )
        instance = self._project.instance
        starting = DagsterEvent(DagsterEventType.RUN_STARTING.value, run.job_name)
        instance.report_dagster_event(starting, run_id=run.run_id)
        execute_run(InMemoryJob(job), run.with_status(DagsterRunStatus.STARTING), instance, raise_on_error=False)
        finished = instance.get_run_by_id(run.run_id)
        return finished is not None and finished.status is DagsterRunStatus.SUCCESS


def test_each_asset_can_be_backfilled_with_one_run_for_each_day(
    project: Project, clock: MovableClock, pages: WorkspaceProcessContext
) -> None:
    days = [project.append(days_ago) for days_ago in (101, 100)]
    project.seal()
    backfills = Backfills(project, pages)
    for asset, state in (
        (HOT_PARTITION, DayState.SEALED),
        (COLD_ARCHIVE, DayState.VERIFIED),
        (HOT_PURGE, DayState.PURGED),
    ):
        runs = backfills.launch(asset, days)
        assert sorted(run.tags["dagster/partition"] for run in runs) == [day.isoformat() for day in days]
        assert all("dagster/asset_partition_range_start" not in run.tags for run in runs)
        assert all(backfills.execute(run) for run in runs)
        assert project.instance.get_materialized_partitions(asset) == {day.isoformat() for day in days}
        assert [project.state(day) for day in days] == [state, state]
        clock.advance(days=8)
    for key in (ROWS_MATCH_LEDGER, *READ_BACK):
        records = project.instance.event_log_storage.get_asset_check_execution_history(key, limit=10)
        assert sorted(str(record.partition) for record in records) == [day.isoformat() for day in days]
        assert {record.status.value for record in records} == {"SUCCEEDED"}


def test_a_daemon_that_was_down_for_a_week_queues_every_day_that_fell_due_oldest_first(
    project: Project, clock: MovableClock, workspace: WorkspaceProcessContext
) -> None:
    days = [project.append(days_ago) for days_ago in (97, 94, 91)]
    project.seal()
    for moment in (clock.moment - timedelta(days=7), clock.moment):
        list(launch_scheduled_runs(workspace, logging.getLogger("tests.scheduler"), moment, iteration_times={}))

    records = project.instance.get_run_records(RunsFilter(job_name="daily_retention"), ascending=True)
    queued = [record.dagster_run for record in records]
    assert [run.tags["dagster/partition"] for run in queued] == [day.isoformat() for day in days]
    assert {run.status for run in queued} == {DagsterRunStatus.QUEUED}
    for run in queued:
        assert run.asset_selection == {HOT_PARTITION, COLD_ARCHIVE}
        assert run.asset_check_selection == {ROWS_MATCH_LEDGER, *READ_BACK}
