"""Dagster concept: schedules. When runs are requested by the clock.

Here: the hours. Not here: what is due (backlog.py), or what a run does.
"""

# No postponed annotations: Dagster reads them to know the resources.

from typing import Final

from dagster import (
    DefaultScheduleStatus,
    ResourceParam,
    RunRequest,
    ScheduleDefinition,
    ScheduleEvaluationContext,
    SkipReason,
    schedule,
)

from compliance_pipelines.orchestration.backlog import wanted_runs
from compliance_pipelines.orchestration.jobs import daily_retention, health_checks, hold_sync, partition_upkeep
from compliance_pipelines.orchestration.names import Names
from compliance_pipelines.services import Services


@schedule(
    name="daily_retention",
    job=daily_retention,
    cron_schedule="0 3 * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Requests a run for each day that is due, oldest first. What exceeds the cap follows by the sensor "
    "`catch_up`.",
)
def daily_retention_schedule(
    context: ScheduleEvaluationContext,
    compliance_services: ResourceParam[Services],
    compliance_names: ResourceParam[Names],
) -> list[RunRequest] | SkipReason:
    """Ask the catalogue, not the calendar: after an outage everything missed is due, and is requested."""
    return wanted_runs(compliance_services, context.instance, compliance_names) or SkipReason("No day is due.")


partition_upkeep_schedule = ScheduleDefinition(
    name="partition_upkeep",
    job=partition_upkeep,
    cron_schedule="30 2 * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Before the retention, which drops days and so empties months.",
)

hold_sync_schedule = ScheduleDefinition(
    name="hold_sync",
    job=hold_sync,
    cron_schedule="30 5 * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="After the retention, which makes parts to be held, and before the check that compares.",
)

health_checks_schedule = ScheduleDefinition(
    name="health_checks",
    job=health_checks,
    cron_schedule="0 6 * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="After the retention had its time, so that a day which is still due stands out.",
)

SCHEDULES: Final = (partition_upkeep_schedule, daily_retention_schedule, hold_sync_schedule, health_checks_schedule)
