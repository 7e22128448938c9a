"""Which Redis and which prefixes a plan of conversations is about, and plans that were given up.

Revision: 0007
Follows: 0006
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_REMOVE: Final = """
DO $$
BEGIN
    IF EXISTS (SELECT FROM conversation_purged_threads WHERE outcome = 'abandoned') THEN
        RAISE EXCEPTION 'plans were given up, which the schema before cannot say';
    END IF;
END $$;
ALTER TABLE conversation_purged_threads DROP CONSTRAINT conversation_purged_threads_outcome_is_known;
ALTER TABLE conversation_purged_threads ADD CONSTRAINT conversation_purged_threads_outcome_is_known
    CHECK (outcome IN ('deleted', 'moved', 'held', 'gone'));
ALTER TABLE conversation_purged_sets DROP COLUMN threads_abandoned;
ALTER TABLE conversation_purges DROP COLUMN store_id, DROP COLUMN checkpoint_prefix, DROP COLUMN write_prefix;
"""


def upgrade() -> None:
    """Add the columns and the outcome."""
    _execute_script("SET LOCAL ROLE audit_owner")
    _execute_script(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
    _execute_script("RESET ROLE")


def downgrade() -> None:
    """Remove them, unless a plan was given up."""
    _execute_script("SET LOCAL ROLE audit_owner")
    _execute_script(_REMOVE)
    _execute_script("RESET ROLE")


def _execute_script(statements: str) -> None:
    # Only a query without parameters may hold several statements.
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(statements)
