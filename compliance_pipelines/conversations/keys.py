"""The key layout of LangGraph's Redis savers: what `langgraph-checkpoint-redis` 0.5.2 writes, and older versions wrote.

Here: which kind of key a name is, and the names that follow from ids. Not here: reading anything; ids come from the
documents (documents.py).

A name is never split at its colons: thread ids and namespaces contain them. What is taken off a name is a prefix or a
known start, both compared whole.

| kind | name | value |
|---|---|---|
| checkpoint | `checkpoint:{thread}:{namespace}:{checkpoint_id}` | JSON |
| shallow_checkpoint | `checkpoint:{thread}:{namespace}`, at the root with a trailing colon | JSON |
| latest_pointer | `checkpoint_latest:{thread}:{namespace}` | name of the latest checkpoint |
| write | `checkpoint_write:{thread}:{namespace}:{checkpoint_id}:{task}:{index}` | JSON |
| write_registry | `write_keys_zset:{thread}:{namespace}:{checkpoint_id}` | sorted set of names of writes |
| write_registry | `write_keys_zset:{thread}:{namespace}:shallow` (asynchronous shallow saver) | the same |
| write_registry | `write_registry:{thread}:{namespace}:shallow` (synchronous shallow saver) | the same |
| current_checkpoint | `current_checkpoint:{thread}:{namespace}:shallow` | string, older shallow savers |
| blob | `checkpoint_blob:{thread}:{namespace}:{channel}:{version}` | JSON, savers before 0.1 |
| metadata | `conversation:metadata:{thread}` | JSON in a string, mcp-server-langgraph |

An empty namespace is `__empty__` in names (not in those of shallow checkpoints), an empty thread id the nil UUID.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from compliance_pipelines.settings import ConfigurationError

EMPTY_NAMESPACE: Final = "__empty__"
EMPTY_ID: Final = "00000000-0000-0000-0000-000000000000"
DEFAULT_CHECKPOINT_PREFIX: Final = "checkpoint"
DEFAULT_WRITE_PREFIX: Final = "checkpoint_write"
SHALLOW: Final = b"shallow"

_SEPARATOR: Final = b":"
_REGISTRY: Final = b"write_keys_zset:"
_SHALLOW_REGISTRY: Final = b"write_registry:"
_CURRENT: Final = b"current_checkpoint:"
_METADATA: Final = b"conversation:metadata:"
_DEFAULT_POINTER: Final = b"checkpoint_latest:"

ASIDE: Final = b"compliance_pipelines:aside:"
"""What stands before the names of keys that are set aside."""


class KeyKind(IntEnum):
    """What a key is. The numbers are recorded in frozen plans."""

    CHECKPOINT = 1
    SHALLOW_CHECKPOINT = 2
    LATEST_POINTER = 3
    WRITE = 4
    WRITE_REGISTRY = 5
    BLOB = 6
    METADATA = 7
    CURRENT_CHECKPOINT = 8

    @property
    def label(self) -> str:
        """The kind's name in records."""
        return self.name.lower()


def stored_id(value: object) -> str:
    """An id as the savers store it."""
    return str(value) or EMPTY_ID


def stored_namespace(value: object) -> str:
    """A namespace as the savers store it."""
    return str(value) or EMPTY_NAMESPACE


