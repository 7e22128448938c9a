"""One process at a time works on the archive of a day.

Here: the day's lock. Not here: table locks (purge.py).
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from sqlalchemy.exc import DBAPIError

from compliance_pipelines.archive import sql
from compliance_pipelines.database_errors import passing_errors_as_transient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    import sqlalchemy

LOCK_TIMEOUT: Final = "2s"


class DayLock:
    """A day's lock, held by a connection; whoever loses the connection loses the lock."""

    def __init__(self, connection: sqlalchemy.Connection) -> None:
        self.connection = connection

    def ensure_held(self) -> None:
        """Make sure of the connection, and so of the lock, right before something that another process must not do too.

        Raises:
            sqlalchemy.exc.OperationalError: the connection is lost.
        """
        self.connection.execute(sql.PING)
        self.connection.commit()


@contextmanager
def lock_day(engine: sqlalchemy.Engine, day: date) -> Iterator[DayLock]:
    """Hold the archive lock of a day and a connection for the work under it.

    Raises:
        LockBusyError: another process works on the day.
        TransientError: the connection is lost.
    """
    with passing_errors_as_transient(f"the archive of {day}"), engine.connect() as connection:
        connection.execute(sql.SET_LOCAL_LOCK_TIMEOUT, {"timeout": LOCK_TIMEOUT})
        number = {"day_number": day.toordinal()}
        connection.execute(sql.LOCK_ARCHIVE, number)
        connection.commit()
        try:
            yield DayLock(connection)
        finally:
            with suppress(DBAPIError):
                connection.rollback()
                connection.execute(sql.UNLOCK_ARCHIVE, number)
                connection.commit()
