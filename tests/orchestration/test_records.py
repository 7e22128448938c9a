"""What was archived, purged or erased without Dagster shows on its pages, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from dagster import build_sensor_context

from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.erasure.case import State
from compliance_pipelines.erasure.record import NewRequest, record_request
from compliance_pipelines.erasure.runner import run_due
from compliance_pipelines.orchestration import records
from compliance_pipelines.orchestration.assets.erasure import ERASURE
from compliance_pipelines.orchestration.backlog import Action
from compliance_pipelines.orchestration.keys import COLD_ARCHIVE, HOT_PARTITION, HOT_PURGE
from compliance_pipelines.orchestration.names import NAMES, Names
from compliance_pipelines.orchestration.resources import SERVICES
from compliance_pipelines.orchestration.sensors import records_sensor
from tests.integration.erasure.flaky import Shelf

if TYPE_CHECKING:
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
