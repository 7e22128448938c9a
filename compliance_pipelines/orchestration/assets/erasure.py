"""GDPR: the record of erasures, brought up to date by carrying out what is due."""

# No postponed annotations: Dagster compares them with its classes.

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from dagster import (
    AssetKey,
    AssetSpec,
    Failure,
    MaterializeResult,
    MetadataValue,
    ResourceParam,
    TableColumn,
    TableRecord,
    TableSchema,
    asset,
)

from compliance_pipelines.erasure.case import Case, State
from compliance_pipelines.erasure.configured import configured_targets
from compliance_pipelines.erasure.deadline import days_left
from compliance_pipelines.erasure.record import open_cases
from compliance_pipelines.erasure.runner import run_due
from compliance_pipelines.orchestration.assets.conversations import CHECKPOINTS
from compliance_pipelines.orchestration.assets.sessions import LIVE_KEYS
from compliance_pipelines.orchestration.failures import domain_errors
from compliance_pipelines.orchestration.keys import DATABASE_POOL, OWNERS
from compliance_pipelines.orchestration.tables import Metadata
from compliance_pipelines.services import Services

GROUP: Final = "gdpr"
REQUESTS: Final = AssetKey(["gdpr", "erasure_requests"])
ERASURE: Final = AssetKey(["gdpr", "erasure"])

REQUESTS_SHOWN: Final = "requests"
_SCHEMA: Final = TableSchema(
    columns=[
        TableColumn("request", "int"),
        TableColumn("state", "string"),
        TableColumn("attempts", "int"),
        TableColumn("items deleted", "int"),
        TableColumn("deadline", "string"),
    ]
)

erasure_requests = AssetSpec(
    REQUESTS,
    group_name=GROUP,
    owners=OWNERS,
    kinds={"postgres"},
    description="Requests for erasure, which people record with `compliance erase request`, and what people decided "
    "about them.",
)


def table_of(cases: Sequence[Case]) -> MetadataValue:
    """Requests as a table. Who they are about is not shown: many people see Dagster's pages, and runs are kept."""
    records = [
        TableRecord(
            {
                "request": case.request.id,
                "state": case.state.value,
                "attempts": case.attempts,
                "items deleted": case.deleted().total(),
                "deadline": case.deadline.isoformat(),
            }
        )
        for case in cases
    ]
    return MetadataValue.table(records, _SCHEMA)


def erasure_metadata(done: Sequence[Case], still_open: Sequence[Case], now: datetime) -> Metadata:
    """The figures of requests that were attempted, and of those that stay open."""
    metadata: Metadata = {
        REQUESTS_SHOWN: table_of(done),
        "closed": sum(case.state is State.CLOSED for case in done),
        "held": sum(case.state is State.HELD for case in done),
        "partial": sum(case.state is State.PARTIAL for case in done),
        "items deleted": sum(case.deleted(attempt=case.attempts).total() for case in done),
        "open requests": len(still_open),
    }
    if still_open:
        metadata["days to the nearest deadline"] = min(days_left(case.deadline, now) for case in still_open)
    return metadata


# No retry policy: a request that stays open is tried again by the sensor, after a pause of its own.
@asset(
    key=ERASURE,
    deps=[REQUESTS, CHECKPOINTS, LIVE_KEYS],
    group_name=GROUP,
    owners=list(OWNERS),
    kinds={"postgres", "redis"},
    pool=DATABASE_POOL,
)
def erasure(compliance_services: ResourceParam[Services]) -> MaterializeResult[None]:
    """Requests under GDPR Article 17 that are due for an attempt, carried out.

    Each target is erased, looked at again, and the deletion record is appended in the transaction that closes the
    request. A request with a target that failed stays open, fails this run, and is tried again. One that a legal hold
    stops stays open too and fails nothing: its deadline has a check.
    """
    with domain_errors():
        done = run_due(compliance_services, lambda: configured_targets(compliance_services.settings))
        with compliance_services.engine.connect() as connection:
            still_open = open_cases(connection)
    metadata = erasure_metadata(done, still_open, compliance_services.clock())
    if failed := [case.request.id for case in done if case.state is State.PARTIAL]:
        named = ", ".join(map(str, failed))
        raise Failure(
            description=f"erasure requests {named} stay open, and their record says why; they are tried again: see "
            "`compliance erase show`",
            metadata=metadata,
            allow_retries=False,
        )
    return MaterializeResult(metadata=metadata)


ASSETS: Final = (erasure_requests, erasure)
