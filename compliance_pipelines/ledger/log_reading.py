"""The ledger's log in the cold store, read: checkpoints, tiles, entry bundles, and the head that they lead to.

Here: reading strictly what stands under the keys of C2SP tlog-tiles, and recomputing the newest head from it. Not here:
putting anything there (publication.py), and whether the database tells the same story (anchor.py).

    audit-ledger/checkpoint                        the newest checkpoint
    audit-ledger/cosigned                          the newest one that as many witnesses cosigned as must agree
    audit-ledger/checkpoints/2026/11/2026-11-27    the last checkpoint of a UTC day, of its records' sealed_at
    audit-ledger/keys/...                          the records about keys (key_objects.py)
    audit-ledger/tile/...                          tiles and entry bundles (tiles.py)
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Final

import numpy as np

from compliance_pipelines.base.hashing import DIGEST_BYTES
from compliance_pipelines.ledger.checkpoint import Checkpoint, MalformedNoteError, NoteError, parsed_note
from compliance_pipelines.ledger.errors import (
    ForeignCheckpointError,
    FormerFormatError,
    MalformedCheckpointError,
    TilesAlteredError,
)
from compliance_pipelines.ledger.head import LedgerHead
from compliance_pipelines.ledger.key_chain import KeyChain, chain_of
from compliance_pipelines.ledger.key_objects import check_in_log, read_key_records
from compliance_pipelines.ledger.merkle import hash_leaf
from compliance_pipelines.ledger.records import MalformedRecordError, record_of
from compliance_pipelines.ledger.tile_edge import TileEdge
from compliance_pipelines.ledger.tiles import (
    ENTRIES,
    PREFIX,
    WIDTH,
    MalformedTileError,
    Tile,
    beginning_of,
    hashes_of,
    levels,
    records_of,
)
from compliance_pipelines.object_store.bounded import read_bounded
from compliance_pipelines.object_store.port import ObjectMissingError, OversizedObjectError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from compliance_pipelines.ledger.checkpoint import VerifierKey
    from compliance_pipelines.ledger.merkle import Hashes
    from compliance_pipelines.ledger.records import LedgerRecord, Statement
    from compliance_pipelines.object_store.port import ObjectInfo, ObjectStore

CHECKPOINT_KEY: Final = f"{PREFIX}checkpoint"
COSIGNED_KEY: Final = f"{PREFIX}cosigned"
DAYS: Final = f"{PREFIX}checkpoints/"
MOST_NOTE_BYTES: Final = 2**16
"""No checkpoint that is read has more bytes."""

_DAY: Final = re.compile(rf"{DAYS}([0-9]{{4}})/([0-9]{{2}})/(\1-\2-[0-9]{{2}})")
_FORMER: Final = re.compile(rf"{DAYS}[0-9]{{20}}\.json")


@dataclass(frozen=True)
class LogHead:
    """The log up to the checkpoint in the cold store, ready to grow; without arguments, the empty one.

    Attributes:
        head: the ledger's head.
        edge: the incomplete tiles.
        records: the records of the incomplete bundle.
        last: the last record; None where there is none.
        note: the signed checkpoint; empty where there is none.
        version: what the store calls this version of the checkpoint; None where there is none.
        keys: the records about keys, by place.
        left_behind: keys of objects that stand for records about keys beyond the log's end.
    """

    head: LedgerHead
    edge: TileEdge
    records: tuple[bytes, ...] = ()
    last: LedgerRecord | None = None
    note: str = ""
    version: str | None = None
    keys: tuple[Statement, ...] = ()
    left_behind: tuple[str, ...] = ()

    def chain(self, trusted: VerifierKey, new: Sequence[LedgerRecord] = ()) -> KeyChain:
        """The chain of the ledger's keys, with the records that follow.

        Raises:
            KeyRecordError: a record about a key is no link of it.
        """
        return KeyChain.of(trusted, [*self.keys, *new])


EMPTY_LOG: Final = LogHead(LedgerHead(), TileEdge())


def day_key(day: date) -> str:
    """The key of a day's last checkpoint."""
    return f"{DAYS}{day:%Y/%m}/{day}"


def day_of_key(key: str) -> date | None:
    """The day whose last checkpoint a key stands for; None where it stands for none."""
    match = _DAY.fullmatch(key)
    try:
        return None if match is None else date.fromisoformat(match[3])
    except ValueError:
        return None


