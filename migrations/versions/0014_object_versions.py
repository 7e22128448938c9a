"""What a cold store with versions called the objects of a part when they were put.

Revision: 0014
Follows: 0013
"""

from __future__ import annotations

from typing import Final

from compliance_pipelines.postgres.revisions import run_as_owner

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_ADD: Final = "ALTER TABLE archived_audit_logs ADD COLUMN object_version TEXT, ADD COLUMN manifest_version TEXT"
_REMOVE: Final = "ALTER TABLE archived_audit_logs DROP COLUMN object_version, DROP COLUMN manifest_version"


def upgrade() -> None:
    """Add the columns, empty: of parts from before, the newest version is read, and compared by its hash."""
    run_as_owner(_ADD)


def downgrade() -> None:
    """Remove them."""
    run_as_owner(_REMOVE)
