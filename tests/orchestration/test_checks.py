"""The checks of the whole, and what each check of an archive says about its own question."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from dagster import AssetCheckSeverity
from sqlalchemy import text

from compliance_pipelines.archive.readback import Damage, PartCheck, PartFinding, Question
from compliance_pipelines.audit_log.partitions import existing_days
from compliance_pipelines.ledger.log_reading import CHECKPOINT_KEY
from compliance_pipelines.orchestration import checks
from compliance_pipelines.orchestration.backlog import Action
from compliance_pipelines.orchestration.keys import (
    HEALTH,
    NO_DAY_TO_ARCHIVE_OVERDUE,
    NO_DAY_TO_PURGE_OVERDUE,
    NO_LARGE_DAY_IN_DEFAULT_PARTITIONS,
    ROWS_MATCH_LEDGER,
    RUNWAY,
    SEALING,
    SEALING_LAG,
)
from tests.integration.archive.days import entry

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    import sqlalchemy
    from dagster import AssetCheckEvaluation, AssetCheckKey

    from tests.conftest import MovableClock
    from tests.orchestration.conftest import Project


def health(project: Project) -> dict[AssetCheckKey, AssetCheckEvaluation]:
    result = project.run("health_checks")
    assert result.success
    return {each.asset_check_key: each for each in result.get_asset_check_evaluations()}


def failing(found: dict[AssetCheckKey, AssetCheckEvaluation]) -> dict[AssetCheckKey, str]:
    return {key: str(each.description) for key, each in found.items() if not each.passed}


def test_a_system_in_order_passes_every_check(project: Project) -> None:
    project.sealed(days_ago=100)
    assert project.run("partition_upkeep").success
    found = health(project)
    assert set(found) == set(HEALTH)
    assert failing(found) == {}
    assert found[RUNWAY].metadata["days ahead"].value == 14


def test_the_sealing_lag_is_shown_in_seconds_and_fails_beyond_the_setting(
    project: Project, clock: MovableClock
) -> None:
    assert health(project)[SEALING_LAG].metadata["lag seconds"].value == 0
    project.append(days_ago=1)
    clock.advance(seconds=250)
    shown = health(project)[SEALING_LAG]
    assert shown.passed
    assert shown.metadata["lag seconds"].value == pytest.approx(250, abs=90)
    clock.advance(seconds=150)
    assert "LEDGER_SEAL_MAX_LAG_SECONDS" in failing(health(project))[SEALING_LAG]


def test_a_checkpoint_that_left_the_cold_store_fails_the_check_of_sealing(project: Project, tmp_path: Path) -> None:
    project.sealed(days_ago=1)
    (tmp_path / "cold" / CHECKPOINT_KEY).unlink()
    assert "is no longer there" in failing(health(project))[SEALING]


def test_a_short_runway_fails_until_the_upkeep_has_run(project: Project) -> None:
    idle = project.append(days_ago=40, count=0)
    assert "partition_upkeep" in failing(health(project))[RUNWAY]
    upkeep = project.run("partition_upkeep")
    [materialized] = upkeep.asset_materializations_for_node("audit__audit_log_partitions")
    assert materialized.metadata["days ahead"].value == 14
    assert materialized.metadata["empty days dropped"].value == 1
    with project.services.engine.connect() as connection:
        assert idle not in existing_days(connection)
    assert RUNWAY not in failing(health(project))


def test_entries_in_a_default_partition_are_a_fact_and_a_warning_where_a_day_has_very_many(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = project.today - timedelta(days=40)
    project.log.append(entry(day, 1))
    shown = health(project)[NO_LARGE_DAY_IN_DEFAULT_PARTITIONS]
    assert shown.passed
    assert shown.metadata["audit_logs_default"].value == 1
    monkeypatch.setattr(checks, "SLOW_PURGE_ENTRIES", 1)
    warned = health(project)[NO_LARGE_DAY_IN_DEFAULT_PARTITIONS]
    assert (warned.passed, warned.severity) == (False, AssetCheckSeverity.WARN)
    assert str(warned.description).startswith(f"audit_logs_default holds 1 entry of {day}: purging such a day takes")


def test_days_that_nobody_archives_or_purges_are_named(
    project: Project, clock: MovableClock, monkeypatch: pytest.MonkeyPatch, superuser_engine: sqlalchemy.Engine
) -> None:
    archived = project.sealed(days_ago=120)
    assert project.step(Action.ARCHIVE, archived).success
    waiting = [project.append(days_ago) for days_ago in range(112, 100, -1)]
    project.seal()
    clock.advance(days=9)
    monkeypatch.setattr(checks, "FIRST_DAY", waiting[1])
    found = failing(health(project))
    assert found[NO_DAY_TO_PURGE_OVERDUE].startswith(f"1 day should have been purged a day ago: {archived}; Dagster's")
    problem = found[NO_DAY_TO_ARCHIVE_OVERDUE]
    assert problem.startswith(f"12 days should have been archived a day ago: {waiting[0]}, {waiting[1]}")
    assert "and 2 more" in problem
    assert f"leave out {waiting[0]}: set AUDIT_LOG_FIRST_DAY to {waiting[0]} or earlier" in problem

    with superuser_engine.begin() as connection:
        connection.execute(text("DELETE FROM archive_backlog WHERE day = :day"), {"day": waiting[3]})
    assert failing(health(project))[NO_DAY_TO_ARCHIVE_OVERDUE].startswith(
        "more waits to be archived of 1 day than archive_backlog counts, so that no run would be asked for: "
        f"{waiting[3]}; find out who altered archive_backlog"
    )


def test_a_day_that_is_purged_while_its_rows_are_read_raises_no_alarm(
    project: Project, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = project.sealed(days_ago=100)
    assert project.step(Action.ARCHIVE, day).success
    clock.advance(days=8)
    read = checks._hot_rows

    def purged_just_before(*arguments: object) -> object:
        monkeypatch.setattr(checks, "_hot_rows", read)
        assert project.step(Action.PURGE, day).success
        return read(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(checks, "_hot_rows", purged_just_before)
    [evaluation] = project.run("daily_retention", day, checks=[ROWS_MATCH_LEDGER]).get_asset_check_evaluations()
    assert evaluation.passed
    assert evaluation.metadata["rows"].value == 0


def test_a_deleted_row_is_named_by_the_check_of_the_rows(project: Project, superuser_engine: sqlalchemy.Engine) -> None:
    day = project.sealed(days_ago=5)
    with superuser_engine.begin() as connection:
        connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        connection.exec_driver_sql("DELETE FROM audit_logs WHERE id = (SELECT max(id) FROM audit_logs)")
    [evaluation] = project.run("daily_retention", day, checks=[ROWS_MATCH_LEDGER]).get_asset_check_evaluations()
    assert not evaluation.passed
    assert str(evaluation.description).startswith("1 entry was deleted from segment 0, which had 3")


def part(day: date, *questions: Question) -> PartCheck:
    found = [PartFinding(Damage.OBJECT_ALTERED, each, day, 1, "key", f"wrong {each}") for each in questions]
    return PartCheck(day, 1, 3, 1000, tuple(found))


@pytest.mark.parametrize(
    ("found", "failed", "untold"),
    [
        ((), set(), set()),
        ((Question.MANIFEST,), {"manifest"}, set()),
        ((Question.CHECKSUM,), {"checksum"}, {"schema", "entry_count", "content"}),
        ((Question.SCHEMA,), {"schema"}, {"entry_count", "content"}),
        ((Question.ENTRY_COUNT,), {"entry_count"}, {"content"}),
        ((Question.CONTENT,), {"content"}, set()),
        ((Question.MANIFEST, Question.CONTENT), {"manifest", "content"}, set()),
        ((Question.SCHEMA, Question.ENTRY_COUNT), {"schema", "entry_count"}, {"content"}),
    ],
)
def test_each_check_of_an_archive_fails_for_its_own_question_and_for_those_that_were_never_reached(
    clock: MovableClock, found: tuple[Question, ...], failed: set[str], untold: set[str]
) -> None:
    answers = checks._answers(part(clock.moment.date(), *found))
    assert {str(question) for question, said in answers.items() if said == [f"wrong {question}"]} == failed
    unanswered = ["cannot be told: part 1 could not be read that far"]
    assert {str(question) for question, said in answers.items() if said == unanswered} == untold
