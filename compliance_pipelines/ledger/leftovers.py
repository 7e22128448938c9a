"""Tiles and bundles beyond the checkpoint of the cold store: what a pass left that a database no longer knows.

Here: finding them, and taking away those that stand where the next publication must put something else. Not here:
whether the checkpoint is the newest that was ever signed (recovery.py asks before).

A pass that is killed before its checkpoint leaves tiles, and the next pass of the same database puts the same ones. A
database that was restored to before that pass makes other records, which must not be put over them. No checkpoint
needs them: what is beyond its size is covered by none of its hashes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compliance_pipelines.ledger.log_reading import read_tile
from compliance_pipelines.ledger.tiles import TILES, WIDTH, Tile, last_tile, tile_of_key
from compliance_pipelines.object_store.bounded import read_bounded
from compliance_pipelines.object_store.port import ObjectExistsError, ObjectMissingError, OversizedObjectError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from compliance_pipelines.object_store.port import ObjectStore


def leftovers(cold: ObjectStore, size: int, expected: Mapping[str, bytes]) -> list[Tile]:
    """The tiles and bundles that a log of some size does not have, and that nobody is about to put.

    Args:
        cold: the cold store.
        size: records of the log.
        expected: what the database is about to publish, by key: an object with these bytes is in its place.

    Raises:
        ObjectStoreError: the store failed.
    """
    return [tile for tile in _beyond(cold, size) if not _holds(cold, tile, expected.get(tile.key))]


def remove_leftovers(cold: ObjectStore, size: int, found: Collection[Tile]) -> None:
    """Take them away. Where a full one stands in for a partial one that the log has, that one is put back first.

    Raises:
        MalformedTileError: a full one does not hold the beginning that it stands in for.
        ObjectStoreError: the store failed; whoever calls it again goes on.
    """
    for tile in found:
        needed = last_tile(tile.level, size)
        if needed is not None and tile == needed.full:
            data = read_tile(cold, needed)
            if data is not None:
                _put(cold, needed.key, data)
        cold.delete(tile.key)


def _beyond(cold: ObjectStore, size: int) -> Iterator[Tile]:
    for info in cold.list(TILES):
        tile = tile_of_key(info.key)
        if tile is not None and tile.index * WIDTH + tile.width > size >> 8 * max(tile.level, 0):
            yield tile


def _holds(cold: ObjectStore, tile: Tile, data: bytes | None) -> bool:
    if data is None:
        return False
    try:
        return read_bounded(cold, tile.key, len(data)) == data
    except (OversizedObjectError, ObjectMissingError):
        return False


def _put(cold: ObjectStore, key: str, data: bytes) -> None:
    try:
        cold.put_bytes(key, data)
    except ObjectExistsError:
        # It was never removed.
        return
