"""Carrying out retention: plan, freeze, set aside, look again, remove, record.

Here: the order of these steps and what an interruption between any two of them leaves. Not here: what is due (plan.py),
how a conversation goes (setting_aside.py; cluster_removal.py), the tables (record.py).

A plan is frozen in PostgreSQL before anything is touched. Then each batch of conversations is set aside, if they are
still as planned. After a pause everything is looked at again: what somebody went on with is put back, the rest is
removed, and the outcome of each is recorded. On a cluster, where nothing can be set aside, the first step removes.
Whoever comes after an interruption first finishes the frozen plan; Redis itself says how far each conversation got.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

from compliance_pipelines.audit_log.environment import environment_of
from compliance_pipelines.base.clock import utc_day
from compliance_pipelines.conversations import record
from compliance_pipelines.conversations.closing import close_purge
from compliance_pipelines.conversations.documents import microseconds, moment_of
from compliance_pipelines.conversations.environment import check_environment, redis_time
from compliance_pipelines.conversations.errors import ConversationError
from compliance_pipelines.conversations.execution import Execution
from compliance_pipelines.conversations.freezing import freeze_orphan, freeze_threads
from compliance_pipelines.conversations.health import require_rights
from compliance_pipelines.conversations.horizon import horizon_of
from compliance_pipelines.conversations.keys import KeyLayout
from compliance_pipelines.conversations.pacing import Pace
from compliance_pipelines.conversations.place import Place, place_of
from compliance_pipelines.conversations.plan import (
    Plan,
    Selection,
    make_plan,
    refuse_large,
)
from compliance_pipelines.conversations.policy_file import policy_from_settings
from compliance_pipelines.conversations.pseudonyms import Pseudonyms, pseudonyms_of
from compliance_pipelines.conversations.steps import PurgeStep, no_hook
from compliance_pipelines.conversations.survey import ANY_KEY_BYTES, KEY_BYTES, OwnerRule, Survey, take_survey
from compliance_pipelines.holds import active_holds
from compliance_pipelines.postgres.agreed_time import agreed_time
from compliance_pipelines.postgres.errors import passing_errors_as_transient
from compliance_pipelines.postgres.locks import process_lock
from compliance_pipelines.settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from datetime import date, datetime

    import sqlalchemy

    from compliance_pipelines.conversations.freezing import FrozenThread
    from compliance_pipelines.conversations.horizon import Horizon
    from compliance_pipelines.conversations.plan import Holds, PlannedThread
    from compliance_pipelines.conversations.record import OpenPurge, PurgedSet, WorkItem
    from compliance_pipelines.conversations.steps import StepHook
    from compliance_pipelines.conversations.store import CheckpointStore
    from compliance_pipelines.conversations.threads import ThreadFacts
    from compliance_pipelines.services import Services
    from compliance_pipelines.settings import Settings

ACTION: Final = "conversations.purge"
_RESOURCE_TYPE: Final = "conversation_set"
_BATCH: Final = 500
# As many threads as are frozen in one go; when their names were not kept, each go takes a survey of its own.
_FREEZE_BATCH: Final = 2_000
_FREEZE_KEYS: Final = 1_000_000
_DOING: Final = "the purge of conversations"


@dataclass(frozen=True)
class PurgeReport:
    """What came of a purge.

    Attributes:
        plan: what was planned.
        purged: the set that it became; None in a dry run, or where the policy says that retention is off.
        finished: sets of earlier plans that were finished first.
        moved_while_freezing: conversations that were written to between survey and freezing, and stay.
        unwatched: conversations that stay because their saver keeps no pointers, and the Redis has too many names to go
            through (CONVERSATION_PURGE_MAX_NAMES).
    """

    plan: Plan
    purged: PurgedSet | None
    finished: tuple[PurgedSet, ...] = ()
    moved_while_freezing: int = 0
    unwatched: int = 0


class _Freeze(NamedTuple):
    """A plan that was written down, and how many conversations are not in it: moved meanwhile, or unwatched."""

    purge: OpenPurge
    moved: int
    unwatched: int


@dataclass
class Retention:
    """Conversation retention over one Redis.

    Args:
        services: settings, database, signing key; the clock decides what is due.
        store: the Redis of the checkpoints.
        hook: called after each step of a purge.
        survey_key_bytes: memory for the names of keys.
        sleep: waits between setting aside and removing, in seconds.
        progress: told how many keys a survey has seen.

    Raises:
        ConfigurationError: a setting cannot be used.
        PolicyError: the policy cannot be used.
    """

    services: Services
    store: CheckpointStore
    hook: StepHook = no_hook
    survey_key_bytes: int = KEY_BYTES
    sleep: Callable[[float], None] = time.sleep
    progress: Callable[[int], None] = field(default=lambda _: None)

    def __post_init__(self) -> None:
        settings = self.services.settings
        self.layout: KeyLayout = layout_of(settings)
        self.owner_rule: OwnerRule = owner_rule_of(settings)
        self.policy = policy_from_settings(settings)
        self.pace = Pace(settings.conversation_pace)

    @cached_property
    def _names(self) -> Pseudonyms:
        """How records name people and conversations; whoever only looks needs no key for that."""
        return pseudonyms_of(self.services)

    def survey(self) -> Survey:
        """Look at every conversation.

        Raises:
            TransientError: Redis does not answer.
            ConversationError: Redis refuses.
        """
        return self._survey()

    def _survey(self, due_before: Horizon | None = None, threads: Collection[str] | None = None) -> Survey:
        return take_survey(
            self.store,
            self.layout,
            key_bytes=self.survey_key_bytes,
            due_before=due_before,
            threads=threads,
            # What is ahead of one clock and not of the other is nobody's mistake but that clock's.
            now=max(self.services.clock(), redis_time(self.store.client)),
            pace=self.pace,
            progress=self.progress,
        )

    def plan(
        self,
        selection: Selection = Selection(),  # noqa: B008 - frozen
        *,
        now: datetime | None = None,
        everything: bool = False,
    ) -> Plan:
        """What would go now; nothing is changed.

        Args:
            selection: what to limit the plan to.
            now: the moment that counts; None: the clock's.
            everything: read every document, not only those of what may be due; then all threads are in the survey.

        Raises:
            TransientError: Redis or PostgreSQL does not answer.
            ConversationError: Redis refuses.
        """
        moment = self.services.clock() if now is None else now
        survey = self._survey(None if everything else horizon_of(self.policy, selection, moment))
        with (
            passing_errors_as_transient("the plan of conversations", self.services.engine),
            self.services.engine.connect() as connection,
        ):
            holds = active_holds(connection)
        return self.judge(survey, holds, selection, now=moment)

    def judge(
        self,
        survey: Survey,
        holds: Holds,
        selection: Selection = Selection(),  # noqa: B008 - frozen
        *,
        now: datetime | None = None,
    ) -> Plan:
        """The plan for a survey that was taken before."""
        return make_plan(
            survey,
            policy=self.policy,
            owner_rule=self.owner_rule,
            holds=holds,
            now=self.services.clock() if now is None else now,
            selection=selection,
        )

    def purge(
        self,
        *,
        day: date | None = None,
        now: datetime | None = None,
        selection: Selection = Selection(),  # noqa: B008 - frozen
        confirmed: int | None = None,
    ) -> PurgeReport:
        """Remove what is due, after finishing what an earlier purge left unfinished.

        Args:
            day: the day that the set counts for; None: today.
            now: the moment that counts; None: the present. It must not be in the future.
            selection: what to limit the plan to.
            confirmed: how many conversations a person agreed to lose at most; None: the settings' limits hold.

        Raises:
            PlanTooLargeError: more is due than may go without consent. Nothing was removed.
            TransientError: Redis or PostgreSQL does not answer, or another purge is under way; run it again.
            RedisEnvironmentError: the Redis is not of the database's environment.
            ClocksDisagreeError: worker, database and Redis do not agree on the time.
            ConversationError: Redis refuses, or the moment is in the future.
        """
        if self.policy.dry_run or not self.policy.enabled:
            # Nothing goes, not even what an interrupted purge had begun with.
            return PurgeReport(self.plan(selection, now=_not_after(self.services.clock(), now)), None)
        with passing_errors_as_transient(_DOING, self.services.engine), _lock(self.services.engine) as connection:
            self.require_environment(connection)
            require_rights(self.store.client, self.layout)
            clock = agreed_time(
                connection,
                clock=self.services.clock,
                settings=self.services.settings,
                store="Redis",
                store_time=lambda: redis_time(self.store.client),
            )
            connection.commit()
            moment = _not_after(clock, now)
            place = self.place()
            finished = tuple(
                self._carry_out(purge) for purge in record.open_purges(connection) if purge.place in {None, place}
            )
            connection.commit()
            plan = self.plan(selection, now=moment)
            refuse_large(plan, self.services.settings, confirmed)
            frozen = self._freeze(plan, place, day or utc_day(clock), confirmed)
            self.hook(PurgeStep.FROZEN)
            return PurgeReport(plan, self._carry_out(frozen.purge), finished, frozen.moved, frozen.unwatched)

    def require_environment(self, connection: sqlalchemy.Connection) -> None:
        """Let only a Redis of the database's environment pass.

        Raises:
            RedisEnvironmentError: it is another environment's, or does not say.
            TransientError: Redis does not answer.
        """
        check_environment(self.store.client, environment_of(connection), setting="CHECKPOINT_REDIS_URL")

    def place(self) -> Place:
        """The Redis and the prefixes that this retention looks after.

        Raises:
            TransientError: Redis does not answer.
            ConversationError: Redis refuses, or does not say who it is.
        """
        return place_of(self.store.client, self.layout, setting="CHECKPOINT_REDIS_URL")

    def abandon(self, purge_id: int, reason: str, *, is_lost: bool = False) -> PurgedSet:
        """Give up a plan that was not carried out to the end: put back what it had set aside, and record that.

        Args:
            purge_id: the plan's number.
            reason: why, for the record.
            is_lost: the plan is about a Redis or prefixes that are not these; what it had set aside there stays so.

        Raises:
            ConversationError: there is no such plan, it is about another place, or Redis refuses.
            TransientError: Redis or PostgreSQL does not answer, or a purge is under way.
        """
        with passing_errors_as_transient(_DOING, self.services.engine), _lock(self.services.engine) as connection:
            found = [purge for purge in record.open_purges(connection) if purge.id == purge_id]
            connection.commit()
            if not found:
                raise ConversationError(
                    f"there is no unfinished plan {purge_id}: see `compliance conversations status`"
                )
            (purge,) = found
            if not is_lost and purge.place not in {None, self.place()}:
                raise ConversationError(
                    f"plan {purge_id} is about another Redis, or other prefixes ({purge.place}), where "
                    "conversations may be set aside: point CHECKPOINT_REDIS_URL and its prefixes there, or, if "
                    "that Redis is gone for good, say --redis-is-lost"
                )
            execution = self._execution(purge)
            execution.give_up(is_lost=is_lost)
            recorded = close_purge(self.services, purge, None, given_up=reason)
            self.hook(PurgeStep.RECORDED)
            if not is_lost:
                execution.forget_receipt()
            return recorded

    def resurrected(self, survey: Survey) -> list[str]:
        """Thread ids of conversations with activity from before retention removed them: they came back.

        A conversation that somebody began anew under an old id, after the removal, is none of them.
        """
        hashes = {self._names.thread(thread_id): thread_id for thread_id in survey.threads}
        with (
            passing_errors_as_transient("the search for what came back", self.services.engine),
            self.services.engine.connect() as connection,
        ):
            removed = record.deleted_among(connection, self.place(), list(hashes))
        return sorted(
            thread_id
            for thread_hash, moment in removed.items()
            if _is_from_before(survey.threads[thread_id := hashes[thread_hash]], microseconds(moment))
        )

    # Freezing

    def _freeze(self, plan: Plan, place: Place, day: date, confirmed: int | None) -> _Freeze:
        """Write the plan down."""
        user_hash = None
        if plan.selection.user_id is not None:
            (user_hash,) = self._names.users([plan.selection.user_id])
        too_many = plan.survey.keys_seen > self.services.settings.conversation_purge_max_names
        moved = unwatched = 0
        with self.services.engine.begin() as connection:
            purge_id = record.insert_purge(
                connection, plan, place=place, day=day, user_hash=user_hash, confirmed=confirmed
            )

            def items() -> Iterator[WorkItem]:
                nonlocal moved, unwatched
                number = 0
                for item in self._frozen_items(plan):
                    if item is None:
                        moved += 1
                    elif item.frozen.closed and too_many:
                        unwatched += 1
                    else:
                        yield replace(item, number=number)
                        number += 1

            record.insert_work(connection, purge_id, items())
            (purge,) = [open_ for open_ in record.open_purges(connection) if open_.id == purge_id]
        return _Freeze(purge, moved, unwatched)

    def _frozen_items(self, plan: Plan) -> Iterator[WorkItem | None]:
        """What goes, without its number; None for a conversation that was written to since the survey."""
        for planned in _batches(plan.due):
            threads = [each.thread for each in planned]
            for each, frozen in zip(planned, self._freeze_threads(plan.survey, threads), strict=True):
                yield None if frozen is None else self._item(each.thread, each.owners, frozen)
        for thread in plan.lost_blobs:
            (frozen,) = self._freeze_threads(plan.survey, [thread])
            if frozen is not None:
                yield self._item(thread, self.owner_rule.owners(thread), frozen)
        for head in plan.orphans:
            frozen_orphan = freeze_orphan(self.store, self.layout, head)
            if frozen_orphan is None:
                continue
            yield record.WorkItem(0, None, head.name, frozenset(), None, [], None, None, frozen_orphan)

    def _freeze_threads(self, survey: Survey, threads: Sequence[ThreadFacts]) -> list[FrozenThread | None]:
        """Freeze threads; where the survey kept no names of keys, another one fetches them."""
        if survey.has_keys:
            return freeze_threads(self.store, self.layout, threads, self.pace)
        wanted = {head.name for thread in threads for head in thread.heads}
        again = take_survey(self.store, self.layout, only=wanted, progress=self.progress).threads
        # What is not as it was judged was written to, or is gone.
        same = [
            again[thread.thread_id]
            for thread in threads
            if thread.thread_id in again and again[thread.thread_id].activity == thread.activity
        ]
        again_frozen = freeze_threads(self.store, self.layout, same, self.pace)
        frozen = dict(zip((thread.thread_id for thread in same), again_frozen, strict=True))
        return [frozen.get(thread.thread_id) for thread in threads]

    def _item(self, thread: ThreadFacts, owners: frozenset[str], frozen: FrozenThread) -> WorkItem:
        return record.WorkItem(
            0,
            thread.thread_id,
            None,
            owners,
            self._names.thread(thread.thread_id),
            self._names.users(owners),
            None if thread.oldest is None else moment_of(thread.oldest),
            None if thread.newest is None else moment_of(thread.newest),
            frozen,
        )

    # Carrying out

    def _carry_out(self, purge: OpenPurge) -> PurgedSet:
        """Do what a frozen plan says and what has no outcome yet; look again; record."""
        execution = self._execution(purge)
        survey = execution.carry_out()
        recorded = close_purge(self.services, purge, survey)
        self.hook(PurgeStep.RECORDED)
        execution.forget_receipt()
        return recorded

    def _execution(self, purge: OpenPurge) -> Execution:
        return Execution(
            self.services,
            self.store,
            self.layout,
            purge,
            require_environment=self.require_environment,
            look_again=self._look_again,
            look_at=self._look_at,
            hook=self.hook,
            sleep=self.sleep,
            pace=self.pace,
        )

    def _look_again(self, touched: set[str]) -> Survey:
        """What there is of these threads now, and what is left that may be due."""
        return self._survey(horizon_of(self.policy, Selection(), self.services.clock()), touched)

    def _look_at(self, thread_ids: set[str]) -> Survey:
        """What there is of these threads now, with the names of all keys."""
        return take_survey(
            self.store,
            self.layout,
            key_bytes=ANY_KEY_BYTES,
            threads=thread_ids,
            now=self.services.clock(),
            pace=self.pace,
            progress=self.progress,
        )


def _is_from_before(thread: ThreadFacts, moment: int) -> bool:
    """Whether a thread has activity from before a moment; one that bears no time at all counts as old."""
    return not thread.ahead if thread.oldest is None else thread.oldest < moment


def _not_after(clock: datetime, now: datetime | None) -> datetime:
    """The moment that counts.

    Raises:
        ConversationError: it is in the future.
    """
    moment = clock if now is None else now
    if moment > clock:
        raise ConversationError(
            f"conversations cannot be judged as of {moment:%Y-%m-%d %H:%M} UTC, which is in the future: they would "
            "go before their time"
        )
    return moment


def _batches(planned: Sequence[PlannedThread]) -> Iterator[list[PlannedThread]]:
    """The planned threads in batches bounded by threads and by keys."""
    batch: list[PlannedThread] = []
    keys = 0
    for each in planned:
        if batch and (len(batch) == _FREEZE_BATCH or keys + each.thread.key_count > _FREEZE_KEYS):
            yield batch
            batch, keys = [], 0
        batch.append(each)
        keys += each.thread.key_count
    if batch:
        yield batch


@contextmanager
def _lock(engine: sqlalchemy.Engine) -> Iterator[sqlalchemy.Connection]:
    """Hold the one lock of conversation purges, and a connection for the work under it.

    Raises:
        LockBusyError: another purge is under way.
    """
    with engine.connect() as connection, process_lock(connection, "conversations", doing=_DOING):
        yield connection


def layout_of(settings: Settings) -> KeyLayout:
    """The key layout of the settings.

    Raises:
        ConfigurationError: the prefixes cannot be told apart.
    """
    return KeyLayout(settings.checkpoint_redis_prefix, settings.checkpoint_redis_write_prefix)


def owner_rule_of(settings: Settings) -> OwnerRule:
    """The owner rule of the settings.

    Raises:
        ConfigurationError: the pattern is no regular expression with a group `user`.
    """
    try:
        return OwnerRule(settings.conversation_owner_pattern)
    except ValueError as error:
        raise ConfigurationError(f"CONVERSATION_OWNER_PATTERN cannot be used: {error}") from error
