"""Publishing: new records become tiles and entry bundles of the log, and a new checkpoint takes the old one's place.

Here: the order in which objects are put, so that a pass that is killed anywhere is finished by the next. Not here:
which checkpoint may be published (anchor.py); keys and bytes of tiles (tiles.py).

1. Bundles and tiles, full and partial ones, are put where they are not there yet: no checkpoint needs them before. So
   are the objects of new records about keys, in the place of any that a pass left behind which never came to its end.
2. The partial ones that a full one covers now are removed (tlog-tiles, section "Partial Tiles": only then they may be;
   until the new checkpoint is there, readers of the old one find the beginning of the full one).
3. Where a new UTC day begins, by the records' `sealed_at`, the old checkpoint is put under its day, for good.
4. The checkpoint is replaced, if it is still the one that the pass began with, be it that witnesses cosigned it
   meanwhile. That is the commit.

Whoever is killed before 4 left the old checkpoint, so that the next pass does it all again and finds its own objects.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from compliance_pipelines.base.hashing import DIGEST_BYTES
from compliance_pipelines.ledger.errors import CheckpointReplacedError, LedgerForkError
from compliance_pipelines.ledger.head import LedgerHead
from compliance_pipelines.ledger.key_chain import is_key_record
from compliance_pipelines.ledger.key_objects import key_object_key
from compliance_pipelines.ledger.log_reading import CHECKPOINT_KEY, MOST_NOTE_BYTES, LogHead, day_key
from compliance_pipelines.ledger.tiles import ENTRIES, WIDTH, Tile, bundle_of, full_tiles, last_tile, levels
from compliance_pipelines.object_store.bounded import read_bounded
from compliance_pipelines.object_store.port import (
    ObjectExistsError,
    ObjectMissingError,
    ObjectReplacedError,
    OversizedObjectError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from compliance_pipelines.ledger.records import LedgerRecord, Statement
    from compliance_pipelines.ledger.tile_edge import TileEdge
    from compliance_pipelines.object_store.port import ObjectStore, VersionedObject

# How often witnesses may add a line between a reading and the swap, each of which takes milliseconds.
_ATTEMPTS: Final = 5


def publish(
    cold: ObjectStore, log: LogHead, new: Sequence[LedgerRecord], note: str, step: Callable[[str], None]
) -> LogHead:
    """Append records to the log and put the checkpoint over them in the place of the old one.

    Args:
        cold: the cold store.
        log: its head, as it was read.
        new: the records that follow, at least one.
        note: the checkpoint over all of them, which is right.
        step: called with the name of each step that is done: `tiles put`, `key record put` where there is one, `partial
            tiles removed`, `day kept`, `checkpoint put`.

    Returns:
        The log's new head.

    Raises:
        LedgerForkError: an object that no checkpoint needs yet is there, and is another one.
        CheckpointReplacedError: another database replaced the checkpoint meanwhile.
        ObjectStoreError: the store failed; the next pass goes on from here.
    """
    edge = log.edge.copy()
    records = [*log.records, *(record.record_bytes() for record in new)]
    for tile, data in _new_objects(log, edge, records, new):
        _put(cold, tile.key, data)
    step("tiles put")
    keys = list(filter(is_key_record, new))
    _put_keys(cold, log, keys)
    if keys:
        step("key record put")
    _remove_covered(cold, log.edge.size, edge.size)
    step("partial tiles removed")
    last = new[-1]
    if log.last is not None and log.last.sealed_at.date() < last.sealed_at.date():
        _keep_day(cold, day_key(log.last.sealed_at.date()), log.note)
        step("day kept")
    version = _replace(cold, log, note.encode())
    step("checkpoint put")
    head = LedgerHead(edge.size, b"".join(edge.tree.nodes), last.tx_to)
    left = tuple(records[len(records) - edge.size % WIDTH :])
    return LogHead(head, edge, left, last, note, version, (*log.keys, *keys))


def _put_keys(cold: ObjectStore, log: LogHead, keys: Sequence[Statement]) -> None:
    """The objects of records about keys; those that were left behind by another story go."""
    objects = {key_object_key(record.seq): record.record_bytes() for record in keys}
    for key in log.left_behind:
        if key not in objects or not _holds(cold, key, objects[key]):
            cold.delete(key)
    for key, data in objects.items():
        _put(cold, key, data)


def objects_of(log: LogHead, passes: Iterable[Sequence[LedgerRecord]]) -> dict[str, bytes]:
    """Keys and bytes of all bundles and tiles that publishing some passes, one after the other, will put.

    Args:
        log: the log's head, as it was read.
        passes: the records of each pass that waits to be published.
    """
    objects: dict[str, bytes] = {}
    edge, records = log.edge.copy(), list(log.records)
    for new in passes:
        before = replace(log, edge=edge.copy())
        records += (record.record_bytes() for record in new)
        objects.update((tile.key, data) for tile, data in _new_objects(before, edge, records, new))
        records = records[len(records) - edge.size % WIDTH :]
    return objects


def _new_objects(
    log: LogHead, edge: TileEdge, records: Sequence[bytes], new: Sequence[LedgerRecord]
) -> Iterator[tuple[Tile, bytes]]:
    first = log.edge.size // WIDTH
    for start in range(0, len(records), WIDTH):
        bundle = records[start : start + WIDTH]
        yield Tile(ENTRIES, first + start // WIDTH, len(bundle)), bundle_of(bundle)
    leaves = b"".join(record.leaf_hash() for record in new)
    yield from edge.extend(np.frombuffer(leaves, dtype=np.uint8).reshape(-1, DIGEST_BYTES))
    yield from edge.partial_tiles()


def _remove_covered(cold: ObjectStore, before: int, size: int) -> None:
    for level in (ENTRIES, *levels(before)):
        partial = last_tile(level, before)
        if partial is not None and partial.index < full_tiles(level, size):
            for info in list(cold.list(partial.partial_keys)):
                cold.delete(info.key)


def _holds(cold: ObjectStore, key: str, data: bytes) -> bool:
    try:
        return read_bounded(cold, key, len(data)) == data
    except (OversizedObjectError, ObjectMissingError):
        return False


def _put(cold: ObjectStore, key: str, data: bytes) -> None:
    try:
        cold.put_bytes(key, data)
    except ObjectExistsError:
        if not _holds(cold, key, data):
            raise _occupied(cold, key) from None


def _occupied(cold: ObjectStore, key: str) -> LedgerForkError:
    return LedgerForkError(
        f"{cold.locate(key)} holds something else than what is to be published there: two databases seal into this "
        "store, or the object was put there or changed by somebody; run `compliance verify --all`"
    )


def _same_checkpoint(cold: ObjectStore, key: str, note: str) -> VersionedObject | None:
    """The object, if it is this checkpoint: with cosignatures or without, which witnesses give when they come to it."""
    try:
        found = cold.read_versioned(key, MOST_NOTE_BYTES)
    except (OversizedObjectError, ObjectMissingError):
        return None
    # The text and the ledger's own line, which is the first.
    signed = note[: note.index("\n", note.rindex("\n\n") + 2) + 1].encode()
    return found if found.data.startswith(signed) else None


def _keep_day(cold: ObjectStore, key: str, note: str) -> None:
    """Put a day's last checkpoint under its day, with the cosignatures that it has by now."""
    newest = _same_checkpoint(cold, CHECKPOINT_KEY, note)
    try:
        cold.put_bytes(key, note.encode() if newest is None else newest.data)
    except ObjectExistsError:
        if _same_checkpoint(cold, key, note) is None:
            raise _occupied(cold, key) from None


