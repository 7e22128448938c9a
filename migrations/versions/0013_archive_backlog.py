"""What waits to be archived, counted day by day, and indexes that leave finished days out.

Revision: 0013
Follows: 0012
"""

from __future__ import annotations

from typing import Final

from compliance_pipelines.postgres.revisions import run_as_owner, script_of

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_REMOVE: Final = """
DROP INDEX idx_archived_audit_logs_not_purged, idx_archived_audit_logs_totals, idx_ledger_statements_kind;
DROP TRIGGER ledger_segments_wait ON ledger_segments;
DROP TRIGGER ledger_segments_withdrawn ON ledger_segments;
DROP TRIGGER archived_segments_archived ON archived_segments;
DROP FUNCTION audit_recount_backlog(), audit_take_archived(), audit_take_withdrawn(),
    audit_take_from_backlog(date, bigint, bigint), audit_add_to_backlog();
DROP TABLE archive_backlog;
"""


def upgrade() -> None:
    """Make the table and count what waits. Sealing and archiving wait until it is counted."""
    run_as_owner(script_of(__file__))


def downgrade() -> None:
    """Remove the table. What it says follows from the ledger and the catalogue."""
    run_as_owner(_REMOVE)
