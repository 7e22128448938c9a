"""Removing conversations from one server in two steps: set aside what is as planned, then remove it or put it back.

Here: the two scripts and their calls. Not here: a cluster (cluster_removal.py), who went on meanwhile (continued.py),
the record (purge.py).

The first step compares the witnesses and renames every key of the conversation, all or none, so that no saver finds a
part of it. A graph that had read the conversation before, and writes after, is seen then by what it wrote: the
conversation is put back, and what is new in it stays. What nobody went on with is removed. A right that is missing, or
anything else that Redis refuses, undoes the step. Blobs of old savers stay where they are until the end: without a
checkpoint nobody finds them, and a checkpoint that a graph writes meanwhile needs them.

A receipt, a hash in Redis, notes each step in the same step. So an answer that was lost is found out, and what was set
aside by a process that died is settled by the next one.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Any, Final, TypeVar

from compliance_pipelines.conversations.errors import redis_errors
from compliance_pipelines.conversations.freezing import FrozenThread
from compliance_pipelines.conversations.keys import ASIDE, KeyKind
from compliance_pipelines.conversations.outcomes import Outcome, Removal
from compliance_pipelines.conversations.pacing import Pace, in_steps
from compliance_pipelines.conversations.scripts import READ_FUNCTION, STATE_FUNCTION, Script
from compliance_pipelines.conversations.threads import split_packed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from compliance_pipelines.conversations.keys import KeyLayout
    from compliance_pipelines.conversations.store import CheckpointStore

T = TypeVar("T")

_KEYS_PER_STEP: Final = 50
_KEYS_PER_REMOVAL: Final = 1_000
_CLOSED_PER_STEP: Final = 500
_RECEIPT_SECONDS: Final = 30 * 24 * 3600

# ARGV: the prefix of what is set aside, the receipt or '', seconds of its life, the prefixes of checkpoints, writes and
# registries, how many prefixes of documents and these, then conversations; each: its number, its witnesses, its keys,
# its heads with packed keys (threads.py), its closed heads, each list after its length. Names of packed keys are put
# together here: sending them one by one would take longer than renaming them.
_COMMON: Final = f"""
{READ_FUNCTION}
local at = 0
local function text() at = at + 1; return ARGV[at] end
local function number() return tonumber(text()) end
local function list(read_one)
  local found = {{}}
  for each = 1, number() do found[each] = read_one() end
  return found
end
local BLOB = 6
-- Of each kind; a key of another type is somebody else's.
local TYPES = {{'ReJSON-RL', 'ReJSON-RL', 'string', 'ReJSON-RL', 'zset', 'ReJSON-RL', 'string', 'string'}}
local aside, receipt, seconds = text(), text(), number()
local prefixes = {{[1] = text(), [4] = text(), [5] = text()}}
local starts = {{}}
for _, start in ipairs(list(text)) do
  local upto_colon = string.match(start, '^[^:]*:')
  starts[upto_colon] = starts[upto_colon] or {{}}
  table.insert(starts[upto_colon], start)
end
local function conversation()
  return {{
    number = text(),
    witnesses = list(function() return {{text(), text()}} end),
    keys = list(function() return {{number(), text()}} end),
    heads = list(function() return {{text(), text()}} end),
    closed = list(text),
    thread = text(),
  }}
end
local function each_key(conversation, act)
  for _, key in ipairs(conversation.keys) do act(key[1], key[2]) end
  for _, each in ipairs(conversation.heads) do
    local head, packed, position = each[1] .. ':', each[2], 1
    while position <= #packed do
      local kind, length, start = struct.unpack('<BI4', packed, position)
      position = start + length
      local tail = string.sub(packed, start, position - 1)
      if kind >= 128 then
        act(kind - 128, tail)
      else
        act(kind, prefixes[kind] .. head .. tail)
      end
    end
  end
end
local function noted(conversation)
  if receipt == '' then return 0 end
  return tonumber(redis.call('HMGET', receipt, conversation.number)[1] or 0)
end
local function note(name, by)
  if receipt == '' then return end
  redis.call('HINCRBY', receipt, name, by)
  redis.call('EXPIRE', receipt, seconds)
