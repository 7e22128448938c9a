"""Every SQL statement of the verification.

Here: statements with bound parameters, for PostgreSQL and for the SQLite file of the segment index. None changes
anything but that file. Not here: what their results mean.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import LargeBinary, text

from compliance_pipelines.postgres import tables
from compliance_pipelines.postgres.statements import columns

READ_ONLY = text("SET TRANSACTION READ ONLY")
PUBLICATIONS_UP_TO = text("SELECT size, object_key FROM ledger_publications WHERE size <= :last ORDER BY size")
SEGMENTS_HELD_ON_DAY = text("SELECT segment_seq, part FROM archived_segments WHERE day = :day ORDER BY segment_seq")
# What is counted as waiting to be archived, and what waits, of one moment.
BACKLOG_OF_DAY = text("""
    SELECT coalesce(backlog.segments, 0) AS counted_segments, coalesce(backlog.entries, 0) AS counted_entries,
           waiting.segments, waiting.entries
    FROM (SELECT count(*) AS segments, coalesce(sum(segment.entry_count), 0)::bigint AS entries
          FROM ledger_segments AS segment
          WHERE segment.day = :day
            AND NOT EXISTS (SELECT FROM archived_segments AS archived WHERE archived.segment_seq = segment.seq)
         ) AS waiting
    LEFT JOIN archive_backlog AS backlog ON backlog.day = :day
""")
DAYS_OF_BACKLOG = text("SELECT day FROM archive_backlog WHERE isfinite(day) ORDER BY day")
OBJECT_WITH_SHA256 = text("SELECT object_key FROM archived_audit_logs WHERE object_sha256 = :sha256 LIMIT 1")
DAYS_OF_PARTS = text("SELECT DISTINCT day FROM archived_audit_logs ORDER BY day")
# From day to day by the index on timestamp. The bounds leave out the partitions of other days.
NEXT_DAY_WITH_ENTRIES = text("""
    SELECT (min("timestamp") AT TIME ZONE 'UTC')::date FROM audit_logs
    WHERE "timestamp" >= :since AND "timestamp" <= :last
""")
ENTRIES_OUT_OF_TIME = text("""
    SELECT left(log_entry_id, 200) FROM audit_logs AS entry
    WHERE ("timestamp" < '0001-01-01+00' OR "timestamp" >= '9999-12-31+00' OR NOT isfinite("timestamp"))
      AND NOT EXISTS (SELECT FROM audit_quarantine AS held
                      WHERE held.id = entry.id AND held."timestamp" = entry."timestamp")
    ORDER BY id LIMIT :most
""")
# The days that the look at each day passes over are named here; all others are looked at by their day.
QUARANTINED_OUT_OF_TIME = text("""
    SELECT left(log_entry_id, 200) FROM audit_quarantine
    WHERE day < '0001-01-01' OR day >= '9999-12-31' OR NOT isfinite(day) ORDER BY id LIMIT :most
""")
DAYS_OF_QUARANTINE = text("""
    SELECT DISTINCT day FROM audit_quarantine WHERE day >= '0001-01-01' AND day < '9999-12-31' ORDER BY day
""")
# A row that is visible was written by a transaction below the snapshot's end. One with a larger id would wait for its
# sealing for ever. In another cluster than the adopted one, ids are not comparable.
ENTRIES_NEVER_SEALED = text("""
    WITH clock AS (
        SELECT audit_tx_horizon() - pg_snapshot_xmin(now)::text::bigint + pg_snapshot_xmax(now)::text::bigint AS after
        FROM pg_current_snapshot() AS now
    )
    SELECT log_entry_id FROM audit_logs
    WHERE tx_id >= greatest((SELECT after FROM clock), :tx_horizon)
      AND (SELECT system_identifier FROM pg_control_system())
          = (SELECT system_identifier FROM ledger_clusters ORDER BY number DESC LIMIT 1)
    ORDER BY id LIMIT :most
""")
ENTRIES_IN_RANGE_EXIST = text("""
    SELECT EXISTS (SELECT FROM audit_logs WHERE "timestamp" >= :day_start AND "timestamp" < :day_end
                   AND tx_id >= :tx_from AND tx_id < :tx_to)
