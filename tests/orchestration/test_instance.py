"""dagster.yaml, as an instance takes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster._core.definitions.run_request import InstigatorType
from dagster._core.run_coordinator import QueuedRunCoordinator
from dagster._core.scheduler.instigation import TickStatus
from dagster_postgres import PostgresEventLogStorage, PostgresRunStorage, PostgresScheduleStorage

from compliance_pipelines.orchestration.keys import DATABASE_POOL

if TYPE_CHECKING:
    from dagster import DagsterInstance


def test_everything_is_kept_in_the_postgresql_that_the_environment_names(instance: DagsterInstance) -> None:
    assert isinstance(instance.run_storage, PostgresRunStorage)
    assert isinstance(instance.event_log_storage, PostgresEventLogStorage)
    assert isinstance(instance.schedule_storage, PostgresScheduleStorage)


def test_runs_queue_and_the_pool_has_two_slots(instance: DagsterInstance) -> None:
    assert isinstance(instance.run_coordinator, QueuedRunCoordinator)
    queue = instance.get_concurrency_config().run_queue_config
    assert queue is not None
    assert queue.max_concurrent_runs == 2
    instance.event_log_storage.initialize_concurrency_limit_to_default(DATABASE_POOL)
    claimed = [
        instance.event_log_storage.claim_concurrency_slot(DATABASE_POOL, f"run-{number}", "step").is_claimed
        for number in range(3)
    ]
    assert claimed == [True, True, False]


def test_runs_are_watched_bounded_and_robbed_of_their_slots_when_they_die(instance: DagsterInstance) -> None:
    assert instance.run_monitoring_enabled
    assert instance.run_monitoring_max_runtime_seconds == 7200
    assert instance.run_monitoring_settings["free_slots_after_run_end_seconds"] == 60
    assert instance.run_retries_enabled
    assert not instance.run_retries_retry_on_asset_or_op_failure


def test_ticks_do_not_pile_up(instance: DagsterInstance) -> None:
    sensors = instance.get_tick_retention_settings(InstigatorType.SENSOR)
    assert {sensors[status] for status in (TickStatus.SKIPPED, TickStatus.SUCCESS, TickStatus.FAILURE)} == {1, 7, 30}
    assert set(instance.get_tick_retention_settings(InstigatorType.SCHEDULE).values()) == {365}


def test_nothing_is_told_to_anybody(instance: DagsterInstance) -> None:
    assert not instance.telemetry_enabled
    assert not instance.nux_enabled
