"""From keys and documents to threads, namespaces and orphans.

Here: whose each key is. Not here: which keys are looked at (survey.py, sifting.py), reading them (reading.py).

The ids are those of each document, and its name must be one that a saver gives to a document of these ids: another
application's prefix may begin like ours. A key that no document explains is an orphan only if what it points to is
gone, which is asked for each. Names without any prefix of an application (registries, and the pointers of some
versions) belong to whom they point to.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from compliance_pipelines.conversations import documents
from compliance_pipelines.conversations.documents import (
    DocumentIds,
    read_blob_ids,
    read_checkpoint,
    read_ids,
    read_note,
)
from compliance_pipelines.conversations.keys import EMPTY_NAMESPACE, SHALLOW, KeyKind, decode, encode
from compliance_pipelines.conversations.names import split
from compliance_pipelines.conversations.reading import read_all
from compliance_pipelines.conversations.threads import Head, ThreadFacts

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from compliance_pipelines.conversations.keys import KeyLayout
    from compliance_pipelines.conversations.pacing import Pace
    from compliance_pipelines.conversations.reading import Found
    from compliance_pipelines.conversations.store import CheckpointStore

_MEMBERS: Final = 1_000
_NAMES_OF_FOREIGN: Final = 10_000
_STUB: Final = [{"has_writes": True}]
_OF_SHALLOW: Final = ":" + SHALLOW.decode()


@dataclass
class Foreign:
    """Keys under the savers' names that are no saver's documents.

    Attributes:
        counts: how many begin with each prefix.
        names: of them, ten thousand at most.
        others: keys of other applications, by their kind: they carry none of our prefixes and point to another's.
    """

    counts: dict[bytes, int] = field(default_factory=dict)
    names: list[bytes] = field(default_factory=list)
    others: dict[KeyKind, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """How many there are."""
        return sum(self.counts.values())

    def in_words(self) -> list[str]:
        """How many there are under each prefix, with an example, and whose they are where that is known."""
        said = []
        for prefix, count in sorted(self.counts.items()):
            example = next((name for name in self.names if name.startswith(prefix)), prefix)
            whose = ", as langgraph-checkpoint-aws names them" if example.startswith(prefix + b"{") else ""
            shown = example.decode("utf-8", "backslashreplace")
            said.append(f"{count:,} under {prefix.decode('utf-8', 'backslashreplace')}*, such as {shown!r}{whose}")
        return said

    def leave(self, kind: KeyKind) -> None:
        """Take a key of another application into account."""
        self.others[kind] = self.others.get(kind, 0) + 1

    def see(self, prefix: bytes, name: bytes) -> None:
        """Take a key into account."""
        self.counts[prefix] = self.counts.get(prefix, 0) + 1
        if len(self.names) < _NAMES_OF_FOREIGN:
            self.names.append(name)

    def with_those_of(self, other: Foreign) -> Foreign:
        """These and the other's."""
        counts = dict(self.counts)
        for prefix, count in other.counts.items():
            counts[prefix] = counts.get(prefix, 0) + count
        others = {kind: self.others.get(kind, 0) + other.others.get(kind, 0) for kind in {*self.others, *other.others}}
        return Foreign(counts, [*self.names, *other.names][:_NAMES_OF_FOREIGN], others)


