"""An object store that fails at a chosen call, around one that works."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from compliance_pipelines.object_store.port import ObjectStoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path
    from typing import BinaryIO

    from compliance_pipelines.object_store.port import ObjectInfo, ObjectStore, VersionedObject

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Fault:
    """One call that fails.

    Attributes:
        method: of which method; None for any.
        call: the how-manieth call of it, from 1.
        done: whether the store does what it was asked, and only its answer is lost.
        error: what is raised.
    """

    method: str | None = None
    call: int = 1
    done: bool = False
    error: Exception = field(default_factory=lambda: ObjectStoreError("the store does not answer"))


class FaultyStore:
    """An `ObjectStore` that passes every call on to another one, but for the one that fails.

    Attributes:
        calls: the names of the methods that were called, in order.
    """

    def __init__(self, store: ObjectStore, fault: Fault | None = None) -> None:
        self._store = store
        self._fault = fault
        self.calls: list[str] = []

    def _call(self, method: str, call: Callable[[], _Answer]) -> _Answer:
        self.calls.append(method)
        fault = self._fault
        fails = (
            fault is not None
            and fault.method in {None, method}
            and fault.call == (len(self.calls) if fault.method is None else self.calls.count(method))
        )
        if fault is None or not fails:
            return call()
        if fault.done:
            with suppress(ObjectStoreError):
                call()
        raise fault.error

    @property
    def uri(self) -> str:
        return self._store.uri

    def at_versions(self, versions: Mapping[str, str]) -> FaultyStore:  # noqa: ARG002 - a directory keeps none
        return self

    def create(self) -> None:
        self._call("create", self._store.create)

    def now(self) -> datetime:
        return self._call("now", self._store.now)

    def locate(self, key: str) -> str:
        return self._store.locate(key)

    def put_file(self, key: str, path: Path) -> ObjectInfo:
        return self._call("put_file", lambda: self._store.put_file(key, path))

    def put_bytes(self, key: str, data: bytes) -> ObjectInfo:
        return self._call("put_bytes", lambda: self._store.put_bytes(key, data))

    def replace(self, key: str, data: bytes, expected: str) -> ObjectInfo:
        return self._call("replace", lambda: self._store.replace(key, data, expected))

    def read_versioned(self, key: str, most: int) -> VersionedObject:
        return self._call("read_versioned", lambda: self._store.read_versioned(key, most))

    def get_bytes(self, key: str) -> bytes:
        return self._call("get_bytes", lambda: self._store.get_bytes(key))

    def download(self, key: str, path: Path) -> ObjectInfo:
        return self._call("download", lambda: self._store.download(key, path))

    def open(self, key: str) -> BinaryIO:
        return self._call("open", lambda: self._store.open(key))

    def stat(self, key: str) -> ObjectInfo | None:
        return self._call("stat", lambda: self._store.stat(key))

    def confirm(self, key: str) -> ObjectInfo:
        return self._call("confirm", lambda: self._store.confirm(key))

    def list(self, prefix: str, start_after: str | None = None) -> Iterator[ObjectInfo]:
        return self._call("list", lambda: self._store.list(prefix, start_after))

    def delete(self, key: str) -> None:
        self._call("delete", lambda: self._store.delete(key))

    def set_hold(self, key: str, *, held: bool) -> None:
        self._call("set_hold", lambda: self._store.set_hold(key, held=held))

    def has_hold(self, key: str) -> bool | None:
        return self._call("has_hold", lambda: self._store.has_hold(key))
