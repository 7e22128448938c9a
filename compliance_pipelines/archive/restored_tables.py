"""The tables that days are restored into, and those in which a restore waits to be finished.

Here: their names, what a working table records about itself, making, swapping and dropping them. Not here: rows.

A working table carries its record as its comment, which PostgreSQL changes in the transaction that loads the rows: what
the record says is in is in, whatever was killed when.
"""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import psycopg
import psycopg.errors

from compliance_pipelines.archive import sql
from compliance_pipelines.archive.errors import RestoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date

    import sqlalchemy
    from psycopg.sql import Composed

    from compliance_pipelines.archive.catalogue import ArchivedPart

_TABLE_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_WORKING_NAME = re.compile(r"loading_[0-9a-f]{16}")
_REFUSALS: Final = (
    psycopg.errors.DependentObjectsStillExist,
    psycopg.errors.DuplicateTable,
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.WrongObjectType,
)


def default_table(day: date) -> str:
    """The table that a day is restored into unless another is named."""
    return f"audit_logs_{day:%Y_%m_%d}"


def comment_of(day: date, parts: Sequence[ArchivedPart]) -> str:
    """What a restored table says about itself."""
    numbers = ", ".join(str(part.part) for part in parts)
    return f"audit entries of {day}, restored from part {numbers}"


def working_table(table: str) -> str:
    """Where the rows stand until all are there; a name that fits however long the table's is."""
    return f"loading_{hashlib.sha256(table.encode()).hexdigest()[:16]}"


def is_working_table(name: str) -> bool:
    """Whether a name is that of a working table."""
    return _WORKING_NAME.fullmatch(name) is not None


def checked_name(table: str) -> str:
    """The name, if a restored table can have it.

    Raises:
        RestoreError: it cannot.
    """
    if _TABLE_NAME.fullmatch(table) is None or is_working_table(table):
        raise RestoreError(
            f"{table!r} cannot be the name of a restored table: use at most 63 lower-case letters, digits and "
            f"underscores, beginning with a letter or an underscore; loading_ and 16 hexadecimal digits are taken"
        )
    return table


@dataclass(frozen=True)
class LoadRecord:
    """What a working table says about itself.

    Attributes:
        into: name of the table that it becomes.
        objects: SHA-256 (hex) of the parts' objects, in the order in which they are loaded.
        rows: how many of their rows, one object after the other, stand in the table.
    """

    into: str
    objects: tuple[str, ...]
    rows: int

    def continues_in(self, objects: tuple[str, ...]) -> bool:
        """Whether what is in is the beginning of these objects' rows; parts that came since follow at the end."""
        return objects[: len(self.objects)] == self.objects

    @classmethod
    def from_comment(cls, comment: str | None) -> LoadRecord | None:
        """The record, or None where a comment is none."""
        try:
            found = json.loads(comment or "")
            return cls(str(found["into"]), tuple(map(str, found["objects"])), int(found["rows"]))
        except (ValueError, TypeError, KeyError):
            return None


def execute(connection: sqlalchemy.Connection, statement: Composed) -> None:
    """Run a statement that names a table, in the connection's transaction."""
    driver = connection.connection.driver_connection
    if not isinstance(driver, psycopg.Connection):
        raise TypeError(f"the engine's driver is {type(driver).__name__} where psycopg's is needed")
    driver.execute(statement)


def record_of(connection: sqlalchemy.Connection, table: str) -> LoadRecord | None:
    """What the working table of a restored table says about itself; None where there is none that says anything."""
    name = f"{sql.RESTORED_SCHEMA}.{working_table(table)}"
    return LoadRecord.from_comment(connection.execute(sql.TABLE_COMMENT, {"name": name}).scalar_one())


def record(connection: sqlalchemy.Connection, of: LoadRecord) -> None:
    """Have the working table say this about itself."""
    execute(connection, sql.comment_on_restored_table(working_table(of.into), json.dumps(asdict(of))))


def make_working_table(connection: sqlalchemy.Connection, begun: LoadRecord) -> None:
    """Make an empty working table, in place of one that is of no use any more."""
    name = working_table(begun.into)
    for statement in (sql.drop_restored_table(name), sql.create_restored_table(name)):
        execute(connection, statement)
    record(connection, begun)


def refuse_if_not_ours(connection: sqlalchemy.Connection, table: str) -> None:
    """See beforehand that the table can be replaced: after hours of loading it would be late to find out.

    Raises:
        RestoreError: something of that name is no table, or belongs to another role.
    """
    qualified = f"{sql.RESTORED_SCHEMA}.{table}"
    if connection.execute(sql.TABLE_IS_OURS, {"name": qualified}).scalar() is False:
        raise _refused(table, "it is no table, or belongs to another role")


def swap_in(connection: sqlalchemy.Connection, table: str, comment: str) -> None:
    """Give the working table the name that it was made for, in place of the table that has it."""
    for statement in (
        sql.drop_restored_table(table),
        sql.rename_restored_table(working_table(table), table),
        sql.let_readers_read(table),
        sql.comment_on_restored_table(table, comment),
    ):
        execute(connection, statement)


def drop_table(connection: sqlalchemy.Connection, name: str) -> None:
    """Drop a restored or a working table.

    Raises:
        RestoreError: it belongs to somebody else, or something depends on it.
    """
    with refusals_as_restore_errors(name):
        execute(connection, sql.drop_restored_table(name))


def _tables(connection: sqlalchemy.Connection) -> list[str]:
    return list(connection.execute(sql.RESTORED_TABLES, {"schema": sql.RESTORED_SCHEMA}).scalars())


def restored_tables(connection: sqlalchemy.Connection) -> list[str]:
    """The names of the restored tables, without their schema."""
    return [name for name in _tables(connection) if not is_working_table(name)]


def working_tables(connection: sqlalchemy.Connection) -> list[str]:
    """The names of the working tables of restores that are under way or were interrupted, without their schema."""
    return [name for name in _tables(connection) if is_working_table(name)]


@contextmanager
def refusals_as_restore_errors(table: str) -> Iterator[None]:
    """Raise RestoreError where PostgreSQL refuses to replace or make the table, or it is gone."""
    try:
        yield
    except _REFUSALS as error:
        raise _refused(table, _line(error)) from error
    except psycopg.errors.UndefinedTable as error:
        raise RestoreError(
            f"{sql.RESTORED_SCHEMA}.{table} was not restored: somebody dropped what was being loaded "
            f"({_line(error)}); run it again"
        ) from error


def _refused(table: str, reason: str) -> RestoreError:
    return RestoreError(
        f"{sql.RESTORED_SCHEMA}.{table} cannot be made or dropped: {reason}. Choose another table with --into, or let "
        f"its owner drop it"
    )


def _line(error: Any) -> str:  # noqa: ANN401 - whatever can be printed
    return " ".join(str(error).split())
