"""Conversations in Redis: the checkpoint store, which LangGraph writes, and the sets that retention removed from it."""

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

from compliance_pipelines.conversations import record
from compliance_pipelines.conversations.errors import PlanTooLargeError
from compliance_pipelines.conversations.plan import Plan
from compliance_pipelines.conversations.purge import PurgeReport, Retention
from compliance_pipelines.conversations.record import PurgedSet
from compliance_pipelines.conversations.store import open_store
from compliance_pipelines.orchestration.failures import RETRIES, domain_errors, how_to_confirm
from compliance_pipelines.orchestration.keys import DATABASE_POOL, OWNERS
from compliance_pipelines.orchestration.partitions import ABOUT_SETS, DAYS, day_of
from compliance_pipelines.orchestration.tables import PURGE_COLUMN, SETS_SHOWN, Metadata
from compliance_pipelines.services import Services

GROUP: Final = "conversations"
CHECKPOINTS: Final = AssetKey(["conversations", "checkpoints"])
PURGED_SET: Final = AssetKey(["conversations", "purged_set"])
RETENTION_JOB: Final = "conversation_retention"

_SCHEMA: Final = TableSchema(
    columns=[
        TableColumn(PURGE_COLUMN, "int"),
        TableColumn("cutoff", "string"),
        TableColumn("conversations", "int"),
        TableColumn("keys", "int"),
        TableColumn("bytes", "int"),
        TableColumn("moved", "int"),
        TableColumn("resurrected", "int"),
        TableColumn("seconds", "float"),
    ]
)

checkpoints = AssetSpec(
    CHECKPOINTS,
    group_name=GROUP,
    owners=OWNERS,
    kinds={"redis"},
    description="The checkpoints of LangGraph's conversations in Redis. The agents write them; retention removes what "
    "is past its time.",
)


class PurgeConfig(Config):
    """What a person may say to one run."""

    confirm: int | None = Field(
        default=None,
        ge=0,
        description="How many conversations may go at most, agreed to by a person who has seen the plan. Without it "
        "the limits of the settings hold.",
    )


def _table(sets: Sequence[PurgedSet]) -> MetadataValue:
    return MetadataValue.table(
        [
            TableRecord(
                {
                    PURGE_COLUMN: each.purge_id,
                    "cutoff": each.cutoff.isoformat(),
                    "conversations": each.threads_deleted,
                    "keys": each.keys_deleted,
                    "bytes": each.bytes_freed,
                    "moved": each.threads_moved,
                    "resurrected": each.threads_resurrected,
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
        "dagster/partition_row_count": sum(each.threads_deleted for each in sets),
        "conversations removed": sum(each.threads_deleted for each in sets),
        "keys removed": sum(each.keys_deleted for each in sets),
        "bytes freed": sum(each.bytes_freed for each in sets),
        "seconds": round(sum(each.seconds for each in sets), 3),
        "resumed and left alone": sum(each.threads_moved for each in sets),
        "resurrected": sum(each.threads_resurrected for each in sets),
        "held": sum(each.threads_held for each in sets),
        SETS_SHOWN: _table(sets),
        "conversations removed in all": totals.threads_deleted,
        "bytes freed in all": totals.bytes_freed,
    }
    if sets:
        metadata["cutoff"] = sets[-1].cutoff.isoformat()
    for label in sorted({kind for each in sets for kind in each.key_counts}):
        metadata[f"keys removed: {label}"] = sum(each.key_counts.get(label, 0) for each in sets)
    return metadata


def _metadata(plan: Plan, sets: Sequence[PurgedSet], totals: record.SetTotals) -> Metadata:
    """The figures of the day's sets, and of the plan."""
    return {
        **set_metadata(sets, totals),
        "held": len(plan.held) + sum(each.threads_held for each in sets),
        "exempt": len(plan.exempt),
        "undated": len(plan.undated),
        "conversations seen": len(plan.survey.threads),
        "cutoff": plan.cutoff.isoformat(),
    }


def _purge(
    services: Services, day: date, confirmed: int | None
) -> tuple[PurgeReport, list[PurgedSet], record.SetTotals]:
    """Remove what was due when the day began; the report, the day's sets, and all sets together."""
    with open_store(services.settings) as store:
        report = Retention(services, store).purge(day=day, now=datetime.combine(day, time(), UTC), confirmed=confirmed)
    with services.engine.connect() as connection:
        return report, record.sets_of_day(connection, day), record.set_totals(connection)


def _too_large(step: str, refused: PlanTooLargeError) -> Failure:
    return Failure(
        description=f"{refused}; {how_to_confirm(step, refused.planned)}",
        metadata={"conversations due": refused.planned, "conversations seen": refused.seen},
        allow_retries=False,
    )


@asset(
    key=PURGED_SET,
    deps=[CHECKPOINTS],
    partitions_def=DAYS,
    group_name=GROUP,
    owners=list(OWNERS),
    kinds={"redis", "postgres"},
    retry_policy=RETRIES,
    pool=DATABASE_POOL,
    description="""What retention removed on a day: conversations that were due when the day began.

The plan is frozen, each conversation is compared with it in the step that removes it, a second survey looks for
what came back, and the set is recorded with an audit entry. A plan that is larger than the settings allow removes
nothing, and the run fails with its numbers until a person confirms them."""
    + ABOUT_SETS,
)
def purged_set(
    context: AssetExecutionContext, config: PurgeConfig, compliance_services: ResourceParam[Services]
) -> MaterializeResult[None]:
    """Purge what was due when the day began; a plan that is too large fails with its numbers."""
    day = day_of(context.partition_key)
    try:
        with domain_errors():
            report, sets, totals = _purge(compliance_services, day, config.confirm)
    except Failure as failure:
        if isinstance(refused := failure.__cause__, PlanTooLargeError):
            raise _too_large(context.op_execution_context.op.name, refused) from refused
        raise
    metadata = _metadata(report.plan, sets, totals)
    if report.purged is None:
        metadata["dry run: conversations that would go"] = len(report.plan.due)
    return MaterializeResult(metadata=metadata)


ASSETS: Final = (checkpoints, purged_set)
