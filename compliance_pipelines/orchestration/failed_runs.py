"""Runs that failed, as a person is told of them: once for each cause.

Here: walking the events of failed runs, and what makes a failure no news. Not here: when, and to whom (alerting.py).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
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
from pydantic import TypeAdapter

from compliance_pipelines.orchestration.checks import problem_of
from compliance_pipelines.orchestration.cursors import read_cursor
from compliance_pipelines.orchestration.failures import reasons_of_failure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dagster import DagsterEvent, DagsterInstance, DagsterRun, EventLogRecord

    from compliance_pipelines.orchestration.own import Own

_WILL_RETRY_TAG: Final = "dagster/will_retry"
_PARTITION_TAG: Final = "dagster/partition"
# How many finished runs, of the same day where there is one, are looked at for one that did the same.
_RUNS_BEFORE: Final = 100


@dataclass(frozen=True)
class FoundRuns:
    """What a walk found: lines for the alert, and where to go on."""

    lines: tuple[str, ...]
    position: Position


def plain(text: str | None) -> str:
    """A text on one line, as reasons of failures are."""
    return " ".join((text or "").split())


@dataclass(frozen=True)
class Position:
    """How far a sensor has come.

    Attributes:
        since: when it was started, in seconds since 1970; what failed before is history, and told nobody anything.
        after: the event to begin after.
    """

    since: float = 0.0
    after: int = 0

    @classmethod
    def of_cursor(cls, cursor: str) -> Position:
        """The position that a cursor keeps.

        Raises:
            CursorError: it keeps none.
        """
        # Earlier versions kept the event alone.
        kept = read_cursor(_CURSORS, cursor)
        return cls(after=kept) if isinstance(kept, int) else kept

    @classmethod
    def at_start(cls, instance: DagsterInstance, started: float, limit: int) -> Position:
        """After the last failure from before a start, as far as it is among the latest `limit`."""
        newest = instance.fetch_run_status_changes(DagsterEventType.RUN_FAILURE, limit=limit).records
        before = [event.storage_id for event in newest if event.timestamp < started]
        first = min((event.storage_id for event in newest), default=1)
        return cls(started, max(before, default=first - 1))

    def to_cursor(self) -> str:
        """The cursor that keeps it."""
        return json.dumps(asdict(self))


_CURSORS: Final[TypeAdapter[Position | int]] = TypeAdapter(Position | int)


def failed_runs(instance: DagsterInstance, own: Own, position: Position, *, latest: float, limit: int) -> FoundRuns:
    """Our runs that failed after `position`, each once.

    Left out are an attempt that is followed by another, a run that failed as the last one of the same kind and day did,
    and one whose checks failed with what stopped it, which is told of the checks.

    Args:
        instance: Dagster's instance.
        own: which runs are ours.
        position: where to begin.
        latest: events of a later time wait, in seconds since 1970.
        limit: how many events are looked at.
    """
    events = list(
        takewhile(
            lambda event: event.timestamp <= latest,
            instance.fetch_run_status_changes(
                RunStatusChangeRecordsFilter(event_type=DagsterEventType.RUN_FAILURE, after_storage_id=position.after),
                limit=limit,
                ascending=True,
            ).records,
        )
    )
    run_ids = [event.run_id for event in events]
    runs = {run.run_id: run for run in instance.get_runs(RunsFilter(run_ids=run_ids))} if run_ids else {}
    lines = [line for event in events if (line := _line(instance, own, event, runs.get(event.run_id), position.since))]
    last = max([position.after, *(event.storage_id for event in events)])
    return FoundRuns(tuple(lines), replace(position, after=last))


def _line(
    instance: DagsterInstance, own: Own, event: EventLogRecord, run: DagsterRun | None, since: float
) -> str | None:
    if run is None or not own.has(run) or run.tags.get(_WILL_RETRY_TAG) == "true":
        return None
    failed = _failed_steps(instance, run)
    steps = _own(instance, own, run, failed)
    if failed and not steps:
        return None
    reasons = reasons_of_failure(steps) or [_reason_of_run(event.event_log_entry.dagster_event)]
    if _told_of_checks(instance, own, run, steps, reasons) or _failed_before(instance, own, run, steps, reasons, since):
        return None
    # A backfill runs a job without a name of its own: then the assets say what it was.
    assets = ", ".join(sorted(key.to_user_string() for key in run.asset_selection or ()))
    name = assets if assets and is_reserved_asset_job_name(run.job_name) else run.job_name
    partition = run.tags.get(_PARTITION_TAG)
    name = f"{name} of {partition}" if partition else name
    return f"{name} (run {run.run_id}): {'; '.join(reasons)}"


def reasons_of_run(instance: DagsterInstance, own: Own, run: DagsterRun) -> list[str]:
    """Why a run failed, a line for each of our steps; one that failed in no step was marked, in its marker's words."""
    if failed := _failed_steps(instance, run):
        return reasons_of_failure(_own(instance, own, run, failed))
    return [_reason_of_run(next(iter(_events(instance, run, DagsterEventType.RUN_FAILURE)), None))]


