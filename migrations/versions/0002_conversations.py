"""Conversation retention: frozen plans, what is to be done, and the record of what was removed.

Revision: 0002
Follows: 0001
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

from compliance_pipelines.postgres.revisions import refuse_unless_destroying, run_as_owner, script_of

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_REMOVE: Final = """
DROP TABLE conversation_purged_sets, conversation_purged_threads, conversation_purge_attempts, conversation_purge_work,
    conversation_purges;
"""


def upgrade() -> None:
    """Make the tables, their triggers and grants."""
    run_as_owner(script_of(__file__))


def downgrade() -> None:
    """Remove the tables with what they hold.

    Raises:
        ComplianceError: there are sets, so that a record would be destroyed, and the caller did not say
            `-x destroy-audit-trail=yes`.
    """
    sets = op.get_bind().execute(sa.text("SELECT count(*) FROM conversation_purged_sets")).scalar_one()
    if sets:
        refuse_unless_destroying(f"it would destroy the record of {sets} purged sets of conversations")
    run_as_owner(_REMOVE)
