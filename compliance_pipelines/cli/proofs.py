"""`compliance verify-proof`: checking a proof anywhere.

Here: arguments and words. Not here: what is checked. Nothing is imported that connects to anything.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.cli.needs import needs
from compliance_pipelines.erasure.document_checks import is_certificate, is_record, verify_certificate, verify_record
from compliance_pipelines.ledger import proof_document
from compliance_pipelines.ledger.public_key import read_verifier_key
from compliance_pipelines.ledger.witnesses import read_policy


@click.command("verify-proof")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--public-key",
    required=True,
    help="A public key of the ledger, the first one or a later one, or a file that holds it.",
)
@click.option(
    "--witnesses",
    metavar="POLICY",
    help="A file with a C2SP tlog-policy: as many of its witnesses must have cosigned as it says.",
)
@needs()
def verify_proof(file: Path, public_key: str, witnesses: str | None) -> None:
    """Check a proof, or the certificate or record of an erasure, with nothing but itself and the public key.

    No database, no network, no settings.
    """
    key = read_verifier_key(public_key)
    policy = None if witnesses is None else read_policy(witnesses)
    if policy is not None:
        policy.require_log(key)
    try:
        with file.open("rb") as opened:
            data = opened.read(proof_document.MOST_BYTES + 1)
    except OSError as error:
        raise ComplianceError(f"{file} cannot be read: {error.strerror}") from error
    document = proof_document.proof_from_bytes(data)
    valid: list[str] = []
    if is_certificate(document):
        certificate = verify_certificate(document, key)
        request = certificate.statement["request"]
        valid.append(
            f"valid: the statement of a certificate of erasure request {request['id']} of "
            f"{', '.join(map(repr, request['user_ids']))}; date, addresses and wording of the letter are not proven"
        )
        document = certificate.proof
    elif is_record(document):
        erasure = verify_record(document, key)
        request = erasure.statement["request"]
        valid.append(
            f"valid: record of erasure request {request['id']} of {request['user_id']!r}, and its deletion record:"
        )
        document = erasure.proof
    proven = proof_document.verify_proof(document, key)
    entry, checkpoint = proven.entry, proven.checkpoint
    # Quoted, because nothing is known of the characters in it.
    valid.append(
        f"valid: entry {entry['log_entry_id']!r} of {entry['timestamp'].isoformat()} ({entry['user_id']!r}, "
        f"{entry['action']!r}, {entry['result']!r}) is in segment {proven.segment.seq} of ledger {checkpoint.origin}, "
        f"signed at {checkpoint.size} records with root {checkpoint.root.hex()}"
    )
    if policy is not None and isinstance(document, dict):
        times = proof_document.require_cosignatures(document, policy)
        said = ", ".join(f"{name} at {time:%Y-%m-%d %H:%M:%S} UTC" for name, time in times.items())
        valid.append(f"cosigned: {said or policy.needed}")
    for line in valid:
        click.echo(line)


COMMANDS: Final[list[click.Command]] = [verify_proof]
