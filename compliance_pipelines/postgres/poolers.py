"""Whether a connection has a server session of its own, for as long as it is open and no longer.

Here: seeing that something stands between, and the proof that it hands out whole sessions. Not here: what a session is
set to (sessions.py), and locks (locks.py).

Locks of a session, its settings and its temporary tables belong to the server's session. A pooler in transaction or
statement mode gives that to another client as soon as a transaction ends: locks stay with it when their holder is gone,
and settings reach other applications. Whether a lock or a setting is still there a moment later proves nothing: in a
quiet pool it is. So it is asked before anything is set or locked, in an order in which nothing is left behind:

1. Which process the client was told when it connected, and which one answers. Without a pooler it is the same one.
2. While the connection is idle, another one holds a transaction open: it must have got another session, and nobody may
   have used that of the first one meanwhile. A pooler of transactions hands out the session that was used last, or
   spreads its clients over all of them, so that this fails at once or a few times later.
3. Another connection takes a lock under a number that nobody knows, and a name, and closes: both must be there while it
   is idle, and gone when it is. This is what the project relies on, and what no luck can give.
"""

from __future__ import annotations

import os
import secrets
import select
import socket
from contextlib import closing
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import psycopg
from psycopg.pq import ExecStatus

from compliance_pipelines.base.errors import ComplianceError, TransientError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from psycopg.pq.abc import PGconn, PGresult

ANSWERS: Final = 'pg_backend_pid()::text AS "compliance.pid", inet_client_port()::text AS "compliance.port"'
"""Columns of a query: who answers."""

_ROUNDS: Final = 8
_PATIENCE_SECONDS: Final = 10
_ENDING_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.01
_CLEANING_ATTEMPTS: Final = 50
_SUCCESSES: Final = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK)
# What a statement says of itself, and what others see of it: while the session is left alone, both are the same moment.
_USE: Final = "SELECT pg_backend_pid()::text, extract(epoch FROM statement_timestamp())::text"
_USE_OF_OTHER: Final = """
    SELECT pg_backend_pid()::text,
           (SELECT extract(epoch FROM query_start)::text FROM pg_stat_activity WHERE pid = {pid})
"""
_LEAVE_TRACE: Final = """
    SELECT pg_backend_pid()::text, pg_try_advisory_lock({key})::text, set_config('application_name', '{name}', false)
"""
# pg_locks gives the two halves of a key as unsigned numbers.
_TRACE: Final = """
    SELECT (SELECT count(*) FROM pg_locks
            WHERE locktype = 'advisory' AND objsubid = 1 AND granted AND pid = {pid}
              AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
              AND classid::bigint = {high} AND objid::bigint = {low})::text,
           (SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND application_name = '{name}')::text
"""
_CLEAR_TRACE: Final = """
    SELECT CASE WHEN pg_backend_pid() = {pid} THEN pg_advisory_unlock({key}) END::text,
           CASE WHEN pg_backend_pid() = {pid} THEN set_config('application_name', '', false) END
"""
_REMEDY: Final = (
    "nothing was changed; connect to PostgreSQL itself, or to a pool that gives each client a session of its own "
    "(PgBouncer: pool_mode = session and server_reset_query = DISCARD ALL, for this database alone if others need "
    "another mode)"
)
_SHARED: Final = (
    "a connection pooler that gives a client's session to others between two transactions stands before PostgreSQL "
    f"(PgBouncer: pool_mode = transaction or statement), so that locks would stay behind; {_REMEDY}"
)


class SharedSessionError(ComplianceError):
    """A connection pooler gives the session to others meanwhile, or keeps what its client left; nothing was changed."""


class NoSecondSessionError(TransientError):
    """A pooler stands between, and had no second session by which it could be judged; nothing was changed."""


class Answer(NamedTuple):
    """Who answers a connection, by what the server says.

    Attributes:
        pid: of the server's process.
        client_port: the client's port that the server sees; None where it is a Unix socket.
    """

    pid: int
    client_port: int | None


def answer_in(row: Mapping[str, str | None]) -> Answer:
    """Who answered, from a row with the columns of ANSWERS."""
    port = row["compliance.port"]
    return Answer(int(row["compliance.pid"] or 0), None if port is None else int(port))


def is_direct(connection: Any, answer: Answer) -> bool:  # noqa: ANN401 - psycopg's, synchronous or not
    """Whether the server's process is the one that the client was told of, and sees the client where it is.

    Over a Unix socket that cannot be told: the server sees no port, and Pgpool-II passes its process id on.
    """
    port = _port_of(connection.pgconn)
    return connection.pgconn.backend_pid == answer.pid and port is not None and port == answer.client_port


def _port_of(pgconn: PGconn) -> int | None:
    """The client's own TCP port; None for a Unix socket."""
    with closing(socket.socket(fileno=os.dup(pgconn.socket))) as ours:
        address = ours.getsockname()
    return int(address[1]) if isinstance(address, tuple) else None


