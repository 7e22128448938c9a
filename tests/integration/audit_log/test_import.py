"""A file is imported as a whole or not at all."""

from __future__ import annotations

import gzip
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from compliance_pipelines.audit_log.import_progress import ImportPhase
from compliance_pipelines.audit_log.importing import ImportResult
from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.audit_log.refusals import ImportRefusedError
from tests.integration.audit_log.entries import MOMENT, entry, ids, stored
from tests.integration.audit_log.import_files import exact, line, lines, own_entries, write

if TYPE_CHECKING:
    from collections.abc import Callable

    import sqlalchemy

    from compliance_pipelines.audit_log.entry import JsonValue
    from compliance_pipelines.services import Services
    from tests.support.command import Command

    Import = Callable[..., ImportResult]

DAY = MOMENT.date()
SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"


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
    values: list[JsonValue] = [None, [], "", 0, False, {"a": None}]
    content = [line(entry(number, metadata=value)) for number, value in enumerate(values)]
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
