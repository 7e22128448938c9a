"""The one entry point for Dagster: every asset, check, job, schedule, sensor and resource, named one by one.

Here: what there is, for a Dagster of the project's own (`defs`) and for somebody else's (`build_definitions`). Not
here: how any of it works. Importing this connects to nothing and needs no secret: settings are read when a run or a
tick begins, except AUDIT_LOG_FIRST_DAY, with which the partitions begin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dagster import Definitions, in_process_executor

from compliance_pipelines.orchestration import alerting, checks, erasures, jobs, outside, schedules, scrubbing, sensors
from compliance_pipelines.orchestration import conversations as conversation_retention
from compliance_pipelines.orchestration import sessions as session_retention
from compliance_pipelines.orchestration.alerts import LogAlertSink
from compliance_pipelines.orchestration.assets import (
    cold,
    conversations,
    erasure,
    expiry,
    holds,
    hot,
    ledger,
    scrub,
    sessions,
)
from compliance_pipelines.orchestration.names import NAMES, Names
from compliance_pipelines.orchestration.renaming import Parts, renamed
from compliance_pipelines.orchestration.resources import ALERTS, SERVICES, ServicesResource
from compliance_pipelines.orchestration.values import NO_VALUES, ONCE, VALUES
from compliance_pipelines.settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PARTS: Final = Parts(
    assets=[
        *hot.ASSETS,
        *cold.ASSETS,
        *holds.ASSETS,
        *expiry.ASSETS,
        *scrub.ASSETS,
        *ledger.ASSETS,
        *conversations.ASSETS,
        *sessions.ASSETS,
        *erasure.ASSETS,
    ],
    checks=[
        *checks.CHECKS,
        *scrubbing.CHECKS,
        *conversation_retention.CHECKS,
        *session_retention.CHECKS,
        *erasures.CHECKS,
    ],
    jobs=[*jobs.JOBS, *scrubbing.JOBS, *conversation_retention.JOBS, *session_retention.JOBS, *erasures.JOBS],
    schedules=[
        *schedules.SCHEDULES,
        *scrubbing.SCHEDULES,
        *conversation_retention.SCHEDULES,
        *session_retention.SCHEDULES,
        *erasures.SCHEDULES,
    ],
    sensors=[*sensors.SENSORS, *outside.SENSORS, *alerting.ALERT_SENSORS, *erasures.SENSORS],
)


def build_definitions(
    resources: Mapping[str, object] | None = None,
    *,
    key_prefix: str | Sequence[str] | None = (),
    group_prefix: str | None = "",
    name_prefix: str | None = None,
) -> Definitions:
    """The definitions for `Definitions.merge` with those of a host: no executor, no logger, no name that is another's.

    The names of resources begin with `compliance_`. One code location holds these definitions once: the settings are
    those of its process.

    Args:
        resources: resources to use instead, by name (`compliance_services`, `compliance_alerts`): ready objects or
            Dagster resources.
        key_prefix: what stands before each asset key, one part or several.
        group_prefix: what stands before each group's name, with an underscore between them.
        name_prefix: what stands before each name of a job, a schedule, a sensor or an op, with an underscore between
            them. Without it, it is the key's prefix, else the groups', else `compliance`.

    Raises:
        ConfigurationError: a prefix is no name, or there is no such resource.
    """
    names = Names.of(key_prefix, group_prefix, name_prefix)
    defaults: dict[str, object] = {SERVICES: ServicesResource(), ALERTS: LogAlertSink()}
    given = dict(resources or {})
    if unknown := sorted(given.keys() - defaults.keys()):
        raise ConfigurationError(
            f"there is no resource {', '.join(map(repr, unknown))} to replace; there are {', '.join(sorted(defaults))}"
        )
    # First, so that the refusal to merge two guests says why.
    own = {ONCE: object(), NAMES: names, VALUES: NO_VALUES}
    return Definitions.merge(renamed(_PARTS, names), Definitions(resources={**own, **defaults, **given}))


def build_standalone(resources: Mapping[str, object] | None = None) -> Definitions:
    """The definitions for a Dagster that has no others: under their own names, and with their own executor.

    Args:
        resources: as those of `build_definitions`.

    Raises:
        ConfigurationError: there is no such resource.
    """
    own = build_definitions(resources, name_prefix="")
    # Jobs have it anyway; what is materialized in the pages without a job takes it from here.
    return Definitions.merge(own, Definitions(executor=in_process_executor))


defs: Final = build_standalone()
