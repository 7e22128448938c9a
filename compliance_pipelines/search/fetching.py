"""Bringing parts from the cold store into the private directory of a search.

Here: manifests believed, objects copied and hashed while they arrive, their keys, several at once. Not here: which
parts (plan.py), and reading their rows (relation.py).

What does not have the hash that its signed manifest commits is not parsed in this process. Files stay encrypted as
they are.
"""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Protocol

from compliance_pipelines.archive.parquet import open_part
from compliance_pipelines.archive.readback import read_manifest
from compliance_pipelines.base.errors import ComplianceError, TransientError
from compliance_pipelines.base.printable import printable
from compliance_pipelines.search.errors import PartsNotReadError, SearchError
from compliance_pipelines.search.folder import new_file, require_room
from compliance_pipelines.search.prices import CHUNK_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date
    from pathlib import Path

    from compliance_pipelines.archive.manifest import Manifest
    from compliance_pipelines.archive.readback import ColdArchive
    from compliance_pipelines.encryption.data_key import DataKey
    from compliance_pipelines.object_store.port import ObjectStore
    from compliance_pipelines.search.plan import PartToRead

# Waiting for a service is most of it. A key service is asked by as many at once.
_AT_ONCE: Final = 8
_MOST_SAID: Final = 500


class Fetched(Protocol):
    """Called from several threads as bytes arrive."""

    def __call__(self, count: int, /) -> None:
        """So many more bytes."""


def silent(count: int, /) -> None:
    """Tell nobody."""
    del count


@dataclass(frozen=True)
class StagedFile:
    """A Parquet file in the private directory.

    Attributes:
        source: where its entries come from: the URI of an object, or the hot store.
        key: that decrypts it; None where it is plain.
        row_groups: those that are read; None: all.
    """

    path: Path
    day: date
    source: str
    key: DataKey | None = field(repr=False)
    row_groups: tuple[int, ...] | None = None


@dataclass(frozen=True)
class FetchedParts:
    """What came of fetching.

    Attributes:
        files: one for each part that was read.
        object_bytes: bytes that came, of those that were left out as well.
        left_out: why parts are missing, in words.
    """

    files: tuple[StagedFile, ...]
    object_bytes: int
    left_out: tuple[str, ...]


class _Abandoned(Exception):  # noqa: N818 - not an error: somebody else has failed
    """Nobody wants the object any more."""


class _Fetching:
    """One fetching of several parts."""

    def __init__(self, archive: ColdArchive, folder: Path, fetched: Fetched) -> None:
        self._archive = archive
        self._folder = folder
        self._tell = fetched
        self._lock = threading.Lock()
        self.over = threading.Event()
        self.object_bytes = 0

    def fetch(self, number: int, part: PartToRead) -> StagedFile:
        """One part.

        Raises:
            ComplianceError: it cannot be read, or is not what was committed.
        """
        archive = replace(self._archive, store=self._archive.store.at_versions(part.versions))
        manifest = part.manifest or _manifest(archive, part)
        key = None if manifest.encryption is None else archive.key_of(manifest.object_key, manifest.encryption)
        path = new_file(self._folder, f"{number}.parquet")
        size, sha256 = self._copied(archive.store, manifest, path)
        if (size, sha256) != (manifest.object_bytes, manifest.object_sha256):
            raise SearchError(
                f"{manifest.object_key} is not the object that was committed, which has {manifest.object_bytes:,} "
                f"bytes and the SHA-256 {manifest.object_sha256}: nothing is read from it"
            )
        with open_part(path, name=manifest.object_key, key=key) as reader:
            if reader.num_rows != manifest.entry_count:
                raise SearchError(
                    f"{manifest.object_key} holds {reader.num_rows:,} entries where its manifest says "
                    f"{manifest.entry_count:,}"
                )
        return StagedFile(path, part.day, archive.store.locate(manifest.object_key), key, part.row_groups)

    def _copied(self, store: ObjectStore, manifest: Manifest, path: Path) -> tuple[int, str]:
        digest = hashlib.sha256()
        size = 0
        try:
            with store.open(manifest.object_key) as source, path.open("wb") as target:
                while size <= manifest.object_bytes and (chunk := source.read(CHUNK_BYTES)):
                    digest.update(chunk)
                    size += target.write(chunk)
                    self._count(len(chunk))
        except OSError as error:
            where = store.locate(manifest.object_key)
            raise TransientError(f"{where} could not be copied to {path}: {error}; run it again") from error
        return size, digest.hexdigest()

    def _count(self, size: int) -> None:
        with self._lock:
            self.object_bytes += size
        self._tell(size)
        if self.over.is_set():
            raise _Abandoned


def _manifest(archive: ColdArchive, part: PartToRead) -> Manifest:
    """The signed manifest of a part of the catalogue.

    Raises:
        ObjectMissingError: it is not there.
        ManifestError: it is no manifest, or is not signed by the ledger's key.
        SearchError: it is not the one that the catalogue knows.
    """
    manifest, data = read_manifest(archive, part.manifest_key)
    if part.manifest_sha256 not in {None, hashlib.sha256(data).hexdigest()}:
        raise SearchError(f"{part.manifest_key} was altered: it is not the manifest that was committed")
    if manifest.object_key != part.object_key or manifest.entry_count != part.entry_count:
        raise SearchError(f"the catalogue's row of {part.object_key} is not what {part.manifest_key} says")
    return manifest


def fetch_parts(
    archive: ColdArchive, parts: Sequence[PartToRead], folder: Path, *, partial: bool, fetched: Fetched = silent
) -> FetchedParts:
    """Copy parts into a directory, several at once.

    Args:
        archive: where they are.
        parts: which.
        folder: the private directory.
        partial: leave out what cannot be read, instead of failing.
        fetched: told of bytes as they arrive.

    Raises:
        PartsNotReadError: a part cannot be read, and nothing may be left out.
        StagingError: the disk has no room.
    """
    require_room(folder, sum(part.object_bytes for part in parts))
    fetching = _Fetching(archive, folder, fetched)
    files: dict[int, StagedFile] = {}
    problems: dict[int, str] = {}
    pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="search-fetch")
    try:
        waiting = {pool.submit(fetching.fetch, number, part): number for number, part in enumerate(parts)}
        for future in as_completed(waiting):
            number = waiting[future]
            try:
                files[number] = future.result()
            except ComplianceError as error:
                problems[number] = _reason(parts[number], error)
                if not partial:
                    break
    finally:
        fetching.over.set()
        pool.shutdown(wait=True, cancel_futures=True)
    reasons = tuple(problems[number] for number in sorted(problems))
    if reasons and not partial:
        raise PartsNotReadError(reasons)
    return FetchedParts(tuple(files[number] for number in sorted(files)), fetching.object_bytes, reasons)


def _reason(part: PartToRead, error: ComplianceError) -> str:
    return printable(f"part {part.part} of {part.day} cannot be read: {error}", _MOST_SAID)
