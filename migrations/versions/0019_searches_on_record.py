"""Searches of auditors are on record: what was asked, and how much was found.

Revision: 0019
Follows: 0018
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_BEFORE: Final = "0010_readings_on_record.sql"


def upgrade() -> None:
    """Let the function know four readings more."""
    _execute_script("SET LOCAL ROLE audit_owner")
    _execute_script(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
    _execute_script("RESET ROLE")


def downgrade() -> None:
    """Make the function as it was. What it has put on record stays."""
    _execute_script("SET LOCAL ROLE audit_owner")
    _execute_script("DROP FUNCTION audit_record_reading(text, text, jsonb)")
    _execute_script(Path(__file__).with_name(_BEFORE).read_text(encoding="utf-8"))
    _execute_script("RESET ROLE")


def _execute_script(statements: str) -> None:
    # Only a query without parameters may hold several statements.
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(statements)
