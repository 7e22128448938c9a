"""Frozen conversations: what goes, and what must still be so when it goes.

Here: which keys are witnesses, the frozen form, making it from a survey, and its bytes. Not here: looking at witnesses
(witnesses.py), removing (setting_aside.py, cluster_removal.py).

Witnesses are all that a saver changes when it goes on: the pointers to the latest checkpoints, the latest checkpoints
themselves and the writes to them, the registries of these writes, what shallow savers overwrite, and the application's
note. A saver that keeps no pointer (before 0.1, LangGraph.js) shows its next checkpoint by nothing but a new name. Its
conversations are *closed*: no name may have joined those that were frozen, which the removing step finds out by going
through all names.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from compliance_pipelines.conversations.environment import ENVIRONMENT_KEY
from compliance_pipelines.conversations.errors import redis_errors
from compliance_pipelines.conversations.keys import (
    EMPTY_NAMESPACE,
    SHALLOW,
    KeyKind,
    KeyLayout,
    decode,
    encode,
)
from compliance_pipelines.conversations.scripts import ABSENT
from compliance_pipelines.conversations.threads import Head, packed_keys
from compliance_pipelines.conversations.witnesses import Seen, Witness, look

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from compliance_pipelines.conversations.pacing import Pace
    from compliance_pipelines.conversations.store import CheckpointStore
    from compliance_pipelines.conversations.threads import ThreadFacts

_MEMBERS: Final = 1_000
_FORMAT: Final = 2
# What precedes the id in a write's name, the id, the task, the index.
_WRITE_PARTS: Final = 3
_DOCUMENTS: Final = frozenset({KeyKind.CHECKPOINT, KeyKind.WRITE})


@dataclass(frozen=True)
class FrozenThread:
    """A conversation, or an orphan, as it was planned.

    Attributes:
        keys: names that do not follow from a head.
        heads: names of heads and their packed keys (threads.py).
        witnesses: what must still be so, unless nothing of it is left at all.
        closed: names of heads that nothing may have joined.
        closed_thread: the thread's name, where it has closed heads: none may have joined these either.
        latest: names of the latest checkpoints: as long as they exist on a cluster, nothing was removed.
        key_count: how many keys there are, about.
        shallow_ids: of its shallow checkpoints.
    """

    keys: tuple[tuple[KeyKind, bytes], ...]
    heads: tuple[tuple[bytes, bytes], ...]
    witnesses: tuple[Witness, ...]
    closed: tuple[bytes, ...] = ()
    closed_thread: bytes | None = None
    latest: tuple[bytes, ...] = ()
    key_count: int = 0
    shallow_ids: tuple[str, ...] = ()

    def names(self, layout: KeyLayout) -> dict[bytes, KeyKind]:
        """Every name that goes, once."""
        named = {key: kind for kind, key in self.keys}
        for head, packed in self.heads:
            named.update((key, kind) for kind, key in packed_keys(layout, head, packed))
        return named

    def left_in_place(self, layout: KeyLayout, thread_id: str | None) -> frozenset[bytes]:
        """The names under its own that are not set aside: its blobs, and a note that is not about it."""
        names = self.names(layout)
        left = {key for key, kind in names.items() if kind is KeyKind.BLOB}
        note = layout.metadata(encode(thread_id or ""))
        if note not in {witness.key for witness in self.witnesses}:
            left.add(note)
        return frozenset(left)

    def checkpoint_ids(self, layout: KeyLayout) -> frozenset[str]:
        """The ids of its checkpoints, as their names end, or as a shallow one says."""
        names = (key for key, kind in self.names(layout).items() if kind is KeyKind.CHECKPOINT)
        return frozenset([*(decode(name.rpartition(b":")[2]) for name in names), *self.shallow_ids])


class _Place(NamedTuple):
    """A witness on its way: what it is for, its kind, and its namespace; None: the whole thread."""

    role: str
    key: bytes
    kind: KeyKind
    head: Head | None


def freeze_threads(
    store: CheckpointStore, layout: KeyLayout, threads: Sequence[ThreadFacts], pace: Pace | None = None
) -> list[FrozenThread | None]:
    """The frozen form of conversations; None for one that was written to since the survey.

    Args:
        store: the Redis.
        layout: the survey's layout.
        threads: with the names of their keys.
        pace: how Redis is shared with others; None: without pauses.

    Raises:
        TransientError: Redis does not answer.
        ConversationError: Redis refuses.
    """
    with redis_errors("the freezing of the plan"):
        known = [thread.keys(layout) for thread in threads]
        places = [list(_places(layout, thread, names)) for thread, names in zip(threads, known, strict=True)]
        looks = look(store, [[place.key for place in each] for each in places], pace)
        views = [
            _View(layout, thread, names, each, seen)
            for thread, names, each, seen in zip(threads, known, places, looks, strict=True)
        ]
        unknown = [name for view in views for name in view.unknown]
        there = {name for name, exists in zip(unknown, store.exists(unknown), strict=True) if exists}
        return [None if view.moved or there.intersection(view.unknown) else view.frozen() for view in views]


def _places(layout: KeyLayout, thread: ThreadFacts, names: dict[bytes, KeyKind]) -> Iterator[_Place]:
    """The witnesses of a conversation; the root's first, which decides on a cluster."""
    thread_name = encode(thread.thread_id)
    for head in sorted(thread.heads, key=lambda head: head.namespace != EMPTY_NAMESPACE):
        yield from _places_of_head(layout, thread_name, head)
    root = thread.root()
    if root is None:
        name = thread_name + b":" + EMPTY_NAMESPACE.encode()
        yield _Place("other", layout.latest_pointer(name), KeyKind.LATEST_POINTER, None)
    if root is None or not root.shallow_id:
        shallow = layout.shallow_checkpoint(thread_name, EMPTY_NAMESPACE.encode())
        if shallow not in names:
            yield _Place("absent", shallow, KeyKind.SHALLOW_CHECKPOINT, None)
    if thread.note is None or thread.owns_note:
        yield _Place("other", layout.metadata(thread_name), KeyKind.METADATA, None)


