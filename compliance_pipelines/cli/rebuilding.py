"""`compliance db rebuild`: a database made anew from the cold store alone.

Here: arguments, the question, and the report in words. Not here: anything that is done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from compliance_pipelines.archive.rebuilding import Rebuild, rebuild, rehearse_rebuild
from compliance_pipelines.base.interruption import doing
from compliance_pipelines.base.printable import printable
from compliance_pipelines.cli.bars import bars
from compliance_pipelines.cli.needs import Need, needs
from compliance_pipelines.cli.opening import opened
from compliance_pipelines.cli.orders import Order, ordered
from compliance_pipelines.cli.recovery import lost_in_words, segments_are
from compliance_pipelines.cli.summary import human_bytes
from compliance_pipelines.postgres.engine import migration_engine_from_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_SHOWN: Final = 50
_QUESTION: Final = "Is the former database gone for good, and is what is lost accepted? It stays on record for ever"


@click.command("rebuild")
@ordered(author="Who accepts what is lost.", dry_run="Say what would be found and lost, and change nothing.")
@needs(
    Need.DATABASE,
    Need.MIGRATION_DATABASE,
    Need.COLD_STORE,
    Need.SIGNING_KEY,
    Need.PUBLIC_KEY,
    changes=True,
    given_by={"dry_run": (Need.MIGRATION_DATABASE, Need.SIGNING_KEY)},
)
def rebuild_database(*, order: Order | None, dry_run: bool, yes: bool) -> None:
    """Make an empty database the one of the cold store again, and put on record what is lost.

    For the day on which the database is gone, and every backup of it. Run `compliance db migrate` first, and let no
    application write before this is done. The ledger and the catalogue of the archives come from the cold store, each
    signature and hash compared; what was sealed and not archived yet is stated to be lost. Objects are not read:
    `compliance scrub` does that. Exit status 1 where an archive is damaged or its key is gone.
    """
    with doing("making the database anew"), opened(only_reads=dry_run) as services:
        with bars("archives") as progress:
            planned = rehearse_rebuild(services, progress)
        for line in _in_words(planned, services.store.uri):
            click.echo(line)
        uncommitted = planned.found.uncommitted
        del planned  # it holds a ledger of years, which is read once more
        if order is None:
            return
        if not yes:
            click.confirm(_QUESTION, abort=True)
        with migration_engine_from_settings(services.settings) as owner:
            done = rebuild(services, owner, uncommitted, author=order.author, reason=order.reason)
    click.echo(
        f"made anew: the ledger has {done.recovery.size or 0:,} records, the catalogue {done.found.parts:,} parts; "
        "`compliance scrub` reads the archives back, `compliance verify --all` compares everything"
    )
    if done.found.damaged or done.found.keyless:
        raise SystemExit(1)


def _in_words(planned: Rebuild, where: str) -> Iterator[str]:
    found, recovery = planned.found, planned.recovery
    yield f"{where}: {planned.identity}, with {recovery.published:,} records of the ledger"
    yield (
        f"{found.parts:,} parts of {found.days:,} days are archived, with {found.entries:,} entries in "
        f"{human_bytes(found.object_bytes)}: the catalogue gets them"
    )
    if found.expired:
        yield f"{found.expired:,} parts have expired, as the ledger states"
    for manifest in found.uncommitted[:_MOST_SHOWN]:
        yield f"{manifest.object_key} has no manifest: an archive run was interrupted, and its part is committed now"
    if found.unusable:
        yield f"{len(found.unusable):,} objects have no manifest and hold nothing that was sealed as they have it:"
        yield from (f"  {printable(each)}" for each in found.unusable[:_MOST_SHOWN])
    if found.damaged:
        yield f"{len(found.damaged):,} archives are damaged, for `compliance repair DAY` afterwards:"
        yield from (f"  {printable(each)}" for each in found.damaged[:_MOST_SHOWN])
    if found.keyless:
        yield f"{len(found.keyless):,} archives can be read by nobody, because their key is on no record:"
        yield from (f"  {printable(each)}" for each in found.keyless[:_MOST_SHOWN])
    lost = recovery.survey.lost
    yield f"{segments_are(len(lost))} lost: {recovery.entries_sealed:,} entries were sealed and are in no archive"
    yield from lost_in_words(lost)


COMMANDS: Final[list[click.Command]] = [rebuild_database]
