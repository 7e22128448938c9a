"""Where a damaged part can be had from again.

Here: other versions in the store, a copy of the store, rows in PostgreSQL; each is read to its end and compared with
the ledger before it is used. Not here: what is written with it (repair.py).

The very bytes that were committed come first, because nothing needs to be signed for them. Rows come last: they are
written anew, with other bytes where another version of the software wrote the part.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from compliance_pipelines.archive import sql
from compliance_pipelines.archive.manifest import MOST_BYTES
from compliance_pipelines.archive.parquet import PartLabel, PartWriter, WrittenFile
from compliance_pipelines.archive.progress import Phase, Progress
from compliance_pipelines.archive.readback import ExpectedObject, check_object, copy_hashed
from compliance_pipelines.archive.restored_tables import default_table
from compliance_pipelines.archive.sealed_rows import SealedRows
from compliance_pipelines.audit_log.reading import HOT_TABLE, UnreadableRowsError, open_snapshot
from compliance_pipelines.base.errors import TransientError
from compliance_pipelines.base.streaming import run_ahead
from compliance_pipelines.encryption.data_key import DataKey
from compliance_pipelines.encryption.errors import EncryptionError
from compliance_pipelines.kms.errors import KmsError
from compliance_pipelines.object_store.bounded import read_bounded
from compliance_pipelines.object_store.port import ObjectMissingError, ObjectStoreError, OversizedObjectError
from compliance_pipelines.object_store.versions import keeper_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import sqlalchemy

    from compliance_pipelines.archive.catalogue import ArchivedPart
    from compliance_pipelines.archive.readback import ColdArchive
    from compliance_pipelines.ledger.segments import Segment
    from compliance_pipelines.object_store.port import ObjectStore
    from compliance_pipelines.services import Services

_BATCHES_AHEAD: Final = 2


@dataclass(frozen=True)
class Sources:
    """What a person offers besides what the store and PostgreSQL have.

    Attributes:
        copy: a copy of the cold store, with the same keys.
        table: name of a table of the schema `audit_restored`; None looks for the one that `restore` makes.
    """

    copy: ObjectStore | None = None
    table: str | None = None


NO_SOURCES: Final = Sources()


@dataclass(frozen=True)
class FoundObject:
    """A part's object, in a file: every row was compared with the ledger.

    Attributes:
        source: where it comes from, in words.
        file: what was found.
        canonical_bytes: length of the rows' canonical encodings.
        key: what it is encrypted with; None where it is not. That of rows that were written anew is on no record yet.
    """

    source: str
    file: WrittenFile
    canonical_bytes: int
    key: DataKey | None = field(default=None, repr=False)


@dataclass
class PartSources:
    """The sources of one part.

    Attributes:
        tried: what was looked at in vain, and why it was of no use.
    """

    services: Services
    archive: ColdArchive
    part: ArchivedPart
    segments: Sequence[Segment]
    offered: Sources
    progress: Progress
    tried: list[str] = field(default_factory=list)

    def object(self, path: Path) -> FoundObject | None:
        """Put the part's object into a file, from the first source that has it; None where there is none."""
        return self._committed_object(path) or self._rewritten(path)

    def manifest(self) -> tuple[str, bytes] | None:
        """Where the manifest is that was committed, and its bytes; None where it is nowhere."""
        key = self.part.manifest_key
        for name, store in self._stores(key):
            try:
                data = read_bounded(store, key, MOST_BYTES)
            except (ObjectMissingError, OversizedObjectError):
                self.tried.append(f"{name}: it has no such manifest")
            except (ObjectStoreError, TransientError) as error:
                self.tried.append(f"{name}: it could not be looked at: {error}")
            else:
                if hashlib.sha256(data).hexdigest() == self.part.manifest_sha256:
                    return name, data
                self.tried.append(f"{name}: its manifest is not the one that was committed")
        return None

    def _stores(self, key: str) -> Iterator[tuple[str, ObjectStore]]:
        """What has objects under the same keys: each version of the store, newest first, and the copy."""
        store = self.services.store
        keeper = keeper_of(store)
        for version in () if keeper is None else keeper.versions(key):
            yield f"version {version} in {store.uri}", store.at_versions({key: version})
        if self.offered.copy is not None:
            yield f"the copy at {self.offered.copy.uri}", self.offered.copy

    def _committed_object(self, path: Path) -> FoundObject | None:
        expected = ExpectedObject.of_catalogue(self.part, self.segments)
        for name, store in self._stores(self.part.object_key):
            archive = replace(self.archive, store=store)
            try:
                checked = check_object(archive, expected, progress=self.progress)
                if not checked.findings:
                    size, sha256 = copy_hashed(store, self.part.object_key, path, self.part.object_bytes)
                    if sha256 == self.part.object_sha256:
                        return FoundObject(
                            name, WrittenFile(checked.entry_count, size, sha256), checked.canonical_bytes, checked.key
                        )
            except (ObjectStoreError, TransientError, EncryptionError, KmsError) as error:
                self.tried.append(f"{name}: it could not be looked at: {error}")
                continue
            said = "; ".join(finding.message for finding in checked.findings) or "it changed while it was read"
            self.tried.append(f"{name}: {said}")
        return None

    def _rewritten(self, path: Path) -> FoundObject | None:
        """Write the rows of a table anew, where they are those that were sealed."""
        for table in self._tables():
            name = f"the rows in {'.'.join(table)}"
            rows = SealedRows(self.segments)
            key = DataKey.new() if self.services.settings.encrypts_archives else None
            try:
                written = self._write(table, path, rows, key)
            except UnreadableRowsError as error:
                self.tried.append(f"{name}: they cannot be read: {error}")
                continue
            differences = rows.differences()
            if not differences:
                return FoundObject(name, written, rows.canonical_bytes, key)
            self.tried.append(f"{name}: {'; '.join(each.message for each in differences)}")
        return None

    def _tables(self) -> Iterator[tuple[str, str]]:
        if self.part.purged_at is None:
            yield HOT_TABLE
        else:
            self.tried.append("the hot rows: they were purged")
        table = self.offered.table or default_table(self.part.day)
        with self.services.engine.connect() as connection:
            there = _exists(connection, table)
        if there:
            yield sql.RESTORED_SCHEMA, table
        elif self.offered.table is not None:
            self.tried.append(f"the rows in {sql.RESTORED_SCHEMA}.{table}: there is no such table")

    def _write(self, table: tuple[str, str], path: Path, rows: SealedRows, key: DataKey | None) -> WrittenFile:
        part = self.part
        tx_from = min(segment.tx_from for segment in self.segments)
        tx_to = max(segment.tx_to for segment in self.segments)
        with (
            open_snapshot(self.services.engine) as snapshot,
            snapshot.rows(day=part.day, tx_from=tx_from, tx_to=tx_to, table=table, about=part.entry_count) as source,
            run_ahead(source, depth=_BATCHES_AHEAD, name="repair-reader") as batches,
            PartWriter(path, PartLabel.of(part.day, part.part, part.root), part.entry_count, key) as writer,
        ):
            for batch in batches:
                rows.feed(batch)
                writer.write(batch)
                self.progress(Phase.EXPORT, rows.rows, part.entry_count)
            return writer.finish()


def _exists(connection: sqlalchemy.Connection, table: str) -> bool:
    found = connection.execute(sql.TABLE_EXISTS, {"name": f"{sql.RESTORED_SCHEMA}.{table}"}).scalar()
    return bool(found)
