"""Reading an object of which it is known how large it can be at most.

Here: objects that are read into memory. Not here: those that are streamed or copied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compliance_pipelines.object_store.port import ObjectStoreError, OversizedObjectError

if TYPE_CHECKING:
    from compliance_pipelines.object_store.port import ObjectStore


def read_bounded(store: ObjectStore, key: str, most: int) -> bytes:
    """The whole object, unless it is too large; never more than that is in memory, whatever the store says of its size.

    Args:
        store: where it is.
        key: of the object.
        most: the bytes that it may have.

    Raises:
        ObjectMissingError: the key has no object.
        OversizedObjectError: it has more bytes.
        ObjectStoreError: the store failed.
    """
    with store.open(key) as source:
        try:
            data = source.read(most + 1)
        except OSError as error:
            raise ObjectStoreError(f"{store.locate(key)} could not be read: {error}") from error
    if len(data) > most:
        info = store.stat(key)
        size = "more" if info is None or info.size <= most else f"{info.size:,} bytes"
        raise OversizedObjectError(f"it has {size}, and none has more than {most:,}")
    return data
