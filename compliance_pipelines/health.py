"""One question about what this project relies on, and its answer.

Here: the form of an answer. Not here: any question; each is asked by the package that knows why it matters.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class HealthCheck:
    """One question and its answer.

    Attributes:
        name: of the check.
        message: what was found, whether it is in order or not.
        remedy: what to do; None where it is in order.
    """

    name: str
    message: str
    remedy: str | None = None

    @property
    def ok(self) -> bool:
        """Whether it is in order."""
        return self.remedy is None