def _reason_of_run(failure: DagsterEvent | None) -> str:
    return plain(failure.message) if failure is not None and failure.message else "failed"


def _events(instance: DagsterInstance, run: DagsterRun, kind: DagsterEventType) -> list[DagsterEvent]:
    records = instance.get_records_for_run(run.run_id, of_type=kind).records
    return [event for record in records if (event := record.event_log_entry.dagster_event) is not None]


def _failed_steps(instance: DagsterInstance, run: DagsterRun) -> list[DagsterEvent]:
    return _events(instance, run, DagsterEventType.STEP_FAILURE)


def _own(instance: DagsterInstance, own: Own, run: DagsterRun, failed: list[DagsterEvent]) -> list[DagsterEvent]:
    """The failures of our steps: a run of Dagster's own job may have steps of anybody's assets."""
    if not failed or not is_reserved_asset_job_name(run.job_name):
        return failed
    assets = _events(instance, run, DagsterEventType.ASSET_MATERIALIZATION_PLANNED)
    checks = _events(instance, run, DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED)
    ours = {event.step_key for event in assets if event.asset_key is not None and own.has_asset(event.asset_key)}
    ours |= {event.step_key for event in checks if own.has_asset(event.asset_check_planned_data.asset_key)}
    return [event for event in failed if event.step_key in ours]


def _told_of_checks(
    instance: DagsterInstance, own: Own, run: DagsterRun, failed: Sequence[DagsterEvent], reasons: Sequence[str]
) -> bool:
    steps = {event.step_key for event in failed}
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
        evaluation = record.evaluation
        if record.status is not AssetCheckExecutionRecordStatus.FAILED or evaluation is None:
            continue
        # A check without words says nothing; an empty text would be found in every reason.
        if problem := plain(problem_of(evaluation)):
            yield problem


def _failed_before(  # noqa: PLR0913, PLR0917 - which run, and what is known of it
    instance: DagsterInstance,
    own: Own,
    run: DagsterRun,
    failed: Sequence[DagsterEvent],
    reasons: Sequence[str],
    since: float,
) -> bool:
    """Whether the last of our runs that did the same, by whatever job, failed for the same reasons."""
    this = next(iter(instance.get_run_records(RunsFilter(run_ids=[run.run_id]))), None)
    if this is None:
        return False
    steps = {event.step_key for event in failed}
    partition = run.tags.get(_PARTITION_TAG)
    before = instance.get_run_records(
        RunsFilter(
            statuses=[DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE],
            tags={} if partition is None else {_PARTITION_TAG: partition},
            created_before=this.create_timestamp,
        ),
        limit=_RUNS_BEFORE,
    )
    for record in before:
        other = record.dagster_run
        if (
            own.has(other)
            and other.tags.get(_PARTITION_TAG) == partition
            and other.tags.get(_WILL_RETRY_TAG) != "true"
            and (steps & _started_steps(instance, other) if steps else _selection(other) == _selection(run))
        ):
            ended_badly = other.status is DagsterRunStatus.FAILURE and (record.end_time or 0.0) >= since
            return ended_badly and set(reasons) <= set(reasons_of_run(instance, own, other))
    return False


def _started_steps(instance: DagsterInstance, run: DagsterRun) -> set[str | None]:
    return {event.step_key for event in _events(instance, run, DagsterEventType.STEP_START)}


def _selection(run: DagsterRun) -> tuple[object, ...]:
    """What a run was to do. One that the daemon did not start names no assets; its snapshot says what it executes."""
    return run.job_name, run.asset_selection or run.job_snapshot_id
