"""Archives read back from the cold store, for as long as they are kept."""

# No postponed annotations: Dagster compares them with its classes.

from typing import Final

from dagster import MaterializeResult, MetadataValue, ResourceParam, asset

from compliance_pipelines.archive.scrub import ScrubResult, scrub
from compliance_pipelines.archive.scrub_record import in_words
from compliance_pipelines.orchestration.failures import RETRIES, domain_errors
from compliance_pipelines.orchestration.keys import ARCHIVE_SCRUB, COLD_ARCHIVE, DATABASE_POOL, OWNERS
from compliance_pipelines.orchestration.tables import Metadata
from compliance_pipelines.services import Services

GROUP: Final = "audit_archive"


def _metadata(done: ScrubResult) -> Metadata:
    state = done.state
    metadata: Metadata = {
        "parts read": done.parts,
        "bytes read": done.object_bytes,
        "parts left for another day": done.waiting,
        "filters that were missing": done.indexed,
        "filters that were altered": len(done.misindexed),
        "parts kept": state.parts,
        "bytes kept": state.object_bytes,
        "overdue parts": len(state.overdue),
        "damaged parts": len(state.damaged),
        "seconds": round(done.seconds, 3),
    }
    if state.unread_since is not None:
        metadata["longest unread part was read"] = MetadataValue.timestamp(state.unread_since)
    if state.damaged:
        metadata["damaged"] = in_words(state.damaged)
    return metadata


@asset(
    key=ARCHIVE_SCRUB,
    deps=[COLD_ARCHIVE],
    group_name=GROUP,
    owners=list(OWNERS),
    kinds={"parquet"},
    retry_policy=RETRIES,
    pool=DATABASE_POOL,
)
def archive_scrub(compliance_services: ResourceParam[Services]) -> MaterializeResult[None]:
    """Every archive read back from the cold store and recomputed, again and again, for as long as it is kept.

    A run reads the parts that nobody has read for longest, as far as AUDIT_ARCHIVE_SCRUB_BYTES_PER_DAY goes, so that
    each is read every AUDIT_ARCHIVE_SCRUB_DAYS. Each reading is recorded in `archive_scrubs`. A part that could not be
    read fails the run, and stays due: that says nothing about the part. What is damaged, and what should have been read
    before, fails the check.
    """
    with domain_errors():
        return MaterializeResult(metadata=_metadata(scrub(compliance_services)))


ASSETS: Final = (archive_scrub,)
