"""Every SQL statement of the retention of sessions and memories.

Here: statements with bound parameters. Not here: what their results mean.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import text

from compliance_pipelines.postgres import tables
from compliance_pipelines.postgres.statements import columns, insert

INSERT_PURGE = text(f"{insert(tables.session_purges)} RETURNING id")
OPEN_PURGES = text("""
    SELECT purge.id, purge.day, purge.session_cutoff, purge.memory_cutoff, purge.keys_due, purge.planned_at
    FROM session_purges AS purge
    WHERE NOT EXISTS (SELECT FROM session_purged_sets AS done WHERE done.purge_id = purge.id)
    ORDER BY purge.id
""")
NEXT_WORK = text(f"""
    SELECT {columns(tables.session_purge_work, but=("purge_id",), of="work")}
    FROM session_purge_work AS work
    WHERE work.purge_id = :purge_id AND work.number > :after
      AND NOT EXISTS (SELECT FROM session_purged_keys AS done
                      WHERE done.purge_id = work.purge_id AND done.number = work.number)
    ORDER BY work.number LIMIT :count
""")  # noqa: S608 - constants only
LAST_ATTEMPT = text("""
    SELECT coalesce(max(last_number), -1) FROM session_purge_attempts WHERE purge_id = :purge_id
""")
INSERT_ATTEMPT = text(f"{insert(tables.session_purge_attempts)} ON CONFLICT DO NOTHING")
DELETED_WORK = text("""
    SELECT work.place, work.content
    FROM session_purge_work AS work
    JOIN session_purged_keys AS done ON done.purge_id = work.purge_id AND done.number = work.number
    WHERE work.purge_id = :purge_id AND done.outcome IN ('deleted', 'gone')
    ORDER BY work.number
""")
TOTALS = text("""
    SELECT count(*) FILTER (WHERE outcome = 'deleted') AS deleted,
           count(*) FILTER (WHERE outcome = 'moved') AS moved,
           count(*) FILTER (WHERE outcome = 'held') AS held,
           count(*) FILTER (WHERE outcome = 'gone') AS gone,
           count(*) FILTER (WHERE outcome = 'left') AS "left",
           coalesce(sum(bytes_freed), 0)::bigint AS bytes_freed,
           min(oldest_use) FILTER (WHERE outcome = 'deleted') AS oldest_use,
           max(newest_use) FILTER (WHERE outcome = 'deleted') AS newest_use
    FROM session_purged_keys WHERE purge_id = :purge_id
""")
KEY_COUNTS = text("""
    SELECT kind, count(*) AS removed FROM session_purged_keys
    WHERE purge_id = :purge_id AND outcome = 'deleted' GROUP BY kind ORDER BY kind
""")
_SET_VALUES: Final = {f"keys_{what}": f":{what}" for what in ("deleted", "moved", "held", "gone", "left", "back")} | {
    "seconds": "extract(epoch FROM clock_timestamp() - :planned_at)"
}
INSERT_SET = text(f"{insert(tables.session_purged_sets, values=_SET_VALUES)} RETURNING seconds, recorded_at")
DELETE_WORK = text("DELETE FROM session_purge_work WHERE purge_id = :purge_id")
DELETE_ATTEMPTS = text("DELETE FROM session_purge_attempts WHERE purge_id = :purge_id")

_SET: Final = columns(tables.session_purged_sets)
SETS = text(f"SELECT {_SET} FROM session_purged_sets ORDER BY purge_id DESC LIMIT :count")  # noqa: S608 - constants only
SETS_OF_DAY = text(f"SELECT {_SET} FROM session_purged_sets WHERE day = :day ORDER BY purge_id")  # noqa: S608 - constants only
PURGES_OF_DAYS = text("""
    SELECT day, array_agg(purge_id) AS purges FROM session_purged_sets WHERE day > :after
    GROUP BY day ORDER BY day LIMIT :count
""")
LAST_DAY_DONE = text("SELECT max(day) FROM session_purged_sets")
SET_TOTALS = text("""
    SELECT count(*) AS sets, coalesce(sum(keys_deleted), 0)::bigint AS keys_deleted,
           coalesce(sum(bytes_freed), 0)::bigint AS bytes_freed
    FROM session_purged_sets
""")
