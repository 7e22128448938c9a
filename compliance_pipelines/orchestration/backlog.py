"""Which runs are wanted now.

Here: the order of due days, the runs that they need, which of them were asked for today already, which are overdue.
The schedule, the sensor that goes on with a long backlog, and `compliance run` all take their work from here. Not
here: what makes a day due, which the catalogue says.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from dagster import AssetCheckKey, AssetKey, DagsterRunStatus, RunRequest, RunsFilter

from compliance_pipelines.archive import catalogue
from compliance_pipelines.archive.expiry import due_to_expire
from compliance_pipelines.base.clock import days_before, utc_day
from compliance_pipelines.ledger.object_retention import retention_end
from compliance_pipelines.ledger.store_identity import check_identity
from compliance_pipelines.orchestration.keys import (
    ARCHIVE_EXPIRY,
    COLD_ARCHIVE,
    HOT_PARTITION,
    HOT_PURGE,
    READ_BACK,
    ROWS_MATCH_LEDGER,
)
from compliance_pipelines.orchestration.partitions import FIRST_DAY

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import sqlalchemy
    from dagster import DagsterInstance

    from compliance_pipelines.orchestration.names import Names
    from compliance_pipelines.services import Services

RETENTION_JOB: Final = "daily_retention"

ACTION_TAG: Final = "compliance/action"
ASKED_ON_TAG: Final = "compliance/asked_on"
_PARTITION_TAG: Final = "dagster/partition"

# A day is done within hours of falling due. A whole day later, something stands in its way.
_ALLOWANCE: Final = timedelta(days=1)

_LOOKED_BACK_DAYS: Final = 30

_ACTIVE: Final = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


class Action(StrEnum):
    """What is to be done with a day."""

    ARCHIVE = "archive"
    PURGE = "purge"
    EXPIRE = "expire"


ASSETS: Final[Mapping[Action, tuple[AssetKey, ...]]] = {
    Action.ARCHIVE: (HOT_PARTITION, COLD_ARCHIVE),
    Action.PURGE: (HOT_PURGE,),
    Action.EXPIRE: (ARCHIVE_EXPIRY,),
}
CHECKS: Final[Mapping[Action, tuple[AssetCheckKey, ...]]] = {
    Action.ARCHIVE: (ROWS_MATCH_LEDGER, *READ_BACK),
    Action.PURGE: (),
    Action.EXPIRE: (),
}


@dataclass(frozen=True, order=True)
class Step:
    """One action on one day."""

    day: date
    action: Action

    @property
    def partition_key(self) -> str:
        """The day as Dagster's partition key."""
        return self.day.isoformat()

    @property
    def has_partition(self) -> bool:
        """Whether Dagster knows the day; requesting a run of one that it does not know would fail all the others."""
        return self.day >= FIRST_DAY


def due_steps(services: Services) -> list[Step]:
    """Everything that is due now, oldest day first, days before the first partition included.

    Raises:
        LedgerError: key, database and cold store do not belong together: one failure, and not one for each day.
    """
    with services.engine.connect() as connection:
        check_identity(services, connection)
        expire = due_to_expire(services, connection)
    due = catalogue.due(services)
    return sorted(
        [
            *(Step(day, Action.ARCHIVE) for day in due.archive),
            *(Step(day, Action.PURGE) for day in due.purge),
            *(Step(day, Action.EXPIRE) for day in expire),
        ]
    )


def _steps_of_runs(instance: DagsterInstance, filters: RunsFilter) -> set[Step]:
    return {
        Step(date.fromisoformat(run.tags[_PARTITION_TAG]), Action(run.tags[ACTION_TAG]))
        for run in instance.get_runs(filters)
        if _PARTITION_TAG in run.tags and ACTION_TAG in run.tags
    }


def _requested_on(day: date, names: Names) -> RunsFilter:
    return RunsFilter(job_name=names.name(RETENTION_JOB), tags={ASKED_ON_TAG: day.isoformat()})


