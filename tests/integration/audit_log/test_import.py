"""A file is imported as a whole or not at all, or all of it but the lines that are kept beside."""

from __future__ import annotations

import gzip
import hashlib
import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.lookup import ArchivedIds
from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.audit_log import import_staging
from compliance_pipelines.audit_log.import_progress import ImportPhase
from compliance_pipelines.audit_log.importing import ImportResult, import_file
from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.audit_log.partitions import PartitionBusyError, strays
from compliance_pipelines.audit_log.refusals import ImportRefusedError
from compliance_pipelines.audit_log.rejects import reasons_path
from compliance_pipelines.errors import ComplianceError
from tests.integration.audit_log.entries import MOMENT, entry, ids, stored
from tests.integration.audit_log.import_files import exact, line, lines, write
from tests.sealing import seal_all

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    import sqlalchemy

    from compliance_pipelines.audit_log.entry import AuditEntry
    from compliance_pipelines.services import Services
    from tests.conftest import MovableClock
    from tests.integration.audit_log.command import Command

    Import = Callable[..., ImportResult]

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
DAY = MOMENT.date()


@pytest.fixture
def importing(services: Services) -> Import:
    """Import a file as the command does."""

    def run(file: Path, **options: Any) -> ImportResult:  # noqa: ANN401
        return import_file(
            services.engine,
            file,
            **{
                "actor": "pipelines",
                "first_day": date(2015, 1, 1),
                "archived_ids": ArchivedIds(services),
                **options,
            },
        )

    return run


