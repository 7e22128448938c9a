"""Whether what is found under a conversation that was set aside goes on with it, or is another that was begun anew.

Here: the judgement, on the documents. Not here: finding them (survey.py), what follows (purge.py).

A graph that had read the conversation writes checkpoints that name one of its checkpoints as their parent, or writes to
one of them. One that found nothing begins with a checkpoint of the root namespace that has no parent. Whatever cannot
be told counts as going on: then nothing is lost.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.conversations.documents import WRITE_FIELDS
from compliance_pipelines.conversations.errors import redis_errors
from compliance_pipelines.conversations.keys import EMPTY_ID, EMPTY_NAMESPACE, KeyKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from compliance_pipelines.conversations.store import CheckpointStore

_FIELDS: Final = "$['checkpoint_ns','checkpoint_id','parent_checkpoint_id']"
_FIELD_COUNT: Final = 3
_CHECKPOINTS: Final = frozenset({KeyKind.CHECKPOINT, KeyKind.SHALLOW_CHECKPOINT})
_NO_PARENT: Final = frozenset({"", EMPTY_ID, None})


@dataclass(frozen=True)
class Returned:
    """A conversation that was set aside, and what is found under its name now.

    Attributes:
        names: of the keys that are there now.
        checkpoint_ids: of the checkpoints that were set aside.
    """

    names: Mapping[bytes, KeyKind]
    checkpoint_ids: frozenset[str]


def begun_anew(store: CheckpointStore, conversations: Sequence[Returned]) -> list[bool]:
    """For each conversation whether the keys that are there now are those of another one, begun from nothing.

    Raises:
        TransientError: Redis does not answer.
        ConversationError: Redis refuses.
    """
    wanted = [
        (at, key, kind)
        for at, conversation in enumerate(conversations)
        for key, kind in conversation.names.items()
        if kind in _CHECKPOINTS or kind is KeyKind.WRITE
    ]
    paths = [_FIELDS if kind in _CHECKPOINTS else WRITE_FIELDS for _, _, kind in wanted]
    with redis_errors("the look at conversations that came back"):
        answers = store.each(("JSON.GET", key, path) for (_, key, _), path in zip(wanted, paths, strict=True))
    documents: list[list[tuple[KeyKind, list[Any]]]] = [[] for _ in conversations]
    for (at, _, kind), answer in zip(wanted, answers, strict=True):
        if answer is not None:
            documents[at].append((kind, _values(answer)))
    return [
        _is_another(found, conversation.checkpoint_ids)
        for found, conversation in zip(documents, conversations, strict=True)
    ]


def _values(answer: object) -> list[Any]:
    try:
        values = json.loads(answer) if isinstance(answer, bytes) else answer
    except ValueError:
        return []
    return values if isinstance(values, list) else []


def _is_another(documents: Sequence[tuple[KeyKind, list[Any]]], checkpoint_ids: frozenset[str]) -> bool:
    if any(len(values) != _FIELD_COUNT for _, values in documents):
        return False
    # Of a checkpoint its parent, of a write the checkpoint that it is to.
    led_to = {values[2] for _, values in documents}
    begins = any(
        kind in _CHECKPOINTS and values[0] in {"", EMPTY_NAMESPACE} and values[2] in _NO_PARENT
        for kind, values in documents
    )
    return begins and not checkpoint_ids.intersection(each for each in led_to if isinstance(each, str))
