"""`compliance search-index`: the filters by which a search knows which archives to read.

Here: arguments and words. Not here: anything that is read or written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from compliance_pipelines.archive.search_index import RebuildResult
from compliance_pipelines.archive.search_index import rebuild as rebuild_filters
from compliance_pipelines.base.interruption import doing
from compliance_pipelines.base.printable import printable
from compliance_pipelines.cli.bars import bars
from compliance_pipelines.cli.needs import Need, needs
from compliance_pipelines.cli.opening import opened
from compliance_pipelines.search_filters.catalogue import Recorded

if TYPE_CHECKING:
    from datetime import date, datetime

    from compliance_pipelines.archive.readback import PartCheck

_DAY: Final = click.DateTime(["%Y-%m-%d"])
_DOING: Final = "making the filters of archives"


@click.command("rebuild")
@click.option("--from", "first", metavar="DAY", type=_DAY, help="First day (YYYY-MM-DD, UTC); default: the first one.")
@click.option("--to", "last", metavar="DAY", type=_DAY, help="Last day; default: the last one.")
@click.option("--missing", is_flag=True, help="Only the archives that have no filters.")
@needs(Need.DATABASE, Need.COLD_STORE, Need.PUBLIC_KEY, Need.ARCHIVE_KEY, changes=True, at_once=False)
def rebuild(*, first: datetime | None, last: datetime | None, missing: bool) -> None:
    """Read archives back from the cold store, and make the filters again by which they are searched.

    Each archive counts when it is done: a run that was interrupted is called again, with --missing for what is left of
    it. Exit status 1 where an archive is damaged, or had filters that are not those of what it holds.
    """
    if first is not None and last is not None and last < first:
        raise click.UsageError(f"--to {last:%Y-%m-%d} is before --from {first:%Y-%m-%d}")
    with doing(_DOING), opened() as services, bars("archives") as progress:
        done = rebuild_filters(
            services,
            first=None if first is None else first.date(),
            last=None if last is None else last.date(),
            missing=missing,
            progress=progress,
            on_part=_tell,
        )
    click.echo(_in_words(done))
    if done.damaged or done.corrected:
        raise SystemExit(1)


def corrected_in_words(day: date, part: int) -> str:
    """That a part had other filters than what it holds has."""
    return (
        f"{day} part {part}: its filters were not those of what it holds, and are now: a search may have missed "
        "entries of it; find out who altered the database"
    )


def _tell(checked: PartCheck, before: Recorded | None) -> None:
    if before is Recorded.OTHERS:
        click.echo(corrected_in_words(checked.day, checked.part), err=True)
    for finding in checked.findings:
        click.echo(f"{checked.day} part {checked.part}: {printable(finding.message)}", err=True)


def _in_words(done: RebuildResult) -> str:
    said = (
        f"{done.parts:,} parts read back; {done.made:,} had no filters, {len(done.corrected):,} had others, "
        f"{len(done.damaged):,} are damaged and were left alone"
    )
    return f"{said}; filters of {done.removed:,} objects that are not kept were removed" if done.removed else said


COMMANDS: Final[list[click.Command]] = [rebuild]
