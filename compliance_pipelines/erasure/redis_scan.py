"""Looking through a Redis for keys, and what their fields say, in bounded memory.

Here: connections, scanning in batches, deleting by exact key. Not here: what any key means.
"""

from __future__ import annotations

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
# As seconds the year 5138, as microseconds a day in January 1970.
_MOST_SECONDS: Final = 100_000_000_000
_SPECIAL: Final = "\\*?[]^-"


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


def keys_with_prefix(client: Client, prefix: str) -> Iterator[list[bytes]]:
    """Every key that begins with a prefix, in batches. A key may come twice; SCAN misses none that stays throughout."""
    escaped = "".join(f"\\{character}" if character in _SPECIAL else character for character in prefix)
    yield from batched(client.scan_iter(match=f"{escaped}*".encode(), count=_BATCH))


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


def day_of_iso(value: object) -> date | None:
    """The UTC day of an ISO 8601 time; None where it is none."""
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else value
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).date()


def day_of_epoch(value: object) -> date | None:
    """The UTC day of seconds or microseconds since the epoch, number or text; None where it is neither.

    RedisStore writes microseconds into a memory and seconds into its vector. No time is both.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | bytes):
        return None
    try:
        number = float(value)
        return datetime.fromtimestamp(number / 1_000_000 if number > _MOST_SECONDS else number, UTC).date()
    except (ValueError, OverflowError, OSError):
        return None
