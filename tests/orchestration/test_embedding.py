"""The definitions as guests: merged with a host that uses the same names, they keep theirs, and texts name them so."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any, Final

import pytest
from dagster import (
    AssetCheckKey,
    AssetCheckResult,
    AssetKey,
    AssetSelection,
    AssetSpec,
    DagsterInvariantViolationError,
    DefaultScheduleStatus,
    DefaultSensorStatus,
    Definitions,
    ScheduleDefinition,
    SkipReason,
    asset,
    asset_check,
    define_asset_job,
    mem_io_manager,
    sensor,
)
from hypothesis import given
from hypothesis import strategies as st

from compliance_pipelines.definitions import build_definitions, build_standalone
from compliance_pipelines.orchestration.keys import (
    CHECKPOINT,
    COLD_ARCHIVE,
    SEALING,
)
from compliance_pipelines.orchestration.names import NAMES, Names
from compliance_pipelines.orchestration.renaming import Parts, renamed
from compliance_pipelines.orchestration.resources import ALERTS, SERVICES
from compliance_pipelines.orchestration.values import ONCE, VALUES
from compliance_pipelines.settings import ConfigurationError
from tests.orchestration.graph import graph_of
from tests.orchestration.guests import (
    GROUP,
    JOBS,
    KEY,
    NAME,
    SCHEDULES,
    SENSORS,
    host,
    own_keys,
    own_words,
    prefixed,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


KINDS: Final = ("assets", "checks")


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
    assert set(guest.resources or ()) == {SERVICES, ALERTS, NAMES, VALUES, ONCE}
    assert all(name.startswith("compliance_") for name in guest.resources or ())
    things = [*(guest.jobs or ()), *(guest.schedules or ()), *(guest.sensors or ())]
    assert len(things) == len(JOBS) - 1 + len(SCHEDULES) + len(SENSORS)
    assert all(each.name.startswith("compliance_") for each in things)


@pytest.mark.parametrize("other", ["two", "one"])
def test_two_guests_do_not_merge_and_are_told_why(other: str) -> None:
    with pytest.raises(DagsterInvariantViolationError, match="compliance_once_in_a_code_location"):
        Definitions.merge(build_definitions(key_prefix="one"), build_definitions(key_prefix=other))


def as_renamed(graph: dict[str, Any]) -> dict[str, Any]:
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
    def told(graph: dict[str, Any]) -> dict[str, Any]:
        """Without the texts, which other tests look at."""
        parts = {kind: {name: {**each, "description": None} for name, each in graph[kind].items()} for kind in KINDS}
        return {**graph, **parts}

    assert told(json.loads(graph_of(prefixed()))) == told(as_renamed(json.loads(graph_of(build_standalone()))))


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


def descriptions(guest: Definitions) -> Iterator[str | None]:
    """Every text that Dagster's pages show of the definitions."""
    repository = guest.get_repository_def()
    for spec in guest.resolve_all_asset_specs():
        yield spec.description
    for key in repository.asset_graph.asset_check_keys:
        yield repository.asset_graph.get(key).description
    yield from (each.description for each in repository.get_all_jobs())
    yield from (each.description for each in repository.schedule_defs)
    yield from (each.description for each in repository.sensor_defs)
    for each in repository.get_all_jobs():
        for node in each.all_node_defs:
            yield node.description
            for out in node.output_defs:
                yield out.description


def test_no_description_names_a_job_a_sensor_or_an_asset_that_the_guest_does_not_have() -> None:
    assert any(own_words(text) for text in descriptions(build_standalone()) if text)
    assert [text for text in descriptions(prefixed()) if text and own_words(text)] == []
    texts = "\n".join(text for text in descriptions(prefixed()) if text)
    for name in (f"job `{NAME}_day_checks`", f"sensor `{NAME}_catch_up`", "asset `acme/compliance/audit/audit_logs`"):
        assert name in texts
    # Both are checks, which have no prefix.
    assert "The checks `sealing` and `sealing_lag` fail" in texts


@given(st.text(), st.sampled_from(["job", "jobs", "sensor", "schedule", "asset"]), st.from_regex(r"[a-z_/]{1,9}"))
def test_a_text_without_prefix_stays_as_it_is(text: str, kind: str, name: str) -> None:
    written = f"{text}{kind} `{name}`{text}"
    assert Names().text(written) == written


