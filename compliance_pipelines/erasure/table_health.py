"""Whether a table of GDPR_SQL_TARGETS can be looked at and cleared.

Here: rights, row filters, types, indexes. Not here: finding and deleting (tables.py).

A question that cannot be answered is a failed check.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.base.health import HealthCheck
from compliance_pipelines.erasure import table_sql
from compliance_pipelines.erasure.errors import TargetError
from compliance_pipelines.erasure.set_values import marks_in
from compliance_pipelines.erasure.subject_matching import columns_of, relation_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import sqlalchemy

    from compliance_pipelines.erasure.subject_matching import TypedColumn
    from compliance_pipelines.erasure.table_rules import TableRule


def check_table(engine: sqlalchemy.Engine, rule: TableRule) -> list[HealthCheck]:
    """Look at a table.

    Returns:
        `columns`, `rights`, `row filters`; `unique values` where columns are set that must differ.
    """
    questions: dict[str, Callable[[sqlalchemy.Connection], HealthCheck | None]] = {
        "columns": lambda connection: _columns(connection, rule),
        "rights": lambda connection: _rights(connection, rule),
        "row filters": lambda connection: _row_filters(connection, rule),
    }
    if rule.action == "set":
        questions["unique values"] = lambda connection: _unique_values(connection, rule)
    checks = []
    for name, question in questions.items():
        try:
            with engine.connect() as connection:
                answer = question(connection)
        except DBAPIError as error:
            reason = " ".join(str(error.orig).split())
            remedy = "correct database_url, or grant the login what docs/erasure.md names"
            checks.append(HealthCheck(name, f"it cannot be told: {reason}", remedy))
        except ComplianceError as error:
            checks.append(HealthCheck(name, str(error), "correct this entry of GDPR_SQL_TARGETS"))
        else:
            checks += [] if answer is None else [answer]
    return checks


def _named_columns(rule: TableRule) -> list[str]:
    days = (rule.first_day_column, rule.last_day_column)
    return [rule.user_column, *rule.values, *(name for name in days if name is not None)]


def _existing_columns(connection: sqlalchemy.Connection, rule: TableRule, relation: int) -> dict[str, TypedColumn]:
    columns = columns_of(connection, relation)
    for name in _named_columns(rule):
        if name not in columns:
            raise TargetError(f"the table {rule.table} has no column {name}")
    return columns


def _columns(connection: sqlalchemy.Connection, rule: TableRule) -> HealthCheck:
    relation = relation_of(connection, rule.table, rule.db_schema)
    declared = _existing_columns(connection, rule, relation)[rule.user_column].declared
    of_user = {"relation": relation, "column": rule.user_column}
    if connection.execute(table_sql.HAS_INDEX, of_user).scalar_one():
        return HealthCheck("columns", f"{rule.user_column} is {declared}, with an index")
    return HealthCheck(
        "columns", f"{rule.user_column} is {declared}, without an index: every search reads the whole table"
    )


def _rights(connection: sqlalchemy.Connection, rule: TableRule) -> HealthCheck:
    relation = relation_of(connection, rule.table, rule.db_schema)
    _existing_columns(connection, rule, relation)
    table = connection.execute(table_sql.ACCESS, {"relation": relation}).one()
    missing = [] if table.may_use_schema else [f"USAGE ON SCHEMA {table.schema_name}"]
    wanted = [("SELECT", name) for name in _named_columns(rule)]
    if rule.action == "set":
        wanted += [("UPDATE", name) for name in rule.values]
    elif not table.may_delete:
        missing.append(f"DELETE ON {table.name}")
    for privilege, column in wanted:
        values = {"relation": relation, "column": column, "privilege": privilege}
        if not connection.execute(table_sql.COLUMN_RIGHT, values).scalar_one():
            missing.append(f"{privilege} ON {table.name}")
    if missing:
        lacking = list(dict.fromkeys(missing))
        remedy = "; ".join(f"GRANT {each} TO {table.login}" for each in lacking)
        return HealthCheck("rights", f"the login lacks {', '.join(lacking)}", remedy)
    return HealthCheck("rights", "the login may read and clear what it has to")


def _row_filters(connection: sqlalchemy.Connection, rule: TableRule) -> HealthCheck:
    relation = relation_of(connection, rule.table, rule.db_schema)
    table = connection.execute(table_sql.ACCESS, {"relation": relation}).one()
    if table.is_filtered:
        return HealthCheck(
            "row filters",
            f"row security of {table.name} hides rows from the login, so that every search is refused",
            f"ALTER ROLE {table.login} BYPASSRLS, or use a login that owns the table",
        )
    return HealthCheck("row filters", "the login sees every row")


def _unique_values(connection: sqlalchemy.Connection, rule: TableRule) -> HealthCheck | None:
    """Whether more than one person can have the values that are set; None where no index asks for that."""
    found = None
    relation = relation_of(connection, rule.table, rule.db_schema)
    for index in connection.execute(table_sql.UNIQUE_COLUMNS, {"relation": relation}):
        set_to = [rule.values[name] for name in index.columns if name in rule.values]
        differs = any(marks_in(value) for value in set_to) or (None in set_to and not index.nulls_are_equal)
        if len(set_to) < len(index.columns):
            continue
        found = HealthCheck("unique values", "more than one person can have the values that are set")
        if not differs:
            return HealthCheck(
                "unique values",
                f"{index.name} lets one row alone have the values that are set: the second person's erasure will fail",
                "put {request} or {pseudonym} into one of them",
            )
    return found
