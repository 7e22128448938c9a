"""What the name of a key says before anything is read: which head it begins with, and the id in it.

Here: taking names apart from their end. Not here: believing them: a name only says which document to read, or that
it begins like one that was read.

Checkpoint ids, task ids and the numbers of writes hold no colon, and savers write ids of 36 characters. Whatever else
stands there is taken for no id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from compliance_pipelines.conversations.documents import ticks_of
from compliance_pipelines.conversations.keys import SHALLOW, KeyKind

if TYPE_CHECKING:
    from collections.abc import Iterator

ID_LENGTH: Final = 36
_COLON: Final = ord(":")
_VERSION: Final = 14
_SIX: Final = ord("6")
_OF_SHALLOW: Final = b":" + SHALLOW


def split(kind: KeyKind, rest: bytes) -> tuple[bytes, bytes]:
    """The head and the UUIDv6 in a name of which the prefix was taken off; two empty ones where there is none.

    Args:
        kind: checkpoint, write or registry of writes.
        rest: what follows the prefix.
    """
    end = rest.rfind(b":", 0, max(rest.rfind(b":"), 0)) if kind is KeyKind.WRITE else len(rest)
    start = end - ID_LENGTH
    if start < 1 or rest[start - 1] != _COLON or rest[start + _VERSION] != _SIX:
        return b"", b""
    return rest[: start - 1], rest[start:end]


def head_of_registry(rest: bytes) -> bytes:
    """The head of a registry without an id."""
    return rest.rpartition(b":")[0]


def head_of_current(rest: bytes) -> bytes:
    """The head of an older shallow saver's pointer."""
    return rest.removesuffix(_OF_SHALLOW)


def head_of_blob(rest: bytes) -> bytes:
    """The head of a blob whose channel and version hold no colon."""
    return rest.rsplit(b":", 2)[0]


def beginnings(name: bytes) -> Iterator[bytes]:
    """Every thread id, and every head, that a name may begin with: what stands before each colon, and the whole."""
    position = name.find(b":")
    while position >= 0:
        yield name[:position]
        position = name.find(b":", position + 1)
    yield name


def id_at(moment: int) -> bytes:
    """How the ids of a moment begin; ids of later moments are greater as bytes.

    Args:
        moment: microseconds since 1970.
    """
    ticks = ticks_of(moment)
    return b"%08x-%04x-6%03x" % (ticks >> 28, ticks >> 12 & 0xFFFF, ticks & 0xFFF)