def _places_of_head(layout: KeyLayout, thread_name: bytes, head: Head) -> Iterator[_Place]:
    yield _Place("pointer", layout.latest_pointer(head.name), KeyKind.LATEST_POINTER, head)
    if (elsewhere := layout.default_pointer(head.name)) is not None:
        yield _Place("default pointer", elsewhere, KeyKind.LATEST_POINTER, head)
    yield _Place("other", layout.current_checkpoint(head.name), KeyKind.CURRENT_CHECKPOINT, head)
    latest = _latest_ids(layout, head)
    for checkpoint_id in latest:
        yield _Place("checkpoint", layout.checkpoint(head.name, checkpoint_id), KeyKind.CHECKPOINT, head)
        yield _Place("registry", layout.registry(head.name, checkpoint_id), KeyKind.WRITE_REGISTRY, head)
    if head.shallow_id:
        shallow = layout.shallow_checkpoint(thread_name, encode(head.namespace or ""))
        yield _Place("shallow", shallow, KeyKind.SHALLOW_CHECKPOINT, head)
    for name in _spellings(head):
        yield _Place("shallow registry", layout.registry(name, SHALLOW), KeyKind.WRITE_REGISTRY, head)
        yield _Place("shallow registry", layout.shallow_registry(name), KeyKind.WRITE_REGISTRY, head)
    keys = list(head.keys(layout))
    yield from _documents(layout, head, keys, latest)
    known = {_id_in(kind, key) for kind, key in keys}
    for kind, key in keys:
        # Registries have no application's prefix: one of a checkpoint that is not ours may be another's.
        if kind is KeyKind.WRITE_REGISTRY and _id_of_registry(key) not in known:
            yield _Place("registry", key, kind, head)


def _id_in(kind: KeyKind, key: bytes) -> bytes | None:
    """The id of the checkpoint that a document is, or is a write to, as its name says."""
    if kind is KeyKind.CHECKPOINT:
        return key.rpartition(b":")[2]
    parts = key.rsplit(b":", 3)
    return parts[1] if kind is KeyKind.WRITE and len(parts) > _WRITE_PARTS else None


def _id_of_registry(key: bytes) -> bytes:
    return key.rpartition(b":")[2]


