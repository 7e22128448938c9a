"""The definitions as guests: merged with a host that uses the same names, they keep theirs, and do the same."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any, Final

import pytest
from dagster import (
    AssetCheckKey,
    AssetCheckResult,
    AssetKey,
    AssetMaterialization,
    DagsterInstance,
    DagsterInvariantViolationError,
    DagsterRunStatus,
    Definitions,
    RunRequest,
    ScheduleDefinition,
    SkipReason,
    asset,
    asset_check,
    build_schedule_context,
    build_sensor_context,
    job,
    logger,
    multiprocess_executor,
    op,
    sensor,
)
from hypothesis import given
from hypothesis import strategies as st

from compliance_pipelines.definitions import build_definitions, build_standalone, defs
from compliance_pipelines.erasure.record import NewRequest, record_request
from compliance_pipelines.orchestration.backlog import ASSETS, CHECKS, Action
from compliance_pipelines.orchestration.keys import CHECKPOINT, COLD_ARCHIVE, HOT_PARTITION, SEALING
from compliance_pipelines.orchestration.names import NAMES, Names
from compliance_pipelines.orchestration.resources import ALERTS, SERVICES
from compliance_pipelines.settings import ConfigurationError
from tests.orchestration.graph import graph_of

if TYPE_CHECKING:
    import logging
    from collections.abc import Mapping
    from datetime import date

    from dagster import AssetsDefinition, ExecuteInProcessResult, InitLoggerContext, JobDefinition

    from tests.orchestration.conftest import Project, RecordingSink

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


def host(*, keys: bool = True) -> Definitions:
    """A host that uses every name of the project's for something of its own."""

    @sensor(name="sealing", job=job_named("host_job"))
    def sealing() -> SkipReason:
        return SkipReason("nothing")

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
        resources={"services": "the host's services", "alerts": "the host's alerts", "names": "the host's names"},
        executor=multiprocess_executor,
        loggers={"console": console},
    )


def prefixed(resources: Mapping[str, object] | None = None) -> Definitions:
    return build_definitions(resources, key_prefix=KEY, group_prefix=GROUP)


@pytest.mark.parametrize(
    ("guest", "keys"),
    [
        (prefixed(), True),
        (build_definitions(key_prefix="compliance"), True),
        (build_definitions(key_prefix=["acme-eu", "audit.log"]), True),
        (build_definitions(key_prefix="compliance", name_prefix="x"), True),
        (build_definitions(group_prefix="legal"), False),
        (build_definitions(), False),
    ],
    ids=["prefixes", "key", "key with more", "key and name", "group", "none"],
)
def test_it_merges_with_a_host_that_uses_every_name_of_the_project(guest: Definitions, *, keys: bool) -> None:
    for merged in (Definitions.merge(host(keys=keys), guest), Definitions.merge(guest, host(keys=keys))):
        Definitions.validate_loadable(merged)
        # The host's own stays as it was.
        executors = {each.name: each.executor_def.name for each in merged.get_repository_def().get_all_jobs()}
        assert executors["seal"] == executors["health_checks"] == "multiprocess"
        own = {each.name for each in guest.jobs or ()}
        assert {executors[name] for name in own} == {"in_process"}
        assert merged.get_repository_def().get_top_level_resources()["services"] is not None


def test_what_is_claimed_of_a_host_is_nothing_but_names_of_its_own() -> None:
    guest = build_definitions()
    assert guest.executor is None
    assert not guest.loggers
    assert set(guest.resources or ()) == {SERVICES, ALERTS, NAMES}
    assert all(name.startswith("compliance_") for name in guest.resources or ())
    things = [*(guest.jobs or ()), *(guest.schedules or ()), *(guest.sensors or ())]
    assert len(things) == len(JOBS) - 1 + len(SCHEDULES) + len(SENSORS)
    assert all(each.name.startswith("compliance_") for each in things)


def test_two_guests_do_not_merge_by_accident() -> None:
    with pytest.raises(DagsterInvariantViolationError, match=NAMES):
        Definitions.merge(build_definitions(key_prefix="one"), build_definitions(key_prefix="two"))


