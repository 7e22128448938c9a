"""Dagster concept: events without a run. Sets that were purged at the command line show on Dagster's pages too.

Here: comparing the recorded sets of conversations and of sessions with the last events of their days. Not here: these
records; what archive, purge and erasure recorded (records.py); when it is compared (sensors.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

from dagster import AssetMaterialization, TableMetadataValue

from compliance_pipelines.base.clock import utc_day
from compliance_pipelines.conversations import record as conversations
from compliance_pipelines.orchestration.assets import conversations as conversation_assets
from compliance_pipelines.orchestration.assets import sessions as session_assets
from compliance_pipelines.orchestration.day_events import Naming, as_it_is
from compliance_pipelines.orchestration.partitions import FIRST_DAY
from compliance_pipelines.orchestration.records import DAYS_PER_TICK, Unknown, last_events
from compliance_pipelines.orchestration.tables import PURGE_COLUMN, SETS_SHOWN, Metadata
from compliance_pipelines.sessions import record as sessions

if TYPE_CHECKING:
    from collections.abc import Callable

    import sqlalchemy
    from dagster import AssetKey, DagsterInstance

    from compliance_pipelines.services import Services


@dataclass(frozen=True)
class PurgedSets:
    """One kind of sets.

    Attributes:
        asset: whose partitions they are.
        job: the job whose runs report for themselves.
        purges_of_days: the numbers of the purges of the next days after one, at most so many days.
        metadata: what an event says of the sets of a day.
    """

    asset: AssetKey
    job: str
    purges_of_days: Callable[[sqlalchemy.Connection, date, int], dict[date, set[int]]]
    metadata: Callable[[sqlalchemy.Connection, date], Metadata]


def _of_conversations(connection: sqlalchemy.Connection, day: date) -> Metadata:
    sets = conversations.sets_of_day(connection, day)
    return conversation_assets.set_metadata(sets, conversations.set_totals(connection))


def _of_sessions(connection: sqlalchemy.Connection, day: date) -> Metadata:
    return session_assets.set_metadata(sessions.sets_of_day(connection, day), sessions.set_totals(connection))


CONVERSATION_SETS: Final = PurgedSets(
    conversation_assets.PURGED_SET,
    conversation_assets.RETENTION_JOB,
    conversations.purges_of_days,
    _of_conversations,
)
SESSION_SETS: Final = PurgedSets(
    session_assets.PURGED_KEYS, session_assets.RETENTION_JOB, sessions.purges_of_days, _of_sessions
)


def unknown_sets(
    kind: PurgedSets, services: Services, instance: DagsterInstance, after: str | None, naming: Naming = as_it_is
) -> Unknown:
    """The next days whose last event does not name every recorded purge, as events that do.

    Args:
        kind: which sets.
        services: the opened services.
        instance: Dagster's instance.
        after: the day (YYYY-MM-DD) after which to begin; None begins with the oldest.
        naming: how keys of the project are named in this instance.
    """
    begin = FIRST_DAY - timedelta(days=1)
    if after is not None:
        begin = max(begin, date.fromisoformat(after))
    with services.engine.connect() as connection:
        recorded = kind.purges_of_days(connection, begin, DAYS_PER_TICK)
        known = last_events(instance, naming(kind.asset), {day.isoformat() for day in recorded})
        events = [
            AssetMaterialization(naming(kind.asset), partition=day.isoformat(), metadata=kind.metadata(connection, day))
            for day, purges in recorded.items()
            # A day ahead of the clock has no partition yet.
            if day <= utc_day(services.clock()) and not purges <= _purges_shown(known.get(day.isoformat()))
        ]
    return Unknown(tuple(events), max(recorded).isoformat() if len(recorded) == DAYS_PER_TICK else None)


def _purges_shown(event: AssetMaterialization | None) -> set[object]:
    table = None if event is None else event.metadata.get(SETS_SHOWN)
    return {row.data[PURGE_COLUMN] for row in table.records} if isinstance(table, TableMetadataValue) else set()
