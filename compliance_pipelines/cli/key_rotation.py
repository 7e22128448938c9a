"""`compliance ledger rotate-key`: one key of the ledger follows another.

Here: arguments and words. Not here: what is done (ledger/rotation.py).
"""

from __future__ import annotations

from typing import Final

import click

from compliance_pipelines.cli.needs import Need, needs
from compliance_pipelines.cli.opening import opened
from compliance_pipelines.ledger.keys import signer_of
from compliance_pipelines.ledger.rotation import rotate_key as rotate


@click.command("rotate-key")
@click.argument("new", metavar="NEW")
@click.option(
    "--compromised",
    is_flag=True,
    help="The old key became known to others: it is revoked at once, and signs nothing beside the new one.",
)
@needs(Need.DATABASE, Need.COLD_STORE, Need.SIGNING_KEY, changes=True)
def rotate_key(new: str, *, compromised: bool) -> None:
    """Let the key NEW sign for the ledger from here on: the old key says so, on record.

    NEW is a file with a key of the same name (`compliance ledger new-key`), or a reference to a key in a KMS. Give it
    to the processes that sign before, as LEDGER_SECOND_SIGNING_KEY_FILE: those that have both keys go on by themselves.
    Prints the new public key.
    """
    with opened() as services:
        rotation = rotate(services, signer_of(new, services.settings), compromised=compromised)
    change = rotation.change
    done = "is on record" if rotation.made else "was on record already"
    both = (
        f"{change.old} is revoked"
        if change.revoked
        else f"until {change.until:%Y-%m-%d %H:%M} UTC {change.old} signs checkpoints beside it, where it is set"
    )
    click.echo(
        f"record {change.seq} {done}: checkpoints of more than {change.seq} records are signed by {change.new}; {both}"
        ". Processes that sign need the new key now: set LEDGER_SIGNING_KEY_FILE to it, or "
        "LEDGER_SECOND_SIGNING_KEY_FILE, and start them again; give the public key to whoever verifies",
        err=True,
    )
    if not services.settings.gdpr_pseudonym_key:
        click.echo(
            "GDPR_PSEUDONYM_KEY is not set, so that the names in records of conversations and sessions are derived "
            "from LEDGER_SIGNING_KEY: with another key there, the same thread or user has another name in new records",
            err=True,
        )
    click.echo(change.new.to_note_string())


COMMANDS: Final[list[click.Command]] = [rotate_key]
