"""When each part was last read back from the cold store, and what was repaired there.

Revision: 0017
Follows: 0016
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_REMOVE: Final = """
DROP FUNCTION audit_replace_part(date, integer, text, jsonb);
DROP TABLE archive_repairs, archive_scrubs;
"""


def upgrade() -> None:
    """Make the tables, empty: until a part is read, its verification or its purge was the last reading."""
    _execute_script("SET LOCAL ROLE audit_owner")
    _execute_script(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
    _execute_script("RESET ROLE")


def downgrade() -> None:
    """Remove them. The audit log keeps its entries about damage and repairs."""
    _execute_script("SET LOCAL ROLE audit_owner")
    _execute_script(_REMOVE)
    _execute_script("RESET ROLE")


def _execute_script(statements: str) -> None:
    # Only a query without parameters may hold several statements.
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(statements)
