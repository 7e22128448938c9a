"""The certificate of an erasure, for the person: a letter, with the ledger's proof of what it says.

Here: making one. Not here: checking one (document_checks.py), its words (letter.py), what it says
(person_statement.py), and the internal record (auditor_record.py).

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
from typing import TYPE_CHECKING, Any, Literal

from compliance_pipelines.base.clock import utc_day
from compliance_pipelines.erasure.auditor_record import closure_of, proof_of
from compliance_pipelines.erasure.certificate_entry import MEMBER
from compliance_pipelines.erasure.document_checks import CERTIFICATE_FORMAT
from compliance_pipelines.erasure.kinds import Kinds
from compliance_pipelines.erasure.person_statement import statement_for_person
from compliance_pipelines.settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from compliance_pipelines.services import Services
    from compliance_pipelines.settings import Settings

LanguageCode = Literal["en", "de", "fr"]


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
        "format": CERTIFICATE_FORMAT,
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
