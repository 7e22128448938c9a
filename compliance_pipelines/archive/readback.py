"""Reading a part back from the cold store and checking all that can be checked about it.

Here: what can be wrong with a manifest and an object, found and named, one kind each. The result is data that the
archive, the purge, the restore and the verification use. Not here: what follows from a finding.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import chain
from typing import TYPE_CHECKING, Final

from compliance_pipelines.archive.errors import ArchiveError, ManifestError, RetiredSignatureError
from compliance_pipelines.archive.examiner import ExaminationsExceededError, Examiner
from compliance_pipelines.archive.layout import parse_key
from compliance_pipelines.archive.manifest import MOST_BYTES, Manifest, parse_manifest
from compliance_pipelines.archive.parquet import (
    PartLabel,
    PartReader,
    UnreadableParquetError,
    has_no_end,
    is_encrypted,
    open_part,
)
from compliance_pipelines.archive.progress import Phase, Progress, silent
from compliance_pipelines.archive.sealed_rows import SealedRows
from compliance_pipelines.archive.staging import staging_directory, staging_file
from compliance_pipelines.archive.written_rows import OtherBytesError, WrittenRows, decodes_to_what_was_written
from compliance_pipelines.audit_log.entry import ENTRY_SCHEMA
from compliance_pipelines.base.errors import TransientError
from compliance_pipelines.base.printable import printable
from compliance_pipelines.base.streaming import run_ahead
from compliance_pipelines.encryption.data_key import Encryption
from compliance_pipelines.encryption.errors import (
    DataKeyDestroyedError,
    DataKeyError,
    DataKeyMissingError,
    EncryptionError,
    KeyEncryptionKeyError,
)
from compliance_pipelines.kms.errors import KmsError
from compliance_pipelines.ledger.log_reading import read_chain
from compliance_pipelines.object_store.bounded import read_bounded
from compliance_pipelines.object_store.port import ObjectMissingError, OversizedObjectError
from compliance_pipelines.search_filters.filters import FilterMaker, PartCollector
from compliance_pipelines.settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import date
    from pathlib import Path

    import pyarrow as pa

    from compliance_pipelines.archive.catalogue import ArchivedPart
    from compliance_pipelines.archive.examination import Examination
    from compliance_pipelines.encryption.data_key import DataKey
    from compliance_pipelines.encryption.data_keys import DataKeys
    from compliance_pipelines.ledger.checkpoint import VerifierKey
    from compliance_pipelines.ledger.key_chain import KeyChain
    from compliance_pipelines.ledger.segments import Segment
    from compliance_pipelines.object_store.port import ObjectStore
    from compliance_pipelines.search_filters.filters import Filter
    from compliance_pipelines.services import Services

_CHUNK_BYTES: Final = 4 * 2**20
_BATCHES_AHEAD: Final = 4
# How much larger than the committed one a file may be to be copied: a rewritten one with some more entries.
_ROOM_BYTES: Final = 16 * 2**20
_MOST_SAID: Final = 200


class Damage(StrEnum):
    """The kinds of damage to a part."""

    OBJECT_MISSING = "object_missing"
    OBJECT_TRUNCATED = "object_truncated"
    OBJECT_ALTERED = "object_altered"
    OBJECT_SWAPPED = "object_swapped"
    MANIFEST_MISSING = "manifest_missing"
    MANIFEST_ALTERED = "manifest_altered"
    SIGNATURE_BY_RETIRED_KEY = "signature_by_retired_key"
    DATA_KEY_MISSING = "data_key_missing"
    DATA_KEY_ALTERED = "data_key_altered"
    DATA_KEY_DESTROYED = "data_key_destroyed"
    SEGMENT_ALTERED = "segment_altered"
    CATALOGUE_ALTERED = "catalogue_altered"


class Question(StrEnum):
    """What reading a part back answers, in the order in which it is asked.

    About the object, nothing that comes after the first finding can be told.
    """

    MANIFEST = "manifest"
    CHECKSUM = "checksum"
    SCHEMA = "schema"
    ENTRY_COUNT = "entry_count"
    CONTENT = "content"


def _nobodys(sha256: str) -> str | None:
    del sha256
    return None


@dataclass(frozen=True)
class ColdArchive:
    """Where parts are read from.

    Attributes:
        store: the cold store.
        verifier_key: the key that must have signed the manifests, or the chain of the ledger's keys.
        staging: directory for copies of objects; None is one of the system's.
        object_with: the key of the object that was committed with a SHA-256 (hex); None where it is no part's. So that
            a file in the wrong place is named by what it is, not by what it says.
        examiner: looks into files that are not those that were committed.
        keys: of encrypted objects; None where there is nobody who has any.
        hash_only_without_keys: what becomes of an encrypted object where there is no key-encryption key at all: it is
            compared by its hash alone, and the check says so, or that is an error.
        written: the files that this process wrote a moment ago, by SHA-256 (hex). What they decode to is compared with
            the rows that were written, which were compared with the ledger: their leaves are not computed again.
    """

    store: ObjectStore
    verifier_key: VerifierKey | KeyChain
    staging: Path | None = None
    object_with: Callable[[str], str | None] = _nobodys
    examiner: Examiner = field(default_factory=Examiner)
    keys: DataKeys | None = None
    hash_only_without_keys: bool = False
    written: Mapping[str, WrittenRows] = field(default_factory=dict)

    @classmethod
    def of(cls, services: Services) -> ColdArchive:
        """The archive of the opened services.

        Raises:
            KeyRecordError: the records about keys in the cold store do not make a chain.
            ObjectStoreError: the store failed.
        """
        chain = read_chain(services.store, services.verifier_key)
        return cls(services.store, chain, services.settings.archive_staging_path, keys=services.data_keys)

    def at(self, part: ArchivedPart) -> ColdArchive:
        """The archive in which a part's objects are those versions that were put."""
        return replace(self, store=self.store.at_versions(part.versions))

    def key_of(self, object_key: str, encryption: Encryption) -> DataKey | None:
        """The key of an encrypted object; None where it is compared by its hash alone.

        Raises:
            EncryptionError: it cannot be had; see :meth:`DataKeys.of_object`.
            ConfigurationError: no key-encryption key is named, and the hash alone is not enough.
            KmsError: the service refuses, or does not answer.
            ObjectStoreError: the store failed.
        """
        if self.hash_only_without_keys and (self.keys is None or not self.keys.can_unwrap):
            return None
        if self.keys is None:
            raise KeyEncryptionKeyError(f"{object_key} is encrypted, and there are no keys")
        return self.keys.of_object(object_key, encryption)


