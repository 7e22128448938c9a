"""Every SQL statement of the ledger.

Here: statements with bound parameters. Not here: what their results mean.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import text

from compliance_pipelines.postgres import tables
from compliance_pipelines.postgres.statements import columns, insert

CLUSTER = text("""
    SELECT control.system_identifier AS running,
           (SELECT system_identifier FROM ledger_clusters ORDER BY number DESC LIMIT 1) AS adopted
    FROM pg_control_system() AS control
""")
HORIZON = text("SELECT audit_tx_horizon() AS horizon, clock_timestamp() AS now")
SIGN_OF_LIFE = text("SELECT 1")
HIGHEST_TX_ID = text("""
    SELECT greatest((SELECT coalesce(max(tx_id), 0) FROM audit_logs),
                    (SELECT coalesce(max(tx_horizon), 0) FROM ledger_checkpoints))
""")
# Written after a restore and before the adoption, under transaction ids that were used before: below the horizon and in
# no segment, or in the range of one by chance, but with an `id` that it does not reach.
ENTRIES_IN_NO_SEGMENT = text("""
    SELECT entry.log_entry_id
    FROM audit_logs AS entry
    WHERE entry.tx_id < :horizon
      AND NOT EXISTS (SELECT FROM audit_quarantine AS held
                      WHERE held.id = entry.id AND held."timestamp" = entry."timestamp")
      AND NOT EXISTS (SELECT FROM ledger_segments AS segment
                      WHERE segment.day = (entry."timestamp" AT TIME ZONE 'UTC')::date
                        AND segment.tx_from <= entry.tx_id AND entry.tx_id < segment.tx_to
                        AND segment.first_id <= entry.id AND entry.id <= segment.last_id)
    ORDER BY entry.id
    LIMIT :most
""")
BECOME_OWNER = text("SET LOCAL ROLE audit_owner")
LOCK_OUT_WRITERS = text("LOCK TABLE ONLY audit_logs IN SHARE MODE")
ADOPT_CLUSTER = text("SELECT audit_adopt_cluster(:tx_offset)")

UNSEALED_PER_DAY = text("""
    SELECT day, sum(entries)::bigint AS entries FROM audit_days_written(:tx_from, :tx_to) GROUP BY day ORDER BY day
""")
OLDEST_UNSEALED = text("""
    SELECT min(oldest)
    FROM audit_days_written(coalesce((SELECT tx_horizon FROM ledger_checkpoints ORDER BY size DESC LIMIT 1), 0))
""")
# Where a range with more than :entries entries is cut: between two transactions, and not before the first one. The
# bounds leave out the partitions of days that have none of them.
CUT = text("""
    SELECT greatest((SELECT tx_id FROM audit_logs WHERE tx_id >= :tx_from AND tx_id < :tx_to
                        AND "timestamp" >= :since AND "timestamp" < :until
                     ORDER BY tx_id OFFSET :entries LIMIT 1),
                    (SELECT min(tx_id) + 1 FROM audit_logs WHERE tx_id >= :tx_from AND tx_id < :tx_to
                        AND "timestamp" >= :since AND "timestamp" < :until)) AS tx_to
""")

# Two connections that get the same answer are connected to one database of one running server.
WHICH_DATABASE = text("""
    SELECT control.system_identifier, current_database() AS name, pg_postmaster_start_time() AS started
    FROM pg_control_system() AS control
""")
LAST_ID_GIVEN = text("SELECT coalesce(pg_sequence_last_value('audit_logs_id_seq'), 0)")
RAISE_IDS = text("""
    SELECT setval('audit_logs_id_seq', :last) WHERE coalesce(pg_sequence_last_value('audit_logs_id_seq'), 0) < :last
