"""Many conversations quickly: copies of one that a real saver wrote, under other ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis import Redis

from tests.support.redis_commands import execute

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from redis.client import Pipeline


def copy_thread(url: str, thread: str, copies: Iterable[str]) -> None:
    """Write every key of a thread anew under each of the ids, which stand in names, documents and members.

    Args:
        url: of a server, not of a cluster.
        thread: an id that is no part of anything else.
        copies: the other ids.
    """
    # A client of its own: one that a saver has used reads JSON itself.
    with Redis.from_url(url) as client:
        found = list(_values(client, thread))
        old = thread.encode()
        with client.pipeline(transaction=False) as pipeline:
            for copy in copies:
                for key, value in found:
                    _write(pipeline, key.replace(old, copy.encode()), value, old, copy.encode())
            pipeline.execute()


def _values(client: Redis, thread: str) -> Iterator[tuple[bytes, Any]]:
    """Keys with their values: a document in a tuple, a sorted set's members with scores, or a string."""
    for key in client.scan_iter(match=f"*{thread}*", count=1000):
        kind = client.type(key)
        if kind == b"ReJSON-RL":
            yield key, (execute(client, "JSON.GET", key),)
        elif kind == b"zset":
            yield key, dict(client.zscan_iter(key))
        else:
            yield key, client.get(key)


def _write(pipeline: Pipeline, key: bytes, value: Any, old: bytes, new: bytes) -> None:  # noqa: ANN401 - as above
    if isinstance(value, tuple):
        execute(pipeline, "JSON.SET", key, "$", value[0].replace(old, new))
    elif isinstance(value, dict):
        pipeline.zadd(key, {member.replace(old, new): score for member, score in value.items()})
    else:
        pipeline.set(key, value.replace(old, new))
