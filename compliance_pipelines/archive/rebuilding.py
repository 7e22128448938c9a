"""A database made anew from the cold store alone, after everything of the former one was lost.

Here: what must hold before, which parts the cold store holds by the signed ledger, and their rows in the catalogue. Not
here: the ledger's records and what is stated to be lost (ledger/recovery.py), reading the parts back (scrub.py).

Nothing of the database is believed, because it has nothing. The ledger comes from the entry bundles, which must lead to
the root that its checkpoint is signed over; a part from its signed manifest, whose segments must be those of that
ledger; a part that expired from what the ledger states of it. Whatever is sealed and in no part was in PostgreSQL
alone, and is stated to be lost. Objects are looked at and not read: the next scrub reads each, because it knows of no
reading.

The database is bound to the store first, then everything else is one transaction. Whoever is killed in between leaves
a database that knows its store and nothing else, and the next call goes on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.archive import sql
from compliance_pipelines.archive.adoption import adoptable_orphan, stored_day
from compliance_pipelines.archive.errors import ArchiveError, OrphanObjectError
from compliance_pipelines.archive.layout import PartKey, part_root
from compliance_pipelines.archive.progress import Progress, silent
from compliance_pipelines.archive.readback import ColdArchive, read_manifest
from compliance_pipelines.archive.recording import StoredManifest, catalogue_row, put_manifest
from compliance_pipelines.audit_log.environment import take_environment
from compliance_pipelines.encryption.catalogue import record_key_in_catalogue
from compliance_pipelines.encryption.errors import DataKeyError
from compliance_pipelines.ledger import sql as ledger_sql
from compliance_pipelines.ledger.expiries import Expiry, is_expiry
from compliance_pipelines.ledger.gap import read_gap
from compliance_pipelines.ledger.log_reading import CHECKPOINT_KEY, read_chain
from compliance_pipelines.ledger.losses import Loss, Voids
from compliance_pipelines.ledger.recovery import Recovery, recover, refuse_other_owner
from compliance_pipelines.ledger.segments import Segment
from compliance_pipelines.ledger.store_identity import IDENTITY_KEY, StoreIdentity, read_binding, read_identity
from compliance_pipelines.ledger.survivors import Survey, survey
from compliance_pipelines.postgres.replica import in_recovery, refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import date, datetime

    import sqlalchemy

    from compliance_pipelines.archive.manifest import Manifest
    from compliance_pipelines.audit_log.entry import JsonValue
    from compliance_pipelines.encryption.wrapped_key import WrappedKey
    from compliance_pipelines.ledger.records import LedgerRecord, Statement
    from compliance_pipelines.services import Services

_MOST_NAMED: Final = 100
_MOST_SHOWN: Final = 5
# Nobody can know any more what an object that expired was committed with, but for what the ledger states of it.
_NOT_KNOWN: Final = "not known"


class RebuildRefusedError(ArchiveError):
    """The database was not made anew from the cold store; it knows at most which store that is."""


@dataclass(frozen=True)
class _Part:
    """A part that the catalogue gets.

    Attributes:
        row: the values of its columns; times are None where they are those of the rebuild.
        seqs: of the segments that it holds, ascending.
        key: the record of its object's key; None where the object is not encrypted, or the key is on no record.
    """

    row: dict[str, Any]
    seqs: tuple[int, ...]
    key: WrappedKey | None = None

    @property
    def expired(self) -> bool:
        """Whether nothing of it is left but what the ledger says."""
        return self.row["expired_at"] is not None


@dataclass
class FoundParts:
    """What the cold store holds, as far as it was looked at.

    Attributes:
        days: how many days have a part.
        parts: how many parts have a manifest, or get one.
        entries: in these.
        object_bytes: of these.
        expired: how many parts have expired, as the ledger states.
        damaged: what is wrong with an object, as far as that can be seen without reading it.
        keyless: objects whose key is on no record, so that nobody can read them.
        uncommitted: what commits objects that an archive run put and came to no end with; it is not put yet.
        unusable: objects without a manifest that hold nothing that was sealed; in words.
    """

    days: int = 0
    parts: int = 0
    entries: int = 0
    object_bytes: int = 0
    expired: int = 0
    damaged: list[str] = field(default_factory=list)
    keyless: list[str] = field(default_factory=list)
    uncommitted: list[Manifest] = field(default_factory=list)
    unusable: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Rebuild:
    """What a rebuild did, or would do.

    Attributes:
        identity: of the cold store.
        found: what it holds.
        recovery: of the ledger; its survey says what is lost.
    """

    identity: StoreIdentity
    found: FoundParts
    recovery: Recovery


class RebuiltParts:
    """The parts that the cold store holds, by the ledger in it: :class:`~.ledger.survivors.ArchivedEntries`.

    Args:
        services: the opened services.
        records: of the whole ledger, proven.
        progress: told of rows of objects that are read because they have no manifest.
    """

    def __init__(self, services: Services, records: Sequence[LedgerRecord], progress: Progress = silent) -> None:
        self.found = FoundParts()
        self._services = services
        self._progress = progress
        self._archive = ColdArchive.of(services)
        self._parts: dict[date, list[_Part]] = {}
        voids = Voids.of(records)
        self._segments: dict[int, Segment] = {}
        self._by_day: dict[date, list[Segment]] = {}
        self._expiries: dict[date, list[tuple[Statement, Expiry]]] = {}
        for record in records:
            if isinstance(record, Segment) and not voids.covers(record.seq):
                self._segments[record.seq] = record
                self._by_day.setdefault(record.day, []).append(record)
            elif is_expiry(record):
                expiry = Expiry.of(record)
                self._expiries.setdefault(expiry.day, []).append((record, expiry))

    def held(self, day: date) -> set[Segment]:
        """The segments of a day that its parts hold, or held until they expired.

        Raises:
            ManifestError: what lies there as a manifest is none of ours, so that it cannot be told.
            RebuildRefusedError: a part does not fit the ledger, or another part.
            ObjectStoreError: the store failed.
        """
        return {self._segments[seq] for part in self._of_day(day) for seq in part.seqs}

    def record(self, owner: sqlalchemy.Connection, found: Survey) -> dict[str, JsonValue]:
        """Write the catalogue; the caller commits.

        Raises:
            RebuildRefusedError: entries stand in PostgreSQL that are in a part, or in the place of such ones.
        """
        archived = {segment.seq for segment in found.archived}
        parts = [part for day in sorted(self._parts) for part in self._parts[day]]
        for part in parts:
            if not archived.issuperset(part.seqs):
                raise RebuildRefusedError(f"entries of {part.row['object_key']} stand in PostgreSQL. {_NOT_EMPTY}")
        self._refuse_entries_in_the_way(owner, found)
        if parts:
            now = owner.execute(ledger_sql.HORIZON).one().now
            owner.execute(sql.INSERT_REBUILT_PART, [_dated(part.row, now) for part in parts])
        for part in parts:
            if part.key is not None:
                record_key_in_catalogue(owner, part.key)
            values = {"seqs": list(part.seqs), "day": part.row["day"], "part": part.row["part"]}
            owner.execute(sql.INSERT_ARCHIVED_SEGMENTS, values)
        return {
            "rebuilt_from": self._services.store.uri,
            "segments_in_archives": len(archived),
            "parts_recorded": self.found.parts,
            "parts_expired": self.found.expired,
            "objects_damaged": [*self.found.damaged[:_MOST_NAMED]],
            "objects_without_key": [*self.found.keyless[:_MOST_NAMED]],
        }

    def _refuse_entries_in_the_way(self, owner: sqlalchemy.Connection, found: Survey) -> None:
        values = {
            "horizon": max((segment.tx_to for segment in found.archived), default=0),
            "days": sorted(self._parts),
            "most": _MOST_SHOWN,
        }
        strangers = list(owner.execute(sql.ENTRIES_OF_DAYS, values).scalars())
        if strangers:
            raise RebuildRefusedError(
                f"entries of archived days were written into this database before it was made anew, under transaction "
                f"ids that were used ({', '.join(strangers)}): have the database's administrator remove these rows, "
                "run it again, and append them again under new ids"
            )

    def _of_day(self, day: date) -> list[_Part]:
        if day not in self._parts:
            found = list(self._read(day))
            _refuse_overlaps(found)
            if found:
                self._parts[day] = found
                self.found.days += 1
            return found
        return self._parts[day]

    def _read(self, day: date) -> Iterator[_Part]:
        stored = stored_day(self._services.store, day, ())
        held: set[int] = set()
        for key in stored.committed:
            part = self._committed(key)
            held.update(part.seqs)
            yield part
        committed = {key.family for key in stored.committed}
        for statement, expiry in self._expiries.get(day, ()):
            key = PartKey.of(expiry.day, expiry.part, expiry.root)
            expired = None if key.family in committed else self._expired(key, statement, expiry)
            if expired is not None:
                self.found.expired += 1
                held.update(expired.seqs)
                yield expired
        for orphan in (*stored.orphans, *stored.left_behind):
            pending = [segment for segment in self._by_day.get(day, ()) if segment.seq not in held]
            part_of_orphan = self._uncommitted(orphan, pending)
            if part_of_orphan is not None:
                held.update(part_of_orphan.seqs)
                yield part_of_orphan

    def _committed(self, key: PartKey) -> _Part:
        store = self._services.store
        manifest, data = read_manifest(self._archive, key.manifest_key)
        strange = [each.seq for each in manifest.segments if self._segments.get(each.seq) != each]
        if strange:
            raise RebuildRefusedError(
                f"{store.locate(key.manifest_key)} is signed, and its segments {_listed(strange)} do not stand like "
                "that in the ledger of this store: the ledger was put back to an older state, or the part is of "
                "another database: run `compliance verify --offline` on a copy of the store"
            )
        info, of_manifest = store.stat(manifest.object_key), store.stat(key.manifest_key)
        if info is None or info.size != manifest.object_bytes:
            is_there = "is not there" if info is None else f"has {info.size:,} bytes"
            self.found.damaged.append(f"{manifest.object_key} {is_there}, and {manifest.object_bytes:,} were committed")
        version = None if info is None else info.version
        stored = StoredManifest(manifest, data, None if of_manifest is None else of_manifest.version)
        return self._part(catalogue_row(self._services, stored, version), manifest)

    def _part(self, row: dict[str, object], manifest: Manifest) -> _Part:
        self.found.parts += 1
        self.found.entries += manifest.entry_count
        self.found.object_bytes += manifest.object_bytes
        key = None
        if manifest.encryption is not None:
            try:
                key = self._services.data_keys.record_of(manifest.object_key, manifest.encryption)
            except DataKeyError as error:
                self.found.keyless.append(str(error))
        times = {"archived_at": manifest.created_at, "verified_at": None, "purged_at": None, "expired_at": None}
        return _Part({**row, **times}, tuple(sorted(segment.seq for segment in manifest.segments)), key)

    def _expired(self, key: PartKey, statement: Statement, expiry: Expiry) -> _Part | None:
        """What the ledger states of a part of which nothing is left; None where its segments are not a part's."""
        of_day = self._by_day.get(expiry.day, ())
        segments = [each for each in of_day if expiry.first_seq <= each.seq <= expiry.last_seq]
        entries = sum(each.entry_count for each in segments)
        if (len(segments), entries) != (expiry.segments, expiry.entries) or part_root(segments) != expiry.root:
            return None
        at = statement.sealed_at
        row = {
            "day": expiry.day,
            "part": expiry.part,
            "archive_location": self._services.store.locate(key.object_key),
            "object_key": key.object_key,
            "object_sha256": expiry.object_sha256.hex(),
            "object_bytes": expiry.object_bytes,
            "manifest_key": key.manifest_key,
            "manifest_sha256": _NOT_KNOWN,
            "entry_count": expiry.entries,
            "canonical_bytes": 0,
            "first_id": min(each.first_id for each in segments),
            "last_id": max(each.last_id for each in segments),
            "root": expiry.root,
            "encryption": None,
            "object_version": None,
            "manifest_version": None,
            **dict.fromkeys(("archived_at", "verified_at", "purged_at", "expired_at"), at),
        }
        return _Part(row, tuple(segment.seq for segment in segments))

    def _uncommitted(self, orphan: PartKey, pending: Sequence[Segment]) -> _Part | None:
        """An object that an archive run put before it came to no end, read and compared with the ledger."""
        try:
            manifest = adoptable_orphan(self._services, orphan, pending, self._progress).manifest()
        except OrphanObjectError as error:
            self.found.unusable.append(str(error))
            return None
        self.found.uncommitted.append(manifest)
        return self._part({"day": manifest.day, "part": manifest.part, "object_key": manifest.object_key}, manifest)


