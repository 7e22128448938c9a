"""What a verification says: findings, notes, what could not be told, and how much was looked at.

Here: the kinds, each with a meaning of its own, the journal that collects them, the report. Not here: how anything is
found (the other modules), what a person should do about it (docs/verification.md).

Whatever is read may come from a stranger: texts are shortened and cannot carry control characters, and the number of
findings of one kind that are kept is bounded, so that neither a terminal nor the memory is at its mercy.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from compliance_pipelines.base.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from compliance_pipelines.postgres.replica import ReplicaState

_MOST_OF_A_KIND: Final = 10_000
_MOST_CHARACTERS: Final = 1_000


class Kind(StrEnum):
    """What is wrong; about parts, with the values of the read-back's :class:`Damage`."""

    ENTRY_ALTERED = "entry_altered"
    ENTRY_DELETED = "entry_deleted"
    ENTRY_INSERTED = "entry_inserted"
    DAY_MISSING = "day_missing"
    QUARANTINE_ALTERED = "quarantine_altered"

    OBJECT_ALTERED = "object_altered"
    OBJECT_TRUNCATED = "object_truncated"
    OBJECT_SWAPPED = "object_swapped"
    OBJECT_MISSING = "object_missing"
    DATA_KEY_MISSING = "data_key_missing"
    DATA_KEY_ALTERED = "data_key_altered"
    DATA_KEY_DESTROYED = "data_key_destroyed"
    MANIFEST_ALTERED = "manifest_altered"
    MANIFEST_MISSING = "manifest_missing"
    MANIFEST_CONTRADICTS_LEDGER = "manifest_contradicts_ledger"
    ENTRY_OUTSIDE_DAY = "entry_outside_day"
    PART_MISSING = "part_missing"
    PART_UNKNOWN = "part_unknown"
    PARTS_OVERLAP = "parts_overlap"
    CATALOGUE_ALTERED = "catalogue_altered"
    EXPIRY_INVALID = "expiry_invalid"

    SEGMENT_ALTERED = "segment_altered"
    SEGMENT_MISSING = "segment_missing"
    SEGMENT_INSERTED = "segment_inserted"
    CHECKPOINT_ALTERED = "checkpoint_altered"
    CHECKPOINT_MISSING = "checkpoint_missing"
    CHECKPOINT_FORKED = "checkpoint_forked"
    CHECKPOINT_OF_ANOTHER_KEY = "checkpoint_of_another_key"
    CHECKPOINT_OF_ANOTHER_LEDGER = "checkpoint_of_another_ledger"
    SIGNATURE_BY_RETIRED_KEY = "signature_by_retired_key"
    KEY_RECORD_INVALID = "key_record_invalid"
    KEY_OBJECT_ALTERED = "key_object_altered"
    KEY_OBJECT_MISSING = "key_object_missing"
    CHECKPOINT_UNVERIFIABLE = "checkpoint_unverifiable"
    DAILY_CHECKPOINT_MISSING = "daily_checkpoint_missing"
    TILE_ALTERED = "tile_altered"
    TILE_MISSING = "tile_missing"
    BUNDLE_ALTERED = "bundle_altered"
    BUNDLE_MISSING = "bundle_missing"
    LEDGER_ROLLED_BACK = "ledger_rolled_back"
    DATABASE_ROLLED_BACK = "database_rolled_back"
    STORE_IDENTITY_ALTERED = "store_identity_altered"

    COSIGNATURE_INVALID = "cosignature_invalid"
    COSIGNATURES_MISSING = "cosignatures_missing"
    TIME_STAMP_INVALID = "time_stamp_invalid"
    TIME_STAMP_MISSING = "time_stamp_missing"


class NoteKind(StrEnum):
    """What an auditor should know although nothing is wrong with it."""

    NOTHING_KNOWN = "nothing_known"
    CHECKPOINT_UNPUBLISHED = "checkpoint_unpublished"
    SEGMENTS_UNCONFIRMED = "segments_unconfirmed"
    PART_UNRECORDED = "part_unrecorded"
    PART_REPLACED = "part_replaced"
    PART_EXPIRED = "part_expired"
    EXPIRY_UNFINISHED = "expiry_unfinished"
    OBJECT_UNCOMMITTED = "object_uncommitted"
    OBJECT_UNKNOWN = "object_unknown"
    NOT_ARCHIVED = "not_archived"
    GAP = "gap"
    ENTRY_QUARANTINED = "entry_quarantined"
    LOSS_ACCEPTED = "loss_accepted"
    STORE_IDENTITY_MISSING = "store_identity_missing"
    REPLICA = "replica"
    COSIGNED = "cosigned"
    COSIGNATURES_PENDING = "cosignatures_pending"
    TIME_STAMPED = "time_stamped"
    TIME_STAMP_PENDING = "time_stamp_pending"
    TIME_STAMPS_UNCHECKED = "time_stamps_unchecked"


K = TypeVar("K", Kind, NoteKind)


