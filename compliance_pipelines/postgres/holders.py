"""Who holds a lock that was waited for in vain.

Here: the question to PostgreSQL, and the words for the end of a message. Not here: taking locks (locks.py).

PostgreSQL does not say whom a statement waited for. It is asked at once afterwards, in a session of its own, so that
the answer may be a moment late. A holder is a session or a prepared transaction, which no session has any more.

How long a holder has done nothing is a fact of the database, the same for every process that asks: the time since its
session's last statement ended, or since the transaction was prepared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg.rows import kwargs_row

from compliance_pipelines.postgres.names import shown_if_known
from compliance_pipelines.postgres.open_transactions import PreparedTransaction

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    import sqlalchemy

    from compliance_pipelines.postgres.conninfo import Conninfo

_NAMED: Final = 3
_ASKING_SECONDS: Final = 2
_HOLDER: Final = """
    lock.pid, namesend(coalesce(session.usename, prepared.owner)) AS login,
    textsend(session.application_name) AS application, host(session.client_addr) AS client, session.state,
    coalesce(prepared.prepared, session.state_change) AT TIME ZONE 'UTC' AS quiet_since,
    CASE WHEN session.state IS DISTINCT FROM 'active'
         THEN clock_timestamp() - coalesce(prepared.prepared, session.state_change) END AS quiet,
    session.xact_start AT TIME ZONE 'UTC' AS since, lock.mode,
    textsend(prepared.gid) AS gid, namesend(prepared.database) AS database,
    (SELECT pg_encoding_to_char(encoding)::text FROM pg_database WHERE datname = prepared.database) AS encoding
"""
# A prepared transaction has no process; its locks are found by its own number.
_GRANTED: Final = """
    LEFT JOIN pg_stat_activity AS session ON session.pid = lock.pid
    LEFT JOIN pg_locks AS number ON lock.pid IS NULL AND number.pid IS NULL AND number.locktype = 'transactionid'
          AND number.virtualtransaction = lock.virtualtransaction
    LEFT JOIN pg_prepared_xacts AS prepared ON prepared.transaction = number.transactionid
    WHERE lock.granted AND lock.pid IS DISTINCT FROM pg_backend_pid()
      AND lock.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
# pg_locks gives the two keys of an advisory lock as unsigned numbers.
_OF_ADVISORY_LOCK: Final = f"""
    SELECT NULL AS relation, {_HOLDER} FROM pg_locks AS lock {_GRANTED}
      AND lock.locktype = 'advisory' AND lock.objsubid = 2
      AND lock.classid::bigint = hashtext('compliance_pipelines.' || %(name)s)::bigint & 4294967295
      AND lock.objid::bigint = hashtext(%(key)s)::bigint & 4294967295
    ORDER BY since
"""  # noqa: S608 - constants only
_STRENGTH: Final = """
    array_position(ARRAY['AccessExclusiveLock', 'ExclusiveLock', 'ShareRowExclusiveLock', 'ShareLock',
                         'ShareUpdateExclusiveLock', 'RowExclusiveLock', 'RowShareLock', 'AccessShareLock'], {mode})
"""
# The strongest lock of each holder, the strongest first: whoever waits for a table mostly waits for that one.
_OF_TABLES: Final = f"""
    SELECT * FROM (
        SELECT DISTINCT ON (lock.pid, prepared.gid) relation.relname AS relation, {_HOLDER}
        FROM pg_locks AS lock JOIN pg_class AS relation ON relation.oid = lock.relation {_GRANTED}
          AND lock.locktype = 'relation' AND relation.relkind IN ('r', 'p')
          AND relation.relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname IN ('public', 'audit_restored'))
        ORDER BY lock.pid, prepared.gid, {_STRENGTH.format(mode="lock.mode")}
    ) AS holder
    ORDER BY {_STRENGTH.format(mode="mode")}, since
"""  # noqa: S608 - constants only
_BOUND_ASKING: Final = "SET LOCAL statement_timeout = '2s'"


