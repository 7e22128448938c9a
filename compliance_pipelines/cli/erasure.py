"""`compliance erase`: requests under GDPR Article 17, from the request to the certificate.

Here: arguments and words. Not here: anything that an erasure does.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from compliance_pipelines.audit_log.deletion import DEFAULT_REASON
from compliance_pipelines.audit_log.readings import Reading, record_reading
from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.base.likeness import suspicions
from compliance_pipelines.base.unseen import shown_text
from compliance_pipelines.cli.checking import in_words
from compliance_pipelines.cli.erasure_overviews import show_overview, show_overviews
from compliance_pipelines.cli.erasure_words import case_to_json, event_line, line_of, preview_lines, report
from compliance_pipelines.cli.needs import Need, needs
from compliance_pipelines.cli.opening import opened
from compliance_pipelines.erasure.alias_tables import alias_tables
from compliance_pipelines.erasure.case import NOT_CARRIED_OUT, Identifiers, State
from compliance_pipelines.erasure.configured import configured_targets
from compliance_pipelines.erasure.deletion_records import DeletionRecord, deletion_records
from compliance_pipelines.erasure.errors import ErasureError, RequestEndedError, SuspiciousIdError
from compliance_pipelines.erasure.health import check_places
from compliance_pipelines.erasure.identifying import with_aliases_of_tables
from compliance_pipelines.erasure.near_matches import near_matches_in_settings, note_near_matches, with_numbers
from compliance_pipelines.erasure.overview import may_see_people, overview, overviews
from compliance_pipelines.erasure.preview import preview
from compliance_pipelines.erasure.record import GIVEN, NewRequest, all_cases, load, record_request
from compliance_pipelines.erasure.replay import plan_replay, request_replays
from compliance_pipelines.erasure.runner import run_due, run_request
from compliance_pipelines.pseudonyms import subjects_from_settings

if TYPE_CHECKING:
    from compliance_pipelines.erasure.case import Case
    from compliance_pipelines.services import Services
    from compliance_pipelines.settings import Settings

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


@click.command("request")
@click.argument("user_id")
@click.option("--reason", default=DEFAULT_REASON, show_default=True, help="Why; it stands in the deletion record.")
@click.option("--requested-by", required=True, help="Who asked, or who enters the request.")
@click.option("--received", type=_MOMENT, help="When the person asked; the month counts from then. Default: now.")
@click.option("--also", multiple=True, metavar="ID", help="A further id of the same person; may be repeated.")
@click.option("--as-it-is", is_flag=True, help="The ids are meant as they are, suspicious though they look.")
@click.option(
    "--no-look", is_flag=True, help="Do not look for ids that look like these; it reads through every target."
)
@click.option("--json", "as_json", is_flag=True, help="Print the request as JSON.")
@needs(Need.DATABASE, Need.SUBJECT_NAMES, Need.ERASURE_TARGETS, changes=True)
def request(  # noqa: PLR0913 - one per option
    *,
    user_id: str,
    reason: str,
    requested_by: str,
    received: datetime | None,
    also: tuple[str, ...],
    as_it_is: bool,
    no_look: bool,
    as_json: bool,
) -> None:
    """Record a request. Nothing is erased yet: `compliance erase run` and the sensor do that.

    Targets are looked through for ids that look like these, which are told and not erased.
    """
    with opened() as services:
        try:
            asked = NewRequest(user_id, reason, requested_by, received, aliases=also, as_it_is=as_it_is)
        except SuspiciousIdError as error:
            near = [] if no_look else near_matches_in_settings(services, (user_id, *also)).lines()
            raise SuspiciousIdError("; ".join([str(error), *near])) from error
        case, new = record_request(services, asked)
        lines: list[str] = []
        if new and not no_look:
            near_now = near_matches_in_settings(services, case.identifiers.all)
            lines = near_now.lines()
            case = note_near_matches(services, case, near_now)
        now = services.clock()
    if as_json:
        click.echo(json.dumps({"new": new, **case_to_json(case, now, events=True)}, ensure_ascii=False, indent=2))
        return
    if new:
        click.echo(f"erasure request {case.request.id} is recorded; its deadline is {case.deadline}")
    else:
        click.echo(
            f"erasure request {case.request.id} is open for this person already: {case.state.value}; that it was asked "
            f"for again is on its record, and its deadline is {case.deadline}"
        )
    for line in lines:
        click.echo(line)


@click.command("list")
@click.option("--user", help="Only requests that name a person by this id, or once did.")
@click.option("--open", "only_open", is_flag=True, help="Only those that have not ended.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@needs(Need.DATABASE, on_record=True)
def list_requests(user: str | None, *, only_open: bool, as_json: bool) -> None:
    """List the requests.

    Whom they are about is left out, and said to be, where the login may not see it.
    """
    with opened() as services:
        record_reading(services.engine, Reading.LIST_ERASURES, open=only_open, by_user=user is not None)
        now = services.clock()
        with services.engine.connect() as connection:
            if not may_see_people(connection):
                if user is not None:
                    raise ErasureError(
                        "this login may not see whom requests are about, and so cannot be told which are about a "
                        "person: leave --user out"
                    )
                seen = [each for each in overviews(connection) if not only_open or each.end is None]
                show_overviews(seen, now, as_json=as_json)
                return
            cases = [case for case in all_cases(connection, user_id=user) if not only_open or case.is_open]
    if as_json:
        click.echo(json.dumps([case_to_json(case, now) for case in cases], ensure_ascii=False, indent=2))
        return
    for case in cases:
        click.echo(line_of(case, now))
    if not cases:
        click.echo("no requests")


@click.command("show")
@click.argument("request_id", type=int)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@needs(Need.DATABASE, on_record=True)
def show(request_id: int, *, as_json: bool) -> None:
    """Show a request and everything that happened to it.

    Whom it is about is left out, and said to be, where the login may not see it.
    """
    with opened() as services:
        record_reading(services.engine, Reading.SHOW_ERASURE, str(request_id))
        now = services.clock()
        with services.engine.connect() as connection:
            if not may_see_people(connection):
                show_overview(overview(connection, request_id), now, as_json=as_json)
                return
            case = load(connection, request_id)
    if as_json:
        click.echo(json.dumps(case_to_json(case, now, events=True), ensure_ascii=False, indent=2))
        return
    click.echo(line_of(case, now))
    click.echo(f"  {case.request.reason}, asked by {case.request.requested_by}")
    for event in case.events:
        click.echo(f"  {event_line(event)}")
    if case.closure is not None:
        entry = "deletion record" if case.state is State.CLOSED else "entry"
        click.echo(f"  {entry} {case.closure.log_entry_id}: {case.closure.result}")


@click.command("plan")
@click.argument("request_id", type=int, required=False)
@click.option("--subject", metavar="ID", help="Instead of a request: the person.")
@click.option("--also", multiple=True, metavar="ID", help="A further id of the same person; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@needs(Need.DATABASE, Need.ERASURE_TARGETS, at_once=False, names_people=True)
def plan(request_id: int | None, subject: str | None, also: tuple[str, ...], *, as_json: bool) -> None:
    """Show what an erasure would delete now, what it would leave, and which holds there are. Nothing is changed.

    Exit status 1 where a target could not be looked at.
    """
    if (request_id is None) == (subject is None):
        raise click.UsageError("name a request, or a person with --subject")
    with opened() as services:
        settings = services.settings
        known = Identifiers(subject or "", dict.fromkeys(also, GIVEN))
        if request_id is not None:
            with services.engine.connect() as connection:
                case = load(connection, request_id)
            if not case.is_open:
                raise RequestEndedError(f"erasure request {request_id} is {case.state.value}: nothing more would go")
            known = Identifiers(case.user_id, {**case.identifiers.aliases, **dict.fromkeys(also, GIVEN)})
        known = with_aliases_of_tables(settings, known)
        seen = preview(services, configured_targets(settings), known, request_id=request_id or 0)
        near = near_matches_in_settings(services, known.all)
    suspicious = [f"{with_numbers(each)}: {why}" for each in known.all for why in suspicions(each)]
    if as_json:
        document = {**seen.as_json(), "suspicions": suspicious, "near": near.as_json()}
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
    else:
        for line in (*suspicious, *near.lines(), *preview_lines(seen)):
            click.echo(line)
    if seen.unseen:
        raise SystemExit(1)


@click.command("run")
@click.argument("request_id", type=int, required=False)
@click.option(
    "--confirm",
    type=click.IntRange(min=0),
    metavar="N",
    help="Agree that up to N things go, as `erase plan` counts them; if it would be more, nothing does.",
)
@needs(Need.DATABASE, Need.SUBJECT_NAMES, Need.ERASURE_TARGETS, changes=True, at_once=False)
def run(request_id: int | None, confirm: int | None) -> None:
    """Carry out a request now, or every open one that is due for an attempt.

    Exit status 1 where one stays open.
    """
    if confirm is not None and request_id is None:
        raise click.UsageError("--confirm is for one request: name it")
    with opened() as services:
        settings = services.settings
        if request_id is None:
            cases = run_due(services, lambda: configured_targets(settings))
        else:
            cases = [_carried_out(services, settings, request_id, confirm)]
        now = services.clock()
    report(cases, now)


def _carried_out(services: Services, settings: Settings, request_id: int, confirmed: int | None) -> Case:
    case = run_request(services, configured_targets(settings), request_id, confirmed=confirmed)
    if case.state in NOT_CARRIED_OUT:
        raise RequestEndedError(f"erasure request {request_id} is {case.state.value}: it is not carried out")
    return case


@click.command("replay")
@click.option("--since", type=_MOMENT, required=True, help="When the backup was made that was restored.")
@click.option("--requested-by", default="restore", show_default=True, help="Who asks for it.")
@click.option(
    "--candidates",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with the user ids that exist now, one a line: pseudonyms are compared to them.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@needs(Need.DATABASE, Need.COLD_STORE, Need.PUBLIC_KEY, Need.SUBJECT_NAMES, Need.ERASURE_TARGETS, changes=True)
def replay(since: datetime, requested_by: str, candidates: Path | None, *, yes: bool) -> None:
    """Erase again everybody who was erased since a backup that was restored was made."""
    with opened() as services:
        settings = services.settings
        plan = plan_replay(services, since, candidates=_lines(candidates))
        for each in plan.people:
            known = f"request {each.request_id}" if each.request_id is not None else "audit log alone"
            names = ", ".join(map(shown_text, (each.user_id, *each.aliases)))
            click.echo(f"{names}, erased {each.erased_at:%Y-%m-%d %H:%M} UTC ({known}, {each.log_entry_id})")
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
        report(done, now)
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


@click.command("records")
@click.argument("user_id")
@click.option("--since", type=_MOMENT, default=_EPOCH, help="Only from this time on.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@needs(Need.DATABASE, Need.COLD_STORE, Need.PUBLIC_KEY, names_people=True)
def records(user_id: str, since: datetime, *, as_json: bool) -> None:
    """Find a person's deletion records, by user id and by pseudonym, in the audit log and its archives."""
    with opened() as services:
        with services.engine.connect() as connection:
            # A deletion record has the subject's name alone.
            subjects = {case.user_id for case in all_cases(connection, user_id=user_id)} | {user_id}
        naming = subjects_from_settings(services.settings)
        names = [name for subject in sorted(subjects) for name in naming.names(subject)]
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


@click.command("targets")
@needs(Need.DATABASE, Need.ERASURE_TARGETS)
def targets() -> None:
    """List what an erasure covers, in the order in which it is erased, and what it could not look at or clear.

    Exit status 1 where something does not work.
    """
    with opened() as services:
        configured = configured_targets(services.settings)
        for target in configured:
            click.echo(f"{target.name}: {target.location}")
        for table in alias_tables(services.settings):
            click.echo(f"further ids of a person: {table.location}")
        if not configured:
            click.echo("no target is configured: an erasure would be refused")
            return
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


COMMANDS: Final[list[click.Command]] = [request, list_requests, show, plan, run, replay, records, targets]
