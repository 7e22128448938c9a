"""Keyed filters over the values of archived parts.

Revision: 0018
Follows: 0017
"""

from __future__ import annotations

from typing import Final

from compliance_pipelines.postgres.revisions import run_as_owner, script_of

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_REMOVE: Final = "DROP TABLE archive_search_filters"


def upgrade() -> None:
    """Make the table, empty: `compliance search-index rebuild --missing`, or the scrub, fills it."""
    run_as_owner(script_of(__file__))


def downgrade() -> None:
    """Remove it. Nothing is lost that the cold store does not have."""
    run_as_owner(_REMOVE)
