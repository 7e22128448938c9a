"""The daily scrub: what its run shows, and what its check says."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from dagster import AssetCheckSeverity, DefaultScheduleStatus
from sqlalchemy import text

from compliance_pipelines.orchestration.backlog import Action
from compliance_pipelines.orchestration.keys import ARCHIVE_SCRUB, ARCHIVES_READ_BACK, SEARCH_INDEX
from compliance_pipelines.orchestration.scrubbing import archive_scrub_schedule, scrub_verdict, search_index_verdict
from tests.support.damage import flip

if TYPE_CHECKING:
    from pathlib import Path

    import sqlalchemy
    from dagster import AssetCheckEvaluation, ExecuteInProcessResult

    from tests.conftest import MovableClock
    from tests.orchestration.conftest import Project


def check_of(result: ExecuteInProcessResult) -> AssetCheckEvaluation:
    found = {evaluation.asset_check_key: evaluation for evaluation in result.get_asset_check_evaluations()}
    assert found.keys() == {ARCHIVES_READ_BACK, SEARCH_INDEX}
    return found[ARCHIVES_READ_BACK]


def test_it_runs_daily_and_is_on_without_anybody_turning_it_on() -> None:
    assert archive_scrub_schedule.cron_schedule == "0 4 * * *"
    assert archive_scrub_schedule.default_status is DefaultScheduleStatus.RUNNING


def test_a_run_reads_what_is_due_and_shows_how_the_archives_are(project: Project, clock: MovableClock) -> None:
    day = project.sealed(days_ago=120)
    assert project.step(Action.ARCHIVE, day).success
    clock.advance(days=80)
    result = project.run("archive_scrub")
    assert result.success
    [shown] = result.asset_materializations_for_node("audit__archive_scrub")
    assert shown.asset_key == ARCHIVE_SCRUB
    assert {name: shown.metadata[name].value for name in ("parts read", "parts kept", "damaged parts")} == {
        "parts read": 1,
        "parts kept": 1,
        "damaged parts": 0,
    }
    assert shown.metadata["bytes read"].value == shown.metadata["bytes kept"].value
    assert shown.metadata["bytes read"].value != 0
    assert "longest unread part was read" in shown.metadata
    assert check_of(result).passed


def test_damage_and_what_is_overdue_fail_the_check_with_what_to_do(
    project: Project, clock: MovableClock, tmp_path: Path, superuser_engine: sqlalchemy.Engine
) -> None:
    day = project.sealed(days_ago=120)
    assert project.step(Action.ARCHIVE, day).success
    clock.advance(days=91)
    overdue = scrub_verdict(project.services)
    assert overdue.fails
    assert overdue.problem == f"not read back for more than 90 days: {day} part 1"
    assert "`compliance scrub`" in overdue.description
    clock.advance(days=-91)
    with superuser_engine.begin() as connection:
        connection.execute(text("UPDATE archived_audit_logs SET verified_at = now() - interval '80 days'"))
    flip(tmp_path / "cold")

    result = project.run("archive_scrub")

    assert result.success
    evaluation = check_of(result)
    assert not evaluation.passed
    assert str(evaluation.description).startswith(f"damaged in the cold store: {day} part 1 (")
    assert f"`compliance repair {day}`" in str(evaluation.description)


def test_what_could_not_be_read_fails_the_run(project: Project, tmp_path: Path, clock: MovableClock) -> None:
    day = project.sealed(days_ago=120)
    assert project.step(Action.ARCHIVE, day).success
    clock.advance(days=80)
    (tmp_path / "cold").rename(tmp_path / "away")
    assert not project.run("archive_scrub").success


def test_a_budget_that_cannot_suffice_is_a_warning(project: Project) -> None:
    day = project.sealed(days_ago=120)
    assert project.step(Action.ARCHIVE, day).success
    settings = project.services.settings.model_copy(update={"audit_archive_scrub_bytes_per_day": 1})
    verdict = scrub_verdict(dataclasses.replace(project.services, settings=settings))
    assert verdict.severity is AssetCheckSeverity.WARN
    assert "set AUDIT_ARCHIVE_SCRUB_BYTES_PER_DAY to" in verdict.description


def test_an_archive_without_filters_is_a_warning_with_what_to_do(
    project: Project, superuser_engine: sqlalchemy.Engine
) -> None:
    day = project.sealed(days_ago=120)
    assert project.step(Action.ARCHIVE, day).success
    assert search_index_verdict(project.services).problem is None
    with superuser_engine.begin() as connection:
        connection.execute(text("DELETE FROM archive_search_filters"))
    verdict = search_index_verdict(project.services)
    assert verdict.severity is AssetCheckSeverity.WARN
    assert f"part 1 of {day}" in verdict.description
    assert "`compliance search-index rebuild --missing`" in verdict.description
