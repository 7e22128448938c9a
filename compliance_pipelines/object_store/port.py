"""The port of the cold store: what every adapter promises, and how it fails.

Here: the protocol, the description of an object, the errors. Not here: the rules for keys (keys.py), any adapter.
`ObjectStoreContract` in the tests is this module as assertions; an adapter is finished when it passes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Protocol, runtime_checkable

from compliance_pipelines.base.errors import ComplianceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime
    from pathlib import Path


class ObjectStoreError(ComplianceError):
    """The store could not do what was asked; the message names the key and the store."""


class ObjectExistsError(ObjectStoreError):
    """The key already has an object. It was left as it is, and it is durable."""


class ObjectMissingError(ObjectStoreError):
    """The key has no object."""


class ObjectReplacedError(ObjectStoreError):
    """The object is no longer the one that was read: another writer replaced it meanwhile. It was left as it is."""


class OversizedObjectError(ComplianceError):
    """An object is larger than any that the project writes under its key; that says nothing about the store."""


class StoreMissingError(ObjectStoreError):
    """There is no store where the settings say: a mistyped place, or a volume that is not mounted.

    Never the same as a store without the object that is asked for.
    """


class RefusedByStoreError(ObjectStoreError):
    """The store refuses, and will refuse again: a right is missing, or a lock keeps the object."""


class UnsupportedByStoreError(RefusedByStoreError):
    """The store does not know what it was asked for."""


class BrokenPromiseError(ObjectStoreError):
    """The store took an object, and did not keep it as it was asked to: another size, hash, lock or version."""


class InvalidKeyError(ObjectStoreError):
    """The key breaks a rule that holds in every store."""


@dataclass(frozen=True)
class ObjectInfo:
    """What the store knows about an object without reading it.

    Attributes:
        key: the object's key.
        size: bytes that the object has now.
        sha256: lower-case hex digest that the store recorded at writing; None where it has no record. It says what
            was written, not what a reader gets today. Listings of some stores have none.
        version: what the store calls this content for good, where it keeps versions and says so: S3's version id, GCS's
            generation. Two descriptions of one content are equal whether they say it or not.
    """

    key: str
    size: int
    sha256: str | None
    version: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class VersionedObject:
    """An object that was read in order to be replaced.

    Attributes:
        version: what the store calls this content (S3: its ETag; GCS: its generation; a directory: its SHA-256). It
            means something to `ObjectStore.replace` of the same store alone.
    """

    data: bytes
    version: str


class RetentionRule(Protocol):
    """Until when nobody may delete an object, by its key; a store that can lock is given one."""

    def __call__(self, key: str, /) -> datetime | None:
        """The end, aware, to the second; None: the object is not locked."""


def no_retention(key: str, /) -> None:
    """Lock nothing."""


@runtime_checkable
class ObjectStore(Protocol):
    """Write-once storage of whole objects under '/'-separated keys; `replace` alone puts another in an object's place.

    Every method that takes a key raises InvalidKeyError for one that breaks the rules of keys.py, and ObjectStoreError
    when the store fails or cannot tell: a failure is never reported as absence. Where there is no store at all, the
    latter is a StoreMissingError; no method but `create` makes one.

    A store may refuse, with ObjectStoreError, a key that continues another object's key after a '/', or that another
    object's key continues so ('a' beside 'a/b'). None loses an object over it.

    Reading verifies the number of bytes only. Whoever needs to know that the content is right compares hashes.
    """

    @property
    def uri(self) -> str:
        """Where the store is, without a slash at the end: `file:///...`, `s3://bucket/prefix`, `gs://bucket/prefix`."""

    def at_versions(self, versions: Mapping[str, str]) -> ObjectStore:
        """The same store, in which reading some keys means reading the versions that are known of them.

        Where the store keeps no versions, or has this one no longer, the newest object is read: whoever knows a version
        knows its hash, too, and compares it.

        Args:
            versions: by key, as :attr:`ObjectInfo.version` of the put had it.
        """

    def create(self) -> None:
        """Make the place where objects will be, durably, unless it is there. Only a person's explicit act calls this.

        Raises:
            ObjectStoreError: it cannot be made.
        """

    def now(self) -> datetime:
        """The time of the store's own clock, aware. It may write something that is no object and is gone at once.

        Raises:
            ObjectStoreError: the store fails, or cannot be written to.
        """

    def put_file(self, key: str, path: Path) -> ObjectInfo:
        """Store a copy of a file, unless the key has an object.

        The object appears whole or not at all, also after a crash, and is durable when this returns. After an error
        nothing is left behind, unless it is a BrokenPromiseError.

        Raises:
            ObjectExistsError: the key has an object, whatever its content.
            BrokenPromiseError: the store did not keep what it took.
            ObjectStoreError: the file cannot be read, or the store is full or fails.
        """

    def put_bytes(self, key: str, data: bytes) -> ObjectInfo:
        """Store bytes; the same promises as `put_file`.

        Raises:
            ObjectExistsError: the key has an object, whatever its content.
            ObjectStoreError: the store is full or fails.
        """

    def replace(self, key: str, data: bytes, expected: str) -> ObjectInfo:
        """Put bytes in the place of the object that was read, if it is still that one (compare and swap).

        Readers find the old object or the new one, whole, also after a crash; the new one is durable when this returns.
        After an error other than the first two it is one of both.

        Args:
            key: of the object.
            data: what it is from now on.
            expected: the version that `read_versioned` gave.

        Raises:
            ObjectReplacedError: it is another one now.
            ObjectMissingError: the key has no object any more.
            ObjectStoreError: the store is full or fails.
        """

    def read_versioned(self, key: str, most: int) -> VersionedObject:
        """The whole object, in memory, with the name of its version.

        Args:
            key: of the object.
            most: the bytes that it may have; no more are read.

        Raises:
            ObjectMissingError: the key has no object.
            OversizedObjectError: it has more bytes.
            ObjectStoreError: the store fails.
        """

    def get_bytes(self, key: str) -> bytes:
        """The whole object, in memory.

        Raises:
            ObjectMissingError: the key has no object.
            ObjectStoreError: fewer or more bytes came than the object has, or the store fails.
        """

    def download(self, key: str, path: Path) -> ObjectInfo:
        """Copy the object to a file, which only its owner can read; an existing file is replaced.

        The file appears whole or not at all; after an error it is as it was. It is not forced to disk.

        Raises:
            ObjectMissingError: the key has no object.
            ObjectStoreError: fewer or more bytes came than the object has, the file cannot be written, or the store
                fails.
        """

    def open(self, key: str) -> BinaryIO:
        """The object as a seekable binary file, to be closed by the caller.

        Raises:
            ObjectMissingError: the key has no object.
            ObjectStoreError: the store fails. Reading the file raises OSError when the store fails later.
        """

    def stat(self, key: str) -> ObjectInfo | None:
        """What is known about the object without reading it, or None when the key has none.

        Raises:
            ObjectStoreError: the store cannot tell.
        """

    def confirm(self, key: str) -> ObjectInfo:
        """What is known about an object that somebody put, if it is kept as this store keeps what it puts itself.

        Whoever takes over an object whose put was not seen to its end asks this first.

        Raises:
            ObjectMissingError: the key has no object.
            BrokenPromiseError: it is not locked, or for less long than it is to be.
            ObjectStoreError: the store cannot tell.
        """

    def list(self, prefix: str, start_after: str | None = None) -> Iterator[ObjectInfo]:
        """The objects whose keys begin with a prefix, in the order of the keys' UTF-8 bytes, as they are found.

        Objects that come or go meanwhile may or may not be seen.

        Args:
            prefix: may end in the middle of a name; empty for every object.
            start_after: only keys that come after this string, which need not be a key.

        Raises:
            InvalidKeyError: no key can begin with the prefix or with `start_after`.
            ObjectStoreError: the store fails; what was yielded so far is then not all.
        """

    def delete(self, key: str) -> None:
        """Remove the object, durably. A key without an object is left without one.

        Raises:
            ObjectStoreError: the store fails; the object may still be there.
        """

    def set_hold(self, key: str, *, held: bool) -> None:
        """Have the store itself keep the object, or keep it no longer: a legal hold, whose end nobody knows.

        It is about the version that `at_versions` knows, as reading is. While it is held, nobody deletes that version.
        Asking again for what is so already is no error.

        Raises:
            ObjectMissingError: the key has no object.
            UnsupportedByStoreError: this store knows no holds; `has_hold` says so before.
            BrokenPromiseError: the store agreed, and it is not so.
            ObjectStoreError: the store fails, or does not let this login do it.
        """

    def has_hold(self, key: str) -> bool | None:
        """Whether the store itself keeps the object, by whoever's order; None: this store knows no holds at all.

        It is about the version that `at_versions` knows, as reading is.

        Raises:
            ObjectMissingError: the key has no object, in a store that knows holds.
            ObjectStoreError: the store cannot tell, or does not let this login ask.
        """

    def locate(self, key: str) -> str:
        """The URI of the object, whether there is one or not."""
