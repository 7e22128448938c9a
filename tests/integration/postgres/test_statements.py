"""Every statement of every domain is one that the migrated database understands, and the tables are defined once.

PREPARE analyses a statement without running it: a column, table, function or type that the migrations do not make is an
error of it.
"""

from __future__ import annotations

import pkgutil
import re
import sqlite3
from contextlib import closing
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql.elements import TextClause

import compliance_pipelines
from compliance_pipelines.archive import sql as archive_sql
from compliance_pipelines.audit_log import sql as audit_log_sql
from compliance_pipelines.audit_log.entry import ENTRY_SCHEMA
from compliance_pipelines.audit_log.entry_batches import APPENDED_SCHEMA
from compliance_pipelines.postgres import tables
from compliance_pipelines.postgres.copying import CopyTarget
from compliance_pipelines.postgres.statements import columns, definitions, insert
from compliance_pipelines.verification import sql as verification_sql

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    import sqlalchemy

_MODULES: Final[dict[str, ModuleType]] = {
    found.name.removeprefix("compliance_pipelines."): import_module(found.name)
    for found in pkgutil.walk_packages(compliance_pipelines.__path__, "compliance_pipelines.")
    if found.name.endswith(".sql")
}
_STATEMENTS: Final = {
    f"{module_name}.{name}": statement
    for module_name, module in _MODULES.items()
    for name, statement in vars(module).items()
    if isinstance(statement, TextClause)
}
_TO_PREPARE: Final = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH|VALUES|MERGE)\b", re.IGNORECASE)
_STAGING: Final = (audit_log_sql.CREATE_STAGING, audit_log_sql.CREATE_IMPORT, archive_sql.CREATE_RETURNED)
# These need none of the parameters that others are prepared with.
_OTHERS: Final = {name: each for name, each in _STATEMENTS.items() if not _TO_PREPARE.match(each.text)}


def numbered(statement: TextClause) -> str:
    """The statement with its parameters as PREPARE numbers them."""
    dialect: sqlalchemy.Dialect = postgresql.dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]
    return str(statement.compile(dialect=dialect))


