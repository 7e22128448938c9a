"""An archived day comes back as it was, verified while it is loaded, into a table of its own."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy
from sqlalchemy import text

from compliance_pipelines.archive import restore
from compliance_pipelines.archive.errors import RestoreError
from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.manifest import parse_manifest
from compliance_pipelines.archive.parquet import PartLabel, PartWriter
from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.archive.readback import PartDamagedError
from compliance_pipelines.archive.restore import drop_restored, restore_day
from compliance_pipelines.archive.restored_tables import default_table, restored_tables
from compliance_pipelines.audit_log.entry import ENTRY_SCHEMA
from compliance_pipelines.base.errors import TransientError
from compliance_pipelines.postgres.engine import create_engine
from tests.integration.archive.days import entry, overwrite

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from compliance_pipelines.archive.catalogue import ArchivedPart
    from compliance_pipelines.audit_log.entry import JsonValue
    from compliance_pipelines.services import Services
    from tests.conftest import MovableClock
    from tests.integration.archive.days import Days, Row

_COLUMNS = """
    SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute
    WHERE attrelid = CAST(:name AS regclass) AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""


@pytest.fixture
def archived(services: Services, days: Days, day: date) -> list[Row]:
    """The rows of the day, which is archived in two parts."""
    days.append(day, 10)
    archive_day(services, day)
    days.append(day, 4)
    archive_day(services, day)
    return days.hot_rows(day)


def tables(services: Services) -> list[str]:
    with services.engine.connect() as connection:
        return restored_tables(connection)


def test_a_purged_day_comes_back_exactly_as_it_was(
    services: Services, days: Days, day: date, archived: list[Row], clock: MovableClock
) -> None:
    clock.advance(days=8)
    purge_day(services, day)
    result = restore_day(services, day)
    assert (result.day, result.table, result.parts, result.entry_count) == (
        day,
        f"audit_restored.audit_logs_{day:%Y_%m_%d}",
        (1, 2),
        14,
    )
    assert days.table_rows(result.table, day) == archived
    assert days.hot_rows(day) == []


def test_the_table_has_the_columns_of_the_hot_store(
    services: Services, days: Days, day: date, archived: list[Row]
) -> None:
    table = restore_day(services, day).table
    assert len(days.table_rows(table, day)) == len(archived)
    assert days.execute(_COLUMNS, name=table) == days.execute(_COLUMNS, name="audit_logs")


def test_every_kind_of_value_survives(services: Services, days: Days, day: date) -> None:
    texts = ["\\N", "\\", "\t", "\n", "\r\n", "\\.", "'\"", "\u2028\u0001\x7f", "ä€😀", ""]
    entries = [entry(day, number, result=each, user_id=each, resource_type=each) for number, each in enumerate(texts)]
    values: list[JsonValue] = [None, {}, [], "null", 1e300, -0.0, 10**40, {"\\": "\n\t\\N"}, "x" * 1_000_000]
    entries += [entry(day, 50 + number, metadata=each) for number, each in enumerate(values)]
    days.append_entries(day, entries)
    archive_day(services, day)
    assert days.table_rows(restore_day(services, day).table, day) == days.hot_rows(day)


def test_a_restore_can_be_repeated_and_brings_what_came_since(
    services: Services, days: Days, day: date, archived: list[Row]
) -> None:
    first = restore_day(services, day)
    assert days.table_rows(first.table, day) == archived
    days.append(day, 1)
    archive_day(services, day)
    assert restore_day(services, day).entry_count == 15
    assert days.table_rows(first.table, day) == days.hot_rows(day)
    assert days.audit_actions(day) == ["audit.archive"] * 2 + ["audit.restore"] + ["audit.archive", "audit.restore"]


