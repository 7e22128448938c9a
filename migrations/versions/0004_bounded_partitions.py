"""A bounded number of partitions: entries may stay in a default partition, and what is empty is dropped step by step.

Revision: 0004
Follows: 0003

It replaces functions and touches no partition, so that it runs in a database that has thousands of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from compliance_pipelines.postgres.revisions import run_as_owner, script_of

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_REMOVE: Final = """
DROP FUNCTION audit_strays(), audit_days_written(bigint, bigint), audit_remove_day(date, bigint, numeric),
    audit_day_fingerprint(date), audit_day_place(date), audit_drop_empty_month(date), audit_months_without_days(date),
    audit_lock_default_of(regclass), audit_drop_empty_day(date), audit_empty_days(date),
    audit_is_fenced(text, date, date), audit_is_read_at_once(text), audit_close_fence(text), audit_make_fence(date),
    audit_drop_fence(text), audit_fence_is_open(timestamptz), audit_range_of_new_day(date),
    audit_partition_start(oid), audit_lock_room(), audit_table(text), audit_partitions(),
    audit_require_read_committed();
"""
_REPLACED: Final = (
    "audit_refuse_change",
    "audit_create_day",
    "audit_move_strays",
    "audit_strays",
    "audit_drop_day",
    "audit_drop_empty_months",
)
_GRANTS: Final = """
REVOKE ALL ON FUNCTION audit_move_strays(date), audit_strays(), audit_drop_empty_months(date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit_move_strays(date), audit_drop_empty_months(date) TO audit_archiver;
GRANT EXECUTE ON FUNCTION audit_strays() TO audit_archiver, audit_reader;
"""
# A month that begins in its middle, or a closed fence, would be a riddle for the functions of before.
_OPEN_FENCES: Final = """
SELECT audit_drop_fence(name) FROM audit_partitions() WHERE is_default;
"""


def upgrade() -> None:
    """Replace the functions that make, empty and drop partitions."""
    run_as_owner(script_of(__file__))


def downgrade() -> None:
    """Bring the functions of before back; no entry is touched."""
    run_as_owner(_OPEN_FENCES, _REMOVE, *map(_first_definition, _REPLACED), _GRANTS)


def _first_definition(function: str) -> str:
    """What the first revision made, word for word."""
    script = Path(__file__).with_name("0001_audit_log.sql").read_text(encoding="utf-8")
    begins = script.index(f"CREATE FUNCTION {function}(")
    return script[begins : script.index("END $$;", begins) + len("END $$;")].replace(
        "CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1
    )
