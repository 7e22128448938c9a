"""What there is of sessions and memories: whose each key is, when it was used, and what it says now.

Here: from the readers of an erasure to facts that can be judged, place by place. Not here: what is due (plan.py).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from compliance_pipelines.erasure.namespaces import NamespaceRules, namespace_of
from compliance_pipelines.erasure.redis_scan import keys_with_prefix, without_foreign
from compliance_pipelines.erasure.session_documents import (
    HASH_FIELDS,
    SESSION,
    SessionFacts,
    SessionKind,
    read_sessions,
)
from compliance_pipelines.erasure.store_documents import FIELDS, PATH, StoreFacts, StoreKind, read_documents

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from compliance_pipelines.sessions.places import Place
    from compliance_pipelines.settings import Settings


class KeyKind(StrEnum):
    """What a key is, as records name it."""

    LOGIN_SESSION = "login_session"
    PLAYGROUND_SESSION = "playground_session"
    MEMORY = "memory"
    MEMORY_VECTOR = "memory_vector"

    @property
    def is_of_session(self) -> bool:
        """Whether the period of sessions counts for it."""
        return self in {KeyKind.LOGIN_SESSION, KeyKind.PLAYGROUND_SESSION}


@dataclass(frozen=True)
class Reading:
    """The command that reads of a key what tells whether somebody has used it since."""

    command: str
    arguments: tuple[str, ...] = ()


_OF_SESSIONS: Final = {SessionKind.HASH: Reading("HMGET", HASH_FIELDS), SessionKind.TEXT: Reading("GET")}
_OF_STORES: Final = {StoreKind.JSON: Reading("JSON.GET", (PATH,)), StoreKind.HASH: Reading("HMGET", FIELDS)}


@dataclass(frozen=True)
class SeenKey:
    """A key of a session or a memory.

    Attributes:
        place: the setting that names its Redis.
        key: its name.
        kind: what it is.
        reading: how what it says is read again.
        witness: SHA-1 of what it says, in hex; see :func:`digest`.
        owner: its user; None where nobody knows.
        session_id: of a session its id, which is the conversation's, too; of a memory what follows the prefix.
        oldest: when it was made; None where nothing says.
        newest: when it was last used or changed; None where nothing says.
    """

    place: str
    key: bytes
    kind: KeyKind
    reading: Reading
    witness: str
    owner: str | None
    session_id: str
    oldest: datetime | None
    newest: datetime | None


def digest(values: Sequence[bytes | None]) -> str:
    """SHA-1 of what a key says, as the script in removal.py computes it; against change, not against people."""
    parts = (b"-" if value is None else b"=%d:%b" % (len(value), value) for value in values)
    return hashlib.sha1(b"".join(parts), usedforsecurity=False).hexdigest()


@dataclass
class Counts:
    """How much a survey saw.

    Attributes:
        sessions: keys of sessions.
        memories: keys of memories and vectors.
        unreadable: keys under their prefixes that could not be read; they stay.
        foreign: keys that GDPR_FOREIGN_KEYS says are other software's.
    """

    sessions: int = 0
    memories: int = 0
    unreadable: int = 0
    foreign: int = 0

    @property
    def seen(self) -> int:
        """Keys of sessions and memories."""
        return self.sessions + self.memories


@dataclass
class Survey:
    """One pass over the places.

    Args:
        places: where to look.
        settings: say how keys are named, and whose a namespace is.
        sessions: whether sessions are wanted.
        memories: whether memories are.

    Attributes:
        counts: what was seen; right when :meth:`look` has ended.

    Raises:
        TargetError: GDPR_STORE_NAMESPACES is malformed.
    """

    places: Sequence[Place]
    settings: Settings
    sessions: bool
    memories: bool
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        self._rules = NamespaceRules.from_json(self.settings.gdpr_store_namespaces)

    def look(self) -> Iterator[SeenKey]:
        """Every key that is wanted and can be read; one that a scan gives twice comes twice.

        Raises:
            TransientError: a Redis did not answer.
            SessionError: a Redis refused.
        """
        for place in self.places:
            with place.errors("the survey of sessions and memories"):
                if self.sessions and place.has_sessions:
                    yield from self._sessions(place)
                if self.memories and place.has_memories:
                    for prefix, kind in (
                        (self.settings.gdpr_store_prefix, KeyKind.MEMORY),
                        (self.settings.gdpr_store_vector_prefix, KeyKind.MEMORY_VECTOR),
                    ):
                        yield from self._memories(place, prefix, kind)

    def _batches(self, place: Place, prefix: str) -> Iterator[list[bytes]]:
        """The keys of a prefix; a scan may give one twice."""
        for keys in keys_with_prefix(place.client, prefix):
            ours = without_foreign(keys, self.settings.gdpr_foreign_keys)
            self.counts.foreign += len(keys) - len(ours)
            yield ours

    def _sessions(self, place: Place) -> Iterator[SeenKey]:
        for keys in self._batches(place, SESSION):
            for session in read_sessions(place.client, keys):
                self.counts.sessions += 1
                if session.kind is None or session.unreadable is not None:
                    self.counts.unreadable += 1
                else:
                    yield _session(place, session, session.kind)

    def _memories(self, place: Place, prefix: str, kind: KeyKind) -> Iterator[SeenKey]:
        for keys in self._batches(place, f"{prefix}:"):
            for document in read_documents(place.client, keys):
                self.counts.memories += 1
                if document.kind is None or document.prefix is None:
                    self.counts.unreadable += 1
                else:
                    yield self._memory(place, document, document.kind, document.prefix, kind)

    def _memory(self, place: Place, document: StoreFacts, form: StoreKind, prefix: str, kind: KeyKind) -> SeenKey:
        return SeenKey(
            place.setting,
            document.key,
            kind,
            _OF_STORES[form],
            digest(document.raw),
            self._rules.owner(namespace_of(prefix), document.item_key),
            document.key.partition(b":")[2].decode("utf-8", "surrogateescape"),
            document.created,
            _newest(document.created, document.updated),
        )


def _session(place: Place, session: SessionFacts, form: SessionKind) -> SeenKey:
    # Of a session that contradicts itself nobody knows whose it is, and any hold on a person keeps it.
    owner = None if session.owner is None or session.contradicts_its_name else session.owner
    return SeenKey(
        place.setting,
        session.key,
        KeyKind.LOGIN_SESSION if form is SessionKind.HASH else KeyKind.PLAYGROUND_SESSION,
        _OF_SESSIONS[form],
        digest(session.raw),
        None if owner is None else owner.decode("utf-8", "surrogateescape"),
        session.session_id,
        session.created,
        _newest(session.created, session.used),
    )


def _newest(*moments: datetime | None) -> datetime | None:
    return max((moment for moment in moments if moment is not None), default=None)
