"""Threads as a survey knows them: whose keys are whose, in little memory.

Here: the facts of a thread and of its namespaces, and the packed names of its keys. Not here: finding them (survey.py).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from compliance_pipelines.conversations.documents import ConversationNote, time_of_id
from compliance_pipelines.conversations.keys import EMPTY_NAMESPACE, KeyKind, KeyLayout, encode

if TYPE_CHECKING:
    from collections.abc import Iterator

# Kind and length, then so many bytes; the scripts of setting_aside.py read it too.
_ENTRY: Final = struct.Struct("<BI")
# Set where the name does not follow from the head, so that it is kept whole.
_WHOLE: Final = 0x80
_KINDS: Final = {int(kind): kind for kind in KeyKind}
_ROOT: Final = EMPTY_NAMESPACE


@dataclass(slots=True)
class Head:
    """One namespace of one thread: everything whose name begins with `{thread}:{namespace}`.

    Attributes:
        name: `{thread}:{namespace}` in stored form.
        namespace: in stored form; None until a document tells it.
        thread: the thread; None as long as only names point here.
        latest_id: id of the newest checkpoint of a full saver; the empty text where there is none.
        latest_time: its time, microseconds since 1970.
        newest_id: the greatest id of all its checkpoints, whatever their times say.
        shallow_id: id of the one checkpoint of a shallow saver; the empty text where there is none.
        pointer: what `checkpoint_latest` holds; None where it is missing.
        default_pointer: what it holds under the default prefix, where savers of 0.3 and 0.4 with another one keep it.
        has_current: whether there is a `current_checkpoint`, as older shallow savers kept it.
        last_write_id: the newest checkpoint id that a write names.
        writes: how many writes there are.
        key_count: keys that were packed.
    """

    name: bytes
    namespace: str | None = None
    thread: ThreadFacts | None = None
    latest_id: str = ""
    latest_time: int = -1
    newest_id: str = ""
    shallow_id: str = ""
    pointer: bytes | None = None
    default_pointer: bytes | None = None
    has_current: bool = False
    last_write_id: str = ""
    writes: int = 0
    key_count: int = 0
    packed: bytearray = field(default_factory=bytearray)

    def pack(self, kind: KeyKind, tail: bytes) -> int:
        """Keep a key whose name follows from the head and this tail; returns the bytes that it takes."""
        self.packed += _ENTRY.pack(kind, len(tail))
        self.packed += tail
        self.key_count += 1
        return _ENTRY.size + len(tail)

    def pack_whole(self, kind: KeyKind, key: bytes) -> int:
        """Keep a key under its whole name; returns the bytes that it takes."""
        self.packed += _ENTRY.pack(kind | _WHOLE, len(key))
        self.packed += key
        self.key_count += 1
        return _ENTRY.size + len(key)

    def keys(self, layout: KeyLayout) -> Iterator[tuple[KeyKind, bytes]]:
        """Every key of this namespace that was found."""
        if self.pointer is not None:
            yield KeyKind.LATEST_POINTER, layout.latest_pointer(self.name)
        if self.has_current:
            yield KeyKind.CURRENT_CHECKPOINT, layout.current_checkpoint(self.name)
        if self.shallow_id and self.thread is not None and self.namespace is not None:
            thread, namespace = encode(self.thread.thread_id), encode(self.namespace)
            yield KeyKind.SHALLOW_CHECKPOINT, layout.shallow_checkpoint(thread, namespace)
        yield from packed_keys(layout, self.name, self.packed)

    def whole_keys(self) -> Iterator[tuple[KeyKind, bytes]]:
        """The keys whose names do not follow from the head."""
        for number, tail in _entries(self.packed):
            if number & _WHOLE:
                yield _KINDS[number & ~_WHOLE], tail


def packed_keys(layout: KeyLayout, head: bytes, packed: bytes | bytearray) -> Iterator[tuple[KeyKind, bytes]]:
    """The names of packed keys."""
    starts = {
        KeyKind.CHECKPOINT: layout.checkpoint(head, b""),
        KeyKind.WRITE: layout.write(head, b""),
        KeyKind.WRITE_REGISTRY: layout.registry(head, b""),
    }
    for number, tail in _entries(packed):
        kind = _KINDS[number & ~_WHOLE]
        yield kind, tail if number & _WHOLE else starts[kind] + tail


def split_packed(packed: bytes, keys: int) -> Iterator[bytes]:
    """Packed keys in pieces of at most so many."""
    start = position = count = 0
    while position < len(packed):
        _, length = _ENTRY.unpack_from(packed, position)
        position += _ENTRY.size + length
        count += 1
        if count == keys or position == len(packed):
            yield packed[start:position]
            start, count = position, 0


def _entries(packed: bytes | bytearray) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(packed):
        kind, length = _ENTRY.unpack_from(packed, position)
        position += _ENTRY.size
        yield kind, bytes(packed[position : position + length])
        position += length


class Ownership(StrEnum):
    """What can be told of a thread's owner."""

    OWNED = "owned"
    SHARED = "shared"
    UNOWNED = "unowned"


