"""Requests as a login sees them that may not know whom they are about, which is an auditor's.

Here: reading what it may see, and what follows from that alone. Not here: the whole record (record.py, case.py), and
words (cli/erasure_words.py).

The ids of people, and the particulars of what happened, in which ids stand, are for the pipelines alone. What
depends on them is left out, and never guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from compliance_pipelines.erasure import sql
from compliance_pipelines.erasure.case import NOT_CARRIED_OUT, OF_ATTEMPTS, EventKind, State
from compliance_pipelines.erasure.deadline import last_day_in_time
from compliance_pipelines.erasure.errors import RequestNotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime

    import sqlalchemy

_MONTHS_IF_EXTENDED: Final = 3


@dataclass(frozen=True)
class SeenEvent:
    """Something that happened to a request, without its particulars."""

    attempt: int
    kind: EventKind
    target: str | None
    recorded_at: datetime


@dataclass(frozen=True)
class SeenEnd:
    """How a request ended.

    Attributes:
        result: as the closure has it.
        log_entry_id: the audit entry that says so; `compliance prove` proves it.
        closed_at: when.
    """

    result: str
    log_entry_id: str
    closed_at: datetime


@dataclass(frozen=True)
class Overview:
    """A request without the person.

    Attributes:
        id: its number.
        reason: why.
        requested_by: who asked, or entered it.
        received_at: when the person asked, as it was first recorded.
        recorded_at: when it was entered.
        recorded_deadline: last UTC day of the month of Article 12(3), as it was first recorded.
        replay_of: the request that is carried out again after a restore.
        events: what happened, in order.
        end: None while it is open.
    """

    id: int
    reason: str
    requested_by: str
    received_at: datetime
    recorded_at: datetime
    recorded_deadline: date
    replay_of: int | None
    events: tuple[SeenEvent, ...]
    end: SeenEnd | None

    @property
    def extended(self) -> bool:
        """Whether the deadline was extended (Article 12(3))."""
        return any(event.kind is EventKind.EXTENDED for event in self.events)

    @property
    def asked_again(self) -> bool:
        """Whether the person asked again; an earlier day may have been given for it, and the deadline be earlier."""
        return any(event.kind is EventKind.ASKED_AGAIN for event in self.events)

    @property
    def deadline(self) -> date:
        """Last UTC day on which the answer is in time, with the extension if there was one."""
        if self.extended:
            return last_day_in_time(self.received_at, months=_MONTHS_IF_EXTENDED)
        return self.recorded_deadline

    @property
    def attempts(self) -> int:
        """How many times somebody began to carry it out."""
        return max((event.attempt for event in self.events), default=0)

    @property
    def state(self) -> State | None:
        """Where it is; None where that depends on whom a correction took away."""
        if self.end is not None:
            return State(self.end.result) if self.end.result in NOT_CARRIED_OUT else State.CLOSED
        corrections = [place for place, event in enumerate(self.events, 1) if event.kind is EventKind.CORRECTED]
        states = {_state_after(self.events[place:]) for place in (0, *corrections)}
        return states.pop() if len(states) == 1 else None


def _state_after(events: Sequence[SeenEvent]) -> State:
    """As :attr:`compliance_pipelines.erasure.case.Case.state`, of an open request."""
    made = [event for event in events if event.kind in OF_ATTEMPTS]
    if not made:
        return State.OPEN
    held = any(event.kind is EventKind.HELD for event in made if event.attempt == made[-1].attempt)
    return State.HELD if held else State.PARTIAL


def may_see_people(connection: sqlalchemy.Connection) -> bool:
    """Whether the login may know whom requests are about, which auditors and writers may not."""
    return bool(connection.execute(sql.MAY_SEE_PEOPLE).scalar_one())


def overview(connection: sqlalchemy.Connection, request_id: int) -> Overview:
    """One request.

    Raises:
        RequestNotFoundError: there is none of this number.
    """
    found = _read(connection, request_id)
    if not found:
        raise RequestNotFoundError(f"there is no erasure request {request_id}: see `compliance erase list`")
    return found[0]


def overviews(connection: sqlalchemy.Connection) -> list[Overview]:
    """Every request, in order."""
    return _read(connection, None)


def _read(connection: sqlalchemy.Connection, request_id: int | None) -> list[Overview]:
    rows = connection.execute(sql.REQUESTS_WITHOUT_PEOPLE, {"id": request_id}).all()
    ids = {"ids": [row.id for row in rows]}
    events: dict[int, list[SeenEvent]] = {row.id: [] for row in rows}
    for row in connection.execute(sql.EVENTS_WITHOUT_DETAIL, ids):
        events[row.request_id].append(SeenEvent(row.attempt, EventKind(row.kind), row.target, row.recorded_at))
    ends = {
        row.request_id: SeenEnd(row.result, row.log_entry_id, row.closed_at)
        for row in connection.execute(sql.CLOSURES_WITHOUT_STATEMENT, ids)
    }
    return [
        Overview(
            row.id,
            row.reason,
            row.requested_by,
            row.received_at,
            row.recorded_at,
            row.deadline,
            row.replay_of,
            tuple(events[row.id]),
            ends.get(row.id),
        )
        for row in rows
    ]