def _documents(
    layout: KeyLayout, head: Head, keys: Sequence[tuple[KeyKind, bytes]], latest: Sequence[bytes]
) -> Iterator[_Place]:
    """Writes to the latest checkpoint; where no pointer says which that is, all writes and checkpoints."""
    is_pointed = head.pointer is not None or head.default_pointer is not None
    starts = tuple(layout.write(head.name, checkpoint_id + b":") for checkpoint_id in latest)
    for kind, key in keys:
        is_witness = kind is KeyKind.WRITE and key.startswith(starts) if is_pointed else kind in _DOCUMENTS
        if is_witness:
            yield _Place("other", key, kind, head)
    if is_pointed:
        # Under a name that does not follow from its ids a checkpoint may be overwritten, and which one a write is to is
        # not told.
        for kind, key in head.whole_keys():
            if kind in _DOCUMENTS:
                yield _Place("other", key, kind, head)


def _latest_ids(layout: KeyLayout, head: Head) -> list[bytes]:
    """The newest checkpoint, and those that pointers lead to: a writer's clock may have gone backwards."""
    start = layout.checkpoint(head.name, b"")
    pointed = [each for each in (head.pointer, head.default_pointer) if each is not None and each.startswith(start)]
    named = [encode(head.latest_id)] if head.latest_id else []
    return list(dict.fromkeys([*named, *(each[len(start) :] for each in pointed)]))


def _spellings(head: Head) -> list[bytes]:
    """How savers spell the name of a head; before 0.1, and shallow ones before 0.3, leave the root namespace empty."""
    if head.namespace != EMPTY_NAMESPACE:
        return [head.name]
    return [head.name, head.name.removesuffix(EMPTY_NAMESPACE.encode())]


class _View:
    """A conversation at the moment of freezing, beside what the survey saw.

    Attributes:
        moved: somebody wrote to it since.
        unknown: names that it leads to and that the survey did not see; one that is there was written since.
    """

    def __init__(
        self,
        layout: KeyLayout,
        thread: ThreadFacts,
        names: dict[bytes, KeyKind],
        places: Sequence[_Place],
        seen: Sequence[Seen],
    ) -> None:
        self._layout = layout
        self._thread = thread
        self._names = names
        self._seen = list(zip(places, seen, strict=True))
        self._pointed: set[bytes] = set()
        self._registered: set[bytes] = set()
        self._not_ours: set[bytes] = set()
        self.moved = False
        self.unknown: list[bytes] = []
        for place, found in self._seen:
            self._compare(place, found)

    def _compare(self, place: _Place, found: Seen) -> None:
        head = place.head
        is_there = found.state != ABSENT
        if place.role == "absent":
            self.moved |= is_there
        elif head is None:
            return
        elif place.role == "pointer":
            held = found.shown if is_there else None
            self.moved |= held != head.pointer
            self._follow(head, held)
        elif place.role == "default pointer":
            # Savers of 0.4 write it there whatever their prefix; what it holds says whose it is.
            is_ours = isinstance(found.shown, bytes) and found.shown.startswith(self._layout.checkpoint(head.name, b""))
            held = found.shown if is_there and is_ours else None
            self.moved |= held != head.default_pointer
            self._follow(head, held)
            if is_there and not is_ours:
                self._not_ours.add(place.key)
        elif place.role == "shallow":
            self.moved |= found.shown != json.dumps([head.shallow_id], ensure_ascii=False).encode()
        elif place.kind is KeyKind.WRITE_REGISTRY and isinstance(found.shown, list):
            if not all(member.startswith(self._layout.write(b"", b"")[:-1]) for member in found.shown):
                self._not_ours.add(place.key)
                return
            if place.role == "shallow registry":
                self._registered.add(head.name)
            self.unknown += [member for member in found.shown if member not in self._names]

    def _follow(self, head: Head, held: object) -> None:
        """Where a pointer leads to: the newest checkpoint that was seen, or one that was not."""
        if not isinstance(held, bytes):
            return
        if held not in self._names:
            self.unknown.append(held)
        elif held == self._layout.checkpoint(head.name, encode(head.latest_id)):
            self._pointed.add(head.name)

    def _packed(self, head: Head) -> bytes:
        """The names that follow from a head, without those that are another application's."""
        if not self._not_ours:
            return bytes(head.packed)
        ours = Head(head.name)
        for kind, key in packed_keys(self._layout, head.name, head.packed):
            if key not in self._not_ours:
                ours.pack_whole(kind, key)
        return bytes(ours.packed)

    def frozen(self) -> FrozenThread:
        """What goes, and what must still be so."""
        heads = self._thread.heads
        found = [(place, seen) for place, seen in self._seen if place.key not in self._not_ours]
        # Of a shallow saver the registry shows new writes; one that keeps none begins with the first write, or never.
        closed = [
            head
            for head in heads
            if head.name not in self._pointed and not (head.shallow_id and head.name in self._registered)
        ]
        return FrozenThread(
            tuple(
                (place.kind, place.key)
                for place, seen in found
                if seen.state != ABSENT and place.kind not in {KeyKind.CHECKPOINT, KeyKind.WRITE}
            ),
            tuple((head.name, self._packed(head)) for head in heads if head.packed),
            tuple(Witness(place.key, seen.state) for place, seen in found),
            tuple(name for head in closed for name in _spellings(head)),
            encode(self._thread.thread_id) if closed else None,
            tuple(place.key for place, seen in found if place.role == "checkpoint" and seen.state != ABSENT),
            self._thread.key_count,
            tuple(head.shallow_id for head in heads if head.shallow_id),
        )


