"""Erasure requests as offices handle them: extended, corrected, withdrawn, refused.

Revision: 0009
Follows: 0008
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import sqlalchemy as sa
from alembic import context, op

from compliance_pipelines.base.errors import ComplianceError

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
    _execute_script("SET LOCAL ROLE audit_owner")
    _execute_script(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
    _execute_script("RESET ROLE")


def downgrade() -> None:
    """Permit them no more.

    Raises:
        ComplianceError: there are some, which the program of the revision before cannot read, and the caller did not
            say `-x destroy-audit-trail=yes`.
    """
    decided = op.get_bind().execute(sa.text(_UNKNOWN_BEFORE)).scalar_one()
    if decided and not _may_destroy():
        raise ComplianceError(
            f"downgrade refused: the record of erasure requests has {decided} decisions and identifiers that the "
            "program of the revision before cannot read; if that is what you want: alembic -x destroy-audit-trail=yes "
            "downgrade"
        )
    _execute_script("SET LOCAL ROLE audit_owner")
    _execute_script(_REMOVE)
    _execute_script("RESET ROLE")


def _may_destroy() -> bool:
    if context.config.attributes.get("destroy_audit_trail"):
        return True
    return context.get_x_argument(as_dictionary=True).get("destroy-audit-trail") == "yes"


def _execute_script(statements: str) -> None:
    # Only a query without parameters may hold several statements.
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(statements)
