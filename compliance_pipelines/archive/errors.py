"""What can go wrong with archives.

Here: the errors that more than one module of this package raises. Not here: findings, which are results and not
errors (readback.py).
"""

from __future__ import annotations

from compliance_pipelines.base.errors import ComplianceError, TransientError


class ArchiveError(ComplianceError):
    """An archive cannot be made, read or used."""


class StagingError(ArchiveError, TransientError):
    """A staging file cannot be made or written, because the disk is full for example; nothing was changed."""


class SealedRowsDifferError(ArchiveError):
    """The hot rows are not those that were sealed; nothing was put into the cold store."""


class OrphanObjectError(ArchiveError):
    """The cold store holds an object of this day that no manifest commits and that cannot be adopted."""


class AdoptionError(ArchiveError):
    """The cold store holds a committed part that the catalogue does not know and that does not fit the ledger."""


class ManifestError(ArchiveError):
    """A manifest is malformed, or is not signed by the key in use."""


class RetiredSignatureError(ManifestError):
    """A manifest is signed by a key of the ledger that may not sign any more."""


class PurgeRefusedError(ArchiveError):
    """The hot rows of a day stay where they are."""


class ExpiryRefusedError(ArchiveError):
    """An archive stays where it is although it was asked to expire."""


class RestoreError(ArchiveError):
    """An archived day cannot be loaded into the database."""


class UnreadPartsError(ArchiveError):
    """Parts could not be read back, and will not be by trying again: a right is missing. That says nothing of them."""


class PartsUnreadForNowError(UnreadPartsError, TransientError):
    """Parts could not be read back now, because the store failed. That says nothing of them."""


class RepairRefusedError(ArchiveError):
    """A damaged part was not written again; what is there was left as it is."""
