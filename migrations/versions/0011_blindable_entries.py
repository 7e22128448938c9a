"""Entries whose private columns can be forgotten: a nonce for each, and a place for the commitment that remains.

Revision: 0011
Follows: 0010
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import sqlalchemy as sa
from alembic import context, op

from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.postgres.revisions import refuse_unless_destroying, run_as_owner, script_of

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_SEALED: Final = "SELECT coalesce(sum(entry_count), 0)::bigint FROM ledger_segments"
_REMOVE: Final = """
DROP FUNCTION audit_entry_flaw(text, timestamptz, text, text, text, text, text, jsonb, timestamptz, bytea);
ALTER TABLE audit_logs DROP CONSTRAINT audit_logs_is_not_blinded, DROP COLUMN nonce, DROP COLUMN commitment;
"""
_FUNCTIONS_BEFORE: Final = ("audit_entry_flaw", "audit_rules_hold", "audit_quarantine_entries")


def upgrade() -> None:
    """Give every entry a nonce. Each partition is written anew, which locks it meanwhile.

    Raises:
        ComplianceError: the database has a ledger of format 1, whose leaves have no nonce.
    """
    if not context.is_offline_mode() and op.get_bind().execute(sa.text(_SEALED)).scalar_one():
        raise ComplianceError(
            "this database has a ledger of format 1, which this version does not read: keep it with the version that "
            "sealed it, and begin a new database with a cold store of its own"
        )
    run_as_owner(script_of(__file__))


def downgrade() -> None:
    """Take the nonces away.

    Raises:
        ComplianceError: entries are sealed with them, and the caller did not say `-x destroy-audit-trail=yes`.
    """
    sealed = op.get_bind().execute(sa.text(_SEALED)).scalar_one()
    if sealed:
        refuse_unless_destroying(
            f"it would destroy the nonces of {sealed} sealed entries, without which nothing proves them"
        )
    run_as_owner(_REMOVE, *map(_before, _FUNCTIONS_BEFORE))


def _before(function: str) -> str:
    """A function as the revision that made it did, word for word."""
    script = Path(__file__).with_name("0005_hot_store_rules.sql").read_text(encoding="utf-8")
    begins = script.index(f"CREATE FUNCTION {function}(")
    return script[begins : script.index("$$;", begins) + len("$$;")].replace("CREATE", "CREATE OR REPLACE", 1)
