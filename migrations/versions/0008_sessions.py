"""Frozen plans and the record of the retention of sessions and memories.

Revision: 0008
Follows: 0007
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_REMOVE: Final = """
DROP TABLE session_purged_sets, session_purged_keys, session_purge_attempts, session_purge_work, session_purges;
"""


def upgrade() -> None:
    """Make the tables, their triggers and grants."""
    _execute_script("SET LOCAL ROLE audit_owner")
    _execute_script(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
    _execute_script("RESET ROLE")


def downgrade() -> None:
    """Remove the tables. The audit entries about the sets stay."""
    _execute_script("SET LOCAL ROLE audit_owner")
    _execute_script(_REMOVE)
    _execute_script("RESET ROLE")


def _execute_script(statements: str) -> None:
    # Only a query without parameters may hold several statements.
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(statements)