_NOT_EMPTY: Final = (
    "It is for a database that was migrated and holds nothing else; for one that was restored to an earlier moment, "
    "there is `compliance ledger recover`"
)


def _dated(row: dict[str, Any], now: datetime) -> dict[str, Any]:
    """The rows of the part are nowhere else: they left the former database, or were lost with it."""
    return {**row, "verified_at": row["verified_at"] or now, "purged_at": row["purged_at"] or now}


def _refuse_overlaps(parts: Sequence[_Part]) -> None:
    taken: dict[object, str] = {}
    for part in parts:
        where = part.row["object_key"]
        for what in (("part", part.row["part"]), *(("segment", seq) for seq in part.seqs)):
            other = taken.setdefault(what, where)
            if other != where:
                raise RebuildRefusedError(
                    f"{what[0]} {what[1]} is in {other} and in {where}: one of the two is to be moved out of the store "
                    "by somebody who has found out which one counts"
                )


def _listed(numbers: Sequence[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:_MOST_SHOWN])
    return shown if len(numbers) <= _MOST_SHOWN else f"{shown} and {len(numbers) - _MOST_SHOWN} more"


def rehearse_rebuild(services: Services, progress: Progress = silent) -> Rebuild:
    """What a rebuild would find and lose now; nothing is changed, neither here nor there.

    Raises:
        ComplianceError: as of :func:`rebuild`, without what concerns changes.
    """
    with services.engine.connect() as connection:
        with connection.begin():
            identity = _established(services, connection)
            gap = read_gap(services, connection)
        archives = RebuiltParts(services, gap.records, progress)
        found = survey(services, connection, gap, archives)
    if not gap.records:
        raise RebuildRefusedError(
            f"the cold store at {services.store.uri} has no checkpoint ({CHECKPOINT_KEY}), so that nothing says what "
            "it is to hold: bring the object back from a version or a copy first; where nothing was ever sealed, there "
            "is nothing to make a database of, and `compliance store init` is for a new one"
        )
    if found.intact:
        raise RebuildRefusedError(f"{len(found.intact):,} sealed segments stand in PostgreSQL. {_NOT_EMPTY}")
    return Rebuild(identity, archives.found, Recovery(gap.known.size, gap.log.head.size, found))


