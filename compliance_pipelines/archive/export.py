"""From sealed rows in PostgreSQL to a committed, verified part in the cold store.

Here: the order of the steps, each of which may be the last before a kill, and the stream of rows into the file. Not
here: how a leftover is judged (adoption.py), how a part is read back (readback.py).

The order: the day's segments are proven to be in the signed ledger; where objects are encrypted, the key of the next
one is put on record in the store; rows are checked against the segments while they are exported to a staging file; the
object is put; the manifest is put, which commits the part; the catalogue gets its row; the part is read back from the
store; its verification is recorded, and with it the filters over its values. The next run finishes whatever was begun.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

from compliance_pipelines.archive import sql
from compliance_pipelines.archive.adoption import adoptable_orphan, committed_part, manifest_of, stored_day
from compliance_pipelines.archive.catalogue import ArchivedPart, parts_of_day, segments_of_day, segments_of_part
from compliance_pipelines.archive.errors import ArchiveError, OrphanObjectError, SealedRowsDifferError, StagingError
from compliance_pipelines.archive.layout import PartKey, part_root
from compliance_pipelines.archive.locking import DayLock, lock_day
from compliance_pipelines.archive.parquet import PartLabel, PartWriter, WrittenFile
from compliance_pipelines.archive.progress import Phase, Progress, silent
from compliance_pipelines.archive.readback import ColdArchive, check_part
from compliance_pipelines.archive.recording import StoredManifest, put_manifest, record_part
from compliance_pipelines.archive.sealed_rows import SealedRows
from compliance_pipelines.archive.search_index import record_part_filters
from compliance_pipelines.archive.staging import staging_file
from compliance_pipelines.archive.written_rows import WrittenRows
from compliance_pipelines.audit_log.reading import read_rows
from compliance_pipelines.audit_log.visibility import refuse_hidden_rows
from compliance_pipelines.base.streaming import run_ahead
from compliance_pipelines.ledger.anchored import SegmentNotAnchoredError, check_anchored
from compliance_pipelines.ledger.store_identity import check_identity
from compliance_pipelines.object_store.port import ObjectExistsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import date
    from pathlib import Path
    from uuid import UUID

    import pyarrow as pa

    from compliance_pipelines.archive.manifest import Manifest
    from compliance_pipelines.encryption.data_key import DataKey
    from compliance_pipelines.ledger.segments import Segment
    from compliance_pipelines.services import Services

_BATCHES_AHEAD: Final = 2


class ArchiveStep(StrEnum):
    """What has just been done, in order, when the step hook is called."""

    KEY_PUT = "key_put"
    STAGED = "staged"
    OBJECT_PUT = "object_put"
    MANIFEST_PUT = "manifest_put"
    RECORDED = "recorded"
    VERIFIED = "verified"


class StepHook(Protocol):
    """Called after each step; whatever it raises stops the archive there."""

    def __call__(self, step: ArchiveStep, /) -> None:
        """`step` is done."""


def no_hook(step: ArchiveStep, /) -> None:
    """Let every step pass."""


@dataclass(frozen=True)
class ArchiveResult:
    """A day after its archiving.

    Attributes:
        parts: every part of the day, also those of earlier runs.
        new_parts: numbers of the parts that this run recorded.
        entry_count: entries in all parts.
        object_bytes: bytes of all objects that have not expired.
        canonical_bytes: bytes of the canonical encodings in them.
        uri: where the last part is; None where there is no part.
        root: the last part's root; None where there is no part.
        seconds: how long this run took.
        adopted: whether this run found something that an earlier one had begun.
    """

    day: date
    parts: tuple[ArchivedPart, ...]
    new_parts: tuple[int, ...]
    entry_count: int
    object_bytes: int
    canonical_bytes: int
    uri: str | None
    root: bytes | None
    seconds: float
    adopted: bool


def archive_day(
    services: Services,
    day: date,
    *,
    progress: Progress = silent,
    hook: StepHook = no_hook,
    beside_damaged: bool = False,
) -> ArchiveResult:
    """Archive every sealed segment of a day that no part holds, and verify every part that is not verified yet.

    Args:
        services: the opened services.
        day: the UTC day. Whether it is due is for the caller to know; archiving early does no harm.
        progress: told of rows exported and read back.
        hook: called after each step.
        beside_damaged: where an object without a manifest cannot be adopted, leave it and take the next part number,
            instead of raising OrphanObjectError.

    Raises:
        LedgerError: the store is not the database's, or its segments are not those of the signed ledger; nothing was
            put.
        SealedRowsDifferError: the rows in PostgreSQL are not those that were sealed; nothing was put.
        OrphanObjectError: an object without a manifest is in the way.
        AdoptionError: the store holds a committed part that does not fit the ledger.
        PartDamagedError: a part that was read back is not what was committed.
        ObjectStoreError: the store failed.
        StagingError: there is no room for the staging file.
        TransientError: another process works on the day, or a connection was lost.
    """
    started = monotonic()
    with lock_day(services.engine, day) as lock:
        archiving = _Archiving(services, lock, day, progress, hook)
        archiving.establish()
        archiving.adopt_committed()
        archiving.adopt_orphans(beside_damaged=beside_damaged)
        archiving.archive_pending()
        archiving.verify_parts()
        return archiving.result(started)


class _Archiving:
    """One run over one day, under its lock."""

    def __init__(self, services: Services, lock: DayLock, day: date, progress: Progress, hook: StepHook) -> None:
        self._services = services
        self._lock = lock
        self._connection = lock.connection
        self._day = day
        self._progress = progress
        self._hook = hook
        self._anchored: dict[int, Segment] = {}
        self._store_id: UUID | None = None
        self._new_parts: list[int] = []
        self._adopted = False
        self._last_part = 0
        self._written: dict[str, WrittenRows] = {}

    def _parts(self) -> list[ArchivedPart]:
        parts = parts_of_day(self._connection, self._day)
        self._connection.commit()
        return parts

    def establish(self) -> None:
        """Make sure of the store, and that the day's segments in the database are those of the signed ledger."""
        self._store_id = check_identity(self._services, self._connection).store_id
        refuse_hidden_rows(self._connection)
        segments = [segment for segment, _ in segments_of_day(self._connection, self._day)]
        check_anchored(self._services, self._connection, self._day, segments)
        self._connection.commit()
        self._anchored = {segment.seq: segment for segment in segments}

    def _pending(self) -> list[Segment]:
        segments = segments_of_day(self._connection, self._day)
        self._connection.commit()
        return self._as_anchored(segment for segment, part in segments if part is None)

    def _as_anchored(self, segments: Iterable[Segment]) -> list[Segment]:
        """Those that were proven to be in the signed ledger; what was sealed since then is for the next run."""
        known = [segment for segment in segments if segment.seq in self._anchored]
        for segment in known:
            if segment != self._anchored[segment.seq]:
                raise SegmentNotAnchoredError(
                    f"{self._day}: segment {segment.seq} was changed in the database while the day was archived: find "
                    "out who did, and run `compliance verify --all`"
                )
        return known

    def adopt_committed(self) -> None:
        """Record the parts that were committed in the store before their run could record them."""
        stored = stored_day(self._services.store, self._day, self._parts())
        self._last_part = stored.last_part
        for key in stored.committed:
            manifest, data = committed_part(self._services, key, self._pending())
            found = StoredManifest(manifest, data, self._services.store.confirm(manifest.manifest_key).version)
            self._record(found, self._services.store.confirm(manifest.object_key).version, adopted=True)

    def adopt_orphans(self, *, beside_damaged: bool) -> None:
        """Commit and record the objects that were put before their run could commit them."""
        for orphan in stored_day(self._services.store, self._day, self._parts()).orphans:
            try:
                self._adopt(orphan)
            except OrphanObjectError:
                if not beside_damaged:
                    raise

    def _adopt(self, orphan: PartKey) -> None:
        manifest = adoptable_orphan(self._services, orphan, self._pending(), self._progress).manifest()
        self._commit(manifest, self._services.store.confirm(orphan.object_key).version, adopted=True)

    def archive_pending(self) -> None:
        """Export what no part holds, as one part."""
        pending = self._pending()
        if not pending:
            return
        part, root = self._last_part + 1, part_root(pending)
        key = PartKey.of(self._day, part, root)
        with staging_file(self._services.settings.archive_staging_path, ".parquet") as path:
            data_key = self._new_data_key(key.object_key)
            target = _Target(path, PartLabel.of(self._day, part, root), data_key)
            written, canonical_bytes = _export(self._services, pending, target, self._progress)
            self._hook(ArchiveStep.STAGED)
            self._lock.ensure_held()
            try:
                stored = self._services.store.put_file(key.object_key, path)
            except ObjectExistsError:
                # The answer to a put that the store's client repeated was lost, or somebody else was faster.
                self._adopt(key)
                return
        if stored.sha256 not in {None, written.sha256}:
            raise ArchiveError(
                f"{self._services.store.locate(key.object_key)} does not have the SHA-256 of what was written: the "
                f"staging file changed on its way. The object has no manifest; move it out of the store and run again"
            )
        self._hook(ArchiveStep.OBJECT_PUT)
        self._written[written.sha256] = WrittenRows(written, tuple(pending), canonical_bytes)
        manifest = manifest_of(key, pending, written, canonical_bytes, data_key)
        self._commit(manifest, stored.version, adopted=False)

    def _new_data_key(self, key_of_object: str) -> DataKey | None:
        """The key that the next object is encrypted with, on record in the store; None where objects are not."""
        if not self._services.settings.encrypts_archives:
            return None
        data_key = self._services.data_keys.for_new(key_of_object)
        self._hook(ArchiveStep.KEY_PUT)
        return data_key

    def _commit(self, manifest: Manifest, object_version: str | None, *, adopted: bool) -> None:
        self._lock.ensure_held()
        stored = put_manifest(self._services, manifest)
        self._hook(ArchiveStep.MANIFEST_PUT)
        self._record(stored, object_version, adopted=adopted)

    def _record(self, stored: StoredManifest, object_version: str | None, *, adopted: bool) -> None:
        record_part(self._services, self._connection, stored, object_version, adopted=adopted)
        manifest = stored.manifest
        self._new_parts.append(manifest.part)
        self._last_part = max(self._last_part, manifest.part)
        self._adopted = self._adopted or adopted
        self._hook(ArchiveStep.RECORDED)

    def verify_parts(self) -> None:
        """Read back every part that is not verified yet, from the store, and record that it is whole."""
        for part in self._parts():
            if part.purged_at is not None or (part.verified_at is not None and part.verified_store == self._store_id):
                continue
            if part.part not in self._new_parts:
                self._adopted = True
            segments = self._as_anchored(segments_of_part(self._connection, part))
            self._connection.commit()
            archive = replace(ColdArchive.of(self._services), written=self._written)
            checked = check_part(archive, part, segments, progress=self._progress, filters=True)
            checked.raise_if_damaged()
            self._services.data_keys.require_both_records(part.object_key, part.encryption)
            with self._connection.begin():
                store = check_identity(self._services, self._connection)
                self._connection.execute(
                    sql.MARK_VERIFIED, {"day": part.day, "part": part.part, "store_id": store.store_id}
                )
                record_part_filters(self._services, self._connection, part, checked)
            self._hook(ArchiveStep.VERIFIED)

    def result(self, started: float) -> ArchiveResult:
        """The day as it is now."""
        parts = self._parts()
        kept = [part for part in parts if part.expired_at is None]
        return ArchiveResult(
            day=self._day,
            parts=tuple(parts),
            new_parts=tuple(self._new_parts),
            entry_count=sum(part.entry_count for part in parts),
            object_bytes=sum(part.object_bytes for part in kept),
            canonical_bytes=sum(part.canonical_bytes for part in kept),
            uri=parts[-1].archive_location if parts else None,
            root=parts[-1].root if parts else None,
            seconds=monotonic() - started,
            adopted=self._adopted,
        )


