"""`compliance scrub`: reading archives back.

Here: arguments and words. Not here: anything that is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from compliance_pipelines.archive.scrub import scrub as scrub_archives
from compliance_pipelines.archive.scrub_record import in_words
from compliance_pipelines.base.interruption import doing
from compliance_pipelines.base.printable import printable
from compliance_pipelines.cli.bars import bars
from compliance_pipelines.cli.needs import Need, needs
from compliance_pipelines.cli.opening import opened
from compliance_pipelines.cli.search_index import corrected_in_words
from compliance_pipelines.cli.summary import human_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from compliance_pipelines.archive.readback import PartCheck
    from compliance_pipelines.archive.scrub_record import LastReading, ScrubState

_DAY: Final = click.DateTime(["%Y-%m-%d"])


@click.command("scrub")
@click.argument("days", metavar="[DAY...]", nargs=-1, type=_DAY)
@click.option(
    "--budget",
    metavar="BYTES",
    type=click.IntRange(min=1),
    help="Bytes that are read back today at most, with those that were; default: AUDIT_ARCHIVE_SCRUB_BYTES_PER_DAY.",
)
@needs(Need.DATABASE, Need.COLD_STORE, Need.PUBLIC_KEY, Need.ARCHIVE_KEY, changes=True, at_once=False)
def scrub(days: Sequence[datetime], budget: int | None) -> None:
    """Read back from the cold store the archives that nobody has read for long, and recompute them.

    Longest unread first, within the day's budget; of each DAY (YYYY-MM-DD, UTC) that is given, all parts, due or not.
    Each reading is recorded. Exit status 1 where a part is damaged, could not be read, had other filters than what it
    holds has, or should have been read before.
    """
    if days and budget is not None:
        raise click.UsageError("--budget is for what is due: give either it or DAYs")
    with doing("reading archives back"), opened() as services, bars("archives") as progress:
        done = scrub_archives(
            services, {day.date() for day in days}, budget=budget, progress=progress, on_part=_tell_damage
        )
    state = done.state
    click.echo(f"{done.parts:,} parts read back, {human_bytes(done.object_bytes)}; {len(done.damaged):,} damaged")
    if done.indexed:
        click.echo(f"{done.indexed:,} of them had no filters to be searched by, and have them now")
    for day, part in done.misindexed:
        click.echo(corrected_in_words(day, part), err=True)
    if done.waiting:
        click.echo(f"{done.waiting:,} more are due and left for another day by the budget")
    overdue = () if days else state.overdue
    if overdue:
        click.echo(f"overdue: {in_words(overdue)}", err=True)
    if not days and not state.budget_suffices:
        click.echo(
            f"{human_bytes(state.budget_bytes_per_day)} a day are not enough to read {human_bytes(state.object_bytes)} "
            f"in time: set AUDIT_ARCHIVE_SCRUB_BYTES_PER_DAY to {state.needed_bytes_per_day} or more",
            err=True,
        )
    if done.damaged or done.misindexed or overdue:
        raise SystemExit(1)


def _tell_damage(checked: PartCheck) -> None:
    for finding in checked.findings:
        click.echo(f"{checked.day} part {checked.part}: {printable(finding.message)}", err=True)


def scrub_document(state: ScrubState) -> dict[str, Any]:
    """How archives are read back, for `status --json`."""
    return {
        "parts": state.parts,
        "bytes": state.object_bytes,
        "unread_since": None if state.unread_since is None else state.unread_since.isoformat(),
        "overdue": [_part(part) for part in state.overdue],
        "damaged": [{**_part(part), "damage": list(part.damage)} for part in state.damaged],
    }


def _part(part: LastReading) -> dict[str, Any]:
    return {"day": str(part.day), "part": part.part, "unread_since": part.unread_since.isoformat()}


COMMANDS: Final[list[click.Command]] = [scrub]
