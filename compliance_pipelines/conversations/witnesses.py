"""Witnesses: keys whose state must still be what it was when a plan was frozen.

Here: looking at the state of keys, in one step for each conversation. Not here: which keys are witnesses (freezing.py),
comparing them when the conversation goes (setting_aside.py, cluster_removal.py).

A state is a hash of all that a key holds, so that it changes with every write: with a new member of a registry as with
an answer to an interrupt that overwrites the one before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from compliance_pipelines.conversations.errors import ConversationError
from compliance_pipelines.conversations.pacing import Pace, in_steps
from compliance_pipelines.conversations.scripts import READ_FUNCTION, STATE_FUNCTION, Script

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from compliance_pipelines.conversations.store import CheckpointStore

_LOOK: Final = f"""
{READ_FUNCTION}
{STATE_FUNCTION}
local answer = {{}}
for at, key in ipairs(KEYS) do answer[at] = {{state(key)}} end
return answer
"""
_KEYS_PER_STEP: Final = 50


class Witness(NamedTuple):
    """A key, and its state: a hash, or that it is not there."""

    key: bytes
    state: str


class Seen(NamedTuple):
    """The state of a key and what it holds.

    Attributes:
        state: as a witness has it.
        shown: a string's value, a sorted set's members, or the JSON text of a document's `$.checkpoint_id`.
    """

    state: str
    shown: bytes | list[bytes]


def look(store: CheckpointStore, wanted: Sequence[Sequence[bytes]], pace: Pace | None = None) -> Iterator[list[Seen]]:
    """The states of keys; each group is looked at in one step, but on a cluster, where its keys lie apart.

    Args:
        store: the Redis.
        wanted: names of keys, in groups.
        pace: how Redis is shared with others; None: without pauses.

    Raises:
        redis.exceptions.RedisError: Redis does not answer, or refused.
        ConversationError: it answered with something else.
    """
    if store.is_cluster:
        for group in wanted:
            yield [_seen(store.client.eval(_LOOK, 1, key)[0]) for key in group]
        return
    script, pace = Script(store, _LOOK), pace or Pace()
    for step in in_steps(wanted, len, _KEYS_PER_STEP):
        with pace.step():
            answers = script.run([len(group), *group] for group in step)
        for answer in answers:
            yield [_seen(each) for each in answer]


def _seen(answer: Any) -> Seen:  # noqa: ANN401 - what Redis sends
    if not isinstance(answer, list) or not answer:
        raise ConversationError(f"the look at a conversation's keys stopped: Redis answered {answer!r}")
    return Seen(answer[0].decode(), answer[1] if len(answer) > 1 else b"")
