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
    from compliance_pipelines.conversations.store import Asked, CheckpointStore

# A pipeline of so many commands keeps others waiting for about 0.2 ms.
COMMANDS_AT_ONCE: Final = 25

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
_PATHS_OF_DOCUMENTS: Final = {**_PATHS, KeyKind.CHECKPOINT: (documents.AGE_FIELDS, documents.CHECKPOINT_TIME)}
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
        value: Any = True
        if kind in _PATHS:
            value = json_value(next(answers))
        elif kind in _STRINGS:
            value = _text(next(answers))
        yield Found(kind, key[: len(key) - len(rest)], decode(rest), value)


def ask_for_documents(store: CheckpointStore, keys: Iterable[tuple[KeyKind, bytes]]) -> Asked:
    """Ask of each document the ids, and of checkpoints the times; :func:`json_value` takes an answer apart.

    Raises:
        redis.exceptions.RedisError: the connection is lost.
    """
    return store.ask([("JSON.GET", key, *_PATHS_OF_DOCUMENTS[kind]) for kind, key in keys])


def read_documents(store: CheckpointStore, keys: Iterable[tuple[KeyKind, bytes]], pace: Pace) -> Iterator[object]:
    """The answers of :func:`ask_for_documents`, for any number of keys.

    Raises:
        redis.exceptions.RedisError: Redis does not answer, or refuses.
    """
    return _answers(store, (("JSON.GET", key, *_PATHS_OF_DOCUMENTS[kind]) for kind, key in keys), pace)


def _command(kind: KeyKind, key: bytes) -> tuple[Any, ...] | None:
    if kind in _PATHS:
        return ("JSON.GET", key, *_PATHS[kind])
    return ("GET", key) if kind in _STRINGS else None


def _answers(store: CheckpointStore, commands: Iterable[tuple[Any, ...]], pace: Pace) -> Iterator[object]:
    """The answers; at full pace the next commands are sent before those of the last ones are handed on."""
    remaining = iter(commands)
    ahead: Asked | None = None
    try:
        while batch := list(islice(remaining, COMMANDS_AT_ONCE)):
            asked, ahead = ahead, None
            if pace.is_full:
                ahead = store.ask(batch)
                answers = [] if asked is None else asked.answers()
            else:
                with pace.step():
                    answers = store.each(batch)
            yield from answers
        asked, ahead = ahead, None
        if asked is not None:
            yield from asked.answers()
    finally:
        if ahead is not None:
            ahead.abandon()


def json_value(answer: object) -> Any:  # noqa: ANN401 - JSON
    """What `JSON.GET` answered: None where the key is gone, False where it is of another type."""
    if isinstance(answer, bytes):
        try:
            return json.loads(decode(answer))
        except ValueError:
            return False
    # redis-py has read it already once somebody has used the client's `json()`; anything else is of another type.
    return answer if answer is None or isinstance(answer, dict | list) else False


def _text(answer: object) -> str | bool | None:
    if isinstance(answer, bytes):
        return decode(answer)
    return None if answer is None else False
