"""Every SQL statement of the hot store.

Here: statements with bound parameters. Not here: what their results mean, and the query that reads rows to be hashed
(reading.py).
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import text

from compliance_pipelines.audit_log.entry import FILLED_BY_THE_DATABASE
from compliance_pipelines.postgres import tables
from compliance_pipelines.postgres.statements import columns, definitions, insert

_COLUMNS: Final = columns(tables.audit_logs, but=FILLED_BY_THE_DATABASE)
_DEFINITIONS: Final = definitions(tables.audit_logs, but=FILLED_BY_THE_DATABASE)
# Repeats are no errors. The names are those of a unique constraint.
_UNLESS_THERE: Final = 'ON CONFLICT (log_entry_id, "timestamp") DO NOTHING'

INSERT_ENTRY = text(f"{insert(tables.audit_logs, but=('commitment',))} {_UNLESS_THERE}")
# The bounds prune partitions: without them every append would lock each index of each day, and a few dozen concurrent
# ones would use up the server's lock table.
OTHER_TIMES_OF_ENTRY = text("""
    SELECT "timestamp" FROM audit_logs
    WHERE log_entry_id = :log_entry_id AND "timestamp" <> :timestamp AND "timestamp" >= :since AND "timestamp" < :until
    ORDER BY "timestamp"
""")
PURGED_DAYS_AMONG = text("""
    SELECT DISTINCT day FROM archived_audit_logs WHERE purged_at IS NOT NULL AND day = ANY(:days) ORDER BY day
""")

# An id that is there before the entries of a batch get theirs, by which these are found again.
NEXT_ID = text("SELECT nextval('audit_logs_id_seq')")
CREATE_STAGING = text(f"CREATE TEMPORARY TABLE audit_append ({_DEFINITIONS}) ON COMMIT DROP")
DELETE_STAGED = text("""
    DELETE FROM audit_append WHERE "timestamp" >= :since AND "timestamp" < :until AND log_entry_id = ANY(:log_entry_ids)
""")
INSERT_STAGED = text(f"INSERT INTO audit_logs ({_COLUMNS}) SELECT {_COLUMNS} FROM audit_append {_UNLESS_THERE}")  # noqa: S608 - constants only
EMPTY_STAGING = text("TRUNCATE audit_append")
# Reads all entries of three days, which takes less time than many looks into their indexes. `before` leaves entries of
# other transactions in: what this finds need not be of the batch.
IDS_AT_SEVERAL_TIMES = text("""
    SELECT log_entry_id FROM audit_logs WHERE "timestamp" >= :since AND "timestamp" < :until
    GROUP BY log_entry_id HAVING count(*) > 1 AND max(id) > :before LIMIT 1
""")
STORED_BYTES = text("""
    SELECT coalesce(sum(pg_relation_size(to_regclass(name))), 0) FROM unnest(CAST(:partitions AS text[])) AS name
""")
# LIMIT keeps the inner query as it is: for each new entry one look into the indexes. A join would be planned by the
# statistics of a table that has just grown, and might read all of it. The bounds are parameters, so that other days'
# partitions are left out once and not for each entry.
NEW_ENTRIES_AT_OTHER_TIMES = text("""
    SELECT entry.log_entry_id, entry."timestamp", stored."timestamp" AS other
    FROM audit_logs AS entry CROSS JOIN LATERAL (
        SELECT same."timestamp" FROM audit_logs AS same
        WHERE same.log_entry_id = entry.log_entry_id AND same."timestamp" <> entry."timestamp"
          AND same."timestamp" >= :since AND same."timestamp" < :until
        LIMIT 1) AS stored
    WHERE entry.id > :before AND entry.tx_id = audit_tx_id()
      AND entry."timestamp" >= :start AND entry."timestamp" < :end
    LIMIT :most
""")

MOMENT = text("SELECT clock_timestamp()")
CREATE_IMPORT = text(f"CREATE TEMPORARY TABLE audit_import (line BIGINT, {_DEFINITIONS}, raw TEXT)")
DROP_IMPORT = text("DROP TABLE IF EXISTS pg_temp.audit_import")
ANALYZE_IMPORT = text("""ANALYZE audit_import (line, log_entry_id, "timestamp")""")
IMPORTED_DAYS = text("""
    SELECT ("timestamp" AT TIME ZONE 'UTC')::date AS day, count(*) AS entries FROM audit_import GROUP BY 1 ORDER BY 1
""")
IMPORT_CONFLICTS_WITH_STORE = text("""
    SELECT DISTINCT ON (imported.line) imported.line, imported.log_entry_id, imported."timestamp", imported.raw,
           stored."timestamp" AS other
    FROM audit_import AS imported JOIN audit_logs AS stored USING (log_entry_id)
    WHERE stored."timestamp" <> imported."timestamp"
    ORDER BY imported.line
