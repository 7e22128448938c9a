"""The life of a day, run by run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster import AssetCheckKey, AssetCheckSeverity, DagsterEventType

from compliance_pipelines.archive.catalogue import DayState, parts_of_day
from compliance_pipelines.orchestration.backlog import Action
from compliance_pipelines.orchestration.failures import reasons_of_failure
from compliance_pipelines.orchestration.keys import (
    CHECKSUM,
    COLD_ARCHIVE,
    CONTENT,
    HOT_PARTITION,
    HOT_PURGE,
    MANIFEST_SIGNATURE,
    READ_BACK,
    ROWS_MATCH_LEDGER,
)
from tests.support.damage import flip

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    import sqlalchemy
    from dagster import ExecuteInProcessResult

    from compliance_pipelines.archive.catalogue import ArchivedPart
    from tests.conftest import MovableClock
    from tests.orchestration.conftest import Project


def sealed_day(project: Project) -> date:
    return project.sealed(days_ago=100)


def archived_day(project: Project) -> date:
    day = sealed_day(project)
    assert project.step(Action.ARCHIVE, day).success
    return day


def outcomes(result: ExecuteInProcessResult) -> dict[AssetCheckKey, bool]:
    return {evaluation.asset_check_key: evaluation.passed for evaluation in result.get_asset_check_evaluations()}


def failures(result: ExecuteInProcessResult) -> list[str]:
    return reasons_of_failure(result.all_events)


def run_checks(project: Project, day: date, *keys: AssetCheckKey) -> ExecuteInProcessResult:
    """The checks alone, as the button of Dagster's page does."""
    return project.run("daily_retention", day, checks=keys)


def test_a_day_is_sealed_archived_verified_and_purged_by_its_runs(project: Project, clock: MovableClock) -> None:
    day = project.append(days_ago=100, count=5)
    project.settle()
    assert project.run("seal").success
    assert project.state(day) is DayState.SEALED

    archived = project.step(Action.ARCHIVE, day)
    assert archived.success
    assert outcomes(archived) == dict.fromkeys((ROWS_MATCH_LEDGER, *READ_BACK), True)
    assert project.state(day) is DayState.VERIFIED

    clock.advance(days=8)
    assert project.step(Action.PURGE, day).success
    assert project.state(day) is DayState.PURGED

    for key in (HOT_PARTITION, COLD_ARCHIVE, HOT_PURGE):
        assert project.instance.get_materialized_partitions(key) == {day.isoformat()}


def test_what_a_person_wants_to_know_stands_on_the_page(project: Project) -> None:
    day = project.sealed(days_ago=100, count=4)
    result = project.step(Action.ARCHIVE, day)
    hot, cold = (
        result.asset_materializations_for_node(node)[0].metadata
        for node in ("audit__hot_partition", "audit__cold_archive")
    )
    assert (hot["dagster/partition_row_count"].value, hot["state"].value) == (4, "sealed")
    assert cold["dagster/partition_row_count"].value == 4
    [part] = _parts(project, day)
    assert cold["root"].value == part.root.hex()
    assert cold["uri"].value == part.archive_location
    assert cold["compression"].value == round(part.canonical_bytes / part.object_bytes, 2)


def _parts(project: Project, day: date) -> list[ArchivedPart]:
    with project.services.engine.connect() as connection:
        return parts_of_day(connection, day)


def test_each_result_of_a_check_is_recorded_for_its_day(project: Project) -> None:
    days = [project.sealed(days_ago) for days_ago in (101, 100)]
    for day in days:
        assert project.step(Action.ARCHIVE, day).success
    records = project.instance.event_log_storage.get_asset_check_execution_history(CONTENT, limit=10)
    assert sorted(str(record.partition) for record in records) == [day.isoformat() for day in days]


def test_a_purge_before_its_time_fails_for_good(project: Project) -> None:
    day = archived_day(project)
    result = project.step(Action.PURGE, day)
    [reason] = failures(result)
    assert "AUDIT_LOG_PURGE_GRACE_DAYS" in reason
    assert not [event for event in result.all_events if event.event_type is DagsterEventType.STEP_UP_FOR_RETRY]
    assert project.state(day) is DayState.VERIFIED


def test_a_purge_without_an_archive_is_refused_whatever_the_date(project: Project, clock: MovableClock) -> None:
    day = sealed_day(project)
    clock.advance(days=400)
    [reason] = failures(project.step(Action.PURGE, day))
    assert f"{day} was not purged" in reason
    assert project.state(day) is DayState.SEALED


