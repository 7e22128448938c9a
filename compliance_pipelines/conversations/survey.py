"""The survey: one pass over a Redis that says which conversations there are.

Here: from keys and documents to threads, namespaces and orphans. Not here: what is due (policy.py), deleting.

Keys are enumerated with SCAN, never through a search index: an index ignores case, splits at commas, stops at 10,000
results, and may be missing. The ids are those of each document. A key that no document explains is an orphan only if
what it points to is gone, which is asked for each.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.conversations import documents
from compliance_pipelines.conversations.documents import DocumentIds, read_checkpoint, read_ids, read_note
from compliance_pipelines.conversations.enumeration import Step, steps
from compliance_pipelines.conversations.errors import redis_errors
from compliance_pipelines.conversations.keys import EMPTY_NAMESPACE, SHALLOW, KeyKind, KeyLayout, encode
from compliance_pipelines.conversations.threads import Head, Ownership, ThreadFacts

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from compliance_pipelines.conversations.store import CheckpointStore

KEY_BYTES: Final = 96 * 2**20
_MEMBERS: Final = 1_000
_OF_SHALLOW: Final = ":" + SHALLOW.decode()


@dataclass(frozen=True)
class OwnerRule:
    """How the owner of a thread may be read off its id: a regular expression with the group `user`.

    Raises:
        ValueError: no regular expression, or without that group.
    """

    pattern: str | None = None

    def __post_init__(self) -> None:
        try:
            compiled = None if self.pattern is None else re.compile(self.pattern)
        except re.error as error:
            raise ValueError(f"no regular expression: {error}") from error
        if compiled is not None and "user" not in compiled.groupindex:
            raise ValueError("the pattern has no group (?P<user>...)")
        object.__setattr__(self, "_compiled", compiled)

    def user_of(self, thread_id: str) -> str | None:
        """The user that the id names; the whole id must match."""
        compiled: re.Pattern[str] | None = self._compiled  # type: ignore[attr-defined]
        found = None if compiled is None else compiled.fullmatch(thread_id)
        return found.group("user") or None if found else None

    def owners(self, thread: ThreadFacts) -> frozenset[str]:
        """Who owns a thread, this rule being the last resort."""
        return thread.owners(self.user_of(thread.thread_id))

    def ownership(self, thread: ThreadFacts) -> Ownership:
        """What can be told of a thread's owner."""
        owners = self.owners(thread)
        if not owners:
            return Ownership.UNOWNED
        return Ownership.OWNED if len(owners) == 1 and not thread.entangled else Ownership.SHARED


@dataclass
class Survey:
    """What a pass found.

    Attributes:
        layout: the layout it looked for.
        threads: the conversations, by thread id in stored form.
        orphans: namespaces of which only pointers and registries are left that point to nothing.
        keys_seen: all keys of the database, other people's included.
        unreadable: keys under the savers' prefixes that are no saver's documents; nobody touches them.
        has_keys: whether the names of all keys were kept; False when they took more memory than allowed.
    """

    layout: KeyLayout
    threads: dict[str, ThreadFacts] = field(default_factory=dict)
    orphans: list[Head] = field(default_factory=list)
    keys_seen: int = 0
    unreadable: int = 0
    has_keys: bool = True

    @property
    def orphan_keys(self) -> int:
        """How many keys are orphans, blobs without any checkpoint included."""
        blobs = sum(thread.key_count for thread in self.threads.values() if thread.is_only_blobs)
        return blobs + sum(1 for head in self.orphans for _ in head.keys(self.layout))