""")
IMPORT_CONFLICTS_IN_FILE = text("""
    SELECT line, log_entry_id, "timestamp", raw, first_line, other
    FROM (SELECT line, log_entry_id, "timestamp", raw,
                 first_value(line) OVER earlier AS first_line, first_value("timestamp") OVER earlier AS other
          FROM audit_import
          WHERE log_entry_id IN (SELECT log_entry_id FROM audit_import
                                 GROUP BY log_entry_id HAVING min("timestamp") <> max("timestamp"))
          WINDOW earlier AS (PARTITION BY log_entry_id ORDER BY line)) AS imported
    WHERE other <> "timestamp"
    ORDER BY line
""")
IMPORTED_IDS = text("""
    SELECT line, log_entry_id, "timestamp" FROM audit_import WHERE "timestamp" >= :since AND "timestamp" < :until
""")
IMPORTED_LINES = text("""
    SELECT line, log_entry_id, "timestamp", raw FROM audit_import WHERE line = ANY(:lines) ORDER BY line
""")
DELETE_IMPORTED = text("DELETE FROM audit_import WHERE line = ANY(:lines)")
INSERT_IMPORTED = text(f"INSERT INTO audit_logs ({_COLUMNS}) SELECT {_COLUMNS} FROM audit_import {_UNLESS_THERE}")  # noqa: S608 - constants only

QUARANTINE_ENTRIES = text("SELECT day, entries, reasons, ids FROM audit_quarantine_entries(:tx_from, :tx_to)")
# The rows themselves are judged again: what stands in the quarantine and breaks no rule was put there by a superuser.
QUARANTINED_ON_DAY = text("""
    SELECT count(*) AS entries,
           (array_agg(held.id ORDER BY held.id))[1:5] AS ids,
           array_agg(DISTINCT held.reason) AS reasons,
           count(*) FILTER (WHERE entry.id IS NULL) AS removed,
           count(*) FILTER (WHERE entry.id IS NOT NULL
               AND audit_entry_flaw(entry.log_entry_id, entry."timestamp", entry.user_id, entry.action,
                                    entry.resource_type, entry.resource_id, entry.result, entry.metadata,
                                    entry.created_at, entry.commitment) IS NULL) AS sound
    FROM audit_quarantine AS held
    LEFT JOIN audit_logs AS entry ON entry.id = held.id AND entry."timestamp" = held."timestamp"
    WHERE held.day = :day
""")
QUARANTINED = text("""
    SELECT count(*) AS entries, count(DISTINCT day) AS days, min(day)::text AS first_day, max(day)::text AS last_day,
           (array_agg(id ORDER BY id))[1:5] AS ids
    FROM audit_quarantine
""")
RULES = text("""
    SELECT rule.name, bool_or(coalesce(convalidated, false)) AS validated, count(conname) AS present
    FROM unnest(CAST(:names AS text[])) AS rule (name)
    LEFT JOIN pg_constraint ON conname = rule.name AND conrelid = 'audit_logs'::regclass
    GROUP BY rule.name ORDER BY rule.name
""")
# The newest segments hold the largest ids: no need to look at all of them. The sequence is read after the snapshot was
# taken, so that it is never behind what is seen.
ID_SEQUENCE = text("""
    SELECT (SELECT max(last_id) FROM (SELECT last_id FROM ledger_segments ORDER BY seq DESC LIMIT 1000) AS newest)
               AS sealed,
           CASE WHEN has_sequence_privilege('audit_logs_id_seq', 'SELECT, USAGE')
                THEN coalesce(pg_sequence_last_value('audit_logs_id_seq'), 0) END AS given
""")

CREATE_DAY = text("SELECT audit_create_day(:day)")
MAKE_FENCE = text("SELECT audit_make_fence(:day)")
CLOSE_FENCE = text("SELECT audit_close_fence(:partition)")
DROP_FENCE = text("SELECT audit_drop_fence(:partition)")
EMPTY_DAYS = text("SELECT audit_empty_days(:before)")
DROP_EMPTY_DAY = text("SELECT audit_drop_empty_day(:day)")
MONTHS_WITHOUT_DAYS = text("SELECT audit_months_without_days(:before)")
DROP_EMPTY_MONTH = text("SELECT audit_drop_empty_month(:day)")
LOCK_ROOM = text("SELECT relations, locks_per_relation, most_relations, lock_slots FROM audit_lock_room()")
# From the catalogue, because pg_partition_tree() would lock every partition until the transaction ends.
EXISTING_DAYS = text("""
    SELECT to_date(right(leaf.relname, 10), 'YYYY_MM_DD') AS day
    FROM pg_inherits AS month JOIN pg_inherits AS child ON child.inhparent = month.inhrelid
                              JOIN pg_class AS leaf ON leaf.oid = child.inhrelid
    WHERE month.inhparent = 'audit_logs'::regclass AND leaf.relname ~ '^audit_logs_[0-9]{4}_[0-9]{2}_[0-9]{2}$'
""")
STRAYS = text("SELECT partition, entries, largest_day, largest_day_entries FROM audit_strays()")

SERVER_ENCODING = text("SELECT current_setting('server_encoding')")
SESSION = text("""
    SELECT current_setting('server_version') AS version, current_database() AS database, current_user AS login,
           (SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl) AS tls
