"""Dagster concepts: checks, jobs and schedules of conversation retention.

Here: which days are wanted, when runs are started, and what is looked at. Not here: the assets
(assets/conversations.py), and what retention is.
"""

# No postponed annotations: Dagster compares them with its classes.

from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from typing import Final

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckKey,
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetSelection,
    DefaultScheduleStatus,
    ResourceParam,
    RunRequest,
    ScheduleEvaluationContext,
    SkipReason,
    define_asset_job,
    multi_asset_check,
    schedule,
)

from compliance_pipelines.base.clock import utc_day
from compliance_pipelines.conversations import record
from compliance_pipelines.conversations.plan import Plan
from compliance_pipelines.conversations.purge import Retention, layout_of
from compliance_pipelines.conversations.store import open_store
from compliance_pipelines.holds import active_holds
from compliance_pipelines.orchestration.assets.conversations import PURGED_SET, RETENTION_JOB
from compliance_pipelines.orchestration.checks import Verdict
from compliance_pipelines.orchestration.failures import RETRIES, domain_errors
from compliance_pipelines.orchestration.keys import DATABASE_POOL
from compliance_pipelines.orchestration.partitions import missed_days
from compliance_pipelines.services import Services

NOTHING_PAST_CUTOFF: Final = AssetCheckKey(PURGED_SET, "nothing_past_its_cutoff")
NO_ORPHANS: Final = AssetCheckKey(PURGED_SET, "no_orphans")
NO_RESURRECTED_THREADS: Final = AssetCheckKey(PURGED_SET, "no_resurrected_threads")

_NO_REDIS: Final = "CHECKPOINT_REDIS_URL is not set: there are no conversations to look after."

_DESCRIPTIONS: Final = {
    NOTHING_PAST_CUTOFF: "No conversation that was due when the day began is left, apart from those that are held or "
    "exempt, and of each it can be told.",
    NO_ORPHANS: "No key points to a checkpoint or a write that is gone.",
    NO_RESURRECTED_THREADS: "No conversation that retention removed is back with what it held before.",
}


@multi_asset_check(
    name="conversations_left",
    specs=[
        AssetCheckSpec(key.name, asset=key.asset_key, description=description)
        for key, description in _DESCRIPTIONS.items()
    ],
    description="Looks at every conversation once for all these checks, as things are now.",
    can_subset=True,
    retry_policy=RETRIES,
    pool=DATABASE_POOL,
)
def conversation_checks(
    context: AssetCheckExecutionContext, compliance_services: ResourceParam[Services]
) -> Iterator[AssetCheckResult]:
    """One survey; what cannot be told is a failure and no zero."""
    with domain_errors(), open_store(compliance_services.settings) as store:
        retention = Retention(compliance_services, store)
        start_of_day = datetime.combine(utc_day(compliance_services.clock()), time(), UTC)
        with compliance_services.engine.connect() as connection:
            # Nothing is overdue in the wrong Redis.
            retention.require_environment(connection)
        survey = retention.survey()
        with compliance_services.engine.connect() as connection:
            holds = active_holds(connection)
        plan = retention.judge(survey, holds, now=start_of_day)
        verdicts = {
            NOTHING_PAST_CUTOFF.name: _nothing_past_cutoff(plan),
            NO_ORPHANS.name: _no_orphans(plan),
            NO_RESURRECTED_THREADS.name: _no_resurrected_threads(retention.resurrected(survey)),
        }
    for key in sorted(context.op_execution_context.selected_asset_check_keys):
        yield verdicts[key.name].result(key.name)


def _nothing_past_cutoff(plan: Plan) -> Verdict:
    late = plan.seconds_past_cutoff
    problems = []
    if plan.due:
        problems.append(f"{len(plan.due)} conversations are past their cutoff; run `compliance conversations plan`")
    if plan.entangled:
        problems.append(f"{len(plan.entangled)} are due but share the names of their keys with others")
    if plan.undated:
        problems.append(f"of {len(plan.undated)} conversations nothing says when they were active")
    ahead = len(plan.survey.ahead)
    return Verdict(
        "; ".join(problems) or None,
        "Nothing that was due when the day began is left."
        + (f" {ahead} conversations bear a time ahead of the present; when they were written counts." if ahead else ""),
        {
            "seconds_past_cutoff": "unknown" if late is None else late,
            "conversations due": len(plan.due),
            "undated": len(plan.undated),
            "ahead of the present": ahead,
            "held": len(plan.held),
            "exempt": len(plan.exempt),
            "cutoff": plan.cutoff.isoformat(),
        },
    )


def _no_orphans(plan: Plan) -> Verdict:
    keys = plan.orphan_keys
    return Verdict(
        f"{keys} keys point to nothing; the next purge removes them" if keys else None,
        "Every key belongs to a conversation that is there.",
        {"orphan keys": keys, "held orphans": plan.held_orphans},
        AssetCheckSeverity.WARN,
    )


def _no_resurrected_threads(resurrected: list[str]) -> Verdict:
    count = len(resurrected)
    return Verdict(
        f"{count} conversations are back that retention had removed (a late writer, or a backup that was restored); "
        "the next purge takes them when they are due"
        if count
        else None,
        "Nothing that was removed is back.",
        {"resurrected": count},
    )


conversation_retention = define_asset_job(
    RETENTION_JOB,
    selection=AssetSelection.assets(PURGED_SET).without_checks() | AssetSelection.checks(*_DESCRIPTIONS),
    description="Removes the conversations that were due when a day began, then looks at what is left.",
)

conversation_health = define_asset_job(
    "conversation_health",
    selection=AssetSelection.checks(*_DESCRIPTIONS),
    description="Looks at what is left, whether or not retention could do its work.",
)


def wanted_days(services: Services) -> list[date]:
    """The days whose sets are missing, oldest first: from the last that is recorded to today.

    After a long outage the latest ones, at most ARCHIVE_MAX_RUNS_PER_TICK: each day takes what the days before it left.
    """
    with services.engine.connect() as connection:
        last = record.last_day_done(connection, layout_of(services.settings))
    return missed_days(last, utc_day(services.clock()), most=services.settings.archive_max_runs_per_tick)


@schedule(
    name=RETENTION_JOB,
    job=conversation_retention,
    cron_schedule="15 3 * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Requests a run for today and for each day that was missed, oldest first.",
)
def conversation_retention_schedule(
    _context: ScheduleEvaluationContext, compliance_services: ResourceParam[Services]
) -> list[RunRequest] | SkipReason:
    """Ask the record, not the calendar: after an outage every day that was missed is requested."""
    if compliance_services.settings.checkpoint_redis_url is None:
        return SkipReason(_NO_REDIS)
    today = utc_day(compliance_services.clock())
    return [
        RunRequest(run_key=f"conversations:{day}:{today}", partition_key=day.isoformat())
        for day in wanted_days(compliance_services)
    ] or SkipReason("Today's set is recorded.")


@schedule(
    name="conversation_health",
    job=conversation_health,
    cron_schedule="30 6 * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="After retention had its time, so that what it left stands out.",
)
def conversation_health_schedule(
    _context: ScheduleEvaluationContext, compliance_services: ResourceParam[Services]
) -> RunRequest | SkipReason:
    """Once a day, where there are conversations."""
    return RunRequest() if compliance_services.settings.checkpoint_redis_url is not None else SkipReason(_NO_REDIS)


CHECKS: Final = (conversation_checks,)
JOBS: Final = (conversation_retention, conversation_health)
SCHEDULES: Final = (conversation_retention_schedule, conversation_health_schedule)
