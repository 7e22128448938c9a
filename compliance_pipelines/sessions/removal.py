"""Removing planned keys by exact name, each only if it still says what it said when it was planned.

Here: the deletion on one server and on a cluster, and what became of one that was interrupted. Not here: what is to go
(plan.py), the record (purge.py).

A script reads the key again, compares, and removes it in one step, so that a session that somebody uses stays. On one
server the same step takes the session's id off the list of its user, and leaves a receipt: after an interruption Redis
itself says which keys were removed. On a cluster a step sees one key alone: the list follows in a command of its own,
there is no receipt, and what an interrupted process had removed counts as gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import redis.exceptions

from compliance_pipelines.conversations.scripts import READ_FUNCTION
from compliance_pipelines.conversations.store import is_of_another_type
from compliance_pipelines.sessions.survey import KeyKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from compliance_pipelines.sessions.places import Place
    from compliance_pipelines.sessions.record import WorkItem

_RECEIPT_SECONDS: Final = 30 * 24 * 3600
_PIPELINE: Final = 100

# KEYS: the key, [the receipt, [the list of the user]]. ARGV: the planned digest, number of the receipt's field, seconds
# of its life, id in the list, the command that reads, and its arguments. Answers with what became of it and the bytes.
# The receipt comes before the removal, which a right that is missing may stop: then it is taken back, and is nought.
_COMPARE_AND_REMOVE: Final = f"""
{READ_FUNCTION}
if redis.call('EXISTS', KEYS[1]) == 0 then return {{'gone', 0}} end
local value, is_of_another_type = read(ARGV[5], KEYS[1], unpack(ARGV, 6))
if is_of_another_type then return {{'moved', 0}} end
local parts = {{}}
if type(value) == 'table' then
  for i = 1, #ARGV - 5 do parts[i] = value[i] and '=' .. #value[i] .. ':' .. value[i] or '-' end
else
  parts[1] = value and '=' .. #value .. ':' .. value or '-'
end
if redis.sha1hex(table.concat(parts)) ~= ARGV[1] then return {{'moved', 0}} end
local bytes = redis.call('MEMORY', 'USAGE', KEYS[1]) or 0
if KEYS[3] then read('LREM', KEYS[3], 0, ARGV[4]) end
if KEYS[2] then redis.call('HINCRBY', KEYS[2], ARGV[2], bytes) end
local function must(...)
  local answer = redis.pcall(...)
  if type(answer) ~= 'table' or not answer.err then return end
  if KEYS[2] then redis.call('HINCRBY', KEYS[2], ARGV[2], -bytes) end
  error('it was refused: ' .. answer.err)
end
if KEYS[2] then must('EXPIRE', KEYS[2], ARGV[3]) end
must('UNLINK', KEYS[1])
return {{'deleted', bytes}}
"""


class Outcome(StrEnum):
    """What became of a planned key."""

    DELETED = "deleted"
    MOVED = "moved"
    HELD = "held"
    GONE = "gone"
    LEFT = "left"


@dataclass(frozen=True)
class Removal:
    """What became of a planned key, and its memory; None where an interruption lost the figure."""

    outcome: Outcome
    bytes_freed: int | None = 0


class Remover:
    """Removes the keys of one plan from one Redis.

    Args:
        place: the Redis.
        purge_id: the number of the plan.
    """

    def __init__(self, place: Place, purge_id: int) -> None:
        self._place = place
        self._receipt = f"compliance_pipelines:purge:sessions:{purge_id}".encode()

    def remove(self, items: Sequence[WorkItem]) -> list[Removal]:
        """Remove what is as it was planned.

        Raises:
            TransientError: Redis did not answer.
            SessionError: Redis refused.
        """
        with self._place.errors("the purge of sessions"):
            if self._place.is_cluster:
                return [self._remove_alone(item) for item in items]
            return self._remove_in_steps(items)

    def _remove_in_steps(self, items: Sequence[WorkItem]) -> list[Removal]:
        removals = []
        for start in range(0, len(items), _PIPELINE):
            pipeline = self._place.client.pipeline(transaction=False)
            for item in items[start : start + _PIPELINE]:
                keys = [item.key, self._receipt]
                if (session_list := _list_of(item)) is not None:
                    keys.append(session_list)
                pipeline.execute_command("EVAL", _COMPARE_AND_REMOVE, len(keys), *keys, *_arguments(item))
            removals += [_removal(answer) for answer in pipeline.execute()]
        return removals

    def _remove_alone(self, item: WorkItem) -> Removal:
        client: Any = self._place.client
        removal = _removal(client.execute_command("EVAL", _COMPARE_AND_REMOVE, 1, item.key, *_arguments(item)))
        if removal.outcome is Outcome.DELETED and (session_list := _list_of(item)) is not None:
            try:
                client.lrem(session_list, 0, _bytes(item.session_id))
            except redis.exceptions.ResponseError as error:
                if not is_of_another_type(error):
                    raise
        return removal

    def recover(self, items: Sequence[WorkItem]) -> dict[int, Removal]:
        """What Redis says that an interrupted process removed, by number.

        Raises:
            TransientError: Redis did not answer.
            SessionError: Redis refused.
        """
        if self._place.is_cluster or not items:
            return {}
        client: Any = self._place.client
        with self._place.errors("the look at what was removed"):
            answers = client.hmget(self._receipt, [item.number for item in items])
        return {
            item.number: Removal(Outcome.DELETED, int(answer))
            for item, answer in zip(items, answers, strict=True)
            if answer is not None and int(answer)
        }

    def count_back(self, keys: Iterable[bytes]) -> int:
        """How many of some removed keys are there again.

        Raises:
            TransientError: Redis did not answer.
            SessionError: Redis refused.
        """
        wanted = list(keys)
        found = 0
        with self._place.errors("the look at what came back"):
            for start in range(0, len(wanted), _PIPELINE):
                pipeline = self._place.client.pipeline(transaction=False)
                for key in wanted[start : start + _PIPELINE]:
                    pipeline.execute_command("EXISTS", key)
                found += sum(pipeline.execute())
        return found

    def forget_receipt(self) -> None:
        """Remove the receipt, when everything is on record.

        Raises:
            TransientError: Redis did not answer.
            SessionError: Redis refused.
        """
        with self._place.errors("the removal of a receipt"):
            self._place.client.unlink(self._receipt)


def _list_of(item: WorkItem) -> bytes | None:
    """The list of sessions that a session is on."""
    if item.kind is not KeyKind.LOGIN_SESSION or item.owner is None:
        return None
    return b"user_sessions:" + _bytes(item.owner)


def _arguments(item: WorkItem) -> list[bytes | str | int]:
    reading = item.reading
    in_list = _bytes(item.session_id)
    return [item.witness, item.number, _RECEIPT_SECONDS, in_list, reading.command, *reading.arguments]


def _bytes(text: str) -> bytes:
    """Text as it is in Redis, where names need not be UTF-8."""
    return text.encode("utf-8", "surrogateescape")


def _removal(answer: Any) -> Removal:  # noqa: ANN401 - what a script answers
    outcome, freed = answer
    return Removal(Outcome(outcome.decode()), int(freed))
