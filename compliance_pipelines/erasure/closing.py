"""The end of an attempt: the deletion record that the requirement asks for, and the statement that it binds.

Here: what is said about an erasure to an auditor. Not here: carrying it out (runner.py), showing it
(auditor_record.py), and what the person is told (person_statement.py), which an entry of its own binds
(certificate_entry.py).

The record's metadata has the requirement's four fields and two of ours: the request's number, and for the record that
closes a request the SHA-256 of the statement. The entry is in the ledger, so the ledger proves the statement too.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

from compliance_pipelines.audit_log.deletion import undated_deletion_entry
from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.erasure import sql
from compliance_pipelines.erasure.case import CONFIRMATION, IDENTIFIERS, NOT_CARRIED_OUT, Case, Event, EventKind
from compliance_pipelines.erasure.certificate_entry import MEMBER, certificate_entry, with_certificate
from compliance_pipelines.erasure.record import append_entry
from compliance_pipelines.erasure.statements import SUCCESS, canonical_json, statement_hash
from compliance_pipelines.pseudonyms import subjects_from_settings

if TYPE_CHECKING:
    from collections import Counter

    import sqlalchemy

    from compliance_pipelines.audit_log.entry import AuditEntry, JsonValue, UndatedEntry
    from compliance_pipelines.services import Services

PARTIAL: Final = "partial"

_DECISIONS: Final = frozenset(
    {
        EventKind.ASKED_AGAIN,
        EventKind.EXTENDED,
        EventKind.CORRECTED,
        EventKind.WITHDRAWN,
        EventKind.REFUSED,
    }
)
# Of a correction also what was deleted before it, which is not counted for the person.
_SAID_OF_DECISIONS: Final = frozenset(
    {"by", "reason", "basis", "requested_by", "received_at", "deadline", "in_time", "deleted", "unaccounted"}
)

# What every erasure leaves, whatever the targets are.
_ALWAYS_KEPT: Final = (
    {
        "data_type": "audit_log_entries",
        "where": "audit log and its archives",
        "why": "append-only record that the law and its auditors ask for; kept for its retention period",
        "exception": "GDPR Article 17(3)(b), legal obligation, and 17(3)(e), legal claims",
    },
    {
        "data_type": "erasure_record",
        "where": "erasure_requests, erasure_events, erasure_closures",
        "why": "evidence of this erasure, and what repeats it after a backup was restored",
        "exception": "GDPR Article 17(3)(b) with Articles 5(2) and 12(3), and 17(3)(e)",
    },
)


def statement_of(case: Case, *, subject: str) -> dict[str, Any]:
    """Everything that is said about a request when it ends: what was asked, decided, deleted, kept, looked at again.

    Another person's id that was meant by mistake is not in it; erasure_events has it.

    Args:
        case: with everything that happened.
        subject: what the deletion record calls the person.
    """
    request = case.request
    return {
        "request": {
            "id": request.id,
            "user_id": case.user_id,
            "identifiers": list(case.identifiers.all),
            "subject": subject,
            "reason": _without_mistaken_ids(case, request.reason),
            "requested_by": request.requested_by,
            "received_at": request.received_at.isoformat(),
            "recorded_at": request.recorded_at.isoformat(),
            "deadline": case.first_deadline.isoformat(),
            "replay_of": request.replay_of,
        },
        "decisions": _decisions(case),
        "attempts": case.attempts,
        "deleted": _counts(case, "deleted"),
        "deletion_count": case.deleted().total(),
        "gone": _counts(case, "gone"),
        "verified": [
            {
                "target": event.target,
                "location": event.detail["location"],
                "at": event.recorded_at.isoformat(),
                **({"notes": event.detail["notes"]} if "notes" in event.detail else {}),
            }
            for event in case.of_this_person
            if event.kind is EventKind.VERIFIED and event.attempt == case.attempts
        ],
        "kept": [*_kept(case), *_ALWAYS_KEPT],
        "holds": _holds(case),
        "result": result_of(case),
    }


def _counts(case: Case, what: Literal["deleted", "gone"]) -> list[dict[str, Any]]:
    return [
        {
            "target": event.target,
            "location": event.detail["location"],
            "data_type": data_type,
            "count": count,
            "at": event.recorded_at.isoformat(),
        }
        for event in case.of_this_person
        for data_type, count in sorted((event.deleted if what == "deleted" else event.gone).items())
        if count
    ]


def _decisions(case: Case) -> list[dict[str, Any]]:
    """What people decided about the request, and that the person asked again."""
    return [
        {
            "kind": event.kind.value,
            "at": event.recorded_at.isoformat(),
            **{
                name: _without_mistaken_ids(case, value) if isinstance(value, str) else value
                for name, value in event.detail.items()
                if name in _SAID_OF_DECISIONS
            },
        }
        for event in case.events
        if event.kind in _DECISIONS
    ]


def _without_mistaken_ids(case: Case, text: str) -> str:
    """A text without ids that a correction took away, as they may be another person's."""
    right = set(case.identifiers.all)
    meant = {user_id for event in case.events for user_id in event.detail.get("removed", ())}
    if not meant - right:
        return text
    longest_first = sorted(meant | right, key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, longest_first)))
    return pattern.sub(lambda found: found[0] if found[0] in right else "(a mistaken id)", text)


