"""Both records of every key, compared with each other and with the manifests' ids, and each unwrapped once.

Here: what can be wrong with the records, and putting one right from the other. Not here: rotation, destruction.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from compliance_pipelines.encryption.catalogue import catalogued_keys, record_key_in_catalogue, rewrap_in_catalogue
from compliance_pipelines.encryption.errors import DataKeyAlteredError, KeyEncryptionKeyError
from compliance_pipelines.encryption.records import KeyRecords
from compliance_pipelines.encryption.wrapped_key import record_key
from compliance_pipelines.kms.errors import KmsError, KmsUnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import sqlalchemy

    from compliance_pipelines.encryption.catalogue import CataloguedKey
    from compliance_pipelines.encryption.data_key import Encryption
    from compliance_pipelines.encryption.key_encryption import KeyEncryptionKeys
    from compliance_pipelines.encryption.records import StoredRecord
    from compliance_pipelines.encryption.wrapped_key import WrappedKey
    from compliance_pipelines.object_store.port import ObjectStore


class KeyProblemKind(StrEnum):
    """What is wrong with the records of a key."""

    LOST = "lost"
    RECORD_MISSING = "record_missing"
    RECORD_ALTERED = "record_altered"
    NOT_IN_CATALOGUE = "not_in_catalogue"
    CATALOGUE_ALTERED = "catalogue_altered"
    RECORDS_DIFFER = "records_differ"
    NOT_UNWRAPPED = "not_unwrapped"
    DESTROYED_AND_THERE = "destroyed_and_there"


@dataclass(frozen=True)
class KeyProblem:
    """One thing that is wrong with the key of an object, and whether the other record puts it right."""

    kind: KeyProblemKind
    object_key: str
    message: str
    can_be_repaired: bool = False


@dataclass(frozen=True)
class KeysReport:
    """What the comparison says.

    Attributes:
        intact: how many keys have two records that say the same and unwrap to the key that the manifest names.
        destroyed: how many were destroyed, and are on no record.
        unused: records about objects that no part of the catalogue is: an archive run put them and was interrupted.
        wrapped_by: how many intact keys each key-encryption key wraps, by its reference.
        problems: what is wrong.
        repaired: what was put right.
    """

    intact: int
    destroyed: int
    unused: tuple[str, ...]
    wrapped_by: Mapping[str, int]
    problems: tuple[KeyProblem, ...]
    repaired: tuple[KeyProblem, ...] = ()


class KeyComparison:
    """One comparison of all keys.

    Args:
        store: with the records.
        connection: to the database with the catalogue; in no transaction, or in one that the caller ends.
        keys: what unwraps.
        expected: what the manifests say about the encryption of the objects that are in the catalogue and have not
            expired, by key of the object.
    """

    def __init__(
        self,
        store: ObjectStore,
        connection: sqlalchemy.Connection,
        keys: KeyEncryptionKeys,
        expected: Mapping[str, Encryption],
    ) -> None:
        self._records = KeyRecords(store)
        self._connection = connection
        self._keys = keys
        self._expected = expected
        self._problems: list[KeyProblem] = []
        self._repaired: list[KeyProblem] = []
        self._wrapped_by: Counter[str] = Counter()
        self._destroyed = 0

    def run(self, *, repair: bool = False) -> KeysReport:
        """Compare, and where one record is missing or damaged and the other one is not, write it again if asked to.

        Raises:
            KmsUnavailableError: a key management service does not answer; nothing can be told about its keys.
            KeyringError: the keyring cannot be read.
            ConfigurationError: no key-encryption key is named.
            ObjectStoreError: the store failed.
        """
        rows = {row.object_key: row for row in catalogued_keys(self._connection)}
        stored = set(self._records.objects())
        for object_key in sorted(self._expected.keys() | rows.keys()):
            self._compare(object_key, rows.get(object_key), repair=repair)
        return KeysReport(
            intact=self._wrapped_by.total(),
            destroyed=self._destroyed,
            unused=tuple(sorted(stored - self._expected.keys() - rows.keys())),
            wrapped_by=dict(sorted(self._wrapped_by.items())),
            problems=tuple(self._problems),
            repaired=tuple(self._repaired),
        )

    def _compare(self, object_key: str, row: CataloguedKey | None, *, repair: bool) -> None:
        if row is not None and row.wrapped is None:
            self._compare_destroyed(object_key)
            return
        record, altered = self._record(object_key)
        catalogued = None if row is None else row.wrapped
        expected = self._expected.get(object_key)
        key_id = expected.key_id if expected is not None else catalogued.key_id if catalogued is not None else ""
        of_store, why_not_store = self._good(None if record is None else record.key, key_id)
        same = record is not None and catalogued is not None and record.key.says_the_same(catalogued)
        if same and of_store is not None:
            self._wrapped_by[of_store.key_encryption_key] += 1
            return
        of_catalogue, why_not_catalogue = (None, "") if same else self._good(catalogued, key_id)
        if of_store is not None and of_catalogue is not None:
            kind, message = KeyProblemKind.RECORDS_DIFFER, "its two records are wrapped differently"
        elif of_store is not None:
            kind = KeyProblemKind.NOT_IN_CATALOGUE if catalogued is None else KeyProblemKind.CATALOGUE_ALTERED
            message = "it is not in the catalogue" if catalogued is None else f"in the catalogue: {why_not_catalogue}"
        elif of_catalogue is not None:
            missing = record is None and not altered
            kind = KeyProblemKind.RECORD_MISSING if missing else KeyProblemKind.RECORD_ALTERED
            message = f"{record_key(object_key)} {'is missing' if missing else altered or why_not_store}"
        else:
            self._neither(object_key, key_id, [altered, why_not_store, why_not_catalogue])
            return
        problem = KeyProblem(kind, object_key, f"{object_key}: {message}", can_be_repaired=True)
        if repair and self._repair(record, of_store, of_catalogue):
            self._repaired.append(problem)
        else:
            self._problems.append(problem)

    def _neither(self, object_key: str, key_id: str, reasons: list[str]) -> None:
        found = "; ".join(reason for reason in reasons if reason)
        kind = KeyProblemKind.NOT_UNWRAPPED if found else KeyProblemKind.LOST
        message = found or f"its key {key_id} is on no record, and without it nobody can read it"
        self._problems.append(KeyProblem(kind, object_key, f"{object_key}: {message}"))

    def _compare_destroyed(self, object_key: str) -> None:
        record, altered = self._record(object_key)
        if record is None and not altered:
            self._destroyed += 1
            return
        message = (
            f"{object_key}: its key was destroyed, and {record_key(object_key)} is there: a copy was brought back; "
            "delete it, and rotate the key-encryption key, so that no copy is worth anything"
        )
        self._problems.append(KeyProblem(KeyProblemKind.DESTROYED_AND_THERE, object_key, message))

    def _record(self, object_key: str) -> tuple[StoredRecord | None, str]:
        """The record in the store, or what is wrong with it."""
        try:
            return self._records.find(object_key), ""
        except DataKeyAlteredError as error:
            return None, str(error)

    def _good(self, wrapped: WrappedKey | None, key_id: str) -> tuple[WrappedKey | None, str]:
        """A wrapped key that unwraps to the key of this id, or why it does not."""
        if wrapped is None:
            return None, ""
        if wrapped.key_id != key_id:
            return None, f"it is the key {wrapped.key_id}, and the manifest names {key_id}"
        try:
            wrapped.unwrapped(self._keys)
        except KmsUnavailableError:
            raise
        except (DataKeyAlteredError, KeyEncryptionKeyError, KmsError) as error:
            return None, str(error)
        return wrapped, ""

    def _repair(
        self, record: StoredRecord | None, of_store: WrappedKey | None, of_catalogue: WrappedKey | None
    ) -> bool:
        """Let the record that is not intact say what the other one says; of two that are, the store's counts."""
        if of_store is not None:
            if of_catalogue is None:
                record_key_in_catalogue(self._connection, of_store)
            return rewrap_in_catalogue(self._connection, of_store)
        if of_catalogue is None:
            return False
        if record is not None:
            self._records.replace(record, of_catalogue)
            return True
        return self._records.put(of_catalogue) is of_catalogue
