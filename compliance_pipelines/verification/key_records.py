"""The ledger's keys, as an auditor establishes them: from one key that is trusted, forwards and backwards.

Here: the chain that signatures are judged by, what is wrong with records about keys, and with the objects that repeat
them. Not here: what a key may have signed (ledger/key_chain.py), tiles and bundles (tiled_log.py).

The chain is needed before the ledger is known, because it says who must have signed that. It can be had before, because
nothing in a record is believed but what both keys signed. Whether these records stand in the ledger, all of them and no
others, is compared when it is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from compliance_pipelines.ledger.checkpoint import NoteError
from compliance_pipelines.ledger.errors import KeyRecordError
from compliance_pipelines.ledger.key_chain import KeyChain, RetiredKeyError, is_key_record
from compliance_pipelines.ledger.key_changes import KeyChange, MalformedKeyChangeError
from compliance_pipelines.ledger.key_objects import key_object_key, read_key_objects
from compliance_pipelines.ledger.log_reading import (
    CHECKPOINT_KEY,
    DAYS,
    MOST_NOTE_BYTES,
    claimed_size,
    day_of_key,
    read_tile,
)
from compliance_pipelines.ledger.records import MalformedRecordError, StatementKind, record_of
from compliance_pipelines.ledger.store_identity import IDENTITY_KEY
from compliance_pipelines.ledger.tiles import TILES, WIDTH, records_of, tile_of_key
from compliance_pipelines.object_store.bounded import read_bounded
from compliance_pipelines.verification.findings import Finding, Kind, Note, NoteKind, Undecided
from compliance_pipelines.verification.guard import reason_of
from compliance_pipelines.verification.segment_index import Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from compliance_pipelines.ledger.checkpoint import VerifierKey
    from compliance_pipelines.ledger.key_objects import KeyObject
    from compliance_pipelines.ledger.records import LedgerRecord, Statement
    from compliance_pipelines.object_store.port import ObjectStore
    from compliance_pipelines.verification.findings import Journal
    from compliance_pipelines.verification.segment_index import SegmentIndex

_KEY: Final = bytes([StatementKind.KEY])


def known_keys(store: ObjectStore, trusted: VerifierKey) -> KeyChain:
    """The chain of a ledger's keys: by their objects, or by the entry bundles where those do not explain who signed.

    The newest checkpoint needs the last key, the first day's checkpoint and the store's identity the first one: where
    the chain has both, it has all between. What cannot be read here, whoever reads everything names.

    Args:
        store: the cold store.
        trusted: where the chain starts, in both directions.

    Raises:
        ObjectStoreError: the store cannot be listed.
    """
    newest = _note(store, CHECKPOINT_KEY)
    day = next((info.key for info in store.list(DAYS) if day_of_key(info.key) is not None), None)
    notes = [newest, None if day is None else _note(store, day)]
    identity = _note(store, IDENTITY_KEY)
    chain, _ = KeyChain.linked(trusted, _records_of_objects(store))
    if newest is None or (_explains(chain, notes) and _knows(chain, identity)):
        return chain
    of_log, _ = KeyChain.linked(trusted, _records_of_bundles(store, claimed_size(newest)))
    return of_log if len(of_log.keys) > len(chain.keys) or not _explains(chain, [newest]) else chain


def _note(store: ObjectStore, key: str) -> bytes | None:
    try:
        return read_bounded(store, key, MOST_NOTE_BYTES)
    except Exception:  # noqa: BLE001 - whatever an object makes of a library, the chain is told from the others
        return None


def _explains(chain: KeyChain, notes: Iterable[bytes | None]) -> bool:
    try:
        for note in notes:
            if note is not None:
                chain.open_checkpoint(note.decode())
    except (NoteError, UnicodeDecodeError):
        return False
    return True


def _knows(chain: KeyChain, identity: bytes | None) -> bool:
    try:
        return identity is None or bool(chain.open_dated(identity.decode()))
    except (NoteError, UnicodeDecodeError):
        return False


def _records_of_objects(store: ObjectStore) -> Iterator[Statement]:
    try:
        for each in read_key_objects(store):
            if each.record is not None:
                yield each.record
    except Exception:  # noqa: BLE001 - the same, and the comparison says so
        return


def _records_of_bundles(store: ObjectStore, size: int) -> Iterator[LedgerRecord]:
    """The records about keys that can be read; what cannot, whoever reads the whole log names."""
    for info in store.list(f"{TILES}entries/"):
        bundle = tile_of_key(info.key)
        if bundle is None or bundle.index * WIDTH >= size:
            continue
        try:
            data = read_tile(store, bundle)
            records = [] if data is None else records_of(data, bundle.width)
        except Exception:  # noqa: BLE001, S112 - the same
            continue
        for record in records:
            if record.startswith(_KEY):
                try:
                    yield record_of(record)
                except MalformedRecordError:
                    continue


def check_key_records(  # noqa: PLR0913 - what one comparison needs
    store: ObjectStore,
    chain: KeyChain,
    notes: Mapping[int, str],
    *,
    size: int,
    index: SegmentIndex,
    roots: Mapping[int, bytes],
    journal: Journal,
) -> None:
    """Judge the records about keys of a ledger that is known, their objects, and signatures that came too late.

    Args:
        store: the cold store.
        chain: by which signatures were judged.
        notes: the checkpoints of the cold store that are validly signed, by size.
        size: records of the log in the cold store.
        index: has the ledger's records.
        roots: of the ledger before each record about a key, as far as they are known, by its place.
        journal: is told what is wrong.

    Raises:
        ObjectStoreError: the store cannot be listed.
    """
    records = {record.seq: record for record in filter(is_key_record, index.statements(Source.LEDGER))}
    _, problems = KeyChain.linked(chain.trusted, records.values())
    wrong = {problem.seq: problem.message for problem in problems}
    for seq, root in roots.items():
        if seq in records and seq not in wrong and not _is_over(records[seq], root):
            wrong[seq] = f"record {seq} changes the key of another ledger: the root in it is not that of this one"
    for seq, message in sorted(wrong.items()):
        journal.find(Finding(kind=Kind.KEY_RECORD_INVALID, segment=seq, message=message))
    _compare_objects(store, records, size, index, journal)
    for at, note in sorted(notes.items()):
        last = index.one(Source.LEDGER, at - 1)
        try:
            if last is not None:
                chain.refuse_late(note, at, last.sealed_at)
        except RetiredKeyError as error:
            journal.find(Finding(kind=Kind.SIGNATURE_BY_RETIRED_KEY, checkpoint=at, message=str(error)))


def _is_over(record: Statement, root: bytes) -> bool:
    try:
        return KeyChange.of_record(record).root == root
    except MalformedKeyChangeError:
        return False


def _compare_objects(
    store: ObjectStore, records: Mapping[int, Statement], size: int, index: SegmentIndex, journal: Journal
) -> None:
    missing = set(records)
    try:
        for each in read_key_objects(store):
            missing.discard(each.seq)
            _compare_object(each, records.get(each.seq), size, index, journal)
    except KeyRecordError as error:
        journal.find(Finding(kind=Kind.KEY_OBJECT_ALTERED, message=str(error)))
        return
    except Exception as error:  # noqa: BLE001 - whatever an object makes of a library, the others are looked at
        journal.cannot_tell(Undecided(f"the objects of records about keys could not be read: {reason_of(error)}"))
        return
    for seq in sorted(missing):
        key = key_object_key(seq)
        message = f"{key}, which repeats record {seq} of the ledger, is missing"
        journal.find(Finding(kind=Kind.KEY_OBJECT_MISSING, key=key, segment=seq, message=message))


def _compare_object(
    each: KeyObject, record: Statement | None, size: int, index: SegmentIndex, journal: Journal
) -> None:
    key = key_object_key(each.seq)
    if each.seq >= size:
        message = f"{key} is of a larger ledger than the checkpoint: a pass that was interrupted left it"
        journal.note(Note(kind=NoteKind.OBJECT_UNCOMMITTED, key=key, message=message))
    elif each.record is None:
        journal.find(Finding(kind=Kind.KEY_OBJECT_ALTERED, key=key, segment=each.seq, message=each.problem))
    elif each.record != record and (record is not None or index.one(Source.LEDGER, each.seq) is not None):
        message = f"{key} was altered, or put there: the ledger has another record in place {each.seq}"
        journal.find(Finding(kind=Kind.KEY_OBJECT_ALTERED, key=key, segment=each.seq, message=message))
