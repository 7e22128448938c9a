"""Every SQL statement of the search that PostgreSQL gets.

Here: statements with bound parameters. Not here: what their results mean; the rows themselves (audit_log/reading.py);
what DuckDB gets (engine.py).
"""

from __future__ import annotations

from typing import Final

from psycopg import sql as composed
from sqlalchemy import text

from compliance_pipelines.postgres import tables
from compliance_pipelines.postgres.statements import columns

_PART_COLUMNS: Final = columns(tables.archived_audit_logs)

SAME_SNAPSHOT: Final = composed.SQL("SET TRANSACTION SNAPSHOT {}")
PARTS_BETWEEN = text(f"""
    SELECT {_PART_COLUMNS} FROM archived_audit_logs WHERE day BETWEEN :first AND :last ORDER BY day, part
""")  # noqa: S608 - constants only
SEGMENTS_BETWEEN = text("""
    SELECT segment.day, archived.part, count(*) AS segments, sum(segment.entry_count)::bigint AS entries
    FROM ledger_segments AS segment
    LEFT JOIN archived_segments AS archived ON archived.segment_seq = segment.seq
    WHERE segment.day BETWEEN :first AND :last
    GROUP BY segment.day, archived.part
    ORDER BY segment.day, archived.part
""")
# Days without a table of their own have theirs in a default partition; the index on the timestamp finds them.
ROWS_OF_DAYS = text("""
    SELECT day, (SELECT count(*) FROM audit_logs
                 WHERE "timestamp" >= day::timestamp AT TIME ZONE 'UTC'
                   AND "timestamp" < (day + 1)::timestamp AT TIME ZONE 'UTC') AS entries
    FROM unnest(CAST(:days AS date[])) AS day
""")
QUARANTINED_BETWEEN = text("""
    SELECT day, count(*) AS entries FROM audit_quarantine WHERE day BETWEEN :first AND :last GROUP BY day
""")
UNSEALED_BETWEEN = text("""
    SELECT day, sum(entries)::bigint AS entries
    FROM audit_days_written(coalesce((SELECT tx_horizon FROM ledger_checkpoints ORDER BY size DESC LIMIT 1), 0))
    WHERE day BETWEEN :first AND :last
    GROUP BY day
""")
PURGED_TRANSACTIONS = text("""
    SELECT segment.day, segment.tx_from, segment.tx_to
    FROM ledger_segments AS segment
    JOIN archived_segments AS archived ON archived.segment_seq = segment.seq
    JOIN archived_audit_logs AS part ON part.day = archived.day AND part.part = archived.part
    WHERE segment.day = ANY(:days) AND part.purged_at IS NOT NULL
    ORDER BY segment.day, segment.tx_from
""")
SESSION_LOGIN = text("SELECT session_user")
