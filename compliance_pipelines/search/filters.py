"""Which parts, and which of their row groups, can hold what is wanted.

Here: what is wanted, and the question as a port. Not here: how the catalogue answers it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa
import pyarrow.dataset as ds

from compliance_pipelines.audit_log.reading import Selection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import sqlalchemy

    from compliance_pipelines.archive.catalogue import ArchivedPart
    from compliance_pipelines.encryption.data_keys import DataKeys
    from compliance_pipelines.search.period import Period


@dataclass(frozen=True)
class Wanted:
    """Which entries are wanted: those that have one of the values of each set. An empty set is any value."""

    user_ids: frozenset[str] = frozenset()
    actions: frozenset[str] = frozenset()
    resource_types: frozenset[str] = frozenset()
    resource_ids: frozenset[str] = frozenset()

    @property
    def anything(self) -> bool:
        """Whether every entry is wanted."""
        return not (self.user_ids or self.actions or self.resource_types or self.resource_ids)

    def expression(self) -> ds.Expression | None:
        """What holds of these entries, for Arrow; None where it is nothing."""
        found: ds.Expression | None = None
        for column, values in (
            ("user_id", self.user_ids),
            ("action", self.actions),
            ("resource_type", self.resource_types),
            ("resource_id", self.resource_ids),
        ):
            if values:
                one = ds.field(column).isin(pa.array(sorted(values), pa.string()))
                found = one if found is None else found & one
        return found

    def selection(self, part_of_day: Period | None) -> Selection:
        """The same for rows in PostgreSQL, of a part of a day, or of all of it (None)."""
        return Selection(
            None if part_of_day is None else part_of_day.start,
            None if part_of_day is None else part_of_day.end,
            self.user_ids,
            self.actions,
            self.resource_types,
            self.resource_ids,
        )


RowGroups = tuple[int, ...]


@dataclass(frozen=True)
class Matching:
    """What the filters of the catalogue say about parts.

    Attributes:
        row_groups: by object key, the row groups that can hold what is wanted, none where the part cannot; None where
            nobody can tell, so that the part is read whole.
        not_believed: keys of the objects that have a filter that is not believed, which is as if they had none.
    """

    row_groups: Mapping[str, RowGroups | None]
    not_believed: Sequence[str] = field(default=())


class Filters(Protocol):
    """Tells which parts need not be read."""

    def matching(
        self, connection: sqlalchemy.Connection, parts: Sequence[ArchivedPart], wanted: Wanted, data_keys: DataKeys
    ) -> Matching:
        """What can hold what is wanted. What cannot be told is None, never none."""


class ReadAll:
    """Where there are no filters every part may hold everything."""

    def matching(
        self, connection: sqlalchemy.Connection, parts: Sequence[ArchivedPart], wanted: Wanted, data_keys: DataKeys
    ) -> Matching:
        """Nothing is known of any part."""
        del connection, wanted, data_keys
        return Matching({part.object_key: None for part in parts})