def rebuild(  # noqa: PLR0913 - two logins, what is to be put on record, and who is told
    services: Services,
    owner: sqlalchemy.Engine,
    uncommitted: Sequence[Manifest],
    *,
    author: str,
    reason: str,
    step: Callable[[str], None] = lambda _name: None,
) -> Rebuild:
    """Make a database that holds nothing the one of this cold store. Killed at any moment, the next call goes on.

    Args:
        services: the opened services, with the signing key.
        owner: connects as a login that may become audit_owner (AUDIT_LOG_MIGRATION_DATABASE_URL).
        uncommitted: the manifests that :func:`rehearse_rebuild` found missing. Of its result nothing else is
            asked for: everything is looked at once more, and a ledger of years takes gigabytes once.
        author: who accepts what is lost; see :class:`~.losses.Loss`.
        reason: why.
        step: called with each :class:`~.recovery.RecoveryStep`.

    Raises:
        InvalidLossError: author or reason cannot be put on record.
        RebuildRefusedError: the database holds something, the cold store has no identity or no ledger, or its parts do
            not fit its ledger, or each other.
        RecoveryRefusedError: the two logins are of two databases, or the second one has not the rights.
        ManifestError: what lies in a manifest's place is none of ours: bring the object back first.
        LedgerError: the cold store was altered or put back itself, or the key is another ledger's.
        LockBusyError: another process seals or recovers.
        ReadOnlyReplicaError: the database is a replica.
        ObjectStoreError: the store failed; the next call goes on.
    """
    Loss((), 0, 0, author, reason)
    with services.engine.connect() as connection:
        with connection.begin():
            identity = _established(services, connection)
        refuse_other_owner(connection, owner)
        for manifest in uncommitted:
            put_manifest(services, manifest)
        _bind(services, owner, identity)
        with connection.begin():
            gap = read_gap(services, connection)
    archives = RebuiltParts(services, gap.records)
    done = recover(services, owner, archives, author=author, reason=reason, step=step)
    return Rebuild(identity, archives.found, done)


