"""Damage to rows in PostgreSQL."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from tests.integration.verification.damages.damage import (
    Damage,
    all_of,
    first,
    forged_row,
    on,
    sql,
)
from tests.integration.verification.world import ARCHIVED, HOT, OTHER_ARCHIVED

HOT_ROWS: Final = [
    Damage(
        "an entry is altered in the hot store",
        sql(f"UPDATE audit_logs SET result = 'denied' WHERE {first(HOT)}"),
        ["entry_altered"],
        [],
        "at least one of the 6 entries of segment 3 was altered",
    ),
    Damage(
        "the metadata of an archived entry is altered in the hot store",
        sql(f"UPDATE audit_logs SET metadata = '{{}}' WHERE {first(ARCHIVED)}"),
        ["entry_altered"],
        [],
        "at least one of the 10 entries of segment 2 was altered",
    ),
    Damage(
        "an entry gets another nonce",
        sql(f"UPDATE audit_logs SET nonce = gen_random_uuid() WHERE {first(HOT)}"),
        ["entry_altered"],
        [],
        "at least one of the 6 entries of segment 3 was altered",
    ),
    Damage(
        "an entry loses its nonce",
        all_of(
            sql("ALTER TABLE audit_logs ALTER COLUMN nonce DROP NOT NULL"),
            sql(f"UPDATE audit_logs SET nonce = NULL WHERE {first(HOT)}"),
        ),
        ["entry_altered", "entry_altered"],
        [],
        "1 entry was blinded, which nothing in this version does or reads",
    ),
    *(
        Damage(
            f"an entry gets a commitment, {what}",
            all_of(
                sql("ALTER TABLE audit_logs DROP CONSTRAINT audit_logs_is_not_blinded"),
                sql(f"UPDATE audit_logs SET commitment = {commitment} WHERE {first(HOT)}"),
            ),
            ["entry_altered", "entry_altered"],
            [],
            "1 entry was blinded, which nothing in this version does or reads",
        )
        for what, commitment in (("of 32 bytes", "sha256('')"), ("of one byte", "'\\x00'"))
    ),
    Damage(
        "an entry is deleted",
        sql(f"DELETE FROM audit_logs WHERE {first(HOT)}"),
        ["entry_deleted"],
        [],
        "1 entry was deleted from segment 3, which had 6",
    ),
    Damage(
        "an entry is inserted into a sealed range",
        forged_row(HOT, "tx_id", HOT),
        ["entry_inserted"],
        [],
        "1 entry was inserted into segment 3, which had 6",
    ),
    Damage(
        "an entry is inserted below the horizon where no segment of its day is",
        forged_row(HOT, 1, HOT),
        ["entry_inserted"],
        [],
        "1 entry was outside every segment inserted (forged)",
    ),
    Damage(
        "an entry is inserted below the horizon on a day that has no segment",
        forged_row(HOT + timedelta(days=1), 1, HOT),
        ["entry_inserted"],
        [],
        "1 entry was outside every segment inserted (forged)",
    ),
    Damage(
        "an entry is inserted into a purged segment",
        forged_row(OTHER_ARCHIVED, 1, HOT),
        ["entry_inserted"],
        [],
        "1 entry was inserted into segments whose entries were purged (forged)",
    ),
    Damage(
        "an entry is moved to another day",
        sql(f'UPDATE audit_logs SET "timestamp" = "timestamp" + interval \'1 day\' WHERE {first(HOT)}'),
        ["entry_deleted", "entry_inserted"],
        [],
        "1 entry was deleted from segment 3",
    ),
    Damage(
        "an entry is moved out of all time",
        all_of(
            sql("ALTER TABLE audit_logs DROP CONSTRAINT audit_logs_timestamp_not_in_future"),
            sql("ALTER TABLE audit_logs DROP CONSTRAINT audit_logs_timestamp_is_finite"),
            sql("ALTER TABLE audit_logs DROP CONSTRAINT audit_logs_timestamp_has_four_digit_year"),
            sql(f"UPDATE audit_logs SET \"timestamp\" = 'infinity' WHERE {first(HOT)}"),
        ),
        ["entry_deleted", "entry_inserted"],
        [],
        "entries were inserted whose timestamp is on no day",
    ),
    Damage(
        "an entry is inserted in a way that no sealing ever takes it",
        forged_row(HOT, 2**61, HOT),
        ["entry_inserted"],
        [],
        "under a transaction id that was never given out, so that none is ever sealed (forged)",
    ),
    Damage(
        "all entries of an archived day are deleted from the hot store",
        sql(f"DELETE FROM audit_logs WHERE {on(ARCHIVED)}"),
        ["entry_deleted"],
        [],
        "in PostgreSQL, all 17 entries that must be there were deleted",
    ),
    Damage(
        "a whole day is missing from the hot store, where alone it was",
        sql(f"DROP TABLE audit_logs_{HOT:%Y_%m_%d}"),
        ["day_missing"],
        [],
        "nothing is left of its 10 sealed entries",
    ),
    Damage(
        "the partition of a day is taken out of the table",
        sql(f"ALTER TABLE audit_logs_{HOT:%Y_%m} DETACH PARTITION audit_logs_{HOT:%Y_%m_%d}"),
        ["day_missing"],
        [],
        "nothing is left of its 10 sealed entries",
    ),
]