@pytest.fixture
def prepared(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """The database as its administrator sees it, with the temporary tables that some statements are about."""
    with psycopg.connect(database_url.replace("+psycopg", "")) as connection:
        yield connection
        connection.rollback()


def test_the_statements_of_every_domain_are_found() -> None:
    domains = {
        "archive",
        "audit_log",
        "conversations",
        "encryption",
        "erasure",
        "holds",
        "ledger",
        "search",
        "search_filters",
        "sessions",
        "verification",
    }
    assert {name.removesuffix(".sql") for name in _MODULES} == domains
    assert {name.split(".")[0] for name in _STATEMENTS} == domains
    assert len(_STATEMENTS) > 100


def test_the_database_understands_every_statement(prepared: psycopg.Connection[Any]) -> None:
    for statement in _STAGING:
        prepared.execute(statement.text)
    wrong = {}
    for number, (name, statement) in enumerate(_STATEMENTS.items()):
        if name in _OTHERS:
            continue
        try:
            with prepared.transaction():
                prepared.execute(f"PREPARE statement_{number} AS {numbered(statement)}")
        except psycopg.Error as error:
            wrong[name] = str(error)
    assert wrong == {}


@pytest.mark.parametrize("name", _OTHERS)
def test_the_database_carries_out_what_cannot_be_prepared(prepared: psycopg.Connection[Any], name: str) -> None:
    assert ":" not in _OTHERS[name].text
    for statement in _STAGING:
        if statement is not _OTHERS[name]:
            prepared.execute(statement.text)
    prepared.execute(_OTHERS[name].text)


def test_the_database_carries_out_what_is_composed(prepared: psycopg.Connection[Any]) -> None:
    for composed in (
        archive_sql.create_restored_table("a b"),
        archive_sql.let_readers_read("a b"),
        archive_sql.comment_on_restored_table("a b", "it's"),
        archive_sql.rename_restored_table("a b", "c"),
        archive_sql.drop_restored_table("c"),
    ):
        prepared.execute(composed)


def test_sqlite_understands_every_statement_of_the_segment_index() -> None:
    statements = {
        name: each for name, each in vars(verification_sql).items() if isinstance(each, str) and name[0].isupper()
    }
    with closing(sqlite3.connect(":memory:")) as index:
        for statement in (*verification_sql.INDEX_OPTIONS, *verification_sql.CREATE_INDEX):
            index.execute(statement)
        prepared = [
            index.execute(f"EXPLAIN {each}", (None,) * each.count("?"))
            for name, each in statements.items()
            if not name.startswith("__")
        ]
    assert len(prepared) > 10


@pytest.mark.parametrize(
    "drift",
    [
        "ALTER TABLE ledger_segments RENAME COLUMN root TO tree_root",
        "ALTER TABLE erasure_events DROP COLUMN detail CASCADE",
        "ALTER TABLE conversation_purges ALTER COLUMN selection TYPE text",
        "DROP FUNCTION audit_lock_day",
    ],
)
def test_a_statement_that_the_schema_has_left_behind_is_found(prepared: psycopg.Connection[Any], drift: str) -> None:
    prepared.execute(drift)
    with pytest.raises(AssertionError, match=r"sql\."):
        test_the_database_understands_every_statement(prepared)


# What follows from a table


def test_names_are_those_of_the_table_in_its_order() -> None:
    assert columns(tables.ledger_publications) == "size, object_key, published_at"
    assert columns(tables.ledger_publications, but=("size",), of="p") == "p.object_key, p.published_at"
    with pytest.raises(KeyError, match="sise"):
        columns(tables.ledger_publications, but=("sise",))


def test_an_insert_gives_what_the_database_does_not_fill() -> None:
    assert insert(tables.erasure_events, also=("detail",)) == (
        "INSERT INTO erasure_events (request_id, attempt, kind, target, detail)"
        " VALUES (:request_id, :attempt, :kind, :target, CAST(:detail AS jsonb))"
    )
    assert insert(tables.audit_quarantine, but=("reason",), values={"tx_id": ":before + 1"}) == (
        "INSERT INTO audit_quarantine (id, timestamp, tx_id, log_entry_id)"
        " VALUES (:id, :timestamp, :before + 1, :log_entry_id)"
    )
    for wrong in ({"but": ("x",)}, {"also": ("x",)}, {"values": {"x": "1"}}):
        with pytest.raises(KeyError, match="x"):
            insert(tables.audit_quarantine, **wrong)


def test_a_temporary_table_has_the_types_and_none_of_the_rules() -> None:
    assert definitions(tables.legal_holds, but=("id", "scope", "subject", "first_day", "author")) == (
        "last_day DATE, reason TEXT, added_at TIMESTAMP WITH TIME ZONE"
    )


def test_rows_are_copied_into_the_columns_that_an_insert_gives() -> None:
    target = CopyTarget.of(tables.session_purged_keys)
    assert target.table == ("session_purged_keys",)
    assert f"({', '.join(target.schema.names)})" in insert(tables.session_purged_keys)
    assert CopyTarget.of(tables.conversation_purged_threads).jsonb == {"key_counts"}
    with pytest.raises(TypeError, match="column day is DATE, which is not copied here"):
        CopyTarget.of(tables.audit_purges)


def test_entries_are_read_hashed_and_archived_with_the_columns_of_their_table() -> None:
    assert ENTRY_SCHEMA.names == [column.name for column in tables.audit_logs.columns]
    # A blinded row will have neither, in an archive at first.
    assert {field.name for field in ENTRY_SCHEMA if field.nullable} - {"user_id", "nonce"} == {
        column.name for column in tables.audit_logs.columns if column.nullable
    }
    assert [*APPENDED_SCHEMA.names, "commitment"] == CopyTarget.of(tables.audit_logs).schema.names


# What `alembic check` does not compare


_COLUMNS: Final = """
    SELECT relname || '.' || attname AS name,
           concat_ws(' ', attnum, format_type(atttypid, atttypmod), CASE WHEN attnotnull THEN 'NOT NULL' END,
                     attidentity, attgenerated, collname,
                     replace(pg_get_expr(adbin, adrelid), 'as_defined.', '')) AS definition
    FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
                      LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
                      LEFT JOIN pg_collation ON pg_collation.oid = attcollation
    WHERE relnamespace = CAST(:schema AS regnamespace) AND relname = ANY(:names) AND attnum > 0 AND NOT attisdropped
"""
_CONSTRAINTS: Final = """
    SELECT conrelid::regclass::text || ' ' || conname AS name, pg_get_constraintdef(pg_constraint.oid) AS definition
    FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid
    WHERE relnamespace = CAST(:schema AS regnamespace) AND relname = ANY(:names)
"""
_INDEXES: Final = """
    SELECT tablename || ' ' || indexname AS name, indexdef AS definition
    FROM pg_indexes WHERE schemaname = :schema AND tablename = ANY(:names)
"""
_COMMENTS: Final = """
    SELECT relname || '.' || objsubid AS name, description AS definition
    FROM pg_description JOIN pg_class ON pg_class.oid = objoid AND classoid = 'pg_class'::regclass
    WHERE relnamespace = CAST(:schema AS regnamespace) AND relname = ANY(:names)
"""


def catalogued(connection: sqlalchemy.Connection, question: str, schema: str) -> dict[str, str]:
    """What the catalogue says of the tables, without the schema's name."""
    rows = connection.execute(text(question), {"schema": schema, "names": list(tables.metadata.tables)})
    return {
        row.name.removeprefix(f"{schema}."): re.sub(r"\s+", " ", re.sub(r"\b(public|as_defined)\.", "", row.definition))
        for row in rows
    }


@pytest.fixture
def defined(superuser_engine: sqlalchemy.Engine) -> Iterator[sqlalchemy.Connection]:
    """The migrated database, with the tables as tables.py defines them beside it in a schema of their own."""
    with superuser_engine.connect() as connection:
        connection.execute(text("CREATE SCHEMA as_defined"))
        mapped = connection.execution_options(schema_translate_map={None: "as_defined"})
        tables.metadata.create_all(mapped)
        yield connection
        connection.rollback()


@pytest.mark.parametrize("question", [_COLUMNS, _CONSTRAINTS, _INDEXES, _COMMENTS], ids=lambda text: text.split()[1])
def test_the_definitions_are_what_the_migrations_make(defined: sqlalchemy.Connection, question: str) -> None:
    made = catalogued(defined, question, "public")
    assert catalogued(defined, question, "as_defined") == made
    assert made or question == _COMMENTS
