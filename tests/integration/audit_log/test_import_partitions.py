"""An import makes the partitions that it needs, and gives way to live traffic."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from compliance_pipelines.audit_log import import_staging
from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.audit_log.partitions import PartitionBusyError, strays
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


def partitions(engine: sqlalchemy.Engine) -> set[str]:
    with engine.connect() as connection:
        found = connection.execute(
            text("SELECT relid::regclass::text FROM pg_partition_tree('audit_logs') WHERE isleaf")
        )
        return set(found.scalars())


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
