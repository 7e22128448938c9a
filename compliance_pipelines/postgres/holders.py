"""Who holds a lock that was waited for in vain.

Here: the question to PostgreSQL, and the words for the end of a message. Not here: taking locks (locks.py).

PostgreSQL does not say whom a statement waited for. It is asked at once afterwards, in a session of its own, so that
the answer may be a moment late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import psycopg

if TYPE_CHECKING:
    from datetime import datetime

    from compliance_pipelines.postgres.conninfo import Conninfo

_NAMED: Final = 3
_ASKING_SECONDS: Final = 2
_HOLDER: Final = """
    lock.pid, session.usename, session.application_name, session.xact_start AT TIME ZONE 'UTC' AS since, lock.mode
"""
_GRANTED: Final = """
    LEFT JOIN pg_stat_activity AS session ON session.pid = lock.pid
    WHERE lock.granted AND lock.pid <> pg_backend_pid()
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
                         'ShareUpdateExclusiveLock', 'RowExclusiveLock', 'RowShareLock', 'AccessShareLock'], mode)
"""
# The strongest lock of each session, the strongest first: whoever waits for a table mostly waits for that one.
_OF_TABLES: Final = f"""
    SELECT * FROM (
        SELECT DISTINCT ON (lock.pid) relation.relname AS relation, {_HOLDER}
        FROM pg_locks AS lock JOIN pg_class AS relation ON relation.oid = lock.relation {_GRANTED}
          AND lock.locktype = 'relation' AND relation.relkind IN ('r', 'p')
          AND relation.relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname IN ('public', 'audit_restored'))
        ORDER BY lock.pid, {_STRENGTH}
    ) AS holder
    ORDER BY {_STRENGTH}, since
"""  # noqa: S608 - constants only


def advisory_lock_held(conninfo: Conninfo, name: str, key: str) -> str:
    """Who holds one of the project's advisory locks, in brackets, for the end of a message."""
    return _named(conninfo, _OF_ADVISORY_LOCK, {"name": name, "key": key})


def table_locks_held(conninfo: Conninfo) -> str:
    """Who holds locks on the audit log's tables, in brackets, for the end of a message."""
    return _named(conninfo, _OF_TABLES, {})


def _named(conninfo: Conninfo, question: str, parameters: dict[str, str]) -> str:
    asking = conninfo.changed(connect_timeout=str(_ASKING_SECONDS))
    try:
        with psycopg.connect(asking.for_libpq(), autocommit=True) as connection:
            connection.execute("SET statement_timeout = '2s'")
            holders = connection.execute(question.encode(), parameters).fetchall()
    except psycopg.Error as error:
        return f" (who holds the lock could not be asked: {' '.join(str(error).split())})"
    if not holders:
        return " (nobody holds it any more)"
    return f" ({'; '.join(map(_holder, holders[:_NAMED]))})"


def _holder(row: tuple[str | None, int, str | None, str | None, datetime | None, str]) -> str:
    relation, pid, login, application, since, mode = row
    program = f", {application}" if application else ""
    on = "" if relation is None else f", has {mode} on {relation}"
    begun = "" if since is None else f", in a transaction since {since:%Y-%m-%d %H:%M:%S} UTC"
    return f"session {pid} of {login or 'an unknown login'}{program}{on}{begun}"
