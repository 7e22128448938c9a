"""Every SQL statement of the archive domain.

Here: statements with bound parameters, and the composition of those that name a restored table. Not here: what their
results mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from psycopg import sql as composed
from sqlalchemy import text

from compliance_pipelines.postgres import tables
from compliance_pipelines.postgres.statements import columns, insert

if TYPE_CHECKING:
    from sqlalchemy.sql.elements import TextClause

RESTORED_SCHEMA: Final = "audit_restored"


def _statement(statement: str) -> TextClause:
    return text(statement)


# Less than PostgreSQL's deadlock_timeout: should an insert and the drop wait for each other, the drop gives up before
# the insert is chosen as the victim.
GIVE_UP_BEFORE_A_DEADLOCK = _statement("""
    SELECT set_config('lock_timeout', greatest(1, least(100, setting::bigint / 2))::text, true)
    FROM pg_settings WHERE name = 'deadlock_timeout'
""")

SEGMENTS_OF_DAY = _statement(f"""
    SELECT {columns(tables.ledger_segments, of="segment")}, archived.part
    FROM ledger_segments AS segment
    LEFT JOIN archived_segments AS archived ON archived.segment_seq = segment.seq
    WHERE segment.day = :day
    ORDER BY segment.seq
""")  # noqa: S608 - constants only

_PART_COLUMNS: Final = columns(tables.archived_audit_logs)
PARTS_OF_DAY = _statement(f"SELECT {_PART_COLUMNS} FROM archived_audit_logs WHERE day = :day ORDER BY part")  # noqa: S608 - constants only
ALL_PARTS = _statement(f"SELECT {_PART_COLUMNS} FROM archived_audit_logs ORDER BY day, part")  # noqa: S608 - constants only

INSERT_PART = _statement(
    insert(tables.archived_audit_logs, but=("verified_at", "purged_at", "expired_at", "verified_store"))
)
# Of a part whose rows are nowhere else, in a database that was made anew; it was verified in no store that is known.
INSERT_REBUILT_PART = _statement(insert(tables.archived_audit_logs, but=("verified_store",), also=("archived_at",)))
COUNT_PARTS = _statement("SELECT count(*) FROM archived_audit_logs")
ENTRIES_OF_DAYS = _statement("""
    SELECT log_entry_id FROM audit_logs
    WHERE tx_id < :horizon AND ("timestamp" AT TIME ZONE 'UTC')::date = ANY(:days)
    ORDER BY id LIMIT :most
""")
INSERT_ARCHIVED_SEGMENTS = _statement("""
    INSERT INTO archived_segments (segment_seq, day, part)
    SELECT seq, :day, :part FROM unnest(CAST(:seqs AS bigint[])) AS seq
""")
MARK_VERIFIED = _statement("""
    UPDATE archived_audit_logs SET verified_at = clock_timestamp(), verified_store = :store_id
    WHERE day = :day AND part = :part AND purged_at IS NULL
      AND (verified_at IS NULL OR verified_store IS DISTINCT FROM :store_id)
""")
FORGET_VERIFICATIONS = _statement("UPDATE archived_audit_logs SET verified_at = NULL WHERE purged_at IS NULL")

# Days with a step before them, by an index that has no others. Of those everything is archived, verified and purged.
PENDING_DAYS = _statement("""
    SELECT day FROM archived_audit_logs WHERE purged_at IS NULL
    UNION
    SELECT day FROM archive_backlog
""")
BACKLOG_PER_DAY = _statement("""
    SELECT day, segments AS unarchived_segments, entries AS unarchived_entries FROM archive_backlog
    WHERE CAST(:days AS date[]) IS NULL OR day = ANY(:days)
""")
UNARCHIVED_OF_DAY = _statement("""
    SELECT segment.day, count(*) AS unarchived_segments, sum(segment.entry_count)::bigint AS unarchived_entries
    FROM ledger_segments AS segment
    WHERE segment.day = :day
      AND NOT EXISTS (SELECT FROM archived_segments AS archived WHERE archived.segment_seq = segment.seq)
    GROUP BY segment.day
""")
# Segments are numbered as they were sealed: what comes after the first ones of some days was sealed since these began,
# of whatever day its entries are. Where these days have none, all are looked at.
FIRST_SEALED_SINCE = _statement("""
    SELECT coalesce(min(first.seq), 0)
    FROM generate_series(0, CAST(:last AS date) - CAST(:first AS date)) AS number,
         LATERAL (SELECT seq FROM ledger_segments WHERE day = CAST(:first AS date) + number
                  ORDER BY tx_from LIMIT 1) AS first
