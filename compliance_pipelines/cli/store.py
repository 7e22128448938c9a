"""`compliance store`: the cold store itself.

Here: arguments and words. Not here: what makes a store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from compliance_pipelines.archive.lost_parts import LostParts, forget_verifications, lost_parts
from compliance_pipelines.archive.store_init import init_store
from compliance_pipelines.cli.checking import tell
from compliance_pipelines.cli.needs import Need, needs
from compliance_pipelines.cli.opening import opened
from compliance_pipelines.cli.orders import Order, ordered
from compliance_pipelines.ledger.republishing import Behind, how_far_behind, republish
from compliance_pipelines.ledger.store_identity import check_identity
from compliance_pipelines.object_store.trials import store_trials
from compliance_pipelines.services import open_cold_store
from compliance_pipelines.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date

_MOST_SHOWN: Final = 50


@click.command("init")
@click.option(
    "--adopt-existing",
    is_flag=True,
    help="Take a store that holds this database's archives already, after comparing them with its last checkpoint.",
)
@needs(Need.DATABASE, Need.COLD_STORE, Need.SIGNING_KEY, changes=True)
def init(*, adopt_existing: bool) -> None:
    """Make the cold store of the settings and bind this database and the ledger's key to it, once.

    Nothing else makes a store: what archives, verifies or purges refuses a place that is not the bound one. Called
    again, it says which one it is and changes nothing.
    """
    with opened() as services:
        made = init_store(services, adopt_existing=adopt_existing)
        where = services.store.uri
    how = "is bound to this database" if made.new else "was bound to this database before"
    click.echo(f"{where}: {made.identity} {how}{', with what it holds' if made.adopted else ''}")


@click.command("show")
@needs(Need.DATABASE, Need.COLD_STORE, Need.PUBLIC_KEY)
def show() -> None:
    """Say which store the settings lead to; exit status 1 where it is not the one of this database and key."""
    with opened() as services, services.engine.connect() as connection:
        identity = check_identity(services, connection)
        click.echo(f"{services.store.uri}: {identity}, made at {identity.created_at:%Y-%m-%d %H:%M:%S} UTC")


@click.command("check")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")
@needs(Need.COLD_STORE)
def check(*, as_json: bool) -> None:
    """Try each promise that the cold store is relied on for, with objects of its own.

    Written once, replaced by compare and swap, listed whole; in a bucket versions, locks that nobody shortens or
    passes, checksums, lifecycle rules, encryption, public access. Exit status 1 where one is broken or could not be
    tried. A locked probe stays for two minutes, and the next check removes it.
    """
    settings = load_settings()
    tell(store_trials(open_cold_store(settings), settings.audit_cold_storage_retention_years), as_json=as_json)


@click.command("republish")
@ordered(author="Who orders it.", dry_run="Say what the store lacks, and change nothing.")
@needs(
    Need.DATABASE,
    Need.COLD_STORE,
    Need.SIGNING_KEY,
    Need.PUBLIC_KEY,
    changes=True,
    given_by={"dry_run": (Need.SIGNING_KEY,)},
)
def republish_store(*, order: Order | None, dry_run: bool, yes: bool) -> None:
    """Put the ledger that the database holds into a cold store that is behind it, and say which archives are missing.

    For a store that was lost, and for a copy that takes its place and had not everything yet. Nothing is signed anew
    but the identity, where that is missing. Exit status 1 where archives are missing of which PostgreSQL has no
    entries any more: bring their objects from a copy.
    """
    with opened(only_reads=dry_run) as services:
        behind, lost = how_far_behind(services), lost_parts(services)
        for line in _in_words(behind, lost, services.store.uri):
            click.echo(line)
        if order is not None and behind.needed:
            if not yes:
                click.confirm(f"Is {services.store.uri} to be this database's cold store from now on?", abort=True)
            _, checkpoints = republish(services, author=order.author, reason=order.reason)
            forget_verifications(services)
            click.echo(f"published once more: {checkpoints:,} checkpoints, up to {behind.known:,} records")
    if lost.gone:
        raise SystemExit(1)


def _in_words(behind: Behind, lost: LostParts, where: str) -> Iterator[str]:
    if behind.identity is None:
        yield f"{where} has no identity: it gets that of the store which the database archives into"
    if behind.needed:
        yield f"its ledger has {behind.size:,} records, {behind.published:,} were published: the rest is put there"
    else:
        yield f"{where} has everything of the ledger that was published"
    if lost.hot:
        yield (
            f"archives of {len(lost.hot):,} days are missing whose entries are still in PostgreSQL: `compliance repair "
            f"DAY` writes them again: {_days(lost.hot)}"
        )
    if lost.gone:
        yield (
            f"archives of {len(lost.gone):,} days are missing whose {lost.entries:,} entries are nowhere else: bring "
            f"their objects from a copy: {_days(lost.gone)}"
        )


def _days(days: Sequence[date]) -> str:
    shown = ", ".join(map(str, days[:_MOST_SHOWN]))
    return shown if len(days) <= _MOST_SHOWN else f"{shown} and {len(days) - _MOST_SHOWN:,} more"


COMMANDS: Final[list[click.Command]] = [init, show, check, republish_store]
