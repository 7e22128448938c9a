"""An application's Redis and PostgreSQL with data of two people, and the targets over them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr
from redis import Redis

from compliance_pipelines.erasure.redis_binding import bind_redis
from compliance_pipelines.postgres.engine import create_engine
from tests.integration.erasure.application import Application

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy

    from compliance_pipelines.local_stack.redis import EmbeddedRedis
    from compliance_pipelines.services import Services
    from compliance_pipelines.settings import Settings

PSEUDONYM_KEY = "the key of the pseudonyms, 40 characters"


@pytest.fixture
def redis(redis_server: EmbeddedRedis) -> Iterator[Redis]:
    """The worker's Redis, empty."""
    with Redis.from_url(redis_server.url()) as client:
        client.flushall()
        yield client
        client.flushall()


@pytest.fixture
def application_engine(empty_database_url: str) -> Iterator[sqlalchemy.Engine]:
    """The application's own database."""
    engine = create_engine(empty_database_url, pool_size=2)
    yield engine
    engine.dispose()


@pytest.fixture
def application(redis: Redis, application_engine: sqlalchemy.Engine) -> Application:
    """The application, with its tables and no data."""
    application = Application(redis, application_engine)
    application.create_tables()
    return application


@pytest.fixture
def settings(settings: Settings, redis_server: EmbeddedRedis, empty_database_url: str) -> Settings:
    """The settings of one test with every target of the application."""

    def table(of: str, **rule: object) -> dict[str, object]:
        return {
            "database_url": empty_database_url,
            "table": of,
            "user_column": "user_id",
            "action": "delete",
            **rule,
        }

    tables = [
        table("user_preferences", last_day_column="updated_at"),
        table(
            "consent_records",
            action="set",
            set={"ip_address": None, "user_agent": "erased", "metadata": {}},
            first_day_column="timestamp",
            last_day_column="timestamp",
        ),
        table("conversations", name="conversation_rows"),
        table("user_profiles", first_day_column="created_at", last_day_column="last_updated"),
    ]
    return settings.model_copy(
        update={
            "gdpr_session_redis_url": SecretStr(redis_server.url()),
            "checkpoint_redis_url": SecretStr(redis_server.url()),
            "gdpr_store_redis_url": SecretStr(redis_server.url()),
            "gdpr_sql_targets": SecretStr(json.dumps(tables)),
            "gdpr_controller": "Example Ltd\n1 Example Street",
            "gdpr_contact": "privacy@example.org",
        }
    )


@pytest.fixture
def services(services: Services, redis: Redis) -> Services:
    """The services, with the application's Redis bound to their environment."""
    bind_redis(services)
    return services


@pytest.fixture
def pseudonymous(services: Services) -> Services:
    """The services with pseudonyms in audit entries."""
    update = {"gdpr_subject_pseudonyms": "hmac", "gdpr_pseudonym_key": SecretStr(PSEUDONYM_KEY)}
    return replace(services, settings=services.settings.model_copy(update=update))
