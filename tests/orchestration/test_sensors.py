"""The sealing sensor: a bounded pass a tick, and what it tells when it cannot go on."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
from dagster import (
    AssetCheckEvaluation,
    AssetMaterialization,
    DefaultSensorStatus,
    TableMetadataValue,
    build_sensor_context,
)

from compliance_pipelines.base.errors import TransientError
from compliance_pipelines.ledger.errors import CheckpointMissingError
from compliance_pipelines.ledger.log_reading import CHECKPOINT_KEY
from compliance_pipelines.ledger.store import last_checkpoint
from compliance_pipelines.orchestration import sensors
from compliance_pipelines.orchestration.keys import CHECKPOINT, SEALING, SEALING_LAG
from compliance_pipelines.orchestration.names import NAMES, Names
from compliance_pipelines.orchestration.resources import SERVICES
from compliance_pipelines.orchestration.sensors import sealing_sensor
from compliance_pipelines.postgres.locks import process_lock

if TYPE_CHECKING:
    from pathlib import Path

    import sqlalchemy
    from dagster._core.definitions.sensor_definition import SensorExecutionData

    from compliance_pipelines.services import Services
    from tests.conftest import MovableClock
    from tests.orchestration.conftest import Project


@dataclasses.dataclass
class Sealing:
    """The sensor, tick by tick, with the cursor carried on as the daemon does."""

    project: Project
    services: Services
    cursor: str | None = None

    def tick(self) -> SensorExecutionData:
        context = build_sensor_context(
            instance=self.project.instance,
            repository_def=self.project.definitions.get_repository_def(),
            resources={SERVICES: self.services, NAMES: Names()},
            cursor=self.cursor,
        )
        data = sealing_sensor.evaluate_tick(context)
        self.cursor = data.cursor
        return data


@pytest.fixture
def sealing(project: Project) -> Sealing:
    return Sealing(project, project.services)


def metadata(data: SensorExecutionData) -> dict[str, Any]:
    [event] = data.asset_events
    assert isinstance(event, AssetMaterialization)
    assert event.asset_key == CHECKPOINT
    return {
        key: value.records if isinstance(value, TableMetadataValue) else value.value
        for key, value in event.metadata.items()
    }


def evaluations(data: SensorExecutionData) -> list[tuple[str, bool, str]]:
    return [
        (event.check_name, event.passed, event.description or "")
        for event in data.asset_events
        if isinstance(event, AssetCheckEvaluation)
    ]


def last_size(services: Services) -> int:
    with services.engine.connect() as connection:
        last = last_checkpoint(connection)
    return 0 if last is None else last.size


def test_it_ticks_every_minute_and_is_on() -> None:
    assert sealing_sensor.minimum_interval_seconds == 60
    assert sealing_sensor.default_status is DefaultSensorStatus.RUNNING


def test_a_tick_seals_and_shows_the_new_checkpoint(sealing: Sealing, project: Project) -> None:
    project.append(days_ago=1, count=3)
    project.append(days_ago=2, count=2)
    project.settle()
    shown = metadata(sealing.tick())
    with project.services.engine.connect() as connection:
        head = last_checkpoint(connection)
    assert head is not None
    assert (shown["entries sealed"], shown["size"], shown["root"]) == (5, 2, head.root.hex())
    assert shown["uri"].startswith("file:///")
    assert sorted(row.data["entries"] for row in shown["new segments"]) == [2, 3]

    quiet = sealing.tick()
    assert (quiet.asset_events, quiet.skip_message) == ([], "Nothing to seal.")


def test_a_tick_is_bounded_and_the_next_one_goes_on(sealing: Sealing, project: Project) -> None:
    for days_ago in (1, 2, 3):
        project.append(days_ago, count=2)
    project.settle()
    settings = project.services.settings.model_copy(update={"ledger_seal_max_entries": 4})
    sealing.services = dataclasses.replace(project.services, settings=settings)
    assert [metadata(sealing.tick())["entries sealed"] for _ in range(2)] == [4, 2]
    assert sealing.tick().asset_events == []


def test_when_sealing_stops_its_check_fails_once_and_passes_once_when_it_goes_on(
    sealing: Sealing, project: Project, tmp_path: Path
) -> None:
    project.append(days_ago=1)
    project.settle()
    sealing.tick()
    published = tmp_path / "cold" / CHECKPOINT_KEY
    hidden = published.rename(tmp_path / "hidden")
    project.append(days_ago=1)
    project.settle()

    [(check, passed, description)] = evaluations(sealing.tick())
    assert (check, passed) == (SEALING.name, False)
    assert "is no longer there" in description
    for _ in range(2):
        with pytest.raises(CheckpointMissingError):
            sealing.tick()
    assert last_size(project.services) == 1

    hidden.rename(published)
    resumed = sealing.tick()
    assert evaluations(resumed) == [(SEALING.name, True, "Sealing goes on.")]
    assert last_size(project.services) == 2
    assert evaluations(sealing.tick()) == []


def test_entries_that_an_open_transaction_holds_back_are_no_news_until_the_lag_is_too_large(
    sealing: Sealing, project: Project, clock: MovableClock, superuser_engine: sqlalchemy.Engine
) -> None:
    project.settle()
    with superuser_engine.connect() as open_transaction:
        open_transaction.exec_driver_sql("SELECT pg_current_xact_id()")
        project.append(days_ago=1)
        assert sealing.tick().asset_events == []

        clock.advance(seconds=400)
        late = sealing.tick()
        [(check, passed, description)] = evaluations(late)
        assert (check, passed) == (SEALING_LAG.name, False)
        assert "LEDGER_SEAL_MAX_LAG_SECONDS" in description
        [event] = late.asset_events
        assert event.metadata["lag seconds"].value == pytest.approx(400, abs=90)
        assert sealing.tick().asset_events == []
    project.settle()
    assert evaluations(sealing.tick()) == [(SEALING_LAG.name, True, "Everything is sealed.")]


def test_a_passing_fault_is_put_off_without_a_word(sealing: Sealing, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(_: Services) -> None:
        raise TransientError("the connection was lost")

    monkeypatch.setattr(sensors, "seal", lost)
    put_off = sealing.tick()
    assert put_off.asset_events == []
    assert put_off.skip_message == "Put off until the next tick: the connection was lost"


def test_a_lock_of_sealing_that_stayed_behind_is_told(sealing: Sealing, project: Project) -> None:
    settings = project.services.settings.model_copy(update={"ledger_seal_max_busy_seconds": 1})
    engine = project.services.engine
    with engine.connect() as connection, process_lock(connection, "sealing", doing="sealing"):
        early = sealing.tick()
        assert (early.skip_message or "").startswith("Another process is sealing (session ")
        assert early.asset_events == []
        sealing.services = dataclasses.replace(project.services, settings=settings)
        [(name, passed, reason)] = evaluations(sealing.tick())
        assert (name, passed) == (SEALING.name, False)
        assert "pg_terminate_backend" in reason
    sealing.services = project.services
    assert evaluations(sealing.tick()) == [(SEALING.name, True, "Sealing goes on.")]
