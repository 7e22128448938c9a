"""Dagster concepts: check, jobs, schedule and sensor of erasures.

Here: when runs for erasures are started, and who is told of a deadline. Not here: the asset (assets/erasure.py), and
what an erasure is.
"""

# No postponed annotations: Dagster compares them with its classes.

import hashlib
from typing import Final

from dagster import (
    AssetCheckKey,
    AssetCheckResult,
    AssetCheckSeverity,
    AssetSelection,
    DagsterRunStatus,
    DefaultScheduleStatus,
    DefaultSensorStatus,
    ResourceParam,
    RunRequest,
    RunsFilter,
    ScheduleDefinition,
    SensorEvaluationContext,
    SkipReason,
    asset_check,
    define_asset_job,
    sensor,
)

from compliance_pipelines.base.health import HealthCheck
from compliance_pipelines.erasure.configured import configured_targets
from compliance_pipelines.erasure.deadline import days_left
from compliance_pipelines.erasure.health import check_places
from compliance_pipelines.erasure.record import due_cases, open_cases
from compliance_pipelines.orchestration.assets.erasure import ERASURE, table_of
from compliance_pipelines.orchestration.checks import Verdict
from compliance_pipelines.orchestration.failures import RETRIES, domain_errors
from compliance_pipelines.orchestration.keys import DATABASE_POOL
from compliance_pipelines.orchestration.names import Names
from compliance_pipelines.services import Services
from compliance_pipelines.sessions.health import check_session_retention

DEADLINES: Final = AssetCheckKey(ERASURE, "deadlines")
PLACES_IN_ORDER: Final = AssetCheckKey(ERASURE, "places_in_order")

_WARNING_DAYS: Final = 7
_UNDER_WAY: Final = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


@asset_check(asset=ERASURE, name=DEADLINES.name, retry_policy=RETRIES, pool=DATABASE_POOL)
def deadlines(compliance_services: ResourceParam[Services]) -> AssetCheckResult:
    """Every open request can still be answered in time: a warning from 7 days before its deadline, a failure after it.

    An extended deadline counts where there was an extension; a request that was withdrawn or refused has none. One that
    a legal hold stops has its deadline too: the person must be told within it why nothing is erased (GDPR Article
    12(4)).
    """
    with domain_errors():
        return _verdict(compliance_services).result()


def _verdict(services: Services) -> Verdict:
    now = services.clock()
    with services.engine.connect() as connection:
        cases = open_cases(connection)
    if not cases:
        return Verdict(None, "No request is open.", {"open requests": 0})
    left = {case.request.id: days_left(case.deadline, now) for case in cases}
    late = [number for number, days in left.items() if days < 0]
    near = [number for number, days in left.items() if 0 <= days <= _WARNING_DAYS]
    problems = []
    if late:
        problems.append(f"the deadline of erasure requests {', '.join(map(str, late))} has passed")
    if near:
        problems.append(f"erasure requests {', '.join(map(str, near))} are due within {_WARNING_DAYS} days")
    return Verdict(
        problem="; ".join(problems) or None,
        summary=f"{len(cases)} requests are open; the nearest deadline is in {min(left.values())} days.",
        metadata={
            "open requests": len(cases),
            "late requests": len(late),
            "days to the nearest deadline": min(left.values()),
            "requests": table_of(cases),
        },
        severity=AssetCheckSeverity.ERROR if late else AssetCheckSeverity.WARN,
    )


@asset_check(asset=ERASURE, name=PLACES_IN_ORDER.name, retry_policy=RETRIES, pool=DATABASE_POOL)
def places_in_order(compliance_services: ResourceParam[Services]) -> AssetCheckResult:
    """Every Redis and every table that retention and erasure work on can be looked at and cleared: rights, row filters.

    What only makes a loss possible, such as a Redis without an append-only file, is a warning.
    """
    with domain_errors():
        checks = check_places(compliance_services, configured_targets(compliance_services.settings))
        checks += check_session_retention(compliance_services)
    return _places_verdict(checks).result()


def _places_verdict(checks: list[HealthCheck]) -> Verdict:
    failing = [check for check in checks if not check.ok]
    return Verdict(
        problem="; ".join(f"{check.name}: {check.message}; remedy: {check.remedy}" for check in failing) or None,
        summary=f"{len(checks)} answers, all in order." if checks else "The settings name no Redis and no table.",
        metadata={"answers": len(checks), "not in order": len(failing)},
        severity=AssetCheckSeverity.ERROR if any(check.fails for check in checks) else AssetCheckSeverity.WARN,
    )


gdpr_erasure = define_asset_job(
    "gdpr_erasure",
    selection=AssetSelection.assets(ERASURE).without_checks() | AssetSelection.checks(DEADLINES),
    description="Carries out the erasure requests that are due, and looks at the deadlines of those that stay open.",
)

gdpr_deadlines = define_asset_job(
    "gdpr_deadlines",
    selection=AssetSelection.checks(DEADLINES, PLACES_IN_ORDER),
    description="Looks at the deadlines of open requests, and at the places that retention and erasure work on.",
)

gdpr_deadlines_schedule = ScheduleDefinition(
    name="gdpr_deadlines",
    job=gdpr_deadlines,
    cron_schedule="15 6 * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Once a day, also when no request is tried.",
)


@sensor(
    name="gdpr_erasure",
    job=gdpr_erasure,
    minimum_interval_seconds=60,
    default_status=DefaultSensorStatus.RUNNING,
    description="Starts a run when an erasure request is open and due for an attempt: at once when it is new, after a "
    "pause that doubles when an attempt could not finish.",
)
def gdpr_erasure_sensor(
    context: SensorEvaluationContext,
    compliance_services: ResourceParam[Services],
    compliance_names: ResourceParam[Names],
) -> RunRequest | SkipReason:
    """One run for all that is due. The key holds the hour: a run that dies before its attempt is repeated hourly."""
    now = compliance_services.clock()
    with compliance_services.engine.connect() as connection:
        due = due_cases(connection, now)
    if not due:
        return SkipReason("No erasure request is due.")
    under_way = RunsFilter(job_name=compliance_names.name(gdpr_erasure.name), statuses=_UNDER_WAY)
    if context.instance.get_run_ids(under_way, limit=1):
        return SkipReason("A run for erasures is under way.")
    what = ",".join(f"{case.request.id}.{len(case.events)}" for case in due)
    digest = hashlib.sha256(what.encode()).hexdigest()[:16]
    return RunRequest(run_key=f"{digest}:{now:%Y-%m-%dT%H}")


CHECKS: Final = (deadlines, places_in_order)
JOBS: Final = (gdpr_erasure, gdpr_deadlines)
SCHEDULES: Final = (gdpr_deadlines_schedule,)
SENSORS: Final = (gdpr_erasure_sensor,)