end
local function is_of(key, thread)
  local value = read('JSON.GET', key, '$.thread_id')
  if not value then return false end
  local ids = cjson.decode(value)
  return #ids == 0 or type(ids[1]) ~= 'string' or ids[1] == thread
end
local function joined(conversations, known, act)
  local closed, threads = {{}}, {{}}
  for _, each in ipairs(conversations) do
    for _, head in ipairs(each.closed) do
      closed[head] = each
      threads[each.thread] = each
    end
  end
  if not next(closed) then return end
  local cursor = '0'
  repeat
    local step = redis.call('SCAN', cursor, 'COUNT', 10000)
    cursor = step[1]
    for _, key in ipairs(step[2]) do
      for _, start in ipairs(starts[string.match(key, '^[^:]*:')] or {{}}) do
        if string.sub(key, 1, #start) == start and not known[key] then
          local rest = string.sub(key, #start + 1)
          local colon = string.find(rest, ':', 1, true)
          while colon do
            local name = string.sub(rest, 1, colon - 1)
            if closed[name] then
              act(closed[name])
            elseif threads[name] and is_of(key, name) then
              act(threads[name])
            end
            colon = string.find(rest, ':', colon + 1, true)
          end
        end
      end
    end
  until cursor == '0'
end
"""

_SET_ASIDE: Final = f"""
{_COMMON}
{STATE_FUNCTION}
local conversations = list(conversation)
local known = {{}}
for _, each in ipairs(conversations) do
  if #each.closed > 0 then each_key(each, function(_, key) known[key] = true end) end
end
joined(conversations, known, function(whose) whose.has_moved = true end)
local function take(each)
  local before = noted(each)
  if before > 0 then return before end
  local has_moved = each.has_moved
  each_key(each, function(kind, key)
    local held = redis.call('TYPE', key).ok
    has_moved = has_moved or (held ~= 'none' and held ~= TYPES[kind])
  end)
  for _, witness in ipairs(each.witnesses) do
    has_moved = has_moved or state(witness[1]) ~= witness[2]
  end
  if has_moved then
    -- What expired altogether was not resumed; of what is left in parts somebody may have removed the rest.
    local is_left = each.has_moved or false
    each_key(each, function(_, key) is_left = is_left or redis.call('EXISTS', key) == 1 end)
    return is_left and 0 or -1
  end
  local done, refused, stay = {{}}, nil, false
  each_key(each, function(kind, key)
    if refused then return end
    if kind == BLOB then
      stay = stay or redis.call('EXISTS', key) == 1
      return
    end
    local answer = redis.pcall('RENAME', key, aside .. key)
    if not answer.err then
      done[#done + 1] = key
    elseif not string.find(answer.err, 'no such key', 1, true) then
      refused = {{key, answer.err}}
    end
  end)
  if refused then
    for back = #done, 1, -1 do redis.call('RENAME', aside .. done[back], done[back]) end
    return refused
  end
  if #done == 0 and not stay then return -1 end
  note(each.number, 1)
  return 1
end
local answer = {{}}
for position, each in ipairs(conversations) do
  answer[position] = take(each)
  if type(answer[position]) == 'table' then
    local key, refusal = unpack(answer[position])
    if not string.find(refusal, 'NOPERM', 1, true) and not string.find(refusal, 'ACL failure', 1, true) then
      return redis.error_reply(refusal)
    end
    error('RENAME of ' .. string.match(key, '^[^:]*') .. ':* was refused: ' .. refusal)
  end
end
return answer
"""

# ARGV before the conversation: 'put back', 'remove', 'remove what is left', or 'remove whatever came', and how many
# keys at most. Answers with a number of _Noted, 0 where names of it are there again, and what was removed so far:
# bytes, then keys of each kind. MEMORY USAGE is asked in the same step, so that the record counts what was removed.
_SETTLE: Final = f"""
{_COMMON}
local what, most = text(), number()
local each = conversation()
local before = noted(each)
local counts = {{0, 0, 0, 0, 0, 0, 0, 0, 0}}
local function answer(code)
  if receipt ~= '' then
    for field = 1, #counts do
      counts[field] = tonumber(redis.call('HMGET', receipt, each.number .. ':' .. (field - 1))[1] or 0)
    end
  end
  return {{code, unpack(counts)}}
end
local function place(kind, key) return kind == BLOB and key or aside .. key end
local function put_back(kind, key)
  if redis.call('EXISTS', aside .. key) == 0 then return end
  if redis.call('EXISTS', key) == 0 then
    redis.call('RENAME', aside .. key, key)
    return
  end
  local new = redis.call('TYPE', key).ok
  if new == 'zset' then
    local members = redis.call('ZRANGE', aside .. key, 0, -1, 'WITHSCORES')
    for member = 1, #members, 2 do redis.call('ZADD', key, 'NX', members[member + 1], members[member]) end
  elseif new == 'ReJSON-RL' and (kind == 1 or kind == 2) and read('JSON.GET', key, '$.thread_id') == '[]' then
    redis.call('RENAME', aside .. key, key)
    redis.call('JSON.SET', key, '$.has_writes', 'true')
    return
  end
  redis.call('UNLINK', aside .. key)
end
if before == 2 then return answer(2) end
if what == 'put back' then
  if before == 3 then return answer(3) end
  each_key(each, put_back)
  if before == 1 then note(each.number, 1) end
  return answer(2)
end
if what == 'remove' and before ~= 3 then
  local is_back = false
  local known = {{}}
  each_key(each, function(kind, key)
    if kind == BLOB then known[key] = true else is_back = is_back or redis.call('EXISTS', key) == 1 end
  end)
  if not is_back then joined({{each}}, known, function() is_back = true end) end
  if is_back then return answer(0) end
end
local seen = 0
each_key(each, function(kind, key)
  seen = seen + 1
  if seen > most then return end
  local bytes = redis.call('MEMORY', 'USAGE', place(kind, key))
  if bytes then
    redis.call('UNLINK', place(kind, key))
    counts[1] = counts[1] + bytes
    counts[1 + kind] = counts[1 + kind] + 1
  end
end)
if before < 3 then note(each.number, 3 - before) end
for field = 1, #counts do
  if counts[field] ~= 0 then note(each.number .. ':' .. (field - 1), counts[field]) end
end
return answer(3)
"""


class _Noted(IntEnum):
    """What a receipt notes of a conversation, and what the scripts answer."""

    GONE = -1
    MOVED = 0
    ASIDE = 1
    PUT_BACK = 2
    REMOVED = 3


class Ending(StrEnum):
    """How a conversation that was set aside ends."""

    PUT_BACK = "put back"
    REMOVE = "remove"
    REMOVE_WHATEVER_CAME = "remove whatever came"


_REMOVE_REST: Final = "remove what is left"


class Aside:
    """Sets frozen conversations aside on one server, and ends that.

    Args:
        store: the Redis.
        layout: the layout of the plan.
        receipt: name of a hash for the notes; None: none are kept.
        pace: asked for each step; None: no pauses.
    """

    def __init__(
        self, store: CheckpointStore, layout: KeyLayout, receipt: bytes | None = None, pace: Pace | None = None
    ) -> None:
        self._store = store
        self._pace = Pace() if pace is None else pace
        self._receipt = receipt
        self._set_aside = Script(store, _SET_ASIDE)
        self._settle = Script(store, _SETTLE)
        documents = {KeyKind.CHECKPOINT, KeyKind.WRITE, KeyKind.BLOB}
        starts = [prefix for prefix, kind in layout.prefixes if kind in documents]
        prefixes = (layout.checkpoint(b"", b"")[:-1], layout.write(b"", b"")[:-1], layout.registry(b"", b"")[:-1])
        self._common: list[Any] = [0, ASIDE, receipt or b"", _RECEIPT_SECONDS, *prefixes, len(starts), *starts]

    def take(self, batch: Sequence[tuple[int, FrozenThread]]) -> list[Removal | None]:
        """Set aside what is still as planned; what was set aside before stays so.

        Args:
            batch: conversations, each with the number under which the receipt notes it.

        Returns:
            For each: None where it is set aside, else what became of it.

        Raises:
            TransientError: Redis does not answer; what was set aside is in the receipt.
            ConversationError: Redis refuses.
        """
        with redis_errors("the deletion"):
            closed = [at for at, (_, frozen) in enumerate(batch) if frozen.closed]
            others = [at for at, (_, frozen) in enumerate(batch) if not frozen.closed]
            calls = [[at] for at in others] + list(_pieces(closed, _CLOSED_PER_STEP))
            self._set_aside.load()
            taken: dict[int, Removal | None] = {}
            for part in in_steps(calls, lambda call: sum(batch[at][1].key_count for at in call), _KEYS_PER_STEP):
                with self._pace.step():
                    answers = self._take(batch, part)
                for call, answer in zip(part, answers, strict=True):
                    taken.update(zip(call, map(_taken, answer), strict=True))
        return [taken[at] for at in range(len(batch))]

    def _take(self, batch: Sequence[tuple[int, FrozenThread]], part: Sequence[Sequence[int]]) -> list[list[int]]:
        return self._set_aside.run(
            [*self._common, len(call), *(each for at in call for each in _arguments(*batch[at]))] for call in part
        )

    def end(self, batch: Sequence[tuple[int, FrozenThread, Ending]]) -> list[Removal | None]:
        """Put conversations back, or remove them.

        Args:
            batch: conversations that were set aside, with their numbers, each with how it ends.

        Returns:
            For each what became of it; None where it was to be removed and names of it are there again: it is still set
            aside, and it has to be looked at who wrote them.

        Raises:
            TransientError: Redis does not answer; what was done is in the receipt.
            ConversationError: Redis refuses.
        """
        with redis_errors("the deletion"):
            removals: list[Removal | None] = []
            for part in in_steps(batch, lambda each: each[1].key_count, _KEYS_PER_STEP):
                with self._pace.step():
                    answers = self._settle.run(
                        self._end_call(number, frozen, ending.value) for number, frozen, ending in part
                    )
                for (number, frozen, _), answer in zip(part, answers, strict=True):
                    removals.append(self._ended(number, frozen, answer))
            return removals

    def _end_call(self, number: int, frozen: FrozenThread, what: str) -> list[Any]:
        return [*self._common, what, _KEYS_PER_REMOVAL, *_arguments(number, frozen)]

    def _ended(self, number: int, frozen: FrozenThread, answer: list[int]) -> Removal | None:
        if answer[0] == _Noted.MOVED:
            return None
        if answer[0] == _Noted.PUT_BACK:
            return Removal(Outcome.MOVED)
        totals = answer[1:]
        if len(frozen.keys) + frozen.key_count > _KEYS_PER_REMOVAL:
            for more in self._settle.run(self._end_call(number, piece, _REMOVE_REST) for piece in _in_pieces(frozen)):
                # Without a receipt each answer is of its own step.
                totals = (
                    more[1:] if self._receipt else [one + other for one, other in zip(totals, more[1:], strict=True)]
                )
        return Removal.of_counts(
            {kind: count for kind, count in zip(KeyKind, totals[1:], strict=True) if count}, totals[0]
        )

    def forget_receipt(self) -> None:
        """Remove the receipt, once what it says is recorded elsewhere.

        Raises:
            TransientError: Redis does not answer.
        """
        if self._receipt is not None:
            with redis_errors("the deletion"):
                self._store.client.unlink(self._receipt)


def _taken(code: int) -> Removal | None:
    if code == _Noted.MOVED:
        return Removal(Outcome.MOVED)
    return Removal(Outcome.GONE) if code == _Noted.GONE else None


def _arguments(number: int, frozen: FrozenThread) -> Iterator[Any]:
    yield number
    yield len(frozen.witnesses)
    yield from (part for witness in frozen.witnesses for part in witness)
    yield len(frozen.keys)
    yield from (part for kind, key in frozen.keys for part in (int(kind), key))
    yield len(frozen.heads)
    yield from (part for head in frozen.heads for part in head)
    yield len(frozen.closed)
    yield from frozen.closed
    yield frozen.closed_thread or b""


def _in_pieces(frozen: FrozenThread) -> Iterator[FrozenThread]:
    for keys in _pieces(frozen.keys, _KEYS_PER_REMOVAL):
        yield FrozenThread(tuple(keys), (), ())
    for head, packed in frozen.heads:
        for piece in split_packed(packed, _KEYS_PER_REMOVAL):
            yield FrozenThread((), ((head, piece),), ())


def _pieces(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for at in range(0, len(items), size):
        yield items[at : at + size]
