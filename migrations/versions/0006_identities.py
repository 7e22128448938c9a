"""The identity of this database's environment, and of the cold store that it archives into.

Revision: 0006
Follows: 0005
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_REMOVE: Final = """
ALTER TABLE archived_audit_logs DROP COLUMN verified_store;
DROP TABLE audit_store, audit_environment;
"""


def upgrade() -> None:
    """Make the tables, their triggers and grants."""
    _execute_script("SET LOCAL ROLE audit_owner")
    _execute_script(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
    _execute_script("RESET ROLE")


def downgrade() -> None:
    """Remove the tables. What they say stands in the cold store, too: `compliance store init --adopt-existing`."""
    _execute_script("SET LOCAL ROLE audit_owner")
    _execute_script(_REMOVE)
    _execute_script("RESET ROLE")


def _execute_script(statements: str) -> None:
    # Only a query without parameters may hold several statements.
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(statements)
