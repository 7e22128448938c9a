"""Conversation retention, run by run: sets, limits, checks, and the schedule that catches up."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

import pytest
from dagster import (
    DagsterInstance,
    Definitions,
    RunRequest,
    SkipReason,
    build_schedule_context,
    in_process_executor,
)
from pydantic import SecretStr
from redis import Redis
from sqlalchemy import text

from compliance_pipelines.conversations import record
from compliance_pipelines.conversations.environment import ENVIRONMENT_KEY
from compliance_pipelines.conversations.place import STORE_KEY
from compliance_pipelines.erasure.redis_binding import bind_redis
from compliance_pipelines.orchestration import conversations as retention
from compliance_pipelines.orchestration.assets import conversations as assets
from compliance_pipelines.orchestration.resources import SERVICES
from compliance_pipelines.services import Services
from tests.integration.conversations.made import Maker, id_of
from tests.integration.conversations.savers import Writer
from tests.support.redis_commands import dump

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dagster import AssetCheckEvaluation, ExecuteInProcessResult, MetadataValue

    from compliance_pipelines.local_stack.redis import EmbeddedRedis
    from compliance_pipelines.settings import Settings
    from tests.conftest import MovableClock

TODAY = date(2026, 6, 10)


@pytest.fixture
def client(redis_server: EmbeddedRedis) -> Iterator[Redis]:
    with Redis.from_url(redis_server.url()) as opened:
        opened.flushall()
        yield opened


@pytest.fixture
def services(
    services: Services, settings: Settings, client: Redis, redis_server: EmbeddedRedis, clock: MovableClock
) -> Services:
    clock.moment = datetime.combine(TODAY, time(5), UTC)
    changed = settings.model_copy(update={"checkpoint_redis_url": SecretStr(redis_server.url())})
    services = Services(changed, services.engine, services.store, services.keys, clock)
    bind_redis(services)
    return services


@pytest.fixture
def writer(client: Redis, redis_server: EmbeddedRedis) -> Writer:
    return Writer(client, redis_server.url())


@pytest.fixture
def definitions(services: Services) -> Definitions:
    return Definitions(
        assets=list(assets.ASSETS),
        asset_checks=list(retention.CHECKS),
        jobs=list(retention.JOBS),
        schedules=list(retention.SCHEDULES),
        resources={SERVICES: services},
        executor=in_process_executor,
    )


def noon(days_ago: int) -> datetime:
    return datetime.combine(TODAY, time(12), UTC) - timedelta(days=days_ago)


def run(
    definitions: Definitions,
    instance: DagsterInstance,
    day: date | None = TODAY,
    job: str = "conversation_retention",
    confirm: int | None = None,
) -> ExecuteInProcessResult:
    config: dict[str, object] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    if confirm is not None:
        config["ops"] = {"conversations__purged_set": {"config": {"confirm": confirm}}}
    return definitions.resolve_job_def(job).execute_in_process(
        instance=instance,
        partition_key=None if day is None else day.isoformat(),
        run_config=config,
        raise_on_error=False,
    )


def metadata_of(result: ExecuteInProcessResult) -> dict[str, MetadataValue]:
    (materialization,) = result.asset_materializations_for_node("conversations__purged_set")
    return dict(materialization.metadata)


def checks(result: ExecuteInProcessResult) -> dict[str, AssetCheckEvaluation]:
    return {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}


def test_a_days_set_is_what_was_due_when_the_day_began(
    definitions: Definitions, instance: DagsterInstance, writer: Writer, client: Redis
) -> None:
    writer.say("due-since-yesterday", at=noon(91))
    writer.say("due-at-noon", at=noon(90))

    result = run(definitions, instance)

    assert result.success
    metadata = metadata_of(result)
    assert metadata["conversations removed"].value == 1
    assert metadata["keys removed: checkpoint"].value == 3
    assert metadata["bytes freed"].value > 0  # type: ignore[operator]
    assert metadata["cutoff"].value == "2026-03-12T00:00:00+00:00"
    assert not list(client.scan_iter("*due-since-yesterday*"))
    assert list(client.scan_iter("*due-at-noon*"))
    assert {name: check.passed for name, check in checks(result).items()} == {
        "nothing_past_its_cutoff": True,
        "no_orphans": True,
        "no_resurrected_threads": True,
    }


def test_a_backfilled_day_removes_what_was_due_by_then_and_no_more(
    definitions: Definitions, instance: DagsterInstance, writer: Writer, services: Services
) -> None:
    writer.say("older", at=noon(101))
    writer.say("younger", at=noon(95))

    assert run(definitions, instance, TODAY - timedelta(days=10)).success
    assert run(definitions, instance, TODAY - timedelta(days=4)).success

    with services.engine.connect() as connection:
        sets = record.latest_sets(connection, 5)
    assert [(each.day, each.threads_deleted) for each in sets] == [
        (TODAY - timedelta(days=4), 1),
        (TODAY - timedelta(days=10), 1),
    ]


def test_a_plan_that_is_too_large_fails_with_its_numbers_until_a_person_confirms(
    definitions: Definitions, instance: DagsterInstance, writer: Writer, client: Redis, services: Services
) -> None:
    for number in range(3):
        writer.say(f"old-{number}", at=noon(100))
    object.__setattr__(services.settings, "conversation_purge_max_threads", 2)
    before = set(client.scan_iter())

    refused = run(definitions, instance)

    assert not refused.success
    (failure,) = [event.step_failure_data for event in refused.all_events if event.is_step_failure]
    assert failure.user_failure_data is not None
    assert failure.user_failure_data.metadata["conversations due"].value == 3
    assert failure.user_failure_data.metadata["conversations seen"].value == 3
    assert set(client.scan_iter()) == before
    assert run(definitions, instance, confirm=3).success
    assert set(client.scan_iter()) == {ENVIRONMENT_KEY.encode(), STORE_KEY.encode()}


def test_checks_see_what_is_overdue_orphaned_undated_and_resurrected(
    definitions: Definitions, instance: DagsterInstance, writer: Writer, client: Redis
) -> None:
    writer.say("comes-back", at=noon(100))
    saved = {key: dump(client, key) for key in client.scan_iter("*comes-back*")}
    assert run(definitions, instance).success
    for key, value in saved.items():
        client.restore(key, 0, value)
    client.set("checkpoint_latest:lost:__empty__", "checkpoint:lost:__empty__:1f0")

    found = checks(run(definitions, instance, None, "conversation_health"))

    assert {name: check.passed for name, check in found.items()} == dict.fromkeys(found, False)
    late = found["nothing_past_its_cutoff"].metadata["seconds_past_cutoff"].value
    assert late == pytest.approx(9.5 * 86_400)
    assert found["no_orphans"].metadata["orphan keys"].value == 1
    assert found["no_resurrected_threads"].metadata["resurrected"].value == 1

    client.json().set("checkpoint:undated:", "$", {"thread_id": "undated", "checkpoint_ns": "", "checkpoint_id": "x"})
    found = checks(run(definitions, instance, None, "conversation_health"))
    assert found["nothing_past_its_cutoff"].metadata["seconds_past_cutoff"].value == "unknown"


def test_a_conversation_whose_time_lies_ahead_is_told_and_is_not_due_before_its_time(
    definitions: Definitions, instance: DagsterInstance, client: Redis
) -> None:
    written = datetime.now(UTC) - timedelta(days=1)
    ahead = written + timedelta(days=900)
    Maker(client).checkpoint("ahead", "__empty__", id_of(ahead), ts=ahead, written=written)
    found = checks(run(definitions, instance, None, "conversation_health"))["nothing_past_its_cutoff"]
    assert found.passed
    assert found.metadata["ahead of the present"].value == 1


def test_a_conversation_begun_anew_under_a_removed_id_is_not_resurrected(
    definitions: Definitions, instance: DagsterInstance, writer: Writer
) -> None:
    writer.say("again", at=noon(100))
    assert run(definitions, instance).success
    writer.say("again", at=datetime.now(UTC) + timedelta(minutes=1))
    found = checks(run(definitions, instance, None, "conversation_health"))
    assert found["no_resurrected_threads"].passed


def test_the_schedule_asks_for_today_and_for_every_day_that_was_missed(
    definitions: Definitions, instance: DagsterInstance, writer: Writer, services: Services, clock: MovableClock
) -> None:
    def requested() -> list[str | None]:
        with build_schedule_context(instance=instance, resources={SERVICES: services}) as context:
            answer = retention.conversation_retention_schedule(context)
        if isinstance(answer, SkipReason):
            return []
        assert isinstance(answer, list)
        return [request.partition_key for request in answer if isinstance(request, RunRequest)]

    assert requested() == ["2026-06-10"]
    assert run(definitions, instance).success
    assert requested() == []
    clock.advance(days=3)
    assert requested() == ["2026-06-11", "2026-06-12", "2026-06-13"]
    object.__setattr__(services.settings, "archive_max_runs_per_tick", 2)
    assert requested() == ["2026-06-12", "2026-06-13"]
    object.__setattr__(services.settings, "checkpoint_redis_url", None)
    assert requested() == []


def test_pages_of_dagster_show_no_thread_and_no_user(
    definitions: Definitions, instance: DagsterInstance, writer: Writer, services: Services
) -> None:
    writer.say("secret-thread", at=noon(100), user_id="secret-user")
    with services.engine.begin() as connection:
        connection.execute(
            text("INSERT INTO legal_holds (scope, subject, reason, author) VALUES ('thread', 'other', 'r', 'a')")
        )
    result = run(definitions, instance)
    assert result.success
    shown = str(metadata_of(result)) + "".join(str(check) for check in checks(result).values())
    assert "secret" not in shown


def test_the_checks_do_not_take_the_redis_of_another_environment_for_a_clean_one(
    definitions: Definitions, instance: DagsterInstance, client: Redis
) -> None:
    client.set(ENVIRONMENT_KEY, "6f1b2a3c-0000-4000-8000-000000000000")
    assert not run(definitions, instance, None, "conversation_health").success
