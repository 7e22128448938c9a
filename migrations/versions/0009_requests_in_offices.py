"""Erasure requests as offices handle them: extended, corrected, withdrawn, refused.

Revision: 0009
Follows: 0008
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

from compliance_pipelines.postgres.revisions import refuse_unless_destroying, run_as_owner, script_of

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# Rows that the revision before does not know stay, where somebody insists: without them a withdrawn request would be
# open again. Its program refuses to read them.
_REMOVE: Final = """
DROP INDEX erasure_events_extended_once;
ALTER TABLE erasure_events
    DROP CONSTRAINT erasure_events_kind_is_known,
    DROP CONSTRAINT erasure_events_attempt_of_kind,
    DROP CONSTRAINT erasure_events_target_of_kind,
    ADD CONSTRAINT erasure_events_kind_is_known CHECK (
        kind IN ('started', 'found', 'deleted', 'held', 'failed', 'verified', 'ended')) NOT VALID,
    ADD CONSTRAINT erasure_events_attempt_is_positive CHECK (attempt > 0) NOT VALID,
    ADD CONSTRAINT erasure_events_target_of_kind CHECK (
        CASE WHEN kind IN ('started', 'ended') THEN target IS NULL
             WHEN kind = 'held' THEN true
             ELSE target IS NOT NULL END) NOT VALID;
ALTER TABLE erasure_closures
    DROP CONSTRAINT erasure_closures_result_is_known,
    ADD CONSTRAINT erasure_closures_result_is_known CHECK (result IN ('success', 'partial')) NOT VALID;
"""
_UNKNOWN_BEFORE: Final = """
SELECT count(*) FROM erasure_events
WHERE kind NOT IN ('started', 'found', 'deleted', 'held', 'failed', 'verified', 'ended')
"""


def upgrade() -> None:
    """Permit the new kinds of events and ends."""
    run_as_owner(script_of(__file__))


def downgrade() -> None:
    """Permit them no more.

    Raises:
        ComplianceError: there are some, which the program of the revision before cannot read, and the caller did not
            say `-x destroy-audit-trail=yes`.
    """
    decided = op.get_bind().execute(sa.text(_UNKNOWN_BEFORE)).scalar_one()
    if decided:
        refuse_unless_destroying(
            f"the record of erasure requests has {decided} decisions and identifiers that the program of the revision "
            "before cannot read"
        )
    run_as_owner(_REMOVE)
