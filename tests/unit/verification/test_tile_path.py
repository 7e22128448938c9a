from __future__ import annotations

from typing import Final

import numpy as np
import pytest

from compliance_pipelines.ledger.merkle import CompactRange
from compliance_pipelines.ledger.tile_edge import TileEdge
from compliance_pipelines.ledger.tiles import Tile
from compliance_pipelines.verification.tile_path import TilePaths

LEAVES: Final = np.random.default_rng(0).integers(0, 256, (256 * 256 + 700, 32), dtype=np.uint8)


def tiles_of(size: int) -> tuple[dict[Tile, bytes], bytes]:
    """The tiles of a log of a size, and its root."""
    edge = TileEdge()
    tiles = dict(edge.extend(LEAVES[:size])) | dict(edge.partial_tiles())
    tree = CompactRange()
    tree.extend(LEAVES[:size])
    return tiles, tree.root()


# Three levels with and without a partial tile at each; two levels that are just full.
@pytest.mark.parametrize("size", [256, 300, 512, 256 * 256, 256 * 256 + 1, 256 * 256 + 512, len(LEAVES)])
def test_the_leaves_of_each_full_tile_are_proved_and_others_are_not(size: int) -> None:
    tiles, root = tiles_of(size)
    paths = TilePaths(size, root, tiles.get)
    for index in {0, size // 512, size // 256 - 1}:
        leaves = LEAVES[256 * index : 256 * (index + 1)]
        assert paths.prove(index, leaves)
        other = leaves.copy()
        other[17, 3] ^= 1
        assert not paths.prove(index, other)
        assert not TilePaths(size, None, tiles.get).prove(index, leaves)


def test_the_path_itself_may_be_altered_and_what_stands_beside_it_may_not() -> None:
    size = len(LEAVES)
    tiles, root = tiles_of(size)
    leaves = LEAVES[256 * 5 : 256 * 6]
    for tile, data in tiles.items():
        if tile.level:
            for position in range(tile.width):
                altered = bytearray(data)
                altered[32 * position] ^= 1
                on_path = position == (5 >> 8 * (tile.level - 1)) % 256 and tile.index == 5 >> 8 * tile.level
                # The full tile of level 1 is covered by its hash in level 2, and the partial one leads to the root.
                assert TilePaths(size, root, {**tiles, tile: bytes(altered)}.get).prove(5, leaves) == on_path


@pytest.mark.parametrize("missing", [Tile(1, 0), Tile(1, 1, 2), Tile(2, 0, 1), Tile(0, 258, 188)])
def test_a_missing_tile_of_the_path_or_the_edge_proves_nothing(missing: Tile) -> None:
    tiles, root = tiles_of(len(LEAVES))
    assert tiles.pop(missing)
    assert not TilePaths(len(LEAVES), root, tiles.get).prove(5, LEAVES[256 * 5 : 256 * 6])
    tiles[missing] = b"short"
    assert not TilePaths(len(LEAVES), root, tiles.get).prove(5, LEAVES[256 * 5 : 256 * 6])