""")
DAYS_COUNTED_SHORT = _statement("""
    SELECT waiting.day
    FROM (SELECT segment.day, count(*) AS segments, sum(segment.entry_count) AS entries
          FROM ledger_segments AS segment
          WHERE segment.seq >= :since
            AND NOT EXISTS (SELECT FROM archived_segments AS archived
                            WHERE archived.segment_seq = segment.seq AND archived.segment_seq >= :since)
          GROUP BY segment.day) AS waiting
    LEFT JOIN archive_backlog AS backlog ON backlog.day = waiting.day
    WHERE backlog.day IS NULL OR backlog.segments < waiting.segments OR backlog.entries < waiting.entries
    ORDER BY waiting.day
""")
DAYS_WITH_PARTS = _statement("""
    SELECT DISTINCT day FROM archived_audit_logs WHERE day > :after AND day <= :last ORDER BY day LIMIT :count
""")
PARTS_PER_DAY = _statement("""
    SELECT day,
           count(*) AS parts,
           count(verified_at) AS verified_parts,
           count(purged_at) AS purged_parts,
           count(expired_at) AS expired_parts,
           max(verified_at) FILTER (WHERE purged_at IS NULL) AS last_verified_at,
           sum(entry_count)::bigint AS archived_entries,
           coalesce(sum(entry_count) FILTER (WHERE purged_at IS NOT NULL), 0)::bigint AS purged_entries,
           coalesce(sum(entry_count) FILTER (WHERE expired_at IS NOT NULL), 0)::bigint AS expired_entries,
           coalesce(sum(object_bytes) FILTER (WHERE expired_at IS NULL), 0)::bigint AS object_bytes,
           coalesce(sum(canonical_bytes) FILTER (WHERE expired_at IS NULL), 0)::bigint AS canonical_bytes
    FROM archived_audit_logs
    WHERE CAST(:days AS date[]) IS NULL OR day = ANY(:days)
    GROUP BY day
""")
# Of all parts, by an index that has these columns alone. Not grouped by day, which would take ten times as long.
PART_TOTALS = _statement("""
    SELECT count(DISTINCT day) AS days,
           count(DISTINCT day) FILTER (WHERE expired_at IS NULL) AS kept_days,
           coalesce(sum(entry_count) FILTER (WHERE expired_at IS NULL), 0)::bigint AS cold_entries,
           coalesce(sum(object_bytes) FILTER (WHERE expired_at IS NULL), 0)::bigint AS object_bytes,
           coalesce(sum(canonical_bytes) FILTER (WHERE expired_at IS NULL), 0)::bigint AS canonical_bytes
    FROM archived_audit_logs
""")
# What no segment covers yet lies at or above the horizon of the last sealing; the BRIN index on tx_id finds it.
UNSEALED_PER_DAY = _statement("""
    SELECT day, sum(entries)::bigint AS unsealed_entries
    FROM audit_days_written(coalesce((SELECT tx_horizon FROM ledger_checkpoints ORDER BY size DESC LIMIT 1), 0))
    GROUP BY day
""")
UNSEALED_OF_DAY = _statement("""
    SELECT count(*) FROM audit_logs AS entry
    WHERE entry.tx_id >= coalesce((SELECT tx_horizon FROM ledger_checkpoints ORDER BY size DESC LIMIT 1), 0)
      AND entry."timestamp" >= :day_start AND entry."timestamp" < :day_end
""")
HOT_BYTES = _statement("""
    SELECT coalesce(sum(pg_total_relation_size(relation)), 0)::bigint FROM audit_partitions() WHERE is_leaf
""")
HOT_BYTES_PER_DAY = _statement("""
    SELECT to_date(right(name, 10), 'YYYY_MM_DD') AS day, pg_total_relation_size(relation)::bigint AS hot_bytes
    FROM audit_partitions()
    WHERE is_leaf AND name ~ '^audit_logs_[0-9]{4}_[0-9]{2}_[0-9]{2}$'
      AND (CAST(:days AS date[]) IS NULL
           OR name IN (SELECT 'audit_logs_' || to_char(day, 'YYYY_MM_DD') FROM unnest(CAST(:days AS date[])) AS day))
""")
DAY_TABLE_BYTES = _statement("SELECT coalesce(pg_total_relation_size(to_regclass(:day_table)), 0)::bigint")
ROWS_OF_DAY_EXIST = _statement("""
    SELECT EXISTS (SELECT FROM audit_logs WHERE "timestamp" >= :day_start AND "timestamp" < :day_end)
