"""Threads of the same ids in other applications of one Redis.

Here: spotting them by the names of their checkpoints, whatever their prefix is. Not here: whose a key of ours is
(gathering.py).

mcp-server-langgraph's notes have no application's prefix in their names. Where another application has a thread of the
same id, nobody can tell whose the note is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from compliance_pipelines.conversations.keys import ASIDE, encode
from compliance_pipelines.conversations.names import ID_LENGTH, beginnings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from compliance_pipelines.conversations.keys import KeyLayout
    from compliance_pipelines.conversations.threads import ThreadFacts

_MOST: Final = 200_000
_TAIL: Final = ID_LENGTH + 1
# Where in a name that ends with a UUIDv6 its version stands.
_VERSION: Final = slice(-22, -21)


class Elsewhere:
    """What other applications' checkpoints are named after.

    Args:
        layout: of the own application.
    """

    def __init__(self, layout: KeyLayout) -> None:
        self._ours = (*(prefix for prefix, _ in layout.prefixes), ASIDE)
        self._heads: set[bytes] = set()
        self._too_many = False

    def see(self, keys: Sequence[bytes]) -> None:
        """Take names into account."""
        found = [key for key in keys if (key[_VERSION] == b"6" or key[-1:] == b":") and not key.startswith(self._ours)]
        for key in found:
            if key[-1:] == b":":
                self._add(key)
            elif key[-_TAIL : 1 - _TAIL] == b":":
                self._add(key[: 1 - _TAIL])

    def _add(self, head: bytes) -> None:
        if len(self._heads) < _MOST:
            self._heads.add(head)
        else:
            self._too_many = True

    def mark(self, threads: Iterable[ThreadFacts]) -> None:
        """Say of each thread with a note whether the note may be another application's; where unsure, it may."""
        noted = {encode(thread.thread_id): thread for thread in threads if thread.note is not None}
        if not noted:
            return
        if self._too_many:
            for thread in noted.values():
                thread.shares_note = True
        for head in self._heads:
            position = head.find(b":")
            while position >= 0:
                for each in beginnings(head[position + 1 : -1]):
                    if each in noted:
                        noted[each].shares_note = True
                position = head.find(b":", position + 1)
