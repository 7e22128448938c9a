"""The plan: what retention would remove now, what stays although it is due, and why.

Here: judging every thread of a survey; the limits of a plan. Not here: freezing and carrying it out (purge.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from compliance_pipelines.conversations.documents import microseconds, moment_of
from compliance_pipelines.conversations.errors import PlanTooLargeError
from compliance_pipelines.conversations.policy import MICROSECONDS_PER_DAY, Clock, Due

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date, datetime

    from compliance_pipelines.conversations.policy import RetentionPolicy
    from compliance_pipelines.conversations.survey import OwnerRule, Survey
    from compliance_pipelines.conversations.threads import Head, ThreadFacts
    from compliance_pipelines.settings import Settings


class Hold(Protocol):
    """A legal hold, as far as it is reported here."""

    @property
    def id(self) -> int:
        """Its number."""
        ...

    @property
    def reason(self) -> str:
        """Why."""
        ...


class Holds(Protocol):
    """The legal holds in force."""

    def covers_thread(self, thread_id: str, user_id: str | None) -> Hold | None:
        """A hold on this conversation or on its owner; None as owner where nobody knows."""
        ...

    def covers_activity(self, first_day: date | None, last_day: date | None) -> Hold | None:
        """A hold on a day of something that was active for a while."""
        ...


@dataclass(frozen=True)
class Selection:
    """What a plan is limited to, and with which period.

    Attributes:
        user_id: only conversations that are this user's alone; orphans, which are nobody's, stay out.
        older_than_days: idle for longer than this, instead of the policy's periods; exemptions and holds go on.
    """

    user_id: str | None = None
    older_than_days: int | None = None


@dataclass(frozen=True)
class PlannedThread:
    """A conversation that is due.

    Attributes:
        thread: its facts.
        owners: its users.
        due: since when, and why.
    """

    thread: ThreadFacts
    owners: frozenset[str]
    due: Due


@dataclass(frozen=True)
class KeptThread:
    """A conversation that is due and stays, and why."""

    thread: ThreadFacts
    reason: str
    hold_id: int | None = None


@dataclass
class Plan:
    """What would go at a moment, and what would not.

    Attributes:
        now: the moment whose policy counts.
        cutoff: `now` minus the general period; what was last active before is due.
        selection: what it is limited to.
        policy: the policy.
        survey: what was seen.
        due: what would go, oldest activity first.
        held: due, but under a legal hold.
        exempt: due, but exempt.
        undated: nothing says when they were active; they stay.
        entangled: due, but another thread's keys have the same names; they stay.
        orphans: heads of which only names are left that point to nothing; they go too.
        lost_blobs: threads of which only blobs are left; they go too.
        held_orphans: orphans under a hold.
    """

    now: datetime
    cutoff: datetime
    selection: Selection
    policy: RetentionPolicy
    survey: Survey
    due: list[PlannedThread] = field(default_factory=list)
    held: list[KeptThread] = field(default_factory=list)
    exempt: list[KeptThread] = field(default_factory=list)
    undated: list[ThreadFacts] = field(default_factory=list)
    entangled: list[ThreadFacts] = field(default_factory=list)
    orphans: list[Head] = field(default_factory=list)
    lost_blobs: list[ThreadFacts] = field(default_factory=list)
    held_orphans: int = 0

    @property
    def seconds_past_cutoff(self) -> float | None:
        """For how long the longest overdue conversation has been due; None where that cannot be told."""
        if self.undated:
            return None
        oldest = min((planned.due.at for planned in self.due), default=None)
        return 0.0 if oldest is None else max(0.0, (microseconds(self.now) - oldest) / 1e6)

    @property
    def orphan_keys(self) -> int:
        """Keys of orphans that would go."""
        layout = self.survey.layout
        names = sum(1 for head in self.orphans for _ in head.keys(layout))
        return names + sum(thread.key_count for thread in self.lost_blobs)

    def as_json(self) -> dict[str, Any]:
        """The plan for a program: what is due under `threads`."""
        return {
            "cutoff": self.cutoff.isoformat(),
            "period_days": (self.now - self.cutoff).days,
            "policy": self.policy.as_record(),
            "dry_run": self.policy.dry_run,
            "threads": [
                {
                    "thread_id": planned.thread.thread_id,
                    "users": sorted(planned.owners),
                    "last_activity": _iso(planned.thread.newest),
                    "first_activity": _iso(planned.thread.oldest),
                    "due_since": moment_of(planned.due.at).isoformat(),
                    "clock": planned.due.clock.value,
                    "rule": planned.due.rule,
                    "keys": planned.thread.key_count,
                    "checkpoints": planned.thread.checkpoints,
                }
                for planned in self.due
            ],
            "held": [_kept(kept) for kept in self.held],
            "exempt": [_kept(kept) for kept in self.exempt],
            "undated": [thread.thread_id for thread in self.undated],
            "entangled": [thread.thread_id for thread in self.entangled],
            "ahead": sorted(self.survey.ahead),
            "orphan_keys": self.orphan_keys,
            "held_orphans": self.held_orphans,
            "seen": {
                "threads": self.survey.threads_seen,
                "keys": self.survey.keys_seen,
                "unreadable_keys": self.survey.unreadable,
            },
        }


def _iso(value: int | None) -> str | None:
    return None if value is None else moment_of(value).isoformat()


def _kept(kept: KeptThread) -> dict[str, Any]:
    return {"thread_id": kept.thread.thread_id, "reason": kept.reason, "hold": kept.hold_id}


def make_plan(  # noqa: PLR0913 - each by its name
    survey: Survey,
    *,
    policy: RetentionPolicy,
    owner_rule: OwnerRule,
    holds: Holds,
    now: datetime,
    selection: Selection = Selection(),
) -> Plan:
    """Judge every conversation of a survey as of a moment.

    Args:
        survey: what there is.
        policy: periods and exemptions.
        owner_rule: how an owner is read off a thread id.
        holds: the legal holds in force.
        now: the moment that counts; the start of day D for the partition D.
        selection: what to limit the plan to.
    """
    days = selection.older_than_days if selection.older_than_days is not None else policy.idle_days
    cutoff = moment_of(microseconds(now) - days * MICROSECONDS_PER_DAY)
    plan = Plan(now, cutoff, selection, policy, survey)
    if not policy.enabled:
        return plan
    limit = microseconds(now)
    for thread in survey.threads.values():
        owners = owner_rule.owners(thread)
        if selection.user_id is not None and owners != {selection.user_id}:
            continue
        _judge(plan, thread, owners, holds, limit)
    if selection.user_id is None:
        for head in survey.orphans:
            if hold_on_name(head.name, holds):
                plan.held_orphans += 1
            else:
                plan.orphans.append(head)
    plan.due.sort(key=lambda planned: (planned.thread.newest or 0, planned.thread.thread_id))
    return plan


def _judge(plan: Plan, thread: ThreadFacts, owners: frozenset[str], holds: Holds, limit: int) -> None:
    policy, selection = plan.policy, plan.selection
    if thread.is_only_blobs:
        if selection.user_id is None:
            if hold_on_thread(thread, owners, holds) is not None:
                plan.held_orphans += 1
            else:
                plan.lost_blobs.append(thread)
        return
    due = (
        policy.due(thread, owners)
        if selection.older_than_days is None
        else _older_than(thread, selection.older_than_days)
    )
    if due is None:
        plan.undated.append(thread)
        return
    if due.at >= limit:
        return
    exemption = policy.exemption(thread, owners)
    hold = hold_on_thread(thread, owners, holds)
    if hold is not None:
        plan.held.append(KeptThread(thread, f"legal hold {hold.id}: {hold.reason}", hold.id))
    elif exemption is not None:
        plan.exempt.append(KeptThread(thread, exemption))
    elif thread.entangled:
        plan.entangled.append(thread)
    else:
        plan.due.append(PlannedThread(thread, owners, due))


def _older_than(thread: ThreadFacts, days: int) -> Due | None:
    if thread.newest is None:
        return None
    return Due(thread.newest + days * MICROSECONDS_PER_DAY, Clock.IDLE, f"{days} days without activity, as asked")


def hold_on_thread(thread: ThreadFacts, owners: frozenset[str], holds: Holds) -> Hold | None:
    """A hold that covers a conversation, one of its users, or a day on which it was active."""
    return find_hold(
        holds,
        thread.thread_id,
        owners,
        *(None if time is None else moment_of(time) for time in (thread.oldest, thread.newest)),
    )


def find_hold(
    holds: Holds, thread_id: str, owners: frozenset[str], first: datetime | None, last: datetime | None
) -> Hold | None:
    """A hold that covers a conversation of this id, these users, and this span of activity."""
    users: list[str | None] = [*sorted(owners)] or [None]
    for user in users:
        hold = holds.covers_thread(thread_id, user)
        if hold is not None:
            return hold
    return holds.covers_activity(None if first is None else first.date(), None if last is None else last.date())


def hold_on_name(name: bytes, holds: Holds) -> Hold | None:
    """A hold that may cover an orphan: on any thread that its name could mean. What cannot be told counts as held."""
    for end in _ends(name):
        hold = holds.covers_thread(end, None)
        if hold is not None:
            return hold
    return holds.covers_activity(None, None)


def _ends(name: bytes) -> Iterator[str]:
    """Every thread id that the name of a head may begin with."""
    position = name.find(b":")
    while position >= 0:
        yield name[:position].decode("utf-8", "surrogateescape")
        position = name.find(b":", position + 1)


def refuse_large(plan: Plan, settings: Settings, confirmed: int | None) -> None:
    """Stop a plan that is larger than the settings allow, unless a person confirmed its number.

    The share counts from a number of conversations on: half of three is no alarm.

    Args:
        plan: the plan.
        settings: with the limits.
        confirmed: how many conversations a person agreed to lose at most; None: nobody was asked.

    Raises:
        PlanTooLargeError: the plan is too large. It names the numbers.
    """
    planned, seen = len(plan.due), plan.survey.threads_seen
    if confirmed is not None:
        if planned <= confirmed:
            return
        raise PlanTooLargeError(
            f"{planned} conversations are due, more than the {confirmed} that were confirmed: look at the plan again",
            planned=planned,
            seen=seen,
        )
    number, share = settings.conversation_purge_max_threads, settings.conversation_purge_max_share
    over_share = planned >= settings.conversation_purge_share_from and planned > share * seen
    if planned > number or over_share:
        limit = f"{number} (CONVERSATION_PURGE_MAX_THREADS)"
        if planned <= number:
            limit = f"{share:.0%} (CONVERSATION_PURGE_MAX_SHARE)"
        raise PlanTooLargeError(
            f"{planned} of {seen} conversations are due, more than {limit}: nothing was removed. Look at "
            f"`compliance conversations plan`; if it is right: compliance conversations purge --confirm {planned}",
            planned=planned,
            seen=seen,
        )
