"""Transactions that have been open for long, in whatever database of the server: they hold sealing back.

Here: finding them, and the command that ends each. Not here: how far sealing is behind (ledger/lag.py), and who holds a
lock (holders.py).

Sealing takes what was written before the oldest transaction that is still open, and that is the whole server's. A
prepared transaction (PREPARE TRANSACTION) is open until somebody ends it by its name: no session has it, and neither
the end of its program nor a restart of the server ends it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from sqlalchemy import text

from compliance_pipelines.postgres.names import literal_in, shown, shown_if_known

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    import sqlalchemy

_NAMED: Final = 5

_PREPARED: Final = text("""
    SELECT textsend(gid) AS gid, namesend(database) AS database, namesend(owner) AS owner,
           prepared AT TIME ZONE 'UTC' AS since, pg_encoding_to_char(encoding)::text AS encoding
    FROM pg_prepared_xacts LEFT JOIN pg_database ON datname = database
    WHERE prepared < clock_timestamp() - CAST(:bound AS interval)
    ORDER BY prepared, pg_prepared_xacts.gid
""")
# Who has a number for what it writes. pg_locks tells it of every session, pg_stat_activity only of those that the login
# may see; of the others it is not known since when.
_SESSIONS: Final = text("""
    SELECT session.pid, namesend(session.datname) AS database, namesend(session.usename) AS login,
           textsend(session.application_name) AS application, host(session.client_addr) AS client,
           session.xact_start AT TIME ZONE 'UTC' AS since
    FROM pg_stat_activity AS session
    JOIN (SELECT pid, max(age(transactionid)) AS age FROM pg_locks
          WHERE locktype = 'transactionid' AND granted AND pid <> pg_backend_pid() GROUP BY pid) AS number
         ON number.pid = session.pid
    WHERE session.xact_start IS NULL OR session.xact_start < clock_timestamp() - CAST(:bound AS interval)
    ORDER BY number.age DESC
""")


class OpenTransaction(Protocol):
    """A transaction that is open."""

    @property
    def remedy(self) -> str:
        """What to do, with the command that ends it."""


@dataclass(frozen=True)
class PreparedTransaction:
    """A transaction that was prepared and neither committed nor rolled back.

    Attributes:
        name: as a literal for the database where it was prepared.
        database: that database, for a message; it can be ended there alone.
        owner: the role that prepared it, for a message.
        since: when it was prepared; in UTC, without a zone.
    """

    name: str
    database: str
    owner: str
    since: datetime

    @classmethod
    def from_row(
        cls, *, gid: bytes, database: bytes, owner: bytes, since: datetime, encoding: str | None
    ) -> PreparedTransaction:
        """From what the server keeps: bytes, and the encoding of the database."""
        return cls(literal_in(encoding, gid), shown(database), shown(owner), since)

    @property
    def remedy(self) -> str:
        """What to do, with the commands that end it."""
        return (
            "ask the program that prepared it; if it does not know of it any more, run "
            f"`ROLLBACK PREPARED {self.name}` (or `COMMIT PREPARED {self.name}`, where it was decided to commit) "
            f"in the database {self.database}, as {self.owner} or a superuser"
        )

    def __str__(self) -> str:
        return (
            f"the prepared transaction {self.name} of {self.owner} in the database {self.database}, since "
            f"{self.since:%Y-%m-%d %H:%M:%S} UTC"
        )


@dataclass(frozen=True)
class SessionsTransaction:
    """A transaction that a session has open and has written in.

    Attributes:
        pid: of the session.
        database: to which it is connected, for a message.
        login: whose it is, for a message.
        application: what it calls itself, for a message.
        client: its address; None for a Unix socket.
        since: when the transaction began, in UTC, without a zone; None where the login may not see it.
    """

    pid: int
    database: str | None
    login: str | None
    application: str | None
    client: str | None
    since: datetime | None

    @property
    def remedy(self) -> str:
        """What to do, with the command that ends it."""
        return f"let its program end it, or end it: `SELECT pg_terminate_backend({self.pid})`"

    def __str__(self) -> str:
        program = f", {self.application}" if self.application else ""
        client = "" if self.client is None else f" at {self.client}"
        since = "" if self.since is None else f", since {self.since:%Y-%m-%d %H:%M:%S} UTC"
        return (
            f"the transaction of session {self.pid} of {self.login or 'an unknown login'}{program}{client} in the "
            f"database {self.database or '(none)'}{since}"
        )


def prepared_transactions(connection: sqlalchemy.Connection, *, longer_than: timedelta) -> list[PreparedTransaction]:
    """Those that were prepared longer ago, the oldest first, in whatever database.

    Args:
        connection: of any login.
        longer_than: shorter ones are on their way.
    """
    rows = connection.execute(_PREPARED, {"bound": longer_than}).mappings()
    return [PreparedTransaction.from_row(**row) for row in rows]


def sessions_transactions(connection: sqlalchemy.Connection, *, longer_than: timedelta) -> list[SessionsTransaction]:
    """Those that sessions have had open for longer, or for a time that the login may not see, the oldest first."""
    return [
        SessionsTransaction(
            pid=row.pid,
            database=shown_if_known(row.database),
            login=shown_if_known(row.login),
            application=shown_if_known(row.application),
            client=row.client,
            since=row.since,
        )
        for row in connection.execute(_SESSIONS, {"bound": longer_than})
    ]


def open_transactions(connection: sqlalchemy.Connection, *, longer_than: timedelta) -> list[OpenTransaction]:
    """What holds sealing back: prepared transactions, then sessions'."""
    return [
        *prepared_transactions(connection, longer_than=longer_than),
        *sessions_transactions(connection, longer_than=longer_than),
    ]


def in_words(found: Sequence[OpenTransaction]) -> str:
    """What holds sealing back, for a message."""
    more = f"; and {len(found) - _NAMED:,} more" if len(found) > _NAMED else ""
    return f"held back by {'; '.join(map(str, found[:_NAMED]))}{more}"


def remedies(found: Sequence[OpenTransaction]) -> str:
    """What to do about them."""
    return "; ".join(each.remedy for each in found[:_NAMED])
