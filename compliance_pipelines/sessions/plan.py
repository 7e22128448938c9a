"""The plan: which sessions and memories retention would remove now, what stays although it is due, and why.

Here: judging every key of a survey; the limit of a plan. Not here: freezing and carrying it out (purge.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from compliance_pipelines.sessions.errors import SessionPlanTooLargeError

if TYPE_CHECKING:
    from datetime import date, datetime

    from compliance_pipelines.conversations.plan import Hold, Holds
    from compliance_pipelines.sessions.policy import SessionPolicy
    from compliance_pipelines.sessions.survey import Counts, SeenKey, Survey
    from compliance_pipelines.settings import Settings


@dataclass(frozen=True)
class KeptKey:
    """A key that is due and stays, and why."""

    key: SeenKey
    reason: str
    hold_id: int | None = None


@dataclass
class SessionPlan:
    """What would go at a moment, and what would not.

    Attributes:
        now: the moment whose policy counts.
        policy: the policy.
        counts: what was seen.
        due: what would go, the longest idle first.
        held: due, but under a legal hold.
        exempt: due, but exempt.
        undated: nothing says when they were used; they stay.
    """

    now: datetime
    policy: SessionPolicy
    counts: Counts
    due: list[SeenKey] = field(default_factory=list)
    held: list[KeptKey] = field(default_factory=list)
    exempt: list[KeptKey] = field(default_factory=list)
    undated: list[SeenKey] = field(default_factory=list)

    @property
    def session_cutoff(self) -> datetime | None:
        """Sessions last used before are due; None where they stay."""
        return _before(self.now, self.policy.session_days)

    @property
    def memory_cutoff(self) -> datetime | None:
        """Memories last changed before are due; None where they stay."""
        return _before(self.now, self.policy.memory_days)

    def cutoff_of(self, key: SeenKey) -> datetime | None:
        """The moment before which a key must have been used last to be due."""
        return self.session_cutoff if key.kind.is_of_session else self.memory_cutoff

    @property
    def seconds_past_cutoff(self) -> float | None:
        """For how long the longest overdue key has been due; None where that cannot be told."""
        if self.undated or self.counts.unreadable:
            return None
        late = (
            (cutoff - key.newest).total_seconds()
            for key in self.due
            if key.newest is not None and (cutoff := self.cutoff_of(key)) is not None
        )
        return max(late, default=0.0)

    def as_json(self) -> dict[str, Any]:
        """The plan for a program: what is due under `keys`."""
        return {
            "judged_at": self.now.isoformat(),
            "session_cutoff": _iso(self.session_cutoff),
            "memory_cutoff": _iso(self.memory_cutoff),
            "policy": self.policy.as_record(),
            "dry_run": self.policy.dry_run,
            "keys": [_to_json(key) for key in self.due],
            "held": [{**_to_json(kept.key), "reason": kept.reason, "hold": kept.hold_id} for kept in self.held],
            "exempt": [{**_to_json(kept.key), "reason": kept.reason} for kept in self.exempt],
            "undated": [_to_json(key) for key in self.undated],
            "seen": {
                "sessions": self.counts.sessions,
                "memories": self.counts.memories,
                "unreadable_keys": self.counts.unreadable,
                "foreign_keys": self.counts.foreign,
            },
        }


def _before(now: datetime, days: int | None) -> datetime | None:
    return None if days is None else now - timedelta(days=days)


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _shown(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")


def _to_json(key: SeenKey) -> dict[str, Any]:
    return {
        "redis": key.place,
        "key": _shown(key.key),
        "kind": key.kind.value,
        "user": None if key.owner is None else _shown(key.owner.encode("utf-8", "surrogateescape")),
        "last_used": _iso(key.newest),
    }


def make_plan(survey: Survey, *, policy: SessionPolicy, holds: Holds, now: datetime) -> SessionPlan:
    """Judge every key as of a moment.

    Args:
        survey: what there is; it is taken now.
        policy: periods and exemptions.
        holds: the legal holds in force.
        now: the moment that counts; the start of day D for the partition D.

    Raises:
        TransientError: a Redis did not answer.
        SessionError: a Redis refused.
    """
    plan = SessionPlan(now, policy, survey.counts)
    judged: set[tuple[str, bytes]] = set()
    for key in survey.look():
        if (key.place, key.key) not in judged and _judge(plan, key, holds):
            judged.add((key.place, key.key))
    plan.due.sort(key=lambda key: (key.newest or now, key.key))
    return plan


def _judge(plan: SessionPlan, key: SeenKey, holds: Holds) -> bool:
    """Put a key where it belongs in the plan; False for one that is in use, of which there are most."""
    cutoff = plan.cutoff_of(key)
    if cutoff is None or (key.newest is not None and key.newest >= cutoff):
        return False
    if key.newest is None:
        plan.undated.append(key)
        return True
    hold = hold_on(holds, key.session_id, key.owner, key.oldest, key.newest)
    if hold is not None:
        plan.held.append(KeptKey(key, f"legal hold {hold.id}: {hold.reason}", hold.id))
    elif key.owner in plan.policy.exempt_users:
        plan.exempt.append(KeptKey(key, f"user {key.owner} is exempt"))
    else:
        plan.due.append(key)
    return True


def hold_on(
    holds: Holds, session_id: str, owner: str | None, oldest: datetime | None, newest: datetime | None
) -> Hold | None:
    """A hold that covers a key's user, a conversation of the session's id, or a day of its use."""
    return holds.covers_thread(session_id, owner) or holds.covers_activity(_day(oldest), _day(newest))


def _day(moment: datetime | None) -> date | None:
    return None if moment is None else moment.date()


def refuse_large(plan: SessionPlan, settings: Settings, confirmed: int | None) -> None:
    """Stop a plan that is larger than the settings allow, unless a person confirmed its number.

    Raises:
        SessionPlanTooLargeError: the plan is too large. It names the numbers.
    """
    planned, seen = len(plan.due), plan.counts.seen
    most = settings.session_purge_max_keys if confirmed is None else confirmed
    if planned <= most:
        return
    whose = f"{most} (SESSION_PURGE_MAX_KEYS)" if confirmed is None else f"the {most} that were confirmed"
    raise SessionPlanTooLargeError(
        f"{planned} of {seen} sessions and memories are due, more than {whose}: nothing was removed. Look at "
        f"`compliance sessions plan`; if it is right: compliance sessions purge --confirm {planned}",
        planned=planned,
        seen=seen,
    )
