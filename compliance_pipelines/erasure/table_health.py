"""Whether a table of GDPR_SQL_TARGETS can be looked at and cleared.

Here: rights, row filters, types, indexes. Not here: finding and deleting (tables.py).

A question that cannot be answered is a failed check.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from compliance_pipelines.erasure.errors import TargetError
from compliance_pipelines.erasure.subject_matching import columns_of
from compliance_pipelines.errors import ComplianceError
from compliance_pipelines.health import HealthCheck

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import sqlalchemy

    from compliance_pipelines.erasure.subject_matching import TypedColumn
    from compliance_pipelines.erasure.table_rules import TableRule

_TABLE: Final = text("""
    SELECT relation.oid, pg_catalog.quote_ident(namespace.nspname) || '.' || pg_catalog.quote_ident(relation.relname)
               AS name,
           pg_catalog.has_schema_privilege(namespace.oid, 'USAGE') AS may_use_schema, namespace.nspname AS schema_name,
           pg_catalog.has_table_privilege(relation.oid, 'DELETE') AS may_delete,
           pg_catalog.row_security_active(relation.oid) AS is_filtered,
           EXISTS (SELECT FROM pg_catalog.pg_index AS index
                   JOIN pg_catalog.pg_attribute AS attribute ON attribute.attrelid = index.indrelid
                   WHERE index.indrelid = relation.oid AND index.indisvalid AND attribute.attname = :user_column
                     AND attribute.attnum = index.indkey[0] AND index.indpred IS NULL) AS has_index
    FROM pg_catalog.pg_class AS relation
    JOIN pg_catalog.pg_namespace AS namespace ON namespace.oid = relation.relnamespace
    WHERE relation.relname = :table AND relation.relkind IN ('r', 'p')
      AND CASE WHEN CAST(:schema AS text) IS NULL THEN pg_catalog.pg_table_is_visible(relation.oid)
               ELSE namespace.nspname = :schema END
""")
_COLUMN_RIGHT: Final = text(
    "SELECT pg_catalog.has_column_privilege(CAST(:relation AS oid), CAST(:column AS text), :privilege)"
)


def check_table(engine: sqlalchemy.Engine, rule: TableRule) -> list[HealthCheck]:
    """Look at a table.

    Returns:
        `columns`, `rights`, `row filters`.
    """
    questions: dict[str, Callable[[sqlalchemy.Connection], HealthCheck]] = {
        "columns": lambda connection: _columns(connection, rule),
        "rights": lambda connection: _rights(connection, rule),
        "row filters": lambda connection: _row_filters(connection, rule),
    }
    checks = []
    for name, question in questions.items():
        try:
            with engine.connect() as connection:
                checks.append(question(connection))
        except DBAPIError as error:
            reason = " ".join(str(error.orig).split())
            remedy = "correct database_url, or grant the login what docs/erasure.md names"
            checks.append(HealthCheck(name, f"it cannot be told: {reason}", remedy))
        except ComplianceError as error:
            checks.append(HealthCheck(name, str(error), "correct this entry of GDPR_SQL_TARGETS"))
    return checks


def _named_columns(rule: TableRule) -> list[str]:
    days = (rule.first_day_column, rule.last_day_column)
    return [rule.user_column, *rule.values, *(name for name in days if name is not None)]


def _table(connection: sqlalchemy.Connection, rule: TableRule) -> sqlalchemy.Row[tuple[object, ...]]:
    values = {"table": rule.table, "schema": rule.db_schema, "user_column": rule.user_column}
    row = connection.execute(_TABLE, values).one_or_none()
    if row is None:
        raise TargetError(f"there is no table {rule.table}")
    return row


def _existing(columns: Mapping[str, TypedColumn], rule: TableRule) -> None:
    for name in _named_columns(rule):
        if name not in columns:
            raise TargetError(f"the table {rule.table} has no column {name}")


def _columns(connection: sqlalchemy.Connection, rule: TableRule) -> HealthCheck:
    columns = columns_of(connection, rule.table, rule.db_schema)
    _existing(columns, rule)
    declared = f"{rule.user_column} is {columns[rule.user_column].declared}"
    if _table(connection, rule).has_index:
        return HealthCheck("columns", f"{declared}, with an index")
    return HealthCheck("columns", f"{declared}, without an index: every search reads the whole table")


def _rights(connection: sqlalchemy.Connection, rule: TableRule) -> HealthCheck:
    table = _table(connection, rule)
    _existing(columns_of(connection, rule.table, rule.db_schema), rule)
    missing = [] if table.may_use_schema else [f"USAGE ON SCHEMA {table.schema_name}"]
    wanted = [("SELECT", name) for name in _named_columns(rule)]
    if rule.action == "set":
        wanted += [("UPDATE", name) for name in rule.values]
    elif not table.may_delete:
        missing.append(f"DELETE ON {table.name}")
    for privilege, column in wanted:
        values = {"relation": table.oid, "column": column, "privilege": privilege}
        if not connection.execute(_COLUMN_RIGHT, values).scalar_one():
            missing.append(f"{privilege} ON {table.name}")
    if missing:
        lacking = list(dict.fromkeys(missing))
        return HealthCheck("rights", f"the login lacks {', '.join(lacking)}", "GRANT " + "; GRANT ".join(lacking))
    return HealthCheck("rights", "the login may read and clear what it has to")


def _row_filters(connection: sqlalchemy.Connection, rule: TableRule) -> HealthCheck:
    table = _table(connection, rule)
    if table.is_filtered:
        return HealthCheck(
            "row filters",
            f"row security of {table.name} hides rows from the login, so that every search is refused",
            "ALTER ROLE ... BYPASSRLS for the login, or use one that owns the table",
        )
    return HealthCheck("row filters", "the login sees every row")