@dataclass(frozen=True)
class PartFinding:
    """One thing that is wrong with a part, and the question that brought it to light."""

    kind: Damage
    question: Question
    day: date
    part: int
    key: str
    message: str


class PartDamagedError(ArchiveError):
    """A part was read back and is not what was committed; `findings` say what is wrong, one by one."""

    def __init__(self, findings: Sequence[PartFinding]) -> None:
        self.findings = tuple(findings)
        first = self.findings[0]
        super().__init__(
            f"part {first.part} of {first.day} is damaged in the cold store: "
            + "; ".join(finding.message for finding in self.findings)
            + f". Nothing was deleted; find out who did it, then run `compliance repair {first.day}`"
        )


@dataclass(frozen=True)
class PartCheck:
    """The result of reading a part back: findings, and how much was read.

    Attributes:
        decrypted: False where the object was compared by its hash alone; see :class:`ColdArchive`.
        filters: over its values, of the rows that were read; None where none were asked for, or something is wrong.
    """

    day: date
    part: int
    entry_count: int
    object_bytes: int
    findings: tuple[PartFinding, ...]
    decrypted: bool = True
    filters: tuple[Filter, ...] | None = field(default=None, repr=False)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    def raise_if_damaged(self) -> None:
        """Turn findings into an error.

        Raises:
            PartDamagedError: there is a finding.
        """
        if self.findings:
            raise PartDamagedError(self.findings)


