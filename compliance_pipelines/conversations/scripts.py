"""What every Lua script of ours shares.

Here: reading a key inside a script. Not here: the scripts (enumeration.py, removal.py).
"""

from __future__ import annotations

from typing import Final

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
