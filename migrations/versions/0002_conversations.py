"""Conversation retention: frozen plans, what is to be done, and the record of what was removed.

Revision: 0002
Follows: 0001
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import sqlalchemy as sa
from alembic import context, op

from compliance_pipelines.base.errors import ComplianceError

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_REMOVE: Final = """
DROP TABLE conversation_purged_sets, conversation_purged_threads, conversation_purge_attempts, conversation_purge_work,
    conversation_purges;
"""


def upgrade() -> None:
    """Make the tables, their triggers and grants."""
    _execute_script("SET LOCAL ROLE audit_owner")
    _execute_script(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
    _execute_script("RESET ROLE")


def downgrade() -> None:
    """Remove the tables with what they hold.

    Raises:
        ComplianceError: there are sets, so that a record would be destroyed, and the caller did not say
            `-x destroy-audit-trail=yes`.
    """
    sets = op.get_bind().execute(sa.text("SELECT count(*) FROM conversation_purged_sets")).scalar_one()
    if sets and not _may_destroy():
        raise ComplianceError(
            f"downgrade refused: it would destroy the record of {sets} purged sets of conversations; "
            "if that is what you want: alembic -x destroy-audit-trail=yes downgrade"
        )
    _execute_script("SET LOCAL ROLE audit_owner")
    _execute_script(_REMOVE)
    _execute_script("RESET ROLE")


def _may_destroy() -> bool:
    if context.config.attributes.get("destroy_audit_trail"):
        return True
    return context.get_x_argument(as_dictionary=True).get("destroy-audit-trail") == "yes"


def _execute_script(statements: str) -> None:
    # Only a query without parameters may hold several statements.
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(statements)