@dataclass(frozen=True)
class ExpectedObject:
    """What an object must be. `object_sha256` is None for one that no manifest commits yet: its rows decide.

    Attributes:
        canonical_bytes: of its rows, as the witness says; None where there is none.
        witness: what says so: where it is wrong, that is what was altered.
        encryption: how it is encrypted; None where it is not, or where no manifest commits it.
    """

    day: date
    part: int
    object_key: str
    object_sha256: str | None
    object_bytes: int | None
    root: bytes
    segments: tuple[Segment, ...]
    canonical_bytes: int | None = None
    witness: Damage = Damage.MANIFEST_ALTERED
    encryption: Encryption | None = None

    @classmethod
    def of_manifest(cls, manifest: Manifest) -> ExpectedObject:
        """What a manifest commits."""
        return cls(
            manifest.day,
            manifest.part,
            manifest.object_key,
            manifest.object_sha256,
            manifest.object_bytes,
            manifest.root,
            manifest.segments,
            manifest.canonical_bytes,
            encryption=manifest.encryption,
        )

    @classmethod
    def of_catalogue(cls, part: ArchivedPart, segments: Sequence[Segment]) -> ExpectedObject:
        """What the catalogue and the ledger say.

        Raises:
            EncryptionError: the catalogue says something about encryption that cannot be.
        """
        return cls(
            part.day,
            part.part,
            part.object_key,
            part.object_sha256,
            part.object_bytes,
            part.root,
            tuple(segments),
            part.canonical_bytes,
            Damage.CATALOGUE_ALTERED,
            Encryption.from_json(part.encryption),
        )

    @property
    def entry_count(self) -> int:
        """How many rows it must hold."""
        return sum(segment.entry_count for segment in self.segments)

    @property
    def label(self) -> PartLabel:
        """What its file must say about itself."""
        return PartLabel.of(self.day, self.part, self.root)


@dataclass(frozen=True)
class ObjectCheck:
    """The result of reading an object.

    Attributes:
        findings: what is wrong.
        object_sha256: hex, of the bytes that were read.
        object_bytes: how many there were.
        entry_count: rows that were hashed.
        canonical_bytes: length of their canonical encodings.
        outside_day: rows of another day, in an object that no manifest commits; the caller sees those of others.
        key: what it is encrypted with; None where it is not, or where there was no key.
        decrypted: False where it was compared by its hash alone.
        filters: over its values; None where none were asked for, something is wrong, or no manifest commits it.
    """

    findings: tuple[PartFinding, ...]
    object_sha256: str = ""
    object_bytes: int = 0
    entry_count: int = 0
    canonical_bytes: int = 0
    outside_day: int = 0
    key: DataKey | None = field(default=None, repr=False)
    decrypted: bool = True
    filters: tuple[Filter, ...] | None = field(default=None, repr=False)


def copy_hashed(store: ObjectStore, key: str, path: Path, most: int) -> tuple[int, str]:
    """Copy an object to a file of ours; the hash is that of the very bytes that are parsed afterwards.

    Returns:
        size and SHA-256 (hex) of what was copied; of an object that has more than `most` bytes a little more than these
        and no hash.

    Raises:
        ObjectMissingError: it is not there.
        ObjectStoreError: the store failed.
        TransientError: it could not be copied.
    """
    digest = hashlib.sha256()
    size = 0
    try:
        with store.open(key) as source, path.open("wb") as target:
            while chunk := source.read(_CHUNK_BYTES):
                digest.update(chunk)
                size += target.write(chunk)
                if size > most:
                    return size, ""
    except OSError as error:
        raise TransientError(f"{store.locate(key)} could not be copied to {path}: {error}; run it again") from error
    return size, digest.hexdigest()


