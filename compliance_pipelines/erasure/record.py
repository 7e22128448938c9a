"""The record of erasures: requests, what was done about them, how they ended.

Here: rows of `erasure_requests`, `erasure_events` and `erasure_closures`, and the state that follows from them. Not
here: doing anything about a request (runner.py).
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.audit_log.entry import MAX_INDEXED_BYTES
from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.audit_log.system_entries import system_entry
from compliance_pipelines.database_locks import transaction_lock
from compliance_pipelines.erasure import sql
from compliance_pipelines.erasure.deadline import last_day_in_time
from compliance_pipelines.erasure.errors import ErasureError, RequestNotFoundError
from compliance_pipelines.pseudonyms import subjects_from_settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime

    import sqlalchemy

    from compliance_pipelines.services import Services

RESOURCE_TYPE: Final = "erasure_request"
_FIRST_PAUSE: Final = timedelta(minutes=5)
_LONGEST_PAUSE: Final = timedelta(hours=6)
_MOST_DOUBLINGS: Final = 8


class EventKind(StrEnum):
    """What happened to a request."""

    STARTED = "started"
    FOUND = "found"
    DELETED = "deleted"
    HELD = "held"
    FAILED = "failed"
    VERIFIED = "verified"
    ENDED = "ended"


class State(StrEnum):
    """Where a request is."""

    OPEN = "open"
    PARTIAL = "partial"
    HELD = "held"
    CLOSED = "closed"


@dataclass(frozen=True)
class Request:
    """A person's request.

    Attributes:
        id: its number.
        user_id: who is to be erased.
        reason: why.
        requested_by: who asked, or entered it.
        received_at: when the person asked; the deadline counts from then.
        deadline: last UTC day on which the answer is in time.
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
class Event:
    """Something that happened to a request: in which attempt, at which target, with which particulars."""

    attempt: int
    kind: EventKind
    target: str | None
    detail: dict[str, Any]
    recorded_at: datetime

    @property
    def deleted(self) -> Counter[str]:
        """How many things of each data type this event says were deleted."""
        return Counter(self.detail.get("deleted", {}))


@dataclass(frozen=True)
class Closure:
    """How a request ended: with which deletion record, and the statement that the record's hash binds."""

    result: str
    log_entry_id: str
    entry_timestamp: datetime
    statement: str
    closed_at: datetime


@dataclass(frozen=True)
class Case:
    """A request with everything that happened to it."""

    request: Request
    events: tuple[Event, ...] = field(default=())
    closure: Closure | None = None

    @property
    def state(self) -> State:
        """Derived from what is recorded; there is no column that could disagree."""
        if self.closure is not None:
            return State.CLOSED
        if not self.events:
            return State.OPEN
        last = self.attempts
        held = any(event.kind is EventKind.HELD for event in self.events if event.attempt == last)
        return State.HELD if held else State.PARTIAL

    @property
    def attempts(self) -> int:
        """How many times somebody began to carry it out."""
        return max((event.attempt for event in self.events), default=0)

    @property
    def due_at(self) -> datetime | None:
        """When it is to be tried next; None where it is closed. The pause doubles each time, up to six hours."""
        if self.closure is not None:
            return None
        if not self.events:
            return self.request.received_at
        doublings = min(self.attempts - 1, _MOST_DOUBLINGS)
        return self.events[-1].recorded_at + min(_FIRST_PAUSE * (1 << doublings), _LONGEST_PAUSE)

    def is_done(self, target: str) -> bool:
        """Whether everything of a target was deleted and nothing is known to have come back."""
        done = False
        for event in self.events:
            if event.target != target:
                continue
            if event.kind is EventKind.DELETED:
                done = True
            elif event.kind is EventKind.HELD or event.detail.get("came_back"):
                done = False
        return done

    def unaccounted(self, target: str) -> Counter[str]:
        """What a target's last attempt had found and never said what became of: it was interrupted, or failed."""
        found: Counter[str] = Counter()
        for event in self.events:
            if event.target != target:
                continue
            if event.kind is EventKind.FOUND:
                found = Counter(event.detail["items"])
            elif event.kind in {EventKind.DELETED, EventKind.HELD}:
                found = Counter()
        return found

    def deleted(self, *, attempt: int | None = None) -> Counter[str]:
        """How many things of each data type were deleted, in all or in one attempt."""
        total: Counter[str] = Counter()
        for event in self.events:
            if attempt in {None, event.attempt}:
                total += event.deleted
        return total

    def deleted_since_last_end(self) -> Counter[str]:
        """What was deleted since an attempt ended in order, and so has no deletion record: also by one that died."""
        total: Counter[str] = Counter()
        for event in self.events:
            total = Counter() if event.kind is EventKind.ENDED else total + event.deleted
        return total