def _hashed(batches: Iterator[pa.RecordBatch], rows: SealedRows) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        rows.feed(batch)
        yield batch


@contextmanager
def _full_disk_as_staging_error(day: date, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StagingError(
            f"{day} was not archived: {path} cannot be written: {error}; free space there, or set ARCHIVE_STAGING_PATH "
            f"to another directory, and run it again"
        ) from error


@dataclass(frozen=True)
class _Target:
    """The file that is written: where, what it says about itself, what it is encrypted with."""

    path: Path
    label: PartLabel
    data_key: DataKey | None


def _export(
    services: Services, segments: Sequence[Segment], target: _Target, progress: Progress
) -> tuple[WrittenFile, int]:
    """Write the rows of segments to a file while comparing them with the ledger: reader, hasher, writer overlap.

    Returns:
        the file, and the length of the rows' canonical encodings in bytes.

    Raises:
        SealedRowsDifferError: the rows are not those that were sealed.
        StagingError: the file cannot be written.
        TransientError: the connection was lost.
    """
    day = segments[0].day
    entry_count = sum(segment.entry_count for segment in segments)
    rows = SealedRows(segments)
    tx_from, tx_to = min(segment.tx_from for segment in segments), max(segment.tx_to for segment in segments)
    with (
        read_rows(services.engine, day=day, tx_from=tx_from, tx_to=tx_to, about=entry_count) as source,
        run_ahead(source, depth=_BATCHES_AHEAD, name="archive-reader") as read,
        run_ahead(_hashed(read, rows), depth=_BATCHES_AHEAD, name="archive-hasher") as hashed,
        PartWriter(target.path, target.label, entry_count, target.data_key) as writer,
    ):
        exported = 0
        for batch in hashed:
            with _full_disk_as_staging_error(day, target.path):
                writer.write(batch)
            exported += batch.num_rows
            progress(Phase.EXPORT, exported, entry_count)
        with _full_disk_as_staging_error(day, target.path):
            written = writer.finish()
    differences = rows.differences()
    if differences:
        raise SealedRowsDifferError(
            f"{day} was not archived: its rows in PostgreSQL are not those that were sealed: "
            + "; ".join(difference.message for difference in differences)
            + f". Nothing was put into the cold store; run `compliance verify {day}` and find out who changed them"
        )
    return written, rows.canonical_bytes
