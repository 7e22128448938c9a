"""The hot store: the table in PostgreSQL, its partitions, the days in it, and their purge."""

# No postponed annotations: Dagster compares them with its classes.

from typing import Final

from dagster import (
    AssetExecutionContext,
    AssetSpec,
    MaterializeResult,
    MetadataValue,
    ResourceParam,
    asset,
)

from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.audit_log.partitions import create_ahead, drop_empty, lock_room, runway
from compliance_pipelines.base.clock import utc_day
from compliance_pipelines.orchestration.day_events import PURGED_ENTRIES, hot_day, hot_event
from compliance_pipelines.orchestration.failures import RETRIES, domain_errors
from compliance_pipelines.orchestration.keys import (
    AUDIT_LOG_PARTITIONS,
    AUDIT_LOGS,
    CHECKPOINT,
    COLD_ARCHIVE,
    DATABASE_POOL,
    HOT_PARTITION,
    HOT_PURGE,
    OWNERS,
    RETENTION_GROUP,
)
from compliance_pipelines.orchestration.names import Names
from compliance_pipelines.orchestration.partitions import ABOUT_DAYS, DAYS, day_of
from compliance_pipelines.orchestration.tables import HOT_COLUMNS
from compliance_pipelines.services import Services

GROUP: Final = "audit_log"

audit_logs = AssetSpec(
    AUDIT_LOGS,
    group_name=GROUP,
    owners=OWNERS,
    kinds={"postgres", "table"},
    description="The audit log in PostgreSQL, partitioned by month and day. Applications append to it; nobody may "
    "change or delete a row.",
    metadata={"dagster/table_name": "public.audit_logs", "dagster/column_schema": HOT_COLUMNS},
)


@asset(
    key=AUDIT_LOG_PARTITIONS,
    deps=[AUDIT_LOGS],
    group_name=GROUP,
    owners=list(OWNERS),
    kinds={"postgres"},
    retry_policy=RETRIES,
    pool=DATABASE_POOL,
)
def audit_log_partitions(compliance_services: ResourceParam[Services]) -> MaterializeResult[None]:
    """The partitions of `audit_logs`: made ahead of time, and dropped when they are past and empty.

    Each is made or dropped in a small step of its own, while appends go on. An entry whose day has no table of its own
    is in a default partition, and stays there until its day is purged.
    """
    today = utc_day(compliance_services.clock())
    with domain_errors():
        dropped = drop_empty(compliance_services.engine, today)
        made = create_ahead(compliance_services.engine, today, compliance_services.settings.audit_log_days_ahead)
        with compliance_services.engine.connect() as connection:
            ahead, room = runway(connection, today), lock_room(connection)
    return MaterializeResult(
        metadata={
            "days ahead": ahead,
            "days made": made,
            "empty days dropped": dropped.days,
            "empty months dropped": dropped.months,
            "left because in use": dropped.busy,
            "partitions": room.relations,
            "room for partitions": room.most_relations,
        }
    )


@asset(
    key=HOT_PARTITION,
    deps=[AUDIT_LOGS, CHECKPOINT],
    partitions_def=DAYS,
    group_name=RETENTION_GROUP,
    owners=list(OWNERS),
    kinds={"postgres"},
    retry_policy=RETRIES,
    pool=DATABASE_POOL,
    description="""A day in PostgreSQL, as the ledger and the catalogue know it.

This looks and changes nothing. Entries are counted from what is recorded; whether the rows are really there, and as
they were sealed, is what the check `rows_match_ledger` reads them for: while its last look found a difference, or could
not be finished, the day is red."""
    + ABOUT_DAYS,
)
def hot_partition(
    context: AssetExecutionContext, compliance_services: ResourceParam[Services], compliance_names: ResourceParam[Names]
) -> MaterializeResult[None]:
    """Look at a day, and change nothing."""
    day = day_of(context.partition_key)
    with domain_errors():
        metadata, version = hot_day(compliance_services, day, compliance_names.asset)
    return MaterializeResult(metadata=metadata, data_version=version)


@asset(
    key=HOT_PURGE,
    deps=[COLD_ARCHIVE],
    partitions_def=DAYS,
    group_name=RETENTION_GROUP,
    owners=list(OWNERS),
    kinds={"postgres"},
    retry_policy=RETRIES,
    pool=DATABASE_POOL,
    description="""A day removed from PostgreSQL, after the grace period.

In one transaction the rows and every part in the cold store are recomputed and compared with the ledger, then the
day's table is dropped, or its rows are deleted from a default partition. No check of another run is trusted. A day
that is not due, not verified, or of which something cannot be told is left as it is, and the run fails without a
retry."""
    + ABOUT_DAYS,
)
def hot_purge(
    context: AssetExecutionContext, compliance_services: ResourceParam[Services], compliance_names: ResourceParam[Names]
) -> MaterializeResult[None]:
    """Purge a day, and show on the page of the hot partition that it is gone."""
    day = day_of(context.partition_key)
    with domain_errors():
        purged = purge_day(compliance_services, day)
        now = hot_event(compliance_services, day, compliance_names.asset)
    # Without it the page of the hot partition would show the day as it was before, until somebody looks again.
    context.log_event(now)
    return MaterializeResult(
        metadata={
            "dagster/partition_row_count": 0,
            "entries removed": purged.entry_count,
            "bytes freed": purged.hot_bytes,
            "seconds": round(purged.seconds, 3),
            "parts": ", ".join(map(str, purged.parts)) or "none, all of them were purged before",
            "months dropped": purged.months_dropped,
            PURGED_ENTRIES: now.metadata[PURGED_ENTRIES],
            "archive": MetadataValue.asset(compliance_names.asset(COLD_ARCHIVE)),
        }
    )


ASSETS: Final = (audit_logs, audit_log_partitions, hot_partition, hot_purge)
