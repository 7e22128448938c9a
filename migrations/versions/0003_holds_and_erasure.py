"""Legal holds, and erasure requests under GDPR Article 17.

Revision: 0003
Follows: 0002
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

from compliance_pipelines.postgres.revisions import refuse_unless_destroying, run_as_owner, script_of

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_REMOVE: Final = """
DROP TABLE erasure_closures, erasure_events, erasure_requests, legal_hold_releases, legal_holds;
"""


def upgrade() -> None:
    """Make the tables, their triggers and grants."""
    run_as_owner(script_of(__file__))


def downgrade() -> None:
    """Remove the tables with what they hold.

    Raises:
        ComplianceError: there are holds or requests, so that a record would be destroyed, and the caller did not say
            `-x destroy-audit-trail=yes`.
    """
    counted = op.get_bind().execute(
        sa.text("SELECT (SELECT count(*) FROM legal_holds), (SELECT count(*) FROM erasure_requests)")
    )
    holds, requests = counted.one()
    if holds or requests:
        refuse_unless_destroying(f"it would destroy the record of {holds} legal holds and {requests} erasure requests")
    run_as_owner(_REMOVE)
