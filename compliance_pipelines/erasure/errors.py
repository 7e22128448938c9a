"""What can go wrong with erasures.

Here: the errors of this package. Not here: what a target failed at, which is on record and retried.
"""

from __future__ import annotations

from compliance_pipelines.base.errors import ComplianceError, TransientError


class ErasureError(ComplianceError):
    """An erasure cannot be recorded, carried out or certified as asked."""


class SuspiciousIdError(ErasureError):
    """An id may not be the one that was meant: it has what nobody sees, or what looks like something else."""


class RequestNotFoundError(ErasureError):
    """There is no request of this number."""


class RequestEndedError(ErasureError):
    """The request has ended, so that nothing can be decided about it any more."""


class RequestBusyError(TransientError):
    """Another process is carrying the request out."""


class TargetError(ErasureError):
    """A target cannot be used as it is configured, or answered in a way that nobody can go by."""


class InvalidCertificateError(ErasureError):
    """A certificate does not say what its deletion record says."""
