"""Waiting for locks in the database that all processes share: always for a bounded time, and saying who holds them.

Here: the advisory locks of the project, the bound of a wait, and trying again. Not here: who stands in the way
(holders.py), what is done under a lock.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeVar

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from compliance_pipelines.base.errors import TransientError
from compliance_pipelines.postgres.engine import conninfo_of
from compliance_pipelines.postgres.errors import LockBusyError, LockStuckError, is_busy
from compliance_pipelines.postgres.holders import advisory_lock_holders

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import sqlalchemy

T = TypeVar("T")


class LockLostError(TransientError):
    """A lock ended before the work under it; another process may have been at it at the same time."""


# PostgreSQL gives the lock of a killed process back when it notices that the connection is gone, which takes a moment
# on a busy machine. Whoever starts again at once must not be told that another process is at it.
_PATIENCE: Final = timedelta(seconds=5)
BRIEF: Final = timedelta(seconds=2)
"""As long as somebody may stand in front of live traffic."""
STUCK_AFTER: Final = timedelta(hours=6)
"""A holder whose session has done nothing for this long is at no work any more; what it does elsewhere takes less."""
SEALING_LOCK: Final = "sealing"
"""Name of the lock of sealing, whose holder uses its session all the time that it works."""
SEALING_STUCK_AFTER: Final = timedelta(minutes=15)
"""The same for that one, where LEDGER_SEAL_MAX_BUSY_SECONDS does not say."""
_PAUSES_SECONDS: Final = (1.0, 2.0, 4.0, 8.0)
_MILLISECOND: Final = timedelta(milliseconds=1)

_SET_LOCK_TIMEOUT: Final = text("SELECT set_config('lock_timeout', :milliseconds, true)")
_KEYS: Final = "hashtext('compliance_pipelines.' || :name), hashtext(:key)"
_LOCK_SESSION: Final = text(f"SELECT pg_advisory_lock({_KEYS})")
_LOCK_SESSION_SHARED: Final = text(f"SELECT pg_advisory_lock_shared({_KEYS})")
_UNLOCK_SESSION: Final = text(f"SELECT pg_advisory_unlock({_KEYS})")
_UNLOCK_SESSION_SHARED: Final = text(f"SELECT pg_advisory_unlock_shared({_KEYS})")
_LOCK_TRANSACTION: Final = text(f"SELECT pg_advisory_xact_lock({_KEYS})")
_LOCK_TRANSACTION_SHARED: Final = text(f"SELECT pg_advisory_xact_lock_shared({_KEYS})")


def bound_waits(connection: sqlalchemy.Connection, patience: timedelta) -> None:
    """Wait no longer than this for any lock, until the transaction ends."""
    connection.execute(_SET_LOCK_TIMEOUT, {"milliseconds": str(max(1, patience // _MILLISECOND))})


@contextmanager
def process_lock(  # noqa: PLR0913 - which lock, how, and how long
    connection: sqlalchemy.Connection,
    name: str,
    key: str = "",
    *,
    doing: str,
    shared: bool = False,
    patience: timedelta | None = None,
    stuck_after: timedelta = STUCK_AFTER,
) -> Iterator[None]:
    """Hold a lock of the session, which ends with the process at the latest, and needs no open transaction.

    Args:
        connection: one that is in no transaction, kept open for as long as the lock is to be held. A transaction that
            is still open on it at the end is rolled back.
        name: what the lock is for.
        key: which one of its kind.
        doing: what is not done without it, as the message begins: "sealing".
        shared: whether others may share it.
        patience: how long to wait for another process to give it up; None: five seconds.
        stuck_after: how long a holder's session may do nothing before that is an error.

    Raises:
        LockBusyError: another process kept it for the whole time.
        LockStuckError: and its session has done nothing for longer than `stuck_after`.
        LockLostError: the block came to its end, and the session had lost the lock by then.
    """
    keys = {"name": name, "key": key}
    try:
        with connection.begin():
            bound_waits(connection, _PATIENCE if patience is None else patience)
            connection.execute(_LOCK_SESSION_SHARED if shared else _LOCK_SESSION, keys)
    except DBAPIError as error:
        raise _busy(connection, doing, (name, key), stuck_after, error) from error
    unlock = _UNLOCK_SESSION_SHARED if shared else _UNLOCK_SESSION
    try:
        yield
    except BaseException:
        _given_back(connection, unlock, keys)
        raise
    if not _given_back(connection, unlock, keys):
        raise LockLostError(
            f"{doing}: the lock was lost before the end, with the connection or to a connection pooler, so that "
            "another process may have been at it too; run it again"
        )


def _given_back(connection: sqlalchemy.Connection, unlock: sqlalchemy.TextClause, keys: dict[str, str]) -> bool:
    """Give a lock of the session back; False where the session did not have it any more."""
    if connection.invalidated:
        return False
    try:
        if connection.in_transaction():
            connection.rollback()
        with connection.begin():
            return bool(connection.execute(unlock, keys).scalar_one())
    except DBAPIError:
        # Closed for good, for the lock ends with the connection: one with a lock on it must not get back to the pool.
        connection.invalidate()
        return False


def transaction_lock(  # noqa: PLR0913 - which lock, how, and how long
    connection: sqlalchemy.Connection,
    name: str,
    key: str = "",
    *,
    doing: str,
    shared: bool = False,
    patience: timedelta | None = None,
) -> None:
    """Take a lock that is held until the transaction ends; the transaction's later waits are bounded as this one is.

    Args: as for :func:`process_lock`, but the connection may be in a transaction.

    Raises:
        LockBusyError: another process kept it for the whole time.
        LockStuckError: and its session has done nothing for hours.
    """
    bound_waits(connection, _PATIENCE if patience is None else patience)
    try:
        connection.execute(_LOCK_TRANSACTION_SHARED if shared else _LOCK_TRANSACTION, {"name": name, "key": key})
    except DBAPIError as error:
        raise _busy(connection, doing, (name, key), STUCK_AFTER, error) from error


def _busy(
    connection: sqlalchemy.Connection, doing: str, lock: tuple[str, str], stuck_after: timedelta, error: DBAPIError
) -> Exception:
    """The refusal where the lock was not to be had; else the error itself."""
    if not is_busy(error):
        return error
    holders = advisory_lock_holders(conninfo_of(connection.engine), *lock)
    stuck = [holder for holder in holders.found if holder.is_quiet_for(stuck_after)]
    if stuck:
        return LockStuckError(
            f"{doing}: the lock is held by what has done nothing for more than {stuck_after}{holders}: "
            f"{'; '.join(holder.remedy for holder in stuck)}; then run it again"
        )
    return LockBusyError(
        f"{doing}: another process is at it{holders}; run it again when that is done",
        held_by=str(holders),
        unknown_holder=bool(holders.problem) or any(holder.is_unknown for holder in holders.found),
    )


def retry_while_busy(
    attempt: Callable[[], T],
    *,
    sleep: Callable[[float], None] = time.sleep,
    pauses: Sequence[float] = _PAUSES_SECONDS,
) -> T:
    """Make an attempt several times: give way to live traffic, rather than stand in front of it.

    Args:
        attempt: changes nothing where it raises LockBusyError.
        sleep: waits between attempts, in seconds.
        pauses: the waits, in seconds; one attempt more than there are pauses.

    Raises:
        LockBusyError: a lock was not to be had each time.
    """
    for pause in pauses:
        try:
            return attempt()
        except LockBusyError:
            sleep(pause)
    return attempt()
