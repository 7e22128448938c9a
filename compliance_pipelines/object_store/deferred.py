"""A cold store that is opened when it is first used.

Here: handing each call on. Not here: which store, and anything that a store does (port.py, local.py).

Most commands use no cold store, and should run where none is configured.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from compliance_pipelines.object_store.port import ObjectInfo, ObjectStore, VersionedObject


@dataclass(frozen=True)
class DeferredObjectStore:
    """The store that `open_store` gives; each method raises what opening raises, and what the store's own does."""

    open_store: Callable[[], ObjectStore]

    @cached_property
    def _opened(self) -> ObjectStore:
        return self.open_store()

    @property
    def uri(self) -> str:
        """See :class:`~.port.ObjectStore`, as for every method below."""
        return self._opened.uri

    def at_versions(self, versions: Mapping[str, str]) -> ObjectStore:
        """The same store at some versions."""
        return self._opened.at_versions(versions)

    def create(self) -> None:
        """Make the place where objects will be."""
        self._opened.create()

    def now(self) -> datetime:
        """The time of the store's own clock."""
        return self._opened.now()

    def put_file(self, key: str, path: Path) -> ObjectInfo:
        """Store a copy of a file."""
        return self._opened.put_file(key, path)

    def put_bytes(self, key: str, data: bytes) -> ObjectInfo:
        """Store bytes."""
        return self._opened.put_bytes(key, data)

    def replace(self, key: str, data: bytes, expected: str) -> ObjectInfo:
        """Put bytes in the place of the object that was read."""
        return self._opened.replace(key, data, expected)

    def read_versioned(self, key: str, most: int) -> VersionedObject:
        """The whole object with the name of its version."""
        return self._opened.read_versioned(key, most)

    def get_bytes(self, key: str) -> bytes:
        """The whole object."""
        return self._opened.get_bytes(key)

    def download(self, key: str, path: Path) -> ObjectInfo:
        """Copy the object to a file."""
        return self._opened.download(key, path)

    def open(self, key: str) -> BinaryIO:
        """The object as a file."""
        return self._opened.open(key)

    def stat(self, key: str) -> ObjectInfo | None:
        """What is known about the object."""
        return self._opened.stat(key)

    def confirm(self, key: str) -> ObjectInfo:
        """What is known about an object that is kept as it is to be."""
        return self._opened.confirm(key)

    def list(self, prefix: str, start_after: str | None = None) -> Iterator[ObjectInfo]:
        """The objects whose keys begin with a prefix."""
        return self._opened.list(prefix, start_after)

    def delete(self, key: str) -> None:
        """Remove the object."""
        self._opened.delete(key)

    def set_hold(self, key: str, *, held: bool) -> None:
        """Have the store itself keep the object, or keep it no longer."""
        self._opened.set_hold(key, held=held)

    def has_hold(self, key: str) -> bool | None:
        """Whether the store itself keeps the object."""
        return self._opened.has_hold(key)

    def locate(self, key: str) -> str:
        """The URI of the object."""
        return self._opened.locate(key)
