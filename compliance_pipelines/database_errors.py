"""Which errors of the database pass by themselves.

Here: telling a fault that the same call may survive later from one that stays. Not here: connections (database.py).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import psycopg
import psycopg.errors
from sqlalchemy.exc import DBAPIError

from compliance_pipelines.errors import TransientError

if TYPE_CHECKING:
    from collections.abc import Iterator

_BUSY: Final = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)
_PASSING: Final = (
    psycopg.errors.SerializationFailure,
    psycopg.errors.AdminShutdown,
    psycopg.errors.CrashShutdown,
    psycopg.errors.CannotConnectNow,
)


class LockBusyError(TransientError):
    """Somebody else holds a lock that is needed, or waits for one that is held; nothing was changed."""


@contextmanager
def passing_errors_as_transient(doing: str) -> Iterator[None]:
    """Raise TransientError where the database refused something that it may grant later, or the connection was lost.

    Args:
        doing: what could not be done, as the message begins: "the archive of 2026-07-01".

    Raises:
        LockBusyError: a lock was not to be had.
        TransientError: the connection was lost, or the server goes down or comes up.
    """
    try:
        yield
    except (DBAPIError, psycopg.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        lost = isinstance(cause, psycopg.OperationalError) and cause.sqlstate is None
        busy = isinstance(cause, _BUSY)
        if busy or lost or isinstance(cause, _PASSING):
            reason = " ".join(str(cause).split())
            kind = LockBusyError if busy else TransientError
            raise kind(f"{doing} had to stop: {reason}; run it again") from error
        raise
