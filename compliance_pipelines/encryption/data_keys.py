"""The keys of the objects of one cold store: made, put on record, found again.

Here: which record counts. Not here: how each record is kept (records.py, catalogue.py).

A key is on record before its object is: first in the cold store, then, with the part, in the catalogue. Whoever reads
takes what unwraps to the key that the signed manifest names, whichever record has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from compliance_pipelines.base.printable import printable
from compliance_pipelines.encryption.catalogue import catalogued_key, catalogued_keys
from compliance_pipelines.encryption.data_key import DataKey, Encryption
from compliance_pipelines.encryption.errors import (
    DataKeyAlteredError,
    DataKeyDestroyedError,
    DataKeyMissingError,
    EncryptionError,
    KeyEncryptionKeyError,
    KeyRecordsDifferError,
)
from compliance_pipelines.encryption.records import KeyRecords
from compliance_pipelines.encryption.wrapped_key import WrappedKey, record_key
from compliance_pipelines.kms.errors import KmsError
from compliance_pipelines.object_store.port import ObjectReplacedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import sqlalchemy

    from compliance_pipelines.encryption.key_encryption import KeyEncryptionKeys
    from compliance_pipelines.object_store.port import ObjectStore

T = TypeVar("T")

_MOST_SAID: Final = 200


@dataclass(frozen=True)
class DataKeys:
    """The keys of the objects of one cold store.

    Attributes:
        store: where the records are.
        key_encryption_keys: what wraps and unwraps.
        engine: of the database with the catalogue; None where there is nothing but the store, or a copy of it.
    """

    store: ObjectStore
    key_encryption_keys: KeyEncryptionKeys
    engine: sqlalchemy.Engine | None = None

    @property
    def can_unwrap(self) -> bool:
        """Whether there is any key-encryption key at all."""
        return self.key_encryption_keys.any

    def for_new(self, object_key: str) -> DataKey:
        """The key under which an object is to be written; on record in the store when this returns.

        Where an earlier run has put one on record for the same object it is that one, because the object may be there.

        Raises:
            ConfigurationError: no key-encryption key is named.
            EncryptionError: the key-encryption key cannot be used, or what is on record is no such key.
            KmsError: its service refuses, or does not answer.
            ObjectStoreError: the store failed.
        """
        records = KeyRecords(self.store)
        found = records.find(object_key)
        if found is not None:
            return found.key.unwrapped(self.key_encryption_keys)
        key = DataKey.new()
        made = WrappedKey.of(object_key, key, self.key_encryption_keys.current())
        counts = records.put(made)
        return key if counts is made else counts.unwrapped(self.key_encryption_keys)

    def put_for_new(self, object_key: str, key: DataKey) -> None:
        """Put a key on record under which an object is written already, and is put next.

        A record that an earlier run left is replaced: its object was never put, so that it encrypts nothing.

        Raises:
            ConfigurationError: no key-encryption key is named.
            EncryptionError: the key-encryption key cannot be used, or what is on record is no such key.
            KmsError: its service refuses, or does not answer.
            ObjectReplacedError: somebody else puts a key on record for it at the same time.
            ObjectStoreError: the store failed.
        """
        records = KeyRecords(self.store)
        found = records.find(object_key)
        if found is not None and found.key.key_id == key.id:
            return
        made = WrappedKey.of(object_key, key, self.key_encryption_keys.current())
        if found is not None:
            records.replace(found, made)
        elif records.put(made) is not made:
            raise ObjectReplacedError(f"{record_key(object_key)} was put by somebody else meanwhile: run it again")

    def of_uncommitted(self, object_key: str) -> DataKey | None:
        """The key of an object about which no manifest says anything; None where there is no record about one.

        Raises:
            ConfigurationError: no key-encryption key is named.
            EncryptionError: it cannot be unwrapped.
            KmsError: the service refuses, or does not answer.
            ObjectStoreError: the store failed.
        """
        found = KeyRecords(self.store).find(object_key)
        return None if found is None else found.key.unwrapped(self.key_encryption_keys)

    def of_object(self, object_key: str, encryption: Encryption) -> DataKey:
        """The key of an object whose manifest names it.

        Raises:
            DataKeyMissingError: it is on no record.
            DataKeyAlteredError: what is on record is another key, or none.
            DataKeyDestroyedError: it was destroyed.
            KeyEncryptionKeyError: what wrapped it is not there, which says nothing about the object.
            ConfigurationError: no key-encryption key is named.
            KmsError: its service refuses, or does not answer.
            ObjectStoreError: the store failed.
        """
        return self._first(object_key, encryption, lambda wrapped: wrapped.unwrapped(self.key_encryption_keys))

    def record_of(self, object_key: str, encryption: Encryption) -> WrappedKey:
        """The record of that key, unwrapped by nobody.

        Raises:
            DataKeyMissingError: it is on no record.
            DataKeyAlteredError: what is on record is another key's, or no record.
            DataKeyDestroyedError: it was destroyed.
            ObjectStoreError: the store failed.
        """
        return self._first(object_key, encryption, lambda wrapped: wrapped)

    def wrappings(self, connection: sqlalchemy.Connection) -> set[tuple[str, str]]:
        """Which key-encryption key wraps the key of which object, in one of its records or both: (object, reference).

        Raises:
            DataKeyAlteredError: what lies in a record's place is none.
            ObjectStoreError: the store failed.
        """
        found = {(row.object_key, row.wrapped.key_encryption_key) for row in catalogued_keys(connection) if row.wrapped}
        records = KeyRecords(self.store)
        for object_key in records.objects():
            record = records.find(object_key)
            if record is not None:
                found.add((object_key, record.key.key_encryption_key))
        return found

    def require_both_records(self, object_key: str, encryption: Mapping[str, Any] | None) -> None:
        """Make sure that both records of a key are there and give it, before anything relies on the object.

        Two that are wrapped by different key-encryption keys do, as long as both are at hand: so it is while a rotation
        has come to one of them, which then comes to the other.

        Args:
            object_key: of the object.
            encryption: what the catalogue says of it; None where the object is not encrypted.

        Raises:
            KeyRecordsDifferError: one is missing, or they differ and one does not give the key.
            EncryptionError: one is damaged, or the key was destroyed.
            KmsError: they differ, and the service that unwraps one refuses, or does not answer.
            ObjectStoreError: the store failed.
        """
        of_manifest = Encryption.from_json(encryption)
        if of_manifest is None:
            return
        kept = self._in_catalogue(object_key), self._in_store(object_key)
        ours, stored = (None if found is None else _of_this_key(found, of_manifest) for found in kept)
        if ours is None or stored is None or not (ours.says_the_same(stored) or self._give_it(ours, stored)):
            missing = f"{record_key(object_key)} is missing" if stored is None else "the two differ"
            raise KeyRecordsDifferError(
                f"the key {of_manifest.key_id} of {object_key} must be on record in the cold store and in the "
                f"catalogue, and {'it is not in the catalogue' if ours is None else missing}: run `compliance keys "
                "verify --repair`"
            )

    def _give_it(self, *wrapped: WrappedKey) -> bool:
        """Whether each unwraps to the key whose id it names."""
        try:
            for each in wrapped:
                each.unwrapped(self.key_encryption_keys)
        except (DataKeyAlteredError, KeyEncryptionKeyError):
            return False
        return True

    def _first(self, object_key: str, encryption: Encryption, use: Callable[[WrappedKey], T]) -> T:
        """What comes of the first record of this key that can be used."""
        altered: EncryptionError | None = None
        unusable: EncryptionError | KmsError | None = None
        # The store first: whoever reads an object may have the last connection to the database in use.
        for find in (self._in_store, self._in_catalogue):
            try:
                found = find(object_key)
                if found is not None:
                    return use(_of_this_key(found, encryption))
            except DataKeyAlteredError as error:
                altered = error
            except (KeyEncryptionKeyError, KmsError) as error:
                unusable = error
        # That a key-encryption key is not at hand says nothing about the object; that comes first.
        problem = unusable or altered
        if problem is not None:
            raise problem
        raise DataKeyMissingError(
            f"the key {encryption.key_id} of {object_key} is on no record: neither {record_key(object_key)} nor the "
            "catalogue has it, and without it nobody can read the object; bring back either from a backup"
        )

    def _in_catalogue(self, object_key: str) -> WrappedKey | None:
        if self.engine is None:
            return None
        with self.engine.connect() as connection:
            found = catalogued_key(connection, object_key)
        if found is not None and found.destroyed_at is not None:
            raise DataKeyDestroyedError(
                f"the key {found.key_id} of {object_key} was destroyed at {found.destroyed_at:%Y-%m-%d %H:%M:%S} UTC "
                f"({printable(found.destruction_reason or '', _MOST_SAID)}): nobody can read the object any more"
            )
        return None if found is None else found.wrapped

    def _in_store(self, object_key: str) -> WrappedKey | None:
        found = KeyRecords(self.store).find(object_key)
        return None if found is None else found.key


def _of_this_key(found: WrappedKey, encryption: Encryption) -> WrappedKey:
    if found.key_id != encryption.key_id:
        raise DataKeyAlteredError(
            f"what is on record as the key of {found.object_key} is the key {found.key_id}, and its manifest names "
            f"{encryption.key_id}"
        )
    return found
