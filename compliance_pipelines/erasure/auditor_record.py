"""The internal record of an erasure, for an auditor: every detail, with the ledger's proof of the deletion record.

Here: making one, and checking one with nothing but the ledger's public key. Not here: how it looks (record_pages.py),
what the statement says (closing.py), and what the person gets (certificate.py).

    { "format":          "compliance-pipelines/erasure-record/v1",
      "statement":       what was said when the request was closed,
      "closed_at":       when,
      "deletion_record": {"log_entry_id", "timestamp"},
      "proof":           a proof document of that entry, as `compliance prove` writes it }

The deletion record holds the SHA-256 of the statement, and the ledger holds the record: no word of the statement can be
changed unnoticed. `closed_at` alone is not proven; the record's own time is. A certificate of the format v1 was the
same document under another name, and is checked in the same way.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.archive.lookup import ArchiveEntryFinder
from compliance_pipelines.audit_log.deletion import ACTION
from compliance_pipelines.base.clock import utc_day
from compliance_pipelines.erasure.case import NOT_CARRIED_OUT
from compliance_pipelines.erasure.closing import SUCCESS, canonical_json, statement_hash
from compliance_pipelines.erasure.errors import ErasureError, InvalidCertificateError
from compliance_pipelines.erasure.record import load
from compliance_pipelines.ledger.proof_document import ProvenEntry, verify_proof
from compliance_pipelines.ledger.proofs import prove

if TYPE_CHECKING:
    from compliance_pipelines.erasure.record import Closure
    from compliance_pipelines.ledger.checkpoint import VerifierKey
    from compliance_pipelines.services import Services

FORMAT: Final = "compliance-pipelines/erasure-record/v1"
FORMER_FORMAT: Final = "compliance-pipelines/erasure-certificate/v1"
_FORMATS: Final = frozenset({FORMAT, FORMER_FORMAT})
_FIELDS: Final = frozenset({"format", "statement", "closed_at", "deletion_record", "proof"})


@dataclass(frozen=True)
class ProvenErasure:
    """What a valid record says: the statement, the deletion record that binds it, and the record's proof."""

    statement: dict[str, Any]
    record: ProvenEntry
    proof: dict[str, Any]


def record_of(services: Services, request_id: int) -> dict[str, Any]:
    """The internal record of a closed request, as JSON values.

    Raises:
        RequestNotFoundError: there is no request of this number.
        ErasureError: it is not closed.
        EntryNotSealedError: it was closed a moment ago.
        EntryDiffersError: the stored entries are not those that were sealed.
    """
    closure = closure_of(services, request_id)
    if closure.result in NOT_CARRIED_OUT:
        raise ErasureError(
            f"erasure request {request_id} is {closure.result}, so that there is no erasure on record; `compliance "
            f"prove {closure.log_entry_id}` proves the decision, and the certificate tells the person of it"
        )
    proof = proof_of(services, closure, closure.log_entry_id)
    return {
        "format": FORMAT,
        "statement": json.loads(closure.statement),
        "closed_at": closure.closed_at.isoformat(),
        "deletion_record": {
            "log_entry_id": closure.log_entry_id,
            "timestamp": closure.entry_timestamp.isoformat(),
        },
        "proof": proof,
    }


def closure_of(services: Services, request_id: int) -> Closure:
    """How a request ended.

    Raises:
        RequestNotFoundError: there is no request of this number.
        ErasureError: it is not closed.
    """
    with services.engine.connect() as connection:
        case = load(connection, request_id)
    if case.closure is None:
        raise ErasureError(
            f"erasure request {request_id} is {case.state.value}: there is a certificate when it is closed; see "
            f"`compliance erase show {request_id}`"
        )
    return case.closure


def proof_of(services: Services, closure: Closure, log_entry_id: str) -> dict[str, Any]:
    """The proof of an entry that was appended when a request was closed; that it was made is on record.

    Raises: as :func:`record_of`.
    """
    day = utc_day(closure.entry_timestamp)
    return prove(services, log_entry_id, finder=ArchiveEntryFinder(services), day=day)


def is_record(document: object) -> bool:
    """Whether a JSON document calls itself a record of this format, or a certificate of its former name."""
    return isinstance(document, dict) and document.get("format") in _FORMATS


def verify_record(document: object, key: VerifierKey) -> ProvenErasure:
    """Check a record: its proof, and that its statement is the one that the proven deletion record binds.

    Args:
        document: the parsed JSON.
        key: whose signature counts.

    Raises:
        InvalidProofError: the proof in it does not hold.
        InvalidCertificateError: it says something else than the record.
    """
    if not isinstance(document, dict) or not is_record(document) or set(document) != _FIELDS:
        raise InvalidCertificateError(f"this is no record of an erasure in the format {FORMAT}")
    proven = verify_proof(document["proof"], key)
    entry, statement = proven.entry, document["statement"]
    record = document["deletion_record"]
    timestamp = entry["timestamp"].isoformat()
    # Quoted, because nothing is known of the characters in them.
    named = f"the deletion record {entry['log_entry_id']!r}"
    if record != {"log_entry_id": entry["log_entry_id"], "timestamp": timestamp} or entry["action"] != ACTION:
        raise InvalidCertificateError(
            f"the document names another deletion record than the {entry['action']!r} entry "
            f"{entry['log_entry_id']!r} that its proof is of"
        )
    metadata = metadata_of(entry["metadata"])
    if not isinstance(statement, dict) or not binds(metadata.get("statement_sha256"), statement):
        raise InvalidCertificateError(f"the statement is not the one that {named} binds: something in it was changed")
    try:
        said = _said_of(statement)
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidCertificateError(f"the statement that {named} binds is none of an erasure") from error
    if {name: metadata.get(name) for name in said} != said or (entry["result"] == SUCCESS) != (
        statement.get("result") == SUCCESS
    ):
        raise InvalidCertificateError(f"{named} and its statement do not say the same")
    return ProvenErasure(statement, proven, document["proof"])


def metadata_of(text: str | None) -> dict[str, Any]:
    """What a proven entry says; any application may have appended it, so that it need not be a deletion record's."""
    try:
        values = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _said_of(statement: dict[str, Any]) -> dict[str, Any]:
    """What the record must say, too; that the person is named is a part of it."""
    request = statement["request"]
    if not isinstance(request["user_id"], str):
        raise TypeError("the person is no text")
    return {
        "request_id": request["id"],
        "deletion_count": statement["deletion_count"],
        "deleted_data_types": sorted({each["data_type"] for each in statement["deleted"]}),
    }


def binds(sha256: object, statement: dict[str, Any]) -> bool:
    """Whether this is the hash of a statement; a statement without a canonical text has none."""
    try:
        return sha256 == statement_hash(canonical_json(statement))
    except (TypeError, ValueError, RecursionError):
        return False
