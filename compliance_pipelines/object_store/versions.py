"""What a store can do that keeps older versions of an object beside the newest one.

Here: the protocol, and finding out whether a store keeps it. Not here: any adapter. A store need not have it: whoever
asks does something else where it has not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from compliance_pipelines.object_store.port import ObjectInfo, ObjectStore


@runtime_checkable
class VersionKeeper(Protocol):
    """A store of this kind; whether the place where it is keeps versions, it is asked."""

    def keeps_versions(self) -> bool:
        """Whether what is put over an object leaves the older version there.

        Raises:
            ObjectStoreError: the store cannot tell.
        """

    def versions(self, key: str) -> Sequence[str]:
        """All versions of a key's object, newest first, as `ObjectStore.at_versions` takes them.

        Raises:
            ObjectStoreError: the store cannot tell.
        """

    def put_over(self, key: str, path: Path) -> ObjectInfo:
        """Store a copy of a file as the newest version of a key, whatever is there; nothing of that is removed.

        The promises are those of `ObjectStore.put_file`, the lock among them.

        Raises:
            UnsupportedByStoreError: the place keeps no versions, so that the older one would be lost. Nothing was put.
            BrokenPromiseError: the store did not keep what it took.
            ObjectStoreError: the file cannot be read, or the store is full or fails.
        """


def keeper_of(store: ObjectStore) -> VersionKeeper | None:
    """The store, if it keeps versions; None where it does not.

    Raises:
        ObjectStoreError: the store cannot tell.
    """
    # What hands its calls on to another store gives that one here.
    itself = store.at_versions({})
    return itself if isinstance(itself, VersionKeeper) and itself.keeps_versions() else None
