"""Which errors of the database pass by themselves.

Here: the one table that tells a fault which the same call may survive later from one that stays, for psycopg,
SQLAlchemy and ADBC alike. Not here: who holds a lock (holders.py), what an error means to whoever appends
(audit_log/errors.py).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import adbc_driver_manager
import psycopg
import sqlalchemy.exc

from compliance_pipelines.base.errors import ComplianceError, TransientError
from compliance_pipelines.postgres.engine import conninfo_of
from compliance_pipelines.postgres.holders import table_locks_held
from compliance_pipelines.postgres.replica import RECOVERY_CONFLICT_REMEDY, ReadOnlyReplicaError, is_replica

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compliance_pipelines.postgres.conninfo import Conninfo

DATABASE_ERRORS: Final = (sqlalchemy.exc.DBAPIError, psycopg.Error, adbc_driver_manager.Error)

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_BUSY: Final = frozenset(
    {
        "40P01",  # deadlock_detected
        "55P03",  # lock_not_available
    }
)
_PASSING: Final = frozenset(
    {
        "25P03",  # idle_in_transaction_session_timeout
        "25P04",  # transaction_timeout
        "40001",  # serialization_failure
        "53100",  # disk_full
        "53200",  # out_of_memory: the table for locks is full as well
        "53300",  # too_many_connections
        "57014",  # query_canceled: by an administrator, as no session of ours has a statement_timeout
        "57P01",  # admin_shutdown
        "57P02",  # crash_shutdown
        "57P03",  # cannot_connect_now
        "57P05",  # idle_session_timeout
    }
)
_CONNECTION_EXCEPTION: Final = "08"
_READ_ONLY: Final = "25006"  # read_only_sql_transaction
# serialization_failure, deadlock_detected: on a replica, where nobody writes, only replay is in a reading's way.
_RECOVERY_CONFLICT: Final = frozenset({"40001", "40P01"})
# Where the session ends with it, ADBC knows no SQLSTATE, and the text is all there is.
_SAID_OF_RECOVERY_CONFLICT: Final = "due to conflict with recovery"
_ADBC_LOST: Final = frozenset(
    {
        adbc_driver_manager.AdbcStatusCode.IO,
        adbc_driver_manager.AdbcStatusCode.TIMEOUT,
        adbc_driver_manager.AdbcStatusCode.CANCELLED,
    }
)


class LockBusyError(TransientError):
    """Somebody else holds a lock that is needed, or waits for one that is held; nothing was changed.

    Args:
        message: what was not done, and who holds the lock.
        held_by: who that is, in brackets, as far as it is known.
        unknown_holder: whether it cannot be told if the holder is still at work.
    """

    def __init__(self, message: str, *, held_by: str = "", unknown_holder: bool = False) -> None:
        super().__init__(message)
        self.held_by = held_by
        self.unknown_holder = unknown_holder


class LockStuckError(ComplianceError):
    """Somebody holds a lock that is needed and is at no work any more; nothing was changed, and waiting is no help."""


def cause_of(error: Exception) -> Exception:
    """The driver's error, where SQLAlchemy wraps it."""
    if isinstance(error, sqlalchemy.exc.DBAPIError) and isinstance(error.orig, Exception):
        return error.orig
    return error


def is_busy(error: Exception) -> bool:
    """Whether a lock was not to be had."""
    return _sqlstate(error) in _BUSY


def is_read_only(error: Exception) -> bool:
    """Whether something was to be written where the server takes no writes."""
    return _sqlstate(error) == _READ_ONLY


def is_recovery_conflict(error: BaseException, conninfo: Conninfo) -> bool:
    """Whether an error, or what caused it, is that a replica ended a reading because its replay could not wait.

    Args:
        error: as it was raised.
        conninfo: of the database; it is asked whether it is a replica.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, Exception) and (
            _sqlstate(cause) in _RECOVERY_CONFLICT or _SAID_OF_RECOVERY_CONFLICT in str(cause)
        ):
            return is_replica(conninfo)
        cause = cause.__cause__
    return False


def is_passing(error: Exception) -> bool:
    """Whether the same call may succeed later, with nothing mended: a lock, a lost connection, a server that restarts.

    What the table does not know is not passing: tried again for ever, it would hide.
    """
    if isinstance(error, sqlalchemy.exc.TimeoutError):
        return True  # no connection of the pool became free
    state = _sqlstate(error)
    return _was_lost(cause_of(error)) if state is None else is_passing_state(state)


def is_passing_state(sqlstate: str) -> bool:
    """The same, where only the SQLSTATE is known."""
    return sqlstate in _BUSY or sqlstate in _PASSING or sqlstate.startswith(_CONNECTION_EXCEPTION)


def _sqlstate(error: Exception) -> str | None:
    state: str | None = getattr(cause_of(error), "sqlstate", None)
    return state or None


def _was_lost(cause: Exception) -> bool:
    """Whether an error without a SQLSTATE is that of a connection, which no server answered."""
    if isinstance(cause, adbc_driver_manager.Error):
        return cause.status_code in _ADBC_LOST
    return isinstance(cause, psycopg.OperationalError)


def reason_of(error: BaseException) -> str:
    """What the database said, on one line."""
    said = cause_of(error) if isinstance(error, Exception) else error
    return " ".join(str(said).split()) or type(said).__name__


@contextmanager
def passing_errors_as_transient(doing: str, engine: sqlalchemy.Engine) -> Iterator[None]:
    """Raise TransientError where the database refused something that it may grant later, or the connection was lost.

    Args:
        doing: what could not be done, as the message begins: "the archive of 2026-07-01".
        engine: of the database; it is asked who holds a lock.

    Raises:
        LockBusyError: a lock was not to be had.
        ReadOnlyReplicaError: something was to be written, and the server takes no writes.
        TransientError: the connection was lost, the server goes down or comes up, or a replica ended a reading.
    """
    try:
        yield
    except (*DATABASE_ERRORS, sqlalchemy.exc.TimeoutError) as error:
        if is_read_only(error):
            raise ReadOnlyReplicaError(
                f"{doing} had to stop: {reason_of(error)}; the database is read-only, as a replica is: connect to the "
                "primary"
            ) from error
        if not is_passing(error):
            raise
        if is_recovery_conflict(error, conninfo_of(engine)):
            raise TransientError(f"{doing} had to stop: {reason_of(error)}: {RECOVERY_CONFLICT_REMEDY}") from error
        if is_busy(error):
            held = table_locks_held(conninfo_of(engine))
            raise LockBusyError(f"{doing} had to stop: {reason_of(error)}{held}; run it again") from error
        raise TransientError(f"{doing} had to stop: {reason_of(error)}; run it again") from error
