"""The catalogue's rows about filters.

Here: reading and writing them. Not here: SQL (sql.py), believing them (matching.py), when they are written (archive/).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.search_filters import sql
from compliance_pipelines.search_filters.filters import Filter

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    import sqlalchemy

_ROWS_AT_ONCE: Final = 100
# Of a part of a million entries this is all; of many small parts, few round trips.
_OBJECTS_AT_ONCE: Final = 50


class Recorded(StrEnum):
    """What was on record before filters were recorded."""

    THE_SAME = "the same"
    NONE = "none"
    OTHERS = "others"


@dataclass(frozen=True)
class ObjectFilters:
    """The rows about one object."""

    object_key: str
    filters: tuple[Filter, ...]


def _of_row(row: sqlalchemy.Row[Any]) -> Filter:
    return Filter(row.column_name, row.row_group, row.row_groups, row.distinct_values, bytes(row.bits), bytes(row.mac))


def _to_row(object_key: str, made: Filter) -> dict[str, object]:
    return {
        "object_key": object_key,
        "column_name": made.column,
        "row_group": made.row_group,
        "row_groups": made.row_groups,
        "distinct_values": made.distinct_values,
        "bits": made.bits,
        "mac": made.mac,
    }


def recorded_filters(connection: sqlalchemy.Connection, object_key: str) -> tuple[Filter, ...]:
    """The rows about an object, whether they can be believed or not, by row group and column."""
    return tuple(map(_of_row, connection.execute(sql.FILTERS_OF_OBJECT, {"object_key": object_key})))


def filters_of_columns(
    connection: sqlalchemy.Connection, object_keys: Sequence[str], columns: Sequence[str]
) -> Iterator[ObjectFilters]:
    """The rows about some columns of objects, an object at a time; none of one without rows."""
    for start in range(0, len(object_keys), _OBJECTS_AT_ONCE):
        asked = {"object_keys": list(object_keys[start : start + _OBJECTS_AT_ONCE]), "columns": list(columns)}
        rows = connection.execute(sql.FILTERS_OF_COLUMNS, asked, execution_options={"yield_per": _ROWS_AT_ONCE})
        in_order = chain.from_iterable(rows.partitions())
        for object_key, of_object in groupby(in_order, key=lambda row: str(row.object_key)):
            yield ObjectFilters(object_key, tuple(map(_of_row, of_object)))


def objects_with_filters(connection: sqlalchemy.Connection, object_keys: Iterable[str]) -> set[str]:
    """Those of the objects about which there are rows."""
    found = connection.execute(sql.OBJECTS_WITH_FILTERS, {"object_keys": list(object_keys)}).scalars()
    return {str(object_key) for object_key in found}


def record_filters(connection: sqlalchemy.Connection, object_key: str, filters: Sequence[Filter]) -> Recorded:
    """Let these be the filters of an object, within the caller's transaction; what was on record before."""
    before = recorded_filters(connection, object_key)
    if set(before) == set(filters):
        return Recorded.THE_SAME
    remove_filters(connection, [object_key])
    for start in range(0, len(filters), _ROWS_AT_ONCE):
        rows = [_to_row(object_key, made) for made in filters[start : start + _ROWS_AT_ONCE]]
        connection.execute(sql.INSERT_FILTER, rows)
    return Recorded.OTHERS if before else Recorded.NONE


def remove_filters(connection: sqlalchemy.Connection, object_keys: Collection[str]) -> None:
    """Remove the filters of objects, within the caller's transaction."""
    connection.execute(sql.REMOVE_FILTERS, {"object_keys": list(object_keys)})
