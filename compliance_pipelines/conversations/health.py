"""Whether a Redis is fit for what is done with it, and what to do where it is not.

Here: the questions about one Redis. Not here: which Redis there are and what each is used for (erasure/health.py).

A question that cannot be answered is a failed check.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from redis import RedisCluster

from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.base.health import HealthCheck
from compliance_pipelines.conversations.environment import check_environment
from compliance_pipelines.conversations.errors import ConversationError, redis_errors
from compliance_pipelines.conversations.keys import ASIDE, KeyKind, KeyLayout
from compliance_pipelines.conversations.rights import KeyUse, missing_rights

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from uuid import UUID

    from compliance_pipelines.conversations.connection import Client

_REMOVING: Final = ("TYPE", "EXISTS", "RENAME", "MEMORY USAGE", "UNLINK")
_READING: Final = {
    KeyKind.CHECKPOINT: ("JSON.GET", "JSON.SET"),
    KeyKind.WRITE: ("JSON.GET",),
    KeyKind.BLOB: ("JSON.GET",),
    KeyKind.LATEST_POINTER: ("GET",),
    KeyKind.METADATA: ("GET",),
    KeyKind.WRITE_REGISTRY: ("ZRANGE", "ZADD"),
    KeyKind.CURRENT_CHECKPOINT: ("GET",),
}
_OWN_KEYS: Final = (
    KeyUse("compliance_pipelines:environment", ("GET",)),
    KeyUse("compliance_pipelines:store", ("GET",)),
    KeyUse("compliance_pipelines:purge:", ("HMGET", "HINCRBY", "EXPIRE", "UNLINK")),
    KeyUse(ASIDE.decode(), (*_REMOVING, "ZRANGE")),
)
_PURGE_COMMANDS: Final = ("SCAN", "EVAL", "EVALSHA", "SCRIPT LOAD", "TIME")
_ONLY_READING: Final = frozenset(
    {"EXISTS", "GET", "HGETALL", "HMGET", "INFO", "JSON.GET", "SCAN", "TIME", "TYPE", "ZRANGE"}
)
RETENTION_COMMANDS: Final = (*_PURGE_COMMANDS, "INFO")
"""Commands without keys that retention and the erasure of conversations need, and a look at their Redis."""


def retention_uses(layout: KeyLayout) -> tuple[KeyUse, ...]:
    """What retention and the erasure of conversations do with keys."""
    of_savers = (
        KeyUse(prefix.decode("utf-8", "surrogateescape"), (*_READING[kind], *_REMOVING))
        for prefix, kind in layout.prefixes
    )
    return (*of_savers, *_OWN_KEYS)


@dataclass(frozen=True)
class RedisUse:
    """A Redis of the settings, and what is done with it.

    Attributes:
        setting: that names it.
        client: gives bytes.
        keys: what is done with keys.
        commands: that are called without keys.
        removes: whether anything is removed there; else it is only read, and a replica will do.
    """

    setting: str
    client: Client
    keys: Sequence[KeyUse]
    commands: Sequence[str]
    removes: bool = True

    def only_reading(self) -> RedisUse:
        """The same for whoever only reads there."""
        keys = [KeyUse(use.prefix, tuple(each for each in use.commands if each in _ONLY_READING)) for use in self.keys]
        commands = [each for each in self.commands if each in _ONLY_READING]
        return replace(self, keys=keys, commands=commands, removes=False)


def require_rights(client: Client, layout: KeyLayout) -> None:
    """Let only a login pass that may do all that retention and the erasure of conversations do.

    Raises:
        TransientError: Redis did not answer.
        ConversationError: a right is missing, or a command is unknown. Nothing was touched.
    """
    check = check_rights(RedisUse("CHECKPOINT_REDIS_URL", client, retention_uses(layout), _PURGE_COMMANDS))
    if check.fails:
        raise ConversationError(
            "the purge of conversations did not begin: Redis of CHECKPOINT_REDIS_URL refused the login or a command: "
            f"{check.message}. Nothing was removed. Remedy: {check.remedy}; docs/conversations.md names all that is "
            "needed"
        )


def check_redis(use: RedisUse, environment: Callable[[], UUID | None]) -> list[HealthCheck]:
    """Look at a Redis.

    Args:
        use: which, and for what.
        environment: gives the id that the database has, None where nothing was bound to it yet; it may raise a
            ComplianceError.

    Returns:
        `connection`, `environment`, `rights`, `role`, `memory`, `persistence`, each with the setting before it; without
        the role where nothing is removed.
    """
    questions: dict[str, Callable[[], HealthCheck]] = {
        "connection": lambda: _connection(use.client),
        "environment": lambda: _environment(use, environment()),
        "rights": lambda: check_rights(use),
        "role": lambda: _role(use.client),
        "memory": lambda: _memory(use.client),
        "persistence": lambda: _persistence(use.client),
    }
    if not use.removes:
        del questions["role"]
    checks = []
    for name, question in questions.items():
        try:
            answer = question()
        except ComplianceError as error:
            answer = HealthCheck(name, f"it cannot be told: {error}", _remedy_of(use, error))
        checks.append(answer.of(use.setting))
    return checks


def _remedy_of(use: RedisUse, error: ComplianceError) -> str:
    if isinstance(error, ConversationError):
        return "grant the login what docs/conversations.md names"
    return f"start the Redis, or correct {use.setting}"


def _nodes(client: Client) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each primary of a cluster, or the one server; how messages call it, and what leads a command to it."""
    if isinstance(client, RedisCluster):
        for node in client.get_primaries():  # type: ignore[no-untyped-call]
            yield f"{node.name}: ", {"target_nodes": node}
    else:
        yield "", {}