def _kept(case: Case) -> list[dict[str, Any]]:
    """What was not deleted although it is the person's, or may be."""
    return [*_reported(case), *_left_out(case)]


def _left_out(case: Case) -> list[dict[str, Any]]:
    """The targets that an earlier attempt began and could not finish, and that are not configured any more."""
    begun = {event.target: event for event in case.of_this_person if event.kind in {EventKind.FOUND, EventKind.FAILED}}
    known = _targets_of_attempts(case)
    return [
        {
            "data_type": target,
            "where": event.detail["location"],
            "count": 1,
            "references": [],
            "why": "an earlier attempt could not finish this target, and it is not configured any more",
            "exception": "none",
            "is_theirs": True,
        }
        for target, event in begun.items()
        if target not in {None, IDENTIFIERS, CONFIRMATION}
        and target not in known.get(case.attempts, ())
        and not case.is_done(target)
        and not _is_renamed(case, event, known)
    ]


def _targets_of_attempts(case: Case) -> dict[int, set[str]]:
    return {event.attempt: set(event.detail["targets"]) for event in case.events if event.kind is EventKind.STARTED}


def _is_renamed(case: Case, begun: Event, known: dict[int, set[str]]) -> bool:
    """Whether the same place was looked at again under a name that did not exist when the target was begun.

    Targets may share a place, so that one which stood beside it then does not stand for it now.
    """
    names_then = set().union(*(names for attempt, names in known.items() if attempt <= begun.attempt))
    return any(
        event.kind is EventKind.VERIFIED
        and event.attempt == case.attempts
        and event.target not in names_then
        and event.detail["location"] == begun.detail["location"]
        for event in case.events
    )


def _reported(case: Case) -> list[dict[str, Any]]:
    """What the last look at each target found and left to a human."""
    return [
        {
            "data_type": reported["data_type"],
            "where": event.detail["location"],
            "count": reported["count"],
            "references": reported["references"],
            "why": reported["why"],
            "exception": "none by itself; a human decides"
            if reported["is_theirs"]
            else "not known to be this person's; a human decides",
            "is_theirs": reported["is_theirs"],
        }
        for event in case.of_this_person
        if event.kind is EventKind.VERIFIED and event.attempt == case.attempts
        for reported in event.detail["reported"]
    ]


def _holds(case: Case) -> list[dict[str, Any]]:
    """The holds that stopped earlier attempts."""
    return [
        {"attempt": event.attempt, "target": event.target, "at": event.recorded_at.isoformat(), **hold}
        for event in case.of_this_person
        if event.kind is EventKind.HELD
        for hold in event.detail["holds"]
    ]


def result_of(case: Case) -> str:
    """`success` where nothing is left that is the person's or may be, else `partial`; a decision that ended it."""
    if case.events and (ended := case.events[-1].kind.value) in NOT_CARRIED_OUT:
        return ended
    return PARTIAL if _kept(case) else SUCCESS


def close(services: Services, connection: sqlalchemy.Connection, case: Case) -> AuditEntry:
    """Append the deletion record and close the request; the caller commits, and so both or neither happens.

    Returns:
        The deletion record.
    """
    statement = _statement(services, case)
    result = result_of(case)
    entry = _deletion_record(
        services,
        case,
        case.deleted(),
        success=result == SUCCESS,
        errors=[f"{each['data_type']}: {each['count']} kept: {each['why']}" for each in _kept(case)],
        more={"statement_sha256": statement_hash(statement), **_gone(case.gone())},
    )
    appended = _append(services, connection, entry)
    _insert_closure(services, connection, case, appended, statement)
    return appended