def freeze_orphan(store: CheckpointStore, layout: KeyLayout, head: Head) -> FrozenThread | None:
    """The frozen form of names that point to nothing; None where what they point to is there again.

    Raises:
        TransientError: Redis does not answer.
        ConversationError: Redis refuses.
    """
    with redis_errors("the freezing of the plan"):
        ordered = tuple((kind, key) for key, kind in {key: kind for kind, key in head.keys(layout)}.items())
        registries = [key for kind, key in ordered if kind is KeyKind.WRITE_REGISTRY]
        members = store.each(("ZRANGE", key, 0, _MEMBERS - 1) for key in registries)
        absent = [member for found in members if isinstance(found, list) for member in found]
        absent += [layout.latest_pointer(head.name)] if head.pointer is None else [head.pointer]
        (seen,) = look(store, [[*absent, *(key for _, key in ordered)]])
    if any(each.state != ABSENT for each in seen[: len(absent)]):
        return None
    names = [*absent, *(key for _, key in ordered)]
    witnesses = tuple(Witness(key, each.state) for key, each in zip(names, seen, strict=True))
    return FrozenThread(ordered, (), witnesses, key_count=len(ordered))


_LENGTH: Final = struct.Struct("<I")


def pack(frozen: FrozenThread, about: dict[str, Any]) -> bytes:
    """A frozen conversation and some facts about it as bytes; JSON (in which a character is a byte), then the keys."""
    header = {
        **about,
        "format": _FORMAT,
        "names": [[int(kind), _text(key)] for kind, key in frozen.keys],
        "heads": [[_text(head), len(packed)] for head, packed in frozen.heads],
        "witnesses": [[_text(key), state] for key, state in frozen.witnesses],
        "closed": [_text(head) for head in frozen.closed],
        "closed_thread": None if frozen.closed_thread is None else _text(frozen.closed_thread),
        "latest": [_text(key) for key in frozen.latest],
        "keys": frozen.key_count,
        "shallow_ids": frozen.shallow_ids,
    }
    text = json.dumps(header).encode()
    return b"".join([_LENGTH.pack(len(text)), text, *(packed for _, packed in frozen.heads)])


def unpack(content: bytes) -> tuple[FrozenThread, dict[str, Any]]:
    """What :func:`pack` was given; the facts are among others.

    What an earlier version froze has other witnesses: it comes back with one that never holds, so that it stays.
    """
    (length,) = _LENGTH.unpack_from(content)
    position = _LENGTH.size + length
    header = json.loads(content[_LENGTH.size : position])
    heads: list[tuple[bytes, bytes]] = []
    for name, size in header["heads"]:
        heads.append((_name(name), content[position : position + size]))
        position += size
    is_ours = header.get("format") == _FORMAT
    frozen = FrozenThread(
        tuple((KeyKind(kind), _name(key)) for kind, key in header["names" if is_ours else "first"]),
        tuple(heads),
        tuple(Witness(_name(key), state) for key, state in header["witnesses"]) if is_ours else (_NEVER,),
        tuple(_name(head) for head in header.get("closed", ())),
        None if header.get("closed_thread") is None else _name(header["closed_thread"]),
        tuple(_name(key) for key in header["latest"]),
        header["keys"],
        tuple(header.get("shallow_ids", ())),
    )
    return frozen, header


_NEVER: Final = Witness(ENVIRONMENT_KEY.encode(), ABSENT)
"""A key that is there wherever anything is removed: witness of plans that must not be carried out any more."""


def _text(name: bytes) -> str:
    return name.decode("latin-1")


def _name(text: str) -> bytes:
    return text.encode("latin-1")
