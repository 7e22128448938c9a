"""The names by which Dagster's storage knows the project's assets, checks and pool.

Here: keys, which must not change once runs are recorded under them. Not here: any definition.
"""

from __future__ import annotations

from typing import Final

from dagster import AssetCheckKey, AssetKey

AUDIT_LOGS: Final = AssetKey(["audit", "audit_logs"])
AUDIT_LOG_PARTITIONS: Final = AssetKey(["audit", "audit_log_partitions"])
HOT_PARTITION: Final = AssetKey(["audit", "hot_partition"])
COLD_ARCHIVE: Final = AssetKey(["audit", "cold_archive"])
HOT_PURGE: Final = AssetKey(["audit", "hot_purge"])
ARCHIVE_EXPIRY: Final = AssetKey(["audit", "archive_expiry"])
STORE_HOLDS: Final = AssetKey(["audit", "store_holds"])
ARCHIVE_SCRUB: Final = AssetKey(["audit", "archive_scrub"])
CHECKPOINT: Final = AssetKey(["ledger", "checkpoint"])

ROWS_MATCH_LEDGER: Final = AssetCheckKey(HOT_PARTITION, "rows_match_ledger")

MANIFEST_SIGNATURE: Final = AssetCheckKey(COLD_ARCHIVE, "manifest_signature")
CHECKSUM: Final = AssetCheckKey(COLD_ARCHIVE, "checksum")
SCHEMA: Final = AssetCheckKey(COLD_ARCHIVE, "schema")
ENTRY_COUNT: Final = AssetCheckKey(COLD_ARCHIVE, "entry_count")
CONTENT: Final = AssetCheckKey(COLD_ARCHIVE, "content")
READ_BACK: Final = (MANIFEST_SIGNATURE, CHECKSUM, SCHEMA, ENTRY_COUNT, CONTENT)

# None of these is about one day. They belong to assets without partitions: a run of a day would take them along.
NO_DAY_TO_ARCHIVE_OVERDUE: Final = AssetCheckKey(AUDIT_LOGS, "no_day_to_archive_overdue")
NO_DAY_TO_PURGE_OVERDUE: Final = AssetCheckKey(AUDIT_LOGS, "no_day_to_purge_overdue")
NO_DAY_TO_EXPIRE_OVERDUE: Final = AssetCheckKey(AUDIT_LOGS, "no_day_to_expire_overdue")
NO_LARGE_DAY_IN_DEFAULT_PARTITIONS: Final = AssetCheckKey(AUDIT_LOG_PARTITIONS, "no_large_day_in_default_partitions")
RUNWAY: Final = AssetCheckKey(AUDIT_LOG_PARTITIONS, "runway")
SEALING: Final = AssetCheckKey(CHECKPOINT, "sealing")
SEALING_LAG: Final = AssetCheckKey(CHECKPOINT, "sealing_lag")
WITNESSES: Final = AssetCheckKey(CHECKPOINT, "witnesses")
TIME_STAMPS: Final = AssetCheckKey(CHECKPOINT, "time_stamps")
STORE_HOLDS_AS_OURS: Final = AssetCheckKey(STORE_HOLDS, "same_as_ours")
COLD_STORE: Final = AssetCheckKey(CHECKPOINT, "cold_store_keeps_its_promises")
ARCHIVE_KEYS: Final = AssetCheckKey(CHECKPOINT, "keys_of_archives_are_on_record_twice")
ARCHIVES_READ_BACK: Final = AssetCheckKey(ARCHIVE_SCRUB, "archives_read_back_in_time_and_whole")
SEARCH_INDEX: Final = AssetCheckKey(ARCHIVE_SCRUB, "archives_have_search_filters")
HEALTH: Final = (
    NO_DAY_TO_ARCHIVE_OVERDUE,
    NO_DAY_TO_PURGE_OVERDUE,
    NO_DAY_TO_EXPIRE_OVERDUE,
    NO_LARGE_DAY_IN_DEFAULT_PARTITIONS,
    RUNWAY,
    SEALING,
    SEALING_LAG,
    WITNESSES,
    TIME_STAMPS,
    COLD_STORE,
    ARCHIVE_KEYS,
    STORE_HOLDS_AS_OURS,
    ARCHIVES_READ_BACK,
    SEARCH_INDEX,
)

# The days' way out of PostgreSQL and into the cold store is one group: of two, each would come after the other.
RETENTION_GROUP: Final = "audit_retention"

DATABASE_POOL: Final = "audit_database"
OWNERS: Final = ("team:compliance",)
