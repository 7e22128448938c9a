"""`compliance erase list` and `erase show` for a login that may not know whom requests are about.

Here: how requests without their people are printed. Not here: those with them (erasure_words.py), and what is left out
(erasure/overview.py).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import click

from compliance_pipelines.erasure.case import State
from compliance_pipelines.erasure.deadline import days_left

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from compliance_pipelines.erasure.overview import Overview, SeenEvent

_LEFT_OUT: Final = ("user_id", "aliases", "deleted", "gone", "next_attempt_at")
_LEFT_OUT_OF_EVENTS: Final = ("events.detail",)
_SAID: Final = "left out, because this login may not see it: whom requests are about, and what was found and deleted"


def show_overviews(requests: Sequence[Overview], now: datetime, *, as_json: bool) -> None:
    """Print requests, one a line."""
    if as_json:
        click.echo(json.dumps([_to_json(each, now) for each in requests], ensure_ascii=False, indent=2))
        return
    for each in requests:
        click.echo(_line(each, now))
    click.echo("no requests" if not requests else _SAID, err=bool(requests))


def show_overview(request: Overview, now: datetime, *, as_json: bool) -> None:
    """Print a request and what happened to it."""
    if as_json:
        click.echo(json.dumps(_to_json(request, now, events=True), ensure_ascii=False, indent=2))
        return
    click.echo(_line(request, now))
    click.echo(f"  {request.reason}, asked by {request.requested_by}")
    for event in request.events:
        click.echo(f"  {_event_line(event)}")
    if request.end is not None:
        entry = "deletion record" if request.state is State.CLOSED else "entry"
        click.echo(f"  {entry} {request.end.log_entry_id}: {request.end.result}")
    click.echo(_SAID, err=True)


def _line(request: Overview, now: datetime) -> str:
    state = "open, or partial" if request.state is None else request.state.value
    line = f"{request.id}: {state}, person not shown"
    if request.end is not None:
        result = f", {request.end.result}" if request.state is State.CLOSED else ""
        return f"{line}{result}, ended {request.end.closed_at:%Y-%m-%d %H:%M} UTC"
    left = days_left(request.deadline, now)
    when = f"{left} days left" if left >= 0 else f"{-left} days late"
    extended = ", extended" if request.extended else ""
    earlier = ", or earlier because it was asked for again" if request.asked_again else ""
    return f"{line}, deadline {request.deadline} ({when}{extended}{earlier}), {request.attempts} attempts"


def _event_line(event: SeenEvent) -> str:
    kind = event.kind.value.replace("_", " ")
    what = f"attempt {event.attempt}: {kind}" if event.target is not None else kind
    return f"{event.recorded_at:%Y-%m-%d %H:%M:%S} {what}{'' if event.target is None else f' {event.target}'}"


def _to_json(request: Overview, now: datetime, *, events: bool = False) -> dict[str, Any]:
    """The keys of a request that is seen whole, with null for what is left out, and which that is."""
    document: dict[str, Any] = {
        "id": request.id,
        "user_id": None,
        "aliases": None,
        "state": None if request.state is None else request.state.value,
        "reason": request.reason,
        "requested_by": request.requested_by,
        "received_at": request.received_at.isoformat(),
        "recorded_at": request.recorded_at.isoformat(),
        "deadline": request.deadline.isoformat(),
        "extended": request.extended,
        "days_left": days_left(request.deadline, now) if request.end is None else None,
        "replay_of": request.replay_of,
        "attempts": request.attempts,
        "next_attempt_at": None,
        "deleted": None,
        "gone": None,
        "result": None if request.end is None else request.end.result,
        "log_entry_id": None if request.end is None else request.end.log_entry_id,
        "left_out": [
            *_LEFT_OUT,
            *(["state"] if request.state is None else []),
            *(_LEFT_OUT_OF_EVENTS if events else ()),
        ],
    }
    if events:
        document["events"] = [
            {
                "at": event.recorded_at.isoformat(),
                "attempt": event.attempt,
                "kind": event.kind.value,
                "target": event.target,
                "detail": None,
            }
            for event in request.events
        ]
    return document
