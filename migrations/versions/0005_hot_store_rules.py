"""What an entry may be, as constraints; the quarantine of entries that break one; times of the moment.

Revision: 0005
Follows: 0004
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import sqlalchemy as sa
from alembic import op

from compliance_pipelines.postgres.revisions import refuse_unless_destroying, run_as_owner, script_of

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_REMOVE: Final = """
DROP FUNCTION audit_quarantine_entries(bigint, bigint), audit_rules_hold();
DROP TABLE audit_quarantine;
ALTER TABLE audit_logs
    DROP CONSTRAINT audit_logs_entry_fits,
    DROP CONSTRAINT audit_logs_metadata_is_not_too_deep,
    DROP CONSTRAINT audit_logs_indexed_texts_fit,
    DROP CONSTRAINT audit_logs_log_entry_id_is_given,
    DROP CONSTRAINT audit_logs_timestamp_has_four_digit_year,
    ADD CONSTRAINT audit_logs_timestamp_has_a_day CHECK ("timestamp" >= '0001-01-01 00:00:00+00');
DROP FUNCTION audit_entry_flaw(text, timestamptz, text, text, text, text, text, jsonb, timestamptz);
DROP FUNCTION audit_entry_fits(text, text, text, text, text, text, jsonb), audit_refuse_large_entry();
DROP FUNCTION audit_entry_bytes(text, text, text, text, text, text, jsonb);
DROP FUNCTION audit_json_is_too_deep(jsonb), audit_json_bytes(jsonb), audit_large_json_bytes(jsonb);
ALTER TABLE audit_logs ALTER COLUMN created_at SET DEFAULT now();
ALTER TABLE ledger_clusters ALTER COLUMN adopted_at SET DEFAULT now();
ALTER TABLE ledger_publications ALTER COLUMN published_at SET DEFAULT now();
ALTER TABLE archived_audit_logs ALTER COLUMN archived_at SET DEFAULT now();
ALTER TABLE audit_purges ALTER COLUMN purged_at SET DEFAULT now();
ALTER TABLE conversation_purges ALTER COLUMN planned_at SET DEFAULT now();
ALTER TABLE conversation_purge_attempts ALTER COLUMN attempted_at SET DEFAULT now();
ALTER TABLE conversation_purged_sets ALTER COLUMN recorded_at SET DEFAULT now();
ALTER TABLE legal_holds ALTER COLUMN added_at SET DEFAULT now();
ALTER TABLE legal_hold_releases ALTER COLUMN released_at SET DEFAULT now();
ALTER TABLE erasure_requests ALTER COLUMN recorded_at SET DEFAULT now();
ALTER TABLE erasure_closures ALTER COLUMN closed_at SET DEFAULT now();
"""


def upgrade() -> None:
    """Add the rules, the quarantine, and the defaults of the moment."""
    run_as_owner(script_of(__file__))


def downgrade() -> None:
    """Remove them.

    Raises:
        ComplianceError: entries are quarantined, so that a record would be destroyed, and the caller did not say
            `-x destroy-audit-trail=yes`.
    """
    quarantined = op.get_bind().execute(sa.text("SELECT count(*) FROM audit_quarantine")).scalar_one()
    if quarantined:
        refuse_unless_destroying(f"it would destroy the record of {quarantined} quarantined entries")
    run_as_owner(_days_written_before(), _REMOVE)


def _days_written_before() -> str:
    """The function that knows of no quarantine, as the revision before made it, word for word."""
    script = Path(__file__).with_name("0004_bounded_partitions.sql").read_text(encoding="utf-8")
    begins = script.index("CREATE FUNCTION audit_days_written(")
    return script[begins : script.index("END $$;", begins) + len("END $$;")].replace("CREATE", "CREATE OR REPLACE", 1)
