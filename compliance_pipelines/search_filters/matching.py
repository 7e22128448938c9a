"""Which row groups of which parts can have what is looked for.

Here: asking the filters, and what cannot be said without reading. Not here: reading the parts, and looking again
whether a row is really one that is looked for, which a filter never says.

Where there is no filter, where one is not what was made of this very object, where one of a row group is missing, and
where the key cannot be had, the answer is to read all of the part. What is taken from the index makes a search slower,
and hides no entry from it, with one exception that the answer names: filters of objects that are not encrypted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, Protocol

import pyarrow as pa

from compliance_pipelines.search_filters.bloom import may_contain
from compliance_pipelines.search_filters.catalogue import filters_of_columns, objects_with_filters
from compliance_pipelines.search_filters.hashing import Hasher
from compliance_pipelines.search_filters.keys import FilterKeys
from compliance_pipelines.search_filters.unwrapping import unwrapped_keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import sqlalchemy

    from compliance_pipelines.encryption.data_key import DataKey
    from compliance_pipelines.encryption.data_keys import DataKeys
    from compliance_pipelines.search_filters.filters import Filter

_NOTHING: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True)
class Wanted:
    """What is looked for: rows that have one of the values in each column for which there are some.

    Attributes:
        user_ids: as they stand in the column `user_id`; empty: any, NULL included.
        actions: likewise.
        resource_types: likewise.
        resource_ids: likewise.
    """

    user_ids: frozenset[str] = _NOTHING
    actions: frozenset[str] = _NOTHING
    resource_types: frozenset[str] = _NOTHING
    resource_ids: frozenset[str] = _NOTHING

    @property
    def by_column(self) -> dict[str, list[str]]:
        """The values by column, of the columns for which there are some."""
        named = {each.name.removesuffix("s"): getattr(self, each.name) for each in fields(self)}
        return {column: sorted(values) for column, values in named.items() if values}


class SearchedPart(Protocol):
    """What must be known of a part; an ArchivedPart is one.

    `encryption` is None where the object is not encrypted. Whoever takes it from the catalogue believes the catalogue
    that it is not.
    """

    @property
    def object_key(self) -> str:
        """Of its object."""

    @property
    def object_sha256(self) -> str:
        """Hex digest of the object that was committed."""

    @property
    def encryption(self) -> Mapping[str, Any] | None:
        """How the object is encrypted, as the manifest says."""


@dataclass(frozen=True, eq=False)
class Matching(Mapping[str, "tuple[int, ...] | None"]):
    """By the key of each part's object: the row groups that can match; None where the whole part must be read.

    Attributes:
        row_groups: the same.
        not_believed: objects of which a filter is not what was made of them, or is missing beside others: somebody
            altered the index. They are read whole.
        without: objects that have no filters. They are read whole.
        without_key: objects that have filters, and whose key could not be had to ask them. They are read whole.
        on_trust: objects that are not encrypted, and of which something is left out because their filters say so.
            Whoever can write to the catalogue can have made those.
    """

    row_groups: Mapping[str, tuple[int, ...] | None]
    not_believed: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    without_key: tuple[str, ...] = ()
    on_trust: tuple[str, ...] = ()

    def __getitem__(self, object_key: str) -> tuple[int, ...] | None:
        """The row groups of an object."""
        return self.row_groups[object_key]

    def __iter__(self) -> Iterator[str]:
        """The keys of the objects, in the order of the parts."""
        return iter(self.row_groups)

    def __len__(self) -> int:
        """How many parts there are."""
        return len(self.row_groups)


def matching_row_groups(
    connection: sqlalchemy.Connection, parts: Sequence[SearchedPart], wanted: Wanted, data_keys: DataKeys
) -> Matching:
    """Ask the filters of parts for what is looked for.

    Keys of objects are taken from the catalogue, in one query, and unwrapped a few at a time; a part about which
    nothing can be said is no error.

    Args:
        connection: to the database with the catalogue.
        parts: in which it is looked for.
        wanted: what is looked for; where that is anything, all parts must be read.
        data_keys: what unwraps the keys of encrypted objects.
    """
    if not wanted.by_column:
        return Matching({part.object_key: None for part in parts})
    known = objects_with_filters(connection, [part.object_key for part in parts])
    encrypted = [part.object_key for part in parts if part.encryption is not None and part.object_key in known]
    keys = unwrapped_keys(connection, data_keys.key_encryption_keys, encrypted)
    asking = _Asking(wanted.by_column, {part.object_key: part for part in parts}, keys)
    asked = [part.object_key for part in parts if part.object_key in known and asking.can_ask(part)]
    for of_object in filters_of_columns(connection, asked, list(wanted.by_column)):
        asking.ask(of_object.object_key, of_object.filters)
    return asking.answer(known)


@dataclass
class _Asking:
    """Asks the filters of one object after another."""

    wanted: Mapping[str, list[str]]
    parts: Mapping[str, SearchedPart]
    keys: Mapping[str, DataKey]
    found: dict[str, tuple[int, ...] | None] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)

    def can_ask(self, part: SearchedPart) -> bool:
        """Whether the keys of its filters are known."""
        return part.encryption is None or part.object_key in self.keys

    def ask(self, object_key: str, filters: Sequence[Filter]) -> None:
        """Ask all filters of an object in the columns that are wanted."""
        part = self.parts[object_key]
        keys = FilterKeys.of(object_key, self.keys.get(object_key) if part.encryption is not None else None)
        by_place = {(made.row_group, made.column): made for made in filters}
        groups = filters[0].row_groups
        # One for each place, if they are as many as there are places and none is elsewhere.
        complete = len(by_place) == groups * len(self.wanted) and all(
            made.row_groups == groups and 0 <= made.row_group < groups for made in filters
        )
        if not complete or not all(made.is_of(keys, object_key, part.object_sha256) for made in filters):
            self.found[object_key] = None
            return
        hashes = {
            column: [int(each) for each in Hasher(keys.of_columns[column]).hashes(pa.array(values, pa.string()))]
            for column, values in self.wanted.items()
        }
        self.sizes[object_key] = groups
        self.found[object_key] = tuple(
            number
            for number in range(groups)
            if all(
                any(may_contain(by_place[number, column].bits, each) for each in hashed)
                for column, hashed in hashes.items()
            )
        )

    def answer(self, known: set[str]) -> Matching:
        """What was found, of all parts.

        Args:
            known: the objects that have filters.
        """
        with_filters = [part for key, part in self.parts.items() if key in known]
        could_ask = [part for part in with_filters if self.can_ask(part)]
        return Matching(
            row_groups={key: self.found.get(key) for key in self.parts},
            # Of an object with filters, none in a column that is wanted is one that was taken away.
            not_believed=tuple(part.object_key for part in could_ask if self.found.get(part.object_key) is None),
            without=tuple(key for key in self.parts if key not in known),
            without_key=tuple(part.object_key for part in with_filters if not self.can_ask(part)),
            on_trust=tuple(
                key
                for key, found in self.found.items()
                if self.parts[key].encryption is None and found is not None and len(found) < self.sizes[key]
            ),
        )