def refuse_former_format(cold: ObjectStore) -> None:
    """Let a store pass that holds no ledger of format 1.

    Raises:
        FormerFormatError: it does.
        ObjectStoreError: the store failed.
    """
    first: ObjectInfo | None = next(iter(cold.list(DAYS)), None)
    if first is not None and _FORMER.fullmatch(first.key):
        raise FormerFormatError(
            f"the cold store at {cold.uri} is of format 1, which this version does not read: begin a new database with "
            "a cold store of its own, and keep this one with the version that wrote it"
        )


def opened(note: bytes, key: VerifierKey | KeyChain, where: str) -> Checkpoint:
    """The checkpoint of a note, its signatures checked.

    Raises:
        ForeignCheckpointError: signed by another key than the one in charge, or badly.
        MalformedCheckpointError: the note is none.
    """
    chain = chain_of(key)
    try:
        return chain.open_checkpoint(note.decode())
    except (MalformedNoteError, UnicodeDecodeError) as error:
        raise MalformedCheckpointError(f"{where} was altered, it holds no checkpoint: {error}") from error
    except NoteError as error:
        raise ForeignCheckpointError(f"{where} is not validly signed by {chain.name}: {error}") from error


def claimed_size(note: bytes) -> int:
    """The size that a checkpoint claims, no signature checked; 0 where it is none."""
    try:
        return Checkpoint.from_text(parsed_note(note.decode())[0]).size
    except (MalformedNoteError, UnicodeDecodeError):
        return 0


def read_chain(cold: ObjectStore, trusted: VerifierKey) -> KeyChain:
    """The chain of the ledger's keys by their objects, as far as the checkpoint claims to reach.

    It needs no other witness than the keys. Who hides a link makes a later key unknown, which signs nothing then.

    Args:
        cold: the cold store.
        trusted: a key of the ledger.

    Raises:
        KeyRecordError: an object holds something else, or is no link.
        ObjectStoreError: the store failed.
    """

    def size() -> int:
        try:
            return claimed_size(read_bounded(cold, CHECKPOINT_KEY, MOST_NOTE_BYTES))
        except (ObjectMissingError, OversizedObjectError):
            return 0

    return KeyChain.of(trusted, read_key_records(cold, size)[0])


def read_tile(cold: ObjectStore, tile: Tile) -> bytes | None:
    """The bytes of a tile; by the full one where a partial one was removed as covered; None where both are missing.

    Raises:
        MalformedTileError: it is larger than any such object, or the full one is none.
        ObjectStoreError: the store failed.
    """
    data = _object(cold, tile)
    if data is not None or tile.width == WIDTH:
        return data
    full = _object(cold, tile.full)
    return None if full is None else beginning_of(tile.full, full, tile.width)


def _object(cold: ObjectStore, tile: Tile) -> bytes | None:
    try:
        return read_bounded(cold, tile.key, tile.most_bytes)
    except OversizedObjectError as error:
        raise MalformedTileError(str(error)) from error
    except ObjectMissingError:
        return None


def read_head(cold: ObjectStore, key: VerifierKey) -> LogHead:
    """The head of the log, recomputed from its tiles, and the chain of its keys.

    The records of the last bundle, put on top of the hashes of all before, must lead to the root that the checkpoint is
    signed over, which no other records and no other hashes do (SHA-256). So must the records about keys, by which it
    is told which key that root must be signed by: before that they are believed for what the keys in them signed.

    Args:
        cold: the cold store.
        key: a key of the ledger.

    Returns:
        The head; that of the empty log where the store has no checkpoint.

    Raises:
        FormerFormatError: it is a ledger of format 1.
        MalformedCheckpointError: the checkpoint is none.
        ForeignCheckpointError: it is not validly signed by the key in charge.
        KeyRecordError: an object that stands for a record about a key is not what the log has, or no link of the chain.
        TilesAlteredError: a tile or bundle at the log's end, or on the way to a record about a key, is missing or
            altered.
        ObjectStoreError: the store failed.
    """
    where = cold.locate(CHECKPOINT_KEY)
    try:
        found = cold.read_versioned(CHECKPOINT_KEY, MOST_NOTE_BYTES)
    except ObjectMissingError:
        refuse_former_format(cold)
        return replace(EMPTY_LOG, left_behind=tuple(read_key_records(cold, lambda: 0)[1]))
    except OversizedObjectError as error:
        raise MalformedCheckpointError(f"{where} was altered: {error}") from error
    keys, left_behind = read_key_records(cold, lambda: claimed_size(found.data))
    chain = KeyChain.of(key, keys)
    checkpoint = opened(found.data, chain, where)
    if checkpoint.size == 0:
        raise MalformedCheckpointError(f"{where} was altered: none is signed over no record")
    edge, records, last = _edge(cold, checkpoint)
    partial = dict(edge.partial_tiles())
    for record in keys:
        check_in_log(cold, record, checkpoint.size, partial, lambda tile: read_tile(cold, tile))
    head = LedgerHead(checkpoint.size, b"".join(edge.tree.nodes), last.tx_to)
    note = found.data.decode()
    return LogHead(head, edge, records, last, note, found.version, tuple(keys), tuple(left_behind))


