"""One fault is one alert, whoever finds it, and how often."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.orchestration.backlog import Action
from compliance_pipelines.orchestration.keys import COLD_ARCHIVE, HOT_PURGE, READ_BACK, ROWS_MATCH_LEDGER
from tests.orchestration.alerting.conftest import Watching, evaluate, materialize
from tests.support.damage import flip

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    import sqlalchemy

    from tests.conftest import MovableClock
    from tests.orchestration.conftest import Project


@pytest.fixture
def damaged(project: Project, clock: MovableClock, tmp_path: Path) -> date:
    """A day whose purge is due, with one flipped bit in its archive."""
    day = project.sealed(days_ago=100)
    assert project.step(Action.ARCHIVE, day).success
    clock.advance(days=8)
    flip(tmp_path / "cold")
    return day


def test_one_flipped_byte_is_one_alert_whoever_finds_it_and_how_often(
    runs: Watching, checks: Watching, project: Project, damaged: date, tmp_path: Path
) -> None:
    assert not project.run("daily_retention", damaged).success
    first = [*runs.tick(), *checks.tick()]
    [line] = [line for alert in first for line in alert.lines]
    assert line.startswith(f"ERROR: audit/cold_archive of {damaged}, check checksum: ")

    assert not project.run("daily_retention", damaged).success
    assert not project.run("daily_retention", damaged, checks=READ_BACK).success
    assert not project.step(Action.PURGE, damaged).success
    assert not project.step(Action.PURGE, damaged).success
    assert [*runs.tick(), *checks.tick()] == []

    flip(tmp_path / "cold")
    assert project.run("daily_retention", damaged, checks=READ_BACK).success
    assert [*runs.tick(), *checks.tick()] == []
    flip(tmp_path / "cold")
    assert not project.run("daily_retention", damaged, checks=READ_BACK).success
    assert len([*runs.tick(), *checks.tick()]) == 1


@pytest.mark.parametrize("order", ["runs first", "checks first"])
def test_one_flipped_byte_that_a_purge_finds_first_is_one_alert(
    runs: Watching, checks: Watching, project: Project, damaged: date, order: str
) -> None:
    both = (runs, checks) if order == "runs first" else (checks, runs)
    assert not project.step(Action.PURGE, damaged).success
    assert len([alert for watching in both for alert in watching.tick()]) == 1
    assert not project.run("daily_retention", damaged, checks=READ_BACK).success
    assert [alert for watching in both for alert in watching.tick()] == []


def test_another_fault_of_the_same_day_is_another_alert(
    checks: Watching, project: Project, damaged: date, tmp_path: Path
) -> None:
    assert not project.run("daily_retention", damaged, checks=READ_BACK).success
    assert len(checks.tick()) == 1
    [manifest] = (tmp_path / "cold").rglob("audit-logs-*.manifest.json")
    manifest.unlink()
    assert not project.run("daily_retention", damaged, checks=READ_BACK).success
    [alert] = checks.tick()
    assert "check manifest_signature" in alert.lines[0]


def test_a_check_that_says_the_same_again_is_no_news_until_it_passed(checks: Watching, project: Project) -> None:
    for _ in range(2):
        evaluate(project, "it stopped")
    assert len(checks.tick()) == 1
    evaluate(project, "it stopped")
    assert checks.tick() == []
    evaluate(project, "it stopped for another reason")
    assert len(checks.tick()) == 1
    evaluate(project, "it goes on", passed=True)
    evaluate(project, "it stopped for another reason")
    assert len(checks.tick()) == 1


def test_a_run_that_fails_again_for_the_same_reason_is_no_news_until_it_succeeded(
    runs: Watching, project: Project, clock: MovableClock
) -> None:
    day = project.sealed(days_ago=100)
    assert project.step(Action.ARCHIVE, day).success
    for expected in (1, 0):
        assert not project.step(Action.PURGE, day).success
        assert len(runs.tick()) == expected


@pytest.fixture
def altered(project: Project, superuser_engine: sqlalchemy.Engine) -> date:
    """A day to be archived, one row of which somebody altered who may do anything."""
    day = project.sealed(days_ago=100)
    with superuser_engine.begin() as connection:
        connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        connection.exec_driver_sql(
            f"UPDATE audit_logs_{day:%Y_%m_%d} SET user_id = 'somebody else' WHERE log_entry_id = 'entry-0'"
        )
    return day


@pytest.mark.parametrize("finder", ["run", "check"])
def test_one_altered_row_is_one_alert_whoever_finds_it(
    runs: Watching, checks: Watching, project: Project, altered: date, finder: str
) -> None:
    def archive() -> None:
        assert not project.run("daily_retention", altered, [COLD_ARCHIVE]).success

    def check() -> None:
        assert not project.run("daily_retention", altered, checks=[ROWS_MATCH_LEDGER]).success

    first, then = (archive, check) if finder == "run" else (check, archive)
    first()
    [alert] = [*runs.tick(), *checks.tick()]
    assert f"run `compliance verify {altered}`" in alert.lines[0]
    then()
    first()
    assert [*runs.tick(), *checks.tick()] == []


def test_a_fault_that_another_job_finds_again_is_no_news(runs: Watching, project: Project) -> None:
    day = project.sealed(days_ago=100)
    assert not project.step(Action.PURGE, day).success
    assert len(runs.tick()) == 1
    assert not materialize(project, project.definitions, day, HOT_PURGE).success
    assert runs.tick() == []


def test_a_check_that_failed_without_a_word_silences_no_run(runs: Watching, checks: Watching, project: Project) -> None:
    day = project.sealed(days_ago=100)
    evaluate(project, None, partition=day.isoformat())
    assert len(checks.tick()) == 1
    assert not project.step(Action.PURGE, day).success
    assert len(runs.tick()) == 1
