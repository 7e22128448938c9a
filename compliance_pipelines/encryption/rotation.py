"""Rotation: every key is wrapped anew by another key-encryption key, and no object is touched.

Here: the order of the steps for one key, and for all. Not here: which key-encryption key there is (key_encryption.py).

A key's record in the store is replaced first, then its row in the catalogue gets the same. Whoever was killed in
between is finished by the next rotation. Afterwards the key-encryption key before is asked for no more: what it wrapped
is left in backups alone, and worth nothing once it is removed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from compliance_pipelines.encryption.catalogue import catalogued_keys, rewrap_in_catalogue
from compliance_pipelines.encryption.errors import DataKeyAlteredError, KeyRecordsDifferError
from compliance_pipelines.encryption.records import KeyRecords
from compliance_pipelines.encryption.wrapped_key import WrappedKey

if TYPE_CHECKING:
    import sqlalchemy

    from compliance_pipelines.encryption.data_keys import DataKeys
    from compliance_pipelines.encryption.key_encryption import KeyEncryptionKey


_MOST_PASSES: Final = 5


class RotationProgress(Protocol):
    """Told how many keys were looked at."""

    def __call__(self, done: int, of: int, /) -> None:
        """`done` of them."""


@dataclass(frozen=True)
class Rewrapped:
    """What a rotation did.

    Attributes:
        to: reference of the key-encryption key that wraps all keys now.
        keys: how many there are.
        rewrapped: how many of them were wrapped by another one, in one record or both.
    """

    to: str
    keys: int
    rewrapped: int


def not_wrapped_by(connection: sqlalchemy.Connection, data_keys: DataKeys, reference: str) -> list[str]:
    """The objects whose keys another key-encryption key wraps, in one of their records or both.

    Raises:
        EncryptionError: a record is none.
        ObjectStoreError: the store failed.
    """
    return sorted({object_key for object_key, by in data_keys.wrappings(connection) if by != reference})


def rewrap_all(
    connection: sqlalchemy.Connection, data_keys: DataKeys, to: KeyEncryptionKey, progress: RotationProgress
) -> Rewrapped:
    """Wrap every key by another key-encryption key; what is wrapped by it already is left.

    Args:
        connection: to the catalogue's database, in no transaction; each row is committed by itself.
        data_keys: whose keys.
        to: what wraps them from now on.
        progress: told how many keys were looked at.

    Raises:
        EncryptionError: a key cannot be unwrapped, or a record is none; the keys before it are done.
        KmsError: a service refuses, or does not answer.
        ObjectStoreError: the store failed.
        KeyRecordsDifferError: other records appear all the time that another key-encryption key wraps.
    """
    keys, rewrapped = 0, 0
    # An archive that is recorded meanwhile may have its key as it was wrapped before.
    for _ in range(_MOST_PASSES):
        keys, changed = _pass(connection, data_keys, to, progress)
        rewrapped += changed
        with connection.begin():
            left = not_wrapped_by(connection, data_keys, to.reference)
        if not left:
            return Rewrapped(to.reference, keys, rewrapped)
    raise KeyRecordsDifferError(
        f"{len(left)} keys are not wrapped by {to.reference}, the first of them that of {left[0]}: archives are made "
        "by processes that have the key before; give them the keyring as it is now, and run it again"
    )


def _pass(
    connection: sqlalchemy.Connection, data_keys: DataKeys, to: KeyEncryptionKey, progress: RotationProgress
) -> tuple[int, int]:
    """Look at every key once; how many there are, and how many were wrapped by another key-encryption key."""
    with connection.begin():
        rows = {row.object_key: row for row in catalogued_keys(connection)}
    records = KeyRecords(data_keys.store)
    objects = sorted({*records.objects(), *(key for key, row in rows.items() if row.wrapped is not None)})
    rewrapped = 0
    for done, object_key in enumerate(objects, start=1):
        row = rows.get(object_key)
        rewrapped += _rewrap(connection, data_keys, to, object_key, None if row is None else row.wrapped)
        progress(done, len(objects))
    return len(objects), rewrapped


def _rewrap(
    connection: sqlalchemy.Connection,
    data_keys: DataKeys,
    to: KeyEncryptionKey,
    object_key: str,
    catalogued: WrappedKey | None,
) -> bool:
    """Wrap one key anew, in both records; whether anything was to do."""
    records, keys = KeyRecords(data_keys.store), data_keys.key_encryption_keys
    stored = records.find(object_key)
    if stored is not None and catalogued is not None and stored.key.key_id != catalogued.key_id:
        raise DataKeyAlteredError(
            f"the two records of the key of {object_key} are of the keys {stored.key.key_id} and {catalogued.key_id}: "
            "run `compliance keys verify`"
        )
    new = stored.key if stored is not None and stored.key.key_encryption_key == to.reference else None
    changed = new is None
    if new is None:
        old = stored.key if stored is not None else catalogued
        if old is None:
            return False
        new = WrappedKey.of(object_key, old.unwrapped(keys), to)
        if stored is not None:
            records.replace(stored, new)
        else:
            new = records.put(new)
    if catalogued is not None and not catalogued.says_the_same(new):
        with connection.begin():
            changed = rewrap_in_catalogue(connection, new) or changed
    return changed
