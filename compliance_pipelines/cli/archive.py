"""`compliance archive`, `purge` and `status`: the cold store by hand.

Here: arguments, progress bars, words. Not here: anything that is done to a day.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Console

from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.figures import take_figures
from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.audit_log.readings import Reading, record_reading
from compliance_pipelines.base.counting import counted
from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.base.interruption import check_stopped, doing
from compliance_pipelines.base.printable import printable
from compliance_pipelines.cli.bars import bars
from compliance_pipelines.cli.needs import Need, needs
from compliance_pipelines.cli.opening import opened
from compliance_pipelines.cli.scrubbing import scrub_document
from compliance_pipelines.cli.summary import human_bytes, show_summary
from compliance_pipelines.ledger.outside import stamp_state, witness_state
from compliance_pipelines.ledger.store_identity import check_identity

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date, datetime

    from compliance_pipelines.archive.figures import Figures
    from compliance_pipelines.archive.progress import Progress
    from compliance_pipelines.ledger.outside import StampState, WitnessState
    from compliance_pipelines.services import Services

_DAY: Final = click.DateTime(["%Y-%m-%d"])


def _each_day(verb: str, days: Sequence[datetime], work: Callable[[Services, date, Progress], str]) -> None:
    """Work on the days in turn; one that fails is named on stderr and does not stop the others.

    Raises:
        SystemExit: with 1, where a day failed.
        LedgerError: key, database and cold store do not belong together; no day was touched.
    """
    failed = False
    distinct = list(dict.fromkeys(day.date() for day in days))
    with opened() as services:
        with services.engine.connect() as connection:
            check_identity(services, connection)  # once, and not once a day
        for number, day in enumerate(distinct):
            try:
                with doing(f"{verb} {day}: {number} of {len(distinct)} days done"), bars(day) as progress:
                    done = work(services, day, progress)
                click.echo(f"{day}: {done}")
            except ComplianceError as error:
                check_stopped()
                failed = True
                click.echo(f"compliance: {error}", err=True)
    if failed:
        raise SystemExit(1)


@click.command("archive")
@click.argument("days", metavar="DAY...", nargs=-1, required=True, type=_DAY)
@click.option(
    "--beside-damaged",
    is_flag=True,
    help="Where an object without a manifest is in the way and cannot be used, take the next part number.",
)
@needs(Need.DATABASE, Need.COLD_STORE, Need.SIGNING_KEY, Need.ARCHIVE_KEY, changes=True)
def archive(days: Sequence[datetime], *, beside_damaged: bool) -> None:
    """Archive the sealed entries of each DAY (YYYY-MM-DD, UTC) and read them back from the cold store.

    Also before the day is due. A run that was interrupted is finished; late entries make another part.
    """

    def work(services: Services, day: date, progress: Progress) -> str:
        result = archive_day(services, day, progress=progress, beside_damaged=beside_damaged)
        if result.uri is None:
            return "nothing is sealed, nothing to archive"
        new = sum(part.entry_count for part in result.parts if part.part in result.new_parts)
        parts = counted(len(result.parts), "part")
        return (
            f"{new:,} entries archived; {result.entry_count:,} in {parts}, {human_bytes(result.object_bytes)}, "
            f"verified; {result.uri}"
        )

    _each_day("archiving", days, work)


@click.command("purge")
@click.argument("days", metavar="DAY...", nargs=-1, required=True, type=_DAY)
@needs(Need.DATABASE, Need.COLD_STORE, Need.PUBLIC_KEY, Need.ARCHIVE_KEY, changes=True)
def purge(days: Sequence[datetime]) -> None:
    """Drop the rows of each DAY (YYYY-MM-DD, UTC) from PostgreSQL, after checking that the cold store has them all.

    Refused for a day that is not due, not verified, or of which something cannot be told.
    """

    def work(services: Services, day: date, progress: Progress) -> str:
        result = purge_day(services, day, progress=progress)
        if not result.parts:
            return "purged before, nothing to purge"
        return f"{result.entry_count:,} entries purged, {human_bytes(result.hot_bytes)} freed"

    _each_day("purging", days, work)


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")
@needs(Need.DATABASE, on_record=True)
def status(*, as_json: bool) -> None:
    """Print days per state, entries and bytes in both stores, the ledger's head, and what is held or falls due next."""
    with opened() as services:
        record_reading(services.engine, Reading.STATUS)
        figures = take_figures(services)
        outside = _outside(services)
    if as_json:
        seen = {
            name.replace(" ", "_"): {"problem": each} if isinstance(each, str) else each.to_json()
            for name, each in outside.items()
        }
        click.echo(json.dumps({**_status_document(figures), "outside": seen}, indent=2))
    else:
        show_summary(Console(), None, figures, {name: str(each) for name, each in outside.items()})


def _outside(services: Services) -> dict[str, WitnessState | StampState | str]:
    """What witnesses and a time-stamp authority have seen, where there are any; or why it cannot be told."""
    seen: dict[str, WitnessState | StampState | str] = {}
    for name, look in (("witnesses", witness_state), ("time stamps", stamp_state)):
        try:
            state = look(services)
        except ComplianceError as error:
            seen[name] = f"cannot be told: {printable(str(error))}"
        else:
            if state is not None:
                seen[name] = state
    return seen


def _status_document(figures: Figures) -> dict[str, Any]:
    totals, held, due = figures.totals, figures.held, figures.next_due
    signed = figures.checkpoint_time
    return {
        "days": {state.value: count for state, count in figures.days.items()},
        "entries": {"hot": totals.hot_entries, "cold": totals.cold_entries, "total": totals.total_entries},
        "bytes": {"hot": totals.hot_bytes, "cold": totals.cold_bytes, "uncompressed": totals.canonical_bytes},
        "ledger": {
            "size": figures.ledger_size,
            "root": None if figures.ledger_root is None else figures.ledger_root.hex(),
            "checkpoint_time": None if signed is None else signed.isoformat(),
            "losses": [
                {
                    "record": statement.seq,
                    "accepted_at": statement.sealed_at.isoformat(),
                    "author": loss.author,
                    "reason": loss.reason,
                    "segments": [list(each) for each in loss.ranges],
                    "entries": loss.entries,
                    "found": loss.found,
                }
                for statement, loss in figures.losses
            ],
        },
        "read_back": None if figures.scrub is None else scrub_document(figures.scrub),
        "held": None if held is None else [{"day": str(day), "hold": hold.id} for day, hold in held.items()],
        "replica": None if figures.replica is None else figures.replica.to_json(),
        "next_due": None if due is None else {"action": due.action, "day": str(due.day), "at": due.at.isoformat()},
    }


COMMANDS: Final[list[click.Command]] = [archive, purge, status]
