"""Hashing a stream of entries into the roots of their segments.

Here: which row belongs to which segment, and one growing tree for each. Not here: what a root is compared with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
import pyarrow.compute as pc

from compliance_pipelines.audit_log.canonical import CanonicalBatch
from compliance_pipelines.ledger.merkle import CompactRange, Hashes

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    import pyarrow as pa

_MOST_STRAY_IDS: Final = 20
# Of all trees together: 4 MiB.
_MOST_WAITING: Final = 131_072


class TransactionRange(Protocol):
    """Transaction ids in [tx_from, tx_to): a segment, or one that is about to be sealed."""

    @property
    def tx_from(self) -> int:
        """The first transaction id."""

    @property
    def tx_to(self) -> int:
        """The one after the last."""


@dataclass(frozen=True)
class HashedRows:
    """What the rows of one segment amount to; the ids are 0 where there are no rows."""

    entry_count: int
    root: bytes
    first_id: int
    last_id: int


class _Tree:
    """A growing tree, and leaves that wait: hashing many at once costs less for each."""

    def __init__(self) -> None:
        self.first_id = 0
        self.last_id = 0
        self._range = CompactRange()
        self._waiting: list[Hashes] = []

    def extend(self, leaves: Hashes, ids: npt.NDArray[np.int64]) -> None:
        if not len(ids):
            return
        if not self._range.size and not self._waiting:
            self.first_id = int(ids[0])
        self.last_id = int(ids[-1])
        self._waiting.append(leaves)

    def grown(self) -> CompactRange:
        """The tree with all its leaves."""
        if self._waiting:
            self._range.extend(np.concatenate(self._waiting))
            self._waiting = []
        return self._range


class SegmentHasher:
    """One tree for each range of transaction ids, fed with rows ordered by id and timestamp.

    Memory grows with the ranges alone.

    Args:
        ranges: disjoint, in any order.
        most_waiting: how many leaves are kept to be hashed together, 32 bytes each, in all trees.

    Attributes:
        rows: rows fed so far.
        canonical_bytes: length of their canonical encodings.
        stray_rows: rows that belong to no range.
        stray_entry_ids: `log_entry_id` of the first twenty of these.
        blinded_rows: rows without a nonce, or with a commitment beside it; their leaves fit no root.
    """

    def __init__(self, ranges: Sequence[TransactionRange], *, most_waiting: int = _MOST_WAITING) -> None:
        self._order = sorted(range(len(ranges)), key=lambda index: ranges[index].tx_from)
        self._starts = np.array([ranges[index].tx_from for index in self._order], dtype=np.int64)
        self._ends = np.array([ranges[index].tx_to for index in self._order], dtype=np.int64)
        self._trees = [_Tree() for _ in ranges]
        self._most_waiting = most_waiting
        self._waiting = 0
        self.rows = 0
        self.canonical_bytes = 0
        self.stray_rows = 0
        self.stray_entry_ids: list[str] = []
        self.blinded_rows = 0

    def feed(self, batch: pa.RecordBatch) -> Hashes:
        """Take the next rows, in ENTRY_SCHEMA.

        Returns:
            The leaf hashes of the rows, uint8 of shape (n, 32).

        Raises:
            CanonicalEncodingError: the batch has other columns.
        """
        canonical = CanonicalBatch(batch)
        leaves = canonical.leaf_hashes()
        self.rows += batch.num_rows
        self.canonical_bytes += canonical.byte_count
        self.blinded_rows += int(canonical.blinded.sum())
        if not batch.num_rows:
            return leaves
        self._plant(batch, leaves)
        self._waiting += batch.num_rows
        if self._waiting >= self._most_waiting:
            for tree in self._trees:
                tree.grown()
            self._waiting = 0
        return leaves

    def _plant(self, batch: pa.RecordBatch, leaves: Hashes) -> None:
        """Give each leaf to its tree."""
        ids = batch.column("id").to_numpy()
        tree = self._only_tree(batch)
        if tree is not None:
            tree.extend(leaves, ids)
            return
        owners = self._owners(batch.column("tx_id").to_numpy())
        for owner in np.unique(owners):
            rows = owners == owner
            if owner < 0:
                self._stray(batch, rows)
            else:
                self._trees[self._order[owner]].extend(leaves[rows], ids[rows])

    def result(self, index: int) -> HashedRows:
        """What was fed of the range with this index in the constructor's sequence."""
        tree = self._trees[index]
        grown = tree.grown()
        return HashedRows(grown.size, grown.root(), tree.first_id, tree.last_id)

    def _only_tree(self, batch: pa.RecordBatch) -> _Tree | None:
        """The tree of all rows, where they have the same: the common case, and a cheap one."""
        bounds = pc.min_max(batch.column("tx_id"))
        first, last = self._owners(np.array([bounds["min"].as_py(), bounds["max"].as_py()], dtype=np.int64))
        return self._trees[self._order[first]] if first == last and first >= 0 else None

    def _owners(self, tx_ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Position in the order of ranges for each transaction id; -1 for none."""
        if not len(self._starts):
            return np.full(len(tx_ids), -1, dtype=np.int64)
        found = np.searchsorted(self._starts, tx_ids, side="right") - 1
        inside = (found >= 0) & (tx_ids < self._ends[found])
        return np.where(inside, found, -1)

    def _stray(self, batch: pa.RecordBatch, rows: npt.NDArray[np.bool_]) -> None:
        positions = np.flatnonzero(rows)
        self.stray_rows += len(positions)
        room = _MOST_STRAY_IDS - len(self.stray_entry_ids)
        if room > 0:
            self.stray_entry_ids += batch.column("log_entry_id").take(positions[:room]).to_pylist()
