"""A request with everything that happened to it, and what follows from that.

Here: requests, events and closures as values; every state is derived from them. Not here: where they are kept
(record.py), and doing anything about a request (runner.py, decisions.py).

Two events begin something anew. After a correction that took an identifier away, what was deleted before was another
person's, or may have been: it is not counted for this one. After any change of the identifiers every target is asked
again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.erasure.deadline import last_day_in_time

if TYPE_CHECKING:
    from collections.abc import Mapping

    import sqlalchemy

_FIRST_PAUSE: Final = timedelta(minutes=5)
_LONGEST_PAUSE: Final = timedelta(hours=6)
_MOST_DOUBLINGS: Final = 8


class EventKind(StrEnum):
    """What happened to a request: in an attempt, or by the decision of a person."""

    STARTED = "started"
    FOUND = "found"
    DELETED = "deleted"
    HELD = "held"
    FAILED = "failed"
    VERIFIED = "verified"
    ENDED = "ended"
    IDENTIFIED = "identified"
    NOTED = "noted"
    ASKED_AGAIN = "asked_again"
    EXTENDED = "extended"
    CORRECTED = "corrected"
    WITHDRAWN = "withdrawn"
    REFUSED = "refused"


OF_ATTEMPTS: Final = frozenset(
    {
        EventKind.STARTED,
        EventKind.FOUND,
        EventKind.DELETED,
        EventKind.HELD,
        EventKind.FAILED,
        EventKind.VERIFIED,
        EventKind.ENDED,
    }
)
"""What an attempt puts on record; the rest can happen at any time."""


class State(StrEnum):
    """Where a request is."""

    OPEN = "open"
    PARTIAL = "partial"
    HELD = "held"
    CLOSED = "closed"
    WITHDRAWN = "withdrawn"
    REFUSED = "refused"


IDENTIFIERS: Final = "identifiers"
"""In place of a target, where the ids of the person could not be read."""
CONFIRMATION: Final = "confirmation"
"""In place of a target, where more would go than was agreed to."""
NOT_CARRIED_OUT: Final = frozenset({State.WITHDRAWN, State.REFUSED})
"""How a request ends that is not carried out, as a closure's result names it."""


@dataclass(frozen=True)
class Request:
    """A person's request, as it was recorded.

    Attributes:
        id: its number.
        user_id: who was to be erased; a correction may have named somebody else since (Case.user_id).
        reason: why.
        requested_by: who asked, or entered it.
        received_at: when the person asked; the deadline counts from then.
        deadline: last UTC day of the month of Article 12(3); it may have been extended since (Case.deadline).
        replay_of: the request that is carried out again after a restore; None for a request of its own.
        recorded_at: when it was entered.
    """

    id: int
    user_id: str
    reason: str
    requested_by: str
    received_at: datetime
    deadline: date
    replay_of: int | None
    recorded_at: datetime

    @classmethod
    def from_row(cls, row: sqlalchemy.Row[Any]) -> Request:
        """The request of a row of `erasure_requests`."""
        return cls(
            row.id,
            row.user_id,
            row.reason,
            row.requested_by,
            row.received_at,
            row.deadline,
            row.replay_of,
            row.recorded_at,
        )


