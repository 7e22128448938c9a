"""`compliance store`: the cold store itself.

Here: arguments and words. Not here: what makes a store.
"""

from __future__ import annotations

from typing import Final

import click

from compliance_pipelines.archive.store_init import init_store
from compliance_pipelines.cli.checking import tell
from compliance_pipelines.cli.needs import Need, needs
from compliance_pipelines.cli.opening import opened
from compliance_pipelines.ledger.store_identity import check_identity
from compliance_pipelines.object_store.trials import store_trials
from compliance_pipelines.services import open_cold_store
from compliance_pipelines.settings import load_settings


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


COMMANDS: Final[list[click.Command]] = [init, show, check]