def _established(services: Services, connection: sqlalchemy.Connection) -> StoreIdentity:
    """The identity of the store, if this database may become its own."""
    if in_recovery(connection):
        raise refusal("`compliance db rebuild`")
    identity = read_identity(services.store, read_chain(services.store, services.verifier_key))
    if identity is None:
        raise RebuildRefusedError(
            f"the cold store at {services.store.uri} has no identity ({IDENTITY_KEY}): it is empty, the wrong place, "
            "or its volume is not mounted; if this one object was lost, bring it back from a version or a copy first"
        )
    binding = read_binding(connection)
    if binding is not None and binding.store_id != identity.store_id:
        raise RebuildRefusedError(
            f"the cold store at {services.store.uri} is the {identity}, and this database archives into {binding}. "
            f"{_NOT_EMPTY}"
        )
    records = connection.execute(ledger_sql.LAST_SEQ).scalar_one()
    if records is not None or connection.execute(sql.COUNT_PARTS).scalar_one():
        raise RebuildRefusedError(f"this database has a ledger or a catalogue of its own. {_NOT_EMPTY}")
    return identity


def _bind(services: Services, owner: sqlalchemy.Engine, identity: StoreIdentity) -> None:
    with owner.begin() as connection:
        connection.execute(sql.BECOME_OWNER)
        take_environment(connection, identity.environment_id)
        if read_binding(connection) is None:
            connection.execute(
                ledger_sql.BIND_STORE,
                {
                    "store_id": identity.store_id,
                    "ledger_key": services.verifier_key.to_note_string(),
                    "location": services.store.uri,
                },
            )
