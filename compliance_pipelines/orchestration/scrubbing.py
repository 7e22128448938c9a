"""Dagster concept: checks, a job and a schedule. Archives are read back daily, and what is wrong with them is seen.

Here: when archives are read back, and what is judged. Not here: the asset (assets/scrub.py), what is due, overdue or
damaged, which the domain says.
"""

# No postponed annotations: Dagster reads them to know the resources.

from typing import Final

from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetSelection,
    DefaultScheduleStatus,
    MetadataValue,
    ResourceParam,
    ScheduleDefinition,
    asset_check,
    define_asset_job,
)

from compliance_pipelines.archive.scrub_record import ScrubState, in_words, scrub_state
from compliance_pipelines.archive.search_index import parts_without_filters
from compliance_pipelines.orchestration.checks import Verdict
from compliance_pipelines.orchestration.failures import RETRIES, domain_errors
from compliance_pipelines.orchestration.keys import ARCHIVE_SCRUB, ARCHIVES_READ_BACK, DATABASE_POOL, SEARCH_INDEX
from compliance_pipelines.orchestration.names import Names
from compliance_pipelines.orchestration.tables import Metadata
from compliance_pipelines.services import Services


def scrub_verdict(services: Services) -> Verdict:
    """Whether every archive was read back in time, and was whole then."""
    with services.engine.connect() as connection:
        state = scrub_state(services, connection)
    days = services.settings.audit_archive_scrub_days
    metadata = _metadata(state)
    problems, remedies = [], []
    if state.damaged:
        found = "; ".join(f"{part.day} part {part.part}: {', '.join(part.damage)}" for part in state.damaged[:3])
        problems.append(f"damaged in the cold store: {in_words(state.damaged)} ({found})")
        damaged_days = sorted({part.day for part in state.damaged})
        remedies.append(f"find out who did it, then `compliance repair {damaged_days[0]}`")
    if state.overdue:
        problems.append(f"not read back for more than {days} days: {in_words(state.overdue)}")
        remedies.append("see what the runs of the job `archive_scrub` say, or run `compliance scrub`")
    if not state.budget_suffices:
        remedies.append(_too_little(state, days))
    if not problems and not state.budget_suffices:
        return Verdict(_too_little(state, days), "", metadata, severity=AssetCheckSeverity.WARN)
    return Verdict(
        "; ".join(problems) or None,
        f"{state.parts:,} parts, each read back within {days} days, and whole.",
        metadata,
        remedy="; ".join(remedies) if problems else None,
    )


def search_index_verdict(services: Services) -> Verdict:
    """Whether a search knows of every archive what need not be read of it."""
    with services.engine.connect() as connection:
        without = parts_without_filters(connection)
    problem = None
    if without:
        (day, part), *others = without
        named = f"part {part} of {day}{f' and {len(others):,} others' if others else ''}"
        problem = f"no filters, so that each search reads all of it: {named}"
    return Verdict(
        problem,
        "Every verified archive has filters to be searched by.",
        {"parts without filters": len(without)},
        severity=AssetCheckSeverity.WARN,
        remedy="run `compliance search-index rebuild --missing`; else the scrub makes them when it reads the archive",
    )


def _metadata(state: ScrubState) -> Metadata:
    metadata: Metadata = {
        "parts": state.parts,
        "bytes": state.object_bytes,
        "overdue parts": len(state.overdue),
        "damaged parts": len(state.damaged),
    }
    if state.unread_since is not None:
        metadata["longest unread part was read"] = MetadataValue.timestamp(state.unread_since)
    return metadata


def _too_little(state: ScrubState, days: int) -> str:
    return (
        f"{state.budget_bytes_per_day:,} bytes a day are not enough to read {state.object_bytes:,} within {days} days: "
        f"set AUDIT_ARCHIVE_SCRUB_BYTES_PER_DAY to {state.needed_bytes_per_day} or more"
    )


@asset_check(
    asset=ARCHIVE_SCRUB,
    name=ARCHIVES_READ_BACK.name,
    description="Each archive was read back from the cold store within AUDIT_ARCHIVE_SCRUB_DAYS, and was whole then.",
    retry_policy=RETRIES,
    pool=DATABASE_POOL,
)
def archives_read_back(
    compliance_services: ResourceParam[Services], compliance_names: ResourceParam[Names]
) -> AssetCheckResult:
    """What is recorded of readings, judged."""
    with domain_errors():
        return scrub_verdict(compliance_services).named(compliance_names).result()


@asset_check(
    asset=ARCHIVE_SCRUB,
    name=SEARCH_INDEX.name,
    description="Each verified archive has filters, by which a search knows what it need not read of it.",
    retry_policy=RETRIES,
    pool=DATABASE_POOL,
)
def archives_have_search_filters(
    compliance_services: ResourceParam[Services], compliance_names: ResourceParam[Names]
) -> AssetCheckResult:
    """What the catalogue has, counted."""
    with domain_errors():
        return search_index_verdict(compliance_services).named(compliance_names).result()


archive_scrub = define_asset_job(
    "archive_scrub",
    selection=AssetSelection.assets(ARCHIVE_SCRUB).without_checks()
    | AssetSelection.checks(ARCHIVES_READ_BACK, SEARCH_INDEX),
    description="Reads back from the cold store the archives that nobody has read for long, within the day's budget.",
)

archive_scrub_schedule = ScheduleDefinition(
    name="archive_scrub",
    job=archive_scrub,
    cron_schedule="0 4 * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="After the retention, and before the daily checks, so that what it finds stands out.",
)

CHECKS: Final = (archives_read_back, archives_have_search_filters)
JOBS: Final = (archive_scrub,)
SCHEDULES: Final = (archive_scrub_schedule,)
