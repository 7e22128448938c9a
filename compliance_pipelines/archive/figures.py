"""The figures of the whole at one moment: what `compliance status` and the demo's summary say.

Here: which figures there are, and reading them together. Not here: how a person or a program sees them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compliance_pipelines.archive import catalogue
from compliance_pipelines.archive.held_days import held_days
from compliance_pipelines.archive.scrub_record import scrub_state
from compliance_pipelines.base.clock import utc_day
from compliance_pipelines.holds import may_see_holds
from compliance_pipelines.ledger.store import last_checkpoint, losses
from compliance_pipelines.postgres.replica import replica_state

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime

    from compliance_pipelines.archive.scrub_record import ScrubState
    from compliance_pipelines.holds import Hold
    from compliance_pipelines.ledger.losses import Loss
    from compliance_pipelines.ledger.records import Statement
    from compliance_pipelines.postgres.replica import ReplicaState
    from compliance_pipelines.services import Services


@dataclass(frozen=True)
class Figures:
    """Figures that belong together.

    Attributes:
        days: how many days are in each state, in the order of a day's life.
        totals: entries and bytes over all days.
        ledger_size: records in the ledger.
        ledger_root: root of its last checkpoint, 32 bytes; None before the first sealing.
        checkpoint_time: when that was signed; None before the first sealing.
        held: the verified days that a legal hold keeps in PostgreSQL, oldest first, each with the hold that the purge
            would name; None where the login may not see the holds, so that it cannot be told.
        next_due: the earliest step that is due or will fall due, the purge of held days left out; None where nothing
            is pending.
        replica: how far behind the database is, where it is a replica; None where it is a primary.
        losses: what was accepted as lost after a failover or a restore, with the records that state it.
        scrub: how the archives are read back; None where nobody asked.
    """

    days: Mapping[catalogue.DayState, int]
    totals: catalogue.Totals
    ledger_size: int
    ledger_root: bytes | None
    checkpoint_time: datetime | None
    held: Mapping[date, Hold] | None
    next_due: catalogue.NextDue | None
    replica: ReplicaState | None = None
    losses: Sequence[tuple[Statement, Loss]] = ()
    scrub: ScrubState | None = None


def take_figures(services: Services) -> Figures:
    """Read the figures, all of them as of one moment."""
    today = utc_day(services.clock())
    with catalogue.snapshot(services) as connection:
        replica = replica_state(connection)
        days = catalogue.unfinished_days(connection)
        finished = catalogue.finished_days(connection, days)
        totals = catalogue.totals_of(connection, days, finished)
        checkpoint = last_checkpoint(connection)
        accepted = losses(connection)
        verified = [facts.day for facts in days if facts.state(today) is catalogue.DayState.VERIFIED]
        held = held_days(connection, services, verified) if may_see_holds(connection) else None
        scrub = scrub_state(services, connection)
    states = Counter(facts.state(today) for facts in days)
    states[catalogue.DayState.PURGED] += finished.purged
    states[catalogue.DayState.EXPIRED] += finished.expired
    return Figures(
        days={state: states[state] for state in catalogue.DayState},
        totals=totals,
        ledger_size=0 if checkpoint is None else checkpoint.size,
        ledger_root=None if checkpoint is None else checkpoint.root,
        checkpoint_time=None if checkpoint is None else checkpoint.signed_at,
        held=held,
        next_due=catalogue.next_due_among(services, days, held or {}),
        replica=replica,
        losses=accepted,
        scrub=scrub,
    )
