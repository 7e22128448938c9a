"""What was archived, purged or erased without Dagster shows on its pages, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from dagster import DagsterRunStatus, build_sensor_context
from dagster._core.definitions.data_version import DATA_VERSION_TAG

from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.erasure.case import State
from compliance_pipelines.erasure.record import NewRequest, record_request
from compliance_pipelines.erasure.runner import run_due
from compliance_pipelines.orchestration import records
from compliance_pipelines.orchestration.assets.erasure import ERASURE
from compliance_pipelines.orchestration.backlog import Action
from compliance_pipelines.orchestration.day_events import hot_day
from compliance_pipelines.orchestration.keys import COLD_ARCHIVE, HOT_PARTITION, HOT_PURGE
from compliance_pipelines.orchestration.names import NAMES, Names
from compliance_pipelines.orchestration.resources import SERVICES
from compliance_pipelines.orchestration.sensors import records_sensor
from tests.integration.erasure.flaky import Shelf
from tests.support.damage import flip

if TYPE_CHECKING:
    from pathlib import Path

    import sqlalchemy
    from dagster import AssetKey

    from tests.conftest import MovableClock
    from tests.orchestration.conftest import Project

Reported = list[tuple[str, str | None]]


class Comparing:
    """The sensor of one project, tick by tick, with its events recorded and its cursor carried on."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self.cursor: str | None = None

    def tick(self) -> Reported:
        context = build_sensor_context(
            instance=self._project.instance,
            repository_def=self._project.definitions.get_repository_def(),
            resources={SERVICES: self._project.services, NAMES: Names()},
            cursor=self.cursor,
        )
        data = records_sensor.evaluate_tick(context)
        self.cursor = data.cursor
        for event in data.asset_events:
            self._project.instance.report_runless_asset_event(event)
        return [(event.asset_key.path[-1], event.partition) for event in data.asset_events]


@pytest.fixture
def comparing(project: Project) -> Comparing:
    return Comparing(project)


def shown(project: Project, asset: AssetKey) -> dict[str, object]:
    [record] = project.instance.fetch_materializations(asset, limit=1).records
    assert record.asset_materialization is not None
    return {key: value.value for key, value in record.asset_materialization.metadata.items()}


def row_count(project: Project) -> object:
    return shown(project, HOT_PARTITION)["dagster/partition_row_count"]


def version(project: Project, asset: AssetKey) -> str | None:
    [record] = project.instance.fetch_materializations(asset, limit=1).records
    assert record.asset_materialization is not None
    return (record.asset_materialization.tags or {}).get(DATA_VERSION_TAG)


def test_what_the_command_line_did_with_a_day_is_shown_once(
    project: Project, comparing: Comparing, clock: MovableClock
) -> None:
    day = project.sealed(days_ago=100)
    assert comparing.tick() == []
    archive_day(project.services, day)
    assert comparing.tick() == [("hot_partition", str(day)), ("cold_archive", str(day))]
    assert shown(project, COLD_ARCHIVE)["dagster/partition_row_count"] == 3
    assert comparing.tick() == []
    clock.advance(days=8)
    purge_day(project.services, day)
    assert comparing.tick() == [("hot_partition", str(day)), ("hot_purge", str(day))]
    assert (shown(project, HOT_PARTITION)["state"], shown(project, HOT_PURGE)["purged entries"]) == ("purged", 3)
    assert comparing.tick() == []
    assert Comparing(project).tick() == []


def test_what_runs_did_is_known(project: Project, comparing: Comparing, clock: MovableClock) -> None:
    day = project.sealed(days_ago=100)
    assert project.step(Action.ARCHIVE, day).success
    assert comparing.tick() == []
    clock.advance(days=8)
    assert project.step(Action.PURGE, day).success
    assert comparing.tick() == []


def test_a_late_entry_of_a_purged_day_is_shown_on_the_hot_partition(
    project: Project, comparing: Comparing, clock: MovableClock
) -> None:
    day = project.sealed(days_ago=100)
    assert project.step(Action.ARCHIVE, day).success
    clock.advance(days=8)
    assert project.step(Action.PURGE, day).success
    assert comparing.tick() == []
    assert project.append(days_ago=108, count=1) == day
    assert comparing.tick() == [("hot_partition", str(day))]
    assert (shown(project, HOT_PARTITION)["state"], row_count(project)) == ("open", 1)
    assert comparing.tick() == []
    project.seal()
    assert comparing.tick() == [("hot_partition", str(day))]
    assert (shown(project, HOT_PARTITION)["state"], row_count(project)) == ("sealed", 1)
    assert version(project, HOT_PARTITION) == hot_day(project.services, day)[1].value
    assert comparing.tick() == []
    archive_day(project.services, day)
    assert comparing.tick() == [("cold_archive", str(day))]
    clock.advance(days=8)
    purge_day(project.services, day)
    assert comparing.tick() == [("hot_partition", str(day)), ("hot_purge", str(day))]
    assert (shown(project, HOT_PARTITION)["state"], row_count(project)) == ("purged", 0)
    assert comparing.tick() == []
    assert Comparing(project).tick() == []


