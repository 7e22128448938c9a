"""The keys of archived parts: verified, rotated, destroyed, on record.

Here: which objects have keys, the lock under which they change, the audit entries. Not here: how a key is wrapped and
kept (encryption/).
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from compliance_pipelines.archive.catalogue import all_parts, parts_of_day
from compliance_pipelines.archive.errors import ArchiveError
from compliance_pipelines.archive.held_parts import HeldParts
from compliance_pipelines.archive.layout import PartKey
from compliance_pipelines.archive.locking import lock_day
from compliance_pipelines.archive.self_audit import audit_log
from compliance_pipelines.audit_log.system_entries import system_entry
from compliance_pipelines.audit_log.visibility import refuse_hidden_rows
from compliance_pipelines.encryption.catalogue import catalogued_objects
from compliance_pipelines.encryption.comparison import KeyComparison, KeysReport
from compliance_pipelines.encryption.data_key import Encryption
from compliance_pipelines.encryption.destruction import destroy_key, destroy_record
from compliance_pipelines.encryption.errors import EncryptionError, KeyEncryptionKeyError
from compliance_pipelines.encryption.keyring import KEYRING, new_key
from compliance_pipelines.encryption.records import KeyRecords
from compliance_pipelines.encryption.rotation import Rewrapped, RotationProgress, not_wrapped_by, rewrap_all
from compliance_pipelines.holds import active_holds
from compliance_pipelines.ledger.object_retention import retention_end
from compliance_pipelines.ledger.store_identity import check_identity
from compliance_pipelines.postgres.locks import process_lock, transaction_lock
from compliance_pipelines.search_filters.catalogue import remove_filters

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    import sqlalchemy

    from compliance_pipelines.archive.catalogue import ArchivedPart
    from compliance_pipelines.audit_log.entry import JsonValue, UndatedEntry
    from compliance_pipelines.encryption.key_encryption import KeyEncryptionKey
    from compliance_pipelines.object_store.port import ObjectStore
    from compliance_pipelines.services import Services

_LOCK: Final = "data-keys"
_RESOURCE_TYPE: Final = "archive_key"
_EXPIRED: Final = "its retention is over"


class KeyDestructionRefusedError(ArchiveError):
    """A key was not destroyed: something still needs what it encrypts."""


@dataclass(frozen=True)
class DestroyedKey:
    """A key that was destroyed now."""

    part: int
    object_key: str
    key_id: str


@dataclass(frozen=True)
class ExpiredKeys:
    """Destroys the keys of parts whose retention is over, as archive/expiry.py asks for it.

    Attributes:
        store: with the records.
    """

    store: ObjectStore

    def destroy(self, connection: sqlalchemy.Connection, part: ArchivedPart, /) -> None:
        """Destroy both records of the key of a part, and of its revisions before; done again it changes nothing.

        Raises:
            LockBusyError: somebody else changes keys.
            ObjectStoreError: the store failed, or does not let the record go.
        """
        prefix = PartKey.of(part.day, part.part, part.root).family_prefix
        # A rotation that runs would put the record back.
        transaction_lock(connection, _LOCK, doing=f"destroying the key of {part.object_key}")
        for object_key in KeyRecords(self.store).objects(prefix):
            destroy_record(self.store, object_key)
        objects = catalogued_objects(connection, prefix)
        for object_key in objects:
            destroy_key(connection, self.store, object_key, _EXPIRED)
        remove_filters(connection, [*objects, part.object_key])


@contextmanager
def _changing_keys(services: Services, doing: str) -> Iterator[sqlalchemy.Connection]:
    """A connection, while nobody else changes keys."""
    with (
        services.engine.connect() as connection,
        process_lock(connection, _LOCK, doing=doing),
    ):
        check_identity(services, connection)
        refuse_hidden_rows(connection)
        connection.commit()
        yield connection


def _entry(services: Services, action: str, resource: str, metadata: JsonValue) -> UndatedEntry:
    return system_entry(
        services.settings.audit_log_actor,
        action=action,
        resource_type=_RESOURCE_TYPE,
        resource_id=resource,
        result="success",
        metadata=metadata,
    )


def _encryption_of(part: ArchivedPart) -> Encryption | None:
    try:
        return Encryption.from_json(part.encryption)
    except EncryptionError as error:
        raise EncryptionError(
            f"the catalogue's row of part {part.part} of {part.day} was altered: {error}; run `compliance verify "
            f"{part.day}`"
        ) from error


def verify_keys(services: Services, *, repair: bool = False) -> KeysReport:
    """Compare both records of the key of every part that has not expired, and unwrap each key once.

    Args:
        services: the opened services.
        repair: whether a record that is missing or damaged is written again from the other one.

    Raises:
        LedgerError: the store is not the database's.
        RowsHiddenError: PostgreSQL may not show every row.
        EncryptionError: a keyring cannot be read, or the catalogue's rows of parts were altered.
        KmsUnavailableError: a service does not answer.
        ObjectStoreError: the store failed.
    """
    with services.engine.connect() as connection:
        check_identity(services, connection)
        refuse_hidden_rows(connection)
        expected = {
            part.object_key: encryption
            for part in all_parts(connection)
            if part.expired_at is None and (encryption := _encryption_of(part)) is not None
        }
        connection.commit()
        comparison = KeyComparison(services.store, connection, services.data_keys.key_encryption_keys, expected)
        report = comparison.run(repair=repair)
        if report.repaired:
            metadata: JsonValue = {"objects": [problem.object_key for problem in report.repaired]}
            entry = _entry(services, "audit.keys.repair", "records", metadata)
            audit_log(services).append_within(connection, entry)
        connection.commit()
    return report


def rotate_keys(services: Services, *, to: str | None = None, progress: RotationProgress) -> Rewrapped:
    """Wrap every key by another key-encryption key, on record.

    That is the key in a service that the settings name; without one, a new key of the keyring, which is its current one
    from then on. Where keys are not wrapped by the current one yet, because a rotation was interrupted or the settings
    name another one, these are wrapped by it, and no further key is made.

    Args:
        services: the opened services.
        to: id of a key that the keyring has already, in place of a new one.
        progress: told how many keys were looked at.

    Raises:
        ConfigurationError: no key-encryption key is named.
        EncryptionError: a key cannot be unwrapped, or a record is none; those before it are wrapped by the new one.
        KmsError: a service refuses, or does not answer.
        LockBusyError: somebody else changes keys.
        ObjectStoreError: the store failed.
    """
    with _changing_keys(services, "the rotation of keys") as connection:
        target = _target(services, connection, to)
        with connection.begin():
            entry = _entry(services, "audit.keys.rotate", target.reference, {"to": target.reference})
            audit_log(services).append_within(connection, entry)
        done = rewrap_all(connection, services.data_keys, target, progress)
        with connection.begin():
            found: JsonValue = {"to": done.to, "keys": done.keys, "rewrapped": done.rewrapped}
            audit_log(services).append_within(connection, _entry(services, "audit.keys.rotated", done.to, found))
    return done


def _target(services: Services, connection: sqlalchemy.Connection, to: str | None) -> KeyEncryptionKey:
    keys = services.data_keys.key_encryption_keys
    current = keys.current()
    if keys.kms_key is not None:
        if to is not None:
            raise KeyEncryptionKeyError(
                f"keys are wrapped by {current.reference}: name another one in AUDIT_ARCHIVE_KMS_KEY, this one in "
                "AUDIT_ARCHIVE_FORMER_KMS_KEYS, and rotate again"
            )
        return current
    keyring = keys.keyring()
    if to is not None:
        keyring = keyring.with_current(to.removeprefix(KEYRING))
    else:
        with connection.begin():
            unfinished = not_wrapped_by(connection, services.data_keys, current.reference)
        if unfinished:
            return current
        keyring = keyring.with_key(new_key(keyring.keys, datetime.now(UTC)))
    # It is in the file, durably, before anything is wrapped by it.
    keyring.save()
    return keyring.current


def remove_from_keyring(services: Services, reference: str) -> None:
    """Take a key out of the keyring that wraps no key any more, on record: what it wrapped in backups is worth nothing.

    Raises:
        KeyEncryptionKeyError: it is the current one, not there, or wraps a key still.
        ConfigurationError: there is no keyring.
        LockBusyError: somebody else changes keys.
        ObjectStoreError: the store failed.
    """
    key_id = reference.removeprefix(KEYRING)
    with _changing_keys(services, "the removal of a key") as connection:
        keyring = services.data_keys.key_encryption_keys.keyring()
        smaller = keyring.without(key_id)
        used = wrapped_keys(services, connection).get(f"{KEYRING}{key_id}", 0)
        connection.commit()
        if used:
            raise KeyEncryptionKeyError(
                f"{KEYRING}{key_id} wraps {used:,} keys still: run `compliance keys rotate`; nothing was removed"
            )
        smaller.save()
        with connection.begin():
            entry = _entry(services, "audit.keys.remove", f"{KEYRING}{key_id}", {"keyring": str(keyring.path)})
            audit_log(services).append_within(connection, entry)


def wrapped_keys(services: Services, connection: sqlalchemy.Connection) -> dict[str, int]:
    """How many keys each key-encryption key wraps, in either record, by its reference.

    Raises:
        EncryptionError: a record is none.
        ObjectStoreError: the store failed.
    """
    return dict(sorted(Counter(by for _, by in services.data_keys.wrappings(connection)).items()))


def destroy_keys_of_day(
    services: Services, day: date, *, reason: str, part: int | None = None, before_retention_ends: bool = False
) -> list[DestroyedKey]:
    """Destroy the keys of a day's parts, after which nobody can read them, on record.

    Args:
        services: the opened services; the clock decides whether the retention has ended.
        day: the UTC day.
        reason: why; it stands in the audit entry and in the catalogue.
        part: one of its parts; None for all.
        before_retention_ends: also where the day's retention has not ended.

    Returns:
        those that were there; none where all were destroyed before.

    Raises:
        KeyDestructionRefusedError: the day is held, its retention has not ended, its rows are in PostgreSQL still, or
            it has no such encrypted part.
        EncryptionError: the catalogue has no row about a key.
        LockBusyError: another process works on the day, or changes keys.
        ObjectStoreError: the store failed, or does not let a record go.
    """
    with lock_day(services.engine, day) as lock, _changing_keys(services, f"the destruction of keys of {day}"):
        connection = lock.connection
        parts = [each for each in parts_of_day(connection, day) if part is None or each.part == part]
        encrypted = [each for each in parts if _encryption_of(each) is not None]
        connection.commit()
        if not encrypted:
            raise _refused(day, "it has no such part that is encrypted")
        until = retention_end(day, services.settings.audit_cold_storage_retention_years)
        if services.clock() < until and not before_retention_ends:
            raise _refused(day, f"its retention ends on {until:%Y-%m-%d}")
        return [found for each in encrypted if (found := _destroy(services, lock.connection, each, reason)) is not None]


def _destroy(
    services: Services, connection: sqlalchemy.Connection, part: ArchivedPart, reason: str
) -> DestroyedKey | None:
    with connection.begin():
        hold = HeldParts(services, connection, active_holds(connection)).on_part(part)
        if hold is not None:
            raise _refused(part.day, f"{hold}")
        if part.purged_at is None:
            raise _refused(part.day, f"the rows of part {part.part} are in PostgreSQL still, so that nothing would go")
        key_id = destroy_key(connection, services.store, part.object_key, reason)
        remove_filters(connection, [part.object_key])
        if key_id is None:
            return None
        metadata: JsonValue = {"day": part.day.isoformat(), "part": part.part, "key": key_id, "reason": reason}
        audit_log(services).append_within(connection, _entry(services, "audit.keys.destroy", part.object_key, metadata))
    return DestroyedKey(part.part, part.object_key, key_id)


def _refused(day: date, reason: str) -> KeyDestructionRefusedError:
    return KeyDestructionRefusedError(f"no key of {day} was destroyed: {reason}")
