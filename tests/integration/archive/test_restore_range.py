"""A range of days is restored day after day, and a run that was killed goes on where it was."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.archive import restore
from compliance_pipelines.archive.errors import RestoreError
from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.restore import RestoreStep, restore_day
from compliance_pipelines.archive.restore_range import archived_days, restore_unless_there
from tests.integration.archive.days import Stopped, remove, stop_after
from tests.integration.archive.worker import Order
from tests.support.command import Command
from tests.support.damage import turn_bit

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from compliance_pipelines.services import Services
    from compliance_pipelines.settings import Settings
    from tests.integration.archive.days import Days
    from tests.integration.archive.worker import Worker


@pytest.fixture
def archived(services: Services, days: Days, day: date) -> list[date]:
    """Three archived days, with one between them that has none."""
    archived = [day + timedelta(days=number) for number in (0, 1, 3)]
    for each in archived:
        days.append(each, 10)
        archive_day(services, each)
    return archived


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, settings: Settings
) -> Command:
    command = Command(monkeypatch, capsys, tmp_path)
    command.use(settings)
    return command


def table(day: date) -> str:
    return f"audit_restored.audit_logs_{day:%Y_%m_%d}"


def test_every_archived_day_of_the_range_is_restored_into_its_own_table(
    days: Days, archived: list[date], run: Command
) -> None:
    first, second, third = archived
    done = run("restore", "--from", first, "--to", third)
    assert done.status == 0, done
    assert done.out.splitlines() == [
        f"{first}: 10 entries restored into {table(first)} (1 of 3)",
        f"{second}: 10 entries restored into {table(second)} (2 of 3)",
        f"{third}: 10 entries restored into {table(third)} (3 of 3)",
        f"1 days from {first} to {third} have no archive",
    ]
    for day in archived:
        assert days.table_rows(table(day), day) == days.hot_rows(day)
    again = run("restore", "--from", first, "--to", second)
    assert again.out.splitlines()[0] == (
        f"{first}: 10 entries are in {table(first)} already, compared with the ledger (1 of 2)"
    )
    for day in archived:
        assert days.audit_actions(day) == ["audit.archive", "audit.restore"]


def test_a_run_that_was_killed_goes_on_with_the_day_that_it_was_at(
    services: Services, days: Days, archived: list[date], run: Command, worker: Worker
) -> None:
    first, second, third = archived
    restore_day(services, first)
    assert worker.run(services, Order("restore", str(second), die_after=RestoreStep.PIECE_COMMITTED)).killed
    done = run("restore", "--from", first, "--to", third)
    assert [line.partition(": ")[2] for line in done.out.splitlines()[:3]] == [
        f"10 entries are in {table(first)} already, compared with the ledger (1 of 3)",
        f"10 entries restored into {table(second)}, 10 of them by an earlier run that was interrupted (2 of 3)",
        f"10 entries restored into {table(third)} (3 of 3)",
    ]
    for day in archived:
        assert days.audit_actions(day).count("audit.restore") == 1
        assert days.table_rows(table(day), day) == days.hot_rows(day)


def test_what_was_loaded_of_a_day_is_not_loaded_again(
    services: Services, archived: list[date], monkeypatch: pytest.MonkeyPatch
) -> None:
    day = archived[1]
    monkeypatch.setattr(restore, "_PIECE_ROWS", 3)
    with pytest.raises(Stopped):
        restore_unless_there(services, day, hook=stop_after(RestoreStep.PIECE_COMMITTED))
    result, was_there = restore_unless_there(services, day)
    assert (result.resumed_entries, was_there) == (3, False)
    assert restore_unless_there(services, day)[1]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE {} SET result = 'denied' WHERE id = (SELECT min(id) FROM {})",
        "DELETE FROM {} WHERE id = (SELECT min(id) FROM {})",
        "INSERT INTO {} SELECT * FROM {} LIMIT 1",
        "ALTER TABLE {} DROP COLUMN result",
        "COMMENT ON TABLE {} IS 'mine'",
    ],
)
def test_a_table_that_somebody_changed_is_made_anew(
    services: Services, days: Days, archived: list[date], change: str
) -> None:
    day = archived[0]
    restore_day(services, day)
    days.execute(change.replace("{}", table(day)))
    assert not restore_unless_there(services, day)[1]
    assert days.table_rows(table(day), day) == days.hot_rows(day)


def test_a_late_part_makes_the_table_anew(services: Services, days: Days, archived: list[date]) -> None:
    day = archived[0]
    restore_day(services, day)
    days.append(day, 2)
    archive_day(services, day)
    result, was_there = restore_unless_there(services, day)
    assert (result.entry_count, was_there) == (12, False)


def test_segments_that_are_not_those_of_the_manifest_judge_nothing(
    services: Services, days: Days, archived: list[date]
) -> None:
    day = archived[0]
    restore_day(services, day)
    remove(days.manifests(day)[0])
    with pytest.raises(Exception, match="is missing from the cold store"):
        restore_unless_there(services, day)


def test_a_day_that_fails_is_named_and_the_others_are_restored(days: Days, archived: list[date], run: Command) -> None:
    first, second, third = archived
    turn_bit(days.objects(second)[0])
    done = run("restore", "--from", first, "--to", third)
    assert done.status == 1
    assert f"{second} is damaged" in done.err
    assert done.err.splitlines()[-1] == f"compliance: 1 of 3 days failed: {second}"
    for day in (first, third):
        assert days.table_rows(table(day), day) == days.hot_rows(day)


def test_a_rehearsal_of_a_range_loads_nothing(days: Days, archived: list[date], run: Command) -> None:
    first, *_, third = archived
    done = run("restore", "--from", first, "--to", third, "--dry-run")
    assert done.status == 0
    assert done.out.splitlines()[0].startswith(f"{first}: a restore would load 10 entries from 1 part, ")
    assert done.out.splitlines()[2].endswith("; nothing was loaded or recorded (3 of 3)")
    assert days.audit_actions(first) == ["audit.archive"]


def test_a_range_without_archives_is_refused(services: Services, day: date) -> None:
    with pytest.raises(RestoreError, match=r"no day from .* has an archive"):
        archived_days(services, day, day)
    with pytest.raises(RestoreError, match="cannot end on"):
        archived_days(services, day, day - timedelta(days=1))


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--from", "2026-01-01"],
        ["--to", "2026-01-01"],
        ["2026-01-01", "--from", "2026-01-01", "--to", "2026-01-02"],
        ["--from", "2026-01-01", "--to", "2026-01-02", "--into", "one"],
    ],
)
def test_wrong_usage_is_status_2(run: Command, arguments: list[str]) -> None:
    done = run("restore", *arguments)
    assert done.status == 2
    assert "give one DAY, which alone takes --into, or a range with --from and --to" in done.err
