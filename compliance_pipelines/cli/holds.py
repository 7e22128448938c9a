"""`compliance hold`: legal holds.

Here: arguments and words. Not here: what a hold covers.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import click

from compliance_pipelines.archive.store_holds import sync_store_holds
from compliance_pipelines.audit_log.readings import Reading, record_reading
from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.base.printable import printable
from compliance_pipelines.cli.needs import Need, needs
from compliance_pipelines.cli.opening import opened
from compliance_pipelines.holds.active import HoldScope
from compliance_pipelines.holds.record import NewHold, RecordedHold, add_hold, all_holds, release_hold
from compliance_pipelines.settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from compliance_pipelines.archive.store_holds import SyncedHolds
    from compliance_pipelines.services import Services

_DATE: Final = click.DateTime(["%Y-%m-%d"])


@click.command("add")
@click.option("--user", help="Hold all that belongs to this user id.")
@click.option("--thread", help="Hold the conversation of this thread id.")
@click.option("--days", nargs=2, type=_DATE, metavar="FIRST LAST", help="Hold what happened on these UTC days.")
@click.option("--everything", is_flag=True, help="Hold everything.")
@click.option("--reason", required=True, help="Why, such as a case number.")
@click.option("--author", required=True, help="Who orders it.")
@click.option("--as-it-is", is_flag=True, help="The id is meant as it is, suspicious though it looks.")
@needs(Need.DATABASE, Need.SUBJECT_NAMES, changes=True, at_once=False)
def add(reason: str, author: str, **what: Any) -> None:  # noqa: ANN401 - options, of which one names what is held
    """Add a hold on a user, a thread, a range of days, or everything."""
    new = _new_hold(reason, author, **what)
    with opened() as services:
        added = add_hold(services, new)
        click.echo(printable(f"hold {added.hold.id} is in force: {added.hold.covered}"))
        _tell_the_store(services, f"hold {added.hold.id} is in force")
    if not added.settled:
        raise ComplianceError(
            f"hold {added.hold.id} is in force, but a deletion that began before it has not ended within a minute and "
            "may have taken what it covers: see the running purges and erasures"
        )


def _new_hold(  # noqa: PLR0913 - the options, each by its name
    reason: str,
    author: str,
    *,
    user: str | None,
    thread: str | None,
    days: tuple[datetime, datetime] | None,
    everything: bool,
    as_it_is: bool,
) -> NewHold:
    given: dict[HoldScope, dict[str, Any]] = {}
    if user is not None:
        given[HoldScope.USER] = {"subject": user}
    if thread is not None:
        given[HoldScope.THREAD] = {"subject": thread}
    if days is not None:
        given[HoldScope.DAYS] = {"first_day": days[0].date(), "last_day": days[1].date()}
    if everything:
        given[HoldScope.EVERYTHING] = {}
    if len(given) != 1:
        raise click.UsageError("give exactly one of --user, --thread, --days and --everything")
    ((scope, what),) = given.items()
    return NewHold(scope=scope, reason=reason, author=author, as_it_is=as_it_is, **what)


@click.command("release")
@click.argument("hold_id", type=int)
@click.option("--reason", required=True, help="Why it is no longer needed.")
@click.option("--author", required=True, help="Who orders the release.")
@needs(Need.DATABASE, Need.SUBJECT_NAMES, changes=True)
def release(hold_id: int, reason: str, author: str) -> None:
    """Release a hold. Hold and release both stay on record."""
    with opened() as services:
        released = release_hold(services, hold_id, reason=reason, author=author)
        click.echo(printable(f"hold {hold_id} is released: {released.hold.covered}"))
        _tell_the_store(services, f"hold {hold_id} is released")


def _tell_the_store(services: Services, done: str) -> None:
    """Have the cold store itself hold what is held now; what nobody has looked into yet is held, too.

    Raises:
        ComplianceError: it could not be told everything.
    """
    left = "`compliance hold sync` and the daily job go on with it"
    try:
        synced = sync_store_holds(services, reads=False)
    except ConfigurationError as error:
        click.echo(f"the cold store was not told, since the settings here do not lead to it: {error}; {left}", err=True)
    except ComplianceError as error:
        raise ComplianceError(f"{done}, but the cold store was not told of all of it: {error}; {left}") from error
    else:
        _say_synced(synced)


def _say_synced(synced: SyncedHolds) -> None:
    if synced.set:
        click.echo(f"the cold store itself holds {_objects(synced.set)} more")
    if synced.lifted:
        click.echo(f"the cold store let go of {_objects(synced.lifted)}")
    if synced.others:
        click.echo(f"the cold store holds {_objects(synced.others)} by an order that is not ours, and keeps doing so")
    if synced.problems:
        raise ComplianceError("; ".join(synced.problems))


def _objects(keys: Sequence[str]) -> str:
    return f"{len(keys):,} {'object' if len(keys) == 1 else 'objects'}"


@click.command("sync")
@needs(Need.DATABASE, Need.COLD_STORE, Need.PUBLIC_KEY, Need.SUBJECT_NAMES, changes=True)
def sync() -> None:
    """Have the cold store itself hold what the holds in force touch, and let go of what they do not.

    Finishes what an interrupted `hold add` or `hold release` has left. Purged archives that nobody has looked into for
    a hold on a user or a thread are held; they are read now, each once for each hold.
    """
    with opened() as services:
        synced = sync_store_holds(services)
    if not synced.knows_holds:
        click.echo("the cold store knows no holds: this project alone keeps what a hold covers")
        return
    if synced.read:
        click.echo(f"{synced.read:,} {'part' if synced.read == 1 else 'parts'} read")
    _say_synced(synced)
    if not (synced.set or synced.lifted):
        click.echo("nothing had to be told")


@click.command("list")
@click.option("--all", "every", is_flag=True, help="Also those that were released.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@needs(Need.DATABASE, on_record=True)
def list_holds(*, every: bool, as_json: bool) -> None:
    """List the holds in force.

    Whom they are on is left out, and said to be, where the login may not see it.
    """
    with opened() as services:
        record_reading(services.engine, Reading.LIST_HOLDS, released=every)
        with services.engine.connect() as connection:
            holds = [each for each in all_holds(connection) if every or each.released_at is None]
    if as_json:
        click.echo(json.dumps([_to_json(each) for each in holds], ensure_ascii=False, indent=2))
        return
    for each in holds:
        line = f"{each.hold.id}: {each.covered}, since {each.hold.added_at:%Y-%m-%d %H:%M} UTC"
        line += f", by {each.hold.author}: {each.hold.reason}"
        if each.released_at is not None:
            line += f"; released {each.released_at:%Y-%m-%d %H:%M} UTC by {each.released_by}: {each.release_reason}"
        click.echo(printable(line))
    if not holds:
        click.echo("no holds")
    if hidden := sum(each.subject_is_hidden for each in holds):
        whom = "whom 1 hold is on" if hidden == 1 else f"whom {hidden:,} holds are on"
        click.echo(f"left out: {whom}, which this login may not see", err=True)


def _to_json(each: RecordedHold) -> dict[str, Any]:
    held = each.hold
    return {
        "id": held.id,
        "scope": held.scope.value,
        "subject": held.subject,
        "subject_is_hidden": each.subject_is_hidden,
        "first_day": None if held.first_day is None else held.first_day.isoformat(),
        "last_day": None if held.last_day is None else held.last_day.isoformat(),
        "reason": held.reason,
        "author": held.author,
        "added_at": held.added_at.isoformat(),
        "released_at": None if each.released_at is None else each.released_at.isoformat(),
        "released_by": each.released_by,
        "release_reason": each.release_reason,
    }


COMMANDS: Final[list[click.Command]] = [add, release, list_holds, sync]
