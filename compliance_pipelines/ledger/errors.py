"""Why nothing is sealed, archived or dropped: the database and the cold store do not tell the same story.

Here: the errors of the ledger as a whole. Not here: those of single notes, keys and records (checkpoint.py,
segments.py).
"""

from __future__ import annotations

from compliance_pipelines.base.errors import ComplianceError


class LedgerError(ComplianceError):
    """The database and the cold store do not tell the same story; nothing was signed."""


class CheckpointMissingError(LedgerError):
    """A checkpoint was published, and the cold store has none."""


class ForeignCheckpointError(LedgerError):
    """A checkpoint is not signed by our key."""


class KeyRecordError(LedgerError):
    """A record about a key is no link of the chain of keys, or its copy in the cold store is not what the log has."""


class SigningKeyNotInChargeError(LedgerError):
    """The settings do not have the key that signs for the ledger now."""


class MalformedCheckpointError(LedgerError):
    """What stands for a checkpoint is none, or speaks of another size than it must."""


class TilesAlteredError(LedgerError):
    """The tiles and entry bundles of the cold store do not lead to the root that is signed over them."""


class LedgerForkError(LedgerError):
    """Two different ledgers of the same size, or records that do not lead to their checkpoint."""


class DatabaseRolledBackError(LedgerError):
    """The cold store holds a checkpoint that the database does not know."""


class ColdStoreRolledBackError(LedgerError):
    """The checkpoint in the cold store is older than one that was published."""


class CheckpointReplacedError(LedgerError):
    """Another database replaced the checkpoint of the cold store meanwhile: two seal into one store."""


class FormerFormatError(LedgerError):
    """The cold store holds a ledger of a format that this version does not read."""
