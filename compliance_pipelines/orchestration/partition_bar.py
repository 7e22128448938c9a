"""Dagster concept: the status of a partition. Making it follow what checks that run without their asset find.

Here: turning a day red whose checks failed or could not look, and green again. Not here: what is wrong with it.

To Dagster a partition has failed when a run that meant to materialize it failed without doing so. A run of checks alone
means to materialize nothing, and would leave a day green that it has just found damaged, or could not look at.
"""

# No postponed annotations: Dagster compares them with its classes.

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from dagster import AssetKey, AssetMaterialization, DagsterEvent, DagsterEventType, Failure, OpExecutionContext
from dagster._core.events import AssetMaterializationPlannedData

from compliance_pipelines.orchestration.failures import RETRIES, domain_errors

NO_DAY_WAS_CHOSEN: Final = (
    "Nothing was looked at: these checks are about one day, and no day was chosen. Materialize the day's partition of "
    "the asset, with its checks, or launch the job `day_checks` for the day with `dagster job launch`."
)


@contextmanager
def looking_at(context: OpExecutionContext, asset: AssetKey) -> Iterator[None]:
    """Look at a day, with `domain_errors`. A day that is shown as materialized, and cannot be looked at, has failed.

    Raises:
        Failure: as `domain_errors` does.
    """
    try:
        with domain_errors():
            yield
    except Exception as error:
        # An attempt that is followed by another says nothing yet, and its run may well succeed.
        if not _is_tried_again(context, error) and context.partition_key in _materialized(context, asset):
            show_failed(context, asset)
        raise


def show_failed(context: OpExecutionContext, asset: AssetKey) -> None:
    """Let the run, which its blocking check fails, count as an attempt at the partition of that asset."""
    planned = DagsterEvent.build_asset_materialization_planned_event(
        context.job_name,
        context.get_step_execution_context().step.key,
        AssetMaterializationPlannedData(asset, partition=context.partition_key),
    )
    context.instance.report_dagster_event(planned, run_id=context.run.run_id)


def show_repaired(context: OpExecutionContext, asset: AssetKey, event: Callable[[], AssetMaterialization]) -> None:
    """Record the event of a day that is whole, where the last attempt at it failed; else leave the record as it is."""
    planned = context.instance.get_latest_planned_materialization_info(asset, partition=context.partition_key)
    done = _materialized(context, asset).get(context.partition_key, -1)
    if planned is not None and planned.storage_id > done:
        context.log_event(event())


def _materialized(context: OpExecutionContext, asset: AssetKey) -> dict[str, int]:
    """The number of the last materialization of the partition, if there is one."""
    latest = context.instance.event_log_storage.get_latest_storage_id_by_partition(
        asset, DagsterEventType.ASSET_MATERIALIZATION, {context.partition_key}
    )
    return dict(latest)


def _is_tried_again(context: OpExecutionContext, error: Exception) -> bool:
    if isinstance(error, Failure) and not error.allow_retries:
        return False
    retried = not context.get_step_execution_context().retry_mode.disabled
    return retried and context.retry_number < RETRIES.max_retries