@dataclass(frozen=True)
class NewRequest:
    """A request to be recorded.

    Args:
        user_id: who is to be erased; not empty.
        reason: why; not blank.
        requested_by: who asked, or enters it; not blank.
        received_at: when the person asked, aware; None is now.
        replay_of: the request that is carried out again.

    Raises:
        ErasureError: something is missing.
    """

    user_id: str
    reason: str
    requested_by: str
    received_at: datetime | None = None
    replay_of: int | None = None

    def __post_init__(self) -> None:
        if not self.user_id or not self.reason.strip() or not self.requested_by.strip():
            raise ErasureError("an erasure request needs a user id, a reason, and who asked for it")
        try:
            size = len(self.user_id.encode())
            storable = "\0" not in (self.user_id + self.reason + self.requested_by).encode().decode()
        except UnicodeEncodeError:
            storable = False
        if not storable:
            raise ErasureError("an erasure request contains a character that PostgreSQL cannot store")
        if size > MAX_INDEXED_BYTES:
            raise ErasureError(
                f"the user id has {size:,} bytes, more than the {MAX_INDEXED_BYTES:,} that a record takes"
            )
        if self.received_at is not None and self.received_at.utcoffset() is None:
            raise ErasureError("the time at which a request was received needs a time zone")


def record_request(services: Services, new: NewRequest) -> tuple[Case, bool]:
    """Record a request, durably, with its audit entry; nothing is erased yet.

    Returns:
        The request, and whether it is new: a person has one open request at a time, and asking again gives that one.

    Raises:
        ErasureError: it was received in the future.
    """
    now = services.clock()
    received_at = new.received_at or now
    if received_at > now + timedelta(minutes=5):
        raise ErasureError(f"the request cannot have been received at {received_at.isoformat()}: that has not come yet")
    with services.engine.begin() as connection:
        # One open request for a person: without the lock two could be recorded at once.
        transaction_lock(connection, "erasure.person", new.user_id, doing="the erasure request")
        known = connection.execute(sql.OPEN_REQUESTS, {"user_id": new.user_id}).first()
        if known is not None:
            return load(connection, known.id), False
        row = connection.execute(
            sql.INSERT_REQUEST,
            {
                "user_id": new.user_id,
                "reason": new.reason.strip(),
                "requested_by": new.requested_by.strip(),
                "received_at": received_at,
                "deadline": last_day_in_time(received_at),
                "replay_of": new.replay_of,
            },
        ).one()
        request = Request.from_row(row)
        _audit(services, connection, request)
    return Case(request), True


def _audit(services: Services, connection: sqlalchemy.Connection, request: Request) -> None:
    subjects = subjects_from_settings(services.settings)
    entry = system_entry(
        services.settings.audit_log_actor,
        action="erasure.request",
        resource_type=RESOURCE_TYPE,
        resource_id=str(request.id),
        result="success",
        metadata={
            "user_id": subjects.name(request.user_id),
            "reason": subjects.scrub(request.reason, request.user_id),
            "requested_by": subjects.scrub(request.requested_by, request.user_id),
            "received_at": request.received_at.isoformat(),
            "deadline": request.deadline.isoformat(),
            "replay_of": request.replay_of,
        },
    )
    AuditLog(services.engine, first_day=services.settings.audit_log_first_day).append_within(connection, entry)


def load(connection: sqlalchemy.Connection, request_id: int) -> Case:
    """A request with everything that happened to it.

    Raises:
        RequestNotFoundError: there is none of this number.
    """
    row = connection.execute(sql.REQUEST, {"id": request_id}).one_or_none()
    if row is None:
        raise RequestNotFoundError(f"there is no erasure request {request_id}: see `compliance erase list`")
    return _cases(connection, [Request.from_row(row)])[0]


def all_cases(connection: sqlalchemy.Connection, *, user_id: str | None = None) -> list[Case]:
    """Every request, or those for one person, in order."""
    rows = connection.execute(sql.REQUESTS, {"user_id": user_id})
    return _cases(connection, [Request.from_row(row) for row in rows])


def open_cases(connection: sqlalchemy.Connection) -> list[Case]:
    """The requests that are not closed, the nearest deadline first."""
    rows = connection.execute(sql.OPEN_REQUESTS, {"user_id": None})
    return _cases(connection, [Request.from_row(row) for row in rows])


def due_cases(connection: sqlalchemy.Connection, now: datetime) -> list[Case]:
    """The open requests whose pause is over, the nearest deadline first."""
    return [case for case in open_cases(connection) if case.due_at is not None and case.due_at <= now]


def _cases(connection: sqlalchemy.Connection, requests: Sequence[Request]) -> list[Case]:
    ids = {"ids": [request.id for request in requests]}
    events: dict[int, list[Event]] = {request.id: [] for request in requests}
    for row in connection.execute(sql.EVENTS, ids):
        event = Event(row.attempt, EventKind(row.kind), row.target, row.detail, row.recorded_at)
        events[row.request_id].append(event)
    closures = {
        row.request_id: Closure(row.result, row.log_entry_id, row.entry_timestamp, row.statement, row.closed_at)
        for row in connection.execute(sql.CLOSURES, ids)
    }
    return [Case(request, tuple(events[request.id]), closures.get(request.id)) for request in requests]


def add_event(
    connection: sqlalchemy.Connection,
    case: Case,
    attempt: int,
    kind: EventKind,
    *,
    target: str | None = None,
    **detail: object,
) -> None:
    """Put on record what happened; the caller commits."""
    connection.execute(
        sql.INSERT_EVENT,
        {
            "request_id": case.request.id,
            "attempt": attempt,
            "kind": kind.value,
            "target": target,
            "detail": json.dumps(detail, ensure_ascii=False),
        },
    )