def take_survey(
    store: CheckpointStore,
    layout: KeyLayout,
    *,
    key_bytes: int = KEY_BYTES,
    only: Collection[bytes] | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Survey:
    """Look at everything in a Redis, in one pass.

    Args:
        store: the Redis.
        layout: under which prefixes the savers write.
        key_bytes: memory for the names of keys; when they take more, none are kept, and a later pass has to fetch
            those that are wanted.
        only: names of the heads whose keys are to be kept, whatever memory they take; None for all.
        progress: told how many keys were seen.

    Raises:
        TransientError: Redis does not answer.
        ConversationError: Redis refuses.
    """
    with redis_errors("the survey of conversations"):
        pass_ = _Pass(store, layout, key_bytes, only)
        with steps(store, layout) as taken:
            for step in taken:
                pass_.take(step)
                progress(pass_.survey.keys_seen)
        return pass_.finish()


class _Pass:
    """One survey under way."""

    def __init__(
        self, store: CheckpointStore, layout: KeyLayout, key_bytes: int, only: Collection[bytes] | None
    ) -> None:
        self._store = store
        self._layout = layout
        self._room = key_bytes
        self._only = only
        self._heads: dict[str, Head] = {}
        self._registry_prefix = layout.registry(b"", b"")[:-1]
        readers = {
            KeyKind.CHECKPOINT: self._checkpoint,
            KeyKind.WRITE: self._write,
            KeyKind.BLOB: self._blob,
            KeyKind.LATEST_POINTER: self._pointer,
            KeyKind.METADATA: self._note,
            KeyKind.WRITE_REGISTRY: self._registry,
            KeyKind.CURRENT_CHECKPOINT: self._current_checkpoint,
        }
        self._readers = [partial(readers[kind], prefix) for prefix, kind in layout.prefixes]
        self.survey = Survey(layout)

    def take(self, step: Step) -> None:
        """Look at some keys."""
        self.survey.keys_seen += step.keys
        for number, rest, value in step.found:
            self._readers[number](rest, value)

    def finish(self) -> Survey:
        """Settle what only the whole tells."""
        survey = self.survey
        lonely = [head for head in self._heads.values() if head.thread is None]
        if self._only is None:
            survey.orphans = [head for head in lonely if self._is_orphan(head)]
        else:
            survey.orphans = [head for head in lonely if head.name in self._only]
        for thread in survey.threads.values():
            thread.settle()
        if not survey.has_keys:
            self._drop_keys()
        return survey

    def _drop_keys(self) -> None:
        """Forget the names of the keys of threads; how many there are stays known."""
        self.survey.has_keys = False
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
        thread = self.survey.threads.get(thread_id)
        if thread is None:
            thread = self.survey.threads[thread_id] = ThreadFacts(thread_id)
        return thread

    def _keep(self, head: Head, kind: KeyKind, tail: bytes, *, whole: bool = False) -> None:
        if self._only is not None:
            if head.name not in self._only:
                head.key_count += 1
                return
        elif head.thread is not None and (self._room <= 0 or not self.survey.has_keys):
            if self.survey.has_keys:
                self._drop_keys()
            head.key_count += 1
            return
        taken = head.pack_whole(kind, tail) if whole else head.pack(kind, tail)
        self._room -= taken

    # The kinds of keys: prefix, rest of the name, value

    def _checkpoint(self, prefix: bytes, rest: str, value: Any) -> None:  # noqa: ANN401 - JSON
        facts = read_checkpoint(value)
        if facts is None:
            self._unreadable(value)
            return
        ids = facts.ids
        head = self._head_of(ids)
        thread = head.thread
        if thread is None:
            raise AssertionError
        thread.checkpoints += 1
        thread.see(facts.time)
        if facts.user_id is not None:
            thread.users.add(facts.user_id)
        plain = "" if ids.namespace == EMPTY_NAMESPACE else ids.namespace
        if rest == f"{ids.thread_id}:{plain}":
            head.shallow_id = ids.checkpoint_id
            return
        newest = (head.latest_time, head.latest_id)
        head.latest_time, head.latest_id = max(newest, (facts.time or 0, ids.checkpoint_id))
        if rest == f"{ids.thread_id}:{ids.namespace}:{ids.checkpoint_id}":
            self._keep(head, KeyKind.CHECKPOINT, encode(ids.checkpoint_id))
        else:
            self._keep(head, KeyKind.CHECKPOINT, prefix + encode(rest), whole=True)

    def _write(self, prefix: bytes, rest: str, value: Any) -> None:  # noqa: ANN401 - JSON
        ids = read_ids(value)
        if ids is None:
            self._unreadable(value)
            return
        head = self._head_of(ids)
        head.writes += 1
        if ids.checkpoint_id == head.last_write_id:
            head.last_writes += 1
        elif ids.checkpoint_id > head.last_write_id:
            head.last_write_id, head.last_writes = ids.checkpoint_id, 1
        start = f"{ids.thread_id}:{ids.namespace}:"
        if rest.startswith(start):
            self._keep(head, KeyKind.WRITE, encode(rest[len(start) :]))
        else:
            self._keep(head, KeyKind.WRITE, prefix + encode(rest), whole=True)

    def _blob(self, prefix: bytes, rest: str, value: Any) -> None:  # noqa: ANN401 - JSON
        ids = read_ids([*value, ""]) if isinstance(value, list) else None
        if ids is None:
            self._unreadable(value)
            return
        head = self._head_of(ids)
        if head.thread is not None:
            head.thread.blobs += 1
        self._keep(head, KeyKind.BLOB, prefix + encode(rest), whole=True)

    def _pointer(self, _prefix: bytes, rest: str, value: Any) -> None:  # noqa: ANN401 - JSON
        if isinstance(value, str):
            self._head(rest).pointer = encode(value)
        else:
            self._unreadable(value)

    def _note(self, _prefix: bytes, rest: str, value: Any) -> None:  # noqa: ANN401 - JSON
        if isinstance(value, str):
            self._thread(rest).note = read_note(encode(value))
        else:
            self._unreadable(value)

    def _registry(self, prefix: bytes, rest: str, _value: Any) -> None:  # noqa: ANN401 - JSON
        # Ids of checkpoints hold no colon; where one did, its registry would be found through its members (below).
        name, _, tail = rest.rpartition(":")
        head = self._head(name)
        if prefix == self._registry_prefix:
            self._keep(head, KeyKind.WRITE_REGISTRY, encode(tail))
        else:
            self._keep(head, KeyKind.WRITE_REGISTRY, prefix + encode(rest), whole=True)

    def _current_checkpoint(self, _prefix: bytes, rest: str, value: Any) -> None:  # noqa: ANN401 - JSON
        name = rest.removesuffix(_OF_SHALLOW)
        if name == rest:
            self._unreadable(value)
        else:
            self._head(name).has_current = True

    def _unreadable(self, value: object) -> None:
        """Count a key that is no saver's; one that is gone meanwhile is nothing."""
        self.survey.unreadable += value is not None

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
        thread = None if ids is None else self.survey.threads.get(ids.thread_id)
        if thread is None or not thread.heads:
            return
        for kind, key in head.keys(self._layout):
            thread.heads[0].pack_whole(kind, key)