def renamed(graph: dict[str, Any]) -> dict[str, Any]:
    """The project's graph as the prefixes should leave it, written down without the code under test."""
    key = "/".join(KEY)
    return {
        "assets": {
            f"{key}/{name}": {
                **each,
                "group": f"{GROUP}_{each['group']}",
                "deps": [f"{key}/{dep}" for dep in each["deps"]],
            }
            for name, each in graph["assets"].items()
        },
        "checks": {f"{key}/{name}": each for name, each in graph["checks"].items()},
        "jobs": {
            f"{NAME}_{name}": {
                **each,
                "assets": [f"{key}/{asset}" for asset in each["assets"]],
                "checks": [f"{key}/{check}" for check in each["checks"]],
            }
            for name, each in graph["jobs"].items()
        },
        "schedules": {
            f"{NAME}_{name}": {**each, "job": f"{NAME}_{each['job']}"} for name, each in graph["schedules"].items()
        },
        "sensors": {
            f"{NAME}_{name}": {**each, "jobs": [f"{NAME}_{job}" for job in each["jobs"]]}
            for name, each in graph["sensors"].items()
        },
        "resources": graph["resources"],
    }


def test_everything_follows_the_prefixes_and_nothing_else_changes() -> None:
    assert json.loads(graph_of(prefixed())) == renamed(json.loads(graph_of(build_standalone())))


def test_ops_and_column_lineage_follow_too() -> None:
    repository = prefixed().get_repository_def()
    ops = {node.name for each in repository.get_all_jobs() for node in each.all_node_defs}
    assert ops
    assert all(name.startswith(f"{NAME}_") for name in ops)
    lineage = repository.asset_graph.get(AssetKey([*KEY, *COLD_ARCHIVE.path])).metadata["dagster/column_lineage"]
    sources = {dep.asset_key for deps in lineage.deps_by_column.values() for dep in deps}
    assert sources == {AssetKey([*KEY, "audit", "audit_logs"])}
    watched = next(each for each in prefixed().sensors or () if each.name == f"{NAME}_sealing").asset_selection
    assert watched is not None
    assert watched.resolve(repository.asset_graph) == {AssetKey([*KEY, *CHECKPOINT.path])}


def test_building_them_warns_of_nothing() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Definitions.validate_loadable(prefixed())
    assert [str(each.message) for each in caught if "dagster" in each.category.__module__] == []


# Names


@given(
    st.lists(st.from_regex(r"[A-Za-z0-9_.-]{1,8}", fullmatch=True), max_size=3),
    st.from_regex(r"[A-Za-z0-9_]{0,8}", fullmatch=True),
    st.none() | st.from_regex(r"[A-Za-z0-9_]{0,8}", fullmatch=True),
)
def test_different_names_stay_different(path: list[str], group: str, name: str | None) -> None:
    names = Names.of(path, group, name)
    keys = own_keys()
    assert len({names.asset(key) for key in keys}) == len(keys)
    assert len({names.name(each) for each in JOBS}) == len(JOBS)
    assert names.asset(CHECKPOINT).path[-2:] == CHECKPOINT.path
    assert names.check(SEALING) == AssetCheckKey(names.asset(CHECKPOINT), "sealing")


@pytest.mark.parametrize(
    "wrong", [{"key_prefix": ["a", ""]}, {"key_prefix": "a/b"}, {"group_prefix": "a b"}, {"name_prefix": "a-b"}]
)
def test_a_prefix_that_dagster_does_not_take_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot be used: .* letters, digits"):
        build_definitions(**wrong)


def test_a_resource_that_nothing_uses_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no resource 'alerts' to replace; there are compliance_alerts, comp"):
        build_definitions({"alerts": object()})


# What runs


@pytest.fixture
def guest(project: Project, sink: RecordingSink) -> Definitions:
    own = prefixed({SERVICES: project.services, ALERTS: sink})
    return Definitions.merge(host(), own)


def run(guest: Definitions, instance: DagsterInstance, request: RunRequest) -> ExecuteInProcessResult:
    """Execute what the daily schedule requested, as the daemon would."""
    definition = guest.resolve_job_def(f"{NAME}_daily_retention").get_subset(
        asset_selection=frozenset(request.asset_selection or ()),
        asset_check_selection=frozenset(request.asset_check_keys or ()),
    )
    return definition.execute_in_process(
        instance=instance,
        partition_key=request.partition_key,
        tags=dict(request.tags),
        # The console logger of this run is the host's, which cannot be used.
        run_config={"loggers": {}},
        raise_on_error=False,
    )


def resources(guest: Definitions) -> dict[str, Any]:
    return dict(guest.get_repository_def().get_top_level_resources())


def requests(guest: Definitions, project: Project) -> list[RunRequest]:
    context = build_schedule_context(
        instance=project.instance,
        repository_def=guest.get_repository_def(),
        resources=resources(guest),
        scheduled_execution_time=project.services.clock(),
    )
    schedule = guest.get_repository_def().get_schedule_def(f"{NAME}_daily_retention")
    return list(schedule.evaluate_tick(context).run_requests or [])


