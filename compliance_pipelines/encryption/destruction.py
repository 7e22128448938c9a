"""Destroying the key of an object, after which nobody can read it, whoever keeps a copy.

Here: both records of one key, in the caller's transaction. Not here: whether it may be (archive/), the audit entry.

The record in the store goes first, with all its versions, and is looked for; then the row gives up the wrapped key. If
the process dies in between, or the caller's transaction fails, the row has the key still, and nothing claims that it is
destroyed: done again, it is. Copies in backups are worth nothing once the key-encryption key was rotated and removed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compliance_pipelines.encryption.catalogue import catalogued_key, destroy_in_catalogue
from compliance_pipelines.encryption.errors import DataKeyMissingError
from compliance_pipelines.encryption.records import KeyRecords
from compliance_pipelines.encryption.wrapped_key import record_key
from compliance_pipelines.object_store.port import ObjectStoreError

if TYPE_CHECKING:
    import sqlalchemy

    from compliance_pipelines.object_store.port import ObjectStore


def destroy_key(connection: sqlalchemy.Connection, store: ObjectStore, object_key: str, reason: str) -> str | None:
    """Destroy the key of an object.

    Args:
        connection: in a transaction that the caller commits, with the audit entry about it.
        store: with the record.
        object_key: of the object.
        reason: why; it is kept.

    Returns:
        the key's id; None where it was destroyed before, and nothing was to do.

    Raises:
        DataKeyMissingError: the catalogue has no row about it.
        ObjectStoreError: the store failed, or does not let the record go.
    """
    row = catalogued_key(connection, object_key)
    if row is None:
        raise DataKeyMissingError(
            f"the catalogue has no key of {object_key}: run `compliance keys verify --repair`, then destroy it"
        )
    records = KeyRecords(store)
    records.destroy(object_key)
    if store.stat(record_key(object_key)) is not None:
        raise ObjectStoreError(f"{record_key(object_key)} was deleted and is still there; nothing was recorded")
    return destroy_in_catalogue(connection, object_key, reason)
