"""Writing a damaged part again, from wherever its entries are still to be had.

Here: the order of the steps, each of which may be the last before a kill, and where the part is written to. Not here:
where it can be had from (repair_sources.py), what is wrong with it (readback.py).

The very bytes that were committed go back under their own key: as a new version where the store keeps them, or where
there is no object any more. In every other case the part gets another revision, under a key of its own, with a signed
manifest that names the one it replaces: nothing that is damaged is overwritten or removed, and whoever reads the bucket
alone sees which revision counts (decision 62).

The order: what is damaged is recorded; the object is put; the manifest is put, which commits a revision; both are read
back from the store and recomputed; the catalogue, the reading, the filters and the audit entry are written in one
transaction. The next run finishes whatever was begun.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from compliance_pipelines.archive import sql
from compliance_pipelines.archive.adoption import stored_day
from compliance_pipelines.archive.catalogue import parts_of_day, segments_of_day
from compliance_pipelines.archive.errors import ManifestError, RepairRefusedError, StagingError
from compliance_pipelines.archive.layout import PartKey, day_prefix, parse_key
from compliance_pipelines.archive.locking import DayLock, lock_day
from compliance_pipelines.archive.manifest import Manifest
from compliance_pipelines.archive.parquet import WrittenFile
from compliance_pipelines.archive.progress import Progress, silent
from compliance_pipelines.archive.readback import (
    ColdArchive,
    Damage,
    PartCheck,
    check_part,
    copy_hashed,
    read_manifest,
    sha256_of,
)
from compliance_pipelines.archive.recording import put_manifest
from compliance_pipelines.archive.repair_sources import NO_SOURCES, FoundObject, PartSources, Sources
from compliance_pipelines.archive.scrub_record import is_known_to_be_damaged, record_scrub
from compliance_pipelines.archive.search_index import record_part_filters
from compliance_pipelines.archive.self_audit import audit_log, repair_entry
from compliance_pipelines.archive.staging import staging_file
from compliance_pipelines.archive.store_holds import hold_new_part
from compliance_pipelines.audit_log.visibility import refuse_hidden_rows
from compliance_pipelines.encryption.catalogue import record_key_in_catalogue
from compliance_pipelines.encryption.data_key import Encryption
from compliance_pipelines.ledger.anchored import check_anchored
from compliance_pipelines.ledger.store_identity import check_identity
from compliance_pipelines.object_store.versions import keeper_of
from compliance_pipelines.search_filters.catalogue import remove_filters

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from compliance_pipelines.archive.catalogue import ArchivedPart
    from compliance_pipelines.ledger.segments import Segment
    from compliance_pipelines.services import Services

_OF_THE_OBJECT: Final = frozenset(
    {
        Damage.OBJECT_MISSING,
        Damage.OBJECT_TRUNCATED,
        Damage.OBJECT_ALTERED,
        Damage.OBJECT_SWAPPED,
        Damage.DATA_KEY_MISSING,
        Damage.DATA_KEY_ALTERED,
    }
)
_OF_THE_MANIFEST: Final = frozenset({Damage.MANIFEST_MISSING, Damage.MANIFEST_ALTERED, Damage.SIGNATURE_BY_RETIRED_KEY})
_FOUND_WHOLE: Final = "what an earlier run that was interrupted, or somebody else, had put back"
_FOUND_REVISION: Final = "the revision that an earlier run had put, and did not record"
_THE_STORE: Final = "the store itself"


class RepairStep(StrEnum):
    """What has just been done, in order, when the step hook is called; RECORDED is before its commit."""

    DAMAGE_RECORDED = "damage_recorded"
    FOUND = "found"
    OBJECT_PUT = "object_put"
    MANIFEST_PUT = "manifest_put"
    READ_BACK = "read_back"
    RECORDED = "recorded"
    COMMITTED = "committed"


class StepHook(Protocol):
    """Called after each step; whatever it raises stops the repair there."""

    def __call__(self, step: RepairStep, /) -> None:
        """`step` is done."""


def no_hook(step: RepairStep, /) -> None:
    """Let every step pass."""


@dataclass(frozen=True)
class RepairedPart:
    """A part that is whole again.

    Attributes:
        part: the catalogue's row from now on.
        source: where it was had from, in words.
        damage: what was wrong with it, as far as this run saw that.
    """

    part: ArchivedPart
    source: str
    damage: tuple[str, ...]

    @property
    def revision(self) -> int:
        """Of its objects."""
        key = parse_key(self.part.object_key)
        return 0 if key is None else key.revision


@dataclass(frozen=True)
class RepairResult:
    """A day after its repair: the parts that were written again, and how many were whole."""

    day: date
    repaired: tuple[RepairedPart, ...]
    whole: int


def repair_day(
    services: Services,
    day: date,
    sources: Sources = NO_SOURCES,
    *,
    progress: Progress = silent,
    hook: StepHook = no_hook,
) -> RepairResult:
    """Read back every part of a day, and write those again that are damaged.

    Args:
        services: the opened services.
        day: the UTC day.
        sources: what there is besides the store's versions, the hot rows and the table of a restore.
        progress: told of rows read.
        hook: called after each step.

    Raises:
        LedgerError: key, database and cold store do not belong together, or the day's segments are not those of the
            signed ledger; nothing was put.
        RepairRefusedError: the day has no part that is kept, or a part cannot be had from anywhere; the others were
            repaired.
        PartDamagedError: what was put is not what is read back; nothing was recorded.
        RowsHiddenError: PostgreSQL may not show every row.
        ObjectStoreError: the store failed; the next run goes on.
        StagingError: there is no room for a copy.
        TransientError: another process works on the day, or a connection was lost.
    """
    with lock_day(services.engine, day) as lock:
        return _Repairing(services, lock, day, sources, progress, hook).run()


class _Repairing:
    """One run over one day, under its lock."""

    def __init__(  # noqa: PLR0913, PLR0917 - what one repair needs
        self,
        services: Services,
        lock: DayLock,
        day: date,
        sources: Sources,
        progress: Progress,
        hook: StepHook,
    ) -> None:
        self._services = services
        self._lock = lock
        self._connection = lock.connection
        self._day = day
        self._sources = sources
        self._progress = progress
        self._hook = hook
        self._archive = ColdArchive.of(services)
        self._repaired: list[RepairedPart] = []

    def run(self) -> RepairResult:
        """Look at each part, and mend what can be mended.

        Raises:
            RepairRefusedError: some could not be.
        """
        parts, segments = self._established()
        refused = []
        for part in parts:
            try:
                self._mend(part, segments[part.part])
            except RepairRefusedError as error:
                refused.append(str(error))
        if refused:
            raise RepairRefusedError("; ".join(refused))
        return RepairResult(self._day, tuple(self._repaired), len(parts) - len(self._repaired))

    def _established(self) -> tuple[list[ArchivedPart], dict[int, list[Segment]]]:
        """Make sure of the store, and that the day's segments are those of the signed ledger: they judge what is put.

        Returns:
            the parts that are kept, and the segments of each.
        """
        with self._connection.begin():
            check_identity(self._services, self._connection)
            refuse_hidden_rows(self._connection)
            of_day = segments_of_day(self._connection, self._day)
            check_anchored(self._services, self._connection, self._day, [segment for segment, _ in of_day])
            parts = [part for part in parts_of_day(self._connection, self._day) if part.expired_at is None]
        if not parts:
            raise RepairRefusedError(f"{self._day} has no part in the cold store that could be repaired")
        return parts, {part.part: [segment for segment, number in of_day if number == part.part] for part in parts}

    def _mend(self, part: ArchivedPart, segments: list[Segment]) -> None:
        checked = check_part(self._archive, part, segments, progress=self._progress, filters=True)
        damage = tuple(finding.message for finding in checked.findings)
        if self._takes_up_revision(part, segments, damage):
            return
        if checked.ok:
            if self._was_damaged(part):
                self._record(part, part, checked, _FOUND_WHOLE, damage)
            return
        self._record_damage(part, checked)
        self._refuse_if_not_the_store(part, checked)
        kinds = {finding.kind for finding in checked.findings}
        with staging_file(self._services.settings.archive_staging_path, ".repair") as path:
            new, source = self._written(part, segments, kinds, path)
        read = check_part(self._archive, new, segments, progress=self._progress, filters=True)
        read.raise_if_damaged()
        self._hook(RepairStep.READ_BACK)
        self._record(part, new, read, source, damage)

    def _was_damaged(self, part: ArchivedPart) -> bool:
        with self._connection.begin():
            store_id = check_identity(self._services, self._connection).store_id
            return is_known_to_be_damaged(self._connection, part, store_id)

    def _record_damage(self, part: ArchivedPart, checked: PartCheck) -> None:
        """Before anything is put: a run that is killed after its put leaves a part that is whole, and no word of it."""
        with self._connection.begin():
            store_id = check_identity(self._services, self._connection).store_id
            record_scrub(self._services, self._connection, part, checked, store_id)
        self._hook(RepairStep.DAMAGE_RECORDED)

    def _refuse_if_not_the_store(self, part: ArchivedPart, checked: PartCheck) -> None:
        others = [found for found in checked.findings if found.kind not in _OF_THE_OBJECT | _OF_THE_MANIFEST]
        if others:
            raise RepairRefusedError(
                f"part {part.part} of {part.day} was not repaired: it is not the cold store that is wrong: "
                f"{'; '.join(found.message for found in others)}. Find out who altered the database, and see "
                f"`compliance verify {part.day}`"
            )

    def _written(
        self, part: ArchivedPart, segments: list[Segment], kinds: set[Damage], path: Path
    ) -> tuple[ArchivedPart, str]:
        """Put what is damaged; return the catalogue's row that fits it, and where it was had from."""
        sources = PartSources(
            self._services, self._archive, part, segments, offered=self._sources, progress=self._progress
        )
        # One that a retired key signed is signed anew, wherever its bytes are.
        to_find = kinds & _OF_THE_MANIFEST and Damage.SIGNATURE_BY_RETIRED_KEY not in kinds
        manifest = sources.manifest() if to_find else None
        found = self._found(part, sources, path) if kinds & _OF_THE_OBJECT else self._own_object(part, path)
        self._hook(RepairStep.FOUND)
        source = found.source if manifest is None or found.source == manifest[0] else f"{found.source}; {manifest[0]}"
        can_go_back = (
            found.file.sha256 == part.object_sha256
            and (manifest is not None or not kinds & _OF_THE_MANIFEST)
            and (not kinds & _OF_THE_OBJECT or self._takes_back(part.object_key))
            and (manifest is None or self._takes_back(part.manifest_key))
        )
        if not can_go_back:
            return self._as_next_revision(part, segments, found, path), source
        if kinds & _OF_THE_OBJECT:
            version = self._put_back(part.object_key, path, part.object_sha256, part.object_version)
            part = replace(part, object_version=version)
            self._hook(RepairStep.OBJECT_PUT)
        if manifest is not None:
            path.write_bytes(manifest[1])
            version = self._put_back(part.manifest_key, path, part.manifest_sha256, part.manifest_version)
            part = replace(part, manifest_version=version)
            self._hook(RepairStep.MANIFEST_PUT)
        return part, source

    def _found(self, part: ArchivedPart, sources: PartSources, path: Path) -> FoundObject:
        try:
            found = sources.object(path)
        except OSError as error:
            raise StagingError(f"{path} cannot be written: {error}; free space there and run it again") from error
        if found is None:
            raise RepairRefusedError(
                f"part {part.part} of {part.day} was not repaired: nothing was found that has its entries. Tried: "
                f"{'; '.join(sources.tried) or 'nothing'}. Give a copy of the cold store with --from-store, or a table "
                "with its rows with --from-table"
            )
        return found

    def _own_object(self, part: ArchivedPart, path: Path) -> FoundObject:
        """The object itself, which is whole: its manifest alone is not."""
        store = self._services.store.at_versions(part.versions)
        size, sha256 = copy_hashed(store, part.object_key, path, part.object_bytes)
        if sha256 != part.object_sha256:
            raise RepairRefusedError(f"part {part.part} of {part.day} changed while it was repaired; run it again")
        encryption = Encryption.from_json(part.encryption)
        key = None if encryption is None else self._services.data_keys.of_object(part.object_key, encryption)
        return FoundObject(_THE_STORE, WrittenFile(part.entry_count, size, sha256), part.canonical_bytes, key)

    def _takes_back(self, key: str) -> bool:
        """Whether the key can get its bytes again without anything being overwritten."""
        return keeper_of(self._services.store) is not None or self._services.store.stat(key) is None

    def _put_back(self, key: str, path: Path, sha256: str, damaged: str | None) -> str | None:
        """Put the bytes that were committed under their own key, above the version that is damaged.

        Returns:
            the version that they have now.
        """
        self._lock.ensure_held()
        store, keeper = self._services.store, keeper_of(self._services.store)
        if keeper is None:
            return store.put_file(key, path).version
        # Where an earlier run was killed after its put, its version is the newest one.
        newest = store.stat(key)
        if newest is not None and newest.version not in {None, damaged}:
            at_newest = store.at_versions({key: str(newest.version)})
            if sha256_of(at_newest, key, path.stat().st_size) == sha256:
                return store.confirm(key).version
        return keeper.put_over(key, path).version

    def _as_next_revision(
        self, part: ArchivedPart, segments: list[Segment], found: FoundObject, path: Path
    ) -> ArchivedPart:
        store = self._services.store
        key, version = self._put_next(part, found, path)
        self._hook(RepairStep.OBJECT_PUT)
        self._lock.ensure_held()
        stored = put_manifest(
            self._services,
            Manifest(
                day=part.day,
                part=part.part,
                object_key=key.object_key,
                object_sha256=found.file.sha256,
                object_bytes=found.file.size,
                entry_count=part.entry_count,
                canonical_bytes=found.canonical_bytes,
                first_id=part.first_id,
                last_id=part.last_id,
                root=part.root,
                segments=tuple(segments),
                created_at=datetime.now(UTC),
                encryption=Encryption.of(found.key),
                revision=key.revision,
                replaces=part.manifest_key,
            ),
        )
        self._hook(RepairStep.MANIFEST_PUT)
        return replace(
            part,
            archive_location=store.locate(key.object_key),
            object_key=key.object_key,
            object_sha256=found.file.sha256,
            object_bytes=found.file.size,
            object_version=version,
            manifest_key=stored.manifest.manifest_key,
            manifest_sha256=hashlib.sha256(stored.data).hexdigest(),
            manifest_version=stored.version,
            encryption=None if stored.manifest.encryption is None else stored.manifest.encryption.to_json(),
        )

    def _put_next(self, part: ArchivedPart, found: FoundObject, path: Path) -> tuple[PartKey, str | None]:
        """Put the object under the next key of its part, unless an earlier run did."""
        store = self._services.store
        own = PartKey.of(part.day, part.part, part.root)
        keys = [
            key
            for info in store.list(day_prefix(part.day))
            if (key := parse_key(info.key)) is not None and key.family == own.family
        ]
        recorded = parse_key(part.object_key)
        last = max((key.revision for key in [*keys, *([] if recorded is None else [recorded])]), default=0)
        left = replace(own, revision=last)
        self._lock.ensure_held()
        committed = left.object_key == part.object_key or any(
            each.is_manifest for each in keys if each.revision == last
        )
        if not committed and sha256_of(store, left.object_key, found.file.size) == found.file.sha256:
            return left, store.confirm(left.object_key).version
        key = replace(own, revision=last + 1)
        if found.key is not None:
            self._services.data_keys.put_for_new(key.object_key, found.key)
        return key, store.put_file(key.object_key, path).version

    def _takes_up_revision(self, part: ArchivedPart, segments: list[Segment], damage: tuple[str, ...]) -> bool:
        """Record a revision that an earlier run committed and did not record, if it is whole; whether there was one."""
        own = PartKey.of(part.day, part.part, part.root)
        store = self._services.store
        known = parts_of_day(self._connection, self._day)
        self._connection.commit()
        for key in reversed(stored_day(store, self._day, known).replacements):
            if key.family != own.family:
                continue
            try:
                manifest, data = read_manifest(self._archive, key.manifest_key)
            except ManifestError:
                continue
            new = replace(
                part,
                archive_location=store.locate(manifest.object_key),
                object_key=manifest.object_key,
                object_sha256=manifest.object_sha256,
                object_bytes=manifest.object_bytes,
                object_version=None,
                manifest_key=manifest.manifest_key,
                manifest_sha256=hashlib.sha256(data).hexdigest(),
                manifest_version=None,
                encryption=None if manifest.encryption is None else manifest.encryption.to_json(),
            )
            read = check_part(self._archive, new, segments, progress=self._progress, filters=True)
            if read.ok:
                new = replace(
                    new,
                    object_version=store.confirm(new.object_key).version,
                    manifest_version=store.confirm(new.manifest_key).version,
                )
                self._record(part, new, read, _FOUND_REVISION, damage)
                return True
        return False

    def _record(
        self, old: ArchivedPart, new: ArchivedPart, read: PartCheck, source: str, damage: tuple[str, ...]
    ) -> None:
        """The catalogue's row, the reading that found it whole, and the audit entry, in one transaction."""
        values = {
            "archive_location": new.archive_location,
            "object_key": new.object_key,
            "object_sha256": new.object_sha256,
            "object_bytes": new.object_bytes,
            "object_version": new.object_version,
            "manifest_key": new.manifest_key,
            "manifest_sha256": new.manifest_sha256,
            "manifest_version": new.manifest_version,
            "encryption": new.encryption,
        }
        encryption = Encryption.from_json(new.encryption)
        key = None if encryption is None else self._services.data_keys.record_of(new.object_key, encryption)
        with self._connection.begin():
            store_id = check_identity(self._services, self._connection).store_id
            if new.object_key != old.object_key:
                hold_new_part(self._services, self._connection, new, new.versions)
            if key is not None:
                record_key_in_catalogue(self._connection, key)
            login = str(self._connection.execute(sql.SESSION_LOGIN).scalar_one())
            self._connection.execute(
                sql.REPLACE_PART, {"day": old.day, "part": old.part, "source": source, "by": json.dumps(values)}
            )
            if not record_scrub(self._services, self._connection, new, read, store_id):
                raise RepairRefusedError(f"part {old.part} of {old.day} changed while it was repaired; run it again")
            if new.object_key != old.object_key:
                remove_filters(self._connection, [old.object_key])
            record_part_filters(self._services, self._connection, new, read)
            audit_log(self._services).append_within(
                self._connection, repair_entry(self._services, old, new, source=source, damage=damage, login=login)
            )
            self._hook(RepairStep.RECORDED)
        self._hook(RepairStep.COMMITTED)
        self._repaired.append(RepairedPart(new, source, damage))
