"""The rules of the audit log name their functions with the schema, so that a dump can be restored.

Revision: 0020
Follows: 0019
"""

from __future__ import annotations

from compliance_pipelines.postgres.revisions import run_as_owner, script_of

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Replace the functions; no table is touched."""
    run_as_owner(script_of(__file__))


def downgrade() -> None:
    """Replace them by what they were: the same without the schema."""
    run_as_owner(script_of(__file__).replace("public.", ""))
