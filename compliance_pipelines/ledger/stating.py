"""Putting statements into the ledger: the records, the checkpoint over them, and publishing it.

Here: what every statement goes through that is made by itself, beside the sealing. Not here: what it says
(expiries.py), and statements that sealing or a change of keys makes (rotation.py, recovery.py).

The records and the checkpoint are committed in one transaction, and published as a sealing pass publishes. Whoever is
killed before the commit has done nothing; whoever is killed after it is finished by the next sealing pass, or the next
call.
"""

from __future__ import annotations

from contextlib import ExitStack
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from sqlalchemy.exc import IntegrityError

from compliance_pipelines.ledger import sql, store
from compliance_pipelines.ledger.anchor import check_anchor, publish_pending
from compliance_pipelines.ledger.clusters import check_cluster
from compliance_pipelines.ledger.records import Statement
from compliance_pipelines.ledger.sealing import SegmentsInTheWayError, sign_head
from compliance_pipelines.ledger.signing import signers_of_checkpoint
from compliance_pipelines.ledger.store_identity import check_identity
from compliance_pipelines.postgres.locks import SEALING_LOCK, process_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from compliance_pipelines.ledger.records import StatementKind
    from compliance_pipelines.services import Services


class StatingStep(StrEnum):
    """What has just been done when the step hook is called; after these, the steps of a publication."""

    INSERTED = "inserted"
    COMMITTED = "committed"


def _no_step(_name: str) -> None:
    pass


def state(
    services: Services,
    kind: StatementKind,
    bodies: Callable[[datetime], Sequence[bytes]],
    *,
    doing: str,
    step: Callable[[str], None] = _no_step,
) -> list[Statement]:
    """State something about the ledger itself, and publish it before this returns.

    Args:
        services: the opened services, with the signing key.
        kind: of the statements.
        bodies: asked under the lock of sealing, with the time at which they are made (the database's); what it raises
            leaves nothing stated. Where it gives none, what was committed before is published all the same.
        doing: what is done, for messages.
        step: called after each step, for tests that interrupt.

    Raises:
        LockBusyError: another process seals.
        ClusterChangedError: the database was restored into another cluster.
        LedgerError: the cold store and the database do not tell the same story, or the settings do not have the key
            that signs for the ledger.
        SegmentsInTheWayError: somebody wrote records beside the sealing.
        ObjectStoreError: the cold store failed; what was committed is published by the next pass.
    """
    with services.engine.connect() as connection, ExitStack() as stack:
        stuck_after = timedelta(seconds=services.settings.ledger_seal_max_busy_seconds)
        stack.enter_context(process_lock(connection, SEALING_LOCK, doing=doing, stuck_after=stuck_after))
        with connection.begin():
            check_cluster(connection)
            check_identity(services, connection)
            anchored = check_anchor(services, connection)
        log = publish_pending(services, connection, anchored, step).log
        with connection.begin():
            now = connection.execute(sql.HORIZON).one().now
        sealed_at = now if log.last is None else max(now, log.last.sealed_at)
        head = log.head
        statements = [
            Statement(seq, kind, head.tx_horizon, sealed_at, body) for seq, body in enumerate(bodies(now), head.size)
        ]
        if not statements:
            return []
        chain = log.chain(services.verifier_key)
        signers = signers_of_checkpoint(services.keys.signers, chain, head.size + 1, sealed_at)
        _, checkpoint = sign_head(signers, head.extended(statements), sealed_at)
        try:
            with connection.begin():
                store.insert(connection, statements, checkpoint)
                step(StatingStep.INSERTED)
        except IntegrityError as error:
            raise SegmentsInTheWayError(
                f"record {head.size} cannot be recorded: {' '.join(str(error.orig).split())}; somebody wrote to the "
                "ledger's tables: find out who did, and run `compliance verify --all`"
            ) from error
        step(StatingStep.COMMITTED)
        publish_pending(services, connection, log, step)
    return statements
