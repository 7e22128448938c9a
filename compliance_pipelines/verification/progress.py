"""How a verification tells how far it is.

Here: the stages and the callback. Not here: how a person sees it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol


class Stage(StrEnum):
    """What is being looked at, and what is counted meanwhile."""

    SEGMENTS = "segments"
    CHECKPOINTS = "checkpoints"
    MANIFESTS = "manifests"
    PARTS = "parts"
    DAYS = "days"
    ENTRIES = "entries"


class Progress(Protocol):
    """Called now and then, from the thread that called the verification."""

    def __call__(self, stage: Stage, done: int, total: int | None) -> None:
        """`done` of `total` are through; None where nobody knows how many there are."""


def silent(stage: Stage, done: int, total: int | None) -> None:
    """Tell nobody."""


class RowCount:
    """Adds up rows and passes the sum on as entries."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._rows = 0

    def __call__(self, rows: int) -> None:
        """So many more rows were read."""
        self._rows += rows
        self._progress(Stage.ENTRIES, self._rows, None)
