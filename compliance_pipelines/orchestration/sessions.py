"""Dagster concepts: check, jobs and schedules of the retention of sessions and memories.

Here: which days are wanted, when runs are started, and what is looked at. Not here: the assets (assets/sessions.py),
and what retention is.
"""

# No postponed annotations: Dagster compares them with its classes.

from datetime import UTC, date, datetime, time
from typing import Final

from dagster import (
    AssetCheckKey,
    AssetCheckResult,
    AssetSelection,
    DefaultScheduleStatus,
    ResourceParam,
    RunRequest,
    ScheduleEvaluationContext,
    SkipReason,
    asset_check,
    define_asset_job,
    schedule,
)

from compliance_pipelines.base.clock import utc_day
from compliance_pipelines.orchestration.assets.sessions import PURGED_KEYS, RETENTION_JOB
from compliance_pipelines.orchestration.checks import Verdict
from compliance_pipelines.orchestration.failures import RETRIES, domain_errors
from compliance_pipelines.orchestration.keys import DATABASE_POOL
from compliance_pipelines.orchestration.partitions import missed_days
from compliance_pipelines.services import Services
from compliance_pipelines.sessions import record
from compliance_pipelines.sessions.places import open_places
from compliance_pipelines.sessions.plan import SessionPlan
from compliance_pipelines.sessions.policy import anything_falls_due
from compliance_pipelines.sessions.purge import SessionRetention

NOTHING_IDLE_LEFT: Final = AssetCheckKey(PURGED_KEYS, "nothing_idle_left")

_NOTHING: Final = "No setting names a Redis with something that can fall due."


@asset_check(
    asset=NOTHING_IDLE_LEFT.asset_key,
    name=NOTHING_IDLE_LEFT.name,
    description="No session and no memory that was due when the day began is left, apart from those that are held or "
    "exempt, and of each it can be told.",
    retry_policy=RETRIES,
    pool=DATABASE_POOL,
)
def nothing_idle_left(compliance_services: ResourceParam[Services]) -> AssetCheckResult:
    """One look at every key; what cannot be told is a failure and no zero."""
    with domain_errors(), open_places(compliance_services.settings) as places:
        retention = SessionRetention(compliance_services, places)
        with compliance_services.engine.connect() as connection:
            # Nothing is overdue in the wrong Redis.
            retention.require_environment(connection)
        plan = retention.plan(now=datetime.combine(utc_day(compliance_services.clock()), time(), UTC))
    return _verdict(plan).result()


def _verdict(plan: SessionPlan) -> Verdict:
    late = plan.seconds_past_cutoff
    problems = []
    if plan.due:
        problems.append(f"{len(plan.due)} keys are past their time; run `compliance sessions plan`")
    if plan.undated:
        problems.append(f"of {len(plan.undated)} keys nothing says when they were used")
    if plan.counts.unreadable:
        problems.append(f"{plan.counts.unreadable} keys could not be read")
    return Verdict(
        "; ".join(problems) or None,
        "Nothing that was due when the day began is left.",
        {
            "seconds_past_cutoff": "unknown" if late is None else late,
            "keys due": len(plan.due),
            "undated": len(plan.undated),
            "unreadable": plan.counts.unreadable,
            "held": len(plan.held),
            "exempt": len(plan.exempt),
        },
    )


session_retention = define_asset_job(
    RETENTION_JOB,
    selection=AssetSelection.assets(PURGED_KEYS).without_checks() | AssetSelection.checks(NOTHING_IDLE_LEFT),
    description="Removes the sessions and memories that were due when a day began, then looks at what is left.",
)

session_health = define_asset_job(
    "session_health",
    selection=AssetSelection.checks(NOTHING_IDLE_LEFT),
    description="Looks at what is left, whether or not retention could do its work.",
)


def wanted_days(services: Services) -> list[date]:
    """The days whose sets are missing, oldest first: from the last that is recorded to today.

    After a long outage the latest ones, at most ARCHIVE_MAX_RUNS_PER_TICK: each day takes what the days before it left.
    """
    with services.engine.connect() as connection:
        last = record.last_day_done(connection)
    return missed_days(last, utc_day(services.clock()), most=services.settings.archive_max_runs_per_tick)


@schedule(
    name=RETENTION_JOB,
    job=session_retention,
    cron_schedule="20 3 * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Requests a run for today and for each day that was missed, oldest first.",
)
def session_retention_schedule(
    _context: ScheduleEvaluationContext, compliance_services: ResourceParam[Services]
) -> list[RunRequest] | SkipReason:
    """Ask the record, not the calendar: after an outage every day that was missed is requested."""
    if not anything_falls_due(compliance_services.settings):
        return SkipReason(_NOTHING)
    today = utc_day(compliance_services.clock())
    return [
        RunRequest(run_key=f"sessions:{day}:{today}", partition_key=day.isoformat())
        for day in wanted_days(compliance_services)
    ] or SkipReason("Today's set is recorded.")


@schedule(
    name="session_health",
    job=session_health,
    cron_schedule="40 6 * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="After retention had its time, so that what it left stands out.",
)
def session_health_schedule(
    _context: ScheduleEvaluationContext, compliance_services: ResourceParam[Services]
) -> RunRequest | SkipReason:
    """Once a day, where there are sessions."""
    return RunRequest() if anything_falls_due(compliance_services.settings) else SkipReason(_NOTHING)


CHECKS: Final = (nothing_idle_left,)
JOBS: Final = (session_retention, session_health)
SCHEDULES: Final = (session_retention_schedule, session_health_schedule)