""")

LOCK_TABLE_TO_READ = _statement("LOCK TABLE ONLY audit_logs IN ACCESS SHARE MODE")
LOCK_DAY = _statement("SELECT audit_lock_day(:day)")
DAY_IS_WAITED_FOR = _statement("""
    SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'relation' AND NOT granted
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                   AND relation = to_regclass(:day_table))
""")
REMOVE_DAY = _statement("SELECT audit_remove_day(:day, :entries, CAST(:fingerprint AS numeric))")
MARK_PURGED = _statement("""
    UPDATE archived_audit_logs SET purged_at = (SELECT clock_timestamp())
    WHERE day = :day AND part = ANY(:parts) AND verified_at IS NOT NULL AND purged_at IS NULL AND expired_at IS NULL
""")
DAYS_TO_EXPIRE = _statement("""
    SELECT DISTINCT day FROM archived_audit_logs
    WHERE expired_at IS NULL AND purged_at IS NOT NULL AND day <= :last ORDER BY day
""")
MARK_EXPIRED = _statement("""
    UPDATE archived_audit_logs SET expired_at = (SELECT clock_timestamp())
    WHERE day = :day AND part = :part AND purged_at IS NOT NULL AND expired_at IS NULL
""")
INSERT_PURGE = _statement(insert(tables.audit_purges))

HOLD_LOOKS = _statement("SELECT hold_id, object_key, touched FROM archive_hold_looks WHERE hold_id = ANY(:holds)")
# Two runs may have read the same part; both have seen the same.
INSERT_HOLD_LOOKS = _statement(f"{insert(tables.archive_hold_looks)} ON CONFLICT DO NOTHING")
STORE_HOLDS = _statement("SELECT key FROM archive_store_holds")
INTEND_STORE_HOLD = _statement("INSERT INTO archive_store_holds (key) VALUES (:key) ON CONFLICT DO NOTHING")
LOCK_STORE_HOLDS = _statement("""
    SELECT key, set_at FROM archive_store_holds WHERE key = ANY(:keys) ORDER BY key FOR UPDATE
""")
STORE_HOLD_IS_SET = _statement("UPDATE archive_store_holds SET set_at = clock_timestamp() WHERE key = :key")
STORE_HOLD_IS_LIFTED = _statement("DELETE FROM archive_store_holds WHERE key = :key")
# A verification and a purge read all of a part, and count for the store that was read then.
LAST_READINGS = _statement("""
    SELECT part.day, part.part, part.object_bytes, part.archived_at,
           greatest(verified.at, scrub.read_at) AS read_at,
           CASE WHEN verified.at IS NULL OR verified.at <= scrub.read_at THEN scrub.damage END AS damage
    FROM archived_audit_logs AS part
    LEFT JOIN LATERAL (SELECT greatest(part.verified_at, part.purged_at) AS at FROM audit_store AS store
                       WHERE store.store_id = part.verified_store) AS verified ON true
    LEFT JOIN LATERAL (SELECT scrub.read_at, scrub.damage FROM archive_scrubs AS scrub
                       JOIN audit_store AS store ON store.store_id = scrub.store_id
                       WHERE scrub.day = part.day AND scrub.part = part.part
                       ORDER BY scrub.id DESC LIMIT 1) AS scrub ON true
    WHERE part.expired_at IS NULL
    ORDER BY read_at NULLS FIRST, part.day, part.part
""")
BYTES_SCRUBBED_SINCE = _statement("""
    SELECT coalesce(sum(object_bytes), 0)::bigint FROM archive_scrubs WHERE read_at >= :since
""")
IS_KNOWN_TO_BE_DAMAGED = _statement("""
    SELECT damage IS NOT NULL FROM archive_scrubs
    WHERE day = :day AND part = :part AND store_id = :store_id ORDER BY id DESC LIMIT 1
""")
# What was read must be what the catalogue still speaks of: a part that was repaired or expired meanwhile is another.
INSERT_SCRUB = _statement("""
    INSERT INTO archive_scrubs (day, part, store_id, object_bytes, damage)
    SELECT :day, :part, :store_id, :object_bytes, CAST(:damage AS jsonb) FROM archived_audit_logs
    WHERE day = :day AND part = :part AND expired_at IS NULL AND object_key = :object_key
      AND object_version IS NOT DISTINCT FROM :object_version AND manifest_sha256 = :manifest_sha256
      AND manifest_version IS NOT DISTINCT FROM :manifest_version
