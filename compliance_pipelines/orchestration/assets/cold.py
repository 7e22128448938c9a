"""The cold store: archived days as Parquet objects with signed manifests, and the checks that read them back."""

# No postponed annotations: Dagster compares them with its classes.

from collections.abc import Iterator
from datetime import date
from typing import Final

from dagster import (
    AssetCheckResult,
    AssetExecutionContext,
    AssetSpec,
    Failure,
    MaterializeResult,
    ResourceParam,
    multi_asset,
)

from compliance_pipelines.archive.catalogue import facts_of_day
from compliance_pipelines.archive.export import ArchiveResult, archive_day
from compliance_pipelines.orchestration.checks import cold_verdicts, read_back_specs
from compliance_pipelines.orchestration.day_events import Naming, archive_event, archived_day
from compliance_pipelines.orchestration.failures import RETRIES
from compliance_pipelines.orchestration.keys import (
    COLD_ARCHIVE,
    DATABASE_POOL,
    HOT_PARTITION,
    OWNERS,
    RETENTION_GROUP,
)
from compliance_pipelines.orchestration.names import Names
from compliance_pipelines.orchestration.partition_bar import (
    NO_DAY_WAS_CHOSEN,
    looking_at,
    show_failed,
    show_repaired,
)
from compliance_pipelines.orchestration.partitions import ABOUT_DAYS, DAYS, day_of
from compliance_pipelines.orchestration.tables import ARCHIVE_COLUMNS, ARCHIVE_LINEAGE, Metadata
from compliance_pipelines.services import Services


def _result(services: Services, archived: ArchiveResult, naming: Naming) -> MaterializeResult[None]:
    metadata, version = archived_day(services, archived.parts, naming)
    of_this_run: Metadata = {
        "seconds": round(archived.seconds, 3),
        "new parts": ", ".join(map(str, archived.new_parts)) or "none",
        "adopted from an earlier run": archived.adopted,
    }
    return MaterializeResult(naming(COLD_ARCHIVE), metadata={**metadata, **of_this_run}, data_version=version)


@multi_asset(
    name="audit__cold_archive",
    specs=[
        AssetSpec(
            COLD_ARCHIVE,
            deps=[HOT_PARTITION],
            partitions_def=DAYS,
            group_name=RETENTION_GROUP,
            owners=OWNERS,
            kinds={"parquet"},
            metadata={"dagster/column_schema": ARCHIVE_COLUMNS, "dagster/column_lineage": ARCHIVE_LINEAGE},
            description="""A day in the cold store: Parquet objects, each committed by a signed manifest.

The rows are compared with the ledger while they are exported, so that an altered row stops the archive; then the object
is read back from the store and recomputed before the day counts as verified. Late entries make another part. A run that
was killed is finished by the next one.

Materializing a day that is archived already reads all of its parts back, and changes nothing: so a day is looked at
again, purged or not. While the last look found damage, or could not be finished, the day is red; its checks, or its
run, say what is wrong."""
            + ABOUT_DAYS,
        )
    ],
    check_specs=read_back_specs(),
    can_subset=True,
    retry_policy=RETRIES,
    pool=DATABASE_POOL,
)
def cold_archive(
    context: AssetExecutionContext, compliance_services: ResourceParam[Services], compliance_names: ResourceParam[Names]
) -> Iterator[MaterializeResult[None] | AssetCheckResult]:
    """Archive what is to be archived, then read every part back, once for the asset and all of its checks."""
    if not context.has_partition_key:
        context.log.warning(compliance_names.text(NO_DAY_WAS_CHOSEN))
        return
    day = day_of(context.partition_key)
    asset = compliance_names.asset(COLD_ARCHIVE)
    archiving = bool(context.selected_asset_keys)
    with looking_at(context.op_execution_context, asset):
        archived = archive_day(compliance_services, day) if archiving else None
        verdicts = cold_verdicts(compliance_services, day)
    selected = {key: verdicts[key.name] for key in sorted(context.selected_asset_check_keys)}
    damage = dict.fromkeys(str(verdict.problem) for verdict in verdicts.values() if verdict.fails)
    # To Dagster a materialization makes the checks before it history: the day would be missing among theirs.
    if archived is not None and not damage:
        yield _result(compliance_services, archived, compliance_names.asset)
    elif archived is None and any(verdict.fails for verdict in selected.values()):
        show_failed(context.op_execution_context, asset)
    elif all(verdict.problem is None for verdict in verdicts.values()) and _is_archived(compliance_services, day):
        show_repaired(
            context.op_execution_context,
            asset,
            lambda: archive_event(compliance_services, day, compliance_names.asset),
        )
    for key, verdict in selected.items():
        yield verdict.result(key.name)
    if archived is not None and damage:
        raise Failure(description=f"the archive of {day} is damaged: {'; '.join(damage)}", allow_retries=False)


def _is_archived(services: Services, day: date) -> bool:
    """Whether parts hold every sealed entry: of a day with others, why the last attempt failed may still be there."""
    with services.engine.connect() as connection:
        facts = facts_of_day(connection, day)
    return facts.parts > 0 and not facts.unarchived_segments


ASSETS: Final = (cold_archive,)