def require_own_session(connection: Any, answer: Answer) -> None:  # noqa: ANN401 - psycopg's, synchronous or not
    """Let a connection behind which something stands pass only if its session is its own until it is closed.

    Args:
        connection: in no transaction; another one is opened to the same address.
        answer: who answered it so far.

    Raises:
        SharedSessionError: the session is shared, or outlives its client.
        NoSecondSessionError: no other session was to be had.
    """
    pgconn: PGconn = connection.pgconn
    with closing(_another(connection)) as other:
        theirs = _told_apart(pgconn, other.pgconn, answer.pid)
        trace = _Trace(theirs, secrets.randbits(63), f"probe {secrets.token_hex(8)}")
        pid, _, _ = _row(other.pgconn, trace.of(_LEAVE_TRACE))
        kept = _row(pgconn, trace.of(_TRACE))
    if pid != str(theirs) or kept != ("1", "1"):
        _clear(connection, trace._replace(pid=int(pid or 0)))
        raise SharedSessionError(_SHARED)
    deadline = monotonic() + _ENDING_SECONDS
    while _row(pgconn, trace.of(_TRACE)) != ("0", "0"):
        if monotonic() > deadline:
            _clear(connection, trace)
            raise SharedSessionError(
                "a connection pooler stands before PostgreSQL that leaves locks and settings in a session whose client "
                f"is gone; {_REMEDY}"
            )
        sleep(_POLL_SECONDS)


def moved(before: Answer, now: Answer) -> SharedSessionError:
    """The error where a connection is answered by another session than before."""
    return SharedSessionError(f"session {now.pid} answers where session {before.pid} did: {_SHARED}")


class _Trace(NamedTuple):
    """A lock and a name that a connection leaves on its session."""

    pid: int
    key: int
    name: str

    def of(self, statement: str) -> str:
        return statement.format(**self._asdict(), high=self.key >> 32, low=self.key & 0xFFFFFFFF)


def _told_apart(mine: PGconn, other: PGconn, pid: int) -> int:
    """The other connection's session: always the same one, and never this one's, which is left alone meanwhile."""
    others = set()
    for _ in range(_ROUNDS):
        before, used = _row(mine, _USE)
        _row(other, "BEGIN")
        theirs, seen = _row(other, _USE_OF_OTHER.format(pid=pid))
        others.add(theirs)
        # Asked before this one's next statement, which would wait for the other's transaction in a pool of one.
        if before != str(pid) or before in others or len(others) > 1 or seen not in {None, used}:
            raise SharedSessionError(_SHARED)
        after, _ = _row(mine, _USE)
        if after != before:
            raise SharedSessionError(_SHARED)
        _row(other, "ROLLBACK")
    return int(others.pop() or 0)


def _clear(connection: Any, trace: _Trace) -> None:  # noqa: ANN401 - psycopg's, synchronous or not
    """Take back what was left on a session, which one of the next connections gets."""
    for _ in range(_CLEANING_ATTEMPTS):
        with closing(_another(connection)) as next_one:
            _row(next_one.pgconn, trace.of(_CLEAR_TRACE))
        if _row(connection.pgconn, trace.of(_TRACE)) == ("0", "0"):
            return


def _another(connection: Any) -> psycopg.Connection[tuple[Any, ...]]:  # noqa: ANN401 - psycopg's, synchronous or not
    """Another connection of the same login to the same address."""
    info = connection.info
    try:
        return psycopg.connect(
            info.dsn,
            host=info.host,
            port=info.port,
            password=info.password,
            connect_timeout=_PATIENCE_SECONDS,
            autocommit=True,
        )
    except psycopg.OperationalError as error:
        raise _no_session(str(error)) from error


def _row(pgconn: PGconn, statement: str) -> tuple[str | None, ...]:
    """The row of a statement, waited for no longer than a pooler may take to find a session.

    Raises:
        SharedSessionError: the statement is not one that a session of its own refuses.
        NoSecondSessionError: no answer came.
    """
    pgconn.send_query(statement.encode())
    deadline = monotonic() + _PATIENCE_SECONDS
    results: list[PGresult] = []
    while True:
        while pgconn.is_busy():
            ready, _, _ = select.select([pgconn.socket], [], [], max(0.0, deadline - monotonic()))
            if not ready:
                raise _no_session(f"none within {_PATIENCE_SECONDS} s")
            try:
                pgconn.consume_input()
            except psycopg.OperationalError as error:
                raise _failure(str(error)) from error
        result = pgconn.get_result()
        if result is None:
            break
        results.append(result)
    last = results[-1]
    if last.status not in _SUCCESSES:
        raise _failure(last.error_message.decode("utf-8", "replace"))
    return tuple(_text(last.get_value(0, column)) for column in range(last.nfields)) if last.ntuples else ()


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("ascii", "replace")


def _failure(said: str) -> ComplianceError:
    """What the end of a statement means: that the pooler knows no transactions, or that it has no session."""
    if "transaction blocks not allowed" in said:
        return SharedSessionError(_SHARED)
    return _no_session(said)


def _no_session(reason: str) -> NoSecondSessionError:
    return NoSecondSessionError(
        "a connection pooler stands before PostgreSQL and gave no second session, by which it could be told that it "
        f"shares none ({' '.join(reason.split())}): nothing was changed; let its pool hold a session for each client "
        "that is connected at once (PgBouncer: default_pool_size), run it again when others are done, or connect to "
        "PostgreSQL itself"
    )
