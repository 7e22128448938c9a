"""Binding every Redis of the settings to the environment of the database.

Here: which servers there are. Not here: the key that says so (conversations/environment.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compliance_pipelines.audit_log.environment import ensure_environment
from compliance_pipelines.conversations.environment import bind_environment
from compliance_pipelines.erasure.redis_scan import open_redis
from compliance_pipelines.settings import ConfigurationError

if TYPE_CHECKING:
    from compliance_pipelines.services import Services


def bind_redis(services: Services) -> dict[str, bool]:
    """Say in each Redis of the settings that it is of this database's environment.

    Returns:
        For each setting that names one, whether it said nothing before.

    Raises:
        ConfigurationError: the settings name none, or a URL cannot be used.
        RedisEnvironmentError: one is another environment's; it was left as it is.
        TransientError: one did not answer.
    """
    settings = services.settings
    named = {
        "CHECKPOINT_REDIS_URL": settings.checkpoint_redis_url,
        "GDPR_SESSION_REDIS_URL": settings.gdpr_session_redis_url,
        "GDPR_PLAYGROUND_REDIS_URL": settings.gdpr_playground_redis_url,
        "GDPR_NOTES_REDIS_URL": settings.gdpr_notes_redis_url,
        "GDPR_STORE_REDIS_URL": settings.gdpr_store_redis_url,
    }
    urls = {setting: secret.get_secret_value() for setting, secret in named.items() if secret is not None}
    if not urls:
        raise ConfigurationError(f"there is no Redis to bind: set {', '.join(named)}, or one of them")
    with services.engine.begin() as connection:
        environment = ensure_environment(connection)
    bound = {}
    for setting, url in urls.items():
        client = open_redis(setting, url, settings)
        try:
            bound[setting] = bind_environment(client, environment, setting=setting)
        finally:
            client.close()
    return bound
