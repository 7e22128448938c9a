"""Bringing a range of archived days back into PostgreSQL, one table for each.

Here: which days there are, and leaving alone what an earlier run has restored. Not here: restoring a day (restore.py).

A run over a range that was killed is called again: it passes by the days that are there, and goes on with the one that
it was at. A table counts as there when its rows, all of them read, are those that the parts of its day hold.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

from compliance_pipelines.archive import sql
from compliance_pipelines.archive.catalogue import days_with_parts, segments_of_part
from compliance_pipelines.archive.errors import ManifestError, RestoreError
from compliance_pipelines.archive.progress import Phase, Progress, silent
from compliance_pipelines.archive.readback import ColdArchive, read_manifest
from compliance_pipelines.archive.restore import RestoreResult, StepHook, no_hook, restorable_parts, restore_day
from compliance_pipelines.archive.restored_tables import comment_of, default_table
from compliance_pipelines.archive.sealed_rows import SealedRows
from compliance_pipelines.audit_log.reading import UnreadableRowsError, open_snapshot
from compliance_pipelines.base.clock import days_before
from compliance_pipelines.base.streaming import run_ahead
from compliance_pipelines.ledger.store_identity import check_identity
from compliance_pipelines.object_store.port import ObjectMissingError
from compliance_pipelines.postgres.errors import passing_errors_as_transient

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from compliance_pipelines.archive.catalogue import ArchivedPart
    from compliance_pipelines.ledger.segments import Segment
    from compliance_pipelines.services import Services

_BATCHES_AHEAD: Final = 2


def archived_days(services: Services, first: date, last: date) -> list[date]:
    """The days from `first` to `last` that have an archive, expired or not, oldest first.

    Raises:
        RestoreError: there is none, or the range ends before it begins.
        TransientError: the connection was lost.
    """
    if last < first:
        raise RestoreError(f"a range cannot end on {last}, before it begins on {first}")
    doing = f"the restore of {first} to {last}"
    with passing_errors_as_transient(doing, services.engine), services.engine.connect() as connection:
        days = days_with_parts(connection, days_before(first, 1), last, (last - first).days + 1)
    if not days:
        raise RestoreError(
            f"no day from {first} to {last} has an archive: their entries, if there are any, are in PostgreSQL "
            "(audit_logs)"
        )
    return days


def restore_unless_there(
    services: Services, day: date, *, progress: Progress = silent, hook: StepHook = no_hook
) -> tuple[RestoreResult, bool]:
    """Restore a day into its default table, unless that has all of its entries and nothing else.

    Returns:
        the day as it is restored, and whether it was there before.

    Raises: as :func:`~.restore.restore_day`.
    """
    started = monotonic()
    doing = f"the restore of {day}"
    with passing_errors_as_transient(doing, services.engine):
        with services.engine.connect() as connection:
            check_identity(services, connection)
            parts = restorable_parts(connection, day)
            segments = [segments_of_part(connection, part) for part in parts]
            name = f"{sql.RESTORED_SCHEMA}.{default_table(day)}"
            comment = connection.execute(sql.TABLE_COMMENT, {"name": name}).scalar_one()
        there = (
            comment == comment_of(day, parts)
            and _are_archived(services, parts, segments)
            and _has_rows(services, day, segments, progress)
        )
    if not there:
        return restore_day(services, day, progress=progress, hook=hook), False
    count = sum(part.entry_count for part in parts)
    numbers = tuple(part.part for part in parts)
    return RestoreResult(day, name, numbers, count, count, monotonic() - started), True


def _are_archived(services: Services, parts: Sequence[ArchivedPart], segments: Sequence[Sequence[Segment]]) -> bool:
    """Whether the segments, which judge the rows, are those of the signed manifests; if not, the restore says why."""
    archive = ColdArchive.of(services)
    try:
        manifests = [read_manifest(archive.at(part), part.manifest_key)[0] for part in parts]
    except (ManifestError, ObjectMissingError):
        return False
    return [list(manifest.segments) for manifest in manifests] == [list(each) for each in segments]


def _has_rows(services: Services, day: date, segments: Sequence[Sequence[Segment]], progress: Progress) -> bool:
    """Whether the day's table holds the rows of the segments and no others; one that cannot be read does not."""
    rows = SealedRows([segment for each in segments for segment in each])
    expected = sum(segment.entry_count for each in segments for segment in each)
    table = (sql.RESTORED_SCHEMA, default_table(day))
    try:
        with (
            open_snapshot(services.engine) as snapshot,
            snapshot.rows(day=None, table=table) as source,
            run_ahead(source, depth=_BATCHES_AHEAD, name="restored-reader") as batches,
        ):
            for batch in batches:
                rows.feed(batch)
                progress(Phase.COMPARE, rows.rows, expected)
    except UnreadableRowsError:
        return False
    return not rows.differences()
