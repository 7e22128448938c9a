"""A Redis without any key for each test, LangGraph's savers on it, and the retention over it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from redis import Redis

from compliance_pipelines.audit_log.environment import ensure_environment
from compliance_pipelines.conversations.connection import connect_url
from compliance_pipelines.conversations.environment import ENVIRONMENT_KEY, bind_environment
from compliance_pipelines.conversations.place import STORE_KEY
from compliance_pipelines.conversations.purge import Retention
from compliance_pipelines.conversations.store import CheckpointStore
from compliance_pipelines.settings import Settings
from tests.integration.conversations.savers import Writer
from tests.support.redis_commands import execute

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compliance_pipelines.local_stack.redis import EmbeddedRedis
    from compliance_pipelines.services import Services


@pytest.fixture
def redis_url(empty_redis: EmbeddedRedis) -> str:
    """The Redis of this worker, emptied: keys, indexes and scripts."""
    url = empty_redis.url()
    with Redis.from_url(url) as client:
        for index in execute(client, "FT._LIST"):
            execute(client, "FT.DROPINDEX", index)
        client.script_flush()
    return url


@pytest.fixture
def redis_client(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def store(redis_url: str) -> Iterator[CheckpointStore]:
    opened = CheckpointStore(connect_url(redis_url))
    yield opened
    opened.close()


@dataclass
class World:
    """One Redis with conversations, and the retention over it."""

    services: Services
    store: CheckpointStore
    client: Redis
    url: str

    @property
    def now(self) -> datetime:
        return self.services.clock()

    def ago(self, days: float) -> datetime:
        return self.now - timedelta(days=days)

    def writer(self, kind: str = "full", **options: str) -> Writer:
        return Writer(self.client, self.url, kind, options or None)

    def retention(self, **options: object) -> Retention:
        """With some settings changed; what is no setting is an option of the retention itself."""
        settings = {name: options.pop(name) for name in list(options) if name in Settings.model_fields}
        services = replace(self.services, settings=self.services.settings.model_copy(update=settings))
        return Retention(services, self.store, **options)  # type: ignore[arg-type]

    def names(self) -> set[bytes]:
        """The names of all keys, without those that say which Redis it is, and of which environment."""
        return set(self.client.scan_iter(count=1000)) - {ENVIRONMENT_KEY.encode(), STORE_KEY.encode()}

    def names_of(self, thread_id: str) -> set[bytes]:
        """Names that hold a thread id, for ids that are no part of another."""
        return {key for key in self.names() if thread_id.encode() in key}


@pytest.fixture
def world(services: Services, store: CheckpointStore, redis_client: Redis, redis_url: str) -> World:
    bind(services, store)
    return World(services, store, redis_client, redis_url)


def bind(services: Services, store: CheckpointStore) -> None:
    """Let a Redis say that it is of the services' environment, as `compliance conversations bind` does."""
    with services.engine.begin() as connection:
        environment = ensure_environment(connection)
    bind_environment(store.client, environment, setting="CHECKPOINT_REDIS_URL")