""")

_CHECKPOINT_COLUMNS = columns(tables.ledger_checkpoints)
LAST_CHECKPOINT = text(f"SELECT {_CHECKPOINT_COLUMNS} FROM ledger_checkpoints ORDER BY size DESC LIMIT 1")  # noqa: S608 - constants only
CHECKPOINT_OF_SIZE = text(f"SELECT {_CHECKPOINT_COLUMNS} FROM ledger_checkpoints WHERE size = :size")  # noqa: S608 - constants only
CHECKPOINTS = text(f"SELECT {_CHECKPOINT_COLUMNS} FROM ledger_checkpoints ORDER BY size")  # noqa: S608 - constants only
UNPUBLISHED_CHECKPOINTS = text(
    f"SELECT {_CHECKPOINT_COLUMNS} FROM ledger_checkpoints"  # noqa: S608 - constants only
    " WHERE size > (SELECT coalesce(max(size), 0) FROM ledger_publications) ORDER BY size"
)
FIRST_SIGNED_AFTER = text("SELECT signed_at FROM ledger_checkpoints WHERE size > :size ORDER BY size LIMIT 1")
LAST_PUBLISHED_SIZE = text("SELECT max(size) FROM ledger_publications")

_SEGMENT_COLUMNS = columns(tables.ledger_segments)
SEGMENTS_BETWEEN = text(
    f"SELECT {_SEGMENT_COLUMNS} FROM ledger_segments WHERE seq >= :first AND seq < :after ORDER BY seq"  # noqa: S608 - constants only
)
# One row, with the binary form of each column's values one behind the other.
_SENT: Final = {
    **dict.fromkeys(tables.ledger_segments.columns.keys(), "int8send({})"),
    "day": "date_send({})",
    "root": "{}",
    "sealed_at": "timestamptz_send({})",
}
_SENT_COLUMNS: Final = ", ".join(
    f"coalesce(string_agg({sent.format(name)}, ''::bytea ORDER BY seq), ''::bytea) AS {name}"
    for name, sent in _SENT.items()
)
SEGMENT_COLUMNS_BETWEEN = text(
    f"SELECT count(*) AS segments, {_SENT_COLUMNS} FROM ledger_segments WHERE seq >= :first AND seq < :after"  # noqa: S608 - constants only
)
FIRST_SEGMENT_OF_DAYS = text("SELECT min(seq) FROM ledger_segments WHERE day = ANY(:days)")
LAST_SEQ = text("""
    SELECT greatest((SELECT max(seq) FROM ledger_segments), (SELECT max(seq) FROM ledger_statements))
""")
SEGMENTS_OF_TRANSACTIONS = text(
    f"SELECT {_SEGMENT_COLUMNS} FROM ledger_segments WHERE tx_from >= :tx_from AND tx_from < :tx_to ORDER BY seq"  # noqa: S608 - constants only
)
# Append-only for everybody else: what is void is kept as a record among the statements, in the same transaction.
LET_SEGMENTS_GO = text("ALTER TABLE ledger_segments DISABLE TRIGGER ledger_segments_append_only")
WITHDRAW_SEGMENTS = text("DELETE FROM ledger_segments WHERE seq = ANY(:seqs)")
KEEP_SEGMENTS = text("ALTER TABLE ledger_segments ENABLE TRIGGER ledger_segments_append_only")
_STATEMENT_COLUMNS = columns(tables.ledger_statements)
STATEMENTS_BETWEEN = text(
    f"SELECT {_STATEMENT_COLUMNS} FROM ledger_statements WHERE seq >= :first AND seq < :after ORDER BY seq"  # noqa: S608 - constants only
)
# Kind 3 is that of losses.
LOSSES = text(
    f"SELECT {_STATEMENT_COLUMNS} FROM ledger_statements WHERE get_byte(record, 0) = 3 ORDER BY seq"  # noqa: S608 - constants only
)
# 4 is the kind of records about expiries.
EXPIRIES = text(
    f"SELECT {_STATEMENT_COLUMNS} FROM ledger_statements WHERE get_byte(record, 0) = 4 ORDER BY seq"  # noqa: S608 - constants only
)
# 2 is the kind of records about keys.
KEY_STATEMENTS = text(
    f"SELECT {_STATEMENT_COLUMNS} FROM ledger_statements WHERE get_byte(record, 0) = 2 ORDER BY seq"  # noqa: S608 - constants only
)
SEGMENT_OF_ENTRY = text(
    f"SELECT {_SEGMENT_COLUMNS} FROM ledger_segments"  # noqa: S608 - constants only
    " WHERE day = :day AND tx_from <= :tx_id AND :tx_id < tx_to"
)

LAST_SEALED_ENTRY = text("""
    SELECT log_entry_id FROM audit_logs
    WHERE id = (SELECT last_id FROM ledger_segments ORDER BY seq DESC LIMIT 1)
    ORDER BY "timestamp" LIMIT 1
""")

INSERT_SEGMENT = text(insert(tables.ledger_segments))
INSERT_STATEMENT = text(insert(tables.ledger_statements))
INSERT_CHECKPOINT = text(insert(tables.ledger_checkpoints))
INSERT_PUBLICATION = text(f"{insert(tables.ledger_publications)} ON CONFLICT (size) DO NOTHING")

NEXT_SEALED_BEFORE = text("SELECT sealed_at < :before FROM ledger_segments WHERE seq >= :seq ORDER BY seq LIMIT 1")
LAST_CHECKPOINT_UP_TO = text(
    f"SELECT {_CHECKPOINT_COLUMNS} FROM ledger_checkpoints WHERE size <= :most ORDER BY size DESC LIMIT 1"  # noqa: S608 - constants only
)

STORE_BINDING = text("SELECT store_id, ledger_key FROM audit_store")
BIND_STORE = text(insert(tables.audit_store))

FIND_ENTRY = text("""
    SELECT ("timestamp" AT TIME ZONE 'UTC')::date AS day, tx_id
    FROM audit_logs WHERE log_entry_id = :log_entry_id ORDER BY "timestamp"
""")
"""One row for each day on which the id stands in the hot store."""
