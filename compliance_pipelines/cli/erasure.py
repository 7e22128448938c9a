"""`compliance erase`: requests under GDPR Article 17, from the request to the certificate.

Here: arguments and words. Not here: anything that an erasure does.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from compliance_pipelines.audit_log.deletion import DEFAULT_REASON
from compliance_pipelines.cli.certificates import certificate, record
from compliance_pipelines.cli.checking import in_words
from compliance_pipelines.erasure.configured import configured_targets
from compliance_pipelines.erasure.deadline import days_left
from compliance_pipelines.erasure.deletion_records import DeletionRecord, deletion_records
from compliance_pipelines.erasure.health import check_places
from compliance_pipelines.erasure.record import (
    Case,
    EventKind,
    NewRequest,
    State,
    all_cases,
    load,
    record_request,
)
from compliance_pipelines.erasure.replay import plan_replay, request_replays
from compliance_pipelines.erasure.runner import run_due, run_request
from compliance_pipelines.errors import ComplianceError
from compliance_pipelines.pseudonyms import subjects_from_settings
from compliance_pipelines.services import Services, open_services
from compliance_pipelines.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class _Moment(click.ParamType[datetime]):
    """A date or a time in ISO 8601; without a zone it is UTC."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:  # noqa: ANN401 - click's signature
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time such as 2026-03-01 or 2026-03-01T12:00:00+01:00", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


_MOMENT: Final = _Moment()


@contextmanager
def _opened() -> Iterator[Services]:
    with open_services(load_settings(), signs=False) as services:
        yield services


@click.group("erase")
def erase() -> None:
    """Erase a person's data on request (GDPR Article 17)."""


erase.add_command(certificate)
erase.add_command(record)


@erase.command("request")
@click.argument("user_id")
@click.option("--reason", default=DEFAULT_REASON, show_default=True, help="Why; it stands in the deletion record.")
@click.option("--requested-by", required=True, help="Who asked, or who enters the request.")
@click.option("--received", type=_MOMENT, help="When the person asked; the month counts from then. Default: now.")
def request(user_id: str, reason: str, requested_by: str, received: datetime | None) -> None:
    """Record a request. Nothing is erased yet: `compliance erase run` and the sensor do that."""
    with _opened() as services:
        case, new = record_request(services, NewRequest(user_id, reason, requested_by, received))
    if new:
        click.echo(f"erasure request {case.request.id} is recorded; its deadline is {case.request.deadline}")
    else:
        click.echo(f"erasure request {case.request.id} is open for this person already: {case.state.value}")


