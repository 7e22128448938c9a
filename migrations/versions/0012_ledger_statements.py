"""Statements of the ledger about itself: the records that hold no entries.

Revision: 0012
Follows: 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from compliance_pipelines.postgres.revisions import refuse_unless_destroying, run_as_owner, script_of

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table, empty."""
    run_as_owner(script_of(__file__))


def downgrade() -> None:
    """Remove the table.

    Raises:
        ComplianceError: it holds records, and the caller did not say `-x destroy-audit-trail=yes`.
    """
    stated = op.get_bind().execute(sa.text("SELECT count(*) FROM ledger_statements")).scalar_one()
    if stated:
        refuse_unless_destroying(
            f"it would destroy {stated} records of the ledger, without which it leads to no signed root"
        )
    run_as_owner("DROP TABLE ledger_statements")
