"""What cannot be due: the moments from which on activity keeps a conversation.

Here: the bounds that a policy sets to what a plan must read. Not here: the judgement itself (policy.py, plan.py).

A bound is never stricter than the judgement: what it lets pass as not due, the policy would not call due whatever else
was known of it. What it does not let pass is read and judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from compliance_pipelines.conversations.documents import microseconds
from compliance_pipelines.conversations.policy import MICROSECONDS_PER_DAY

if TYPE_CHECKING:
    from datetime import datetime

    from compliance_pipelines.conversations.plan import Selection
    from compliance_pipelines.conversations.policy import RetentionPolicy


@dataclass(frozen=True)
class Horizon:
    """Bounds, all in microseconds since 1970.

    Attributes:
        idle: activity since then keeps a conversation, whoever has it and whatever its note says.
        prefixes: the same for thread ids that begin so, where that is later.
        age: anything from before then makes a conversation due, whatever came later; None: age makes nothing due.
    """

    idle: int
    prefixes: tuple[tuple[str, int], ...] = ()
    age: int | None = None

    def idle_of(self, thread_id: str) -> int:
        """Activity since then keeps this conversation."""
        if not self.prefixes:
            return self.idle
        return max([self.idle, *(bound for prefix, bound in self.prefixes if thread_id.startswith(prefix))])


def horizon_of(policy: RetentionPolicy, selection: Selection, now: datetime) -> Horizon:
    """The bounds of a plan.

    Args:
        policy: whose shortest periods count, because neither note nor users are known before everything is read.
        selection: with its own period, where it has one.
        now: the moment that the plan is for.
    """
    moment = microseconds(now)

    def before(days: int) -> int:
        return moment - days * MICROSECONDS_PER_DAY

    if selection.older_than_days is not None:
        return Horizon(before(selection.older_than_days))
    periods = [policy.idle_days, policy.archived_days, policy.deleted_days, *policy.user_days.values()]
    return Horizon(
        before(min(days for days in periods if days is not None)),
        tuple((prefix, before(days)) for prefix, days in policy.prefix_days.items()),
        None if policy.max_age_days is None else before(policy.max_age_days),
    )
