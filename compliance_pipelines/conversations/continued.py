"""Whether what is found under a conversation that was set aside goes on with it, or is another that was begun anew.

Here: the judgement, on the documents. Not here: finding them (survey.py, watching.py), what follows (purge.py).

A graph that had read the conversation writes checkpoints that name one of its checkpoints as their parent, or writes to
one of them. One that found nothing begins with a checkpoint without a parent, or with one that never was stored. A
shallow saver names no parent; its checkpoint holds the whole state, unless that lies in blobs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.conversations.errors import redis_errors
from compliance_pipelines.conversations.keys import EMPTY_ID, EMPTY_NAMESPACE, SHALLOW, KeyKind, decode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from compliance_pipelines.conversations.freezing import FrozenThread
    from compliance_pipelines.conversations.keys import KeyLayout
    from compliance_pipelines.conversations.store import CheckpointStore

_FIELDS: Final = ("$.checkpoint_ns", "$.checkpoint_id", "$.parent_checkpoint_id")
_CHECKPOINTS: Final = frozenset({KeyKind.CHECKPOINT, KeyKind.SHALLOW_CHECKPOINT})
_DOCUMENTS: Final = _CHECKPOINTS | {KeyKind.WRITE}
_OF_ONE_CHECKPOINT: Final = frozenset({KeyKind.CHECKPOINT, KeyKind.WRITE, KeyKind.WRITE_REGISTRY})
_ANYBODYS: Final = (b":" + SHALLOW, b":" + EMPTY_ID.encode())
_NO_PARENT: Final = frozenset({"", EMPTY_ID, None})
# A conversation that goes on has written no more than a few checkpoints before anybody looks.
_MOST_PARENTS: Final = 50


class Sequel(Enum):
    """What the documents under the name of a conversation that was set aside are."""

    CONTINUED = auto()
    BEGUN_ANEW = auto()
    UNTOLD = auto()


@dataclass(frozen=True)
class Returned:
    """A conversation that was set aside, and what is found under its name now.

    Attributes:
        frozen: as it was set aside.
        names: of the keys that are there now, or of some.
    """

    frozen: FrozenThread
    names: Mapping[bytes, KeyKind]


def sequels(store: CheckpointStore, layout: KeyLayout, conversations: Sequence[Returned]) -> list[Sequel]:
    """For each conversation whether somebody goes on with it.

    Raises:
        TransientError: Redis does not answer.
        ConversationError: Redis refuses.
    """
    with redis_errors("the look at conversations that came back"):
        judges = [_Judge(layout, conversation) for conversation in conversations]
        for _ in range(_MOST_PARENTS):
            wanted = [(judge, *each) for judge in judges for each in judge.wanted()]
            if not wanted:
                break
            answers = store.each(("JSON.GET", key, *_FIELDS) for _, key, _ in wanted)
            for (judge, key, kind), answer in zip(wanted, answers, strict=True):
                judge.take(key, kind, _fields(answer))
    return [judge.sequel() for judge in judges]


def _fields(answer: object) -> list[Any]:
    """Namespace, id and parent, None for one that is missing."""
    values = _parsed(answer)
    if not isinstance(values, dict):
        return []
    return [values[path][0] if values.get(path) else None for path in _FIELDS]


def _parsed(answer: object) -> object:
    try:
        return json.loads(answer) if isinstance(answer, bytes) else answer
    except ValueError:
        return None


class _Judge:
    """One conversation, its documents, and the parents that they lead to."""

    def __init__(self, layout: KeyLayout, conversation: Returned) -> None:
        self._layout = layout
        kinds = conversation.frozen.names(layout)
        # A name that ends with an id that was set aside is nobody else's.
        own = {key for key, kind in kinds.items() if kind in _OF_ONE_CHECKPOINT and not key.endswith(_ANYBODYS)}
        # Savers before 0.1 store a first checkpoint under the empty id.
        self._ids = conversation.frozen.checkpoint_ids(layout) - {EMPTY_ID}
        self._has_blobs = KeyKind.BLOB in kinds.values()
        # A shallow checkpoint's name looks like any other's.
        found = {key: kinds.get(key, kind) for key, kind in conversation.names.items()}
        self._waiting = {key: kind for key, kind in found.items() if kind in _DOCUMENTS}
        self._seen = set(self._waiting)
        self._begins = False
        self._continues = not own.isdisjoint(found)

    def wanted(self) -> Iterable[tuple[bytes, KeyKind]]:
        """What is to be read next."""
        waiting, self._waiting = self._waiting, {}
        return [] if self._continues else waiting.items()

    def take(self, key: bytes, kind: KeyKind, fields: list[Any]) -> None:
        """Take what a document says: a checkpoint, or a write, whose id is that of its checkpoint."""
        if not fields or not isinstance(fields[1], str):
            return
        namespace, checkpoint_id, parent = fields
        # Whoever begins, begins with the root namespace.
        self._begins |= namespace in {"", EMPTY_NAMESPACE}
        if kind is KeyKind.WRITE:
            self._continues |= checkpoint_id in self._ids
            return
        self._continues |= parent in self._ids
        if parent in _NO_PARENT:
            # One that does not even have the field cannot say that it had no parent.
            self._continues |= kind is KeyKind.SHALLOW_CHECKPOINT and self._has_blobs and parent is None
        elif isinstance(parent, str) and decode(key).endswith(checkpoint_id):
            before = key[: len(key) - len(checkpoint_id.encode())] + parent.encode()
            if before not in self._seen:
                self._seen.add(before)
                self._waiting[before] = KeyKind.CHECKPOINT

    def sequel(self) -> Sequel:
        """What it is."""
        if self._continues:
            return Sequel.CONTINUED
        return Sequel.BEGUN_ANEW if self._begins else Sequel.UNTOLD
