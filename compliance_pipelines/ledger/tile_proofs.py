"""Consistency proofs from the tiles of the cold store: that a larger tree begins with a smaller one.

Here: the hashes of RFC 6962 section 2.1.2, computed from tiles, a few for each proof. Not here: trees whose leaves are
all at hand (merkle.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from compliance_pipelines.ledger.errors import TilesAlteredError
from compliance_pipelines.ledger.log_reading import read_tile
from compliance_pipelines.ledger.merkle import ProofError, hash_children, merkle_root, verify_consistency
from compliance_pipelines.ledger.tiles import WIDTH, MalformedTileError, Tile, hashes_of

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
        self._tiles: dict[tuple[int, int], Hashes] = {}

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
                f"the tiles of {self._cold.uri} do not lead to the root that the checkpoint of {self._size} segments "
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
        known = self._tiles.get((level, index))
        if known is not None:
            return known
        tile = Tile(level, index, min((self._size >> _TILE_LEVELS * level) - index * WIDTH, WIDTH))
        try:
            data = read_tile(self._cold, tile)
            if data is None:
                raise TilesAlteredError(f"the ledger's tile {self._cold.locate(tile.key)} is not there")
            hashes = self._tiles[level, index] = hashes_of(data, tile.width)
        except MalformedTileError as error:
            raise TilesAlteredError(f"{self._cold.locate(tile.key)} was altered: {error}") from error
        return hashes


def _split(count: int) -> int:
    """The largest power of two below `count`."""
    return 1 << (count - 1).bit_length() - 1