def _swap(cold: ObjectStore, log: LogHead, version: str, note: bytes) -> None:
    for _ in range(_ATTEMPTS):
        try:
            cold.replace(CHECKPOINT_KEY, note, version)
        except ObjectReplacedError:
            cosigned = _same_checkpoint(cold, CHECKPOINT_KEY, log.note)
            if cosigned is None:
                raise
            version = cosigned.version
        else:
            return
    raise ObjectReplacedError(f"{cold.locate(CHECKPOINT_KEY)} is replaced all the time")


def _replace(cold: ObjectStore, log: LogHead, note: bytes) -> str:
    """The compare and swap, and the version that the checkpoint has after it."""
    try:
        if log.version is None:
            cold.put_bytes(CHECKPOINT_KEY, note)
        else:
            _swap(cold, log, log.version, note)
    except (ObjectExistsError, ObjectReplacedError, ObjectMissingError):
        # The answer to a request that the store's client repeated may have been lost.
        if not _holds(cold, CHECKPOINT_KEY, note):
            raise CheckpointReplacedError(
                f"{cold.locate(CHECKPOINT_KEY)} was replaced by somebody else since this pass read it: two databases "
                "seal into this store, or it was changed; nothing was published. Find out which, and run `compliance "
                "verify --all`"
            ) from None
    return cold.read_versioned(CHECKPOINT_KEY, MOST_NOTE_BYTES).version
