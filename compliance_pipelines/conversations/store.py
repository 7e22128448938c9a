"""The checkpoint store as this package asks it: many keys at a time, on one server or on a cluster.

Here: the values of keys whose names are known. Not here: finding names (enumeration.py), deleting (setting_aside.py).
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import redis.exceptions
from hiredis import pack_command
from redis import RedisCluster

from compliance_pipelines.conversations.connection import connect
from compliance_pipelines.conversations.scripts import WRONG_TYPE_SIGNS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from compliance_pipelines.conversations.connection import Client
    from compliance_pipelines.settings import Settings

_PIPELINE: Final = 1_000
_SCAN_COUNT: Final = 1_000


class CheckpointStore:
    """Reads of a Redis that holds conversations; the client is the caller's to close."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.is_cluster = isinstance(client, RedisCluster)

    def close(self) -> None:
        """Close the client's connections."""
        self.client.close()

    def json_values(self, keys: Sequence[bytes], path: str) -> list[list[Any] | None]:
        """For each key the values at a JSONPath; None where the key is gone or is no JSON.

        Raises:
            redis.exceptions.RedisError: as for :meth:`each`.
        """
        return [_parsed(answer) for answer in self.each(("JSON.GET", key, path) for key in keys)]

    def strings(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """For each key its string; None where the key is gone or is no string.

        Raises:
            redis.exceptions.RedisError: as for :meth:`each`.
        """
        return [answer if isinstance(answer, bytes) else None for answer in self.each(("GET", key) for key in keys)]

    def exists(self, keys: Sequence[bytes]) -> list[bool]:
        """For each key whether it is there.

        Raises:
            redis.exceptions.RedisError: as for :meth:`each`.
        """
        return [answer == 1 for answer in self.each(("EXISTS", key) for key in keys)]

    def names(self) -> Iterator[bytes]:
        """The name of every key on every server, some twice.

        Raises:
            redis.exceptions.RedisError: Redis does not answer, or refused.
        """
        yield from self.client.scan_iter(count=_SCAN_COUNT)

    def each(
        self,
        commands: Iterable[tuple[Any, ...]],
        *,
        answered: tuple[type[redis.exceptions.ResponseError], ...] = (),
    ) -> list[Any]:
        """The answers of single commands, in order; that a key is of another type is its answer.

        Args:
            commands: the commands, each with its arguments.
            answered: errors of Redis that are answers for the caller, too.

        Raises:
            redis.exceptions.RedisError: the connection is lost, or Redis refused a command: what could not be looked at
                is not absent.
        """
        answers: list[Any] = []
        remaining = iter(commands)
        while batch := list(islice(remaining, _PIPELINE)):
            pipeline = self.client.pipeline(transaction=False)
            for command in batch:
                pipeline.execute_command(*command)
            for command, answer in zip(batch, pipeline.execute(raise_on_error=False), strict=True):
                is_answer = isinstance(answer, answered) or is_of_another_type(answer)
                if isinstance(answer, Exception) and not is_answer:
                    raise _with_command(answer, command)
                answers.append(answer)
        return answers

    def ask(self, commands: Sequence[tuple[Any, ...]]) -> Asked:
        """Send commands and go on; the answers are fetched later, unless this is a cluster, which is asked then.

        Raises:
            redis.exceptions.RedisError: the connection is lost.
        """
        return Asked(self, commands)


class Asked:
    """Commands that were sent, or are about to be; `answers` or `abandon` must follow.

    Args:
        store: the Redis.
        commands: as for :meth:`CheckpointStore.each`.
    """

    def __init__(self, store: CheckpointStore, commands: Sequence[tuple[Any, ...]]) -> None:
        self._store = store
        self._commands = commands
        self._connection: Any = None
        if not store.is_cluster:
            self._connection = _pool(store).get_connection()
            try:
                self._connection.send_packed_command([b"".join(map(pack_command, commands))])
            except BaseException:
                self.abandon()
                raise

    def answers(self) -> list[Any]:
        """The answers, as :meth:`CheckpointStore.each` gives them.

        Raises:
            redis.exceptions.RedisError: as for it.
        """
        if self._connection is None:
            return self._store.each(self._commands)
        read = self._connection.read_response
        answers: list[Any] = []
        try:
            for command in self._commands:
                try:
                    answers.append(read())
                except redis.exceptions.ResponseError as error:
                    if not is_of_another_type(error):
                        raise _with_command(error, command) from None
                    answers.append(error)
        except BaseException:
            self.abandon()
            raise
        self._release()
        return answers

    def abandon(self) -> None:
        """Give the answers up; they must not be taken for those of other commands."""
        if self._connection is not None:
            self._connection.disconnect()
            self._release()

    def _release(self) -> None:
        _pool(self._store).release(self._connection)
        self._connection = None


def _pool(store: CheckpointStore) -> Any:  # noqa: ANN401 - of whichever connections
    client: Any = store.client
    return client.connection_pool


def _with_command(error: Exception, command: tuple[Any, ...]) -> Exception:
    """The error with what was asked, up to the part of a key that names nobody."""
    if isinstance(error, redis.exceptions.ResponseError) and isinstance(command[1], bytes):
        error.args = (f"{command[0]} of {command[1].partition(b':')[0].decode('utf-8', 'replace')}:*: {error}",)
    return error


def is_of_another_type(answer: object) -> bool:
    """Whether Redis, or its JSON module, said that a key is there and of another type than the command is for."""
    return isinstance(answer, redis.exceptions.ResponseError) and any(sign in str(answer) for sign in WRONG_TYPE_SIGNS)


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
