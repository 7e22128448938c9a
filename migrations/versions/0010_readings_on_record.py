"""What an auditor reads is on record, through the one function by which an auditor's login appends.

Revision: 0010
Follows: 0009
"""

from __future__ import annotations

from compliance_pipelines.postgres.revisions import run_as_owner, script_of

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the function, for auditors alone."""
    run_as_owner(script_of(__file__))


def downgrade() -> None:
    """Remove it. What it has put on record stays."""
    run_as_owner("DROP FUNCTION audit_record_reading(text, text, jsonb)")
