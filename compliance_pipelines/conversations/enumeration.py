"""Enumerating the keys of a Redis and reading what a survey needs of each, where the data lies.

Here: one pass over every server of a store, in small steps. Not here: what the values mean (survey.py).

A step is a script: SCAN, then the values of the keys that it gave, as one answer. Fetching them one by one would cost
several times as much, most of it on this side. A step blocks the server for a few milliseconds at most, and the next
one is asked for while the answer is read here. SCAN gives every key that is there during the whole pass, some twice.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from redis import RedisCluster

from compliance_pipelines.conversations import documents
from compliance_pipelines.conversations.errors import ConversationError
from compliance_pipelines.conversations.keys import KeyKind
from compliance_pipelines.conversations.scripts import READ_FUNCTION
from compliance_pipelines.streaming import run_ahead

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compliance_pipelines.conversations.keys import KeyLayout
    from compliance_pipelines.conversations.store import CheckpointStore

_COUNT: Final = 300
_STEPS_AHEAD: Final = 4

# ARGV: cursor, count, then for each prefix, the longest first: the prefix, and what to read ('checkpoint', 'write',
# 'blob', 'string' or '' for nothing). Answers with the next cursor, how many keys there were, and a JSON list of
# [number of the prefix, rest of the name, value]; null for a key that is gone, false for one of another type.
# Prefixes are looked up by their start up to the first colon, which most keys share with one or two of them only. The
# user in a graph's input is looked for only where the channel has none.
_SCRIPT: Final = f"""
{READ_FUNCTION}
local by_start = {{}}
for at = 3, #ARGV, 2 do
  local start = string.match(ARGV[at], '^[^:]*:')
  by_start[start] = by_start[start] or {{}}
  table.insert(by_start[start], {{ARGV[at], ARGV[at + 1], (at - 3) / 2}})
end
local readers = {{
  checkpoint = function(key)
    local value, other = read('JSON.GET', key, "{documents.CHECKPOINT_FIELDS}", '{documents.CHECKPOINT_TIME}',
                              '{documents.CHANNEL_USER}')
    if type(value) == 'string' and string.find(value, '"{documents.CHANNEL_USER}":[]', 1, true) then
      value, other = read('JSON.GET', key, "{documents.CHECKPOINT_FIELDS}", '{documents.CHECKPOINT_TIME}',
                          '{documents.CHANNEL_USER}', '{documents.INPUT_USER}')
    end
    return value, other
  end,
  write = function(key) return read('JSON.GET', key, "{documents.WRITE_FIELDS}") end,
  blob = function(key) return read('JSON.GET', key, "{documents.BLOB_FIELDS}") end,
  string = function(key)
    local value, other = read('GET', key)
    return value and cjson.encode(value), other
  end,
}}
local step = redis.call('SCAN', ARGV[1], 'COUNT', ARGV[2])
local found = {{}}
for _, key in ipairs(step[2]) do
  for _, each in ipairs(by_start[string.match(key, '^[^:]*:')] or {{}}) do
    local prefix = each[1]
    if string.sub(key, 1, #prefix) == prefix then
      local reader, value, other = readers[each[2]], nil, false
      if reader then value, other = reader(key) end
      if other then value = 'false' end
      found[#found + 1] = '[' .. each[3] .. ',' .. cjson.encode(string.sub(key, #prefix + 1)) .. ','
                          .. (value or 'null') .. ']'
      break
    end
  end
end
return {{step[1], #step[2], '[' .. table.concat(found, ',') .. ']'}}
"""

_READ: Final = {
    KeyKind.CHECKPOINT: "checkpoint",
    KeyKind.WRITE: "write",
    KeyKind.BLOB: "blob",
    KeyKind.LATEST_POINTER: "string",
    KeyKind.METADATA: "string",
}


@dataclass(frozen=True, slots=True)
class Step:
    """What one step gave.

    Attributes:
        keys: how many keys, other people's included.
        found: for each key of a saver: the number of its prefix, what follows it, and its value, in which bytes that
            are no UTF-8 stand as surrogates. None where the key is gone, False where it is of another type.
    """

    keys: int
    found: list[tuple[int, str, Any]]


@contextmanager
def steps(store: CheckpointStore, layout: KeyLayout) -> Iterator[Iterator[Step]]:
    """Every key of a store, step by step; the answers are fetched ahead in a thread.

    Raises:
        redis.exceptions.RedisError: Redis does not answer, or refuses.
        ConversationError: Redis answers with something else.
    """
    arguments: list[bytes | str] = []
    for prefix, kind in layout.prefixes:
        arguments += [prefix, _READ.get(kind, "")]
    with run_ahead(_answers(store, arguments), depth=_STEPS_AHEAD, name="conversation-survey") as answers:
        yield (Step(keys, json.loads(text.decode("utf-8", "surrogateescape"))) for keys, text in answers)


def _answers(store: CheckpointStore, arguments: list[bytes | str]) -> Iterator[tuple[int, bytes]]:
    client: Any = store.client
    nodes: list[dict[str, Any]] = [{}]
    if isinstance(client, RedisCluster):
        nodes = [{"target_nodes": node} for node in client.get_primaries()]  # type: ignore[no-untyped-call]
    for node in nodes:
        cursor: bytes | int = 0
        while True:
            answer = client.execute_command("EVAL", _SCRIPT, 0, cursor, _COUNT, *arguments, **node)
            if not isinstance(answer, list):
                raise ConversationError(f"the survey stopped: Redis answered {answer!r}")
            cursor, keys, text = answer
            yield keys, text
            if int(cursor) == 0:
                break
