"""LangGraph conversations in Redis: the threads that belong to one person alone.

Here: which threads go, which are reported, and the order in which a thread's keys go. Not here: the key layout and
whose a thread is (conversations/).

A thread's checkpoints say whose it is. So they and its note go last, in one command where the server allows it: a
deletion that is interrupted leaves a thread that still says whose it is, and the next attempt finds it. On a cluster a
thread's keys lie on several nodes, and each checkpoint goes by a command of its own.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

from compliance_pipelines.conversations.environment import check_environment
from compliance_pipelines.conversations.errors import redis_errors
from compliance_pipelines.conversations.keys import KeyKind, KeyLayout
from compliance_pipelines.conversations.store import CheckpointStore, open_store
from compliance_pipelines.conversations.survey import OwnerRule, Survey, take_survey
from compliance_pipelines.conversations.threads import Ownership
from compliance_pipelines.erasure.errors import TargetError
from compliance_pipelines.erasure.redis_scan import location_of, unlink
from compliance_pipelines.erasure.targets import Findings, Item, Reported

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from uuid import UUID

    from compliance_pipelines.conversations.threads import ThreadFacts
    from compliance_pipelines.settings import Settings

SHARED_THREAD: Final = "default"
"""The thread of everybody who names none; agent servers use it where a request has no thread id."""

_DATA_TYPE: Final = "conversations"
_SAY_WHOSE: Final = frozenset({KeyKind.CHECKPOINT, KeyKind.SHALLOW_CHECKPOINT, KeyKind.METADATA})
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
        self._layout = KeyLayout(settings.checkpoint_redis_prefix, settings.checkpoint_redis_write_prefix)
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
        with open_store(self._settings) as store:
            survey = take_survey(store, self._layout, only=())
        items = []
        reported = []
        for thread in survey.threads.values():
            owners, ownership = self._rule.owners(thread), self._rule.ownership(thread)
            if self._is_alone(thread, user_ids):
                items.append(
                    Item(
                        _DATA_TYPE,
                        thread.thread_id,
                        thread_id=thread.thread_id,
                        first_day=_day(thread.oldest),
                        last_day=_day(thread.newest),
                    )
                )
            elif not user_ids.isdisjoint(owners):
                reported.append(Reported(_DATA_TYPE, thread.thread_id, _why_shared(thread)))
            elif ownership is Ownership.UNOWNED:
                why = "nobody knows whose conversation it is"
                reported.append(Reported(_DATA_TYPE, thread.thread_id, why, is_theirs=False))
        return Findings(tuple(items), tuple(reported))

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
        with open_store(self._settings) as store:
            survey = self._with_keys(store, {item.reference for item in items})
            with redis_errors("the erasure of conversations"):
                for item in items:
                    thread = survey.threads.get(item.reference)
                    if thread is not None and self._is_alone(thread, user_ids):
                        deleted += self._delete_thread(store, thread)
        return {_DATA_TYPE: deleted}

    def _with_keys(self, store: CheckpointStore, thread_ids: Collection[str]) -> Survey:
        """A survey that keeps the names of these threads' keys, however many keys there are."""
        seen = take_survey(store, self._layout, only=())
        heads = {head.name for name in thread_ids if (thread := seen.threads.get(name)) for head in thread.heads}
        return take_survey(store, self._layout, only=heads)

    def _delete_thread(self, store: CheckpointStore, thread: ThreadFacts) -> bool:
        first: list[bytes] = []
        last: list[bytes] = []
        for key, kind in thread.keys(self._layout).items():
            (last if kind in _SAY_WHOSE else first).append(key)
        removed = unlink(store.client, first)
        if store.is_cluster:
            removed += unlink(store.client, last)
        elif last:
            removed += int(store.client.unlink(*last))
        return removed > 0

    def user_ids(self) -> Iterator[str]:
        """Whose conversations there are, shared ones too.

        Raises:
            TransientError: Redis did not answer.
            ConversationError: Redis refused.
        """
        with open_store(self._settings) as store:
            survey = take_survey(store, self._layout, only=())
        for thread in survey.threads.values():
            yield from self._rule.owners(thread)

    def rescan(self, user_id: str) -> Findings:
        """The same as :meth:`find`: nothing is remembered."""
        return self.find(user_id)

    def rescan_any(self, user_ids: frozenset[str]) -> Findings:
        """The same as :meth:`find_any`: nothing is remembered."""
        return self.find_any(user_ids)


def _why_shared(thread: ThreadFacts) -> str:
    if thread.thread_id == SHARED_THREAD:
        return "it is the thread of everybody who names none"
    if thread.entangled:
        return "another conversation's keys have the same names, so that nobody can tell them apart"
    return "several people share it"


def _day(microseconds: int | None) -> date | None:
    return None if microseconds is None else (_EPOCH + timedelta(microseconds=microseconds)).date()
