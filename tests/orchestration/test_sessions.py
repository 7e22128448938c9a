"""Retention of sessions, run by run: sets, the limit, the check, and the schedule that catches up."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from pydantic import SecretStr
from redis import Redis

from compliance_pipelines.cli.running import run as command
from compliance_pipelines.conversations.environment import ENVIRONMENT_KEY
from compliance_pipelines.conversations.place import STORE_KEY
from compliance_pipelines.erasure.redis_binding import bind_redis
from compliance_pipelines.orchestration import sessions as retention
from compliance_pipelines.orchestration.assets import sessions as assets
from compliance_pipelines.sessions import record
from tests.integration.erasure.server_writes import log_in, play
from tests.orchestration.retention_runs import (
    TODAY,
    config_told,
    definitions_of,
    metadata_of,
    metadata_of_failure,
    noon,
    requested,
    run_job,
    services_of_today,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dagster import AssetCheckEvaluation, DagsterInstance, Definitions, ExecuteInProcessResult

    from compliance_pipelines.local_stack.redis import EmbeddedRedis
    from compliance_pipelines.services import Services
    from tests.conftest import MovableClock
    from tests.orchestration.conftest import Project

LIFE = 400 * 86_400
STEP = "sessions__purged_keys"


@pytest.fixture
def client(redis_server: EmbeddedRedis) -> Iterator[Redis]:
    with Redis.from_url(redis_server.url()) as opened:
        opened.flushall()
        yield opened


@pytest.fixture
def services(services: Services, client: Redis, redis_server: EmbeddedRedis, clock: MovableClock) -> Services:
    return services_of_today(services, clock, gdpr_session_redis_url=SecretStr(redis_server.url()))


@pytest.fixture
def definitions(services: Services) -> Definitions:
    return definitions_of(services, assets, retention)


def run(
    definitions: Definitions,
    instance: DagsterInstance,
    day: date | None = TODAY,
    job: str = "session_retention",
    confirm: int | None = None,
) -> ExecuteInProcessResult:
    ops = {} if confirm is None else {STEP: {"config": {"confirm": confirm}}}
    return run_job(definitions, instance, job, day, ops)


def check(result: ExecuteInProcessResult) -> AssetCheckEvaluation:
    (evaluation,) = result.get_asset_check_evaluations()
    return evaluation


def test_a_days_set_is_what_was_idle_when_the_day_began(
    definitions: Definitions, instance: DagsterInstance, client: Redis
) -> None:
    log_in(client, "due-since-yesterday", when=noon(91), seconds=LIFE)
    log_in(client, "due-at-noon", when=noon(90), seconds=LIFE)
    result = run(definitions, instance)
    assert result.success
    metadata = metadata_of(result, STEP)
    assert metadata["keys removed"].value == 1
    assert metadata["keys removed: login_session"].value == 1
    assert metadata["bytes freed"].value > 0  # type: ignore[operator]
    assert metadata["session cutoff"].value == "2026-03-12T00:00:00+00:00"
    assert [client.hget(key, "user_id") for key in client.scan_iter("session:*")] == [b"due-at-noon"]
    assert check(result).passed


def test_a_backfilled_day_removes_what_was_due_by_then_and_no_more(
    definitions: Definitions, instance: DagsterInstance, client: Redis, services: Services
) -> None:
    log_in(client, "older", when=noon(101), seconds=LIFE)
    log_in(client, "younger", when=noon(95), seconds=LIFE)
    assert run(definitions, instance, TODAY - timedelta(days=10)).success
    assert run(definitions, instance, TODAY - timedelta(days=4)).success
    with services.engine.connect() as connection:
        sets = record.latest_sets(connection, 5)
    assert [(each.day, each.keys_deleted) for each in sets] == [
        (TODAY - timedelta(days=4), 1),
        (TODAY - timedelta(days=10), 1),
    ]


def test_a_plan_that_is_too_large_fails_with_its_numbers_until_a_person_confirms(
    definitions: Definitions, instance: DagsterInstance, client: Redis, services: Services
) -> None:
    for number in range(3):
        log_in(client, f"user {number}", when=noon(100), seconds=LIFE)
    object.__setattr__(services.settings, "session_purge_max_keys", 2)
    refused = run(definitions, instance)
    assert not refused.success
    told = metadata_of_failure(refused)
    assert told["keys due"].value == 3
    assert len(list(client.scan_iter("session:*"))) == 3
    assert config_told(refused) == {"ops": {STEP: {"config": {"confirm": 3}}}}
    assert run(definitions, instance, confirm=3).success
    assert set(client.scan_iter()) == {ENVIRONMENT_KEY.encode(), STORE_KEY.encode()}


def test_the_check_sees_what_is_overdue_undated_and_unreadable(
    definitions: Definitions, instance: DagsterInstance, client: Redis
) -> None:
    log_in(client, "alice", when=noon(100), seconds=LIFE)
    found = check(run(definitions, instance, None, "session_health"))
    assert not found.passed
    assert found.metadata["seconds_past_cutoff"].value == pytest.approx(9.5 * 86_400)
    assert run(definitions, instance).success
    assert check(run(definitions, instance, None, "session_health")).passed
    client.hset("session:1", mapping={"user_id": "alice"})
    found = check(run(definitions, instance, None, "session_health"))
    assert (found.passed, found.metadata["seconds_past_cutoff"].value) == (False, "unknown")
    client.delete("session:1")
    client.rpush("session:2", "x")
    found = check(run(definitions, instance, None, "session_health"))
    assert (found.passed, found.metadata["unreadable"].value) == (False, 1)


def test_the_check_does_not_take_the_redis_of_another_environment_for_a_clean_one(
    definitions: Definitions, instance: DagsterInstance, client: Redis
) -> None:
    client.set(ENVIRONMENT_KEY, "6f1b2a3c-0000-4000-8000-000000000000")
    assert not run(definitions, instance, None, "session_health").success
    assert not run(definitions, instance).success


def test_the_schedule_asks_for_today_and_for_every_day_that_was_missed(
    definitions: Definitions, instance: DagsterInstance, services: Services, clock: MovableClock
) -> None:
    asks = partial(requested, instance, services, retention.session_retention_schedule)
    assert asks() == ["2026-06-10"]
    assert run(definitions, instance).success
    assert asks() == []
    clock.advance(days=3)
    assert asks() == ["2026-06-11", "2026-06-12", "2026-06-13"]
    object.__setattr__(services.settings, "gdpr_session_redis_url", None)
    assert asks() == []
    object.__setattr__(services.settings, "checkpoint_redis_url", SecretStr("redis://localhost:1/0"))
    assert asks() == []
    object.__setattr__(services.settings, "memory_retention_days", 30)
    assert len(asks()) == 3


def test_compliance_run_does_what_the_schedule_would(
    project: Project, environment: pytest.MonkeyPatch, client: Redis, redis_server: EmbeddedRedis
) -> None:
    url = redis_server.url()
    environment.setenv("GDPR_SESSION_REDIS_URL", url)
    settings = project.services.settings.model_copy(update={"gdpr_session_redis_url": SecretStr(url)})
    bind_redis(replace(project.services, settings=settings))
    log_in(client, "alice", when=datetime.now(UTC) - timedelta(days=92), seconds=LIFE)
    assert CliRunner().invoke(command, []).exit_code == 0
    assert not list(client.scan_iter("session:*"))
    with project.services.engine.connect() as connection:
        assert [each.keys_deleted for each in record.latest_sets(connection, 5)] == [1]


def test_pages_of_dagster_show_no_user_and_no_session(
    definitions: Definitions, instance: DagsterInstance, client: Redis
) -> None:
    log_in(client, "secret-user", when=noon(100), seconds=LIFE)
    session = play(client, "secret-user", when=noon(100), seconds=LIFE)
    result = run(definitions, instance)
    assert result.success
    shown = str(metadata_of(result, STEP)) + str(check(result))
    assert "secret" not in shown
    assert session not in shown
