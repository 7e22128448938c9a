"""The survey: one pass over a Redis that says which conversations there are, or which may be due.

Here: which keys are looked at, in which order. Not here: whose a key is (gathering.py), what need not be read
(sifting.py), what is due (policy.py), deleting.

Keys are enumerated with SCAN, never through a search index: an index ignores case, splits at commas, stops at 10,000
results, and may be missing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from compliance_pipelines.base.clock import system_clock
from compliance_pipelines.conversations.documents import microseconds
from compliance_pipelines.conversations.elsewhere import Elsewhere
from compliance_pipelines.conversations.enumeration import names
from compliance_pipelines.conversations.errors import redis_errors
from compliance_pipelines.conversations.gathering import Foreign, Gathering
from compliance_pipelines.conversations.keys import encode
from compliance_pipelines.conversations.names import beginnings
from compliance_pipelines.conversations.pacing import Pace
from compliance_pipelines.conversations.sifting import HEADS, Sieve
from compliance_pipelines.conversations.threads import Head, Ownership, ThreadFacts

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from datetime import datetime

    from compliance_pipelines.conversations.horizon import Horizon
    from compliance_pipelines.conversations.keys import KeyLayout
    from compliance_pipelines.conversations.store import CheckpointStore

KEY_BYTES: Final = 96 * 2**20
ANY_KEY_BYTES: Final = 2**62
# Clocks of several machines differ; what is further ahead than this is nobody's present.
_AHEAD: Final = timedelta(days=1)
_KEYS_AT_ONCE: Final = 1_000


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
        threads: the conversations, by thread id in stored form; after a survey with a horizon only those that may be
            due, and those that were asked for.
        not_due: how many more conversations there are, each of which a document of its own shows to be not due.
        orphans: namespaces of which only pointers and registries are left that point to nothing.
        ahead: ids of conversations of which a document bears a time ahead of the present.
        foreign: keys under the savers' names that are no saver's documents; nobody touches them. After a survey
            with a horizon only those that had to be read.
        keys_seen: all keys of the database, other people's included.
        has_keys: whether the names of all keys were kept; False when they took more memory than allowed.
    """

    layout: KeyLayout
    threads: dict[str, ThreadFacts] = field(default_factory=dict)
    not_due: int = 0
    orphans: list[Head] = field(default_factory=list)
    ahead: set[str] = field(default_factory=set)
    foreign: Foreign = field(default_factory=Foreign)
    keys_seen: int = 0
    has_keys: bool = True

    @property
    def threads_seen(self) -> int:
        """How many conversations there are."""
        return len(self.threads) + self.not_due

    @property
    def unreadable(self) -> int:
        """How many keys under the savers' names are no saver's documents."""
        return sum(self.foreign.counts.values())

    @property
    def orphan_keys(self) -> int:
        """How many keys are orphans, blobs without any checkpoint included."""
        blobs = sum(thread.key_count for thread in self.threads.values() if thread.is_only_blobs)
        return blobs + sum(1 for head in self.orphans for _ in head.keys(self.layout))


def take_survey(  # noqa: PLR0913 - each by its name
    store: CheckpointStore,
    layout: KeyLayout,
    *,
    key_bytes: int = KEY_BYTES,
    only: Collection[bytes] | None = None,
    due_before: Horizon | None = None,
    threads: Collection[str] | None = None,
    now: datetime | None = None,
    pace: Pace | None = None,
    progress: Callable[[int], None] = lambda _: None,
    remembered_heads: int = HEADS,
) -> Survey:
    """Look at a Redis.

    Without a horizon and without threads every document is read. Otherwise all names are seen; with a horizon the
    documents of what may be due are read, with threads those of these, and with both those of both.

    Args:
        store: the Redis.
        layout: under which prefixes the savers write.
        key_bytes: memory for the names of keys; when they take more, none are kept, and a later pass has to fetch
            those that are wanted.
        only: names of the heads whose keys are to be kept, whatever memory they take; None for all.
        due_before: what is not due and need not be read; None: everything is read.
        threads: ids of conversations to read, in stored form; None: no particular ones.
        now: the present, aware; None: what the clock says.
        pace: how Redis is shared with others; None: without pauses.
        progress: told how many keys were seen.
        remembered_heads: how many namespaces to remember as not due; beyond it the survey takes longer.

    Raises:
        TransientError: Redis does not answer.
        ConversationError: Redis refuses.
    """
    latest = microseconds((system_clock() if now is None else now) + _AHEAD)
    taking = _Taking(store, layout, key_bytes, only, latest, pace or Pace(), progress)
    with redis_errors("the survey of conversations"):
        if due_before is not None:
            return taking.of_what_may_be_due(due_before, threads or (), remembered_heads)
        return taking.of_everything() if threads is None else taking.of_threads(threads)


