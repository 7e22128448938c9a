"""Cold stores between the verification and the real one that fail, or let something happen meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from compliance_pipelines.object_store.port import ObjectInfo, ObjectStoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from compliance_pipelines.object_store.port import ObjectStore, VersionedObject


class StoreBetween:
    """Passes on what a verification asks of a real store."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    @property
    def uri(self) -> str:
        return self._store.uri

    def at_versions(self, versions: Mapping[str, str]) -> StoreBetween:  # noqa: ARG002 - a directory keeps none
        return self

    def create(self) -> None:
        self._store.create()

    def now(self) -> datetime:
        return self._store.now()

    def locate(self, key: str) -> str:
        return self._store.locate(key)

    def stat(self, key: str) -> ObjectInfo | None:
        return self._store.stat(key)

    def get_bytes(self, key: str) -> bytes:
        return self._store.get_bytes(key)

    def open(self, key: str) -> BinaryIO:
        return self._store.open(key)

    def confirm(self, key: str) -> ObjectInfo:
        return self._store.confirm(key)

    def list(self, prefix: str, start_after: str | None = None) -> Iterator[ObjectInfo]:
        return self._store.list(prefix, start_after)

    def put_file(self, key: str, path: Path) -> ObjectInfo:
        return self._store.put_file(key, path)

    def put_bytes(self, key: str, data: bytes) -> ObjectInfo:
        return self._store.put_bytes(key, data)

    def replace(self, key: str, data: bytes, expected: str) -> ObjectInfo:
        return self._store.replace(key, data, expected)

    def read_versioned(self, key: str, most: int) -> VersionedObject:
        return self._store.read_versioned(key, most)

    def download(self, key: str, path: Path) -> ObjectInfo:
        return self._store.download(key, path)

    def delete(self, key: str) -> None:
        self._store.delete(key)

    def set_hold(self, key: str, *, held: bool) -> None:
        self._store.set_hold(key, held=held)

    def has_hold(self, key: str) -> bool | None:
        return self._store.has_hold(key)


class FailingStore(StoreBetween):
    """Fails to give what is below a key, or to list at all."""

    def __init__(self, store: ObjectStore, *, key: str = "", listing: bool = False) -> None:
        super().__init__(store)
        self._key = key
        self._listing = listing

    def _refuse(self, key: str) -> None:
        if self._key and key == self._key:
            raise ObjectStoreError(f"the store does not give {key} today")

    def get_bytes(self, key: str) -> bytes:
        self._refuse(key)
        return self._store.get_bytes(key)

    def open(self, key: str) -> BinaryIO:
        self._refuse(key)
        return self._store.open(key)

    def list(self, prefix: str, start_after: str | None = None) -> Iterator[ObjectInfo]:
        if self._listing:
            raise ObjectStoreError(f"the store does not list {prefix} today")
        return self._store.list(prefix, start_after)


class BusyStore(StoreBetween):
    """Lets something happen once, right before something is read or listed."""

    def __init__(self, store: ObjectStore, happens: Callable[[], object], *, before: str) -> None:
        super().__init__(store)
        self._happens = happens
        self._before = before
        self.happened = 0

    def _once(self, key: str) -> None:
        if not self.happened and key.startswith(self._before):
            self.happened += 1
            self._happens()

    def open(self, key: str) -> BinaryIO:
        self._once(key)
        return self._store.open(key)

    def list(self, prefix: str, start_after: str | None = None) -> Iterator[ObjectInfo]:
        self._once(prefix)
        return self._store.list(prefix, start_after)
