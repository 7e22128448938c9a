"""Whether a Redis is of the environment of the database: a key in it says so, written by a person's command.

Here: the key, binding, and the refusal of a Redis that is another environment's or says nothing. Not here: the id of
the environment (audit_log/environment.py), what is removed.

Nothing in Redis tells one server from another: host and port lead to another one after a mistake, and its run id
changes with each start. A plan that was made over one would be carried out on the other, and an erasure would find
nothing there and close its request. A Redis that was flushed says nothing either, and is bound again by whoever knows
that it was.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.conversations.errors import ConversationError, redis_errors
from compliance_pipelines.conversations.place import store_id_of

if TYPE_CHECKING:
    from uuid import UUID

    from compliance_pipelines.conversations.connection import Client

ENVIRONMENT_KEY: Final = "compliance_pipelines:environment"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class RedisEnvironmentError(ConversationError):
    """The Redis belongs to another environment than the database, or to none that it names; nothing was removed."""


def bind_environment(client: Client, environment: UUID, *, setting: str) -> bool:
    """Say in a Redis that it is of this environment.

    Args:
        client: of the Redis.
        environment: the id that the database has.
        setting: the setting that names the Redis, for the message.

    Returns:
        Whether it said nothing before.

    Raises:
        RedisEnvironmentError: it is another environment's; nothing was written.
        TransientError: Redis did not answer.
        ConversationError: Redis refused.
    """
    with redis_errors(f"the binding of the Redis of {setting}"):
        new = bool(client.set(ENVIRONMENT_KEY, str(environment), nx=True))
    check_environment(client, environment, setting=setting)
    store_id_of(client, setting=setting)
    return new


def check_environment(client: Client, environment: UUID | None, *, setting: str) -> None:
    """Let only a Redis of this environment pass.

    Args:
        client: of the Redis.
        environment: the id that the database has; None where nothing was bound to it yet.
        setting: the setting that names the Redis, for the message.

    Raises:
        RedisEnvironmentError: it is another environment's, or it does not say.
        TransientError: Redis did not answer.
        ConversationError: Redis refused.
    """
    with redis_errors(f"the look at the environment of the Redis of {setting}"):
        said = client.get(ENVIRONMENT_KEY)
    found = said.decode("utf-8", "backslashreplace") if isinstance(said, bytes) else said
    if environment is not None and found == str(environment):
        return
    ours = "of no environment yet" if environment is None else f"of environment {environment}"
    if found is None:
        raise RedisEnvironmentError(
            f"the Redis of {setting} does not say which environment it is of (no key {ENVIRONMENT_KEY}), and the "
            f"database is {ours}: nothing is removed from it. If it is the right one, and was flushed or is new, run "
            "`compliance conversations bind`"
        )
    raise RedisEnvironmentError(
        f"the Redis of {setting} is of environment {str(found)[:100]!r}, and the database is {ours}: nothing is "
        f"removed from it. Set {setting} or AUDIT_LOG_DATABASE_URL to those that belong together; if the Redis was "
        f"given to this environment for good, delete its key {ENVIRONMENT_KEY} and run `compliance conversations bind`"
    )


def redis_time(client: Client) -> datetime:
    """The time of a Redis' own clock; of one node of a cluster.

    Raises:
        TransientError: Redis did not answer.
        ConversationError: Redis refused.
    """
    with redis_errors("the look at the clock of Redis"):
        answer: Any = client.time()
    seconds, microseconds = next(iter(answer.values())) if isinstance(answer, dict) else answer
    return _EPOCH + timedelta(seconds=int(seconds), microseconds=int(microseconds))
