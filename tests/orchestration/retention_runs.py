"""What the tests of both retentions do with Dagster: a day, its runs, and what the schedule asks for."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Final

import yaml
from dagster import Definitions, RunRequest, SkipReason, build_schedule_context, in_process_executor

from compliance_pipelines.erasure.redis_binding import bind_redis
from compliance_pipelines.orchestration.resources import SERVICES
from compliance_pipelines.services import Services

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

    from dagster import DagsterInstance, ExecuteInProcessResult, MetadataValue

    from tests.conftest import MovableClock

TODAY: Final = date(2026, 6, 10)


def noon(days_ago: int) -> datetime:
    """Noon of a day before TODAY."""
    return datetime.combine(TODAY, time(12), UTC) - timedelta(days=days_ago)


def services_of_today(services: Services, clock: MovableClock, **settings: Any) -> Services:  # noqa: ANN401 - theirs
    """The services with other settings, at five in the morning of TODAY, their Redis bound."""
    clock.moment = datetime.combine(TODAY, time(5), UTC)
    changed = services.settings.model_copy(update=settings)
    made = Services(changed, services.engine, services.store, services.keys, clock)
    bind_redis(made)
    return made


def definitions_of(services: Services, assets: ModuleType, retention: ModuleType) -> Definitions:
    """The definitions of one retention, carried out in this process."""
    return Definitions(
        assets=list(assets.ASSETS),
        asset_checks=list(retention.CHECKS),
        jobs=list(retention.JOBS),
        schedules=list(retention.SCHEDULES),
        resources={SERVICES: services},
        executor=in_process_executor,
    )


def run_job(
    definitions: Definitions, instance: DagsterInstance, job: str, day: date | None, ops: Mapping[str, object]
) -> ExecuteInProcessResult:
    """Run a job, of a day's partition where it has partitions; a failure is the result's."""
    return definitions.resolve_job_def(job).execute_in_process(
        instance=instance,
        partition_key=None if day is None else day.isoformat(),
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}, "ops": dict(ops)},
        raise_on_error=False,
    )


def metadata_of(result: ExecuteInProcessResult, step: str) -> dict[str, MetadataValue]:
    """What a step says of what it has materialized."""
    (materialization,) = result.asset_materializations_for_node(step)
    return dict(materialization.metadata)


def metadata_of_failure(result: ExecuteInProcessResult) -> Mapping[str, MetadataValue]:
    """What the one step that failed says of it."""
    (failure,) = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert failure.user_failure_data is not None
    return failure.user_failure_data.metadata


def config_told(result: ExecuteInProcessResult) -> dict[str, Any]:
    """The run config that the one step that failed asks for, as Dagster's pages would take it."""
    (failure,) = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert failure.user_failure_data is not None
    config = yaml.safe_load(str(failure.user_failure_data.description).rsplit("`", 2)[1])
    assert isinstance(config, dict)
    return config


def requested(instance: DagsterInstance, services: Services, schedule: Callable[..., object]) -> list[str | None]:
    """The days that a schedule asks for now."""
    with build_schedule_context(instance=instance, resources={SERVICES: services}) as context:
        answer = schedule(context)
    if isinstance(answer, SkipReason):
        return []
    assert isinstance(answer, list)
    return [request.partition_key for request in answer if isinstance(request, RunRequest)]
