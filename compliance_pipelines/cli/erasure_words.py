"""Erasure requests in words and in JSON.

Here: how a request is printed. Not here: any command.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.base.unseen import shown_text
from compliance_pipelines.erasure.case import EventKind, State
from compliance_pipelines.erasure.deadline import days_left

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from compliance_pipelines.erasure.case import Case, Event
    from compliance_pipelines.erasure.preview import Preview


def line_of(case: Case, now: datetime) -> str:
    """A request in one line."""
    line = f"{case.request.id}: {case.state.value}, {_names(case)}"
    if case.closure is not None:
        result = f", {case.closure.result}" if case.state is State.CLOSED else ""
        return f"{line}{result}, {_counted(case)}"
    left = days_left(case.deadline, now)
    when = f"{left} days left" if left >= 0 else f"{-left} days late"
    extended = "" if case.extension is None else ", extended"
    return f"{line}, deadline {case.deadline} ({when}{extended}), {case.attempts} attempts"


def _names(case: Case) -> str:
    aliases = ", ".join(map(shown_text, case.identifiers.all[1:]))
    return shown_text(case.user_id) + (f" ({aliases})" if aliases else "")


def _counted(case: Case) -> str:
    gone = case.gone().total()
    more = f" and {gone} gone since an interrupted attempt" if gone else ""
    return f"{case.deleted().total()} items deleted{more}"


def why_open(case: Case) -> str:
    """Why the last attempt did not close a request."""
    last = [event for event in case.events if event.attempt == case.attempts]
    reasons: Iterable[str] = [
        f"{event.target}: {event.detail['error']}" for event in last if event.kind is EventKind.FAILED
    ] + [
        f"hold {hold['hold']} ({hold['covers']}): {hold['reason']}"
        for event in last
        if event.kind is EventKind.HELD
        for hold in event.detail["holds"]
    ]
    return "; ".join(dict.fromkeys(reasons)) or "interrupted"


def report(cases: list[Case], now: datetime) -> None:
    """Print requests after an attempt.

    Raises:
        ComplianceError: one stays open.
    """
    for case in cases:
        click.echo(line_of(case, now))
    if not cases:
        click.echo("no request is due")
    if still_open := [case for case in cases if case.is_open]:
        reasons = "; ".join(f"{case.request.id}: {why_open(case)}" for case in still_open)
        raise ComplianceError(f"{len(still_open)} requests stay open: {reasons}")


def event_line(event: Event) -> str:
    """Something that happened, in one line."""
    kind = event.kind.value.replace("_", " ")
    what = f"attempt {event.attempt}: {kind}" if "targets" in event.detail or event.target is not None else kind
    if event.kind in {EventKind.HELD, EventKind.ENDED}:
        what = f"attempt {event.attempt}: {kind}"
    if event.target is not None:
        what += f" {event.target}"
    particulars = _particulars(event)
    said = f" ({'; '.join(particulars)})" if particulars else ""
    return f"{event.recorded_at:%Y-%m-%d %H:%M:%S} {what}{said}"


def _particulars(event: Event) -> list[str]:
    detail = event.detail
    parts = [f"{count} {data_type}" for data_type, count in sorted(detail.get("deleted", {}).items()) if count]
    if event.kind is EventKind.FOUND:
        parts = [f"{count} {data_type}" for data_type, count in sorted(detail["items"].items())]
    if event.kind is EventKind.CORRECTED and parts:
        parts = [f"deleted before: {', '.join(parts)}"]
    parts += [
        f"gone since an interrupted attempt: {count} {data_type}"
        for data_type, count in sorted(detail.get("gone", {}).items())
    ]
    parts += [f"hold {hold['hold']}: {hold['reason']}" for hold in detail.get("holds", [])]
    parts += [
        f"left to a human: {each['count']} {each['data_type']}: {each['why']}" for each in detail.get("reported", [])
    ]
    parts += detail.get("notes", [])
    if "identifiers" in detail:
        known = detail["identifiers"]
        parts.append(f"ids: {', '.join(map(shown_text, [known['subject'], *known['aliases']]))}")
    if detail.get("removed"):
        parts.append(f"no longer meant: {', '.join(map(shown_text, detail['removed']))}")
    if event.kind in {EventKind.EXTENDED, EventKind.ASKED_AGAIN}:
        name = "deadline" if event.kind is EventKind.EXTENDED else "received_at"
        parts.append(f"{name.replace('_at', '')} {detail[name]}")
    if "requested_by" in detail:
        parts.append(f"by {detail['requested_by']}: {detail['reason']}")
    if "by" in detail:
        parts.append(f"by {detail['by']}: {detail['reason']}")
    if "error" in detail:
        parts.append(detail["error"])
    return parts


def preview_lines(seen: Preview) -> list[str]:
    """What an erasure would do, in lines."""
    aliases = [f"also {shown_text(user_id)}: {source}" for user_id, source in sorted(seen.identifiers.aliases.items())]
    lines = [shown_text(seen.identifiers.subject), *(f"  {each}" for each in aliases)]
    if seen.hold is not None:
        lines.append(f"hold {seen.hold['hold']} ({seen.hold['covers']}): {seen.hold['reason']}: nothing would go")
    for target in seen.targets:
        lines.append(f"{target.name}: {target.location}")
        said = [f"{count} {data_type} would go" for data_type, count in sorted(target.would_go.items())]
        said += [f"hold {each['hold']} keeps {each['count']} {each['data_type']}" for each in target.held]
        said += [f"left to a human: {each['count']} {each['data_type']}: {each['why']}" for each in target.reported]
        said += [*target.notes, *([] if target.error is None else [f"could not be looked at: {target.error}"])]
        lines += [f"  {each}" for each in said or ["nothing"]]
    if seen.hold is None:
        of = f": compliance erase run {seen.request_id} --confirm {seen.would_go}" if seen.request_id else ""
        lines.append(f"{seen.would_go} items would go{of}" if not seen.unseen else "nobody can tell how much would go")
    return lines


def case_to_json(case: Case, now: datetime, *, events: bool = False) -> dict[str, Any]:
    """A request as JSON values, with its events or without."""
    asked = case.request
    document: dict[str, Any] = {
        "id": asked.id,
        "user_id": case.user_id,
        "aliases": dict(case.identifiers.aliases),
        "state": case.state.value,
        "reason": asked.reason,
        "requested_by": asked.requested_by,
        "received_at": case.received_at.isoformat(),
        "recorded_at": asked.recorded_at.isoformat(),
        "deadline": case.deadline.isoformat(),
        "extended": case.extension is not None,
        "days_left": days_left(case.deadline, now) if case.is_open else None,
        "replay_of": asked.replay_of,
        "attempts": case.attempts,
        "next_attempt_at": None if case.due_at is None else case.due_at.isoformat(),
        "deleted": dict(sorted(case.deleted().items())),
        "gone": dict(sorted(case.gone().items())),
        "result": None if case.closure is None else case.closure.result,
        "log_entry_id": None if case.closure is None else case.closure.log_entry_id,
    }
    if events:
        document["events"] = [
            {
                "at": event.recorded_at.isoformat(),
                "attempt": event.attempt,
                "kind": event.kind.value,
                "target": event.target,
                "detail": event.detail,
            }
            for event in case.events
        ]
    return document
