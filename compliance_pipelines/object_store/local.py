"""The cold store in a directory.

Here: `LocalObjectStore`. Not here: the order of a listing (local_listing.py), staging and locks (local_staging.py),
recorded checksums (local_checksums.py).

An object is a read-only file whose path below the root is its key. The directory `.object-store` in the root holds
what is not an object: staging files, the lock, checksums. A plain copy of the root is a store with the same objects.

How an object comes to be: its bytes are written to a staging file and forced to disk; then, under the store's lock,
its checksum is recorded and the staging file gets its second name, the key. The link fails when the name is taken,
so nothing is overwritten even by a writer that ignores the lock. Whoever dies on the way leaves a staging file, which
the next put removes, or a checksum without an object, which the next put of that key replaces.

How an object is replaced: under the lock its bytes are hashed and compared with what was read; then its checksum is
removed, the staging file is renamed to the key, and the new checksum recorded. Whoever dies on the way leaves the old
object or the new one, perhaps without a checksum.

The file system needs hard links and locks (`flock`): a local one has both, a network one may not.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from compliance_pipelines.object_store.keys import RESERVED_SEGMENT, check_key, check_prefix
from compliance_pipelines.object_store.local_checksums import ChecksumRecords, record
from compliance_pipelines.object_store.local_files import (
    chunks,
    hashed,
    make_directories,
    remove_empty_directories,
    replacing,
    sync_path,
    write_hashed,
)
from compliance_pipelines.object_store.local_listing import objects_in_order, strangers_below
from compliance_pipelines.object_store.local_staging import StagingArea, StagingFile
from compliance_pipelines.object_store.port import (
    ObjectExistsError,
    ObjectInfo,
    ObjectMissingError,
    ObjectReplacedError,
    ObjectStoreError,
    OversizedObjectError,
    StoreMissingError,
    UnsupportedByStoreError,
    VersionedObject,
)

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_REMEDIES: Final = {
    errno.ENOSPC: "the disk is full; free space there, then repeat",
    errno.EDQUOT: "the disk quota is used up; raise it or free space there, then repeat",
    errno.EFBIG: "the file is larger than the file system or the process's limit (ulimit -f) allows",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "give the user that runs this access to the directory",
    errno.EPERM: "the file system must permit hard links and changes of mode",
}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ABSENT: Final = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}


class LocalObjectStore:
    """An `ObjectStore` in a directory, for any number of threads and processes of one host.

    Reading needs no right to write, so that a copy on a read-only medium will do. A missing root is an error of every
    method but `create`: it is a mistyped path or a volume that is not mounted, and never a store without objects.

    Args:
        root: the directory, which `create` makes.

    Raises:
        ObjectStoreError: there is something else than a directory.
    """

    def __init__(self, root: Path) -> None:
        self._root: Final = root.resolve()
        try:
            status = _status(self._root)
        except OSError as error:
            raise ObjectStoreError(f"the directory of the cold store cannot be looked at: {error}") from error
        if status is not None and not stat.S_ISDIR(status.st_mode):
            raise ObjectStoreError(f"{self._root} is not a directory: give the cold store a directory")
        reserved = self._root / RESERVED_SEGMENT
        self._staging: Final = StagingArea(reserved)
        self._checksums: Final = ChecksumRecords(reserved)

    @property
    def uri(self) -> str:
        """`file:///` and the absolute path of the root."""
        return self._root.as_uri()

    def locate(self, key: str) -> str:
        """`file:///` and the absolute path of the object."""
        return self._path(key).as_uri()

    def at_versions(self, versions: Mapping[str, str]) -> LocalObjectStore:  # noqa: ARG002 - it keeps none
        """This store: a directory has one version of each object."""
        return self

    def create(self) -> None:
        """Make the root and its missing parents."""
        with self._naming("cannot make the directory of the cold store for", ""):
            make_directories(self._root)

    def now(self) -> datetime:
        """The time that the file system gives a file that is written now; a server's own where it is another host's."""
        self._require_root()
        with self._naming("cannot ask for the time by writing", RESERVED_SEGMENT), self._staging.new_file() as probe:
            probe.file.write(b"\n")
            probe.file.flush()
            os.fsync(probe.file.fileno())
            nanoseconds = os.fstat(probe.file.fileno()).st_mtime_ns
        return _EPOCH + timedelta(microseconds=nanoseconds // 1_000)

    def put_file(self, key: str, path: Path) -> ObjectInfo:
        """See `ObjectStore.put_file`. The bytes are copied: changing the file later does not change the object."""
        target = self._path(key)
        self._require_root()
        with self._naming(f"{path} cannot be stored as", key), path.open("rb", buffering=0) as source:
            return self._put(key, target, chunks(source))

    def put_bytes(self, key: str, data: bytes) -> ObjectInfo:
        """See `ObjectStore.put_bytes`."""
        target = self._path(key)
        self._require_root()
        with self._naming("cannot store", key):
            return self._put(key, target, iter([memoryview(data)]))

    def replace(self, key: str, data: bytes, expected: str) -> ObjectInfo:
        """See `ObjectStore.replace`. The lock keeps others out who use this class, and nobody else."""
        target = self._path(key)
        self._require_root()
        with self._naming("cannot replace", key), self._staging.new_file() as staging:
            size, sha256 = write_hashed(staging.file, iter([memoryview(data)]))
            with self._staging.locked():
                with self.open(key) as source:
                    current = hashed(chunks(source))
                if current != expected:
                    raise ObjectReplacedError(
                        f"{key!r} at {target.as_uri()} is no longer what was read: another writer replaced it meanwhile"
                    )
                checksum = self._checksums.path(key)
                checksum.unlink(missing_ok=True)
                staging.path.replace(target)
                sync_path(target.parent, self._root)
                self._record(key, sha256)
                sync_path(checksum.parent, self._root)
        return ObjectInfo(key, size, sha256)

    def read_versioned(self, key: str, most: int) -> VersionedObject:
        """See `ObjectStore.read_versioned`; the version is the SHA-256 of what was read."""
        with self._naming("cannot read", key), self.open(key) as source:
            data = source.read(most + 1)
        if len(data) > most:
            raise OversizedObjectError(f"it has more than the {most:,} bytes that it can have")
        return VersionedObject(data, hashed(iter([memoryview(data)])))

    def get_bytes(self, key: str) -> bytes:
        """See `ObjectStore.get_bytes`."""
        with self._naming("cannot read", key), self.open(key) as source:
            size = os.fstat(source.fileno()).st_size
            data = source.read()
        self._check_size(key, size, len(data))
        return data

    def download(self, key: str, path: Path) -> ObjectInfo:
        """See `ObjectStore.download`."""
        with (
            self._naming(f"cannot copy to {path}:", key),
            self.open(key) as source,
            replacing(path) as target,
        ):
            size = os.fstat(source.fileno()).st_size
            copied = 0
            for piece in chunks(source):
                target.write(piece)
                copied += len(piece)
            self._check_size(key, size, copied)
        return ObjectInfo(key, size, self._checksums.read(key))

    def open(self, key: str) -> io.BufferedReader:
        """See `ObjectStore.open`."""
        target = self._path(key)
        self._require_root()
        with self._naming("cannot open", key):
            if self._obstacle(target) is not None:
                raise self._missing(key)
            try:
                # O_NONBLOCK: in a copy from a stranger a pipe may stand for the object, and would block for ever.
                descriptor = os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            except OSError as error:
                if error.errno in _ABSENT:
                    raise self._missing(key) from error
                raise
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.close(descriptor)
                raise self._missing(key)
            return os.fdopen(descriptor, "rb")

    def stat(self, key: str) -> ObjectInfo | None:
        """See `ObjectStore.stat`."""
        target = self._path(key)
        self._require_root()
        with self._naming("cannot look at", key):
            size = self._size(target)
        return None if size is None else ObjectInfo(key, size, self._checksums.read(key))

    def confirm(self, key: str) -> ObjectInfo:
        """See `ObjectStore.confirm`; a directory locks nothing."""
        info = self.stat(key)
        if info is None:
            raise self._missing(key)
        return info

    def list(self, prefix: str, start_after: str | None = None) -> Iterator[ObjectInfo]:
        """See `ObjectStore.list`. What is neither a directory nor a regular file with a valid key is passed over."""
        check_prefix(prefix)
        check_prefix(start_after or "")
        return self._list(prefix, start_after or "")

    def strangers(self, directory: str) -> Iterator[tuple[str, str]]:
        """Name and nature, in words, of everything below a directory that is neither an object nor leads to one.

        Bytes of a name that are no UTF-8 come as lone surrogates (PEP 383).

        Args:
            directory: its path below the root, without a slash at the end.

        Raises:
            ObjectStoreError: a directory cannot be read.
        """
        found = strangers_below(os.fsencode(self._root), directory.encode())
        while True:
            with self._naming("cannot list", directory):
                name, nature = next(found, (b"", ""))
            if not name:
                return
            yield os.fsdecode(name), nature

    def delete(self, key: str) -> None:
        """See `ObjectStore.delete`. Directories that become empty are removed."""
        target = self._path(key)
        self._require_root()
        with self._naming("cannot delete", key):
            if self._size(target) is None and not self._checksums.path(key).exists():
                return
            with self._staging.locked():
                if self._size(target) is not None:
                    target.unlink()
                    sync_path(target.parent, self._root)
                self._checksums.path(key).unlink(missing_ok=True)
                if self._obstacle(target) is None:
                    remove_empty_directories(target.parent, self._root)

    def set_hold(self, key: str, *, held: bool) -> None:  # noqa: ARG002 - it keeps none
        """See `ObjectStore.set_hold`.

        Raises:
            UnsupportedByStoreError: always; whoever may write to a directory may delete there.
        """
        raise UnsupportedByStoreError(f"{self.locate(key)} cannot be held: a directory knows no holds")

    def has_hold(self, key: str) -> None:
        """None: a directory knows no holds."""
        self._path(key)

    def _list(self, prefix: str, start_after: str) -> Iterator[ObjectInfo]:
        self._require_root()
        objects = objects_in_order(os.fsencode(self._root), prefix.encode(), start_after.encode())
        while True:
            with self._naming("cannot list", prefix):
                key, size = next(objects, ("", 0))
            if not key:
                return
            yield ObjectInfo(key, size, self._checksums.read(key))

    def _put(self, key: str, target: Path, pieces: Iterator[memoryview]) -> ObjectInfo:
        self._refuse_if_taken(key, target)
        with self._staging.new_file() as staging:
            size, sha256 = write_hashed(staging.file, pieces)
            with self._staging.locked():
                self._refuse_if_taken(key, target)
                self._commit(key, target, staging, sha256)
        return ObjectInfo(key, size, sha256)

    def _commit(self, key: str, target: Path, staging: StagingFile, sha256: str) -> None:
        checksum = self._checksums.path(key)
        try:
            self._record(key, sha256)
            make_directories(target.parent)
            os.link(staging.path, target)
            sync_path(checksum.parent, self._root)
            sync_path(target.parent, self._root)
        except BaseException as error:
            if os.fstat(staging.file.fileno()).st_nlink > 1:
                target.unlink(missing_ok=True)
            checksum.unlink(missing_ok=True)
            remove_empty_directories(target.parent, self._root)
            if isinstance(error, FileExistsError):
                self._refuse_if_taken(key, target)
            raise

    def _record(self, key: str, sha256: str) -> None:
        """Put a key's checksum in the place of the one before; call it with the store's lock."""
        checksum = self._checksums.path(key)
        make_directories(checksum.parent)
        with self._staging.new_file_under_lock() as new_record:
            write_hashed(new_record.file, iter([memoryview(record(key, sha256))]))
            new_record.path.replace(checksum)

    def _refuse_if_taken(self, key: str, target: Path) -> None:
        """Let a key pass that has no object and can get one.

        An existing object is made durable before it is reported: whoever put it may have died before that, and the
        caller may take it for its own.
        """
        obstacle = self._obstacle(target)
        if obstacle is not None:
            raise ObjectStoreError(
                f"{key!r} cannot be stored at {target.as_uri()}: {obstacle} is not a directory. If it is an object, "
                f"choose a key that does not continue its key; if it is a link, put a directory in its place"
            )
        # One look: between two, another process may put the object.
        status = _status(target)
        if status is None:
            return
        if stat.S_ISREG(status.st_mode):
            sync_path(target.parent, self._root)
            raise ObjectExistsError(f"{key!r} already has an object, at {target.as_uri()}; it was left as it is")
        raise ObjectStoreError(
            f"{key!r} cannot be stored at {target.as_uri()}: there is a directory of that name, or something else "
            f"that is not an object"
        )

    def _size(self, target: Path) -> int | None:
        """Size in bytes of the object at a path, None when there is none."""
        if self._obstacle(target) is not None:
            return None
        status = _status(target)
        return status.st_size if status is not None and stat.S_ISREG(status.st_mode) else None

    def _obstacle(self, target: Path) -> Path | None:
        """What stands on the way from the root to a path without being a directory; also a link to one."""
        for parent in target.parents:
            if parent == self._root:
                return None
            status = _status(parent)
            if status is not None and not stat.S_ISDIR(status.st_mode):
                return parent
        return None

    def _path(self, key: str) -> Path:
        """Where the key's object is, in bytes that do not depend on the locale.

        Raises:
            InvalidKeyError: the key breaks a rule.
        """
        check_key(key)
        return self._root / os.fsdecode(key.encode())

    def _require_root(self) -> None:
        """Let what exists pass.

        Raises:
            StoreMissingError: the root is no directory.
        """
        with self._naming("cannot look for", ""):
            status = _status(self._root)
        if status is None or not stat.S_ISDIR(status.st_mode):
            raise StoreMissingError(
                f"the directory of the cold store, {self._root}, is not there: AUDIT_COLD_STORAGE_PATH is mistyped, or "
                "its volume is not mounted. Correct that; a new store is made by `compliance store init` alone"
            )

    def _check_size(self, key: str, size: int, received: int) -> None:
        if received != size:
            raise ObjectStoreError(
                f"{key!r} at {self.locate(key)} has {size} bytes, but {received} were read: it changed meanwhile"
            )

    def _missing(self, key: str) -> ObjectMissingError:
        return ObjectMissingError(f"{key!r} has no object, looked for at {self.locate(key)}")

    @contextmanager
    def _naming(self, failure: str, key: str) -> Iterator[None]:
        """Turn the operating system's errors into the store's, with the key and the store in the message."""
        try:
            yield
        except OSError as error:
            remedy = _REMEDIES.get(error.errno or 0)
            raise ObjectStoreError(
                f"{failure} {key!r} in {self.uri}: {error}" + (f" ({remedy})" if remedy else "")
            ) from error


def _status(path: Path) -> os.stat_result | None:
    """The status of what is at a path, not followed when it is a link; None when nothing is there."""
    try:
        return path.lstat()
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise
