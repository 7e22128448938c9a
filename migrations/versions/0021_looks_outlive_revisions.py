"""What reading a part showed of a hold outlives the revision that was read.

Revision: 0021
Follows: 0020
"""

from __future__ import annotations

from typing import Final

from compliance_pipelines.postgres.revisions import run_as_owner

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

# A repair gives the part another object. That of the former one was looked at all the same, and nobody deletes that.
_RELEASE: Final = "ALTER TABLE archive_hold_looks DROP CONSTRAINT archive_hold_looks_object_key_fkey"
_BIND: Final = """
    ALTER TABLE archive_hold_looks ADD CONSTRAINT archive_hold_looks_object_key_fkey
        FOREIGN KEY (object_key) REFERENCES archived_audit_logs (object_key) NOT VALID
"""


def upgrade() -> None:
    """Let a part that was looked at for a hold be repaired as a revision."""
    run_as_owner(_RELEASE)


def downgrade() -> None:
    """Refuse it again; what was looked at meanwhile stays."""
    run_as_owner(_BIND)
