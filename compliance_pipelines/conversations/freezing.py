"""Frozen conversations: what goes, and what must still be so when it goes.

Here: witnesses, the frozen form, making it from a survey, and its bytes. Not here: removing (removal.py).

Witnesses are what a writer changes first: the pointers to the latest checkpoints, the ids in a shallow saver's
checkpoints, the size of the latest checkpoints' registries of writes.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.conversations.errors import redis_errors
from compliance_pipelines.conversations.keys import EMPTY_NAMESPACE, SHALLOW, KeyKind, KeyLayout, encode
from compliance_pipelines.conversations.threads import packed_keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from compliance_pipelines.conversations.store import CheckpointStore
    from compliance_pipelines.conversations.threads import Head, ThreadFacts

_MEMBERS: Final = 1_000


@dataclass(frozen=True)
class Witnesses:
    """What must still be so at the moment of deletion.

    Attributes:
        pointers: names of pointers and what they hold; None: there is none.
        shallow: names of shallow checkpoints and the id in each.
        registries: names of sorted sets and how many members each has.
        absent: names that must not exist.
    """

    pointers: tuple[tuple[bytes, bytes | None], ...] = ()
    shallow: tuple[tuple[bytes, str], ...] = ()
    registries: tuple[tuple[bytes, int], ...] = ()
    absent: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class FrozenThread:
    """A conversation, or an orphan, as it was planned.

    Attributes:
        first: names that must go in the step that compares the witnesses: those that a new writer would use again, and
            the latest checkpoints.
        heads: names of heads and their packed keys (threads.py), the rest.
        witnesses: what must still be so.
        latest: names of the latest checkpoints: as long as they exist, nothing was removed.
        key_count: how many keys there are, about.
    """

    first: tuple[tuple[KeyKind, bytes], ...]
    heads: tuple[tuple[bytes, bytes], ...]
    witnesses: Witnesses
    latest: tuple[bytes, ...] = ()
    key_count: int = 0

    def rest(self, layout: KeyLayout) -> list[tuple[KeyKind, bytes]]:
        """The names that need not go in the first step."""
        first = {key for _, key in self.first}
        return [
            each for head, packed in self.heads for each in packed_keys(layout, head, packed) if each[1] not in first
        ]


def freeze_threads(
    store: CheckpointStore, layout: KeyLayout, threads: Sequence[ThreadFacts]
) -> list[FrozenThread | None]:
    """The frozen form of conversations; None for one that was written to since the survey.

    The registries of the latest checkpoints are counted here: more members than the survey saw writes mean that
    somebody is at work, unless the writes are gone.

    Args:
        store: the Redis.
        layout: the survey's layout.
        threads: with the names of their keys.

    Raises:
        TransientError: Redis does not answer.
    """
    with redis_errors("the freezing of the plan"):
        wanted = [_registries_of_latest(layout, thread) for thread in threads]
        answers = iter(store.each(("ZCARD", key) for registries in wanted for key, _ in registries))
        frozen: list[FrozenThread | None] = []
        for thread, registries in zip(threads, wanted, strict=True):
            sizes: dict[bytes, int] = {}
            suspicious: list[bytes] = []
            for key, seen in registries:
                answer = next(answers)
                sizes[key] = answer if isinstance(answer, int) else 0
                if sizes[key] > seen:
                    suspicious.append(key)
            moved = bool(suspicious) and _has_unseen_writes(store, layout, thread, suspicious)
            frozen.append(None if moved else _frozen(layout, thread, sizes))
        return frozen


def _has_unseen_writes(
    store: CheckpointStore, layout: KeyLayout, thread: ThreadFacts, registries: Sequence[bytes]
) -> bool:
    """Whether registries name writes that are there and were not seen."""
    known = thread.keys(layout)
    members = [
        member
        for found in store.each(("ZRANGE", key, 0, -1) for key in registries)
        if isinstance(found, list)
        for member in found
        if member not in known
    ]
    return any(store.exists(members))


def _latest_id(layout: KeyLayout, head: Head) -> bytes | None:
    """The id of the latest checkpoint of a full saver: where the pointer points, else the newest document's."""
    if head.pointer is not None:
        start = layout.checkpoint(head.name, b"")
        return head.pointer[len(start) :] if head.pointer.startswith(start) else None
    return encode(head.latest_id) if head.latest_id else None


def _registries_of_latest(layout: KeyLayout, thread: ThreadFacts) -> list[tuple[bytes, int]]:
    """The registries that a new write would go to, and how many writes the survey saw that they may name."""
    found: list[tuple[bytes, int]] = []
    for head in thread.heads:
        latest = _latest_id(layout, head)
        if latest is not None:
            seen = head.last_writes if encode(head.last_write_id) == latest else 0
            found.append((layout.registry(head.name, latest), seen))
        if head.shallow_id or latest is None:
            found.append((layout.registry(head.name, SHALLOW), head.writes))
            found.append((layout.shallow_registry(head.name), head.writes))
    return found


