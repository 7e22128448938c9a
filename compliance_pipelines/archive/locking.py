"""One process at a time works on the archive of a day.

Here: the day's lock. Not here: table locks (purge.py).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from compliance_pipelines.postgres.errors import passing_errors_as_transient
from compliance_pipelines.postgres.locks import BRIEF, process_lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    import sqlalchemy

LOCK_NAME: Final = "archive"
"""Its key is the day as ISO 8601."""
_PING: Final = text("SELECT 1")


class DayLock:
    """A day's lock, held by a connection; whoever loses the connection loses the lock."""

    def __init__(self, connection: sqlalchemy.Connection) -> None:
        self.connection = connection

    def ensure_held(self) -> None:
        """Make sure of the connection, and so of the lock, right before something that another process must not do too.

        Raises:
            sqlalchemy.exc.OperationalError: the connection is lost.
        """
        self.connection.execute(_PING)
        self.connection.commit()


@contextmanager
def lock_day(engine: sqlalchemy.Engine, day: date) -> Iterator[DayLock]:
    """Hold the archive lock of a day and a connection for the work under it.

    Raises:
        LockBusyError: another process works on the day.
        TransientError: the connection is lost.
    """
    doing = f"the archive of {day}"
    with (
        passing_errors_as_transient(doing, engine),
        engine.connect() as connection,
        process_lock(connection, LOCK_NAME, day.isoformat(), doing=doing, patience=BRIEF),
    ):
        yield DayLock(connection)
