"""Runs that failed, as a person is told of them: once for each cause.

Here: walking the events of failed runs, and what makes a failure no news. Not here: when, and to whom (alerting.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Final

from dagster import (
    AssetCheckEvaluation,
    AssetCheckSeverity,
    DagsterEventType,
    DagsterRunStatus,
    RunsFilter,
    RunStatusChangeRecordsFilter,
)
from dagster._core.definitions.assets.job.asset_job import is_reserved_asset_job_name
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from compliance_pipelines.orchestration.failures import reasons_of_failure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dagster import DagsterEvent, DagsterInstance, DagsterRun, EventLogRecord

    from compliance_pipelines.orchestration.own import Own

_WILL_RETRY_TAG: Final = "dagster/will_retry"
_PARTITION_TAG: Final = "dagster/partition"
# How many finished runs of the same day are looked at for one that did the same.
_RUNS_BEFORE: Final = 20


@dataclass(frozen=True)
class FoundRuns:
    """What a walk found: lines for the alert, and the event to go on after."""

    lines: tuple[str, ...]
    cursor: int


def plain(text: str | None) -> str:
    """A text on one line, as reasons of failures are."""
    return " ".join((text or "").split())


def newest_before(instance: DagsterInstance, started: float | None, limit: int) -> int:
    """The last failure from before a sensor started, after which its walk begins; 0 where there is none.

    Args:
        instance: Dagster's instance.
        started: when it was started, in seconds since 1970; None where that is not known: now.
        limit: how many failures since then are looked for at most.
    """
    newest = instance.fetch_run_status_changes(DagsterEventType.RUN_FAILURE, limit=limit).records
    before = [event.storage_id for event in newest if started is None or event.timestamp < started]
    if before:
        return max(before)
    return min((event.storage_id for event in newest), default=1) - 1


def failed_runs(instance: DagsterInstance, own: Own, cursor: int, *, latest: float, limit: int) -> FoundRuns:
    """Our runs that failed after `cursor`, each once.

    Left out are an attempt that is followed by another, a run that failed as the last one of the same kind and day did,
    and one whose checks failed with what stopped it, which is told of the checks.

    Args:
        instance: Dagster's instance.
        own: which runs are ours.
        cursor: the event to begin after.
        latest: events of a later time wait, in seconds since 1970.
        limit: how many events are looked at.
    """
    events = list(
        takewhile(
            lambda event: event.timestamp <= latest,
            instance.fetch_run_status_changes(
                RunStatusChangeRecordsFilter(event_type=DagsterEventType.RUN_FAILURE, after_storage_id=cursor),
                limit=limit,
                ascending=True,
            ).records,
        )
    )
    run_ids = [event.run_id for event in events]
    runs = {run.run_id: run for run in instance.get_runs(RunsFilter(run_ids=run_ids))} if run_ids else {}
    lines = [line for event in events if (line := _line(instance, own, event, runs.get(event.run_id))) is not None]
    return FoundRuns(tuple(lines), max([cursor, *(event.storage_id for event in events)]))


def _line(instance: DagsterInstance, own: Own, event: EventLogRecord, run: DagsterRun | None) -> str | None:
    if run is None or not own.has(run) or run.tags.get(_WILL_RETRY_TAG) == "true":
        return None
    reasons = reasons_of_run(instance, run, event.event_log_entry.dagster_event)
    if _told_of_checks(instance, own, run, reasons) or _failed_before(instance, own, run, reasons):
        return None
    # A backfill runs a job without a name of its own: then the assets say what it was.
    assets = ", ".join(sorted(key.to_user_string() for key in run.asset_selection or ()))
    name = assets if assets and is_reserved_asset_job_name(run.job_name) else run.job_name
    partition = run.tags.get(_PARTITION_TAG)
    name = f"{name} of {partition}" if partition else name
    return f"{name} (run {run.run_id}): {'; '.join(reasons)}"


def reasons_of_run(instance: DagsterInstance, run: DagsterRun, failure: DagsterEvent | None = None) -> list[str]:
    """Why a run failed, a line for each step; one that failed in none was marked by somebody, in whose words."""
    reasons = reasons_of_failure(_events(instance, run, DagsterEventType.STEP_FAILURE))
    if reasons:
        return reasons
    if failure is None:
        failure = next(iter(_events(instance, run, DagsterEventType.RUN_FAILURE)), None)
    return [plain(failure.message) if failure is not None and failure.message else "failed"]


def _events(instance: DagsterInstance, run: DagsterRun, kind: DagsterEventType) -> list[DagsterEvent]:
    records = instance.get_records_for_run(run.run_id, of_type=kind).records
    return [event for record in records if (event := record.event_log_entry.dagster_event) is not None]


def _told_of_checks(instance: DagsterInstance, own: Own, run: DagsterRun, reasons: Sequence[str]) -> bool:
    steps = {event.step_key for event in _events(instance, run, DagsterEventType.STEP_FAILURE)}
    found = {
        event.step_key
        for event in _events(instance, run, DagsterEventType.ASSET_CHECK_EVALUATION)
        if _is_error(event.asset_check_evaluation_data)
    }
    if steps and steps <= found:
        return True
    known = list(_known_of_day(instance, own, run.tags.get(_PARTITION_TAG)))
    return bool(known) and all(any(problem in reason for problem in known) for reason in reasons)


def _is_error(evaluation: AssetCheckEvaluation) -> bool:
    return not evaluation.passed and evaluation.severity is AssetCheckSeverity.ERROR


def _known_of_day(instance: DagsterInstance, own: Own, partition: str | None) -> Iterator[str]:
    """What the checks of a day say is wrong with it now."""
    if partition is None:
        return
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key(
        own.checks, partition_filter=PartitionKeyFilter(key=partition)
    )
    for record in latest.values():
        if record.status is AssetCheckExecutionRecordStatus.FAILED and record.evaluation is not None:
            yield plain(record.evaluation.description)


def _failed_before(instance: DagsterInstance, own: Own, run: DagsterRun, reasons: Sequence[str]) -> bool:
    """Whether the last of our runs that did the same, for the same day, failed for the same reasons."""
    [this] = instance.get_run_records(RunsFilter(run_ids=[run.run_id]))
    partition = run.tags.get(_PARTITION_TAG)
    before = instance.get_run_records(
        RunsFilter(
            job_name=run.job_name,
            statuses=[DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE],
            tags={} if partition is None else {_PARTITION_TAG: partition},
            created_before=this.create_timestamp,
        ),
        limit=_RUNS_BEFORE,
    )
    kind = _kind(run)
    for record in before:
        other = record.dagster_run
        if _kind(other) == kind and own.has(other) and other.tags.get(_WILL_RETRY_TAG) != "true":
            return other.status is DagsterRunStatus.FAILURE and reasons_of_run(instance, other) == list(reasons)
    return False


def _kind(run: DagsterRun) -> tuple[object, ...]:
    """What a run was to do. One that the daemon did not start names no assets; its snapshot says what it executes."""
    return run.tags.get(_PARTITION_TAG), run.asset_selection or run.job_snapshot_id
