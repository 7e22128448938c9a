"""The wrapped keys of encrypted objects.

Revision: 0015
Follows: 0014
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import sqlalchemy as sa
from alembic import op

from compliance_pipelines.base.errors import ComplianceError

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_COUNT: Final = sa.text("SELECT count(*) FROM object_keys")
_REMOVE: Final = "DROP TABLE object_keys"


def upgrade() -> None:
    """Make the table, empty: no object was encrypted before."""
    _execute_script("SET LOCAL ROLE audit_owner")
    _execute_script(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
    _execute_script("RESET ROLE")


def downgrade() -> None:
    """Remove the table, unless there are keys in it.

    Raises:
        ComplianceError: archives are encrypted, and the version before can neither read them nor say which keys were
            destroyed.
    """
    keys = op.get_bind().execute(_COUNT).scalar_one()
    if keys:
        raise ComplianceError(
            f"downgrade refused: {keys} archives are encrypted, and the version before can neither read them nor say "
            "which keys were destroyed"
        )
    _execute_script("SET LOCAL ROLE audit_owner")
    _execute_script(_REMOVE)
    _execute_script("RESET ROLE")


def _execute_script(statements: str) -> None:
    # Only a query without parameters may hold several statements.
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(statements)
