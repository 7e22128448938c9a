"""Whether the database and the cold store tell the same story, and publishing what is committed.

Here: the check before anything is signed, and what follows from it: the head that the next pass may extend. Not here:
making checkpoints (sealing.py), the objects (publication.py).

The database is not believed. The head that sealing extends is computed from the last object in the cold store: its
records, put on top of a frontier, must lead to the root that it is signed over, which no other records and no other
frontier do (SHA-256). From there on only records that lead to a signed root are appended. So whatever its administrator
writes into the database, between the check and the signature included, every new checkpoint extends the one that the
cold store holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from compliance_pipelines.ledger import sql, store
from compliance_pipelines.ledger.head import LedgerHead
from compliance_pipelines.ledger.merkle import FrontierError
from compliance_pipelines.ledger.publication import (
    LedgerError,
    Publication,
    open_published,
    publication_key,
    published_keys,
    read_publication,
)
from compliance_pipelines.object_store.bounded import read_bounded
from compliance_pipelines.object_store.port import ObjectExistsError, OversizedObjectError
from compliance_pipelines.postgres.replica import in_recovery, refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    import sqlalchemy

    from compliance_pipelines.ledger.store import StoredCheckpoint
    from compliance_pipelines.object_store.port import ObjectStore
    from compliance_pipelines.services import Services


class LedgerForkError(LedgerError):
    """Two different ledgers of the same size, or records that do not lead to their checkpoint."""


class DatabaseRolledBackError(LedgerError):
    """The cold store holds checkpoints that the database does not know."""


@dataclass(frozen=True)
class Published:
    """What was published: the ledger's head with it, and the sizes of the checkpoints, smallest first."""

    head: LedgerHead
    sizes: tuple[int, ...]


def check_anchor(services: Services, connection: sqlalchemy.Connection) -> LedgerHead:
    """Whether the cold store holds what the database says was published, and nothing that the database does not know.

    Returns:
        The head of the ledger at the last published checkpoint, as the cold store has it.

    Raises:
        LedgerError: the kind of difference is the error's class.
        ObjectStoreError: the store failed; then it cannot be told.
        ReadOnlyReplicaError: the database is a replica, which may be behind, and on which nothing can be signed.
    """
    if in_recovery(connection):
        raise refusal("whoever seals, archives or purges")
    published = store.last_published_size(connection) or 0
    for size, key in published_keys(services.store, after_size=published):
        # Asked after the listing: another process may seal meanwhile, and commits before it publishes.
        if store.checkpoint_of_size(connection, size) is None:
            last = store.last_checkpoint(connection)
            raise DatabaseRolledBackError(
                f"the cold store holds checkpoint {size} ({services.store.locate(key)}), the database ends at "
                f"{0 if last is None else last.size}: the database was restored to an older state, or another "
                "database seals into this store; recover the newer database, or restore the entries from the archives "
                "into a new database with a cold store of its own"
            )
    return _head_in_cold_store(services, connection, published) if published else LedgerHead()


def _head_in_cold_store(services: Services, connection: sqlalchemy.Connection, size: int) -> LedgerHead:
    publication = read_publication(services.store, size)
    where = services.store.locate(publication_key(size))
    signed = open_published(publication, services.verifier_key, where)
    known = store.checkpoint_of_size(connection, size)
    if known is None or known.root != signed.root:
        ours = "none" if known is None else known.root.hex()
        raise LedgerForkError(
            f"checkpoint {size}: the database has root {ours}, {where} has {signed.root.hex()}; one of the two was "
            "changed: run `compliance verify --all`"
        )
    # Only a hint: a frontier that was altered does not lead to the signed root.
    before = store.checkpoint_of_size(connection, publication.previous_size)
    head = _extended(LedgerHead() if before is None else before.head, publication)
    if head is None or head.root != signed.root:
        raise LedgerForkError(
            f"the records in {where} do not lead to the root that it is signed over: they were altered, or the "
            f"checkpoint of {publication.previous_size} segments in the database was; run `compliance verify --all`"
        )
    _check_stored(known, head)
    return head


def publish_pending(
    services: Services, connection: sqlalchemy.Connection, head: LedgerHead, step: Callable[[str], None]
) -> Published:
    """Put every committed checkpoint that is not known to be in the cold store there, smallest first.

    The connection has no open transaction; each publication is recorded in a transaction of its own.

    Args:
        services: the opened services.
        connection: to the database.
        head: of the last published checkpoint, as :func:`check_anchor` returned it.
        step: called with the name of each step that is done.

    Raises:
        LedgerError: the cold store holds another object at the same size, or a checkpoint in the database is not
            signed by our key or not over the records in the database.
        ObjectStoreError: the store failed; the next pass goes on from here.
    """
    with connection.begin():
        pending = store.unpublished_checkpoints(connection)
        starts = [head.size, *(checkpoint.size for checkpoint in pending)]
        added = [
            tuple(store.segments_between(connection, first, checkpoint.size))
            for first, checkpoint in zip(starts, pending, strict=False)
        ]
    for checkpoint, segments in zip(pending, added, strict=True):
        publication = Publication(checkpoint.note, head.size, segments)
        head = _checked_head(services, head, publication, checkpoint)
        _put(services.store, publication)
        step("published")
        with connection.begin():
            connection.execute(
                sql.INSERT_PUBLICATION, {"size": checkpoint.size, "object_key": publication_key(checkpoint.size)}
            )
        step("publication recorded")
    return Published(head, tuple(checkpoint.size for checkpoint in pending))


def _checked_head(
    services: Services, head: LedgerHead, publication: Publication, checkpoint: StoredCheckpoint
) -> LedgerHead:
    """The head with the publication's records; a checkpoint over other records is never published."""
    where = f"checkpoint {checkpoint.size} of the database"
    signed = open_published(publication, services.verifier_key, where)
    grown = head.extended(publication.segments)
    if grown.root != signed.root:
        raise LedgerForkError(
            f"the segment records in the database lead to root {grown.root.hex()}, {where} was signed over "
            f"{signed.root.hex()}: records were changed before they were published; run `compliance verify --all`"
        )
    _check_stored(checkpoint, grown)
    return grown


def _extended(head: LedgerHead, publication: Publication) -> LedgerHead | None:
    """The head with the publication's records; None where that is no head of a ledger of the size before."""
    try:
        return head.extended(publication.segments) if head.size == publication.previous_size else None
    except FrontierError:
        return None


def _check_stored(checkpoint: StoredCheckpoint, head: LedgerHead) -> None:
    """What the database says beside the note is what follows from the signed records."""
    if (checkpoint.head, checkpoint.root) != (head, head.root):
        raise LedgerForkError(
            f"checkpoint {checkpoint.size}: its root, frontier or horizon in the database is not that of its signed "
            "records; it was altered: find out who did, and run `compliance verify --all`"
        )


def _holds(cold: ObjectStore, key: str, data: bytes) -> bool:
    try:
        return read_bounded(cold, key, len(data)) == data
    except OversizedObjectError:
        return False


def _put(cold: ObjectStore, publication: Publication) -> None:
    key, data = publication_key(publication.size), publication.to_bytes()
    try:
        cold.put_bytes(key, data)
    except ObjectExistsError:
        if not _holds(cold, key, data):
            raise LedgerForkError(
                f"{cold.locate(key)} holds another checkpoint of {publication.size} segments: two databases seal into "
                "this store, or the object was changed; run `compliance verify --all`"
            ) from None
