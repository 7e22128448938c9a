"""The definitions as guests, and a host that uses the same names, for the tests of both together."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from dagster import (
    AssetCheckKey,
    AssetCheckResult,
    AssetKey,
    Definitions,
    IOManager,
    ScheduleDefinition,
    SkipReason,
    asset,
    asset_check,
    io_manager,
    job,
    logger,
    multiprocess_executor,
    op,
    sensor,
)

from compliance_pipelines.definitions import build_definitions, defs

if TYPE_CHECKING:
    import logging
    from collections.abc import Mapping

    from dagster import AssetsDefinition, InitLoggerContext, JobDefinition


KEY: Final = ("acme", "compliance")
NAME: Final = "acme_compliance"
GROUP: Final = "legal"
# Everything that has one of the project's own names: jobs, schedules, sensors, and the ops of assets and checks.
JOBS: Final = tuple(defs.get_repository_def().job_names)
SENSORS: Final = tuple(each.name for each in defs.sensors or ())
SCHEDULES: Final = tuple(each.name for each in defs.schedules or ())


def job_named(name: str) -> JobDefinition:
    @op(name=f"op_of_{name}")
    def work() -> None: ...

    @job(name=name)
    def made() -> None:
        work()

    return made


def asset_named(key: AssetKey, group: str = "ledger") -> AssetsDefinition:
    @asset(key=key, group_name=group)
    def made() -> int:
        return 7

    return made


def own_keys() -> list[AssetKey]:
    return sorted(key for key in defs.resolve_asset_graph().executable_asset_keys)


def own_checks() -> list[AssetCheckKey]:
    return sorted(defs.resolve_asset_graph().asset_check_keys)


def host(*, keys: bool = True) -> Definitions:
    """A host that uses every name of the project's for something of its own."""

    @sensor(name="sealing", job=job_named("host_job"))
    def sealing() -> SkipReason:
        return SkipReason("nothing")

    @io_manager
    def elsewhere() -> IOManager:
        raise ConnectionError("the host's store of values is out of order")

    @logger
    def console(_context: InitLoggerContext) -> logging.Logger:
        raise NotImplementedError

    names = [name for name in JOBS if not name.startswith("__")]
    jobs = [job_named(name) for name in names]
    assets = [asset_named(key) for key in own_keys()] if keys else [asset_named(AssetKey("sales"))]

    @asset_check(asset=assets[0], name="runway")
    def runway() -> AssetCheckResult:
        return AssetCheckResult(passed=True)

    return Definitions(
        assets=assets,
        asset_checks=[runway],
        jobs=jobs,
        schedules=[ScheduleDefinition(name=name, job=jobs[0], cron_schedule="0 0 * * *") for name in SCHEDULES],
        sensors=[sealing],
        resources={
            "services": "the host's services",
            "alerts": "the host's alerts",
            "names": "the host's names",
            "io_manager": elsewhere,
        },
        executor=multiprocess_executor,
        loggers={"console": console},
    )


def prefixed(resources: Mapping[str, object] | None = None) -> Definitions:
    return build_definitions(resources, key_prefix=KEY, group_prefix=GROUP)


def own_words(text: str) -> set[str]:
    """What a text calls by a name of the project's own, which the guest does not have. Checks keep theirs."""
    own = {*JOBS, *SENSORS, *SCHEDULES, *(key.to_user_string() for key in own_keys())} | {"audit/audit_logs"}
    return (set(re.findall(r"`([^`\s]+)`", text)) & own) - {key.name for key in own_checks()}