def tick(guest: Definitions, project: Project, name: str, cursor: str | None = None) -> Any:  # noqa: ANN401 - what Dagster gives
    context = build_sensor_context(
        instance=project.instance,
        repository_def=guest.get_repository_def(),
        resources=resources(guest),
        cursor=cursor,
    )
    return guest.get_repository_def().get_sensor_def(f"{NAME}_{name}").evaluate_tick(context)


def sealed_and_requested(guest: Definitions, project: Project) -> tuple[date, RunRequest]:
    day = project.sealed(days_ago=91)
    [request] = requests(guest, project)
    return day, request


def test_the_schedule_requests_the_guests_own_assets_and_checks(guest: Definitions, project: Project) -> None:
    day, request = sealed_and_requested(guest, project)
    assert request.partition_key == day.isoformat()
    assert request.asset_selection == [AssetKey([*KEY, *key.path]) for key in ASSETS[Action.ARCHIVE]]
    assert {key.asset_key.path[: len(KEY)] == list(KEY) for key in request.asset_check_keys or ()} == {True}
    assert [key.name for key in request.asset_check_keys or ()] == [key.name for key in CHECKS[Action.ARCHIVE]]


def test_a_day_goes_its_way_under_the_guests_keys(guest: Definitions, project: Project) -> None:
    day, request = sealed_and_requested(guest, project)
    result = run(guest, project.instance, request)
    assert result.success
    assert project.state(day).value == "verified"

    archived = AssetKey([*KEY, *COLD_ARCHIVE.path])
    event = project.instance.get_latest_materialization_event(archived)
    assert event is not None
    assert event.asset_materialization is not None
    link = event.asset_materialization.metadata["rows from"].value
    assert link == AssetKey([*KEY, *HOT_PARTITION.path])
    evaluated = {(each.asset_key, each.check_name) for each in result.get_asset_check_evaluations()}
    assert evaluated == {(AssetKey([*KEY, *key.asset_key.path]), key.name) for key in CHECKS[Action.ARCHIVE]}


def test_the_backlog_looks_at_the_guests_runs_and_not_at_the_hosts(guest: Definitions, project: Project) -> None:
    _, request = sealed_and_requested(guest, project)
    # A run of the host's job of the same name is none of ours.
    project.instance.create_run_for_job(
        guest.resolve_job_def("daily_retention"), tags=dict(request.tags), status=DagsterRunStatus.STARTED
    )
    assert requests(guest, project) == [request]
    assert "has not requested any run today" in tick(guest, project, "catch_up").skip_message

    run(guest, project.instance, request)
    assert requests(guest, project) == []
    assert tick(guest, project, "catch_up").skip_message == "Nothing is left for today."


def test_the_sealing_sensor_reports_under_the_guests_keys(guest: Definitions, project: Project) -> None:
    project.append(days_ago=1)
    project.settle()
    [event] = tick(guest, project, "sealing").asset_events
    assert isinstance(event, AssetMaterialization)
    assert event.asset_key == AssetKey([*KEY, *CHECKPOINT.path])

    # The next pass cannot go on: the store has lost the checkpoint.
    cold = project.services.settings.audit_cold_storage_path
    assert cold is not None
    for file in cold.rglob("audit-ledger/**/*"):
        if file.is_file():
            file.unlink()
    project.append(days_ago=1)
    project.settle()
    [broken] = tick(guest, project, "sealing").asset_events
    assert (broken.asset_key, broken.check_name, broken.passed) == (event.asset_key, "sealing", False)


def test_the_erasure_sensor_waits_for_the_guests_runs_alone(guest: Definitions, project: Project) -> None:
    now = project.services.clock()
    record_request(project.services, NewRequest("user:1", "asked", "support", now))
    project.instance.create_run_for_job(guest.resolve_job_def("gdpr_erasure"), status=DagsterRunStatus.STARTED)
    assert len(tick(guest, project, "gdpr_erasure").run_requests) == 1

    own = guest.resolve_job_def(f"{NAME}_gdpr_erasure")
    project.instance.create_run_for_job(own, status=DagsterRunStatus.STARTED)
    assert tick(guest, project, "gdpr_erasure").skip_message == "A run for erasures is under way."


@pytest.mark.parametrize("name", ["partition_upkeep", "seal", "health_checks"])
def test_jobs_run_under_the_guests_names(guest: Definitions, project: Project, name: str) -> None:
    result = guest.resolve_job_def(f"{NAME}_{name}").execute_in_process(
        instance=project.instance, run_config={"loggers": {}}, raise_on_error=False
    )
    assert result.success, result.all_events
