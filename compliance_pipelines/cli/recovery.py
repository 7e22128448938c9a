"""`compliance ledger recover`: going on after a failover or a restore to an earlier moment.

Here: arguments, the question, and the report in words. Not here: anything that is done.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import click

from compliance_pipelines.archive.returning import ReturningParts
from compliance_pipelines.base.counting import counted
from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.cli.needs import Need, needs
from compliance_pipelines.cli.opening import opened
from compliance_pipelines.cli.orders import Order, ordered
from compliance_pipelines.ledger.recovery import Recovery, recover, rehearse_recovery
from compliance_pipelines.postgres.engine import migration_engine_from_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compliance_pipelines.ledger.survivors import Lost

_MOST_SHOWN: Final = 50
_QUESTION: Final = "Is the former database stopped for good, and is what is lost accepted? It stays on record for ever"


@click.command("recover")
@ordered(author="Who accepts what is lost.", dry_run="Say what would be lost, and change nothing; also on a replica.")
@needs(
    Need.DATABASE,
    Need.MIGRATION_DATABASE,
    Need.COLD_STORE,
    Need.SIGNING_KEY,
    Need.PUBLIC_KEY,
    changes=True,
    given_by={"dry_run": (Need.MIGRATION_DATABASE, Need.SIGNING_KEY)},
)
def recover_ledger(*, order: Order | None, dry_run: bool, yes: bool) -> None:
    """Go on in the ledger with a database that lacks what was published, and put on record what is lost.

    For a replica that was promoted before it had everything, and a database that was restored to an earlier moment.
    Stop the writers first, and the former database for good.
    """
    with opened(only_reads=dry_run) as services:
        archives = ReturningParts(services)
        planned = rehearse_recovery(services, archives)
        for line in _in_words(planned):
            click.echo(line)
        if order is None:
            return
        if planned.needed and not yes:
            click.confirm(_QUESTION, abort=True)
        with migration_engine_from_settings(services.settings) as owner:
            recovered = recover(services, owner, archives, author=order.author, reason=order.reason)
    for line in _outcome(recovered):
        click.echo(line)
    if recovered.entries_in_no_segment:
        raise ComplianceError(
            "entries were written before this recovery under transaction ids of segments that are intact, and are in "
            f"no segment: {', '.join(recovered.entries_in_no_segment)}; append them again under new ids, and have the "
            "database's administrator remove these rows, which stop the archive of their days"
        )


def _in_words(found: Recovery) -> Iterator[str]:
    if not found.needed:
        yield "nothing to recover: the database has everything that was published"
        return
    survey = found.survey
    if found.known < found.published:
        yield f"the cold store has {found.published:,} records of the ledger, the database has {found.known:,} of them"
        yield f"{segments_are(len(survey.intact))} intact: all entries are in PostgreSQL as they were sealed"
        if survey.archived:
            yield f"{segments_are(len(survey.archived))} in archives alone: their entries are put back into PostgreSQL"
        yield (
            f"{segments_are(len(survey.lost))} lost: {found.entries_sealed:,} entries were sealed in them, "
            f"{found.entries_found:,} stand in their place now"
        )
        yield from lost_in_words(survey.lost)
    if found.leftovers:
        yield (
            f"{len(found.leftovers):,} objects in the cold store are of a pass that came to no end, and go: "
            f"{', '.join(found.leftovers[:_MOST_SHOWN])}"
        )


def lost_in_words(lost: tuple[Lost, ...]) -> Iterator[str]:
    """A line for each segment that is lost, or for the first ones of them."""
    for each in lost[:_MOST_SHOWN]:
        segment = each.segment
        yield (
            f"  segment {segment.seq} of {segment.day}: {segment.entry_count:,} entries, ids {segment.first_id} to "
            f"{segment.last_id}, sealed {segment.sealed_at:%Y-%m-%d %H:%M:%S} UTC; {each.found:,} there now"
        )
    if len(lost) > _MOST_SHOWN:
        rest = Counter(each.segment.day for each in lost[_MOST_SHOWN:])
        yield f"  and {len(lost) - _MOST_SHOWN:,} more, of {', '.join(map(str, sorted(rest)))}"


def segments_are(number: int) -> str:
    """How many segments, and the verb."""
    return counted(number, "segment is", "segments are")


def _outcome(recovered: Recovery) -> Iterator[str]:
    if recovered.size is not None:
        entries = sum(segment.entry_count for segment in recovered.segments)
        yield (
            f"recovered: the ledger has {recovered.size:,} records; {entries:,} entries that stood in no segment any "
            f"more are in {len(recovered.segments):,} new ones"
        )
    if recovered.tx_offset is not None:
        yield f"transaction ids are raised by {recovered.tx_offset:,}"
    if recovered.finished:
        yield f"published: {', '.join(map(str, recovered.finished))}"


COMMANDS: Final[list[click.Command]] = [recover_ledger]
