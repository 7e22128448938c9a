"""Dagster concept: jobs. Which assets and checks run together.

Here: selections. Not here: when a job runs (schedules.py, sensors.py), or for which day.
"""

from __future__ import annotations

from typing import Final

from dagster import AssetKey, AssetSelection, define_asset_job

from compliance_pipelines.orchestration.backlog import ASSETS, CHECKS, RETENTION_JOB
from compliance_pipelines.orchestration.keys import AUDIT_LOG_PARTITIONS, CHECKPOINT, HEALTH, HOT_PARTITION, STORE_HOLDS


def _keys(*keys: AssetKey) -> AssetSelection:
    return AssetSelection.assets(*keys).without_checks()


daily_retention = define_asset_job(
    RETENTION_JOB,
    selection=_keys(*(key for keys in ASSETS.values() for key in keys))
    | AssetSelection.checks(*(key for keys in CHECKS.values() for key in keys)),
    description="A day on its way out of PostgreSQL: observed, archived and read back, purged after the grace period. "
    "The schedule selects the step that a day is due for; all three at once suit a day whose grace is over.",
)

day_checks = define_asset_job(
    "day_checks",
    # The asset, which only looks, is what tells Dagster that the job is about days: of checks alone it does not see it.
    selection=_keys(HOT_PARTITION) | AssetSelection.checks(*(key for keys in CHECKS.values() for key in keys)),
    description="A day looked at again, purged or not: the rows in PostgreSQL against the ledger, then every part read "
    "back from the cold store. Changes nothing. Launch it with `dagster job launch` and the tag `dagster/partition`; "
    "the button on this page leaves out the checks of the cold store.",
)

partition_upkeep = define_asset_job(
    "partition_upkeep",
    selection=_keys(AUDIT_LOG_PARTITIONS),
    description="Makes the partitions of the coming days, drops past ones that are empty.",
)

seal = define_asset_job(
    "seal",
    selection=_keys(CHECKPOINT),
    description="Seals what was appended and signs a checkpoint. The sealing sensor does the same every minute without "
    "a run; this is for doing it by hand.",
)

hold_sync = define_asset_job(
    "hold_sync",
    selection=_keys(STORE_HOLDS),
    description="Brings the cold store's own holds in line with the legal holds in force, as `compliance hold sync` "
    "does.",
)

health_checks = define_asset_job(
    "health_checks",
    selection=AssetSelection.checks(*HEALTH),
    description="The checks that concern no single day.",
)

JOBS: Final = (daily_retention, day_checks, partition_upkeep, seal, hold_sync, health_checks)
