"""Removing frozen conversations by exact key, each only if it is still as it was planned.

Here: the deletion on one server and on a cluster, and what became of one that was interrupted. Not here: what is frozen
(freezing.py), what is to go (plan.py), the record (purge.py).

On one server (Sentinel included) a script compares the witnesses and removes the keys in one step, so that nothing
comes between. Where a thread has very many keys, that step takes the names that a new writer would use again, and the
latest checkpoints; what is left has names that nobody writes twice, and follows in further steps.

On a cluster a thread's keys lie on several nodes and no step can span them. There the witnesses are read, then each
pointer and each shallow checkpoint is removed by a script of its own if it still is what was planned, the root's first;
if the root's moved, the thread is left alone. A writer that comes after that begins anew in a thread without history;
what it writes has other names and stays. So in the worst case a conversation that was idle for its whole period loses
its history in the moment in which somebody resumes it; nothing that is new is lost.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import redis.exceptions

from compliance_pipelines.conversations.errors import ConversationError, redis_errors
from compliance_pipelines.conversations.freezing import Witnesses
from compliance_pipelines.conversations.keys import KeyKind
from compliance_pipelines.conversations.scripts import READ_FUNCTION
from compliance_pipelines.conversations.threads import split_packed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from compliance_pipelines.conversations.freezing import FrozenThread
    from compliance_pipelines.conversations.keys import KeyLayout
    from compliance_pipelines.conversations.store import CheckpointStore

_KEYS_PER_STEP: Final = 1_000
_THREADS_PER_PIPELINE: Final = 50
_PIPELINES_AT_ONCE: Final = 2
_RECEIPT_SECONDS: Final = 30 * 24 * 3600

# KEYS: pointers, shallow checkpoints, registries, names that must not exist, [the receipt], keys to remove.
# ARGV: how many of each of the first four, the receipt's field or '', seconds of its life, one digit of kind for each
# key, the prefixes of checkpoints, writes and registries, the planned values, then names of heads and their packed keys
# (threads.py), whose names are put together here: sending them one by one would take longer than removing them.
# MEMORY USAGE is asked in the same step, so that the record counts what was removed and not what was planned.
_COMPARE_AND_REMOVE: Final = """
local pointers, shallows = tonumber(ARGV[1]), tonumber(ARGV[2])
local registries, absents = tonumber(ARGV[3]), tonumber(ARGV[4])
local receipt, kinds = ARGV[5], ARGV[7]
local prefixes = {[1] = ARGV[8], [4] = ARGV[9], [5] = ARGV[10]}
local at, arg = 0, 10
for i = 1, pointers do
  at, arg = at + 1, arg + 1
  local held, is_of_another_type = read('GET', KEYS[at])
  if is_of_another_type then return {0} end
  if (held and '=' .. held or '-') ~= ARGV[arg] then return {0} end
end
for i = 1, shallows do
  at, arg = at + 1, arg + 1
  if read('JSON.GET', KEYS[at], '$.checkpoint_id') ~= ARGV[arg] then return {0} end
end
for i = 1, registries do
  at, arg = at + 1, arg + 1
  if read('ZCARD', KEYS[at]) ~= tonumber(ARGV[arg]) then return {0} end
end
for i = 1, absents do
  at = at + 1
  if redis.call('EXISTS', KEYS[at]) == 1 then return {0} end
end
local receipt_key = nil
if receipt ~= '' then
  at = at + 1
  receipt_key = KEYS[at]
end
local answer = {1, 0, 0, 0, 0, 0, 0, 0, 0, 0}
local function remove(kind, key)
  local bytes = redis.call('MEMORY', 'USAGE', key)
  if bytes then
    redis.call('UNLINK', key)
    answer[2] = answer[2] + bytes
    answer[2 + kind] = answer[2 + kind] + 1
  end
end
for i = 1, #KEYS - at do
  remove(tonumber(string.sub(kinds, i, i)), KEYS[at + i])
