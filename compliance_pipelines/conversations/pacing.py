"""Sharing a Redis with the application that it is there for.

Here: pauses between steps, and dividing work into steps. Not here: how large a step is, which whoever takes it decides.

A server answers one command at a time, and those that it has read of one client before it turns to the next. So two
things decide how others fare: for how long a single step keeps them waiting, and for which share of the time there is a
step at all. The first is a matter of small steps; the second is the pace.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")

# Shorter pauses cost more in being taken than they give.
_SHORTEST_PAUSE: Final = 0.001


class Pace:
    """Pauses that leave a share of the time to others.

    Args:
        share: of the time, how much may be spent in steps; above 0, at most 1, which means no pauses.
        clock: seconds that only grow.
        sleep: waits for so many seconds.

    Raises:
        ValueError: the share is none.
    """

    def __init__(
        self,
        share: float = 1.0,
        *,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"a pace is a share of the time, above 0 and at most 1, not {share}")
        self.share: Final = share
        self._clock = clock
        self._sleep = sleep
        self._owed = 0.0

    @property
    def is_full(self) -> bool:
        """Whether there are no pauses."""
        return self.share == 1

    @contextmanager
    def step(self) -> Iterator[None]:
        """One step, such as a command or a short pipeline; the pause that it calls for follows it."""
        began = self._clock()
        try:
            yield
        finally:
            self._owed += (self._clock() - began) * (1 / self.share - 1)
        if self._owed >= _SHORTEST_PAUSE:
            owed, self._owed = self._owed, 0.0
            self._sleep(owed)


def in_steps(items: Iterable[T], size_of: Callable[[T], int], most: int) -> Iterator[list[T]]:
    """Items in steps of at most a size in all, or of one item that is larger.

    Args:
        items: what is to be done.
        size_of: the size of each.
        most: the size of a step.
    """
    step: list[T] = []
    total = 0
    for item in items:
        size = size_of(item)
        if step and total + size > most:
            yield step
            step, total = [], 0
        step.append(item)
        total += size
    if step:
        yield step
