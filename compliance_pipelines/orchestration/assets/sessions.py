"""Sessions and memories in Redis, which the agents write, and the sets of keys that retention removed of them."""

# No postponed annotations: Dagster compares them with its classes.

from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from typing import Final

from dagster import (
    AssetExecutionContext,
    AssetKey,
    AssetSpec,
    Config,
    Failure,
    MaterializeResult,
    MetadataValue,
    ResourceParam,
    TableColumn,
    TableRecord,
    TableSchema,
    asset,
)
from pydantic import Field

from compliance_pipelines.orchestration.failures import RETRIES, domain_errors, how_to_confirm
from compliance_pipelines.orchestration.keys import DATABASE_POOL, OWNERS
from compliance_pipelines.orchestration.partitions import ABOUT_SETS, DAYS, day_of
from compliance_pipelines.orchestration.tables import PURGE_COLUMN, SETS_SHOWN, Metadata
from compliance_pipelines.services import Services
from compliance_pipelines.sessions import record
from compliance_pipelines.sessions.errors import SessionPlanTooLargeError
from compliance_pipelines.sessions.places import open_places
from compliance_pipelines.sessions.plan import SessionPlan
from compliance_pipelines.sessions.purge import PurgeReport, SessionRetention
from compliance_pipelines.sessions.record import PurgedSet

GROUP: Final = "sessions"
LIVE_KEYS: Final = AssetKey(["sessions", "live_keys"])
PURGED_KEYS: Final = AssetKey(["sessions", "purged_keys"])
RETENTION_JOB: Final = "session_retention"

_SCHEMA: Final = TableSchema(
    columns=[
        TableColumn(PURGE_COLUMN, "int"),
        TableColumn("keys", "int"),
        TableColumn("bytes", "int"),
        TableColumn("moved", "int"),
        TableColumn("back", "int"),
        TableColumn("seconds", "float"),
    ]
)

live_keys = AssetSpec(
    LIVE_KEYS,
    group_name=GROUP,
    owners=OWNERS,
    kinds={"redis"},
    description="Sessions of logins and of the playground, and long-term memories, in Redis. The agents write them; "
    "retention removes what nobody used for its period.",
)


class SessionPurgeConfig(Config):
    """What a person may say to one run."""

    confirm: int | None = Field(
        default=None,
        ge=0,
        description="How many keys may go at most, agreed to by a person who has seen the plan. Without it the limit "
        "of the settings holds.",
    )


def _table(sets: Sequence[PurgedSet]) -> MetadataValue:
    return MetadataValue.table(
        [
            TableRecord(
                {
                    PURGE_COLUMN: each.purge_id,
                    "keys": each.keys_deleted,
                    "bytes": each.bytes_freed,
                    "moved": each.keys_moved,
                    "back": each.keys_back,
                    "seconds": round(each.seconds, 3),
                }
            )
            for each in sets
        ],
        _SCHEMA,
    )


def set_metadata(sets: Sequence[PurgedSet], totals: record.SetTotals) -> Metadata:
    """The figures of a day's sets, which Dagster plots over the partitions."""
    metadata: Metadata = {
        "dagster/partition_row_count": sum(each.keys_deleted for each in sets),
        "keys removed": sum(each.keys_deleted for each in sets),
        "bytes freed": sum(each.bytes_freed for each in sets),
        "seconds": round(sum(each.seconds for each in sets), 3),
        "used and left alone": sum(each.keys_moved for each in sets),
        "came back": sum(each.keys_back for each in sets),
        "held": sum(each.keys_held for each in sets),
        SETS_SHOWN: _table(sets),
        "keys removed in all": totals.keys_deleted,
        "bytes freed in all": totals.bytes_freed,
    }
    if sets:
        metadata |= _cutoffs(sets[-1])
    for kind in sorted({kind for each in sets for kind in each.key_counts}):
        metadata[f"keys removed: {kind}"] = sum(each.key_counts.get(kind, 0) for each in sets)
    return metadata


def _cutoffs(judged: SessionPlan | PurgedSet) -> Metadata:
    cutoffs = (("session cutoff", judged.session_cutoff), ("memory cutoff", judged.memory_cutoff))
    return {name: cutoff.isoformat() for name, cutoff in cutoffs if cutoff is not None}


def _metadata(plan: SessionPlan, sets: Sequence[PurgedSet], totals: record.SetTotals) -> Metadata:
    """The figures of the day's sets, and of the plan."""
    return {
        **set_metadata(sets, totals),
        "held": len(plan.held) + sum(each.keys_held for each in sets),
        "exempt": len(plan.exempt),
        "undated": len(plan.undated),
        "unreadable": plan.counts.unreadable,
        "sessions seen": plan.counts.sessions,
        "memories seen": plan.counts.memories,
        **_cutoffs(plan),
    }


def _purge(
    services: Services, day: date, confirmed: int | None
) -> tuple[PurgeReport, list[PurgedSet], record.SetTotals]:
    """Remove what was due when the day began; the report, the day's sets, and all sets together."""
    with open_places(services.settings) as places:
        retention = SessionRetention(services, places)
        report = retention.purge(day=day, now=datetime.combine(day, time(), UTC), confirmed=confirmed)
    with services.engine.connect() as connection:
        return report, record.sets_of_day(connection, day), record.set_totals(connection)


@asset(
    key=PURGED_KEYS,
    deps=[LIVE_KEYS],
    partitions_def=DAYS,
    group_name=GROUP,
    owners=list(OWNERS),
    kinds={"redis", "postgres"},
    retry_policy=RETRIES,
    pool=DATABASE_POOL,
    description="""What retention removed on a day: sessions and memories that were due when the day began.

The plan is frozen, each key is compared with it in the step that removes it, so that what somebody uses stays, and
the set is recorded with an audit entry. A plan that is larger than the settings allow removes nothing, and the run
fails with its numbers until a person confirms them."""
    + ABOUT_SETS,
)
def purged_keys(
    context: AssetExecutionContext, config: SessionPurgeConfig, compliance_services: ResourceParam[Services]
) -> MaterializeResult[None]:
    """Purge what was due when the day began; a plan that is too large fails with its numbers."""
    day = day_of(context.partition_key)
    try:
        with domain_errors():
            report, sets, totals = _purge(compliance_services, day, config.confirm)
    except Failure as failure:
        if isinstance(refused := failure.__cause__, SessionPlanTooLargeError):
            step = context.op_execution_context.op.name
            raise Failure(
                description=f"{refused}; {how_to_confirm(step, refused.planned)}",
                metadata={"keys due": refused.planned, "keys seen": refused.seen},
                allow_retries=False,
            ) from refused
        raise
    metadata = _metadata(report.plan, sets, totals)
    if report.purged is None:
        metadata["dry run: keys that would go"] = len(report.plan.due)
    return MaterializeResult(metadata=metadata)


ASSETS: Final = (live_keys, purged_keys)
