"""Which rows of a PostgreSQL table are a person's: those whose column is written exactly as the person's id.

Here: the type of a column, and the conditions that compare it with an id. Not here: what is done with the rows
(tables.py).

PostgreSQL's own `=` takes more for equal: 007 for 7, `Alice` for `alice` in a column of type citext, what a cast to
varchar(8) cut off. So a row counts where the value, as PostgreSQL prints it, is the id byte for byte. Before that it is
compared by `=` with the id read as the column's type, without a length, so that an index of the column serves; every
value that is printed as the id is equal to it, because reading is the inverse of printing.

Where the id cannot be read as the type, or is printed differently then, no value of the type is printed as the id:
there are no rows, whatever the table holds. That holds for PostgreSQL's own types; for those of extensions every row is
compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import and_, cast, collate, column, false, func, literal, select
from sqlalchemy.exc import DataError, DBAPIError
from sqlalchemy.types import String, UserDefinedType

from compliance_pipelines.erasure import table_sql
from compliance_pipelines.erasure.errors import TargetError

if TYPE_CHECKING:
    import sqlalchemy
    from sqlalchemy import ColumnElement

_CATALOG: Final = "pg_catalog"
_FIXED_LENGTH: Final = "bpchar"
# Rows of others than the owner of the rights that look could be left out without a word.
_KINDS: Final = frozenset({"r", "p"})
_KIND_NAMES: Final = {"v": "a view", "m": "a materialized view", "f": "a foreign table", "S": "a sequence"}


class _Named(UserDefinedType[Any]):
    """A type by the name that the server itself gave, for casts."""

    cache_ok = True

    def __init__(self, name: str) -> None:
        self.name = name

    def get_col_spec(self, **_: object) -> str:
        return self.name


@dataclass(frozen=True)
class TypedColumn:
    """A column of a table and what the server says of its type.

    Attributes:
        name: of the column.
        type_schema: schema of the base type.
        type_name: name of the base type.
        declared: the type as it is declared, with its length.
        base: the base type, qualified, without a length.
    """

    name: str
    type_schema: str
    type_name: str
    declared: str
    base: str

    @property
    def is_json(self) -> bool:
        """Whether its values are JSON."""
        return self.type_schema == _CATALOG and self.type_name in {"json", "jsonb"}

    def element(self) -> ColumnElement[Any]:
        """The column in a statement."""
        return column(self.name)

    def read(self, value: object) -> ColumnElement[Any]:
        """A value as the base type reads it; nothing is cut to a length."""
        return cast(_bound(value), _Named(self.base))

    def stored(self, value: object) -> ColumnElement[Any]:
        """A value as the column stores it, rounded and cut as the column declares."""
        return cast(_bound(value), _Named(self.declared))

    def printed(self, value: ColumnElement[Any]) -> ColumnElement[str]:
        """How the server prints a value of this type, compared byte by byte.

        The blanks that fill a value of type character(n) are no part of it.
        """
        is_filled = self.type_schema == _CATALOG and self.type_name == _FIXED_LENGTH
        # concat() prints as the type's output function does, where some casts to text print otherwise.
        as_text = cast(value, String) if is_filled else func.pg_catalog.concat(value, type_=String)
        return collate(as_text, "C")


def _bound(value: object) -> ColumnElement[Any]:
    return literal(value, String) if isinstance(value, str) else literal(value)


def relation_of(connection: sqlalchemy.Connection, table: str, schema: str | None) -> int:
    """The number that the server gives a table.

    Args:
        connection: to its database.
        table: its name.
        schema: where it is; None: where the login's search path leads.

    Raises:
        TargetError: there is none, or it is no table, so that rows of the person could be left out unnoticed.
    """
    relation = connection.execute(table_sql.RELATION, {"table": table, "schema": schema}).one_or_none()
    if relation is None:
        raise TargetError(f"there is no table {table}")
    if relation.relkind not in _KINDS:
        raise TargetError(
            f"{table} is {_KIND_NAMES[relation.relkind]}, which need not show every row of a person: name the tables "
            "behind it"
        )
    return int(relation.oid)


def columns_of(connection: sqlalchemy.Connection, relation: int) -> dict[str, TypedColumn]:
    """The columns of a table, by name."""
    rows = connection.execute(table_sql.COLUMNS, {"relation": relation})
    return {row.name: TypedColumn(**row._mapping) for row in rows}  # noqa: SLF001 - SQLAlchemy's documented name


@dataclass(frozen=True)
class Match:
    """The conditions that tell a person's rows.

    Attributes:
        theirs: true for the person's rows, and only for these.
        alike: true for rows that `=` takes for the person's, theirs among them; None where that cannot be asked.
        note: why no row can be the person's; None where one can.
    """

    theirs: ColumnElement[bool]
    alike: ColumnElement[bool] | None = None
    note: str | None = None


def match(connection: sqlalchemy.Connection, of: TypedColumn, subject: str) -> Match:
    """How to tell the rows of a person.

    Args:
        connection: to the table's database, in a transaction that goes on after a refused value.
        of: the column that says whose a row is.
        subject: the person's id.
    """
    is_printed_so = of.printed(of.element()) == literal(subject, String)
    try:
        with connection.begin_nested():
            printed = connection.execute(select(of.printed(of.read(subject)))).scalar_one()
    except (DataError, UnicodeEncodeError):
        note = f"no {of.declared} of the column {of.name} can be this id"
        return Match(_if_not_built_in(of, is_printed_so), None, note)
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
        # The type itself cannot be asked: then every row is.
        return Match(is_printed_so)
    is_alike = of.element() == of.read(subject) if _has_equality(connection, of, subject) else None
    if printed != subject:
        note = f"no {of.declared} of the column {of.name} is written as this id, but as {printed!r}"
        return Match(_if_not_built_in(of, is_printed_so), is_alike, note)
    return Match(is_printed_so if is_alike is None else and_(is_alike, is_printed_so), is_alike)


def _if_not_built_in(of: TypedColumn, condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return false() if of.type_schema == _CATALOG else condition


def _has_equality(connection: sqlalchemy.Connection, of: TypedColumn, subject: str) -> bool:
    try:
        with connection.begin_nested():
            connection.execute(select(of.read(subject) == of.read(subject)))
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
        return False
    return True
