"""The records about keys, once more as objects of their own, so that nobody has to read the whole log to find them.

Here: their keys, reading them, and that each stands in the log. Not here: what they say (key_changes.py), the chain
that they make (key_chain.py), putting them there (publication.py).

    audit-ledger/keys/<seq>     the bytes of the record, `seq` in twenty digits

They lie beside the log, which holds the same records: whoever reads all of it compares (verification/key_records.py).
One whose place is beyond the end of the log was left by a pass that was interrupted, and says nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from compliance_pipelines.ledger.errors import KeyRecordError, TilesAlteredError
from compliance_pipelines.ledger.key_chain import is_key_record
from compliance_pipelines.ledger.key_changes import MOST_RECORD_BYTES
from compliance_pipelines.ledger.merkle import merkle_root
from compliance_pipelines.ledger.records import MalformedRecordError, record_of
from compliance_pipelines.ledger.tiles import PREFIX, WIDTH, MalformedTileError, Tile, hashes_of, levels
from compliance_pipelines.object_store.bounded import read_bounded
from compliance_pipelines.object_store.port import ObjectMissingError, OversizedObjectError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from compliance_pipelines.ledger.records import Statement
    from compliance_pipelines.object_store.port import ObjectStore

KEYS: Final = f"{PREFIX}keys/"

_KEY: Final = re.compile(rf"{KEYS}([0-9]{{20}})")
_MOST_OBJECTS: Final = 1_000


@dataclass(frozen=True)
class KeyObject:
    """An object that stands for a record about a key.

    Attributes:
        seq: place of the record, by the object's key.
        record: what it holds; None where that is no such record.
        problem: why it is none.
    """

    seq: int
    record: Statement | None
    problem: str = ""


def key_object_key(seq: int) -> str:
    """The key under which the record about a key lies."""
    return f"{KEYS}{seq:020d}"


def seq_of_key(key: str) -> int | None:
    """The place of the record whose object lies under a key; None where that is no such key."""
    match = _KEY.fullmatch(key)
    return None if match is None else int(match[1])


def read_key_objects(cold: ObjectStore) -> Iterator[KeyObject]:
    """Every such object, by the place of its record.

    Raises:
        KeyRecordError: there are more than any ledger has.
        ObjectStoreError: the store failed.
    """
    places = (seq_of_key(info.key) for info in cold.list(KEYS))
    for number, seq in enumerate(seq for seq in places if seq is not None):
        if number == _MOST_OBJECTS:
            raise KeyRecordError(f"{cold.locate(KEYS)} holds more than {number:,} objects, and no ledger as many keys")
        yield _read(cold, seq)


def _read(cold: ObjectStore, seq: int) -> KeyObject:
    key = key_object_key(seq)
    try:
        record = record_of(read_bounded(cold, key, MOST_RECORD_BYTES))
    except (MalformedRecordError, OversizedObjectError) as error:
        return KeyObject(seq, None, f"{key} was altered: {error}")
    except ObjectMissingError:
        return KeyObject(seq, None, f"{key} is no longer there")
    if not is_key_record(record) or record.seq != seq:
        return KeyObject(seq, None, f"{key} was altered: it holds another record")
    return KeyObject(seq, record)


def read_key_records(cold: ObjectStore, size: Callable[[], int]) -> tuple[list[Statement], list[str]]:
    """The records about keys that a log has, by their objects, and the keys of the objects that lie beyond its end.

    Args:
        cold: the cold store.
        size: says how many records the log has; asked only where there are such objects.

    Raises:
        KeyRecordError: an object holds something else.
        ObjectStoreError: the store failed.
    """
    found = list(read_key_objects(cold))
    log_size = size() if found else 0
    records: list[Statement] = []
    for each in found:
        if each.seq < log_size:
            if each.record is None:
                raise KeyRecordError(f"{each.problem}; it is not used: run `compliance verify --all`")
            records.append(each.record)
    return records, [key_object_key(each.seq) for each in found if each.seq >= log_size]


def check_in_log(
    cold: ObjectStore, record: Statement, size: int, edge: Mapping[Tile, bytes], read: Callable[[Tile], bytes | None]
) -> None:
    """Let a record pass that the log has in its place; one tile is read for each level below the last.

    Args:
        cold: the cold store, for messages.
        record: it.
        size: of the log.
        edge: its partial tiles, which lead to the signed root.
        read: gives the bytes of another tile; None where it is missing.

    Raises:
        KeyRecordError: the log has another record there.
        TilesAlteredError: a tile on the way is missing or altered.
    """
    index, digest = record.seq, record.leaf_hash()
    for level in levels(size):
        tile = Tile(level, index // WIDTH)
        width = min(WIDTH, (size >> 8 * level) - tile.index * WIDTH)
        tile = Tile(level, tile.index, width)
        data = edge.get(tile)
        data = read(tile) if data is None else data
        try:
            hashes = None if data is None else hashes_of(data, width)
        except MalformedTileError:
            hashes = None
        if hashes is None or (level and hashes[index % WIDTH].tobytes() != digest):
            raise TilesAlteredError(
                f"{cold.locate(tile.key)} is missing or does not lead to the signed root: run `compliance verify --all`"
            )
        if hashes[index % WIDTH].tobytes() != digest:
            raise KeyRecordError(
                f"{cold.locate(key_object_key(record.seq))} is not the record that the ledger has in place "
                f"{record.seq}: run `compliance verify --all`"
            )
        if width < WIDTH:
            return
        index, digest = tile.index, merkle_root(hashes)
