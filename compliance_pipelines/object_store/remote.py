"""What the adapters of services have in common.

Here: keys and prefixes, files to and from objects, which version is read, what is made of a listing. Not here: any
request (s3.py, gcs.py).
"""

from __future__ import annotations

import hashlib
import io
from abc import ABC, abstractmethod
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, BinaryIO, Final, TypeVar

from compliance_pipelines.object_store.keys import check_key, check_prefix, key_problem
from compliance_pipelines.object_store.local_files import chunks, replacing
from compliance_pipelines.object_store.port import (
    BrokenPromiseError,
    ObjectExistsError,
    ObjectInfo,
    ObjectMissingError,
    ObjectReplacedError,
    ObjectStoreError,
    RefusedByStoreError,
    no_retention,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from compliance_pipelines.object_store.port import RetentionRule
    from compliance_pipelines.object_store.ranged import RangedFile

T = TypeVar("T")

SHA256_METADATA: Final = "sha256"
READ_BUFFER: Final = 1 << 20


class RemoteObjectStore(ABC):
    """An `ObjectStore` behind requests.

    Args:
        place: the URI of the bucket, without a slash at the end.
        prefix: that all keys have in the bucket, without a slash at either end; empty: none.
        retain_until: until when each object is locked, where the bucket's objects are.
        versions: which version of some keys is read; see `ObjectStore.at_versions`.

    Raises:
        InvalidKeyError: no key can have the prefix.
    """

    def __init__(
        self,
        place: str,
        prefix: str,
        *,
        retain_until: RetentionRule = no_retention,
        versions: Mapping[str, str] | None = None,
    ) -> None:
        self._retain_until = retain_until
        self._versions: Mapping[str, str] = versions or {}
        self._prefix: Final = f"{prefix}/" if prefix else ""
        self._uri: Final = f"{place}/{prefix}".rstrip("/")
        check_prefix(self._prefix)

    @abstractmethod
    def _put(self, key: str, source: BinaryIO) -> ObjectInfo:
        """Store what a seekable file has, unless the key has an object."""

    @abstractmethod
    def _open(self, key: str, version: str | None) -> RangedFile:
        """The object, at a version; None: the newest."""

    @abstractmethod
    def _look(self, key: str, version: str | None) -> ObjectInfo:
        """What is known of the object, at a version; None: the newest."""

    @abstractmethod
    def _listed(self, prefix: str, start_after: str) -> Iterator[tuple[str, int]]:
        """Keys and sizes in the service's order, with the store's prefix; more may come than were asked for."""

    def object_key(self, key: str) -> str:
        """The key of an object as the service knows it, with the store's prefix."""
        return self._prefix + key

    @property
    def uri(self) -> str:
        """The URI of the bucket, and the prefix where there is one."""
        return self._uri

    def locate(self, key: str) -> str:
        """The URI of the store and the key as it is."""
        check_key(key)
        return f"{self.uri}/{key}"

    def put_file(self, key: str, path: Path) -> ObjectInfo:
        """See `ObjectStore.put_file`."""
        where = self.locate(key)
        try:
            with path.open("rb") as source:
                return self._put(key, source)
        except OSError as error:
            raise ObjectStoreError(f"{path} cannot be stored as {key!r} at {where}: {error}") from error

    def put_bytes(self, key: str, data: bytes) -> ObjectInfo:
        """See `ObjectStore.put_bytes`."""
        self.locate(key)
        return self._put(key, io.BytesIO(data))

    def get_bytes(self, key: str) -> bytes:
        """See `ObjectStore.get_bytes`."""
        with self.open(key) as file:
            try:
                return file.read()
            except OSError as error:
                raise ObjectStoreError(str(error)) from error

    def download(self, key: str, path: Path) -> ObjectInfo:
        """See `ObjectStore.download`."""
        where = self.locate(key)
        file = self._at_version(key, self._open)
        try:
            with file, replacing(path) as target:
                copied = 0
                for piece in chunks(io.BufferedReader(file, READ_BUFFER)):
                    target.write(piece)
                    copied += len(piece)
                self._check_size(key, file.size, copied)
        except OSError as error:
            raise ObjectStoreError(f"{where} cannot be copied to {path}: {error}") from error
        return ObjectInfo(key, file.size, file.sha256)

    def open(self, key: str) -> BinaryIO:
        """See `ObjectStore.open`. What is read is one version, whatever is put meanwhile."""
        self.locate(key)
        return io.BufferedReader(self._at_version(key, self._open), READ_BUFFER)

    def stat(self, key: str) -> ObjectInfo | None:
        """See `ObjectStore.stat`."""
        self.locate(key)
        try:
            return self._at_version(key, self._look)
        except ObjectMissingError:
            return None

    def list(self, prefix: str, start_after: str | None = None) -> Iterator[ObjectInfo]:
        """See `ObjectStore.list`. Services list no checksums. What has no valid key is passed over.

        Raises:
            ObjectStoreError: the service fails, or lists keys in another order than that of their bytes.
        """
        check_prefix(prefix)
        check_prefix(start_after or "")
        return self._in_order(prefix, start_after or "")

    def _in_order(self, prefix: str, start_after: str) -> Iterator[ObjectInfo]:
        last = b""
        for name, size in self._listed(prefix, start_after):
            if not name.startswith(self._prefix + prefix):
                continue
            key = name.removeprefix(self._prefix)
            if key.encode() <= last:
                raise ObjectStoreError(
                    f"{self.uri}/{prefix}: the service lists {key!r} after {last.decode()!r}, which is not the order "
                    "of their bytes, and what is still to come may be left out"
                )
            last = key.encode()
            if last > start_after.encode() and key_problem(key) is None:
                yield ObjectInfo(key, size, None)

    def _at_version(self, key: str, read: Callable[[str, str | None], T]) -> T:
        """What is read of the version that is known, or of the newest where there is none or the store has it not.

        Raises:
            ObjectMissingError: the key has no object.
            ObjectStoreError: the version could not be looked at, and there is no newest one.
        """
        version = self._versions.get(key)
        if version is None:
            return read(key, None)
        try:
            return read(key, version)
        except (ObjectMissingError, RefusedByStoreError) as error:
            # The id is another bucket's where the store was moved, and no id at all to some services.
            try:
                return read(key, None)
            except ObjectMissingError:
                raise error from None

    def _refusal_of_put(self, key: str) -> ObjectStoreError:
        """What it means that the service says that the key has an object."""
        where = self.locate(key)
        if self.stat(key) is None:
            return ObjectStoreError(
                f"{key!r} cannot be stored at {where}: the service says that it has an object, and shows none. "
                "It may take keys that continue it, or that it continues, for directories"
            )
        return ObjectExistsError(f"{key!r} already has an object, at {where}; it was left as it is")

    def _refusal_of_replacement(self, key: str) -> ObjectStoreError:
        """What it means that the service says that the object is not the one that was read."""
        where = self.locate(key)
        if self.stat(key) is None:
            return ObjectMissingError(f"{key!r} has no object any more, at {where}")
        return ObjectReplacedError(
            f"{key!r} at {where} is no longer what was read: another writer replaced it meanwhile"
        )

    def _end_of_lock(self, key: str) -> datetime | None:
        """Until when the object is to be locked; to the second, since what is looked at is compared exactly."""
        end = self._retain_until(key)
        return None if end is None else end.astimezone(UTC).replace(microsecond=0)

    def _check_lock(self, key: str, asked: str, mode: str | None, until: datetime | None) -> None:
        """Let an object pass that somebody put, and that is locked as it is to be, or for longer.

        Raises:
            BrokenPromiseError: it is not.
        """
        end = self._end_of_lock(key)
        if end is not None and (mode != asked or until is None or until < end):
            raise BrokenPromiseError(
                f"{self.locate(key)} is there, and not locked as it is to be ({asked} until {end}): its lock is "
                f"{mode or 'none'} until {until or 'none'}. It was left there; lock it, or move it out of the store, "
                "and run again"
            )

    def _check_size(self, key: str, size: int, received: int) -> None:
        if received != size:
            raise ObjectStoreError(f"{self.locate(key)} has {size} bytes, but {received} were read")

    def _said_time(self, said: str) -> datetime:
        """The time of a `Date` header."""
        try:
            return parsedate_to_datetime(said).astimezone(UTC)
        except (TypeError, ValueError):
            raise ObjectStoreError(f"{self.uri}: the service does not say what time it is, but {said!r}") from None


def pieces_of(source: BinaryIO) -> Iterator[bytes]:
    """What is left of a file, piece by piece."""
    while piece := source.read(READ_BUFFER):
        yield piece


def sha256_of(pieces: Iterable[bytes]) -> tuple[int, bytes]:
    """Size and digest of what comes in pieces."""
    digest = hashlib.sha256()
    size = 0
    for piece in pieces:
        digest.update(piece)
        size += len(piece)
    return size, digest.digest()
