"""Dagster concept: events without a run. What people did at the command line shows on Dagster's pages too.

Here: comparing what is recorded of days and erasures with the last events of their assets, and what to
report where they differ. Not here: these records; sets that retention removed (purged_sets.py); when it is compared
(sensors.py).

The command line needs no Dagster, and work that it does leaves no run. The records are the truth: whatever they say and
Dagster does not know yet is reported, whoever did it and however long ago. What is reported is not reported again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

from dagster import (
    AssetCheckKey,
    AssetCheckSeverity,
    AssetMaterialization,
    AssetRecordsFilter,
    DagsterEventType,
    TableMetadataValue,
)
from dagster._core.definitions.data_version import DATA_VERSION_TAG
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from compliance_pipelines.archive.catalogue import days_with_parts, facts_of_days, parts_of_day, snapshot
from compliance_pipelines.base.clock import utc_day
from compliance_pipelines.erasure.case import State
from compliance_pipelines.erasure.record import cases_closed_since, open_cases
from compliance_pipelines.orchestration.assets.erasure import ERASURE, REQUESTS_SHOWN, erasure_metadata
from compliance_pipelines.orchestration.day_events import (
    PURGED_ENTRIES,
    Naming,
    archive_event,
    archived_day,
    as_it_is,
    hot_counts,
    hot_event,
    purge_event,
)
from compliance_pipelines.orchestration.keys import COLD_ARCHIVE, HOT_PARTITION, HOT_PURGE, READ_BACK, ROWS_MATCH_LEDGER
from compliance_pipelines.orchestration.partitions import FIRST_DAY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from dagster import AssetKey, DagsterInstance

    from compliance_pipelines.archive.catalogue import DayFacts
    from compliance_pipelines.services import Services

# Each day costs a look at its last three events.
DAYS_PER_TICK: Final = 100
_ERASURE_EVENTS: Final = 200
_ANSWERS: Final = frozenset([AssetCheckExecutionRecordStatus.SUCCEEDED, AssetCheckExecutionRecordStatus.FAILED])
# A transaction that was committed late has a moment that was looked at already.
_OVERLAP: Final = timedelta(hours=1)


@dataclass(frozen=True)
class Unknown:
    """What Dagster does not know yet, and the day to go on after; None begins anew."""

    events: tuple[AssetMaterialization, ...]
    after: str | None


def unknown_days(
    services: Services, instance: DagsterInstance, after: str | None, naming: Naming = as_it_is
) -> Unknown:
    """What the catalogue says of the next days that have an archive, as far as their assets' last events do not say it.

    Args:
        services: the opened services.
        instance: Dagster's instance.
        after: the day (YYYY-MM-DD) after which to begin; None begins with the oldest.
        naming: how keys of the project are named in this instance.
    """
    today = utc_day(services.clock())
    begin = FIRST_DAY - timedelta(days=1)
    if after is not None:
        begin = max(begin, date.fromisoformat(after))
    with snapshot(services) as connection:
        days = days_with_parts(connection, begin, today, DAYS_PER_TICK)
        chosen = facts_of_days(connection, days).values()
    keys = {day.isoformat() for day in days}
    known = {asset: last_events(instance, naming(asset), keys) for asset in (HOT_PARTITION, COLD_ARCHIVE, HOT_PURGE)}
    events = [event for each in chosen for event in _of_day(services, instance, each, known, naming)]
    return Unknown(tuple(events), days[-1].isoformat() if len(days) == DAYS_PER_TICK else None)


def last_events(instance: DagsterInstance, asset: AssetKey, days: set[str]) -> Mapping[str, AssetMaterialization]:
    """The newest materialization of each of these days (YYYY-MM-DD) that has one."""
    if not days:
        return {}
    numbers = instance.event_log_storage.get_latest_storage_id_by_partition(
        asset, DagsterEventType.ASSET_MATERIALIZATION, days
    )
    if not numbers:
        return {}
    found = instance.fetch_materializations(
        AssetRecordsFilter(asset_key=asset, storage_ids=sorted(numbers.values())), limit=len(numbers)
    )
    events = [record.asset_materialization for record in found.records]
    return {event.partition: event for event in events if event is not None and event.partition is not None}


def _of_day(
    services: Services,
    instance: DagsterInstance,
    facts: DayFacts,
    known: Mapping[AssetKey, Mapping[str, AssetMaterialization]],
    naming: Naming,
) -> list[AssetMaterialization]:
    """An event would turn a day green, so that one which its checks found damaged waits until they find it whole."""
    day = facts.day
    hot, cold, purge = (known[asset].get(day.isoformat()) for asset in (HOT_PARTITION, COLD_ARCHIVE, HOT_PURGE))
    purged = {PURGED_ENTRIES: facts.purged_entries}
    events = []
    if not _shows(hot, hot_counts(facts)) and (
        # What was purged was compared, whatever a check found before.
        (facts.purged_entries and not _shows(hot, purged))
        or not _is_damaged(instance, (ROWS_MATCH_LEDGER,), day, naming)
    ):
        events.append(hot_event(services, day, naming))
    if (
        facts.verified_parts == facts.parts
        and (cold is None or _version(cold) != _archive_version(services, day))
        and not _is_damaged(instance, READ_BACK, day, naming)
    ):
        events.append(archive_event(services, day, naming))
    if facts.purged_parts and not _shows(purge, purged):
        events.append(purge_event(services, day, naming))
    return events


def _shows(event: AssetMaterialization | None, counts: Mapping[str, int]) -> bool:
    shown = {} if event is None else event.metadata
    return all(name in shown and shown[name].value == count for name, count in counts.items())


def _is_damaged(instance: DagsterInstance, keys: Sequence[AssetCheckKey], day: date, naming: Naming) -> bool:
    """Whether some check of the day last said so; a warning is none, and neither is a look that was not finished."""
    for key in keys:
        latest = instance.event_log_storage.get_asset_check_execution_history(
            AssetCheckKey(naming(key.asset_key), key.name),
            1,
            status=_ANSWERS,
            partition_filter=PartitionKeyFilter(key=day.isoformat()),
        )
        evaluation = latest[0].evaluation if latest else None
        if evaluation is not None and not evaluation.passed and evaluation.severity is AssetCheckSeverity.ERROR:
            return True
    return False


def _version(event: AssetMaterialization) -> str | None:
    return (event.tags or {}).get(DATA_VERSION_TAG)


def _archive_version(services: Services, day: date) -> str:
    with services.engine.connect() as connection:
        return archived_day(services, parts_of_day(connection, day))[1].value


@dataclass(frozen=True)
class UnknownErasures:
    """What Dagster does not know yet, and up to which moment (UTC) it knows everything."""

    events: tuple[AssetMaterialization, ...]
    until: datetime


def unknown_erasures(
    services: Services, instance: DagsterInstance, since: datetime, naming: Naming = as_it_is
) -> UnknownErasures:
    """The erasures that were carried out since a moment and that no event of their asset names."""
    with services.engine.connect() as connection:
        closed = cases_closed_since(connection, since)
        still_open = open_cases(connection)
    until = max((case.closure.closed_at - _OVERLAP for case in closed if case.closure is not None), default=since)
    if not closed:
        return UnknownErasures((), since)
    unnamed = _unnamed_erasures(instance, naming(ERASURE), {case.request.id for case in closed})
    unknown = [case for case in closed if case.request.id in unnamed]
    if not unknown:
        return UnknownErasures((), max(since, until))
    event = AssetMaterialization(naming(ERASURE), metadata=erasure_metadata(unknown, still_open, services.clock()))
    return UnknownErasures((event,), max(since, until))


def _unnamed_erasures(instance: DagsterInstance, asset: AssetKey, closed: set[int]) -> set[int]:
    """Which of these requests no event names, however long ago; events are looked through from the newest on."""
    unnamed, cursor, more = set(closed), None, True
    while unnamed and more:
        page = instance.fetch_materializations(asset, limit=_ERASURE_EVENTS, cursor=cursor)
        for record in page.records:
            event = record.asset_materialization
            table = None if event is None else event.metadata.get(REQUESTS_SHOWN)
            if isinstance(table, TableMetadataValue):
                unnamed -= {row.data["request"] for row in table.records if row.data["state"] == State.CLOSED.value}
        cursor, more = page.cursor, page.has_more
    return unnamed
