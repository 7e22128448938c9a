"""A cold store that is behind its database: lost, or a copy that had not everything yet. What was published goes there.

Here: comparing the two, the identity, and publishing the checkpoints of before once more. Not here: what of the parts
is missing (archive/lost_parts.py), the opposite case of a database that is behind (recovery.py).

Nothing is signed but the identity, where that is missing: the checkpoints are those that the database kept, each over
the records that it holds, and the cold store's own must be one of them. So a store that was put back can be brought
forward by nobody to anything else than what the key has signed. Of each UTC day the last checkpoint is published, and
the newest, as sealing leaves them. Cosignatures of witnesses and time stamps of before are not the database's, and stay
lost; the newest checkpoint gets them again.

Killed at any moment, the next call goes on from the checkpoint that the store has then.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from compliance_pipelines.audit_log.environment import environment_of
from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.audit_log.system_entries import system_entry
from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.ledger import store
from compliance_pipelines.ledger.anchor import check_known, check_stored
from compliance_pipelines.ledger.clusters import check_cluster
from compliance_pipelines.ledger.errors import LedgerForkError, MalformedCheckpointError
from compliance_pipelines.ledger.key_chain import KeyChain
from compliance_pipelines.ledger.log_reading import LogHead, opened, read_chain, read_head
from compliance_pipelines.ledger.losses import Loss
from compliance_pipelines.ledger.publication import publish
from compliance_pipelines.ledger.signing import signer_in_charge
from compliance_pipelines.ledger.store_identity import (
    IDENTITY_KEY,
    StoreIdentity,
    StoreIdentityError,
    check_key,
    read_binding,
    read_identity,
)
from compliance_pipelines.object_store.port import ObjectExistsError
from compliance_pipelines.object_store.promises import PROBES
from compliance_pipelines.postgres.locks import SEALING_LOCK, process_lock
from compliance_pipelines.postgres.replica import in_recovery, refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import sqlalchemy

    from compliance_pipelines.ledger.store import StoredCheckpoint
    from compliance_pipelines.services import Services

ACTION: Final = "ledger.republish"
_OURS: Final = ("audit-archives/", "audit-keys/", "audit-ledger/", "audit-store/", PROBES)


class RepublishingRefusedError(ComplianceError):
    """Nothing was published once more; the cold store is as it was."""


@dataclass(frozen=True)
class Behind:
    """How far a cold store is behind its database.

    Attributes:
        identity: of the store; None where it has none, and gets the one that the database is bound to.
        size: records of the checkpoint in the store; 0 where there is none.
        known: records of the newest checkpoint in the database.
        published: records that were published before, as far as the database knows.
    """

    identity: StoreIdentity | None
    size: int
    known: int
    published: int

    @property
    def needed(self) -> bool:
        """Whether the store lacks anything that was published."""
        return self.identity is None or self.size < self.published


def how_far_behind(services: Services) -> Behind:
    """Compare the ledgers; nothing is changed.

    Raises:
        RepublishingRefusedError: the store is no store of this database, or holds what is not ours.
        LedgerError: the store is another one, has a ledger that is not the beginning of the database's, or was altered.
        ObjectStoreError: the store failed, or is not there at all.
        ReadOnlyReplicaError: the database is a replica.
    """
    with services.engine.connect() as connection, connection.begin():
        return _compared(services, connection)[0]


def republish(
    services: Services, *, author: str, reason: str, step: Callable[[str], None] = lambda _name: None
) -> tuple[Behind, int]:
    """Put into the cold store what was published of the ledger and is not there.

    Args:
        services: the opened services, with the signing key.
        author: who orders it; 1 to 1,000 bytes of UTF-8 without control characters.
        reason: why; 1 to 10,000 bytes, likewise.
        step: called with each step of a publication.

    Returns:
        How far the store was behind, and how many checkpoints were published.

    Raises:
        InvalidLossError: author or reason cannot be put on record.
        LockBusyError: another process seals.
        ClusterChangedError: the database was restored into another cluster, which nobody has adopted yet.
        LedgerError: besides what :func:`how_far_behind` raises: records or checkpoints in the database were altered.
        ObjectStoreError: the store failed; the next call goes on.
    """
    Loss((), 0, 0, author, reason)  # what can be put on record is the same
    stuck_after = timedelta(seconds=services.settings.ledger_seal_max_busy_seconds)
    with (
        services.engine.connect() as connection,
        process_lock(connection, SEALING_LOCK, doing="publishing the ledger once more", stuck_after=stuck_after),
    ):
        with connection.begin():
            # The audit entry about it would get a transaction id that was used.
            check_cluster(connection)
            behind, log = _compared(services, connection)
            chain = KeyChain.of(services.verifier_key, store.key_records(connection))
            places = [each.size for each in _kept(store.checkpoints(connection)) if each.size > behind.size]
        if not behind.needed:
            return behind, 0
        if behind.identity is None:
            with connection.begin():
                _put_identity(services, connection)
        for size in places:
            with connection.begin():
                log = _publish(services, connection, chain, log, size, step)
        AuditLog(services.engine, first_day=services.settings.audit_log_first_day).append(
            system_entry(
                services.settings.audit_log_actor,
                action=ACTION,
                resource_type="ledger",
                resource_id=services.verifier_key.name,
                result="success",
                metadata={
                    "author": author,
                    "reason": reason,
                    "store": services.store.uri,
                    "records_before": behind.size,
                    "records_now": log.head.size,
                    "checkpoints": len(places),
                    "identity_put": behind.identity is None,
                },
            )
        )
    return behind, len(places)


def _compared(services: Services, connection: sqlalchemy.Connection) -> tuple[Behind, LogHead]:
    if in_recovery(connection):
        raise refusal("`compliance store republish`")
    binding = read_binding(connection)
    if binding is None:
        raise RepublishingRefusedError(
            "this database has no cold store yet, so that nothing was published: run `compliance store init`"
        )
    check_key(connection, binding, services.verifier_key)
    identity = read_identity(services.store, read_chain(services.store, services.verifier_key))
    if identity is not None and identity.store_id != binding.store_id:
        raise StoreIdentityError(
            f"the cold store at {services.store.uri} is the {identity}; this database archives into {binding}. "
            "Correct AUDIT_COLD_STORAGE_PATH, or AUDIT_LOG_DATABASE_URL"
        )
    if identity is None:
        _refuse_strange_objects(services)
    log = read_head(services.store, services.verifier_key)
    check_known(services, connection, log)
    last = store.last_checkpoint(connection)
    published = store.last_published_size(connection) or 0
    return Behind(identity, log.head.size, 0 if last is None else last.size, published), log


def _refuse_strange_objects(services: Services) -> None:
    strange = next((info.key for info in services.store.list("") if not info.key.startswith(_OURS)), None)
    if strange is not None:
        raise RepublishingRefusedError(
            f"{services.store.uri} has no identity ({IDENTITY_KEY}), and holds what is none of ours ({strange}): it is "
            "the wrong place; correct AUDIT_COLD_STORAGE_PATH"
        )


def _kept(checkpoints: Iterator[StoredCheckpoint]) -> Iterator[StoredCheckpoint]:
    """The last checkpoint of each UTC day, and the newest."""
    last: StoredCheckpoint | None = None
    for checkpoint in checkpoints:
        if last is not None and _day(last) != _day(checkpoint):
            yield last
        last = checkpoint
    if last is not None:
        yield last


def _day(checkpoint: StoredCheckpoint) -> object:
    return checkpoint.signed_at.astimezone(UTC).date()


def _put_identity(services: Services, connection: sqlalchemy.Connection) -> None:
    binding, environment = read_binding(connection), environment_of(connection)
    if binding is None or environment is None:
        raise RepublishingRefusedError("this database does not say which environment it is of: run `compliance check`")
    made = StoreIdentity(services.verifier_key.name, binding.store_id, environment, datetime.now(UTC))
    try:
        services.store.put_bytes(IDENTITY_KEY, made.to_note(signer_in_charge(services)))
    except ObjectExistsError:
        raise RepublishingRefusedError(
            f"{services.store.locate(IDENTITY_KEY)} was put there by somebody else meanwhile: run it again"
        ) from None


def _publish(  # noqa: PLR0913, PLR0917 - one checkpoint, where it goes, and who is told
    services: Services,
    connection: sqlalchemy.Connection,
    chain: KeyChain,
    log: LogHead,
    size: int,
    step: Callable[[str], None],
) -> LogHead:
    checkpoint, where = store.checkpoint_of_size(connection, size), f"checkpoint {size} of the database"
    records = store.records_between(connection, log.head.size, size)
    if checkpoint is None or [each.seq for each in records] != list(range(log.head.size, size)):
        raise MalformedCheckpointError(f"{where} is not over the records that the database holds: it was altered")
    signed = opened(checkpoint.note.encode(), chain, where)
    grown = log.head.extended(records)
    if (signed.size, signed.root) != (size, grown.root):
        raise LedgerForkError(
            f"the records in the database lead to root {grown.root.hex()}, {where} was signed over {signed.root.hex()} "
            f"for {signed.size} records: records were changed; run `compliance verify --all`"
        )
    check_stored(checkpoint, grown)
    return publish(services.store, log, records, checkpoint.note, step)
