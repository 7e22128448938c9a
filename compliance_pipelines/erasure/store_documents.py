"""What the keys of LangGraph's stores say: in which namespace a memory or a vector is, and since when.

Here: from keys to facts, for the stores of every version, in Python and in JavaScript. Not here: whose a namespace is
(namespaces.py), and what is done with the key.

`store:{id}` is JSON, `store_vectors:{id}` JSON or a hash, as the application configured its index; the id is a ULID or
a UUID. Both have `prefix` (the namespace), `key`, `created_at` and `updated_at`. Time to live is Redis' own: there is
no key for it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.base.strict_json import MalformedJsonError, parse_strictly
from compliance_pipelines.erasure.redis_scan import by_type, each_answer, moment_of_epoch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from compliance_pipelines.conversations.connection import Client

FIELDS: Final = ("prefix", "key", "created_at", "updated_at")
# One path for all: the answer to several paths has them in another order each time, and this one as they stand here,
# without those that are missing.
PATH: Final = "$['prefix','key','created_at','updated_at']"
_EACH: Final = tuple(f"$.{field}" for field in FIELDS)
_MOST_BYTES: Final = 64 * 2**20
_MOST_VALUES: Final = 5_000_000


class StoreKind(StrEnum):
    """In which form a document is stored."""

    JSON = "json"
    HASH = "hash"


@dataclass(frozen=True)
class StoreFacts:
    """One key of a store.

    Attributes:
        key: its name in Redis.
        kind: its form; None where it is none that a store writes.
        prefix: its namespace as it is stored; None where it names none.
        item_key: the key that the application gave it; None where it has none.
        created: when it was made; None where nothing says.
        updated: when it was changed last; None where nothing says.
        content: everything in it, where it names no namespace; None where it does, or could not be read.
        unreadable: why it could not be read, or its namespace not; None where it could.
        raw: what was read, for comparing it with what is there later.
    """

    key: bytes
    kind: StoreKind | None
    prefix: str | None = None
    item_key: str | None = None
    created: datetime | None = None
    updated: datetime | None = None
    content: Any = None
    unreadable: str | None = None
    raw: tuple[bytes | None, ...] = ()


def read_documents(client: Client, keys: Sequence[bytes]) -> Iterator[StoreFacts]:
    """What some keys say; those that are gone by now are left out.

    Raises:
        RedisError: Redis did not answer, or refused. What could not be looked at is not absent.
    """
    types = by_type(client, keys)
    documents, hashes = types.pop("ReJSON-RL", []), types.pop("hash", [])
    for key, text in zip(documents, each_answer(client, "JSON.GET", documents, PATH), strict=True):
        if text is not None:
            yield _of_json(client, key, text)
    for key, values in zip(hashes, each_answer(client, "HMGET", hashes, *FIELDS), strict=True):
        if any(value is not None for value in values):
            yield _of_hash(key, values)
        elif client.exists(key):
            yield StoreFacts(key, StoreKind.HASH, raw=tuple(values), unreadable="it has no namespace")
    for name, others in types.items():
        for key in others:
            yield StoreFacts(key, None, unreadable=f"it is a {name}, and no store writes one")


def _of_json(client: Client, key: bytes, text: bytes) -> StoreFacts:
    values: list[Any] = json.loads(text)
    if len(values) != len(FIELDS):
        values = _each_field(client, key)
    prefix, item_key, created, updated = values
    problem = None
    if prefix is not None and not isinstance(prefix, str):
        problem = f"its namespace is a {type(prefix).__name__}, and a store writes a text"
    facts = StoreFacts(
        key,
        StoreKind.JSON,
        prefix if isinstance(prefix, str) else None,
        item_key if isinstance(item_key, str) else None,
        moment_of_epoch(created),
        moment_of_epoch(updated),
        unreadable=problem or (None if isinstance(prefix, str) else "it has no namespace"),
        raw=(text,),
    )
    return _with_content(client, facts)


def _each_field(client: Client, key: bytes) -> list[Any]:
    """The fields of a document that lacks some; None for those, and for all where it is gone by now."""
    (text,) = each_answer(client, "JSON.GET", [key], *_EACH)
    found: dict[str, list[Any]] = {} if text is None else json.loads(text)
    return [(found.get(path) or [None])[0] for path in _EACH]


def _with_content(client: Client, facts: StoreFacts) -> StoreFacts:
    """The facts with everything that is in a document without a namespace, which may name somebody elsewhere."""
    if facts.prefix is not None:
        return facts
    (text,) = each_answer(client, "JSON.GET", [facts.key])
    try:
        content = None if text is None else parse_strictly(text, most_bytes=_MOST_BYTES, most_values=_MOST_VALUES)
    except MalformedJsonError:
        return facts
    return StoreFacts(
        facts.key,
        facts.kind,
        created=facts.created,
        updated=facts.updated,
        content=content,
        unreadable=facts.unreadable,
        raw=facts.raw,
    )


def _of_hash(key: bytes, values: Sequence[bytes | None]) -> StoreFacts:
    prefix, item_key, created, updated = values
    return StoreFacts(
        key,
        StoreKind.HASH,
        None if prefix is None else _text(prefix),
        None if item_key is None else _text(item_key),
        moment_of_epoch(created),
        moment_of_epoch(updated),
        content=None if prefix is not None or item_key is None else _text(item_key),
        unreadable="it has no namespace" if prefix is None else None,
        raw=tuple(values),
    )


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
