"""LangGraph conversations in Redis: the threads that belong to one person alone.

Here: which threads go, and which are reported. Not here: the key layout, whose a thread is, and how its keys go
(conversations/).

On one server a thread is set aside in one step and then removed; what is set aside still says whose it is, also where a
purge has done it, so that a deletion that is interrupted is found again. On a cluster a thread's keys lie on several
nodes, and go one by one.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

from compliance_pipelines.conversations.cluster_removal import ClusterRemover
from compliance_pipelines.conversations.environment import check_environment
from compliance_pipelines.conversations.freezing import freeze_threads
from compliance_pipelines.conversations.keys import KeyLayout, encode
from compliance_pipelines.conversations.outcomes import Outcome, Removal
from compliance_pipelines.conversations.pacing import Pace
from compliance_pipelines.conversations.setting_aside import Aside, Ending
from compliance_pipelines.conversations.store import CheckpointStore, open_store
from compliance_pipelines.conversations.survey import ANY_KEY_BYTES, OwnerRule, Survey, take_survey
from compliance_pipelines.conversations.threads import Ownership
from compliance_pipelines.erasure.errors import TargetError
from compliance_pipelines.erasure.redis_scan import location_of, without_foreign
from compliance_pipelines.erasure.sightings import Sightings
from compliance_pipelines.erasure.targets import Findings, Item

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from uuid import UUID

    from compliance_pipelines.conversations.freezing import FrozenThread
    from compliance_pipelines.conversations.threads import ThreadFacts
    from compliance_pipelines.settings import Settings

SHARED_THREAD: Final = "default"
"""The thread of everybody who names none; agent servers use it where a request has no thread id."""

_DATA_TYPE: Final = "conversations"
# A thread that somebody writes to all the time is left to the last look, and with it to the next attempt.
_ATTEMPTS: Final = 3
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class ThreadTarget:
    """The conversations of the checkpoint store.

    Args:
        settings: name the store, and say how threads are laid out and owned.

    Raises:
        TargetError: CONVERSATION_OWNER_PATTERN cannot be used.
        ConfigurationError: the key prefixes cannot be used.
    """

    name = "conversations"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        url = settings.checkpoint_redis_url
        self.location = "" if url is None else location_of(url.get_secret_value())
        self._layout = KeyLayout(
            settings.checkpoint_redis_prefix, settings.checkpoint_redis_write_prefix, with_aside=True
        )
        self._pace = Pace(settings.conversation_pace)
        self._remembered: dict[str, FrozenThread] = {}
        try:
            self._rule = OwnerRule(settings.conversation_owner_pattern)
        except (ValueError, re.error) as error:
            raise TargetError(f"CONVERSATION_OWNER_PATTERN cannot be used: {error}") from error

    @classmethod
    def from_settings(cls, settings: Settings) -> ThreadTarget | None:
        """The conversations of CHECKPOINT_REDIS_URL; None where it is not set."""
        return None if settings.checkpoint_redis_url is None else cls(settings)

    def require_environment(self, environment: UUID | None) -> None:
        """Let only a Redis of this environment pass.

        Raises:
            ConversationError: it is another environment's, or does not say.
            TransientError: Redis did not answer.
        """
        with open_store(self._settings) as store:
            check_environment(store.client, environment, setting="CHECKPOINT_REDIS_URL")

    def find(self, user_id: str) -> Findings:
        """As :meth:`find_any`, for a person of one id."""
        return self.find_any(frozenset({user_id}))

    def find_any(self, user_ids: frozenset[str]) -> Findings:
        """The person's threads; shared ones, those that nobody owns, and `default` are reported.

        A thread that several ids of the person own, and nobody else, is theirs alone.

        Raises:
            TransientError: Redis did not answer.
            ConversationError: Redis refused.
        """
        return self._look(user_ids).findings()

    def _look(self, user_ids: frozenset[str]) -> Sightings:
        """One survey; what it finds of the person is remembered for the deletion, which then need not look again."""
        with open_store(self._settings) as store:
            survey = take_survey(store, self._layout, pace=self._pace)
            theirs = [thread for thread in survey.threads.values() if self._is_alone(thread, user_ids)]
            self._remembered = self._freeze(store, theirs) if survey.has_keys else {}
        seen = Sightings()
        for thread in theirs:
            seen.items[encode(thread.thread_id)] = Item(
                _DATA_TYPE,
                thread.thread_id,
                thread_id=thread.thread_id,
                first_day=_day(thread.oldest),
                last_day=_day(thread.newest),
            )
        for thread in survey.threads.values():
            key, owners = encode(thread.thread_id), self._rule.owners(thread)
            if key not in seen.items and not user_ids.isdisjoint(owners):
                seen.report(_DATA_TYPE, key, _why_shared(thread), is_theirs=True, reference=thread.thread_id)
            elif self._rule.ownership(thread) is Ownership.UNOWNED:
                why = "nobody knows whose conversation it is"
                seen.report(_DATA_TYPE, key, why, is_theirs=False, reference=thread.thread_id)
        self._report_foreign(survey, user_ids, seen)
        return seen

    def _report_foreign(self, survey: Survey, user_ids: frozenset[str], seen: Sightings) -> None:
        """Report keys under the savers' names that are no saver's documents: nobody can tell whose they are."""
        named = [b":%b:" % encode(each) for each in {*user_ids, *(item.reference for item in seen.items.values())}]
        for key in without_foreign(survey.foreign.names, self._settings.gdpr_foreign_keys):
            # The savers of other packages put a thread's id in braces.
            name = b":" + key.replace(b"{", b"").replace(b"}", b"") + b":"
            if any(each in name for each in named):
                why = "it is named like a saver's key, with an id of the person, and it cannot be read"
                seen.report(_DATA_TYPE, key, why, is_theirs=True)
            else:
                why = "it is named like a saver's key, and it is none that is known: nobody can tell whose it is"
                seen.report(_DATA_TYPE, key, why, is_theirs=False, unread=True)
        if (more := survey.foreign.total - len(survey.foreign.names)) > 0:
            why = f"{more} more keys with names like those of savers' could not be told"
            seen.report(_DATA_TYPE, b"", why, is_theirs=False, unread=True, reference=f"{more} keys")

    def _freeze(self, store: CheckpointStore, threads: Sequence[ThreadFacts]) -> dict[str, FrozenThread]:
        frozen = freeze_threads(store, self._layout, threads, self._pace)
        return {
            # What joins meanwhile is found by the last look.
            thread.thread_id: replace(each, closed=(), closed_thread=None)
            for thread, each in zip(threads, frozen, strict=True)
            if each is not None
        }

    def _is_alone(self, thread: ThreadFacts, user_ids: frozenset[str]) -> bool:
        owners = self._rule.owners(thread)
        owned = bool(owners) and owners <= user_ids and not thread.entangled
        return owned and thread.thread_id != SHARED_THREAD

    def delete(self, user_id: str, items: Sequence[Item]) -> Mapping[str, int]:
        """As :meth:`delete_any`, for a person of one id."""
        return self.delete_any(frozenset({user_id}), items)

    def delete_any(self, user_ids: frozenset[str], items: Sequence[Item]) -> Mapping[str, int]:
        """Delete the threads that are still the person's alone; one that somebody joined meanwhile is left.

        Raises:
            TransientError: Redis did not answer.
            ConversationError: Redis refused.
        """
        deleted = 0
        waiting = {item.reference for item in items}
        with open_store(self._settings) as store:
            known = {name: frozen for name, frozen in self._remembered.items() if name in waiting}
            for _ in range(_ATTEMPTS):
                if unknown := waiting - known.keys():
                    survey = take_survey(store, self._layout, key_bytes=ANY_KEY_BYTES, threads=unknown, pace=self._pace)
                    known |= self._freeze(
                        store, [thread for thread in survey.threads.values() if self._is_alone(thread, user_ids)]
                    )
                batch = [(name, frozen) for name, frozen in known.items() if name in waiting]
                removals = self._remove(store, [frozen for _, frozen in batch])
                for (name, _), removal in zip(batch, removals, strict=True):
                    # One that moved is looked at again: whose it is now, and what has joined.
                    if removal.outcome is not Outcome.MOVED:
                        waiting.discard(name)
                    deleted += removal.outcome is Outcome.DELETED
                known = {}
                if not waiting:
                    break
        self._remembered = {}
        return {_DATA_TYPE: deleted}

    def _remove(self, store: CheckpointStore, batch: Sequence[FrozenThread]) -> list[Removal]:
        """Remove what is still as it was looked at; each conversation in one step, where the server allows it."""
        if store.is_cluster:
            return ClusterRemover(store, self._layout).remove(batch)
        aside = Aside(store, self._layout, pace=self._pace)
        taken = aside.take(list(enumerate(batch)))
        going = [(at, batch[at], Ending.REMOVE_WHATEVER_CAME) for at, removal in enumerate(taken) if removal is None]
        ended = dict(zip((at for at, _, _ in going), aside.end(going), strict=True))
        return [removal or ended[at] or Removal(Outcome.MOVED) for at, removal in enumerate(taken)]

    def user_ids(self) -> Iterator[str]:
        """Whose conversations there are, shared ones too.

        Raises:
            TransientError: Redis did not answer.
            ConversationError: Redis refused.
        """
        with open_store(self._settings) as store:
            survey = take_survey(store, self._layout, only=(), pace=self._pace)
        for thread in survey.threads.values():
            yield from self._rule.owners(thread)

    def rescan(self, user_id: str) -> Findings:
        """As :meth:`rescan_any`, for a person of one id."""
        return self.rescan_any(frozenset({user_id}))

    def rescan_any(self, user_ids: frozenset[str]) -> Findings:
        """The same as :meth:`find_any`, and no answer where something could not be read.

        Raises:
            TransientError: Redis did not answer.
            ConversationError: Redis refused.
            TargetError: something that may be the person's could not be read.
        """
        seen = self._look(user_ids)
        if not seen.items:
            seen.require_all_read()
        return seen.findings()


def _why_shared(thread: ThreadFacts) -> str:
    if thread.thread_id == SHARED_THREAD:
        return "it is the thread of everybody who names none"
    if thread.entangled:
        return "another conversation's keys have the same names, so that nobody can tell them apart"
    return "several people share it"


def _day(microseconds: int | None) -> date | None:
    return None if microseconds is None else (_EPOCH + timedelta(microseconds=microseconds)).date()
