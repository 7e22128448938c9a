"""Whether the retention of sessions and memories will be able to remove what falls due.

Here: the rights that it needs beyond those of an erasure, in each Redis that it concerns. Not here: everything that is
asked of a Redis in any case (erasure/health.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.base.health import HealthCheck
from compliance_pipelines.conversations.health import RedisUse, check_rights
from compliance_pipelines.conversations.rights import KeyUse
from compliance_pipelines.sessions.places import open_places
from compliance_pipelines.sessions.policy import session_policy
from compliance_pipelines.sessions.purge import concerned_places

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compliance_pipelines.services import Services
    from compliance_pipelines.sessions.places import Place
    from compliance_pipelines.sessions.policy import SessionPolicy
    from compliance_pipelines.settings import Settings

_NAME: Final = "retention of sessions"
_REMOVING: Final = ("TYPE", "EXISTS", "MEMORY USAGE", "UNLINK")
_OWN_KEYS: Final = (
    KeyUse("compliance_pipelines:environment", ("GET",)),
    KeyUse("compliance_pipelines:purge:", ("HMGET", "HINCRBY", "EXPIRE", "UNLINK")),
)
_COMMANDS: Final = ("SCAN", "EVAL", "TIME")


def check_session_retention(services: Services) -> list[HealthCheck]:
    """Look at every Redis that the policy of sessions and memories concerns; it raises nothing."""
    settings = services.settings
    try:
        policy = session_policy(settings)
        with open_places(settings) as places:
            return [_check(place, policy, settings) for place in concerned_places(places, policy)]
    except ComplianceError as error:
        return [HealthCheck(_NAME, f"it cannot be told: {error}", "correct the policy, or start the Redis")]


def _check(place: Place, policy: SessionPolicy, settings: Settings) -> HealthCheck:
    use = RedisUse(place.setting, place.client, (*_uses(place, policy, settings), *_OWN_KEYS), _COMMANDS)
    try:
        found = check_rights(use)
    except ComplianceError as error:
        message = str(error).replace("CHECKPOINT_REDIS_URL", place.setting)
        found = HealthCheck(_NAME, f"it cannot be told: {message}", f"start the Redis, or correct {place.setting}")
    return HealthCheck(_NAME, found.message, found.remedy).of(place.setting)


def _uses(place: Place, policy: SessionPolicy, settings: Settings) -> Iterator[KeyUse]:
    if place.has_sessions and policy.session_days is not None:
        yield KeyUse("session:", ("GET", "HMGET", "HGETALL", *_REMOVING))
        yield KeyUse("user_sessions:", ("LREM",))
    if place.has_memories and policy.memory_days is not None:
        for prefix in (settings.gdpr_store_prefix, settings.gdpr_store_vector_prefix):
            yield KeyUse(f"{prefix}:", ("JSON.GET", "HMGET", *_REMOVING))
