"""What an auditor reads is on record, through the one function by which an auditor's login appends.

Revision: 0010
Follows: 0009
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the function, for auditors alone."""
    _execute_script("SET LOCAL ROLE audit_owner")
    _execute_script(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
    _execute_script("RESET ROLE")


def downgrade() -> None:
    """Remove it. What it has put on record stays."""
    _execute_script("SET LOCAL ROLE audit_owner")
    _execute_script("DROP FUNCTION audit_record_reading(text, text, jsonb)")
    _execute_script("RESET ROLE")


def _execute_script(statements: str) -> None:
    # Only a query without parameters may hold several statements.
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(statements)
