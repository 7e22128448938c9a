"""Dagster concept: sensors. What a person should hear of: failed runs and failed checks.

Here: walking Dagster's event log with a cursor, and the words. Not here: where alerts go (alerts.py).

A cursor moves only when the sink has taken the message: a message that is not accepted is sent again at the next tick,
and one that was accepted right before a crash may come twice. Twice is better than never.
"""

# No postponed annotations: Dagster reads them to know the resources.

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Final, cast

from dagster import (
    AssetCheckEvaluation,
    DagsterEvent,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DefaultSensorStatus,
    EventLogRecord,
    EventRecordsFilter,
    ResourceParam,
    RunsFilter,
    RunStatusChangeRecordsFilter,
    SensorEvaluationContext,
    SkipReason,
    sensor,
)
from dagster._core.definitions.assets.job.asset_job import is_reserved_asset_job_name
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage

from compliance_pipelines.base.clock import system_clock
from compliance_pipelines.orchestration.alerts import Alert, AlertSink
from compliance_pipelines.orchestration.failures import reasons_of_failure

# A backlog of events is walked in steps; a message names some and counts the rest.
EVENTS_PER_TICK: Final = 200
LINES_PER_ALERT: Final = 20
# Events are numbered when they are written and seen when they are committed: one with a lower number may appear a
# moment later. What is younger than that waits for the next tick, so that the cursor passes nothing by.
SETTLING_TIME: Final = timedelta(seconds=5)
_LINE_LENGTH: Final = 500
_WILL_RETRY_TAG: Final = "dagster/will_retry"


@dataclass(frozen=True)
class Found:
    """What a walk found: lines for the alert, and where to go on."""

    lines: tuple[str, ...]
    cursor: int


def _alert(title: str, lines: Sequence[str]) -> Alert:
    shown = [line if len(line) <= _LINE_LENGTH else f"{line[:_LINE_LENGTH]}..." for line in lines[:LINES_PER_ALERT]]
    if len(lines) > LINES_PER_ALERT:
        shown.append(f"and {len(lines) - LINES_PER_ALERT} more, which Dagster's pages show")
    return Alert(title=title, lines=tuple(shown))


def _report(context: SensorEvaluationContext, found: Found, what: str, sink: AlertSink) -> SkipReason:
    count = len(found.lines)
    if count:
        sink.send(_alert(f"{count} {what}" if count == 1 else f"{count} {what}s", found.lines))
    context.update_cursor(str(found.cursor))
    return SkipReason(f"{count} reported." if count else "Nothing to report.")


def _cursor(context: SensorEvaluationContext) -> int:
    # Without a cursor the walk begins with the first event there is: an old failure is reported, none is missed.
    return int(context.cursor) if context.cursor else 0


def _settled(records: Sequence[EventLogRecord], now: datetime) -> list[EventLogRecord]:
    latest = (now - SETTLING_TIME).astimezone(UTC).timestamp()
    return list(takewhile(lambda record: record.timestamp <= latest, records))


def _run_line(instance: DagsterInstance, run: DagsterRun, failure: DagsterEvent | None) -> str:
    failures = instance.get_records_for_run(run.run_id, of_type=DagsterEventType.STEP_FAILURE).records
    events = [record.event_log_entry.dagster_event for record in failures]
    reasons = reasons_of_failure(event for event in events if event is not None)
    # A backfill runs a job without a name of its own: then the assets say what it was.
    assets = ", ".join(sorted(key.to_user_string() for key in run.asset_selection or ()))
    name = assets if assets and is_reserved_asset_job_name(run.job_name) else run.job_name
    partition = run.tags.get("dagster/partition")
    name = f"{name} of {partition}" if partition else name
    # A run that failed in no step was marked as failed by somebody: the daemon, or the next process.
    marked = failure.message if failure is not None else None
    return f"{name} (run {run.run_id}): {'; '.join(reasons) or marked or 'failed'}"


def failed_runs(instance: DagsterInstance, cursor: int, now: datetime) -> Found:
    """Runs that failed after `cursor`, each once: an attempt that is followed by another is left out."""
    events = _settled(
        instance.fetch_run_status_changes(
            RunStatusChangeRecordsFilter(event_type=DagsterEventType.RUN_FAILURE, after_storage_id=cursor),
            limit=EVENTS_PER_TICK,
            ascending=True,
        ).records,
        now,
    )
    run_ids = [event.run_id for event in events]
    runs = {run.run_id: run for run in instance.get_runs(RunsFilter(run_ids=run_ids))} if run_ids else {}
    lines = tuple(
        _run_line(instance, run, event.event_log_entry.dagster_event)
        for event in events
        if (run := runs.get(event.run_id)) is not None and run.tags.get(_WILL_RETRY_TAG) != "true"
    )
    return Found(lines, max([cursor, *(event.storage_id for event in events)]))


def _check_line(evaluation: AssetCheckEvaluation) -> str:
    partition = f" of {evaluation.partition}" if evaluation.partition else ""
    return (
        f"{evaluation.severity.value}: {evaluation.asset_key.to_user_string()}{partition}, check "
        f"{evaluation.check_name}: {evaluation.description or 'failed'}"
    )


def failed_checks(instance: DagsterInstance, cursor: int, now: datetime) -> Found:
    """Evaluations after `cursor` that failed, with or without a run."""
    # SQLite's own method looks into a file for each run, and knows no cursor; the one of all runs has them as well.
    records = _settled(
        SqlEventLogStorage.get_event_records(
            cast("SqlEventLogStorage", instance.event_log_storage),
            EventRecordsFilter(event_type=DagsterEventType.ASSET_CHECK_EVALUATION, after_cursor=cursor),
            limit=EVENTS_PER_TICK,
            ascending=True,
        ),
        now,
    )
    evaluations = [
        record.event_log_entry.dagster_event.asset_check_evaluation_data
        for record in records
        if record.event_log_entry.dagster_event is not None
    ]
    lines = tuple(_check_line(evaluation) for evaluation in evaluations if not evaluation.passed)
    return Found(lines, max([cursor, *(record.storage_id for record in records)]))


@sensor(
    name="failed_runs",
    minimum_interval_seconds=60,
    default_status=DefaultSensorStatus.RUNNING,
    description="Alerts about runs that failed and are not retried.",
)
def failed_runs_sensor(context: SensorEvaluationContext, compliance_alerts: ResourceParam[AlertSink]) -> SkipReason:
    """One message for all runs that failed since the last one."""
    found = failed_runs(context.instance, _cursor(context), system_clock())
    return _report(context, found, "failed run", compliance_alerts)


@sensor(
    name="failed_checks",
    minimum_interval_seconds=60,
    default_status=DefaultSensorStatus.RUNNING,
    description="Alerts about asset checks that failed. One that does not block leaves its run green.",
)
def failed_checks_sensor(context: SensorEvaluationContext, compliance_alerts: ResourceParam[AlertSink]) -> SkipReason:
    """One message for all checks that failed since the last one."""
    found = failed_checks(context.instance, _cursor(context), system_clock())
    return _report(context, found, "failed check", compliance_alerts)


ALERT_SENSORS: Final = (failed_runs_sensor, failed_checks_sensor)
