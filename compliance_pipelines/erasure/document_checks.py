"""Checking the two documents of an erasure, its certificate and its internal record.

Here: what needs the document and the ledger's public key alone, neither database nor network nor settings. Not here:
making them (certificate.py, auditor_record.py), which say what is in them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.audit_log.deletion import ACTION as DELETION_ACTION
from compliance_pipelines.erasure.errors import InvalidCertificateError
from compliance_pipelines.erasure.statements import CERTIFICATE_ACTION, SUCCESS, canonical_json, statement_hash
from compliance_pipelines.ledger.proof_document import ProvenEntry, verify_proof

if TYPE_CHECKING:
    from collections.abc import Mapping

    from compliance_pipelines.ledger.checkpoint import VerifierKey

CERTIFICATE_FORMAT: Final = "compliance-pipelines/erasure-certificate/v2"
RECORD_FORMAT: Final = "compliance-pipelines/erasure-record/v1"
_FORMER_RECORD_FORMAT: Final = "compliance-pipelines/erasure-certificate/v1"
_RECORD_FORMATS: Final = frozenset({RECORD_FORMAT, _FORMER_RECORD_FORMAT})
_CERTIFICATE_FIELDS: Final = frozenset(
    {"format", "language", "issued_on", "sender", "addressee", "statement", "deletion_record", "proof"}
)
_RECORD_FIELDS: Final = frozenset({"format", "statement", "closed_at", "deletion_record", "proof"})


@dataclass(frozen=True)
class ProvenErasure:
    """What a valid record says: the statement, the deletion record that binds it, and the record's proof."""

    statement: dict[str, Any]
    record: ProvenEntry
    proof: dict[str, Any]


@dataclass(frozen=True)
class ProvenCertificate:
    """What a valid certificate says: the statement, the entry that binds it, and that entry's proof."""

    statement: dict[str, Any]
    entry: ProvenEntry
    proof: dict[str, Any]


def is_certificate(document: object) -> bool:
    """Whether a JSON document calls itself a certificate of this format."""
    return isinstance(document, dict) and document.get("format") == CERTIFICATE_FORMAT


def verify_certificate(document: object, key: VerifierKey) -> ProvenCertificate:
    """Check a certificate: its proof, and that its statement is the one that the proven entry binds.

    Args:
        document: the parsed JSON.
        key: whose signature counts.

    Raises:
        InvalidProofError: the proof in it does not hold.
        InvalidCertificateError: it says something else than the entry, or it has no proof.
    """
    if not isinstance(document, dict) or not is_certificate(document) or set(document) != _CERTIFICATE_FIELDS:
        raise InvalidCertificateError(f"this is no certificate of the format {CERTIFICATE_FORMAT}")
    if document["proof"] is None:
        raise InvalidCertificateError(
            "this certificate has no proof: the request was closed before certificates were bound by an entry of "
            f"their own; the internal record has the proof of the deletion record {document['deletion_record']!r}"
        )
    proven = verify_proof(document["proof"], key)
    entry, statement = proven.entry, document["statement"]
    # Quoted, because nothing is known of the characters in it.
    named = f"the entry {entry['log_entry_id']!r}"
    metadata = _metadata_of(entry["metadata"])
    if entry["action"] != CERTIFICATE_ACTION or metadata.get("deletion_record") != document["deletion_record"]:
        raise InvalidCertificateError(f"{named} that is proven binds no certificate of this deletion record")
    if not isinstance(statement, dict) or not _binds(metadata.get("certificate_sha256"), statement):
        raise InvalidCertificateError(f"the statement is not the one that {named} binds: something in it was changed")
    if not _names(statement, metadata.get("request_id")):
        raise InvalidCertificateError(f"{named} and its statement do not name the same request")
    return ProvenCertificate(statement, proven, document["proof"])


def _names(statement: Mapping[str, Any], request_id: object) -> bool:
    """Whether a statement is of this request, and of somebody; any application may have appended what binds it."""
    request = statement.get("request")
    if not isinstance(request, dict) or request.get("id") != request_id:
        return False
    user_ids = request.get("user_ids")
    return isinstance(user_ids, list) and bool(user_ids) and all(isinstance(each, str) for each in user_ids)


def is_record(document: object) -> bool:
    """Whether a JSON document calls itself a record of this format, or a certificate of its former name."""
    return isinstance(document, dict) and document.get("format") in _RECORD_FORMATS


def verify_record(document: object, key: VerifierKey) -> ProvenErasure:
    """Check a record: its proof, and that its statement is the one that the proven deletion record binds.

    Args:
        document: the parsed JSON.
        key: whose signature counts.

    Raises:
        InvalidProofError: the proof in it does not hold.
        InvalidCertificateError: it says something else than the record.
    """
    if not isinstance(document, dict) or not is_record(document) or set(document) != _RECORD_FIELDS:
        raise InvalidCertificateError(f"this is no record of an erasure in the format {RECORD_FORMAT}")
    proven = verify_proof(document["proof"], key)
    entry, statement = proven.entry, document["statement"]
    record = document["deletion_record"]
    timestamp = entry["timestamp"].isoformat()
    # Quoted, because nothing is known of the characters in them.
    named = f"the deletion record {entry['log_entry_id']!r}"
    if record != {"log_entry_id": entry["log_entry_id"], "timestamp": timestamp} or entry["action"] != DELETION_ACTION:
        raise InvalidCertificateError(
            f"the document names another deletion record than the {entry['action']!r} entry "
            f"{entry['log_entry_id']!r} that its proof is of"
        )
    metadata = _metadata_of(entry["metadata"])
    if not isinstance(statement, dict) or not _binds(metadata.get("statement_sha256"), statement):
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


def _metadata_of(text: str | None) -> dict[str, Any]:
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


def _binds(sha256: object, statement: dict[str, Any]) -> bool:
    """Whether this is the hash of a statement; a statement without a canonical text has none."""
    try:
        return sha256 == statement_hash(canonical_json(statement))
    except (TypeError, ValueError, RecursionError):
        return False