def _frozen(layout: KeyLayout, thread: ThreadFacts, sizes: dict[bytes, int]) -> FrozenThread:
    thread_name = encode(thread.thread_id)
    pointers: list[tuple[bytes, bytes | None]] = []
    shallow: list[tuple[bytes, str]] = []
    latest: list[bytes] = []
    first: list[tuple[KeyKind, bytes]] = []
    # The root first: on a cluster it decides.
    for head in sorted(thread.heads, key=lambda head: head.namespace != EMPTY_NAMESPACE):
        pointer = layout.latest_pointer(head.name)
        pointers.append((pointer, head.pointer))
        if head.pointer is not None:
            first.append((KeyKind.LATEST_POINTER, pointer))
        if head.has_current:
            first.append((KeyKind.CURRENT_CHECKPOINT, layout.current_checkpoint(head.name)))
        if head.shallow_id:
            key = layout.shallow_checkpoint(thread_name, encode(head.namespace or ""))
            shallow.append((key, head.shallow_id))
            first.append((KeyKind.SHALLOW_CHECKPOINT, key))
        latest_id = _latest_id(layout, head)
        if latest_id is not None:
            latest.append(layout.checkpoint(head.name, latest_id))
    first += [(KeyKind.CHECKPOINT, key) for key in latest]
    first += [(KeyKind.WRITE_REGISTRY, key) for key in sizes]
    if thread.note is not None:
        first.append((KeyKind.METADATA, layout.metadata(thread_name)))
    absent: list[bytes] = []
    root = thread.root()
    if root is None:
        absent.append(layout.latest_pointer(thread_name + b":" + EMPTY_NAMESPACE.encode()))
    if root is None or not root.shallow_id:
        absent.append(layout.shallow_checkpoint(thread_name, EMPTY_NAMESPACE.encode()))
    return FrozenThread(
        tuple(first),
        tuple((head.name, bytes(head.packed)) for head in thread.heads if head.packed),
        Witnesses(tuple(pointers), tuple(shallow), tuple(sizes.items()), tuple(absent)),
        tuple(latest),
        thread.key_count,
    )


def freeze_orphan(store: CheckpointStore, layout: KeyLayout, head: Head) -> FrozenThread:
    """The frozen form of names that point to nothing: they go if what they point to still is not there.

    Raises:
        TransientError: Redis does not answer.
    """
    with redis_errors("the freezing of the plan"):
        ordered = tuple(dict.fromkeys(head.keys(layout)))
        registries = [key for kind, key in ordered if kind is KeyKind.WRITE_REGISTRY]
        members = store.each(("ZRANGE", key, 0, _MEMBERS - 1) for key in registries)
        sizes = store.each(("ZCARD", key) for key in registries)
    absent = [member for found in members if isinstance(found, list) for member in found]
    if head.pointer is not None:
        absent.append(head.pointer)
    return FrozenThread(
        ordered,
        (),
        Witnesses(
            ((layout.latest_pointer(head.name), head.pointer),),
            (),
            tuple((key, size) for key, size in zip(registries, sizes, strict=True) if isinstance(size, int)),
            tuple(absent),
        ),
        (),
        len(ordered),
    )


_LENGTH: Final = struct.Struct("<I")


def pack(frozen: FrozenThread, about: dict[str, Any]) -> bytes:
    """A frozen conversation and some facts about it as bytes; JSON (in which a character is a byte), then the keys."""
    witnesses = frozen.witnesses
    header = {
        **about,
        "first": [[int(kind), _text(key)] for kind, key in frozen.first],
        "heads": [[_text(head), len(packed)] for head, packed in frozen.heads],
        "pointers": [[_text(key), None if value is None else _text(value)] for key, value in witnesses.pointers],
        "shallow": [[_text(key), value] for key, value in witnesses.shallow],
        "registries": [[_text(key), size] for key, size in witnesses.registries],
        "absent": [_text(key) for key in witnesses.absent],
        "latest": [_text(key) for key in frozen.latest],
        "keys": frozen.key_count,
    }
    text = json.dumps(header).encode()
    return b"".join([_LENGTH.pack(len(text)), text, *(packed for _, packed in frozen.heads)])


def unpack(content: bytes) -> tuple[FrozenThread, dict[str, Any]]:
    """What :func:`pack` was given; the facts are among others."""
    (length,) = _LENGTH.unpack_from(content)
    position = _LENGTH.size + length
    header = json.loads(content[_LENGTH.size : position])
    heads: list[tuple[bytes, bytes]] = []
    for name, size in header["heads"]:
        heads.append((_name(name), content[position : position + size]))
        position += size
    frozen = FrozenThread(
        tuple((KeyKind(kind), _name(key)) for kind, key in header["first"]),
        tuple(heads),
        Witnesses(
            tuple((_name(key), None if value is None else _name(value)) for key, value in header["pointers"]),
            tuple((_name(key), value) for key, value in header["shallow"]),
            tuple((_name(key), size) for key, size in header["registries"]),
            tuple(_name(key) for key in header["absent"]),
        ),
        tuple(_name(key) for key in header["latest"]),
        header["keys"],
    )
    return frozen, header


def _text(name: bytes) -> str:
    return name.decode("latin-1")


def _name(text: str) -> bytes:
    return text.encode("latin-1")
