"""Keys and bytes of tiles are those of C2SP tlog-tiles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance_pipelines.ledger.merkle import merkle_root
from compliance_pipelines.ledger.tile_edge import TileEdge
from compliance_pipelines.ledger.tiles import (
    ENTRIES,
    MalformedTileError,
    Tile,
    beginning_of,
    bundle_of,
    full_tiles,
    hashes_of,
    last_tile,
    levels,
    records_of,
    tile_of_key,
)
from tests.unit.ledger import stranger

tiles = st.builds(Tile, st.integers(ENTRIES, 63), st.integers(0, 2**63), st.integers(1, 256))
records = st.lists(st.binary(max_size=300), min_size=1, max_size=256)


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "0/000"),
        (Tile(0, 0, 1), "0/000.p/1"),
        (Tile(2, 7, 255), "2/007.p/255"),
        (Tile(1, 999), "1/999"),
        (Tile(1, 1000), "1/x001/000"),
        (Tile(ENTRIES, 1234067), "entries/x001/x234/067"),
        (Tile(ENTRIES, 1234067, 8), "entries/x001/x234/067.p/8"),
    ],
)
def test_keys_are_those_of_the_specification(tile: Tile, path: str) -> None:
    assert tile.key == f"audit-ledger/tile/{path}"
    assert tile_of_key(tile.key) == tile


@given(tiles)
def test_every_key_is_read_as_its_tile_and_a_stranger_writes_it_alike(tile: Tile) -> None:
    assert tile_of_key(tile.key) == tile
    assert tile.key == stranger.tile_key("entries" if tile.level == ENTRIES else tile.level, tile.index, tile.width)


@pytest.mark.parametrize(
    "path",
    [
        "64/000",
        "00/000",
        "0/0",
        "0/00",
        "0/x000/001",
        "0/001/002",
        "0/x001",
        "0/001.p/0",
        "0/001.p/01",
        "0/001.p/256",
        "0/001.p",
        "entries/001.p/999",
        "0/\u0660\u0660\u0661",
        "-1/000",
        "0/000/",
        "0/000.p/1\n",
    ],
)
def test_another_way_to_write_a_key_is_none(path: str) -> None:
    assert tile_of_key(f"audit-ledger/tile/{path}") is None


@given(records)
def test_a_bundle_is_read_as_it_was_written_and_its_beginning_too(written: list[bytes]) -> None:
    data = bundle_of(written)
    assert records_of(data, len(written)) == written
    for width in range(1, len(written)):
        assert beginning_of(Tile(ENTRIES, 0, len(written)), data, width) == bundle_of(written[:width])


@given(st.binary(max_size=600), st.integers(1, 256))
def test_other_bytes_are_no_bundle_or_are_exactly_its_records(data: bytes, width: int) -> None:
    try:
        found = records_of(data, width)
    except MalformedTileError:
        return
    assert len(found) == width
    assert data == bundle_of(found)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00", b"\x00\x05abcd", b"\x00\x01a\x00", bundle_of([b"a"]) + b"\x00", bundle_of([b"a"] * 257)],
    ids=["empty", "half a length", "cut off", "half a length after", "a zero after", "257 records"],
)
def test_what_is_no_bundle_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedTileError):
        records_of(data, 1)


@pytest.mark.parametrize("size", [0, 31, 33, 257 * 32])
def test_what_is_no_tile_is_refused(size: int) -> None:
    with pytest.raises(MalformedTileError):
        hashes_of(bytes(size), 1)


def test_a_log_of_70000_has_the_tiles_of_the_specification() -> None:
    assert [full_tiles(level, 70_000) for level in levels(70_000)] == [273, 1, 0]
    assert [last_tile(level, 70_000) for level in levels(70_000)] == [Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)]
    assert last_tile(0, 256) is None
    assert last_tile(1, 256) == Tile(1, 0, 1)


@pytest.mark.parametrize("steps", [[1], [255, 1], [256], [257], [1, 255, 256, 600], [66_000, 5]])
def test_an_edge_makes_the_tiles_that_a_stranger_makes(steps: list[int]) -> None:
    leaves = np.random.default_rng(0).integers(0, 256, (sum(steps), 32), dtype=np.uint8)
    made: dict[str, bytes] = {}
    edge, at = TileEdge(), 0
    for count in steps:
        made |= {tile.key: data for tile, data in edge.extend(leaves[at : at + count])}
        at += count
        assert edge.size == edge.tree.size == at
        assert edge.tree.root() == merkle_root(leaves[:at])
    made |= {tile.key: data for tile, data in edge.partial_tiles()}
    assert stranger.check_tiles(made, [leaf.tobytes() for leaf in leaves]) == set(made)
