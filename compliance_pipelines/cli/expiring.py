"""`compliance expire`: archives whose retention is over, removed by hand.

Here: arguments and words. Not here: anything that is done to a part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from compliance_pipelines.archive.expiry import days_to_expire, expire_day, outlook
from compliance_pipelines.base.counting import counted
from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.base.interruption import check_stopped, doing
from compliance_pipelines.base.printable import printable
from compliance_pipelines.cli.needs import Need, needs
from compliance_pipelines.cli.opening import opened
from compliance_pipelines.cli.summary import human_bytes
from compliance_pipelines.ledger.store_identity import check_identity

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime

    from compliance_pipelines.archive.expiry import PartOutlook
    from compliance_pipelines.services import Services

_DAY: Final = click.DateTime(["%Y-%m-%d"])


@click.command("expire")
@click.argument("days", metavar="[DAY]...", nargs=-1, type=_DAY)
@click.option("--all-due", is_flag=True, help="Every day whose retention is over.")
@click.option("--dry-run", is_flag=True, help="List what would be removed and why not the rest; also on a replica.")
@needs(Need.DATABASE, Need.COLD_STORE, Need.SIGNING_KEY, Need.SUBJECT_NAMES, changes=True, at_once=False)
def expire(days: Sequence[datetime], *, all_due: bool, dry_run: bool) -> None:
    """Remove the archives of each DAY (YYYY-MM-DD, UTC) from the cold store, whose retention must be over.

    The ledger states it before anything goes. What a legal hold, a lock, or the store's own hold keeps stays, and is
    said to. A run that was interrupted is finished. Exit status 1 where a DAY that was named has a part left.
    """
    if bool(days) == all_due:
        raise click.UsageError("give either DAYs or --all-due")
    failed = False
    with opened(only_reads=dry_run) as services:
        with services.engine.connect() as connection:
            check_identity(services, connection)  # once, and not once a day
            wanted = days_to_expire(services, connection) if all_due else [day.date() for day in days]
        if not wanted:
            click.echo("no day has an archive whose retention is over")
        for number, day in enumerate(dict.fromkeys(wanted)):
            try:
                with doing(f"removing archives of {day}: {number} of {len(wanted)} days done"):
                    left = _rehearse(services, day) if dry_run else _expire(services, day)
                failed = failed or (bool(left) and not all_due and not dry_run)
            except ComplianceError as error:
                check_stopped()
                failed = True
                click.echo(f"compliance: {error}", err=True)
    if failed:
        raise SystemExit(1)


def _expire(services: Services, day: date) -> Sequence[PartOutlook]:
    result = expire_day(services, day)
    if result.expired:
        entries = sum(part.entry_count for part in result.expired)
        click.echo(
            f"{day}: {counted(len(result.expired), 'part')} with {entries:,} entries expired, "
            f"{human_bytes(result.object_bytes)} removed"
        )
    elif not result.kept:
        click.echo(f"{day}: no archive is left to expire")
    _tell_kept(day, result.kept)
    return result.kept


def _rehearse(services: Services, day: date) -> Sequence[PartOutlook]:
    looks = outlook(services, day)
    for look in looks:
        if look.kept_because is None:
            part = look.part
            click.echo(
                f"{day}: part {part.part} would be removed: {part.entry_count:,} entries, "
                f"{human_bytes(part.object_bytes)}, {part.archive_location}"
            )
    if not looks:
        click.echo(f"{day}: no archive is left to expire")
    kept = [look for look in looks if look.kept_because is not None]
    _tell_kept(day, kept)
    return kept


def _tell_kept(day: date, kept: Sequence[PartOutlook]) -> None:
    for look in kept:
        click.echo(printable(f"{day}: part {look.part.part} stays: {look.kept_because}"))


COMMANDS: Final[list[click.Command]] = [expire]
