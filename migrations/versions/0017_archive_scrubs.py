"""When each part was last read back from the cold store, and what was repaired there.

Revision: 0017
Follows: 0016
"""

from __future__ import annotations

from typing import Final

from compliance_pipelines.postgres.revisions import run_as_owner, script_of

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_REMOVE: Final = """
DROP FUNCTION audit_replace_part(date, integer, text, jsonb);
DROP TABLE archive_repairs, archive_scrubs;
"""


def upgrade() -> None:
    """Make the tables, empty: until a part is read, its verification or its purge was the last reading."""
    run_as_owner(script_of(__file__))


def downgrade() -> None:
    """Remove them. The audit log keeps its entries about damage and repairs."""
    run_as_owner(_REMOVE)
