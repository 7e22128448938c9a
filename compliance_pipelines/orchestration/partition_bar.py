"""Dagster concept: the status of a partition. Making it follow what checks that run without their asset find.

Here: turning the archive of a day red, and green again. Not here: what is wrong with it.

To Dagster a partition has failed when a run that meant to materialize it failed without doing so. A run of checks alone
means to materialize nothing, and would leave an archive green that it has just found damaged.
"""

# No postponed annotations: Dagster compares them with its classes.

from datetime import date
from typing import Final

from dagster import AssetExecutionContext, AssetKey, DagsterEvent, DagsterEventType
from dagster._core.events import AssetMaterializationPlannedData

from compliance_pipelines.archive.catalogue import facts_of_day
from compliance_pipelines.orchestration.day_events import Naming, archive_event
from compliance_pipelines.services import Services

NO_DAY_WAS_CHOSEN: Final = (
    "Nothing was looked at: these checks are about one day, and no day was chosen. Materialize the day's partition of "
    "the asset, with its checks, or launch the job `day_checks` for the day with `dagster job launch`."
)


def show_failed(context: AssetExecutionContext) -> None:
    """Let the run, which its blocking check fails, count as an attempt at the partition."""
    planned = DagsterEvent.build_asset_materialization_planned_event(
        context.job_name,
        context.op_execution_context.get_step_execution_context().step.key,
        AssetMaterializationPlannedData(_asset(context), partition=context.partition_key),
    )
    context.instance.report_dagster_event(planned, run_id=context.run.run_id)


def show_repaired(context: AssetExecutionContext, services: Services, day: date, naming: Naming) -> None:
    """Record the archive of a day that is whole, where the last attempt at it failed; else leave the record as it is.

    A day with entries that no part holds is not whole: why the attempt failed may be there.
    """
    with services.engine.connect() as connection:
        facts = facts_of_day(connection, day)
    if facts.parts and not facts.unarchived_segments and _failed_last(context):
        context.log_event(archive_event(services, day, naming))


def _asset(context: AssetExecutionContext) -> AssetKey:
    # A run of checks alone selects no asset.
    asset: AssetKey
    [asset] = {*context.selected_asset_keys, *(key.asset_key for key in context.selected_asset_check_keys)}
    return asset


def _failed_last(context: AssetExecutionContext) -> bool:
    asset, partition = _asset(context), context.partition_key
    planned = context.instance.get_latest_planned_materialization_info(asset, partition=partition)
    done = context.instance.event_log_storage.get_latest_storage_id_by_partition(
        asset, DagsterEventType.ASSET_MATERIALIZATION, {partition}
    )
    return planned is not None and planned.storage_id > done.get(partition, -1)
