"""The checkpoint store as this package asks it: many keys at a time, on one server or on a cluster.

Here: the values of keys whose names are known. Not here: finding the names (enumeration.py), deleting (removal.py).
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import redis.exceptions
from redis import RedisCluster

from compliance_pipelines.conversations.connection import connect

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from compliance_pipelines.conversations.connection import Client
    from compliance_pipelines.settings import Settings

_PIPELINE: Final = 1_000


class CheckpointStore:
    """Reads of a Redis that holds conversations; the client is the caller's to close."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.is_cluster = isinstance(client, RedisCluster)

    def close(self) -> None:
        """Close the client's connections."""
        self.client.close()

    def json_values(self, keys: Sequence[bytes], path: str) -> list[list[Any] | None]:
        """For each key the values at a JSONPath; None where the key is gone or is no JSON."""
        return [_parsed(answer) for answer in self.each(("JSON.GET", key, path) for key in keys)]

    def strings(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """For each key its string; None where the key is gone or is no string."""
        return [answer if isinstance(answer, bytes) else None for answer in self.each(("GET", key) for key in keys)]

    def exists(self, keys: Sequence[bytes]) -> list[bool]:
        """For each key whether it is there."""
        return [answer == 1 for answer in self.each(("EXISTS", key) for key in keys)]

    def each(self, commands: Iterable[tuple[Any, ...]]) -> list[Any]:
        """The answers of single commands, in order; a refusal of Redis is its answer.

        Raises:
            redis.exceptions.RedisError: the connection is lost.
        """
        answers: list[Any] = []
        pipeline = self.client.pipeline(transaction=False)
        waiting = 0
        for command in commands:
            pipeline.execute_command(*command)
            waiting += 1
            if waiting == _PIPELINE:
                answers += pipeline.execute(raise_on_error=False)
                waiting = 0
        if waiting:
            answers += pipeline.execute(raise_on_error=False)
        for answer in answers:
            if isinstance(answer, Exception) and not isinstance(answer, redis.exceptions.ResponseError):
                raise answer
        return answers


def _parsed(answer: object) -> list[Any] | None:
    """The values in an answer, which redis-py has read already once somebody has used the client's `json()`."""
    if isinstance(answer, bytes):
        try:
            answer = json.loads(answer)
        except ValueError:
            return None
    return answer if isinstance(answer, list) else None


@contextmanager
def open_store(settings: Settings) -> Iterator[CheckpointStore]:
    """The checkpoint store of the settings; closed at the end.

    Raises:
        ConfigurationError: CHECKPOINT_REDIS_URL is missing or cannot be used.
    """
    store = CheckpointStore(connect(settings))
    try:
        yield store
    finally:
        store.close()
