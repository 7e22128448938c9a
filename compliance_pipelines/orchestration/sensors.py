"""Dagster concept: sensors. What is looked at every minute.

Here: sealing, going on with a long backlog, showing what was done without Dagster. The sensors that alert are in
alerting.py. Not here: what sealing is.
"""

# No postponed annotations: Dagster reads them to know the resources.

import json
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Final

from dagster import (
    AssetCheckEvaluation,
    AssetCheckKey,
    AssetMaterialization,
    AssetSelection,
    DagsterInstance,
    DefaultSensorStatus,
    ResourceParam,
    RunRequest,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.ledger.sealing import SealResult, seal
from compliance_pipelines.orchestration.assets.erasure import ERASURE
from compliance_pipelines.orchestration.assets.ledger import checkpoint_materialization
from compliance_pipelines.orchestration.backlog import has_asked_today, is_working, wanted_runs
from compliance_pipelines.orchestration.checks import Verdict, sealing_lag_verdict, sealing_verdict
from compliance_pipelines.orchestration.erasures import gdpr_erasure
from compliance_pipelines.orchestration.failures import is_passing
from compliance_pipelines.orchestration.jobs import daily_retention
from compliance_pipelines.orchestration.keys import (
    CHECKPOINT,
    COLD_ARCHIVE,
    HOT_PARTITION,
    HOT_PURGE,
    SEALING,
    SEALING_LAG,
)
from compliance_pipelines.orchestration.names import Names
from compliance_pipelines.orchestration.purged_sets import CONVERSATION_SETS, SESSION_SETS, unknown_sets
from compliance_pipelines.orchestration.records import unknown_days, unknown_erasures
from compliance_pipelines.services import Services

_FAILED: Final = AssetCheckExecutionRecordStatus.FAILED
_PASSED: Final = AssetCheckExecutionRecordStatus.SUCCEEDED


@dataclass(frozen=True)
class _Reported:
    """What the last evaluations said, kept in the cursor: an evaluation is recorded when the answer changes.

    Attributes:
        problem: why sealing stopped; empty while it goes on.
        late: whether the lag was too large.
    """

    problem: str = ""
    late: bool = False

    @classmethod
    def of_cursor(cls, cursor: str | None) -> "_Reported":
        return cls(**json.loads(cursor)) if cursor else cls()

    def to_cursor(self) -> str:
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class _Pass:
    """One pass: what it sealed, or why it did not."""

    sealed: SealResult = field(default_factory=SealResult)
    put_off: str = ""
    error: ComplianceError | None = None

    @property
    def problem(self) -> str:
        return "" if self.error is None else str(self.error)

    @property
    def told(self) -> bool:
        """Whether it found out if sealing goes on."""
        return not self.put_off and not self.sealed.busy

    @property
    def note(self) -> str:
        """What the page of the sensor says of the tick, which starts no run."""
        if self.sealed.checkpoint is not None:
            return f"Sealed: {self.sealed.entries:,} entries in {len(self.sealed.segments):,} segments."
        return (
            self.put_off
            or self.problem
            or (f"Another process is sealing{self.sealed.busy_with}." if self.sealed.busy else "Nothing to seal.")
        )


def _seal_once(services: Services) -> _Pass:
    try:
        return _Pass(sealed=seal(services))
    except ComplianceError as error:
        if is_passing(error):
            return _Pass(put_off=f"Put off until the next tick: {error}")
        return _Pass(error=error)


@sensor(
    name="sealing",
    # It requests no run; with this the asset's page names the sensor.
    asset_selection=AssetSelection.assets(CHECKPOINT).without_checks(),
    minimum_interval_seconds=60,
    default_status=DefaultSensorStatus.RUNNING,
    description="Seals what was appended since the last pass, in the sensor itself: a run would take longer than the "
    "work. The checks `sealing` and `sealing_lag` fail once when it stops or falls behind; whoever found them failing, "
    "they pass once when it goes on. While it is stopped, every further tick fails.",
)
def sealing_sensor(
    context: SensorEvaluationContext,
    compliance_services: ResourceParam[Services],
    compliance_names: ResourceParam[Names],
) -> SensorResult:
    """One pass of at most LEDGER_SEAL_MAX_ENTRIES.

    A pass that fails for a passing reason, or finds its entries held back by a transaction that does not end, is no
    news; that the lag grows beyond LEDGER_SEAL_MAX_LAG_SECONDS is.
    """
    done = _seal_once(compliance_services)
    lag = sealing_lag_verdict(compliance_services).named(compliance_names)
    before = _Reported.of_cursor(context.cursor)
    now = _Reported(problem=done.problem if done.told else before.problem, late=lag.problem is not None)
    sealing, in_time = compliance_names.check(SEALING), compliance_names.check(SEALING_LAG)
    events: list[AssetMaterialization | AssetCheckEvaluation] = []
    if done.sealed.checkpoint is not None:
        events.append(checkpoint_materialization(compliance_services, done.sealed, compliance_names.asset(CHECKPOINT)))
    shown = _shown(context.instance, sealing)
    if done.problem and (now.problem != before.problem or shown is _PASSED):
        events.append(Verdict(now.problem, "").evaluation(sealing))
    elif done.told and not done.problem and (before.problem or shown is _FAILED):
        found = _going_on(compliance_services)
        if found is None:
            now = replace(now, problem=before.problem)
        elif before.problem or found.problem is None or events:
            # A failure that lasts is said again after a checkpoint, with which Dagster takes it for history.
            events.append(found.named(compliance_names).evaluation(sealing))
    if (
        now.late != before.late
        or _shown(context.instance, in_time) is (_PASSED if now.late else _FAILED)
        or (now.late and done.sealed.checkpoint is not None)
    ):
        events.append(lag.evaluation(in_time))
    if done.error is not None and not events:
        raise done.error
    return SensorResult(skip_reason=done.note, asset_events=events, cursor=now.to_cursor())


def _shown(instance: DagsterInstance, key: AssetCheckKey) -> AssetCheckExecutionRecordStatus | None:
    """What the last evaluation said, whoever made it: a cursor knows only what the sensor itself has found."""
    latest = instance.event_log_storage.get_asset_check_execution_history(key, 1, status={_FAILED, _PASSED})
    return latest[0].status if latest else None


def _going_on(services: Services) -> Verdict | None:
    """That sealing goes on, or what else fails its check, such as a quarantine; None where it cannot be told now."""
    try:
        found = sealing_verdict(services)
    except Exception as error:
        if is_passing(error):
            return None
        raise
    return replace(found, summary="Sealing goes on.")


@sensor(
    name="catch_up",
    job=daily_retention,
    minimum_interval_seconds=120,
    default_status=DefaultSensorStatus.RUNNING,
    description="Goes on where the daily schedule stopped at its cap: when its runs are done and days are still due, "
    "requests the next ones, oldest first, until nothing is left.",
)
def catch_up_sensor(
    context: SensorEvaluationContext,
    compliance_services: ResourceParam[Services],
    compliance_names: ResourceParam[Names],
) -> list[RunRequest] | SkipReason:
    """Begin nothing by itself, so that days which fall due at midnight wait for the schedule's hour."""
    if not has_asked_today(compliance_services, context.instance, compliance_names):
        return SkipReason("The daily schedule has not requested any run today.")
    if is_working(context.instance, compliance_names):
        return SkipReason("Runs of the retention job are under way.")
    return wanted_runs(compliance_services, context.instance, compliance_names) or SkipReason(
        "Nothing is left for today."
    )


@dataclass(frozen=True)
class _Compared:
    """How far the records were compared with Dagster's events, kept in the cursor.

    Attributes:
        day: the last day that was compared; None begins anew.
        closed: up to which moment all erasures are known, ISO 8601.
        sets: the last day whose sets were compared, by the path of their asset; one that is missing begins anew.
    """

    day: str | None = None
    closed: str = "1970-01-01T00:00:00+00:00"
    sets: dict[str, str] = field(default_factory=dict)


_SETS: Final = (CONVERSATION_SETS, SESSION_SETS)


@sensor(
    name="records",
    asset_selection=AssetSelection.assets(
        HOT_PARTITION, COLD_ARCHIVE, HOT_PURGE, ERASURE, *(kind.asset for kind in _SETS)
    ).without_checks(),
    minimum_interval_seconds=60,
    default_status=DefaultSensorStatus.RUNNING,
    description="Compares what is recorded of days, erasures and purged sets with what these pages show, and reports "
    "what was archived, purged or erased without Dagster, by `compliance archive`, `purge`, `erase run`, "
    "`conversations purge` or `sessions purge`, and entries that came to a day after it was archived. Goes around all "
    "days, some at each tick; what happened while it was off is found when it is on.",
)
def records_sensor(
    context: SensorEvaluationContext,
    compliance_services: ResourceParam[Services],
    compliance_names: ResourceParam[Names],
) -> SensorResult | SkipReason:
    """Leave alone what runs are working on: they report for themselves when they are done."""
    instance = context.instance
    if is_working(instance, compliance_names):
        return SkipReason("Runs of the retention job are under way.")
    done = _Compared(**json.loads(context.cursor)) if context.cursor else _Compared()
    days = unknown_days(compliance_services, instance, done.day, compliance_names.asset)
    events, closed = [*days.events], done.closed
    if not is_working(instance, compliance_names, gdpr_erasure.name):
        since = datetime.fromisoformat(closed)
        erasures = unknown_erasures(compliance_services, instance, since, compliance_names.asset)
        events += erasures.events
        closed = erasures.until.isoformat()
    sets = dict(done.sets)
    for kind in _SETS:
        if is_working(instance, compliance_names, kind.job):
            continue
        place = kind.asset.to_user_string()
        unknown = unknown_sets(kind, compliance_services, instance, sets.pop(place, None), compliance_names.asset)
        events += unknown.events
        if unknown.after is not None:
            sets[place] = unknown.after
    return SensorResult(
        skip_reason=f"{len(events)} events reported." if events else "Everything compared is known.",
        asset_events=events,
        cursor=json.dumps(asdict(_Compared(days.after, closed, sets))),
    )


SENSORS: Final = (sealing_sensor, catch_up_sensor, records_sensor)
