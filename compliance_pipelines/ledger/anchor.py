"""Whether the database and the cold store tell the same story, and publishing what is committed.

Here: the check before anything is signed, and what follows from it: the head that the next pass may extend. Not here:
making checkpoints (sealing.py), the objects (log_reading.py, publication.py).

The database is not believed. The head that sealing extends is computed from the tiles and the last entry bundle of the
cold store, which must lead to the root that its checkpoint is signed over. From there on only records that lead to a
signed root are appended. So whatever its administrator writes into the database, between the check and the signature
included, every new checkpoint extends the one that the cold store holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from compliance_pipelines.ledger import sql, store
from compliance_pipelines.ledger.errors import (
    CheckpointMissingError,
    ColdStoreRolledBackError,
    DatabaseRolledBackError,
    KeyRecordError,
    LedgerForkError,
    MalformedCheckpointError,
)
from compliance_pipelines.ledger.key_chain import is_key_record
from compliance_pipelines.ledger.key_changes import KeyChange
from compliance_pipelines.ledger.key_objects import key_object_key
from compliance_pipelines.ledger.log_reading import CHECKPOINT_KEY, LogHead, opened, read_head
from compliance_pipelines.ledger.publication import publish
from compliance_pipelines.postgres.replica import in_recovery, refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import sqlalchemy

    from compliance_pipelines.ledger.head import LedgerHead
    from compliance_pipelines.ledger.records import LedgerRecord
    from compliance_pipelines.ledger.store import StoredCheckpoint
    from compliance_pipelines.services import Services


@dataclass(frozen=True)
class Published:
    """What was published: the log's head with it, and the sizes of the checkpoints, smallest first."""

    log: LogHead
    sizes: tuple[int, ...]

    @property
    def head(self) -> LedgerHead:
        """The ledger's head."""
        return self.log.head


def check_anchor(services: Services, connection: sqlalchemy.Connection) -> LogHead:
    """Whether the cold store holds what the database says was published, and nothing that the database does not know.

    Returns:
        The head of the log at the checkpoint in the cold store, as the cold store has it.

    Raises:
        LedgerError: the kind of difference is the error's class.
        ObjectStoreError: the store failed; then it cannot be told.
        ReadOnlyReplicaError: the database is a replica, which may be behind, and on which nothing can be signed.
    """
    if in_recovery(connection):
        raise refusal("whoever seals, archives or purges")
    log = read_published(services, connection)
    check_known(services, connection, log)
    return log


def check_known(services: Services, connection: sqlalchemy.Connection, log: LogHead) -> None:
    """Whether the database knows the checkpoint that was read in the cold store, as it is there.

    Raises:
        DatabaseRolledBackError: it ends before that.
        LedgerForkError: it has another one of that size.
    """
    size, where = log.head.size, services.store.locate(CHECKPOINT_KEY)
    # Asked after the reading: another process may seal meanwhile, and commits before it publishes.
    known = store.checkpoint_of_size(connection, size) if size else None
    last = store.last_checkpoint(connection)
    if size > (0 if last is None else last.size):
        raise DatabaseRolledBackError(
            f"the cold store holds checkpoint {size} ({where}), the database ends at {0 if last is None else last.size}"
            ": it was restored to an older state, or promoted before it had everything, or another database seals into "
            "this store. Go on with the newer database if there is one; if it is lost, `compliance ledger recover` "
            "goes on with this one and puts on record what is lost"
        )
    if size and (known is None or known.root != log.head.root):
        ours = "none" if known is None else known.root.hex()
        raise LedgerForkError(
            f"checkpoint {size}: the database has root {ours}, {where} has {log.head.root.hex()}; one of the two was "
            "changed: run `compliance verify --all`"
        )
    if known is not None:
        check_stored(known, log.head)
    _check_keys(services, connection, log)


def read_published(services: Services, connection: sqlalchemy.Connection) -> LogHead:
    """The head of the log in the cold store, if that holds at least what the database says was published.

    Raises:
        LedgerError: it does not, or holds no ledger of ours.
        ObjectStoreError: the store failed; then it cannot be told.
    """
    # Asked first: what is published meanwhile makes the cold store newer, never older.
    published = store.last_published_size(connection) or 0
    log = read_head(services.store, services.verifier_key)
    size, where = log.head.size, services.store.locate(CHECKPOINT_KEY)
    if not size and published:
        raise CheckpointMissingError(
            f"checkpoint {published} was published and {where} is no longer there: restore the object (versions of the "
            "bucket, a replica); nothing is sealed without it. If the store is lost, or this is a copy that is behind, "
            "`compliance store republish` puts there what was published"
        )
    if size < published:
        raise ColdStoreRolledBackError(
            f"{where} is the checkpoint of {size} records, and that of {published} was published: the cold store was "
            "put back to an older state; restore the newer objects (versions of the bucket, a replica); where nobody "
            "has them any more, `compliance store republish` puts there what was published"
        )
    return log