def _info(client: Client, section: str, node: Mapping[str, Any]) -> dict[str, str]:
    """A section of INFO, as it was sent: names and texts."""
    with redis_errors(f"INFO {section}"):
        answer: Any = client.execute_command("INFO", section, **node)  # type: ignore[no-untyped-call]
    return {name: str(value) for name, value in answer.items()}


def _connection(client: Client) -> HealthCheck:
    versions = {_info(client, "server", node)["redis_version"] for _, node in _nodes(client)}
    kind = "a cluster" if isinstance(client, RedisCluster) else "one server"
    return HealthCheck("connection", f"Redis {', '.join(sorted(versions))}, {kind}")


def _environment(use: RedisUse, environment: UUID | None) -> HealthCheck:
    try:
        check_environment(use.client, environment, setting=use.setting)
    except ConversationError as error:
        return HealthCheck("environment", str(error), "run `compliance conversations bind`, if it is the right Redis")
    return HealthCheck("environment", "it is of the database's environment")


def check_rights(use: RedisUse) -> HealthCheck:
    """Whether the login may do what it has to, and what to grant where it may not.

    Raises:
        TransientError: Redis did not answer.
        ConversationError: the login itself was refused.
    """
    missing = missing_rights(use.client, use.keys, use.commands)
    messages = []
    remedies = []
    if missing.unknown:
        messages.append(f"the server does not know {', '.join(missing.unknown)}")
        remedies.append("load the module RedisJSON, without which no saver can write either")
    if missing.commands:
        messages.append(f"the login may not call {', '.join(missing.commands)}")
        remedies.append(
            f"ACL SETUSER ... {' '.join('+' + each.lower().replace(' ', '|') for each in missing.commands)}"
        )
    if missing.keys:
        named = "; ".join(f"{', '.join(commands)} on {prefix}*" for prefix, commands in missing.keys)
        messages.append(f"the login may not call {named}")
        remedies.append(f"ACL SETUSER ... {' '.join(f'~{prefix}*' for prefix, _ in missing.keys)}")
    if messages:
        return HealthCheck("rights", "; ".join(messages), "; ".join(remedies))
    return HealthCheck("rights", f"the login may read{' and remove' if use.removes else ''} what it has to")


def _role(client: Client) -> HealthCheck:
    for name, node in _nodes(client):
        replication = _info(client, "replication", node)
        if replication["role"] != "master":
            return HealthCheck(
                "role",
                f"{name}it is a read-only replica, from which nothing can be removed",
                "name the primary, or a Sentinel that does (redis+sentinel://)",
            )
    return HealthCheck("role", "it takes writes")


def _memory(client: Client) -> HealthCheck:
    for name, node in _nodes(client):
        memory = _info(client, "memory", node)
        policy, most, used = memory["maxmemory_policy"], int(memory["maxmemory"]), int(memory["used_memory"])
        if most and policy.startswith("allkeys-"):
            return HealthCheck(
                "memory",
                f"{name}maxmemory-policy is {policy}: when memory is short, Redis drops parts of living conversations "
                "without a record",
                "CONFIG SET maxmemory-policy noeviction, and in the configuration file",
                is_risk=True,
            )
        if most and used >= most and policy == "noeviction":
            return HealthCheck(
                "memory",
                f"{name}it is out of memory ({used:,} of {most:,} bytes): savers cannot write, and purges not note "
                "what they remove",
                "raise maxmemory",
            )
    return HealthCheck("memory", "it drops no conversation when memory is short")


def _persistence(client: Client) -> HealthCheck:
    for name, node in _nodes(client):
        found = _info(client, "persistence", node)
        if found["aof_enabled"] != "1":
            return HealthCheck(
                "persistence",
                f"{name}appendonly is off: after a crash conversations come back that were removed since the last "
                "snapshot, and without snapshots all are lost",
                "CONFIG SET appendonly yes, and in the configuration file",
                is_risk=True,
            )
        if found.get("aof_last_write_status", "ok") != "ok":
            return HealthCheck(
                "persistence", f"{name}the last write to the append-only file failed", "make room on its disk"
            )
    return HealthCheck("persistence", "removals are written to an append-only file")
