"""From keys and documents to threads, namespaces and orphans.

Here: whose each key is. Not here: which keys are looked at (survey.py, sifting.py), reading them (reading.py).

The ids are those of each document. A key that no document explains is an orphan only if what it points to is gone,
which is asked for each.
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
from compliance_pipelines.conversations.keys import EMPTY_NAMESPACE, SHALLOW, KeyKind, encode
from compliance_pipelines.conversations.reading import read_all
from compliance_pipelines.conversations.threads import Head, ThreadFacts

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from compliance_pipelines.conversations.keys import KeyLayout
    from compliance_pipelines.conversations.pacing import Pace
    from compliance_pipelines.conversations.reading import Found
    from compliance_pipelines.conversations.store import CheckpointStore

_MEMBERS: Final = 1_000
_NAMES_OF_FOREIGN: Final = 100
_OF_SHALLOW: Final = ":" + SHALLOW.decode()


@dataclass
class Foreign:
    """Keys under the savers' names that are no saver's documents.

    Attributes:
        counts: how many begin with each prefix.
        names: some of them.
    """

    counts: dict[bytes, int] = field(default_factory=dict)
    names: list[bytes] = field(default_factory=list)

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
        return Foreign(counts, [*self.names, *other.names][:_NAMES_OF_FOREIGN])


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
            self._unreadable(found)
            return
        rest, ids = found.rest, facts.ids
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
        plain = "" if ids.namespace == EMPTY_NAMESPACE else ids.namespace
        if rest == f"{ids.thread_id}:{plain}":
            head.shallow_id = ids.checkpoint_id
            return
        newest = (head.latest_time, head.latest_id)
        head.latest_time, head.latest_id = max(newest, (facts.time or 0, ids.checkpoint_id))
        if rest == f"{ids.thread_id}:{ids.namespace}:{ids.checkpoint_id}":
            self._keep(head, KeyKind.CHECKPOINT, encode(ids.checkpoint_id))
        else:
            self._keep(head, KeyKind.CHECKPOINT, found.prefix + encode(rest), whole=True)

    def _write(self, found: Found) -> None:
        ids = read_ids(found.value)
        if ids is None:
            self._unreadable(found)
            return
        head = self._head_of(ids)
        head.writes += 1
        if ids.checkpoint_id == head.last_write_id:
            head.last_writes += 1
        elif ids.checkpoint_id > head.last_write_id:
            head.last_write_id, head.last_writes = ids.checkpoint_id, 1
        start = f"{ids.thread_id}:{ids.namespace}:"
        if found.rest.startswith(start):
            self._keep(head, KeyKind.WRITE, encode(found.rest[len(start) :]))
        else:
            self._keep(head, KeyKind.WRITE, found.prefix + encode(found.rest), whole=True)

    def _blob(self, found: Found) -> None:
        ids = read_blob_ids(found.value)
        if ids is None:
            self._unreadable(found)
            return
        head = self._head_of(ids)
        if head.thread is not None:
            head.thread.blobs += 1
        self._keep(head, KeyKind.BLOB, found.prefix + encode(found.rest), whole=True)

    def _pointer(self, found: Found) -> None:
        if isinstance(found.value, str):
            self._head(found.rest).pointer = encode(found.value)
        else:
            self._unreadable(found)

    def _note(self, found: Found) -> None:
        if isinstance(found.value, str):
            self._thread(found.rest).note = read_note(encode(found.value))
        else:
            self._unreadable(found)

    def _registry(self, found: Found) -> None:
        # Ids of checkpoints hold no colon; where one did, its registry would be found through its members (below).
        name, _, tail = found.rest.rpartition(":")
        head = self._head(name)
        if found.prefix == self._registry_prefix:
            self._keep(head, KeyKind.WRITE_REGISTRY, encode(tail))
        else:
            self._keep(head, KeyKind.WRITE_REGISTRY, found.prefix + encode(found.rest), whole=True)

    def _current_checkpoint(self, found: Found) -> None:
        name = found.rest.removesuffix(_OF_SHALLOW)
        if name == found.rest:
            self._unreadable(found)
        else:
            self._head(name).has_current = True

    def _unreadable(self, found: Found) -> None:
        """Count a key that is no saver's; one that is gone meanwhile is nothing."""
        if found.value is not None:
            self.foreign.see(found.prefix, found.prefix + encode(found.rest))

    # Orphans

    def _is_orphan(self, head: Head) -> bool:
        """Whether nothing that the keys of this head point to is there; what points to something is its thread's."""
        if head.pointer is not None and any(self._store.exists([head.pointer])):
            return False
        registries = [key for kind, key in head.keys(self._layout) if kind is KeyKind.WRITE_REGISTRY]
        alive = [member for key in registries for member in self._living_members(key)]
        if alive:
            self._give_to_thread(head, alive[0])
        return not alive

    def _living_members(self, registry: bytes) -> Iterable[bytes]:
        start = 0
        while True:
            (members,) = self._store.each([("ZRANGE", registry, start, start + _MEMBERS - 1)])
            if not isinstance(members, list) or not members:
                return
            for member, exists in zip(members, self._store.exists(members), strict=True):
                if exists:
                    yield member
            start += _MEMBERS

    def _give_to_thread(self, head: Head, member: bytes) -> None:
        """Tie registries to the thread of the write that they name."""
        ids = read_ids(self._store.json_values([member], documents.WRITE_FIELDS)[0])
        thread = None if ids is None else self.threads.get(ids.thread_id)
        if thread is None or not thread.heads:
            return
        for kind, key in head.keys(self._layout):
            thread.heads[0].pack_whole(kind, key)