@erase.command("list")
@click.option("--user", help="Only requests for this user id.")
@click.option("--open", "only_open", is_flag=True, help="Only those that are not closed.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_requests(user: str | None, *, only_open: bool, as_json: bool) -> None:
    """List the requests."""
    with _opened() as services:
        with services.engine.connect() as connection:
            cases = [
                case for case in all_cases(connection, user_id=user) if not only_open or case.state is not State.CLOSED
            ]
        now = services.clock()
    if as_json:
        click.echo(json.dumps([_to_json(case, now) for case in cases], ensure_ascii=False, indent=2))
        return
    for case in cases:
        click.echo(_line(case, now))
    if not cases:
        click.echo("no requests")


@erase.command("show")
@click.argument("request_id", type=int)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def show(request_id: int, *, as_json: bool) -> None:
    """Show a request and everything that happened to it."""
    with _opened() as services:
        with services.engine.connect() as connection:
            case = load(connection, request_id)
        now = services.clock()
    if as_json:
        click.echo(json.dumps(_to_json(case, now, events=True), ensure_ascii=False, indent=2))
        return
    click.echo(_line(case, now))
    click.echo(f"  {case.request.reason}, asked by {case.request.requested_by}")
    for event in case.events:
        what = f"attempt {event.attempt}: {event.kind.value}"
        if event.target is not None:
            what += f" {event.target}"
        click.echo(f"  {event.recorded_at:%Y-%m-%d %H:%M:%S} {what}{_particulars(event.kind, event.detail)}")
    if case.closure is not None:
        click.echo(f"  deletion record {case.closure.log_entry_id}: {case.closure.result}")


@erase.command("run")
@click.argument("request_id", type=int, required=False)
def run(request_id: int | None) -> None:
    """Carry out a request now, or every open one that is due for an attempt.

    Exit status 1 where one stays open.
    """
    settings = load_settings()
    with open_services(settings, signs=False) as services:
        if request_id is None:
            cases = run_due(services, lambda: configured_targets(settings))
        else:
            cases = [run_request(services, configured_targets(settings), request_id)]
        now = services.clock()
    _report(cases, now)


def _report(cases: list[Case], now: datetime) -> None:
    for case in cases:
        click.echo(_line(case, now))
    if not cases:
        click.echo("no request is due")
    if still_open := [case for case in cases if case.state is not State.CLOSED]:
        reasons = "; ".join(f"{case.request.id}: {_why_open(case)}" for case in still_open)
        raise ComplianceError(f"{len(still_open)} requests stay open: {reasons}")


@erase.command("replay")
@click.option("--since", type=_MOMENT, required=True, help="When the backup was made that was restored.")
@click.option("--requested-by", default="restore", show_default=True, help="Who asks for it.")
@click.option(
    "--candidates",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with the user ids that exist now, one a line: pseudonyms are compared to them.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
def replay(since: datetime, requested_by: str, candidates: Path | None, *, yes: bool) -> None:
    """Erase again everybody who was erased since a backup that was restored was made."""
    settings = load_settings()
    with open_services(settings, signs=False) as services:
        plan = plan_replay(services, since, candidates=_lines(candidates))
        for each in plan.people:
            known = f"request {each.request_id}" if each.request_id is not None else "audit log alone"
            click.echo(f"{each.user_id}, erased {each.erased_at:%Y-%m-%d %H:%M} UTC ({known}, {each.log_entry_id})")
        if not plan.people:
            click.echo("nobody was erased since then")
        elif not yes:
            click.confirm(
                f"Erase these {len(plan.people)} people again, with whatever belongs to their user ids now?", abort=True
            )
        cases = request_replays(services, plan, requested_by=requested_by)
        done = [run_request(services, configured_targets(settings), case.request.id) for case in cases]
        now = services.clock()
    if plan.people:
        _report(done, now)
    if plan.unknown:
        raise ComplianceError(
            f"{len(plan.unknown)} deletion records are of people whose pseudonym nobody here has: "
            f"{', '.join(plan.unknown[:10])}; give the user ids that exist now with --candidates"
        )


def _lines(path: Path | None) -> list[str]:
    if path is None:
        return []
    try:
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line]
    except (OSError, UnicodeDecodeError) as error:
        raise ComplianceError(f"the user ids cannot be read from {path}: {error}") from error


@erase.command("records")
@click.argument("user_id")
@click.option("--since", type=_MOMENT, default=_EPOCH, help="Only from this time on.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def records(user_id: str, since: datetime, *, as_json: bool) -> None:
    """Find a person's deletion records, by user id and by pseudonym, in the audit log and its archives."""
    with _opened() as services:
        names = subjects_from_settings(services.settings).names(user_id)
        found = list(deletion_records(services, since, names=names))
    if as_json:
        click.echo(json.dumps([_record_to_json(each) for each in found], ensure_ascii=False, indent=2))
        return
    for each in found:
        click.echo(
            f"{each.timestamp:%Y-%m-%d %H:%M:%S} {each.log_entry_id}: {each.result}, "
            f"{each.metadata.get('deletion_count')} items, as {each.name}"
        )
    if not found:
        click.echo(f"no deletion record of {' or '.join(names)}")


@erase.command("targets")
def targets() -> None:
    """List what an erasure covers, in the order in which it is erased, and what it could not look at or clear.

    Exit status 1 where something does not work.
    """
    settings = load_settings()
    configured = configured_targets(settings)
    for target in configured:
        click.echo(f"{target.name}: {target.location}")
    if not configured:
        click.echo("no target is configured: an erasure would be refused")
        return
    with open_services(settings, signs=False) as services:
        found = [each for each in check_places(services, configured) if not each.ok]
    for each in found:
        click.echo(in_words(each))
    if any(each.fails for each in found):
        raise SystemExit(1)


def _record_to_json(record: DeletionRecord) -> dict[str, Any]:
    return {
        "log_entry_id": record.log_entry_id,
        "timestamp": record.timestamp.isoformat(),
        "user_id": record.name,
        "result": record.result,
        "metadata": record.metadata,
        "archived": record.archived,
    }


def _line(case: Case, now: datetime) -> str:
    asked = case.request
    line = f"{asked.id}: {case.state.value}, {asked.user_id}"
    if case.closure is not None:
        return f"{line}, {case.closure.result}, {case.deleted().total()} items deleted"
    left = days_left(asked.deadline, now)
    when = f"{left} days left" if left >= 0 else f"{-left} days late"
    return f"{line}, deadline {asked.deadline} ({when}), {case.attempts} attempts"


def _why_open(case: Case) -> str:
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


def _particulars(kind: EventKind, detail: dict[str, Any]) -> str:
    parts = [f"{count} {data_type}" for data_type, count in sorted(detail.get("deleted", {}).items()) if count]
    if kind is EventKind.FOUND:
        parts = [f"{count} {data_type}" for data_type, count in sorted(detail["items"].items())]
    parts += [f"hold {hold['hold']}: {hold['reason']}" for hold in detail.get("holds", [])]
    parts += [
        f"left to a human: {each['count']} {each['data_type']}: {each['why']}" for each in detail.get("reported", [])
    ]
    if "error" in detail:
        parts.append(detail["error"])
    return f" ({'; '.join(parts)})" if parts else ""


def _to_json(case: Case, now: datetime, *, events: bool = False) -> dict[str, Any]:
    asked = case.request
    document: dict[str, Any] = {
        "id": asked.id,
        "user_id": asked.user_id,
        "state": case.state.value,
        "reason": asked.reason,
        "requested_by": asked.requested_by,
        "received_at": asked.received_at.isoformat(),
        "recorded_at": asked.recorded_at.isoformat(),
        "deadline": asked.deadline.isoformat(),
        "days_left": None if case.closure is not None else days_left(asked.deadline, now),
        "replay_of": asked.replay_of,
        "attempts": case.attempts,
        "next_attempt_at": None if case.due_at is None else case.due_at.isoformat(),
        "deleted": dict(sorted(case.deleted().items())),
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


COMMANDS: Final[list[click.Command]] = [erase]
