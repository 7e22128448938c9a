"""Carrying out retention: plan, freeze, remove, look again, record.

Here: the order of these steps and what an interruption between any two of them leaves. Not here: what is due (plan.py),
how a conversation is removed (removal.py), the tables (record.py).

A plan is frozen in PostgreSQL before anything is removed. Before each batch the attempt is noted; after it the outcome
of each conversation is recorded. Whoever comes after an interruption first finishes the frozen plan: of what was
attempted without an outcome, Redis itself says whether it was removed (removal.py), so that the counts stay true.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Protocol

from compliance_pipelines.agreed_time import agreed_time
from compliance_pipelines.audit_log.environment import environment_of
from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.audit_log.system_entries import system_entry
from compliance_pipelines.clock import utc_day
from compliance_pipelines.conversations import record
from compliance_pipelines.conversations.documents import microseconds, moment_of
from compliance_pipelines.conversations.environment import check_environment, redis_time
from compliance_pipelines.conversations.errors import ConversationError
from compliance_pipelines.conversations.freezing import freeze_orphan, freeze_threads
from compliance_pipelines.conversations.horizon import horizon_of
from compliance_pipelines.conversations.keys import KeyLayout
from compliance_pipelines.conversations.pacing import Pace
from compliance_pipelines.conversations.plan import (
    Plan,
    Selection,
    find_hold,
    hold_on_name,
    make_plan,
    refuse_large,
)
from compliance_pipelines.conversations.policy_file import policy_from_settings
from compliance_pipelines.conversations.pseudonyms import Pseudonyms, pseudonyms_of
from compliance_pipelines.conversations.removal import Outcome, Removal, Remover
from compliance_pipelines.conversations.survey import KEY_BYTES, OwnerRule, Survey, take_survey
from compliance_pipelines.database_errors import passing_errors_as_transient
from compliance_pipelines.database_locks import process_lock
from compliance_pipelines.holds import active_holds, lock_holds
from compliance_pipelines.settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import date, datetime

    import sqlalchemy

    from compliance_pipelines.audit_log.entry import UndatedEntry
    from compliance_pipelines.conversations.freezing import FrozenThread
    from compliance_pipelines.conversations.horizon import Horizon
    from compliance_pipelines.conversations.plan import Holds, PlannedThread
    from compliance_pipelines.conversations.record import OpenPurge, PurgedSet, WorkItem
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


class PurgeStep(StrEnum):
    """What has just been done when the step hook is called, in order."""

    FROZEN = "frozen"
    ATTEMPT_NOTED = "attempt_noted"
    REMOVED = "removed"
    OUTCOMES_RECORDED = "outcomes_recorded"
    VERIFIED = "verified"
    RECORDED = "recorded"


class StepHook(Protocol):
    """Called after each step."""

    def __call__(self, step: PurgeStep, /) -> None:
        """`step` is done."""


def no_hook(step: PurgeStep, /) -> None:
    """Let every step pass."""


@dataclass(frozen=True)
class PurgeReport:
    """What came of a purge.

    Attributes:
        plan: what was planned.
        purged: the set that it became; None in a dry run, or where the policy says that retention is off.
        finished: sets of earlier plans that were finished first.
        moved_while_freezing: conversations that were written to between survey and freezing, and stay.
    """

    plan: Plan
    purged: PurgedSet | None
    finished: tuple[PurgedSet, ...] = ()
    moved_while_freezing: int = 0


@dataclass
class Retention:
    """Conversation retention over one Redis.

    Args:
        services: settings, database, signing key; the clock decides what is due.
        store: the Redis of the checkpoints.
        hook: called after each step of a purge.
        survey_key_bytes: memory for the names of keys.
        progress: told how many keys a survey has seen.

    Raises:
        ConfigurationError: a setting cannot be used.
        PolicyError: the policy cannot be used.
    """

    services: Services
    store: CheckpointStore
    hook: StepHook = no_hook
    survey_key_bytes: int = KEY_BYTES
    progress: Callable[[int], None] = field(default=lambda _: None)

    def __post_init__(self) -> None:
        settings = self.services.settings
        self.layout: KeyLayout = layout_of(settings)
        self.owner_rule: OwnerRule = owner_rule_of(settings)
        self.policy = policy_from_settings(settings)
        self.pace = Pace(settings.conversation_pace)
        self._names: Pseudonyms = pseudonyms_of(self.services)

    def survey(self) -> Survey:
        """Look at every conversation.

        Raises:
            TransientError: Redis does not answer.
            ConversationError: Redis refuses.
        """
        return self._survey()

    def _survey(self, due_before: Horizon | None = None) -> Survey:
        return take_survey(
            self.store,
            self.layout,
            key_bytes=self.survey_key_bytes,
            due_before=due_before,
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
            clock = agreed_time(
                self.services, connection, store="Redis", store_time=lambda: redis_time(self.store.client)
            )
            connection.commit()
            moment = _not_after(clock, now)
            finished = tuple(self._carry_out(purge) for purge in record.open_purges(connection))
            connection.commit()
            plan = self.plan(selection, now=moment)
            refuse_large(plan, self.services.settings, confirmed)
            purge, moved = self._freeze(plan, day or utc_day(clock), confirmed)
            self.hook(PurgeStep.FROZEN)
            return PurgeReport(plan, self._carry_out(purge), finished, moved)

    def require_environment(self, connection: sqlalchemy.Connection) -> None:
        """Let only a Redis of the database's environment pass.

        Raises:
            RedisEnvironmentError: it is another environment's, or does not say.
            TransientError: Redis does not answer.
        """
        check_environment(self.store.client, environment_of(connection), setting="CHECKPOINT_REDIS_URL")

    def resurrected(self, survey: Survey) -> list[str]:
        """Thread ids of conversations with activity from before retention removed them: they came back.

        A conversation that somebody began anew under an old id, after the removal, is none of them.
        """
        hashes = {self._names.thread(thread_id): thread_id for thread_id in survey.threads}
        with (
            passing_errors_as_transient("the search for what came back", self.services.engine),
            self.services.engine.connect() as connection,
        ):
            removed = record.deleted_among(connection, list(hashes))
        return sorted(
            hashes[thread_hash]
            for thread_hash, moment in removed.items()
            if (oldest := survey.threads[hashes[thread_hash]].oldest) is None or oldest < microseconds(moment)
        )

    # Freezing

    def _freeze(self, plan: Plan, day: date, confirmed: int | None) -> tuple[OpenPurge, int]:
        """Write the plan down; returns how many conversations moved meanwhile, too."""
        user_hash = None
        if plan.selection.user_id is not None:
            (user_hash,) = self._names.users([plan.selection.user_id])
        moved = 0
        with self.services.engine.begin() as connection:
            purge_id = record.insert_purge(connection, plan, day=day, user_hash=user_hash, confirmed=confirmed)

            def items() -> Iterator[WorkItem]:
                nonlocal moved
                number = 0
                for item in self._frozen_items(plan):
                    if item is None:
                        moved += 1
                        continue
                    yield replace(item, number=number)
                    number += 1

            record.insert_work(connection, purge_id, items())
            (purge,) = [open_ for open_ in record.open_purges(connection) if open_.id == purge_id]
        return purge, moved

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
            yield record.WorkItem(0, None, head.name, frozenset(), None, [], None, None, frozen_orphan)

    def _freeze_threads(self, survey: Survey, threads: Sequence[ThreadFacts]) -> list[FrozenThread | None]:
        """Freeze threads; where the survey kept no names of keys, another one fetches them."""
        if survey.has_keys:
            return freeze_threads(self.store, self.layout, threads)
        wanted = {head.name for thread in threads for head in thread.heads}
        again = take_survey(self.store, self.layout, only=wanted, progress=self.progress).threads
        # What is not as it was judged was written to, or is gone.
        same = [
            again[thread.thread_id]
            for thread in threads
            if thread.thread_id in again and again[thread.thread_id].activity == thread.activity
        ]
        frozen = dict(
            zip((thread.thread_id for thread in same), freeze_threads(self.store, self.layout, same), strict=True)
        )
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
        """Remove what a frozen plan names and has no outcome yet; look again; record."""
        engine = self.services.engine
        remover = Remover(self.store, self.layout, f"compliance_pipelines:purge:{purge.id}".encode())
        with engine.connect() as connection:
            attempted = record.last_attempt(connection, purge.id)
            # What an earlier process removed of this plan; what this one removes is added.
            removed = record.deleted_threads(connection, purge.id) if attempted >= 0 else set()
        after = -1
        while True:
            with engine.connect() as connection:
                items = record.next_work(connection, purge.id, after, _BATCH)
            if not items:
                break
            after = items[-1].number
            removed |= self._remove_batch(purge, remover, items, attempted)
        recorded = self._verify_and_record(purge, removed)
        remover.forget_receipt()
        return recorded

    def _remove_batch(self, purge: OpenPurge, remover: Remover, items: Sequence[WorkItem], attempted: int) -> set[str]:
        """Remove some items, record what became of them, and return the thread ids of those that are gone."""
        engine = self.services.engine
        with engine.connect() as connection:
            self.require_environment(connection)
        begun = [(item.number, item.frozen) for item in items if item.number <= attempted]
        recovered = remover.recover(begun) if begun else {}
        with engine.begin() as connection:
            record.note_attempt(connection, purge.id, items[-1].number)
        self.hook(PurgeStep.ATTEMPT_NOTED)
        with engine.begin() as connection:
            # Until this transaction ends no new hold can come into force that covers one of these.
            holds = lock_holds(connection)
            outcomes: list[tuple[WorkItem, Removal]] = [
                (item, recovered[item.number]) for item in items if item.number in recovered
            ]
            going: list[WorkItem] = []
            for item in items:
                if item.number in recovered:
                    continue
                if _is_held(item, holds):
                    outcomes.append((item, Removal(Outcome.HELD)))
                else:
                    going.append(item)
            removals = remover.remove([(item.number, item.frozen) for item in going])
            self.hook(PurgeStep.REMOVED)
            outcomes += zip(going, removals, strict=True)
            record.insert_outcomes(connection, purge.id, outcomes)
        self.hook(PurgeStep.OUTCOMES_RECORDED)
        return {
            item.thread_id
            for item, removal in outcomes
            if item.thread_id is not None and removal.outcome in {Outcome.DELETED, Outcome.GONE}
        }

    def _verify_and_record(self, purge: OpenPurge, removed: set[str]) -> PurgedSet:
        """The second survey, then the record, the audit entry and the emptied work list in one transaction."""
        survey = self.survey()
        resurrected = sum(thread_id in survey.threads for thread_id in removed)
        self.hook(PurgeStep.VERIFIED)
        with self.services.engine.begin() as connection:
            summed = record.totals(connection, purge.id)
            entry = self._entry(purge, summed, resurrected)
            recorded = record.close_purge(
                connection,
                purge,
                summed,
                resurrected=resurrected,
                orphan_keys_left=survey.orphan_keys,
                log_entry_id=entry.log_entry_id,
            )
            log = AuditLog(self.services.engine, first_day=self.services.settings.audit_log_first_day)
            log.append_within(connection, entry)
        self.hook(PurgeStep.RECORDED)
        return recorded

    def _entry(self, purge: OpenPurge, summed: dict[str, Any], resurrected: int) -> UndatedEntry:
        return system_entry(
            self.services.settings.audit_log_actor,
            action=ACTION,
            resource_type=_RESOURCE_TYPE,
            resource_id=purge.day.isoformat(),
            result="success",
            metadata={
                "purge": purge.id,
                "cutoff": purge.cutoff.isoformat(),
                "threads_planned": purge.threads_due,
                "threads_deleted": summed["deleted"],
                "threads_moved": summed["moved"],
                "threads_held": summed["held"],
                "threads_gone": summed["gone"],
                "threads_resurrected": resurrected,
                "key_counts": summed["key_counts"],
                "bytes_freed": summed["bytes_freed"],
            },
        )


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


def _is_held(item: WorkItem, holds: Holds) -> bool:
    if item.thread_id is not None:
        return find_hold(holds, item.thread_id, item.users, item.oldest, item.newest) is not None
    return item.name is not None and hold_on_name(item.name, holds) is not None


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
