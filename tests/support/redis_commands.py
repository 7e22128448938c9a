"""What Redis' client has no types for, as the tests use it: commands by name, and the nodes of a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from redis import Redis, RedisCluster
    from redis.cluster import ClusterNode


def execute(client: Redis | RedisCluster, *command: bytes | str | float) -> Any:  # noqa: ANN401 - any kind
    """Send a command, or queue it in a pipeline, and give what comes back."""
    return client.execute_command(*command)  # type: ignore[no-untyped-call]


def dump(client: Redis | RedisCluster, key: bytes) -> bytes:
    """What a key that there is holds, as RESTORE takes it."""
    content = client.dump(key)
    assert isinstance(content, bytes)
    return content


def primaries(client: RedisCluster) -> list[ClusterNode]:
    """The nodes that hold keys."""
    nodes: list[ClusterNode] = client.get_primaries()  # type: ignore[no-untyped-call]
    return nodes


def node_of(client: RedisCluster, key: bytes) -> ClusterNode:
    """The node that holds a key."""
    node: ClusterNode | None = client.get_node_from_key(key.decode())  # type: ignore[no-untyped-call]
    assert node is not None
    return node
