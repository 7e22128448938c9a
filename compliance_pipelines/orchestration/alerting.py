"""Dagster concept: sensors. What a person should hear of: failed runs and failed checks.

Here: when it is looked for, and the words of a message. Not here: what is news (failed_runs.py, failed_checks.py),
which of it is ours (own.py), where alerts go (alerts.py).

A cursor moves only when the sink has taken the message: a message that is not accepted is sent again at the next tick,
and one that was accepted right before a crash may come twice. Twice is better than never.
"""

# No postponed annotations: Dagster reads them to know the resources.

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from dagster import DefaultSensorStatus, ResourceParam, SensorEvaluationContext, SkipReason, sensor

from compliance_pipelines.base.clock import system_clock
from compliance_pipelines.base.counting import counted
from compliance_pipelines.orchestration.alerts import Alert, AlertSink
from compliance_pipelines.orchestration.failed_checks import failed_checks
from compliance_pipelines.orchestration.failed_runs import Position, failed_runs
from compliance_pipelines.orchestration.names import Names
from compliance_pipelines.orchestration.own import Own

# A backlog of events is walked in steps; a message names some and counts the rest.
EVENTS_PER_TICK: Final = 200
LINES_PER_ALERT: Final = 20
# Events are numbered when they are written and seen when they are committed: one with a lower number may appear a
# moment later. What is younger than that waits for the next tick, so that the cursor passes nothing by.
SETTLING_TIME: Final = timedelta(seconds=5)
_LINE_LENGTH: Final = 500


def _alert(title: str, lines: Sequence[str]) -> Alert:
    shown = [line if len(line) <= _LINE_LENGTH else f"{line[:_LINE_LENGTH]}..." for line in lines[:LINES_PER_ALERT]]
    if len(lines) > LINES_PER_ALERT:
        shown.append(f"and {len(lines) - LINES_PER_ALERT} more, which Dagster's pages show")
    return Alert(title=title, lines=tuple(shown))


def _report(context: SensorEvaluationContext, sink: AlertSink, title: str, lines: Sequence[str]) -> SkipReason:
    if not lines:
        return SkipReason("Nothing to report.")
    alert = _alert(title, lines)
    # On the page of the tick, where a person looks who was alerted; the sink may lead anywhere.
    context.log.error(alert.text())
    sink.send(alert)
    return SkipReason(f"{title} reported.")


def _latest() -> float:
    return (system_clock() - SETTLING_TIME).timestamp()


def _started(context: SensorEvaluationContext) -> float:
    return context.last_sensor_start_time or system_clock().timestamp()


@sensor(
    name="failed_runs",
    minimum_interval_seconds=60,
    default_status=DefaultSensorStatus.RUNNING,
    description="Alerts about runs of this project that failed and are not retried, from the sensor's first start on; "
    "what failed while it was off is told when it is on again. What failed checks say is not said again.",
)
def failed_runs_sensor(
    context: SensorEvaluationContext,
    compliance_alerts: ResourceParam[AlertSink],
    compliance_names: ResourceParam[Names],
) -> SkipReason:
    """One message for all runs that failed since the last one."""
    instance = context.instance
    if context.cursor:
        position = Position.of_cursor(context.cursor)
    else:
        position = Position.at_start(instance, _started(context), EVENTS_PER_TICK)
    found = failed_runs(instance, Own.of(context, compliance_names), position, latest=_latest(), limit=EVENTS_PER_TICK)
    reported = _report(context, compliance_alerts, counted(len(found.lines), "failed run"), found.lines)
    context.update_cursor(found.position.to_cursor())
    return reported


@sensor(
    name="failed_checks",
    minimum_interval_seconds=60,
    default_status=DefaultSensorStatus.RUNNING,
    description="Alerts about asset checks of this project that failed, once for each finding until the check has "
    "passed, from the sensor's first start on; what failed while it was off is told when it is on again. One that does "
    "not block leaves its run green.",
)
def failed_checks_sensor(
    context: SensorEvaluationContext,
    compliance_alerts: ResourceParam[AlertSink],
    compliance_names: ResourceParam[Names],
) -> SkipReason:
    """One message for all checks that failed since the last one."""
    found = failed_checks(
        context.instance,
        Own.of(context, compliance_names),
        context.cursor,
        started=_started(context),
        latest=_latest(),
        limit=EVENTS_PER_TICK,
    )
    reported = _report(context, compliance_alerts, counted(found.count, "failed check"), found.lines)
    context.update_cursor(found.cursor)
    return reported


ALERT_SENSORS: Final = (failed_runs_sensor, failed_checks_sensor)
