"""Which Redis and which prefixes a plan of conversations is about, and plans that were given up.

Revision: 0007
Follows: 0006
"""

from __future__ import annotations

from typing import Final

from compliance_pipelines.postgres.revisions import run_as_owner, script_of

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
    run_as_owner(script_of(__file__))


def downgrade() -> None:
    """Remove them, unless a plan was given up."""
    run_as_owner(_REMOVE)