def test_an_archive_that_was_found_damaged_is_reported_when_it_was_found_whole(
    project: Project, comparing: Comparing, tmp_path: Path
) -> None:
    """An event would turn the day green."""
    day = project.sealed(days_ago=100)
    archive_day(project.services, day)
    flip(tmp_path / "cold")
    assert not project.run("day_checks", day).success
    for _ in range(2):
        assert comparing.tick() == []
    flip(tmp_path / "cold")
    assert project.run("day_checks", day).success
    assert shown(project, COLD_ARCHIVE)["dagster/partition_row_count"] == 3
    assert comparing.tick() == []


def test_altered_rows_are_not_hidden_by_a_late_entry_of_their_day(
    project: Project, comparing: Comparing, clock: MovableClock, superuser_engine: sqlalchemy.Engine
) -> None:
    def rewrite(result: str) -> None:
        with superuser_engine.begin() as connection:
            connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
            connection.exec_driver_sql(
                "UPDATE audit_logs SET result = %s WHERE id = (SELECT min(id) FROM audit_logs)", (result,)
            )

    day = project.sealed(days_ago=100)
    assert project.step(Action.ARCHIVE, day).success
    rewrite("failure")
    assert not project.run("day_checks", day).success
    project.append(days_ago=100, count=1)
    project.seal()
    assert comparing.tick() == []
    rewrite("success")
    archive_day(project.services, day)
    clock.advance(days=8)
    purge_day(project.services, day)
    assert comparing.tick() == [(asset, str(day)) for asset in ("hot_partition", "cold_archive", "hot_purge")]
    assert comparing.tick() == []


def test_a_long_history_is_gone_through_in_steps(
    project: Project, comparing: Comparing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "DAYS_PER_TICK", 2)
    days = [project.append(days_ago) for days_ago in (103, 102, 101)]
    project.seal()
    for day in days:
        archive_day(project.services, day)
    found = [{day for _, day in comparing.tick()} for _ in range(3)]
    assert found == [{str(days[0]), str(days[1])}, {str(days[2])}, set()]


def test_an_erasure_that_the_command_line_carried_out_is_shown_once(
    project: Project, comparing: Comparing, clock: MovableClock
) -> None:
    record_request(project.services, NewRequest("user:9", "asked", "support", project.services.clock()))
    clock.advance(seconds=1)
    assert comparing.tick() == []
    [case] = run_due(project.services, lambda: [Shelf().put("a", "b")])
    assert case.state is State.CLOSED
    assert comparing.tick() == [("erasure", None)]
    assert (shown(project, ERASURE)["closed"], shown(project, ERASURE)["open requests"]) == (1, 0)
    assert comparing.tick() == []
    assert Comparing(project).tick() == []


def closed_request(project: Project, user: str) -> None:
    record_request(project.services, NewRequest(user, "asked", "support", project.services.clock()))
    [case] = run_due(project.services, lambda: [Shelf().put("a", "b")])
    assert case.state is State.CLOSED


def test_erasures_of_a_run_that_is_under_way_are_left_to_it(project: Project, comparing: Comparing) -> None:
    run = project.instance.create_run_for_job(
        project.definitions.resolve_job_def("gdpr_erasure"), status=DagsterRunStatus.STARTED
    )
    closed_request(project, "user:9")
    assert comparing.tick() == []
    project.instance.report_run_failed(run)
    assert comparing.tick() == [("erasure", None)]


def test_a_sensor_whose_cursor_was_reset_knows_every_erasure_that_was_shown(
    project: Project, comparing: Comparing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "_ERASURE_EVENTS", 1)
    for user in ("user:7", "user:8", "user:9"):
        closed_request(project, user)
        assert comparing.tick() == [("erasure", None)]
    assert Comparing(project).tick() == []


def test_what_was_done_while_the_sensor_was_off_is_shown_when_it_is_on_again(
    project: Project, comparing: Comparing
) -> None:
    """Time does not count, and the cursor is as it was left."""
    comparing.tick()
    day = project.sealed(days_ago=100)
    archive_day(project.services, day)
    closed_request(project, "user:9")
    assert set(comparing.tick()) == {("hot_partition", str(day)), ("cold_archive", str(day)), ("erasure", None)}
    assert comparing.tick() == []
