"""Whether every place that retention and erasure work on can be looked at and cleared.

Here: the Redis of the settings, each with what is done with it, and the targets that can say how they are. Not here:
the questions themselves (conversations/health.py, table_health.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from compliance_pipelines.audit_log.environment import environment_of
from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.base.health import HealthCheck
from compliance_pipelines.conversations.health import RETENTION_COMMANDS, RedisUse, check_redis, retention_uses
from compliance_pipelines.conversations.keys import KeyLayout
from compliance_pipelines.conversations.rights import KeyUse
from compliance_pipelines.erasure.alias_tables import alias_tables
from compliance_pipelines.erasure.redis_scan import open_redis
from compliance_pipelines.postgres.errors import passing_errors_as_transient

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from pydantic import SecretStr

    from compliance_pipelines.erasure.targets import ErasureTarget
    from compliance_pipelines.services import Services
    from compliance_pipelines.settings import Settings

_CHECKPOINTS: Final = "CHECKPOINT_REDIS_URL"
_SESSIONS: Final = "GDPR_SESSION_REDIS_URL"
_PLAYGROUND: Final = "GDPR_PLAYGROUND_REDIS_URL"
_NOTES: Final = "GDPR_NOTES_REDIS_URL"
_STORE: Final = "GDPR_STORE_REDIS_URL"
_ENVIRONMENT_ASKED: Final = "the look at the database's environment"
_SCANNING: Final = ("SCAN", "INFO")
_ENVIRONMENT: Final = KeyUse("compliance_pipelines:environment", ("GET",))


@runtime_checkable
class SelfChecking(Protocol):
    """A target that can say beforehand whether it will be able to find and delete."""

    def check(self) -> Sequence[HealthCheck]:
        """What is in order and what is not; it raises nothing."""


def check_redis_places(services: Services, *, only_reading: bool = False) -> list[HealthCheck]:
    """Look at every Redis of the settings.

    Args:
        services: the opened services.
        only_reading: whether the rights to remove are left out, which an auditor does not need.
    """
    return [check for place in _places(services.settings) for check in place.check(services, only_reading=only_reading)]


def check_places(services: Services, targets: Sequence[ErasureTarget]) -> list[HealthCheck]:
    """Look at every Redis of the settings, and ask every target that can say how it is, and every table of ids."""
    of_redis = check_redis_places(services)
    return (
        of_redis
        + _check_alias_tables(services.settings)
        + [check.of(target.name) for target in targets if isinstance(target, SelfChecking) for check in target.check()]
    )


def _check_alias_tables(settings: Settings) -> list[HealthCheck]:
    checks = []
    for table in alias_tables(settings):
        with table:
            checks.append(table.check())
    return checks


def check_checkpoint_redis(services: Services, *, only_reading: bool = False) -> list[HealthCheck]:
    """Look at the Redis of the conversations alone; nothing where there is none. See :func:`check_redis_places`."""
    places = (place for place in _places(services.settings) if place.setting == _CHECKPOINTS)
    return [check for place in places for check in place.check(services, only_reading=only_reading)]


@dataclass(frozen=True)
class _Place:
    """A Redis of the settings, and what is done there with keys and without."""

    setting: str
    url: SecretStr
    keys: tuple[KeyUse, ...]
    commands: tuple[str, ...]

    def check(self, services: Services, *, only_reading: bool) -> list[HealthCheck]:
        def environment() -> UUID | None:
            engine = services.engine
            with passing_errors_as_transient(_ENVIRONMENT_ASKED, engine), engine.connect() as connection:
                return environment_of(connection)

        try:
            client = open_redis(self.setting, self.url.get_secret_value(), services.settings)
        except ComplianceError as error:
            remedy = f"start the Redis, or correct {self.setting}"
            return [HealthCheck("connection", f"it cannot be told: {error}", remedy).of(self.setting)]
        try:
            use = RedisUse(self.setting, client, self.keys, self.commands)
            return check_redis(use.only_reading() if only_reading else use, environment)
        finally:
            client.close()


def _places(settings: Settings) -> list[_Place]:
    notes = (KeyUse("conversation:metadata:", ("TYPE", "GET", "UNLINK")),)
    sessions = (
        KeyUse("session:", ("TYPE", "GET", "HMGET", "HGETALL", "UNLINK")),
        KeyUse("user_sessions:", ("EXISTS", "TYPE", "UNLINK")),
        *notes,
    )
    memories = tuple(
        KeyUse(f"{prefix}:", ("TYPE", "JSON.GET", "HMGET", "EXISTS", "UNLINK"))
        for prefix in (settings.gdpr_store_prefix, settings.gdpr_store_vector_prefix)
    )
    places = []
    if settings.checkpoint_redis_url is not None:
        uses = retention_uses(KeyLayout(settings.checkpoint_redis_prefix, settings.checkpoint_redis_write_prefix))
        uses += notes if settings.gdpr_store_redis_url is not None else (*notes, *memories)
        places.append(_Place(_CHECKPOINTS, settings.checkpoint_redis_url, uses, RETENTION_COMMANDS))
    others = (
        (_SESSIONS, settings.gdpr_session_redis_url, sessions),
        (_PLAYGROUND, settings.gdpr_playground_redis_url, sessions),
        (_NOTES, settings.gdpr_notes_redis_url, notes),
        (_STORE, settings.gdpr_store_redis_url, memories),
    )
    places += [
        _Place(setting, url, (*uses, _ENVIRONMENT), _SCANNING) for setting, url, uses in others if url is not None
    ]
    return places
