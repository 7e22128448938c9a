"""`compliance store`: the cold store itself.

Here: arguments and words. Not here: what makes a store.
"""

from __future__ import annotations

from typing import Final

import click

from compliance_pipelines.archive.store_init import init_store
from compliance_pipelines.cli.needs import Need, needs
from compliance_pipelines.cli.opening import opened
from compliance_pipelines.ledger.store_identity import check_identity


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


COMMANDS: Final[list[click.Command]] = [init, show]
