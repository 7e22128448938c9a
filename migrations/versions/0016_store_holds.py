"""What the cold store itself holds by our order, and which parts the holds on people touch.

Revision: 0016
Follows: 0015
"""

from __future__ import annotations

from typing import Final

from compliance_pipelines.postgres.revisions import run_as_owner, script_of

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_REMOVE: Final = "DROP TABLE archive_hold_looks, archive_store_holds"


def upgrade() -> None:
    """Make the tables, empty: `compliance hold sync` sets what is wanted by the holds that are in force."""
    run_as_owner(script_of(__file__))


def downgrade() -> None:
    """Remove them. What the store holds stays held, and nobody knows any more by whose order."""
    run_as_owner(_REMOVE)
