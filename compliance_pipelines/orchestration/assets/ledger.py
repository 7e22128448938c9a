"""The ledger: signed checkpoints over everything that was sealed."""

# No postponed annotations: Dagster compares them with its classes.

from collections.abc import Sequence
from typing import Final

from dagster import AssetKey, AssetMaterialization, DataVersion, MaterializeResult, MetadataValue, ResourceParam, asset
from dagster._core.definitions.data_version import DATA_VERSION_TAG

from compliance_pipelines.base.errors import TransientError
from compliance_pipelines.ledger.log_reading import CHECKPOINT_KEY
from compliance_pipelines.ledger.sealing import SealResult, seal
from compliance_pipelines.ledger.segments import Segment
from compliance_pipelines.ledger.store import last_checkpoint
from compliance_pipelines.orchestration.failures import RETRIES, domain_errors
from compliance_pipelines.orchestration.keys import AUDIT_LOGS, CHECKPOINT, DATABASE_POOL, OWNERS
from compliance_pipelines.orchestration.tables import Metadata, segment_table
from compliance_pipelines.services import Services

GROUP: Final = "ledger"

# What is sealed never changes: no later checkpoint makes the days that were made with an earlier one out of date.
_SEALED: Final = DataVersion("append-only")


def _metadata(services: Services, segments: Sequence[Segment]) -> Metadata:
    metadata: Metadata = {"entries sealed": sum(segment.entry_count for segment in segments)}
    with services.engine.connect() as connection:
        head = last_checkpoint(connection)
    if head is not None:
        metadata |= {
            "size": head.size,
            "root": head.root.hex(),
            "signed at": MetadataValue.timestamp(head.signed_at),
            "origin": services.verifier_key.name,
            "uri": MetadataValue.url(services.store.locate(CHECKPOINT_KEY)),
        }
    return {**metadata, "new segments": segment_table(segments)}


def checkpoint_materialization(services: Services, sealed: SealResult, key: AssetKey) -> AssetMaterialization:
    """The event of a checkpoint that was signed without a run, for the asset of that key."""
    return AssetMaterialization(
        key, metadata=_metadata(services, sealed.segments), tags={DATA_VERSION_TAG: _SEALED.value}
    )


def _seal_everything(services: Services) -> list[Segment]:
    """Pass after pass, each bounded by LEDGER_SEAL_MAX_ENTRIES, so that a kill costs no more than one of them."""
    segments: list[Segment] = []
    while True:
        sealed = seal(services)
        if sealed.busy:
            raise TransientError(f"another process is sealing{sealed.busy_with}; wait for it and try again")
        segments.extend(sealed.segments)
        if not sealed.more:
            return segments


@asset(
    key=CHECKPOINT,
    deps=[AUDIT_LOGS],
    group_name=GROUP,
    owners=list(OWNERS),
    kinds={"merkletree"},
    retry_policy=RETRIES,
    pool=DATABASE_POOL,
)
def checkpoint(compliance_services: ResourceParam[Services]) -> MaterializeResult[None]:
    """The signed head of the ledger, in the database and in the cold store.

    Entries that are in no segment yet are sealed, day by day; the segments' records are appended to the tree; its head
    is signed only if it extends the last checkpoint that the cold store holds.
    """
    with domain_errors():
        return MaterializeResult(
            metadata=_metadata(compliance_services, _seal_everything(compliance_services)), data_version=_SEALED
        )


ASSETS: Final = (checkpoint,)
