"""Whether what is found under a conversation that was set aside goes on with it, or is another that was begun anew.

Here: the judgement, on the documents. Not here: finding them (survey.py), what follows (purge.py).

A graph that had read the conversation writes checkpoints that name one of its checkpoints as their parent, or writes to
one of them. One that found nothing begins with a checkpoint of the root namespace that has no parent. Whatever cannot
be told counts as going on: then nothing is lost.
"""

from __future__ import annotations

import json
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


def begun_anew(store: CheckpointStore, threads: Sequence[Mapping[bytes, KeyKind]]) -> list[bool]:
    """For each conversation whether the keys that are there now are those of another one, begun from nothing.

    Args:
        store: the Redis.
        threads: for each conversation the names of its keys.

    Raises:
        TransientError: Redis does not answer.
        ConversationError: Redis refuses.
    """
    wanted = [
        (at, key, kind)
        for at, names in enumerate(threads)
        for key, kind in names.items()
        if kind in _CHECKPOINTS or kind is KeyKind.WRITE
    ]
    paths = [_FIELDS if kind in _CHECKPOINTS else WRITE_FIELDS for _, _, kind in wanted]
    with redis_errors("the look at conversations that came back"):
        answers = store.each(("JSON.GET", key, path) for (_, key, _), path in zip(wanted, paths, strict=True))
    documents: list[list[tuple[KeyKind, list[Any]]]] = [[] for _ in threads]
    for (at, _, kind), answer in zip(wanted, answers, strict=True):
        if answer is not None:
            documents[at].append((kind, _values(answer)))
    return [_is_another(found) for found in documents]


def _values(answer: object) -> list[Any]:
    try:
        values = json.loads(answer) if isinstance(answer, bytes) else answer
    except ValueError:
        return []
    return values if isinstance(values, list) else []


def _is_another(documents: Sequence[tuple[KeyKind, list[Any]]]) -> bool:
    checkpoints = [values for kind, values in documents if kind in _CHECKPOINTS]
    if not checkpoints or any(len(values) != _FIELD_COUNT for _, values in documents):
        return False
    ids = {checkpoint_id for _, checkpoint_id, _ in checkpoints}
    namespace, _, parent = min(checkpoints, key=lambda values: str(values[1]))
    parents = {parent for _, _, parent in checkpoints}
    of_writes = {values[2] for kind, values in documents if kind is KeyKind.WRITE}
    return (
        namespace in {"", EMPTY_NAMESPACE}
        and parent in _NO_PARENT
        and (parents - _NO_PARENT) <= ids
        and of_writes <= ids
    )