end
for i = arg + 1, #ARGV, 2 do
  local head, packed, position = ARGV[i] .. ':', ARGV[i + 1], 1
  while position <= #packed do
    local kind, length, start = struct.unpack('<BI4', packed, position)
    position = start + length
    local tail = string.sub(packed, start, position - 1)
    if kind >= 128 then
      remove(kind - 128, tail)
    else
      remove(kind, prefixes[kind] .. head .. tail)
    end
  end
end
if receipt_key then
  redis.call('HINCRBY', receipt_key, receipt, 0)
  for i = 2, #answer do
    if answer[i] ~= 0 then redis.call('HINCRBY', receipt_key, receipt .. ':' .. (i - 2), answer[i]) end
  end
  redis.call('EXPIRE', receipt_key, tonumber(ARGV[6]))
end
return answer
"""
_SCRIPT: Final = READ_FUNCTION + _COMPARE_AND_REMOVE


class Outcome(StrEnum):
    """What became of a planned conversation."""

    DELETED = "deleted"
    MOVED = "moved"
    HELD = "held"
    GONE = "gone"


@dataclass(frozen=True)
class Removal:
    """What was removed of one conversation.

    Attributes:
        outcome: deleted; moved (its latest checkpoint is another one: left alone); held; gone (nothing was left).
        counts: keys removed, by kind.
        bytes_freed: memory of these keys as MEMORY USAGE gave it; None where that is not known any more.
    """

    outcome: Outcome
    counts: dict[KeyKind, int] = field(default_factory=dict)
    bytes_freed: int | None = 0

    @classmethod
    def of_counts(cls, counts: dict[KeyKind, int], bytes_freed: int | None) -> Removal:
        """Deleted, or gone where nothing was there."""
        return cls(Outcome.DELETED if counts else Outcome.GONE, counts, bytes_freed)


class Remover:
    """Removes frozen conversations.

    Args:
        store: the Redis.
        layout: the layout of the plan.
        receipt: name of a hash in which the script notes, in the step of the deletion, what it removed; it answers for
            a deletion whose own answer was lost. None: no notes. A cluster has none either.
    """

    def __init__(self, store: CheckpointStore, layout: KeyLayout, receipt: bytes | None = None) -> None:
        self._store = store
        self._layout = layout
        self._receipt = None if store.is_cluster else receipt
        self._sha = ""
        self._prefixes = (layout.checkpoint(b"", b"")[:-1], layout.write(b"", b"")[:-1], layout.registry(b"", b"")[:-1])

    def remove(self, batch: Sequence[tuple[int, FrozenThread]]) -> list[Removal]:
        """Remove what is still as planned.

        Args:
            batch: conversations, each with the number under which the receipt notes it.

        Raises:
            TransientError: Redis does not answer; what was removed is in the receipt.
            ConversationError: Redis refuses.
        """
        with redis_errors("the deletion"):
            if self._store.is_cluster:
                return [self._remove_in_cluster(frozen) for _, frozen in batch]
            if not self._sha:
                self._load()
            parts = [batch[at : at + _THREADS_PER_PIPELINE] for at in range(0, len(batch), _THREADS_PER_PIPELINE)]
            # Two at a time: while the server works on one, the next is made ready here.
            with ThreadPoolExecutor(_PIPELINES_AT_ONCE, thread_name_prefix="conversation-purge") as pool:
                return [removal for removals in pool.map(self._remove_on_server, parts) for removal in removals]

    def _remove_on_server(self, batch: Sequence[tuple[int, FrozenThread]]) -> list[Removal]:
        answers = self._run(self._first_step(number, frozen) for number, frozen in batch)
        removals: list[Removal] = []
        for (number, frozen), answer in zip(batch, answers, strict=True):
            if answer[0] == 0:
                removals.append(Removal(Outcome.MOVED))
                continue
            totals = answer[1:]
            for more in self._further_steps(number, frozen):
                totals = [one + other for one, other in zip(totals, more[1:], strict=True)]
            removals.append(Removal.of_counts(_counts(totals[1:]), totals[0]))
        return removals

    def _first_step(self, number: int, frozen: FrozenThread) -> list[Any]:
        """Everything in one step, unless there are too many keys."""
        heads = frozen.heads if frozen.key_count <= _KEYS_PER_STEP else ()
        return self._script_call(number, frozen.witnesses, frozen.first, heads)

    def _further_steps(self, number: int, frozen: FrozenThread) -> list[list[int]]:
        if frozen.key_count <= _KEYS_PER_STEP:
            return []
        return self._run(
            self._script_call(number, Witnesses(), (), ((head, piece),))
            for head, packed in frozen.heads
            for piece in split_packed(packed, _KEYS_PER_STEP)
        )

    def _script_call(
        self,
        number: int | None,
        witnesses: Witnesses,
        keys: Sequence[tuple[KeyKind, bytes]],
        heads: Sequence[tuple[bytes, bytes]] = (),
    ) -> list[Any]:
        names = [key for key, _ in witnesses.pointers]
        names += [key for key, _ in witnesses.shallow]
        names += [key for key, _ in witnesses.registries]
        names += witnesses.absent
        receipt: int | str = ""
        if number is not None and self._receipt is not None:
            receipt = number
            names.append(self._receipt)
        names += [key for _, key in keys]
        return [
            len(names),
            *names,
            len(witnesses.pointers),
            len(witnesses.shallow),
            len(witnesses.registries),
            len(witnesses.absent),
            receipt,
            _RECEIPT_SECONDS,
            "".join([str(int(kind)) for kind, _ in keys]),
            *self._prefixes,
            *(b"-" if value is None else b"=" + value for _, value in witnesses.pointers),
            *(json.dumps([value], ensure_ascii=False) for _, value in witnesses.shallow),
            *(size for _, size in witnesses.registries),
            *(part for head in heads for part in head),
        ]

    def _run(self, calls: Iterable[list[Any]]) -> list[list[int]]:
        """Run the script for each call; loads it where the server does not know it (yet, or any more)."""
        waiting = list(calls)
        if not self._sha:
            self._load()
        answers = self._store.each(
            (("EVALSHA", self._sha, *call) for call in waiting), answered=(redis.exceptions.NoScriptError,)
        )
        missing = [at for at, answer in enumerate(answers) if isinstance(answer, redis.exceptions.NoScriptError)]
        if missing:
            self._load()
            again = self._store.each(("EVALSHA", self._sha, *waiting[at]) for at in missing)
            for at, answer in zip(missing, again, strict=True):
                answers[at] = answer
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    def _load(self) -> None:
        self._sha = str(self._store.client.script_load(_SCRIPT))

    # On a cluster

    def _remove_in_cluster(self, frozen: FrozenThread) -> Removal:
        if not self._holds_in_cluster(frozen.witnesses):
            return Removal(Outcome.MOVED)
        counts: dict[KeyKind, int] = {}
        bytes_freed = 0
        done: set[bytes] = set()
        for kind, witnesses, key in _single_witnesses(frozen):
            answer = self._one(witnesses, kind, key)
            if answer[0] == 0:
                if not counts:
                    return Removal(Outcome.MOVED)
                # This namespace moved after the root had gone: what is new stays, and is reported as resurrected.
                done.add(key)
                continue
            done.add(key)
            bytes_freed += answer[1]
            for each, count in _counts(answer[2:]).items():
                counts[each] = counts.get(each, 0) + count
        rest = [each for each in (*frozen.first, *frozen.rest(self._layout)) if each[1] not in done]
        freed, removed = self._unlink_each(rest)
        for each, count in removed.items():
            counts[each] = counts.get(each, 0) + count
        return Removal.of_counts(counts, bytes_freed + freed)

    def _holds_in_cluster(self, witnesses: Witnesses) -> bool:
        store = self._store
        found = store.strings([key for key, _ in witnesses.pointers])
        if found != [value for _, value in witnesses.pointers]:
            return False
        ids = store.json_values([key for key, _ in witnesses.shallow], "$.checkpoint_id")
        if ids != [[value] for _, value in witnesses.shallow]:
            return False
        sizes = store.each(("ZCARD", key) for key, _ in witnesses.registries)
        return sizes == [size for _, size in witnesses.registries] and not any(store.exists(witnesses.absent))

    def _one(self, witnesses: Witnesses, kind: KeyKind, key: bytes) -> list[int]:
        """The script for one key, which is its own witness; names that repeat lie in one slot."""
        call = self._script_call(None, witnesses, [(kind, key)])
        answer = self._store.client.eval(_SCRIPT, *call)
        if not isinstance(answer, list):
            raise ConversationError(f"the deletion stopped: Redis answered {answer!r}")
        return answer

    def _unlink_each(self, keys: Sequence[tuple[KeyKind, bytes]]) -> tuple[int, dict[KeyKind, int]]:
        sizes = self._store.each(("MEMORY USAGE", key) for _, key in keys)
        removed = self._store.each(("UNLINK", key) for _, key in keys)
        counts: dict[KeyKind, int] = {}
        freed = 0
        for (kind, _), size, gone in zip(keys, sizes, removed, strict=True):
            if isinstance(gone, Exception):
                raise gone
            if gone:
                counts[kind] = counts.get(kind, 0) + 1
                freed += size if isinstance(size, int) else 0
        return freed, counts

    # After an interruption

    def recover(self, batch: Sequence[tuple[int, FrozenThread]]) -> dict[int, Removal]:
        """What was removed of conversations whose deletion may have been begun; those that are not in it were not.

        What is left of those that were begun is removed.

        Raises:
            TransientError: Redis does not answer.
        """
        with redis_errors("the recovery of an interrupted deletion"):
            return dict(self._recover_in_cluster(batch) if self._store.is_cluster else self._recover_on_server(batch))

    def _recover_on_server(self, batch: Sequence[tuple[int, FrozenThread]]) -> Iterator[tuple[int, Removal]]:
        if self._receipt is None:
            return
        begun = self._store.client.hgetall(self._receipt)
        for number, frozen in batch:
            if str(number).encode() in begun:
                self._further_steps(number, frozen)
        noted: dict[bytes, bytes] = self._store.client.hgetall(self._receipt)  # type: ignore[assignment]
        for number, _ in batch:
            if str(number).encode() in noted:
                totals = [int(noted.get(f"{number}:{field}".encode(), 0)) for field in range(len(KeyKind) + 1)]
                yield number, Removal.of_counts(_counts(totals[1:]), totals[0])

    def _recover_in_cluster(self, batch: Sequence[tuple[int, FrozenThread]]) -> Iterator[tuple[int, Removal]]:
        for number, frozen in batch:
            # Without a latest checkpoint of a full saver it cannot be told whether the deletion was begun: then the
            # conversation is judged anew, and at worst the count lacks what was removed of it.
            if not frozen.latest or any(self._store.exists(frozen.latest)):
                continue
            # What the first names hold now may be somebody's new conversation: they stay, and count as removed.
            rest = frozen.rest(self._layout)
            self._unlink_each(rest)
            counts: dict[KeyKind, int] = {}
            for kind, _ in (*_existing_first(frozen), *rest):
                counts[kind] = counts.get(kind, 0) + 1
            yield number, Removal.of_counts(counts, None)

    def forget_receipt(self) -> None:
        """Remove the receipt, once what it says is recorded elsewhere.

        Raises:
            TransientError: Redis does not answer.
        """
        if self._receipt is not None:
            with redis_errors("the deletion"):
                self._store.client.unlink(self._receipt)


def _counts(per_kind: Sequence[int]) -> dict[KeyKind, int]:
    return {kind: count for kind, count in zip(KeyKind, per_kind, strict=True) if count}


def _existing_first(frozen: FrozenThread) -> Iterator[tuple[KeyKind, bytes]]:
    """The names of the first step that were there when the plan was frozen, as far as it says."""
    empty = {key for key, size in frozen.witnesses.registries if size == 0}
    return (each for each in frozen.first if each[1] not in empty)


def _single_witnesses(frozen: FrozenThread) -> Iterator[tuple[KeyKind, Witnesses, bytes]]:
    """The keys that are their own witnesses, the root's first."""
    for key, value in frozen.witnesses.pointers:
        if value is not None:
            yield KeyKind.LATEST_POINTER, Witnesses(pointers=((key, value),)), key
    for key, identity in frozen.witnesses.shallow:
        yield KeyKind.SHALLOW_CHECKPOINT, Witnesses(shallow=((key, identity),)), key
