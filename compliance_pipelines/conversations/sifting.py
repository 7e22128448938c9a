"""Sifting names: which conversations may be due, told from names and from one document of each head.

Here: what need not be read. Not here: reading the rest and judging it (gathering.py, policy.py).

Checkpoint ids hold their time and stand in the names of checkpoints, writes and registries. The first name of a head
that looks young leads to one document: the checkpoint of that id. Only if this document says itself that it is young,
and whose it is, is everything else that begins with the head's name passed over. So a conversation counts as not due
because of what one of its own documents says, never because of a name. What is older, what lies ahead of the present,
and whatever holds no id is kept, and read in the end.

A passed-over key may also belong to another thread whose id is a beginning of the head's name (thread `a` with
namespace `b:c` beside thread `a:b` with namespace `c`). Where such a thread may be due, `unsure` names it: everything
under its name has to be read.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from compliance_pipelines.conversations.documents import (
    AGE_FIELDS,
    read_blob_ids,
    read_checkpoint,
    read_ids,
    time_of_text,
)
from compliance_pipelines.conversations.gathering import Foreign
from compliance_pipelines.conversations.keys import EMPTY_NAMESPACE, KeyKind, decode, encode
from compliance_pipelines.conversations.names import (
    beginnings,
    head_of_blob,
    head_of_current,
    head_of_registry,
    id_at,
    split,
)
from compliance_pipelines.conversations.reading import COMMANDS_AT_ONCE, ask_for_documents, json_value, read_documents

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from compliance_pipelines.conversations.documents import CheckpointFacts, DocumentIds
    from compliance_pipelines.conversations.horizon import Horizon
    from compliance_pipelines.conversations.keys import KeyLayout
    from compliance_pipelines.conversations.pacing import Pace
    from compliance_pipelines.conversations.store import Asked, CheckpointStore

# As many heads as are remembered as not due. More of them cost time (they are asked about again) and no memory.
HEADS: Final = 2_000_000
# What Python takes for a name in a list, beside its bytes.
_PER_NAME: Final = 48
_PER_HEAD: Final = 300
_EMPTY: Final = EMPTY_NAMESPACE.encode()
_ROOT: Final = b":" + _EMPTY
# The answer of a checkpoint in which nothing is missing and nothing escaped: thread, namespace, id, [time of writing],
# and `ts` before or behind them.
_TEXT: Final = rb'"([^"\\]+)"'
_USUAL: Final = re.compile(
    rb'\{(?:"[^"]*\.ts":\['
    + _TEXT
    + rb'\],)?"[^"]*\]":\['
    + b",".join([_TEXT] * 3)
    + rb'(?:,(?:[0-9.e+]+|null))?\](?:,"[^"]*\.ts":\['
    + _TEXT
    + rb"\])?\}"
)
_WITH_IDS: Final = frozenset({KeyKind.CHECKPOINT, KeyKind.WRITE, KeyKind.WRITE_REGISTRY})
_HEAD_OF: Final[dict[KeyKind, Callable[[bytes], bytes]]] = {
    KeyKind.LATEST_POINTER: bytes,
    KeyKind.WRITE_REGISTRY: head_of_registry,
    KeyKind.CURRENT_CHECKPOINT: head_of_current,
    KeyKind.METADATA: lambda rest: rest + _ROOT,
}
_DOCUMENTS: Final = frozenset({KeyKind.CHECKPOINT, KeyKind.WRITE, KeyKind.BLOB})
_AFTER_EVERYTHING: Final = b"\xff"
# What follows a head in the names that most keys have: `:{id}`, and in a write `:{id}:{task}:{one digit}`.
_AFTER_HEAD: Final = 36
_AFTER_HEAD_OF_WRITE: Final = 75


class _Question(NamedTuple):
    """A document to read, and the key on whose account.

    Attributes:
        kind: of the document.
        document: its name.
        kind_of_key: of the key on whose account it is read; the document itself, or a write or registry of its id.
        key: that key.
        head: the head in that key's name; empty where the name does not tell.
    """

    kind: KeyKind
    document: bytes
    kind_of_key: KeyKind
    key: bytes
    head: bytes


class Sieve:
    """Names under way to what may be due.

    Args:
        store: the Redis.
        layout: under which prefixes the savers write.
        horizon: what is not due.
        latest: the last moment that is not ahead of the present, in microseconds since 1970.
        key_bytes: memory for names; when those that may be due take more, only one of each kind is kept for each head.
        pace: how Redis is shared with others.
        heads: how many heads to remember as not due.

    Attributes:
        pending: of each head that may be due the names of its keys.
        has_names: whether `pending` holds all of them.
        aged: ids of threads of which something may be so old that their age makes them due.
        ahead: ids of threads of which a document bears a time ahead of the present.
        foreign: keys that had to be read and are no saver's documents.
    """

    def __init__(  # noqa: PLR0913 - each by its name
        self,
        store: CheckpointStore,
        layout: KeyLayout,
        *,
        horizon: Horizon,
        latest: int,
        key_bytes: int,
        pace: Pace,
        heads: int = HEADS,
    ) -> None:
        self._store = store
        self._layout = layout
        self._horizon = horizon
        self._latest = latest
        self._room = key_bytes
        self._pace = pace
        self._most_heads = heads
        self._bytes = 0
        # Heads, each with the colon that follows it, of threads that are not due.
        self._young: set[bytes] = set()
        self._roots = 0
        # Threads that are not due and of which another head than the root is remembered.
        self._elsewhere: set[bytes] = set()
        self._questions: list[_Question] = []
        self._under_way: list[_Question] = []
        self._asked: Asked | None = None
        self._asking: set[bytes] = set()
        self._later: list[bytes] = []
        self._is_plain = layout.has_plain_prefixes
        self._from = id_at(horizon.idle)
        self._low = b"" if horizon.age is None else id_at(horizon.age)
        self._high = id_at(latest) + _AFTER_EVERYTHING
        self._checkpoint_prefix = layout.checkpoint(b"", b"")[:-1]
        self._write_prefix = layout.write(b"", b"")[:-1]
        self._registry_prefix = layout.registry(b"", b"")[:-1]
        self.pending: dict[bytes, list[bytes]] = {}
        self.has_names = True
        self.aged: set[str] = set()
        self.ahead: set[str] = set()
        self.foreign = Foreign()

    # What is known

    @property
    def not_due(self) -> int:
        """How many threads are not due; at least, where there are more heads than are remembered."""
        return self._roots + sum(1 for thread in self._elsewhere if thread + _ROOT + b":" not in self._young)

    def is_not_due(self, thread_id: str) -> bool:
        """Whether a document of this thread says that it is not due."""
        name = encode(thread_id)
        return name in self._elsewhere or name + _ROOT + b":" in self._young

    def unsure(self, thread_ids: set[str]) -> set[str]:
        """Of some threads those to which a key may belong that was passed over."""
        named = {encode(thread_id): thread_id for thread_id in thread_ids}
        found: set[str] = set()
        if named:
            for head in self._young:
                found.update(named[each] for each in beginnings(head[:-1]) if each in named)
        return found

    # Taking names

    def take(self, keys: Sequence[bytes]) -> None:
        """Sift some names."""
        for key in self._unknown(keys):
            self._look_at(key)
        while len(self._questions) >= COMMANDS_AT_ONCE:
            self._ask()

    def finish(self) -> None:
        """Ask what is left to ask, and drop the old namespaces of threads that are not due."""
        while self._questions or self._asked is not None:
            self._ask()
        self._drop_old_heads_of_young_threads()

    def abandon(self) -> None:
        """Give up what was asked."""
        if self._asked is not None:
            self._asked.abandon()

    def _unknown(self, keys: Sequence[bytes]) -> Sequence[bytes]:
        """The names that do not begin with a head that is known; nine in ten do, so that this must be quick."""
        if not self._is_plain:
            return keys
        young, low, high = self._young, self._low, self._high
        write, registry, checkpoint = self._write_prefix, self._registry_prefix, self._checkpoint_prefix
        of_write, of_registry, of_checkpoint = len(write), len(registry), len(checkpoint)
        return [
            key
            for key in keys
            if not (
                (key[of_write:-_AFTER_HEAD_OF_WRITE] in young and key[:of_write] == write)
                or (key[of_registry:-_AFTER_HEAD] in young and key[:of_registry] == registry)
                or (
                    key[of_checkpoint:-_AFTER_HEAD] in young
                    and key[:of_checkpoint] == checkpoint
                    and low <= key[-_AFTER_HEAD:] <= high
                )
            )
        ]

    def _look_at(self, key: bytes) -> None:
        named = self._layout.classify(key)
        if named is None:
            return
        kind, rest = named
        head, checkpoint_id = split(kind, rest) if kind in _WITH_IDS else (b"", b"")
        if kind is KeyKind.CHECKPOINT:
            self._look_at_checkpoint(key, head, checkpoint_id)
        elif checkpoint_id:
            self._look_at_id(kind, key, head, checkpoint_id)
        elif kind in _DOCUMENTS:
            if kind is not KeyKind.BLOB or not self._is_young(head_of_blob(rest)):
                self._question(_Question(kind, key, kind, key, b""))
        elif kind is not KeyKind.METADATA or not self.is_not_due(decode(rest)):
            self._pend(_HEAD_OF[kind](rest), key)

    def _look_at_checkpoint(self, key: bytes, head: bytes, checkpoint_id: bytes) -> None:
        """Whatever is not simply old is read: what is young, very old, ahead of the present, or has no id."""
        own = _Question(KeyKind.CHECKPOINT, key, KeyKind.CHECKPOINT, key, head)
        if not checkpoint_id or not self._low <= checkpoint_id <= self._high:
            self._question(own)
        elif not self._is_young(head):
            if checkpoint_id >= self._from:
                self._question_head(own)
            else:
                self._pend(head, key)

    def _look_at_id(self, kind: KeyKind, key: bytes, head: bytes, checkpoint_id: bytes) -> None:
        """A write or a registry leads to the checkpoint of its id, unless its head is known to be none so simple."""
        if self._is_young(head):
            return
        if self._from <= checkpoint_id <= self._high and head not in self.pending:
            document = self._layout.checkpoint(head, checkpoint_id)
            self._question_head(_Question(KeyKind.CHECKPOINT, document, kind, key, head))
        else:
            self._pend(head, key)

    def _is_young(self, head: bytes) -> bool:
        return head + b":" in self._young

    # Asking

    def _question(self, question: _Question) -> None:
        self._questions.append(question)

    def _question_head(self, question: _Question) -> None:
        """One question about a head at a time; until it is answered, its further keys wait."""
        if question.head in self._asking:
            self._later.append(question.key)
        else:
            self._asking.add(question.head)
            self._questions.append(question)

    def _ask(self) -> None:
        """Ask some questions, and take the answers to those that were asked before; Redis and we work side by side."""
        questions, self._questions = self._questions[:COMMANDS_AT_ONCE], self._questions[COMMANDS_AT_ONCE:]
        documents = [(each.kind, each.document) for each in questions]
        if not self._pace.is_full:
            with self._pace.step():
                answers = ask_for_documents(self._store, documents).answers()
            self._take_answers(questions, answers)
            return
        before, asked = self._under_way, self._asked
        self._under_way, self._asked = questions, ask_for_documents(self._store, documents) if questions else None
        if asked is not None:
            self._take_answers(before, self._answers_of(asked))

    def _answers_of(self, asked: Asked) -> list[Any]:
        try:
            return asked.answers()
        except BaseException:
            self.abandon()
            raise

    def _take_answers(self, questions: Sequence[_Question], answers: Sequence[Any]) -> None:
        for question, answer in zip(questions, answers, strict=True):
            self._asking.discard(question.head)
            if question.kind is not KeyKind.CHECKPOINT:
                self._answer_with_ids(question, json_value(answer))
            elif not (isinstance(answer, bytes) and self._is_answered_at_once(question, answer)):
                self._answer(question, json_value(answer))
        again, self._later = self._later, []
        for key in again:
            self._look_at(key)

    def _is_answered_at_once(self, question: _Question, answer: bytes) -> bool:
        """Take the usual answer, that of a young checkpoint at its own name, in a tenth of the time; any other not."""
        found = _USUAL.fullmatch(answer)
        if found is None:
            return False
        before, thread, namespace, checkpoint_id, behind = found.groups()
        head = b"%b:%b" % (thread, namespace)
        if (
            head != question.head
            or not question.document.endswith(head + b":" + checkpoint_id)
            or not self._low <= checkpoint_id <= self._high
            or (namespace != _EMPTY and head.endswith(_ROOT))
        ):
            return False
        time = time_of_text(decode(before or behind or b""))
        if time is None or not self._horizon.idle_of(decode(thread)) <= time <= self._latest:
            return False
        if self._horizon.age is not None and time < self._horizon.age:
            return False
        if not self._is_young(head):
            self._remember(head, thread)
        return True

    def _answer(self, question: _Question, value: Any) -> None:  # noqa: ANN401 - JSON
        """Take what a checkpoint says."""
        is_own = question.document == question.key
        facts = read_checkpoint(value, self._latest, fields=AGE_FIELDS) if isinstance(value, dict) else None
        if facts is None:
            if not is_own:
                self._pend(question.head, question.key)
            elif value is not None:
                self._is_foreign(question)
            return
        ids = facts.ids
        if facts.is_ahead:
            self.ahead.add(ids.thread_id)
        if self._horizon.age is not None and facts.time is not None and facts.time < self._horizon.age:
            self.aged.add(ids.thread_id)
        head = encode(f"{ids.thread_id}:{ids.namespace}")
        if self._is_young(head):
            return
        if self._is_proof(question.document, facts):
            self._remember(head, encode(ids.thread_id))
        else:
            self._pend(head if is_own else question.head, question.key)

    def _is_proof(self, name: bytes, facts: CheckpointFacts) -> bool:
        """Whether a checkpoint is where it says that it belongs, and young."""
        ids = facts.ids
        if facts.time is None or facts.time < self._horizon.idle_of(ids.thread_id):
            return False
        head = encode(f"{ids.thread_id}:{ids.namespace}")
        if head.endswith(_ROOT) and ids.namespace != EMPTY_NAMESPACE:
            # It looks like another thread's root.
            return False
        full = self._layout.checkpoint(head, encode(ids.checkpoint_id))
        return name in {full, self._layout.shallow_checkpoint(encode(ids.thread_id), encode(ids.namespace))}

    def _answer_with_ids(self, question: _Question, value: Any) -> None:  # noqa: ANN401 - JSON
        """Take what a write or a blob says whose name does not tell its head."""
        ids = read_blob_ids(value) if question.kind is KeyKind.BLOB else read_ids(value or None)
        if ids is None:
            if value is not None:
                self._is_foreign(question)
            return
        head = encode(f"{ids.thread_id}:{ids.namespace}")
        if not self._is_young(head):
            self._pend(head, question.key)

    def _is_foreign(self, question: _Question) -> None:
        named = self._layout.classify(question.key)
        if named is not None:
            self.foreign.see(question.key[: len(question.key) - len(named[1])], question.key)

    # Keeping

    def _remember(self, head: bytes, thread: bytes) -> None:
        """A head of a thread that is not due: nothing of it need be kept or read."""
        for name in self.pending.pop(head, ()):
            self._bytes -= len(name) + _PER_NAME
        if len(self._young) >= self._most_heads:
            # What is kept of its thread later on is a part of it.
            self.has_names = False
            return
        self._young.add(head + b":")
        if head == thread + _ROOT:
            self._roots += 1
        else:
            self._elsewhere.add(thread)

    def _pend(self, head: bytes, key: bytes) -> None:
        if self._is_young(head):
            return
        names = self.pending.get(head)
        if names is None:
            names = self.pending[head] = []
            self._bytes += _PER_HEAD
        elif not self.has_names and self._kind(key) in map(self._kind, names):
            return
        names.append(key)
        self._bytes += len(key) + _PER_NAME
        if self.has_names and self._bytes > self._room:
            self._make_room()

    def _make_room(self) -> None:
        self._drop_old_heads_of_young_threads()
        if self._bytes > self._room // 2:
            self.has_names = False
            for names in self.pending.values():
                names[:] = {self._kind(name): name for name in names}.values()

    def _kind(self, key: bytes) -> KeyKind | None:
        named = self._layout.classify(key)
        return None if named is None else named[0]

    def _drop_old_heads_of_young_threads(self) -> None:
        """One document of each head that may be a young thread's says whose it is."""
        young = {
            head: next((name for name in names if self._kind(name) in _DOCUMENTS), None)
            for head, names in self.pending.items()
            if any(self._is_known(each) for each in beginnings(head))
        }
        asked = [(head, name) for head, name in young.items() if name is not None]
        for (head, _), ids in zip(asked, self.ids_of([name for _, name in asked]), strict=True):
            if (
                ids is not None
                and head == encode(f"{ids.thread_id}:{ids.namespace}")
                and not (head.endswith(_ROOT) and ids.namespace != EMPTY_NAMESPACE)
                and self.is_not_due(ids.thread_id)
            ):
                if self._may_be_aged(self.pending[head]):
                    self.aged.add(ids.thread_id)
                self._remember(head, encode(ids.thread_id))

    def _may_be_aged(self, names: Sequence[bytes]) -> bool:
        """Whether something of a head may be so old that it makes its thread due; also what is left of checkpoints."""
        if self._horizon.age is None:
            return False
        for name in names:
            kind, rest = self._layout.classify(name) or (KeyKind.BLOB, b"")
            if kind in _WITH_IDS and split(kind, rest)[1] < self._low:
                return True
        return not self.has_names

    def _is_known(self, thread: bytes) -> bool:
        return thread in self._elsewhere or thread + _ROOT + b":" in self._young

    def ids_of(self, keys: Sequence[bytes]) -> list[DocumentIds | None]:
        """The ids of documents; None for one that is gone or no saver's.

        Raises:
            redis.exceptions.RedisError: Redis does not answer, or refuses.
        """
        kinds = [named[0] for key in keys if (named := self._layout.classify(key)) is not None]
        answers = read_documents(self._store, zip(kinds, keys, strict=True), self._pace)
        return [_ids(kind, json_value(answer)) for kind, answer in zip(kinds, answers, strict=True)]


def _ids(kind: KeyKind, value: Any) -> DocumentIds | None:  # noqa: ANN401 - JSON
    if kind is KeyKind.CHECKPOINT:
        facts = read_checkpoint(value, fields=AGE_FIELDS) if isinstance(value, dict) else None
        return None if facts is None else facts.ids
    return read_blob_ids(value) if kind is KeyKind.BLOB else read_ids(value or None)
