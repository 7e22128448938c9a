"""The filters of a part: which values each of its row groups has, column by column.

Here: making them of rows that pass by, and telling whether one is what was made. Not here: the bits (bloom.py), where
they are kept (catalogue.py), which rows pass by (archive/).

NULL is no value, and is in no filter.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from compliance_pipelines.search_filters.bloom import filter_of
from compliance_pipelines.search_filters.hashing import Hasher
from compliance_pipelines.search_filters.keys import COLUMNS, FilterKeys

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy.typing as npt
    import pyarrow as pa

    from compliance_pipelines.encryption.data_key import DataKey

# Of these most values are there once: to look for repetitions among the values takes longer than to hash them all.
_MOSTLY_DISTINCT: Final = frozenset({"resource_id"})
_LENGTH_BYTES: Final = 8


@dataclass(frozen=True)
class Filter:
    """What one row group has of one column.

    Attributes:
        column: its name.
        row_group: its number in the object, from 0.
        row_groups: how many the object has: so that one whose filter was taken away is missed.
        distinct_values: how many different values it has, NULL not among them.
        bits: a split-block Bloom filter of their keyed hashes.
        mac: 32 bytes, HMAC-SHA256 of all this and of the object it is of.
    """

    column: str
    row_group: int
    row_groups: int
    distinct_values: int
    bits: bytes
    mac: bytes

    def is_of(self, keys: FilterKeys, object_key: str, object_sha256: str) -> bool:
        """Whether it was made under these keys of this object, and nothing of it was changed since.

        Args:
            keys: of the object's filters.
            object_key: of the object.
            object_sha256: hex digest of its bytes.
        """
        return hmac.compare_digest(self.mac, _authenticated(self, keys, object_key, object_sha256))


def _authenticated(made: Filter, keys: FilterKeys, object_key: str, object_sha256: str) -> bytes:
    said = [object_key, object_sha256, made.column, made.row_group, made.row_groups, made.distinct_values]
    parts = [str(each).encode() for each in said] + [made.bits]
    # Each after its length: no two filters are the same bytes.
    message = b"".join(len(part).to_bytes(_LENGTH_BYTES, "big") + part for part in parts)
    return hmac.digest(keys.of_authenticity, message, hashlib.sha256)


@dataclass(frozen=True)
class FilterMaker:
    """Makes the filters of one object, row group by row group; for several threads at once.

    Attributes:
        keys: of the object's filters.
        object_key: of the object.
        object_sha256: hex digest of its bytes.
        row_groups: how many it has.
    """

    keys: FilterKeys
    object_key: str
    object_sha256: str
    row_groups: int

    @classmethod
    def of(cls, object_key: str, object_sha256: str, data_key: DataKey | None, row_groups: int) -> FilterMaker:
        """That of an object.

        Args:
            object_key: its key.
            object_sha256: hex digest of its bytes.
            data_key: what it is encrypted with; None where it is not.
            row_groups: how many it has.
        """
        return cls(FilterKeys.of(object_key, data_key), object_key, object_sha256, row_groups)

    def collector(self) -> GroupCollector:
        """What takes the rows of one row group, in one thread."""
        return GroupCollector(self)

    def made(self, row_group: int, hashes: dict[str, npt.NDArray[np.uint64]]) -> tuple[Filter, ...]:
        """The filters of a row group, one for each column, of its hashes: distinct, in ascending order."""
        return tuple(self._made(column, row_group, hashes[column]) for column in COLUMNS)

    def _made(self, column: str, row_group: int, hashes: npt.NDArray[np.uint64]) -> Filter:
        blank = Filter(column, row_group, self.row_groups, len(hashes), filter_of(hashes), b"")
        mac = _authenticated(blank, self.keys, self.object_key, self.object_sha256)
        return Filter(column, row_group, self.row_groups, blank.distinct_values, blank.bits, mac)


class GroupCollector:
    """Takes the rows of one row group, then gives its filters."""

    def __init__(self, maker: FilterMaker) -> None:
        self._maker = maker
        self._hashers = {column: Hasher(maker.keys.of_columns[column]) for column in COLUMNS}
        self._found: dict[str, list[npt.NDArray[np.uint64]]] = {column: [] for column in COLUMNS}

    def feed(self, batch: pa.RecordBatch) -> None:
        """Take the next rows."""
        for column, hasher in self._hashers.items():
            values = batch.column(column)
            values = values.drop_null() if column in _MOSTLY_DISTINCT else values.unique().drop_null()
            self._found[column].append(hasher.hashes(values))

    def filters(self, row_group: int) -> tuple[Filter, ...]:
        """The filters of what passed, one for each column."""
        found = {column: _distinct(np.concatenate(hashes)) for column, hashes in self._found.items()}
        return self._maker.made(row_group, found)


def _distinct(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Each of them once, in ascending order; numpy's own `unique` takes twenty times as long."""
    hashes = np.sort(hashes)
    return hashes[np.concatenate([[True], hashes[1:] != hashes[:-1]])] if len(hashes) else hashes


class PartCollector:
    """Makes the filters of a part whose rows pass by, for whatever else they are read; for several threads at once.

    Args:
        maker: makes the filters.
    """

    def __init__(self, maker: FilterMaker) -> None:
        self._maker = maker
        self._made: dict[int, tuple[Filter, ...]] = {}

    def passing(self, row_group: int, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The rows of one row group, which count once all of them were taken."""
        group = self._maker.collector()
        for batch in batches:
            group.feed(batch)
            yield batch
        self._made[row_group] = group.filters(row_group)

    def filters(self) -> tuple[Filter, ...]:
        """The filters of the row groups that passed, in order."""
        return tuple(made for number in sorted(self._made) for made in self._made[number])


def size_of(filters: Iterable[Filter]) -> int:
    """How many bytes the filters' bits have."""
    return sum(len(each.bits) for each in filters)
