"""One day, wherever its entries are: what the ledger says exists must be in PostgreSQL or in a part.

Here: which segments a part holds and which must be hot, and the comparison of both with the ledger. Not here: how one
part (parts.py) or the hot rows (hot.py) are compared.

The work of others goes on meanwhile. If a part of the day was recorded or purged while it was looked at, what was seen
does not belong together, and the day is looked at again.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from compliance_pipelines.archive.adoption import stored_day
from compliance_pipelines.archive.catalogue import ArchivedPart, day_bounds, parts_of_day
from compliance_pipelines.archive.errors import ManifestError
from compliance_pipelines.archive.readback import ColdArchive
from compliance_pipelines.audit_log.quarantine import quarantined_on
from compliance_pipelines.audit_log.reading import UnreadableRowsError
from compliance_pipelines.base.clock import utc_day
from compliance_pipelines.ledger.object_retention import retention_end
from compliance_pipelines.object_store.port import ObjectMissingError
from compliance_pipelines.verification import sql
from compliance_pipelines.verification.expiries import but_for_its_key, unfinished
from compliance_pipelines.verification.findings import Finding, Kind, Note, NoteKind, Undecided
from compliance_pipelines.verification.guard import guarded, reason_of
from compliance_pipelines.verification.hot import check_hot_rows
from compliance_pipelines.verification.parts import RecordedPart, bounded_manifest, check_committed, contradictions
from compliance_pipelines.verification.segment_index import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from datetime import date

    import sqlalchemy

    from compliance_pipelines.archive.layout import PartKey
    from compliance_pipelines.archive.manifest import Manifest
    from compliance_pipelines.ledger.key_chain import KeyChain
    from compliance_pipelines.ledger.segments import Segment
    from compliance_pipelines.services import Services
    from compliance_pipelines.verification.database_ledger import KnownLedger
    from compliance_pipelines.verification.expiries import StatedExpiry
    from compliance_pipelines.verification.findings import Journal
    from compliance_pipelines.verification.segment_index import SegmentIndex

_ATTEMPTS: Final = 3


@dataclass(frozen=True)
class _Catalogue:
    """What the database says about the parts of a day: their rows, number of part by segment, what waits for one.

    `miscounted` says how the count of what waits is not what waits; None where it is.
    """

    parts: tuple[ArchivedPart, ...]
    part_of_segment: dict[int, int]
    miscounted: str | None

    def recorded(self, part: int) -> set[int]:
        """The segments that a part holds."""
        return {seq for seq, number in self.part_of_segment.items() if number == part}

    @property
    def whereabouts(self) -> object:
        """What decides where the entries are."""
        parts = [(part.part, part.purged_at is None, part.expired_at is None) for part in self.parts]
        return parts, self.part_of_segment


@dataclass
class _Seen:
    """What was seen of a day in one attempt.

    Attributes:
        held: number of the part by segment, according to the best witness.
        gone: segments whose entries left PostgreSQL.
        in_cold_store: whether there is anything of the day in the cold store, or was until it expired.
    """

    findings: list[Finding] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    undecided: list[Undecided] = field(default_factory=list)
    held: dict[int, int] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)
    in_cold_store: bool = False
    parts: int = 0
    parts_by_hash: int = 0
    archived_entries: int = 0
    hot_entries: int = 0
    quarantined_entries: int = 0


class DayVerifier:
    """Verifies day after day.

    Args:
        services: the opened services.
        keys: of the ledger, of which one must have signed each manifest, in its time.
        index: holds the ledger's segments of the days.
        ledger: the ledger that was established.
        journal: is told what was found.
        on_rows: told how many rows were read, piece by piece.
    """

    def __init__(  # noqa: PLR0913 - what one verification needs
        self,
        services: Services,
        keys: KeyChain,
        index: SegmentIndex,
        ledger: KnownLedger,
        *,
        journal: Journal,
        on_rows: Callable[[int], None],
    ) -> None:
        self._services = services
        staging = services.settings.archive_staging_path
        self._archive = ColdArchive(
            services.store, keys, staging, self._object_with, keys=services.data_keys, hash_only_without_keys=True
        )
        self._index = index
        self._ledger = ledger
        self._journal = journal
        self._on_rows = on_rows

    def verify(self, day: date) -> bool:
        """Look at one day and tell the journal.

        Returns:
            Whether there was anything to look at.

        Raises:
            TransientError: the rows in PostgreSQL could not be read.
            ObjectStoreError: the store cannot be listed.
            sqlalchemy.exc.DBAPIError: the database failed.
        """
        for _ in range(_ATTEMPTS):
            before = self._catalogue(day)
            segments = self._index.of_day(Source.LEDGER, day)
            seen = _DayReading(
                self._services,
                self._archive,
                self._ledger,
                day,
                segments=segments,
                catalogue=before,
                on_rows=self._on_rows,
            ).read()
            if self._catalogue(day).whereabouts == before.whereabouts:
                self._tell(seen)
                return bool(segments or seen.parts or seen.hot_entries or seen.quarantined_entries or before.parts)
        self._journal.cannot_tell(
            Undecided("its parts changed whenever it was looked at; run the verification again", day=day)
        )
        return True

    def _object_with(self, sha256: str) -> str | None:
        with self._services.engine.connect() as connection:
            return connection.execute(sql.OBJECT_WITH_SHA256, {"sha256": sha256}).scalar()

    def _catalogue(self, day: date) -> _Catalogue:
        with self._services.engine.connect() as connection:
            held = connection.execute(sql.SEGMENTS_HELD_ON_DAY, {"day": day})
            return _Catalogue(
                tuple(parts_of_day(connection, day)),
                {row.segment_seq: row.part for row in held},
                _miscounted(connection, day),
            )

    def _tell(self, seen: _Seen) -> None:
        for finding in seen.findings:
            self._journal.find(finding)
        for note in seen.notes:
            self._journal.note(note)
        for undecided in seen.undecided:
            self._journal.cannot_tell(undecided)
        checked = self._journal.checked
        checked.days += 1
        checked.parts += seen.parts
        checked.parts_by_hash += seen.parts_by_hash
        checked.archived_entries += seen.archived_entries
        checked.hot_entries += seen.hot_entries


def _miscounted(connection: sqlalchemy.Connection, day: date) -> str | None:
    found = connection.execute(sql.BACKLOG_OF_DAY, {"day": day}).one()
    if (found.counted_segments, found.counted_entries) == (found.segments, found.entries):
        return None
    return (
        f"archive_backlog counts {found.counted_segments:,} segments with {found.counted_entries:,} entries of {day} "
        f"that wait to be archived, and {found.segments:,} with {found.entries:,} do"
    )


class _DayReading:
    """One look at one day."""

    def __init__(  # noqa: PLR0913 - a day, all that is known of it, and who is told
        self,
        services: Services,
        archive: ColdArchive,
        ledger: KnownLedger,
        day: date,
        *,
        segments: Sequence[Segment],
        catalogue: _Catalogue,
        on_rows: Callable[[int], None],
    ) -> None:
        self._services = services
        self._archive = archive
        self._ledger = ledger
        self._day = day
        self._segments = {segment.seq: segment for segment in segments}
        self._catalogue = catalogue
        self._on_rows = on_rows
        self._seen = _Seen()

    def read(self) -> _Seen:
        """Look at the parts, those that the catalogue does not know included, then at the hot rows."""
        for part in self._catalogue.parts:
            self._read_recorded(part)
        self._check_numbers()
        self._read_unrecorded()
        self._read_hot_rows()
        self._read_quarantine()
        return self._seen

    def _find(self, kind: Kind, message: str, part: int | None = None, key: str | None = None) -> None:
        self._seen.findings.append(Finding(kind=kind, day=self._day, part=part, key=key, message=message))

    def _note(self, kind: NoteKind, message: str, part: int | None = None, key: str | None = None) -> None:
        self._seen.notes.append(Note(kind=kind, day=self._day, part=part, key=key, message=message))

    def _read_recorded(self, part: ArchivedPart) -> None:
        held: Collection[int] = self._catalogue.recorded(part.part)
        stated = self._ledger.expiries.of(part.object_key)
        if part.expired_at is not None:
            self._judge_expiry(part, stated)
        elif stated is not None and self._is_going(part, stated):
            held = {segment.seq for segment in stated.segments}
        else:
            with guarded(lambda error: self._cannot_tell_part(part, error)):
                outcome = RecordedPart(self._archive, part, held, self._segments).check(self._on_rows)
                held = outcome.held
                self._seen.findings += but_for_its_key(outcome.findings, stated)
                self._seen.in_cold_store |= outcome.object_is_there
                self._seen.archived_entries += outcome.entries
                self._seen.parts_by_hash += not outcome.decrypted
            self._seen.parts += 1
        self._hold(part.part, held)
        if part.purged_at is not None or part.expired_at is not None:
            self._seen.gone.update(held)

    def _cannot_tell_part(self, part: ArchivedPart, error: Exception) -> None:
        self._cannot_tell(f"part {part.part}", error)
        self._seen.in_cold_store = True

    def _cannot_tell(self, what: str, error: Exception) -> None:
        self._seen.undecided.append(Undecided(f"{what} could not be read: {reason_of(error)}", day=self._day))

    def _hold(self, part: int, held: Collection[int]) -> None:
        twice = sorted(seq for seq in held if seq in self._seen.held)
        if twice:
            other = self._seen.held[twice[0]]
            self._find(Kind.PARTS_OVERLAP, f"segment {twice[0]} is in part {other} and in part {part}", part)
        self._seen.held.update(dict.fromkeys(held, part))

    def _is_going(self, part: ArchivedPart, stated: StatedExpiry) -> bool:
        """Whether the removal of a part has begun, as the ledger states, and is not on record as done yet."""
        store = self._archive.at(part).store
        left = [key for key in (part.object_key, part.manifest_key) if store.stat(key) is not None]
        self._seen.notes.append(unfinished(stated, f"{' and '.join(left) or 'nothing'} is left of it"))
        self._seen.in_cold_store = True
        return part.object_key not in left or part.manifest_key not in left

    def _judge_expiry(self, part: ArchivedPart, stated: StatedExpiry | None) -> None:
        years = self._services.settings.audit_cold_storage_retention_years
        kept_until = retention_end(self._day, years).date()
        self._seen.in_cold_store = True
        if kept_until > utc_day(self._services.clock()):
            self._find(
                Kind.CATALOGUE_ALTERED,
                f"the catalogue says that part {part.part} of {self._day} has expired, and it is to be kept until "
                f"{kept_until}",
                part.part,
            )
        elif stated is None:
            self._find(
                Kind.CATALOGUE_ALTERED,
                f"the catalogue says that part {part.part} of {self._day} has expired, and the ledger does not say so: "
                "nothing expires without that",
                part.part,
            )
        else:
            self._note(NoteKind.PART_EXPIRED, f"{stated}; it is not read", part.part)
            left = [key for key in (part.object_key, part.manifest_key) if self._archive.store.stat(key) is not None]
            if left:
                self._seen.notes.append(unfinished(stated, f"{' and '.join(left)} is there (again)"))

    def _check_numbers(self) -> None:
        known = {part.part for part in self._catalogue.parts}
        for number in sorted(set(self._catalogue.part_of_segment.values()) - known):
            self._find(
                Kind.CATALOGUE_ALTERED,
                f"archived_segments speaks of part {number} of {self._day}, which the catalogue does not have",
                number,
            )
        if self._catalogue.miscounted is not None:
            self._find(Kind.CATALOGUE_ALTERED, self._catalogue.miscounted)

    def _read_unrecorded(self) -> None:
        """Look at what lies in the cold store without being in the catalogue."""
        stored = stored_day(self._archive.store, self._day, self._catalogue.parts)
        for key in stored.committed:
            with guarded(partial(self._cannot_tell, key.manifest_key)), suppress(ObjectMissingError):
                self._read_committed(key)
        for key in stored.replacements:
            with guarded(partial(self._cannot_tell, key.manifest_key)), suppress(ObjectMissingError):
                self._read_replacement(key)
        for key in stored.orphans:
            self._note(
                NoteKind.OBJECT_UNCOMMITTED,
                f"{key.object_key} has no manifest: an archive run was interrupted, the next one of the day goes on",
                key.part,
                key.object_key,
            )
        for key in stored.left_behind:
            self._note(
                NoteKind.OBJECT_UNCOMMITTED,
                f"{key.object_key} has no manifest and was left behind: committed parts hold the entries that it was "
                f"made for; nothing reads it",
                key.part,
                key.object_key,
            )

    def _read_committed(self, key: PartKey) -> None:
        unknown = f"{key.manifest_key} is not in the catalogue"
        try:
            manifest = bounded_manifest(self._archive, key.manifest_key)
        except ManifestError as error:
            self._find(Kind.PART_UNKNOWN, f"{unknown}, and nothing of ours: {error}", key.part, key.manifest_key)
            return
        held = {segment.seq for segment in manifest.segments}
        if contradictions(manifest, self._segments):
            self._find(
                Kind.PART_UNKNOWN,
                f"{unknown}, and holds segments that are not in the ledger",
                key.part,
                key.manifest_key,
            )
        elif held & set(self._seen.held):
            self._find(
                Kind.PART_UNKNOWN, f"{unknown}, and holds segments that another part holds", key.part, key.manifest_key
            )
        else:
            self._read_unknown_to_catalogue(manifest, held)

    def _read_replacement(self, key: PartKey) -> None:
        """A later revision than the catalogue's: a repair that was interrupted, unless it is nothing of ours."""
        unknown = f"{key.manifest_key} is a later revision than the catalogue's"
        try:
            manifest = bounded_manifest(self._archive, key.manifest_key)
        except ManifestError as error:
            self._find(Kind.PART_UNKNOWN, f"{unknown}, and nothing of ours: {error}", key.part, key.manifest_key)
            return
        if contradictions(manifest, self._segments):
            message = f"{unknown}, and holds segments that are not in the ledger"
            self._find(Kind.PART_UNKNOWN, message, key.part, key.manifest_key)
            return
        message = f"{unknown}: a repair was interrupted, and `compliance repair {self._day}` finishes it"
        if self._ledger.on_replica:
            message += ", unless the replica alone does not know of it yet"
        self._note(NoteKind.PART_UNRECORDED, message, key.part, key.manifest_key)

    def _read_unknown_to_catalogue(self, manifest: Manifest, held: set[int]) -> None:
        """A whole part of segments that no other part holds: waiting for its record, or robbed of it."""
        outcome = check_committed(self._archive, manifest, self._on_rows)
        self._seen.findings += outcome.findings
        self._seen.in_cold_store |= outcome.object_is_there
        self._seen.archived_entries += outcome.entries
        self._seen.parts += 1
        key, part = manifest.manifest_key, manifest.part
        if self._is_hot(manifest) or min(held) >= self._ledger.size:
            message = f"{key} is committed and not in the catalogue yet: `compliance archive {self._day}` puts it there"
            if self._ledger.on_replica:
                message += ", unless the replica alone does not know of it yet"
            self._note(NoteKind.PART_UNRECORDED, message, part, key)
            return
        self._find(
            Kind.CATALOGUE_ALTERED,
            f"{key} is committed, its entries left PostgreSQL, and the catalogue does not have it any more",
            part,
            key,
        )
        self._hold(part, held)
        self._seen.gone.update(held)

    def _is_hot(self, manifest: Manifest) -> bool:
        bounds = {
            "tx_from": min(segment.tx_from for segment in manifest.segments),
            "tx_to": max(segment.tx_to for segment in manifest.segments),
        }
        with self._services.engine.connect() as connection:
            found = connection.execute(sql.ENTRIES_IN_RANGE_EXIST, {**day_bounds(self._day), **bounds})
            return bool(found.scalar_one())

    def _read_quarantine(self) -> None:
        """Name what is not sealed because it breaks a rule; whoever put something else there hides nothing by it."""
        with self._services.engine.connect() as connection:
            held = quarantined_on(connection, self._day)
        if held.entries:
            self._note(
                NoteKind.ENTRY_QUARANTINED,
                f"{held}. What breaks a rule of the audit log is in no segment and in no part: only PostgreSQL has it",
            )
        self._seen.quarantined_entries = held.entries
        if held.sound:
            self._find(
                Kind.QUARANTINE_ALTERED,
                f"in PostgreSQL, {held.sound:,} entries were put into quarantine that break no rule, so that they are "
                f"kept out of the ledger",
            )
        if held.removed:
            self._find(
                Kind.QUARANTINE_ALTERED, f"in PostgreSQL, {held.removed:,} of the quarantined entries were deleted"
            )

    def _read_hot_rows(self) -> None:
        # What a replica lacks was said of the whole ledger: none of it can be missing here.
        sealed = [segment for seq, segment in self._segments.items() if seq < self._ledger.size]
        expected = [segment for segment in sealed if segment.seq not in self._seen.gone]
        gone = [segment for seq, segment in self._segments.items() if seq in self._seen.gone]
        try:
            hot = check_hot_rows(
                self._services.engine,
                self._day,
                expected=expected,
                gone=gone,
                tx_horizon=self._ledger.tx_horizon,
                on_rows=self._on_rows,
            )
        except UnreadableRowsError as error:
            # One row that nobody can read must not hide what is wrong with all other days.
            self._seen.undecided.append(Undecided(f"its rows in PostgreSQL could not be read: {error}", day=self._day))
            return
        self._seen.hot_entries = hot.rows
        if hot.rows or not sealed:
            self._seen.findings += hot.findings
        elif not self._seen.in_cold_store:
            entries = sum(segment.entry_count for segment in sealed)
            self._find(
                Kind.DAY_MISSING,
                f"nothing is left of its {entries:,} sealed entries: PostgreSQL has none, the cold store no object",
            )
        elif expected:
            missing = sum(segment.entry_count for segment in expected)
            self._find(Kind.ENTRY_DELETED, f"in PostgreSQL, all {missing:,} entries that must be there were deleted")
