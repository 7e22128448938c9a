"""The rules of the audit log name their functions with the schema, so that a dump can be restored.

Revision: 0020
Follows: 0019
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Replace the functions; no table is touched."""
    _replace(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    """Replace them by what they were: the same without the schema."""
    _replace(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8").replace("public.", ""))


def _replace(statements: str) -> None:
    # Only a query without parameters may hold several statements.
    execute = op.get_bind().execution_options(no_parameters=True).exec_driver_sql
    execute("SET LOCAL ROLE audit_owner")
    execute(statements)
    execute("RESET ROLE")