def test_it_is_on_record_in_the_same_transaction(
    services: Services, days: Days, day: date, archived: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    restore_day(services, day, "evidence")
    (*_, (action, metadata)) = days.audit_records(day)
    assert (action, metadata) == (
        "audit.restore",
        {"parts": [1, 2], "entry_count": len(archived), "table": "audit_restored.evidence"},
    )

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the record cannot be made")

    monkeypatch.setattr(restore, "restore_entry", fail)
    with pytest.raises(RuntimeError):
        restore_day(services, day, "another")
    assert tables(services) == ["evidence"]


def test_a_day_can_be_restored_into_several_tables_and_they_are_dropped_one_by_one_or_all(
    services: Services, days: Days, day: date, archived: list[Row]
) -> None:
    assert drop_restored(services) == ()
    for name in (None, "for_the_auditor", "copy_2", "copy_3"):
        assert days.table_rows(restore_day(services, day, name).table, day) == archived
    assert tables(services) == sorted([default_table(day), "copy_2", "copy_3", "for_the_auditor"])
    assert drop_restored(services, "copy_2") == ("copy_2",)
    with pytest.raises(RestoreError, match=r"there is no restored table 'copy_2'; there are: .*copy_3"):
        drop_restored(services, "copy_2")
    assert drop_restored(services) == tuple(sorted([default_table(day), "copy_3", "for_the_auditor"]))
    assert tables(services) == []
    assert days.hot_rows(day) == archived


@pytest.mark.usefixtures("archived")
def test_a_name_that_would_need_quotes_is_refused(services: Services, day: date) -> None:
    for name in ("", "Upper", "a-b", "a.b", 'a"; DROP TABLE audit_logs; --', "x" * 64, "1st", "ä"):
        with pytest.raises(RestoreError, match="cannot be the name of a restored table"):
            restore_day(services, day, name)
    assert restore_day(services, day, "_" + "x" * 62).entry_count == 14


def test_a_day_without_an_archive_cannot_be_restored(services: Services, days: Days, day: date) -> None:
    days.append(day, 2)
    with pytest.raises(RestoreError, match=f"{day} has no archive"):
        restore_day(services, day)
    assert tables(services) == []


@pytest.mark.usefixtures("archived")
def test_a_day_that_expired_cannot_be_restored(services: Services, days: Days, day: date) -> None:
    days.execute("UPDATE archived_audit_logs SET purged_at = now(), expired_at = now() WHERE part = 1")
    with pytest.raises(RestoreError, match="its part 1 expired"):
        restore_day(services, day)


@pytest.mark.usefixtures("archived")
def test_a_damaged_part_loads_nothing_and_leaves_the_table_as_it_was(services: Services, days: Days, day: date) -> None:
    table = restore_day(services, day).table
    before = days.table_rows(table, day), days.audit_actions(day)
    for number, path in enumerate(days.objects(day), 1):
        data = path.read_bytes()
        overwrite(path, data[:500] + bytes([data[500] ^ 1]) + data[501:])
        with pytest.raises(PartDamagedError, match=f"part {number} of {day} is damaged"):
            restore_day(services, day)
        with pytest.raises(PartDamagedError):
            restore_day(services, day, "another")
        assert (days.table_rows(table, day), days.audit_actions(day)) == before
        assert tables(services) == [default_table(day)]
        overwrite(path, data)


def test_rows_that_only_their_root_gives_away_load_nothing(
    services: Services, days: Days, day: date, tmp_path: Path
) -> None:
    """Somebody with the bucket, the database and the signing key altered a row: everything fits but the ledger."""
    days.append(day, 10)
    (part,) = archive_day(services, day).parts
    forge(services, days, part, tmp_path / "forged")
    loaded: list[int] = []
    with pytest.raises(PartDamagedError, match="does not hold what was sealed: at least one of the 10 entries"):
        restore_day(services, day, progress=lambda _phase, rows, _total: loaded.append(rows))
    assert loaded == [10]
    assert tables(services) == []
    assert days.audit_actions(day) == ["audit.archive"]


def forge(services: Services, days: Days, part: ArchivedPart, path: Path) -> None:
    (stored,) = days.objects(part.day)
    (manifest_file,) = days.manifests(part.day)
    rows = pq.read_table(stored).to_pylist()
    rows[4]["result"] = "denied"
    with PartWriter(path, PartLabel.of(part.day, part.part, part.root), len(rows)) as writer:
        writer.write(pa.RecordBatch.from_pylist(rows, schema=ENTRY_SCHEMA))
        written = writer.finish()
    manifest = parse_manifest(manifest_file.read_bytes(), services.verifier_key, name="manifest")
    forged = replace(manifest, object_sha256=written.sha256, object_bytes=written.size)
    overwrite(stored, path.read_bytes())
    overwrite(manifest_file, forged.to_bytes(services.signing_key))
    days.execute(
        "UPDATE archived_audit_logs SET object_sha256 = :object, object_bytes = :size, manifest_sha256 = :manifest",
        object=written.sha256,
        size=written.size,
        manifest=hashlib.sha256(manifest_file.read_bytes()).hexdigest(),
    )


@pytest.mark.usefixtures("archived")
def test_progress_is_told_part_by_part(services: Services, day: date) -> None:
    told: list[tuple[str, int, int]] = []
    restore_day(services, day, progress=lambda phase, rows, total: told.append((phase, rows, total)))
    assert told == [("restore", 10, 10), ("restore", 4, 4)]


def test_an_auditor_reads_a_restored_table_and_can_neither_change_nor_drop_it(
    services: Services, days: Days, day: date, archived: list[Row], reader_database_url: str
) -> None:
    table = restore_day(services, day).table
    reader = create_engine(reader_database_url, pool_size=1)
    try:
        with reader.connect() as connection:
            assert connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() == len(archived)
        for statement in (f"DELETE FROM {table}", f"DROP TABLE {table}", "CREATE TABLE audit_restored.x ()"):
            with pytest.raises(sqlalchemy.exc.ProgrammingError), reader.begin() as connection:
                connection.execute(text(statement))
    finally:
        reader.dispose()
    assert days.table_rows(table, day) == archived


@pytest.mark.usefixtures("archived")
def test_a_table_of_somebody_else_is_neither_replaced_nor_dropped(services: Services, days: Days, day: date) -> None:
    days.execute("CREATE TABLE audit_restored.theirs (a int)")
    days.execute("CREATE VIEW audit_restored.a_view AS SELECT 1 AS a")
    for name in ("theirs", "a_view"):
        with pytest.raises(RestoreError, match=f"{name} cannot be made or dropped: .*another table with --into"):
            restore_day(services, day, name)
    with pytest.raises(RestoreError, match="theirs cannot be made or dropped"):
        drop_restored(services)
    assert tables(services) == ["theirs"]


@pytest.mark.usefixtures("archived")
def test_a_table_that_is_being_read_is_not_waited_for_long(
    services: Services, day: date, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restore, "BRIEF", timedelta(milliseconds=50))
    table = restore_day(services, day).table
    with services.engine.connect() as reader:
        reader.execute(text(f"SELECT count(*) FROM {table}"))
        with pytest.raises(TransientError, match=f"the restore of {day} into .* had to stop: .*lock timeout"):
            restore_day(services, day)
        with pytest.raises(TransientError, match="dropping restored tables had to stop"):
            drop_restored(services)
