"""One alert sensor, tick by tick, and the events that it is shown."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import sqlalchemy
from dagster import AssetCheckEvaluation, build_sensor_context

from compliance_pipelines.orchestration import alerting
from compliance_pipelines.orchestration.alerting import failed_checks_sensor, failed_runs_sensor
from compliance_pipelines.orchestration.keys import CONTENT
from compliance_pipelines.orchestration.names import NAMES, Names
from compliance_pipelines.orchestration.resources import ALERTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from dagster import AssetKey, Definitions, ExecuteInProcessResult, SensorDefinition

    from compliance_pipelines.orchestration.alerts import Alert
    from tests.orchestration.conftest import Project, RecordingSink


class Watching:
    """One alert sensor, tick by tick, with the cursor carried on as the daemon does."""

    def __init__(self, sensor: SensorDefinition, project: Project, sink: RecordingSink) -> None:
        self._sensor = sensor
        self._project = project
        self._sink = sink
        self.cursor: str | None = None
        self.started = datetime.now(UTC).timestamp()

    def tick(self) -> list[Alert]:
        """The alerts that this tick sent."""
        self._sink.alerts.clear()
        context = build_sensor_context(
            instance=self._project.instance,
            repository_def=self._project.definitions.get_repository_def(),
            resources={ALERTS: self._sink, NAMES: Names()},
            cursor=self.cursor,
            last_sensor_start_time=self.started,
        )
        self.cursor = self._sensor.evaluate_tick(context).cursor
        return list(self._sink.alerts)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the moment in which events settle."""
    monkeypatch.setattr(alerting, "SETTLING_TIME", timedelta())


@pytest.fixture
def runs(project: Project, sink: RecordingSink, at_once: None) -> Watching:
    watching = Watching(failed_runs_sensor, project, sink)
    assert watching.tick() == []
    return watching


@pytest.fixture
def checks(project: Project, sink: RecordingSink, at_once: None) -> Watching:
    return Watching(failed_checks_sensor, project, sink)


@pytest.fixture
def dagster_engine(project: Project) -> Iterator[sqlalchemy.Engine]:
    """The database of Dagster's own records, as Dagster would not touch it."""
    engine = sqlalchemy.create_engine(os.environ["DAGSTER_POSTGRES_URL"])
    yield engine
    engine.dispose()


def evaluate(project: Project, description: str | None, *, passed: bool = False, partition: str | None = None) -> None:
    project.instance.report_runless_asset_event(
        AssetCheckEvaluation(
            asset_key=CONTENT.asset_key,
            check_name=CONTENT.name,
            passed=passed,
            description=description,
            partition=partition,
        )
    )


def materialize(project: Project, definitions: Definitions, day: date, *keys: AssetKey) -> ExecuteInProcessResult:
    """Execute what a person chose on the page of assets, in the job of all assets; a failure is the result's."""
    return definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=project.instance, partition_key=day.isoformat(), asset_selection=list(keys), raise_on_error=False
    )
