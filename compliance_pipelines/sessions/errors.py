"""What can go wrong with the retention of sessions and memories.

Here: the errors of this package. Not here: findings, which are results.
"""

from __future__ import annotations

from compliance_pipelines.base.errors import ComplianceError


class SessionError(ComplianceError):
    """Sessions or memories cannot be read, planned or removed."""


class SessionPlanTooLargeError(SessionError):
    """A plan would remove more than may go without a person's consent. Nothing was removed.

    Attributes:
        planned: keys that the plan would remove.
        seen: keys of sessions and memories that there are.
    """

    def __init__(self, message: str, *, planned: int, seen: int) -> None:
        super().__init__(message)
        self.planned = planned
        self.seen = seen
