"""Every SQL statement of the conversations domain.

Here: statements with bound parameters. Not here: what their results mean.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import text

from compliance_pipelines.postgres import tables
from compliance_pipelines.postgres.statements import columns, insert

INSERT_PURGE = text(f"{insert(tables.conversation_purges)} RETURNING id")
OPEN_PURGES = text("""
    SELECT purge.id, purge.day, purge.cutoff, purge.threads_due, purge.planned_at, purge.store_id,
           purge.checkpoint_prefix, purge.write_prefix
    FROM conversation_purges AS purge
    WHERE NOT EXISTS (SELECT FROM conversation_purged_sets AS done WHERE done.purge_id = purge.id)
    ORDER BY purge.id
""")
NEXT_WORK = text(f"""
    SELECT {columns(tables.conversation_purge_work, but=("purge_id",), of="work")}
    FROM conversation_purge_work AS work
    WHERE work.purge_id = :purge_id AND work.number > :after
      AND NOT EXISTS (SELECT FROM conversation_purged_threads AS done
                      WHERE done.purge_id = work.purge_id AND done.number = work.number)
    ORDER BY work.number LIMIT :count
""")  # noqa: S608 - constants only
LAST_ATTEMPT = text("""
    SELECT coalesce(max(last_number), -1) FROM conversation_purge_attempts WHERE purge_id = :purge_id
""")
INSERT_ATTEMPT = text(f"{insert(tables.conversation_purge_attempts)} ON CONFLICT DO NOTHING")
DELETED_WORK = text("""
    SELECT work.number, work.content
    FROM conversation_purge_work AS work
    JOIN conversation_purged_threads AS done ON done.purge_id = work.purge_id AND done.number = work.number
    WHERE work.purge_id = :purge_id AND done.outcome IN ('deleted', 'gone')
""")
TOTALS = text("""
    SELECT count(*) FILTER (WHERE outcome = 'deleted' AND thread_hash IS NOT NULL) AS deleted,
           count(*) FILTER (WHERE outcome = 'moved') AS moved,
           count(*) FILTER (WHERE outcome = 'held') AS held,
           count(*) FILTER (WHERE outcome = 'gone') AS gone,
           count(*) FILTER (WHERE outcome = 'abandoned') AS abandoned,
           coalesce(sum(bytes_freed), 0)::bigint AS bytes_freed,
           count(*) FILTER (WHERE bytes_freed IS NULL) AS bytes_unknown,
           min(oldest_activity) FILTER (WHERE outcome = 'deleted') AS oldest_activity,
           max(newest_activity) FILTER (WHERE outcome = 'deleted') AS newest_activity
    FROM conversation_purged_threads WHERE purge_id = :purge_id
""")
KEY_COUNTS = text("""
    SELECT kind.key AS kind, sum(kind.value::bigint)::bigint AS removed
    FROM conversation_purged_threads AS thread, jsonb_each_text(thread.key_counts) AS kind
    WHERE thread.purge_id = :purge_id
    GROUP BY kind.key ORDER BY kind.key
""")
_COUNTED: Final = ("deleted", "moved", "held", "gone", "resurrected", "abandoned")
_SET_VALUES: Final = {f"threads_{what}": f":{what}" for what in _COUNTED} | {
    "seconds": "extract(epoch FROM clock_timestamp() - :planned_at)"
}
INSERT_SET = text(
    insert(tables.conversation_purged_sets, also=("threads_abandoned",), values=_SET_VALUES)
    + " RETURNING seconds, recorded_at"
)
DELETE_WORK = text("DELETE FROM conversation_purge_work WHERE purge_id = :purge_id")
DELETE_ATTEMPTS = text("DELETE FROM conversation_purge_attempts WHERE purge_id = :purge_id")

_SET: Final = f"""
    {columns(tables.conversation_purged_sets, of="done")}, purge.store_id, purge.checkpoint_prefix, purge.write_prefix
    FROM conversation_purged_sets AS done JOIN conversation_purges AS purge ON purge.id = done.purge_id
"""
SETS = text(f"SELECT {_SET} ORDER BY done.purge_id DESC LIMIT :count")
SETS_OF_DAY = text(f"SELECT {_SET} WHERE done.day = :day ORDER BY done.purge_id")
PURGES_OF_DAYS = text("""
    SELECT day, array_agg(purge_id) AS purges FROM conversation_purged_sets WHERE day > :after
    GROUP BY day ORDER BY day LIMIT :count
""")
# Days whose whole policy was carried out for these prefixes: a set of one user, with another period, or of a plan that
# was given up, does not count.
LAST_DAY_DONE = text("""
    SELECT done.day FROM conversation_purged_sets AS done
    JOIN conversation_purges AS purge ON purge.id = done.purge_id
    WHERE purge.selection = '{}'::jsonb AND done.threads_abandoned = 0
      AND (purge.checkpoint_prefix IS NULL
           OR (purge.checkpoint_prefix = :checkpoint_prefix AND purge.write_prefix = :write_prefix))
    ORDER BY done.day DESC LIMIT 1
""")
SET_TOTALS = text("""
    SELECT count(*) AS sets, coalesce(sum(threads_deleted), 0)::bigint AS threads_deleted,
           coalesce(sum(bytes_freed), 0)::bigint AS bytes_freed
    FROM conversation_purged_sets
""")
DELETED_AMONG = text("""
    SELECT thread.thread_hash, max(thread.removed_at) AS removed_at
    FROM conversation_purged_threads AS thread
    JOIN conversation_purges AS purge ON purge.id = thread.purge_id
    WHERE thread.thread_hash = ANY(:thread_hashes) AND thread.outcome = 'deleted'
      AND (purge.store_id IS NULL OR (purge.store_id = :store_id AND purge.checkpoint_prefix = :checkpoint_prefix
                                      AND purge.write_prefix = :write_prefix))
    GROUP BY thread.thread_hash
""")
THREAD_HISTORY = text("""
    SELECT thread.purge_id, done.day, thread.outcome, thread.key_counts, thread.removed_at
    FROM conversation_purged_threads AS thread
    LEFT JOIN conversation_purged_sets AS done ON done.purge_id = thread.purge_id
    WHERE thread.thread_hash = :thread_hash ORDER BY thread.purge_id
""")
