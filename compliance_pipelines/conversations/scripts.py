"""What the Lua scripts of this package share, and running them.

Here: reading a key inside a script; loading and calling. Not here: the scripts themselves (enumeration.py,
witnesses.py, setting_aside.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import redis.exceptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from compliance_pipelines.conversations.store import CheckpointStore

WRONG_TYPE_SIGNS: Final = ("WRONGTYPE", "wrong Redis type")
"""What is in the error of a command that is for another type of key: Redis' own words and RedisJSON's."""

READ_FUNCTION: Final = f"""
local function read(command, key, ...)
  local value = redis.pcall(command, key, ...)
  if type(value) ~= 'table' or not value.err then return value, false end
  for _, sign in ipairs({{{", ".join(f"'{sign}'" for sign in WRONG_TYPE_SIGNS)}}}) do
    if string.find(value.err, sign, 1, true) then return nil, true end
  end
  error(command .. ' of ' .. string.match(key, '^[^:]*') .. ':* was refused: ' .. value.err)
end
"""
"""`read(command, key, ...)`: the value and false, or nil and true for a key of another type.

Any other error ends the script: a right that is missing must not look like a key that is.
"""

STATE_FUNCTION: Final = """
local function state(key)
  local kind = read('TYPE', key).ok
  if kind == 'none' then return '-', '' end
  local value, shown = '', ''
  if kind == 'string' then
    value = read('GET', key)
    shown = value
  elseif kind == 'zset' then
    value = table.concat(read('ZRANGE', key, 0, -1, 'WITHSCORES'), '\\0')
    shown = read('ZRANGE', key, 0, -1)
  elseif kind == 'ReJSON-RL' then
    value = read('JSON.GET', key)
    shown = read('JSON.GET', key, '$.checkpoint_id')
  end
  return redis.sha1hex(kind .. '\\0' .. value), shown
end
"""
"""`state(key)`: SHA-1 of a key's type and whole value, or '-' where there is none; and what of the value is shown.

Shown is a string's value, a sorted set's members, a JSON document's `$.checkpoint_id`. It needs `read`.
"""

ABSENT: Final = "-"
"""The state of a key that is not there."""


class Script:
    """A script and the server that knows it, by its hash.

    Args:
        store: of one server; a cluster has no place that every key could be named at.
        source: the script.
    """

    def __init__(self, store: CheckpointStore, source: str) -> None:
        self._store = store
        self._source = source
        self._sha = ""

    def run(self, calls: Iterable[Sequence[Any]]) -> list[Any]:
        """The answers to calls, each given as the arguments after the hash; loads the script where it is not known.

        Raises:
            redis.exceptions.RedisError: Redis does not answer, or refused, or the script did.
        """
        waiting = list(calls)
        if waiting and not self._sha:
            self.load()
        answers = self._each(waiting)
        missing = [at for at, answer in enumerate(answers) if isinstance(answer, redis.exceptions.NoScriptError)]
        if missing:
            self.load()
            for at, answer in zip(missing, self._each([waiting[at] for at in missing]), strict=True):
                answers[at] = answer
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    def _each(self, calls: list[Sequence[Any]]) -> list[Any]:
        return self._store.each(
            (("EVALSHA", self._sha, *call) for call in calls), answered=(redis.exceptions.NoScriptError,)
        )

    def load(self) -> None:
        """Let the server know the script."""
        self._sha = str(self._store.client.script_load(self._source))
