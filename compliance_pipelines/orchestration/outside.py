"""Dagster concept: sensors. Having somebody outside see the ledger, beside sealing and never in its way.

Here: when witnesses and the time-stamp authority are asked, and which answers are news. Not here: asking and judging
(ledger/outside.py, through checks.py), sealing (sensors.py).
"""

# No postponed annotations: Dagster reads them to know the resources.

import json
from collections.abc import Callable
from typing import Final

from dagster import (
    AssetCheckEvaluation,
    AssetCheckKey,
    AssetSelection,
    DagsterInstance,
    DefaultSensorStatus,
    ResourceParam,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from compliance_pipelines.orchestration.checks import Verdict, time_stamps_verdict, witnesses_verdict
from compliance_pipelines.orchestration.failures import is_passing
from compliance_pipelines.orchestration.keys import CHECKPOINT, TIME_STAMPS, WITNESSES
from compliance_pipelines.orchestration.names import Names
from compliance_pipelines.services import Services

_FAILED: Final = AssetCheckExecutionRecordStatus.FAILED
_PASSED: Final = AssetCheckExecutionRecordStatus.SUCCEEDED
_LOOKS: Final[tuple[tuple[AssetCheckKey, Callable[[Services], Verdict]], ...]] = (
    (WITNESSES, witnesses_verdict),
    (TIME_STAMPS, time_stamps_verdict),
)


@sensor(
    name="outside",
    # It requests no run; with this the asset's page names the sensor.
    asset_selection=AssetSelection.assets(CHECKPOINT).without_checks(),
    minimum_interval_seconds=30,
    default_status=DefaultSensorStatus.RUNNING,
    description="Has the newest checkpoint cosigned by the witnesses of LEDGER_WITNESSES, and the last one of each day "
    "stamped by the authority of LEDGER_TSA_URL, in the sensor itself. What is missing is asked for again at each "
    "tick. The checks `witnesses` and `time_stamps` fail when it is missing for too long, and at once where a witness "
    "has seen another ledger; they pass once when it is there.",
)
def outside_sensor(
    context: SensorEvaluationContext,
    compliance_services: ResourceParam[Services],
    compliance_names: ResourceParam[Names],
) -> SensorResult | SkipReason:
    """Ask, and report what changed since the last tick; that it cannot be told for a moment is no news."""
    settings = compliance_services.settings
    if settings.ledger_witnesses is None and settings.ledger_tsa_url is None:
        return SkipReason("Neither LEDGER_WITNESSES nor LEDGER_TSA_URL is set.")
    said: dict[str, str] = json.loads(context.cursor) if context.cursor else {}
    events: list[AssetCheckEvaluation] = []
    notes: list[str] = []
    for check, judge in _LOOKS:
        try:
            verdict = judge(compliance_services).named(compliance_names)
        except Exception as error:
            if not is_passing(error):
                raise
            notes.append(f"{check.name}: put off until the next tick: {error}")
            continue
        notes.append(f"{check.name}: {verdict.description}")
        key, problem = compliance_names.check(check), verdict.problem or ""
        if problem != said.get(check.name, "") or not _is_shown(context.instance, key, fails=bool(problem)):
            events.append(verdict.evaluation(key))
        said[check.name] = problem
    return SensorResult(skip_reason="; ".join(notes), asset_events=events, cursor=json.dumps(said))


def _is_shown(instance: DagsterInstance, key: AssetCheckKey, *, fails: bool) -> bool:
    """Whether the page shows it already; after a new checkpoint, Dagster takes a failure before it for history."""
    latest = instance.event_log_storage.get_asset_check_execution_history(key, 1, status={_FAILED, _PASSED})
    if not latest or latest[0].status is not _FAILED:
        return not fails
    checkpoint = instance.get_latest_materialization_event(key.asset_key)
    return fails and (checkpoint is None or checkpoint.timestamp <= latest[0].create_timestamp)


SENSORS: Final = (outside_sensor,)
