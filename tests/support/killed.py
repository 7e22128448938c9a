"""Processes that die in the middle of their work, as a power failure would end them."""

from __future__ import annotations

import os
import signal
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def die() -> None:
    """End this process by SIGKILL."""
    os.kill(os.getpid(), signal.SIGKILL)


def dying_at(moment: str, *, after: int = 0) -> Callable[[str], None]:
    """A step hook that ends the process when a step is done, for the first time or after some times."""
    left = after

    def step(done: str) -> None:
        nonlocal left
        if done == moment:
            if left == 0:
                die()
            left -= 1

    return step


def is_killed(work: Callable[[], object]) -> bool:
    """Do something in a forked process, which opens connections of its own; whether it died by SIGKILL."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001 - for whoever reads why it did not die
            traceback.print_exc()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
