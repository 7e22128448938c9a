"""Looking through a Redis for keys, and what their fields say, in bounded memory.

Here: connections, scanning in batches, deleting by exact key. Not here: what any key means.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from compliance_pipelines.conversations.connection import connect_url
from compliance_pipelines.settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import date

    from compliance_pipelines.conversations.connection import Client
    from compliance_pipelines.erasure.targets import Item
    from compliance_pipelines.settings import Settings

_BATCH: Final = 500
# The largest number of each unit: the year 5138, which as the next unit is a day of 1970.
_PER_SECOND: Final = ((1e11, 1), (1e17, 1_000_000), (1e20, 1_000_000_000))
_SPECIAL: Final = re.compile(rb"[\\*?\[\]^-]")


def open_redis(setting: str, url: str, settings: Settings) -> Client:
    """A client that gives bytes, for every kind of URL that the checkpoint store may have.

    Args:
        setting: name of the environment variable, for the message.
        url: as in conversations/connection.py.
        settings: say which TLS versions are accepted, and whether plain text is.

    Raises:
        ConfigurationError: the URL cannot be used.
        TransientError: a cluster does not answer.
    """
    try:
        return connect_url(
            url,
            tls_min_version=settings.audit_log_tls_min_version,
            allow_plaintext=settings.checkpoint_redis_allow_plaintext,
        )
    except ConfigurationError as error:
        raise ConfigurationError(str(error).replace("CHECKPOINT_REDIS_URL", setting)) from None


def location_of(url: str) -> str:
    """The URL without what must not be shown: user, password and options."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def keys_with_prefix(client: Client, prefix: str | bytes) -> Iterator[list[bytes]]:
    """Every key that begins with a prefix, in batches. A key may come twice; SCAN misses none that stays throughout."""
    name = prefix.encode() if isinstance(prefix, str) else prefix
    yield from batched(client.scan_iter(match=_SPECIAL.sub(rb"\\\g<0>", name) + b"*", count=_BATCH))


def without_foreign(keys: Sequence[bytes], foreign: Sequence[str]) -> list[bytes]:
    """The keys whose names do not begin as those of other software do (GDPR_FOREIGN_KEYS)."""
    prefixes = tuple(prefix.encode("utf-8", "surrogateescape") for prefix in foreign)
    return [key for key in keys if not key.startswith(prefixes)] if prefixes else list(keys)


def batched(values: Iterable[Any]) -> Iterator[list[Any]]:
    """The values, some hundred at a time."""
    iterator = iter(values)
    while batch := list(islice(iterator, _BATCH)):
        yield batch


def each_answer(client: Client, command: str, keys: Sequence[bytes], *arguments: str) -> list[Any]:
    """What a command says of each key.

    Raises:
        RedisError: Redis did not answer, or has an error for one of them.
    """
    if not keys:
        return []
    pipeline = client.pipeline(transaction=False)
    for key in keys:
        pipeline.execute_command(command, key, *arguments)
    return list(pipeline.execute())


def by_type(client: Client, keys: Sequence[bytes]) -> dict[str, list[bytes]]:
    """The keys by what TYPE says of them; those that are gone by now are left out."""
    found: dict[str, list[bytes]] = {}
    for key, kind in zip(keys, each_answer(client, "TYPE", keys), strict=True):
        name = kind.decode() if isinstance(kind, bytes) else str(kind)
        if name != "none":
            found.setdefault(name, []).append(key)
    return found


def unlink(client: Client, keys: Iterable[bytes]) -> int:
    """Delete keys; how many there were."""
    removed = 0
    for batch in batched(keys):
        pipeline = client.pipeline(transaction=False)
        for key in batch:
            pipeline.unlink(key)
        removed += sum(pipeline.execute())
    return removed


def unlink_items(client: Client, items: Sequence[Item], *, in_order: Sequence[str]) -> dict[str, int]:
    """Delete the keys of items, one data type after the other; how many there were of each that was asked for.

    Args:
        client: of the Redis that holds them.
        items: whose references are keys in hex.
        in_order: the data types.
    """
    wanted = {data_type: [item for item in items if item.data_type == data_type] for data_type in in_order}
    return {
        data_type: unlink(client, [bytes.fromhex(item.reference) for item in of_type])
        for data_type, of_type in wanted.items()
        if of_type
    }


def shown(key: bytes) -> str:
    """A key as text, whatever its bytes are."""
    return key.decode("utf-8", "backslashreplace")


def day_of(moment: datetime | None) -> date | None:
    """The UTC day of an aware datetime; None of none."""
    return None if moment is None else moment.astimezone(UTC).date()


def moment_of_iso(value: object) -> datetime | None:
    """The moment of an ISO 8601 time, without an offset taken as UTC; None where it is none."""
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else value
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def day_of_iso(value: object) -> date | None:
    """The UTC day of an ISO 8601 time; None where it is none."""
    return day_of(moment_of_iso(value))


def moment_of_epoch(value: object) -> datetime | None:
    """The moment of seconds, microseconds or nanoseconds since 1970, number or its bytes; None where it is none.

    LangGraph's RedisStore writes microseconds into a memory and seconds into its vector, its JavaScript sibling
    nanoseconds into both. No time of this century is two of them.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | bytes):
        return None
    try:
        number = float(value)
        for most, per_second in _PER_SECOND:
            if number <= most:
                return datetime.fromtimestamp(number / per_second, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return None


def day_of_epoch(value: object) -> date | None:
    """The UTC day of seconds, microseconds or nanoseconds since 1970; None where it is none."""
    return day_of(moment_of_epoch(value))
