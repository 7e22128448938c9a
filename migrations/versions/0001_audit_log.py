"""The audit log, its ledger, its archive catalogue, and the roles that may touch them.

Revision: 0001
Follows: nothing
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

from compliance_pipelines.postgres.revisions import refuse_unless_destroying, run_as_owner, run_script, script_of

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Roles belong to the cluster, not to the database, so a downgrade leaves them; another database may need them.
_ROLES: Final = """
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['audit_owner', 'audit_writer', 'audit_archiver', 'audit_reader'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
    END LOOP;
    IF NOT pg_has_role(current_user, 'audit_owner', 'SET') THEN
        EXECUTE format('GRANT audit_owner TO %I', current_user);
    END IF;
    EXECUTE format('GRANT CREATE ON DATABASE %I TO audit_owner', current_database());
    GRANT CREATE, USAGE ON SCHEMA public TO audit_owner;
END $$
"""

_REMOVE: Final = """
DROP VIEW audit_log_entries;
DROP TABLE archived_segments, archived_audit_logs, audit_purges, ledger_publications, ledger_checkpoints,
    ledger_segments, ledger_clusters, audit_logs;
DROP FUNCTION audit_adopt_cluster(bigint), audit_drop_empty_months(date), audit_drop_day(date), audit_lock_day(date),
    audit_move_strays(date), audit_strays(), audit_create_day(date), audit_refuse_change(),
    audit_tx_horizon(), audit_tx_id();
DROP SCHEMA audit_restored CASCADE;
"""


def upgrade() -> None:
    """Make roles, tables, functions, triggers and grants."""
    run_script(_ROLES)
    run_as_owner(script_of(__file__))
    # Made by Alembic before the first migration. `compliance check` reads it as the pipelines' login.
    run_script("GRANT SELECT ON alembic_version TO audit_writer, audit_archiver, audit_reader")


def downgrade() -> None:
    """Remove everything that upgrade made, entries included; the roles stay.

    Raises:
        ComplianceError: there are signed checkpoints, so that an audit trail would be destroyed, and the caller did not
            say `-x destroy-audit-trail=yes`.
    """
    sealed = op.get_bind().execute(sa.text("SELECT count(*) FROM ledger_checkpoints")).scalar_one()
    if sealed:
        refuse_unless_destroying(f"it would destroy an audit trail with {sealed} signed checkpoints")
    run_as_owner(_REMOVE)