""")

# What filters are written about must be what the catalogue still speaks of, and can still be decrypted.
PART_IS_KEPT = _statement("""
    SELECT EXISTS (SELECT FROM archived_audit_logs
                   WHERE object_key = :object_key AND object_sha256 = :object_sha256 AND expired_at IS NULL)
       AND NOT EXISTS (SELECT FROM object_keys WHERE object_key = :object_key AND wrapped IS NULL)
""")
PARTS_WITHOUT_FILTERS = _statement("""
    SELECT part.day, part.part FROM archived_audit_logs AS part
    WHERE part.verified_at IS NOT NULL AND part.expired_at IS NULL
      AND NOT EXISTS (SELECT FROM archive_search_filters AS made WHERE made.object_key = part.object_key COLLATE "C")
      AND NOT EXISTS (SELECT FROM object_keys AS of_object
                      WHERE of_object.object_key = part.object_key COLLATE "C" AND of_object.wrapped IS NULL)
    ORDER BY part.day, part.part
""")
REMOVE_FILTERS_OF_NO_PART = _statement("""
    WITH removed AS (
        DELETE FROM archive_search_filters AS made
        WHERE NOT EXISTS (SELECT FROM archived_audit_logs AS part
                          WHERE part.object_key COLLATE "C" = made.object_key AND part.expired_at IS NULL)
           OR EXISTS (SELECT FROM object_keys AS of_object
                      WHERE of_object.object_key = made.object_key AND of_object.wrapped IS NULL)
        RETURNING made.object_key
    )
    SELECT DISTINCT object_key FROM removed
""")

REPLACE_PART = _statement("SELECT audit_replace_part(:day, :part, :source, CAST(:by AS jsonb))")
SESSION_LOGIN = _statement("SELECT session_user")
TABLE_EXISTS = _statement("SELECT to_regclass(:name) IS NOT NULL")

BECOME_OWNER = _statement("SET LOCAL ROLE audit_owner")
_ENTRY_COLUMNS: Final = columns(tables.audit_logs)
CREATE_RETURNED = _statement("CREATE TEMPORARY TABLE audit_returned (LIKE public.audit_logs) ON COMMIT DROP")
INSERT_RETURNED = _statement(
    f"INSERT INTO audit_logs ({_ENTRY_COLUMNS}) SELECT {_ENTRY_COLUMNS} FROM audit_returned ON CONFLICT DO NOTHING"  # noqa: S608 - constants only
)
RETURNED_NOT_THERE = _statement("""
    SELECT returned.log_entry_id FROM audit_returned AS returned
    WHERE NOT EXISTS (SELECT FROM audit_logs AS entry
                      WHERE entry.id = returned.id AND entry."timestamp" = returned."timestamp"
                        AND entry.nonce = returned.nonce)
    ORDER BY returned.id LIMIT :most
""")

TABLE_COMMENT = _statement("SELECT obj_description(to_regclass(:name), 'pg_class')")
TABLE_IS_OURS = _statement("""
    SELECT relkind = 'r' AND pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass(:name)
""")
RESTORED_TABLES = _statement("SELECT tablename FROM pg_tables WHERE schemaname = :schema ORDER BY tablename")


def _restored(table: str) -> composed.Identifier:
    return composed.Identifier(RESTORED_SCHEMA, table)


def drop_restored_table(table: str) -> composed.Composed:
    """Remove a restored table where there is one."""
    return composed.SQL("DROP TABLE IF EXISTS {}").format(_restored(table))


def create_restored_table(table: str) -> composed.Composed:
    """Make an empty table of the hot store's columns."""
    return composed.SQL("CREATE TABLE {} (LIKE public.audit_logs)").format(_restored(table))


def let_readers_read(table: str) -> composed.Composed:
    """Let auditors read a restored table."""
    return composed.SQL("GRANT SELECT ON {} TO audit_reader").format(_restored(table))


def rename_restored_table(table: str, to: str) -> composed.Composed:
    """Give a restored table another name."""
    return composed.SQL("ALTER TABLE {} RENAME TO {}").format(_restored(table), composed.Identifier(to))


def comment_on_restored_table(table: str, comment: str) -> composed.Composed:
    """Say something about a restored table."""
    return composed.SQL("COMMENT ON TABLE {} IS {}").format(_restored(table), composed.Literal(comment))
