"""Proofs from the tiles of the cold store: that a record is in the tree, and that a larger tree begins with a smaller.

Here: the hashes of RFC 6962 sections 2.1.1 and 2.1.2, computed from a tile or two for each level of the log, whatever
its size is. Not here: reading a tile (log_reading.py), trees whose leaves are all at hand (merkle.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from compliance_pipelines.ledger.errors import TilesAlteredError
from compliance_pipelines.ledger.log_reading import read_hashes
from compliance_pipelines.ledger.merkle import ProofError, hash_children, merkle_root, verify_consistency
from compliance_pipelines.ledger.tiles import WIDTH, Tile

if TYPE_CHECKING:
    from compliance_pipelines.ledger.merkle import Hashes
    from compliance_pipelines.object_store.port import ObjectStore

_TILE_LEVELS: Final = 8


class TileTree:
    """The tree of a log of some size, read from its tiles as far as it is asked about. To be used by one thread.

    Args:
        cold: the cold store.
        size: leaves of the tree, at least 1.
        root: the root that is signed for it, 32 bytes.
    """

    def __init__(self, cold: ObjectStore, size: int, root: bytes) -> None:
        self._cold = cold
        self._size = size
        self._root = root
        self._tiles: dict[Tile, Hashes] = {}

    def inclusion_path(self, index: int) -> list[bytes]:
        """The audit path of a record, from its leaf to the root; whoever uses it checks it.

        Args:
            index: of the record, from 0.

        Raises:
            IndexError: there is no such record in the tree.
            TilesAlteredError: a tile is missing, or has not the size of one.
            ObjectStoreError: the store failed.
        """
        if not 0 <= index < self._size:
            raise IndexError(f"a log of {self._size} records has no record {index}")
        path: list[bytes] = []
        start, end = 0, self._size
        while end - start > 1:
            middle = start + _split(end - start)
            if index < middle:
                path.append(self._subtree(middle, end))
                end = middle
            else:
                path.append(self._subtree(start, middle))
                start = middle
        return path[::-1]

    def consistency_path(self, old_size: int) -> list[bytes]:
        """The proof that this tree begins with that of its first leaves, which was checked.

        Args:
            old_size: 0 to the tree's size; of nothing and of the tree itself the proof is empty.

        Raises:
            ValueError: the tree has fewer leaves than that.
            TilesAlteredError: the tiles are missing, or do not lead to the signed root.
            ObjectStoreError: the store failed.
        """
        if not 0 <= old_size <= self._size:
            raise ValueError(f"a tree of {self._size} leaves does not begin with one of {old_size}")
        if old_size in {0, self._size}:
            return []
        path: list[bytes] = []
        start, end, old, known = 0, self._size, old_size, True
        while old < end - start:
            split = _split(end - start)
            if old <= split:
                path.append(self._subtree(start + split, end))
                end = start + split
            else:
                path.append(self._subtree(start, start + split))
                start, old, known = start + split, old - split, False
        if not known:
            path.append(self._subtree(start, end))
        path.reverse()
        try:
            verify_consistency(old_size, self._size, self._subtree(0, old_size), self._root, path)
        except ProofError as error:
            raise TilesAlteredError(
                f"the tiles of {self._cold.uri} do not lead to the root that the checkpoint of {self._size} records "
                "is signed over: they were altered; run `compliance verify --all`"
            ) from error
        return path

    def _subtree(self, start: int, end: int) -> bytes:
        """The root over the leaves in [start, end), `start` being a multiple of the largest power of two in it."""
        count = end - start
        if count & (count - 1) == 0:
            return self._node(count.bit_length() - 1, start)
        split = _split(count)
        return hash_children(self._subtree(start, start + split), self._subtree(start + split, end))

    def _node(self, level: int, start: int) -> bytes:
        """The root over the 2^level leaves from `start` on."""
        tile_level, below = divmod(level, _TILE_LEVELS)
        first = start >> _TILE_LEVELS * tile_level
        index, offset = divmod(first, WIDTH)
        return merkle_root(self._hashes(tile_level, index)[offset : offset + (1 << below)])

    def _hashes(self, level: int, index: int) -> Hashes:
        tile = Tile(level, index, min((self._size >> _TILE_LEVELS * level) - index * WIDTH, WIDTH))
        if tile not in self._tiles:
            self._tiles[tile] = read_hashes(self._cold, tile)
        return self._tiles[tile]


def _split(count: int) -> int:
    """The largest power of two below `count`."""
    return 1 << (count - 1).bit_length() - 1
