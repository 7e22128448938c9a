"""Reading what a survey needs of the keys that it found.

Here: which command reads which kind of key, and its answer as a value. Not here: finding keys (enumeration.py), and
what the values mean (documents.py, survey.py).
"""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from compliance_pipelines.conversations import documents
from compliance_pipelines.conversations.keys import ASIDE, KeyKind, decode, encode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from compliance_pipelines.conversations.keys import KeyLayout
    from compliance_pipelines.conversations.pacing import Pace
    from compliance_pipelines.conversations.store import CheckpointStore

# A pipeline of so many commands keeps others waiting for about 0.2 ms.
_COMMANDS: Final = 25

_PATHS: Final[dict[KeyKind, tuple[str, ...]]] = {
    KeyKind.CHECKPOINT: (
        documents.CHECKPOINT_FIELDS,
        documents.CHECKPOINT_TIME,
        documents.CHANNEL_USER,
        documents.INPUT_USER,
    ),
    KeyKind.WRITE: (documents.WRITE_FIELDS,),
    KeyKind.BLOB: (documents.BLOB_FIELDS,),
}
_AGE_PATHS: Final = (documents.AGE_FIELDS, documents.CHECKPOINT_TIME)
_STRINGS: Final = frozenset({KeyKind.LATEST_POINTER, KeyKind.METADATA})


class Found(NamedTuple):
    """A key of a saver's, and what it holds.

    Attributes:
        kind: of the key.
        prefix: what its name begins with.
        rest: what follows; bytes that are no UTF-8 stand as surrogates, here and in the value.
        value: JSON, or a text; None where the key is gone, False where it is of another type; True where it need not be
            read.
    """

    kind: KeyKind
    prefix: bytes
    rest: str
    value: Any

    @property
    def key(self) -> bytes:
        """The whole name."""
        return self.prefix + encode(self.rest)

    @property
    def is_aside(self) -> bool:
        """Whether a purge has set it aside."""
        return self.prefix.startswith(ASIDE)


def read_all(store: CheckpointStore, layout: KeyLayout, keys: Sequence[bytes], pace: Pace) -> Iterator[Found]:
    """What is wanted of each key that is a saver's; others are passed over.

    Raises:
        redis.exceptions.RedisError: Redis does not answer, or refuses.
    """
    known = [(kind, key, rest) for key in keys if (named := layout.classify(key)) for kind, rest in (named,)]
    commands = [command for kind, key, _ in known if (command := _command(kind, key))]
    answers = _answers(store, commands, pace)
    for kind, key, rest in known:
        value = True
        if kind in _PATHS or kind in _STRINGS:
            value = next(answers)
        yield Found(kind, key[: len(key) - len(rest)], decode(rest), value)


def read_documents(store: CheckpointStore, keys: Sequence[tuple[KeyKind, bytes]], pace: Pace) -> list[Any]:
    """Of each document the ids, and of checkpoints the times.

    Raises:
        redis.exceptions.RedisError: Redis does not answer, or refuses.
    """
    commands = [("JSON.GET", key, *(_AGE_PATHS if kind is KeyKind.CHECKPOINT else _PATHS[kind])) for kind, key in keys]
    return list(_answers(store, commands, pace))


def _command(kind: KeyKind, key: bytes) -> tuple[Any, ...] | None:
    if kind in _PATHS:
        return ("JSON.GET", key, *_PATHS[kind])
    return ("GET", key) if kind in _STRINGS else None


def _answers(store: CheckpointStore, commands: Iterable[tuple[Any, ...]], pace: Pace) -> Iterator[Any]:
    remaining = iter(commands)
    while batch := list(islice(remaining, _COMMANDS)):
        with pace.step():
            answers = store.each(batch)
        for (name, *_), answer in zip(batch, answers, strict=True):
            yield _value(answer, is_json=name == "JSON.GET")


def _value(answer: object, *, is_json: bool) -> Any:  # noqa: ANN401 - JSON
    if answer is None:
        return None
    if isinstance(answer, bytes):
        text = decode(answer)
        if not is_json:
            return text
        try:
            return json.loads(text)
        except ValueError:
            return False
    # redis-py has read it already once somebody has used the client's `json()`; anything else is of another type.
    return answer if isinstance(answer, dict | list) else False
