"""`compliance sessions`: which idle sessions and old memories retention would remove, removing them, what it removed.

Here: arguments and words. Not here: anything that retention decides.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

from compliance_pipelines.base.printable import printable
from compliance_pipelines.cli.checking import in_words, to_json
from compliance_pipelines.cli.needs import Need, needs
from compliance_pipelines.cli.opening import opened
from compliance_pipelines.sessions import record
from compliance_pipelines.sessions.health import check_session_retention
from compliance_pipelines.sessions.places import open_places
from compliance_pipelines.sessions.purge import SessionRetention

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from compliance_pipelines.sessions.plan import KeptKey, SessionPlan
    from compliance_pipelines.sessions.record import PurgedSet
    from compliance_pipelines.sessions.survey import SeenKey

_READING: Final = (Need.DATABASE, Need.SESSION_REDIS)
_SHOWN: Final = 20
_SETS_SHOWN: Final = 10

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")


@contextmanager
def _open() -> Iterator[SessionRetention]:
    with opened() as services, open_places(services.settings) as places:
        yield SessionRetention(services, places)


@click.command("plan")
@_json
@needs(*_READING, names_people=True)
def plan(*, as_json: bool) -> None:
    """Show what a purge would remove now, and what would stay although it is due. Nothing is changed."""
    with _open() as retention:
        planned = retention.plan()
    if as_json:
        _print_json(planned.as_json())
    else:
        _print_plan(planned)


@click.command("purge")
@_json
@click.option(
    "--confirm",
    type=click.IntRange(min=0),
    metavar="N",
    help="Agree that up to N keys go, where the plan is larger than the settings allow.",
)
@needs(*_READING, Need.RECORD_KEY, changes=True)
def purge(*, as_json: bool, confirm: int | None) -> None:
    """Remove what is due, look again, and record what went. An interrupted purge is finished first."""
    with _open() as retention:
        report = retention.purge(confirmed=confirm)
    if as_json:
        _print_json(
            {
                "dry_run": report.purged is None,
                "planned": len(report.plan.due),
                "held": len(report.plan.held),
                "exempt": len(report.plan.exempt),
                "undated": len(report.plan.undated),
                "unreadable_keys": report.plan.counts.unreadable,
                "set": None if report.purged is None else report.purged.as_json(),
                "finished": [purged.as_json() for purged in report.finished],
            }
        )
        return
    for purged in report.finished:
        click.echo(f"finished an interrupted purge: {_set_line(purged)}")
    if report.purged is None:
        click.echo(f"nothing is removed ({report.plan.policy.source}): {len(report.plan.due)} keys are due")
        return
    click.echo(_set_line(report.purged))
    _print_kept(report.plan)


@click.command("status")
@_json
@needs(*_READING, names_people=True)
def status(*, as_json: bool) -> None:
    """Show what there is, what is due, and what was removed so far."""
    with _open() as retention:
        checks = check_session_retention(retention.services)
        if not as_json:
            # Before anything is read, so that it is said also where the reading then fails.
            for each in checks:
                if not each.ok:
                    click.echo(in_words(each))
        planned = retention.plan()
        with retention.services.engine.connect() as connection:
            sets = record.latest_sets(connection, _SETS_SHOWN)
            totals = record.set_totals(connection)
            unfinished = record.open_purges(connection)
    if as_json:
        _print_json(
            {
                "sessions": planned.counts.sessions,
                "memories": planned.counts.memories,
                "due": len(planned.due),
                "held": len(planned.held),
                "exempt": len(planned.exempt),
                "undated": len(planned.undated),
                "unreadable_keys": planned.counts.unreadable,
                "seconds_past_cutoff": planned.seconds_past_cutoff,
                "unfinished_purges": len(unfinished),
                "sets": totals.sets,
                "keys_deleted": totals.keys_deleted,
                "bytes_freed": totals.bytes_freed,
                "redis": to_json(checks),
                "latest_sets": [purged.as_json() for purged in sets],
            }
        )
        return
    _print_seen(planned)
    _print_kept(planned)
    click.echo(f"removed so far: {totals.keys_deleted:,} keys, {totals.bytes_freed:,} bytes, in {totals.sets:,} sets")
    if unfinished:
        click.echo(f"{len(unfinished)} purges were interrupted; the next purge finishes them")
    for purged in sets:
        click.echo(_set_line(purged))


def _print_json(content: dict[str, Any]) -> None:
    click.echo(json.dumps(content, ensure_ascii=False, indent=2))


def _before(cutoff: datetime | None, what: str) -> str:
    return f"{what} stay" if cutoff is None else f"{what} not used since {cutoff:%Y-%m-%d %H:%M} UTC"


def _print_seen(planned: SessionPlan) -> None:
    counts = planned.counts
    click.echo(f"{counts.sessions:,} keys of sessions, {counts.memories:,} of memories")
    click.echo(
        f"{len(planned.due):,} are due: {_before(planned.session_cutoff, 'sessions')}, "
        f"{_before(planned.memory_cutoff, 'memories')}"
    )


def _print_plan(planned: SessionPlan) -> None:
    _print_seen(planned)
    for key in planned.due[:_SHOWN]:
        click.echo(f"  {_line(key)}")
    if len(planned.due) > _SHOWN:
        click.echo(f"  and {len(planned.due) - _SHOWN:,} more (--json lists all)")
    _print_kept(planned)
    if planned.policy.dry_run:
        click.echo(f"{planned.policy.source} says dry_run: a purge would remove nothing")


def _line(key: SeenKey) -> str:
    used = "" if key.newest is None else f"{key.newest:%Y-%m-%d}"
    owner = "nobody known" if key.owner is None else printable(key.owner)
    return f"{used}  {printable(key.key.decode('utf-8', 'backslashreplace'))}  {key.kind.value} of {owner}"


def _print_kept(planned: SessionPlan) -> None:
    kept: Sequence[KeptKey]
    for what, kept in (("held", planned.held), ("exempt", planned.exempt)):
        if kept:
            click.echo(f"{len(kept):,} are due and stay: {what}")
            for each in kept[:_SHOWN]:
                click.echo(f"  {_line(each.key)}: {printable(each.reason)}")
    for count, what in (
        (len(planned.undated), "keys say nowhere when they were used, and stay"),
        (planned.counts.unreadable, "keys could not be read, and stay"),
        (planned.counts.foreign, "keys are other software's (GDPR_FOREIGN_KEYS)"),
    ):
        if count:
            click.echo(f"{count:,} {what}")


def _set_line(purged: PurgedSet) -> str:
    line = f"{purged.day}: {purged.keys_deleted:,} keys, {purged.bytes_freed:,} bytes in {purged.seconds:.1f} s"
    for count, what in (
        (purged.keys_moved, "used meanwhile and left alone"),
        (purged.keys_held, "held meanwhile"),
        (purged.keys_gone, "gone before"),
        (purged.keys_left, "in a Redis that is not in the settings any more"),
        (purged.keys_back, "came back"),
    ):
        if count:
            line += f", {count:,} {what}"
    return line


COMMANDS: Final[list[click.Command]] = [plan, purge, status]