def encode(text: str) -> bytes:
    """The bytes of a name, as redis-py sends it."""
    return text.encode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class KeyLayout:
    """The layout under the two prefixes that a saver may be given; the other prefixes are fixed in its code.

    Attributes:
        checkpoint_prefix: of checkpoints; their pointers and blobs begin with it too.
        write_prefix: of writes.
        with_aside: whether what a purge has set aside counts, too.

    Raises:
        ConfigurationError: a prefix is empty, or both are the same.
    """

    checkpoint_prefix: str = DEFAULT_CHECKPOINT_PREFIX
    write_prefix: str = DEFAULT_WRITE_PREFIX
    with_aside: bool = False

    def __post_init__(self) -> None:
        if not self.checkpoint_prefix or not self.write_prefix or self.checkpoint_prefix == self.write_prefix:
            raise ConfigurationError(
                "CHECKPOINT_REDIS_PREFIX and CHECKPOINT_REDIS_WRITE_PREFIX must be two different texts, as the saver "
                f"was given; they are {self.checkpoint_prefix!r} and {self.write_prefix!r}"
            )
        prefixes = [
            (encode(self.checkpoint_prefix) + _SEPARATOR, KeyKind.CHECKPOINT),
            (encode(self.checkpoint_prefix) + b"_latest:", KeyKind.LATEST_POINTER),
            (encode(self.write_prefix) + _SEPARATOR, KeyKind.WRITE),
            (encode(self.checkpoint_prefix) + b"_blob:", KeyKind.BLOB),
            (_REGISTRY, KeyKind.WRITE_REGISTRY),
            (_SHALLOW_REGISTRY, KeyKind.WRITE_REGISTRY),
            (_CURRENT, KeyKind.CURRENT_CHECKPOINT),
            (_METADATA, KeyKind.METADATA),
        ]
        if self.checkpoint_prefix != DEFAULT_CHECKPOINT_PREFIX:
            # Where savers of 0.3 and 0.4 keep it whatever their prefix; what it holds says whose it is.
            prefixes.append((_DEFAULT_POINTER, KeyKind.LATEST_POINTER))
        if self.with_aside:
            prefixes += [(ASIDE + prefix, kind) for prefix, kind in prefixes]
        # The longest first: one prefix may begin like another.
        ordered = tuple(sorted(prefixes, key=lambda pair: -len(pair[0])))
        object.__setattr__(self, "_prefixes", ordered)
        by_start: dict[bytes, tuple[tuple[bytes, KeyKind], ...]] = {}
        for prefix, kind in ordered:
            start = prefix[: prefix.index(_SEPARATOR) + 1]
            by_start[start] = (*by_start.get(start, ()), (prefix, kind))
        object.__setattr__(self, "_by_start", by_start)

    @property
    def prefixes(self) -> tuple[tuple[bytes, KeyKind], ...]:
        """Every prefix with the kind of key that it begins, the longest first: the first that fits decides."""
        prefixes: tuple[tuple[bytes, KeyKind], ...] = self._prefixes  # type: ignore[attr-defined]
        return prefixes

    @property
    def has_plain_prefixes(self) -> bool:
        """Whether no prefix begins like another one, so that a name can be compared with each by itself."""
        prefixes = [prefix for prefix, _ in self.prefixes]
        return not any(one is not other and one.startswith(other) for one in prefixes for other in prefixes)

    def classify(self, key: bytes) -> tuple[KeyKind, bytes] | None:
        """The kind of a key and what follows its prefix; None for a key that is no conversation's.

        Checkpoints of shallow savers are `CHECKPOINT` here: only the document tells them apart.
        """
        by_start: dict[bytes, tuple[tuple[bytes, KeyKind], ...]] = self._by_start  # type: ignore[attr-defined]
        for prefix, kind in by_start.get(key[: key.find(_SEPARATOR) + 1], ()):
            if key.startswith(prefix):
                return kind, key[len(prefix) :]
        return None

    def checkpoint(self, head: bytes, checkpoint_id: bytes) -> bytes:
        """Name of a checkpoint; `head` is `{thread}:{namespace}`."""
        return b"%b:%b:%b" % (encode(self.checkpoint_prefix), head, checkpoint_id)

    def shallow_checkpoint(self, thread: bytes, namespace: bytes) -> bytes:
        """Name of a shallow saver's checkpoint; the root namespace is empty in it."""
        plain = b"" if namespace == EMPTY_NAMESPACE.encode() else namespace
        return b"%b:%b:%b" % (encode(self.checkpoint_prefix), thread, plain)

    def latest_pointer(self, head: bytes) -> bytes:
        """Name of the pointer to the latest checkpoint of a namespace."""
        return encode(self.checkpoint_prefix) + b"_latest:" + head

    def default_pointer(self, head: bytes) -> bytes | None:
        """Where savers of 0.3 and 0.4 keep the pointer whatever their prefix; None where that is its own place."""
        return None if self.checkpoint_prefix == DEFAULT_CHECKPOINT_PREFIX else _DEFAULT_POINTER + head

    def write(self, head: bytes, tail: bytes) -> bytes:
        """Name of a write; `tail` is `{checkpoint_id}:{task}:{index}`."""
        return b"%b:%b:%b" % (encode(self.write_prefix), head, tail)

    @staticmethod
    def registry(head: bytes, tail: bytes) -> bytes:
        """Name of the sorted set of a checkpoint's writes; the tail is the checkpoint's id, or `shallow`."""
        return _REGISTRY + head + _SEPARATOR + tail

    @staticmethod
    def shallow_registry(head: bytes) -> bytes:
        """Name of the sorted set that the synchronous shallow saver keeps for a namespace."""
        return _SHALLOW_REGISTRY + head + _SEPARATOR + SHALLOW

    @staticmethod
    def current_checkpoint(head: bytes) -> bytes:
        """Name of the pointer that older shallow savers kept."""
        return _CURRENT + head + _SEPARATOR + SHALLOW

    @staticmethod
    def metadata(thread: bytes) -> bytes:
        """Name of mcp-server-langgraph's note on a conversation."""
        return _METADATA + thread


def decode(name: bytes) -> str:
    """The text of bytes from a name; bytes that are no UTF-8 come back from :func:`encode` as they were."""
    return name.decode("utf-8", "surrogateescape")
