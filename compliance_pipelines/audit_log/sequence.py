"""Whether the sequence that numbers the entries went back.

Here: comparing it with what was sealed, at a cost that does not grow with the history. Not here: what entries with a
repeated id mean for sealing and proofs: nothing, they are told apart by their timestamp.

Logical replication does not carry sequences: after a failover to a subscriber, ids begin again. Nothing is lost by it,
but an `id` then no longer names one entry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from compliance_pipelines.audit_log import sql

if TYPE_CHECKING:
    import sqlalchemy


@dataclass(frozen=True)
class SequenceWentBack:
    """The sequence gives ids that were given before.

    Attributes:
        given: the last id that it gave; 0 for none.
        sealed: the largest id of the newest segments.
    """

    given: int
    sealed: int

    def __str__(self) -> str:
        return (
            f"the sequence of the entries' ids went back: it gave {self.given} last, and entries up to {self.sealed} "
            "are sealed. New entries repeat ids"
        )

    @property
    def remedy(self) -> str:
        """What to do, as the owner of the sequence."""
        return (
            f"as a superuser: SELECT setval('audit_logs_id_seq', {self.sealed}); and find out why it went back (it "
            "does after a logical failover)"
        )


def sequence_went_back(connection: sqlalchemy.Connection) -> SequenceWentBack | None:
    """Whether it did; None also where the login may not look at the sequence, as an auditor's may not."""
    row = connection.execute(sql.ID_SEQUENCE).one()
    if row.given is None or row.sealed is None or row.given >= row.sealed:
        return None
    return SequenceWentBack(row.given, row.sealed)
