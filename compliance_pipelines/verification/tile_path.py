"""Whether a full bundle or tile leads to the signed root, by what stands above it.

Here: the path from a tile of level 0 to the root, with the hashes beside it as the cold store has them: an inclusion
proof of its 256 leaves. What it proves is right (SHA-256); where it proves nothing, the leaves or a hash beside the
path were altered. Not here: which leaves are asked about (tiled_log.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from compliance_pipelines.ledger.merkle import merkle_root
from compliance_pipelines.ledger.tile_edge import TileEdge
from compliance_pipelines.ledger.tiles import WIDTH, MalformedTileError, Tile, full_tiles, hashes_of, last_tile, levels

if TYPE_CHECKING:
    from collections.abc import Callable

    from compliance_pipelines.ledger.merkle import Hashes

_HIGHEST: Final = 62


class TilePaths:
    """Paths in a log of some size.

    Args:
        size: records of the log.
        root: what is signed over them, 32 bytes; None where nothing is, so that nothing is proved.
        read: the bytes of a tile; None where they cannot be had.
    """

    def __init__(self, size: int, root: bytes | None, read: Callable[[Tile], bytes | None]) -> None:
        self._size = size
        self._root = root
        self._read = read

    def prove(self, index: int, leaves: Hashes) -> bool:
        """Whether the full tile of level 0 with an index has these leaves, 256 of them, without a doubt."""
        if self._root is None or len(leaves) != WIDTH:
            return False
        node = merkle_root(leaves)
        for level in range(1, _HIGHEST):
            index, position = divmod(index, WIDTH)
            width = min(WIDTH, full_tiles(level - 1, self._size) - index * WIDTH)
            hashes = self._hashes(Tile(level, index, width))
            if hashes is None:
                return False
            hashes[position] = np.frombuffer(node, dtype=np.uint8)
            if width < WIDTH:
                return self._leads_to_root(level, hashes)
            node = merkle_root(hashes)
        return False

    def _leads_to_root(self, level: int, hashes: Hashes) -> bool:
        """Whether a partial tile and those of the other levels lead to what is signed."""
        rows: list[bytes] = []
        for each in levels(self._size):
            tile = last_tile(each, self._size)
            read = hashes if each == level else None if tile is None else self._hashes(tile)
            if read is None and tile is not None:
                return False
            rows.append(b"" if read is None else read.tobytes())
        return TileEdge(self._size, rows).tree.root() == self._root

    def _hashes(self, tile: Tile) -> Hashes | None:
        data = self._read(tile)
        try:
            return None if data is None else hashes_of(data, tile.width).copy()
        except MalformedTileError:
            return None
