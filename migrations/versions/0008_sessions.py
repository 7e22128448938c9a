"""Frozen plans and the record of the retention of sessions and memories.

Revision: 0008
Follows: 0007
"""

from __future__ import annotations

from typing import Final

from compliance_pipelines.postgres.revisions import run_as_owner, script_of

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_REMOVE: Final = """
DROP TABLE session_purged_sets, session_purged_keys, session_purge_attempts, session_purge_work, session_purges;
"""


def upgrade() -> None:
    """Make the tables, their triggers and grants."""
    run_as_owner(script_of(__file__))


def downgrade() -> None:
    """Remove the tables. The audit entries about the sets stay."""
    run_as_owner(_REMOVE)
