"""The error of the embedded servers. Not here: errors of anything that uses them."""

from __future__ import annotations

from compliance_pipelines.base.errors import ComplianceError


class EmbeddedServerError(ComplianceError):
    """An embedded server cannot be installed, started, found or stopped."""
