"""The certificate of an erasure, for the person: a letter, with the ledger's proof of what it says.

Here: making one, and checking one with nothing but the ledger's public key. Not here: its words (letter.py), what it
says (person_statement.py), and the internal record (auditor_record.py).

    { "format":          "compliance-pipelines/erasure-certificate/v2",
      "language":        "en" | "de" | "fr",
      "issued_on":       the day on which it was made, in UTC,
      "sender":          {"controller", "contact", "authority", "note"}: texts of the settings, or null,
      "addressee":       lines of the name and address that it is sent to; may be none,
      "statement":       what the person is told,
      "deletion_record": id of the audit entry that closed the request,
      "proof":           a proof document of the entry that binds the statement, as `compliance prove` writes it }

That entry holds the SHA-256 of the statement: no word of it can be changed unnoticed. The letter around it (language,
day, sender, addressee) is not proven. A request that was closed before there was such an entry has a certificate whose
proof is null, and which says so.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from compliance_pipelines.base.clock import utc_day
from compliance_pipelines.erasure.auditor_record import binds, closure_of, metadata_of, proof_of
from compliance_pipelines.erasure.certificate_entry import ACTION, MEMBER
from compliance_pipelines.erasure.errors import InvalidCertificateError
from compliance_pipelines.erasure.kinds import Kinds
from compliance_pipelines.erasure.person_statement import statement_for_person
from compliance_pipelines.ledger.proof_document import ProvenEntry, verify_proof
from compliance_pipelines.settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from compliance_pipelines.ledger.checkpoint import VerifierKey
    from compliance_pipelines.services import Services
    from compliance_pipelines.settings import Settings

FORMAT: Final = "compliance-pipelines/erasure-certificate/v2"
LanguageCode = Literal["en", "de", "fr"]
_FIELDS: Final = frozenset(
    {"format", "language", "issued_on", "sender", "addressee", "statement", "deletion_record", "proof"}
)


@dataclass(frozen=True)
class ProvenCertificate:
    """What a valid certificate says: the statement, the entry that binds it, and that entry's proof."""

    statement: dict[str, Any]
    entry: ProvenEntry
    proof: dict[str, Any]


def sender_of(settings: Settings) -> dict[str, str | None]:
    """Who sends certificates, as the settings say."""
    return {
        "controller": settings.gdpr_controller,
        "contact": settings.gdpr_contact,
        "authority": settings.gdpr_authority,
        "note": settings.gdpr_certificate_note,
    }


def require_sender(sender: Mapping[str, str | None]) -> None:
    """Make sure that a letter would say who sends it and whom to ask.

    Raises:
        ConfigurationError: it would not.
    """
    settings = {"controller": "GDPR_CONTROLLER", "contact": "GDPR_CONTACT"}
    if missing := [setting for name, setting in settings.items() if not sender[name]]:
        raise ConfigurationError(
            f"{' and '.join(missing)} not set: a certificate is a letter, whose reader must learn who answers and "
            "whom to ask (GDPR Articles 12 and 13(1)(a) and (b)). GDPR_CONTROLLER is the controller's name and "
            "address, GDPR_CONTACT the data protection contact, GDPR_AUTHORITY the supervisory authority; "
            "docs/erasure.md has an example. The .json form is written without them"
        )


def certificate_of(
    services: Services, request_id: int, *, language: LanguageCode | None = None, addressee: Sequence[str] = ()
) -> dict[str, Any]:
    """The certificate of a closed request, as JSON values; it is issued today.

    Args:
        services: the opened services; the clock says which day it is.
        request_id: its number.
        language: of the letter; None for that of the settings.
        addressee: lines of a name and address.

    Raises:
        RequestNotFoundError: there is no request of this number.
        ErasureError: it is not closed.
        EntryNotSealedError: it was closed a moment ago.
        EntryDiffersError: the stored entries are not those that were sealed.
    """
    settings = services.settings
    closure = closure_of(services, request_id)
    internal = json.loads(closure.statement)
    bound = internal.get(MEMBER)
    # What is told is told of a record that stands in the ledger, also where the proof is not the person's to have.
    proof = proof_of(services, closure, closure.log_entry_id if bound is None else bound["log_entry_id"])
    return {
        "format": FORMAT,
        "language": language or settings.gdpr_language,
        "issued_on": utc_day(services.clock()).isoformat(),
        "sender": sender_of(settings),
        "addressee": list(addressee),
        "statement": _told_later(internal, settings) if bound is None else bound["statement"],
        "deletion_record": closure.log_entry_id,
        "proof": None if bound is None else proof,
    }


def _told_later(internal: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """What the person is told about a request that was closed when nothing was written down for that yet."""
    return statement_for_person(
        internal,
        kinds=Kinds.from_settings(settings),
        retention_years=settings.audit_cold_storage_retention_years,
        salt="",
        counts_rows=False,
    )


def is_certificate(document: object) -> bool:
    """Whether a JSON document calls itself a certificate of this format."""
    return isinstance(document, dict) and document.get("format") == FORMAT


def verify_certificate(document: object, key: VerifierKey) -> ProvenCertificate:
    """Check a certificate: its proof, and that its statement is the one that the proven entry binds.

    Args:
        document: the parsed JSON.
        key: whose signature counts.

    Raises:
        InvalidProofError: the proof in it does not hold.
        InvalidCertificateError: it says something else than the entry, or it has no proof.
    """
    if not isinstance(document, dict) or not is_certificate(document) or set(document) != _FIELDS:
        raise InvalidCertificateError(f"this is no certificate of the format {FORMAT}")
    if document["proof"] is None:
        raise InvalidCertificateError(
            "this certificate has no proof: the request was closed before certificates were bound by an entry of "
            f"their own; the internal record has the proof of the deletion record {document['deletion_record']!r}"
        )
    proven = verify_proof(document["proof"], key)
    entry, statement = proven.entry, document["statement"]
    # Quoted, because nothing is known of the characters in it.
    named = f"the entry {entry['log_entry_id']!r}"
    metadata = metadata_of(entry["metadata"])
    if entry["action"] != ACTION or metadata.get("deletion_record") != document["deletion_record"]:
        raise InvalidCertificateError(f"{named} that is proven binds no certificate of this deletion record")
    if not isinstance(statement, dict) or not binds(metadata.get("certificate_sha256"), statement):
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
