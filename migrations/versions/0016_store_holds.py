"""What the cold store itself holds by our order, and which parts the holds on people touch.

Revision: 0016
Follows: 0015
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_REMOVE: Final = "DROP TABLE archive_hold_looks, archive_store_holds"


def upgrade() -> None:
    """Make the tables, empty: `compliance hold sync` sets what is wanted by the holds that are in force."""
    _execute_script("SET LOCAL ROLE audit_owner")
    _execute_script(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
    _execute_script("RESET ROLE")


def downgrade() -> None:
    """Remove them. What the store holds stays held, and nobody knows any more by whose order."""
    _execute_script("SET LOCAL ROLE audit_owner")
    _execute_script(_REMOVE)
    _execute_script("RESET ROLE")


def _execute_script(statements: str) -> None:
    # Only a query without parameters may hold several statements.
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(statements)
