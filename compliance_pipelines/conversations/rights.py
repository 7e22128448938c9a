"""What a Redis login may do, found out without changing anything.

Here: harmless commands on keys that do not exist, and what is missing. Not here: which rights are needed for what.

Whoever may read the access list may do everything, and a login that is fit for us may not. So each command is tried on
a name under each prefix that nobody uses: it finds nothing, removes nothing, and is refused where the right is missing.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import redis.exceptions
from redis import RedisCluster

from compliance_pipelines.conversations.errors import is_refused_right, redis_errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from compliance_pipelines.conversations.connection import Client

_SAME_KEY: Final = object()
_ON_KEYS: Final[dict[str, tuple[Any, ...]]] = {
    "EXISTS": (),
    "EXPIRE": (1,),
    "GET": (),
    "HGETALL": (),
    # Refused as no number after the right was looked at, so that no field is made.
    "HINCRBY": ("field", "no number"),
    "HMGET": ("field",),
    "JSON.GET": ("$.field",),
    # Of a key that is not there, a path below the root is refused after the right was looked at.
    "JSON.SET": ("$.field", "1"),
    "LREM": (0, "element"),
    "MEMORY USAGE": (),
    # To itself, which is refused where there is no such key.
    "RENAME": (_SAME_KEY,),
    "TYPE": (),
    "UNLINK": (),
    # Refused as no number after the right was looked at, so that no member is made.
    "ZADD": ("no number", "member"),
    "ZRANGE": (0, 0),
}
_WITHOUT_KEYS: Final[dict[str, tuple[Any, ...]]] = {
    "EVAL": ("return 1", 0),
    "EVALSHA": ("0" * 40, 0),
    "INFO": ("server",),
    "SCAN": (0, "COUNT", 1),
    "SCRIPT LOAD": ("return 1",),
    "TIME": (),
}


@dataclass(frozen=True)
class KeyUse:
    """What is done with the keys of a prefix.

    Attributes:
        prefix: of the names.
        commands: those of `_ON_KEYS`.
    """

    prefix: str
    commands: tuple[str, ...]


@dataclass(frozen=True)
class MissingRights:
    """What a login lacks.

    Attributes:
        commands: that it may not call, or not on any of the keys.
        keys: prefixes, each with the commands that it may not call on them.
        unknown: commands that the server does not know: a module is missing.
    """

    commands: tuple[str, ...] = ()
    keys: tuple[tuple[str, tuple[str, ...]], ...] = ()
    unknown: tuple[str, ...] = ()


def missing_rights(client: Client, uses: Sequence[KeyUse], commands: Sequence[str]) -> MissingRights:
    """Try everything.

    Args:
        client: of one server or of a cluster.
        uses: what is done with keys.
        commands: those of `_WITHOUT_KEYS` that are needed.

    Raises:
        TransientError: Redis did not answer.
        ConversationError: the login itself was refused.
    """
    refused: dict[str, None] = {}
    unknown: dict[str, None] = {}
    on_keys: dict[str, dict[str, None]] = {}
    with redis_errors("the look at the rights of the Redis login"):
        for command in commands:
            for node in _nodes(client):
                answer = _try(client, command, *_WITHOUT_KEYS[command], **node)
                if answer is not None:
                    (unknown if _is_unknown(answer) else refused)[command] = None
        for use in uses:
            name = f"{use.prefix}compliance_pipelines:nobody:{uuid.uuid4()}"
            for command in use.commands:
                arguments = (name if each is _SAME_KEY else each for each in _ON_KEYS[command])
                answer = _try(client, command, name, *arguments)
                if answer is None:
                    continue
                if _is_unknown(answer):
                    unknown[command] = None
                elif _is_of_command(answer):
                    refused[command] = None
                else:
                    on_keys.setdefault(use.prefix, {})[command] = None
    return MissingRights(
        tuple(refused), tuple((prefix, tuple(found)) for prefix, found in on_keys.items()), tuple(unknown)
    )


def _nodes(client: Client) -> Iterator[dict[str, Any]]:
    if isinstance(client, RedisCluster):
        yield from ({"target_nodes": node} for node in client.get_primaries())  # type: ignore[no-untyped-call]
    else:
        yield {}


def _try(client: Client, command: str, *arguments: object, **node: object) -> redis.exceptions.ResponseError | None:
    """The refusal of a command; None where it was let through, whatever it then said."""
    try:
        client.execute_command(command, *arguments, **node)  # type: ignore[no-untyped-call]
    except redis.exceptions.AuthenticationError:
        raise
    except redis.exceptions.ResponseError as error:
        return error if is_refused_right(error) or _is_unknown(error) else None
    return None


def _is_unknown(error: redis.exceptions.ResponseError) -> bool:
    return "unknown command" in str(error).lower()


def _is_of_command(error: redis.exceptions.ResponseError) -> bool:
    """Whether the command is refused altogether; Redis says otherwise that it is the key."""
    return "to run the" in str(error)