@dataclass
class _Taking:
    """One survey under way."""

    store: CheckpointStore
    layout: KeyLayout
    key_bytes: int
    only: Collection[bytes] | None
    latest: int
    pace: Pace
    progress: Callable[[int], None]
    keys_seen: int = 0

    def __post_init__(self) -> None:
        self._elsewhere = Elsewhere(self.layout)

    def of_everything(self) -> Survey:
        gathering = self._gathering()
        for keys in self._names():
            gathering.take(keys)
        return self._survey(gathering)

    def of_threads(self, threads: Collection[str]) -> Survey:
        gathering = self._gathering()
        for keys in self._under({encode(thread_id) for thread_id in threads}):
            gathering.take(keys)
        survey = self._survey(gathering)
        _keep_whole(survey, threads)
        return survey

    def of_what_may_be_due(self, horizon: Horizon, threads: Collection[str], remembered_heads: int) -> Survey:
        sieve = Sieve(
            self.store,
            self.layout,
            horizon=horizon,
            latest=self.latest,
            key_bytes=self.key_bytes,
            pace=self.pace,
            heads=remembered_heads,
        )
        try:
            for keys in self._names():
                sieve.take(keys)
            sieve.finish()
        except BaseException:
            sieve.abandon()
            raise
        gathering = self._gathering()
        for piece in _pieces(sieve.pending):
            gathering.take(piece)
        # Whatever of a thread was passed over belongs to a head of which a document says that it is not due.
        asked_for = {*sieve.aged, *threads}
        passed_over = {each for each in asked_for if sieve.is_not_due(each)}
        candidates = {each for each in gathering.threads if not sieve.is_not_due(each)}
        unsure = sieve.unsure(candidates)
        keys_seen, foreign = self.keys_seen, gathering.foreign
        if passed_over or unsure or not sieve.has_names:
            wanted = candidates | asked_for
            lonely = {head.name for head in gathering.lonely()}
            gathering = self._gathering()
            for keys in self._under({encode(thread_id) for thread_id in wanted} | lonely):
                gathering.take(keys)
            candidates = wanted
        survey = self._survey(gathering)
        survey.keys_seen = keys_seen
        survey.foreign = foreign.with_those_of(sieve.foreign)
        survey.not_due = sieve.not_due - len(passed_over)
        _keep_whole(survey, candidates)
        survey.ahead |= sieve.ahead
        return survey

    def _names(self) -> Iterator[list[bytes]]:
        self.keys_seen = 0
        self._elsewhere = Elsewhere(self.layout)
        for keys in names(self.store, self.pace):
            self.keys_seen += len(keys)
            self._elsewhere.see(keys)
            yield keys
            self.progress(self.keys_seen)

    def _under(self, wanted: set[bytes]) -> Iterator[list[bytes]]:
        """The keys whose names begin with one of some threads or heads, or are theirs without any namespace."""
        for keys in self._names():
            found = []
            for key in keys:
                named = self.layout.classify(key)
                if named is not None and any(each in wanted for each in beginnings(named[1])):
                    found.append(key)
            if found:
                yield found

    def _gathering(self) -> Gathering:
        return Gathering(
            self.store,
            self.layout,
            latest=self.latest,
            key_bytes=self.key_bytes,
            only=self.only,
            pace=self.pace,
        )

    def _survey(self, gathering: Gathering) -> Survey:
        orphans = gathering.finish()
        self._elsewhere.mark(gathering.threads.values())
        return Survey(
            self.layout,
            gathering.threads,
            orphans=orphans,
            ahead={thread.thread_id for thread in gathering.threads.values() if thread.ahead},
            foreign=gathering.foreign,
            keys_seen=self.keys_seen,
            has_keys=gathering.has_keys,
        )


def _keep_whole(survey: Survey, wanted: Collection[str]) -> None:
    """Drop the threads of which only a part was read: those that begin like a wanted one, or share its names."""
    ids = set(wanted)
    survey.threads = {thread_id: thread for thread_id, thread in survey.threads.items() if thread_id in ids}
    # A part tells nothing: a note ahead of the present counts where nothing else bears a time.
    survey.ahead &= ids


def _pieces(pending: dict[bytes, list[bytes]]) -> Iterator[Sequence[bytes]]:
    """All names, some at a time."""
    piece: list[bytes] = []
    for keys in pending.values():
        piece += keys
        if len(piece) >= _KEYS_AT_ONCE:
            yield piece
            piece = []
    if piece:
        yield piece
