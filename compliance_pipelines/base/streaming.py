"""Work on one stream of batches in several threads, with bounded memory.

Here: running an iterator ahead in a thread of its own. Not here: what the batches hold.
"""

from __future__ import annotations

import queue
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

T = TypeVar("T")

_POLL_SECONDS: Final = 0.05


class _Failed:
    def __init__(self, error: BaseException) -> None:
        self.error = error


class _End:
    pass


class _Ahead(Generic[T]):
    """The thread that pulls from the source, and the queue between it and the consumer."""

    def __init__(self, source: Iterable[T], depth: int, name: str) -> None:
        self._source = source
        self._queue: queue.Queue[T | _Failed | _End] = queue.Queue(depth)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._pull, name=name, daemon=True)
        self._thread.start()

    def _put(self, item: T | _Failed | _End) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False

    def _pull(self) -> None:
        try:
            for item in self._source:
                if not self._put(item):
                    return
        except BaseException as error:  # noqa: BLE001 - it is raised again where the stream is consumed
            self._put(_Failed(error))
        else:
            self._put(_End())

    def __iter__(self) -> Iterator[T]:
        while True:
            item = self._queue.get()
            if isinstance(item, _End):
                return
            if isinstance(item, _Failed):
                raise item.error
            yield item

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()


@contextmanager
def run_ahead(source: Iterable[T], *, depth: int, name: str) -> Iterator[Iterator[T]]:
    """Iterate over `source` in a thread, at most `depth` items ahead of the consumer.

    An error of the source is raised where the consumer would have got the next item. When the block is left, for
    whatever reason, the thread has ended: it gives up at the next item, so an item must not take for ever.
    """
    ahead = _Ahead(source, depth, name)
    try:
        yield iter(ahead)
    finally:
        ahead.stop()
