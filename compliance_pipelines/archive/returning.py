"""Entries of the cold store that a recovered database lacks, put back into the hot store.

Here: which segments committed parts hold that the catalogue does not know, and writing their entries as they were. Not
here: when that is to be done (ledger/recovery.py), and the catalogue, which the next `compliance archive` brings up to
date.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from compliance_pipelines.archive import sql
from compliance_pipelines.archive.adoption import stored_day
from compliance_pipelines.archive.catalogue import parts_of_day
from compliance_pipelines.archive.errors import ArchiveError
from compliance_pipelines.archive.readback import (
    ColdArchive,
    ExpectedObject,
    PartDamagedError,
    check_object,
    read_manifest,
)
from compliance_pipelines.audit_log.entry import ENTRY_SCHEMA
from compliance_pipelines.audit_log.entry_batches import JSONB_COLUMNS
from compliance_pipelines.audit_log.partitions import ensure_days
from compliance_pipelines.postgres.copying import CopyTarget, copy_in

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import date

    import pyarrow as pa
    import sqlalchemy

    from compliance_pipelines.archive.manifest import Manifest
    from compliance_pipelines.audit_log.entry import JsonValue
    from compliance_pipelines.ledger.segments import Segment
    from compliance_pipelines.ledger.survivors import Survey
    from compliance_pipelines.services import Services

_SHOWN: Final = 5
_TARGET: Final = CopyTarget(("audit_returned",), ENTRY_SCHEMA, JSONB_COLUMNS)


class EntriesInTheWayError(ArchiveError):
    """Entries that an archive holds cannot be put back, because others stand in their place."""


class ReturningParts:
    """The committed parts that the catalogue of a recovered database does not know."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def held(self, day: date) -> set[Segment]:
        """The segments of a day that such parts hold; see :class:`~.ledger.survivors.ArchivedEntries`."""
        return {segment for manifest in self._manifests(day) for segment in manifest.segments}

    def put_back(self, owner: sqlalchemy.Engine, day: date, segments: Collection[Segment]) -> None:
        """Write their entries into the hot store; see :class:`~.ledger.survivors.ArchivedEntries`."""
        for manifest in self._manifests(day):
            wanted = [segment for segment in manifest.segments if segment in segments]
            if wanted:
                self._put_back(owner, manifest, wanted)

    def record(self, owner: sqlalchemy.Connection, found: Survey) -> dict[str, JsonValue]:  # noqa: ARG002 - the protocol's
        """Leave the catalogue to the next archive of each day, which adopts the parts."""
        return {"segments_put_back": len(found.archived)}

    def _manifests(self, day: date) -> list[Manifest]:
        with self._services.engine.connect() as connection:
            known = parts_of_day(connection, day)
        archive = ColdArchive.of(self._services)
        stored = stored_day(self._services.store, day, known)
        return [read_manifest(archive, key.manifest_key)[0] for key in stored.committed]

    def _put_back(self, owner: sqlalchemy.Engine, manifest: Manifest, segments: list[Segment]) -> None:
        """One part, in one transaction: what turns out to be damaged at its end is not written at all."""
        with owner.begin() as connection:
            connection.execute(sql.BECOME_OWNER)
            ensure_days(connection, [manifest.day])
            connection.execute(sql.CREATE_RETURNED)

            def take(batch: pa.RecordBatch) -> None:
                tx_ids = batch.column("tx_id").to_numpy()
                wanted = sum((tx_ids >= each.tx_from) & (tx_ids < each.tx_to) for each in segments)
                copy_in(connection, _TARGET, [batch.filter(wanted.astype(bool))])

            checked = check_object(ColdArchive.of(self._services), ExpectedObject.of_manifest(manifest), on_batch=take)
            if checked.findings:
                raise PartDamagedError(checked.findings)
            connection.execute(sql.INSERT_RETURNED)
            again = list(connection.execute(sql.RETURNED_NOT_THERE, {"most": _SHOWN}).scalars())
            if again:
                raise EntriesInTheWayError(
                    f"{manifest.object_key} holds entries of {manifest.day} that were appended again "
                    f"({', '.join(again)}): have the database's administrator remove these rows, which the cold store "
                    "has already, and run it again"
                )
