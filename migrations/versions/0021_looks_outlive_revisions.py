"""What reading a part showed of a hold outlives the revision that was read.

Revision: 0021
Follows: 0020
"""

from __future__ import annotations

from typing import Final

from alembic import op

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
    _execute_script("SET LOCAL ROLE audit_owner")
    _execute_script(_RELEASE)
    _execute_script("RESET ROLE")


def downgrade() -> None:
    """Refuse it again; what was looked at meanwhile stays."""
    _execute_script("SET LOCAL ROLE audit_owner")
    _execute_script(_BIND)
    _execute_script("RESET ROLE")


def _execute_script(statements: str) -> None:
    # Only a query without parameters may hold several statements.
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(statements)
