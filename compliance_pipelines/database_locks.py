"""Locks that one process at a time holds, in the database that all of them share.

Here: taking such a lock, waiting for it a moment, giving it back. Not here: what is done under it.
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import psycopg.errors
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy

# PostgreSQL gives the lock of a killed process back when it notices that the connection is gone, which takes a moment
# on a busy machine. Whoever starts again at once must not be told that another process is at it.
_PATIENCE: Final = timedelta(seconds=5)

_SET_PATIENCE: Final = text("SELECT set_config('lock_timeout', :milliseconds, true)")
_LOCK: Final = text("SELECT pg_advisory_lock(hashtext(:name), hashtext(:key))")
_UNLOCK: Final = text("SELECT pg_advisory_unlock(hashtext(:name), hashtext(:key))")


@contextmanager
def process_lock(
    connection: sqlalchemy.Connection, name: str, key: str = "", *, patience: timedelta = _PATIENCE
) -> Iterator[bool]:
    """Hold a lock of the session, which ends with the process at the latest.

    Args:
        connection: one that is in no transaction, kept open for as long as the lock is to be held. A transaction that
            is still open on it at the end is rolled back.
        name: what the lock is for.
        key: which one of its kind.
        patience: how long to wait for another process to give it up.

    Yields:
        Whether the lock is held; False: another process kept it for the whole time.
    """
    names = {"name": f"compliance_pipelines.{name}", "key": key}
    held = _acquired(connection, names, patience)
    try:
        yield held
    finally:
        if held and not connection.invalidated:
            _give_back(connection, names)


def _give_back(connection: sqlalchemy.Connection, names: dict[str, str]) -> None:
    try:
        if connection.in_transaction():
            connection.rollback()
        with connection.begin():
            connection.execute(_UNLOCK, names)
    except DBAPIError:
        # Closed for good, for the lock ends with the connection: one with a lock on it must not get back to the pool.
        connection.invalidate()


def _acquired(connection: sqlalchemy.Connection, names: dict[str, str], patience: timedelta) -> bool:
    try:
        with connection.begin():
            connection.execute(_SET_PATIENCE, {"milliseconds": str(max(1, patience // timedelta(milliseconds=1)))})
            connection.execute(_LOCK, names)
    except DBAPIError as error:
        if isinstance(error.orig, psycopg.errors.LockNotAvailable):
            return False
        raise
    return True
