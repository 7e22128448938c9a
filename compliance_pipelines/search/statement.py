"""What SQL may be: one SELECT over the audit log.

Here: DuckDB's own parse of a text, looked through. Not here: the settings that keep a connection from files, network
and extensions whatever the text is (engine.py): each of the two would do.

The text is parsed by DuckDB alone. Its tree is looked through for what rows can come from: tables and functions that
give tables. What is not known to be harmless is refused.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import duckdb

from compliance_pipelines.base.printable import printable
from compliance_pipelines.search.errors import QueryRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator

RELATION: Final = "audit_log"
MOST_BYTES: Final = 16 * 2**10
"""Of a text, so that all of it can be put on record."""

_TREE: Final = "SELECT json_serialize_sql(?::VARCHAR)"
_TABLE_FUNCTIONS: Final = frozenset({"generate_series", "json_each", "json_tree", "range", "repeat", "unnest"})
_MOST_SAID: Final = 300


def checked_statement(connection: duckdb.DuckDBPyConnection, text: str) -> duckdb.Statement:
    """The one statement of a text, which only reads the audit log.

    Raises:
        QueryRefusedError: it is something else, or nothing that can be parsed.
    """
    if len(text.encode("utf-8", "replace")) > MOST_BYTES:
        raise QueryRefusedError(f"a query has at most {MOST_BYTES:,} bytes, so that all of it can be put on record")
    try:
        statements = connection.extract_statements(text)
    except (duckdb.Error, UnicodeError) as error:
        raise QueryRefusedError(f"the query cannot be parsed: {one_line(error)}") from error
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise QueryRefusedError(
            "a query is one SELECT: nothing else is run, and not several at once (PIVOT needs IN (...), which makes it "
            "one)"
        )
    if statements[0].named_parameters:
        raise QueryRefusedError("a query has no parameters: write the values into it, or use --user and the like")
    _refuse_other_sources(_tree(connection, text))
    return statements[0]


def _tree(connection: duckdb.DuckDBPyConnection, text: str) -> Any:  # noqa: ANN401 - JSON
    try:
        row = connection.execute(_TREE, [text]).fetchone()
        tree = json.loads(row[0]) if row is not None else {}
    except (duckdb.Error, ValueError, RecursionError) as error:
        raise QueryRefusedError(f"the query cannot be looked through: {one_line(error)}") from error
    if tree.get("error", True):
        raise QueryRefusedError(f"the query is no SELECT: {printable(str(tree.get('error_message')), _MOST_SAID)}")
    return tree


def _refuse_other_sources(tree: object) -> None:
    """Refuse a tree in which rows come from anything but the audit log, the query itself, and harmless functions."""
    objects = list(_objects(tree))
    own = {RELATION}
    for each in objects:
        common = each.get("cte_map")
        if isinstance(common, dict):
            own |= {str(entry.get("key", "")).lower() for entry in common.get("map", ())}
    for each in objects:
        kind = each.get("type")
        if kind == "BASE_TABLE":
            name = ".".join(filter(None, (each.get("catalog_name"), each.get("schema_name"), each.get("table_name"))))
            if name.lower() not in own:
                raise QueryRefusedError(
                    f"there is no table {printable(name, _MOST_SAID)!r}: the one table is {RELATION}"
                )
        elif kind == "TABLE_FUNCTION":
            name = str(each.get("function", {}).get("function_name", "")).lower()
            if name not in _TABLE_FUNCTIONS:
                raise QueryRefusedError(
                    f"the function {printable(name, _MOST_SAID)!r} may not be used: a query reads {RELATION} and "
                    f"nothing else (allowed: {', '.join(sorted(_TABLE_FUNCTIONS))})"
                )
        elif kind == "SHOW_REF" and not isinstance(each.get("query"), dict):
            raise QueryRefusedError(
                f"nothing can be shown but the one table: DESCRIBE {RELATION}, SUMMARIZE {RELATION}"
            )


def _objects(tree: object) -> Iterator[dict[str, Any]]:
    """Every JSON object of a tree."""
    waiting = [tree]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            yield each
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each


def one_line(error: Exception) -> str:
    """What an error of DuckDB says, on one line."""
    return printable(" ".join(str(error).split()), _MOST_SAID)