def test_a_purge_that_runs_alone_finds_the_damage_that_no_check_looked_for(
    project: Project, clock: MovableClock, tmp_path: Path
) -> None:
    """A blocking check gates its own run only: this run has none."""
    day = archived_day(project)
    clock.advance(days=8)
    flip(tmp_path / "cold")
    [reason] = failures(project.step(Action.PURGE, day))
    assert "altered" in reason
    assert project.state(day) is DayState.VERIFIED


def test_a_damaged_object_fails_its_checks_and_stops_the_purge_in_the_same_run(
    project: Project, clock: MovableClock, tmp_path: Path
) -> None:
    day = archived_day(project)
    clock.advance(days=8)
    flip(tmp_path / "cold")
    result = project.run("daily_retention", day)
    assert outcomes(result) == {
        ROWS_MATCH_LEDGER: True,
        MANIFEST_SIGNATURE: True,
        **dict.fromkeys((key for key in READ_BACK if key != MANIFEST_SIGNATURE), False),
    }
    assert not result.asset_materializations_for_node("audit__hot_purge")
    assert project.state(day) is DayState.VERIFIED


def test_an_altered_row_fails_its_check_and_stops_the_archive_in_the_same_run(
    project: Project, superuser_engine: sqlalchemy.Engine
) -> None:
    day = sealed_day(project)
    _alter_rows(superuser_engine, day)
    result = project.step(Action.ARCHIVE, day)
    assert outcomes(result) == {ROWS_MATCH_LEDGER: False}
    assert project.state(day) is DayState.SEALED


def _alter_rows(engine: sqlalchemy.Engine, day: date) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        connection.exec_driver_sql(f"UPDATE audit_logs_{day:%Y_%m_%d} SET user_id = 'somebody else'")


def test_an_altered_row_stops_an_archive_that_runs_without_the_check(
    project: Project, superuser_engine: sqlalchemy.Engine
) -> None:
    day = sealed_day(project)
    _alter_rows(superuser_engine, day)
    [reason] = failures(project.run("daily_retention", day, [COLD_ARCHIVE]))
    assert "altered" in reason
    assert project.state(day) is DayState.SEALED


def test_checks_that_run_alone_read_for_themselves(
    project: Project, superuser_engine: sqlalchemy.Engine, tmp_path: Path
) -> None:
    day = archived_day(project)
    assert outcomes(run_checks(project, day, ROWS_MATCH_LEDGER)) == {ROWS_MATCH_LEDGER: True}
    assert outcomes(run_checks(project, day, CHECKSUM)) == {CHECKSUM: True}
    _alter_rows(superuser_engine, day)
    flip(tmp_path / "cold")
    assert outcomes(run_checks(project, day, ROWS_MATCH_LEDGER)) == {ROWS_MATCH_LEDGER: False}
    assert outcomes(run_checks(project, day, CHECKSUM)) == {CHECKSUM: False}


def test_a_missing_manifest_fails_the_check_of_its_signature_alone(project: Project, tmp_path: Path) -> None:
    day = archived_day(project)
    [manifest] = (tmp_path / "cold").rglob("audit-logs-*.manifest.json")
    manifest.unlink()
    assert outcomes(run_checks(project, day, *READ_BACK)) == {key: key != MANIFEST_SIGNATURE for key in READ_BACK}


def test_a_late_entry_makes_another_part_by_another_run(project: Project, clock: MovableClock) -> None:
    day = archived_day(project)
    clock.advance(days=8)
    assert project.step(Action.PURGE, day).success
    project.append(days_ago=108)
    project.seal()
    assert project.state(day) is DayState.SEALED
    assert project.step(Action.ARCHIVE, day).success
    assert len(_parts(project, day)) == 2
    clock.advance(days=8)
    assert project.step(Action.PURGE, day).success
    assert project.state(day) is DayState.PURGED


def test_a_day_without_entries_can_be_part_of_a_backfill(project: Project) -> None:
    """A range of days from the page has such days in it; nothing to do is no failure."""
    day = project.today
    result = project.step(Action.ARCHIVE, day)
    assert result.success
    assert all(outcomes(result).values())


def test_a_day_that_is_not_archived_is_pointed_out_without_failing_for_good(project: Project) -> None:
    day = project.sealed(days_ago=3)
    [*evaluations] = run_checks(project, day, *READ_BACK).get_asset_check_evaluations()
    assert {evaluation.severity for evaluation in evaluations} == {AssetCheckSeverity.WARN}
    assert not any(evaluation.passed for evaluation in evaluations)
