"""Dagster concept: materializations. What the catalogue says of a day, as events of the day's assets carry it.

Here: metadata and data versions of a day, the same whether a run or a person at the command line did the work. Not
here: that work, or when an event is recorded without a run (records.py).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, TypeAlias

from dagster import AssetMaterialization, DataVersion, MetadataValue
from dagster._core.definitions.data_version import DATA_VERSION_TAG

from compliance_pipelines.archive.catalogue import day_summary, parts_of_day, segments_of_day
from compliance_pipelines.archive.layout import part_root
from compliance_pipelines.orchestration.keys import COLD_ARCHIVE, HOT_PARTITION, HOT_PURGE
from compliance_pipelines.orchestration.tables import Metadata, part_table, segment_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date

    from dagster import AssetKey

    from compliance_pipelines.archive.catalogue import ArchivedPart, DayFacts
    from compliance_pipelines.services import Services

PURGED_ENTRIES: Final = "purged entries"

Naming: TypeAlias = "Callable[[AssetKey], AssetKey]"


def as_it_is(key: AssetKey) -> AssetKey:
    """Under its own name, as in a Dagster that has nothing but this project."""
    return key


def hot_counts(facts: DayFacts) -> dict[str, int]:
    """What changes in PostgreSQL when entries of the day come, are sealed, or are purged, as its events carry it."""
    return {
        "dagster/partition_row_count": facts.hot_entries,
        "unsealed entries": facts.unsealed_entries,
        "sealed entries": facts.sealed_entries,
        PURGED_ENTRIES: facts.purged_entries,
    }


def hot_day(services: Services, day: date, naming: Naming = as_it_is) -> tuple[Metadata, DataVersion]:
    """What is recorded of a day in PostgreSQL. A late entry changes the version; looking again or a purge does not."""
    state, facts = day_summary(services, day)
    with services.engine.connect() as connection:
        segments = [segment for segment, _ in segments_of_day(connection, day)]
        purged_at = max((part.purged_at for part in parts_of_day(connection, day) if part.purged_at), default=None)
    metadata: Metadata = {
        **hot_counts(facts),
        "segments": len(segments),
        "state": state.value,
        "bytes": facts.hot_bytes,
        "archived entries": facts.archived_entries,
        "latest segments": segment_table(segments),
        "archive": MetadataValue.asset(naming(COLD_ARCHIVE)),
    }
    if purged_at is not None:
        metadata["purged at"] = MetadataValue.timestamp(purged_at)
    return metadata, DataVersion(part_root(segments).hex())


def archived_day(
    services: Services, parts: Sequence[ArchivedPart], naming: Naming = as_it_is
) -> tuple[Metadata, DataVersion]:
    """What is recorded of a day's parts.

    The version is the same for the same parts: archiving a day again puts nothing that comes after it out of date.
    """
    kept = [part for part in parts if part.expired_at is None]
    object_bytes, canonical_bytes = sum(part.object_bytes for part in kept), sum(part.canonical_bytes for part in kept)
    metadata: Metadata = {
        "dagster/partition_row_count": sum(part.entry_count for part in parts),
        "bytes": object_bytes,
        "uncompressed bytes": canonical_bytes,
    }
    if len(kept) < len(parts):
        metadata["expired parts"] = len(parts) - len(kept)
    if object_bytes:
        metadata["compression"] = round(canonical_bytes / object_bytes, 2)
    if parts:
        metadata |= {
            "uri": MetadataValue.url(parts[-1].archive_location),
            "manifest": MetadataValue.url(services.store.locate(parts[-1].manifest_key)),
            "root": parts[-1].root.hex(),
        }
    metadata |= {"parts": part_table(parts), "rows from": MetadataValue.asset(naming(HOT_PARTITION))}
    return metadata, DataVersion(hashlib.sha256(b"".join(part.root for part in parts)).hexdigest())


def hot_event(services: Services, day: date, naming: Naming = as_it_is) -> AssetMaterialization:
    """The day in PostgreSQL as it is now."""
    return _event(naming(HOT_PARTITION), day, *hot_day(services, day, naming))


def archive_event(services: Services, day: date, naming: Naming = as_it_is) -> AssetMaterialization:
    """The day in the cold store as the catalogue has it."""
    with services.engine.connect() as connection:
        parts = parts_of_day(connection, day)
    return _event(naming(COLD_ARCHIVE), day, *archived_day(services, parts, naming))


def purge_event(services: Services, day: date, naming: Naming = as_it_is) -> AssetMaterialization:
    """The removal of the day from PostgreSQL, as the catalogue has it."""
    metadata, _ = hot_day(services, day, naming)
    shown = ("dagster/partition_row_count", "state", PURGED_ENTRIES, "purged at", "archive")
    return _event(naming(HOT_PURGE), day, {name: metadata[name] for name in shown if name in metadata}, None)


def _event(asset: AssetKey, day: date, metadata: Metadata, version: DataVersion | None) -> AssetMaterialization:
    return AssetMaterialization(
        asset,
        partition=day.isoformat(),
        metadata=metadata,
        tags={} if version is None else {DATA_VERSION_TAG: version.value},
    )
