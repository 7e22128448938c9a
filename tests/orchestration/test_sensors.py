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
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from compliance_pipelines.base.errors import TransientError
from compliance_pipelines.ledger.errors import CheckpointMissingError
from compliance_pipelines.ledger.log_reading import CHECKPOINT_KEY
from compliance_pipelines.ledger.sealing import SealResult
from compliance_pipelines.ledger.store import last_checkpoint
from compliance_pipelines.orchestration import sensors
from compliance_pipelines.orchestration.checks import Verdict
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
        for event in data.asset_events:
            self.project.instance.report_runless_asset_event(event)
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


@pytest.mark.usefixtures("patient_for_two_seconds")
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


@dataclasses.dataclass(frozen=True)
class Hidden:
    """A checkpoint that is not where it was published."""

    now: Path
    before: Path

    def bring_back(self) -> None:
        self.now.rename(self.before)


def hide_checkpoint(project: Project, directory: Path) -> Hidden:
    """Seal once, take the checkpoint out of the cold store, and append what cannot be sealed then."""
    project.sealed(days_ago=1)
    published = directory / "cold" / CHECKPOINT_KEY
    project.append(days_ago=1)
    project.settle()
    return Hidden(published.rename(directory / "hidden"), published)


def shown_failed(project: Project) -> set[str]:
    """Which of the two checks the pages show as failed."""
    latest = project.instance.event_log_storage.get_latest_asset_check_execution_by_key([SEALING, SEALING_LAG])
    return {key.name for key, record in latest.items() if record.status is AssetCheckExecutionRecordStatus.FAILED}


def test_a_failure_that_is_over_is_shown_as_over_when_the_cursor_was_reset(
    sealing: Sealing, project: Project, tmp_path: Path
) -> None:
    hidden = hide_checkpoint(project, tmp_path)
    assert [passed for _, passed, _ in evaluations(sealing.tick())] == [False]
    hidden.bring_back()
    sealing.cursor = None
    assert evaluations(sealing.tick()) == [(SEALING.name, True, "Sealing goes on.")]
    assert shown_failed(project) == set()
    assert evaluations(sealing.tick()) == []


def test_what_the_daily_checks_found_while_the_sensor_was_off_is_over_when_it_is_on_again(
    sealing: Sealing, project: Project, clock: MovableClock, tmp_path: Path
) -> None:
    sealing.tick()
    hidden = hide_checkpoint(project, tmp_path)
    clock.advance(seconds=1000)
    assert project.run("health_checks").success
    assert shown_failed(project) == {SEALING.name, SEALING_LAG.name}
    hidden.bring_back()
    assert {(name, passed) for name, passed, _ in evaluations(sealing.tick())} == {
        (SEALING.name, True),
        (SEALING_LAG.name, True),
    }
    assert shown_failed(project) == set()
    assert evaluations(sealing.tick()) == []


def test_a_pass_that_seals_does_not_pass_over_what_else_the_daily_check_found(
    sealing: Sealing, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entries in quarantine stop no pass, and fail the check all the same."""
    found = Verdict("3 entries are in quarantine", "")
    monkeypatch.setattr(sensors, "sealing_verdict", lambda _: found)
    project.instance.report_runless_asset_event(found.evaluation(SEALING))
    assert evaluations(sealing.tick()) == []
    assert shown_failed(project) == {SEALING.name}
    # A checkpoint makes a failure history to Dagster's page: it is said again, after it.
    project.append(days_ago=1)
    project.settle()
    assert evaluations(sealing.tick()) == [(SEALING.name, False, "3 entries are in quarantine")]
    assert evaluations(sealing.tick()) == []


@pytest.mark.parametrize("how", ["a passing fault", "another process"])
def test_a_pass_that_was_put_off_says_nothing_of_why_sealing_stopped(
    sealing: Sealing, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    def lost(_: Services) -> SealResult:
        raise TransientError("the connection was lost")

    hidden = hide_checkpoint(project, tmp_path)
    assert [passed for _, passed, _ in evaluations(sealing.tick())] == [False]
    with monkeypatch.context() as interrupted:
        interrupted.setattr(sensors, "seal", lost if how == "a passing fault" else lambda _: SealResult(busy=True))
        assert evaluations(sealing.tick()) == []
    assert shown_failed(project) == {SEALING.name}
    with pytest.raises(CheckpointMissingError):
        sealing.tick()
    hidden.bring_back()
    assert evaluations(sealing.tick()) == [(SEALING.name, True, "Sealing goes on.")]


def test_a_daily_check_that_does_not_see_why_sealing_stopped_makes_nothing_green(
    sealing: Sealing, project: Project, tmp_path: Path
) -> None:
    hide_checkpoint(project, tmp_path)
    assert [passed for _, passed, _ in evaluations(sealing.tick())] == [False]
    project.instance.report_runless_asset_event(Verdict(None, "Nothing found.").evaluation(SEALING))
    assert [passed for _, passed, _ in evaluations(sealing.tick())] == [False]
    assert shown_failed(project) == {SEALING.name}
    with pytest.raises(CheckpointMissingError):
        sealing.tick()
