"""What statements take from the definition of a table, so that nothing of it is written twice.

Here: names of columns, INSERTs of rows that a caller gives, the columns of temporary tables. Not here: the tables
(tables.py), and statements that say more than a table's definition does, which are texts in their domains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import make_url
from sqlalchemy.dialects.postgresql import JSONB

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sqlalchemy import Column, Table

_DIALECT: Final = make_url("postgresql+psycopg://").get_dialect()()


def columns(table: Table, *, but: Collection[str] = (), of: str | None = None) -> str:
    """The names of a table's columns in its order, for a SELECT.

    Args:
        table: whose columns.
        but: names of those to leave out.
        of: the name that the statement gives to the table, put before each.

    Raises:
        KeyError: a name in `but` is no column of it.
    """
    return ", ".join(_name(column, of) for column in _without(table, but))


def insert(
    table: Table, *, but: Collection[str] = (), also: Collection[str] = (), values: Mapping[str, str] | None = None
) -> str:
    """An INSERT of one row, of whose columns those are given that the database does not fill by itself.

    Each value is a parameter of the column's name; that of a JSONB column is JSON text.

    Args:
        table: where the row goes.
        but: names of columns that are not given; they are NULL.
        also: names of columns that are given although the database has a default for them.
        values: SQL for columns whose values are something else than their parameter.

    Raises:
        KeyError: a name is no column of the table.
    """
    values = values or {}
    for name in values:
        table.columns[name]
    columns_given = given(table, but=but, also=also)
    names = ", ".join(_name(column) for column in columns_given)
    return (
        f"INSERT INTO {table.name} ({names})"  # noqa: S608 - names of our own tables
        f" VALUES ({', '.join(values.get(column.name) or _parameter(column) for column in columns_given)})"
    )


def given(table: Table, *, but: Collection[str] = (), also: Collection[str] = ()) -> list[Column[object]]:
    """The columns of a new row that the database does not fill by itself, those in `but` left out and in `also` added.

    Raises:
        KeyError: a name is no column of the table.
    """
    for name in also:
        table.columns[name]
    return [column for column in _without(table, but) if column.name in also or not _is_filled(table, column)]


def definitions(table: Table, *, but: Collection[str] = ()) -> str:
    """The columns of a temporary table that takes rows on their way to another: names and types, and no rule."""
    return ", ".join(f"{_name(column)} {column.type.compile(_DIALECT)}" for column in _without(table, but))


def _without(table: Table, but: Collection[str]) -> list[Column[object]]:
    for name in but:
        table.columns[name]
    return [column for column in table.columns if column.name not in but]


def _is_filled(table: Table, column: Column[object]) -> bool:
    """Whether the database has a value for the column: a default, an identity, or an expression."""
    return (
        column.server_default is not None
        or column.computed is not None
        or column.identity is not None
        or column is table.autoincrement_column
    )


def _name(column: Column[object], of: str | None = None) -> str:
    quoted = _DIALECT.identifier_preparer.quote(column.name)
    return quoted if of is None else f"{of}.{quoted}"


def _parameter(column: Column[object]) -> str:
    return f"CAST(:{column.name} AS jsonb)" if isinstance(column.type, JSONB) else f":{column.name}"
