"""How an import tells how far it is.

Here: the phases and the callback. Not here: how a person sees it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol


class ImportPhase(StrEnum):
    """What is being done. READ counts bytes of the file; nobody knows how far the others are."""

    READ = "read"
    CHECK = "check"
    STORE = "store"


class ImportProgress(Protocol):
    """Called now and then, from the thread that called the import."""

    def __call__(self, phase: ImportPhase, done: int, total: int | None) -> None:
        """`done` of `total` are through this phase; None where nobody knows how many there are."""


def silent(phase: ImportPhase, done: int, total: int | None) -> None:
    """Tell nobody."""
