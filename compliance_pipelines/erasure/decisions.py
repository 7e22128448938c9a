"""What people decide about a request: to extend its deadline, to correct whom it is about, to withdraw or refuse it.

Here: what each of these needs, and its record. Not here: telling the person, which is for people.

Each is an event of the request and an entry of the audit log in one transaction, and each waits for its turn: while an
attempt is under way nothing can be decided, and no attempt begins while something is decided.

What was deleted before a decision stays on record: for a correction or an end, the audit entry names the deletion
records of before, so that no replay after a restore takes the wrong person's data for what was erased.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.erasure import closing
from compliance_pipelines.erasure.case import EventKind, Identifiers
from compliance_pipelines.erasure.deadline import days_left, last_day_in_time
from compliance_pipelines.erasure.errors import ErasureError, RequestEndedError
from compliance_pipelines.erasure.locks import lock_requests, request_locked
from compliance_pipelines.erasure.record import (
    add_event,
    append_entry,
    load,
    open_cases_of,
    require_clear_id,
    require_id,
    require_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy

    from compliance_pipelines.erasure.case import Case
    from compliance_pipelines.services import Services

EXTENDED_MONTHS: Final = 3
"""The month of Article 12(3), and the two further ones."""
WITHDRAW: Final = "erasure.withdraw"
REFUSE: Final = "erasure.refuse"
CORRECT: Final = "erasure.correct"
EXTEND: Final = "erasure.extend"
DELETION_RECORDS: Final = "deletion_records"
"""In the entries of the first three: the deletion records that are not to be carried out again."""
_ACTIONS: Final = {EventKind.WITHDRAWN: WITHDRAW, EventKind.REFUSED: REFUSE}
_REFUSAL_BASIS: Final = "GDPR Article 12(5)(b)"
_EXTENSION_BASIS: Final = "GDPR Article 12(3), second sentence"


@dataclass(frozen=True)
class Correction:
    """What is changed about the ids of a request.

    Attributes:
        subject: who is meant instead; None where the subject stays.
        also: further ids of the same person.
        drop: further ids that were taken for the person's, and are not.
        as_it_is: whether somebody looked at suspicious ids, and they are meant.
    """

    subject: str | None = None
    also: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    as_it_is: bool = False

    def applied_to(self, known: Identifiers, *, by: str) -> Identifiers:
        """The ids after it. Ids that a table gave for a subject go with that subject.

        Raises:
            SuspiciousIdError: an id may not be the one that was meant.
            ErasureError: nothing changes, or an id that is to be dropped is not there.
        """
        for user_id in (*([] if self.subject is None else [self.subject]), *self.also):
            require_id(user_id)
            require_clear_id(user_id, as_it_is=self.as_it_is)
        if unknown := [each for each in self.drop if each not in known.aliases]:
            raise ErasureError(f"{unknown[0]!r} is none of the further ids of this request: {list(known.aliases)}")
        subject = known.subject if self.subject is None else self.subject
        given = f"given by {by}"
        aliases = {
            user_id: source
            for user_id, source in known.aliases.items()
            if user_id not in self.drop and (subject == known.subject or not is_of_table(source))
        } | dict.fromkeys(self.also, given)
        aliases.pop(subject, None)
        now = set(aliases) | {subject}
        corrected = Identifiers(subject, aliases, (known.dropped | set(self.drop)) - now)
        if (corrected.subject, set(corrected.aliases)) == (known.subject, set(known.aliases)):
            raise ErasureError("the correction changes nothing: the request has these ids already")
        return corrected


FROM_TABLE: Final = "read from "


def is_of_table(source: str) -> bool:
    """Whether an alias is known from a table, as its source says."""
    return source.startswith(FROM_TABLE)


def extend(services: Services, request_id: int, *, by: str, reason: str) -> Case:
    """Extend the deadline by two months (GDPR Article 12(3)), once, within the first month.

    The person must be told within that month, too, with the reason.

    Raises:
        RequestNotFoundError: there is none of this number.
        RequestEndedError: it has ended.
        ErasureError: it was extended before, or the month is over; or `by` or `reason` is blank.
        RequestBusyError: an attempt is under way.
    """
    said = _said(by, reason)
    with _deciding(services, request_id) as (connection, case):
        if case.extension is not None:
            raise ErasureError(
                f"erasure request {request_id} was extended before, until {case.deadline}: it can be done once"
            )
        if days_left(case.first_deadline, services.clock()) < 0:
            raise ErasureError(
                f"the deadline of erasure request {request_id} cannot be extended: the person had to be told within a "
                f"month of the receipt, by {case.first_deadline} (GDPR Article 12(3)), and that has passed"
            )
        said |= {
            "basis": _EXTENSION_BASIS,
            "deadline": last_day_in_time(case.received_at, months=EXTENDED_MONTHS).isoformat(),
            "was": case.first_deadline.isoformat(),
        }
        add_event(connection, case, case.attempts, EventKind.EXTENDED, **said)
        extended = load(connection, request_id)
        append_entry(services, connection, extended, EXTEND, said)
    return extended


def withdraw(services: Services, request_id: int, *, by: str, reason: str) -> Case:
    """End a request because the person does not want it any more. What was deleted stays deleted, and on record.

    Raises: as for :func:`extend`.
    """
    return _end(services, request_id, EventKind.WITHDRAWN, _said(by, reason))


def refuse(services: Services, request_id: int, *, by: str, reason: str) -> Case:
    """End a request that is manifestly unfounded or excessive (GDPR Article 12(5)).

    The person must be told within a month of the receipt why, and of the right to complain (Article 12(4)); the record
    says whether the decision was made in time for that.

    Raises: as for :func:`extend`.
    """
    return _end(services, request_id, EventKind.REFUSED, {**_said(by, reason), "basis": _REFUSAL_BASIS})


def _end(services: Services, request_id: int, kind: EventKind, said: dict[str, Any]) -> Case:
    with _deciding(services, request_id) as (connection, case):
        if kind is EventKind.REFUSED:
            said["in_time"] = days_left(case.first_deadline, services.clock()) >= 0
        said |= _before(services, connection, case)
        add_event(connection, case, case.attempts, kind, **said)
        decided = load(connection, request_id)
        closing.close_undone(services, connection, decided, _ACTIONS[kind], said)
        return load(connection, request_id)


def correct(services: Services, request_id: int, correction: Correction, *, by: str, reason: str) -> Case:
    """Put right whom a request is about. Every target is asked anew; nothing that was deleted is counted again.

    Raises:
        ErasureError: the ids cannot be these, or belong to another open request; or as for :func:`extend`.
        RequestNotFoundError: there is none of this number.
        RequestEndedError: it has ended.
        RequestBusyError: an attempt is under way.
    """
    said = _said(by, reason)
    with _deciding(services, request_id) as (connection, case):
        was = case.identifiers
        becomes = correction.applied_to(was, by=said["by"])
        others = [each for each in open_cases_of(connection, becomes.all) if each.request.id != request_id]
        if others:
            raise ErasureError(
                f"erasure request {others[0].request.id} is open for one of these ids: it carries them out; withdraw "
                "one of the two requests"
            )
        removed = [each for each in was.all if each not in becomes.all]
        before = _before(services, connection, case) if removed else {}
        add_event(
            connection,
            case,
            case.attempts,
            EventKind.CORRECTED,
            **said,
            **before,
            identifiers=becomes.to_json(),
            removed=removed,
        )
        corrected = load(connection, request_id)
        if was.subject not in removed:
            # The records of one who is still meant are this request's as before.
            before.pop(DELETION_RECORDS, None)
        named = {"was": was.subject, "removed_ids": len(removed), **before}
        append_entry(services, connection, corrected, CORRECT, {**said, **named})
    return corrected


@contextmanager
def _deciding(services: Services, request_id: int) -> Iterator[tuple[sqlalchemy.Connection, Case]]:
    """A transaction in which something is decided about an open request, with nobody else at it."""
    with services.engine.connect() as connection, request_locked(connection, request_id), connection.begin():
        lock_requests(connection)
        case = load(connection, request_id)
        if case.closure is not None:
            raise RequestEndedError(
                f"erasure request {request_id} has ended ({case.state.value}, {case.closure.closed_at:%Y-%m-%d %H:%M} "
                "UTC): nothing can be decided about it any more; what is to go is asked for by a new request"
            )
        yield connection, case


def _said(by: str, reason: str) -> dict[str, Any]:
    return {"by": require_text("who decides", by), "reason": require_text("the reason", reason)}


def _before(services: Services, connection: sqlalchemy.Connection, case: Case) -> dict[str, Any]:
    """What was deleted before the decision, with its deletion records; what an attempt left without one gets it."""
    recorded = case.partial_records()
    if (entry := closing.record_partial(services, connection, case)) is not None:
        recorded.append(entry.log_entry_id)
    return {
        "deleted": dict(sorted(case.deleted().items())),
        "unaccounted": {target: dict(found) for target, found in sorted(case.all_unaccounted().items())},
        DELETION_RECORDS: recorded,
    }