@dataclass(frozen=True)
class Holder:
    """Who holds a lock.

    Attributes:
        relation: the table, where it is one's lock.
        pid: of the session; None for a prepared transaction.
        login: whose session or transaction it is.
        application: what the session calls itself.
        client: its address; None for a Unix socket.
        state: what it does, in PostgreSQL's words; None where the login may not see it.
        quiet_since: when it last began or ended a statement, or was prepared; in UTC, without a zone.
        quiet: how long it has done nothing; None where it is at work, or the login may not see it.
        since: when its transaction began; in UTC, without a zone.
        mode: of the lock.
        prepared: the prepared transaction that it is.
    """

    relation: str | None
    pid: int | None
    login: str | None
    application: str | None
    client: str | None
    state: str | None
    quiet_since: datetime | None
    quiet: timedelta | None
    since: datetime | None
    mode: str
    prepared: PreparedTransaction | None

    @classmethod
    def from_row(
        cls,
        *,
        login: bytes | None,
        application: bytes | None,
        gid: bytes | None,
        database: bytes | None,
        encoding: str | None,
        **others: Any,  # noqa: ANN401 - the attributes of these names
    ) -> Holder:
        """From what the server says, names as bytes."""
        prepared = None
        if gid is not None and database is not None:
            since = others["quiet_since"]
            prepared = PreparedTransaction.from_row(
                gid=gid, database=database, owner=login or b"", since=since, encoding=encoding
            )
        return cls(login=shown_if_known(login), application=shown_if_known(application), prepared=prepared, **others)

    @property
    def is_unknown(self) -> bool:
        """Whether it cannot be told what it does."""
        return self.prepared is None and self.state is None

    def is_quiet_for(self, bound: timedelta) -> bool:
        """Whether it has done nothing for longer than a bound."""
        return self.quiet is not None and self.quiet > bound

    @property
    def remedy(self) -> str:
        """How to end it."""
        if self.prepared is not None:
            return self.prepared.remedy
        return (
            f"see whether its program still runs, and if it does not, end it: `SELECT pg_terminate_backend({self.pid})`"
        )

    def __str__(self) -> str:
        on = "" if self.relation is None else f", has {self.mode} on {self.relation}"
        if self.prepared is not None:
            return f"{self.prepared}{on}"
        program = f", {self.application}" if self.application else ""
        client = "" if self.client is None else f" at {self.client}"
        begun = "" if self.since is None else f", in a transaction since {self.since:%Y-%m-%d %H:%M:%S} UTC"
        quiet = "" if self.quiet is None else f", {self.state} since {self.quiet_since:%Y-%m-%d %H:%M:%S} UTC"
        return f"session {self.pid} of {self.login or 'an unknown login'}{program}{client}{on}{begun}{quiet}"


@dataclass(frozen=True)
class Holders:
    """Who was found to hold a lock; or why nobody could be asked.

    Attributes:
        found: the holders.
        problem: why they are not known; empty where they are.
    """

    found: tuple[Holder, ...]
    problem: str = ""

    def __str__(self) -> str:
        if self.problem:
            return f" (who holds the lock could not be asked: {self.problem})"
        if not self.found:
            return " (nobody holds it any more)"
        return f" ({'; '.join(map(str, self.found[:_NAMED]))})"


def advisory_lock_holders(conninfo: Conninfo, name: str, key: str = "") -> Holders:
    """Who holds one of the project's advisory locks; as a text, in brackets, for the end of a message."""
    return _holders(conninfo, _OF_ADVISORY_LOCK, {"name": name, "key": key})


def stuck_holders(connection: sqlalchemy.Connection, name: str, bound: timedelta) -> list[Holder]:
    """Those who hold one of the project's advisory locks and have done nothing for longer than a bound."""
    rows = connection.exec_driver_sql(_OF_ADVISORY_LOCK, {"name": name, "key": ""}).mappings()
    return [holder for holder in (Holder.from_row(**row) for row in rows) if holder.is_quiet_for(bound)]


def table_locks_held(conninfo: Conninfo) -> str:
    """Who holds locks on the audit log's tables, in brackets, for the end of a message."""
    return str(_holders(conninfo, _OF_TABLES, {}))


def _holders(conninfo: Conninfo, question: str, parameters: dict[str, str]) -> Holders:
    asking = conninfo.changed(connect_timeout=str(_ASKING_SECONDS))
    try:
        with (
            psycopg.connect(asking.for_libpq()) as connection,
            connection.cursor(row_factory=kwargs_row(Holder.from_row)) as cursor,
        ):
            cursor.execute(_BOUND_ASKING)
            return Holders(tuple(cursor.execute(question.encode(), parameters).fetchall()))
    except psycopg.Error as error:
        return Holders((), " ".join(str(error).split()))
