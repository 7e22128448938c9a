"""What a store says about the ledger at one size, read and judged by itself.

Here: one checkpoint object of the cold store, one row of the database, and what can be wrong with each alone: its form
and its signature. Not here: whether it goes with the others (chain.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from compliance_pipelines.base.hashing import DIGEST_BYTES
from compliance_pipelines.ledger.checkpoint import (
    Checkpoint,
    CheckpointOfAnotherLedgerError,
    NoteError,
    SignatureByAnotherKeyError,
    open_checkpoint,
)
from compliance_pipelines.ledger.merkle import CompactRange, FrontierError
from compliance_pipelines.ledger.publication import (
    MOST_BYTES,
    PREFIX,
    MalformedPublicationError,
    Publication,
    publication_key,
    size_of_key,
)
from compliance_pipelines.object_store.bounded import read_bounded
from compliance_pipelines.object_store.port import ObjectMissingError, OversizedObjectError
from compliance_pipelines.verification.findings import Kind
from compliance_pipelines.verification.segment_index import fits_index

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compliance_pipelines.ledger.checkpoint import VerifierKey
    from compliance_pipelines.ledger.store import StoredCheckpoint
    from compliance_pipelines.object_store.port import ObjectInfo, ObjectStore

_MOST_BYTES: Final = MOST_BYTES


@dataclass(frozen=True)
class Problem:
    """What is wrong with one checkpoint, apart from all others."""

    kind: Kind
    message: str


@dataclass(frozen=True)
class ColdCheckpoint:
    """A checkpoint object.

    Attributes:
        size: what its key says.
        publication: its content; None where it cannot be read as one of this size.
        signed: what the key in use signed; None where there is no such signature.
        problem: what is wrong with it, if anything.
        failure: why it could not be read; then nothing is known about it.
    """

    size: int
    key: str
    publication: Publication | None = None
    signed: Checkpoint | None = None
    problem: Problem | None = None
    failure: Exception | None = None


@dataclass(frozen=True)
class UnknownObject:
    """An object among the checkpoints whose key is none of theirs."""

    key: str


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


def cold_checkpoints(
    store: ObjectStore, key: VerifierKey, *, after_size: int = 0
) -> Iterator[ColdCheckpoint | UnknownObject]:
    """Everything among the checkpoints in the cold store that is larger, smallest first, read one by one.

    Raises:
        ObjectStoreError: the store cannot be listed.
    """
    start_after = publication_key(after_size) if after_size else None
    for info in store.list(PREFIX, start_after=start_after):
        size = size_of_key(info.key)
        if not size:
            yield UnknownObject(info.key)
            continue
        try:
            yield _read(store, info, size, key)
        except ObjectMissingError:
            continue
        except Exception as error:  # noqa: BLE001 - whatever an object makes of a library, the others are looked at
            yield ColdCheckpoint(size, info.key, failure=error)


def read_cold_checkpoint(store: ObjectStore, size: int, key: VerifierKey) -> ColdCheckpoint | None:
    """The checkpoint object of this size; None where there is none.

    Raises:
        ObjectStoreError: the store failed.
    """
    info = store.stat(publication_key(size))
    try:
        return None if info is None else _read(store, info, size, key)
    except ObjectMissingError:
        return None


def _read(store: ObjectStore, info: ObjectInfo, size: int, key: VerifierKey) -> ColdCheckpoint:
    if info.size > _MOST_BYTES:
        return _unusable(info, size, f"has {info.size:,} bytes, and no checkpoint has more than {_MOST_BYTES:,}")
    try:
        publication = Publication.from_bytes(read_bounded(store, info.key, _MOST_BYTES))
    except (MalformedPublicationError, OversizedObjectError) as error:
        return _unusable(info, size, f"was altered: {error}")
    if publication.size != size:
        return _unusable(info, size, f"was altered: it holds the checkpoint of {publication.size} segments")
    if not all(map(fits_index, publication.segments)):
        return _unusable(info, size, "was altered: it holds a segment record that no sealing can have written")
    signed, problem = _opened(publication.note, size, key, info.key)
    return ColdCheckpoint(size, info.key, publication, signed, problem)


def _unusable(info: ObjectInfo, size: int, reason: str) -> ColdCheckpoint:
    return ColdCheckpoint(size, info.key, problem=Problem(Kind.CHECKPOINT_ALTERED, f"{info.key} {reason}"))


def _opened(note: str, size: int, key: VerifierKey, where: str) -> tuple[Checkpoint | None, Problem | None]:
    try:
        checkpoint = open_checkpoint(note, key)
    except SignatureByAnotherKeyError as error:
        return None, Problem(Kind.CHECKPOINT_OF_ANOTHER_KEY, f"{where} is signed by another key: {error}")
    except CheckpointOfAnotherLedgerError as error:
        return None, Problem(Kind.CHECKPOINT_OF_ANOTHER_LEDGER, f"{where} belongs to another ledger: {error}")
    except NoteError as error:
        return None, Problem(Kind.CHECKPOINT_ALTERED, f"{where} was altered: {error}")
    if checkpoint.size != size:
        return None, Problem(
            Kind.CHECKPOINT_ALTERED, f"{where} was altered: it is signed for {checkpoint.size} segments, not {size}"
        )
    return checkpoint, None


def judged(stored: StoredCheckpoint, key: VerifierKey, cold: ColdCheckpoint | None) -> DatabaseCheckpoint:
    """A row of the database with what is wrong with it by itself.

    Args:
        stored: the row.
        key: the key in use.
        cold: the object of the same size: a note that both have is not checked twice.
    """
    where = f"checkpoint {stored.size} in the database"
    signed: Checkpoint | None
    problem: Problem | None
    if cold is not None and cold.publication is not None and cold.signed and cold.publication.note == stored.note:
        signed, problem = cold.signed, None
    else:
        signed, problem = _opened(stored.note, stored.size, key, where)
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
