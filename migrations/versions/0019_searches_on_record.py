"""Searches of auditors are on record: what was asked, and how much was found.

Revision: 0019
Follows: 0018
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from compliance_pipelines.postgres.revisions import run_as_owner, script_of

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_BEFORE: Final = "0010_readings_on_record.sql"


def upgrade() -> None:
    """Let the function know four readings more."""
    run_as_owner(script_of(__file__))


def downgrade() -> None:
    """Make the function as it was. What it has put on record stays."""
    run_as_owner(
        "DROP FUNCTION audit_record_reading(text, text, jsonb)",
        Path(__file__).with_name(_BEFORE).read_text(encoding="utf-8"),
    )
