"""The end of the cold store: archives removed when their retention is over."""

# No postponed annotations: Dagster compares them with its classes.

from collections.abc import Iterator
from typing import Final

from dagster import AssetExecutionContext, AssetSpec, MaterializeResult, MetadataValue, ResourceParam, multi_asset

from compliance_pipelines.archive.expiry import expire_day
from compliance_pipelines.orchestration.day_events import archive_event
from compliance_pipelines.orchestration.failures import RETRIES, domain_errors
from compliance_pipelines.orchestration.keys import (
    ARCHIVE_EXPIRY,
    COLD_ARCHIVE,
    DATABASE_POOL,
    HOT_PURGE,
    OWNERS,
    RETENTION_GROUP,
)
from compliance_pipelines.orchestration.names import Names
from compliance_pipelines.orchestration.partitions import ABOUT_DAYS, DAYS, day_of
from compliance_pipelines.services import Services


@multi_asset(
    name="audit__archive_expiry",
    specs=[
        AssetSpec(
            ARCHIVE_EXPIRY,
            deps=[HOT_PURGE],
            partitions_def=DAYS,
            group_name=RETENTION_GROUP,
            owners=OWNERS,
            kinds={"parquet"},
            skippable=True,
            description="""The archives of a day removed from the cold store, after AUDIT_COLD_STORAGE_RETENTION_YEARS.

The ledger states it first, and that is published, so that whoever has a copy of the bucket tells what expired from what
was taken away; then every version of object and manifest is deleted. What a legal hold, a lock or the cold store's own
hold keeps stays, the run says why, and the partition is not materialized. A run that was killed is finished by the
next one."""
            + ABOUT_DAYS,
        )
    ],
    retry_policy=RETRIES,
    pool=DATABASE_POOL,
)
def archive_expiry(
    context: AssetExecutionContext, compliance_services: ResourceParam[Services], compliance_names: ResourceParam[Names]
) -> Iterator[MaterializeResult[None]]:
    """Remove what is due of a day, and show on the page of the archive that it is gone."""
    day = day_of(context.partition_key)
    with domain_errors():
        done = expire_day(compliance_services, day)
        now = archive_event(compliance_services, day, compliance_names.asset)
    kept = [f"part {each.part.part} stays: {each.kept_because}" for each in done.kept]
    for each in kept:
        context.log.warning(each)
    if not done.expired:
        return
    context.log_event(now)
    yield MaterializeResult(
        compliance_names.asset(ARCHIVE_EXPIRY),
        metadata={
            "parts": ", ".join(str(part.part) for part in done.expired),
            "entries": sum(part.entry_count for part in done.expired),
            "bytes freed": done.object_bytes,
            "kept": "; ".join(kept) or "nothing",
            "archive": MetadataValue.asset(compliance_names.asset(COLD_ARCHIVE)),
        },
    )


ASSETS: Final = (archive_expiry,)
