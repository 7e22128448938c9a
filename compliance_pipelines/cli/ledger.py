"""`compliance seal`, `prove` and `ledger`: sealing, proofs, keys.

Here: arguments and words. Not here: anything that the ledger does, and checking a proof (proofs.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from compliance_pipelines.archive.lookup import ArchiveEntryFinder
from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.base.printable import printable
from compliance_pipelines.cli.needs import Need, needs
from compliance_pipelines.cli.opening import opened
from compliance_pipelines.ledger import clusters, proof_document, proofs, sealing, store
from compliance_pipelines.ledger.keys import load_signing_key, write_new_key
from compliance_pipelines.ledger.outside import look_at_stamps, look_at_witnesses
from compliance_pipelines.ledger.tlog_proof import tlog_proof
from compliance_pipelines.ledger.witnesses import load_policy
from compliance_pipelines.postgres.engine import migration_engine_from_settings
from compliance_pipelines.postgres.open_transactions import PreparedTransaction, in_words, remedies
from compliance_pipelines.settings import load_settings

if TYPE_CHECKING:
    from datetime import datetime


@click.command("seal")
@needs(Need.DATABASE, Need.COLD_STORE, Need.SIGNING_KEY, changes=True)
def seal() -> None:
    """Seal what was appended since the last pass, and publish the new checkpoint.

    Exit status 1 also where a prepared transaction that nobody ends holds sealing back.
    """
    with opened() as services:
        more = True
        while more:
            result = sealing.seal(services)
            click.echo(_in_words(result))
            for day in result.quarantined:
                click.echo(f"not sealed, because it breaks a rule: {day}", err=True)
            if result.sequence is not None:
                click.echo(f"{result.sequence}: {result.sequence.remedy}", err=True)
            more = result.more
    if result.held_back:
        click.echo(f"{in_words(result.held_back)}: {remedies(result.held_back)}", err=True)
    if any(isinstance(each, PreparedTransaction) for each in result.held_back):
        raise SystemExit(1)


def _in_words(result: sealing.SealResult) -> str:
    if result.busy:
        return f"another process is sealing{result.busy_with}"
    healed = f"; published what an interrupted pass left: {', '.join(map(str, result.published))}"
    if result.checkpoint is None:
        return "nothing to seal" + (healed if result.published else "")
    return (
        f"{result.entries:,} entries in {len(result.segments)} segments; the ledger has {result.checkpoint.size:,} "
        f"records, root {result.checkpoint.root.hex()}"
    )


@click.command("prove")
@click.argument("log_entry_id")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="File to write.")
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), help="UTC day of the entry, where its id stands on several.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["json", "tlog-proof"]),
    default="json",
    show_default=True,
    help="tlog-proof: of the segment's record alone, as C2SP specifies it, for other people's programs to check.",
)
@needs(Need.DATABASE, Need.COLD_STORE, Need.PUBLIC_KEY, on_record=True)
def prove(log_entry_id: str, output: Path, day: datetime | None, form: str) -> None:
    """Write the proof that an entry is in the ledger; `compliance verify-proof` checks it anywhere.

    That the proof was made is appended to the audit log.
    """
    with opened() as services:
        document = proofs.prove(
            services, log_entry_id, finder=ArchiveEntryFinder(services), day=None if day is None else day.date()
        )
        policy = load_policy(services.settings)
    try:
        text = tlog_proof(document) if form == "tlog-proof" else proof_document.proof_to_text(document)
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ComplianceError(f"the proof cannot be written to {output}: {error.strerror}") from error
    click.echo(f"{output}: entry {log_entry_id}, segment {document['segment']['seq']}")
    if policy is not None:
        times, _, agreed = policy.seen(document["checkpoint"])
        click.echo(f"cosigned by {', '.join(times) or 'nobody'}", err=not agreed)
        if not agreed:
            click.echo(
                f"no quorum of the witnesses ({policy.needed}) has seen this entry yet: run `compliance ledger "
                "witness`, then prove it again",
                err=True,
            )


@click.command("key")
@needs(Need.SIGNING_KEY)
def key() -> None:
    """Print the public key, which checks every signature."""
    click.echo(load_signing_key(load_settings()).verifier_key().to_note_string())


@click.command("new-key")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--name", default="compliance-pipelines/audit", show_default=True, help="Name of the ledger, in every signature."
)
@needs()
def new_key(file: Path, name: str) -> None:
    """Make a signing key in a new file that only its owner can read, and print the public key."""
    click.echo(write_new_key(file, name).verifier_key().to_note_string())


@click.command("checkpoint")
@needs(Need.DATABASE)
def checkpoint() -> None:
    """Print the last checkpoint in the cold store; keep copies of it where this system has no access."""
    with opened() as services, services.engine.connect() as connection:
        last = store.last_published_checkpoint(connection)
    if last is None:
        raise ComplianceError("there is no checkpoint yet: append an entry and run `compliance seal`")
    click.echo(last.note, nl=False)


@click.command("witness")
@needs(Need.DATABASE, Need.COLD_STORE, Need.PUBLIC_KEY, changes=True)
def witness() -> None:
    """Have the newest checkpoint cosigned by witnesses and each day's last one stamped, and say what is missing.

    The sensor does it every half minute. Exit status 1 where something is missing for too long, or a witness has seen
    another ledger.
    """
    with opened() as services:
        looks = {"witnesses": look_at_witnesses(services), "time stamps": look_at_stamps(services)}
    for name, look in looks.items():
        click.echo(f"{name}: {look.state or 'none are configured'}")
        for line in look.told:
            click.echo(printable(line), err=True)
    problems = [look.problem for look in looks.values() if look.problem]
    if problems:
        raise ComplianceError("; ".join(problems))


@click.command("adopt-cluster")
@click.option("--yes", is_flag=True, help="Do not ask.")
@needs(Need.MIGRATION_DATABASE)
def adopt_cluster(*, yes: bool) -> None:
    """Go on counting in another PostgreSQL cluster after a restore or an upgrade. Stop the writers first."""
    if not yes:
        click.confirm("Were the writers stopped, and was the database moved to this cluster on purpose?", abort=True)
    with migration_engine_from_settings(load_settings()) as engine:
        adoption = clusters.adopt_cluster(engine)
    click.echo(f"adopted: transaction ids are raised by {adoption.tx_offset:,}")
    if adoption.entries_in_no_segment:
        named = ", ".join(adoption.entries_in_no_segment)
        raise ComplianceError(
            f"entries were written between the restore and this adoption and are in no segment: {named}; append them "
            "again under new ids, and have the database's administrator remove these rows, which stop the archive of "
            "their days"
        )


COMMANDS: Final[list[click.Command]] = [seal, prove, key, new_key, checkpoint, witness, adopt_cluster]
