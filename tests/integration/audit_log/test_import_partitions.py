"""An import makes tables for days that need one, no others, and gives way to live traffic."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from compliance_pipelines.audit_log import import_staging, partitions
from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.audit_log.partitions import PartitionBusyError
from compliance_pipelines.audit_log.refusals import ImportRefusedError
from tests.integration.audit_log.entries import MOMENT, entry, stored
from tests.integration.audit_log.import_files import line, lines, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import sqlalchemy

    from compliance_pipelines.audit_log.importing import ImportResult
    from compliance_pipelines.services import Services

    Import = Callable[..., ImportResult]

DAY = MOMENT.date()


def leaves(engine: sqlalchemy.Engine) -> set[str]:
    with engine.connect() as connection:
        found = connection.execute(
            text("SELECT relid::regclass::text FROM pg_partition_tree('audit_logs') WHERE isleaf")
        )
        return set(found.scalars())


@pytest.fixture
def dense(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two entries make a day dense."""
    monkeypatch.setattr(partitions, "DENSE_DAY_ENTRIES", 2)


def test_a_file_of_few_entries_a_day_makes_no_tables(
    importing: Import, tmp_path: Path, engine: sqlalchemy.Engine
) -> None:
    before = leaves(engine)
    content = [line(entry(number, timestamp=MOMENT + timedelta(days=100 * number))) for number in range(3)]
    result = importing(write(tmp_path / "events", content))
    assert (result.new, result.first_day, result.last_day) == (3, DAY, DAY + timedelta(days=200))
    assert leaves(engine) == before


@pytest.mark.usefixtures("dense")
def test_days_that_bring_very_many_entries_get_tables(
    importing: Import, tmp_path: Path, engine: sqlalchemy.Engine
) -> None:
    before = leaves(engine)
    days = [0, 0, 100, 200, 200, 200]
    content = [line(entry(n, timestamp=MOMENT + timedelta(days=days[n], seconds=n))) for n in range(len(days))]
    assert importing(write(tmp_path / "events", content)).new == len(days)
    made = {f"audit_logs_{day}" for day in ("2025_10_01", "2026_04_19")}
    months = {f"audit_logs_{month}_default" for month in ("2025_10", "2026_04")}
    assert leaves(engine) - before == made | months
    with engine.connect() as connection:
        found = connection.execute(
            text("SELECT DISTINCT tableoid::regclass::text FROM audit_logs WHERE action <> 'audit.import'")
        )
        assert set(found.scalars()) == {*made, "audit_logs_default"}


@pytest.mark.usefixtures("dense")
def test_no_more_tables_are_made_than_the_bound_allows(
    importing: Import, tmp_path: Path, engine: sqlalchemy.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "MOST_DAY_TABLES", 2)
    content = [line(entry(n, timestamp=MOMENT + timedelta(days=n // 2, seconds=n))) for n in range(8)]
    assert importing(write(tmp_path / "events", content)).new == 8
    assert {name for name in leaves(engine) if "default" not in name} == {
        "audit_logs_2025_10_01",
        "audit_logs_2025_10_02",
    }


@pytest.mark.usefixtures("dense")
def test_a_day_with_entries_in_a_default_partition_stays_there(
    importing: Import, services: Services, tmp_path: Path
) -> None:
    AuditLog(services.engine).append(entry(1))
    assert importing(write(tmp_path / "events", lines([1, 2, 3]))).new == 2
    with services.engine.connect() as connection:
        found = connection.execute(
            text("SELECT tableoid::regclass::text FROM audit_logs WHERE action <> 'audit.import'")
        )
        assert set(found.scalars()) == {"audit_logs_default"}


@pytest.mark.usefixtures("dense")
def test_a_refused_file_makes_no_tables(importing: Import, tmp_path: Path, engine: sqlalchemy.Engine) -> None:
    before = leaves(engine)
    with pytest.raises(ImportRefusedError):
        importing(write(tmp_path / "events", [*lines([1, 2]), "rubbish"]))
    assert leaves(engine) == before


@pytest.mark.usefixtures("dense")
def test_live_traffic_is_given_way_to_and_then_the_import_goes_on(
    importing: Import, superuser_engine: sqlalchemy.Engine, tmp_path: Path
) -> None:
    file = write(tmp_path / "events", lines([1, 2]))
    with superuser_engine.connect() as busy:
        busy.execute(text("LOCK TABLE audit_logs IN SHARE MODE"))
        waits: list[float] = []

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            busy.rollback()

        assert importing(file, sleep=sleep).new == 2
    assert waits == [0.2]


@pytest.mark.usefixtures("dense")
def test_live_traffic_that_never_ends_stops_the_import_with_nothing_done(
    importing: Import, superuser_engine: sqlalchemy.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "_LOCK_PATIENCE", timedelta(milliseconds=20))
    waits: list[float] = []
    with superuser_engine.connect() as busy:
        busy.execute(text("LOCK TABLE audit_logs IN SHARE MODE"))
        with pytest.raises(PartitionBusyError, match="run it again"):
            importing(write(tmp_path / "events", lines([1, 2])), sleep=waits.append)
    assert waits == [0.2, 0.5, 1.0]
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
