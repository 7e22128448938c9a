"""The audit path of a record, from the tiles of the log in the cold store.

Here: which hashes a path takes, and from which tiles. Not here: reading a tile (log_reading.py); whether a path leads
to a root, which merkle.py and whoever gets the proof recompute.

A path costs a tile or two for each level of the log, whatever the log's size is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compliance_pipelines.ledger.log_reading import read_hashes
from compliance_pipelines.ledger.merkle import hash_children, merkle_root
from compliance_pipelines.ledger.tiles import WIDTH, Tile

if TYPE_CHECKING:
    from compliance_pipelines.ledger.merkle import Hashes
    from compliance_pipelines.object_store.port import ObjectStore

_ROWS_OF_A_TILE = 8  # a tile of 256 hashes is the lowest row of a tree of this height


def inclusion_path_in_log(cold: ObjectStore, index: int, size: int) -> list[bytes]:
    """The audit path of a record, from its leaf to the root of the log's first records.

    Args:
        cold: the cold store.
        index: of the record, from 0.
        size: how many records the checkpoint is over; no more than the log has.

    Raises:
        IndexError: there is no such record among them.
        TilesAlteredError: a tile is missing, or has not the size of one.
        ObjectStoreError: the store failed.
    """
    if not 0 <= index < size:
        raise IndexError(f"a log of {size} records has no record {index}")
    nodes = _Nodes(cold, size)
    path: list[bytes] = []
    start, count = 0, size
    while count > 1:
        left = _left(count)
        if index < start + left:
            path.append(nodes.root(start + left, count - left))
            count = left
        else:
            path.append(nodes.root(start, left))
            start, count = start + left, count - left
    return path[::-1]


class _Nodes:
    """Nodes of the tree over the first `size` records; each tile is read once."""

    def __init__(self, cold: ObjectStore, size: int) -> None:
        self._cold = cold
        self._size = size
        self._tiles: dict[Tile, Hashes] = {}

    def root(self, start: int, count: int) -> bytes:
        """The root over `count` records from `start` on, where the tree has such a node."""
        left = _left(count)
        if 2 * left == count or count == 1:
            return self._whole(start, count.bit_length() - 1)
        return hash_children(self.root(start, left), self.root(start + left, count - left))

    def _whole(self, start: int, row: int) -> bytes:
        level, above = divmod(row, _ROWS_OF_A_TILE)
        first, count = start >> _ROWS_OF_A_TILE * level, 1 << above
        hashes = self._tile(level, first // WIDTH)
        return merkle_root(hashes[first % WIDTH : first % WIDTH + count])

    def _tile(self, level: int, index: int) -> Hashes:
        tile = Tile(level, index, min((self._size >> _ROWS_OF_A_TILE * level) - index * WIDTH, WIDTH))
        if tile not in self._tiles:
            self._tiles[tile] = read_hashes(self._cold, tile)
        return self._tiles[tile]


def _left(count: int) -> int:
    """How many of `count` leaves are below the left child: the largest power of two that is smaller."""
    return 1 << (count - 1).bit_length() - 1 if count > 1 else 0
