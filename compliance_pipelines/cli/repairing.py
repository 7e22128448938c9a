"""`compliance repair`: writing damaged archives again.

Here: arguments and words. Not here: what is written, and from where.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from compliance_pipelines.archive.repair import RepairedPart, repair_day
from compliance_pipelines.archive.repair_sources import Sources
from compliance_pipelines.archive.sql import RESTORED_SCHEMA
from compliance_pipelines.base.counting import counted
from compliance_pipelines.base.interruption import doing
from compliance_pipelines.base.printable import printable
from compliance_pipelines.cli.bars import bars
from compliance_pipelines.cli.needs import Need, needs
from compliance_pipelines.cli.opening import opened
from compliance_pipelines.object_store import open_copy

if TYPE_CHECKING:
    from datetime import datetime


@click.command("repair")
@click.argument("day", metavar="DAY", type=click.DateTime(["%Y-%m-%d"]))
@click.option(
    "--from-store",
    "copy",
    metavar="WHERE",
    help="A copy of the cold store: a directory, or s3://BUCKET/PREFIX of the same service.",
)
@click.option(
    "--from-table",
    "table",
    metavar="TABLE",
    help=f"A table of the schema {RESTORED_SCHEMA} with the day's rows; default: the one that `restore` makes.",
)
@needs(Need.DATABASE, Need.COLD_STORE, Need.SIGNING_KEY, Need.ARCHIVE_KEY, changes=True)
def repair(day: datetime, copy: str | None, table: str | None) -> None:
    """Read back the archive of DAY (YYYY-MM-DD, UTC), and write again what is damaged of it.

    From another version in the store, a copy, the rows in PostgreSQL, or those of a restore: whatever comes first of
    what recomputes to the roots in the ledger. Nothing is overwritten. A run that was interrupted is finished.
    """
    of_day = day.date()
    with doing(f"repairing {of_day}"), opened() as services, bars(of_day) as progress:
        sources = Sources(
            None if copy is None else open_copy(services.settings, copy),
            None if table is None else table.removeprefix(f"{RESTORED_SCHEMA}."),
        )
        result = repair_day(services, of_day, sources, progress=progress)
    for repaired in result.repaired:
        click.echo(f"{of_day}: {_in_words(repaired)}")
    if not result.repaired:
        click.echo(f"{of_day}: {counted(result.whole, 'part is', 'parts are')} whole, nothing to repair")


def _in_words(repaired: RepairedPart) -> str:
    part, revision = repaired.part, repaired.revision
    where = f"as revision {revision}, {part.archive_location}" if revision else part.archive_location
    return f"part {part.part} was written again from {printable(repaired.source)}, read back, and is whole: {where}"


COMMANDS: Final[list[click.Command]] = [repair]
