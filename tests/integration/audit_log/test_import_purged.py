"""Lines of days that left PostgreSQL are compared with the archive."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.audit_log import import_staging
from compliance_pipelines.audit_log.refusals import ImportRefusedError
from compliance_pipelines.base.errors import ComplianceError
from tests.integration.audit_log.entries import MOMENT, entry, ids, stored
from tests.integration.audit_log.import_files import line, lines, moved, write
from tests.support.sealing import seal_all

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    import sqlalchemy

    from compliance_pipelines.audit_log.importing import ImportResult
    from compliance_pipelines.services import Services
    from tests.conftest import MovableClock
    from tests.support.command import Command

    Import = Callable[..., ImportResult]

DAY = MOMENT.date()


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
        def of_day(self, _connection: sqlalchemy.Connection, day: date) -> Asked:
            self.day = day
            return self

        def present(self, log_entry_ids: Collection[str]) -> dict[str, datetime]:
            assert log_entry_ids
            asked.append(self.day)
            return {}

    far = [line(entry(number, timestamp=MOMENT + timedelta(days=30))) for number in (70, 71)]
    importing(write(tmp_path / "far", far), archived_ids=Asked())
    assert asked == []
    importing(write(tmp_path / "near", [line(entry(72, timestamp=MOMENT + timedelta(days=1)))]), archived_ids=Asked())
    assert asked == [DAY]


def test_the_command_needs_neither_the_signing_key_nor_the_public_one(
    command: Command, purged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LEDGER_SIGNING_KEY")
    assert command("import", purged).out.startswith(f"{purged}: 0 new entries, 8 repeated, of ")
