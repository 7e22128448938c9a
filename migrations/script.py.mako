"""${message}.

Revision: ${up_revision}
Follows: ${down_revision | comma,n}
"""

from __future__ import annotations

from typing import Final

from compliance_pipelines.postgres.revisions import run_as_owner, script_of

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}

_REMOVE: Final = "..."


def upgrade() -> None:
    """Apply the change."""
    run_as_owner(script_of(__file__))


def downgrade() -> None:
    """Undo the change."""
    run_as_owner(_REMOVE)