def close_undone(
    services: Services, connection: sqlalchemy.Connection, case: Case, action: str, said: Mapping[str, Any]
) -> AuditEntry:
    """End a request that is not carried out, with the audit entry of the decision; the caller commits.

    Args:
        services: the opened services.
        connection: in the transaction of the decision.
        case: the request, whose last event is the decision.
        action: of the entry.
        said: what it says of the decision.
    """
    statement = _statement(services, case)
    bound = {**said, "statement_sha256": statement_hash(statement)}
    appended = append_entry(services, connection, case, action, bound)
    _insert_closure(services, connection, case, appended, statement)
    return appended


def _statement(services: Services, case: Case) -> str:
    subject = subjects_from_settings(services.settings).name(case.user_id)
    return canonical_json(with_certificate(statement_of(case, subject=subject), services.settings))


def _gone(gone: Counter[str]) -> dict[str, Any]:
    return {"gone": dict(sorted(gone.items()))} if gone else {}


def _insert_closure(
    services: Services, connection: sqlalchemy.Connection, case: Case, entry: AuditEntry, statement: str
) -> None:
    said = json.loads(statement)
    told = statement_hash(canonical_json(said[MEMBER]["statement"]))
    bound = certificate_entry(said, entry, sha256=told)
    _audit_log(services).append_within(connection, bound)
    connection.execute(
        sql.INSERT_CLOSURE,
        {
            "request_id": case.request.id,
            "result": result_of(case),
            "log_entry_id": entry.log_entry_id,
            "entry_timestamp": entry.timestamp,
            "statement": statement,
        },
    )


def record_partial(services: Services, connection: sqlalchemy.Connection, case: Case) -> AuditEntry | None:
    """Append the deletion record of an attempt that deleted something and not all; the caller commits.

    What an earlier attempt deleted that died without a record of it is in this one. So is what a dead attempt deleted
    before a decision ends or corrects the request.

    Returns:
        The record; None where nothing was deleted, so that there is nothing to record.
    """
    deleted = case.deleted_since_last_end()
    if not deleted.total():
        return None
    entry = _deletion_record(
        services, case, deleted, success=False, errors=_problems(case), more={"attempt": case.attempts}
    )
    return _append(services, connection, entry)


def _problems(case: Case) -> list[str]:
    problems = []
    for event in case.events:
        if event.attempt != case.attempts:
            continue
        if event.kind is EventKind.FAILED:
            problems.append(f"{event.target}: {event.detail['error']}")
        if event.kind is EventKind.HELD:
            problems += [f"{event.target or 'all'}: legal hold {hold['hold']}" for hold in event.detail["holds"]]
    return problems


def _deletion_record(  # noqa: PLR0913 - what the requirement says the record has
    services: Services,
    case: Case,
    deleted: Counter[str],
    *,
    success: bool,
    errors: list[str],
    more: Mapping[str, Any],
) -> UndatedEntry:
    """As AuditLog.record_deletion_within makes it, with the request's number, which the requirement does not forbid."""
    subjects = subjects_from_settings(services.settings)
    request, user_ids = case.request, case.identifiers.all
    entry = undated_deletion_entry(
        user_id=subjects.name(case.user_id),
        deleted_data_types=sorted(data_type for data_type, count in deleted.items() if count),
        deletion_count=deleted.total(),
        success=success,
        errors=[subjects.scrub(error, *user_ids) for error in errors],
        reason=subjects.scrub(request.reason, *user_ids),
    )
    return dataclasses.replace(entry, metadata={**_members(entry.metadata), "request_id": request.id, **more})


def _members(metadata: JsonValue) -> Mapping[str, JsonValue]:
    return metadata if isinstance(metadata, Mapping) else {}


def _append(services: Services, connection: sqlalchemy.Connection, entry: UndatedEntry) -> AuditEntry:
    return _audit_log(services).append_within(connection, entry)


def _audit_log(services: Services) -> AuditLog:
    return AuditLog(services.engine, first_day=services.settings.audit_log_first_day)