def _under_way(names: Names, job: str = RETENTION_JOB) -> RunsFilter:
    return RunsFilter(job_name=names.name(job), statuses=_ACTIVE)


def has_asked_today(services: Services, instance: DagsterInstance, names: Names) -> bool:
    """Whether the daily schedule has requested runs today."""
    return bool(instance.get_run_ids(_requested_on(utc_day(services.clock()), names), limit=1))


def is_working(instance: DagsterInstance, names: Names, job: str = RETENTION_JOB) -> bool:
    """Whether a run of a retention job is queued or under way."""
    return bool(instance.get_run_ids(_under_way(names, job), limit=1))


def wanted_runs(services: Services, instance: DagsterInstance, names: Names) -> list[RunRequest]:
    """Requests for what is due, oldest day first, at most ARCHIVE_MAX_RUNS_PER_TICK.

    A step is asked for once a day: one that fails is left until tomorrow, so that it neither runs in circles nor stops
    the younger days behind it. One that is still queued or under way since yesterday is not asked for again.
    """
    today = utc_day(services.clock())
    taken = _steps_of_runs(instance, _requested_on(today, names)) | _steps_of_runs(instance, _under_way(names))
    steps = [step for step in due_steps(services) if step.has_partition and step not in taken]
    return [run_request(step, today, names) for step in steps[: services.settings.archive_max_runs_per_tick]]


def run_request(step: Step, today: date, names: Names) -> RunRequest:
    """The run that one step needs, with the checks that belong to it and no others."""
    return RunRequest(
        run_key=f"{step.action}:{step.partition_key}:{today.isoformat()}",
        partition_key=step.partition_key,
        asset_selection=[names.asset(key) for key in ASSETS[step.action]],
        asset_check_keys=[names.check(key) for key in CHECKS[step.action]],
        tags={ACTION_TAG: step.action.value, ASKED_ON_TAG: today.isoformat()},
    )


def overdue_days(services: Services, action: Action) -> list[date]:
    """Days whose action should have been done a day ago, oldest first."""
    latest = services.clock() - _ALLOWANCE
    if action is Action.EXPIRE:
        years = services.settings.audit_cold_storage_retention_years
        with services.engine.connect() as connection:
            return [day for day in due_to_expire(services, connection) if retention_end(day, years) < latest]
    due = catalogue.due(services)
    days, due_since = (due.archive, _archive_due_since) if action is Action.ARCHIVE else (due.purge, _purge_due_since)
    with services.engine.connect() as connection:
        return [day for day in days if due_since(services, connection, day) < latest]


def hidden_days(services: Services) -> list[date]:
    """Days with entries that wait to be archived and that nothing asks for, because their count was altered.

    Looked for among everything that was sealed in the days that it should take to purge it, and a month more: which
    neither grows with the history nor leaves out late entries of old days. `compliance verify --all` looks at all days.
    """
    settings, today = services.settings, utc_day(services.clock())
    days = settings.audit_log_retention_days + settings.audit_log_purge_grace_days + _LOOKED_BACK_DAYS
    with services.engine.connect() as connection:
        return catalogue.days_counted_short(connection, days_before(today, days), today)


def _archive_due_since(services: Services, connection: sqlalchemy.Connection, day: date) -> datetime:
    """When the day fell due, or when the last entries that await archiving were sealed: nobody can be faster."""
    sealed = [segment.sealed_at for segment, part in catalogue.segments_of_day(connection, day) if part is None]
    return max([catalogue.archive_due_at(services, day), *sealed])


def _purge_due_since(services: Services, connection: sqlalchemy.Connection, day: date) -> datetime:
    verified_at = catalogue.facts_of_day(connection, day).last_verified_at
    # Purged in this very moment by somebody else: then it is not overdue.
    return services.clock() if verified_at is None else catalogue.purge_due_at(services, day, verified_at)
