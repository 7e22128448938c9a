"""The record of erasures: requests, what was done about them, how they ended.

Here: rows of `erasure_requests`, `erasure_events` and `erasure_closures`; recording a request. Not here: the state that
follows from them (case.py), what a person decides about a request (decisions.py), carrying it out (runner.py).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.audit_log.entry import MAX_INDEXED_BYTES
from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.audit_log.system_entries import system_entry
from compliance_pipelines.base.likeness import objection
from compliance_pipelines.erasure import sql
from compliance_pipelines.erasure.case import Case, Closure, Event, EventKind, Identifiers, Request, State
from compliance_pipelines.erasure.deadline import last_day_in_time
from compliance_pipelines.erasure.errors import ErasureError, RequestNotFoundError, SuspiciousIdError
from compliance_pipelines.erasure.locks import lock_requests
from compliance_pipelines.pseudonyms import subjects_from_settings

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    import sqlalchemy

    from compliance_pipelines.audit_log.entry import AuditEntry
    from compliance_pipelines.services import Services

__all__ = [
    "Case",
    "Closure",
    "Event",
    "EventKind",
    "Identifiers",
    "NewRequest",
    "Request",
    "State",
    "add_event",
    "all_cases",
    "append_entry",
    "cases_closed_since",
    "due_cases",
    "load",
    "open_cases",
    "open_cases_of",
    "record_request",
    "requests_naming",
    "require_clear_id",
    "require_id",
    "require_text",
]

RESOURCE_TYPE: Final = "erasure_request"
GIVEN: Final = "given with the request"


def require_text(what: str, text: str) -> str:
    """A text that a record takes, without blanks around it.

    Raises:
        ErasureError: there is nothing to read in it, or PostgreSQL cannot store it.
    """
    if not text.strip():
        raise ErasureError(f"{what} is missing: a request is later judged by it")
    _require_storable(what, text)
    return text.strip()


def require_id(user_id: str) -> None:
    """Let only an id pass that a record takes.

    Raises:
        ErasureError: it is empty, too long, or PostgreSQL cannot store it.
    """
    if not user_id:
        raise ErasureError("an erasure request needs a user id")
    _require_storable("the user id", user_id)
    if (size := len(user_id.encode())) > MAX_INDEXED_BYTES:
        raise ErasureError(f"the user id has {size:,} bytes, more than the {MAX_INDEXED_BYTES:,} that a record takes")


def require_clear_id(user_id: str, *, as_it_is: bool) -> None:
    """Let only an id pass that looks like what it is, or that somebody says is meant as it is.

    Raises:
        SuspiciousIdError: it does not; or there is nothing to see in it, which nobody can mean.
    """
    if (why := objection("the user id", user_id, as_it_is=as_it_is)) is not None:
        raise SuspiciousIdError(why)


def _require_storable(what: str, text: str) -> None:
    try:
        storable = b"\0" not in text.encode()
    except UnicodeEncodeError:
        storable = False
    if not storable:
        raise ErasureError(f"{what} contains a character that PostgreSQL cannot store")


@dataclass(frozen=True)
class NewRequest:
    """A request to be recorded.

    Args:
        user_id: who is to be erased; not empty.
        reason: why; not blank.
        requested_by: who asked, or enters it; not blank.
        received_at: when the person asked, aware; None is now.
        replay_of: the request that is carried out again.
        aliases: further ids of the same person.
        is_replay: whether nobody asked, but a restore brought the person back.
        as_it_is: whether somebody looked at suspicious ids, and they are meant.

    Raises:
        SuspiciousIdError: an id may not be the one that was meant.
        ErasureError: something is missing.
    """

    user_id: str
    reason: str
    requested_by: str
    received_at: datetime | None = None
    replay_of: int | None = None
    aliases: tuple[str, ...] = ()
    is_replay: bool = False
    as_it_is: bool = False

    def __post_init__(self) -> None:
        for user_id in (self.user_id, *self.aliases):
            require_id(user_id)
            # Whom a record names was looked at when it was made.
            if not self.is_replay:
                require_clear_id(user_id, as_it_is=self.as_it_is)
        require_text("the reason", self.reason)
        require_text("who asked for the erasure", self.requested_by)
        if self.received_at is not None and self.received_at.utcoffset() is None:
            raise ErasureError("the time at which a request was received needs a time zone")

    @property
    def identifiers(self) -> Identifiers:
        """The ids that are asked for."""
        return Identifiers(self.user_id, {each: GIVEN for each in self.aliases if each != self.user_id})


def record_request(services: Services, new: NewRequest) -> tuple[Case, bool]:
    """Record a request, durably, with its audit entry; nothing is erased yet.

    Returns:
        The request, and whether it is new: a person has one open request at a time, and asking again gives that one,
        with the repetition on its record.

    Raises:
        ErasureError: it was received in the future; or some of its ids belong to an open request, and not all of them.
        LockBusyError: another process records or ends a request and does not come to an end.
    """
    now = services.clock()
    received_at = new.received_at or now
    if received_at > now + timedelta(minutes=5):
        raise ErasureError(f"the request cannot have been received at {received_at.isoformat()}: that has not come yet")
    with services.engine.begin() as connection:
        # An id belongs to one open request: without the lock two could be recorded at once.
        lock_requests(connection)
        known = open_cases_of(connection, new.identifiers.all)
        if known:
            return _asked_again(services, connection, known, new, received_at), False
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
        case = Case(Request.from_row(row))
        if new.identifiers.aliases:
            add_event(connection, case, 0, EventKind.IDENTIFIED, identifiers=new.identifiers.to_json())
            case = load(connection, case.request.id)
        _audit_request(services, connection, case)
    return case, True


def _asked_again(
    services: Services, connection: sqlalchemy.Connection, known: Sequence[Case], new: NewRequest, received_at: datetime
) -> Case:
    """The open request that has every id of a new one, with the repetition on record."""
    case = known[0]
    lacking = [each for each in new.identifiers.all if each not in case.identifiers.all]
    if len(known) > 1 or lacking:
        numbers = ", ".join(str(each.request.id) for each in known)
        raise ErasureError(
            f"some of these ids belong to open erasure request {numbers}, and not all of them to one: if all are of "
            f"one person, add them there: compliance erase correct {case.request.id} --also ID; see `compliance erase "
            f"show {case.request.id}`"
        )
    if new.is_replay:
        return case
    asked: dict[str, Any] = {
        "requested_by": new.requested_by.strip(),
        "reason": new.reason.strip(),
        "received_at": received_at.isoformat(),
    }
    add_event(connection, case, case.attempts, EventKind.ASKED_AGAIN, **asked)
    append_entry(services, connection, case, "erasure.ask_again", asked)
    return load(connection, case.request.id)


def _audit_request(services: Services, connection: sqlalchemy.Connection, case: Case) -> None:
    request = case.request
    append_entry(
        services,
        connection,
        case,
        "erasure.request",
        {
            "reason": request.reason,
            "requested_by": request.requested_by,
            "received_at": request.received_at.isoformat(),
            "deadline": request.deadline.isoformat(),
            "replay_of": request.replay_of,
        },
    )


def append_entry(
    services: Services,
    connection: sqlalchemy.Connection,
    case: Case,
    action: str,
    said: Mapping[str, Any],
) -> AuditEntry:
    """Append the audit entry of something that was decided about a request; the caller commits.

    Args:
        services: the opened services.
        connection: in the transaction of the decision.
        case: the request, as it is with the decision.
        action: such as `erasure.request`.
        said: the particulars. Where entries carry pseudonyms, ids that are or were meant are replaced in their texts.
    """
    subjects = subjects_from_settings(services.settings)
    hidden = case.ids_ever_meant
    metadata: dict[str, Any] = {
        "user_id": subjects.name(case.user_id),
        **{name: subjects.scrub(value, *hidden) if isinstance(value, str) else value for name, value in said.items()},
    }
    if case.identifiers.aliases:
        metadata["aliases"] = [subjects.name(each) for each in case.identifiers.all[1:]]
    entry = system_entry(
        services.settings.audit_log_actor,
        action=action,
        resource_type=RESOURCE_TYPE,
        resource_id=str(case.request.id),
        result="success",
        metadata=metadata,
    )
    log = AuditLog(services.engine, first_day=services.settings.audit_log_first_day)
    return log.append_within(connection, entry)


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
    """Every request, or those that name a person by this id or once did, in order."""
    rows = connection.execute(sql.REQUESTS, {"ids": None if user_id is None else [user_id]})
    return _cases(connection, [Request.from_row(row) for row in rows])


def requests_naming(connection: sqlalchemy.Connection, user_ids: Collection[str]) -> list[int]:
    """The numbers of all requests that name a person by one of these ids or once did, in order."""
    return [row.id for row in connection.execute(sql.REQUESTS, {"ids": sorted(user_ids)})]


def open_cases(connection: sqlalchemy.Connection) -> list[Case]:
    """The requests that have not ended, the nearest deadline first."""
    return _open(connection, None)


def open_cases_of(connection: sqlalchemy.Connection, user_ids: Collection[str]) -> list[Case]:
    """The requests that have not ended and that name a person by any of these ids."""
    wanted = set(user_ids)
    return [case for case in _open(connection, sorted(wanted)) if not wanted.isdisjoint(case.identifiers.all)]


def _open(connection: sqlalchemy.Connection, user_ids: list[str] | None) -> list[Case]:
    rows = connection.execute(sql.OPEN_REQUESTS, {"ids": user_ids})
    cases = _cases(connection, [Request.from_row(row) for row in rows])
    return sorted(cases, key=lambda case: (case.deadline, case.request.id))


def cases_closed_since(connection: sqlalchemy.Connection, since: datetime) -> list[Case]:
    """The requests that were carried out and closed from a moment on, in the order of their ends."""
    rows = connection.execute(sql.CLOSED_SINCE, {"since": since})
    return _cases(connection, [Request.from_row(row) for row in rows])


def due_cases(connection: sqlalchemy.Connection, now: datetime) -> list[Case]:
    """The open requests that are due for an attempt, the nearest deadline first."""
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
    """Put on record what happened in an attempt, or after it; the caller commits."""
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
