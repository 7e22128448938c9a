"""`compliance conversations`: what retention would remove, removing it, and what it removed.

Here: arguments and words. Not here: anything that retention decides.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

from compliance_pipelines.audit_log.readings import Reading, record_reading
from compliance_pipelines.cli.checking import in_words, to_json
from compliance_pipelines.cli.needs import Need, needs
from compliance_pipelines.cli.opening import opened
from compliance_pipelines.conversations import record
from compliance_pipelines.conversations.documents import moment_of
from compliance_pipelines.conversations.plan import Selection
from compliance_pipelines.conversations.purge import Retention
from compliance_pipelines.conversations.store import open_store
from compliance_pipelines.conversations.threads import Ownership
from compliance_pipelines.erasure.health import check_checkpoint_redis
from compliance_pipelines.erasure.redis_binding import bind_redis
from compliance_pipelines.holds import HoldSet, may_see_holds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from compliance_pipelines.base.health import HealthCheck
    from compliance_pipelines.conversations.place import Place
    from compliance_pipelines.conversations.plan import KeptThread, Plan
    from compliance_pipelines.conversations.record import OpenPurge, PurgedSet

_READING: Final = (Need.DATABASE, Need.CONVERSATION_REDIS)
_SHOWN: Final = 20
_SETS_SHOWN: Final = 10
_SECONDS_PER_DAY: Final = 86_400


def _options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON for a program."),
        click.option(
            "--older-than",
            type=click.IntRange(min=1),
            metavar="DAYS",
            help="Take what was idle for longer, instead of by the policy's periods. Exemptions and holds go on.",
        ),
        click.option("--user", metavar="USER", help="Only conversations that are this user's alone."),
    ):
        command = option(command)
    return command


@contextmanager
def _open() -> Iterator[Retention]:
    with opened() as services, open_store(services.settings) as store:
        yield Retention(services, store)


@click.command("plan")
@_options
@needs(*_READING, names_people=True)
def plan(*, user: str | None, older_than: int | None, as_json: bool) -> None:
    """Show what a purge would remove now, and what would stay although it is due. Nothing is changed."""
    with _open() as retention:
        planned = retention.plan(Selection(user, older_than))
    if as_json:
        _print_json(planned.as_json())
    else:
        _print_plan(planned)


@click.command("purge")
@_options
@click.option(
    "--confirm",
    type=click.IntRange(min=0),
    metavar="N",
    help="Agree that up to N conversations go, where the plan is larger than the settings allow.",
)
@needs(*_READING, Need.RECORD_KEY, changes=True)
def purge(*, user: str | None, older_than: int | None, as_json: bool, confirm: int | None) -> None:
    """Remove what is due, look again, and record what went. An interrupted purge is finished first."""
    with _open() as retention:
        report = retention.purge(selection=Selection(user, older_than), confirmed=confirm)
    if as_json:
        _print_json(
            {
                "dry_run": report.purged is None,
                "planned": len(report.plan.due),
                "held": len(report.plan.held),
                "exempt": len(report.plan.exempt),
                "undated": len(report.plan.undated),
                "moved_while_freezing": report.moved_while_freezing,
                "unwatched": report.unwatched,
                "set": None if report.purged is None else report.purged.as_json(),
                "finished": [purged.as_json() for purged in report.finished],
            }
        )
        return
    for purged in report.finished:
        click.echo(f"finished an interrupted purge: {_set_line(purged)}")
    if report.purged is None:
        click.echo(f"dry run ({report.plan.policy.source}): {len(report.plan.due)} conversations would go")
        return
    click.echo(_set_line(report.purged))
    _print_kept(report.plan)


@click.command("status")
@_options
@needs(*_READING, on_record=True)
def status(*, user: str | None, older_than: int | None, as_json: bool) -> None:
    """Show what there is, what is due, and what was removed so far.

    What of it holds keep is left out, and said to be, where the login may not see whom they are on.
    """
    with _open() as retention:
        audits = record_reading(retention.services.engine, Reading.CONVERSATIONS, of_user=user is not None)
        checks = check_checkpoint_redis(retention.services, only_reading=audits)
        if not as_json:
            _print_found(checks)
        with retention.services.engine.connect() as connection:
            sees_holds = may_see_holds(connection)
        selection = Selection(user, older_than)
        if sees_holds:
            planned = retention.plan(selection, everything=True)
        else:
            planned = retention.judge(retention.survey(), HoldSet(), selection)
        with retention.services.engine.connect() as connection:
            sets = record.latest_sets(connection, _SETS_SHOWN)
            totals = record.set_totals(connection)
            unfinished = record.open_purges(connection)
        place = retention.place()
        threads = [
            thread
            for thread in planned.survey.threads.values()
            if user is None or retention.owner_rule.owners(thread) == {user}
        ]
        ownership = dict.fromkeys(Ownership, 0)
        for thread in threads:
            ownership[retention.owner_rule.ownership(thread)] += 1
    facts: dict[str, Any] = {
        "threads": len(threads),
        **{each.value: count for each, count in ownership.items()},
        "due": len(planned.due),
        "held": len(planned.held) if sees_holds else None,
        "exempt": len(planned.exempt),
        "undated": len(planned.undated),
        "entangled": len(planned.entangled),
        "ahead": len(planned.survey.ahead),
        "orphan_keys": planned.orphan_keys,
        "unreadable_keys": planned.survey.unreadable,
        "unreadable": planned.survey.foreign.in_words(),
        "seconds_past_cutoff": planned.seconds_past_cutoff,
        "place": record.place_as_json(place),
        "unfinished_purges": [
            {"purge": each.id, "planned_at": each.planned_at.isoformat(), "place": record.place_as_json(each.place)}
            for each in unfinished
        ],
        "sets": totals.sets,
        "threads_deleted": totals.threads_deleted,
        "bytes_freed": totals.bytes_freed,
    }
    if as_json:
        _print_json({**facts, "redis": to_json(checks), "latest_sets": [purged.as_json() for purged in sets]})
        return
    click.echo(
        f"{facts['threads']:,} conversations: {ownership[Ownership.OWNED]:,} of one user, "
        f"{ownership[Ownership.SHARED]:,} shared, {ownership[Ownership.UNOWNED]:,} of nobody known"
    )
    _print_due(planned)
    if not sees_holds:
        click.echo("left out: which of them holds keep, because this login may not see whom they are on", err=True)
    _print_kept(planned)
    click.echo(
        f"removed so far: {totals.threads_deleted:,} conversations, {totals.bytes_freed:,} bytes, "
        f"in {totals.sets:,} sets"
    )
    _print_unfinished(unfinished, place)
    for purged in sets:
        click.echo(_set_line(purged))


def _print_unfinished(unfinished: Sequence[OpenPurge], place: Place) -> None:
    for each in unfinished:
        begun = f"plan {each.id} of {each.planned_at:%Y-%m-%d %H:%M} UTC was interrupted"
        if each.place in {None, place}:
            click.echo(f"{begun}; the next purge finishes it, `compliance conversations abandon {each.id}` gives it up")
        else:
            click.echo(f"{begun}; it is about another Redis or other prefixes, and is not finished here")


@click.command("abandon")
@click.argument("number", type=click.IntRange(min=1))
@click.option("--reason", required=True, help="Why, for the record and the audit log.")
@click.option(
    "--redis-is-lost",
    is_flag=True,
    help="The plan is about a Redis that is gone for good: give it up without looking there.",
)
@needs(*_READING, Need.RECORD_KEY, changes=True)
def abandon(*, number: int, reason: str, redis_is_lost: bool) -> None:
    """Give up the interrupted plan NUMBER: what it had set aside is put back, and the rest stays."""
    with _open() as retention:
        given_up = retention.abandon(number, reason, is_lost=redis_is_lost)
    click.echo(f"plan {number} is given up: {given_up.threads_abandoned:,} conversations stay")


def _print_found(checks: Sequence[HealthCheck]) -> None:
    """Before anything is read, so that it is said also where the reading then fails."""
    for each in checks:
        if not each.ok:
            click.echo(in_words(each))


@click.command("bind")
@needs(Need.DATABASE, Need.ANY_REDIS, changes=True)
def bind() -> None:
    """Bind every Redis of the settings to this database's environment.

    Retention and erasure remove nothing from a Redis that is another environment's or does not say. After it was
    flushed or replaced, call this again. One that is another environment's is left as it is.
    """
    with opened() as services:
        for setting, new in bind_redis(services).items():
            click.echo(f"the Redis of {setting} {'is' if new else 'was already'} bound to this database's environment")


def _print_json(content: dict[str, Any]) -> None:
    click.echo(json.dumps(content, ensure_ascii=False, indent=2))


def _plain(thread_id: str) -> str:
    """An id that cannot steer the terminal."""
    return thread_id if thread_id.isprintable() else repr(thread_id)


def _print_due(planned: Plan) -> None:
    late = planned.seconds_past_cutoff
    since = "" if not late else f", the longest for {late / _SECONDS_PER_DAY:.1f} days"
    click.echo(f"{len(planned.due):,} are due{since} (last active before {planned.cutoff:%Y-%m-%d %H:%M} UTC)")


def _print_plan(planned: Plan) -> None:
    click.echo(f"{planned.survey.threads_seen:,} conversations in {planned.survey.keys_seen:,} keys")
    _print_due(planned)
    for due in planned.due[:_SHOWN]:
        active = "" if due.thread.newest is None else f"{moment_of(due.thread.newest):%Y-%m-%d}"
        click.echo(f"  {active}  {_plain(due.thread.thread_id)}  {due.thread.key_count} keys  {due.due.rule}")
    if len(planned.due) > _SHOWN:
        click.echo(f"  and {len(planned.due) - _SHOWN:,} more (--json lists all)")
    _print_kept(planned)
    if planned.policy.dry_run:
        click.echo(f"{planned.policy.source} says dry_run: a purge would remove nothing")


def _print_kept(planned: Plan) -> None:
    for what, kept in (("held", planned.held), ("exempt", planned.exempt)):
        if kept:
            click.echo(f"{len(kept):,} are due and stay: {what}")
            for each in kept[:_SHOWN]:
                click.echo(_kept_line(each))
    for said in planned.survey.foreign.in_words():
        click.echo(f"keys named like savers' that are no saver's, and stay: {said}")
    for count, what in (
        (len(planned.undated), "conversations say nowhere when they were active, and stay"),
        (len(planned.entangled), "conversations share the names of their keys with others, and stay"),
        (len(planned.survey.ahead), "conversations bear a time ahead of the present; when they were written counts"),
        (planned.orphan_keys, "keys point to nothing and go with the next purge"),
        (planned.held_orphans, "orphans stay because a hold may cover them"),
    ):
        if count:
            click.echo(f"{count:,} {what}")


def _kept_line(kept: KeptThread) -> str:
    return f"  {_plain(kept.thread.thread_id)}: {kept.reason}"


def _set_line(purged: PurgedSet) -> str:
    line = (
        f"{purged.day}: {purged.threads_deleted:,} conversations, {purged.keys_deleted:,} keys, "
        f"{purged.bytes_freed:,} bytes in {purged.seconds:.1f} s"
    )
    for count, what in (
        (purged.threads_moved, "resumed meanwhile and left alone"),
        (purged.threads_held, "held meanwhile"),
        (purged.threads_gone, "gone before"),
        (purged.threads_abandoned, "left because the plan was given up"),
        (purged.threads_resurrected, "came back"),
        (purged.orphan_keys_left, "orphaned keys left"),
    ):
        if count:
            line += f", {count:,} {what}"
    return line


COMMANDS: Final[list[click.Command]] = [plan, purge, status, abandon, bind]
