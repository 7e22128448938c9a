"""Long-term memories: the keys of LangGraph's RedisStore.

Here: `store:{ULID}` (JSON) and `store_vectors:{ULID}` (JSON or hash), whose field `prefix` holds the namespace. Not
here: conversations, which are checkpoints (threads.py).

RedisStore writes a namespace as its labels joined by dots, with punctuation escaped by backslashes. Its search ignores
case and punctuation and stops at a number of results; here every key is looked at and the namespace compared as it is.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from compliance_pipelines.conversations.environment import check_environment
from compliance_pipelines.erasure.errors import TargetError
from compliance_pipelines.erasure.redis_scan import (
    by_type,
    day_of_epoch,
    each_answer,
    keys_with_prefix,
    location_of,
    open_redis,
    shown,
    unlink_items,
)
from compliance_pipelines.erasure.targets import Findings, Item, Reported

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from uuid import UUID

    from compliance_pipelines.conversations.connection import Client
    from compliance_pipelines.settings import Settings

_PERSON: Final = "{user_id}"
_ANY: Final = "*"
_ANY_FURTHER: Final = "**"
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_MEMORIES: Final = "memories"
_VECTORS: Final = "memory_vectors"
_FIELDS: Final = ("prefix", "created_at", "updated_at")
_PATHS: Final = tuple(f"$.{field}" for field in _FIELDS)


def namespace_of(prefix: str) -> tuple[str, ...]:
    """The labels of a stored `prefix`. A label that has a dot itself, which LangGraph refuses, counts as several."""
    return tuple(_ESCAPED.sub(r"\1", prefix).split("."))


def names(namespace: tuple[str, ...], user_id: str) -> bool:
    """Whether a namespace names the person, as a label or, where the user id has dots, as several."""
    return f".{user_id}." in f".{'.'.join(namespace)}."


@dataclass(frozen=True)
class NamespaceRules:
    """Which namespaces belong to one person, and to whom.

    Attributes:
        patterns: labels, `{user_id}` once, `*` for any label, `**` at the end for any further ones.
    """

    patterns: tuple[tuple[str, ...], ...]

    @classmethod
    def from_json(cls, text: str) -> NamespaceRules:
        """The rules of GDPR_STORE_NAMESPACES.

        Raises:
            TargetError: they are malformed.
        """
        try:
            parsed = json.loads(text)
        except ValueError as error:
            raise TargetError(f"GDPR_STORE_NAMESPACES is no JSON: {error}") from error
        if not isinstance(parsed, list) or not parsed:
            raise TargetError("GDPR_STORE_NAMESPACES must be a list of namespaces, each a list of labels")
        return cls(tuple(_pattern(each) for each in parsed))

    def owner(self, namespace: tuple[str, ...]) -> str | None:
        """To whom a namespace belongs by the first pattern that fits it; None where none does."""
        return next((owner for pattern in self.patterns if (owner := _owner(pattern, namespace)) is not None), None)


def _pattern(labels: object) -> tuple[str, ...]:
    if not isinstance(labels, list) or not labels or not all(isinstance(label, str) and label for label in labels):
        raise TargetError("GDPR_STORE_NAMESPACES: a namespace must be a list of labels, which are texts")
    if labels.count(_PERSON) != 1:
        raise TargetError(f"GDPR_STORE_NAMESPACES: {labels} must name {_PERSON} exactly once")
    if _ANY_FURTHER in labels[:-1]:
        raise TargetError(f"GDPR_STORE_NAMESPACES: {labels} has {_ANY_FURTHER} before its end")
    return tuple(labels)


def _owner(pattern: tuple[str, ...], namespace: tuple[str, ...]) -> str | None:
    fixed = pattern
    if pattern[-1] == _ANY_FURTHER:
        fixed, namespace = pattern[:-1], namespace[: len(pattern) - 1]
    if len(fixed) != len(namespace):
        return None
    if any(want not in {_PERSON, _ANY, label} for want, label in zip(fixed, namespace, strict=True)):
        return None
    return namespace[fixed.index(_PERSON)]


class MemoryTarget:
    """The store of one Redis database.

    Args:
        client: gives bytes.
        location: what the certificate says.
        rules: whose a namespace is.
        prefixes: of the store's keys and of its vectors' keys, without the colon.
    """

    name = "memories"

    def __init__(
        self,
        client: Client,
        location: str,
        rules: NamespaceRules,
        prefixes: tuple[str, str] = ("store", "store_vectors"),
    ) -> None:
        self._client = client
        self.location = location
        self._rules = rules
        self._prefixes = dict(zip((_MEMORIES, _VECTORS), prefixes, strict=True))

    @classmethod
    def from_settings(cls, settings: Settings) -> MemoryTarget | None:
        """The store of GDPR_STORE_REDIS_URL, else that of CHECKPOINT_REDIS_URL; None where neither is set.

        Raises:
            ConfigurationError: the URL cannot be used.
            TargetError: the namespaces are malformed.
        """
        setting, secret = "GDPR_STORE_REDIS_URL", settings.gdpr_store_redis_url
        if secret is None:
            setting, secret = "CHECKPOINT_REDIS_URL", settings.checkpoint_redis_url
        if secret is None:
            return None
        url = secret.get_secret_value()
        rules = NamespaceRules.from_json(settings.gdpr_store_namespaces)
        prefixes = (settings.gdpr_store_prefix, settings.gdpr_store_vector_prefix)
        return cls(open_redis(setting, url, settings), location_of(url), rules, prefixes)

    def require_environment(self, environment: UUID | None) -> None:
        """Let only a Redis of this environment pass.

        Raises:
            ConversationError: it is another environment's, or does not say.
            TransientError: Redis did not answer.
        """
        check_environment(self._client, environment, setting="GDPR_STORE_REDIS_URL")

    def find(self, user_id: str) -> Findings:
        """The memories, and their vectors, in namespaces of this person.

        Raises:
            RedisError: Redis did not answer.
        """
        items: dict[bytes, Item] = {}
        reported: dict[bytes, Reported] = {}
        for data_type, prefix in self._prefixes.items():
            for document in self._documents(prefix):
                if document.prefix is None:
                    why = "its key looks like a memory's, and it has no namespace: nobody can tell whose it is"
                    reported[document.key] = Reported(data_type, shown(document.key), why, is_theirs=False)
                    continue
                namespace = namespace_of(document.prefix)
                if self._rules.owner(namespace) == user_id:
                    items[document.key] = Item(
                        data_type,
                        document.key.hex(),
                        first_day=day_of_epoch(document.created_at),
                        last_day=day_of_epoch(document.updated_at),
                    )
                elif names(namespace, user_id):
                    why = "its namespace names the person and is not one of those that belong to one person"
                    reference = f"{shown(document.key)}, namespace {'.'.join(namespace)}"
                    reported[document.key] = Reported(data_type, reference, why)
        return Findings(tuple(items.values()), tuple(reported.values()))

    def _documents(self, prefix: str) -> Iterator[_Document]:
        """What every key of the store says about itself."""
        for keys in keys_with_prefix(self._client, f"{prefix}:"):
            types = by_type(self._client, keys)
            documents = types.pop("ReJSON-RL", [])
            hashes = types.pop("hash", [])
            for key, text in zip(documents, each_answer(self._client, "JSON.GET", documents, *_PATHS), strict=True):
                if text is not None:
                    yield _of_json(key, text)
            for key, values in zip(hashes, each_answer(self._client, "HMGET", hashes, *_FIELDS), strict=True):
                # Vectors may be hashes, as the application configured its index.
                yield _of_hash(key, values)
            for key in (key for others in types.values() for key in others):
                yield _Document(key, None, None, None)

    def delete(self, user_id: str, items: Sequence[Item]) -> Mapping[str, int]:  # noqa: ARG002 - the items say it
        """Delete the keys.

        Raises:
            RedisError: Redis did not answer.
        """
        return unlink_items(self._client, items, in_order=(_VECTORS, _MEMORIES))

    def user_ids(self) -> Iterator[str]:
        """Whose memories there are, of the namespaces that belong to one person.

        Raises:
            RedisError: Redis did not answer.
        """
        for prefix in self._prefixes.values():
            for document in self._documents(prefix):
                if document.prefix is not None and (owner := self._rules.owner(namespace_of(document.prefix))):
                    yield owner

    def rescan(self, user_id: str) -> Findings:
        """The same as :meth:`find`: nothing is remembered."""
        return self.find(user_id)


@dataclass(frozen=True)
class _Document:
    """A key of the store; `prefix` is None where it has no namespace."""

    key: bytes
    prefix: str | None
    created_at: object
    updated_at: object


def _of_json(key: bytes, text: bytes) -> _Document:
    found = json.loads(text)
    prefix, created_at, updated_at = ((found[path] or [None])[0] for path in _PATHS)
    return _Document(key, prefix if isinstance(prefix, str) else None, created_at, updated_at)


def _of_hash(key: bytes, values: Sequence[bytes | None]) -> _Document:
    prefix, created_at, updated_at = values
    return _Document(key, None if prefix is None else prefix.decode("utf-8", "surrogateescape"), created_at, updated_at)
