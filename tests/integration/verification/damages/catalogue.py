"""Damage to the catalogue of archives."""

from __future__ import annotations

from typing import Final

from tests.integration.verification.damages.damage import (
    Damage,
    all_of,
    on,
    remove_part,
    sql,
)
from tests.integration.verification.world import ARCHIVED, HOT, OTHER_ARCHIVED

CATALOGUE: Final = [
    Damage(
        "the row of a part is altered",
        sql("UPDATE archived_audit_logs SET object_bytes = object_bytes + 1 WHERE day = :day", day=ARCHIVED),
        ["catalogue_altered"],
        [],
        "the catalogue's row of part 1",
    ),
    Damage(
        "the keys of a part are altered",
        sql("UPDATE archived_audit_logs SET manifest_key = 'x', object_key = 'y' WHERE day = :day", day=ARCHIVED),
        ["catalogue_altered", "manifest_missing", "object_missing", "part_unknown"],
        [],
        "its keys are not those of its day, number and root",
    ),
    Damage(
        "a segment is taken out of its part",
        sql("DELETE FROM archived_segments WHERE segment_seq = 4"),
        ["catalogue_altered", "catalogue_altered"],
        [],
        "archived_segments gives it segment 2, and it holds 2, 4",
    ),
    Damage(
        "a segment that was deleted is said to be in a purged part",
        all_of(
            sql(
                f"DELETE FROM audit_logs WHERE {on(HOT)} AND tx_id < (SELECT tx_to FROM ledger_segments WHERE seq = 3)"
            ),
            sql("INSERT INTO archived_segments (segment_seq, day, part) VALUES (3, :day, 1)", day=OTHER_ARCHIVED),
        ),
        ["catalogue_altered", "catalogue_altered", "entry_deleted"],
        [],
        "6 entries were deleted from segment 3",
    ),
    Damage(
        "a segment is said to be in a part that does not exist",
        sql("INSERT INTO archived_segments (segment_seq, day, part) VALUES (3, :day, 5)", day=HOT),
        ["catalogue_altered", "catalogue_altered"],
        [],
        f"archived_segments speaks of part 5 of {HOT}, which the catalogue does not have",
    ),
    Damage(
        "a day that waits to be archived is said not to",
        sql("DELETE FROM archive_backlog WHERE day = :day", day=HOT),
        ["catalogue_altered"],
        [],
        f"archive_backlog counts 0 segments with 0 entries of {HOT} that wait to be archived, and ",
    ),
    Damage(
        "days that nobody knows are said to wait to be archived",
        sql("INSERT INTO archive_backlog VALUES ('1999-01-01', 3, 30)"),
        ["catalogue_altered"],
        [],
        "archive_backlog counts 3 segments with 30 entries of 1999-01-01 that wait to be archived, and 0 with 0 do",
    ),
    Damage(
        "the catalogue forgets a purged part",
        all_of(
            sql("DELETE FROM archived_segments WHERE day = :day", day=OTHER_ARCHIVED),
            sql("DELETE FROM archived_audit_logs WHERE day = :day", day=OTHER_ARCHIVED),
        ),
        ["catalogue_altered", "catalogue_altered"],
        [],
        "is committed, its entries left PostgreSQL, and the catalogue does not have it any more",
    ),
    Damage(
        "a part is said to have expired before its time",
        all_of(
            sql("UPDATE archived_audit_logs SET expired_at = now() WHERE day = :day", day=OTHER_ARCHIVED),
            remove_part(OTHER_ARCHIVED),
        ),
        ["catalogue_altered"],
        [],
        "has expired, and it is to be kept until",
    ),
    Damage(
        "a part is said to be purged, and its entries are there",
        sql("UPDATE archived_audit_logs SET purged_at = now() WHERE day = :day", day=ARCHIVED),
        ["entry_inserted"],
        [],
        "17 entries were inserted into segments whose entries were purged",
    ),
    Damage(
        "manifest and record of what a part holds are both gone",
        all_of(
            sql("DELETE FROM archived_segments WHERE day = :day", day=ARCHIVED),
            lambda world: world.remove(world.manifest_path(ARCHIVED)),
        ),
        ["catalogue_altered", "catalogue_altered", "manifest_missing"],
        ["manifest_missing"],
        "archived_segments gives it segment none, and it holds 2, 4",
        "is missing from the cold store",
    ),
]