@dataclass(frozen=True)
class Identifiers:
    """Every id under which a person's data may stand.

    Attributes:
        subject: what the deletion record calls the person.
        aliases: further ids of the same person, each with where it is known from.
        dropped: ids that a correction took away, and that no table brings back.
    """

    subject: str
    aliases: Mapping[str, str] = field(default_factory=dict)
    dropped: frozenset[str] = frozenset()

    @property
    def all(self) -> tuple[str, ...]:
        """The subject, then the aliases in order."""
        return (self.subject, *sorted(self.aliases))

    def to_json(self) -> dict[str, Any]:
        """As an event keeps them."""
        return {"subject": self.subject, "aliases": dict(self.aliases), "dropped": sorted(self.dropped)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Identifiers:
        """As an event has kept them."""
        return cls(values["subject"], dict(values["aliases"]), frozenset(values["dropped"]))


@dataclass(frozen=True)
class Event:
    """Something that happened to a request, with its particulars.

    Attributes:
        attempt: in which attempt, or after which; 0 before the first.
        kind: what.
        target: at which target; None where it concerns none.
        detail: the particulars.
        recorded_at: when.
    """

    attempt: int
    kind: EventKind
    target: str | None
    detail: dict[str, Any]
    recorded_at: datetime

    @property
    def deleted(self) -> Counter[str]:
        """How many things of each data type this event says were deleted."""
        # A correction tells what was deleted before it, which those events say.
        return Counter(self.detail.get("deleted", {})) if self.kind in OF_ATTEMPTS else Counter()

    @property
    def gone(self) -> Counter[str]:
        """How many things went after an attempt had found them, without anybody knowing whether it deleted them."""
        return Counter(self.detail.get("gone", {})) if self.kind in OF_ATTEMPTS else Counter()

    @property
    def takes_an_id_away(self) -> bool:
        """Whether it is a correction after which other data is meant than before."""
        return self.kind is EventKind.CORRECTED and bool(self.detail["removed"])

    @property
    def changes_ids(self) -> bool:
        """Whether other ids are looked for after it than before."""
        return self.kind in {EventKind.IDENTIFIED, EventKind.CORRECTED}


@dataclass(frozen=True)
class Closure:
    """How a request ended.

    Attributes:
        result: `success` or `partial`; `withdrawn` or `refused` where it is not carried out.
        log_entry_id: the audit entry that says so: the deletion record, or the entry of the decision.
        entry_timestamp: of that entry.
        statement: canonical JSON whose hash the entry has.
        closed_at: when.
    """

    result: str
    log_entry_id: str
    entry_timestamp: datetime
    statement: str
    closed_at: datetime

    @property
    def state(self) -> State:
        """The state of a request that ended so."""
        return State(self.result) if self.result in NOT_CARRIED_OUT else State.CLOSED


@dataclass(frozen=True)
class Case:
    """A request with everything that happened to it."""

    request: Request
    events: tuple[Event, ...] = field(default=())
    closure: Closure | None = None

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.closure is None

    @property
    def identifiers(self) -> Identifiers:
        """Who is to be erased, with every correction."""
        for event in reversed(self.events):
            if event.changes_ids:
                return Identifiers.from_json(event.detail["identifiers"])
        return Identifiers(self.request.user_id)

    @property
    def user_id(self) -> str:
        """What the deletion record calls the person."""
        return self.identifiers.subject

    @property
    def ids_ever_meant(self) -> tuple[str, ...]:
        """The person's ids, then those that a correction took away, which no entry may have in clear either."""
        now = self.identifiers.all
        removed = {user_id for event in self.events for user_id in event.detail.get("removed", ())}
        return (*now, *sorted(removed - set(now)))

    @property
    def extension(self) -> Event | None:
        """The extension of its deadline, if there was one."""
        return next((event for event in self.events if event.kind is EventKind.EXTENDED), None)

    @property
    def deadline(self) -> date:
        """Last UTC day on which the answer is in time, with the extension if there was one."""
        extension = self.extension
        return self.first_deadline if extension is None else date.fromisoformat(extension.detail["deadline"])

    @property
    def received_at(self) -> datetime:
        """When the person asked first: who asked again may have done so before what was entered first."""
        again = (event for event in self.events if event.kind is EventKind.ASKED_AGAIN)
        times = (datetime.fromisoformat(event.detail["received_at"]) for event in again)
        return min([self.request.received_at, *times])

    @property
    def first_deadline(self) -> date:
        """Last UTC day of the month after the receipt, within which the person must hear something in any case."""
        return min(self.request.deadline, last_day_in_time(self.received_at))

    @property
    def state(self) -> State:
        """Derived from what is recorded; there is no column that could disagree."""
        if self.closure is not None:
            return self.closure.state
        made = [event for event in self.of_this_person if event.kind in OF_ATTEMPTS]
        if not made:
            return State.OPEN
        held = any(event.kind is EventKind.HELD for event in made if event.attempt == made[-1].attempt)
        return State.HELD if held else State.PARTIAL

    @property
    def attempts(self) -> int:
        """How many times somebody began to carry it out."""
        return max((event.attempt for event in self.events), default=0)

    @property
    def due_at(self) -> datetime | None:
        """When it is to be tried next; None where it has ended. The pause doubles each time, up to six hours.

        A request that was corrected is due at once.
        """
        if self.closure is not None:
            return None
        made = [event for event in self.of_these_ids if event.kind in OF_ATTEMPTS]
        if not made:
            changed = [event.recorded_at for event in self.events if event.kind is EventKind.CORRECTED]
            return changed[-1] if changed else self.request.received_at
        doublings = min(len({event.attempt for event in made}) - 1, _MOST_DOUBLINGS)
        return made[-1].recorded_at + min(_FIRST_PAUSE * (1 << doublings), _LONGEST_PAUSE)

    @property
    def of_this_person(self) -> tuple[Event, ...]:
        """What happened since nobody else was meant."""
        since = max((place for place, event in enumerate(self.events, 1) if event.takes_an_id_away), default=0)
        return self.events[since:]

    @property
    def of_these_ids(self) -> tuple[Event, ...]:
        """What happened since the same ids are looked for."""
        since = max((place for place, event in enumerate(self.events, 1) if event.changes_ids), default=0)
        return self.events[since:]

    def is_done(self, target: str) -> bool:
        """Whether everything of a target was deleted and nothing is known to have come back."""
        done = False
        for event in self.of_these_ids:
            if event.target != target:
                continue
            if event.kind is EventKind.DELETED:
                done = True
            elif event.kind is EventKind.HELD or event.detail.get("came_back"):
                done = False
        return done

    def unaccounted(self, target: str) -> Counter[str]:
        """What a target's last attempt had found and never said what became of: it was interrupted, or failed.

        An attempt that failed before it deleted anything leaves nothing unaccounted for.
        """
        found: Counter[str] = Counter()
        found_in = 0
        for event in self.of_this_person:
            if event.target != target:
                continue
            if event.kind is EventKind.FOUND:
                found, found_in = Counter(event.detail["items"]), event.attempt
            elif event.kind in {EventKind.DELETED, EventKind.HELD} or (
                event.attempt == found_in and event.detail.get("untouched")
            ):
                found = Counter()
        return found

    def all_unaccounted(self) -> dict[str, Counter[str]]:
        """The same of every target that has any."""
        targets = dict.fromkeys(event.target for event in self.of_this_person if event.target is not None)
        return {target: found for target in targets if (found := self.unaccounted(target))}

    def deleted(self, *, attempt: int | None = None) -> Counter[str]:
        """How many things of each data type were deleted for this person, in all or in one attempt."""
        return sum((event.deleted for event in self._within(attempt)), Counter())

    def gone(self, *, attempt: int | None = None) -> Counter[str]:
        """How many more went, and nobody knows whether this erasure deleted them (Event.gone)."""
        return sum((event.gone for event in self._within(attempt)), Counter())

    def _within(self, attempt: int | None) -> list[Event]:
        return [event for event in self.of_this_person if attempt in {None, event.attempt}]

    def deleted_since_last_end(self) -> Counter[str]:
        """What was deleted since an attempt ended in order, and so has no deletion record: also by one that died."""
        total: Counter[str] = Counter()
        for event in self.of_this_person:
            total = Counter() if event.kind is EventKind.ENDED else total + event.deleted
        return total

    def partial_records(self) -> list[str]:
        """The deletion records of this request that did not close it, whomever it meant then."""
        records: dict[str, None] = {}
        for event in self.events:
            if event.kind is EventKind.ENDED and event.detail.get("log_entry_id") is not None:
                records[event.detail["log_entry_id"]] = None
            records.update(dict.fromkeys(event.detail.get("deletion_records", ())))
        return list(records)
