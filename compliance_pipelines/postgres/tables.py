"""The definition of every table: what the statements take columns from, and what the migrations have to arrive at.

Here: tables, columns, constraints, indexes. Not here: partitions, functions, triggers, roles and views, which
only the migrations make; their SQL is history and stays as it is. Tests compare both in the catalogue.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Date,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP

metadata = MetaData()

audit_logs = Table(
    "audit_logs",
    metadata,
    Column("id", BigInteger, nullable=False, server_default=text("nextval('audit_logs_id_seq'::regclass)")),
    Column("log_entry_id", Text, nullable=False),
    Column("timestamp", TIMESTAMP(timezone=True), nullable=False),
    Column("user_id", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("resource_type", Text),
    Column("resource_id", Text),
    Column("result", Text, nullable=False),
    Column("metadata", JSONB),
    Column("created_at", TIMESTAMP(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    Column("tx_id", BigInteger, nullable=False, server_default=text("audit_tx_id()")),
    Column("nonce", Uuid, nullable=False, server_default=text("gen_random_uuid()")),
    Column("commitment", LargeBinary),
    PrimaryKeyConstraint("id", "timestamp", name="audit_logs_pkey"),
    UniqueConstraint("log_entry_id", "timestamp", name="audit_logs_log_entry_id_timestamp_key"),
    CheckConstraint('isfinite("timestamp")', name="audit_logs_timestamp_is_finite"),
    CheckConstraint(
        "\"timestamp\" >= '1000-01-01 00:00:00+00' AND \"timestamp\" < '9999-01-01 00:00:00+00'",
        name="audit_logs_timestamp_has_four_digit_year",
    ),
    CheckConstraint("log_entry_id <> ''", name="audit_logs_log_entry_id_is_given"),
    CheckConstraint(
        "octet_length(log_entry_id) <= 2048 AND octet_length(user_id) <= 2048 AND octet_length(action) <= 2048",
        name="audit_logs_indexed_texts_fit",
    ),
    CheckConstraint("NOT audit_json_is_too_deep(metadata)", name="audit_logs_metadata_is_not_too_deep"),
    CheckConstraint(
        "audit_entry_fits(log_entry_id, user_id, action, resource_type, resource_id, result, metadata)",
        name="audit_logs_entry_fits",
    ),
    CheckConstraint("\"timestamp\" <= created_at + interval '5 minutes'", name="audit_logs_timestamp_not_in_future"),
    CheckConstraint("commitment IS NULL", name="audit_logs_is_not_blinded"),
    Index("idx_audit_logs_user_id", "user_id"),
    Index("idx_audit_logs_timestamp", "timestamp"),
    Index("idx_audit_logs_action", "action"),
    Index("idx_audit_logs_tx_id", "tx_id", postgresql_using="brin"),
    postgresql_partition_by='RANGE ("timestamp")',
)

audit_quarantine = Table(
    "audit_quarantine",
    metadata,
    Column("id", BigInteger, nullable=False),
    Column("timestamp", TIMESTAMP(timezone=True), nullable=False),
    Column("day", Date, Computed("((\"timestamp\" AT TIME ZONE 'UTC'::text))::date", persisted=True), nullable=False),
    Column("tx_id", BigInteger, nullable=False),
    Column("log_entry_id", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("quarantined_at", TIMESTAMP(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    PrimaryKeyConstraint("id", "timestamp", name="audit_quarantine_pkey"),
    Index("idx_audit_quarantine_day", "day"),
)

ledger_clusters = Table(
    "ledger_clusters",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("system_identifier", BigInteger, nullable=False),
    Column("tx_offset", BigInteger, nullable=False),
    Column("adopted_at", TIMESTAMP(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    Column("adopted_by", Text, nullable=False, server_default=text("session_user")),
)

ledger_segments = Table(
    "ledger_segments",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("day", Date, nullable=False),
    Column("tx_from", BigInteger, nullable=False),
    Column("tx_to", BigInteger, nullable=False),
    Column("first_id", BigInteger, nullable=False),
    Column("last_id", BigInteger, nullable=False),
    Column("entry_count", BigInteger, nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("sealed_at", TIMESTAMP(timezone=True), nullable=False),
    CheckConstraint("tx_from < tx_to", name="ledger_segments_tx_range"),
    CheckConstraint("entry_count > 0", name="ledger_segments_not_empty"),
    CheckConstraint("octet_length(root) = 32", name="ledger_segments_root_is_sha256"),
    UniqueConstraint("day", "tx_from", name="ledger_segments_day_tx_from_key"),
)

ledger_statements = Table(
    "ledger_statements",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("record", LargeBinary, nullable=False),
    CheckConstraint("octet_length(record) BETWEEN 25 AND 65535", name="ledger_statements_record_fits"),
    Index("idx_ledger_statements_kind", text("get_byte(record, 0)"), "seq"),
)

ledger_checkpoints = Table(
    "ledger_checkpoints",
    metadata,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("root", LargeBinary, nullable=False),
    Column("tx_horizon", BigInteger, nullable=False),
    Column("frontier", LargeBinary, nullable=False),
    Column("note", Text, nullable=False),
    Column("signed_at", TIMESTAMP(timezone=True), nullable=False),
    CheckConstraint("octet_length(root) = 32", name="ledger_checkpoints_root_is_sha256"),
)

ledger_publications = Table(
    "ledger_publications",
    metadata,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("object_key", Text, nullable=False),
    Column("published_at", TIMESTAMP(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    ForeignKeyConstraint(["size"], ["ledger_checkpoints.size"], name="ledger_publications_size_fkey"),
)

archived_audit_logs = Table(
    "archived_audit_logs",
    metadata,
    Column("day", Date, nullable=False),
    Column("part", Integer, nullable=False),
    Column("archive_location", Text, nullable=False),
    Column("object_key", Text, nullable=False),
    Column("object_sha256", Text, nullable=False),
    Column("object_bytes", BigInteger, nullable=False),
    Column("manifest_key", Text, nullable=False),
    Column("manifest_sha256", Text, nullable=False),
    Column("entry_count", BigInteger, nullable=False),
    Column("canonical_bytes", BigInteger, nullable=False),
    Column("first_id", BigInteger, nullable=False),
    Column("last_id", BigInteger, nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("encryption", JSONB),
    Column("archived_at", TIMESTAMP(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    Column("verified_at", TIMESTAMP(timezone=True)),
    Column("purged_at", TIMESTAMP(timezone=True)),
    Column("expired_at", TIMESTAMP(timezone=True)),
    Column("verified_store", Uuid),
    Column("object_version", Text),
    Column("manifest_version", Text),
    PrimaryKeyConstraint("day", "part", name="archived_audit_logs_pkey"),
    UniqueConstraint("object_key", name="archived_audit_logs_object_key_key"),
    UniqueConstraint("manifest_key", name="archived_audit_logs_manifest_key_key"),
    CheckConstraint("part > 0", name="archived_audit_logs_part_is_positive"),
    CheckConstraint("purged_at IS NULL OR verified_at IS NOT NULL", name="archived_audit_logs_verified_before_purged"),
    CheckConstraint("expired_at IS NULL OR purged_at IS NOT NULL", name="archived_audit_logs_purged_before_expired"),
    Index("idx_archived_audit_logs_not_purged", "day", postgresql_where=text("purged_at IS NULL")),
    Index(
        "idx_archived_audit_logs_totals",
        "day",
        postgresql_include=("entry_count", "object_bytes", "canonical_bytes", "expired_at"),
    ),
)

archived_segments = Table(
    "archived_segments",
    metadata,
    Column("segment_seq", BigInteger, primary_key=True, autoincrement=False),
    Column("day", Date, nullable=False),
    Column("part", Integer, nullable=False),
    ForeignKeyConstraint(["segment_seq"], ["ledger_segments.seq"], name="archived_segments_segment_seq_fkey"),
    ForeignKeyConstraint(
        ["day", "part"], ["archived_audit_logs.day", "archived_audit_logs.part"], name="archived_segments_part_fkey"
    ),
    Index("idx_archived_segments_day_part", "day", "part"),
)

object_keys = Table(
    "object_keys",
    metadata,
    Column("object_key", Text(collation="C"), nullable=False),
    Column("key_id", Text, nullable=False),
    Column("key_encryption_key", Text, nullable=False),
    Column("wrapped", LargeBinary),
    Column("wrapped_at", TIMESTAMP(timezone=True), nullable=False),
    Column("destroyed_at", TIMESTAMP(timezone=True)),
    Column("destruction_reason", Text),
    PrimaryKeyConstraint("object_key", name="object_keys_pkey"),
    CheckConstraint("(wrapped IS NULL) = (destroyed_at IS NOT NULL)", name="object_keys_destroyed_is_gone"),
    CheckConstraint("(destroyed_at IS NULL) = (destruction_reason IS NULL)", name="object_keys_destroyed_for_a_reason"),
)

archive_backlog = Table(
    "archive_backlog",
    metadata,
    Column("day", Date, primary_key=True),
    Column("segments", BigInteger, nullable=False),
    Column("entries", BigInteger, nullable=False),
)

archive_store_holds = Table(
    "archive_store_holds",
    metadata,
    Column("key", Text, primary_key=True),
    Column("wanted_at", TIMESTAMP(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    Column("set_at", TIMESTAMP(timezone=True)),
)

archive_search_filters = Table(
    "archive_search_filters",
    metadata,
    Column("object_key", Text(collation="C"), nullable=False),
    Column("column_name", Text, nullable=False),
    Column("row_group", Integer, nullable=False),
    Column("row_groups", Integer, nullable=False),
    Column("distinct_values", Integer, nullable=False),
    Column("bits", LargeBinary, nullable=False),
    Column("mac", LargeBinary, nullable=False),
    PrimaryKeyConstraint("object_key", "column_name", "row_group", name="archive_search_filters_pkey"),
)

archive_scrubs = Table(
    "archive_scrubs",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("day", Date, nullable=False),
    Column("part", Integer, nullable=False),
    Column("store_id", Uuid, nullable=False),
    Column("object_bytes", BigInteger, nullable=False),
    Column("damage", JSONB),
    Column("read_at", TIMESTAMP(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    ForeignKeyConstraint(
        ["day", "part"], ["archived_audit_logs.day", "archived_audit_logs.part"], name="archive_scrubs_part_fkey"
    ),
    Index("idx_archive_scrubs_part", "day", "part", "id"),
    Index("idx_archive_scrubs_read_at", "read_at"),
)

archive_repairs = Table(
    "archive_repairs",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("day", Date, nullable=False),
    Column("part", Integer, nullable=False),
    Column("source", Text, nullable=False),
    Column("replaced", JSONB, nullable=False),
    Column("repaired_at", TIMESTAMP(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    ForeignKeyConstraint(
        ["day", "part"], ["archived_audit_logs.day", "archived_audit_logs.part"], name="archive_repairs_part_fkey"
    ),
    Index("idx_archive_repairs_part", "day", "part"),
)

audit_purges = Table(
    "audit_purges",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("day", Date, nullable=False),
    Column("parts", ARRAY(Integer), nullable=False),
    Column("entry_count", BigInteger, nullable=False),
    Column("hot_bytes", BigInteger, nullable=False),
    Column("purged_at", TIMESTAMP(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    Index("idx_audit_purges_day", "day"),
)

conversation_purges = Table(
    "conversation_purges",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("day", Date, nullable=False),
    Column("judged_at", TIMESTAMP(timezone=True), nullable=False),
    Column("cutoff", TIMESTAMP(timezone=True), nullable=False),
    Column("selection", JSONB, nullable=False),
    Column("policy", JSONB, nullable=False),
    Column("keys_seen", BigInteger, nullable=False),
    Column("threads_seen", BigInteger, nullable=False),
    Column("threads_due", BigInteger, nullable=False),
    Column("threads_held", BigInteger, nullable=False),
    Column("threads_exempt", BigInteger, nullable=False),
    Column("threads_undated", BigInteger, nullable=False),
    Column("orphan_keys", BigInteger, nullable=False),
    Column("confirmed", BigInteger),
    Column("planned_at", TIMESTAMP(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    Column("store_id", Uuid),
    Column("checkpoint_prefix", Text),
    Column("write_prefix", Text),
    Index("idx_conversation_purges_day", "day"),
)

conversation_purge_work = Table(
    "conversation_purge_work",
    metadata,
    Column("purge_id", BigInteger, nullable=False),
    Column("number", Integer, nullable=False),
    Column("thread_hash", Text),
    Column("user_hashes", ARRAY(Text), nullable=False),
    Column("oldest_activity", TIMESTAMP(timezone=True)),
    Column("newest_activity", TIMESTAMP(timezone=True)),
    Column("content", LargeBinary, nullable=False),
    PrimaryKeyConstraint("purge_id", "number", name="conversation_purge_work_pkey"),
    ForeignKeyConstraint(["purge_id"], ["conversation_purges.id"], name="conversation_purge_work_purge_id_fkey"),
)

conversation_purge_attempts = Table(
    "conversation_purge_attempts",
    metadata,
    Column("purge_id", BigInteger, nullable=False),
    Column("last_number", Integer, nullable=False),
    Column("attempted_at", TIMESTAMP(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    PrimaryKeyConstraint("purge_id", "last_number", name="conversation_purge_attempts_pkey"),
    ForeignKeyConstraint(["purge_id"], ["conversation_purges.id"], name="conversation_purge_attempts_purge_id_fkey"),
)

conversation_purged_threads = Table(
    "conversation_purged_threads",
    metadata,
    Column("purge_id", BigInteger, nullable=False),
    Column("number", Integer, nullable=False),
    Column("thread_hash", Text),
    Column("user_hashes", ARRAY(Text), nullable=False),
    Column("outcome", Text, nullable=False),
    Column("key_counts", JSONB, nullable=False),
    Column("bytes_freed", BigInteger),
    Column("oldest_activity", TIMESTAMP(timezone=True)),
    Column("newest_activity", TIMESTAMP(timezone=True)),
    Column("removed_at", TIMESTAMP(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    PrimaryKeyConstraint("purge_id", "number", name="conversation_purged_threads_pkey"),
    ForeignKeyConstraint(["purge_id"], ["conversation_purges.id"], name="conversation_purged_threads_purge_id_fkey"),
    CheckConstraint(
        "outcome IN ('deleted', 'moved', 'held', 'gone', 'abandoned')",
        name="conversation_purged_threads_outcome_is_known",
    ),
    Index("idx_conversation_purged_threads_thread_hash", "thread_hash"),
)

conversation_purged_sets = Table(
    "conversation_purged_sets",
    metadata,
    Column("purge_id", BigInteger, primary_key=True, autoincrement=False),
    Column("day", Date, nullable=False),
    Column("cutoff", TIMESTAMP(timezone=True), nullable=False),
    Column("threads_deleted", BigInteger, nullable=False),
    Column("threads_moved", BigInteger, nullable=False),
    Column("threads_held", BigInteger, nullable=False),
    Column("threads_gone", BigInteger, nullable=False),
    Column("threads_resurrected", BigInteger, nullable=False),
    Column("orphan_keys_left", BigInteger, nullable=False),
    Column("key_counts", JSONB, nullable=False),
    Column("bytes_freed", BigInteger, nullable=False),
    Column("bytes_unknown", BigInteger, nullable=False),
    Column("oldest_activity", TIMESTAMP(timezone=True)),
    Column("newest_activity", TIMESTAMP(timezone=True)),
    Column("seconds", Double, nullable=False),
    Column("log_entry_id", Text, nullable=False),
    Column("recorded_at", TIMESTAMP(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    Column("threads_abandoned", BigInteger, nullable=False, server_default=text("0")),
    ForeignKeyConstraint(["purge_id"], ["conversation_purges.id"], name="conversation_purged_sets_purge_id_fkey"),
    Index("idx_conversation_purged_sets_day", "day"),
)

session_purges = Table(
    "session_purges",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("day", Date, nullable=False),
    Column("judged_at", TIMESTAMP(timezone=True), nullable=False),
    Column("session_cutoff", TIMESTAMP(timezone=True)),
    Column("memory_cutoff", TIMESTAMP(timezone=True)),
    Column("policy", JSONB, nullable=False),
    Column("sessions_seen", BigInteger, nullable=False),
    Column("memories_seen", BigInteger, nullable=False),
    Column("keys_unreadable", BigInteger, nullable=False),
    Column("keys_due", BigInteger, nullable=False),
    Column("keys_held", BigInteger, nullable=False),
    Column("keys_exempt", BigInteger, nullable=False),
    Column("keys_undated", BigInteger, nullable=False),
    Column("confirmed", BigInteger),
    Column("planned_at", TIMESTAMP(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    Index("idx_session_purges_day", "day"),
)

session_purge_work = Table(
    "session_purge_work",
    metadata,
    Column("purge_id", BigInteger, nullable=False),
    Column("number", Integer, nullable=False),
    Column("place", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("key_hash", Text, nullable=False),
    Column("user_hash", Text),
    Column("oldest_use", TIMESTAMP(timezone=True)),
    Column("newest_use", TIMESTAMP(timezone=True)),
    Column("content", LargeBinary, nullable=False),
    PrimaryKeyConstraint("purge_id", "number", name="session_purge_work_pkey"),
    ForeignKeyConstraint(["purge_id"], ["session_purges.id"], name="session_purge_work_purge_id_fkey"),
)

session_purge_attempts = Table(
    "session_purge_attempts",
    metadata,
    Column("purge_id", BigInteger, nullable=False),
    Column("last_number", Integer, nullable=False),
    Column("attempted_at", TIMESTAMP(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    PrimaryKeyConstraint("purge_id", "last_number", name="session_purge_attempts_pkey"),
    ForeignKeyConstraint(["purge_id"], ["session_purges.id"], name="session_purge_attempts_purge_id_fkey"),
)

session_purged_keys = Table(
    "session_purged_keys",
    metadata,
    Column("purge_id", BigInteger, nullable=False),
    Column("number", Integer, nullable=False),
    Column("place", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("key_hash", Text, nullable=False),
    Column("user_hash", Text),
    Column("oldest_use", TIMESTAMP(timezone=True)),
    Column("newest_use", TIMESTAMP(timezone=True)),
    Column("outcome", Text, nullable=False),
    Column("bytes_freed", BigInteger),
    Column("removed_at", TIMESTAMP(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    PrimaryKeyConstraint("purge_id", "number", name="session_purged_keys_pkey"),
    ForeignKeyConstraint(["purge_id"], ["session_purges.id"], name="session_purged_keys_purge_id_fkey"),
    CheckConstraint(
        "outcome IN ('deleted', 'moved', 'held', 'gone', 'left')", name="session_purged_keys_outcome_is_known"
    ),
    Index("idx_session_purged_keys_key_hash", "key_hash"),
)

session_purged_sets = Table(
    "session_purged_sets",
    metadata,
    Column("purge_id", BigInteger, primary_key=True, autoincrement=False),
    Column("day", Date, nullable=False),
    Column("session_cutoff", TIMESTAMP(timezone=True)),
    Column("memory_cutoff", TIMESTAMP(timezone=True)),
    Column("keys_deleted", BigInteger, nullable=False),
    Column("keys_moved", BigInteger, nullable=False),
    Column("keys_held", BigInteger, nullable=False),
    Column("keys_gone", BigInteger, nullable=False),
    Column("keys_left", BigInteger, nullable=False),
    Column("keys_back", BigInteger, nullable=False),
    Column("key_counts", JSONB, nullable=False),
    Column("bytes_freed", BigInteger, nullable=False),
    Column("oldest_use", TIMESTAMP(timezone=True)),
    Column("newest_use", TIMESTAMP(timezone=True)),
    Column("seconds", Double, nullable=False),
    Column("log_entry_id", Text, nullable=False),
    Column("recorded_at", TIMESTAMP(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    ForeignKeyConstraint(["purge_id"], ["session_purges.id"], name="session_purged_sets_purge_id_fkey"),
    Index("idx_session_purged_sets_day", "day"),
)

legal_holds = Table(
    "legal_holds",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("scope", Text, nullable=False),
    Column("subject", Text),
    Column("first_day", Date),
    Column("last_day", Date),
    Column("reason", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("added_at", TIMESTAMP(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    CheckConstraint("scope IN ('user', 'thread', 'days', 'everything')", name="legal_holds_scope_is_known"),
    CheckConstraint("(scope IN ('user', 'thread')) = (subject IS NOT NULL)", name="legal_holds_subject_of_scope"),
    CheckConstraint(
        "CASE WHEN scope = 'days'"
        " THEN first_day IS NOT NULL AND last_day IS NOT NULL AND isfinite(first_day) AND isfinite(last_day)"
        " AND first_day <= last_day"
        " ELSE first_day IS NULL AND last_day IS NULL END",
        name="legal_holds_days_of_scope",
    ),
    CheckConstraint("btrim(reason) <> ''", name="legal_holds_reason_is_given"),
    CheckConstraint("btrim(author) <> ''", name="legal_holds_author_is_given"),
)

legal_hold_releases = Table(
    "legal_hold_releases",
    metadata,
    Column("hold_id", BigInteger, primary_key=True, autoincrement=False),
    Column("reason", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("released_at", TIMESTAMP(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    ForeignKeyConstraint(["hold_id"], ["legal_holds.id"], name="legal_hold_releases_hold_id_fkey"),
    CheckConstraint("btrim(reason) <> ''", name="legal_hold_releases_reason_is_given"),
    CheckConstraint("btrim(author) <> ''", name="legal_hold_releases_author_is_given"),
)

archive_hold_looks = Table(
    "archive_hold_looks",
    metadata,
    Column("hold_id", BigInteger, nullable=False),
    Column("object_key", Text, nullable=False),
    Column("touched", Boolean, nullable=False),
    Column("looked_at", TIMESTAMP(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    PrimaryKeyConstraint("hold_id", "object_key", name="archive_hold_looks_pkey"),
    ForeignKeyConstraint(["hold_id"], ["legal_holds.id"], name="archive_hold_looks_hold_id_fkey"),
)

erasure_requests = Table(
    "erasure_requests",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("requested_by", Text, nullable=False),
    Column("received_at", TIMESTAMP(timezone=True), nullable=False),
    Column("deadline", Date, nullable=False),
    Column("replay_of", BigInteger),
    Column("recorded_at", TIMESTAMP(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    ForeignKeyConstraint(["replay_of"], ["erasure_requests.id"], name="erasure_requests_replay_of_fkey"),
    CheckConstraint("user_id <> ''", name="erasure_requests_user_id_is_given"),
    CheckConstraint("btrim(reason) <> ''", name="erasure_requests_reason_is_given"),
    CheckConstraint("btrim(requested_by) <> ''", name="erasure_requests_requested_by_is_given"),
    CheckConstraint("isfinite(received_at) AND isfinite(deadline)", name="erasure_requests_times_are_finite"),
    Index("idx_erasure_requests_user_id", "user_id"),
)

erasure_events = Table(
    "erasure_events",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("request_id", BigInteger, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("target", Text),
    Column("detail", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("recorded_at", TIMESTAMP(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    ForeignKeyConstraint(["request_id"], ["erasure_requests.id"], name="erasure_events_request_id_fkey"),
    CheckConstraint(
        "kind IN ('started', 'found', 'deleted', 'held', 'failed', 'verified', 'ended', 'identified', 'noted',"
        " 'asked_again', 'extended', 'corrected', 'withdrawn', 'refused')",
        name="erasure_events_kind_is_known",
    ),
    CheckConstraint(
        "attempt > 0 OR (attempt = 0 AND kind IN"
        " ('identified', 'noted', 'asked_again', 'extended', 'corrected', 'withdrawn', 'refused'))",
        name="erasure_events_attempt_of_kind",
    ),
    CheckConstraint(
        "CASE WHEN kind = 'held' THEN true"
        " ELSE (target IS NOT NULL) = (kind IN ('found', 'deleted', 'failed', 'verified')) END",
        name="erasure_events_target_of_kind",
    ),
    Index("idx_erasure_events_request_id", "request_id", "id"),
    Index("erasure_events_extended_once", "request_id", unique=True, postgresql_where=text("kind = 'extended'")),
)

erasure_closures = Table(
    "erasure_closures",
    metadata,
    Column("request_id", BigInteger, primary_key=True, autoincrement=False),
    Column("result", Text, nullable=False),
    Column("log_entry_id", Text, nullable=False),
    Column("entry_timestamp", TIMESTAMP(timezone=True), nullable=False),
    Column("statement", Text, nullable=False),
    Column("closed_at", TIMESTAMP(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    ForeignKeyConstraint(["request_id"], ["erasure_requests.id"], name="erasure_closures_request_id_fkey"),
    CheckConstraint(
        "result IN ('success', 'partial', 'withdrawn', 'refused')", name="erasure_closures_result_is_known"
    ),
    UniqueConstraint("log_entry_id", name="erasure_closures_log_entry_id_key"),
)

audit_environment = Table(
    "audit_environment",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False, server_default=text("1")),
    Column("environment_id", Uuid, nullable=False, server_default=text("gen_random_uuid()")),
    Column("made_at", TIMESTAMP(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    Column("made_by", Text, nullable=False, server_default=text("session_user")),
    CheckConstraint("number = 1", name="audit_environment_is_one"),
)

audit_store = Table(
    "audit_store",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False, server_default=text("1")),
    Column("store_id", Uuid, nullable=False),
    Column("ledger_key", Text, nullable=False),
    Column("location", Text, nullable=False),
    Column("bound_at", TIMESTAMP(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    Column("bound_by", Text, nullable=False, server_default=text("session_user")),
    CheckConstraint("number = 1", name="audit_store_is_one"),
)
