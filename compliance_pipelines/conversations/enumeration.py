"""Enumerating the keys of a Redis, on every server of a store, in small steps.

Here: the names of all keys. Not here: reading what they hold (reading.py), and what the names say (names.py).

SCAN gives every key that is there during the whole pass, some twice. At full pace the next step is asked for before
the last one is handed on, so that server and client work at the same time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from redis import RedisCluster

from compliance_pipelines.conversations.errors import ConversationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compliance_pipelines.conversations.pacing import Pace
    from compliance_pipelines.conversations.store import CheckpointStore

# A step of so many keys keeps others waiting for about 0.3 ms; larger ones save a client next to nothing.
_COUNT: Final = 500


def names(store: CheckpointStore, pace: Pace) -> Iterator[list[bytes]]:
    """The names of every key of a store, step by step.

    Raises:
        redis.exceptions.RedisError: Redis does not answer, or refuses.
        ConversationError: Redis answers with something else.
    """
    client: Any = store.client
    if not isinstance(client, RedisCluster):
        yield from _names_of(client, pace)
        return
    for node in client.get_primaries():  # type: ignore[no-untyped-call]
        yield from _names_of(client.get_redis_connection(node), pace)


def _names_of(client: Any, pace: Pace) -> Iterator[list[bytes]]:  # noqa: ANN401 - one server's client
    pool = client.connection_pool
    connection = pool.get_connection()
    try:
        cursor: bytes = b"0"
        is_asked = False
        while True:
            with pace.step():
                if not is_asked:
                    connection.send_command("SCAN", cursor, "COUNT", _COUNT)
                answer = connection.read_response()
            cursor, found = _cursor_and_keys(answer)
            is_last = int(cursor) == 0
            is_asked = pace.is_full and not is_last
            if is_asked:
                connection.send_command("SCAN", cursor, "COUNT", _COUNT)
            yield found
            if is_last:
                return
    except BaseException:
        # An answer may be under way, which must not be taken for that of another command.
        connection.disconnect()
        raise
    finally:
        pool.release(connection)


def _cursor_and_keys(answer: object) -> tuple[bytes, list[bytes]]:
    if not isinstance(answer, list) or len(answer) != 2:  # noqa: PLR2004 - cursor and keys
        raise ConversationError(f"the survey stopped: Redis answered {answer!r}")
    cursor, found = answer
    return cursor, found
