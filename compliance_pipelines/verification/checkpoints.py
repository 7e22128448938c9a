"""Signed tree heads, read and judged by themselves: those of the cold store, and the rows of the database.

Here: the newest checkpoint, the last one of each day, one row of the database, and what can be wrong with each alone:
its form and its signature. Not here: whether it goes with the others (chain.py), tiles (tiled_log.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from compliance_pipelines.base.hashing import DIGEST_BYTES
from compliance_pipelines.ledger.checkpoint import (
    Checkpoint,
    CheckpointOfAnotherLedgerError,
    NoteError,
    SignatureByAnotherKeyError,
)
from compliance_pipelines.ledger.key_chain import RetiredKeyError
from compliance_pipelines.ledger.log_reading import CHECKPOINT_KEY, COSIGNED_KEY, DAYS, MOST_NOTE_BYTES, day_of_key
from compliance_pipelines.ledger.merkle import CompactRange, FrontierError
from compliance_pipelines.ledger.timestamping import day_of_stamp
from compliance_pipelines.object_store.bounded import read_bounded
from compliance_pipelines.object_store.port import ObjectMissingError, OversizedObjectError
from compliance_pipelines.verification.findings import Finding, Kind, Undecided
from compliance_pipelines.verification.guard import reason_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import date

    from compliance_pipelines.ledger.key_chain import KeyChain
    from compliance_pipelines.ledger.store import StoredCheckpoint
    from compliance_pipelines.object_store.port import ObjectStore
    from compliance_pipelines.verification.findings import Journal
    from compliance_pipelines.verification.outside import OutsideView


class Store(StrEnum):
    """Where a signed checkpoint stands."""

    COLD = "cold store"
    COSIGNED = "cold store as the last cosigned one"
    DAY = "cold store as its day's last"
    DATABASE = "database"
    REMEMBERED = "file that was put aside"


@dataclass(frozen=True)
class Problem:
    """What is wrong with one checkpoint, apart from all others."""

    kind: Kind
    message: str


@dataclass(frozen=True)
class DatabaseCheckpoint:
    """A row of ledger_checkpoints.

    Attributes:
        signed: what the key in use signed; None where there is no such signature.
        nodes: the tree's frontier, where it leads to the signed root, which no other frontier does.
        problems: what is wrong with it.
    """

    stored: StoredCheckpoint
    signed: Checkpoint | None
    nodes: tuple[bytes, ...] | None
    problems: tuple[Problem, ...]

    @property
    def size(self) -> int:
        """Segments in the tree, according to the database."""
        return self.stored.size


@dataclass
class ColdHeads:
    """The checkpoints of the cold store that the key signed.

    Attributes:
        newest: the one that is replaced; None where there is none with such a signature.
        cosigned: the newest one that witnesses agreed on; None likewise.
        present: whether there is any object in its place.
        days: the last one of each day, by day.
        damaged_days: days of which there is an object that says nothing.
        notes: the notes by size.
    """

    newest: Checkpoint | None = None
    cosigned: Checkpoint | None = None
    present: bool = False
    days: dict[date, Checkpoint] = field(default_factory=dict)
    damaged_days: set[date] = field(default_factory=set)
    notes: dict[int, str] = field(default_factory=dict)

    def roots(self) -> Iterator[tuple[int, Mapping[Store, bytes]]]:
        """The signed roots by size, smallest first."""
        by_size: dict[int, dict[Store, bytes]] = {}
        for checkpoint in self.days.values():
            by_size.setdefault(checkpoint.size, {})[Store.DAY] = checkpoint.root
        for store, newest in ((Store.COSIGNED, self.cosigned), (Store.COLD, self.newest)):
            if newest is not None:
                by_size.setdefault(newest.size, {})[store] = newest.root
        yield from sorted(by_size.items())


def read_one(store: ObjectStore, object_key: str, keys: KeyChain) -> tuple[Checkpoint, str] | None:
    """A checkpoint of the cold store and its note; None where none is there that the key in charge signed.

    Raises:
        ObjectStoreError: the store failed.
    """
    try:
        note = read_bounded(store, object_key, MOST_NOTE_BYTES)
    except (ObjectMissingError, OversizedObjectError):
        return None
    checkpoint = opened(note, keys, object_key)[0]
    return None if checkpoint is None else (checkpoint, note.decode())


def read_cold_heads(store: ObjectStore, keys: KeyChain, journal: Journal, outside: OutsideView) -> ColdHeads:
    """Read the checkpoints of the cold store; what is wrong with one by itself is said.

    Args:
        store: the cold store.
        keys: of the ledger.
        journal: is told what is wrong.
        outside: gets the notes, and what lies beside them.

    Raises:
        ObjectStoreError: the store cannot be listed.
    """
    heads = ColdHeads()
    # Before the newest, which it follows at a distance.
    heads.cosigned = _read(store, COSIGNED_KEY, keys, heads, journal, outside)
    heads.newest = _read(store, CHECKPOINT_KEY, keys, heads, journal, outside)
    for info in store.list(DAYS):
        day, stamped = day_of_key(info.key), day_of_stamp(info.key)
        if stamped is not None:
            # It stands right behind the checkpoint that it is of.
            of = heads.days.get(stamped)
            outside.stamp_found(store, stamped, None if of is None else heads.notes[of.size])
        if day is None:
            continue
        kept = _read(store, info.key, keys, heads, journal, outside)
        if kept is None:
            heads.damaged_days.add(day)
        else:
            heads.days[day] = kept
            outside.day_read(day, kept)
    return heads


def _read(  # noqa: PLR0913, PLR0917 - what one reading needs
    store: ObjectStore, key: str, keys: KeyChain, heads: ColdHeads, journal: Journal, outside: OutsideView
) -> Checkpoint | None:
    try:
        note = read_bounded(store, key, MOST_NOTE_BYTES)
    except ObjectMissingError:
        return None
    except OversizedObjectError as error:
        heads.present |= key == CHECKPOINT_KEY
        journal.find(Finding(kind=Kind.CHECKPOINT_ALTERED, key=key, message=f"{key} was altered: {error}"))
        return None
    except Exception as error:  # noqa: BLE001 - whatever an object makes of a library, the others are looked at
        heads.present |= key == CHECKPOINT_KEY
        journal.cannot_tell(Undecided(f"{key} could not be read: {reason_of(error)}"))
        return None
    heads.present |= key == CHECKPOINT_KEY
    checkpoint, problem = opened(note, keys, key)
    if problem is not None:
        journal.find(Finding(kind=problem.kind, key=key, message=problem.message))
    if checkpoint is not None:
        heads.notes[checkpoint.size] = note.decode()
        outside.note_read(key, note.decode(), checkpoint)
    return checkpoint


def opened(note: bytes, keys: KeyChain, where: str) -> tuple[Checkpoint | None, Problem | None]:
    """What a note says that the key in charge signed, or what is wrong with it.

    Args:
        note: the note's bytes.
        keys: of the ledger; that in charge must have signed.
        where: the note is, for the message.
    """
    try:
        checkpoint = keys.open_checkpoint(note.decode())
    except RetiredKeyError as error:
        return None, Problem(Kind.SIGNATURE_BY_RETIRED_KEY, f"{where}: {error}")
    except SignatureByAnotherKeyError as error:
        return None, Problem(Kind.CHECKPOINT_OF_ANOTHER_KEY, f"{where} is signed by another key: {error}")
    except CheckpointOfAnotherLedgerError as error:
        return None, Problem(Kind.CHECKPOINT_OF_ANOTHER_LEDGER, f"{where} belongs to another ledger: {error}")
    except (NoteError, UnicodeDecodeError) as error:
        return None, Problem(Kind.CHECKPOINT_ALTERED, f"{where} was altered: {error}")
    if not 0 < checkpoint.size < 2**63:
        return None, Problem(Kind.CHECKPOINT_ALTERED, f"{where} was altered: none is of {checkpoint.size} records")
    return checkpoint, None


def judged(stored: StoredCheckpoint, keys: KeyChain, notes: Mapping[int, str]) -> DatabaseCheckpoint:
    """A row of the database with what is wrong with it by itself.

    Args:
        stored: the row.
        keys: of the ledger.
        notes: of the cold store, by size: a note that both have is not checked twice.
    """
    where = f"checkpoint {stored.size} in the database"
    signed: Checkpoint | None
    problem: Problem | None
    if notes.get(stored.size) == stored.note:
        signed, problem = Checkpoint.from_text(stored.note.rpartition("\n\n")[0] + "\n"), None
    else:
        signed, problem = opened(stored.note.encode("utf-8", "surrogateescape"), keys, where)
    if signed is not None and signed.size != stored.size:
        message = f"{where} was altered: it is signed for {signed.size} records, not {stored.size}"
        signed, problem = None, Problem(Kind.CHECKPOINT_ALTERED, message)
    problems = [] if problem is None else [problem]
    root = stored.root if signed is None else signed.root
    if root != stored.root:
        problems.append(
            Problem(
                Kind.CHECKPOINT_ALTERED, f"{where} was altered: its root is {stored.root.hex()}, signed is {root.hex()}"
            )
        )
    nodes = _nodes(stored, root)
    if nodes is None:
        problems.append(
            Problem(Kind.CHECKPOINT_ALTERED, f"{where} was altered: its frontier does not lead to root {root.hex()}")
        )
    return DatabaseCheckpoint(stored, signed, None if signed is None else nodes, tuple(problems))


def _nodes(stored: StoredCheckpoint, root: bytes) -> tuple[bytes, ...] | None:
    """The frontier's nodes, or None where they do not lead to the root."""
    starts = range(0, len(stored.frontier), DIGEST_BYTES)
    nodes = tuple(stored.frontier[start : start + DIGEST_BYTES] for start in starts)
    try:
        return nodes if CompactRange.from_nodes(stored.size, nodes).root() == root else None
    except FrontierError:
        return None