@dataclass(frozen=True, kw_only=True)
class _Remark(Generic[K]):
    """One statement about one thing.

    Attributes:
        day: the UTC day that it is about; None where it is about none or many.
        part: number of the archive part.
        key: key of the object in the cold store.
        segment: seq of the segment, the first where there are several.
        checkpoint: size of the checkpoint, the first where there are several.
    """

    kind: K
    message: str
    day: date | None = None
    part: int | None = None
    key: str | None = None
    segment: int | None = None
    checkpoint: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", printable(self.message, _MOST_CHARACTERS))

    def to_json(self) -> dict[str, Any]:
        """As JSON values; every field is there, null where it does not apply."""
        return asdict(self) | {
            "day": None if self.day is None else self.day.isoformat(),
            "key": None if self.key is None else printable(self.key, _MOST_CHARACTERS),
        }


class Finding(_Remark[Kind]):
    """Something that is not as it was sealed, signed, committed or recorded."""


class Note(_Remark[NoteKind]):
    """Something that is in order and worth knowing."""


@dataclass(frozen=True)
class Undecided:
    """Something that could not be looked at; `day` is None where it is about none."""

    message: str
    day: date | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", printable(self.message, _MOST_CHARACTERS))

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"day": None if self.day is None else self.day.isoformat(), "message": self.message}


@dataclass
class Checked:
    """How much was looked at.

    Attributes:
        checkpoints: signed tree heads, once for each size.
        segments: records of the ledger that the signed roots were recomputed from.
        days: days whose entries were looked at.
        hot_entries: rows in PostgreSQL that were hashed.
        parts: committed archive parts that were read.
        parts_by_hash: those of them that are encrypted and were compared by their hash alone, because there is no key.
        archived_entries: rows in them that were hashed.
    """

    checkpoints: int = 0
    segments: int = 0
    days: int = 0
    hot_entries: int = 0
    parts: int = 0
    parts_by_hash: int = 0
    archived_entries: int = 0


@dataclass(frozen=True)
class ReplicaView:
    """How much of the whole a replica could show.

    Attributes:
        state: what it says about itself, at the beginning.
        segments_behind: how many segments the cold store's newest checkpoint has more than the replica.
        entries_behind: how many entries are sealed in them, as far as their records are known.
    """

    state: ReplicaState
    segments_behind: int = 0
    entries_behind: int = 0

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        behind = {"segments_behind": self.segments_behind, "entries_behind": self.entries_behind}
        return {**self.state.to_json(), **behind}


@dataclass(frozen=True)
class Report:
    """The result of a verification that came to its end.

    Attributes:
        findings: what is wrong.
        notes: what is worth knowing.
        undecided: what could not be looked at.
        omitted: kind to the number of findings and notes that were left out because there are too many of that kind.
        replica: how much a replica could show; None where the database is a primary, and without a database.
    """

    checked: Checked
    findings: tuple[Finding, ...] = ()
    notes: tuple[Note, ...] = ()
    undecided: tuple[Undecided, ...] = ()
    omitted: dict[str, int] = field(default_factory=dict)
    replica: ReplicaView | None = None

    @property
    def ok(self) -> bool:
        """Whether everything was looked at and nothing is wrong."""
        return not self.findings and not self.undecided

    @property
    def finding_count(self) -> int:
        """How many findings there are, those that were left out included."""
        return len(self.findings) + sum(count for kind, count in self.omitted.items() if kind in set(Kind))

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "ok": self.ok,
            "checked": asdict(self.checked),
            "findings": [finding.to_json() for finding in self.findings],
            "notes": [note.to_json() for note in self.notes],
            "undecided": [undecided.to_json() for undecided in self.undecided],
            "omitted": dict(self.omitted),
            "replica": None if self.replica is None else self.replica.to_json(),
        }


class Journal:
    """Collects what a verification has to say while it goes on.

    Args:
        on_finding: called with every finding that is kept, so that those made before a failure are not lost.
    """

    def __init__(self, on_finding: Callable[[Finding], None] | None = None) -> None:
        self.checked = Checked()
        self.replica: ReplicaView | None = None
        self._on_finding = on_finding
        self._findings: list[Finding] = []
        self._notes: list[Note] = []
        self._undecided: list[Undecided] = []
        self._seen: Counter[str] = Counter()

    def _keeps(self, kind: str) -> bool:
        self._seen[kind] += 1
        return self._seen[kind] <= _MOST_OF_A_KIND

    def find(self, finding: Finding) -> None:
        """Something is wrong."""
        if self._keeps(finding.kind):
            self._findings.append(finding)
            if self._on_finding is not None:
                self._on_finding(finding)

    def note(self, note: Note) -> None:
        """Something is worth knowing."""
        if self._keeps(note.kind):
            self._notes.append(note)

    def cannot_tell(self, undecided: Undecided) -> None:
        """Something could not be looked at."""
        if self._keeps("undecided"):
            self._undecided.append(undecided)

    def report(self) -> Report:
        """Everything so far."""
        by_hash = self.checked.parts_by_hash
        if by_hash:
            self.cannot_tell(
                Undecided(
                    f"{by_hash:,} parts are encrypted and were compared by their SHA-256 alone, because no "
                    "key-encryption key was given (AUDIT_ARCHIVE_KEYRING_FILE, AUDIT_ARCHIVE_KMS_KEY; of a copy "
                    "--keyring, --kms-key): they are the objects that were committed, and their entries were not read"
                )
            )
        return Report(
            checked=self.checked,
            findings=tuple(self._findings),
            notes=tuple(self._notes),
            undecided=tuple(self._undecided),
            omitted={kind: seen - _MOST_OF_A_KIND for kind, seen in self._seen.items() if seen > _MOST_OF_A_KIND},
            replica=self.replica,
        )
