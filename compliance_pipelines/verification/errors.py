"""Why a verification cannot be carried out.

Here: its errors. Not here: what it finds (findings.py).
"""

from __future__ import annotations

from compliance_pipelines.base.errors import ComplianceError


class VerificationError(ComplianceError):
    """It cannot be told whether everything is in order; nothing was found to be so."""
