"""How asking a key management service fails.

Here: the errors, which name the key by its reference. Not here: the requests.
"""

from __future__ import annotations

from compliance_pipelines.base.errors import ComplianceError, TransientError


class KmsError(ComplianceError):
    """A key management service refuses what was asked for, or answers something that cannot be used."""


class KmsUnavailableError(KmsError, TransientError):
    """A key management service does not answer, or has no time; nothing was done, and it may work later."""
