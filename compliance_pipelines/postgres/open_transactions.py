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

from compliance_pipelines.base.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    import sqlalchemy

_NAMED: Final = 5
_ASCII: Final = 0x7F
_FOUR_DIGITS: Final = 0xFFFF

_PREPARED: Final = text("""
    SELECT gid, database, owner, prepared AT TIME ZONE 'UTC' AS since FROM pg_prepared_xacts
    WHERE prepared < clock_timestamp() - CAST(:bound AS interval)
    ORDER BY prepared, gid
""")
# Who has a number for what it writes. pg_locks tells it of every session, pg_stat_activity only of those that the login
# may see; of the others it is not known since when.
_SESSIONS: Final = text("""
    SELECT session.pid, session.datname AS database, session.usename AS login,
           session.application_name AS application, host(session.client_addr) AS client,
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
        gid: its name, which may contain anything.
        database: in which it was prepared; it can be ended there alone.
        owner: the role that prepared it.
        since: when it was prepared; in UTC, without a zone.
    """

    gid: str
    database: str
    owner: str
    since: datetime

    @property
    def remedy(self) -> str:
        """What to do, with the commands that end it."""
        name = sql_literal(self.gid)
        return (
            f"ask the program that prepared it; if it does not know of it any more, run `ROLLBACK PREPARED {name}` (or "
            f"`COMMIT PREPARED {name}`, where it was decided to commit) in the database {printable(self.database)}, as "
            f"{printable(self.owner)} or a superuser"
        )

    def __str__(self) -> str:
        return (
            f"the prepared transaction {sql_literal(self.gid)} of {printable(self.owner)} in the database "
            f"{printable(self.database)}, since {self.since:%Y-%m-%d %H:%M:%S} UTC"
        )


@dataclass(frozen=True)
class SessionsTransaction:
    """A transaction that a session has open and has written in.

    Attributes:
        pid: of the session.
        database: to which it is connected.
        login: whose it is.
        application: what it calls itself.
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
        program = f", {printable(self.application)}" if self.application else ""
        client = "" if self.client is None else f" at {self.client}"
        since = "" if self.since is None else f", since {self.since:%Y-%m-%d %H:%M:%S} UTC"
        return (
            f"the transaction of session {self.pid} of {printable(self.login or 'an unknown login')}{program}{client} "
            f"in the database {printable(self.database or '(none)')}{since}"
        )


def prepared_transactions(connection: sqlalchemy.Connection, *, longer_than: timedelta) -> list[PreparedTransaction]:
    """Those that were prepared longer ago, the oldest first, in whatever database.

    Args:
        connection: of any login.
        longer_than: shorter ones are on their way.
    """
    rows = connection.execute(_PREPARED, {"bound": longer_than})
    return [PreparedTransaction(row.gid, row.database, row.owner, row.since) for row in rows]


def sessions_transactions(connection: sqlalchemy.Connection, *, longer_than: timedelta) -> list[SessionsTransaction]:
    """Those that sessions have had open for longer, or for a time that the login may not see, the oldest first."""
    rows = connection.execute(_SESSIONS, {"bound": longer_than})
    return [SessionsTransaction(**row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's way to a row's names


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


def sql_literal(value: str) -> str:
    """A text as a literal that means the same in every session, and does nothing to a terminal."""
    if value.isprintable() and "\\" not in value:
        return "'" + value.replace("'", "''") + "'"
    return "E'" + "".join(map(_escaped, value)) + "'"


def _escaped(character: str) -> str:
    if character in "\\'":
        return character * 2
    if character.isprintable():
        return character
    number = ord(character)
    if number <= _ASCII:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number <= _FOUR_DIGITS else f"\\U{number:08x}"
