"""SIGKILL between any two steps: the next run finishes, and both stores together hold every entry once."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.archive.catalogue import DayState, day_summary
from compliance_pipelines.archive.export import ArchiveStep, archive_day
from compliance_pipelines.archive.purge import PurgeStep, purge_day
from compliance_pipelines.archive.restore import RestoreStep, restore_day
from compliance_pipelines.archive.restored_tables import restored_tables, working_tables
from tests.integration.archive.worker import Order
from tests.support.encrypted import encrypted

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from compliance_pipelines.services import Services
    from compliance_pipelines.settings import Settings
    from tests.conftest import MovableClock
    from tests.integration.archive.days import Days
    from tests.integration.archive.worker import Worker


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """Archives are encrypted, so that every step there is happens."""
    return encrypted(settings, tmp_path)


def test_an_archive_killed_after_any_step_is_finished_by_the_next_run(
    services: Services, days: Days, day: date, worker: Worker
) -> None:
    for number, step in enumerate(ArchiveStep):
        this_day = day + timedelta(days=number)
        days.append(this_day, 20)
        rows = days.hot_rows(this_day)
        assert worker.run(services, Order("archive", str(this_day), die_after=step)).killed
        assert days.hot_rows(this_day) == rows
        days.append(this_day, 2)

        archive_day(services, this_day)
        assert day_summary(services, this_day)[0] is DayState.VERIFIED
        assert days.cold_rows(this_day) == days.hot_rows(this_day)
        assert rows == days.hot_rows(this_day)[:20]
        before_the_object = step in {ArchiveStep.KEY_PUT, ArchiveStep.STAGED}
        assert len(days.objects(this_day)) == len(days.manifests(this_day)) == (1 if before_the_object else 2)
        assert days.audit_actions(this_day) == ["audit.archive"] * len(days.objects(this_day))


def test_a_purge_killed_after_any_step_has_happened_or_not(
    services: Services, days: Days, day: date, clock: MovableClock, worker: Worker
) -> None:
    this_month = [day + timedelta(days=number) for number in range(len(PurgeStep))]
    for this_day in this_month:
        days.append(this_day, 20)
        archive_day(services, this_day)
    clock.advance(days=8)
    for this_day, step in zip(this_month, PurgeStep, strict=True):
        rows = days.hot_rows(this_day)
        assert worker.run(services, Order("purge", str(this_day), die_after=step)).killed
        committed = step is PurgeStep.COMMITTED
        assert days.hot_rows(this_day) == ([] if committed else rows)
        assert days.cold_rows(this_day) == rows

        purge_day(services, this_day)
        assert (days.hot_rows(this_day), days.cold_rows(this_day)) == ([], rows)
        assert day_summary(services, this_day)[0] is DayState.PURGED
        assert days.audit_actions(this_day) == ["audit.archive", "audit.purge"]
        assert days.execute("SELECT parts, entry_count FROM audit_purges WHERE day = :day", day=this_day) == [([1], 20)]


def test_a_restore_killed_after_any_step_is_finished_by_the_next_run(
    services: Services, days: Days, day: date, worker: Worker
) -> None:
    for count in (20, 5):
        days.append(day, count)
        archive_day(services, day)
    rows = days.hot_rows(day)
    table = restore_day(services, day).table
    restores = 1
    # A piece is a part here. Each kill but the last two finds the rows that the one before it left.
    for step, loaded in (
        (RestoreStep.TABLE_MADE, 0),
        (RestoreStep.PIECE_COPIED, 0),
        (RestoreStep.PIECE_COMMITTED, 20),
        (RestoreStep.LOADED, 25),
        (RestoreStep.READ_BACK, 25),
        (RestoreStep.SWAPPED, 25),
        (RestoreStep.RECORDED, 25),
    ):
        assert worker.run(services, Order("restore", str(day), die_after=step)).killed
        assert days.table_rows(table, day) == rows
        with services.engine.connect() as connection:
            (left,) = working_tables(connection)
        assert len(days.table_rows(f"audit_restored.{left}", day)) == loaded
        assert days.audit_actions(day).count("audit.restore") == restores
    assert worker.run(services, Order("restore", str(day), die_after=RestoreStep.COMMITTED)).killed
    assert days.audit_actions(day).count("audit.restore") == restores + 1
    assert days.table_rows(table, day) == rows
    with services.engine.connect() as connection:
        assert (len(restored_tables(connection)), working_tables(connection)) == (1, [])

    assert worker.run(services, Order("restore", str(day), die_after=RestoreStep.PIECE_COMMITTED)).killed
    assert restore_day(services, day).resumed_entries == 20
    assert days.table_rows(table, day) == rows


def test_a_seal_killed_after_any_step_leaves_days_that_can_be_archived(
    services: Services, days: Days, day: date, worker: Worker
) -> None:
    for number, step in enumerate(
        ["hashed", "inserted", "committed", "tiles put", "checkpoint put", "published", "publication recorded"]
    ):
        this_day = day + timedelta(days=number)
        days.append(this_day, 5, sealed=False)
        assert worker.run(services, Order("seal", die_after=step)).killed
        days.append(this_day, 3)
        archive_day(services, this_day)
        assert day_summary(services, this_day)[0] is DayState.VERIFIED
        assert days.cold_rows(this_day) == days.hot_rows(this_day)
        assert len(days.cold_rows(this_day)) == 8


def test_a_disk_that_is_full_while_the_file_is_staged_is_named_and_leaves_nothing(
    services: Services, days: Days, day: date, worker: Worker, tmp_path: Path
) -> None:
    staging = tmp_path / "staging"
    configured = services.settings.model_copy(update={"archive_staging_path": staging})
    small_disk = type(services)(configured, services.engine, services.store, services.keys, services.clock)
    days.append(day, 2000)
    outcome = worker.run(small_disk, Order("archive", str(day), most_file_bytes=20_000))
    assert outcome.error is not None
    assert outcome.error.startswith(f"StagingError: {day} was not archived: {staging}")
    assert "ARCHIVE_STAGING_PATH" in outcome.error
    assert (list(staging.iterdir()), days.objects(day), days.audit_actions(day)) == ([], [], [])
    assert archive_day(services, day).entry_count == 2000


def test_a_staging_file_of_a_killed_run_is_removed_by_the_next(
    services: Services, days: Days, day: date, worker: Worker, tmp_path: Path
) -> None:
    staging = tmp_path / "staging"
    configured = services.settings.model_copy(update={"archive_staging_path": staging})
    staged = type(services)(configured, services.engine, services.store, services.keys, services.clock)
    days.append(day, 5)
    assert worker.run(staged, Order("archive", str(day), die_after=ArchiveStep.STAGED)).killed
    assert len(list(staging.iterdir())) == 1
    archive_day(staged, day)
    assert list(staging.iterdir()) == []
