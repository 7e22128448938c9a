"""Removing frozen conversations from a cluster.

Here: the order in which keys on several nodes go, and what became of a deletion that was interrupted. Not here: one
server, where it is done in one step (setting_aside.py).

A thread's keys lie on several nodes and no step can span them. The witnesses are read, then each pointer and each
shallow checkpoint is removed by a script of its own if it still is what was planned, the root's first; if the root's
moved, the thread is left alone. A writer that comes after that begins anew in a thread without history; what it writes
has other names and stays. So in the worst case a conversation that was idle for its whole period loses its history in
the moment in which somebody resumes it; nothing that is new is lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from compliance_pipelines.conversations.errors import ConversationError, redis_errors
from compliance_pipelines.conversations.keys import KeyKind
from compliance_pipelines.conversations.outcomes import Outcome, Removal
from compliance_pipelines.conversations.scripts import READ_FUNCTION, STATE_FUNCTION
from compliance_pipelines.conversations.witnesses import look

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from compliance_pipelines.conversations.freezing import FrozenThread
    from compliance_pipelines.conversations.keys import KeyLayout
    from compliance_pipelines.conversations.store import CheckpointStore
    from compliance_pipelines.conversations.witnesses import Witness

# KEYS: one. ARGV: its state. Answers with whether it was that, whether it was there, and its bytes.
_COMPARE_AND_REMOVE: Final = f"""
{READ_FUNCTION}
{STATE_FUNCTION}
local now = state(KEYS[1])
if now == '-' then return {{1, 0, 0}} end
if now ~= ARGV[1] then return {{0, 0, 0}} end
local bytes = redis.call('MEMORY', 'USAGE', KEYS[1])
redis.call('UNLINK', KEYS[1])
return {{1, 1, bytes}}
"""
_DECIDING: Final = frozenset({KeyKind.LATEST_POINTER, KeyKind.SHALLOW_CHECKPOINT})


class ClusterRemover:
    """Removes frozen conversations from a cluster.

    Args:
        store: the cluster.
        layout: the layout of the plan.
    """

    def __init__(self, store: CheckpointStore, layout: KeyLayout) -> None:
        self._store = store
        self._layout = layout

    def remove(self, batch: Sequence[FrozenThread]) -> list[Removal]:
        """Remove what is still as planned.

        Raises:
            TransientError: Redis does not answer.
            ConversationError: Redis refuses.
        """
        with redis_errors("the deletion"):
            joined = self._joined({head for frozen in batch for head in frozen.closed}, batch)
            return [
                Removal(Outcome.MOVED) if joined.intersection(frozen.closed) else self._remove(frozen)
                for frozen in batch
            ]

    def _remove(self, frozen: FrozenThread) -> Removal:
        if not self._holds(frozen.witnesses):
            is_left = any(self._store.exists(list(frozen.names(self._layout))))
            return Removal(Outcome.MOVED if is_left else Outcome.GONE)
        counts: dict[KeyKind, int] = {}
        bytes_freed = 0
        done: set[bytes] = set()
        states = dict(frozen.witnesses)
        for kind, key in frozen.keys:
            if kind not in _DECIDING or key not in states:
                continue
            answer = self._store.client.eval(_COMPARE_AND_REMOVE, 1, key, states[key])
            if not isinstance(answer, list):
                raise ConversationError(f"the deletion stopped: Redis answered {answer!r}")
            if not answer[0] and not done:
                return Removal(Outcome.MOVED)
            # A namespace that moved after the root had gone: what is new stays, and is reported as resurrected.
            done.add(key)
            if answer[1]:
                counts[kind] = counts.get(kind, 0) + 1
                bytes_freed += answer[2]
        names = frozen.names(self._layout)
        freed, removed = self._unlink_each([(kind, key) for key, kind in names.items() if key not in done])
        for each, count in removed.items():
            counts[each] = counts.get(each, 0) + count
        return Removal.of_counts(counts, bytes_freed + freed)

    def _holds(self, witnesses: Sequence[Witness]) -> bool:
        (seen,) = look(self._store, [[witness.key for witness in witnesses]])
        return all(now.state == was.state for now, was in zip(seen, witnesses, strict=True))

    def _joined(self, closed: set[bytes], batch: Sequence[FrozenThread]) -> set[bytes]:
        """The closed heads with names that were not frozen; every name of the cluster is gone through."""
        if not closed:
            return set()
        known = {key for frozen in batch if frozen.closed for key in frozen.names(self._layout)}
        documents = {KeyKind.CHECKPOINT, KeyKind.WRITE, KeyKind.BLOB}
        starts = [prefix for prefix, kind in self._layout.prefixes if kind in documents]
        joined: set[bytes] = set()
        for key in self._store.names():
            for start in starts:
                if key.startswith(start) and key not in known:
                    joined.update(name for name in _beginnings(key[len(start) :]) if name in closed)
        return joined

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

    def recover(self, batch: Sequence[tuple[int, FrozenThread]]) -> dict[int, Removal]:
        """What was removed of conversations whose deletion may have been begun; those that are not in it were not.

        What is left of those that were begun is removed.

        Raises:
            TransientError: Redis does not answer.
        """
        with redis_errors("the recovery of an interrupted deletion"):
            return dict(self._recover(batch))

    def _recover(self, batch: Sequence[tuple[int, FrozenThread]]) -> Iterator[tuple[int, Removal]]:
        for number, frozen in batch:
            # Without a latest checkpoint of a full saver it cannot be told whether the deletion was begun: then the
            # conversation is judged anew, and at worst the count lacks what was removed of it.
            if not frozen.latest or any(self._store.exists(frozen.latest)):
                continue
            # What these names hold now may be somebody's new conversation: they stay, and count as removed.
            used_again = {key for _, key in frozen.keys}
            names = frozen.names(self._layout)
            self._unlink_each([(kind, key) for key, kind in names.items() if key not in used_again])
            counts: dict[KeyKind, int] = {}
            for kind in names.values():
                counts[kind] = counts.get(kind, 0) + 1
            yield number, Removal.of_counts(counts, None)


def _beginnings(rest: bytes) -> Iterator[bytes]:
    """What stands before each colon."""
    position = rest.find(b":")
    while position >= 0:
        yield rest[:position]
        position = rest.find(b":", position + 1)
