"""One key of the ledger follows another: the record that says so, and the first checkpoint over it.

Here: what must hold before, and the order of the steps. Not here: the record's bytes (key_changes.py), which keys sign
from then on (signing.py).

The record, the checkpoint over it and the audit entry are committed in one transaction, and published as a sealing pass
publishes. Whoever is killed before the commit has done nothing; whoever is killed after it is finished by the next
sealing pass, whatever keys it has, because all signatures are made already, or by the next call.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.audit_log.system_entries import system_entry
from compliance_pipelines.ledger import sql, store
from compliance_pipelines.ledger.anchor import check_anchor, publish_pending
from compliance_pipelines.ledger.checkpoint import BadSignatureError, Checkpoint, sign_checkpoint
from compliance_pipelines.ledger.clusters import check_cluster
from compliance_pipelines.ledger.errors import LedgerError
from compliance_pipelines.ledger.key_changes import KeyChange, key_change_record
from compliance_pipelines.ledger.signing import signers_of_checkpoint
from compliance_pipelines.ledger.store_identity import check_identity
from compliance_pipelines.postgres.locks import SEALING_LOCK, process_lock

if TYPE_CHECKING:
    from collections.abc import Callable

    import sqlalchemy

    from compliance_pipelines.ledger.checkpoint import Signer
    from compliance_pipelines.ledger.key_chain import KeyChain
    from compliance_pipelines.ledger.log_reading import LogHead
    from compliance_pipelines.services import Services

ACTION: Final = "ledger.rotate_key"
_RESOURCE_TYPE: Final = "ledger_key"


class KeyRotationRefusedError(LedgerError):
    """The key cannot follow the one that signs; nothing was changed."""


class RotationStep(StrEnum):
    """What has just been done when the step hook is called; after these, the steps of a publication."""

    SIGNED = "signed"
    INSERTED = "inserted"
    COMMITTED = "committed"


@dataclass(frozen=True)
class KeyRotation:
    """A key that is in charge.

    Attributes:
        change: the statement.
        made: whether this call made it; False where an earlier one did, which this one perhaps published.
    """

    change: KeyChange
    made: bool


def _no_step(_name: str) -> None:
    pass


def rotate_key(
    services: Services, new: Signer, *, compromised: bool = False, step: Callable[[str], None] = _no_step
) -> KeyRotation:
    """Let a new key sign for the ledger from here on.

    Args:
        services: the opened services; their settings have the key that signs so far.
        new: the key that follows.
        compromised: the old key became known to others: it is revoked, and signs nothing beside the new one.
        step: called with each :class:`RotationStep` and each step of the publication, for tests that interrupt.

    Raises:
        KeyRotationRefusedError: the key is the one that signs, or has signed before, or has another name.
        SigningKeyNotInChargeError: the settings do not have the key that signs so far.
        LockBusyError: another process seals.
        ClusterChangedError: the database was restored into another cluster.
        LedgerError: the cold store and the database do not tell the same story.
        ObjectStoreError: the cold store failed; what was committed is published by the next sealing pass.
    """
    with services.engine.connect() as connection, ExitStack() as stack:
        stuck_after = timedelta(seconds=services.settings.ledger_seal_max_busy_seconds)
        stack.enter_context(
            process_lock(connection, SEALING_LOCK, doing="`compliance ledger rotate-key`", stuck_after=stuck_after)
        )
        with connection.begin():
            check_cluster(connection)
            check_identity(services, connection)
            anchored = check_anchor(services, connection)
        log = publish_pending(services, connection, anchored, step).log
        chain = log.chain(services.verifier_key)
        made = chain.change_to(new.verifier_key())
        if made is not None and chain.current == new.verifier_key():
            return KeyRotation(made, made=False)
        _refuse_unfit(chain, new)
        change = _commit(services, connection, log, new, compromised=compromised, step=step)
        step(RotationStep.COMMITTED)
        publish_pending(services, connection, log, step)
    return KeyRotation(change, made=True)


def _refuse_unfit(chain: KeyChain, new: Signer) -> None:
    """Let a key pass that can follow.

    Raises:
        KeyRotationRefusedError: it cannot.
    """
    key = new.verifier_key()
    if key.name != chain.name:
        raise KeyRotationRefusedError(
            f"the ledger is {chain.name}, and the new key is of {key.name}: a ledger keeps its name; make a key by "
            f"`compliance ledger new-key FILE --name {chain.name}`"
        )
    if key == chain.current:
        raise KeyRotationRefusedError(f"{key} signs for the ledger already: make another key")
    if any(key.public_key == each.public_key for each in chain.keys):
        raise KeyRotationRefusedError(f"{key} signed for the ledger before, and a key never comes back: make another")
    if any(key.key_hash == each.key_hash for each in chain.keys):
        raise KeyRotationRefusedError(f"another key of the ledger has the hash of {key} by chance: make another key")
    probe = f"compliance-pipelines: a test of {key}\n"
    if not key.verify(probe, new.sign(probe)):
        raise BadSignatureError(f"{key} does not fit what its private half signs")


def _commit(  # noqa: PLR0913 - what one rotation needs
    services: Services,
    connection: sqlalchemy.Connection,
    log: LogHead,
    new: Signer,
    *,
    compromised: bool,
    step: Callable[[str], None],
) -> KeyChange:
    with connection.begin():
        now = connection.execute(sql.HORIZON).one().now
    sealed_at = now if log.last is None else max(now, log.last.sealed_at)
    chain, head = log.chain(services.verifier_key), log.head
    (old, *_) = signers_of_checkpoint(services.keys.signers, chain, head.size, sealed_at)
    overlap = timedelta(days=0 if compromised else services.settings.ledger_key_overlap_days)
    record = key_change_record(head, old, new, sealed_at=sealed_at, until=sealed_at + overlap, revoked=compromised)
    change = KeyChange.of_record(record)
    grown = head.extended([record])
    signers = signers_of_checkpoint((new, old), log.chain(services.verifier_key, [record]), grown.size, sealed_at)
    stored = store.StoredCheckpoint(
        size=grown.size,
        root=grown.root,
        tx_horizon=grown.tx_horizon,
        frontier=grown.frontier,
        note=sign_checkpoint(Checkpoint(origin=new.name, size=grown.size, root=grown.root), *signers),
        signed_at=sealed_at,
    )
    step(RotationStep.SIGNED)
    with connection.begin():
        store.insert(connection, [record], stored)
        _put_on_record(services, connection, change)
        step(RotationStep.INSERTED)
    return change


def _put_on_record(services: Services, connection: sqlalchemy.Connection, change: KeyChange) -> None:
    entry = system_entry(
        services.settings.audit_log_actor,
        action=ACTION,
        resource_type=_RESOURCE_TYPE,
        resource_id=str(change.new),
        result="success",
        metadata={
            "record": change.seq,
            "old": change.old.to_note_string(),
            "new": change.new.to_note_string(),
            "until": change.until.isoformat(),
            "compromised": change.revoked,
        },
    )
    log = AuditLog(services.engine, first_day=services.settings.audit_log_first_day)
    log.append_within(connection, entry)
