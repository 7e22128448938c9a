"""Watching what is set aside, so that what somebody goes on with is put back within milliseconds.

Here: looking whether a name of a conversation is there again, in a thread, for as long as the purge works. Not here:
setting aside and putting back (setting_aside.py), what is decided at the end (purge.py).

A graph that had read a conversation writes to it in several packets, and reads it again when it is asked again. What it
would find until the end of the purge is the part that it has written itself. Looked at are the names that a saver
writes whenever it goes on: the pointer, or what it changes of the latest checkpoint. Savers that write nothing but new
names are found out at the end alone.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from compliance_pipelines.conversations.continued import Returned, Sequel, sequels
from compliance_pipelines.conversations.keys import SHALLOW, KeyKind
from compliance_pipelines.conversations.setting_aside import Ending

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from compliance_pipelines.conversations.freezing import FrozenThread
    from compliance_pipelines.conversations.keys import KeyLayout
    from compliance_pipelines.conversations.setting_aside import Aside
    from compliance_pipelines.conversations.store import CheckpointStore

_NAMES_AT_ONCE: Final = 250
_SECONDS_BETWEEN: Final = 0.005
# Of the time that is spent in looking, how many times as long a pause there is.
_PAUSES_A_LOOK: Final = 9
_WRITTEN: Final = frozenset({KeyKind.LATEST_POINTER, KeyKind.CHECKPOINT, KeyKind.SHALLOW_CHECKPOINT})


class _Watched(NamedTuple):
    """A conversation that is set aside, and the names to look for."""

    frozen: FrozenThread
    names: list[bytes]


class Watch:
    """Puts conversations back as soon as somebody goes on with them; a context manager.

    Args:
        aside: where they are set aside.
        store: the Redis, of one server.
        layout: the layout of the plan.
    """

    def __init__(self, aside: Aside, store: CheckpointStore, layout: KeyLayout) -> None:
        self._aside = aside
        self._store = store
        self._layout = layout
        self._watched: dict[int, _Watched] = {}
        self._changes = threading.Lock()
        self._stopped = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="conversation-watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()

    def add(self, batch: Sequence[tuple[int, FrozenThread]]) -> None:
        """Watch these, too.

        Raises:
            TransientError: Redis does not answer the watch any more.
            ConversationError: Redis refuses what it asks.
        """
        if self._error is not None:
            raise self._error
        with self._changes:
            self._watched.update((number, _Watched(frozen, self._written(frozen))) for number, frozen in batch)

    def _written(self, frozen: FrozenThread) -> list[bytes]:
        """The names of it that whoever goes on with it writes."""
        kinds = ((witness.key, self._layout.classify(witness.key)) for witness in frozen.witnesses)
        return [
            key
            for key, named in kinds
            if named is not None
            and (named[0] in _WRITTEN or (named[0] is KeyKind.WRITE_REGISTRY and key.endswith(SHALLOW)))
        ]

    def look(self) -> None:
        """Look once at everything that is watched.

        Raises:
            TransientError: Redis does not answer.
            ConversationError: Redis refuses.
        """
        with self._changes:
            watched = list(self._watched.items())
        names = [(number, key) for number, each in watched for key in each.names]
        back: dict[int, list[bytes]] = {}
        pieces = [names[at : at + _NAMES_AT_ONCE] for at in range(0, len(names), _NAMES_AT_ONCE)]
        there = self._store.each(("EXISTS", *(key for _, key in piece)) for piece in pieces)
        some = [each for piece, count in zip(pieces, there, strict=True) if count for each in piece]
        for (number, key), exists in zip(some, self._store.exists([key for _, key in some]), strict=True):
            if exists:
                back.setdefault(number, []).append(key)
        if back:
            self._put_back({number: (each.frozen, back[number]) for number, each in watched if number in back})

    def _put_back(self, returned: dict[int, tuple[FrozenThread, list[bytes]]]) -> None:
        """Put back what somebody goes on with; what was begun anew is left to the end."""
        found = [Returned(frozen, self._documents(keys)) for frozen, keys in returned.values()]
        judged = dict(zip(returned, sequels(self._store, self._layout, found), strict=True))
        continued = [
            (number, returned[number][0], Ending.PUT_BACK)
            for number, sequel in judged.items()
            if sequel is Sequel.CONTINUED
        ]
        if continued:
            self._aside.end(continued)
        with self._changes:
            for number, sequel in judged.items():
                # What cannot be told yet is looked at again.
                if sequel is not Sequel.UNTOLD:
                    self._watched.pop(number, None)

    def _documents(self, keys: Sequence[bytes]) -> dict[bytes, KeyKind]:
        """These keys, and the checkpoints that pointers among them lead to."""
        kinds = {key: named[0] for key in keys if (named := self._layout.classify(key)) is not None}
        pointers = [key for key, kind in kinds.items() if kind is KeyKind.LATEST_POINTER]
        kinds.update((target, KeyKind.CHECKPOINT) for target in self._store.strings(pointers) if target is not None)
        return kinds

    def _run(self) -> None:
        try:
            pause = _SECONDS_BETWEEN
            while not self._stopped.wait(pause):
                began = time.perf_counter()
                self.look()
                pause = max(_SECONDS_BETWEEN, _PAUSES_A_LOOK * (time.perf_counter() - began))
        except Exception as error:  # noqa: BLE001 - whoever adds the next is told, and the end is looked at anyway
            self._error = error
