from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pytest

from compliance_pipelines.ledger.errors import TilesAlteredError
from compliance_pipelines.ledger.merkle import hash_leaf, inclusion_path
from compliance_pipelines.ledger.tile_edge import TileEdge
from compliance_pipelines.ledger.tile_proofs import TileTree
from compliance_pipelines.ledger.tiles import Tile
from tests.unit.ledger.logs import made_log, record

if TYPE_CHECKING:
    from typing import BinaryIO

    from compliance_pipelines.ledger.merkle import Hashes
    from compliance_pipelines.object_store.local import LocalObjectStore


ROOT: Final = bytes(32)
"""Whoever asks for an audit path compares it with a root; none is needed to find it."""


def put_tiles(store: LocalObjectStore, size: int) -> Hashes:
    """The hash tiles of a log; the hashes of its leaves."""
    leaves = b"".join(hash_leaf(number.to_bytes(8, "big")) for number in range(size))
    hashes, edge = np.frombuffer(leaves, dtype=np.uint8).reshape(-1, 32), TileEdge()
    for tile, data in (*edge.extend(hashes), *edge.partial_tiles()):
        store.put_bytes(tile.key, data)
    return hashes


@pytest.mark.parametrize("size", [1, 2, 3, 5, 255, 256, 257, 511, 512, 600, 65_536, 65_537, 66_000])
def test_the_path_is_that_of_the_whole_tree(object_store: LocalObjectStore, size: int) -> None:
    hashes = put_tiles(object_store, size)
    for index in {0, 1, size // 3, size // 2, 255, 256, size - 2, size - 1} & set(range(size)):
        assert TileTree(object_store, size, ROOT).inclusion_path(index) == inclusion_path(hashes, index)


def test_the_path_to_an_older_checkpoint_is_found_when_its_partial_tiles_are_gone(
    object_store: LocalObjectStore,
) -> None:
    made_log(object_store, [300, 300])
    assert list(object_store.list(Tile(0, 1).partial_keys)) == []
    leaves = [record(seq).leaf_hash() for seq in range(300)]
    for index in (0, 270, 299):
        assert TileTree(object_store, 300, ROOT).inclusion_path(index) == inclusion_path(leaves, index)


def test_a_path_takes_few_tiles_however_long_the_log_is(
    object_store: LocalObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 258 hash tiles: two of the lowest level, its last one, and those above."""
    put_tiles(object_store, 66_000)
    opened: list[str] = []
    opening = object_store.open

    def noted(key: str) -> BinaryIO:
        opened.append(key)
        return opening(key)

    monkeypatch.setattr(object_store, "open", noted)
    TileTree(object_store, 66_000, ROOT).inclusion_path(12_345)
    assert len(opened) == len(set(opened)) <= 5


def test_a_tile_that_is_not_there_is_an_error(object_store: LocalObjectStore) -> None:
    put_tiles(object_store, 600)
    object_store.delete(Tile(0, 1).key)
    with pytest.raises(TilesAlteredError, match="is not there"):
        TileTree(object_store, 600, ROOT).inclusion_path(300)


@pytest.mark.parametrize(("index", "size"), [(0, 0), (-1, 3), (3, 3)])
def test_a_record_that_the_log_has_not_has_no_path(object_store: LocalObjectStore, index: int, size: int) -> None:
    with pytest.raises(IndexError, match=f"a log of {size} records has no record {index}"):
        TileTree(object_store, size, ROOT).inclusion_path(index)
