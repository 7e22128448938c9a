"""Nothing is removed from a Redis of another environment, and an empty one does not close a request."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.conversations.connection import connect_url
from compliance_pipelines.conversations.environment import ENVIRONMENT_KEY, RedisEnvironmentError
from compliance_pipelines.conversations.place import STORE_KEY
from compliance_pipelines.conversations.purge import Retention
from compliance_pipelines.conversations.steps import PurgeStep
from compliance_pipelines.conversations.store import CheckpointStore
from compliance_pipelines.erasure.configured import configured_targets
from compliance_pipelines.erasure.record import NewRequest, State, record_request
from compliance_pipelines.erasure.redis_binding import bind_redis
from compliance_pipelines.erasure.runner import RunStep, run_request
from compliance_pipelines.settings import ConfigurationError
from tests.integration.conversations.savers import Writer
from tests.integration.erasure.command import Command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

    from compliance_pipelines.local_stack.redis import EmbeddedRedis
    from compliance_pipelines.services import Services
    from tests.integration.erasure.application import Application

ALICE = "user:alice"
OTHER = "6f1b2a3c-0000-4000-8000-000000000000"


@pytest.fixture
def retention(services: Services, redis_server: EmbeddedRedis) -> Iterator[Retention]:
    store = CheckpointStore(connect_url(redis_server.url()))
    yield Retention(services, store)
    store.close()


@pytest.fixture
def conversation(services: Services, redis: Redis, redis_server: EmbeddedRedis) -> set[bytes]:
    """The keys of a conversation that is due."""
    Writer(redis, redis_server.url()).say("old", at=services.clock() - timedelta(days=100))
    return keys(redis)


def keys(redis: Redis) -> set[bytes]:
    return set(redis.scan_iter()) - {ENVIRONMENT_KEY.encode(), STORE_KEY.encode()}


def break_binding(redis: Redis, how: str) -> str:
    """What the refusal says."""
    if how == "flushed":
        redis.delete(ENVIRONMENT_KEY)
        return "does not say which environment it is of"
    redis.set(ENVIRONMENT_KEY, OTHER)
    return f"is of environment '{OTHER}'"


@pytest.mark.parametrize("how", ["flushed", "another environment's"])
def test_retention_removes_nothing_from_a_redis_that_is_not_the_databases(
    retention: Retention, redis: Redis, conversation: set[bytes], how: str
) -> None:
    message = break_binding(redis, how)
    with pytest.raises(RedisEnvironmentError, match=message) as refused:
        retention.purge()
    assert "compliance conversations bind" in str(refused.value)
    assert keys(redis) == conversation


def test_a_redis_that_is_exchanged_after_the_plan_loses_nothing(
    retention: Retention, redis: Redis, conversation: set[bytes]
) -> None:
    def exchange(step: PurgeStep) -> None:
        if step is PurgeStep.FROZEN:
            redis.set(ENVIRONMENT_KEY, OTHER)

    retention.hook = exchange
    with pytest.raises(RedisEnvironmentError):
        retention.purge()
    assert keys(redis) == conversation


def test_a_database_to_which_nothing_was_bound_removes_nothing(
    retention: Retention, superuser_engine: object, redis: Redis, conversation: set[bytes], services: Services
) -> None:
    with superuser_engine.begin() as connection:  # type: ignore[attr-defined]
        connection.exec_driver_sql("SET LOCAL session_replication_role = 'replica'")
        connection.exec_driver_sql("TRUNCATE audit_environment")
    with pytest.raises(RedisEnvironmentError, match="the database is of no environment yet"):
        retention.purge()
    assert keys(redis) == conversation


@pytest.mark.parametrize("how", ["flushed", "another environment's"])
def test_an_erasure_neither_removes_nor_closes_over_a_redis_that_is_not_the_databases(
    services: Services, application: Application, redis: Redis, how: str
) -> None:
    application.meet(ALICE)
    before = keys(redis)
    message = break_binding(redis, how)
    case, _ = record_request(services, NewRequest(ALICE, "asked", "support"))
    case = run_request(services, configured_targets(services.settings), case.request.id)
    assert case.state is State.PARTIAL
    failed = [event for event in case.events if event.kind.value == "failed"]
    assert {event.target for event in failed} == {"sessions", "conversations", "conversation_notes", "memories"}
    assert all(message in event.detail["error"] for event in failed)
    assert keys(redis) == before
    redis.delete(ENVIRONMENT_KEY)
    bind_redis(services)
    assert run_request(services, configured_targets(services.settings), case.request.id).state is State.CLOSED


def test_a_redis_that_is_exchanged_during_an_erasure_does_not_close_it(
    services: Services, application: Application, redis: Redis
) -> None:
    application.meet(ALICE)

    def exchange(step: RunStep, target: str | None, /) -> None:
        if (step, target) == (RunStep.FOUND, "memories"):
            redis.set(ENVIRONMENT_KEY, OTHER)

    case, _ = record_request(services, NewRequest(ALICE, "asked", "support"))
    case = run_request(services, configured_targets(services.settings), case.request.id, hook=exchange)
    assert case.state is State.PARTIAL
    assert "memories" in {event.target for event in case.events if event.kind.value == "failed"}


def test_binding_is_a_command_that_takes_no_redis_away_from_another_environment(
    services: Services, redis: Redis
) -> None:
    command = Command(services.settings)
    redis.delete(ENVIRONMENT_KEY)
    done = command("conversations", "bind")
    assert done.exit_code == 0, done.output
    assert [line.split()[3] for line in done.output.splitlines()] == [
        "CHECKPOINT_REDIS_URL",
        "GDPR_SESSION_REDIS_URL",
        "GDPR_STORE_REDIS_URL",
    ]
    assert command("conversations", "bind").output.count("was already bound") == 3
    redis.set(ENVIRONMENT_KEY, OTHER)
    refused = command("conversations", "bind")
    assert isinstance(refused.exception, RedisEnvironmentError)
    assert redis.get(ENVIRONMENT_KEY) == OTHER.encode()


def test_there_must_be_a_redis_to_bind(services: Services) -> None:
    names = ("gdpr_session_redis_url", "gdpr_store_redis_url", "checkpoint_redis_url")
    bare = replace(services, settings=services.settings.model_copy(update=dict.fromkeys(names)))
    with pytest.raises(ConfigurationError, match="there is no Redis to bind"):
        bind_redis(bare)
