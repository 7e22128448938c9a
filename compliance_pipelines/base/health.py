"""One question about what this project relies on, and its answer.

Here: the form of an answer. Not here: any question; each is asked by the package that knows why it matters.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class HealthCheck:
    """One question and its answer.

    Attributes:
        name: of the check.
        message: what was found, whether it is in order or not.
        remedy: what to do; None where it is in order.
        is_risk: whether everything works, and what was found makes a loss possible.
    """

    name: str
    message: str
    remedy: str | None = None
    is_risk: bool = False

    @property
    def ok(self) -> bool:
        """Whether it is in order."""
        return self.remedy is None

    @property
    def fails(self) -> bool:
        """Whether something does not work."""
        return not self.ok and not self.is_risk

    def of(self, place: str) -> HealthCheck:
        """The same with the place that it is about in its name."""
        return replace(self, name=f"{place}: {self.name}")
