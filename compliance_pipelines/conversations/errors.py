"""What can go wrong with conversations.

Here: the errors that more than one module of this package raises. Not here: findings, which are results.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import redis.exceptions

from compliance_pipelines.base.errors import ComplianceError, TransientError

if TYPE_CHECKING:
    from collections.abc import Iterator


class ConversationError(ComplianceError):
    """Conversations cannot be read, planned or removed."""


class PolicyError(ConversationError):
    """The retention policy cannot be used."""


class PlanTooLargeError(ConversationError):
    """A plan would remove more than may go without a person's consent. Nothing was removed.

    Attributes:
        planned: conversations that the plan would remove.
        seen: conversations that there are.
    """

    def __init__(self, message: str, *, planned: int, seen: int) -> None:
        super().__init__(message)
        self.planned = planned
        self.seen = seen


@contextmanager
def redis_errors(doing: str) -> Iterator[None]:
    """Raise a lost or refused connection as TransientError, and what Redis refuses as ConversationError.

    Args:
        doing: what could not be done, as the message begins: "the survey of conversations".
    """
    try:
        yield
    except (redis.exceptions.RedisError, redis.exceptions.RedisClusterException) as error:
        raise _in_our_words(doing, _answer_behind(error)) from error


# Of the answers for which redis-py has no class: a master that has fewer replicas than min-replicas-to-write asks for,
# as one that was just promoted. It answers so before it writes anything.
_PASSING: Final = "NOREPLICAS "


# What a server is in while it refuses every write; a failover, or a person, ends it.
_STATES: Final = {
    redis.exceptions.ReadOnlyError: "this Redis is a read-only replica, from which nothing can be removed: wait for "
    "the failover, or name the primary, or a Sentinel that does (redis+sentinel://)",
    redis.exceptions.OutOfMemoryError: "this Redis is out of memory and takes no writes: raise its maxmemory",
}
# A script's error has no class of its own; in it stand Redis' words from version 7 on, or those of version 6.
_NO_PERMISSION: Final = ("NOPERM", "ACL failure in script", "can't run this command or subcommand")


def is_refused_right(error: BaseException) -> bool:
    """Whether Redis said that the login may not do this."""
    return isinstance(error, redis.exceptions.NoPermissionError) or any(sign in str(error) for sign in _NO_PERMISSION)


def _in_our_words(doing: str, error: BaseException) -> ComplianceError:
    if isinstance(error, redis.exceptions.AuthenticationError) or is_refused_right(error):
        return ConversationError(
            f"{doing} stopped: Redis of CHECKPOINT_REDIS_URL refused the login or a command: {error}; "
            "docs/conversations.md names the commands that are needed"
        )
    for kind, what in _STATES.items():
        if isinstance(error, kind):
            return TransientError(f"{doing} had to stop: {what}; then run it again")
    refused = isinstance(error, redis.exceptions.RedisError) and not isinstance(
        error,
        (
            redis.exceptions.ConnectionError,
            redis.exceptions.TimeoutError,
            redis.exceptions.ClusterDownError,
            redis.exceptions.TryAgainError,
        ),
    )
    if refused and not str(error).startswith(_PASSING):
        return ConversationError(f"{doing} stopped: Redis answered: {error}")
    return TransientError(f"{doing} had to stop: Redis did not answer: {error}; run it again")


def _answer_behind(error: BaseException) -> BaseException:
    """What a node answered, or that it did not, where the client says no more than that there is no cluster."""
    while isinstance(error, redis.exceptions.RedisClusterException):
        behind = error.__cause__ or error.__context__
        if behind is None:
            break
        error = behind
    return error
