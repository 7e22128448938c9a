"""The cold store's own holds: what it keeps by our order, brought in line with the legal holds that are in force."""

# No postponed annotations: Dagster compares them with its classes.

from typing import Final

from dagster import Failure, MaterializeResult, ResourceParam, asset

from compliance_pipelines.archive.store_holds import sync_store_holds
from compliance_pipelines.orchestration.failures import RETRIES, domain_errors
from compliance_pipelines.orchestration.keys import COLD_ARCHIVE, DATABASE_POOL, OWNERS, RETENTION_GROUP, STORE_HOLDS
from compliance_pipelines.services import Services

_MOST_NAMED: Final = 10


@asset(
    key=STORE_HOLDS,
    deps=[COLD_ARCHIVE],
    group_name=RETENTION_GROUP,
    owners=list(OWNERS),
    retry_policy=RETRIES,
    pool=DATABASE_POOL,
)
def store_holds(compliance_services: ResourceParam[Services]) -> MaterializeResult[None]:
    """The objects that the cold store itself holds, because a legal hold touches their part.

    `compliance hold` tells the store at once; this finishes what was interrupted, sets again what somebody lifted, and
    reads purged parts that nobody has looked into for a hold on a person or a conversation: until then they are held.
    What the store holds by somebody else's order is left to them. A directory knows no holds.
    """
    with domain_errors():
        done = sync_store_holds(compliance_services)
    metadata = {
        "store knows holds": done.knows_holds,
        "objects held from now on": len(done.set),
        "objects let go of": len(done.lifted),
        "objects held by others": len(done.others),
        "parts read": done.read,
    }
    if done.problems:
        named = "; ".join(done.problems[:_MOST_NAMED])
        more = f"; and {len(done.problems) - _MOST_NAMED} more" if len(done.problems) > _MOST_NAMED else ""
        raise Failure(description=f"{named}{more}", metadata=metadata, allow_retries=False)
    return MaterializeResult(metadata=metadata)


ASSETS: Final = (store_holds,)