def sha256_of(store: ObjectStore, key: str, most: int) -> str:
    """The SHA-256 (hex) of an object; of one that has more than `most` bytes none.

    Raises:
        ObjectMissingError: it is not there.
        ObjectStoreError: the store failed.
        TransientError: it could not be read.
    """
    digest = hashlib.sha256()
    size = 0
    try:
        with store.open(key) as source:
            while chunk := source.read(_CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
                if size > most:
                    return ""
    except OSError as error:
        raise TransientError(f"{store.locate(key)} could not be read: {error}; run it again") from error
    return digest.hexdigest()


class _ObjectReading:
    """One reading of one object."""

    def __init__(
        self,
        archive: ColdArchive,
        expected: ExpectedObject,
        on_batch: Callable[[pa.RecordBatch], None] | None,
        progress: Progress,
        *,
        filters: bool,
    ) -> None:
        self._archive = archive
        self._expected = expected
        self._on_batch = on_batch
        self._progress = progress
        self._with_filters = filters
        self._findings: list[PartFinding] = []
        self._collector: PartCollector | None = None

    def _find(self, kind: Damage, question: Question, message: str) -> None:
        self._findings.append(self._finding(kind, question, message))

    def _finding(self, kind: Damage, question: Question, message: str) -> PartFinding:
        expected = self._expected
        key = expected.object_key
        return PartFinding(kind, question, expected.day, expected.part, key, f"{key} {message}")

    def read(self) -> ObjectCheck:
        """Compare the object with what was written a moment ago, if it was, or check a copy of it."""
        expected = self._expected
        if self._holds_what_was_written():
            return ObjectCheck(
                (),
                expected.object_sha256 or "",
                expected.object_bytes or 0,
                expected.entry_count,
                expected.canonical_bytes or 0,
                filters=self._filters(),
            )
        return self._check_copy()

    def _check_copy(self) -> ObjectCheck:
        """Copy the object, unless it is larger than can be the committed one or a copy of it, and check the copy."""
        expected, archive = self._expected, self._archive
        info = archive.store.stat(expected.object_key)
        if info is None:
            return self._missing()
        most = self._most_bytes()
        if info.size > most:
            if expected.object_bytes is None:
                raise TransientError(
                    f"{expected.object_key}: it has {info.size:,} bytes, and {2 * most:,} are free for copies: free "
                    "more and run it again"
                )
            self._find(Damage.OBJECT_ALTERED, Question.CHECKSUM, self._how_altered(info.size))
            return ObjectCheck(tuple(self._findings), object_bytes=info.size)
        with staging_file(archive.staging, ".readback") as path:
            try:
                size, sha256 = copy_hashed(archive.store, expected.object_key, path, most)
            except ObjectMissingError:
                return self._missing()
            if not sha256:
                raise TransientError(f"{expected.object_key} grew while it was read; run it again")
            if expected.object_sha256 is None:
                return self._examine_uncommitted(path, size, sha256)
            if expected.object_sha256 != sha256:
                self._name_other_content(path, size, sha256)
                return ObjectCheck(tuple(self._findings), sha256, size)
            return self._check_committed(path, size, sha256)

    def _most_bytes(self) -> int:
        """How much is copied of it at most: what would fill half of what is free on the disk is not."""
        room = shutil.disk_usage(staging_directory(self._archive.staging)).free // 2
        committed = self._expected.object_bytes
        return room if committed is None else committed + min(room, committed + _ROOM_BYTES)

    def _missing(self) -> ObjectCheck:
        self._find(Damage.OBJECT_MISSING, Question.CHECKSUM, "is missing from the cold store")
        return ObjectCheck(tuple(self._findings))

    def _how_altered(self, size: int) -> str:
        committed = self._expected.object_bytes
        if committed is None or committed == size:
            return "was altered: its bytes do not have the SHA-256 that was committed"
        return f"was altered: it has {size:,} bytes, committed are {committed:,}"

    def _check_committed(self, path: Path, size: int, sha256: str) -> ObjectCheck:
        """The very bytes that were committed: they are ours, and are parsed here."""
        expected = self._expected
        rows = SealedRows(expected.segments)
        asking = Question.SCHEMA
        try:
            key = self._key()
        except DataKeyError as error:
            self._findings.append(self._about_key(error))
            return ObjectCheck(tuple(self._findings), sha256, size)
        if key is None and expected.encryption is not None:
            return ObjectCheck((), sha256, size, decrypted=False)
        try:
            with open_part(path, name=expected.object_key, key=key) as part:
                self._check_footer(part)
                if not self._findings:
                    asking = Question.CONTENT
                    self._collect_filters(part, key)
                    self._check_rows(part, rows)
        except UnreadableParquetError as error:
            self._find(Damage.OBJECT_ALTERED, asking, f"cannot be read: {error}")
        return ObjectCheck(
            tuple(self._findings),
            sha256,
            size,
            rows.rows,
            rows.canonical_bytes,
            key=key,
            filters=None if self._findings else self._filters(),
        )

    def _collect_filters(self, part: PartReader, key: DataKey | None) -> None:
        """Make the filters of the rows that are read from now on, if they are wanted."""
        expected = self._expected
        if self._with_filters and expected.object_sha256 is not None:
            maker = FilterMaker.of(expected.object_key, expected.object_sha256, key, part.row_groups)
            self._collector = PartCollector(maker)

    def _passing(self, row_group: int, batches: Iterable[pa.RecordBatch], /) -> Iterator[pa.RecordBatch]:
        return iter(batches) if self._collector is None else self._collector.passing(row_group, batches)

    def _filters(self) -> tuple[Filter, ...] | None:
        return None if self._collector is None else self._collector.filters()

    def _key(self) -> DataKey | None:
        """The key of the object, as its witness names it; None where it is not encrypted, or its hash is enough."""
        expected = self._expected
        if expected.encryption is None:
            return None
        return self._archive.key_of(expected.object_key, expected.encryption)

    def _about_key(self, error: DataKeyError) -> PartFinding:
        kind = {DataKeyMissingError: Damage.DATA_KEY_MISSING, DataKeyDestroyedError: Damage.DATA_KEY_DESTROYED}.get(
            type(error), Damage.DATA_KEY_ALTERED
        )
        return self._finding(kind, Question.SCHEMA, f"cannot be decrypted: {error}")

    def _examine_uncommitted(self, path: Path, size: int, sha256: str) -> ObjectCheck:
        """No manifest vouches for the bytes: they are looked into apart, and the rows decide."""
        keys, key = self._archive.keys, None
        if keys is not None and is_encrypted(path):
            try:
                key = keys.of_uncommitted(self._expected.object_key)
            except DataKeyError as error:
                self._findings.append(self._about_key(error))
                return ObjectCheck(tuple(self._findings), sha256, size)
        seen = self._examined(path, key)
        if seen.unreadable:
            kind = Damage.OBJECT_TRUNCATED if has_no_end(path) else Damage.OBJECT_ALTERED
            self._find(kind, Question.SCHEMA, f"cannot be read: {seen.unreadable}")
        elif not seen.columns_fit:
            self._find(Damage.OBJECT_ALTERED, Question.SCHEMA, "has other columns than an audit archive")
        else:
            if not seen.label_fits:
                self._find(Damage.OBJECT_ALTERED, Question.CONTENT, "does not bear the label of its part")
            for difference in seen.differences:
                self._find(Damage.OBJECT_ALTERED, Question.CONTENT, f"does not hold what was sealed: {difference}")
        return ObjectCheck(
            tuple(self._findings), sha256, size, seen.rows, seen.canonical_bytes, outside_day=seen.outside_day, key=key
        )

    def _name_other_content(self, path: Path, size: int, sha256: str) -> None:
        """The bytes are not those that were committed: another part's, fewer, or changed ones.

        Nothing that they say of themselves is believed: whose they are, the SHA-256 tells, and what they hold, their
        rows, which are looked into apart.
        """
        expected = self._expected
        owner = self._archive.object_with(sha256)
        if owner is not None and owner != expected.object_key:
            self._find(
                Damage.OBJECT_SWAPPED,
                Question.CHECKSUM,
                f"holds {_named(owner)} instead of its own content: it has the SHA-256 that was committed for {owner}",
            )
            return
        if expected.object_bytes is not None and size < expected.object_bytes and has_no_end(path):
            self._find(
                Damage.OBJECT_TRUNCATED,
                Question.CHECKSUM,
                f"was truncated: {size} of {expected.object_bytes} bytes are left, and the end of a Parquet file is "
                "not among them",
            )
            return
        try:
            content = _content(self._examined(path, self._key_if_any()))
        except ExaminationsExceededError:
            content = ""
        self._find(Damage.OBJECT_ALTERED, Question.CHECKSUM, f"{content}{self._how_altered(size)}")

    def _key_if_any(self) -> DataKey | None:
        """The key that an object should have that is damaged in any case: without it, less is said about it."""
        try:
            return self._key()
        except (EncryptionError, KmsError, ConfigurationError):
            return None

    def _examined(self, path: Path, key: DataKey | None) -> Examination:
        expected = self._expected
        return self._archive.examiner.examine(
            path, label=expected.label, day=expected.day, segments=expected.segments, key=key
        )

    def _check_footer(self, part: PartReader) -> None:
        self._findings += self._wrong_in_footer(part)

    def _wrong_in_footer(self, part: PartReader) -> list[PartFinding]:
        expected = self._expected
        found = []
        label = part.label
        if label != expected.label:
            says = "nothing" if label is None else f"part {label.part} of {label.day} with root {label.root}"
            message = f"says of itself that it is {printable(says, _MOST_SAID)}"
            found.append(self._finding(Damage.OBJECT_SWAPPED, Question.CONTENT, message))
        if not part.schema.equals(ENTRY_SCHEMA):
            message = "has other columns than an audit archive"
            found.append(self._finding(Damage.OBJECT_ALTERED, Question.SCHEMA, message))
        if part.num_rows != expected.entry_count:
            message = f"holds {part.num_rows} entries where {expected.entry_count} were sealed"
            found.append(self._finding(Damage.OBJECT_ALTERED, Question.ENTRY_COUNT, message))
        return found

    def _holds_what_was_written(self) -> bool:
        """Whether the object is the file that this process wrote, and decodes to the rows that it compared before.

        Where it does not, or nobody knows, the object is copied, and its rows are compared with the ledger and say what
        is wrong.
        """
        expected = self._expected
        written = self._archive.written.get(expected.object_sha256 or "")
        if (
            written is None
            or self._on_batch is not None
            or written.segments != expected.segments
            or written.canonical_bytes != expected.canonical_bytes
            or written.file.size != expected.object_bytes
        ):
            return False
        try:
            # The key that is on record, which others will read with, and not the one that is in memory.
            written = replace(written, key=self._key())
            with self._archive.store.open(expected.object_key) as source:
                return decodes_to_what_was_written(
                    source,
                    written,
                    name=expected.object_key,
                    fits=lambda part: self._fits(part, written.key),
                    progress=lambda rows: self._progress(Phase.VERIFY, rows, expected.entry_count),
                    passing=self._passing,
                )
        except (ObjectMissingError, OtherBytesError, UnreadableParquetError, DataKeyError):
            return False
        except OSError as error:
            raise TransientError(
                f"{self._archive.store.locate(expected.object_key)} could not be read: {error}; run it again"
            ) from error

    def _fits(self, part: PartReader, key: DataKey | None) -> bool:
        if self._wrong_in_footer(part):
            return False
        self._collect_filters(part, key)
        return True

    def _check_rows(self, part: PartReader, rows: SealedRows) -> None:
        expected = self._expected
        groups = (self._passing(number, part.batches(row_groups=[number])) for number in range(part.row_groups))
        with run_ahead(chain.from_iterable(groups), depth=_BATCHES_AHEAD, name="read-back") as batches:
            for batch in batches:
                rows.feed(batch)
                if self._on_batch is not None:
                    self._on_batch(batch)
                self._progress(Phase.VERIFY, rows.rows, expected.entry_count)
        differences = rows.differences()
        for difference in differences:
            self._find(Damage.OBJECT_ALTERED, Question.CONTENT, f"does not hold what was sealed: {difference.message}")
        if not differences and expected.canonical_bytes not in {None, rows.canonical_bytes}:
            says = "manifest" if expected.witness is Damage.MANIFEST_ALTERED else "catalogue"
            self._find(
                expected.witness,
                Question.CONTENT,
                f"holds {rows.canonical_bytes:,} canonical bytes, and its {says} says {expected.canonical_bytes:,}",
            )


def _named(owner: str) -> str:
    """Which part an object is, by its key."""
    key = parse_key(owner)
    return "another object" if key is None else f"part {key.part} of {key.day}"


def _content(seen: Examination) -> str:
    """What is said about the content of an object that is not the committed one."""
    if seen.unreadable:
        return ""
    if not seen.columns_fit:
        return "has other columns than an audit archive, and "
    if seen.is_as_sealed:
        return "holds every entry as it was sealed in another file than was committed, and "
    return f"does not hold what was sealed ({'; '.join(seen.differences)}), and "


def check_object(
    archive: ColdArchive,
    expected: ExpectedObject,
    *,
    on_batch: Callable[[pa.RecordBatch], None] | None = None,
    progress: Progress = silent,
    filters: bool = False,
) -> ObjectCheck:
    """Read an object from the store and compare it with what it must be.

    Its bytes are copied and hashed first, and parsed only where the hash is the committed one; then label, schema,
    count, and the root of every segment are checked. What has another hash, or none that was committed, is looked into
    in a process of its own, with bounded memory and time. Memory is bounded whatever the size; filters are six bytes of
    it for each entry at most.

    Args:
        archive: where it is.
        expected: what it must be.
        on_batch: gets the rows of a committed object as they are read, before the last root is known: an error found
            later must undo what it did.
        progress: told of rows read.
        filters: whether those over its values are made, of the rows that are read.

    Raises:
        ObjectStoreError: the store failed; that says nothing about the object.
        TransientError: reading broke off, or an object that no manifest commits is too large to be copied.
    """
    return _ObjectReading(archive, expected, on_batch, progress, filters=filters).read()


def read_manifest(archive: ColdArchive, key: str) -> tuple[Manifest, bytes]:
    """A manifest of the store and its bytes.

    Raises:
        ObjectMissingError: it is not there.
        ManifestError: it is malformed, contradicts itself or its key, or is not signed by the verifier key.
    """
    try:
        data = read_bounded(archive.store, key, MOST_BYTES)
    except OversizedObjectError as error:
        raise ManifestError(f"{key} is no manifest: {error}") from error
    manifest = parse_manifest(data, archive.verifier_key, name=key)
    if manifest.manifest_key != key:
        raise ManifestError(f"{key} was altered: it is the manifest of {manifest.object_key}")
    return manifest, data


class _PartReading:
    """One reading of one part: its manifest, then its object."""

    def __init__(self, archive: ColdArchive, part: ArchivedPart, segments: Sequence[Segment]) -> None:
        self._archive = archive
        self._part = part
        self._segments = tuple(segments)
        self.findings: list[PartFinding] = []

    def _find(self, kind: Damage, message: str) -> None:
        part = self._part
        self.findings.append(PartFinding(kind, Question.MANIFEST, part.day, part.part, part.manifest_key, message))

    def _of_database(self) -> ExpectedObject:
        part = self._part
        try:
            return ExpectedObject.of_catalogue(part, self._segments)
        except EncryptionError as error:
            self._find(
                Damage.CATALOGUE_ALTERED,
                f"the catalogue's row of part {part.part} of {part.day} was altered: {error}",
            )
            return ExpectedObject.of_catalogue(replace(part, encryption=None), self._segments)

    def check_manifest(self) -> ExpectedObject:
        """Check the manifest; return what the object must be according to the best witness there is.

        An intact manifest, signed and of the committed hash, is a better witness than the rows of a database.
        """
        part = self._part
        key = part.manifest_key
        try:
            manifest, data = read_manifest(self._archive, key)
        except ObjectMissingError:
            self._find(Damage.MANIFEST_MISSING, f"{key} is missing from the cold store")
            return self._of_database()
        except RetiredSignatureError as error:
            self._find(Damage.SIGNATURE_BY_RETIRED_KEY, str(error))
            return self._of_database()
        except ManifestError as error:
            self._find(Damage.MANIFEST_ALTERED, str(error))
            return self._of_database()
        if hashlib.sha256(data).hexdigest() != part.manifest_sha256:
            self._find(Damage.MANIFEST_ALTERED, f"{key} was altered: it is not the manifest that was committed")
            return self._of_database()
        self._compare_with_database(manifest)
        return ExpectedObject.of_manifest(manifest)

    def _compare_with_database(self, manifest: Manifest) -> None:
        part = self._part
        ledger = {segment.seq: segment for segment in self._segments}
        differing = [segment.seq for segment in manifest.segments if ledger.pop(segment.seq, None) != segment]
        differing += ledger
        if differing:
            numbers = ", ".join(str(seq) for seq in sorted(differing))
            self._find(
                Damage.SEGMENT_ALTERED,
                f"ledger segment {numbers} of {part.day} in the database is not the one that was archived in "
                f"{part.object_key}",
            )
        if part != _as_in_catalogue(manifest, part):
            self._find(
                Damage.CATALOGUE_ALTERED,
                f"the catalogue's row of part {part.part} of {part.day} is not what {part.manifest_key} says",
            )


def _as_in_catalogue(manifest: Manifest, part: ArchivedPart) -> ArchivedPart:
    return replace(
        part,
        day=manifest.day,
        part=manifest.part,
        object_key=manifest.object_key,
        object_sha256=manifest.object_sha256,
        object_bytes=manifest.object_bytes,
        entry_count=manifest.entry_count,
        canonical_bytes=manifest.canonical_bytes,
        first_id=manifest.first_id,
        last_id=manifest.last_id,
        root=manifest.root,
        encryption=None if manifest.encryption is None else manifest.encryption.to_json(),
    )


def check_part(  # noqa: PLR0913 - what one reading is asked
    archive: ColdArchive,
    part: ArchivedPart,
    segments: Sequence[Segment],
    *,
    on_batch: Callable[[pa.RecordBatch], None] | None = None,
    progress: Progress = silent,
    filters: bool = False,
) -> PartCheck:
    """Read a part back from the store and compare manifest and object with the catalogue and the ledger.

    Args:
        archive: where it is.
        part: the catalogue's row.
        segments: the ledger's records of what the part holds, from the database.
        on_batch: see :func:`check_object`.
        progress: told of rows read.
        filters: see :func:`check_object`.

    Raises:
        ObjectStoreError: the store failed; that says nothing about the part.
        TransientError: reading broke off.
    """
    archive = archive.at(part)
    reading = _PartReading(archive, part, segments)
    expected = reading.check_manifest()
    checked = check_object(archive, expected, on_batch=on_batch, progress=progress, filters=filters)
    findings = (*reading.findings, *checked.findings)
    return PartCheck(
        part.day,
        part.part,
        checked.entry_count,
        checked.object_bytes,
        findings,
        checked.decrypted,
        None if findings else checked.filters,
    )
