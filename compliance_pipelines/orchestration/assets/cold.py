"""The cold store: archived days as Parquet objects with signed manifests."""

# No postponed annotations: Dagster compares them with its classes.

import hashlib
from typing import Final

from dagster import (
    AssetExecutionContext,
    DataVersion,
    MaterializeResult,
    MetadataValue,
    ResourceParam,
    asset,
)

from compliance_pipelines.archive.export import ArchiveResult, archive_day
from compliance_pipelines.orchestration.failures import RETRIES, domain_errors
from compliance_pipelines.orchestration.keys import (
    COLD_ARCHIVE,
    DATABASE_POOL,
    HOT_PARTITION,
    OWNERS,
)
from compliance_pipelines.orchestration.names import Names
from compliance_pipelines.orchestration.partitions import DAYS, day_of
from compliance_pipelines.orchestration.tables import ARCHIVE_COLUMNS, ARCHIVE_LINEAGE, Metadata, part_table
from compliance_pipelines.services import Services

GROUP: Final = "cold_store"


def _metadata(services: Services, names: Names, archived: ArchiveResult) -> Metadata:
    metadata: Metadata = {
        "dagster/partition_row_count": archived.entry_count,
        "bytes": archived.object_bytes,
        "uncompressed bytes": archived.canonical_bytes,
    }
    if archived.object_bytes:
        metadata["compression"] = round(archived.canonical_bytes / archived.object_bytes, 2)
    metadata["seconds"] = round(archived.seconds, 3)
    if archived.uri is not None and archived.root is not None:
        metadata |= {
            "uri": MetadataValue.url(archived.uri),
            "manifest": MetadataValue.url(services.store.locate(archived.parts[-1].manifest_key)),
            "root": archived.root.hex(),
        }
    return {
        **metadata,
        "parts": part_table(archived.parts),
        "new parts": ", ".join(map(str, archived.new_parts)) or "none",
        "adopted from an earlier run": archived.adopted,
        "rows from": MetadataValue.asset(names.asset(HOT_PARTITION)),
    }


def _version(archived: ArchiveResult) -> DataVersion:
    """The same for the same parts, so that archiving a day again puts nothing that comes after it out of date."""
    return DataVersion(hashlib.sha256(b"".join(part.root for part in archived.parts)).hexdigest())


@asset(
    key=COLD_ARCHIVE,
    deps=[HOT_PARTITION],
    partitions_def=DAYS,
    group_name=GROUP,
    owners=list(OWNERS),
    kinds={"parquet"},
    retry_policy=RETRIES,
    pool=DATABASE_POOL,
    metadata={"dagster/column_schema": ARCHIVE_COLUMNS, "dagster/column_lineage": ARCHIVE_LINEAGE},
)
def cold_archive(
    context: AssetExecutionContext, compliance_services: ResourceParam[Services], compliance_names: ResourceParam[Names]
) -> MaterializeResult[None]:
    """A day in the cold store: Parquet objects, each committed by a signed manifest.

    The rows are compared with the ledger while they are exported, so that an altered row stops the archive; then the
    object is read back from the store and recomputed before the day counts as verified. Late entries make another part.
    A run that was killed is finished by the next one.
    """
    with domain_errors():
        archived = archive_day(compliance_services, day_of(context.partition_key))
    return MaterializeResult(
        metadata=_metadata(compliance_services, compliance_names, archived), data_version=_version(archived)
    )


ASSETS: Final = (cold_archive,)
