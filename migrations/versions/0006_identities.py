"""The identity of this database's environment, and of the cold store that it archives into.

Revision: 0006
Follows: 0005
"""

from __future__ import annotations

from typing import Final

from compliance_pipelines.postgres.revisions import run_as_owner, script_of

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_REMOVE: Final = """
ALTER TABLE archived_audit_logs DROP COLUMN verified_store;
DROP TABLE audit_store, audit_environment;
"""


def upgrade() -> None:
    """Make the tables, their triggers and grants."""
    run_as_owner(script_of(__file__))


def downgrade() -> None:
    """Remove the tables. What they say stands in the cold store, too: `compliance store init --adopt-existing`."""
    run_as_owner(_REMOVE)