@dataclass(slots=True)
class ThreadFacts:
    """One conversation.

    Attributes:
        thread_id: in stored form.
        heads: its namespaces.
        users: the users that its checkpoints name.
        newest: time of its newest checkpoint, microseconds since 1970.
        oldest: time of its oldest checkpoint.
        note: what mcp-server-langgraph notes on it.
        entangled: another thread's keys have the same names, so that what belongs to whom cannot be told.
        checkpoints: how many it has.
        blobs: how many blobs of old savers it has.
        shares_note: another application has a thread of this id, so that the note may be about that.
        ahead: how many of its documents bear a time ahead of the present.
    """

    thread_id: str
    heads: list[Head] = field(default_factory=list)
    users: set[str] = field(default_factory=set)
    newest: int | None = None
    oldest: int | None = None
    note: ConversationNote | None = None
    entangled: bool = False
    checkpoints: int = 0
    blobs: int = 0
    shares_note: bool = False
    ahead: int = 0

    def see(self, time: int | None) -> None:
        """Take the time of one of its documents into account."""
        if time is None:
            return
        self.newest = time if self.newest is None else max(self.newest, time)
        self.oldest = time if self.oldest is None else min(self.oldest, time)

    def settle(self, latest: int) -> None:
        """Take the times of what has no checkpoint: writes ahead of their checkpoint, or left by it, and notes.

        Args:
            latest: the last moment that is not ahead of the present; what lies ahead tells nothing.
        """
        for head in self.heads:
            if head.last_write_id > head.newest_id:
                self._see_unless_ahead(time_of_id(head.last_write_id), latest)
        if self.newest is None and self.note is not None:
            self._see_unless_ahead(self.note.created, latest)
            self._see_unless_ahead(self.note.last_activity, latest)

    def _see_unless_ahead(self, time: int | None, latest: int) -> None:
        if time is not None and time > latest:
            self.ahead += 1
        else:
            self.see(time)

    @property
    def key_count(self) -> int:
        """Keys that belong to it, duplicates of the enumeration included."""
        in_place = sum((head.pointer is not None) + head.has_current + bool(head.shallow_id) for head in self.heads)
        return sum(head.key_count for head in self.heads) + in_place + self.owns_note

    @property
    def owns_note(self) -> bool:
        """Whether its note is about it, and about no other user's or application's thread of the same id."""
        if self.note is None or self.shares_note:
            return False
        return self.note.user_id is None or not self.users or self.note.user_id in self.users

    @property
    def activity(self) -> tuple[int | None, int, int, int]:
        """What changes whenever somebody writes to it."""
        return self.newest, self.checkpoints, sum(head.writes for head in self.heads), self.blobs

    @property
    def is_only_blobs(self) -> bool:
        """Whether nothing is left of it but blobs, which no saver can read without their checkpoint."""
        return (
            self.blobs > 0
            and not self.checkpoints
            and not any(head.writes for head in self.heads)
            and self.note is None
        )

    def owners(self, pattern_user: str | None = None) -> frozenset[str]:
        """Who owns it: the users of its checkpoints, else of its note, else the one that its id tells."""
        if self.users:
            return frozenset(self.users)
        if self.note is not None and self.note.user_id is not None:
            return frozenset({self.note.user_id})
        return frozenset() if pattern_user is None else frozenset({pattern_user})

    def keys(self, layout: KeyLayout) -> dict[bytes, KeyKind]:
        """Every key that was found, once."""
        found = {key: kind for head in self.heads for kind, key in head.keys(layout)}
        if self.owns_note:
            found[layout.metadata(encode(self.thread_id))] = KeyKind.METADATA
        return found

    def root(self) -> Head | None:
        """Its root namespace."""
        return next((head for head in self.heads if head.namespace == _ROOT), None)
