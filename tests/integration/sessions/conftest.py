"""Sessions in database 0, playground in 2, memories in 1, as the server's own deployment has them, and retention."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr
from redis import Redis

from compliance_pipelines.conversations.steps import no_hook
from compliance_pipelines.erasure.redis_binding import bind_redis
from compliance_pipelines.sessions.places import open_places
from compliance_pipelines.sessions.purge import SessionRetention

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compliance_pipelines.conversations.steps import StepHook
    from compliance_pipelines.local_stack.redis import EmbeddedRedis
    from compliance_pipelines.services import Services
    from compliance_pipelines.settings import Settings


@dataclass
class World:
    """Three databases of one Redis, and the retention over them."""

    services: Services
    sessions: Redis
    memories: Redis
    playground: Redis
    stack: ExitStack

    def retention(self, hook: StepHook = no_hook, **settings: object) -> SessionRetention:
        """The retention, with some settings changed."""
        services = self.services
        if settings:
            services = replace(services, settings=services.settings.model_copy(update=settings))
        return SessionRetention(services, self.stack.enter_context(open_places(services.settings)), hook)

    def names(self, client: Redis | None = None) -> set[bytes]:
        """The keys of sessions and memories in a database."""
        found = (client or self.sessions).scan_iter()
        return {key for key in found if not key.startswith(b"compliance_pipelines:")}

    def ago(self, days: float) -> datetime:
        """A moment so many days before the clock's."""
        return self.services.clock() - timedelta(days=days)


@pytest.fixture
def settings(settings: Settings, redis_server: EmbeddedRedis) -> Settings:
    """The settings of one test."""
    urls = {number: SecretStr(redis_server.url().replace("/0", f"/{number}")) for number in range(3)}
    return settings.model_copy(
        update={
            "gdpr_session_redis_url": urls[0],
            "gdpr_store_redis_url": urls[1],
            "gdpr_playground_redis_url": urls[2],
            "memory_retention_days": 365,
        }
    )


@pytest.fixture
def world(services: Services, redis_server: EmbeddedRedis) -> Iterator[World]:
    """Empty databases, bound to the environment of the services."""
    with ExitStack() as stack:
        sessions, memories, playground = (
            stack.enter_context(Redis.from_url(redis_server.url().replace("/0", f"/{number}"))) for number in range(3)
        )
        sessions.flushall()
        bind_redis(services)
        yield World(services, sessions, memories, playground, stack)
        sessions.flushall()


LONG_AGO = datetime(2025, 10, 1, tzinfo=UTC)
