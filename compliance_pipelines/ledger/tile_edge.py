"""The growing edge of a tiled tree: what the next leaves need to know of those before.

Here: which tiles become full, which are partial, and the frontier that they make (https://c2sp.org/tlog-tiles, section
"Merkle Tree"). Not here: where tiles are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from compliance_pipelines.base.hashing import DIGEST_BYTES
from compliance_pipelines.ledger.merkle import CompactRange, merkle_root
from compliance_pipelines.ledger.tiles import WIDTH, Tile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from compliance_pipelines.ledger.merkle import Hashes

_ROW_BYTES = WIDTH * DIGEST_BYTES


class TileEdge:
    """The last, incomplete tile of each level.

    Args:
        size: leaves of the tree.
        rows: the hashes in the incomplete tile of each level, joined, lowest level first.

    Attributes:
        size: leaves of the tree.
    """

    def __init__(self, size: int = 0, rows: Sequence[bytes] = ()) -> None:
        self.size = size
        self._rows = [bytearray(row) for row in rows]

    def copy(self) -> TileEdge:
        """Another one that grows by itself."""
        return TileEdge(self.size, [bytes(row) for row in self._rows])

    def extend(self, leaves: Hashes) -> Iterator[tuple[Tile, bytes]]:
        """Add leaves in order; yields the tiles that become full, and has to be gone through to the end."""
        start = 0
        while start < len(leaves):
            row = self._row(0)
            added = leaves[start : start + WIDTH - len(row) // DIGEST_BYTES]
            row += added.tobytes()
            self.size += len(added)
            start += len(added)
            yield from self._full_ones()

    def _full_ones(self) -> Iterator[tuple[Tile, bytes]]:
        level = 0
        while len(row := self._row(level)) == _ROW_BYTES:
            data = bytes(row)
            row.clear()
            self._row(level + 1).extend(merkle_root(_hashes(data)))
            yield Tile(level, (self.size >> 8 * (level + 1)) - 1), data
            level += 1

    def partial_tiles(self) -> Iterator[tuple[Tile, bytes]]:
        """The partial tiles of the tree as it is, lowest level first."""
        for level, row in enumerate(self._rows):
            if row:
                yield Tile(level, self.size >> 8 * (level + 1), len(row) // DIGEST_BYTES), bytes(row)

    @property
    def tree(self) -> CompactRange:
        """The tree's frontier."""
        nodes: list[bytes] = []
        for row in reversed(self._rows):
            part = CompactRange()
            part.extend(_hashes(bytes(row)))
            nodes += part.nodes
        return CompactRange.from_nodes(self.size, nodes)

    def _row(self, level: int) -> bytearray:
        while level >= len(self._rows):
            self._rows.append(bytearray())
        return self._rows[level]


def _hashes(row: bytes) -> Hashes:
    return np.frombuffer(row, dtype=np.uint8).reshape(-1, DIGEST_BYTES)
