"""The steps of a purge, and being told of them.

Here: their names, in order. Not here: what is done in them (purge.py, execution.py).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol


class PurgeStep(StrEnum):
    """What has just been done when the step hook is called, in order."""

    FROZEN = "frozen"
    ATTEMPT_NOTED = "attempt_noted"
    SET_ASIDE = "set_aside"
    VERIFIED = "verified"
    REMOVED = "removed"
    OUTCOMES_RECORDED = "outcomes_recorded"
    RECORDED = "recorded"


class StepHook(Protocol):
    """Called after each step."""

    def __call__(self, step: PurgeStep, /) -> None:
        """`step` is done."""


def no_hook(step: PurgeStep, /) -> None:
    """Let every step pass."""
