"""The sensor beside sealing: it asks at each tick, and tells once what changed."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
from dagster import AssetCheckEvaluation, DefaultSensorStatus, build_sensor_context

from compliance_pipelines.ledger.errors import CheckpointMissingError
from compliance_pipelines.ledger.log_reading import COSIGNED_KEY
from compliance_pipelines.ledger.sealing import SealResult
from compliance_pipelines.object_store.port import ObjectStoreError
from compliance_pipelines.orchestration import checks
from compliance_pipelines.orchestration.assets.ledger import checkpoint_materialization
from compliance_pipelines.orchestration.keys import CHECKPOINT, TIME_STAMPS, WITNESSES
from compliance_pipelines.orchestration.names import NAMES, Names
from compliance_pipelines.orchestration.outside import outside_sensor
from compliance_pipelines.orchestration.resources import SERVICES
from tests.support.replies import Reply
from tests.support.witness import Witness, cosigned_by, policy, witness

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dagster._core.definitions.sensor_definition import SensorExecutionData

    from compliance_pipelines.ledger.outside import Look
    from compliance_pipelines.services import Services
    from tests.conftest import MovableClock
    from tests.orchestration.conftest import Project


@dataclasses.dataclass
class Watching:
    """The sensor, tick by tick, with the cursor carried on as the daemon does."""

    project: Project
    services: Services
    cursor: str | None = None

    def tick(self) -> list[AssetCheckEvaluation]:
        """What it reported."""
        data = self.evaluate()
        self.cursor = data.cursor
        evaluations = []
        for event in data.asset_events:
            assert isinstance(event, AssetCheckEvaluation)
            self.project.instance.report_runless_asset_event(event)
            evaluations.append(event)
        return evaluations

    def evaluate(self) -> SensorExecutionData:
        context = build_sensor_context(
            instance=self.project.instance,
            repository_def=self.project.definitions.get_repository_def(),
            resources={SERVICES: self.services, NAMES: Names()},
            cursor=self.cursor,
        )
        return outside_sensor.evaluate_tick(context)


@pytest.fixture
def seen(services: Services) -> Iterator[Witness]:
    """A witness that knows the ledger."""
    vkey = services.verifier_key.to_note_string()
    with witness("w1.example", vkey, now=lambda: services.clock().timestamp()) as made:
        yield made


@pytest.fixture
def watching(project: Project, seen: Witness) -> Watching:
    settings = project.services.settings.model_copy(update={"ledger_witnesses": policy(seen, quorum="all")})
    return Watching(project, dataclasses.replace(project.services, settings=settings))


def test_it_is_on_without_anybody_turning_it_on_and_skips_where_nobody_is_to_be_asked(project: Project) -> None:
    assert outside_sensor.default_status is DefaultSensorStatus.RUNNING
    skipped = Watching(project, project.services).evaluate()
    assert skipped.skip_message == "Neither LEDGER_WITNESSES nor LEDGER_TSA_URL is set."


def test_each_tick_has_the_newest_checkpoint_cosigned_and_that_is_no_news(
    watching: Watching, project: Project, seen: Witness
) -> None:
    for _ in range(2):
        project.sealed(days_ago=1)
        assert watching.tick() == []
        assert cosigned_by(project.services.store.get_bytes(COSIGNED_KEY).decode(), seen)
    assert len(seen.requests) == 2
    note = watching.evaluate().skip_message or ""
    assert "witnesses: 2 of 2 records cosigned by 1 of w1" in note
    assert "time_stamps: No authority is configured (LEDGER_TSA_URL)." in note


def test_a_witness_that_is_away_for_too_long_fails_the_check_once_and_passes_it_once_when_it_is_back(
    watching: Watching, project: Project, seen: Witness, clock: MovableClock
) -> None:
    project.sealed(days_ago=1)
    seen.instead = lambda _body: Reply(503)
    assert watching.tick() == []
    clock.advance(seconds=watching.services.settings.ledger_witness_max_lag_seconds + 60)

    [failed] = watching.tick()
    assert (failed.asset_check_key, failed.passed) == (WITNESSES, False)
    assert "is not cosigned by 1 of w1" in (failed.description or "")
    assert watching.tick() == [], "it is known"
    seen.instead = None
    [passed] = watching.tick()
    assert passed.passed
    assert watching.tick() == []


def test_a_failure_that_lasts_is_said_again_after_a_checkpoint(
    watching: Watching, project: Project, seen: Witness
) -> None:
    project.sealed(days_ago=1)
    log = seen.logs[project.services.verifier_key.name]
    log.size, log.root = 1, bytes(32)
    [failed] = watching.tick()
    assert "has cosigned another checkpoint" in (failed.description or "")
    assert watching.tick() == []
    event = checkpoint_materialization(project.services, SealResult(), CHECKPOINT)
    project.instance.report_runless_asset_event(event)

    [again] = watching.tick()

    assert again.description == failed.description
    assert watching.tick() == []


def test_what_passes_by_itself_is_no_news_and_the_other_look_goes_on(
    watching: Watching, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.sealed(days_ago=1)

    def away(_services: Services) -> Look:
        raise ObjectStoreError("the store does not answer")

    def broken(_services: Services) -> Look:
        raise CheckpointMissingError("a day's checkpoint is none")

    monkeypatch.setattr(checks, "look_at_witnesses", away)
    monkeypatch.setattr(checks, "look_at_stamps", broken)

    [failed] = watching.tick()

    assert (failed.asset_check_key, failed.description) == (TIME_STAMPS, "a day's checkpoint is none")


def test_the_daily_checks_ask_too(watching: Watching, project: Project, seen: Witness) -> None:
    project.sealed(days_ago=1)

    assert checks.witnesses_verdict(watching.services).problem is None

    assert cosigned_by(project.services.store.get_bytes(COSIGNED_KEY).decode(), seen)