""")

# Records of segments that no entry is looked up by, and segments in a range that entries are looked up by.
SEGMENTS_AMONG_STATEMENTS = text("SELECT seq FROM ledger_statements WHERE get_byte(record, 0) = 1 ORDER BY seq")
SEGMENTS_STANDING = text("SELECT seq FROM ledger_segments WHERE seq >= :first AND seq < :after ORDER BY seq")

# SQLite

# Days and times are numbers there.
_SEGMENT: Final = tables.ledger_segments
# Of a statement there are its seq and its bytes; of a segment everything but these.
_COLUMNS: Final = f"{columns(_SEGMENT)}, record"
_DEFINITIONS: Final = ", ".join(
    f"{column.name} {'BLOB' if isinstance(column.type, LargeBinary) else 'INTEGER'}" for column in _SEGMENT.columns
)
_DIFFERENT: Final = (
    f"({columns(_SEGMENT, but=('seq',), of='a')}, a.record) IS NOT "
    f"({columns(_SEGMENT, but=('seq',), of='b')}, b.record)"
)
INDEX_OPTIONS: Final = ("PRAGMA journal_mode = OFF", "PRAGMA synchronous = OFF", "PRAGMA cache_size = -65536")
CREATE_INDEX: Final = (
    f"CREATE TABLE records (source INTEGER, {_DEFINITIONS}, record BLOB, PRIMARY KEY (source, seq)) WITHOUT ROWID",
    "CREATE INDEX segments_of_day ON records (source, day, seq)",
    "CREATE TABLE void (first INTEGER PRIMARY KEY, after INTEGER) WITHOUT ROWID",
    "CREATE TABLE parts (part_id INTEGER PRIMARY KEY, day INTEGER, part INTEGER, key TEXT, sha256 TEXT)",
    "CREATE TABLE held (seq INTEGER, part_id INTEGER, PRIMARY KEY (seq, part_id)) WITHOUT ROWID",
    "CREATE INDEX parts_of_day ON parts (day)",
    "CREATE INDEX held_by_part ON held (part_id, seq)",
)
ADD_RECORD: Final = f"INSERT OR REPLACE INTO records VALUES (?{', ?' * (len(_SEGMENT.columns) + 1)})"  # noqa: S608 - constants only
COUNT_RECORDS: Final = "SELECT count(*) FROM records WHERE source = ? AND seq >= ? AND seq < ?"
RECORDS_BETWEEN: Final = f"SELECT {_COLUMNS} FROM records WHERE source = ? AND seq >= ? AND seq < ? ORDER BY seq"  # noqa: S608 - constants only
ENDS_BETWEEN: Final = "SELECT seq, tx_to FROM records WHERE source = ? AND seq >= ? AND seq < ? AND record IS NULL"
ONE_RECORD: Final = f"SELECT {_COLUMNS} FROM records WHERE source = ? AND seq = ?"  # noqa: S608 - constants only
# A segment that a loss voided is a record like any other, and no entry is looked for in it.
_NOT_VOID: Final = (
    "coalesce((SELECT void.after FROM void WHERE void.first <= s.seq ORDER BY void.first DESC LIMIT 1), 0) <= s.seq"
)
SEGMENTS_OF_DAY: Final = (
    f"SELECT {_COLUMNS} FROM records AS s WHERE source = ? AND day = ? AND {_NOT_VOID} ORDER BY seq"  # noqa: S608 - constants only
)
SEGMENTS_BETWEEN: Final = (
    f"SELECT {_COLUMNS} FROM records AS s"  # noqa: S608 - constants only
    " WHERE source = ? AND seq >= ? AND seq < ? AND record IS NULL ORDER BY seq"
)
STATEMENTS: Final = f"SELECT {_COLUMNS} FROM records WHERE source = ? AND record IS NOT NULL AND seq < ? ORDER BY seq"  # noqa: S608 - constants only
ADD_VOID: Final = "INSERT INTO void VALUES (?, ?)"
DAYS_OF_SEGMENTS: Final = (
    f"SELECT DISTINCT day FROM records AS s WHERE source = ? AND day IS NOT NULL AND {_NOT_VOID} ORDER BY day"  # noqa: S608 - constants only
)
FILL_RECORDS: Final = (
    f"INSERT OR IGNORE INTO records SELECT ?, {_COLUMNS} FROM records WHERE source = ? AND seq >= ? AND seq < ?"  # noqa: S608 - constants only
)
ADOPT_RECORDS: Final = (
    f"INSERT OR REPLACE INTO records SELECT ?, {_COLUMNS} FROM records WHERE source = ? AND seq >= ? AND seq < ?"  # noqa: S608 - constants only
)
DIFFERING_RECORDS: Final = f"""
    SELECT a.seq, a.day FROM records AS a JOIN records AS b ON b.seq = a.seq
    WHERE a.source = ? AND b.source = ? AND a.seq >= ? AND a.seq < ? AND {_DIFFERENT} ORDER BY a.seq
"""  # noqa: S608 - constants only
RECORDS_OF_ONE_ONLY: Final = """
    SELECT a.seq, a.day FROM records AS a
    WHERE a.source = ? AND a.seq >= ? AND a.seq < ?
      AND NOT EXISTS (SELECT 1 FROM records AS b WHERE b.source = ? AND b.seq = a.seq)
    ORDER BY a.seq
"""
ADD_PART: Final = "INSERT INTO parts (day, part, key, sha256) VALUES (?, ?, ?, ?)"
KEY_WITH_SHA256: Final = "SELECT key FROM parts WHERE sha256 = ? LIMIT 1"
ADD_HELD: Final = "INSERT OR IGNORE INTO held VALUES (?, ?)"
SEGMENTS_HELD_TWICE: Final = """
    SELECT held.seq, min(parts.day), group_concat(parts.key, ' and ')
    FROM held JOIN parts USING (part_id) GROUP BY held.seq HAVING count(*) > 1 ORDER BY held.seq
"""
HELD_AMONG: Final = "SELECT DISTINCT seq FROM held WHERE seq IN (SELECT value FROM json_each(?))"
LAST_HELD: Final = "SELECT max(held.seq), parts.day, parts.key FROM held JOIN parts USING (part_id)"
# For each day: its segments and entries that no part holds, and the last segment of it that one holds.
SEGMENTS_NOT_HELD: Final = f"""
    SELECT s.day, min(s.seq), max(s.seq), count(*), sum(s.entry_count),
           (SELECT max(held.seq) FROM parts JOIN held USING (part_id) WHERE parts.day = s.day) AS last_held
    FROM records AS s
    WHERE s.source = ? AND s.record IS NULL AND NOT EXISTS (SELECT 1 FROM held AS h WHERE h.seq = s.seq)
      AND {_NOT_VOID}
    GROUP BY s.day ORDER BY s.day
"""  # noqa: S608 - constants only
LAST_DAY_HELD: Final = "SELECT max(day) FROM parts"