def _check_keys(services: Services, connection: sqlalchemy.Connection, log: LogHead) -> None:
    """Let no store hide from the other that a key was followed: who has the old one would sign on."""
    stated = [record for record in store.key_records(connection) if record.seq < log.head.size]
    differing = {record.seq for record in stated}.symmetric_difference(record.seq for record in log.keys)
    differing |= {one.seq for one, other in zip(stated, log.keys, strict=False) if one != other}
    if differing:
        seq = min(differing)
        raise KeyRecordError(
            f"record {seq}, about a key, is not the same in the database and in "
            f"{services.store.locate(key_object_key(seq))}, or is missing from one of them: restore what was altered, "
            "and run `compliance verify --all`"
        )


def publish_pending(
    services: Services, connection: sqlalchemy.Connection, log: LogHead, step: Callable[[str], None]
) -> Published:
    """Put every committed checkpoint that is not known to be in the cold store there, smallest first.

    The connection has no open transaction; each publication is recorded in a transaction of its own. What the
    checkpoint in the cold store covers already is recorded only.

    Args:
        services: the opened services.
        connection: to the database.
        log: the cold store's head, as :func:`check_anchor` returned it.
        step: called with the name of each step that is done.

    Raises:
        LedgerError: the cold store holds other objects, or a checkpoint in the database is not signed by our key or not
            over the records in the database.
        ObjectStoreError: the store failed; the next pass goes on from here.
    """
    with connection.begin():
        pending = store.unpublished_checkpoints(connection)
        new = [checkpoint for checkpoint in pending if checkpoint.size > log.head.size]
        starts = [log.head.size, *(checkpoint.size for checkpoint in new)]
        added = {
            checkpoint.size: store.records_between(connection, first, checkpoint.size)
            for first, checkpoint in zip(starts, new, strict=False)
        }
    for checkpoint in pending:
        if checkpoint.size in added:
            records = added[checkpoint.size]
            _check(services, log, records, checkpoint)
            log = publish(services.store, log, records, checkpoint.note, step)
            step("published")
        with connection.begin():
            connection.execute(sql.INSERT_PUBLICATION, {"size": checkpoint.size, "object_key": CHECKPOINT_KEY})
        step("publication recorded")
    return Published(log, tuple(checkpoint.size for checkpoint in pending))


def _check(services: Services, log: LogHead, records: Sequence[LedgerRecord], checkpoint: StoredCheckpoint) -> None:
    """Let a checkpoint pass that is over the records; one over others is never published."""
    where, head = f"checkpoint {checkpoint.size} of the database", log.head
    signed = opened(checkpoint.note.encode(), log.chain(services.verifier_key, records), where)
    if signed.size != checkpoint.size or [each.seq for each in records] != list(range(head.size, checkpoint.size)):
        raise MalformedCheckpointError(
            f"{where} is signed for {signed.size} records, and the database holds {len(records)} records after "
            f"{head.size}: it was altered"
        )
    grown = head.extended(records)
    if grown.root != signed.root:
        raise LedgerForkError(
            f"the segment records in the database lead to root {grown.root.hex()}, {where} was signed over "
            f"{signed.root.hex()}: records were changed before they were published; run `compliance verify --all`"
        )
    check_stored(checkpoint, grown)
    for place, record in enumerate(records):
        if is_key_record(record) and KeyChange.of_record(record).root != _before(head, records[:place]).root:
            raise KeyRecordError(
                f"record {record.seq} in the database changes the key of another ledger: it was put there by somebody; "
                "run `compliance verify --all`"
            )


def _before(head: LedgerHead, records: Sequence[LedgerRecord]) -> LedgerHead:
    return head.extended(records) if records else head


def check_stored(checkpoint: StoredCheckpoint, head: LedgerHead) -> None:
    """Let pass what the database says beside the note, if it is what follows from the signed records.

    Raises:
        LedgerForkError: it is not.
    """
    if (checkpoint.head, checkpoint.root) != (head, head.root):
        raise LedgerForkError(
            f"checkpoint {checkpoint.size}: its root, frontier or horizon in the database is not that of its signed "
            "records; it was altered: find out who did, and run `compliance verify --all`"
        )
