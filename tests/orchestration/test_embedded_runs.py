"""The definitions as guests at work: runs, ticks and what they say go by the names that they have there."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from dagster import (
    AssetCheckEvaluation,
    AssetCheckKey,
    AssetIn,
    AssetKey,
    AssetMaterialization,
    DagsterInstance,
    DagsterRunStatus,
    Definitions,
    RunRequest,
    asset,
    build_schedule_context,
    build_sensor_context,
    mem_io_manager,
)

from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.erasure.record import NewRequest, record_request
from compliance_pipelines.erasure.runner import run_due
from compliance_pipelines.orchestration import alerting
from compliance_pipelines.orchestration.assets.erasure import ERASURE
from compliance_pipelines.orchestration.backlog import ASSETS, CHECKS, Action
from compliance_pipelines.orchestration.keys import (
    CHECKPOINT,
    COLD_ARCHIVE,
    HOT_PARTITION,
    HOT_PURGE,
    READ_BACK,
    ROWS_MATCH_LEDGER,
    SEALING,
)
from compliance_pipelines.orchestration.names import NAMES, Names
from compliance_pipelines.orchestration.resources import ALERTS, SERVICES
from compliance_pipelines.orchestration.values import NoValueError
from tests.integration.erasure.flaky import Shelf
from tests.orchestration.guests import (
    GROUP,
    JOBS,
    KEY,
    NAME,
    host,
    own_keys,
    own_words,
    prefixed,
)
from tests.support.damage import flip

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date
    from pathlib import Path

    import sqlalchemy
    from dagster import ExecuteInProcessResult

    from tests.conftest import MovableClock
    from tests.orchestration.conftest import Project, RecordingSink


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
    """What ticks are given; the daemon, too, opens no resource that they do not ask for."""
    every = guest.get_repository_def().get_top_level_resources()
    return {name: each for name, each in every.items() if name in {SERVICES, ALERTS, NAMES}}


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
    assert materialized(project, HOT_PARTITION).metadata["archive"].value == archived
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


def run_day(guest: Definitions, project: Project, day: date, *keys: AssetKey, checks: Sequence[AssetCheckKey]) -> bool:
    """Execute a part of the daily job, which is named as the project names it."""
    names = Names.of(KEY, GROUP, None)
    part = guest.resolve_job_def(f"{NAME}_daily_retention").get_subset(
        asset_selection={names.asset(key) for key in keys},
        asset_check_selection={names.check(key) for key in checks},
    )
    finished = part.execute_in_process(
        instance=project.instance,
        partition_key=day.isoformat(),
        run_config={"loggers": {}},
        raise_on_error=False,
    )
    return finished.success


def materialized(project: Project, key: AssetKey) -> AssetMaterialization:
    event = project.instance.get_latest_materialization_event(AssetKey([*KEY, *key.path]))
    assert event is not None
    assert event.asset_materialization is not None
    return event.asset_materialization


def test_a_purge_shows_on_the_pages_of_the_guests_assets(
    guest: Definitions, project: Project, clock: MovableClock
) -> None:
    day = project.sealed(days_ago=100)
    assert run_day(guest, project, day, HOT_PARTITION, COLD_ARCHIVE, checks=CHECKS[Action.ARCHIVE])
    clock.advance(days=8)
    assert run_day(guest, project, day, HOT_PURGE, checks=())
    assert materialized(project, HOT_PARTITION).metadata["state"].value == "purged"
    for key in (HOT_PARTITION, HOT_PURGE):
        assert materialized(project, key).metadata["archive"].value == AssetKey([*KEY, *COLD_ARCHIVE.path])
    # Nothing was recorded under the project's own names, which this instance does not have.
    assert {key.path[0] for key in project.instance.all_asset_keys()} == {"acme"}


def test_an_archive_that_was_damaged_is_repaired_on_its_own_page(
    guest: Definitions, project: Project, tmp_path: Path
) -> None:
    day = project.sealed(days_ago=100)
    assert run_day(guest, project, day, COLD_ARCHIVE, checks=READ_BACK)
    flip(tmp_path / "cold")
    assert not run_day(guest, project, day, checks=READ_BACK)
    flip(tmp_path / "cold")
    before = materialized(project, COLD_ARCHIVE)
    assert run_day(guest, project, day, checks=READ_BACK)
    after = project.instance.fetch_materializations(AssetKey([*KEY, *COLD_ARCHIVE.path]), limit=9).records
    assert len(after) == 2
    assert materialized(project, COLD_ARCHIVE).metadata["rows from"] == before.metadata["rows from"]
    assert {key.path[0] for key in project.instance.all_asset_keys()} == {"acme"}


def test_what_the_command_line_did_is_reported_once_under_the_guests_keys(guest: Definitions, project: Project) -> None:
    day = project.sealed(days_ago=100)
    archive_day(project.services, day)
    events = tick(guest, project, "records").asset_events
    assert {event.asset_key for event in events} == {
        AssetKey([*KEY, *key.path]) for key in (HOT_PARTITION, COLD_ARCHIVE)
    }
    for event in events:
        project.instance.report_runless_asset_event(event)
    assert tick(guest, project, "records").skip_message == "Everything compared is known."


def test_an_erasure_of_the_command_line_is_reported_once_under_the_guests_keys(
    guest: Definitions, project: Project, clock: MovableClock
) -> None:
    record_request(project.services, NewRequest("user:9", "asked", "support", project.services.clock()))
    clock.advance(seconds=1)
    run_due(project.services, lambda: [Shelf().put("a", "b")])
    [event] = tick(guest, project, "records").asset_events
    assert event.asset_key == AssetKey([*KEY, *ERASURE.path])
    project.instance.report_runless_asset_event(event)
    assert tick(guest, project, "records").skip_message == "Everything compared is known."


@pytest.mark.parametrize("name", ["partition_upkeep", "seal", "health_checks"])
def test_jobs_run_under_the_guests_names(guest: Definitions, project: Project, name: str) -> None:
    result = guest.resolve_job_def(f"{NAME}_{name}").execute_in_process(
        instance=project.instance, run_config={"loggers": {}}, raise_on_error=False
    )
    assert result.success, result.all_events


# What is said while it runs


def test_what_a_check_says_names_the_guests_jobs(guest: Definitions, project: Project, clock: MovableClock) -> None:
    project.append(days_ago=1)
    # Long after the last partition was made, and after an entry that nobody sealed.
    clock.advance(days=60)
    result = guest.resolve_job_def(f"{NAME}_health_checks").execute_in_process(
        instance=project.instance, run_config={"loggers": {}}, raise_on_error=False
    )
    said = {each.check_name: each.description or "" for each in result.get_asset_check_evaluations()}
    assert f"run the job `{NAME}_partition_upkeep`" in said["runway"]
    assert f"see whether the sensor `{NAME}_sealing` is on" in said["sealing_lag"]
    assert [text for text in said.values() if own_words(text)] == []


def test_what_the_sealing_sensor_says_names_the_guests_sensor(
    guest: Definitions, project: Project, clock: MovableClock, superuser_engine: sqlalchemy.Engine
) -> None:
    project.settle()
    with superuser_engine.connect() as open_transaction:
        open_transaction.exec_driver_sql("SELECT pg_current_xact_id()")
        project.append(days_ago=1)
        clock.advance(seconds=400)
        [late] = tick(guest, project, "sealing").asset_events
    assert (late.asset_key, late.check_name) == (AssetKey([*KEY, *CHECKPOINT.path]), "sealing_lag")
    assert f"see whether the sensor `{NAME}_sealing` is on" in late.description


@pytest.mark.parametrize(
    ("checks", "asset"), [([ROWS_MATCH_LEDGER], HOT_PARTITION), (READ_BACK, COLD_ARCHIVE)], ids=["rows", "archive"]
)
def test_a_run_without_a_day_names_the_guests_job(
    guest: Definitions, project: Project, checks: Sequence[AssetCheckKey], asset: AssetKey
) -> None:
    names = Names.of(KEY, GROUP, None)
    job = guest.get_repository_def().get_implicit_global_asset_job_def()
    said: list[str] = []
    with DagsterInstance.ephemeral() as instance:
        result = job.get_subset(asset_check_selection={names.check(key) for key in checks}).execute_in_process(
            instance=instance, run_config={"loggers": {}}, raise_on_error=False
        )
        said += [record.message for record in instance.all_logs(result.run_id)]
    assert any(f"launch the job `{NAME}_day_checks` for the day" in text for text in said), said


def test_the_hosts_store_of_values_is_not_used_and_what_asks_for_a_value_is_told_so(guest: Definitions) -> None:
    for name in JOBS:
        if not name.startswith("__"):
            assert "io_manager" not in guest.resolve_job_def(f"{NAME}_{name}").get_required_resource_defs()

    names = Names.of(KEY, GROUP, None)

    @asset(ins={"checkpoint": AssetIn(names.asset(CHECKPOINT))}, io_manager_def=mem_io_manager)
    def reader(checkpoint: object) -> object:
        return checkpoint

    merged = Definitions.merge(Definitions(assets=[reader]), prefixed())
    job = merged.get_repository_def().get_implicit_global_asset_job_def()
    with pytest.raises(NoValueError, match="acme/compliance/ledger/checkpoint has no value in Python: name it in deps"):
        job.get_subset(asset_selection={reader.key}).execute_in_process()


def test_failures_of_the_guest_are_told_and_the_hosts_are_not(
    guest: Definitions, project: Project, sink: RecordingSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerting, "SETTLING_TIME", timedelta())
    assert tick(guest, project, "failed_runs").skip_message == "Nothing to report."
    started = json.dumps({"since": 0.0, "after": 0})
    names = Names.of(KEY, GROUP, None)
    every = guest.get_repository_def().get_implicit_global_asset_job_def()
    # Of each kind the host's first, which has the name that ours would have without a prefix.
    for failing in (
        guest.resolve_job_def("seal"),
        guest.resolve_job_def(f"{NAME}_seal"),
        every.get_subset(asset_selection={CHECKPOINT}),
        every.get_subset(asset_selection={names.asset(CHECKPOINT)}),
    ):
        # Where it may be tried again, nobody is told.
        tags = {"dagster/max_retries": "0"}
        run = project.instance.create_run_for_job(
            failing, asset_selection=failing.asset_selection, status=DagsterRunStatus.STARTED, tags=tags
        )
        project.instance.report_run_failed(run, f"stopped: {failing.name}")
    tick(guest, project, "failed_runs", started)
    [alert] = sink.alerts
    assert [line.split(" (run ")[0] for line in alert.lines] == [f"{NAME}_seal", "acme/compliance/ledger/checkpoint"]

    # A check of the host's on an asset of its own, and one of ours.
    for key in (AssetCheckKey(own_keys()[0], "runway"), names.check(SEALING)):
        project.instance.report_runless_asset_event(
            AssetCheckEvaluation(asset_key=key.asset_key, check_name=key.name, passed=False, description="broken")
        )
    tick(guest, project, "failed_checks", json.dumps({"since": 0.0, "seen": {}}))
    assert sink.alerts[1].lines == ("ERROR: acme/compliance/ledger/checkpoint, check sealing: broken",)
