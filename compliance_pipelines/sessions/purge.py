"""Carrying out the retention of sessions and memories: plan, freeze, remove, look again, record.

Here: the order of these steps and what an interruption between any two of them leaves. Not here: what is due (plan.py),
how a key is removed (removal.py), the tables (record.py).

As for conversations: a plan is frozen in PostgreSQL before anything is removed, each batch is noted before and recorded
after, and whoever comes after an interruption first finishes the frozen plan.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.audit_log.environment import environment_of
from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.audit_log.system_entries import system_entry
from compliance_pipelines.base.clock import utc_day
from compliance_pipelines.conversations.pseudonyms import pseudonyms_of
from compliance_pipelines.conversations.steps import PurgeStep, StepHook, no_hook
from compliance_pipelines.holds import active_holds, lock_holds
from compliance_pipelines.postgres.agreed_time import agreed_time
from compliance_pipelines.postgres.errors import passing_errors_as_transient
from compliance_pipelines.postgres.locks import process_lock
from compliance_pipelines.sessions import record
from compliance_pipelines.sessions.errors import SessionError
from compliance_pipelines.sessions.plan import SessionPlan, hold_on, make_plan, refuse_large
from compliance_pipelines.sessions.policy import session_policy
from compliance_pipelines.sessions.removal import Outcome, Removal, Remover
from compliance_pipelines.sessions.survey import Survey

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date, datetime

    import sqlalchemy

    from compliance_pipelines.audit_log.entry import UndatedEntry
    from compliance_pipelines.conversations.plan import Holds
    from compliance_pipelines.conversations.pseudonyms import Pseudonyms
    from compliance_pipelines.services import Services
    from compliance_pipelines.sessions.places import Place
    from compliance_pipelines.sessions.policy import SessionPolicy
    from compliance_pipelines.sessions.record import OpenPurge, PurgedSet, WorkItem

ACTION: Final = "sessions.purge"
_RESOURCE_TYPE: Final = "session_set"
_BATCH: Final = 500
_DOING: Final = "the purge of sessions and memories"


@dataclass(frozen=True)
class PurgeReport:
    """What came of a purge.

    Attributes:
        plan: what was planned.
        purged: the set that it became; None in a dry run, or where nothing can fall due.
        finished: sets of earlier plans that were finished first.
    """

    plan: SessionPlan
    purged: PurgedSet | None
    finished: tuple[PurgedSet, ...] = ()


@dataclass
class SessionRetention:
    """Retention over the Redis of sessions and memories.

    Args:
        services: settings, database, signing key; the clock decides what is due.
        places: the Redis.
        hook: called after each step of a purge.

    Raises:
        PolicyError: the policy cannot be used.
        ConfigurationError: a setting cannot be used.
    """

    services: Services
    places: Sequence[Place]
    hook: StepHook = no_hook

    def __post_init__(self) -> None:
        self.policy = session_policy(self.services.settings)

    @cached_property
    def _names(self) -> Pseudonyms:
        """How records name people and keys; whoever only looks needs no key for that."""
        return pseudonyms_of(self.services)

    @property
    def concerned(self) -> tuple[Place, ...]:
        """The Redis in which the policy lets anything fall due."""
        return concerned_places(self.places, self.policy)

    def plan(self, *, now: datetime | None = None) -> SessionPlan:
        """What would go now; nothing is changed.

        Args:
            now: the moment that counts; None: the clock's.

        Raises:
            TransientError: Redis or PostgreSQL does not answer.
            SessionError: Redis refuses.
            TargetError: GDPR_STORE_NAMESPACES is malformed.
        """
        with (
            passing_errors_as_transient("the plan of sessions", self.services.engine),
            self.services.engine.connect() as connection,
        ):
            holds = active_holds(connection)
        survey = Survey(
            self.concerned,
            self.services.settings,
            sessions=self.policy.session_days is not None,
            memories=self.policy.memory_days is not None,
        )
        moment = self.services.clock() if now is None else now
        return make_plan(survey, policy=self.policy, holds=holds, now=moment)

    def purge(
        self, *, day: date | None = None, now: datetime | None = None, confirmed: int | None = None
    ) -> PurgeReport:
        """Remove what is due, after finishing what an earlier purge left unfinished.

        Args:
            day: the day that the set counts for; None: today.
            now: the moment that counts; None: the present. It must not be in the future.
            confirmed: how many keys a person agreed to lose at most; None: the settings' limit holds.

        Raises:
            SessionPlanTooLargeError: more is due than may go without consent. Nothing was removed.
            TransientError: Redis or PostgreSQL does not answer, or another purge is under way; run it again.
            RedisEnvironmentError: a Redis is not of the database's environment.
            ClocksDisagreeError: worker, database and Redis do not agree on the time.
            SessionError: Redis refuses, or the moment is in the future.
        """
        if self.policy.dry_run or not self.policy.enabled:
            # Nothing goes, not even what an interrupted purge had begun with.
            return PurgeReport(self.plan(now=_not_after(self.services.clock(), now)), None)
        with passing_errors_as_transient(_DOING, self.services.engine), _lock(self.services.engine) as connection:
            self.require_environment(connection)
            clock = self._agreed_time(connection)
            connection.commit()
            moment = _not_after(clock, now)
            finished = tuple(self._carry_out(purge) for purge in record.open_purges(connection))
            connection.commit()
            plan = self.plan(now=moment)
            refuse_large(plan, self.services.settings, confirmed)
            purge = self._freeze(plan, day or utc_day(clock), confirmed)
            self.hook(PurgeStep.FROZEN)
            return PurgeReport(plan, self._carry_out(purge), finished)

    def require_environment(self, connection: sqlalchemy.Connection) -> None:
        """Let only Redis of the database's environment pass.

        Raises:
            RedisEnvironmentError: one is another environment's, or does not say.
            TransientError: one does not answer.
        """
        environment = environment_of(connection)
        for place in self.places:
            place.require_environment(environment)

    def _agreed_time(self, connection: sqlalchemy.Connection) -> datetime:
        """The moment on which worker, database and every Redis agree."""
        moments = [
            agreed_time(
                connection,
                clock=self.services.clock,
                settings=self.services.settings,
                store=f"the Redis of {place.setting}",
                store_time=place.time,
            )
            for place in self.places
        ]
        return min(moments, default=self.services.clock())

    def _freeze(self, plan: SessionPlan, day: date, confirmed: int | None) -> OpenPurge:
        """Write the plan down."""
        with self.services.engine.begin() as connection:
            purge_id = record.insert_purge(connection, plan, day=day, confirmed=confirmed)
            items = (record.WorkItem.of(number, key, self._names) for number, key in enumerate(plan.due))
            record.insert_work(connection, purge_id, items)
            (purge,) = [open_ for open_ in record.open_purges(connection) if open_.id == purge_id]
        return purge

    # Carrying out

    def _carry_out(self, purge: OpenPurge) -> PurgedSet:
        """Remove what a frozen plan names and has no outcome yet; look again; record."""
        engine = self.services.engine
        removers = {place.setting: Remover(place, purge.id) for place in self.places}
        with engine.connect() as connection:
            attempted = record.last_attempt(connection, purge.id)
        after = -1
        while True:
            with engine.connect() as connection:
                items = record.next_work(connection, purge.id, after, _BATCH)
            if not items:
                break
            after = items[-1].number
            self._remove_batch(purge, removers, items, attempted)
        recorded = self._verify_and_record(purge, removers)
        for remover in removers.values():
            remover.forget_receipt()
        return recorded

    def _remove_batch(
        self, purge: OpenPurge, removers: dict[str, Remover], items: Sequence[WorkItem], attempted: int
    ) -> None:
        """Remove some items, and record what became of them."""
        engine = self.services.engine
        with engine.connect() as connection:
            self.require_environment(connection)
        recovered: dict[int, Removal] = {}
        for place, begun in _by_place([item for item in items if item.number <= attempted]).items():
            if place in removers:
                recovered |= removers[place].recover(begun)
        with engine.begin() as connection:
            record.note_attempt(connection, purge.id, items[-1].number)
        self.hook(PurgeStep.ATTEMPT_NOTED)
        with engine.begin() as connection:
            # Until this transaction ends no new hold can come into force that covers one of these.
            holds = lock_holds(connection)
            outcomes = [(item, recovered[item.number]) for item in items if item.number in recovered]
            going = []
            for item in items:
                if item.number in recovered:
                    continue
                if _is_held(item, holds):
                    outcomes.append((item, Removal(Outcome.HELD)))
                else:
                    going.append(item)
            for place, of_place in _by_place(going).items():
                removals = (
                    removers[place].remove(of_place) if place in removers else [Removal(Outcome.LEFT)] * len(of_place)
                )
                outcomes += zip(of_place, removals, strict=True)
            self.hook(PurgeStep.REMOVED)
            record.insert_outcomes(connection, purge.id, outcomes)
        self.hook(PurgeStep.OUTCOMES_RECORDED)

    def _verify_and_record(self, purge: OpenPurge, removers: dict[str, Remover]) -> PurgedSet:
        """The second look, then the record, the audit entry and the emptied work list in one transaction."""
        with self.services.engine.connect() as connection:
            removed = record.deleted_keys(connection, purge.id)
        back = sum(removers[place].count_back(keys) for place, keys in removed.items() if place in removers)
        self.hook(PurgeStep.VERIFIED)
        with self.services.engine.begin() as connection:
            summed = record.totals(connection, purge.id)
            entry = self._entry(purge, summed, back)
            recorded = record.close_purge(connection, purge, summed, back=back, log_entry_id=entry.log_entry_id)
            log = AuditLog(self.services.engine, first_day=self.services.settings.audit_log_first_day)
            log.append_within(connection, entry)
        self.hook(PurgeStep.RECORDED)
        return recorded

    def _entry(self, purge: OpenPurge, summed: dict[str, Any], back: int) -> UndatedEntry:
        return system_entry(
            self.services.settings.audit_log_actor,
            action=ACTION,
            resource_type=_RESOURCE_TYPE,
            resource_id=purge.day.isoformat(),
            result="success",
            metadata={
                "purge": purge.id,
                "session_cutoff": None if purge.session_cutoff is None else purge.session_cutoff.isoformat(),
                "memory_cutoff": None if purge.memory_cutoff is None else purge.memory_cutoff.isoformat(),
                "keys_planned": purge.keys_due,
                "keys_deleted": summed["deleted"],
                "keys_moved": summed["moved"],
                "keys_held": summed["held"],
                "keys_gone": summed["gone"],
                "keys_left": summed["left"],
                "keys_back": back,
                "key_counts": summed["key_counts"],
                "bytes_freed": summed["bytes_freed"],
            },
        )


def concerned_places(places: Sequence[Place], policy: SessionPolicy) -> tuple[Place, ...]:
    """The Redis in which a policy lets anything fall due."""
    return tuple(
        place
        for place in places
        if (place.has_sessions and policy.session_days is not None)
        or (place.has_memories and policy.memory_days is not None)
    )


def _by_place(items: Sequence[WorkItem]) -> dict[str, list[WorkItem]]:
    found: dict[str, list[WorkItem]] = {}
    for item in items:
        found.setdefault(item.place, []).append(item)
    return found


def _is_held(item: WorkItem, holds: Holds) -> bool:
    return hold_on(holds, item.session_id, item.owner, item.oldest, item.newest) is not None


def _not_after(clock: datetime, now: datetime | None) -> datetime:
    """The moment that counts.

    Raises:
        SessionError: it is in the future.
    """
    moment = clock if now is None else now
    if moment > clock:
        raise SessionError(
            f"sessions cannot be judged as of {moment:%Y-%m-%d %H:%M} UTC, which is in the future: they would go "
            "before their time"
        )
    return moment


@contextmanager
def _lock(engine: sqlalchemy.Engine) -> Iterator[sqlalchemy.Connection]:
    """Hold the one lock of these purges, and a connection for the work under it.

    Raises:
        LockBusyError: another purge is under way.
    """
    with engine.connect() as connection, process_lock(connection, "sessions", doing=_DOING):
        yield connection
