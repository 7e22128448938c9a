"""`compliance restore` and `drop-restored`: archived days back in PostgreSQL.

Here: arguments, words, going through a range of days. Not here: anything that is done to a day.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from compliance_pipelines.archive.restore import drop_restored, rehearse_restore, restore_day
from compliance_pipelines.archive.restore_range import archived_days, restore_unless_there
from compliance_pipelines.archive.restored_tables import is_working_table
from compliance_pipelines.archive.sql import RESTORED_SCHEMA
from compliance_pipelines.base.counting import counted
from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.base.interruption import check_stopped, doing
from compliance_pipelines.cli.bars import bars
from compliance_pipelines.cli.needs import Need, needs
from compliance_pipelines.cli.opening import opened
from compliance_pipelines.cli.summary import human_bytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date, datetime

    from compliance_pipelines.archive.restore import RestoreResult
    from compliance_pipelines.services import Services

_DAY: Final = click.DateTime(["%Y-%m-%d"])


def _unqualified(_context: click.Context, _parameter: click.Parameter, table: str | None) -> str | None:
    """A table's name as the domain wants it: without the schema, with which these commands print it."""
    return None if table is None else table.removeprefix(f"{RESTORED_SCHEMA}.")


@click.command("restore")
@click.argument("day", metavar="[DAY]", required=False, type=_DAY)
@click.option("--from", "first", metavar="DAY", type=_DAY, help="First day of a range, with --to.")
@click.option("--to", "last", metavar="DAY", type=_DAY, help="Last day of a range, with --from.")
@click.option(
    "--into",
    metavar="TABLE",
    callback=_unqualified,
    help=f"Table to make in the schema {RESTORED_SCHEMA}, for one DAY; default: audit_logs_YYYY_MM_DD.",
)
@needs(Need.DATABASE, Need.COLD_STORE, Need.PUBLIC_KEY, Need.ARCHIVE_KEY, changes=True, at_once=False)
@click.option(
    "--dry-run", is_flag=True, help="Read and verify all that would be loaded, and load nothing; also on a replica."
)
def restore(
    day: datetime | None, first: datetime | None, last: datetime | None, into: str | None, *, dry_run: bool
) -> None:
    """Load the archive of DAY (YYYY-MM-DD, UTC), or each of a range, into a table of its own, verified while loading.

    A table of that name is replaced when all is loaded. A run that was interrupted is continued; one over a range
    passes by the days whose tables hold what their archives hold, and a day that fails does not stop the others. The
    hot store is not touched.
    """
    if day is not None and first is None and last is None:
        if dry_run:
            with opened(only_reads=True) as services, doing(f"reading {day:%Y-%m-%d}"):
                click.echo(_rehearsed(services, day.date()))
        else:
            _restore_one(day.date(), into)
    elif day is None and first is not None and last is not None and into is None:
        _restore_range(first.date(), last.date(), dry_run=dry_run)
    else:
        raise click.UsageError("give one DAY, which alone takes --into, or a range with --from and --to")


def _restore_one(day: date, into: str | None) -> None:
    restoring = doing(f"restoring {day}")
    with restoring, opened() as services, bars(day) as progress:
        result = restore_day(services, day, into, progress=progress)
    click.echo(f"{day}: {_in_words(result)}")


def _in_words(result: RestoreResult) -> str:
    resumed = f", {result.resumed_entries:,} of them by an earlier run that was interrupted"
    return f"{result.entry_count:,} entries restored into {result.table}{resumed if result.resumed_entries else ''}"


def _restore_range(first: date, last: date, *, dry_run: bool) -> None:
    """Restore the days of a range, or rehearse it, in turn; one that fails is named and does not stop the others.

    Raises:
        SystemExit: with 1, where a day failed.
    """
    work: Callable[[Services, date], str] = _rehearsed if dry_run else _restored
    failed = []
    with opened(only_reads=dry_run) as services:
        days = archived_days(services, first, last)
        without = (last - first).days + 1 - len(days)
        for number, day in enumerate(days):
            what = f"{'reading' if dry_run else 'restoring'} {day}: {number} of {len(days)} days done"
            try:
                with doing(what):
                    said = work(services, day)
                click.echo(f"{said} ({number + 1} of {len(days)})")
            except ComplianceError as error:
                check_stopped()
                failed.append(day)
                click.echo(f"compliance: {error}", err=True)
    if without:
        click.echo(f"{without:,} days from {first} to {last} have no archive")
    if failed:
        click.echo(f"compliance: {len(failed)} of {len(days)} days failed: {', '.join(map(str, failed))}", err=True)
        raise SystemExit(1)


def _restored(services: Services, day: date) -> str:
    with bars(day) as progress:
        result, was_there = restore_unless_there(services, day, progress=progress)
    if was_there:
        return f"{day}: {result.entry_count:,} entries are in {result.table} already, compared with the ledger"
    return f"{day}: {_in_words(result)}"


def _rehearsed(services: Services, day: date) -> str:
    with bars(day) as progress:
        found = rehearse_restore(services, day, progress=progress)
    parts = counted(len(found.parts), "part")
    said = (
        f"{day}: a restore would load {found.entry_count:,} entries from {parts}, {human_bytes(found.object_bytes)}, "
        "all read and verified; nothing was loaded or recorded"
    )
    if found.unrecorded:
        click.echo(said)
        numbers = ", ".join(map(str, found.unrecorded))
        raise ComplianceError(
            f"{day}: the cold store also holds part {numbers}, which the catalogue does not know and which was not "
            "read: a replica may be behind, or an archive run was interrupted"
        )
    return said


@click.command("drop-restored")
@click.argument("table", required=False, callback=_unqualified)
@needs(Need.DATABASE, changes=True)
def drop(table: str | None) -> None:
    """Drop the restored TABLE, or all restored tables, and what interrupted restores have loaded."""
    with opened() as services:
        dropped = drop_restored(services, table)
    for name in dropped:
        left = " (left by an interrupted restore)" if is_working_table(name) else ""
        click.echo(f"dropped {RESTORED_SCHEMA}.{name}{left}")
    if not dropped:
        click.echo("there are no restored tables")


COMMANDS: Final[list[click.Command]] = [restore, drop]