def test_what_a_definition_says_of_itself_goes_with_it() -> None:
    """Also what none of the project's definitions says yet."""

    @asset(key=AssetKey(["one", "thing"]), group_name="ledger", description="See the asset `one/thing`.")
    def thing() -> None: ...

    @asset_check(asset=thing, name="look", description="See the job `work`.")
    def look() -> AssetCheckResult:
        return AssetCheckResult(passed=True)

    work = define_asset_job(
        "work", AssetSelection.assets(thing), description="See the schedule `hour`.", tags={"a": "b"}, metadata={"c": 1}
    )
    hour = ScheduleDefinition(
        name="hour",
        job=work,
        cron_schedule="7 * * * *",
        execution_timezone="Europe/Vienna",
        default_status=DefaultScheduleStatus.RUNNING,
        description="See the sensor `eye`.",
        tags={"d": "e"},
        metadata={"f": 2},
    )

    @sensor(
        name="eye",
        job=work,
        minimum_interval_seconds=77,
        default_status=DefaultSensorStatus.RUNNING,
        description="See the job `work`.",
        metadata={"g": 3},
    )
    def eye() -> SkipReason:
        return SkipReason("nothing")

    parts = Parts([thing, AssetSpec("after", deps=[thing], group_name="ledger")], [look], [work], [hour], [eye])
    made = Definitions.merge(renamed(parts, Names.of("k", None, "n")), Definitions(resources={VALUES: mem_io_manager}))
    assert made.resolve_asset_graph().get(AssetKey(["k", "after"])).parent_keys == {AssetKey(["k", "one", "thing"])}
    assert made.resolve_asset_graph().get(AssetKey(["k", "one", "thing"])).description == "See the asset `k/one/thing`."
    [check] = made.resolve_asset_graph().asset_check_keys
    assert made.resolve_asset_graph().get(check).description == "See the job `n_work`."
    job = made.resolve_job_def("n_work")
    assert (job.description, job.tags["a"], job.metadata["c"].value) == ("See the schedule `n_hour`.", "b", 1)
    clock = made.resolve_schedule_def("n_hour")
    assert isinstance(clock, ScheduleDefinition)
    assert (clock.description, clock.cron_schedule, clock.execution_timezone) == (
        "See the sensor `n_eye`.",
        "7 * * * *",
        "Europe/Vienna",
    )
    assert clock.default_status is DefaultScheduleStatus.RUNNING
    assert (clock.tags["d"], clock.metadata["f"].value) == ("e", 2)
    ear = made.resolve_sensor_def("n_eye")
    assert (ear.description, ear.minimum_interval_seconds) == ("See the job `n_work`.", 77)
    assert ear.default_status is DefaultSensorStatus.RUNNING
    assert ear.metadata["g"].value == 3


def test_building_them_warns_of_nothing() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Definitions.validate_loadable(prefixed())
    assert [str(each.message) for each in caught if "dagster" in each.category.__module__] == []


# Names


@given(
    st.lists(st.from_regex(r"[A-Za-z0-9_.-]{1,8}", fullmatch=True), max_size=3),
    st.from_regex(r"[A-Za-z0-9_]{0,8}", fullmatch=True),
    st.none() | st.from_regex(r"(?!__)[A-Za-z0-9_]{0,8}", fullmatch=True),
)
def test_different_names_stay_different(path: list[str], group: str, name: str | None) -> None:
    names = Names.of(path, group, name)
    keys = own_keys()
    assert len({names.asset(key) for key in keys}) == len(keys)
    assert len({names.name(each) for each in JOBS}) == len(JOBS)
    assert names.asset(CHECKPOINT).path[-2:] == CHECKPOINT.path
    assert names.check(SEALING) == AssetCheckKey(names.asset(CHECKPOINT), "sealing")


@pytest.mark.parametrize(
    "wrong",
    [
        {"key_prefix": ["a", ""]},
        {"key_prefix": "a/b"},
        {"key_prefix": 3},
        {"key_prefix": ["a", 3]},
        {"key_prefix": AssetKey(["a", "b"])},
        {"key_prefix": b"a"},
        {"group_prefix": "a b"},
        {"group_prefix": 3},
        {"name_prefix": "a-b"},
        {"name_prefix": 3},
        {"name_prefix": "a\n"},
        {"name_prefix": "__ASSET_JOB"},
    ],
    ids=lambda wrong: repr(*wrong.values()),
)
def test_a_prefix_that_dagster_does_not_take_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot be used: .* letters, digits"):
        build_definitions(**wrong)


@pytest.mark.parametrize(
    "none", [{"key_prefix": None}, {"group_prefix": None}, {"key_prefix": None, "name_prefix": None}]
)
def test_none_is_no_prefix(none: dict[str, Any]) -> None:
    assert graph_of(build_definitions(**none)) == graph_of(build_definitions())


def test_a_resource_that_nothing_uses_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no resource 'alerts' to replace; there are compliance_alerts, comp"):
        build_definitions({"alerts": object()})
