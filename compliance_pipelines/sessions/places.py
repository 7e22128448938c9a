"""The Redis of the settings that hold sessions and memories.

Here: which there are, opening them, and whether each is of the database's environment. Not here: what lies there.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from redis import RedisCluster

from compliance_pipelines.base.errors import TransientError
from compliance_pipelines.conversations.environment import check_environment, redis_time
from compliance_pipelines.conversations.errors import ConversationError, redis_errors
from compliance_pipelines.erasure.redis_scan import location_of, open_redis
from compliance_pipelines.sessions.errors import SessionError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from uuid import UUID

    from compliance_pipelines.conversations.connection import Client
    from compliance_pipelines.settings import Settings


@dataclass(frozen=True)
class Place:
    """A Redis.

    Attributes:
        setting: the first setting that names it; it is on record.
        client: gives bytes.
        location: without secrets.
        has_sessions: whether sessions are looked for there.
        has_memories: whether memories are.
    """

    setting: str
    client: Client
    location: str
    has_sessions: bool = False
    has_memories: bool = False

    @property
    def is_cluster(self) -> bool:
        """Whether its keys lie on several servers."""
        return isinstance(self.client, RedisCluster)

    def require_environment(self, environment: UUID | None) -> None:
        """Let only a Redis of the database's environment pass.

        Raises:
            RedisEnvironmentError: it is another environment's, or does not say.
            TransientError: it did not answer.
        """
        check_environment(self.client, environment, setting=self.setting)

    def time(self) -> datetime:
        """The time of its own clock.

        Raises:
            TransientError: it did not answer.
            SessionError: it refused.
        """
        with self.errors("the look at the clock of Redis"):
            return redis_time(self.client)

    @contextmanager
    def errors(self, doing: str) -> Iterator[None]:
        """Raise a lost connection as TransientError, and what this Redis refuses as SessionError.

        Args:
            doing: what could not be done, as the message begins.
        """
        try:
            with redis_errors(doing):
                yield
        except (ConversationError, TransientError) as error:
            kind = TransientError if isinstance(error, TransientError) else SessionError
            message = str(error).replace("CHECKPOINT_REDIS_URL", self.setting)
            raise kind(message.replace("docs/conversations.md", "docs/sessions.md")) from error


@contextmanager
def open_places(settings: Settings) -> Iterator[tuple[Place, ...]]:
    """Every Redis of the settings that may hold sessions or memories, each once; closed at the end.

    Raises:
        ConfigurationError: a URL cannot be used.
        TransientError: a cluster does not answer.
    """
    store = ("GDPR_STORE_REDIS_URL", settings.gdpr_store_redis_url)
    if settings.gdpr_store_redis_url is None:
        store = ("CHECKPOINT_REDIS_URL", settings.checkpoint_redis_url)
    named = (
        ("GDPR_SESSION_REDIS_URL", settings.gdpr_session_redis_url, True),
        ("GDPR_PLAYGROUND_REDIS_URL", settings.gdpr_playground_redis_url, True),
        (*store, False),
    )
    places: dict[str, Place] = {}
    with ExitStack() as stack:
        for setting, secret, is_of_sessions in named:
            if secret is None:
                continue
            url = secret.get_secret_value()
            if url not in places:
                client = open_redis(setting, url, settings)
                stack.callback(client.close)
                places[url] = Place(setting, client, location_of(url))
            known = places[url]
            places[url] = replace(
                known,
                has_sessions=known.has_sessions or is_of_sessions,
                has_memories=known.has_memories or not is_of_sessions,
            )
        yield tuple(places.values())
