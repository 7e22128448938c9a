"""Sending entries to PostgreSQL by COPY.

Here: COPY's text format, and the one function that streams it, on a connection of either driver. Not here: what is
copied where (batches.py, importing.py).

https://www.postgresql.org/docs/current/sql-copy.html, "Text Format".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterable

    import sqlalchemy
    from sqlalchemy.engine import AdaptedConnection

    from compliance_pipelines.audit_log.entry import AuditEntry

_NULL: Final = "\\N"


def copy_value(value: str | None) -> str:
    """One value as COPY's text format has it."""
    if value is None:
        return _NULL
    # The backslash first, so that the one which escapes is not escaped again.
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def copy_fields(entry: AuditEntry) -> str:
    """An entry's eight columns, in their order, as COPY's text format has them; without the end of the line."""
    values = (
        entry.log_entry_id,
        entry.timestamp.isoformat(),
        entry.user_id,
        entry.action,
        entry.resource_type,
        entry.resource_id,
        entry.result,
        entry.metadata_text,
    )
    if None not in values:
        # Most entries need no escape, and all their fields are looked at at once.
        line = "\t".join(values)  # type: ignore[arg-type]
        if line.count("\t") == len(values) - 1 and "\\" not in line and "\n" not in line and "\r" not in line:
            return line
    return "\t".join(map(copy_value, values))


def copy_in(connection: sqlalchemy.Connection, statement: str, pieces: Iterable[str]) -> int:
    """Stream text to a COPY ... FROM STDIN in the connection's transaction.

    Args:
        connection: of a synchronous engine, or the one that `run_sync` gives of an asynchronous engine.
        statement: the COPY.
        pieces: whole lines; each is sent as soon as it is there, so that PostgreSQL works while the next one is made.

    Returns:
        How many rows were copied.
    """
    driver = connection.connection.driver_connection
    if isinstance(driver, psycopg.Connection):
        return _copy(driver, statement, pieces)
    if isinstance(driver, psycopg.AsyncConnection):
        adapted = cast("AdaptedConnection", connection.connection.dbapi_connection)
        return adapted.run_async(lambda awaitable: _copy_async(awaitable, statement, pieces))
    raise TypeError(f"the engine's driver is {type(driver).__name__} where psycopg's is needed")


def _copy(driver: psycopg.Connection[Any], statement: str, pieces: Iterable[str]) -> int:
    with driver.cursor() as cursor:
        with cursor.copy(statement.encode()) as copy:
            for piece in pieces:
                copy.write(piece)
        return cursor.rowcount


async def _copy_async(driver: psycopg.AsyncConnection[Any], statement: str, pieces: Iterable[str]) -> int:
    async with driver.cursor() as cursor:
        async with cursor.copy(statement.encode()) as copy:
            for piece in pieces:
                await copy.write(piece)
        return cursor.rowcount
