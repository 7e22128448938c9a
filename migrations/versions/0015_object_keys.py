"""The wrapped keys of encrypted objects.

Revision: 0015
Follows: 0014
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.postgres.revisions import run_as_owner, script_of

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_COUNT: Final = sa.text("SELECT count(*) FROM object_keys")
_REMOVE: Final = "DROP TABLE object_keys"


def upgrade() -> None:
    """Make the table, empty: no object was encrypted before."""
    run_as_owner(script_of(__file__))


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
    run_as_owner(_REMOVE)
