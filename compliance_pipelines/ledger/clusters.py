"""Whether this is the cluster whose transaction ids the ledger counts in, and adopting another one.

Here: the check before sealing, and the adoption after a restore. Not here: how a database is restored.

Transaction ids start again in another cluster. The offset of an adopted cluster lifts them above all that were used.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy.exc import OperationalError

from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.ledger import sql, store
from compliance_pipelines.postgres.engine import conninfo_of
from compliance_pipelines.postgres.errors import is_busy
from compliance_pipelines.postgres.holders import table_locks_held
from compliance_pipelines.postgres.locks import bound_waits

if TYPE_CHECKING:
    import sqlalchemy

_MOST_NAMED: Final = 20
_WRITERS_PATIENCE: Final = timedelta(seconds=10)


class ClusterChangedError(ComplianceError):
    """The database was restored into another cluster, which nobody has adopted yet."""


class ClusterNotAdoptedError(ComplianceError):
    """The adoption was refused; nothing was changed."""


@dataclass(frozen=True)
class Adoption:
    """What an adoption did: the offset added to transaction ids from now on, and entries that no segment will hold."""

    tx_offset: int
    entries_in_no_segment: tuple[str, ...]


def check_cluster(connection: sqlalchemy.Connection) -> None:
    """Refuse a cluster that is not the adopted one.

    Raises:
        ClusterChangedError: its system identifier differs.
    """
    clusters = connection.execute(sql.CLUSTER).one()
    if clusters.running != clusters.adopted:
        raise ClusterChangedError(
            f"this is PostgreSQL cluster {clusters.running}, the ledger counts in the transaction ids of "
            f"{clusters.adopted}: if the database was restored or upgraded on purpose, stop the writers and run "
            "`compliance ledger adopt-cluster`"
        )


def adopt_cluster(owner: sqlalchemy.Engine) -> Adoption:
    """Adopt the cluster that the database is in now. Writers should not have been started in it before.

    Args:
        owner: connects as a login that may become audit_owner (AUDIT_LOG_MIGRATION_DATABASE_URL).

    Returns:
        The new offset, and up to twenty entries that were written between the restore and now under transaction ids
        below the horizon; they are in no segment, and `compliance verify` will go on naming them.

    Raises:
        ClusterNotAdoptedError: it is the adopted cluster and counts on from where it was; or a writer is at work.
    """
    try:
        with owner.begin() as connection:
            return _adopt(connection)
    except OperationalError as error:
        if is_busy(error):
            raise ClusterNotAdoptedError(writers_at_work(owner)) from error
        raise


def writers_at_work(owner: sqlalchemy.Engine) -> str:
    """Who could not be locked out, in words."""
    return (
        "a transaction that writes to the audit log was still open after "
        f"{_WRITERS_PATIENCE.total_seconds():g} s{table_locks_held(conninfo_of(owner))}: stop the writers"
    )


def _adopt(connection: sqlalchemy.Connection) -> Adoption:
    checkpoint = store.last_checkpoint(connection)
    horizon = 0 if checkpoint is None else checkpoint.tx_horizon
    clusters = connection.execute(sql.CLUSTER).one()
    if clusters.running == clusters.adopted and connection.execute(sql.HORIZON).one().horizon >= horizon:
        raise ClusterNotAdoptedError(f"cluster {clusters.running} is the adopted one already: nothing to do")
    lock_out_writers(connection)
    unsealed = entries_in_no_segment(connection, horizon)
    return Adoption(raise_transaction_ids(connection, horizon), unsealed)


def entries_in_no_segment(connection: sqlalchemy.Connection, horizon: int) -> tuple[str, ...]:
    """Up to twenty entries below a horizon that no segment holds: they were written under ids that were used before."""
    found = connection.execute(sql.ENTRIES_IN_NO_SEGMENT, {"horizon": horizon, "most": _MOST_NAMED})
    return tuple(found.scalars())


def lock_out_writers(connection: sqlalchemy.Connection) -> None:
    """Become the owner, and wait until no transaction that wrote to the audit log is open; none writes until the end.

    An entry of a transaction that was still open would get lost below the new horizon.

    Raises:
        OperationalError: one was still open after ten seconds.
    """
    connection.execute(sql.BECOME_OWNER)
    bound_waits(connection, _WRITERS_PATIENCE)
    connection.execute(sql.LOCK_OUT_WRITERS)


def raise_transaction_ids(connection: sqlalchemy.Connection, horizon: int) -> int:
    """Lift the transaction ids of all entries to come above every one that was used, and above a horizon.

    Args:
        connection: of the owner, with writers locked out; the caller commits.
        horizon: which the database need not know of.

    Returns:
        The offset that is added to PostgreSQL's own ids from now on.
    """
    tx_offset = max(int(connection.execute(sql.HIGHEST_TX_ID).scalar_one()), horizon) + 1
    connection.execute(sql.ADOPT_CLUSTER, {"tx_offset": tx_offset})
    return tx_offset
