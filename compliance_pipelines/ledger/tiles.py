"""Tiles and entry bundles as C2SP tlog-tiles defines them (https://c2sp.org/tlog-tiles): their keys and their bytes.

Here: which tiles a ledger of some size has, where they are, what their bytes are (sections "Merkle Tree", "Partial
Tiles" and "Log entries"). Not here: hashing (tile_edge.py), reading (log_reading.py), publishing (publication.py).

A hash tile of level L and index N holds 256 consecutive hashes of the tree's level 8 * L, from 256 * N on; a partial
one holds the first of them. An entry bundle holds the records of the hash tile of level 0 with the same index.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from compliance_pipelines.base.hashing import DIGEST_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from compliance_pipelines.ledger.merkle import Hashes

PREFIX: Final = "audit-ledger/"
"""What a client of tlog-tiles takes for the log's prefix."""
TILES: Final = f"{PREFIX}tile/"
WIDTH: Final = 256
"""Hashes of a full tile, records of a full bundle."""
ENTRIES: Final = -1
"""The level of entry bundles, which the format calls `entries`."""
MOST_BUNDLE_BYTES: Final = WIDTH * (2 + 2**16 - 1)

_LEVELS: Final = 64
_LENGTH_BYTES: Final = 2
_PATH: Final = re.compile(rf"{TILES}(entries|0|[1-9][0-9]?)/((?:x[0-9]{{3}}/)*[0-9]{{3}})(?:\.p/([1-9][0-9]{{0,2}}))?")


class MalformedTileError(ValueError):
    """Bytes are no tile or no bundle of the width that was asked for."""


@dataclass(frozen=True)
class Tile:
    """A tile or an entry bundle.

    Attributes:
        level: 0 to 63, or ENTRIES.
        index: from 0, within the level.
        width: 1 to 256; below 256 it is a partial one.
    """

    level: int
    index: int
    width: int = WIDTH

    @property
    def key(self) -> str:
        """`tile/<L>/<N>[.p/<W>]` below the prefix; the index in groups of three digits, all but the last after an x."""
        digits = f"{self.index:03d}"
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[start : start + 3] for start in range(0, len(digits), 3)]
        path = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
        level = "entries" if self.level == ENTRIES else self.level
        return f"{TILES}{level}/{path}" + (f".p/{self.width}" if self.width < WIDTH else "")

    @property
    def full(self) -> Tile:
        """The full tile that this one is, or becomes."""
        return Tile(self.level, self.index)

    @property
    def partial_keys(self) -> str:
        """With what the keys of all partial tiles of this one begin."""
        return f"{self.full.key}.p/"

    @property
    def most_bytes(self) -> int:
        """No such object has more bytes."""
        return MOST_BUNDLE_BYTES if self.level == ENTRIES else self.width * DIGEST_BYTES


def tile_of_key(key: str) -> Tile | None:
    """The tile that a key stands for; None where it is no tile's key, or another way to write one."""
    match = _PATH.fullmatch(key)
    if match is None:
        return None
    level = ENTRIES if match[1] == "entries" else int(match[1])
    index = int(match[2].replace("x", "").replace("/", ""))
    tile = Tile(level, index, WIDTH if match[3] is None else int(match[3]))
    return tile if level < _LEVELS and tile.key == key else None


def last_tile(level: int, size: int) -> Tile | None:
    """The partial tile of a level, of which a log of some size has at most one; None where it has none."""
    hashes = size >> 8 * max(level, 0)
    return Tile(level, hashes // WIDTH, hashes % WIDTH) if hashes % WIDTH else None


def full_tiles(level: int, size: int) -> int:
    """How many full tiles a log of some size has on a level."""
    return size >> 8 * (max(level, 0) + 1)


def levels(size: int) -> Iterator[int]:
    """The levels on which a log of some size has tiles, lowest first."""
    level = 0
    while size >> 8 * level:
        yield level
        level += 1


def hashes_of(data: bytes, width: int) -> Hashes:
    """The hashes of a tile.

    Raises:
        MalformedTileError: it has another number of bytes.
    """
    if len(data) != width * DIGEST_BYTES:
        raise MalformedTileError(f"it has {len(data):,} bytes, and {width} hashes have {width * DIGEST_BYTES:,}")
    return np.frombuffer(data, dtype=np.uint8).reshape(-1, DIGEST_BYTES)


def records_of(data: bytes, width: int) -> list[bytes]:
    """The records of a bundle.

    Raises:
        MalformedTileError: it has another number of them, or is no sequence of lengths and records.
    """
    records: list[bytes] = []
    start = 0
    while start < len(data):
        after = start + _LENGTH_BYTES
        end = after + int.from_bytes(data[start:after], "big")
        if end > len(data) or len(records) == width:
            raise MalformedTileError(
                f"its record {len(records)} does not end where the bundle ends, or is one too many"
            )
        records.append(data[after:end])
        start = end
    if len(records) != width:
        raise MalformedTileError(f"it has {len(records)} records, and {width} must be there")
    return records


def beginning_of(tile: Tile, data: bytes, width: int) -> bytes:
    """What the partial tile of a width holds, by the tile that came after it.

    Raises:
        MalformedTileError: that is none of its width.
    """
    if tile.level == ENTRIES:
        return bundle_of(records_of(data, tile.width)[:width])
    return hashes_of(data, tile.width)[:width].tobytes()


def bundle_of(records: Iterable[bytes]) -> bytes:
    """The bytes of a bundle: each record after its length in 16 bits, big-endian."""
    return b"".join(len(record).to_bytes(_LENGTH_BYTES, "big") + record for record in records)
