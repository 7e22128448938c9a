"""Open erasure requests start runs, runs carry them out, and nobody misses a deadline unseen."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from dagster import (
    AssetCheckSeverity,
    DagsterInstance,
    Definitions,
    RunRequest,
    SkipReason,
    build_sensor_context,
    in_process_executor,
)
from pydantic import SecretStr

from compliance_pipelines.base.health import HealthCheck
from compliance_pipelines.erasure.decisions import Correction, correct, extend, refuse, withdraw
from compliance_pipelines.erasure.record import Case, NewRequest, State, load, record_request
from compliance_pipelines.holds import HoldScope
from compliance_pipelines.holds.record import NewHold, add_hold
from compliance_pipelines.orchestration import erasures
from compliance_pipelines.orchestration.assets import erasure
from compliance_pipelines.orchestration.names import NAMES, Names
from compliance_pipelines.orchestration.resources import SERVICES
from tests.integration.erasure.flaky import Shelf

if TYPE_CHECKING:
    from dagster import AssetCheckEvaluation, ExecuteInProcessResult

    from compliance_pipelines.services import Services
    from compliance_pipelines.settings import Settings
    from tests.conftest import MovableClock

ALICE = "user:alice"


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """The one target: a fake at the seam that the project owns; real targets are tested in integration/erasure."""
    target = Shelf().put("a", "b")
    monkeypatch.setattr(erasure, "configured_targets", lambda _: [target])
    return target


@pytest.fixture
def definitions(services: Services) -> Definitions:
    return definitions_over(services)


def definitions_over(services: Services) -> Definitions:
    return Definitions(
        assets=list(erasure.ASSETS),
        asset_checks=list(erasures.CHECKS),
        jobs=list(erasures.JOBS),
        schedules=list(erasures.SCHEDULES),
        sensors=list(erasures.SENSORS),
        resources={SERVICES: services},
        executor=in_process_executor,
    )


def ask(services: Services, *, days_ago: float = 0) -> Case:
    received = services.clock() - timedelta(days=days_ago)
    return record_request(services, NewRequest(ALICE, "asked", "support", received))[0]


def run(definitions: Definitions, instance: DagsterInstance, job: str = "gdpr_erasure") -> ExecuteInProcessResult:
    return definitions.resolve_job_def(job).execute_in_process(
        instance=instance,
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        raise_on_error=False,
    )


def tick(services: Services, instance: DagsterInstance) -> RunRequest | SkipReason:
    context = build_sensor_context(instance=instance, resources={SERVICES: services, NAMES: Names()})
    answer = erasures.gdpr_erasure_sensor(context)
    assert isinstance(answer, RunRequest | SkipReason)
    return answer


def deadline_check(definitions: Definitions, instance: DagsterInstance) -> AssetCheckEvaluation:
    return evaluation_of(definitions, instance, "deadlines")


def evaluation_of(definitions: Definitions, instance: DagsterInstance, name: str) -> AssetCheckEvaluation:
    found = run(definitions, instance, "gdpr_deadlines").get_asset_check_evaluations()
    return next(each for each in found if each.check_name == name)


def state(services: Services, case: Case) -> State:
    with services.engine.connect() as connection:
        return load(connection, case.request.id).state


def test_a_run_carries_out_what_is_open_and_shows_nobody_whose_it_was(
    services: Services, definitions: Definitions, instance: DagsterInstance, shelf: Shelf, clock: MovableClock
) -> None:
    case = ask(services)
    clock.advance(seconds=1)
    result = run(definitions, instance)
    assert result.success
    assert state(services, case) is State.CLOSED
    assert shelf.things == {}
    (materialization,) = result.asset_materializations_for_node("gdpr__erasure")
    metadata = materialization.metadata
    assert (metadata["closed"].value, metadata["items deleted"].value, metadata["open requests"].value) == (1, 2, 0)
    assert ALICE not in str(result.all_events)


def test_a_target_that_fails_fails_the_run_without_a_retry_and_the_request_stays_open(
    services: Services, definitions: Definitions, instance: DagsterInstance, shelf: Shelf, clock: MovableClock
) -> None:
    case = ask(services)
    clock.advance(seconds=1)
    shelf.fails = OSError("disk on fire")
    result = run(definitions, instance)
    assert not result.success
    assert state(services, case) is State.PARTIAL
    assert shelf.calls.count("find") == 1
    (failure,) = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert failure.user_failure_data is not None
    assert f"erasure requests {case.request.id} stay open" in str(failure.user_failure_data.description)


def test_a_held_request_fails_nothing_and_stays_open(
    services: Services, definitions: Definitions, instance: DagsterInstance, shelf: Shelf, clock: MovableClock
) -> None:
    add_hold(services, NewHold(HoldScope.EVERYTHING, "case 7", "counsel"))
    case = ask(services)
    clock.advance(seconds=1)
    assert run(definitions, instance).success
    assert state(services, case) is State.HELD
    assert set(shelf.things) == {"a", "b"}


def test_the_sensor_starts_one_run_for_an_open_request_and_another_when_its_pause_is_over(
    services: Services, definitions: Definitions, instance: DagsterInstance, shelf: Shelf, clock: MovableClock
) -> None:
    assert isinstance(tick(services, instance), SkipReason)
    ask(services)
    clock.advance(seconds=1)
    first = tick(services, instance)
    assert isinstance(first, RunRequest)
    assert tick(services, instance) == first
    shelf.fails = OSError()
    run(definitions, instance)
    assert isinstance(tick(services, instance), SkipReason)
    clock.advance(minutes=6)
    again = tick(services, instance)
    assert isinstance(again, RunRequest)
    assert again.run_key != first.run_key


def test_a_run_that_never_began_its_attempt_is_asked_for_again_within_the_hour(
    services: Services, instance: DagsterInstance, clock: MovableClock
) -> None:
    ask(services)
    clock.advance(seconds=1)
    first = tick(services, instance)
    clock.advance(hours=1)
    again = tick(services, instance)
    assert isinstance(first, RunRequest)
    assert isinstance(again, RunRequest)
    assert again.run_key != first.run_key


def test_no_second_run_is_started_while_one_is_under_way(
    services: Services, definitions: Definitions, instance: DagsterInstance, clock: MovableClock
) -> None:
    ask(services)
    clock.advance(seconds=1)
    instance.create_run_for_job(definitions.resolve_job_def("gdpr_erasure"))
    assert tick(services, instance) == SkipReason("A run for erasures is under way.")


def test_the_check_warns_from_7_days_before_a_deadline_and_fails_after_it(
    services: Services, definitions: Definitions, instance: DagsterInstance, clock: MovableClock
) -> None:
    nothing = deadline_check(definitions, instance)
    assert nothing.passed
    assert "days to the nearest deadline" not in nothing.metadata
    case = ask(services)
    seen = {}
    for days_before in (8, 7, 0, -1):
        clock.moment += timedelta(days=(case.request.deadline - clock.moment.date()).days - days_before)
        checked = deadline_check(definitions, instance)
        seen[days_before] = (checked.passed, checked.severity)
        assert checked.metadata["days to the nearest deadline"].value == days_before
    assert seen == {
        8: (True, AssetCheckSeverity.WARN),
        7: (False, AssetCheckSeverity.WARN),
        0: (False, AssetCheckSeverity.WARN),
        -1: (False, AssetCheckSeverity.ERROR),
    }


def test_the_check_goes_by_the_extended_deadline_and_knows_nothing_of_requests_that_were_withdrawn_or_refused(
    services: Services, definitions: Definitions, instance: DagsterInstance, clock: MovableClock
) -> None:
    case = ask(services)
    extend(services, case.request.id, by="dpo", reason="many systems")
    clock.moment += timedelta(days=(case.request.deadline - clock.moment.date()).days + 1)
    assert deadline_check(definitions, instance).passed
    clock.moment += timedelta(days=62)
    late = deadline_check(definitions, instance)
    assert (late.passed, late.severity) == (False, AssetCheckSeverity.ERROR)
    refuse(services, case.request.id, by="dpo", reason="asks every day")
    assert deadline_check(definitions, instance).passed


def test_a_corrected_request_is_run_at_once_and_a_withdrawn_one_never(
    services: Services, instance: DagsterInstance, clock: MovableClock
) -> None:
    case = ask(services)
    clock.advance(seconds=1)
    first = tick(services, instance)
    correct(services, case.request.id, Correction(subject="user:carol"), by="dpo", reason="mistyped")
    clock.advance(minutes=2)
    again = tick(services, instance)
    assert isinstance(first, RunRequest)
    assert isinstance(again, RunRequest)
    assert first.run_key != again.run_key
    withdraw(services, case.request.id, by="dpo", reason="no more")
    assert tick(services, instance) == SkipReason("No erasure request is due.")


def test_the_check_is_evaluated_with_every_run_and_once_a_day(definitions: Definitions) -> None:
    assert erasures.gdpr_deadlines_schedule.cron_schedule == "15 6 * * *"
    keys = definitions.resolve_job_def("gdpr_erasure").asset_layer.asset_graph.asset_check_keys
    assert keys == {erasures.DEADLINES}


def test_a_place_that_cannot_be_looked_at_fails_a_check_before_any_request_needs_it(
    services: Services, definitions: Definitions, instance: DagsterInstance, settings: Settings
) -> None:
    assert evaluation_of(definitions, instance, "places_in_order").passed
    update = {"gdpr_session_redis_url": SecretStr("redis://127.0.0.1:1/0")}
    away = replace(services, settings=settings.model_copy(update=update))
    evaluation = evaluation_of(definitions_over(away), instance, "places_in_order")
    assert not evaluation.passed
    assert evaluation.severity is AssetCheckSeverity.ERROR
    assert "GDPR_SESSION_REDIS_URL: connection: it cannot be told" in str(evaluation.description)


def test_what_only_makes_a_loss_possible_is_a_warning() -> None:
    failing = [HealthCheck("R: memory", "it drops keys", "do not", is_risk=True), HealthCheck("R: rights", "all", None)]
    assert erasures._places_verdict(failing).severity is AssetCheckSeverity.WARN
    worse = [*failing, HealthCheck("R: rights", "none", "grant")]
    assert erasures._places_verdict(worse).severity is AssetCheckSeverity.ERROR
