"""The one entry point for Dagster: every asset, check, job, schedule, sensor and resource, named one by one.

Here: what there is. Not here: how any of it works. Importing this connects to nothing and needs no secret: settings are
read when a run or a tick begins, except AUDIT_LOG_FIRST_DAY, with which the partitions begin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dagster import Definitions, in_process_executor

from compliance_pipelines.orchestration import alerting, checks, erasures, jobs, schedules, sensors
from compliance_pipelines.orchestration import conversations as conversation_retention
from compliance_pipelines.orchestration import sessions as session_retention
from compliance_pipelines.orchestration.alerts import LogAlertSink
from compliance_pipelines.orchestration.assets import cold, conversations, erasure, hot, ledger, sessions
from compliance_pipelines.orchestration.resources import ALERTS, SERVICES, ServicesResource

if TYPE_CHECKING:
    from collections.abc import Mapping


def build_definitions(overrides: Mapping[str, object] | None = None) -> Definitions:
    """The definitions, with some resources replaced.

    Args:
        overrides: resources by name (`services`, `alerts`), ready objects or Dagster resources.
    """
    return Definitions(
        assets=[*hot.ASSETS, *cold.ASSETS, *ledger.ASSETS, *conversations.ASSETS, *sessions.ASSETS, *erasure.ASSETS],
        asset_checks=[*checks.CHECKS, *conversation_retention.CHECKS, *session_retention.CHECKS, *erasures.CHECKS],
        jobs=[*jobs.JOBS, *conversation_retention.JOBS, *session_retention.JOBS, *erasures.JOBS],
        schedules=[
            *schedules.SCHEDULES,
            *conversation_retention.SCHEDULES,
            *session_retention.SCHEDULES,
            *erasures.SCHEDULES,
        ],
        sensors=[*sensors.SENSORS, *alerting.ALERT_SENSORS, *erasures.SENSORS],
        resources={SERVICES: ServicesResource(), ALERTS: LogAlertSink(), **(overrides or {})},
        # A process for each step costs seconds and gains nothing: parallelism comes from runs and within the domain.
        executor=in_process_executor,
    )


defs: Final = build_definitions()
