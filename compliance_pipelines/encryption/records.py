"""The records about keys in the cold store: `audit-keys/`, never locked, so that a key can be destroyed.

Here: reading, writing, replacing and deleting them. Not here: what is in one (wrapped_key.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from compliance_pipelines.encryption.errors import DataKeyAlteredError
from compliance_pipelines.encryption.wrapped_key import MOST_BYTES, RECORDS, WrappedKey, object_of_record, record_key
from compliance_pipelines.object_store.port import ObjectExistsError, ObjectMissingError, OversizedObjectError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compliance_pipelines.object_store.port import ObjectStore


@dataclass(frozen=True)
class StoredRecord:
    """A record as the store has it.

    Attributes:
        version: by which it is replaced.
    """

    key: WrappedKey
    version: str


@dataclass(frozen=True)
class KeyRecords:
    """The records of one cold store."""

    store: ObjectStore

    def find(self, object_key: str) -> StoredRecord | None:
        """The record about the key of an object; None where there is none.

        Raises:
            DataKeyAlteredError: what is there is no such record.
            ObjectStoreError: the store failed.
        """
        try:
            found = self.store.read_versioned(record_key(object_key), MOST_BYTES)
        except ObjectMissingError:
            return None
        except OversizedObjectError as error:
            raise DataKeyAlteredError(f"{record_key(object_key)} is no record of a key: {error}") from error
        return StoredRecord(WrappedKey.from_bytes(found.data, object_key), found.version)

    def put(self, key: WrappedKey) -> WrappedKey:
        """Put a record, unless there is one, which then counts.

        Raises:
            DataKeyAlteredError: what is there is no such record.
            ObjectStoreError: the store failed.
        """
        try:
            self.store.put_bytes(record_key(key.object_key), key.to_bytes())
        except ObjectExistsError:
            found = self.find(key.object_key)
            if found is None:
                raise ObjectMissingError(f"{record_key(key.object_key)} was there and is gone: run it again") from None
            return found.key
        return key

    def replace(self, old: StoredRecord, new: WrappedKey) -> None:
        """Put a record in the place of another, if it is still that one.

        Raises:
            ObjectReplacedError: it is another one now.
            ObjectMissingError: it is gone.
            ObjectStoreError: the store failed.
        """
        self.store.replace(record_key(new.object_key), new.to_bytes(), old.version)

    def destroy(self, object_key: str) -> None:
        """Delete a record, with all its versions where the store keeps them.

        Raises:
            ObjectStoreError: the store failed, or does not let it go.
        """
        self.store.delete(record_key(object_key))

    def objects(self, prefix: str = "") -> Iterator[str]:
        """The keys of the objects about whose keys there are records, in order.

        Args:
            prefix: that they begin with.

        Raises:
            ObjectStoreError: the store failed.
        """
        for info in self.store.list(RECORDS + prefix):
            found = object_of_record(info.key)
            if found is not None:
                yield found
