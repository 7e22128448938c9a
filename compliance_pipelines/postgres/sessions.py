"""What every session of ours relies on, whatever the role, the database or the server sets as default.

Here: the settings, setting them on an open connection, and looking whether they hold. Not here: how a connection is
made (engine.py), what stands between (poolers.py), and what waits for a lock (locks.py).

A setting is put on the connection itself and read back, because start-up options are dropped by connection poolers, and
what `ALTER ROLE ... SET` or `ALTER DATABASE ... SET` says comes after them. Where a setting does not hold, nothing is
done in the session. Before anything is set it is made sure that the session is nobody else's (poolers.py).
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import psycopg
from sqlalchemy import event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine

from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.postgres.poolers import ANSWERS, Answer, answer_in, is_direct, moved, require_own_session

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    import sqlalchemy
    from sqlalchemy.engine.interfaces import DBAPIConnection, ExceptionContext
    from sqlalchemy.pool import ConnectionPoolEntry

APPLICATION_NAME: Final = "compliance_pipelines"
LOCK_PATIENCE: Final = timedelta(seconds=10)
"""How long a statement waits for a lock where its caller does not say."""

PINNED: Final[Mapping[str, str]] = {
    # What a transaction sees and keeps: each statement of ours looks at what is committed by then.
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
    # What is read and hashed: all rows or an error, as text in one encoding and one form.
    "row_security": "off",
    "client_encoding": "UTF8",
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "xmloption": "content",
    # What a statement means.
    "search_path": "public, pg_temp",
    "standard_conforming_strings": "on",
    "transform_null_equals": "off",
    "array_nulls": "on",
    "exit_on_error": "off",
    # How long it may take: reading a day of any size, with a bound for each wait.
    "lock_timeout": f"{LOCK_PATIENCE // timedelta(seconds=1)}s",
    "statement_timeout": "0",
    "transaction_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    # A server that waits for a lock or sorts a day does not look at its client, and would go on for one that is dead.
    "client_connection_check_interval": "500ms",
    # One entry's statement looks at the partitions of its days alone.
    "enable_partition_pruning": "on",
    "plan_cache_mode": "auto",
    "jit": "off",
    "application_name": APPLICATION_NAME,
}
"""Settings and their values; those that a server does not know yet are left out."""

REQUIRED: Final[Mapping[str, str]] = {
    # Triggers and foreign keys do not fire for a replica.
    "session_replication_role": "origin",
    # Damaged pages would be read as empty ones, and rows that are there not be found.
    "zero_damaged_pages": "off",
    "ignore_checksum_failure": "off",
    "ignore_system_indexes": "off",
}
"""Settings that only an administrator may change, so that a session which has another value is refused."""

_SYNCHRONOUS_COMMIT: Final = "synchronous_commit"
# With the others a commit that was reported may be lost with the server, and the ledger be ahead of its database.
_DURABLE: Final = ("on", "remote_apply")

_ANSWER: Final = "compliance_pipelines.answer"
_MOMENTS: Final = ("connect", "checkout")
_NAMES: Final = (*PINNED, _SYNCHRONOUS_COMMIT, *REQUIRED)


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


# A name that the server does not know gives NULL; parameters would make it a prepared statement of each pooled session.
READ_SETTINGS: Final = "SELECT " + ", ".join(
    [*(f'current_setting({_literal(name)}, true) AS "{name}"' for name in _NAMES), ANSWERS]
)


class SessionSettingError(ComplianceError):
    """A session does not have the settings that the code relies on; nothing was done in it."""


def settings_to_change(found: Mapping[str, str | None], *, left_alone: Collection[str] = ()) -> dict[str, str]:
    """What must be set on a session.

    Args:
        found: each setting of READ_SETTINGS; None where the server does not know it.
        left_alone: settings of PINNED that may be as they are.

    Raises:
        SessionSettingError: a setting is wrong that only an administrator may change.
    """
    for name, wanted in REQUIRED.items():
        if found[name] not in {None, wanted}:
            raise SessionSettingError(
                f"the session has {name} = {found[name]}, with which nothing may be read or written here; find out who "
                f"set it (\\drds in psql, postgresql.conf) and set it to {wanted}"
            )
    changes = {
        name: wanted for name, wanted in PINNED.items() if found[name] not in {None, wanted} and name not in left_alone
    }
    if found[_SYNCHRONOUS_COMMIT] not in _DURABLE:
        changes[_SYNCHRONOUS_COMMIT] = "on"
    return changes


def change_settings(changes: Mapping[str, str]) -> str:
    """The statement that makes these changes for the rest of the session."""
    calls = (f"set_config({_literal(name)}, {_literal(value)}, false)" for name, value in changes.items())
    return "SELECT " + ", ".join(f'{call} AS "{number}"' for number, call in enumerate(calls))


def pin_session(
    query: Callable[[str], Mapping[str, str | None]],
    *,
    left_alone: Collection[str] = (),
    check: Callable[[Answer], None] | None = None,
) -> None:
    """Set what a session relies on, and read it back.

    Args:
        query: runs a statement outside of a transaction, or commits it, and returns the one row.
        left_alone: settings of PINNED that may be as they are.
        check: refuses a session by who answers in it, before anything is set.

    Raises:
        SessionSettingError: a setting does not hold.
    """
    found = query(READ_SETTINGS)
    if check is not None:
        check(answer_in(found))
    changes = settings_to_change(found, left_alone=left_alone)
    if not changes:
        return
    query(change_settings(changes))
    left = settings_to_change(query(READ_SETTINGS), left_alone=left_alone)
    if left:
        raise SessionSettingError(
            f"the session does not keep {', '.join(sorted(left))}: a connection pooler that hands each transaction to "
            "another session stands between; connect to PostgreSQL itself, or to a pool in session mode"
        )


def pin_engine(engine: sqlalchemy.Engine | AsyncEngine, *, left_alone: Collection[str] = ()) -> None:
    """Pin each session of an engine when it is made, and look again whenever it is taken from the pool.

    Whoever makes an engine of its own for :class:`compliance_pipelines.audit_log.log.AuditLog` calls this once, before
    anything is done with it; :func:`compliance_pipelines.postgres.engine.create_engine` does it by itself.

    Args:
        engine: of psycopg 3, synchronous or not.
        left_alone: settings of PINNED that stay as the login has them, for the database of somebody else.
    """
    if is_pinned(engine):
        return

    own = _OwnSessions()

    def pin(connection: DBAPIConnection, record: ConnectionPoolEntry, *_of_the_pool: object) -> None:
        _pin(connection, left_alone, lambda answer: own.check(connection, record, answer))

    synchronous = _synchronous(engine)
    for moment in _MOMENTS:
        # Before SQLAlchemy's own first look, which begins a transaction.
        event.listen(synchronous, moment, pin, insert=True)
    event.listen(synchronous, "handle_error", _explain_refusal)
    _PINNED_ENGINES[synchronous] = own


def is_pinned(engine: sqlalchemy.Engine | AsyncEngine) -> bool:
    """Whether the sessions of an engine are pinned."""
    return _synchronous(engine) in _PINNED_ENGINES


def require_pinned(engine: sqlalchemy.Engine | AsyncEngine) -> None:
    """Refuse an engine whose sessions have whatever settings their role, database or server gives them.

    Raises:
        SessionSettingError: nobody called :func:`pin_engine`.
    """
    if not is_pinned(engine):
        raise SessionSettingError(
            "the sessions of this engine are not pinned to the settings that the audit log relies on: make it with "
            "create_engine of compliance_pipelines.postgres.engine, or call pin_engine of "
            "compliance_pipelines.postgres.sessions"
        )


def require_own_sessions(engine: sqlalchemy.Engine) -> None:
    """Make sure that sessions of this database are nobody else's, for a connection that is made beside the pool.

    Raises:
        SharedSessionError: a connection pooler hands them out again meanwhile.
        NoSecondSessionError: a pooler had none by which that could be told.
    """
    require_pinned(engine)
    if not _PINNED_ENGINES[engine].are_proven:
        with engine.connect():
            pass


class _OwnSessions:
    """Whether the sessions of an engine are its own, found out by the first of them behind a pooler."""

    def __init__(self) -> None:
        self.are_proven = False
        self._through_pooler = False

    def check(self, connection: DBAPIConnection, record: ConnectionPoolEntry, answer: Answer) -> None:
        """Refuse a session that is not this connection's own.

        Raises:
            SharedSessionError: a connection pooler gives it to others.
            NoSecondSessionError: a pooler had none by which that could be told.
        """
        before: Answer | None = record.info.get(_ANSWER)
        if before is None:
            if not is_direct(_psycopg_of(connection), answer) and not self._through_pooler:
                require_own_session(_psycopg_of(connection), answer)
                self._through_pooler = True
            self.are_proven = True
            record.info[_ANSWER] = answer
        elif answer != before:
            raise moved(before, answer)


_PINNED_ENGINES: Final[WeakKeyDictionary[sqlalchemy.Engine, _OwnSessions]] = WeakKeyDictionary()


def _psycopg_of(connection: DBAPIConnection) -> Any:  # noqa: ANN401 - synchronous or not
    """The driver's connection, out of SQLAlchemy's for asynchronous engines."""
    return getattr(connection, "driver_connection", connection)


def _explain_refusal(context: ExceptionContext) -> ComplianceError | None:
    """Say what a connection pooler means that knows few parameters of a connection."""
    _, found, name = str(context.original_exception).partition("unsupported startup parameter: ")
    if not found:
        return None
    return SessionSettingError(
        f"a connection pooler stands before PostgreSQL and refuses the parameter {name.split()[0]} of the connection: "
        "take it out of the URL and of the environment (PGOPTIONS), or have the pooler ignore it (PgBouncer: "
        "ignore_startup_parameters); what a session needs is set in it afterwards"
    )


def _synchronous(engine: sqlalchemy.Engine | AsyncEngine) -> sqlalchemy.Engine:
    return engine.sync_engine if isinstance(engine, AsyncEngine) else engine


def _pin(connection: DBAPIConnection, left_alone: Collection[str], check: Callable[[Answer], None]) -> None:
    """Pin a psycopg connection that is in no transaction, whichever its engine's kind.

    Raises:
        DisconnectionError: it was lost while it lay in the pool, which then makes another one.
        SessionSettingError: a setting does not hold.
    """
    before = connection.autocommit
    try:
        connection.autocommit = True  # what is set in a transaction may go with it
        pin_session(lambda statement: _only_row(connection, statement), left_alone=left_alone, check=check)
        connection.autocommit = before
    except psycopg.Error as error:
        if connection.closed or connection.broken:
            raise DisconnectionError(" ".join(str(error).split())) from error
        raise
    except ComplianceError:
        connection.close()  # rather than lent again with a session that is not its own
        raise


def _only_row(connection: DBAPIConnection, statement: str) -> dict[str, str | None]:
    cursor = connection.cursor()
    try:
        cursor.execute(statement)
        (row,) = cursor.fetchall()
        names = [column[0] for column in cursor.description or ()]
    finally:
        cursor.close()
    # In a session of encoding SQL_ASCII psycopg gives bytes.
    values = [value.decode("ascii", "replace") if isinstance(value, bytes) else value for value in row]
    return dict(zip(names, values, strict=True))
