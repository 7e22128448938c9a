"""`compliance erase extend`, `correct`, `withdraw` and `refuse`: what people decide about a request.

Here: arguments and words. Not here: what a decision needs and does.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import click

from compliance_pipelines.base.unseen import shown_text
from compliance_pipelines.cli.erasure_words import case_to_json
from compliance_pipelines.cli.needs import Need, needs
from compliance_pipelines.cli.opening import opened
from compliance_pipelines.erasure import decisions
from compliance_pipelines.erasure.case import EventKind
from compliance_pipelines.erasure.near_matches import near_matches_in_settings, note_near_matches

if TYPE_CHECKING:
    from collections.abc import Callable

    from compliance_pipelines.erasure.case import Case
    from compliance_pipelines.services import Services


def _decision(command: Callable[..., None]) -> Callable[..., None]:
    for add in (
        click.option("--json", "as_json", is_flag=True, help="Print the request as JSON."),
        click.option("--reason", required=True, help="Why; the person must be told, too."),
        click.option("--by", required=True, help="Who decides."),
        click.argument("request_id", type=int),
    ):
        command = add(command)
    return command


def _decide(decide: Callable[[Services], Case], say: Callable[[Case], list[str]], *, as_json: bool) -> None:
    with opened() as services:
        case = decide(services)
        now = services.clock()
    if as_json:
        click.echo(json.dumps(case_to_json(case, now, events=True), ensure_ascii=False, indent=2))
        return
    for line in say(case):
        click.echo(line)


@click.command("extend")
@_decision
@needs(Need.DATABASE, Need.SUBJECT_NAMES, changes=True)
def extend(request_id: int, by: str, reason: str, *, as_json: bool) -> None:
    """Extend the deadline by two further months (Article 12(3)): once, and within a month of the receipt."""

    def say(case: Case) -> list[str]:
        until = f"{case.deadline}; tell the person why by {case.first_deadline}"
        return [f"erasure request {request_id}: the deadline is {until} (Article 12(3))"]

    _decide(lambda services: decisions.extend(services, request_id, by=by, reason=reason), say, as_json=as_json)


@click.command("withdraw")
@_decision
@needs(Need.DATABASE, Need.SUBJECT_NAMES, changes=True)
def withdraw(request_id: int, by: str, reason: str, *, as_json: bool) -> None:
    """End a request because the person does not want it any more. What was deleted before stays deleted."""

    def say(case: Case) -> list[str]:
        return [f"erasure request {request_id} is withdrawn", *_deleted_before(case)]

    _decide(lambda services: decisions.withdraw(services, request_id, by=by, reason=reason), say, as_json=as_json)


@click.command("refuse")
@_decision
@needs(Need.DATABASE, Need.SUBJECT_NAMES, changes=True)
def refuse(request_id: int, by: str, reason: str, *, as_json: bool) -> None:
    """End a request that is manifestly unfounded or excessive (Article 12(5)), which whoever refuses has to show."""

    def say(case: Case) -> list[str]:
        late = "" if case.events[-1].detail["in_time"] else ", which has passed"
        what = "the reason, and the right to complain to a supervisory authority and to go to court (Article 12(4))"
        told = f"erasure request {request_id} is refused; tell the person by {case.first_deadline}{late}: {what}"
        return [told, *_deleted_before(case)]

    _decide(lambda services: decisions.refuse(services, request_id, by=by, reason=reason), say, as_json=as_json)


@click.command("correct")
@_decision
@click.option("--subject", metavar="ID", help="Who is meant instead.")
@click.option("--also", multiple=True, metavar="ID", help="A further id of the same person; may be repeated.")
@click.option("--drop", multiple=True, metavar="ID", help="A further id that is not the person's; may be repeated.")
@click.option("--as-it-is", is_flag=True, help="The ids are meant as they are, suspicious though they look.")
@click.option("--no-look", is_flag=True, help="Do not look for ids that look alike; it reads every target.")
@needs(Need.DATABASE, Need.SUBJECT_NAMES, Need.ERASURE_TARGETS, changes=True, at_once=False)
def correct(  # noqa: PLR0913 - one per option
    *,
    request_id: int,
    by: str,
    reason: str,
    subject: str | None,
    also: tuple[str, ...],
    drop: tuple[str, ...],
    as_it_is: bool,
    no_look: bool,
    as_json: bool,
) -> None:
    """Put right whom a request is about: another subject, further ids, or ids that are not the person's."""
    if subject is None and not also and not drop:
        raise click.UsageError("say what is to be corrected: --subject, --also or --drop")

    near: list[str] = []

    def decide(services: Services) -> Case:
        correction = decisions.Correction(subject, also, drop, as_it_is)
        case = decisions.correct(services, request_id, correction, by=by, reason=reason)
        if no_look:
            return case
        found = near_matches_in_settings(services, case.identifiers.all)
        near.extend(found.lines())
        return note_near_matches(services, case, found)

    def say(case: Case) -> list[str]:
        about = f"erasure request {request_id} is about {', '.join(map(shown_text, case.identifiers.all))}"
        return [about, *_deleted_by_mistake(case), *near]

    _decide(decide, say, as_json=as_json)


def _deleted_before(case: Case) -> list[str]:
    detail = case.events[-1].detail
    said = [f"deleted before, and not brought back: {_counts(detail['deleted'])}"] if detail["deleted"] else []
    return said + _unaccounted(detail["unaccounted"])


def _deleted_by_mistake(case: Case) -> list[str]:
    detail = next(event.detail for event in reversed(case.events) if event.kind is EventKind.CORRECTED)
    deleted, unaccounted = detail.get("deleted", {}), detail.get("unaccounted", {})
    said = [f"deleted before: {_counts(deleted)}"] if deleted else []
    said += _unaccounted(unaccounted)
    if said:
        said.append(
            f"if this was data of somebody else than is meant ({', '.join(map(shown_text, detail['removed']))}), its "
            "loss is a personal data breach, to be notified within 72 hours (Article 33)"
        )
    return said


def _unaccounted(unaccounted: dict[str, dict[str, int]]) -> list[str]:
    return [
        f"found in {target} by an attempt that was interrupted, and perhaps deleted: {_counts(found)}"
        for target, found in unaccounted.items()
    ]


def _counts(counted: dict[str, int]) -> str:
    return ", ".join(f"{count} {data_type}" for data_type, count in sorted(counted.items()))


COMMANDS: Final[list[click.Command]] = [extend, correct, withdraw, refuse]