def read_records(cold: ObjectStore, first: int, size: int) -> Iterator[bytes]:
    """The bytes of the records from `first` on of a log of some size, as its entry bundles have them, unproven.

    Raises:
        TilesAlteredError: a bundle is missing or malformed.
        ObjectStoreError: the store failed.
    """
    for index in range(first // WIDTH, -(-size // WIDTH)):
        bundle = _read_records(cold, Tile(ENTRIES, index, min(WIDTH, size - index * WIDTH)))
        yield from bundle[max(0, first - index * WIDTH) :]


def _edge(cold: ObjectStore, checkpoint: Checkpoint) -> tuple[TileEdge, tuple[bytes, ...], LedgerRecord]:
    size = checkpoint.size
    bundle = Tile(ENTRIES, (size - 1) // WIDTH, (size - 1) % WIDTH + 1)
    before = size - bundle.width
    read: dict[Tile, bytes] = {}
    edge = TileEdge(before, [b"", *(_row(cold, level, before, size, read) for level in levels(before) if level)])
    records = _read_records(cold, bundle)
    leaves = np.frombuffer(b"".join(map(hash_leaf, records)), dtype=np.uint8).reshape(-1, DIGEST_BYTES)
    tiles = [*edge.extend(leaves), *edge.partial_tiles()]
    if edge.tree.root() != checkpoint.root or any(
        data != (read.get(tile) or read_hashes(cold, tile).tobytes()) for tile, data in tiles
    ):
        raise TilesAlteredError(
            f"the tiles and the entry bundle {cold.locate(bundle.key)} do not lead to the root that the checkpoint of "
            f"{size} records is signed over: they were altered; run `compliance verify --all`"
        )
    try:
        last = record_of(records[-1])
    except MalformedRecordError as error:
        raise TilesAlteredError(f"{cold.locate(bundle.key)} ends in something else than a record: {error}") from error
    return edge, tuple(records) if bundle.width < WIDTH else (), last


def _row(cold: ObjectStore, level: int, before: int, size: int, read: dict[Tile, bytes]) -> bytes:
    """The hashes that a level's incomplete tile had before the last bundle."""
    index, width = before >> 8 * (level + 1), (before >> 8 * level) % WIDTH
    if not width:
        return b""
    tile = Tile(level, index, min((size >> 8 * level) - index * WIDTH, WIDTH))
    read[tile] = read_hashes(cold, tile).tobytes()
    return read[tile][: width * DIGEST_BYTES]


def read_hashes(cold: ObjectStore, tile: Tile) -> Hashes:
    """The hashes of a tile that the log must have.

    Raises:
        TilesAlteredError: it is missing, or has not the size of such a tile.
        ObjectStoreError: the store failed.
    """
    try:
        return hashes_of(_read_or_refuse(cold, tile), tile.width)
    except MalformedTileError as error:
        raise _altered(cold, tile, str(error)) from error


def _read_records(cold: ObjectStore, tile: Tile) -> list[bytes]:
    try:
        return records_of(_read_or_refuse(cold, tile), tile.width)
    except MalformedTileError as error:
        raise _altered(cold, tile, str(error)) from error


def _read_or_refuse(cold: ObjectStore, tile: Tile) -> bytes:
    data = read_tile(cold, tile)
    if data is None:
        raise TilesAlteredError(
            f"the ledger's tile {cold.locate(tile.key)} is not there: restore the object (versions of the bucket, a "
            "replica); nothing is sealed without it"
        )
    return data


def _altered(cold: ObjectStore, tile: Tile, how: str) -> TilesAlteredError:
    return TilesAlteredError(f"{cold.locate(tile.key)} was altered: {how}; run `compliance verify --all`")
