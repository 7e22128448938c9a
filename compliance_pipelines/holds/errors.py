"""What can go wrong with legal holds.

Here: the errors of this package. Not here: the errors of those whom a hold stops.
"""

from __future__ import annotations

from compliance_pipelines.base.errors import ComplianceError


class InvalidHoldError(ComplianceError):
    """A hold cannot be added as it is; nothing was recorded."""


class HoldNotFoundError(ComplianceError):
    """There is no hold of this number, or it was released before."""
