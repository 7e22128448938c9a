"""Keyed filters over the values of archived parts.

Revision: 0018
Follows: 0017
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_REMOVE: Final = "DROP TABLE archive_search_filters"


def upgrade() -> None:
    """Make the table, empty: `compliance search-index rebuild --missing`, or the scrub, fills it."""
    _execute_script("SET LOCAL ROLE audit_owner")
    _execute_script(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
    _execute_script("RESET ROLE")


def downgrade() -> None:
    """Remove it. Nothing is lost that the cold store does not have."""
    _execute_script("SET LOCAL ROLE audit_owner")
    _execute_script(_REMOVE)
    _execute_script("RESET ROLE")


def _execute_script(statements: str) -> None:
    # Only a query without parameters may hold several statements.
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(statements)