class Gathering:
    """Threads and their heads, as their keys and documents come in.

    Args:
        store: the Redis.
        layout: under which prefixes the savers write.
        latest: the last moment that is not ahead of the present, in microseconds since 1970.
        key_bytes: memory for the names of keys; when they take more, none are kept.
        only: names of the heads whose keys are to be kept, whatever memory they take; None for all.
        pace: how Redis is shared with others.

    Attributes:
        threads: the conversations so far, by thread id in stored form.
        foreign: keys under the savers' names that are no saver's documents.
        has_keys: whether the names of all keys were kept.
    """

    def __init__(  # noqa: PLR0913 - each by its name
        self,
        store: CheckpointStore,
        layout: KeyLayout,
        *,
        latest: int,
        key_bytes: int,
        only: Collection[bytes] | None,
        pace: Pace,
    ) -> None:
        self._store = store
        self._layout = layout
        self._latest = latest
        self._room = key_bytes
        self._only = only
        self._pace = pace
        self._heads: dict[str, Head] = {}
        self._registry_prefix = layout.registry(b"", b"")[:-1]
        self._write_prefix = layout.write(b"", b"")[:-1]
        self._shared: list[tuple[Head, bytes]] = []
        self._stubs: list[Found] = []
        self._readers: Final = {
            KeyKind.CHECKPOINT: self._checkpoint,
            KeyKind.WRITE: self._write,
            KeyKind.BLOB: self._blob,
            KeyKind.LATEST_POINTER: self._pointer,
            KeyKind.METADATA: self._note,
            KeyKind.WRITE_REGISTRY: self._registry,
            KeyKind.CURRENT_CHECKPOINT: self._current_checkpoint,
        }
        self.threads: dict[str, ThreadFacts] = {}
        self.foreign = Foreign()
        self.has_keys = True

    def take(self, keys: Sequence[bytes]) -> None:
        """Read some keys, and say whose they are."""
        for found in read_all(self._store, self._layout, keys, self._pace):
            self._readers[found.kind](found)

    def finish(self) -> list[Head]:
        """Settle what only the whole tells; returns the orphans."""
        self._settle_stubs()
        self._settle_shared()
        lonely = self.lonely()
        orphans = [head for head in lonely if self._is_wanted_orphan(head)]
        for thread in self.threads.values():
            thread.settle(self._latest)
        if not self.has_keys:
            self._drop_keys()
        return orphans

    def lonely(self) -> list[Head]:
        """The heads of which no document was found."""
        return [head for head in self._heads.values() if head.thread is None]

    def _is_wanted_orphan(self, head: Head) -> bool:
        return self._is_orphan(head) if self._only is None else head.name in self._only

    def _drop_keys(self) -> None:
        """Forget the names of the keys of threads; how many there are stays known."""
        self.has_keys = False
        for head in self._heads.values():
            if head.thread is not None:
                head.packed = bytearray()

    # What the heads keep

    def _head(self, name: str) -> Head:
        head = self._heads.get(name)
        if head is None:
            head = self._heads[name] = Head(encode(name))
        return head

    def _head_of(self, ids: DocumentIds) -> Head:
        """The head of a document, tied to its thread."""
        head = self._head(f"{ids.thread_id}:{ids.namespace}")
        thread = head.thread
        if thread is None:
            thread = self._thread(ids.thread_id)
            head.thread, head.namespace = thread, ids.namespace
            thread.heads.append(head)
        elif thread.thread_id != ids.thread_id:
            other = self._thread(ids.thread_id)
            thread.entangled = other.entangled = True
            return self._own_head(other, ids, head.name)
        return head

    def _own_head(self, thread: ThreadFacts, ids: DocumentIds, name: bytes) -> Head:
        """A head beside the one of the same name that another thread has."""
        for head in thread.heads:
            if head.namespace == ids.namespace:
                return head
        head = Head(name, ids.namespace, thread)
        thread.heads.append(head)
        return head

    def _thread(self, thread_id: str) -> ThreadFacts:
        thread = self.threads.get(thread_id)
        if thread is None:
            thread = self.threads[thread_id] = ThreadFacts(thread_id)
        return thread

    def _keep_named(self, head: Head, kind: KeyKind, found: Found, tail: str) -> None:
        """Keep a key, under its tail where its name is the usual one with it, else under its whole name."""
        usual = {
            KeyKind.CHECKPOINT: self._layout.checkpoint,
            KeyKind.WRITE: self._layout.write,
            KeyKind.WRITE_REGISTRY: self._layout.registry,
        }
        key = found.key
        if usual[kind](head.name, encode(tail)) == key:
            self._keep(head, kind, encode(tail))
        else:
            self._keep(head, kind, key, whole=True)

    def _keep(self, head: Head, kind: KeyKind, tail: bytes, *, whole: bool = False) -> None:
        if self._only is not None:
            if head.name not in self._only:
                head.key_count += 1
                return
        elif head.thread is not None and (self._room <= 0 or not self.has_keys):
            if self.has_keys:
                self._drop_keys()
            head.key_count += 1
            return
        taken = head.pack_whole(kind, tail) if whole else head.pack(kind, tail)
        self._room -= taken

    # The kinds of keys

    def _checkpoint(self, found: Found) -> None:
        facts = read_checkpoint(found.value, self._latest) if isinstance(found.value, dict) else None
        if facts is None:
            self._unread_checkpoint(found)
            return
        ids = facts.ids
        starts = _starts(ids)
        shallow = found.rest == f"{ids.thread_id}:{_plain(ids.namespace)}"
        if not shallow and found.rest not in {
            f"{start}{end}" for start in starts for end in (ids.checkpoint_id, "shallow")
        }:
            self._unreadable(found)
            return
        head = self._head_of(ids)
        thread = head.thread
        if thread is None:
            raise AssertionError
        thread.checkpoints += 1
        thread.ahead += facts.is_ahead
        thread.see(facts.time)
        if facts.user_id is not None:
            thread.users.add(facts.user_id)
        head.newest_id = max(head.newest_id, ids.checkpoint_id)
        if shallow and not found.is_aside:
            head.shallow_id = ids.checkpoint_id
        elif shallow:
            self._keep(head, KeyKind.SHALLOW_CHECKPOINT, found.key, whole=True)
        else:
            newest = (head.latest_time, head.latest_id)
            head.latest_time, head.latest_id = max(newest, (facts.time or 0, ids.checkpoint_id))
            self._keep_named(head, KeyKind.CHECKPOINT, found, ids.checkpoint_id)

    def _unread_checkpoint(self, found: Found) -> None:
        """One without ids may be what is left of a write to a checkpoint that was gone."""
        is_empty = isinstance(found.value, dict) and not any(found.value.values())
        if is_empty and split(KeyKind.CHECKPOINT, encode(found.rest))[0]:
            self._stubs.append(found)
        else:
            self._unreadable(found)

    def _settle_stubs(self) -> None:
        """Give documents that say nothing but that there are writes to the head of their name."""
        contents = self._store.json_values([found.key for found in self._stubs], "$")
        for found, content in zip(self._stubs, contents, strict=True):
            if content == _STUB:
                name, checkpoint_id = split(KeyKind.CHECKPOINT, encode(found.rest))
                self._keep_named(self._head(decode(name)), KeyKind.CHECKPOINT, found, decode(checkpoint_id))
            elif content is not None:
                self._unreadable(found)

    def _write(self, found: Found) -> None:
        ids = read_ids(found.value)
        start = None if ids is None else _start_of(found.rest, ids, f"{ids.checkpoint_id}:")
        if ids is None or start is None:
            self._unreadable(found)
            return
        head = self._head_of(ids)
        head.writes += 1
        head.last_write_id = max(head.last_write_id, ids.checkpoint_id)
        self._keep_named(head, KeyKind.WRITE, found, found.rest[len(start) :])

    def _blob(self, found: Found) -> None:
        ids = read_blob_ids(found.value)
        if ids is None or _start_of(found.rest, ids) is None:
            self._unreadable(found)
            return
        head = self._head_of(ids)
        if head.thread is not None:
            head.thread.blobs += 1
        self._keep(head, KeyKind.BLOB, found.key, whole=True)

    def _pointer(self, found: Found) -> None:
        if not isinstance(found.value, str):
            self._unreadable(found)
            return
        target = encode(found.value)
        head = encode(found.rest)
        if not target.startswith(self._layout.checkpoint(head, b"")):
            if split(KeyKind.CHECKPOINT, target)[0].endswith(b":" + head):
                self.foreign.leave(KeyKind.LATEST_POINTER)
            else:
                self._unreadable(found)
        elif found.key == self._layout.latest_pointer(head):
            self._head(found.rest).pointer = target
        else:
            pointed = self._head(found.rest)
            if not found.is_aside:
                pointed.default_pointer = target
            self._keep(pointed, KeyKind.LATEST_POINTER, found.key, whole=True)

    def _note(self, found: Found) -> None:
        if not isinstance(found.value, str):
            self._unreadable(found)
            return
        thread = self._thread(found.rest)
        thread.note = read_note(encode(found.value))
        if found.is_aside:
            head = self._head_of(DocumentIds(found.rest, EMPTY_NAMESPACE, ""))
            self._keep(head, KeyKind.METADATA, found.key, whole=True)

    def _registry(self, found: Found) -> None:
        # Ids of checkpoints hold no colon; where one did, its registry would be found through its members (below).
        name, _, tail = found.rest.rpartition(":")
        # Before 0.1, and by shallow savers before 0.3, the root namespace is left empty.
        head = self._head(name + EMPTY_NAMESPACE if name.endswith(":") else name)
        if tail == SHALLOW.decode():
            # Two applications with the same thread share it.
            self._shared.append((head, found.key))
        else:
            self._keep_named(head, KeyKind.WRITE_REGISTRY, found, tail)

    def _settle_shared(self) -> None:
        """Keep the registries without the id of a checkpoint whose members are all of our application."""
        for head, key in self._shared:
            members = self._members_of_ours(key)
            if members is not None:
                self._keep(head, KeyKind.WRITE_REGISTRY, key, whole=True)

    def _current_checkpoint(self, found: Found) -> None:
        name = found.rest.removesuffix(_OF_SHALLOW)
        if name == found.rest:
            self._unreadable(found)
        elif found.is_aside:
            self._keep(self._head(name), KeyKind.CURRENT_CHECKPOINT, found.key, whole=True)
        else:
            self._head(name).has_current = True

    def _unreadable(self, found: Found) -> None:
        """Count a key that is no saver's; one that is gone meanwhile is nothing."""
        if found.value is not None:
            self.foreign.see(found.prefix, found.key)

    # Orphans

    def _is_orphan(self, head: Head) -> bool:
        """Whether nothing that the keys of this head point to is there; what points to something is its thread's."""
        if head.pointer is not None and any(self._store.exists([head.pointer])):
            return False
        alive = None
        for key in [key for kind, key in head.keys(self._layout) if kind is KeyKind.WRITE_REGISTRY]:
            members = self._members_of_ours(key)
            if members is None:
                return False
            there = (member for member, exists in zip(members, self._store.exists(members), strict=True) if exists)
            alive = alive or next(there, None)
        if alive is not None:
            self._give_to_thread(head, alive)
        return alive is None and any(True for _ in head.keys(self._layout))

    def _members_of_ours(self, registry: bytes) -> list[bytes] | None:
        """The members of a registry; None where it is another application's, or none at all: then it is counted."""
        found: list[bytes] = []
        while True:
            (members,) = self._store.each([("ZRANGE", registry, len(found), len(found) + _MEMBERS - 1)])
            if not isinstance(members, list):
                named = self._layout.classify(registry)
                prefix = registry if named is None else registry[: len(registry) - len(named[1])]
                self.foreign.see(prefix, registry)
                return None
            found += members
            if len(members) < _MEMBERS:
                break
        if all(member.startswith(self._write_prefix) for member in found):
            return found
        self.foreign.leave(KeyKind.WRITE_REGISTRY)
        return None

    def _give_to_thread(self, head: Head, member: bytes) -> None:
        """Tie registries to the thread of the write that they name."""
        ids = read_ids(self._store.json_values([member], documents.WRITE_FIELDS)[0])
        thread = None if ids is None else self.threads.get(ids.thread_id)
        if thread is None or not thread.heads:
            return
        for kind, key in head.keys(self._layout):
            thread.heads[0].pack_whole(kind, key)


def _plain(namespace: str) -> str:
    return "" if namespace == EMPTY_NAMESPACE else namespace


def _starts(ids: DocumentIds) -> tuple[str, ...]:
    """How savers begin the names of documents of these ids; the root namespace may be left empty."""
    usual = f"{ids.thread_id}:{ids.namespace}:"
    return (usual, f"{ids.thread_id}::") if ids.namespace == EMPTY_NAMESPACE else (usual,)


def _start_of(rest: str, ids: DocumentIds, end: str = "") -> str | None:
    """What a name begins with that is of these ids; None where it is none of theirs."""
    return next((start for start in _starts(ids) if rest.startswith(start + end)), None)
