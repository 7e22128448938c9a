"""What is wanted, as each of the places takes it, and which parts can have it.

Here: the conditions for Arrow and for PostgreSQL, and the question to the filters as a function that can be another.
Not here: the filters (search_filters/).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import pyarrow as pa
import pyarrow.dataset as ds

from compliance_pipelines.audit_log.reading import Selection
from compliance_pipelines.search_filters import Matching, SearchedPart, Wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import sqlalchemy

    from compliance_pipelines.encryption.data_keys import DataKeys
    from compliance_pipelines.search.period import Period

Filters: TypeAlias = "Callable[[sqlalchemy.Connection, Sequence[SearchedPart], Wanted, DataKeys], Matching]"
"""Tells of parts which of their row groups can have what is wanted, as `search_filters.matching_row_groups` does."""


def read_everything(
    connection: sqlalchemy.Connection, parts: Sequence[SearchedPart], wanted: Wanted, data_keys: DataKeys
) -> Matching:
    """Ask no filter."""
    del connection, wanted, data_keys
    return Matching({part.object_key: None for part in parts})


def expression_of(wanted: Wanted) -> ds.Expression | None:
    """What holds of the entries, for Arrow; None where any is wanted."""
    found: ds.Expression | None = None
    for column, values in wanted.by_column.items():
        one = ds.field(column).isin(pa.array(values, pa.string()))
        found = one if found is None else found & one
    return found


def selection_of(wanted: Wanted, part_of_day: Period | None) -> Selection:
    """The same for rows in PostgreSQL, of a part of a day, or of all of it (None)."""
    return Selection(
        None if part_of_day is None else part_of_day.start,
        None if part_of_day is None else part_of_day.end,
        wanted.user_ids,
        wanted.actions,
        wanted.resource_types,
        wanted.resource_ids,
    )