def own_entries(engine: sqlalchemy.Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(
            connection.execute(
                text(
                    "SELECT user_id, resource_type, resource_id, result, metadata FROM audit_logs"
                    " WHERE action = 'audit.import' ORDER BY id"
                )
            )
        )


def partitions(engine: sqlalchemy.Engine) -> set[str]:
    with engine.connect() as connection:
        found = connection.execute(
            text("SELECT relid::regclass::text FROM pg_partition_tree('audit_logs') WHERE isleaf")
        )
        return set(found.scalars())


def test_a_file_is_imported_in_its_order_and_once(importing: Import, tmp_path: Path, engine: sqlalchemy.Engine) -> None:
    file = write(tmp_path / "events.jsonl", lines(range(50)))
    assert importing(file) == ImportResult(new=50, repeated=0, refused=0, first_day=DAY, last_day=DAY)
    assert stored(engine) == [entry(number) for number in range(50)]
    assert importing(file) == ImportResult(new=0, repeated=50, refused=0, first_day=DAY, last_day=DAY)
    assert stored(engine) == [entry(number) for number in range(50)]


def test_gzip_is_told_by_its_content(importing: Import, tmp_path: Path, engine: sqlalchemy.Engine) -> None:
    assert importing(write(tmp_path / "events.jsonl", lines([1, 2]), zipped=True)).new == 2
    assert importing(write(tmp_path / "events.gz", lines([3]))).new == 1
    assert ids(stored(engine)) == ["entry-1", "entry-2", "entry-3"]


def test_blank_lines_are_passed_over_and_counted_as_lines(importing: Import, tmp_path: Path) -> None:
    content = ["", *lines([1]), "  \t", "{}"]
    with pytest.raises(ImportRefusedError, match="line 4: the field log_entry_id is missing"):
        importing(write(tmp_path / "events", content))
    assert importing(write(tmp_path / "events", content[:3])).new == 1


def test_an_empty_file_is_an_import_of_nothing(importing: Import, tmp_path: Path, engine: sqlalchemy.Engine) -> None:
    assert importing(write(tmp_path / "events", [])) == ImportResult(0, 0, 0, None, None)
    assert own_entries(engine)[0].metadata["first_day"] is None


@pytest.mark.parametrize(
    "digits",
    ["0.10000000000000000000000001", "12345678901234567890123456789012345678901234567890", "1.50", "-0.000", "3E-30"],
)
def test_numbers_keep_every_digit(importing: Import, tmp_path: Path, engine: sqlalchemy.Engine, digits: str) -> None:
    importing(write(tmp_path / "events", [line(exact(1, digits))]))
    with engine.connect() as connection:
        same, written = connection.execute(
            text("""
                SELECT (metadata->'n')::text = CAST(:digits AS numeric)::text, (metadata->'n')::text FROM audit_logs
                WHERE log_entry_id = 'entry-1'
            """),
            {"digits": digits},
        ).one()
    assert same, written


def test_metadata_may_be_missing_null_or_anything(importing: Import, tmp_path: Path, engine: sqlalchemy.Engine) -> None:
    content = [
        line(entry(number, metadata=value)) for number, value in enumerate([None, [], "", 0, False, {"a": None}])
    ]
    importing(write(tmp_path / "events", content))
    assert [each.metadata for each in stored(engine)] == [None, "[]", '""', "0", "false", '{"a": null}']


def test_repeats_within_the_file_and_with_the_database_are_counted(
    importing: Import, services: Services, tmp_path: Path
) -> None:
    AuditLog(services.engine).append_many([entry(1), entry(2)])
    result = importing(write(tmp_path / "events", lines([1, 2, 3, 3, 4, 3])))
    assert (result.new, result.repeated, result.refused) == (2, 4, 0)
    assert ids(stored(services.engine)) == ["entry-1", "entry-2", "entry-3", "entry-4"]


def test_the_import_itself_is_on_record_with_the_files_hash(
    importing: Import, tmp_path: Path, engine: sqlalchemy.Engine
) -> None:
    file = write(tmp_path / "events.jsonl.gz", [*lines([1, 2, 2]), "rubbish"], zipped=True)
    importing(file, rejects=tmp_path / "rejects")
    (record,) = own_entries(engine)
    assert record[:4] == ("pipelines", "audit_file", "events.jsonl.gz", "partial")
    assert record.metadata == {
        "file_sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "file_bytes": file.stat().st_size,
        "new": 2,
        "repeated": 1,
        "refused": 1,
        "first_day": "2025-10-01",
        "last_day": "2025-10-01",
    }


def test_an_import_without_refused_lines_is_a_success_on_record(
    importing: Import, tmp_path: Path, engine: sqlalchemy.Engine
) -> None:
    importing(write(tmp_path / "events", lines([1])), rejects=tmp_path / "rejects")
    assert own_entries(engine)[0].result == "success"
    assert not (tmp_path / "rejects").exists()


# Partitions


def test_the_days_of_the_file_get_their_partitions_and_no_others(
    importing: Import, tmp_path: Path, engine: sqlalchemy.Engine
) -> None:
    before = partitions(engine)
    content = [line(entry(number, timestamp=MOMENT + timedelta(days=100 * number))) for number in range(3)]
    result = importing(write(tmp_path / "events", content))
    assert (result.first_day, result.last_day) == (DAY, DAY + timedelta(days=200))
    made = {f"audit_logs_{day}" for day in ("2025_10_01", "2026_01_09", "2026_04_19")}
    months = {f"audit_logs_{month}_default" for month in ("2025_10", "2026_01", "2026_04")}
    assert partitions(engine) - before == made | months
    with engine.connect() as connection:
        assert [stray.partition for stray in strays(connection) if stray.partition != "audit_logs_default"] == []


def test_strays_do_not_stand_in_the_way_of_their_days_partition(
    importing: Import, services: Services, tmp_path: Path
) -> None:
    AuditLog(services.engine).append(entry(1))
    assert importing(write(tmp_path / "events", lines([1, 2]))).new == 1
    with services.engine.connect() as connection:
        rows = connection.execute(
            text("SELECT tableoid::regclass::text FROM audit_logs WHERE action <> 'audit.import'")
        )
        assert set(rows.scalars()) == {"audit_logs_2025_10_01"}


def test_a_refused_file_makes_no_partitions(importing: Import, tmp_path: Path, engine: sqlalchemy.Engine) -> None:
    before = partitions(engine)
    with pytest.raises(ImportRefusedError):
        importing(write(tmp_path / "events", [*lines([1]), "rubbish"]))
    assert partitions(engine) == before


def test_live_traffic_is_given_way_to_and_then_the_import_goes_on(
    importing: Import, superuser_engine: sqlalchemy.Engine, tmp_path: Path
) -> None:
    file = write(tmp_path / "events", lines([1]))
    with superuser_engine.connect() as busy:
        busy.execute(text("LOCK TABLE audit_logs IN SHARE MODE"))
        waits: list[float] = []

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            busy.rollback()

        assert importing(file, sleep=sleep).new == 1
    assert waits == [1.0]


def test_live_traffic_that_never_ends_stops_the_import_with_nothing_done(
    importing: Import, superuser_engine: sqlalchemy.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compliance_pipelines.audit_log.partitions.LOCK_TIMEOUT", "20ms")
    waits: list[float] = []
    with superuser_engine.connect() as busy:
        busy.execute(text("LOCK TABLE audit_logs IN SHARE MODE"))
        with pytest.raises(PartitionBusyError, match="run it again"):
            importing(write(tmp_path / "events", lines([1])), sleep=waits.append)
    assert waits == [1.0, 2.0, 4.0, 8.0]
    assert stored(superuser_engine) == []


def test_others_append_and_read_while_a_file_is_stored(
    importing: Import, services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert = import_staging.StagedLines.insert

    def look_meanwhile(staged: import_staging.StagedLines) -> int | None:
        new = insert(staged)
        with services.engine.begin() as connection:
            connection.execute(text("SET LOCAL lock_timeout = '2s'"))
            assert connection.execute(text("SELECT count(*) FROM audit_logs")).scalar_one() == 0
        AuditLog(services.engine).append(entry(100, timestamp=MOMENT - timedelta(days=700)))
        return new

    monkeypatch.setattr(import_staging.StagedLines, "insert", look_meanwhile)
    assert importing(write(tmp_path / "events", lines([1, 2]))).new == 2


# Refused lines

FUTURE = (datetime.now(UTC) + timedelta(minutes=10)).isoformat()
REFUSED = {
    "bad JSON": ("{rubbish", "it is not JSON"),
    "missing field": ('{"log_entry_id": "x"}', "the field timestamp is missing"),
    "unknown field": (line(entry(1))[:-1] + ', "ip": 1}', "the field 'ip' is unknown"),
    "bad time": (line(entry(1)).replace("2025-10-01T", "2025-13-01T"), "is no moment"),
    "naive time": (line(entry(1)).replace("+00:00", ""), "not of the form"),
    "NUL in text": (line(entry(1)).replace("alice", "a\\u0000b"), "NUL"),
    "NUL in metadata": (line(entry(1)).replace("latency_ms", "\\u0000"), "NUL"),
    "NUL itself": (line(entry(1)).replace("alice", "a\0b"), "it is not JSON"),
    "too long": (line(entry(1)) + " " * 2**20, "it is longer than 1,048,576 bytes"),
    "before the first day": (line(entry(1, timestamp=datetime(2014, 1, 1, tzinfo=UTC))), "set AUDIT_LOG_FIRST_DAY"),
    "in the future": (line(entry(1, timestamp=datetime.fromisoformat(FUTURE))), "more than 5 minutes in the future"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_refused_line_stops_the_import_with_its_number_and_the_reason(
    importing: Import, tmp_path: Path, engine: sqlalchemy.Engine, kind: str
) -> None:
    bad, reason = REFUSED[kind]
    file = write(tmp_path / "events", [*lines([1, 2]), bad, *lines([3])])
    with pytest.raises(ImportRefusedError) as caught:
        importing(file)
    assert caught.value.count == 1
    (refused,) = caught.value.lines
    assert refused.number == 3
    assert reason in refused.reason
    assert "Nothing was imported" in str(caught.value)
    assert stored(engine) == []
    assert own_entries(engine) == []


@pytest.mark.parametrize("kind", REFUSED)
def test_with_rejects_the_line_is_kept_unchanged_and_the_rest_is_imported(
    importing: Import, tmp_path: Path, engine: sqlalchemy.Engine, kind: str
) -> None:
    bad, reason = REFUSED[kind]
    rejects = tmp_path / "rejects"
    result = importing(write(tmp_path / "events", [*lines([1, 2]), bad, *lines([3])]), rejects=rejects)
    assert (result.new, result.repeated, result.refused) == (3, 0, 1)
    assert rejects.read_bytes() == f"{bad}\n".encode()
    (why,) = map(json.loads, reasons_path(rejects).read_text().splitlines())
    assert why["line"] == 3
    assert reason in why["reason"]
    assert ids(stored(engine)) == ["entry-1", "entry-2", "entry-3"]


def test_a_line_that_is_not_utf_8_is_kept_as_it_is(importing: Import, tmp_path: Path) -> None:
    bad = line(entry(1)).encode().replace(b"alice", b"al\xffce") + b"\r\n"
    (tmp_path / "events").write_bytes(bad)
    with pytest.raises(ImportRefusedError, match="line 1: it is not UTF-8: invalid start byte at byte "):
        importing(tmp_path / "events")
    importing(tmp_path / "events", rejects=tmp_path / "rejects")
    assert (tmp_path / "rejects").read_bytes() == bad


def test_many_refused_lines_are_all_counted_and_the_first_ones_named(importing: Import, tmp_path: Path) -> None:
    with pytest.raises(ImportRefusedError) as caught:
        importing(write(tmp_path / "events", ["x"] * 1234 + lines([1])))
    assert caught.value.count == 1234
    assert [refused.number for refused in caught.value.lines] == list(range(1, 11))
    assert "1,234 lines are refused, of which 10 are: line 1: it is not JSON" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_kept_lines_that_were_set_right_are_imported(
    importing: Import, tmp_path: Path, engine: sqlalchemy.Engine
) -> None:
    rejects = tmp_path / "rejects"
    importing(write(tmp_path / "events", [*lines([1]), line(entry(2)).replace("success", "\\u0000")]), rejects=rejects)
    rejects.write_text(rejects.read_text().replace("\\u0000", "success"))
    assert importing(rejects).new == 1
    assert stored(engine) == [entry(1), entry(2)]


def test_rejects_that_are_there_already_are_not_replaced(
    importing: Import, tmp_path: Path, engine: sqlalchemy.Engine
) -> None:
    (tmp_path / "rejects").write_text("kept")
    with pytest.raises(ComplianceError, match="rejects exists"):
        importing(write(tmp_path / "events", [*lines([1]), "x"]), rejects=tmp_path / "rejects")
    assert (tmp_path / "rejects").read_text() == "kept"
    assert stored(engine) == []


# The same id at another time


def moved(number: int, **offset: float) -> AuditEntry:
    return replace(entry(number), timestamp=entry(number).timestamp + timedelta(**offset))


@pytest.mark.parametrize("offset", [{"seconds": 1}, {"days": 3}, {"days": -300}])
def test_an_id_at_another_time_in_the_file_is_refused_from_the_second_line_on(
    importing: Import, tmp_path: Path, engine: sqlalchemy.Engine, offset: dict[str, float]
) -> None:
    content = [*lines([1, 2]), line(moved(1, **offset)), *lines([1]), line(moved(1, hours=7))]
    file = write(tmp_path / "events", content)
    with pytest.raises(ImportRefusedError) as caught:
        importing(file)
    assert [refused.number for refused in caught.value.lines] == [3, 5]
    assert f"'entry-1' stands at {entry(1).timestamp.isoformat()} in line 1 and at " in str(caught.value)
    assert stored(engine) == []

    result = importing(file, rejects=tmp_path / "rejects")
    assert (result.new, result.repeated, result.refused) == (2, 1, 2)
    assert (tmp_path / "rejects").read_text() == f"{content[2]}\n{content[4]}\n"
    assert stored(engine) == [entry(1), entry(2)]


@pytest.mark.parametrize("offset", [{"seconds": 1}, {"days": 3}, {"days": -300}])
def test_an_id_at_another_time_in_the_database_is_refused(
    importing: Import, services: Services, tmp_path: Path, offset: dict[str, float]
) -> None:
    AuditLog(services.engine).append(entry(1))
    file = write(tmp_path / "events", [line(moved(1, **offset)), *lines([1, 2])])
    with pytest.raises(ImportRefusedError) as caught:
        importing(file)
    assert [refused.number for refused in caught.value.lines] == [1]
    assert f"'entry-1' stands at {entry(1).timestamp.isoformat()} in the audit log and at " in str(caught.value)
    assert stored(services.engine) == [entry(1)]

    result = importing(file, rejects=tmp_path / "rejects")
    assert (result.new, result.repeated, result.refused) == (1, 1, 1)
    assert (tmp_path / "rejects").read_text() == f"{line(moved(1, **offset))}\n"
    assert stored(services.engine) == [entry(1), entry(2)]


def test_refusals_of_every_kind_are_counted_together(importing: Import, services: Services, tmp_path: Path) -> None:
    AuditLog(services.engine).append(entry(1))
    content = [line(moved(1, hours=1)), "rubbish", *lines([2]), line(moved(2, hours=1)), line(moved(1, hours=2))]
    with pytest.raises(ImportRefusedError) as caught:
        importing(write(tmp_path / "events", content))
    assert [refused.number for refused in caught.value.lines] == [1, 2, 4, 5]
    assert caught.value.count == 4


class OneByOne:
    """What becomes of lines that are appended one after the other: the promise that an import is held to."""

    def __init__(self, present: list[AuditEntry]) -> None:
        self.times = {each.log_entry_id: each.timestamp for each in present}
        self.new: list[str] = []
        self.repeated = 0
        self.refused: list[str] = []

    def take(self, text: str, each: AuditEntry | None) -> None:
        if each is None or self.times.get(each.log_entry_id, each.timestamp) != each.timestamp:
            self.refused.append(text)
        elif each.log_entry_id in self.times:
            self.repeated += 1
        else:
            self.times[each.log_entry_id] = each.timestamp
            self.new.append(each.log_entry_id)


some_entries = st.builds(moved, st.integers(0, 4), hours=st.sampled_from([0, 0, 0, 1, 30]))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    present=st.lists(st.integers(0, 4).map(entry), unique_by=lambda each: each.log_entry_id, max_size=3),
    content=st.lists(some_entries | st.none(), max_size=12),
)
def test_a_file_does_what_its_lines_would_do_one_by_one(
    importing: Import,
    superuser_engine: sqlalchemy.Engine,
    tmp_path: Path,
    present: list[AuditEntry],
    content: list[AuditEntry | None],
) -> None:
    with superuser_engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text("DELETE FROM audit_logs"))
    for path in tmp_path.glob("rejects*"):
        path.unlink()
    AuditLog(superuser_engine).append_many(present)
    expected = OneByOne(present)
    for each in content:
        expected.take("rubbish" if each is None else line(each), each)

    file = write(tmp_path / "events", ["rubbish" if each is None else line(each) for each in content])
    result = importing(file, rejects=tmp_path / "rejects")

    assert (result.new, result.repeated, result.refused) == (
        len(expected.new),
        expected.repeated,
        len(expected.refused),
    )
    assert {each.log_entry_id: each.timestamp for each in stored(superuser_engine)} == expected.times
    kept = (tmp_path / "rejects").read_text().splitlines() if expected.refused else []
    assert sorted(kept) == sorted(expected.refused)


# Purged days


@pytest.fixture
def purged(services: Services, importing: Import, tmp_path: Path, clock: MovableClock) -> Path:
    """A file whose first day was archived and purged after its import, and whose second is hot."""
    tomorrow = [entry(number, timestamp=MOMENT + timedelta(days=1, seconds=number)) for number in range(10, 13)]
    file = write(tmp_path / "events", [*lines(range(5)), *map(line, tomorrow)])
    importing(file)
    seal_all(services)
    archive_day(services, DAY)
    clock.advance(days=8)
    purge_day(services, DAY)
    assert len(stored(services.engine)) > 0
    return file


@pytest.mark.parametrize("at_once", [100_000, 2])
def test_a_file_stays_imported_when_a_day_of_it_is_purged(
    importing: Import, purged: Path, engine: sqlalchemy.Engine, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(import_staging, "_IDS_AT_ONCE", at_once)
    before = ids(stored(engine))
    result = importing(purged)
    assert (result.new, result.repeated, result.refused) == (0, 8, 0)
    assert ids(stored(engine)) == before


def test_a_late_entry_of_a_purged_day_is_new(
    importing: Import, purged: Path, tmp_path: Path, engine: sqlalchemy.Engine
) -> None:
    result = importing(write(tmp_path / "late", lines([3, 4, 5])))
    assert (result.new, result.repeated) == (1, 2)
    assert "entry-5" in ids(stored(engine))


@pytest.mark.parametrize("offset", [{"seconds": 1}, {"days": 1}, {"days": -1}])
def test_an_id_at_another_time_in_the_archive_is_refused(
    importing: Import, purged: Path, tmp_path: Path, engine: sqlalchemy.Engine, offset: dict[str, float]
) -> None:
    before = ids(stored(engine))
    file = write(tmp_path / "late", [*lines([3, 5]), line(moved(3, **offset))])
    with pytest.raises(ImportRefusedError) as caught:
        importing(file)
    assert [refused.number for refused in caught.value.lines] == [3]
    assert "'entry-3' stands at another time in the archive of 2025-10-01" in str(caught.value)
    assert ids(stored(engine)) == before

    result = importing(file, rejects=tmp_path / "rejects")
    assert (result.new, result.repeated, result.refused) == (1, 1, 1)
    assert (tmp_path / "rejects").read_text() == f"{line(moved(3, **offset))}\n"


def test_an_archive_that_cannot_be_read_stops_the_import(
    importing: Import, services: Services, purged: Path, tmp_path: Path
) -> None:
    before = ids(stored(services.engine))
    for path in (tmp_path / "cold").rglob("*.parquet"):
        path.unlink()
    with pytest.raises(ComplianceError):
        importing(purged)
    assert ids(stored(services.engine)) == before


def test_a_day_that_is_purged_while_the_file_is_stored_makes_no_doubles(
    importing: Import, services: Services, purged: Path, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert = import_staging.StagedLines.insert
    calls: list[int] = []

    def purge_first(staged: import_staging.StagedLines) -> int | None:
        calls.append(1)
        if len(calls) == 1:
            archive_day(services, DAY + timedelta(days=1))
            clock.advance(days=8)
            purge_day(services, DAY + timedelta(days=1))
        return insert(staged)

    monkeypatch.setattr(import_staging.StagedLines, "insert", purge_first)
    assert importing(purged).repeated == 8
    assert len(calls) == 2
    assert stored(services.engine) == [] or all(each.user_id != "alice" for each in stored(services.engine))


def test_archives_are_asked_only_about_purged_days(importing: Import, purged: Path, tmp_path: Path) -> None:
    asked: list[date] = []

    class Asked:
        def present(self, day: date, log_entry_ids: Collection[str]) -> dict[str, datetime]:
            assert log_entry_ids
            asked.append(day)
            return {}

    far = [line(entry(number, timestamp=MOMENT + timedelta(days=30))) for number in (70, 71)]
    importing(write(tmp_path / "far", far), archived_ids=Asked())
    assert asked == []
    importing(write(tmp_path / "near", [line(entry(72, timestamp=MOMENT + timedelta(days=1)))]), archived_ids=Asked())
    assert asked == [DAY]


# Progress, real data, the command


def test_progress_counts_the_bytes_of_the_file(importing: Import, tmp_path: Path) -> None:
    told: list[tuple[ImportPhase, int, int | None]] = []
    file = write(tmp_path / "events", lines(range(2000)), zipped=True)
    importing(file, progress=lambda *each: told.append(each))
    size = file.stat().st_size
    reads = [(done, total) for phase, done, total in told if phase is ImportPhase.READ]
    assert reads[-1] == (size, size)
    assert reads == sorted(reads)
    assert [phase for phase, _, _ in told][-2:] == [ImportPhase.CHECK, ImportPhase.STORE]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the public data sets are not beside the checkout")
@pytest.mark.parametrize(
    ("name", "count", "days"),
    [("cloudtrail-2023-07", 2900, 1), ("s3-honeybucket-2020-2022", 301, 218), ("stratus-2024", 310, 8)],
)
def test_real_events_come_in_whole_and_unchanged(
    command: Command, services: Services, name: str, count: int, days: int
) -> None:
    file = SHARED / f"{name}.jsonl.gz"
    done = command("import", file)
    assert done.status == 0
    assert done.out.startswith(f"{file}: {count:,} new entries, 0 repeated, of ")
    with gzip.open(file, "rt", encoding="utf-8") as content:
        expected = {event["log_entry_id"]: event for event in map(json.loads, content)}
    entries = stored(services.engine)
    assert len({each.timestamp.date() for each in entries}) == days
    assert len(entries) == len(expected) == count
    for each in entries:
        event = expected[each.log_entry_id]
        assert datetime.fromisoformat(event["timestamp"]) == each.timestamp
        assert json.loads(each.metadata_text or "null") == event["metadata"]
        for field in ("user_id", "action", "resource_type", "resource_id", "result"):
            assert event[field] == getattr(each, field)
    assert command("import", file).out.startswith(f"{file}: 0 new entries, {count:,} repeated, of ")


def test_the_command_says_what_it_did_and_where_refused_lines_are(command: Command, tmp_path: Path) -> None:
    file = write(tmp_path / "events", [*lines([1, 2, 2]), "rubbish"])
    rejects = tmp_path / "rejects.jsonl"
    done = command("import", file, "--rejects", rejects)
    assert done.status == 0
    assert done.out == (
        f"{file}: 2 new entries, 1 repeated, of 2025-10-01 to 2025-10-01; 1 lines refused, which are in {rejects}, "
        f"with reasons in {rejects}.reasons.jsonl\n"
    )


def test_the_command_names_a_refused_line_in_one_line_and_exits_1(command: Command, tmp_path: Path) -> None:
    file = write(tmp_path / "events", [*lines([1, 2]), "rubbish"])
    failed = command("import", file)
    assert (failed.status, failed.out) == (1, "")
    assert failed.err == (
        f"compliance: {file}: 1 line is refused: line 3: it is not JSON: Expecting '{{' at character 1. Nothing was "
        "imported: set them right, or give --rejects PATH to import the rest\n"
    )


def test_the_command_needs_neither_the_signing_key_nor_the_public_one(
    command: Command, purged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LEDGER_SIGNING_KEY")
    assert command("import", purged).out.startswith(f"{purged}: 0 new entries, 8 repeated, of ")


def test_the_command_takes_the_settings(command: Command, services: Services, tmp_path: Path) -> None:
    file = write(tmp_path / "events", [line(entry(1, timestamp=datetime(2001, 1, 1, tzinfo=UTC)))])
    assert "AUDIT_LOG_FIRST_DAY" in command("import", file).err
    command.set(AUDIT_LOG_FIRST_DAY="2000-01-01", AUDIT_LOG_ACTOR="importer")
    assert command("import", file).status == 0
    assert own_entries(services.engine)[0].user_id == "importer"


@pytest.mark.parametrize("name", ["missing", "."])
def test_a_file_that_cannot_be_opened_is_one_line(command: Command, tmp_path: Path, name: str) -> None:
    failed = command("import", tmp_path / name)
    assert failed.status == 1
    assert len(failed.err.strip().splitlines()) == 1
    assert "cannot be opened" in failed.err
