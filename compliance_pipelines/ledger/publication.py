"""Checkpoints in the cold store, where the database's administrator cannot reach them.

Here: the objects, their keys, reading them strictly. Not here: which checkpoint is published, and whether the cold
store and the database tell the same story (anchor.py).

An object holds the signed note and the segment records that it added, so that the bucket alone rebuilds the ledger.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.base.printable import printable
from compliance_pipelines.base.strict_json import parse_strictly
from compliance_pipelines.ledger.checkpoint import Checkpoint, MalformedNoteError, NoteError, open_checkpoint
from compliance_pipelines.ledger.segments import MalformedSegmentError, Segment
from compliance_pipelines.object_store.bounded import read_bounded
from compliance_pipelines.object_store.port import ObjectMissingError, OversizedObjectError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compliance_pipelines.ledger.checkpoint import VerifierKey
    from compliance_pipelines.object_store.port import ObjectStore

PREFIX: Final = "audit-ledger/checkpoints/"
MOST_BYTES: Final = 16 * 2**20
"""No checkpoint object is larger: a record takes about 250 bytes, and a pass adds one for each day."""

_MOST_VALUES: Final = 1_000_000
_MOST_SAID: Final = 500
_SIZE_DIGITS: Final = 20
_KEY: Final = re.compile(rf"{PREFIX}([0-9]{{{_SIZE_DIGITS}}})\.json")
_JSON_TYPES: Final = {"checkpoint": str, "previous_size": int, "segments": list}


class LedgerError(ComplianceError):
    """The database and the cold store do not tell the same story; nothing was signed."""


class CheckpointMissingError(LedgerError):
    """A checkpoint that was published is no longer in the cold store."""


class ForeignCheckpointError(LedgerError):
    """A checkpoint is not signed by our key."""


class MalformedPublicationError(LedgerError):
    """An object among the checkpoints is not written as the format wants it."""


@dataclass(frozen=True)
class Publication:
    """One checkpoint object: the signed note and the segment records added since the checkpoint before."""

    note: str
    previous_size: int
    segments: tuple[Segment, ...]

    @property
    def size(self) -> int:
        """Segments in the tree."""
        return self.previous_size + len(self.segments)

    def to_bytes(self) -> bytes:
        """The object's bytes: the same for the same content."""
        document = {
            "checkpoint": self.note,
            "previous_size": self.previous_size,
            "segments": [segment.to_json() for segment in self.segments],
        }
        return (json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Publication:
        """Read an object; signatures and roots are not checked.

        Raises:
            MalformedPublicationError: it is not written exactly as :meth:`to_bytes` writes it.
        """
        try:
            document = parse_strictly(data, most_bytes=MOST_BYTES, most_values=_MOST_VALUES)
            if not isinstance(document, dict) or {key: type(value) for key, value in document.items()} != _JSON_TYPES:
                raise MalformedPublicationError(f"it is no checkpoint object, which has {', '.join(_JSON_TYPES)}")
            publication = cls(
                note=document["checkpoint"],
                previous_size=document["previous_size"],
                segments=tuple(Segment.from_json(record) for record in document["segments"]),
            )
            exact = publication.to_bytes() == data
        except (ValueError, RecursionError, MalformedSegmentError) as error:
            raise MalformedPublicationError(
                f"it is no checkpoint object: {printable(str(error), _MOST_SAID)}"
            ) from error
        positions = list(range(publication.previous_size, publication.size))
        if not exact or not positions or positions != [segment.seq for segment in publication.segments]:
            raise MalformedPublicationError("it is not written as the format of checkpoint objects wants it")
        return publication


def publication_key(size: int) -> str:
    """The key of the checkpoint of this size; keys sort as sizes do."""
    return f"{PREFIX}{size:0{_SIZE_DIGITS}d}.json"


def size_of_key(key: str) -> int | None:
    """The size that a key stands for; None where it is no checkpoint's key."""
    match = _KEY.fullmatch(key)
    return None if match is None else int(match[1])


def published_keys(cold: ObjectStore, *, after_size: int = 0) -> Iterator[tuple[int, str]]:
    """Size and key of every checkpoint in the cold store that is larger, smallest first.

    Raises:
        ObjectStoreError: the store failed.
    """
    for info in cold.list(PREFIX, start_after=publication_key(after_size)):
        size = size_of_key(info.key)
        if size is not None:
            yield size, info.key


def read_publication(cold: ObjectStore, size: int) -> Publication:
    """The checkpoint object of this size.

    Raises:
        CheckpointMissingError: there is none.
        MalformedPublicationError: it is none, or of another size.
        ObjectStoreError: the store failed.
    """
    key = publication_key(size)
    try:
        publication = Publication.from_bytes(read_bounded(cold, key, MOST_BYTES))
    except OversizedObjectError as error:
        raise MalformedPublicationError(f"{cold.locate(key)} was altered: {error}") from error
    except ObjectMissingError:
        raise CheckpointMissingError(
            f"checkpoint {size} was published and is no longer at {cold.locate(key)}: restore the object (versions of "
            "the bucket, a replica); nothing is sealed without it"
        ) from None
    except MalformedPublicationError as error:
        raise MalformedPublicationError(f"{cold.locate(key)} was altered: {error}") from error
    if publication.size != size:
        raise MalformedPublicationError(
            f"{cold.locate(key)} was altered: it holds the checkpoint of {publication.size} segments"
        )
    return publication


def open_published(publication: Publication, key: VerifierKey, where: str) -> Checkpoint:
    """The checkpoint of a publication, its signature checked.

    Raises:
        ForeignCheckpointError: signed by another key, or badly.
        MalformedPublicationError: the note is none, or speaks of another size.
    """
    try:
        checkpoint = open_checkpoint(publication.note, key)
    except MalformedNoteError as error:
        raise MalformedPublicationError(f"{where} holds no checkpoint: {error}") from error
    except NoteError as error:
        raise ForeignCheckpointError(f"{where} is not validly signed by {key.name}: {error}") from error
    if checkpoint.size != publication.size:
        raise MalformedPublicationError(
            f"{where} is signed for {checkpoint.size} segments but holds records up to {publication.size}"
        )
    return checkpoint
