"""Statements of the ledger about itself: the records that hold no entries.

Revision: 0012
Follows: 0011
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import context, op

from compliance_pipelines.base.errors import ComplianceError

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table, empty."""
    _execute_script("SET LOCAL ROLE audit_owner")
    _execute_script(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
    _execute_script("RESET ROLE")


def downgrade() -> None:
    """Remove the table.

    Raises:
        ComplianceError: it holds records, and the caller did not say `-x destroy-audit-trail=yes`.
    """
    stated = op.get_bind().execute(sa.text("SELECT count(*) FROM ledger_statements")).scalar_one()
    if stated and not _may_destroy():
        raise ComplianceError(
            f"downgrade refused: it would destroy {stated} records of the ledger, without which it leads to no signed "
            "root; if that is what you want: alembic -x destroy-audit-trail=yes downgrade"
        )
    _execute_script("SET LOCAL ROLE audit_owner")
    _execute_script("DROP TABLE ledger_statements")
    _execute_script("RESET ROLE")


def _may_destroy() -> bool:
    if context.config.attributes.get("destroy_audit_trail"):
        return True
    return context.get_x_argument(as_dictionary=True).get("destroy-audit-trail") == "yes"


def _execute_script(statements: str) -> None:
    # Only a query without parameters may hold several statements.
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(statements)
