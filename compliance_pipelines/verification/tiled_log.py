"""The tiles and entry bundles of the cold store, each against the others.

Here: which leaves a log has, of what its bundles, its tiles and a witness say, and which object says something else.
Not here: whether signed roots follow from the leaves (chain.py).

A bundle's records and the tile of level 0 say the same leaves twice, the tile above says their root. Where they differ,
the leaves that lead to the root are right; the other object was altered. It is read in order, one tile at a time, so
that memory holds a tile of each level.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np

from compliance_pipelines.base.hashing import DIGEST_BYTES
from compliance_pipelines.base.streaming import run_ahead
from compliance_pipelines.ledger.key_chain import is_key_record
from compliance_pipelines.ledger.log_reading import day_key, read_tile
from compliance_pipelines.ledger.merkle import CompactRange, hash_leaf, merkle_root
from compliance_pipelines.ledger.records import MalformedRecordError, record_of
from compliance_pipelines.ledger.tile_edge import TileEdge
from compliance_pipelines.ledger.tiles import (
    ENTRIES,
    TILES,
    WIDTH,
    MalformedTileError,
    Tile,
    beginning_of,
    full_tiles,
    hashes_of,
    last_tile,
    records_of,
    tile_of_key,
)
from compliance_pipelines.verification.chain import NAMES, day_of, name_of
from compliance_pipelines.verification.findings import Finding, Kind, Note, NoteKind, Undecided
from compliance_pipelines.verification.guard import reason_of
from compliance_pipelines.verification.progress import Stage
from compliance_pipelines.verification.segment_index import Source, fits_index
from compliance_pipelines.verification.tile_path import TilePaths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from compliance_pipelines.ledger.merkle import Hashes
    from compliance_pipelines.ledger.records import LedgerRecord
    from compliance_pipelines.object_store.port import ObjectStore
    from compliance_pipelines.verification.checkpoints import ColdHeads
    from compliance_pipelines.verification.findings import Journal
    from compliance_pipelines.verification.progress import Progress
    from compliance_pipelines.verification.segment_index import SegmentIndex

_T = TypeVar("_T")

READ_AHEAD: Final = 16
_SHOWN: Final = 5


@dataclass(frozen=True)
class _Read:
    """What reading an object gave: bytes; nothing where it is missing; or why neither is known."""

    tile: Tile
    data: bytes | None = None
    problem: str = ""
    failure: Exception | None = None


def _read(store: ObjectStore, tile: Tile) -> _Read:
    try:
        return _Read(tile, read_tile(store, tile))
    except MalformedTileError as error:
        return _Read(tile, problem=str(error))
    except Exception as error:  # noqa: BLE001 - whatever an object makes of a library, the others are looked at
        return _Read(tile, failure=error)


def listed_size(store: ObjectStore) -> int:
    """How many records the cold store has bundles or tiles of level 0 for, by their keys alone.

    Raises:
        ObjectStoreError: the store cannot be listed.
    """
    prefixes = (f"{TILES}0/", f"{TILES}entries/")
    tiles = (tile_of_key(info.key) for prefix in prefixes for info in store.list(prefix))
    return max((tile.index * WIDTH + tile.width for tile in tiles if tile is not None), default=0)


class TiledLog:
    """Reads a log of some size.

    Args:
        store: the cold store.
        size: records of the log.
        listed: records that there are objects of, see :func:`listed_size`.
        root: what is signed over them; None where nothing is.
        heads: the checkpoints of the cold store: of each day that is over, the last must be kept.
        index: gets the records under Source.LEDGER; holds those of the witness.
        witness: the source that is asked where bundle and tile do not help.
        journal: is told what is missing or altered.
        progress: told of records read.

    Attributes:
        roots_before_keys: the root of the records before each record about a key, by its place, as far as it is known.
    """

    def __init__(  # noqa: PLR0913 - what one reading needs
        self,
        store: ObjectStore,
        size: int,
        listed: int,
        root: bytes | None,
        heads: ColdHeads,
        *,
        index: SegmentIndex,
        witness: Source,
        journal: Journal,
        progress: Progress,
    ) -> None:
        self.size = size
        self._listed = min(size, listed)
        self._store = store
        self._root = root
        self._paths = TilePaths(size, root, lambda tile: _read(store, tile).data)
        self._heads = heads
        self._index = index
        self._witness = witness
        self._journal = journal
        self._progress = progress
        self._tree: CompactRange | None = CompactRange()
        self._edge: TileEdge | None = TileEdge()
        self._above: tuple[int, Hashes | None] = (-1, None)
        self._last: LedgerRecord | None = None
        self._upper: list[Finding] = []
        self.roots_before_keys: dict[int, bytes] = {}

    def leaves(self) -> Iterator[Hashes | None]:
        """The leaves of each bundle in order, as far as there are any; None where nothing says them."""
        count = -(-self._listed // WIDTH)
        with run_ahead(self._objects(count), depth=READ_AHEAD, name="tile-reader") as objects:
            for bundle, tile in objects:
                yield self._leaves(bundle, tile)
                self._progress(Stage.SEGMENTS, min(self.size, (bundle.tile.index + 1) * WIDTH), self.size)
        first = count * WIDTH
        if first < self.size:
            message = f"the entry bundles and tiles of segments {first} to {self.size - 1} are missing"
            self._find(Kind.BUNDLE_MISSING, Tile(ENTRIES, count), message, first)
        else:
            self._compare_partial_tiles()

    def _objects(self, count: int) -> Iterator[tuple[_Read, _Read]]:
        for index in range(count):
            width = min(WIDTH, self.size - index * WIDTH)
            yield _read(self._store, Tile(ENTRIES, index, width)), _read(self._store, Tile(0, index, width))

    def _leaves(self, bundle: _Read, tile: _Read) -> Hashes | None:
        index, width = tile.tile.index, tile.tile.width
        first = index * WIDTH
        records = self._parsed(bundle, records_of, Kind.BUNDLE_MISSING, Kind.BUNDLE_ALTERED)
        ours = None if records is None else _leaves_of(records)
        theirs = self._parsed(tile, hashes_of, Kind.TILE_MISSING, Kind.TILE_ALTERED)
        leaves = self._chosen(first, width, ours, theirs)
        if leaves is not None:
            self._compare(bundle.tile, ours, leaves, Kind.BUNDLE_ALTERED)
            self._compare(tile.tile, theirs, leaves, Kind.TILE_ALTERED)
        self._take(first, width, records, leaves, bundle.tile)
        self._grow(leaves)
        return leaves

    def _parsed(self, read: _Read, parse: Callable[[bytes, int], _T], missing: Kind, altered: Kind) -> _T | None:
        key, problem = read.tile.key, read.problem
        if read.failure is not None:
            self._journal.cannot_tell(Undecided(f"{key} could not be read: {reason_of(read.failure)}"))
            return None
        if read.data is not None:
            try:
                return parse(read.data, read.tile.width)
            except MalformedTileError as error:
                problem = str(error)
        if problem:
            self._find(altered, read.tile, f"{key} was altered: {problem}")
        else:
            self._find(missing, read.tile, f"{key} is missing from the cold store")
        return None

    def _chosen(self, first: int, width: int, ours: Hashes | None, theirs: Hashes | None) -> Hashes | None:
        """The leaves that lead to what is above them; where nothing tells, those of the bundle."""
        likely = ours if ours is not None else theirs
        if likely is not None and self._fits(first, width, likely) is not False and _same(ours, theirs):
            return likely
        candidates = [each for each in (ours, theirs) if each is not None]
        known = self._of_witness(first, width, likely)
        # The tile above may be altered, too: what leads to the signed root is right, whatever the tile above says.
        for candidate in (*candidates, *known):
            if self._paths.prove(first // WIDTH, candidate):
                return candidate
        for candidate in (*candidates, *known):
            if self._fits(first, width, candidate):
                return candidate
        if likely is None and known:
            return known[0]
        return likely

    def _fits(self, first: int, width: int, leaves: Hashes) -> bool | None:
        """Whether leaves lead to the tile above them, or at the end to the signed root; None where nobody knows."""
        if width == WIDTH:
            above = self._hash_above(first // WIDTH)
            if above is not None:
                return merkle_root(leaves) == above
        if first + width != self.size or self._root is None or self._tree is None:
            return None
        tree = CompactRange.from_nodes(self._tree.size, self._tree.nodes)
        tree.extend(leaves)
        return tree.root() == self._root

    def _hash_above(self, index: int) -> bytes | None:
        at, hashes = self._above
        if at != index // WIDTH:
            at, hashes = index // WIDTH, None
            tile = Tile(1, at, min(WIDTH, full_tiles(0, self.size) - at * WIDTH))
            read = _read(self._store, tile)
            try:
                hashes = None if read.data is None else hashes_of(read.data, tile.width)
            except MalformedTileError:
                hashes = None
            self._above = (at, hashes)
        return None if hashes is None else hashes[index % WIDTH].tobytes()

    def _of_witness(self, first: int, width: int, base: Hashes | None) -> list[Hashes]:
        """The leaves with those of the witness in their place, as far as it speaks of them."""
        if base is None and self._index.count(self._witness, first, first + width) < width:
            return []
        leaves = np.zeros((width, DIGEST_BYTES), dtype=np.uint8) if base is None else base.copy()
        for record in self._index.between(self._witness, first, first + width):
            leaves[record.seq - first] = np.frombuffer(record.leaf_hash(), dtype=np.uint8)
        return [leaves]

    def _compare(self, tile: Tile, said: Hashes | None, leaves: Hashes, kind: Kind) -> None:
        if said is None or _same(said, leaves):
            return
        differing = (np.flatnonzero((said != leaves).any(axis=1)) + tile.index * WIDTH).tolist()
        shown = ", ".join(map(str, differing[:_SHOWN])) + (", ..." if len(differing) > _SHOWN else "")
        what = "records" if tile.level == ENTRIES else "hashes"
        self._find(
            kind,
            tile,
            f"{tile.key} was altered: its {what} of {len(differing)} of {len(leaves)} segments ({shown}) are not those "
            "that the other objects of the ledger lead to",
            differing[0],
        )

    def _take(
        self, first: int, width: int, records: Sequence[bytes] | None, leaves: Hashes | None, bundle: Tile
    ) -> None:
        """Put the records into the index that have the leaves."""
        taken: list[LedgerRecord] = []
        for position, data in enumerate(records or ()):
            record = _record(data, first + position)
            if leaves is None or hash_leaf(data) == leaves[position].tobytes():
                if record is None:
                    message = (
                        f"{bundle.key} was altered: its record {first + position} is none of that place in the ledger"
                    )
                    self._find(Kind.BUNDLE_ALTERED, bundle, message, first + position)
                else:
                    taken.append(record)
        if len(taken) < width and leaves is not None:
            known = {record.seq for record in taken}
            taken += [
                record
                for record in self._index.between(self._witness, first, first + width)
                if record.seq not in known and record.leaf_hash() == leaves[record.seq - first].tobytes()
            ]
            taken.sort(key=lambda record: record.seq)
            self._find_altered_in_both(first, width, {record.seq for record in taken})
        self._index.add(Source.LEDGER, taken)
        for record in taken:
            self._look_at_day(record)
            if is_key_record(record) and leaves is not None and self._tree is not None:
                before = CompactRange.from_nodes(self._tree.size, self._tree.nodes)
                before.extend(leaves[: record.seq - first])
                self.roots_before_keys[record.seq] = before.root()

    def _find_altered_in_both(self, first: int, width: int, known: set[int]) -> None:
        """Records of the witness that are not as they were signed, where the bundle does not have them either."""
        for record in self._index.between(self._witness, first, first + width):
            if record.seq not in known:
                day = day_of(record)
                message = (
                    f"{name_of(record.seq, day)} is not as it was signed where {NAMES[self._witness]} it, and the "
                    "entry bundle does not hold it either"
                )
                self._journal.find(Finding(kind=Kind.SEGMENT_ALTERED, day=day, segment=record.seq, message=message))

    def _look_at_day(self, record: LedgerRecord) -> None:
        """Whether the last checkpoint of a day that is over was kept."""
        before, self._last = self._last, record
        if before is None or before.seq != record.seq - 1:
            return
        day = before.sealed_at.date()
        if day >= record.sealed_at.date() or day in self._heads.damaged_days:
            return
        key, kept = day_key(day), self._heads.days.get(day)
        if kept is None:
            message = f"{key}, the last checkpoint of {day}, which is of {record.seq} records, is missing"
            kind = Kind.DAILY_CHECKPOINT_MISSING
        elif kept.size != record.seq:
            message = f"{key} was altered: it is of {kept.size} records, and the last one of {day} is of {record.seq}"
            kind = Kind.CHECKPOINT_ALTERED
        else:
            return
        self._journal.find(Finding(kind=kind, key=key, checkpoint=record.seq, message=message))

    def _grow(self, leaves: Hashes | None) -> None:
        if leaves is None or self._tree is None or self._edge is None:
            self._tree = self._edge = None
            return
        self._tree.extend(leaves)
        for tile, data in self._edge.extend(leaves):
            self._compare_tile(tile, data)

    def _compare_partial_tiles(self) -> None:
        if self._edge is not None:
            for tile, data in self._edge.partial_tiles():
                self._compare_tile(tile, data)

    def _compare_tile(self, tile: Tile, data: bytes) -> None:
        """A tile above those of the leaves."""
        if tile.level == 0:
            return
        hashes = self._parsed(_read(self._store, tile), hashes_of, Kind.TILE_MISSING, Kind.TILE_ALTERED)
        if hashes is not None and hashes.tobytes() != data:
            message = f"{tile.key} was altered: its hashes are not those of the tiles below it"
            self._upper.append(Finding(kind=Kind.TILE_ALTERED, key=tile.key, message=message))

    def find_upper_tiles(self) -> None:
        """Say which tiles above level 0 are altered; to be called where no signed root contradicts the leaves."""
        for finding in self._upper:
            self._journal.find(finding)

    def check_others(self, *, confirmed: bool) -> None:
        """Look at the tiles that the log has no need of: partial ones of before, and those beyond its end.

        To be called when the leaves were gone through.

        Args:
            confirmed: whether the leaves lead to a signed root; otherwise nobody knows which tile is right.

        Raises:
            ObjectStoreError: the store cannot be listed.
        """
        edge = {} if self._edge is None else dict(self._edge.partial_tiles())
        for info in self._store.list(TILES):
            tile = tile_of_key(info.key)
            if tile is None or tile == last_tile(tile.level, self.size):
                continue
            full = full_tiles(tile.level, self.size)
            if tile.index < full and tile.width == WIDTH:
                continue
            covering = tile.full if tile.index < full else last_tile(tile.level, self.size)
            if covering is None or covering.index != tile.index or covering.width < tile.width:
                message = (
                    f"{tile.key} is of a larger ledger than the checkpoint, which is of {self.size} records: a pass "
                    "that was interrupted left it, or the checkpoint was put back"
                )
                self._journal.note(Note(kind=NoteKind.OBJECT_UNCOMMITTED, key=tile.key, message=message))
            elif confirmed:
                hashes = replace(covering, level=max(covering.level, 0))
                self._compare_beginning(tile, covering, hashes, edge.get(hashes))

    def _compare_beginning(self, tile: Tile, covering: Tile, hashes: Tile, known: bytes | None) -> None:
        """A partial tile is the beginning of the one that came after it; a bundle has the leaves of the hash tile."""
        ours = _read(self._store, tile)
        if ours.failure is not None:
            self._journal.cannot_tell(Undecided(f"{tile.key} could not be read: {reason_of(ours.failure)}"))
            return
        data = _read(self._store, hashes).data if known is None else known
        try:
            beginning = None if data is None else beginning_of(hashes, data, tile.width)
        except MalformedTileError:
            return
        if beginning is not None and _hashes_said(ours) != beginning:
            message = f"{tile.key} was altered: it is not the beginning of {covering.key}, which came after it"
            self._find(Kind.BUNDLE_ALTERED if tile.level == ENTRIES else Kind.TILE_ALTERED, tile, message)

    def _find(self, kind: Kind, tile: Tile, message: str, segment: int | None = None) -> None:
        self._journal.find(Finding(kind=kind, key=tile.key, segment=segment, message=message))


def _leaves_of(records: Sequence[bytes]) -> Hashes:
    return np.frombuffer(b"".join(map(hash_leaf, records)), dtype=np.uint8).reshape(-1, DIGEST_BYTES)


def _hashes_said(read: _Read) -> bytes | None:
    """The hashes of a tile, or the leaves of a bundle; None where it is none."""
    if read.data is None or read.tile.level != ENTRIES:
        return read.data
    try:
        return _leaves_of(records_of(read.data, read.tile.width)).tobytes()
    except MalformedTileError:
        return None


def _same(one: Hashes | None, other: Hashes | None) -> bool:
    return one is not None and other is not None and one.tobytes() == other.tobytes()


def _record(data: bytes, seq: int) -> LedgerRecord | None:
    try:
        record = record_of(data)
    except MalformedRecordError:
        return None
    return record if record.seq == seq and fits_index(record) else None