""")
LOGIN_FACTS = text("""
    SELECT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS is_superuser,
           EXISTS (SELECT FROM pg_roles WHERE rolname = 'audit_owner' AND pg_has_role(oid, 'MEMBER')) AS may_own,
           EXISTS (SELECT FROM pg_roles WHERE rolname = 'audit_owner' AND rolcanlogin) AS owner_may_log_in
""")
# Whoever but the owner may change what is there, and whoever owns it instead of audit_owner.
GRANTS_TO_CHANGE = text("""
    WITH relations AS (
        SELECT relation.oid, relation.relname, relation.relowner, relation.relacl
        FROM audit_partitions() AS tree JOIN pg_class AS relation ON relation.oid = tree.relation
    ), granted AS (
        SELECT relname, relowner, (aclexplode(relacl)).* FROM relations
        UNION ALL
        SELECT relname, relowner, (aclexplode(attacl)).* FROM relations JOIN pg_attribute ON attrelid = relations.oid
    )
    SELECT relname AS relation, namesend(coalesce(rolname, 'PUBLIC')) AS grantee, privilege_type AS privilege
    FROM granted LEFT JOIN pg_roles ON pg_roles.oid = grantee
    WHERE grantee <> relowner AND privilege_type IN ('UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER')
    UNION ALL
    SELECT relname, namesend(rolname), 'OWNER' FROM relations JOIN pg_roles ON pg_roles.oid = relowner
    WHERE rolname <> 'audit_owner'
    ORDER BY 1, 2, 3
""")
RELATIONS_WITHOUT_TRIGGERS = text("""
    SELECT tree.relation::regclass::text AS relation
    FROM audit_partitions() AS tree
    WHERE (SELECT count(DISTINCT tgname) FROM pg_trigger
           WHERE tgrelid = tree.relation AND tgenabled IN ('O', 'A')
             AND tgname IN ('audit_logs_append_only', 'audit_logs_no_truncate')) < 2
    ORDER BY 1
""")

# In a database without our tables everybody may append, as far as this tells: its other faults are told instead.
STANDING = text("""
    SELECT quote_ident(current_user) AS login,
           coalesce(has_any_column_privilege(to_regclass('public.audit_logs'), 'INSERT'), true) AS may_append,
           coalesce(array_agg(rolname::text ORDER BY rolname) FILTER (WHERE pg_has_role(oid, 'USAGE')), '{}') AS roles,
           coalesce(array_agg(rolname::text ORDER BY rolname) FILTER (WHERE NOT pg_has_role(oid, 'USAGE')), '{}')
               AS idle_roles
    FROM pg_roles
    WHERE rolname IN ('audit_archiver', 'audit_reader', 'audit_writer') AND pg_has_role(oid, 'MEMBER')
""")
RECORD_READING = text("SELECT audit_record_reading(:reading, :subject, CAST(:particulars AS jsonb))")

ENVIRONMENT = text("SELECT environment_id FROM audit_environment")
TAKE_ENVIRONMENT = text("""
    INSERT INTO audit_environment (environment_id) VALUES (:environment_id) ON CONFLICT (number) DO NOTHING
""")
MAKE_ENVIRONMENT = text("INSERT INTO audit_environment (number) VALUES (1) ON CONFLICT (number) DO NOTHING")

_BESIDE_THE_HOT_TABLE: Final = ", ".join(
    f"'{name}'" for name in sorted(tables.metadata.tables) if name != tables.audit_logs.name
)
# From the catalogue, without locks. Partitions are two levels deep.
HIDING_RELATIONS = text(f"""
    WITH RECURSIVE partitions AS (
        SELECT to_regclass('public.audit_logs')::oid AS oid
        UNION ALL
        SELECT link.inhrelid FROM partitions JOIN pg_inherits AS link ON link.inhparent = partitions.oid
    ), ours AS (
        SELECT oid, true AS partitioned FROM partitions
        UNION ALL
        SELECT to_regclass('public.' || name)::oid, false
        FROM unnest(ARRAY[{_BESIDE_THE_HOT_TABLE}]) AS name
    )
    SELECT relation.oid::regclass::text AS relation,
           CASE WHEN relation.relrowsecurity THEN 'has row security on' ELSE 'is no table' END AS reason
    FROM ours JOIN pg_class AS relation ON relation.oid = ours.oid
    WHERE relation.relrowsecurity OR NOT (relation.relkind = 'r' OR partitioned AND relation.relkind = 'p')
    ORDER BY 1
""")  # noqa: S608 - constants only
HIDING_TABLES = text("""
    SELECT relation.oid::regclass::text AS relation,
           CASE WHEN relation.relrowsecurity THEN 'has row security on' ELSE 'is no table' END AS reason
    FROM unnest(CAST(:names AS text[])) AS name
    JOIN pg_class AS relation ON relation.oid = to_regclass('public.' || name)
    WHERE relation.relrowsecurity OR relation.relkind <> 'r'
    ORDER BY 1
""")
