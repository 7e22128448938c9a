"""How the long steps tell how far they are.

Here: the phases and the callback. Not here: how a person sees it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol


class Phase(StrEnum):
    """What is being done with the rows of a day."""

    EXPORT = "export"
    VERIFY = "verify"
    COMPARE = "compare"
    RESTORE = "restore"


class Progress(Protocol):
    """Called now and then, from the thread that called the step."""

    def __call__(self, phase: Phase, rows: int, total_rows: int) -> None:
        """`rows` of `total_rows` are through this phase."""


def silent(phase: Phase, rows: int, total_rows: int) -> None:
    """Tell nobody."""
