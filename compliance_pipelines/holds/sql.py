"""Every SQL statement of the legal holds.

Here: statements with bound parameters. Not here: what their results mean.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import text

from compliance_pipelines.postgres import tables
from compliance_pipelines.postgres.statements import columns, insert

_HOLD: Final = columns(tables.legal_holds, of="hold")
_RELEASE: Final = "release.reason AS release_reason, release.author AS released_by, release.released_at"

ACTIVE_HOLDS = text(f"""
    SELECT {_HOLD}
    FROM legal_holds AS hold
    WHERE NOT EXISTS (SELECT FROM legal_hold_releases AS release WHERE release.hold_id = hold.id)
    ORDER BY hold.id
""")  # noqa: S608 - constants only
ALL_HOLDS = text(f"""
    SELECT {_HOLD}, {_RELEASE}
    FROM legal_holds AS hold LEFT JOIN legal_hold_releases AS release ON release.hold_id = hold.id
    ORDER BY hold.id
""")  # noqa: S608 - constants only
# For a login that may not see whom holds are on.
ALL_HOLDS_WITHOUT_SUBJECTS = text("""
    SELECT hold.id, hold.scope, NULL AS subject, hold.first_day, hold.last_day, hold.reason, hold.author, hold.added_at,
           release.reason AS release_reason, release.author AS released_by, release.released_at
    FROM legal_holds AS hold LEFT JOIN legal_hold_releases AS release ON release.hold_id = hold.id
    ORDER BY hold.id
""")
HOLD_WITH_RELEASE = text(f"""
    SELECT {_HOLD}, {_RELEASE}
    FROM legal_holds AS hold LEFT JOIN legal_hold_releases AS release ON release.hold_id = hold.id
    WHERE hold.id = :id
""")  # noqa: S608 - constants only
MAY_SEE_SUBJECTS = text("SELECT has_column_privilege('legal_holds', 'subject', 'SELECT')")

INSERT_HOLD = text(f"{insert(tables.legal_holds)} RETURNING {columns(tables.legal_holds)}")
INSERT_RELEASE = text(f"{insert(tables.legal_hold_releases)} ON CONFLICT (hold_id) DO NOTHING RETURNING released_at")

# The bounds prune all partitions but the day's.
SUBJECT_ON_DAY = text("""
    SELECT user_id, resource_id FROM audit_logs
    WHERE "timestamp" >= :since AND "timestamp" < :until
      AND (user_id = ANY(:subjects) OR resource_id = ANY(:subjects))
    LIMIT 1
""")
