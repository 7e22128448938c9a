"""The retention policy: for how long a conversation may stay, and whose stays regardless.

Here: the rules and the judgement of one thread. Not here: where the rules come from (settings here below, the YAML file
in policy_file.py), holds (plan.py).

Two clocks run. The idle clock starts at the last activity over all namespaces, the hard-age clock, where there is one,
at the first. Every period that applies to a thread counts (its state's, its users', its prefixes'), and the strictest
wins: the conversation is due at the earliest of these moments. A period can therefore only shorten; a longer one for
some is refused when the policy is read, because it would promise a stay that it does not give.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.conversations.errors import PolicyError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from compliance_pipelines.conversations.threads import ThreadFacts

MICROSECONDS_PER_DAY: Final = 86_400_000_000


class Clock(StrEnum):
    """Which clock made a conversation due."""

    IDLE = "idle"
    AGE = "age"


@dataclass(frozen=True)
class Due:
    """When a conversation falls due, and why then.

    Attributes:
        at: microseconds since 1970.
        rule: the period that decided, in words.
    """

    at: int
    clock: Clock
    rule: str


@dataclass(frozen=True)
class RetentionPolicy:
    """Periods in days, and exemptions.

    Attributes:
        idle_days: period of the idle clock for every conversation.
        archived_days: for those that are marked archived; None: no rule of its own.
        deleted_days: for those that are marked deleted; None: no rule of its own.
        max_age_days: period of the hard-age clock; None: it does not run.
        user_days: idle periods of some users.
        prefix_days: idle periods of thread ids that begin so.
        exempt_users: users whose conversations stay.
        exempt_threads: conversations that stay.
        protected_tags: tags of a conversation's note that make it stay.
        enabled: False: nothing falls due.
        dry_run: plan and say what would go; remove nothing.
        source: where it comes from, in words.

    Raises:
        PolicyError: a period is no positive number of days, or longer than the general one.
    """

    idle_days: int = 90
    archived_days: int | None = None
    deleted_days: int | None = None
    max_age_days: int | None = None
    user_days: Mapping[str, int] = field(default_factory=dict)
    prefix_days: Mapping[str, int] = field(default_factory=dict)
    exempt_users: frozenset[str] = frozenset()
    exempt_threads: frozenset[str] = frozenset()
    protected_tags: frozenset[str] = frozenset()
    enabled: bool = True
    dry_run: bool = False
    source: str = "settings"

    def __post_init__(self) -> None:
        if self.idle_days < 1:
            raise PolicyError(f"the retention period of conversations must be at least one day, not {self.idle_days}")
        overrides = [
            *((f"user {user!r}", days) for user, days in self.user_days.items()),
            *((f"prefix {prefix!r}", days) for prefix, days in self.prefix_days.items()),
        ]
        for whose, days in overrides:
            if days < 1:
                raise PolicyError(f"the period of {whose} must be at least one day, not {days}")
            if days > self.idle_days:
                raise PolicyError(
                    f"the period of {whose} is {days} days, but the strictest period wins and the general one is "
                    f"{self.idle_days}: raise the general period and shorten it for the others, or exempt {whose}"
                )

    def due(self, thread: ThreadFacts, owners: frozenset[str]) -> Due | None:
        """When a conversation falls due; None where nothing says when it was active.

        Args:
            thread: the conversation.
            owners: its users, several where it is shared.
        """
        if thread.newest is None or thread.oldest is None:
            return None
        candidates = [
            Due(thread.newest + days * MICROSECONDS_PER_DAY, Clock.IDLE, f"{days} days without activity{because}")
            for days, because in self._idle_periods(thread, owners)
        ]
        if self.max_age_days is not None:
            candidates.append(
                Due(
                    thread.oldest + self.max_age_days * MICROSECONDS_PER_DAY,
                    Clock.AGE,
                    f"{self.max_age_days} days since it began",
                )
            )
        return min(candidates, key=lambda due: due.at)

    def _idle_periods(self, thread: ThreadFacts, owners: frozenset[str]) -> list[tuple[int, str]]:
        periods = [(self.idle_days, "")]
        note = thread.note
        if note is not None and note.archived and self.archived_days is not None:
            periods.append((self.archived_days, ", archived"))
        if note is not None and note.deleted and self.deleted_days is not None:
            periods.append((self.deleted_days, ", marked deleted"))
        periods += [(self.user_days[user], f" (user {user})") for user in owners if user in self.user_days]
        periods += [
            (days, f" (threads that begin with {prefix!r})")
            for prefix, days in self.prefix_days.items()
            if thread.thread_id.startswith(prefix)
        ]
        return periods

    def exemption(self, thread: ThreadFacts, owners: frozenset[str]) -> str | None:
        """Why a conversation stays whatever its age; None where it does not. Of a shared one, one user is enough."""
        if thread.thread_id in self.exempt_threads:
            return "the thread is exempt"
        exempt = owners & self.exempt_users
        if exempt:
            return f"user {min(exempt)} is exempt"
        tags = self.protected_tags.intersection(thread.note.tags if thread.note else ())
        return f"it is tagged {min(tags)}" if tags else None

    def as_record(self) -> dict[str, Any]:
        """What a record says of the policy: periods and numbers, no user and no thread."""
        return {
            "source": self.source,
            "idle_days": self.idle_days,
            "archived_days": self.archived_days,
            "deleted_days": self.deleted_days,
            "max_age_days": self.max_age_days,
            "user_periods": len(self.user_days),
            "prefix_periods": len(self.prefix_days),
            "exempt_users": len(self.exempt_users),
            "exempt_threads": len(self.exempt_threads),
        }
